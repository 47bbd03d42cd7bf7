//! Clients of the DevTools protocol that are not as they should be, and those who have to live beside them.
//! What real clients do is in `clients`.

use std::time::Duration;

use pilotlight_api::{Session, SessionState};
use pilotlight_testkit::harness::{DevTools, Role, Server, expect_that, pss_bytes, wait_for};
use pilotlight_testkit::portal::{Portal, PortalOptions};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Display, SOON, TestEnv, options, path, test_env};

/// Who is signed in.
const USER: &str = "document.querySelector('#user').textContent";
/// How long a client that reads nothing may be served, and a while.
const CUT_OFF_WITHIN: Duration = Duration::from_secs(60);

async fn connect(env: &TestEnv, session: &Session) -> DevTools {
    try_connect(env, session).await.unwrap()
}

async fn try_connect(env: &TestEnv, session: &Session) -> Result<DevTools, String> {
    DevTools::connect(session.cdp_url.as_deref().unwrap(), Some(env.client().token())).await
}

fn renderers(env: &TestEnv) -> usize {
    env.server.processes().iter().filter(|process| process.role() == Role::Renderer).count()
}

/// Chromium answers before a page's renderer has its name, and before one that is not needed any more has ended.
async fn renderers_become(count: usize, env: &TestEnv) {
    wait_for("the renderers", SOON, async || {
        let there = renderers(env);
        expect_that(there == count, there)
    })
    .await;
}

/// The state of a session that must not be accessible to others.
struct Belongings {
    target: String,
    context: String,
    session: String,
    own_context: String,
    own_target: String,
}

impl Belongings {
    /// Of a client that attached to its page, and made a context with a page for itself.
    async fn of(client: &mut DevTools) -> Self {
        let session = client.first_page().await;
        let info = client.call(Some(&session), "Target.getTargetInfo", json!({})).await["targetInfo"].take();
        let made = client.call(None, "Target.createBrowserContext", json!({})).await;
        let page = json!({ "url": "about:blank", "browserContextId": made["browserContextId"] });
        let page = client.call(None, "Target.createTarget", page).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            target: text(&info["targetId"]),
            context: text(&info["browserContextId"]),
            session,
            own_context: text(&made["browserContextId"]),
            own_target: text(&page["targetId"]),
        }
    }

    fn names(&self) -> [&str; 5] {
        [&self.target, &self.context, &self.session, &self.own_context, &self.own_target]
    }

    /// Every command that could use an id of another session.
    fn attacks(&self) -> Vec<(Option<&str>, &'static str, Value)> {
        let mut attacks = Vec::new();
        let tabs = [format!("TAB-{}", self.target), format!("TAB-{}", self.own_target)];
        for target in [&self.target, &self.own_target, &tabs[0], &tabs[1]] {
            for method in [
                "Target.getTargetInfo",
                "Target.activateTarget",
                "Target.closeTarget",
                "Target.exposeDevToolsProtocol",
                "Target.autoAttachRelated",
                "Target.openDevTools",
                "Browser.getWindowForTarget",
            ] {
                attacks.push((None, method, json!({ "targetId": target, "waitForDebuggerOnStart": false })));
            }
            attacks.push((None, "Target.attachToTarget", json!({ "targetId": target, "flatten": true })));
            let message = json!({ "id": 1, "method": "Page.close" }).to_string();
            let params = json!({ "targetId": target, "message": message });
            attacks.push((None, "Target.sendMessageToTarget", params));
        }
        for context in [&self.context, &self.own_context] {
            let cookie = json!({ "name": "planted", "value": "x", "url": "http://127.0.0.1/" });
            for (method, mut params) in [
                ("Target.createTarget", json!({ "url": "about:blank" })),
                ("Target.disposeBrowserContext", json!({})),
                ("Storage.getCookies", json!({})),
                ("Storage.clearCookies", json!({})),
                ("Storage.setCookies", json!({ "cookies": [cookie] })),
                ("Browser.grantPermissions", json!({ "permissions": ["geolocation"] })),
                ("Browser.resetPermissions", json!({})),
                ("Browser.setDownloadBehavior", json!({ "behavior": "allow", "downloadPath": "/tmp" })),
            ] {
                params["browserContextId"] = json!(context);
                attacks.push((None, method, params));
            }
        }
        for session in [self.session.as_str(), ""] {
            for (method, params) in [
                ("Runtime.evaluate", json!({ "expression": "document.body.remove()" })),
                ("Page.close", json!({})),
                ("Network.getCookies", json!({})),
                ("Target.setAutoAttach", json!({ "autoAttach": true, "waitForDebuggerOnStart": true })),
            ] {
                attacks.push((Some(session), method, params));
            }
            attacks.push((None, "Target.detachFromTarget", json!({ "sessionId": session })));
        }
        for method in [
            "Browser.crash",
            "Tracing.start",
            "SystemInfo.getProcessInfo",
            "Memory.forciblyPurgeJavaScriptMemory",
        ] {
            attacks.push((None, method, json!({})));
        }
        attacks
    }
}

#[tokio::test]
async fn a_hostile_client_gets_at_nothing_of_another_session() {
    let env = test_env().await;
    let (victim, other) = (env.sign_in("victim").await, env.sign_in("hostile").await);
    assert_eq!(victim.shard, other.shard, "they share a browser");
    let mut honest = connect(&env, &victim).await;
    let theirs = Belongings::of(&mut honest).await;
    let mut hostile = connect(&env, &other).await;
    let own = Belongings::of(&mut hostile).await;

    for discover in [json!({ "discover": true }), json!({ "discover": true, "filter": [{}] })] {
        hostile.call(None, "Target.setDiscoverTargets", discover).await;
    }
    let every =
        json!({ "autoAttach": true, "waitForDebuggerOnStart": true, "flatten": true, "filter": [{}] });
    hostile.call(None, "Target.setAutoAttach", every).await;
    for (session, method, params) in theirs.attacks() {
        // What it cannot do at the browser it tries again from its own page.
        let from = if session.is_some() { vec![session] } else { vec![None, Some(own.session.as_str())] };
        for session in from {
            let reply = hostile.try_call(session, method, params.clone()).await;
            assert!(reply.is_err(), "{method} {params} in {session:?}: {reply:?}");
            let told = reply.unwrap_err().to_string();
            assert!(!theirs.names().iter().any(|name| told.contains(name)), "{method}: {told}");
        }
    }
    let listed = hostile.call(None, "Target.getTargets", json!({ "filter": [{}] })).await;
    let contexts = hostile.call(None, "Target.getBrowserContexts", json!({})).await;
    let told = format!("{listed} {contexts} {:?}", hostile.events);
    for name in theirs.names() {
        assert!(!told.contains(name), "it was told of {name}: {told}");
    }

    // The other session's page is unchanged and runs, and its new pages are not paused.
    assert_eq!(honest.evaluate(&theirs.session, USER).await, "victim");
    let page = json!({ "url": "about:blank" });
    let page = honest.call(None, "Target.createTarget", page).await["targetId"].take();
    let attached =
        honest.call(None, "Target.attachToTarget", json!({ "targetId": page, "flatten": true })).await;
    assert_eq!(honest.evaluate(attached["sessionId"].as_str().unwrap(), "1 + 1").await, 2);
    let cookies = honest.call(None, "Storage.getCookies", json!({})).await;
    assert!(!cookies.to_string().contains("planted") && cookies.to_string().contains("portal_session"));
    let contexts = honest.call(None, "Target.getBrowserContexts", json!({})).await;
    assert_eq!(contexts["browserContextIds"], json!([theirs.own_context]));
}

#[tokio::test]
async fn two_clients_in_two_sessions_of_one_browser_see_only_their_own() {
    let env = test_env().await;
    let users = ["one", "two"];
    let sessions = [env.sign_in(users[0]).await, env.sign_in(users[1]).await];
    assert_eq!(sessions[0].shard, sessions[1].shard);
    let clients = sessions.iter().zip(users).map(|(session, user)| {
        let env = &env;
        async move {
            let mut client = connect(env, session).await;
            client.call(None, "Target.setDiscoverTargets", json!({ "discover": true })).await;
            let attach = json!({ "autoAttach": true, "waitForDebuggerOnStart": true, "flatten": true });
            client.call(None, "Target.setAutoAttach", attach).await;
            let event = client.event("Target.attachedToTarget").await;
            let page = event["params"]["sessionId"].as_str().unwrap().to_owned();
            for round in 0..20 {
                let url = json!({ "url": format!("{}appointments?{user}-{round}", env.portal.url()) });
                client.call(None, "Target.createTarget", url).await;
                let event = client.event("Target.attachedToTarget").await;
                let tab = event["params"]["sessionId"].as_str().unwrap().to_owned();
                client.call(Some(&tab), "Runtime.runIfWaitingForDebugger", json!({})).await;
                let at = wait_for("the tab's page", SOON, async || {
                    let at = client.evaluate(&tab, "location.search").await;
                    expect_that(at != "", at)
                })
                .await;
                assert_eq!(at, format!("?{user}-{round}"));
                client.call(Some(&tab), "Page.enable", json!({})).await;
                let target = event["params"]["targetInfo"]["targetId"].clone();
                client.call(None, "Target.closeTarget", json!({ "targetId": target })).await;
                client.event("Target.targetDestroyed").await;
            }
            assert_eq!(client.evaluate(&page, USER).await, user);
            let told = format!("{:?}", client.events);
            let other = if user == "one" { "?two-" } else { "?one-" };
            assert!(!told.contains(other), "{user} was told of the other's pages: {told}");
            let cookies = client.call(None, "Storage.getCookies", json!({})).await;
            cookies["cookies"]
                .as_array()
                .unwrap()
                .iter()
                .find(|cookie| cookie["name"] == "portal_session")
                .cloned()
        }
    });
    let cookies = futures_util::future::join_all(clients).await;
    assert!(cookies[0].is_some() && cookies[0] != cookies[1], "{cookies:?}");
}

#[tokio::test]
async fn with_a_client_that_vanishes_goes_all_that_was_its() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    renderers_become(1, &env).await;
    for _ in 0..3 {
        let mut client = connect(&env, &session).await;
        assert!(env.client().session(&session).await.in_use);
        let theirs = Belongings::of(&mut client).await;
        client.evaluate(&theirs.session, "globalThis.kept = 'kept'").await;
        // Its own context has a page.
        renderers_become(2, &env).await;
        // In the middle of a command, without a word.
        client.tell(Some(&theirs.session), "Runtime.evaluate", &json!({ "expression": "1" })).await;
        drop(client);
        env.is_free(&session).await;
        renderers_become(1, &env).await;
    }
    assert_eq!(env.client().evaluate(&session, "kept").await, "kept");
    assert_eq!(env.client().session(&session).await.tabs, 1);
    env.each_signed_in_once();
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_and_its_session_unharmed() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    let server = env.server.server_pid();
    let mut deaf = connect(&env, &session).await;
    let page = deaf.first_page().await;
    let before = pss_bytes(server).unwrap();
    for _ in 0..64 {
        let large = json!({ "expression": "'x'.repeat(4_000_000)", "returnByValue": true });
        deaf.tell(Some(&page), "Runtime.evaluate", &large).await;
    }
    let since = Instant::now();
    let mut most = 0;
    wait_for("the end of its stay", CUT_OFF_WITHIN, async || {
        most = most.max(pss_bytes(server).unwrap().saturating_sub(before));
        let now = env.client().session(&session).await;
        expect_that(!now.in_use, now)
    })
    .await;
    println!("It was cut off after {:?} and had cost {most} bytes.", since.elapsed());
    assert!(most < 128 * 1024 * 1024, "256 MB were asked for; the server took {most} bytes");
    let last_words = deaf.close_message().await;
    assert!(last_words.is_none_or(|(code, _)| code != 1000), "it was not served to the end");
    assert_eq!(env.client().evaluate(&session, USER).await, "acme");
    let mut next = connect(&env, &session).await;
    let page = next.first_page().await;
    assert_eq!(next.evaluate(&page, USER).await, "acme");
}

#[tokio::test]
async fn clients_share_a_session_unless_somebody_holds_it_alone() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    let alone = env.client().post(&path(&session, "/hold"), &json!({ "ttl": 600 })).await.expect(201);
    let refused = try_connect(&env, &session).await.unwrap_err();
    assert!(refused.contains("409"), "{refused}");
    let below = path(&session, &format!("/hold/{}", alone.body["hold_id"].as_str().unwrap()));
    env.client().delete(&below).await.expect(200);

    let mut one = connect(&env, &session).await;
    let mut other = connect(&env, &session).await;
    let (page, same) = (one.first_page().await, other.first_page().await);
    assert_ne!(page, same, "each has a session of its own");
    one.evaluate(&page, "globalThis.said = 'hello'").await;
    assert_eq!(other.evaluate(&same, "said").await, "hello");
    let refused = env.client().post(&path(&session, "/hold"), &json!({})).await;
    assert_eq!(refused.refusal(), (409, "session_in_use"));
    for order in ["/freeze", "/hibernate", "/refresh", "/restart"] {
        let refused = env.client().post_nothing(&path(&session, order)).await;
        assert_eq!(refused.refusal(), (409, "session_in_use"), "{order}");
    }
    drop(one);
    assert_eq!(other.evaluate(&same, "said").await, "hello");
    assert!(env.client().session(&session).await.in_use, "the other is still there");
    // Closing the browser is leaving it.
    other.call(None, "Browser.close", json!({})).await;
    assert_eq!(other.close_message().await.map(|(code, _)| code), Some(1000));
    env.is_free(&session).await;
    assert_eq!(env.client().evaluate(&session, "said").await, "hello");
}

#[tokio::test]
async fn a_client_wakes_the_session_and_its_work_is_use() {
    let env = test_env().await;
    let dedicated = json!({ "isolation": "dedicated" });
    let session =
        env.client().create(&crate::support::with(crate::support::account("acme"), dedicated)).await;
    for order in ["/freeze", "/hibernate"] {
        env.order(&session, order).await;
        let before = env.client().session(&session).await.last_used;
        let mut client = connect(&env, &session).await;
        let page = client.first_page().await;
        assert_eq!(client.evaluate(&page, USER).await, "acme", "after {order}");
        let now = env.client().session(&session).await;
        assert_eq!(now.state, SessionState::Ready, "after {order}");
        wait_for("a use", SOON, async || {
            client.evaluate(&page, "1").await;
            let now = env.client().session(&session).await;
            expect_that(now.last_used > before, now)
        })
        .await;
        drop(client);
        env.is_free(&session).await;
    }
    env.each_signed_in_once();
}

#[tokio::test]
async fn a_window_on_a_display_is_reached_in_the_same_way() {
    let display = Display::start().await;
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let options = options().config("[chromium]\nengine = \"headed\"").environment("DISPLAY", display.name());
    let env = TestEnv { server: Server::start(options.site("portal", portal.site())).await, portal };
    let session = env.sign_in("acme").await;
    let mut client = connect(&env, &session).await;
    let page = client.first_page().await;
    assert_eq!(client.evaluate(&page, USER).await, "acme");
    let tab = json!({ "url": format!("{}appointments", env.portal.url()) });
    client.call(None, "Target.createTarget", tab).await;
    let listed = client.call(None, "Target.getTargets", json!({})).await;
    let pages = listed["targetInfos"].as_array().unwrap().iter().filter(|target| target["type"] == "page");
    assert_eq!(pages.count(), 2, "{listed}");
    assert_eq!(env.client().session(&session).await.tabs, 2);
}

/// What is taken back from a client that has left is not taken from the one that comes right after it.
#[tokio::test]
async fn who_comes_right_after_another_client_keeps_what_it_sets() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    let allow = json!({ "behavior": "allow", "downloadPath": "/tmp" });
    for number in 0..10 {
        let mut first = connect(&env, &session).await;
        first.call(None, "Browser.setDownloadBehavior", allow.clone()).await;
        drop(first);
        let mut next = connect(&env, &session).await;
        let page = next.first_page().await;
        next.call(None, "Browser.setDownloadBehavior", allow.clone()).await;
        let script = format!(
            "{{ const link = document.createElement('a'); link.download = '{number}.txt';
            link.href = URL.createObjectURL(new Blob(['content'])); document.body.append(link); link.click() }}"
        );
        next.evaluate(&page, &script).await;
        let file = path(&session, &format!("/files/{number}.txt"));
        wait_for("the download", SOON, async || {
            let got = env.client().get(&file).await;
            expect_that(got.status == 200 && got.bytes == b"content", got.status)
        })
        .await;
        drop(next);
        env.is_free(&session).await;
    }
}
