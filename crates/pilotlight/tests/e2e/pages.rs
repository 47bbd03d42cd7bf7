//! Work in a page for clients that have HTTP alone.

use pilotlight_api::Session;
use pilotlight_testkit::harness::{Answer, expect_that, wait_for};
use serde_json::{Value, json};

use crate::support::{SOON, TestEnv, nobody_there, path, test_env};

async fn evaluate(env: &TestEnv, session: &Session, expression: &str) -> Answer {
    env.client().post(&path(session, "/evaluate"), &json!({ "expression": expression })).await
}

#[tokio::test]
async fn a_page_can_be_gone_to() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    let go = async |url: &str| env.client().post(&path(&session, "/navigate"), &json!({ "url": url })).await;
    let url = format!("{}appointments", env.portal.url());
    let there = go(&url).await.expect(200).session();
    assert_eq!(there.url.as_deref(), Some(url.as_str()));
    assert_eq!(there.title.as_deref(), Some("Appointments · Harbour Gate"));
    assert!(there.last_used > session.last_used, "it was used");
    for scheme in [
        "file:///etc/passwd",
        "javascript:alert(1)",
        "chrome://version",
        "about:blank",
        "data:text/html,",
        "",
    ] {
        assert_eq!(go(scheme).await.refusal(), (422, "invalid_field"), "{scheme}");
    }
    assert_eq!(go(&nobody_there()).await.refusal(), (502, "navigation_failed"));
    assert_eq!(go(&url).await.status, 200, "a failed way does no harm");
    assert_eq!(env.portal.sign_ins("acme"), 1);
}

#[tokio::test]
async fn an_expression_is_evaluated() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    for (expression, result) in [
        ("1 + 1", json!(2)),
        ("document.title", json!("Harbour Gate")),
        ("undefined", Value::Null),
        ("({ a: [1, null, 'ü'] })", json!({ "a": [1, null, "ü"] })),
        ("new Promise(resolve => setTimeout(() => resolve('late'), 50))", json!("late")),
        ("fetch('/api/keep_alive').then(answer => answer.json())", json!({ "user": "acme" })),
    ] {
        let answer = evaluate(&env, &session, expression).await.expect(200);
        assert_eq!(answer.body, json!({ "success": true, "result": result }), "{expression}");
    }
    for (expression, says) in [
        ("(() => { throw new Error('no slots today') })()", "no slots today"),
        ("Promise.reject(new Error('rejected'))", "rejected"),
        ("no_such_name", "no_such_name"),
        ("}{", "SyntaxError"),
        ("window", "JSON"),
        ("Symbol('a')", "JSON"),
    ] {
        let answer = evaluate(&env, &session, expression).await;
        assert_eq!(answer.refusal(), (422, "script_failed"), "{expression}: {}", answer.body);
        assert!(answer.body["error"].as_str().unwrap().contains(says), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_picture_can_be_taken() {
    let env = test_env().await;
    let size = json!({ "viewport": { "width": 640, "height": 480 } });
    let session = env.window("a", size).await;
    evaluate(&env, &session, "document.body.style.height = '3000px'").await.expect(200);
    let take = async |query: &str| env.client().get(&path(&session, &format!("/screenshot{query}"))).await;
    let png = take("").await.expect(200);
    assert_eq!(png.headers["content-type"], "image/png");
    assert_eq!(png_size(&png.bytes), (640, 480));
    let (width, height) = png_size(&take("?full_page=true").await.expect(200).bytes);
    assert!(width <= 640 && height >= 3000, "{width}x{height}");
    let jpeg = take("?format=jpeg").await.expect(200);
    assert_eq!(jpeg.headers["content-type"], "image/jpeg");
    assert!(jpeg.bytes.starts_with(b"\xff\xd8\xff"));
    assert_eq!(take("?format=gif").await.refusal(), (422, "invalid_field"));
    assert_eq!(evaluate(&env, &session, "innerWidth").await.body["result"], 640);
}

/// Width and height of a PNG: its first chunk is IHDR.
fn png_size(bytes: &[u8]) -> (u32, u32) {
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"), "no PNG");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

/// Waits until the session has so many tabs.
async fn tabs(env: &TestEnv, session: &Session, count: u32) {
    wait_for(&format!("{count} tabs"), SOON, async || {
        let now = env.client().session(session).await;
        expect_that(now.tabs == count, now)
    })
    .await;
}

#[tokio::test]
async fn popups_belong_to_the_session_that_opened_them() {
    let env = test_env().await;
    let one = env.sign_in("one").await;
    let other = env.sign_in("other").await;
    assert_eq!(one.shard, other.shard, "both are in one browser");
    let open = "window.popup = open('/popup', 'gate-hours', 'width=480,height=560'); true";
    evaluate(&env, &one, open).await.expect(200);
    tabs(&env, &one, 2).await;
    assert_eq!(env.client().session(&other).await.tabs, 1);
    evaluate(&env, &one, "window.popup.close()").await.expect(200);
    tabs(&env, &one, 1).await;
    for (session, user) in [(&one, "one"), (&other, "other")] {
        let shown = evaluate(&env, session, "localStorage.getItem('harbour-gate.user')").await;
        assert_eq!(shown.body["result"], user, "storage is each one's own");
    }
    env.client().delete(&path(&one, "")).await.expect(200);
    let shown = evaluate(&env, &other, "document.querySelector('#user').textContent").await.expect(200);
    assert_eq!(shown.body["result"], "other");
}

#[tokio::test]
async fn a_dialog_of_a_page_stops_nobody() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    evaluate(&env, &session, "void setTimeout(() => alert('stop'), 0)").await.expect(200);
    let shown = evaluate(&env, &session, "document.title").await.expect(200);
    assert_eq!(shown.body["result"], "Harbour Gate");
}

#[tokio::test]
async fn a_page_that_hangs_hangs_alone() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    let other = env.sign_in("other").await;
    evaluate(&env, &session, "void setTimeout(() => { for (;;); }, 0)").await.expect(200);
    assert_eq!(env.client().evaluate(&other, "1 + 1").await, 2);
    assert_eq!(env.client().sessions().await.len(), 2);
    env.client().delete(&path(&session, "")).await.expect(200);
    assert_eq!(env.client().evaluate(&other, "document.title").await, "Harbour Gate");
}
