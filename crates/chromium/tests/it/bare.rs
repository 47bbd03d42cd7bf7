//! Windows that have cookies and nothing else.

use pilotlight_checkpoint::Cookie;
use pilotlight_chromium::{WindowError, WindowOptions};
use pilotlight_flow::condition::Condition;
use serde_json::json;

use crate::portal::{Answer, Server};
use crate::support::{Fixture, LIMIT};

/// A page that asks for something of every kind, and changes itself by script.
const PAGE: &str = r#"<!doctype html><title>before</title>
<link rel="stylesheet" href="/style.css"><link rel="icon" href="/icon.png">
<link rel="preload" as="fetch" href="/preloaded"><link rel="prefetch" href="/prefetched">
<script src="/script.js"></script><script>document.title = "after"; fetch("/fetched"); localStorage.x = 1</script>
<img src="/image.png" onerror="fetch('/failed')"><iframe src="/frame"></iframe><object data="/object"></object>
<video src="/video.mp4" autoplay></video><button id="user" aria-label="Account">Dana</button>"#;

/// A portal that gives a new cookie with every page.
async fn portal() -> Server {
    Server::start(|request| {
        let cookie = request.header("cookie").unwrap_or_default().to_owned();
        let next = format!("sid={}; Path=/; HttpOnly", cookie.len());
        match request.target.as_str() {
            "/page" => Some(Answer {
                headers: vec!["Content-Type: text/html".into(), format!("Set-Cookie: {next}")],
                ..Answer::html(PAGE)
            }),
            "/moved" => Some(Answer {
                status: "302 Found",
                headers: vec!["Location: /page".into()],
                body: String::new(),
            }),
            "/nothing" => {
                let headers = vec!["Cache-Control: no-store".into()];
                Some(Answer { status: "204 No Content", headers, body: String::new() })
            }
            "/cached" => Some(Answer {
                headers: vec![
                    "Content-Type: text/html".into(),
                    "Cache-Control: private, max-age=600".into(),
                    format!("Set-Cookie: {next}"),
                ],
                ..Answer::html(PAGE)
            }),
            "/refused" => Some(Answer { status: "401 Unauthorized", ..Answer::html("sign in") }),
            _ => Some(Answer::html("")),
        }
    })
    .await
}

fn cookie(name: &str, value: &str) -> Cookie {
    serde_json::from_value(json!({ "name": name, "value": value, "domain": "127.0.0.1", "path": "/" }))
        .unwrap()
}

fn condition(json: serde_json::Value) -> Condition {
    serde_json::from_value(json).unwrap()
}

#[tokio::test]
async fn a_document_is_all_that_a_bare_window_asks_for_and_it_can_be_looked_at() {
    let (fixture, portal) = (Fixture::start().await, portal().await);
    let window = fixture.window().await;
    let bare = window.make_bare(&[cookie("sid", "first"), cookie("kept", "yes")], LIMIT).await.unwrap();
    assert!(bare.load(&portal.url("/moved"), LIMIT).await.unwrap());
    let page = bare.window();
    assert!(page.summary().url.ends_with("/page"), "{:?}", page.summary());
    assert_eq!(page.evaluate("document.title", LIMIT).await.unwrap(), json!("before"), "a script ran");
    let status = "performance.getEntriesByType('navigation')[0].responseStatus";
    assert_eq!(page.evaluate(status, LIMIT).await.unwrap(), json!(200));
    for shown in [
        json!({ "selector": "#user" }),
        json!({ "selector": "aria/Account" }),
        json!({ "selector": "xpath///button[@id='user']" }),
        json!({ "selector": "text/Dana" }),
        json!({ "text": "Dana" }),
        json!({ "url_contains": "/page", "none": [{ "selector": "input" }] }),
    ] {
        assert!(condition(shown.clone()).holds(page).await.unwrap(), "{shown}");
    }
    let asked: Vec<String> =
        portal.requests.lock().unwrap().iter().map(|request| request.target.clone()).collect();
    assert_eq!(asked, ["/moved", "/page"]);
    let sent = portal.requests.lock().unwrap()[1].header("cookie").unwrap().to_owned();
    assert!(sent.contains("sid=first") && sent.contains("kept=yes"), "{sent}");
    let mut cookies: Vec<(String, String)> =
        bare.cookies().await.unwrap().into_iter().map(|cookie| (cookie.name, cookie.value)).collect();
    cookies.sort();
    let rotated = sent.len().to_string();
    assert_eq!(cookies, [("kept".to_owned(), "yes".to_owned()), ("sid".to_owned(), rotated)]);
}

#[tokio::test]
async fn what_an_answer_says_without_a_page_is_told_apart() {
    let (fixture, portal) = (Fixture::start().await, portal().await);
    let bare = fixture.window().await.make_bare(&[], LIMIT).await.unwrap();
    assert_eq!(bare.load(&portal.url("/nothing"), LIMIT).await, Ok(false));
    assert_eq!(bare.load(&portal.url("/refused"), LIMIT).await, Ok(true));
    let status = "performance.getEntriesByType('navigation')[0].responseStatus";
    assert_eq!(bare.window().evaluate(status, LIMIT).await.unwrap(), json!(401));
    let nobody = bare.load("http://127.0.0.1:1/", LIMIT).await;
    assert!(matches!(nobody, Err(WindowError::Unreachable { .. })), "{nobody:?}");
}

#[tokio::test]
async fn no_handle_to_a_bare_window_gives_a_checkpoint() {
    let (fixture, portal) = (Fixture::start().await, portal().await);
    let window = fixture.window().await;
    window.capture(0).await.unwrap();
    let bare = window.make_bare(&[cookie("sid", "first")], LIMIT).await.unwrap();
    bare.load(&portal.url("/page"), LIMIT).await.unwrap();
    for handle in [&window, bare.window()] {
        for refused in [handle.capture(0).await, handle.peek(0).await] {
            assert!(matches!(refused, Err(WindowError::Refused { .. })), "{refused:?}");
        }
    }
    drop(bare);
    assert!(window.capture(0).await.is_err(), "it is bare for good");
}

#[tokio::test]
async fn an_emptied_bare_window_is_used_again_by_its_site_and_keeps_nothing() {
    let (fixture, portal) = (Fixture::start().await, portal().await);
    let open = async |site: Option<&str>| {
        let options = WindowOptions { bare_for: site.map(str::to_owned), ..WindowOptions::default() };
        fixture.browser.open_window(options).await.unwrap()
    };
    let first = open(Some("portal")).await;
    let bare = first.make_bare(&[cookie("sid", "first"), cookie("only", "first")], LIMIT).await.unwrap();
    assert!(bare.load(&portal.url("/cached"), LIMIT).await.unwrap());
    let history = first.evaluate("history.length", LIMIT).await.unwrap();
    first.close().await.unwrap();
    first.close().await.unwrap();
    assert_eq!(fixture.browser.window_count(), 0);
    let full = open(None).await;
    let of_other_site = open(Some("another")).await;
    let second = open(Some("portal")).await;
    assert_eq!(second.id(), first.id(), "it is not used again");
    assert!(full.id() != first.id() && of_other_site.id() != first.id());
    assert_eq!(second.evaluate("location.href", LIMIT).await.unwrap(), json!("about:blank"));
    // Nobody who had it before reaches it.
    assert!(matches!(first.evaluate("1", LIMIT).await, Err(WindowError::Closed)));
    assert!(matches!(bare.cookies().await, Err(WindowError::Closed)));
    first.close().await.unwrap();
    let bare = second.make_bare(&[cookie("sid", "second")], LIMIT).await.unwrap();
    assert!(bare.load(&portal.url("/cached"), LIMIT).await.unwrap());
    assert_eq!(second.evaluate("history.length", LIMIT).await.unwrap(), history);
    assert_eq!(second.evaluate("document.title", LIMIT).await.unwrap(), json!("before"), "a script ran");
    assert!(second.capture(0).await.is_err());
    let sent: Vec<Option<String>> =
        portal.requests.lock().unwrap().iter().map(|r| r.header("cookie").map(str::to_owned)).collect();
    assert_eq!(sent.len(), 2, "a document came from the cache, or more than documents were asked for");
    assert_eq!(sent[1].as_deref(), Some("sid=second"));
    let now: Vec<String> = bare.cookies().await.unwrap().into_iter().map(|cookie| cookie.name).collect();
    assert_eq!(now, ["sid"]);
    for window in [&second, &of_other_site, &full] {
        window.close().await.unwrap();
    }
    assert_eq!(fixture.browser.window_count(), 0);
}
