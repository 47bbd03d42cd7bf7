//! Many sessions on a portal with little patience, for a while; then a server at rest.
//!
//! `make soak` runs it for five minutes and with an optimised build; in the ordinary run it is short.

use std::time::Duration;

use futures_util::future::join_all;
use pilotlight_api::{Session, SessionState};
use pilotlight_testkit::harness::{anonymous_bytes, cpu_time, expect_that, pss_bytes, wait_for};
use pilotlight_testkit::portal::PortalOptions;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::support::{TestEnv, account, path, test_env_with, with};

const SESSIONS: usize = 20;
/// Five refreshes fit into the portal's patience, but for the short run one must do.
const REFRESH_INTERVAL_SECONDS: u64 = 5;
const SHORT_RUN: Duration = Duration::from_secs(15);
/// Server at rest with 20 sessions, with its program. A build for debugging has so much more code that only what the
/// server has filled itself is looked at.
const MAX_MEMORY_BYTES: u64 = if cfg!(debug_assertions) { 15 } else { 30 } * 1024 * 1024;
const REST: Duration = Duration::from_secs(5);
/// What the last refreshes changed is written down within this time.
const QUIET_SECONDS: u32 = 12;
/// 0.5 % of a core, and one tick of the clock that measures it. A build for debugging takes several times as
/// long for the same few questions of the heartbeat.
const MAX_REST_CPU: Duration = Duration::from_millis(if cfg!(debug_assertions) { 150 } else { 25 + 10 });

fn soak_time() -> Duration {
    let seconds = std::env::var("PILOTLIGHT_SOAK_SECONDS").ok();
    let seconds = seconds.map(|seconds| seconds.parse().expect("PILOTLIGHT_SOAK_SECONDS is no number"));
    seconds.map_or(SHORT_RUN, Duration::from_secs)
}

async fn all_ready(env: &TestEnv) -> Result<(), Vec<Session>> {
    let sessions = env.client().sessions().await;
    let not_ready: Vec<_> =
        sessions.iter().filter(|session| session.state != SessionState::Ready).cloned().collect();
    if sessions.len() == SESSIONS && not_ready.is_empty() { Ok(()) } else { Err(not_ready) }
}

#[tokio::test]
async fn soak_twenty_sessions_stay_signed_in_with_one_sign_in_each() {
    let soak_time = soak_time();
    // The long run has the portal that the documentation speaks of, the short one a less patient one.
    let is_long = soak_time > SHORT_RUN;
    let (session_timeout, interval) = if is_long { (20, REFRESH_INTERVAL_SECONDS) } else { (10, 3) };
    let portal =
        PortalOptions { session_timeout: Duration::from_secs(session_timeout), ..Default::default() };
    let env = test_env_with("[limits]\nmax_live = 40", portal).await;
    let bodies: Vec<_> = (0..SESSIONS)
        .map(|index| with(account(&format!("user-{index}")), json!({ "refresh_interval": interval })))
        .collect();
    let sessions = join_all(bodies.iter().map(|body| env.client().create(body))).await;

    let end = Instant::now() + soak_time;
    wait_for("the end of the soak", soak_time + Duration::from_secs(60), async || {
        if let Err(not_ready) = all_ready(&env).await {
            panic!("not all are ready: {not_ready:#?}")
        }
        expect_that(Instant::now() >= end, "all are ready")
    })
    .await;
    let statistics = env.portal.statistics();
    let expected = soak_time.as_secs() / (2 * interval);
    for (user, counts) in &statistics.users {
        assert_eq!((counts.sign_ins, counts.sessions, counts.expired), (1, 1, 0), "{user}: {counts:?}");
        assert!(counts.requests >= expected, "{user}: {counts:?}");
    }
    assert_eq!(statistics.users.len(), SESSIONS);
    server_rests(&env, &sessions).await;
}

/// Without refreshes the server has nothing to do, and does nothing.
async fn server_rests(env: &TestEnv, sessions: &[Session]) {
    for session in sessions {
        let body = json!({ "refresh_interval": 0 });
        env.client().patch(&path(session, ""), &body).await.expect(200);
    }
    let server = env.server.server_pid();
    let cpu = || cpu_time(server).expect("the server runs");
    // A refresh may still be running; the server is at rest once a second costs it no more than a tick.
    let mut before = cpu();
    let mut since = Instant::now();
    let mut quiet = 0;
    wait_for("rest", Duration::from_secs(60), async || {
        sleep_until(since + Duration::from_secs(1)).await;
        let taken = cpu() - before;
        (before, since) = (cpu(), Instant::now());
        quiet = if taken <= Duration::from_millis(20) { quiet + 1 } else { 0 };
        expect_that(quiet >= QUIET_SECONDS, taken)
    })
    .await;
    sleep_until(since + REST).await;
    let taken = cpu() - before;
    let memory = if cfg!(debug_assertions) { anonymous_bytes(server) } else { pss_bytes(server) };
    let memory = memory.expect("the server runs");
    println!("At rest with {SESSIONS} sessions the server takes {memory} bytes, and {taken:?} in {REST:?}.");
    assert!(taken <= MAX_REST_CPU, "the server took {taken:?} in {REST:?} at rest");
    assert!(memory <= MAX_MEMORY_BYTES, "the server takes {memory} bytes");
}
