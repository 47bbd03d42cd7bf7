//! Memory that is short: who gets colder, that nobody is lost, and that what stands still is small.

use std::fs;
use std::time::Duration;

use pilotlight_api::{Session, SessionState};
use pilotlight_testkit::harness::{expect_that, wait_for};
use pilotlight_testkit::portal::PortalOptions;
use serde_json::{Value, json};

use crate::support::{House, SOON, house, house_with, path};

/// More than one browser with nothing in it takes, and less than eight windows of the portal's heavy page do.
const BUDGET: u64 = 400 << 20;
const WINDOWS: usize = 8;
/// How long freezing, hibernating and measuring may take together. Machines that run tests are slow.
const EVENTUALLY: Duration = Duration::from_secs(60);

async fn taken(house: &House) -> Value {
    let machine: Value = house.client().get("/machine").await.expect(200).typed();
    machine["taken"].clone()
}

/// Loads the heavy page and puts something into its memory.
async fn work_in(house: &House, session: &Session) {
    let body = json!({ "url": format!("{}heavy", house.portal.url()) });
    house.client().post(&path(session, "/navigate"), &body).await.expect(200);
}

#[tokio::test]
async fn windows_get_colder_until_they_fit_into_the_budget_and_nobody_is_lost() {
    let config = format!("[limits]\nmemory_budget = {BUDGET}\n[sessions]\nfreeze_after = \"never\"");
    let house = house_with(&config, PortalOptions::default()).await;
    let mut events = house.client().events("/events").await;
    let mut sessions = Vec::new();
    for number in 0..WINDOWS {
        let session = house.sign_in(&format!("driver-{number}")).await;
        work_in(&house, &session).await;
        sessions.push(session);
    }
    // Several are frozen at once, and any of them may be done first.
    let least_recent = sessions.first().unwrap().session_id;
    let is_short = |event: &pilotlight_api::Event| {
        event.session_id == Some(least_recent) && event.sentence.contains("memory is short")
    };
    events.find("the least recently used to get colder", EVENTUALLY, is_short).await;
    wait_for("the windows to fit", EVENTUALLY, async || {
        let taken = taken(&house).await;
        expect_that(taken["used_bytes"].as_u64().is_some_and(|used| used <= BUDGET / 10 * 11), taken)
    })
    .await;
    let most_recent = house.client().session(sessions.last().unwrap()).await;
    assert_eq!(most_recent.state, SessionState::Ready, "the most recently used is spared");
    for session in &sessions {
        let user = house.client().evaluate(session, "document.querySelector('#user')?.textContent").await;
        assert!(user.as_str().is_some_and(|user| user.contains("driver")), "{user}");
    }
    wait_for("the windows to fit again", EVENTUALLY, async || {
        let taken = taken(&house).await;
        expect_that(taken["used_bytes"].as_u64().is_some_and(|used| used <= BUDGET / 10 * 11), taken)
    })
    .await;
    house.each_signed_in_once();
}

/// What the machine offers is used, and what it does not offer is not pretended.
#[tokio::test]
async fn a_window_that_stands_still_is_small_where_there_is_swap() {
    let house = house().await;
    let session = house.sign_in("acme").await;
    work_in(&house, &session).await;
    house.client().evaluate(&session, "globalThis.kept = 'kept'").await;
    let running = wait_for("it to be measured", SOON, async || {
        let now = house.client().session(&session).await;
        expect_that(now.memory_bytes.is_some_and(|bytes| bytes > 1_000_000), now)
    });
    let before = running.await.memory_bytes.unwrap();
    assert_eq!(house.order(&session, "/freeze").await.state, SessionState::Frozen);
    let doctor = house.server.command(&["doctor", "-o", "json"], "").await;
    let told: Value = serde_json::from_str(&doctor.stdout).unwrap();
    let moves = told["reclaiming"].as_str().unwrap().contains("moved out process by process");
    let has_swap = fs::read_to_string("/proc/swaps").unwrap().lines().count() > 1;
    assert!(has_swap || !moves, "{told}");
    let small = wait_for("it to be small", SOON, async || {
        let now = house.client().session(&session).await;
        let is_out = now.swapped_bytes.unwrap_or(0) > 1_000_000;
        let is_small = now.memory_bytes.is_some_and(|bytes| bytes < if moves { before / 2 } else { before });
        expect_that(is_small && is_out == moves, now)
    })
    .await;
    println!("{before} bytes, and frozen {:?} with {:?} swapped", small.memory_bytes, small.swapped_bytes);
    assert_eq!(house.client().evaluate(&session, "kept").await, "kept");
}
