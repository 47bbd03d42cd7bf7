//! Hibernated sessions are kept signed in.

use std::time::Duration;

use pilotlight_api::{Session, SessionState};
use pilotlight_testkit::harness::{Server, expect_that, wait_for};
use pilotlight_testkit::portal::{ExampleSite, Portal, PortalOptions};
use serde_json::json;

use crate::chaos::work::brought_back;
use crate::support::{SOON, TestEnv, account, options, path, test_env_with, with};

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
    let request = format!("refresh = {{ how = \"request\", url = \"{}api/keep_alive\" }}", portal.url());
    let never = "refresh = { how = \"reload\", asleep = \"never\" }";
    let sites = options().site("portal", site(&portal, &request)).site("never", site(&portal, never));
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

/// The portal's site, refreshed as `refresh` says.
fn site(portal: &Portal, refresh: &str) -> ExampleSite {
    let mut site = portal.site();
    let usual = "refresh = { how = \"reload\", every = \"5m\" }";
    assert!(site.site_toml.contains(usual));
    site.site_toml = site.site_toml.replace(usual, refresh);
    site
}

#[tokio::test]
async fn a_document_alone_keeps_it_signed_in_with_a_cookie_that_changes_each_time_and_costs_it_nothing() {
    let portal = Portal::start(PortalOptions { rotates_cookie: true, ..portal() }).await.unwrap();
    // A page with a large script and pictures that no cache has.
    let document = format!(
        "refresh = {{ how = \"visit\", url = \"{}heavy/anew\", asleep = \"document\" }}",
        portal.url()
    );
    let sites = options().site("portal", site(&portal, &document));
    let env = TestEnv { server: Server::start(sites).await, portal };
    let asleep = env.at_work("asleep", json!({ "refresh_interval": 3 })).await;
    env.order(&asleep, "/hibernate").await;
    let before = env.portal.sent();
    outlasts_its_portal(&env, &asleep).await;
    let after = env.portal.sent();
    let (gets, documents) = (after.gets - before.gets, after.documents - before.documents);
    assert!(documents >= 5 && gets == documents, "{gets} requests for {documents} documents");
    assert_eq!(after.others, before.others, "something was sent");
    let metrics = String::from_utf8(env.client().get("/metrics").await.expect(200).bytes).unwrap();
    let counted = "pilotlight_refreshes_total{how=\"document\",outcome=\"signed_in\"} ";
    let counted = metrics.lines().find_map(|line| line.strip_prefix(counted)?.parse::<u64>().ok());
    assert!(counted.is_some_and(|counted| counted >= documents), "{documents} documents: {metrics}");
    assert!(metrics.contains("pilotlight_refresh_lag_seconds"), "{metrics}");
    env.order(&asleep, "/wake").await;
    assert_eq!(env.read(&asleep).await, brought_back("asleep"), "it lost what it had");
    env.each_signed_in_once();
}

#[tokio::test]
async fn whoever_a_document_shows_signed_out_is_signed_in_again_in_a_window_with_what_it_has() {
    let portal = Portal::start(portal()).await.unwrap();
    let document = "refresh = { how = \"reload\", asleep = \"document\" }";
    let sites = options().config(ONE).site("portal", site(&portal, document));
    let env = TestEnv { server: Server::start(sites).await, portal };
    let asleep = env.at_work("asleep", json!({ "refresh_interval": 3 })).await;
    // It takes the only window.
    let used = env.client().create(&often("used")).await;
    env.portal.log_everybody_out();
    wait_for("another sign-in", SOON, async || {
        let sign_ins = env.portal.sign_ins("asleep");
        expect_that(sign_ins == 2, sign_ins)
    })
    .await;
    outlasts_its_portal(&env, &asleep).await;
    assert_eq!(env.portal.sign_ins("asleep"), 2, "a document keeps it from then on");
    env.client().delete(&path(&used, "")).await.expect(200);
    env.order(&asleep, "/wake").await;
    let there = json!({ "url": env.workbench_url() });
    env.client().post(&path(&asleep, "/navigate"), &there).await.expect(200);
    let work = env.read(&asleep).await;
    let stored = (work.local_storage.as_deref(), work.indexed_db.as_deref());
    assert_eq!(stored, (Some("asleep"), Some("asleep")));
}
