//! Sign-ins are kept alive, and no failure of the portal ends a session.

use std::time::Duration;

use futures_util::future::join_all;
use pilotlight_api::{EventKind, SessionState};
use pilotlight_testkit::harness::{Server, expect_that, wait_for};
use pilotlight_testkit::portal::{Portal, PortalOptions};
use serde_json::json;

use crate::support::{House, SOON, account, house, house_with, options, path, with};

/// Sites on which so many sign in at the same time get no more.
const MAX_SIGN_INS_PER_SITE: u64 = 4;
const OFTEN: &str = "[sessions]\nrefresh_interval = \"1s\"\nrefresh_check = \"1s\"";

/// Waits until `user` has sent so many requests more.
async fn requests(house: &House, user: &str, more: u64) {
    let before = house.portal.requests(user);
    wait_for(&format!("{more} requests of {user}"), SOON, async || {
        let since = house.portal.requests(user) - before;
        expect_that(since >= more, since)
    })
    .await;
}

#[tokio::test]
async fn zero_and_never_terminate_are_not_refreshed() {
    let house = house().await;
    let often = json!({ "refresh_interval": "1s" });
    house.client().create(&with(account("often"), often.clone())).await;
    let never = house.client().create(&with(account("never"), json!({ "refresh_interval": 0 }))).await;
    // One that nothing terminates is left alone, unless its own interval was given.
    let immortal = json!({ "never_terminate": true });
    house.client().create(&with(account("immortal"), immortal.clone())).await;
    house.client().create(&with(with(account("both"), immortal), often)).await;
    let before = [house.portal.requests("never"), house.portal.requests("immortal")];
    requests(&house, "often", 3).await;
    requests(&house, "both", 2).await;
    assert_eq!([house.portal.requests("never"), house.portal.requests("immortal")], before);
    assert_eq!(house.client().session(&never).await.last_refresh, None);
}

#[tokio::test]
async fn the_configured_interval_holds_for_sites_that_have_none() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let mut site = portal.site();
    site.site_toml = site.site_toml.replace("refresh = {", "# refresh = {");
    let server = Server::start(options().config(OFTEN).site("portal", site)).await;
    let house = House { server, portal };
    let session = house.sign_in("acme").await;
    requests(&house, "acme", 3).await;
    let now = house.client().session(&session).await;
    assert!(now.last_refresh.is_some());
    assert_eq!(now.last_used, session.last_used, "a refresh is not use");
}

#[tokio::test]
async fn each_way_of_refreshing_does_what_it_says() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let mut options = options();
    for (name, refresh) in [
        ("reload", r#"{ how = "reload" }"#.to_owned()),
        ("visit", format!("{{ how = \"visit\", url = \"{}appointments\" }}", portal.url())),
        ("request", format!("{{ how = \"request\", url = \"{}api/keep_alive\" }}", portal.url())),
        ("flow", r#"{ how = "flow", flow = "portal/moves.json" }"#.to_owned()),
    ] {
        let mut site = portal.site();
        let (kept, _) = site.site_toml.split_once("\n# The portal signs out").unwrap();
        site.site_toml = format!("{kept}\nrefresh = {refresh}\n");
        options = options.site(name, site);
    }
    let house = House { server: Server::start(options).await, portal };
    let client = house.client();
    for (how, page, keeps_memory) in [
        ("reload", "", false),
        ("visit", "appointments", false),
        ("request", "", true),
        ("flow", "moves", false),
    ] {
        let session = client.create(&with(account(how), json!({ "site": how, "refresh_interval": 0 }))).await;
        client.evaluate(&session, "window.mark = 'here'").await;
        let before = house.portal.requests(how);
        let refreshed = client.post_nothing(&path(&session, "/refresh")).await.expect(200).session();
        assert!(refreshed.last_refresh.is_some(), "{how}");
        assert!(house.portal.requests(how) > before, "{how}");
        assert_eq!(refreshed.url, Some(format!("{}{page}", house.portal.url())), "{how}");
        let mark = client.evaluate(&session, "window.mark ?? null").await;
        assert_eq!(mark == "here", keeps_memory, "{how}: {mark}");
        assert_eq!(house.portal.sign_ins(how), 1);
    }
}

#[tokio::test]
async fn a_portal_that_is_down_ends_no_session() {
    let house = house_with(OFTEN, PortalOptions::default()).await;
    let body = with(account("acme"), json!({ "refresh_interval": 1 }));
    let session = house.client().create(&body).await;
    let mut events = house.client().events(&path(&session, "/events")).await;
    house.portal.set_down(true);
    for _ in 0..2 {
        let failed = events.kind(EventKind::RefreshFailed, SOON).await;
        assert!(!failed.sentence.is_empty() && !failed.reason.is_empty());
        assert_eq!(house.client().sessions().await.len(), 1);
    }
    house.portal.set_down(false);
    events.kind(EventKind::Refreshed, SOON).await;
    house.reaches(&session, SessionState::Ready).await;
    assert_eq!(house.portal.sign_ins("acme"), 1, "it was signed in all the time");
}

#[tokio::test]
async fn when_everybody_is_logged_out_all_sign_in_again_in_turn() {
    let portal = PortalOptions { sign_in_delay: Duration::from_millis(400), ..PortalOptions::default() };
    let house = house_with(OFTEN, portal).await;
    let users: Vec<String> = (0..8).map(|index| format!("user-{index}")).collect();
    let bodies: Vec<_> =
        users.iter().map(|user| with(account(user), json!({ "refresh_interval": 1 }))).collect();
    let created = join_all(bodies.iter().map(|body| house.client().create(body))).await;
    house.portal.log_everybody_out();
    wait_for("everybody's second sign-in", SOON, async || {
        let sign_ins: Vec<_> = users.iter().map(|user| house.portal.sign_ins(user)).collect();
        let sessions = house.client().sessions().await;
        assert_eq!(sessions.len(), created.len(), "a session is missing");
        expect_that(sign_ins.iter().all(|count| *count == 2), sign_ins)
    })
    .await;
    for session in &created {
        house.reaches(session, SessionState::Ready).await;
    }
    let counts = house.portal.statistics().total;
    assert_eq!(counts.sign_ins, 2 * 8);
    assert!(counts.signing_in_peak <= MAX_SIGN_INS_PER_SITE, "{} at once", counts.signing_in_peak);
}

#[tokio::test]
async fn a_password_that_no_longer_fits_is_tried_once_and_a_person_is_asked_for() {
    let house = house_with(OFTEN, PortalOptions::default()).await;
    let session = house.client().create(&with(account("acme"), json!({ "refresh_interval": 1 }))).await;
    assert!(house.portal.set_password("acme", "another"));
    house.portal.log_everybody_out();
    let session = house.reaches(&session, SessionState::NeedsAttention).await;
    assert!(session.attention.is_some_and(|sentence| !sentence.contains("let-me-in")));
    assert_eq!(house.portal.counts("acme").failed_sign_ins, 1, "a wrong password is no second time typed");
    assert_eq!(house.names().await.len(), 0);
    assert_eq!(house.client().sessions().await.len(), 1);
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
    let house = House { server, portal };
    let often = json!({ "refresh_interval": 1 });
    let body = with(with(account("quiet"), often.clone()), json!({ "site": "quiet" }));
    let session = house.client().create(&body).await;
    house.client().create(&with(account("often"), often)).await;
    house.portal.log_everybody_out();
    let before = house.portal.requests("quiet");
    requests(&house, "often", 4).await;
    assert_eq!((house.portal.requests("quiet"), house.portal.sign_ins("quiet")), (before, 1));
    let asked = house.client().post_nothing(&path(&session, "/refresh")).await.expect(200).session();
    assert_eq!((asked.state, house.portal.sign_ins("quiet")), (SessionState::Ready, 2));
}

#[tokio::test]
async fn a_site_s_report_tells_how_often_the_sign_in_held() {
    let house = house_with(OFTEN, PortalOptions::default()).await;
    let session = house.client().create(&with(account("acme"), json!({ "refresh_interval": 1 }))).await;
    requests(&house, "acme", 2).await;
    house.portal.log_everybody_out();
    let report = wait_for("the report of a lost sign-in", SOON, async || {
        let report = house.client().get("/sites/portal/report").await.expect(200).body;
        expect_that(report["signed_out"] == 1 && report["sign_ins"] == 2, report)
    })
    .await;
    house.reaches(&session, SessionState::Ready).await;
    assert_eq!((&report["sessions"], &report["sign_ins_failed"]), (&json!(1), &json!(0)));
    assert!(report["held_percent"].as_u64().is_some_and(|percent| (1..100).contains(&percent)), "{report}");
    assert!(report["lasted_longest"].is_u64() && report["lasted_median"].is_u64(), "{report}");
    assert_eq!(house.client().get("/sites/nowhere/report").await.refusal(), (404, "site_not_found"));
    let table = house.server.command(&["site", "report"], "").await.expect(0).stdout;
    assert!(table.contains("HELD") && table.contains("portal") && table.contains(" %"), "{table}");
}
