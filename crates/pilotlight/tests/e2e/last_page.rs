//! The last page of a window may be closed: by a client, by itself, while no client is connected. The window stays, with
//! everything of a moment ago.

use pilotlight_api::{EventKind, Session, SessionState};
use pilotlight_testkit::harness::{DevTools, Role, Server, expect_that, wait_for};
use pilotlight_testkit::portal::{Portal, PortalOptions};
use serde_json::{Value, json};

use crate::clients::{cdp_url, run, server_url, session_url};
use crate::support::{SOON, TestEnv, options, path, test_env};

/// What no checkpoint has heard of yet.
const FRESH: &str = "document.cookie = 'fresh=1; path=/', localStorage.fresh = 'kept', 1";
const IS_FRESH: &str = "[document.cookie.includes('fresh=1'), localStorage.fresh ?? null]";

/// Makes a page close itself once the portal answers that it is down.
const CLOSES_WITHOUT_PORTAL: &str =
    "setInterval(async () => { if ((await fetch('/')).status === 503) window.close() }, 100)";

async fn with_engine(engine: &str) -> TestEnv {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let config = format!("[chromium]\nengine = \"{engine}\"");
    let server = Server::start(options().config(&config).site("portal", portal.site())).await;
    TestEnv { server, portal }
}

/// The pages that are there, the main one first.
async fn targets(client: &mut DevTools) -> Vec<Value> {
    let listed = client.call(None, "Target.getTargets", json!({})).await;
    listed["targetInfos"].as_array().unwrap().clone()
}

/// Closes the page that opened the other one: that one may close itself from then on, being opened by a script.
async fn close_the_opener(env: &TestEnv, session: &Session) {
    let url = session.cdp_url.clone().unwrap();
    let mut client = DevTools::connect(&url, Some(env.client().token())).await.unwrap();
    let listed = targets(&mut client).await;
    let opener = listed.iter().find_map(|target| target["openerId"].as_str());
    let opener = opener.unwrap_or_else(|| panic!("no page was opened by another: {listed:?}"));
    client.call(None, "Target.closeTarget", json!({ "targetId": opener })).await;
    drop(client);
    env.is_free(session).await;
}

/// Evaluates in the page that is left once Chromium has closed the other one.
async fn runs_in_the_only_page(env: &TestEnv, session: &Session, expression: &str) {
    let body = json!({ "expression": expression });
    wait_for("the page that is left", SOON, async || {
        let tabs = env.client().session(session).await.tabs;
        if tabs != 1 {
            return Err((tabs, Value::Null));
        }
        let asked = env.client().post(&path(session, "/evaluate"), &body).await;
        expect_that(asked.status == 200, (tabs, asked.body))
    })
    .await;
}

/// Waits until the session's page shows a signed-in user, and has what was stored a moment before.
async fn is_back(env: &TestEnv, session: &Session, user: &str) {
    let expression = format!("[document.querySelector('#user')?.textContent ?? null, {IS_FRESH}]");
    wait_for("the page to be back", SOON, async || {
        let shown =
            env.client().post(&path(session, "/evaluate"), &json!({ "expression": expression })).await;
        expect_that(shown.body["result"] == json!([user, [true, "kept"]]), shown)
    })
    .await;
    env.reaches(session, SessionState::Ready).await;
    assert_eq!(env.portal.sign_ins(user), 1, "{user}");
}

/// Leaves a session with a single page that may close itself, since a script has opened it.
async fn with_a_page_of_a_script(env: &TestEnv, session: &Session, script: &str) {
    let client = env.client();
    client.evaluate(session, script).await;
    wait_for("the second page", SOON, async || {
        let now = client.session(session).await;
        expect_that(now.tabs == 2, now)
    })
    .await;
    close_the_opener(env, session).await;
    // That it is free is written down before this, so that the next server knows it, too.
    client.patch(&path(session, ""), &json!({ "tags": {} })).await.expect(200);
}

#[tokio::test]
async fn a_client_that_closes_the_last_page_goes_on_in_the_same_window() {
    for engine in ["headless-shell", "headless"] {
        let env = with_engine(engine).await;
        let session = env.sign_in("acme").await;
        let url = session.cdp_url.clone().unwrap();
        let mut client = DevTools::connect(&url, Some(env.client().token())).await.unwrap();
        for _ in 0..2 {
            let page = client.first_page().await;
            client.evaluate(&page, FRESH).await;
            let page = targets(&mut client).await[0]["targetId"].clone();
            client.call(None, "Target.closeTarget", json!({ "targetId": page })).await;
            let created = client.call(None, "Target.createTarget", json!({ "url": env.portal.url() })).await;
            assert!(created["targetId"].is_string(), "{engine}: {created}");
            let cookies = client.call(None, "Storage.getCookies", json!({})).await;
            let names: Vec<&Value> =
                cookies["cookies"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
            assert!(names.contains(&&json!("fresh")), "{engine}: {names:?}");
            let now = env.client().session(&session).await;
            assert!(now.in_use && now.shard == session.shard, "{engine}: a held session is moved: {now:?}");
            // The next round closes the client's page, too. Chromium lists a page for a moment after it has agreed to
            // close it, so the empty page may be asked to go more than once.
            wait_for("the end of the empty page", SOON, async || {
                let others = targets(&mut client).await;
                let others: Vec<_> = others.iter().map(|target| &target["targetId"]).collect();
                for other in others.iter().filter(|other| ***other != created["targetId"]) {
                    drop(client.try_call(None, "Target.closeTarget", json!({ "targetId": other })).await);
                }
                let now = env.client().session(&session).await;
                expect_that(now.tabs == 1 && others == [&created["targetId"]], now)
            })
            .await;
        }
        drop(client);
        env.is_free(&session).await;
        is_back(&env, &session, "acme").await;
        assert_eq!(env.client().session(&session).await.shard, session.shard, "{engine}");
    }
}

#[tokio::test]
async fn a_page_that_closes_itself_leaves_the_window_as_it_was() {
    for engine in ["headless-shell", "headless"] {
        let env = with_engine(engine).await;
        let session = env.sign_in("acme").await;
        let mut events = env.client().events(&path(&session, "/events")).await;
        // A page may close itself where it was opened by a script.
        let open = format!("void open('{}', '_blank')", env.portal.url());
        env.client().evaluate(&session, &open).await;
        wait_for("the second page", SOON, async || {
            let now = env.client().session(&session).await;
            expect_that(now.tabs == 2, now)
        })
        .await;
        close_the_opener(&env, &session).await;
        runs_in_the_only_page(&env, &session, FRESH).await;
        // Once, whatever is answered: the page may be gone before that, and another one be there in its place.
        let close = json!({ "expression": "setTimeout(() => window.close(), 100), 1" });
        env.client().post(&path(&session, "/evaluate"), &close).await;
        let told = events.kind(EventKind::LastPageClosed, SOON).await;
        assert!(!told.message.is_empty(), "{engine}: {told:?}");
        is_back(&env, &session, "acme").await;
        let now = env.client().session(&session).await;
        assert_eq!((now.shard, now.tabs), (session.shard, 1), "{engine}");
    }
}

#[tokio::test]
async fn a_page_that_closes_itself_while_no_server_is_there_leaves_its_window_to_the_next() {
    let mut env = test_env().await;
    let session = env.sign_in("acme").await;
    // A page may close itself while it has nowhere to go back to.
    with_a_page_of_a_script(&env, &session, &format!("({FRESH}), void open('/', '_blank')")).await;
    runs_in_the_only_page(&env, &session, CLOSES_WITHOUT_PORTAL).await;
    env.server.kill_server();
    let processes = env.server.processes();
    let renderers: Vec<_> = processes.iter().filter(|one| one.role() == Role::Renderer).collect();
    env.portal.set_down(true);
    wait_for("the page to be gone", SOON, async || {
        expect_that(renderers.iter().any(|renderer| !renderer.is_alive()), renderers.len())
    })
    .await;
    env.portal.set_down(false);
    env = env.start_again().await.0;
    let mut events = env.client().events(&path(&session, "/events?after=0")).await;
    events.kind(EventKind::LastPageClosed, SOON).await;
    is_back(&env, &session, "acme").await;
    assert_eq!(env.client().session(&session).await.shard, session.shard);
}

/// Some clients take the first page that they find, and have no use for a window without one.
#[tokio::test]
async fn who_comes_right_after_the_last_page_was_closed_finds_another_one() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    let url = session.cdp_url.clone().unwrap();
    for _ in 0..5 {
        let mut client = DevTools::connect(&url, Some(env.client().token())).await.unwrap();
        client.call(None, "Target.setDiscoverTargets", json!({ "discover": true })).await;
        let page = targets(&mut client).await[0]["targetId"].clone();
        client.call(None, "Target.closeTarget", json!({ "targetId": page })).await;
        client.event("Target.targetDestroyed").await;
        let mut next = DevTools::connect(&url, Some(env.client().token())).await.unwrap();
        let listed = targets(&mut next).await;
        assert!(listed.iter().any(|target| target["type"] == "page"), "{listed:?}");
        drop((client, next));
        env.is_free(&session).await;
    }
    env.reaches(&session, SessionState::Ready).await;
}

#[tokio::test]
async fn a_last_page_closed_in_a_held_session_is_opened_again_by_the_next_server() {
    let mut env = test_env().await;
    let session = env.sign_in("acme").await;
    with_a_page_of_a_script(&env, &session, &format!("void open('{}', '_blank')", env.portal.url())).await;
    let hold = env.client().post(&path(&session, "/hold"), &json!({ "ttl": 600 })).await.expect(201).body;
    let close = format!("({FRESH}), setTimeout(() => window.close(), 100), 1");
    runs_in_the_only_page(&env, &session, &close).await;
    // What its holder does with the empty page is for its holder.
    wait_for("the empty page", SOON, async || {
        let now = env.client().session(&session).await;
        expect_that(now.in_use && now.tabs == 1 && now.url.as_deref() == Some("about:blank"), now)
    })
    .await;
    env.server.kill_server();
    env = env.start_again().await.0;
    let hold = format!("/hold/{}", hold["hold_id"].as_str().unwrap());
    env.client().delete(&path(&session, &hold)).await.expect(200);
    is_back(&env, &session, "acme").await;
    assert_eq!(env.client().session(&session).await.shard, session.shard);
    // An empty page shows nothing of the portal. If it always showed the sign-in form, a password would be typed.
    assert!(!env.server.log().contains("signed_out"), "it was taken to be signed out");
}

#[tokio::test]
async fn playwright_closes_the_last_page_and_goes_on() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    let [url, key] = session_url(&env, &session);
    run("node".as_ref(), "last_page_playwright.js", &[&url, &key, &env.portal.url()], &std::env::temp_dir())
        .await;
    env.is_free(&session).await;
    is_back(&env, &session, "acme").await;
}

#[tokio::test]
async fn puppeteer_closes_all_pages_and_goes_on() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    let [url, key] = cdp_url(&env, &session);
    run("node".as_ref(), "last_page_puppeteer.js", &[&url, &key, &env.portal.url()], &std::env::temp_dir())
        .await;
    env.is_free(&session).await;
    is_back(&env, &session, "acme").await;
}

#[tokio::test]
async fn selenium_closes_its_window_and_comes_again() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    let [url, key] = server_url(&env, &session);
    run("node".as_ref(), "last_page_selenium.js", &[&url, &key, &env.portal.url()], &std::env::temp_dir())
        .await;
    env.is_free(&session).await;
    is_back(&env, &session, "acme").await;
}
