//! A full machine: who must go, who must wait.

use futures_util::future::join_all;
use pilotlight_api::{EndedReason, EventKind, Session};
use pilotlight_testkit::harness::{Answer, expect_that, wait_for};
use pilotlight_testkit::portal::PortalOptions;
use serde_json::{Value, json};

use crate::support::{SOON, TestEnv, account, path, test_env_with, with};

const TERMINATE: &str = "[limits]\nmax_live = 5\nat_capacity = \"terminate\"\nqueue_timeout = \"1s\"";

async fn full(config: &str, windows: usize) -> (TestEnv, Vec<Session>) {
    let env = test_env_with(config, PortalOptions::default()).await;
    let mut sessions = Vec::new();
    for index in 1..=windows {
        sessions.push(env.window(&format!("w{index}"), json!({})).await);
    }
    (env, sessions)
}

async fn newcomer(env: &TestEnv, name: &str) -> Answer {
    let body = json!({ "url": format!("{}login", env.portal.url()), "name": name });
    env.client().post("/sessions", &body).await
}

async fn is_evicted(env: &TestEnv, session: &Session) {
    let answer = env.client().get(&path(session, "")).await;
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
    let (env, sessions) = full(TERMINATE, 5).await;
    let mut events = env.client().events("/events").await;
    // The second is refreshed, which is not use and finds a sign-in page; the first is used in each way that there is.
    let refreshed = json!({ "refresh_interval": "1s" });
    env.client().patch(&path(&sessions[1], ""), &refreshed).await.expect(200);
    events.find("a refresh", SOON, |event| event.kind == EventKind::SignedOut).await;
    env.client().post_nothing(&path(&sessions[0], "/ping")).await.expect(200);
    newcomer(&env, "w6").await.expect(201);
    is_evicted(&env, &sessions[1]).await;
    assert_eq!(env.names().await, ["w1", "w3", "w4", "w5", "w6"]);
    let evicted = events.kind(EventKind::Evicted, SOON).await;
    assert_eq!((evicted.session_id, evicted.reason.as_str()), (Some(sessions[1].session_id), "capacity"));

    // A page that is worked on is used.
    env.client().evaluate(&sessions[2], "1 + 1").await;
    newcomer(&env, "w7").await.expect(201);
    is_evicted(&env, &sessions[3]).await;
}

#[tokio::test]
async fn held_and_immortal_ones_are_passed_over_and_all_protected_is_full() {
    let (env, sessions) = full(TERMINATE, 5).await;
    let immortal = json!({ "never_terminate": true });
    let held = json!({ "ttl": 600 });
    env.client().patch(&path(&sessions[0], ""), &immortal).await.expect(200);
    env.client().post(&path(&sessions[1], "/hold"), &held).await.expect(201);
    newcomer(&env, "w6").await.expect(201);
    is_evicted(&env, &sessions[2]).await;

    let last: Session = newcomer(&env, "w6").await.expect(200).session();
    for session in [&sessions[3], &sessions[4], &last] {
        env.client().post(&path(session, "/hold"), &held).await.expect(201);
    }
    is_refused_for_lack_of_room(&newcomer(&env, "w7").await);
    assert_eq!(env.names().await, ["w1", "w2", "w4", "w5", "w6"]);
}

#[tokio::test]
async fn many_newcomers_never_make_more_windows_than_allowed() {
    let config = "[limits]\nmax_live = 3\nat_capacity = \"terminate\"\nqueue_timeout = \"30s\"";
    let (env, _) = full(config, 3).await;
    let names: Vec<_> = (0..6).map(|index| format!("n{index}")).collect();
    let all = join_all(names.iter().map(|name| newcomer(&env, name)));
    let watch = wait_for("the last newcomer", SOON, async || {
        let sessions = env.client().sessions().await;
        assert!(sessions.len() <= 3, "{sessions:?}");
        let names = env.names().await;
        expect_that(names.iter().all(|name| name.starts_with('n')), names)
    });
    let (answers, _) = tokio::join!(all, watch);
    let let_in = answers.iter().filter(|answer| answer.status == 201).count();
    // One that was let in may have had to go for the next before its request was answered.
    assert!(let_in >= 3 && answers.iter().all(|answer| [201, 410].contains(&answer.status)), "{answers:?}");
    assert_eq!(env.client().sessions().await.len(), 3);
}

#[tokio::test]
async fn with_reject_a_newcomer_waits_and_nobody_goes() {
    let config = "[limits]\nmax_live = 2\nat_capacity = \"reject\"\nqueue_timeout = \"1s\"";
    let (env, sessions) = full(config, 2).await;
    is_refused_for_lack_of_room(&newcomer(&env, "w3").await);
    assert_eq!(env.names().await, ["w1", "w2"]);
    // What is there already needs no room.
    newcomer(&env, "w1").await.expect(200);
    env.client().delete(&path(&sessions[0], "")).await.expect(200);
    newcomer(&env, "w3").await.expect(201);
}

#[tokio::test]
async fn who_waits_gets_the_place_that_comes_free() {
    let config = "[limits]\nmax_live = 1\nat_capacity = \"reject\"\nqueue_timeout = \"30s\"";
    let (env, sessions) = full(config, 1).await;
    let waits = newcomer(&env, "w2");
    let frees = async {
        // Queued requests are not visible from outside; after several responses the server has read both.
        for _ in 0..20 {
            env.client().get("/health").await.expect(200);
        }
        env.client().delete(&path(&sessions[0], "")).await.expect(200)
    };
    let (waited, _) = tokio::join!(waits, frees);
    assert_eq!(waited.status, 201, "{}", waited.body);
    assert_eq!(env.names().await, ["w2"]);
}

#[tokio::test]
async fn sessions_are_limited_as_windows_are() {
    let config = "[limits]\nmax_sessions = 1\nmax_live = 1\nqueue_timeout = \"1s\"";
    let (env, _) = full(config, 1).await;
    let answer = env.client().post("/sessions", &account("acme")).await;
    is_refused_for_lack_of_room(&answer);
    assert_eq!(env.portal.total_sign_ins(), 0);
    assert_eq!(env.client().get("/health").await.body["session_capacity"], "1/1");
}

/// `idle_timeout`, a full machine, a portal that is down: none ends it.
#[tokio::test]
async fn nothing_but_a_delete_ends_what_never_terminates() {
    let config = "[limits]\nmax_live = 2\nat_capacity = \"terminate\"\nqueue_timeout = \"1s\"\n\
                  [sessions]\nrefresh_check = \"1s\"";
    let env = test_env_with(config, PortalOptions::default()).await;
    let policy: Value = json!({ "never_terminate": true, "keep_alive": false, "idle_timeout": "1s", "refresh_interval": "1s" });
    let immortal = env.client().create(&with(account("acme"), policy)).await;
    assert_eq!(immortal.expires_at, None);
    let mut events = env.client().events("/events").await;
    env.portal.set_down(true);
    events.kind(EventKind::RefreshFailed, SOON).await;
    let away = json!({ "keep_alive": false, "idle_timeout": "1s" });
    let plain = json!({ "url": crate::support::nobody_there() });
    assert_eq!(env.client().post("/sessions", &plain).await.status, 502);
    env.portal.set_down(false);
    let other = env.window("other", away).await;
    newcomer(&env, "third").await.expect(201);
    is_evicted(&env, &other).await;
    let session = env.reaches(&immortal, pilotlight_api::SessionState::Ready).await;
    assert_eq!(session.session_id, immortal.session_id);
    env.client().delete(&path(&immortal, "")).await.expect(200);
}
