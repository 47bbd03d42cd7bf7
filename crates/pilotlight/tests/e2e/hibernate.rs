//! Sessions that are put away and brought back: by hand, for want of use, for want of room.

use std::collections::BTreeSet;

use pilotlight_api::{EventKind, Session, SessionState};
use pilotlight_testkit::harness::{Answer, expect_that, wait_for};
use pilotlight_testkit::portal::PortalOptions;
use reqwest::Method;
use serde_json::{Value, json};

use crate::chaos::work::brought_back;
use crate::chaos::{Chance, rounds};
use crate::support::{House, SOON, account, house, house_with, path};

/// Room for three. Nothing is said of what happens then: hibernating is what comes of itself.
const THREE: &str = "[limits]\nmax_live = 3\nqueue_timeout = \"1s\"";

async fn is_in(house: &House, session: &Session, state: SessionState) {
    let now = house.client().session(session).await;
    assert_eq!(now.state, state, "{now:?}");
}

#[tokio::test]
async fn put_away_by_hand_it_comes_back_with_all_but_its_memory() {
    let house = house().await;
    let session = house.at_work("acme", json!({})).await;
    let away = house.order(&session, "/hibernate").await;
    assert_eq!((away.state, away.shard, away.memory_bytes), (SessionState::Hibernated, None, Some(0)));
    assert!(away.storage_bytes.is_some_and(|bytes| bytes > 0), "{:?}", away.storage_bytes);
    assert_eq!(house.order(&session, "/hibernate").await.state, SessionState::Hibernated);

    let back = house.order(&session, "/wake").await;
    assert_eq!((back.state, back.url), (SessionState::Ready, Some(house.workbench_url())));
    assert!(back.shard.is_some());
    assert_eq!(house.read(&session).await, brought_back("acme"));
    assert_eq!(house.order(&session, "/wake").await.state, SessionState::Ready);
    // It goes on as before.
    house.write(&session, "later").await;
    house.order(&session, "/hibernate").await;
    assert_eq!(house.read(&session).await, brought_back("later"));
    house.each_signed_in_once();
}

#[tokio::test]
async fn put_away_it_has_no_process_and_held_it_is_not_put_away() {
    let house = house().await;
    let session = house.window("a", json!({ "isolation": "dedicated" })).await;
    house.client().post(&path(&session, "/hold"), &json!({ "ttl": 1 })).await.expect(201);
    let refused = house.client().post_nothing(&path(&session, "/hibernate")).await;
    assert_eq!(refused.refusal(), (409, "session_in_use"), "{}", refused.body);
    wait_for("the end of the hold", SOON, async || {
        let now = house.client().session(&session).await;
        expect_that(!now.in_use, now)
    })
    .await;
    house.order(&session, "/hibernate").await;
    wait_for("the end of all processes", SOON, async || {
        let processes = house.server.processes();
        expect_that(processes.is_empty(), processes)
    })
    .await;
}

#[tokio::test]
async fn every_use_wakes_and_a_ping_does_not() {
    let house = house().await;
    let session = house.at_work("acme", json!({})).await;
    let appointments = json!({ "url": format!("{}appointments", house.portal.url()) });
    let uses = [
        (Method::POST, "/evaluate", json!({ "expression": "1 + 1" })),
        (Method::GET, "/screenshot", Value::Null),
        (Method::POST, "/refresh", Value::Null),
        (Method::POST, "/navigate", appointments),
        (Method::POST, "/hold", json!({ "ttl": 1 })),
    ];
    for (method, below, body) in uses {
        house.order(&session, "/hibernate").await;
        house.client().post_nothing(&path(&session, "/ping")).await.expect(200);
        is_in(&house, &session, SessionState::Hibernated).await;
        let request = house.client().request(method, &path(&session, below));
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = house.client().send(request).await;
        assert!((200..300).contains(&answer.status), "{below}: {}", answer.body);
        is_in(&house, &session, SessionState::Ready).await;
    }
    let shown = house.client().session(&session).await.url;
    assert_eq!(shown, Some(format!("{}appointments", house.portal.url())));
    house.each_signed_in_once();
}

#[tokio::test]
async fn an_equal_request_wakes() {
    let house = house().await;
    let session = house.at_work("acme", json!({})).await;
    house.order(&session, "/hibernate").await;
    let answer = house.client().post("/sessions", &account("acme")).await.expect(200);
    assert_eq!(answer.body["is_new"], false);
    let found = answer.session();
    assert_eq!((found.session_id, found.state), (session.session_id, SessionState::Ready));
    assert_eq!(house.read(&session).await, brought_back("acme"));
    house.each_signed_in_once();
}

#[tokio::test]
async fn unused_it_is_put_away_by_itself_and_a_held_one_is_not() {
    let house = house_with("[sessions]\nhibernate_after = \"2s\"", PortalOptions::default()).await;
    let held = house.window("held", json!({})).await;
    house.client().post(&path(&held, "/hold"), &json!({ "ttl": 600 })).await.expect(201);
    let free = house.at_work("acme", json!({})).await;
    let mut events = house.client().events("/events").await;
    let is_away = |state: Option<SessionState>| state == Some(SessionState::Hibernated);
    let event = events.find("one that is put away", SOON, |event| is_away(event.state)).await;
    assert_eq!(event.session_id, Some(free.session_id));
    is_in(&house, &held, SessionState::Ready).await;
    assert_eq!(house.read(&free).await, brought_back("acme"));
}

async fn newcomer(house: &House, name: &str) -> Answer {
    let body = json!({ "url": format!("{}login", house.portal.url()), "name": name });
    house.client().post("/sessions", &body).await
}

async fn away(house: &House) -> BTreeSet<String> {
    let sessions = house.client().sessions().await;
    let away = sessions.into_iter().filter(|session| session.state == SessionState::Hibernated);
    away.filter_map(|session| session.name).collect()
}

#[tokio::test]
async fn on_a_full_machine_the_least_recently_used_makes_room() {
    let house = house_with(THREE, PortalOptions::default()).await;
    let mut sessions = Vec::new();
    for name in ["a", "b", "c"] {
        sessions.push(house.window(name, json!({})).await);
    }
    house.client().post_nothing(&path(&sessions[0], "/ping")).await.expect(200);
    let mut events = house.client().events("/events").await;
    newcomer(&house, "d").await.expect(201);
    let event = events.kind(EventKind::StateChanged, SOON).await;
    assert_eq!(event.name.as_deref(), Some("b"), "{event:?}");
    assert_eq!(away(&house).await, ["b".to_owned()].into());
    assert_eq!(house.names().await, ["a", "b", "c", "d"], "nobody ends");
    // Who comes back is a newcomer too.
    assert_eq!(house.client().evaluate(&sessions[1], "1 + 1").await, 2);
    assert_eq!(away(&house).await, ["c".to_owned()].into());
    assert_eq!(house.live().await, 3);
}

#[tokio::test]
async fn held_and_immortal_ones_keep_their_windows_and_all_protected_is_full() {
    let house = house_with(THREE, PortalOptions::default()).await;
    let held = json!({ "ttl": 600 });
    let first = house.window("held", json!({})).await;
    house.client().post(&path(&first, "/hold"), &held).await.expect(201);
    house.window("immortal", json!({ "never_terminate": true })).await;
    let free = house.window("free", json!({})).await;
    let last = newcomer(&house, "last").await.expect(201).session();
    assert_eq!(away(&house).await, ["free".to_owned()].into());
    house.client().post(&path(&last, "/hold"), &held).await.expect(201);

    let refused = newcomer(&house, "too-many").await;
    assert_eq!(refused.refusal(), (503, "at_capacity"), "{}", refused.body);
    let refused = house.client().post_nothing(&path(&free, "/wake")).await;
    assert_eq!(refused.refusal(), (503, "at_capacity"), "{}", refused.body);
    assert_eq!(house.names().await, ["free", "held", "immortal", "last"]);
    is_in(&house, &free, SessionState::Hibernated).await;
}

#[tokio::test]
async fn six_sessions_share_two_windows_and_nobody_notices() {
    let mut chance = Chance::new();
    let house = house_with("[limits]\nmax_live = 2", PortalOptions::default()).await;
    let mut kept = Vec::new();
    for user in ["a", "b", "c", "d", "e", "f"] {
        kept.push((house.at_work(user, json!({})).await, user.to_owned()));
    }
    let indices: Vec<_> = (0..kept.len()).collect();
    for round in rounds(12) {
        let (session, value) = &mut kept[*chance.pick(&indices)];
        let work = house.read(session).await;
        assert_eq!(work.that_is_kept(), brought_back(value), "{:?}", session.username);
        if chance.coin() {
            *value = format!("round-{round}");
            house.write(session, value).await;
        }
        assert!(house.live().await <= 2);
    }
    house.each_signed_in_once();
}

#[tokio::test]
async fn drained_it_has_no_windows_and_at_its_next_start_they_can_be_woken() {
    let mut house = house().await;
    let session = house.at_work("acme", json!({})).await;
    house.window("held", json!({ "isolation": "dedicated" })).await;
    for by_command in [false, true] {
        if by_command {
            house.server.command(&["drain"], "").await.expect(0);
        } else {
            house.client().post_nothing("/drain").await.expect(200);
        }
        assert_eq!(house.client().get("/ready").await.status, 503);
        wait_for("the end of all windows", SOON, async || {
            let sessions = house.client().sessions().await;
            let all_away = sessions.iter().all(|session| session.state == SessionState::Hibernated);
            let shims = house.server.shims();
            expect_that(all_away && shims.is_empty(), (sessions, shims))
        })
        .await;
        assert_eq!(house.server.terminate().await, 0);
        house = house.start_again().await.0;
        is_in(&house, &session, SessionState::Hibernated).await;
        assert_eq!(house.read(&session).await, brought_back("acme"));
    }
    house.each_signed_in_once();
}
