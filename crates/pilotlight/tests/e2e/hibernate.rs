//! Sessions that are put away and brought back: by hand, for want of use, for want of room.

use std::collections::BTreeSet;

use pilotlight_api::{EventKind, Session, SessionState};
use pilotlight_testkit::harness::{Answer, expect_that, wait_for};
use pilotlight_testkit::portal::PortalOptions;
use reqwest::Method;
use serde_json::{Value, json};

use crate::chaos::work::brought_back;
use crate::chaos::{Chance, rounds};
use crate::support::{SOON, TestEnv, account, path, test_env, test_env_with};

/// Room for three. Nothing is said of what happens then: hibernating is what comes of itself.
const THREE: &str = "[limits]\nmax_live = 3\nqueue_timeout = \"1s\"";

async fn is_in(env: &TestEnv, session: &Session, state: SessionState) {
    let now = env.client().session(session).await;
    assert_eq!(now.state, state, "{now:?}");
}

#[tokio::test]
async fn put_away_by_hand_it_comes_back_with_all_but_its_memory() {
    let env = test_env().await;
    let session = env.at_work("acme", json!({})).await;
    let away = env.order(&session, "/hibernate").await;
    assert_eq!((away.state, away.shard, away.memory_bytes), (SessionState::Hibernated, None, Some(0)));
    assert!(away.storage_bytes.is_some_and(|bytes| bytes > 0), "{:?}", away.storage_bytes);
    assert_eq!(env.order(&session, "/hibernate").await.state, SessionState::Hibernated);

    let back = env.order(&session, "/wake").await;
    assert_eq!((back.state, back.url), (SessionState::Ready, Some(env.workbench_url())));
    assert!(back.shard.is_some());
    assert_eq!(env.read(&session).await, brought_back("acme"));
    assert_eq!(env.order(&session, "/wake").await.state, SessionState::Ready);
    // It goes on as before.
    env.write(&session, "later").await;
    env.order(&session, "/hibernate").await;
    assert_eq!(env.read(&session).await, brought_back("later"));
    env.each_signed_in_once();
}

#[tokio::test]
async fn put_away_it_has_no_process_and_held_it_is_not_put_away() {
    let env = test_env().await;
    let session = env.window("a", json!({ "isolation": "dedicated" })).await;
    env.client().post(&path(&session, "/hold"), &json!({ "ttl": 1 })).await.expect(201);
    let refused = env.client().post_nothing(&path(&session, "/hibernate")).await;
    assert_eq!(refused.refusal(), (409, "session_in_use"), "{}", refused.body);
    wait_for("the end of the hold", SOON, async || {
        let now = env.client().session(&session).await;
        expect_that(!now.in_use, now)
    })
    .await;
    env.order(&session, "/hibernate").await;
    wait_for("the end of all processes", SOON, async || {
        let processes = env.server.processes();
        expect_that(processes.is_empty(), processes)
    })
    .await;
}

#[tokio::test]
async fn every_use_wakes_and_a_ping_does_not() {
    let env = test_env().await;
    let session = env.at_work("acme", json!({})).await;
    let appointments = json!({ "url": format!("{}appointments", env.portal.url()) });
    let uses = [
        (Method::POST, "/evaluate", json!({ "expression": "1 + 1" })),
        (Method::GET, "/screenshot", Value::Null),
        (Method::POST, "/refresh", Value::Null),
        (Method::POST, "/navigate", appointments),
        (Method::POST, "/hold", json!({ "ttl": 1 })),
    ];
    for (method, below, body) in uses {
        env.order(&session, "/hibernate").await;
        env.client().post_nothing(&path(&session, "/ping")).await.expect(200);
        is_in(&env, &session, SessionState::Hibernated).await;
        let request = env.client().request(method, &path(&session, below));
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = env.client().send(request).await;
        assert!((200..300).contains(&answer.status), "{below}: {}", answer.body);
        is_in(&env, &session, SessionState::Ready).await;
    }
    let shown = env.client().session(&session).await.url;
    assert_eq!(shown, Some(format!("{}appointments", env.portal.url())));
    env.each_signed_in_once();
}

#[tokio::test]
async fn an_equal_request_wakes() {
    let env = test_env().await;
    let session = env.at_work("acme", json!({})).await;
    env.order(&session, "/hibernate").await;
    let answer = env.client().post("/sessions", &account("acme")).await.expect(200);
    assert_eq!(answer.body["is_new"], false);
    let found = answer.session();
    assert_eq!((found.session_id, found.state), (session.session_id, SessionState::Ready));
    assert_eq!(env.read(&session).await, brought_back("acme"));
    env.each_signed_in_once();
}

#[tokio::test]
async fn unused_it_is_put_away_by_itself_and_a_held_one_is_not() {
    let env = test_env_with("[sessions]\nhibernate_after = \"2s\"", PortalOptions::default()).await;
    let held = env.window("held", json!({})).await;
    env.client().post(&path(&held, "/hold"), &json!({ "ttl": 600 })).await.expect(201);
    let free = env.at_work("acme", json!({})).await;
    let mut events = env.client().events("/events").await;
    let is_away = |state: Option<SessionState>| state == Some(SessionState::Hibernated);
    let event = events.find("one that is put away", SOON, |event| is_away(event.state)).await;
    assert_eq!(event.session_id, Some(free.session_id));
    is_in(&env, &held, SessionState::Ready).await;
    assert_eq!(env.read(&free).await, brought_back("acme"));
}

async fn newcomer(env: &TestEnv, name: &str) -> Answer {
    let body = json!({ "url": format!("{}login", env.portal.url()), "name": name });
    env.client().post("/sessions", &body).await
}

async fn away(env: &TestEnv) -> BTreeSet<String> {
    let sessions = env.client().sessions().await;
    let away = sessions.into_iter().filter(|session| session.state == SessionState::Hibernated);
    away.filter_map(|session| session.name).collect()
}

#[tokio::test]
async fn on_a_full_machine_the_least_recently_used_makes_room() {
    let env = test_env_with(THREE, PortalOptions::default()).await;
    let mut sessions = Vec::new();
    for name in ["a", "b", "c"] {
        sessions.push(env.window(name, json!({})).await);
    }
    env.client().post_nothing(&path(&sessions[0], "/ping")).await.expect(200);
    let mut events = env.client().events("/events").await;
    newcomer(&env, "d").await.expect(201);
    let event = events.kind(EventKind::StateChanged, SOON).await;
    assert_eq!(event.name.as_deref(), Some("b"), "{event:?}");
    assert_eq!(away(&env).await, ["b".to_owned()].into());
    assert_eq!(env.names().await, ["a", "b", "c", "d"], "nobody ends");
    // Who comes back is a newcomer too.
    assert_eq!(env.client().evaluate(&sessions[1], "1 + 1").await, 2);
    assert_eq!(away(&env).await, ["c".to_owned()].into());
    assert_eq!(env.live().await, 3);
}

#[tokio::test]
async fn held_and_immortal_ones_keep_their_windows_and_all_protected_is_full() {
    let env = test_env_with(THREE, PortalOptions::default()).await;
    let held = json!({ "ttl": 600 });
    let first = env.window("held", json!({})).await;
    env.client().post(&path(&first, "/hold"), &held).await.expect(201);
    env.window("immortal", json!({ "never_terminate": true })).await;
    let free = env.window("free", json!({})).await;
    let last = newcomer(&env, "last").await.expect(201).session();
    assert_eq!(away(&env).await, ["free".to_owned()].into());
    env.client().post(&path(&last, "/hold"), &held).await.expect(201);

    let refused = newcomer(&env, "too-many").await;
    assert_eq!(refused.refusal(), (503, "at_capacity"), "{}", refused.body);
    let refused = env.client().post_nothing(&path(&free, "/wake")).await;
    assert_eq!(refused.refusal(), (503, "at_capacity"), "{}", refused.body);
    assert_eq!(env.names().await, ["free", "held", "immortal", "last"]);
    is_in(&env, &free, SessionState::Hibernated).await;
}

#[tokio::test]
async fn six_sessions_share_two_windows_and_nobody_notices() {
    let mut chance = Chance::new();
    let env = test_env_with("[limits]\nmax_live = 2", PortalOptions::default()).await;
    let mut kept = Vec::new();
    for user in ["a", "b", "c", "d", "e", "f"] {
        kept.push((env.at_work(user, json!({})).await, user.to_owned()));
    }
    let indices: Vec<_> = (0..kept.len()).collect();
    for round in rounds(12) {
        let (session, value) = &mut kept[*chance.pick(&indices)];
        let work = env.read(session).await;
        assert_eq!(work.that_is_kept(), brought_back(value), "{:?}", session.username);
        if chance.coin() {
            *value = format!("round-{round}");
            env.write(session, value).await;
        }
        assert!(env.live().await <= 2);
    }
    env.each_signed_in_once();
}

#[tokio::test]
async fn drained_it_has_no_windows_and_at_its_next_start_they_can_be_woken() {
    let mut env = test_env().await;
    let session = env.at_work("acme", json!({})).await;
    env.window("held", json!({ "isolation": "dedicated" })).await;
    for by_command in [false, true] {
        if by_command {
            env.server.command(&["drain"], "").await.expect(0);
        } else {
            env.client().post_nothing("/drain").await.expect(200);
        }
        assert_eq!(env.client().get("/ready").await.status, 503);
        wait_for("the end of all windows", SOON, async || {
            let sessions = env.client().sessions().await;
            let all_away = sessions.iter().all(|session| session.state == SessionState::Hibernated);
            let shims = env.server.shims();
            expect_that(all_away && shims.is_empty(), (sessions, shims))
        })
        .await;
        assert_eq!(env.server.terminate().await, 0);
        env = env.start_again().await.0;
        is_in(&env, &session, SessionState::Hibernated).await;
        assert_eq!(env.read(&session).await, brought_back("acme"));
    }
    env.each_signed_in_once();
}
