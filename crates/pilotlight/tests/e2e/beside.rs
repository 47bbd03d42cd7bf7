//! Sessions stay signed in while somebody uses them, and nothing of that shows in their pages.
//!
//! In the ordinary run they are used for twice as long as their portal waits; `PILOTLIGHT_USED_SECONDS=300` makes it five
//! minutes, with a portal that signs out after one.

use std::time::Duration;

use pilotlight_api::{EventKind, HoldAnswer, Session, SessionState};
use pilotlight_testkit::harness::{DevTools, Server, expect_that, wait_for};
use pilotlight_testkit::portal::{Portal, PortalOptions};
use serde_json::{Value, json};

use crate::support::{SOON, TestEnv, account, options, path, test_env_with, with};

/// Who is signed in.
const USER: &str = "document.querySelector('#user').textContent";
/// For how long sessions are used.
fn use_lasts() -> Duration {
    let seconds = std::env::var("PILOTLIGHT_USED_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    Duration::from_secs(seconds.unwrap_or(30))
}

/// A portal that signs out much sooner than that.
fn portal() -> PortalOptions {
    let session_timeout = (use_lasts() / 2).min(Duration::from_secs(60));
    PortalOptions { session_timeout, ..PortalOptions::default() }
}

/// An account that is refreshed often enough.
fn often(user: &str) -> Value {
    with(account(user), json!({ "refresh_interval": 3 }))
}

/// Waits until the session was refreshed for much longer than its portal waits.
async fn outlasts_its_portal(env: &TestEnv, session: &Session) {
    wait_for("refreshes for a long time", 4 * SOON + use_lasts(), async || {
        let now = env.client().session(session).await;
        assert_eq!((now.state, now.in_use, now.tabs), (SessionState::Ready, true, 1), "{now:?}");
        let kept_for = now.last_refresh.map(|at| at.duration_since(session.created_at).unsigned_abs());
        expect_that(kept_for.is_some_and(|kept_for| kept_for >= use_lasts()), now)
    })
    .await;
}

async fn hold(env: &TestEnv, session: &Session, body: Value) -> HoldAnswer {
    env.client().post(&path(session, "/hold"), &body).await.expect(201).typed()
}

async fn release(env: &TestEnv, session: &Session, hold: &HoldAnswer) {
    env.client().delete(&path(session, &format!("/hold/{}", hold.hold_id))).await.expect(200);
}

#[tokio::test]
async fn a_client_that_only_listens_stays_signed_in_and_sees_nothing_of_it() {
    let env = test_env_with("", portal()).await;
    let session = env.client().create(&often("listener")).await;
    let mut client =
        DevTools::connect(session.cdp_url.as_deref().unwrap(), Some(env.client().token())).await.unwrap();
    let page = client.first_page().await;
    for domain in ["Page", "Network", "Runtime", "DOM", "Log"] {
        client.call(Some(&page), &format!("{domain}.enable"), json!({})).await;
    }
    client.call(None, "Target.setDiscoverTargets", json!({ "discover": true })).await;
    let attach = json!({ "autoAttach": true, "waitForDebuggerOnStart": true, "flatten": true });
    client.call(None, "Target.setAutoAttach", attach).await;
    client.evaluate(&page, "globalThis.kept = 'here'").await;
    client.events.clear();
    outlasts_its_portal(&env, &session).await;
    assert_eq!(client.evaluate(&page, "globalThis.kept").await, "here");
    // Nothing is there, nothing is asked of the portal, and nothing happens in its page.
    let is_seen = |event: &&Value| event["method"] != "Network.loadingFailed";
    let seen: Vec<&Value> = client.events.iter().filter(is_seen).collect();
    assert!(seen.is_empty(), "{seen:?}");
    drop(client);
    env.is_free(&session).await;
    assert_eq!(env.client().evaluate(&session, USER).await, "listener");
    env.each_signed_in_once();
}

#[tokio::test]
async fn a_held_session_stays_signed_in_by_the_sites_own_way_and_its_page_is_not_touched() {
    let portal = Portal::start(portal()).await.unwrap();
    let mut options = options();
    let ways = ["reload", "visit", "request", "flow"];
    for (name, refresh) in ways.into_iter().zip([
        r#"{ how = "reload" }"#.to_owned(),
        format!("{{ how = \"visit\", url = \"{}appointments\" }}", portal.url()),
        format!("{{ how = \"request\", url = \"{}api/keep_alive\" }}", portal.url()),
        r#"{ how = "flow", flow = "portal/moves.json" }"#.to_owned(),
    ]) {
        let mut site = portal.site();
        let (kept, _) = site.site_toml.split_once("\n# The portal signs a session out").unwrap();
        site.site_toml = format!("{kept}\nrefresh = {refresh}\n");
        options = options.site(name, site);
    }
    let env = TestEnv { server: Server::start(options).await, portal };
    let mut held = Vec::new();
    for way in ways {
        let session = env.client().create(&with(often(way), json!({ "site": way }))).await;
        env.client().evaluate(&session, "globalThis.kept = 'here'").await;
        let hold = hold(&env, &session, json!({ "ttl": 600 })).await;
        held.push((session, hold));
    }
    for (session, hold) in &held {
        outlasts_its_portal(&env, session).await;
        let now = env.client().session(session).await;
        assert_eq!(now.url, session.url);
        release(&env, session, hold).await;
        let kept = env.client().evaluate(session, "globalThis.kept ?? null").await;
        assert_eq!(kept, "here", "{:?}", session.site);
    }
    env.each_signed_in_once();
}

#[tokio::test]
async fn a_quiet_hold_is_left_alone_and_its_end_finds_the_session_signed_out() {
    let env = test_env_with("", portal()).await;
    let session = env.client().create(&often("quiet")).await;
    let other = env.client().create(&often("other")).await;
    let other_hold = hold(&env, &other, json!({ "ttl": 600 })).await;
    let quiet = hold(&env, &session, json!({ "ttl": 600, "quiet": true })).await;
    let requests = env.portal.requests("quiet");
    assert!(env.client().session(&session).await.holds[0].quiet);
    outlasts_its_portal(&env, &other).await;
    release(&env, &other, &other_hold).await;
    assert_eq!(env.portal.requests("quiet"), requests, "it wanted to be alone");
    let mut events = env.client().events(&path(&session, "/events")).await;
    release(&env, &session, &quiet).await;
    events.kind(EventKind::SignedIn, 2 * SOON).await;
    assert_eq!((env.portal.sign_ins("quiet"), env.portal.sign_ins("other")), (2, 1));
}

#[tokio::test]
async fn nothing_is_typed_while_somebody_uses_a_session_that_its_portal_signed_out() {
    let env = test_env_with("", portal()).await;
    let session = env.client().create(&often("lost")).await;
    let mut events = env.client().events(&path(&session, "/events")).await;
    env.client().evaluate(&session, "globalThis.kept = 'here'").await;
    let held = hold(&env, &session, json!({ "ttl": 600 })).await;
    env.portal.log_everybody_out();
    for _ in 0..2 {
        events.kind(EventKind::RefreshFailed, 2 * SOON).await;
    }
    let now = env.client().session(&session).await;
    assert_eq!((now.state, &now.attention, now.url), (SessionState::Ready, &None, session.url.clone()));
    assert_eq!(env.portal.sign_ins("lost"), 1);
    release(&env, &session, &held).await;
    events.kind(EventKind::SignedIn, 2 * SOON).await;
    assert_eq!(env.portal.sign_ins("lost"), 2);
    env.reaches(&session, SessionState::Ready).await;
}
