//! The window in reserve: opened after one went, given away once, and only as it was opened.

use pilotlight_cdp::protocol::target::GetBrowserContexts;
use pilotlight_chromium::{Window, WindowOptions};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Fixture, LIMIT};

/// The contexts that are there, once there are as many as said.
async fn contexts(fixture: &Fixture, count: usize) -> Vec<String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let reply = fixture.browser.connection().call(None, GetBrowserContexts {}).await.unwrap();
        if reply.browser_context_ids.len() == count {
            return reply.browser_context_ids;
        }
        assert!(Instant::now() < deadline, "{} contexts instead of {count}", reply.browser_context_ids.len());
        tokio::task::yield_now().await;
    }
}

fn is_among(window: &Window, contexts: &[String]) -> bool {
    contexts.iter().any(|context| context == window.id().as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_went_leaves_one_in_reserve_that_is_given_away_once() {
    let fixture = Fixture::start().await;
    let first = fixture.window().await;
    contexts(&fixture, 1).await;
    first.close().await.unwrap();
    assert_eq!(fixture.browser.window_count(), 0);
    contexts(&fixture, 1).await;
    // Whether it is ready by now or not: two that come at once do not get the same.
    let (second, third) = tokio::join!(fixture.window(), fixture.window());
    assert_ne!(second.id(), third.id());
    for window in [&second, &third] {
        let content = window.evaluate("[location.href, document.body.childNodes.length]", LIMIT);
        assert_eq!(content.await.unwrap(), json!(["about:blank", 0]));
    }
    second.close().await.unwrap();
    third.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_wants_such_a_window_gets_the_one_in_reserve() {
    let fixture = Fixture::start().await;
    fixture.window().await.close().await.unwrap();
    let spare = contexts(&fixture, 1).await;
    let viewport = WindowOptions { viewport: Some((640, 480)), ..WindowOptions::default() };
    let other = fixture.browser.open_window(viewport).await.unwrap();
    assert!(!is_among(&other, &spare));
    let size = other.evaluate("[innerWidth, innerHeight]", LIMIT).await.unwrap();
    assert_eq!(size, json!([640, 480]));
    // It is given away as soon as it is ready.
    let deadline = Instant::now() + LIMIT;
    loop {
        let window = fixture.window().await;
        let is_spare = is_among(&window, &spare);
        if is_spare {
            break;
        }
        assert!(Instant::now() < deadline, "the window in reserve is never given away");
        // Closing it would renew the reserve, which changes nothing here: there is one.
        window.close().await.unwrap();
    }
}
