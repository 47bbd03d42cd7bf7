//! Sign-ins are kept alive, and no failure of the portal ends a session.

use std::time::Duration;

use futures_util::future::join_all;
use pilotlight_api::{EventKind, Session, SessionState};
use pilotlight_testkit::harness::{Server, expect_that, wait_for};
use pilotlight_testkit::portal::{ExampleSite, Portal, PortalOptions};
use serde_json::json;

use crate::support::{SOON, TestEnv, account, options, path, test_env, test_env_with, with};

/// Sites on which so many sign in at the same time get no more.
const MAX_SIGN_INS_PER_SITE: u64 = 4;
const OFTEN: &str = "[sessions]\nrefresh_interval = \"1s\"\nrefresh_check = \"1s\"";

/// Waits until `user` has sent so many requests more.
async fn requests(env: &TestEnv, user: &str, more: u64) {
    let before = env.portal.requests(user);
    wait_for(&format!("{more} requests of {user}"), SOON, async || {
        let since = env.portal.requests(user) - before;
        expect_that(since >= more, since)
    })
    .await;
}

#[tokio::test]
async fn zero_and_never_terminate_are_not_refreshed() {
    let env = test_env().await;
    let often = json!({ "refresh_interval": "1s" });
    env.client().create(&with(account("often"), often.clone())).await;
    let never = env.client().create(&with(account("never"), json!({ "refresh_interval": 0 }))).await;
    // One that nothing terminates is left alone, unless its own interval was given.
    let immortal = json!({ "never_terminate": true });
    env.client().create(&with(account("immortal"), immortal.clone())).await;
    env.client().create(&with(with(account("both"), immortal), often)).await;
    let before = [env.portal.requests("never"), env.portal.requests("immortal")];
    requests(&env, "often", 3).await;
    requests(&env, "both", 2).await;
    assert_eq!([env.portal.requests("never"), env.portal.requests("immortal")], before);
    assert_eq!(env.client().session(&never).await.last_refresh, None);
}

#[tokio::test]
async fn the_configured_interval_holds_for_sites_that_have_none() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let mut site = portal.site();
    site.site_toml = site.site_toml.replace("refresh = {", "# refresh = {");
    let server = Server::start(options().config(OFTEN).site("portal", site)).await;
    let env = TestEnv { server, portal };
    let session = env.sign_in("acme").await;
    requests(&env, "acme", 3).await;
    let now = env.client().session(&session).await;
    assert!(now.last_refresh.is_some());
    assert_eq!(now.last_used, session.last_used, "a refresh is not use");
}

/// The portal's site, refreshed as `refresh` says.
fn site(portal: &Portal, refresh: &str) -> ExampleSite {
    let mut site = portal.site();
    let (kept, _) = site.site_toml.split_once("\n# The portal signs a session out").unwrap();
    site.site_toml = format!("{kept}\nrefresh = {{ {refresh} }}\n");
    site
}

/// Leaves a mark in a variable of the page, which does not survive that the page is loaded again.
async fn leave_mark(env: &TestEnv, session: &Session) {
    env.client().evaluate(session, "window.mark = 'here'").await;
}

async fn has_mark(env: &TestEnv, session: &Session) -> bool {
    env.client().evaluate(session, "window.mark ?? null").await == "here"
}

#[tokio::test]
async fn each_way_of_refreshing_does_what_it_says_where_the_site_says() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let visit = format!("how = \"visit\", url = \"{}appointments\"", portal.url());
    let request = format!("how = \"request\", url = \"{}api/keep_alive\"", portal.url());
    let ways = [
        ("reload", "how = \"reload\"", "", false),
        ("visit", visit.as_str(), "appointments", false),
        ("request", request.as_str(), "", true),
        ("flow", "how = \"flow\", flow = \"portal/moves.json\"", "moves", false),
    ];
    let mut options = options();
    for (name, refresh, ..) in ways {
        options = options.site(name, site(&portal, refresh));
        let in_page = site(&portal, &format!("{refresh}, where = \"page\""));
        options = options.site(&format!("{name}-page"), in_page);
    }
    let env = TestEnv { server: Server::start(options).await, portal };
    for (how, _, page, keeps_memory) in ways {
        for (name, page, keeps_memory) in
            [(how.to_owned(), "", true), (format!("{how}-page"), page, keeps_memory)]
        {
            let body = with(account(&name), json!({ "site": name, "refresh_interval": 0 }));
            let session = env.client().create(&body).await;
            leave_mark(&env, &session).await;
            let before = env.portal.requests(&name);
            let refreshed = env.order(&session, "/refresh").await;
            assert!(refreshed.last_refresh.is_some(), "{name}");
            assert!(env.portal.requests(&name) > before, "{name}");
            assert_eq!(refreshed.url, Some(format!("{}{page}", env.portal.url())), "{name}");
            assert_eq!(refreshed.tabs, 1, "{name}");
            assert_eq!(has_mark(&env, &session).await, keeps_memory, "{name}");
            assert_eq!(env.portal.sign_ins(&name), 1);
        }
    }
}

#[tokio::test]
async fn a_frozen_window_keeps_its_variables_and_its_form_through_refreshes() {
    let env = test_env_with(OFTEN, PortalOptions::default()).await;
    let session = env.client().create(&with(account("frozen"), json!({ "refresh_interval": 1 }))).await;
    let form = format!("{}sending", env.portal.url());
    env.client().post(&path(&session, "/navigate"), &json!({ "url": form })).await.expect(200);
    leave_mark(&env, &session).await;
    env.client().evaluate(&session, "document.querySelector('input').value = 'half of it'").await;
    env.order(&session, "/freeze").await;
    requests(&env, "frozen", 3).await;
    assert!(has_mark(&env, &session).await, "its page was loaded again");
    let field = env.client().evaluate(&session, "document.querySelector('input').value").await;
    assert_eq!(field, "half of it");
    assert_eq!(env.client().session(&session).await.url, Some(form));
    env.each_signed_in_once();
}

#[tokio::test]
async fn a_page_that_is_older_than_its_sign_in_or_an_error_is_loaded_again() {
    let env = test_env_with("", PortalOptions::default()).await;
    let session = env.client().create(&account("old")).await;
    leave_mark(&env, &session).await;
    env.client().evaluate(&session, "document.querySelector('#user').remove()").await;
    env.order(&session, "/refresh").await;
    assert!(!has_mark(&env, &session).await, "it still shows that it is signed out");
    let user = env.client().evaluate(&session, "document.querySelector('#user').textContent").await;
    assert_eq!(user, "old");
    let nowhere = format!("{}nowhere", env.portal.url());
    env.client().post(&path(&session, "/navigate"), &json!({ "url": nowhere })).await.expect(200);
    assert_eq!(env.order(&session, "/refresh").await.url, Some(env.portal.url()));
    env.each_signed_in_once();
}

#[tokio::test]
async fn a_page_that_never_meets_the_conditions_is_kept_as_it_is() {
    let env = test_env_with("", PortalOptions::default()).await;
    let session = env.client().create(&account("within")).await;
    let within = format!("{}api/keep_alive", env.portal.url());
    env.client().post(&path(&session, "/navigate"), &json!({ "url": within })).await.expect(200);
    leave_mark(&env, &session).await;
    let refreshed = env.order(&session, "/refresh").await;
    assert_eq!((refreshed.state, refreshed.url), (SessionState::Ready, Some(within)));
    assert!(has_mark(&env, &session).await, "the start page shows that it is signed in");
    env.each_signed_in_once();
}

#[tokio::test]
async fn a_portal_that_is_down_costs_no_page() {
    let env = test_env_with(OFTEN, PortalOptions::default()).await;
    let session = env.client().create(&with(account("kept"), json!({ "refresh_interval": 1 }))).await;
    leave_mark(&env, &session).await;
    let mut events = env.client().events(&path(&session, "/events")).await;
    env.portal.set_down(true);
    events.kind(EventKind::RefreshFailed, SOON).await;
    env.portal.set_down(false);
    events.kind(EventKind::Refreshed, SOON).await;
    assert!(has_mark(&env, &session).await);
    env.each_signed_in_once();
}

#[tokio::test]
async fn a_request_that_is_redirected_to_the_sign_in_page_shows_that_the_session_is_signed_out() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let request = format!("how = \"request\", url = \"{}appointments\"", portal.url());
    let server = Server::start(options().site("portal", site(&portal, &request))).await;
    let env = TestEnv { server, portal };
    let session = env.client().create(&with(account("acme"), json!({ "refresh_interval": 0 }))).await;
    leave_mark(&env, &session).await;
    env.order(&session, "/refresh").await;
    assert!(has_mark(&env, &session).await, "its answer was a success at its own address");
    env.portal.log_everybody_out();
    let refreshed = env.order(&session, "/refresh").await;
    assert_eq!((refreshed.state, env.portal.sign_ins("acme")), (SessionState::Ready, 2));
}

#[tokio::test]
async fn a_portal_that_is_down_ends_no_session() {
    let env = test_env_with(OFTEN, PortalOptions::default()).await;
    let body = with(account("acme"), json!({ "refresh_interval": 1 }));
    let session = env.client().create(&body).await;
    let mut events = env.client().events(&path(&session, "/events")).await;
    env.portal.set_down(true);
    for _ in 0..2 {
        let failed = events.kind(EventKind::RefreshFailed, SOON).await;
        assert!(!failed.message.is_empty() && !failed.reason.is_empty());
        assert_eq!(env.client().sessions().await.len(), 1);
    }
    env.portal.set_down(false);
    events.kind(EventKind::Refreshed, SOON).await;
    env.reaches(&session, SessionState::Ready).await;
    assert_eq!(env.portal.sign_ins("acme"), 1, "it was signed in all the time");
}

#[tokio::test]
async fn when_everybody_is_logged_out_all_sign_in_again_in_turn() {
    let portal = PortalOptions { sign_in_delay: Duration::from_millis(400), ..PortalOptions::default() };
    let env = test_env_with(OFTEN, portal).await;
    let users: Vec<String> = (0..8).map(|index| format!("user-{index}")).collect();
    let bodies: Vec<_> =
        users.iter().map(|user| with(account(user), json!({ "refresh_interval": 1 }))).collect();
    let created = join_all(bodies.iter().map(|body| env.client().create(body))).await;
    env.portal.log_everybody_out();
    wait_for("everybody's second sign-in", SOON, async || {
        let sign_ins: Vec<_> = users.iter().map(|user| env.portal.sign_ins(user)).collect();
        let sessions = env.client().sessions().await;
        assert_eq!(sessions.len(), created.len(), "a session is missing");
        expect_that(sign_ins.iter().all(|count| *count == 2), sign_ins)
    })
    .await;
    for session in &created {
        env.reaches(session, SessionState::Ready).await;
    }
    let counts = env.portal.statistics().total;
    assert_eq!(counts.sign_ins, 2 * 8);
    assert!(counts.signing_in_peak <= MAX_SIGN_INS_PER_SITE, "{} at once", counts.signing_in_peak);
}

#[tokio::test]
async fn a_password_that_no_longer_fits_is_tried_once_and_a_person_is_asked_for() {
    let env = test_env_with(OFTEN, PortalOptions::default()).await;
    let session = env.client().create(&with(account("acme"), json!({ "refresh_interval": 1 }))).await;
    assert!(env.portal.set_password("acme", "another"));
    env.portal.log_everybody_out();
    let session = env.reaches(&session, SessionState::NeedsAttention).await;
    assert!(session.attention.is_some_and(|sentence| !sentence.contains("let-me-in")));
    assert_eq!(env.portal.counts("acme").failed_sign_ins, 1, "a wrong password is no second time typed");
    assert_eq!(env.names().await.len(), 0);
    assert_eq!(env.client().sessions().await.len(), 1);
}

/// All of the day but an hour that is far from now, in UTC.
#[expect(clippy::disallowed_methods, reason = "quiet hours go by the time of day")]
fn quiet_now() -> String {
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let away = (unix / 3600 + 12) % 24;
    format!("{:02}:00-{away:02}:00", (away + 1) % 24)
}

#[tokio::test]
async fn in_its_quiet_hours_a_site_is_left_alone_unless_somebody_asks() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let mut quiet = portal.site();
    quiet.site_toml.insert_str(0, &format!("quiet_hours = \"{}\"\nmax_sign_ins = 1\n", quiet_now()));
    let options = options().config(OFTEN).environment("TZ", "UTC");
    let server = Server::start(options.site("portal", portal.site()).site("quiet", quiet)).await;
    let env = TestEnv { server, portal };
    let often = json!({ "refresh_interval": 1 });
    let body = with(with(account("quiet"), often.clone()), json!({ "site": "quiet" }));
    let session = env.client().create(&body).await;
    env.client().create(&with(account("often"), often)).await;
    env.portal.log_everybody_out();
    let before = env.portal.requests("quiet");
    requests(&env, "often", 4).await;
    assert_eq!((env.portal.requests("quiet"), env.portal.sign_ins("quiet")), (before, 1));
    let asked = env.client().post_nothing(&path(&session, "/refresh")).await.expect(200).session();
    assert_eq!((asked.state, env.portal.sign_ins("quiet")), (SessionState::Ready, 2));
}

#[tokio::test]
async fn a_site_s_report_tells_how_often_the_sign_in_held() {
    let env = test_env_with(OFTEN, PortalOptions::default()).await;
    let session = env.client().create(&with(account("acme"), json!({ "refresh_interval": 1 }))).await;
    requests(&env, "acme", 2).await;
    env.portal.log_everybody_out();
    let report = wait_for("the report of a lost sign-in", SOON, async || {
        let report = env.client().get("/sites/portal/report").await.expect(200).body;
        expect_that(report["signed_out"] == 1 && report["sign_ins"] == 2, report)
    })
    .await;
    env.reaches(&session, SessionState::Ready).await;
    assert_eq!((&report["sessions"], &report["sign_ins_failed"]), (&json!(1), &json!(0)));
    assert!(
        report["signed_in_percent"].as_u64().is_some_and(|percent| (1..100).contains(&percent)),
        "{report}"
    );
    assert!(report["longest_duration"].is_u64() && report["median_duration"].is_u64(), "{report}");
    assert_eq!(env.client().get("/sites/nowhere/report").await.refusal(), (404, "site_not_found"));
    let table = env.server.command(&["site", "report"], "").await.expect(0).stdout;
    assert!(table.contains("HELD") && table.contains("portal") && table.contains(" %"), "{table}");
}
