//! Hibernated sessions are kept signed in.

use std::time::Duration;

use pilotlight_api::{Session, SessionState};
use pilotlight_testkit::harness::{Server, expect_that, wait_for};
use pilotlight_testkit::portal::{Portal, PortalOptions};
use serde_json::json;

use crate::support::{SOON, TestEnv, account, options, test_env_with, with};

/// After how long without a request the portal signs out.
const SIGNS_OUT_AFTER: Duration = Duration::from_secs(15);
/// One window in all.
const ONE: &str = "[limits]\nmax_live = 1";

fn portal() -> PortalOptions {
    PortalOptions { session_timeout: SIGNS_OUT_AFTER, ..PortalOptions::default() }
}

/// An account that is refreshed often enough.
fn often(user: &str) -> serde_json::Value {
    with(account(user), json!({ "refresh_interval": 3 }))
}

/// Waits until the session was refreshed for much longer than its portal waits. It says all the time that it hibernates.
async fn outlasts_its_portal(env: &TestEnv, session: &Session) -> Session {
    wait_for("refreshes for a long time", 4 * SOON, async || {
        let now = env.client().session(session).await;
        assert_eq!((now.state, now.tabs, &now.shard), (SessionState::Hibernated, 0, &None), "{now:?}");
        let kept_for = now.last_refresh.map(|at| at.duration_since(session.created_at).unsigned_abs());
        expect_that(kept_for.is_some_and(|kept_for| kept_for >= 2 * SIGNS_OUT_AFTER), now)
    })
    .await
}

#[tokio::test]
async fn a_hibernated_session_outlasts_its_portal_on_a_full_machine() {
    let env = test_env_with(ONE, portal()).await;
    let asleep = env.at_work("asleep", json!({ "refresh_interval": 3 })).await;
    // It takes the only window.
    let used = env.client().create(&often("used")).await;
    env.client().evaluate(&used, "globalThis.kept = 'here'").await;
    outlasts_its_portal(&env, &asleep).await;
    assert_eq!(env.client().session(&used).await.state, SessionState::Ready);
    env.each_signed_in_once();
    env.read(&asleep).await;
    env.each_signed_in_once();
}

#[tokio::test]
async fn it_is_kept_by_the_sites_own_way_and_not_where_the_site_says_never() {
    let portal = Portal::start(portal()).await.unwrap();
    let refreshed_by = |how: &str| {
        let mut site = portal.site();
        let usual = "refresh = { how = \"reload\", every = \"5m\" }";
        assert!(site.site_toml.contains(usual));
        site.site_toml = site.site_toml.replace(usual, how);
        site
    };
    let request = format!("refresh = {{ how = \"request\", url = \"{}api/keep_alive\" }}", portal.url());
    let never = "refresh = { how = \"reload\", asleep = \"never\" }";
    let sites = options().site("portal", refreshed_by(&request)).site("never", refreshed_by(never));
    let server = Server::start(sites).await;
    let env = TestEnv { server, portal };
    let asked = env.client().create(&often("asked")).await;
    let left = env.client().create(&with(often("left"), json!({ "site": "never" }))).await;
    for session in [&asked, &left] {
        assert_eq!(env.order(session, "/hibernate").await.state, SessionState::Hibernated);
    }
    let requests = env.portal.requests("left");
    outlasts_its_portal(&env, &asked).await;
    assert_eq!(env.portal.requests("left"), requests, "it was loaded although it is not to be");
    env.order(&asked, "/wake").await;
    assert_eq!(env.portal.sign_ins("asked"), 1);
    // Its portal has signed it out, so it is signed in again.
    env.order(&left, "/wake").await;
    env.reaches(&left, SessionState::Ready).await;
    assert_eq!(env.portal.sign_ins("left"), 2);
}
