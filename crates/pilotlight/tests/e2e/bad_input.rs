//! Whatever is sent, the answer is one clear sentence, and nothing that runs is disturbed.

use pilotlight_testkit::harness::{Answer, Role};
use reqwest::Method;
use serde_json::json;

use crate::support::{TestEnv, account, path, test_env, with};

/// More than any body may have.
const TOO_LARGE: usize = 9 * 1024 * 1024;

async fn post(env: &TestEnv, body: impl Into<Vec<u8>>) -> Answer {
    let request = env.client().request(Method::POST, "/sessions");
    let request = request.header("content-type", "application/json").body(body.into());
    env.client().send(request).await
}

fn is_clear(answer: &Answer) {
    assert_eq!(answer.body["success"], false, "{answer:?}");
    for field in ["error", "code", "hint"] {
        let text = answer.body[field].as_str().unwrap_or_default();
        assert!(!text.is_empty() && text.len() < 500 && !text.contains('\n'), "{field}: {}", answer.body);
    }
}

#[tokio::test]
async fn garbage_is_answered_and_disturbs_nobody() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    let before = env.server.processes().len();
    let deep = "[".repeat(100_000);
    let nested = format!("{{\"tags\":{deep}");
    for garbage in ["{", "hello", "{} {}", "\u{0}", "{\"url\": \"http://a.test/", nested.as_str()] {
        let answer = post(&env, garbage).await;
        assert!([400, 422].contains(&answer.status), "{:.40}: {}", garbage, answer.body);
        is_clear(&answer);
    }
    assert_eq!(post(&env, b"\xff\xfe".to_vec()).await.refusal(), (400, "invalid_body"));
    assert_eq!(post(&env, "[]").await.refusal(), (422, "invalid_field"));
    let large = post(&env, vec![b' '; TOO_LARGE]).await;
    assert_eq!(large.refusal(), (413, "payload_too_large"), "{}", large.body);
    is_clear(&large);

    assert_eq!(env.client().get("/health").await.body["status"], "healthy");
    assert_eq!(env.client().session(&session).await.last_used, session.last_used);
    assert_eq!(env.client().evaluate(&session, "document.title").await, "Harbour Gate");
    assert_eq!(env.server.processes().len(), before, "something was started");
}

#[tokio::test]
async fn a_field_that_does_not_fit_is_named() {
    let env = test_env().await;
    for (more, field) in [
        (json!({ "idle_timout": 5 }), "idle_timout"),
        (json!({ "keep_alive": "yes" }), "keep_alive"),
        (json!({ "never_terminate": 1 }), "never_terminate"),
        (json!({ "idle_timeout": -5 }), "idle_timeout"),
        (json!({ "idle_timeout": "soon" }), "idle_timeout"),
        (json!({ "refresh_interval": [] }), "refresh_interval"),
        (json!({ "username": 5 }), "username"),
        (json!({ "viewport": { "width": 0, "height": 5 } }), "viewport.width"),
        (json!({ "viewport": { "width": 500 } }), "viewport"),
        (json!({ "proxy": { "server": "nonsense" } }), "proxy.server"),
        (json!({ "isolation": "alone" }), "isolation"),
        (json!({ "tags": [] }), "tags"),
        (json!({ "name": "../x" }), "name"),
        (json!({ "url": "http://a.test/" }), "url"),
    ] {
        let answer = env.client().post("/sessions", &with(account("acme"), more.clone())).await;
        assert_eq!(answer.refusal(), (422, "invalid_field"), "{more}: {}", answer.body);
        is_clear(&answer);
        assert!(answer.body["error"].as_str().unwrap().contains(field), "{more}: {}", answer.body);
    }
    let answer = env.client().post("/sessions", &with(account("acme"), json!({ "profile": "fast" }))).await;
    assert_eq!(answer.refusal(), (422, "unknown_profile"), "{}", answer.body);
    assert!(env.client().sessions().await.is_empty());
    assert_eq!(env.portal.total_sign_ins(), 0);
    let browsers = env.server.processes().into_iter().filter(|process| process.role() == Role::Browser);
    assert_eq!(browsers.count(), 0, "a browser was started for nothing");
}

#[tokio::test]
async fn routes_and_methods_that_are_not_there_are_said() {
    let env = test_env().await;
    let session = env.window("a", json!({})).await;
    let answer = env.client().get("/windows").await;
    assert_eq!(answer.refusal(), (404, "route_not_found"));
    is_clear(&answer);
    for (method, route) in
        [(Method::PUT, "/sessions"), (Method::POST, "/health"), (Method::GET, "/ping_session/x")]
    {
        let answer = env.client().send(env.client().request(method, route)).await;
        assert_eq!(answer.refusal(), (405, "method_not_allowed"), "{route}");
        is_clear(&answer);
    }
    let answer = env.client().post(&path(&session, "/hold"), &json!({ "owner": 5 })).await;
    assert_eq!(answer.refusal(), (422, "invalid_field"));
}
