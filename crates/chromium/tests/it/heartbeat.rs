//! Signs of life: pages that hang are told apart from pages that wait, and freed.

use std::time::Duration;

use pilotlight_chromium::{BrowserEvent, WindowError};
use serde_json::json;

use crate::portal::Server;
use crate::support::{Fixture, LIMIT, until};

const SHORT: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_hangs_is_noticed_and_freed() {
    let portal = Server::portal().await;
    let mut fixture = Fixture::start().await;
    let window = fixture.window().await;
    window.navigate(&portal.url("/"), LIMIT).await.unwrap();
    window.heartbeat(SHORT).await.unwrap();
    window.evaluate("void setTimeout(() => { for (;;); })", LIMIT).await.unwrap();
    assert_eq!(window.heartbeat(SHORT).await, Err(WindowError::Timeout(SHORT)));
    window.recover().await.unwrap();
    window.heartbeat(LIMIT).await.unwrap();
    assert_eq!(window.evaluate("document.title", LIMIT).await.unwrap(), json!("Portal"));
    assert!(fixture.events.try_recv().is_err(), "it did not have to die");

    // One that hangs again as soon as its script is ended.
    window.evaluate("void setInterval(() => { for (;;); })", LIMIT).await.unwrap();
    assert_eq!(window.heartbeat(SHORT).await, Err(WindowError::Timeout(SHORT)));
    window.recover().await.unwrap();
    assert_eq!(fixture.event().await, BrowserEvent::WindowCrashed { window: window.id().clone() });
    assert_eq!(window.heartbeat(SHORT).await, Err(WindowError::Crashed));
    window.reload(LIMIT).await.unwrap();
    window.heartbeat(LIMIT).await.unwrap();
    assert_eq!(window.evaluate("document.title", LIMIT).await.unwrap(), json!("Portal"));
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_asks_or_waits_is_alive() {
    let portal = Server::portal().await;
    let fixture = Fixture::start().await;
    let window = fixture.window().await;
    window.navigate(&portal.url("/"), LIMIT).await.unwrap();
    let asking = "void setTimeout(() => { for (let n = 0; n < 300; n += 1) { alert(n); confirm(n); } window.asked = 1; })";
    window.evaluate(asking, LIMIT).await.unwrap();
    for _ in 0..5 {
        window.heartbeat(LIMIT).await.unwrap();
    }
    let asked = window.evaluate("window.asked", LIMIT).await.unwrap();
    assert_eq!(asked, json!(1));
    let loading = tokio::spawn({
        let (window, url) = (window.clone(), portal.url("/never"));
        async move { window.navigate(&url, LIMIT).await }
    });
    until("the page loads", || portal.count("/never") == 1).await;
    window.heartbeat(LIMIT).await.unwrap();
    loading.abort();
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_that_changed_are_noticed() {
    let portal = Server::portal().await;
    let mut fixture = Fixture::start().await;
    let window = fixture.window().await;
    window.navigate(&portal.url("/"), LIMIT).await.unwrap();
    window.capture(0).await.unwrap();
    window.heartbeat(LIMIT).await.unwrap();
    assert!(!window.is_changed() && fixture.events.try_recv().is_err());
    window.evaluate("document.cookie = 'a=1'", LIMIT).await.unwrap();
    window.heartbeat(LIMIT).await.unwrap();
    assert_eq!(fixture.event().await, BrowserEvent::WindowChanged { window: window.id().clone() });
    assert_eq!(window.capture(0).await.unwrap().cookies.len(), 1);
    window.heartbeat(LIMIT).await.unwrap();
    assert!(!window.is_changed() && fixture.events.try_recv().is_err());
    fixture.browser.close().await;
}
