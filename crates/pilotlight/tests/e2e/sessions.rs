//! Listing, pinging, changing and closing sessions; how they end by themselves.

use std::collections::BTreeSet;

use pilotlight_api::{EndedReason, Event, EventKind, PingAnswer, Session};
use pilotlight_testkit::harness::{Answer, expect_that, wait_for};
use serde_json::{Value, json};

use crate::support::{SOON, TestEnv, account, path, test_env, with};

const NO_SESSION: &str = "/sessions/0198c1c2-0000-7000-8000-000000000000";

fn keys(answer: &Answer) -> BTreeSet<&str> {
    answer.body.as_object().unwrap().keys().map(String::as_str).collect()
}

/// What is said of a session that has ended.
async fn reason_of(env: &TestEnv, session: &Session) -> String {
    let answer = env.client().get(&path(session, "")).await;
    assert_eq!(answer.refusal(), (410, "session_ended"), "{}", answer.body);
    answer.body["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_ping_answers_as_the_guide_says() {
    let env = test_env().await;
    let session = env.window("a", json!({ "keep_alive": false, "idle_timeout": 600 })).await;
    let mut last_used = session.last_used;
    for path in [format!("/ping_session/{}", session.session_id), path(&session, "/ping")] {
        // Times are told in milliseconds, and two pings may be quicker.
        last_used = wait_for("a later time", SOON, async || {
            let answer = env.client().post_nothing(&path).await.expect(200);
            assert_eq!(keys(&answer), BTreeSet::from(["success", "session_id", "last_used"]));
            assert_eq!(answer.body["success"], true);
            assert_eq!(answer.body["session_id"], session.session_id.to_string());
            let pinged: PingAnswer = answer.typed();
            assert!(pinged.last_used >= last_used, "{path}");
            expect_that(pinged.last_used > last_used, pinged.last_used)
        })
        .await;
    }
    let pinged = env.client().session(&session).await;
    assert_eq!(pinged.last_used, last_used);
    assert!(pinged.expires_at > session.expires_at);
}

#[tokio::test]
async fn an_unknown_session_is_not_found_everywhere() {
    let env = test_env().await;
    for id in ["0198c1c2-0000-7000-8000-000000000000", "nonsense", "%00"] {
        let below = format!("/sessions/{id}");
        let client = env.client();
        let answers = [
            client.post_nothing(&format!("/ping_session/{id}")).await,
            client.get(&below).await,
            client.delete(&below).await,
            client.patch(&below, &json!({})).await,
            client.post_nothing(&format!("{below}/hold")).await,
            client.post_nothing(&format!("{below}/refresh")).await,
            client.post_nothing(&format!("{below}/restart")).await,
            client.get(&format!("{below}/screenshot")).await,
            client.get(&format!("{below}/events")).await,
            client.post(&format!("{below}/evaluate"), &json!({ "expression": "1" })).await,
        ];
        for answer in answers {
            assert_eq!(answer.status, 404, "{id}: {}", answer.body);
            assert_eq!(
                (&answer.body["success"], &answer.body["error"]),
                (&json!(false), &json!("Session not found"))
            );
            assert_eq!(answer.body["code"], "session_not_found");
            assert_eq!(keys(&answer), BTreeSet::from(["success", "error", "code", "hint"]));
        }
    }
}

#[tokio::test]
async fn sessions_are_listed_and_filtered_and_counted() {
    let env = test_env().await;
    let acme = env.sign_in("acme").await;
    let plain = env.window("plain", json!({ "tags": { "team": "north:east" }, "keep_alive": false })).await;
    let listed = async |query: &str| -> Vec<String> {
        let answer = env.client().get(&format!("/sessions{query}")).await.expect(200);
        assert_eq!(answer.body["success"], true);
        let sessions = answer.body["sessions"].as_array().unwrap();
        sessions.iter().map(|session| session["session_id"].as_str().unwrap().to_owned()).collect()
    };
    let (acme, plain) = (acme.session_id.to_string(), plain.session_id.to_string());
    assert_eq!(listed("").await, [acme.clone(), plain.clone()]);
    assert_eq!(listed("?state=ready").await, [acme.clone(), plain.clone()]);
    assert!(listed("?state=needs_attention").await.is_empty());
    assert_eq!(listed("?site=portal").await, [acme]);
    assert_eq!(listed("?tag=team:north:east").await, [plain]);
    for wrong in ["?state=tired", "?tag=team", "?colour=red"] {
        let answer = env.client().get(&format!("/sessions{wrong}")).await;
        assert_eq!(answer.refusal(), (422, "invalid_field"), "{wrong}: {}", answer.body);
    }

    let health = env.client().with_token("").get("/health").await.expect(200).body;
    assert_eq!((&health["status"], &health["service"]), (&json!("healthy"), &json!("pilotlight")));
    assert_eq!((&health["active_sessions"], &health["max_sessions"]), (&json!(2), &json!(1000)));
    assert_eq!((&health["session_capacity"], &health["persistent_sessions"]), (&json!("2/1000"), &json!(1)));
    assert!(health["version"].is_string() && health["timestamp"].is_string());
    let metrics = env.client().get("/metrics").await.expect(200);
    let metrics = String::from_utf8(metrics.bytes).unwrap();
    assert!(metrics.contains("pilotlight_sessions{state=\"ready\"} 2"), "{metrics}");
}

#[tokio::test]
async fn a_session_can_be_changed() {
    let env = test_env().await;
    let session = env.window("a", json!({})).await;
    env.window("b", json!({})).await;
    let change = json!({ "name": "c", "keep_alive": false, "idle_timeout": "1h", "never_terminate": false,
        "refresh_interval": 0, "tags": { "team": "south" } });
    let changed = env.client().patch(&path(&session, ""), &change).await.expect(200).session();
    assert_eq!((changed.name.as_deref(), changed.keep_alive), (Some("c"), false));
    assert_eq!(changed.tags["team"], "south");
    let expires_at = changed.expires_at.unwrap();
    assert_eq!(expires_at.duration_since(changed.last_used).as_secs(), 3600);
    assert_eq!(env.client().session(&session).await.name.as_deref(), Some("c"));

    let immortal = json!({ "never_terminate": true });
    let changed = env.client().patch(&path(&session, ""), &immortal).await.expect(200).session();
    assert_eq!((changed.never_terminate, changed.expires_at), (true, None));
    assert_eq!(changed.tags["team"], "south", "what is missing stays");

    let taken = env.client().patch(&path(&session, ""), &json!({ "name": "b" })).await;
    assert_eq!(taken.refusal(), (409, "name_taken"), "{}", taken.body);
    let unknown = env.client().patch(&path(&session, ""), &json!({ "nam": "b" })).await;
    assert_eq!(unknown.refusal(), (422, "invalid_field"), "{}", unknown.body);
}

#[tokio::test]
async fn a_closed_session_is_gone_and_says_why() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    let answer = env.client().delete(&path(&session, "")).await.expect(200);
    assert_eq!(answer.body, json!({ "success": true, "message": "Session closed successfully" }));
    assert!(env.client().sessions().await.is_empty());
    let reason = reason_of(&env, &session).await;
    assert!(reason.contains(EndedReason::ClosedByClient.as_str()), "{reason}");
    let ping = env.client().post_nothing(&path(&session, "/ping")).await;
    assert_eq!(ping.body["error"], "Session not found", "to a ping it is as unknown as any other");
    assert_eq!(ping.refusal(), (404, "session_not_found"));
    for (method, below) in [("POST", "/hold"), ("POST", "/refresh"), ("DELETE", "")] {
        let method = method.parse().unwrap();
        let request = env.client().request(method, &path(&session, below));
        assert_eq!(env.client().send(request).await.refusal(), (410, "session_ended"), "{below}");
    }
    let again = env.sign_in("acme").await;
    assert_ne!(again.session_id, session.session_id);
    assert_eq!(env.client().get(NO_SESSION).await.status, 404);
}

#[tokio::test]
async fn only_an_unused_session_that_is_not_kept_alive_expires() {
    const IDLE_MS: i128 = 2000;
    let env = test_env().await;
    let mortal = json!({ "keep_alive": false, "idle_timeout": "2s" });
    let mut events = env.client().events("/events").await;
    env.window("kept", json!({ "idle_timeout": "1s" })).await;
    env.window("immortal", with(mortal.clone(), json!({ "never_terminate": true }))).await;
    // It expires as soon as the others only once it is held.
    let held = env.window("held", json!({ "keep_alive": false, "idle_timeout": "10m" })).await;
    env.client().post(&path(&held, "/hold"), &json!({ "ttl": 600 })).await.expect(201);
    env.client().patch(&path(&held, ""), &json!({ "idle_timeout": "2s" })).await.expect(200);
    let idle = env.window("idle", mortal.clone()).await;
    let due = idle.expires_at.unwrap();
    assert_eq!(due.duration_since(idle.last_used).as_millis(), IDLE_MS);

    // Pings keep it alive for longer than that. On a machine that pauses for so long it expires rightly, and the next
    // one is pinged.
    let (pinged, last_used) = wait_for("a session that pings keep alive", 2 * SOON, async || {
        let pinged = env.window("pinged", mortal.clone()).await;
        let due = pinged.expires_at.unwrap();
        let last_used = wait_for("a ping after the idle timeout", SOON, async || {
            let answer = env.client().post_nothing(&path(&pinged, "/ping")).await;
            if answer.status == 404 {
                return Ok(None);
            }
            let last_used = answer.expect(200).typed::<PingAnswer>().last_used;
            expect_that(last_used > due, Some(last_used))
        });
        let last_used = last_used.await;
        last_used.map(|last_used| (pinged, last_used)).ok_or("the pings came too late")
    })
    .await;
    let end_of = |session: &Session| {
        let id = session.session_id;
        move |event: &Event| event.kind == EventKind::Ended && event.session_id == Some(id)
    };
    let ended = events.find("the idle one's end", SOON, end_of(&idle)).await;
    assert_eq!(ended.name.as_deref(), Some("idle"));
    assert!(ended.time >= due, "{ended:?} before {due}");
    let reason = reason_of(&env, &idle).await;
    assert!(reason.contains(EndedReason::IdleTimeout.as_str()), "{reason}");

    // Without pings, only that session ends after its idle timeout.
    let ended = events.find("the pinged one's end", SOON, end_of(&pinged)).await;
    assert!(ended.time.duration_since(last_used).as_millis() >= IDLE_MS, "{ended:?}, used {last_used}");
    assert_eq!(env.names().await, ["held", "immortal", "kept"]);
}

#[tokio::test]
async fn many_sessions_share_browsers_and_all_are_closed() {
    let env = test_env().await;
    let mut sessions = Vec::new();
    for index in 0..4 {
        sessions.push(env.window(&format!("w{index}"), json!({})).await);
    }
    let shards: BTreeSet<_> = sessions.iter().map(|session| session.shard.clone()).collect();
    assert_eq!(shards.len(), 1, "{shards:?}");
    let body: Value = account("acme");
    assert!(env.client().post("/sessions", &body).await.expect(201).session().memory_bytes != Some(0));
    for session in sessions {
        env.client().delete(&path(&session, "")).await.expect(200);
    }
    assert_eq!(env.client().sessions().await.len(), 1);
}
