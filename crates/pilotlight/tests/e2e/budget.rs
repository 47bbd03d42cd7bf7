//! Low memory: which sessions are frozen or hibernated, that none is lost, and that frozen windows are small.

use std::fs;
use std::time::Duration;

use pilotlight_api::{Session, SessionState};
use pilotlight_testkit::harness::{expect_that, wait_for};
use pilotlight_testkit::portal::PortalOptions;
use serde_json::{Value, json};

use crate::support::{SOON, TestEnv, path, test_env, test_env_with};

/// More than one browser with nothing in it takes, and less than eight windows of the portal's heavy page do.
const BUDGET: u64 = 400 << 20;
const WINDOWS: usize = 8;
/// How long freezing, hibernating and measuring may take together. Machines that run tests are slow.
const EVENTUALLY: Duration = Duration::from_secs(60);

async fn taken(env: &TestEnv) -> Value {
    let machine: Value = env.client().get("/machine").await.expect(200).typed();
    machine["taken"].clone()
}

/// Loads the heavy page and puts something into its memory.
async fn work_in(env: &TestEnv, session: &Session) {
    let body = json!({ "url": format!("{}heavy", env.portal.url()) });
    env.client().post(&path(session, "/navigate"), &body).await.expect(200);
}

#[tokio::test]
async fn windows_get_colder_until_they_fit_into_the_budget_and_nobody_is_lost() {
    let config = format!("[limits]\nmemory_budget = {BUDGET}\n[sessions]\nfreeze_after = \"never\"");
    let env = test_env_with(&config, PortalOptions::default()).await;
    let mut events = env.client().events("/events").await;
    let mut sessions = Vec::new();
    for number in 0..WINDOWS {
        let session = env.sign_in(&format!("driver-{number}")).await;
        work_in(&env, &session).await;
        sessions.push(session);
    }
    // Several are frozen at once, and any of them may be done first.
    let least_recent = sessions.first().unwrap().session_id;
    let is_short = |event: &pilotlight_api::Event| {
        event.session_id == Some(least_recent) && event.message.contains("memory is short")
    };
    events.find("the least recently used to get colder", EVENTUALLY, is_short).await;
    wait_for("the windows to fit", EVENTUALLY, async || {
        let taken = taken(&env).await;
        expect_that(taken["used_bytes"].as_u64().is_some_and(|used| used <= BUDGET / 10 * 11), taken)
    })
    .await;
    let most_recent = env.client().session(sessions.last().unwrap()).await;
    assert_eq!(most_recent.state, SessionState::Ready, "the most recently used is spared");
    for session in &sessions {
        let user = env.client().evaluate(session, "document.querySelector('#user')?.textContent").await;
        assert!(user.as_str().is_some_and(|user| user.contains("driver")), "{user}");
    }
    wait_for("the windows to fit again", EVENTUALLY, async || {
        let taken = taken(&env).await;
        expect_that(taken["used_bytes"].as_u64().is_some_and(|used| used <= BUDGET / 10 * 11), taken)
    })
    .await;
    env.each_signed_in_once();
}

/// What the machine offers is used, and what it does not offer is not pretended.
#[tokio::test]
async fn a_window_that_stands_still_is_small_where_there_is_swap() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    work_in(&env, &session).await;
    env.client().evaluate(&session, "globalThis.kept = 'kept'").await;
    let running = wait_for("it to be measured", SOON, async || {
        let now = env.client().session(&session).await;
        expect_that(now.memory_bytes.is_some_and(|bytes| bytes > 1_000_000), now)
    });
    let before = running.await.memory_bytes.unwrap();
    assert_eq!(env.order(&session, "/freeze").await.state, SessionState::Frozen);
    let doctor = env.server.command(&["doctor", "-o", "json"], "").await;
    let told: Value = serde_json::from_str(&doctor.stdout).unwrap();
    let moves = told["reclaiming"].as_str().unwrap().contains("moved out process by process");
    let has_swap = fs::read_to_string("/proc/swaps").unwrap().lines().count() > 1;
    assert!(has_swap || !moves, "{told}");
    let small = wait_for("it to be small", SOON, async || {
        let now = env.client().session(&session).await;
        let is_out = now.swapped_bytes.unwrap_or(0) > 1_000_000;
        let is_small = now.memory_bytes.is_some_and(|bytes| bytes < if moves { before / 2 } else { before });
        expect_that(is_small && is_out == moves, now)
    })
    .await;
    println!("{before} bytes, and frozen {:?} with {:?} swapped", small.memory_bytes, small.swapped_bytes);
    assert_eq!(env.client().evaluate(&session, "kept").await, "kept");
}
