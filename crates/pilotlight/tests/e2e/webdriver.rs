//! WebDriver as its standard has it, without a client's library between; what Selenium does is in `clients`.

use std::os::unix::fs::PermissionsExt;

use pilotlight_api::{Isolation, Session, SessionState};
use pilotlight_testkit::harness::{Answer, DevTools, Process, Role, Server, expect_that, wait_for};
use pilotlight_testkit::portal::{Portal, PortalOptions};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Display, SOON, TestEnv, account, options, path, test_env, test_env_with, with};

/// Who is signed in.
const USER: &str = "return document.querySelector('#user').textContent";

/// A WebDriver session, by its path.
pub(crate) struct Remote<'a> {
    env: &'a TestEnv,
    pub(crate) path: String,
    pub(crate) capabilities: Value,
}

impl<'a> Remote<'a> {
    pub(crate) async fn begin(env: &'a TestEnv, capabilities: Value) -> Self {
        let value = new_session(env, capabilities).await.expect(200).body["value"].take();
        let path = format!("/session/{}", value["sessionId"].as_str().unwrap());
        Self { env, path, capabilities: value["capabilities"].clone() }
    }

    pub(crate) async fn command(&self, method: Method, below: &str, body: Value) -> Answer {
        let request = self.env.client().request(method, &format!("{}{below}", self.path));
        self.env.client().send(if body.is_null() { request } else { request.json(&body) }).await
    }

    pub(crate) async fn get(&self, below: &str) -> Value {
        self.command(Method::GET, below, Value::Null).await.expect(200).body["value"].take()
    }

    pub(crate) async fn post(&self, below: &str, body: Value) -> Value {
        self.command(Method::POST, below, body).await.expect(200).body["value"].take()
    }

    async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    pub(crate) async fn end(&self) {
        self.command(Method::DELETE, "", Value::Null).await.expect(200);
    }

    fn session_id(&self) -> &str {
        self.capabilities["pilotlight:options"]["session_id"].as_str().unwrap()
    }

    async fn session(&self) -> Session {
        self.env.client().get(&format!("/sessions/{}", self.session_id())).await.expect(200).session()
    }
}

async fn new_session(env: &TestEnv, capabilities: Value) -> Answer {
    env.client().post("/session", &json!({ "capabilities": { "alwaysMatch": capabilities } })).await
}

pub(crate) fn of(session: &Session) -> Value {
    json!({ "pilotlight:options": { "session_id": session.session_id } })
}

/// Status and error, as the standard has them.
fn refusal(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["value"]["error"].as_str().unwrap_or("(no error)"))
}

pub(crate) fn drivers(env: &TestEnv) -> Vec<Process> {
    let is_driver =
        |process: &Process| process.command.first().is_some_and(|word| word.ends_with("/chromedriver"));
    env.server.processes().into_iter().filter(is_driver).collect()
}

#[tokio::test]
async fn a_session_without_options_has_a_window_that_goes_with_it() {
    let env = test_env().await;
    assert!(drivers(&env).is_empty(), "nobody needs it yet");
    let remote = Remote::begin(&env, json!({ "browserName": "chrome" })).await;
    assert_eq!(remote.capabilities["browserName"], "chrome-headless-shell");
    assert!(remote.capabilities.get("goog:chromeOptions").is_none(), "{}", remote.capabilities);
    let session = remote.session().await;
    assert!(!session.keep_alive && session.in_use && session.state == SessionState::Ready, "{session:?}");
    assert_eq!(remote.get("/url").await, "about:blank");
    remote.post("/url", json!({ "url": format!("{}login", env.portal.url()) })).await;
    assert_eq!(remote.get("/url").await, format!("{}login", env.portal.url()));
    let missing = json!({ "using": "css selector", "value": "#nobody" });
    let missing = remote.command(Method::POST, "/element", missing).await;
    assert_eq!(refusal(&missing), (404, "no such element"));
    remote.end().await;
    let gone = env.client().get(&path(&session, "")).await;
    assert_eq!(gone.refusal(), (410, "session_ended"), "{}", gone.body);
    assert_eq!(refusal(&remote.command(Method::GET, "/url", Value::Null).await), (404, "invalid session id"));
}

#[tokio::test]
async fn options_find_wake_or_make_a_session_and_it_stays() {
    let env = test_env().await;
    let wanted = json!({ "pilotlight:options": account("acme") });
    let remote = Remote::begin(&env, wanted.clone()).await;
    assert_eq!(remote.run(USER).await, "acme", "it was signed in");
    remote.run("window.kept = 'kept'").await;
    let session = remote.session().await;
    assert!(session.keep_alive && session.in_use);
    remote.end().await;
    assert!(!env.client().session(&session).await.in_use, "it was given back");

    env.order(&session, "/freeze").await;
    let again = Remote::begin(&env, wanted).await;
    assert_eq!(again.session_id(), session.session_id.to_string(), "the same account, the same window");
    assert_eq!(again.run("return window.kept").await, "kept");
    again.end().await;
    env.is_free(&session).await;
    env.order(&session, "/hibernate").await;
    // At the hub as at the root.
    let body = json!({ "capabilities": { "firstMatch": [of(&session)] } });
    let woken = env.client().post("/wd/hub/session", &body).await.expect(200);
    let below = format!("/wd/hub/session/{}", woken.body["value"]["sessionId"].as_str().unwrap());
    let script = json!({ "script": USER, "args": [] });
    let user = env.client().post(&format!("{below}/execute/sync"), &script).await.expect(200);
    assert_eq!(user.body["value"], "acme");
    // With its last tab a WebDriver session is over; the session that is kept is not.
    let closed = env.client().delete(&format!("{below}/window")).await.expect(200);
    assert_eq!(closed.body["value"], json!([]));
    assert_eq!(refusal(&env.client().get(&format!("{below}/url")).await), (404, "invalid session id"));
    env.reaches(&session, SessionState::Ready).await;
    let back = Remote::begin(&env, of(&session)).await;
    assert_eq!(back.run(USER).await, "acme");
    back.end().await;
    env.each_signed_in_once();
}

#[tokio::test]
async fn errors_are_those_of_the_standard() {
    let env = test_env().await;
    let client = env.client();
    for base in ["", "/wd/hub"] {
        let status = client.get(&format!("{base}/status")).await.expect(200);
        assert_eq!(status.body["value"]["ready"], true, "{}", status.body);
        let unauthorized = client.with_token("wrong").get(&format!("{base}/session/x/url")).await;
        assert_eq!(refusal(&unauthorized), (401, "unknown error"), "{}", unauthorized.body);
        assert_eq!(refusal(&client.get(&format!("{base}/session")).await), (405, "unknown method"));
        assert_eq!(refusal(&client.get(&format!("{base}/session/x/url")).await), (404, "invalid session id"));
        assert_eq!(refusal(&client.delete(&format!("{base}/session/x")).await), (404, "invalid session id"));
    }
    assert_eq!(refusal(&client.get("/wd/hub/nothing").await), (404, "unknown command"));
    let legacy = client.post("/session", &json!({ "desiredCapabilities": {} })).await;
    assert_eq!(refusal(&legacy), (400, "invalid argument"));
    let session = env.window("held", json!({})).await;
    client.post(&path(&session, "/hold"), &json!({ "ttl": 600 })).await.expect(201);
    for (capabilities, expected, word) in [
        (json!({ "pageLoadStrategy": "soon" }), (400, "invalid argument"), "pageLoadStrategy"),
        (json!({ "pilotlight:options": { "sight": 1 } }), (400, "invalid argument"), "sight"),
        (json!({ "pilotlight:options": { "site": "nowhere" } }), (500, "session not created"), "nowhere"),
        (json!({ "browserName": "firefox" }), (500, "session not created"), "firefox"),
        (of(&session), (500, "session not created"), "session_in_use"),
    ] {
        let refused = new_session(&env, capabilities).await;
        assert_eq!(refusal(&refused), expected, "{}", refused.body);
        assert!(refused.body["value"]["message"].as_str().unwrap().contains(word), "{}", refused.body);
    }
    assert_eq!(env.names().await, ["held"], "what was refused leaves nothing behind");
    let remote = Remote::begin(&env, json!({})).await;
    let unknown = remote.command(Method::GET, "/nothing", Value::Null).await;
    assert_eq!(refusal(&unknown), (404, "unknown command"), "{}", unknown.body);
}

#[tokio::test]
async fn a_chromedriver_that_dies_is_started_again_and_the_window_never_notices() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    let remote = Remote::begin(&env, of(&session)).await;
    remote.run("window.kept = 'kept'").await;
    let button = json!({ "using": "css selector", "value": "#user" });
    let element = remote.post("/element", button).await;
    let element = element.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
    let before = drivers(&env);
    assert_eq!(before.len(), 1);
    before[0].kill();
    wait_for("another chromedriver", SOON, async || {
        let answer = remote.command(Method::GET, "/url", Value::Null).await;
        expect_that(answer.status == 200, answer.body)
    })
    .await;
    let after = drivers(&env);
    assert!(after.len() == 1 && after != before, "{after:?}");
    assert_eq!(remote.run("return window.kept").await, "kept");
    assert_eq!(remote.get(&format!("/element/{element}/text")).await, "acme", "elements keep their names");
    let now = env.client().session(&session).await;
    assert_eq!((now.state, now.in_use), (SessionState::Ready, true));
    remote.end().await;
    env.each_signed_in_once();
}

#[tokio::test]
async fn nobody_else_of_the_machine_reaches_chromedriver() {
    let env = test_env().await;
    let remote = Remote::begin(&env, json!({})).await;
    let driver = drivers(&env).pop().unwrap();
    let network = |process: i32| std::fs::read_link(format!("/proc/{process}/ns/net")).unwrap();
    assert_ne!(network(driver.id), network(env.server.server_pid()), "it has a network of its own");
    assert_ne!(driver.user_id(), Some(0), "it does not run as root");
    let folders: Vec<_> = std::fs::read_dir(env.server.run_dir())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_str().unwrap().starts_with("driver-"))
        .collect();
    assert_eq!(folders.len(), 1);
    assert_eq!(folders[0].metadata().unwrap().permissions().mode() & 0o777, 0o700);
    remote.end().await;
}

#[tokio::test]
async fn a_session_that_nobody_uses_ends() {
    let env = test_env_with("[sessions]\nwebdriver_timeout = \"2s\"", PortalOptions::default()).await;
    let session = env.window("kept", json!({})).await;
    let kept = Remote::begin(&env, of(&session)).await;
    let passing = Remote::begin(&env, json!({})).await;
    // One that is used lives on: by a command that takes its time, for example.
    let wait = "const done = arguments[0]; setTimeout(() => done('waited'), 6000)";
    let waited = kept.post("/execute/async", json!({ "script": wait, "args": [] })).await;
    assert_eq!(waited, "waited");
    wait_for("the end of the one that was left", SOON, async || {
        let names = env.names().await;
        expect_that(env.client().sessions().await.len() == 1, names)
    })
    .await;
    env.is_free(&session).await;
    for remote in [kept, passing] {
        assert_eq!(
            refusal(&remote.command(Method::GET, "/url", Value::Null).await),
            (404, "invalid session id")
        );
    }
}

#[tokio::test]
async fn the_devtools_protocol_is_beside_it_with_a_ticket_of_its_own() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    let (remote, other) = (Remote::begin(&env, of(&session)).await, Remote::begin(&env, json!({})).await);
    let url = remote.capabilities["se:cdp"].as_str().unwrap();
    assert!(remote.capabilities["se:cdpVersion"].as_str().unwrap().contains('.'), "{}", remote.capabilities);
    let mut devtools = DevTools::connect(url, None).await.unwrap();
    let page = devtools.first_page().await;
    assert_eq!(devtools.evaluate(&page, "document.querySelector('#user').textContent").await, "acme");
    let (bare, ticket) = url.split_once("?token=").unwrap();
    assert!(!url.contains(env.client().token()), "not the server's own");
    for wrong in [bare.to_owned(), format!("{bare}?token={}", "0".repeat(32))] {
        assert!(DevTools::connect(&wrong, None).await.unwrap_err().contains("401"));
    }
    let nobody = env.client().with_token("");
    for elsewhere in ["/sessions", &other.path, &format!("{}/url", other.path)] {
        let refused = nobody.get(&format!("{elsewhere}?token={ticket}")).await;
        assert_eq!(refused.status, 401, "{elsewhere}: {}", refused.body);
    }
    remote.end().await;
    assert!(DevTools::connect(url, None).await.unwrap_err().contains("401"), "it went with its session");
}

#[tokio::test]
async fn bidi_is_of_the_window_alone_and_leaves_no_page() {
    let env = test_env().await;
    let (session, other) = (env.sign_in("acme").await, env.sign_in("other").await);
    assert_eq!(session.shard, other.shard);
    let renderers = || env.server.processes().iter().filter(|one| one.role() == Role::Renderer).count();
    let before = renderers();
    let remote = Remote::begin(&env, with(of(&session), json!({ "webSocketUrl": true }))).await;
    let url = remote.capabilities["webSocketUrl"].as_str().unwrap();
    assert!(url.starts_with(&format!("ws://{}{}", env.server.address(), remote.path)), "{url}");
    let mut bidi = DevTools::connect(url, None).await.unwrap();
    let mut tree = bidi.call(None, "browsingContext.getTree", json!({})).await["contexts"].take();
    assert_eq!(tree.as_array().unwrap().len(), 1, "{tree}");
    let context = tree[0]["context"].take();
    let events = json!({ "events": ["log.entryAdded", "browsingContext.load"] });
    bidi.call(None, "session.subscribe", events).await;
    let script = "console.log('heard'); document.querySelector('#user').textContent";
    let script = json!({ "expression": script, "target": { "context": context }, "awaitPromise": false });
    let told = bidi.call(None, "script.evaluate", script).await;
    assert_eq!(told["result"]["value"], "acme", "{told}");
    assert_eq!(bidi.event("log.entryAdded").await["params"]["text"], "heard");
    let tab = bidi.call(None, "browsingContext.create", json!({ "type": "tab" })).await;
    let appointments = format!("{}appointments", env.portal.url());
    let there = json!({ "context": tab["context"], "url": appointments, "wait": "complete" });
    let there = bidi.call(None, "browsingContext.navigate", there).await;
    assert_eq!(there["url"], appointments);
    let tree = bidi.call(None, "browsingContext.getTree", json!({})).await;
    assert_eq!(tree["contexts"].as_array().unwrap().len(), 2, "{tree}");
    bidi.call(None, "browsingContext.close", json!({ "context": tab["context"] })).await;
    let users = bidi.call(None, "browser.getUserContexts", json!({})).await;
    assert_eq!(users["userContexts"].as_array().unwrap().len(), 1, "{users}");
    assert_eq!(env.client().session(&session).await.tabs, 1, "the page that carries it is not the window's");
    assert_eq!(remote.run(USER).await, "acme", "both ways work beside each other");
    remote.end().await;
    env.is_free(&session).await;
    wait_for("the end of the page that carried it", SOON, async || {
        let left = renderers();
        expect_that(left <= before, left)
    })
    .await;
    assert_eq!(env.client().evaluate(&session, "document.querySelector('#user').textContent").await, "acme");
}

#[tokio::test]
async fn a_window_on_a_display_in_a_browser_of_its_own_is_reached_in_the_same_way() {
    let display = Display::start().await;
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let options = options().config("[chromium]\nengine = \"headed\"").environment("DISPLAY", display.name());
    let env = TestEnv { server: Server::start(options.site("portal", portal.site())).await, portal };
    let wanted = with(account("acme"), json!({ "isolation": "dedicated" }));
    let remote = Remote::begin(&env, json!({ "pilotlight:options": wanted, "webSocketUrl": true })).await;
    assert_eq!(remote.capabilities["browserName"], "chrome");
    assert_eq!(remote.run(USER).await, "acme");
    remote.post("/window/new", json!({ "type": "tab" })).await;
    assert_eq!(remote.get("/window/handles").await.as_array().unwrap().len(), 2);
    let session = remote.session().await;
    assert_eq!((session.isolation, session.tabs), (Isolation::Dedicated, 2));
    remote.end().await;
    env.is_free(&session).await;
}

#[tokio::test]
async fn sessions_in_two_windows_do_not_meet() {
    let env = test_env().await;
    let one = Remote::begin(&env, json!({ "pilotlight:options": account("one") })).await;
    let two = Remote::begin(&env, json!({ "pilotlight:options": account("two") })).await;
    assert_eq!(one.session().await.shard, two.session().await.shard, "they share a browser");
    one.post("/window/new", json!({ "type": "tab" })).await;
    assert_eq!(one.get("/window/handles").await.as_array().unwrap().len(), 2);
    assert_eq!(two.get("/window/handles").await.as_array().unwrap().len(), 1);
    let (first, second) = tokio::join!(one.run("return document.cookie"), two.run(USER));
    assert_eq!((first, second), (json!(""), json!("two")));
    let handle = one.get("/window").await;
    let foreign = two.command(Method::POST, "/window", json!({ "handle": handle })).await;
    assert_eq!(refusal(&foreign), (404, "no such window"));
    assert_eq!(drivers(&env).len(), 1, "one chromedriver serves them all");
    one.end().await;
    two.end().await;
}
