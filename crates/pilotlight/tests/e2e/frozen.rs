//! Windows that stand still: by hand, for want of use, and with everything in place when they run again.

use pilotlight_api::{EventKind, Session, SessionState};
use pilotlight_testkit::harness::{expect_that, wait_for};
use pilotlight_testkit::portal::PortalOptions;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{SOON, TestEnv, account, path, test_env, test_env_with, with};

/// Counts in the page's memory ten times a second, as far as the page runs.
const START_COUNTING: &str = "globalThis.counted = 1; globalThis.started = Date.now(); \
     setInterval(() => globalThis.counted += 1, 100); counted";

async fn is_in(env: &TestEnv, session: &Session, state: SessionState) {
    let now = env.client().session(session).await;
    assert_eq!(now.state, state, "{now:?}");
}

/// The page's memory is as it was, it is seen, and its timers fire as often as before: a hidden page's would
/// fire once a second.
async fn runs(env: &TestEnv, session: &Session, counted: u64) {
    let now = env.client().evaluate(session, "[counted, document.visibilityState]").await;
    assert!(now[0].as_u64().is_some_and(|now| now >= counted), "{now} after {counted}");
    assert_eq!(now[1], "visible");
    let ticking = "new Promise(done => { const from = counted, at = performance.now(); \
        const look = setInterval(() => { if (counted >= from + 10) { clearInterval(look); \
        done(performance.now() - at); } }, 10); })";
    let took_ms = env.client().evaluate(session, ticking).await;
    assert!(took_ms.as_f64().is_some_and(|took_ms| took_ms < 8_000.0), "ten ticks took {took_ms} ms");
}

#[tokio::test]
async fn by_hand_it_stands_still_and_every_use_has_it_run_again() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    env.client().evaluate(&session, START_COUNTING).await;
    let frozen = env.order(&session, "/freeze").await;
    assert_eq!(frozen.state, SessionState::Frozen);
    assert!(frozen.shard.is_some(), "its window stays: {frozen:?}");
    let uses = [
        (Method::POST, "/evaluate", json!({ "expression": "1 + 1" })),
        (Method::GET, "/screenshot", Value::Null),
        (Method::POST, "/wake", Value::Null),
        (Method::POST, "/hold", json!({ "ttl": 1, "shared": true })),
    ];
    for (method, below, body) in uses {
        wait_for("the end of the hold", SOON, async || {
            let now = env.client().session(&session).await;
            expect_that(!now.in_use, now)
        })
        .await;
        assert_eq!(env.order(&session, "/freeze").await.state, SessionState::Frozen);
        env.client().post_nothing(&path(&session, "/ping")).await.expect(200);
        is_in(&env, &session, SessionState::Frozen).await;
        let request = env.client().request(method, &path(&session, below));
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = env.client().send(request).await;
        assert!((200..300).contains(&answer.status), "{below}: {}", answer.body);
        is_in(&env, &session, SessionState::Ready).await;
    }
    env.client().post(&path(&session, "/hold"), &json!({ "ttl": 600, "shared": true })).await.expect(201);
    let refused = env.client().post_nothing(&path(&session, "/freeze")).await;
    assert_eq!(refused.refusal(), (409, "session_in_use"), "{}", refused.body);
    runs(&env, &session, 1).await;
    env.each_signed_in_once();
}

#[tokio::test]
async fn its_timers_stop_and_its_processes_rest() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    env.client().evaluate(&session, START_COUNTING).await;
    let before = env.client().evaluate(&session, "counted").await.as_u64().unwrap();
    env.order(&session, "/freeze").await;
    // Another session's second, by another session's clock.
    let other = env.window("clock", json!({})).await;
    env.client().evaluate(&other, "new Promise(done => setTimeout(done, 3000))").await;
    let after = "[counted, Math.floor((Date.now() - started) / 100)]";
    let after = env.client().evaluate(&session, after).await;
    let (counted, possible) = (after[0].as_u64().unwrap(), after[1].as_u64().unwrap());
    assert!(counted + 20 < possible, "{counted} ticks of {possible}: it went on, from {before}");
    runs(&env, &session, before).await;
}

#[tokio::test]
async fn unused_it_stands_still_is_refreshed_and_stays_signed_in() {
    let config = "[sessions]\nfreeze_after = \"1s\"\nrefresh_check = \"1s\"";
    let env = test_env_with(config, PortalOptions::default()).await;
    let held = env.window("held", json!({})).await;
    env.client().post(&path(&held, "/hold"), &json!({ "ttl": 600 })).await.expect(201);
    let often = with(account("acme"), json!({ "refresh_interval": "8s" }));
    let session = env.client().create(&often).await;
    let mut events = env.client().events("/events").await;
    let is_its = |event: &pilotlight_api::Event, state| {
        event.session_id == Some(session.session_id)
            && event.kind == EventKind::StateChanged
            && event.state == Some(state)
    };
    events.find("it freezes", SOON, |event| is_its(event, SessionState::Frozen)).await;
    let refreshed = events.kind(EventKind::Refreshed, SOON).await;
    assert_eq!(refreshed.session_id, Some(session.session_id));
    events.find("it freezes again", SOON, |event| is_its(event, SessionState::Frozen)).await;
    is_in(&env, &held, SessionState::Ready).await;
    env.each_signed_in_once();
}

#[tokio::test]
async fn it_outlasts_the_server_and_hibernates_from_where_it_stands() {
    let env = test_env().await;
    let session = env.at_work("acme", json!({})).await;
    env.client().evaluate(&session, START_COUNTING).await;
    env.order(&session, "/freeze").await;
    let TestEnv { mut server, portal } = env;
    server.kill_server();
    let env = TestEnv { server: server.start_again().await, portal };
    env.reaches(&session, SessionState::Ready).await;
    runs(&env, &session, 1).await;

    env.order(&session, "/freeze").await;
    assert_eq!(env.order(&session, "/hibernate").await.state, SessionState::Hibernated);
    assert_eq!(env.order(&session, "/freeze").await.state, SessionState::Hibernated, "colder still");
    assert_eq!(env.read(&session).await, crate::chaos::work::brought_back("acme"));
    env.each_signed_in_once();
}

#[tokio::test]
async fn a_renderer_that_dies_in_the_cold_is_made_good() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    env.order(&session, "/freeze").await;
    let renderers: Vec<_> = env
        .server
        .processes()
        .into_iter()
        .filter(|process| process.role() == pilotlight_testkit::harness::Role::Renderer)
        .collect();
    assert!(!renderers.is_empty());
    renderers.iter().for_each(pilotlight_testkit::harness::Process::kill);
    env.reaches(&session, SessionState::Ready).await;
    env.client().evaluate(&session, START_COUNTING).await;
    runs(&env, &session, 1).await;
}
