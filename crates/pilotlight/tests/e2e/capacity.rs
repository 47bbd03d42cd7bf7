//! A full machine: who must go, who must wait.

use futures_util::future::join_all;
use pilotlight_api::{EndedReason, EventKind, Session};
use pilotlight_testkit::harness::{Answer, expect_that, wait_for};
use pilotlight_testkit::portal::PortalOptions;
use serde_json::{Value, json};

use crate::support::{House, SOON, account, house_with, path, with};

const TERMINATE: &str = "[limits]\nmax_live = 5\nat_capacity = \"terminate\"\nqueue_timeout = \"1s\"";

async fn full(config: &str, windows: usize) -> (House, Vec<Session>) {
    let house = house_with(config, PortalOptions::default()).await;
    let mut sessions = Vec::new();
    for index in 1..=windows {
        sessions.push(house.window(&format!("w{index}"), json!({})).await);
    }
    (house, sessions)
}

async fn newcomer(house: &House, name: &str) -> Answer {
    let body = json!({ "url": format!("{}login", house.portal.url()), "name": name });
    house.client().post("/sessions", &body).await
}

async fn is_evicted(house: &House, session: &Session) {
    let answer = house.client().get(&path(session, "")).await;
    assert_eq!(answer.refusal(), (410, "session_ended"), "{:?}: {}", session.name, answer.body);
    assert!(answer.body["error"].as_str().unwrap().contains(EndedReason::Evicted.as_str()));
}

fn is_refused_for_lack_of_room(answer: &Answer) {
    assert_eq!(answer.refusal(), (503, "at_capacity"), "{}", answer.body);
    let retry_after = answer.headers["retry-after"].to_str().unwrap();
    assert!(retry_after.parse::<u64>().unwrap() > 0);
}

#[tokio::test]
async fn the_sixth_of_five_ends_the_least_recently_used() {
    let (house, sessions) = full(TERMINATE, 5).await;
    let mut events = house.client().events("/events").await;
    // The second is refreshed, which is not use; the first is used in each way that there is.
    let refreshed = json!({ "refresh_interval": "1s" });
    house.client().patch(&path(&sessions[1], ""), &refreshed).await.expect(200);
    events.find("a refresh", SOON, |event| event.kind == EventKind::Refreshed).await;
    house.client().post_nothing(&path(&sessions[0], "/ping")).await.expect(200);
    newcomer(&house, "w6").await.expect(201);
    is_evicted(&house, &sessions[1]).await;
    assert_eq!(house.names().await, ["w1", "w3", "w4", "w5", "w6"]);
    let evicted = events.kind(EventKind::Evicted, SOON).await;
    assert_eq!((evicted.session_id, evicted.reason.as_str()), (Some(sessions[1].session_id), "capacity"));

    // A page that is worked on is used.
    house.client().evaluate(&sessions[2], "1 + 1").await;
    newcomer(&house, "w7").await.expect(201);
    is_evicted(&house, &sessions[3]).await;
}

#[tokio::test]
async fn held_and_immortal_ones_are_passed_over_and_all_protected_is_full() {
    let (house, sessions) = full(TERMINATE, 5).await;
    let immortal = json!({ "never_terminate": true });
    let held = json!({ "ttl": 600 });
    house.client().patch(&path(&sessions[0], ""), &immortal).await.expect(200);
    house.client().post(&path(&sessions[1], "/hold"), &held).await.expect(201);
    newcomer(&house, "w6").await.expect(201);
    is_evicted(&house, &sessions[2]).await;

    let last: Session = newcomer(&house, "w6").await.expect(200).session();
    for session in [&sessions[3], &sessions[4], &last] {
        house.client().post(&path(session, "/hold"), &held).await.expect(201);
    }
    is_refused_for_lack_of_room(&newcomer(&house, "w7").await);
    assert_eq!(house.names().await, ["w1", "w2", "w4", "w5", "w6"]);
}

#[tokio::test]
async fn many_newcomers_never_make_more_windows_than_allowed() {
    let config = "[limits]\nmax_live = 3\nat_capacity = \"terminate\"\nqueue_timeout = \"30s\"";
    let (house, _) = full(config, 3).await;
    let names: Vec<_> = (0..6).map(|index| format!("n{index}")).collect();
    let all = join_all(names.iter().map(|name| newcomer(&house, name)));
    let watch = wait_for("the last newcomer", SOON, async || {
        let sessions = house.client().sessions().await;
        assert!(sessions.len() <= 3, "{sessions:?}");
        let names = house.names().await;
        expect_that(names.iter().all(|name| name.starts_with('n')), names)
    });
    let (answers, _) = tokio::join!(all, watch);
    let let_in = answers.iter().filter(|answer| answer.status == 201).count();
    // One that was let in may have had to go for the next before its request was answered.
    assert!(let_in >= 3 && answers.iter().all(|answer| [201, 410].contains(&answer.status)), "{answers:?}");
    assert_eq!(house.client().sessions().await.len(), 3);
}

#[tokio::test]
async fn with_reject_a_newcomer_waits_and_nobody_goes() {
    let config = "[limits]\nmax_live = 2\nat_capacity = \"reject\"\nqueue_timeout = \"1s\"";
    let (house, sessions) = full(config, 2).await;
    is_refused_for_lack_of_room(&newcomer(&house, "w3").await);
    assert_eq!(house.names().await, ["w1", "w2"]);
    // What is there already needs no room.
    newcomer(&house, "w1").await.expect(200);
    house.client().delete(&path(&sessions[0], "")).await.expect(200);
    newcomer(&house, "w3").await.expect(201);
}

#[tokio::test]
async fn who_waits_gets_the_place_that_comes_free() {
    let config = "[limits]\nmax_live = 1\nat_capacity = \"reject\"\nqueue_timeout = \"30s\"";
    let (house, sessions) = full(config, 1).await;
    let waits = newcomer(&house, "w2");
    let frees = async {
        // Nothing shows from outside that somebody queues; several answers later the server has read both.
        for _ in 0..20 {
            house.client().get("/health").await.expect(200);
        }
        house.client().delete(&path(&sessions[0], "")).await.expect(200)
    };
    let (waited, _) = tokio::join!(waits, frees);
    assert_eq!(waited.status, 201, "{}", waited.body);
    assert_eq!(house.names().await, ["w2"]);
}

#[tokio::test]
async fn sessions_are_limited_as_windows_are() {
    let config = "[limits]\nmax_sessions = 1\nmax_live = 1\nqueue_timeout = \"1s\"";
    let (house, _) = full(config, 1).await;
    let answer = house.client().post("/sessions", &account("acme")).await;
    is_refused_for_lack_of_room(&answer);
    assert_eq!(house.portal.total_sign_ins(), 0);
    assert_eq!(house.client().get("/health").await.body["session_capacity"], "1/1");
}

/// `idle_timeout`, a full machine, a portal that is down: none ends it.
#[tokio::test]
async fn nothing_but_a_delete_ends_what_never_terminates() {
    let config = "[limits]\nmax_live = 2\nat_capacity = \"terminate\"\nqueue_timeout = \"1s\"\n\
                  [sessions]\nrefresh_check = \"1s\"";
    let house = house_with(config, PortalOptions::default()).await;
    let policy: Value = json!({ "never_terminate": true, "keep_alive": false, "idle_timeout": "1s", "refresh_interval": "1s" });
    let immortal = house.client().create(&with(account("acme"), policy)).await;
    assert_eq!(immortal.expires_at, None);
    let mut events = house.client().events("/events").await;
    house.portal.set_down(true);
    events.kind(EventKind::RefreshFailed, SOON).await;
    let away = json!({ "keep_alive": false, "idle_timeout": "1s" });
    let plain = json!({ "url": crate::support::nobody_there() });
    assert_eq!(house.client().post("/sessions", &plain).await.status, 502);
    house.portal.set_down(false);
    let other = house.window("other", away).await;
    newcomer(&house, "third").await.expect(201);
    is_evicted(&house, &other).await;
    let session = house.reaches(&immortal, pilotlight_api::SessionState::Ready).await;
    assert_eq!(session.session_id, immortal.session_id);
    house.client().delete(&path(&immortal, "")).await.expect(200);
}
