//! What fails in silence is noticed and made good: browsers, pages, the store. And how the server says how it is.

use pilotlight_api::{EventKind, Session, SessionState};
use pilotlight_testkit::harness::{Process, Role, expect_that, wait_for, wait_until_gone};
use serde_json::json;

use crate::support::{House, SOON, house_with, path};

/// Quicker than anybody would want it, so that tests are short.
const QUICK_HEARTBEAT: &str = "[chromium]\nheartbeat = \"2s\"";
/// A script that never ends, and lets the one that plants it end.
const HANG: &str = "setTimeout(() => { for (;;); }, 0), 1";
const SHOWN_USER: &str = "document.querySelector('#user').textContent";

fn the_browser(house: &House) -> Process {
    let mut browsers: Vec<_> =
        house.server.processes().into_iter().filter(|process| process.role() == Role::Browser).collect();
    assert_eq!(browsers.len(), 1, "{browsers:#?}");
    browsers.remove(0)
}

/// Waits until the states of all sessions are written down.
async fn all_are_stored(house: &House) {
    wait_for("all states to be written down", SOON, async || {
        let now = house.client().sessions().await;
        expect_that(now.iter().all(|session| session.storage_bytes.is_some()), now)
    })
    .await;
}

async fn hold(house: &House, session: &Session) -> String {
    let hold = house.client().post(&path(session, "/hold"), &json!({ "ttl": 600 })).await.expect(201);
    format!("/hold/{}", hold.body["hold_id"].as_str().unwrap())
}

async fn give_back(house: &House, session: &Session, hold: &str) {
    house
        .client()
        .send(house.client().request(reqwest::Method::DELETE, &path(session, hold)))
        .await
        .expect(200);
}

#[tokio::test]
async fn a_browser_that_is_silent_is_ended_and_its_sessions_come_back_signed_in() {
    let house = house_with(QUICK_HEARTBEAT, Default::default()).await;
    let sessions = [house.sign_in("north").await, house.sign_in("south").await];
    all_are_stored(&house).await;
    hold(&house, &sessions[0]).await;
    let mut events = house.client().events("/events").await;
    let silent = the_browser(&house);
    silent.silence();
    for _ in &sessions {
        let lost = events.kind(EventKind::WindowLost, SOON).await;
        assert!(lost.sentence.contains("no longer answered"), "{lost:?}");
    }
    wait_until_gone(&[silent], SOON).await;
    // Nothing was known of the pages in it.
    assert!(events.seen.iter().all(|event| event.kind != EventKind::PageHung), "{:#?}", events.seen);
    for (session, user) in sessions.iter().zip(["north", "south"]) {
        let back = house.reaches(session, SessionState::Ready).await;
        assert_ne!(back.shard, session.shard);
        assert_eq!(house.client().evaluate(session, SHOWN_USER).await, user);
    }
    assert!(house.client().session(&sessions[0]).await.in_use, "the hold was lost");
    house.each_signed_in_once();
}

#[tokio::test]
async fn a_page_that_hangs_comes_back_unless_somebody_holds_it() {
    let house = house_with(QUICK_HEARTBEAT, Default::default()).await;
    let (held, free) = (house.sign_in("held").await, house.sign_in("free").await);
    let mut events = house.client().events("/events").await;
    let holding = hold(&house, &held).await;
    for session in [&held, &free] {
        house.client().evaluate(session, HANG).await;
    }
    let hung = events.kind(EventKind::PageHung, SOON).await;
    assert_eq!(hung.session_id, Some(free.session_id), "{hung:?}");
    assert_eq!(hung.state, Some(SessionState::Recovering));
    house.reaches(&free, SessionState::Ready).await;
    assert_eq!(house.client().evaluate(&free, SHOWN_USER).await, "free");
    // It hangs for as long as its holder likes.
    let of_held = |event: &pilotlight_api::Event| event.session_id == Some(held.session_id);
    assert!(!events.seen.iter().any(|event| of_held(event) && event.kind == EventKind::PageHung));
    give_back(&house, &held, &holding).await;
    events.find("a hung page", SOON, |event| of_held(event) && event.kind == EventKind::PageHung).await;
    house.reaches(&held, SessionState::Ready).await;
    assert_eq!(house.client().evaluate(&held, SHOWN_USER).await, "held");
    house.each_signed_in_once();
}
