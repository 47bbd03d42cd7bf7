//! Who holds a session is left alone, for as long as the hold lasts.

use pilotlight_api::{EventKind, HoldAnswer, Session};
use pilotlight_testkit::harness::{expect_that, wait_for};
use serde_json::{Value, json};

use crate::support::{SOON, TestEnv, account, path, test_env, test_env_with, with};

async fn hold(env: &TestEnv, session: &Session, body: Value) -> HoldAnswer {
    env.client().post(&path(session, "/hold"), &body).await.expect(201).typed()
}

async fn is_refused(env: &TestEnv, session: &Session, body: Value) {
    let answer = env.client().post(&path(session, "/hold"), &body).await;
    assert_eq!(answer.refusal(), (409, "session_in_use"), "{body}: {}", answer.body);
}

#[tokio::test]
async fn a_hold_is_exclusive_unless_all_share() {
    let env = test_env().await;
    let session = env.window("a", json!({})).await;
    let first = hold(&env, &session, json!({ "ttl": 60, "owner": "first" })).await;
    let held = env.client().session(&session).await;
    assert!(held.in_use);
    assert_eq!((held.holds[0].owner.as_deref(), held.holds[0].shared), (Some("first"), false));
    assert_eq!(held.holds[0].expires_at, first.expires_at);
    is_refused(&env, &session, json!({})).await;
    is_refused(&env, &session, json!({ "shared": true })).await;
    let below = path(&session, &format!("/hold/{}", first.hold_id));
    env.client().delete(&below).await.expect(200);
    assert!(!env.client().session(&session).await.in_use);
    assert_eq!(env.client().delete(&below).await.refusal(), (404, "hold_not_found"));

    let shared = json!({ "shared": true });
    let one = hold(&env, &session, shared.clone()).await;
    let other = hold(&env, &session, shared).await;
    assert_ne!(one.hold_id, other.hold_id);
    is_refused(&env, &session, json!({})).await;
    env.client().delete(&path(&session, &format!("/hold/{}", one.hold_id))).await.expect(200);
    assert!(env.client().session(&session).await.in_use, "the other still holds it");
}

#[tokio::test]
async fn a_hold_can_be_extended_and_ends_by_itself() {
    let env = test_env().await;
    let session = env.window("a", json!({})).await;
    let mut events = env.client().events(&path(&session, "/events")).await;
    let first = hold(&env, &session, json!({ "ttl": "1s" })).await;
    let below = path(&session, &format!("/hold/{}", first.hold_id));
    let extended: HoldAnswer = env.client().post(&below, &json!({ "ttl": 2 })).await.expect(200).typed();
    assert_eq!(extended.hold_id, first.hold_id);
    assert!(extended.expires_at > first.expires_at);
    assert_eq!(events.kind(EventKind::HoldStarted, SOON).await.reason, "hold_granted");
    let ended = events.kind(EventKind::HoldEnded, SOON).await;
    assert_eq!(ended.reason, "hold_expired");
    assert!(ended.time >= extended.expires_at, "{ended:?} before {extended:?}");
    assert!(!env.client().session(&session).await.in_use);
    assert_eq!(env.client().post(&below, &json!({})).await.refusal(), (404, "hold_not_found"));
    for endless in [json!({ "ttl": 0 }), json!({ "ttl": "never" }), json!({ "ttl": "25h" })] {
        let answer = env.client().post(&path(&session, "/hold"), &endless).await;
        assert_eq!(answer.refusal(), (422, "invalid_field"), "a hold always has an end: {endless}");
    }
}

#[tokio::test]
async fn a_quietly_held_session_is_not_refreshed() {
    let env =
        test_env_with("[sessions]\nrefresh_interval = \"1s\"\nrefresh_check = \"1s\"", Default::default())
            .await;
    let often = json!({ "refresh_interval": 1 });
    let held = env.client().create(&with(account("held"), often.clone())).await;
    let free = env.client().create(&with(account("free"), often)).await;
    let first = hold(&env, &held, json!({ "ttl": 600, "quiet": true })).await;
    for below in ["/refresh", "/restart"] {
        let answer = env.client().post_nothing(&path(&held, below)).await;
        assert_eq!(answer.refusal(), (409, "session_in_use"), "{below}");
    }
    let before = env.portal.requests("held");
    let start = env.portal.requests("free");
    wait_for("three refreshes of the other", SOON, async || {
        let requests = env.portal.requests("free") - start;
        expect_that(requests >= 3, requests)
    })
    .await;
    assert_eq!(env.portal.requests("held"), before, "somebody held it");
    assert!(env.client().session(&free).await.last_refresh.is_some());

    env.client().delete(&path(&held, &format!("/hold/{}", first.hold_id))).await.expect(200);
    wait_for("a refresh of the one that is free again", SOON, async || {
        let requests = env.portal.requests("held");
        expect_that(requests > before, requests)
    })
    .await;
}
