//! What happens is told as it happens, with its reason.

use pilotlight_api::{EventKind, SessionState};
use serde_json::json;

use crate::support::{SOON, path, test_env};

#[tokio::test]
async fn a_session_s_life_is_told_with_reasons() {
    let env = test_env().await;
    let mut events = env.client().events("/events").await;
    let session = env.sign_in("acme").await;
    env.client().patch(&path(&session, ""), &json!({ "name": "renamed" })).await.expect(200);
    env.client().post_nothing(&path(&session, "/refresh")).await.expect(200);
    env.client().post(&path(&session, "/hold"), &json!({})).await.expect(201);
    env.client().delete(&path(&session, "")).await.expect(200);
    let ended = events.kind(EventKind::Ended, SOON).await;
    assert_eq!((ended.state, ended.name.as_deref()), (Some(SessionState::Ended), Some("renamed")));

    let kinds: Vec<_> = events.seen.iter().map(|event| event.kind).collect();
    let mut rest = kinds.iter();
    for expected in [
        EventKind::Created,
        EventKind::SignedIn,
        EventKind::Updated,
        EventKind::Refreshed,
        EventKind::HoldStarted,
        EventKind::Ended,
    ] {
        assert!(rest.any(|kind| *kind == expected), "{} is missing in {kinds:?}", expected.as_str());
    }
    for (index, event) in events.seen.iter().enumerate() {
        assert!(!event.reason.is_empty() && !event.message.is_empty(), "{event:?}");
        assert_eq!(event.session_id, Some(session.session_id));
        assert!(index == 0 || events.seen[index - 1].id < event.id);
    }
    let states: Vec<_> = events.seen.iter().filter_map(|event| event.state).collect();
    assert!(states.contains(&SessionState::Starting) && states.contains(&SessionState::SigningIn));
}

#[tokio::test]
async fn one_session_s_events_are_its_own() {
    let env = test_env().await;
    let one = env.window("one", json!({})).await;
    let other = env.window("other", json!({})).await;
    let mut events = env.client().events(&path(&one, "/events")).await;
    env.client().delete(&path(&other, "")).await.expect(200);
    env.client().delete(&path(&one, "")).await.expect(200);
    let ended = events.kind(EventKind::Ended, SOON).await;
    assert_eq!(ended.session_id, Some(one.session_id));
    assert!(events.seen.iter().all(|event| event.session_id == Some(one.session_id)), "{:?}", events.seen);
}
