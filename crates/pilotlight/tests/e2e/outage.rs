//! A portal that signs all users out, is unreachable for a while, and comes back.
//!
//! `make soak` lets it be away for two minutes; in the ordinary run it is short.

use std::time::Duration;

use futures_util::future::join_all;
use pilotlight_api::{Session, SessionState};
use pilotlight_testkit::harness::{expect_that, wait_for};
use pilotlight_testkit::portal::PortalOptions;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::support::{account, test_env_with, with};

const SESSIONS: usize = 20;
/// Sites on which so many sign in at the same time get no more.
const MAX_SIGN_INS_PER_SITE: u64 = 4;
const CONFIG: &str = "[limits]\nmax_live = 30\n[sessions]\nrefresh_interval = \"5s\"\nrefresh_check = \"1s\"";
/// The longest delay between attempts, and some time for all sessions to recover.
const BACK_WITHIN: Duration = Duration::from_secs(60 + 30);

fn is_well(session: &Session) -> bool {
    matches!(session.state, SessionState::Ready | SessionState::Frozen)
}

#[tokio::test]
async fn after_an_outage_all_sessions_recover_by_themselves() {
    let is_long = std::env::var_os("PILOTLIGHT_SOAK_SECONDS").is_some();
    let outage = Duration::from_secs(if is_long { 120 } else { 12 });
    let sign_in_delay = Duration::from_millis(300);
    let env = test_env_with(CONFIG, PortalOptions { sign_in_delay, ..PortalOptions::default() }).await;
    let users: Vec<String> = (0..SESSIONS).map(|index| format!("user-{index}")).collect();
    let bodies: Vec<_> =
        users.iter().map(|user| with(account(user), json!({ "refresh_interval": 5 }))).collect();
    join_all(bodies.iter().map(|body| env.client().create(body))).await;
    assert_eq!(env.portal.statistics().total.sign_ins, SESSIONS as u64);

    env.portal.log_everybody_out();
    env.portal.set_down(true);
    sleep(outage).await;
    assert_eq!(env.client().sessions().await.len(), SESSIONS, "a session is missing");
    env.portal.set_down(false);
    let back = Instant::now();
    wait_for("everybody to be signed in again", BACK_WITHIN, async || {
        let sessions = env.client().sessions().await;
        let signed_in = env.portal.statistics().total.sessions;
        let away: Vec<Session> = sessions.into_iter().filter(|session| !is_well(session)).collect();
        expect_that(away.is_empty() && signed_in == SESSIONS as u64, away)
    })
    .await;
    println!("{SESSIONS} sessions were back {:.1} s after the portal", back.elapsed().as_secs_f64());

    let statistics = env.portal.statistics();
    for user in &users {
        let counts = statistics.users[user];
        assert!(counts.sign_ins <= 2 && counts.failed_sign_ins == 0, "{user}: {counts:?}");
    }
    let peak = statistics.total.signing_in_peak;
    assert!(peak <= MAX_SIGN_INS_PER_SITE, "{peak} signed in at once");
}
