//! Who holds a session is left alone, for as long as the hold lasts.

use pilotlight_api::{EventKind, HoldAnswer, Session};
use pilotlight_testkit::harness::{expect_that, wait_for};
use serde_json::{Value, json};

use crate::support::{House, SOON, account, house, house_with, path, with};

async fn hold(house: &House, session: &Session, body: Value) -> HoldAnswer {
    house.client().post(&path(session, "/hold"), &body).await.expect(201).typed()
}

async fn is_refused(house: &House, session: &Session, body: Value) {
    let answer = house.client().post(&path(session, "/hold"), &body).await;
    assert_eq!(answer.refusal(), (409, "session_in_use"), "{body}: {}", answer.body);
}

#[tokio::test]
async fn a_hold_is_exclusive_unless_all_share() {
    let house = house().await;
    let session = house.window("a", json!({})).await;
    let first = hold(&house, &session, json!({ "ttl": 60, "owner": "first" })).await;
    let held = house.client().session(&session).await;
    assert!(held.in_use);
    assert_eq!((held.holds[0].owner.as_deref(), held.holds[0].shared), (Some("first"), false));
    assert_eq!(held.holds[0].expires_at, first.expires_at);
    is_refused(&house, &session, json!({})).await;
    is_refused(&house, &session, json!({ "shared": true })).await;
    let below = path(&session, &format!("/hold/{}", first.hold_id));
    house.client().delete(&below).await.expect(200);
    assert!(!house.client().session(&session).await.in_use);
    assert_eq!(house.client().delete(&below).await.refusal(), (404, "hold_not_found"));

    let shared = json!({ "shared": true });
    let one = hold(&house, &session, shared.clone()).await;
    let other = hold(&house, &session, shared).await;
    assert_ne!(one.hold_id, other.hold_id);
    is_refused(&house, &session, json!({})).await;
    house.client().delete(&path(&session, &format!("/hold/{}", one.hold_id))).await.expect(200);
    assert!(house.client().session(&session).await.in_use, "the other still holds it");
}

#[tokio::test]
async fn a_hold_can_be_extended_and_ends_by_itself() {
    let house = house().await;
    let session = house.window("a", json!({})).await;
    let mut events = house.client().events(&path(&session, "/events")).await;
    let first = hold(&house, &session, json!({ "ttl": "1s" })).await;
    let below = path(&session, &format!("/hold/{}", first.hold_id));
    let extended: HoldAnswer = house.client().post(&below, &json!({ "ttl": 2 })).await.expect(200).typed();
    assert_eq!(extended.hold_id, first.hold_id);
    assert!(extended.expires_at > first.expires_at);
    assert_eq!(events.kind(EventKind::HoldStarted, SOON).await.reason, "hold_granted");
    let ended = events.kind(EventKind::HoldEnded, SOON).await;
    assert_eq!(ended.reason, "hold_expired");
    assert!(ended.time >= extended.expires_at, "{ended:?} before {extended:?}");
    assert!(!house.client().session(&session).await.in_use);
    assert_eq!(house.client().post(&below, &json!({})).await.refusal(), (404, "hold_not_found"));
    for endless in [json!({ "ttl": 0 }), json!({ "ttl": "never" }), json!({ "ttl": "25h" })] {
        let answer = house.client().post(&path(&session, "/hold"), &endless).await;
        assert_eq!(answer.refusal(), (422, "invalid_field"), "a hold always has an end: {endless}");
    }
}

#[tokio::test]
async fn a_held_session_is_not_refreshed() {
    let house =
        house_with("[sessions]\nrefresh_interval = \"1s\"\nrefresh_check = \"1s\"", Default::default()).await;
    let often = json!({ "refresh_interval": 1 });
    let held = house.client().create(&with(account("held"), often.clone())).await;
    let free = house.client().create(&with(account("free"), often)).await;
    let first = hold(&house, &held, json!({ "ttl": 600 })).await;
    for below in ["/refresh", "/restart"] {
        let answer = house.client().post_nothing(&path(&held, below)).await;
        assert_eq!(answer.refusal(), (409, "session_in_use"), "{below}");
    }
    let before = house.portal.requests("held");
    let start = house.portal.requests("free");
    wait_for("three refreshes of the other", SOON, async || {
        let requests = house.portal.requests("free") - start;
        expect_that(requests >= 3, requests)
    })
    .await;
    assert_eq!(house.portal.requests("held"), before, "somebody held it");
    assert!(house.client().session(&free).await.last_refresh.is_some());

    house.client().delete(&path(&held, &format!("/hold/{}", first.hold_id))).await.expect(200);
    wait_for("a refresh of the one that is free again", SOON, async || {
        let requests = house.portal.requests("held");
        expect_that(requests > before, requests)
    })
    .await;
}
