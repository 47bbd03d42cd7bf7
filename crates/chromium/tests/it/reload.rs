//! Loading pages again: never by what a form had sent, and never where a client sees it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pilotlight_cdp::protocol::target::{FilterEntry, GetTargets};
use pilotlight_chromium::Shown;
use pilotlight_chromium::find::Engine;
use pilotlight_chromium::profiles::Profile;
use serde_json::json;
use tokio::time::Instant;

use crate::portal::{Answer, Server};
use crate::support::{Fixture, LIMIT, kill_hard, until};

/// A server whose `/form` sends itself, whose `/moved` goes on to it by 307 and whose `/kept` goes on by 303. What
/// was not sent by a GET is in the list.
async fn forms() -> (Server, Arc<Mutex<Vec<String>>>) {
    let posts = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&posts);
    let server = Server::start(move |request| {
        let path = request.target.split('?').next().unwrap_or_default();
        if request.header("content-type").is_some() {
            noted.lock().unwrap().push(path.to_owned());
        }
        let mut answer = Answer::html(format!(
            "<title>{path}</title><body style='height: 5000px'>
             <form method=post action=/form><button id=form>x</button></form>
             <form method=post action=/moved><button id=moved>x</button></form>
             <form method=post action=/kept><button id=kept>x</button></form>"
        ));
        if let Some((status, to)) = match path {
            "/moved" => Some(("307 Temporary Redirect", "/form")),
            "/kept" => Some(("303 See Other", "/list")),
            _ => None,
        } {
            answer.status = status;
            answer.headers.push(format!("Location: {to}"));
        }
        Some(answer)
    })
    .await;
    (server, posts)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_form_made_is_known_and_loaded_again_by_a_get() {
    for engine in [Engine::HeadlessShell, Engine::Headless] {
        let (server, posts) = forms().await;
        let fixture = Fixture::with(Profile::Dense.into(), engine, HashMap::new()).await;
        let window = fixture.window().await;
        assert_eq!(window.shown().await, Ok(Shown::Nothing));
        for (button, title, then, shown) in [
            ("form", "/form", "1", Shown::Answer),
            ("form", "/form", "location.hash = 'part'", Shown::Answer),
            ("form", "/form", "location.replace('#part')", Shown::Answer),
            ("moved", "/form", "1", Shown::Page),
            ("kept", "/list", "1", Shown::Page),
            ("kept", "/list", "location.hash = 'part'", Shown::Page),
        ] {
            window.navigate(&server.url("/"), LIMIT).await.unwrap();
            assert_eq!(window.shown().await, Ok(Shown::Page));
            window
                .evaluate(&format!("void document.getElementById('{button}').click()"), LIMIT)
                .await
                .unwrap();
            until("the answer is there", || window.summary().title == title).await;
            window.evaluate(&format!("{then}, scrollTo(0, 700), window.mark = 1"), LIMIT).await.unwrap();
            let url = window.evaluate("location.href", LIMIT).await.unwrap();
            assert_eq!(window.shown().await, Ok(shown), "{engine}: {button}, {then}");
            let before = posts.lock().unwrap().len();
            window.reload(LIMIT).await.unwrap();
            let now = window.evaluate("[location.href, scrollY, window.mark ?? null]", LIMIT).await.unwrap();
            assert_eq!(now, json!([url, 700, null]), "{engine}: {button}, {then}");
            // A GET of ours is no answer any more. Beside an entry of the same address it stays in doubt.
            if then == "1" {
                assert_eq!(window.shown().await, Ok(Shown::Page), "{engine}: {button}, {then}");
            }
            assert_eq!(posts.lock().unwrap().len(), before, "{engine}: {button}, {then}");
        }
        window.evaluate("void document.getElementById('form').click()", LIMIT).await.unwrap();
        until("the answer is there", || window.summary().title == "/form").await;
        window.evaluate("location.hash = 'part', 1", LIMIT).await.unwrap();
        let before = posts.lock().unwrap().len();
        kill_hard(window.renderer_pids().await.unwrap()[0]);
        until("the crash is told", || window.pages()[0].crashed).await;
        window.reload(LIMIT).await.unwrap();
        assert_eq!(window.evaluate("location.hash", LIMIT).await, Ok(json!("#part")), "{engine}");
        assert_eq!(posts.lock().unwrap().len(), before, "{engine}");
        fixture.browser.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_beside_shares_everything_and_is_in_no_list() {
    let portal = Server::portal().await;
    for engine in [Engine::HeadlessShell, Engine::Headless] {
        let fixture = Fixture::with(Profile::Dense.into(), engine, HashMap::new()).await;
        let window = fixture.window().await;
        window.navigate(&portal.url("/"), LIMIT).await.unwrap();
        window.evaluate("document.cookie = 'who=me', window.mark = 'main'", LIMIT).await.unwrap();
        let before = portal.count("/cookie");
        let beside = window.open_beside().await.unwrap();
        beside.window().navigate(&portal.url("/cookie"), LIMIT).await.unwrap();
        let cookie = beside.window().evaluate("document.cookie", LIMIT).await.unwrap();
        assert!(cookie.as_str().unwrap().contains("who=me"), "{engine}: {cookie}");
        assert_eq!(portal.count("/cookie"), before + 1, "{engine}");
        let seen = beside.window().evaluate("document.visibilityState", LIMIT).await;
        assert_eq!(seen, Ok(json!("visible")), "{engine}");
        assert_eq!((window.pages().len(), window.summary().tabs), (1, 1), "{engine}");
        assert_eq!(window.summary().url, portal.url("/"), "{engine}");
        assert_eq!(window.evaluate("mark", LIMIT).await, Ok(json!("main")), "{engine}");
        let target = {
            let targets = all_targets(&fixture).await;
            targets.into_iter().find(|(_, url)| url.ends_with("/cookie")).map(|(target, _)| target)
        };
        assert!(target.is_some(), "{engine}: Chromium knows it");
        drop(beside);
        let deadline = Instant::now() + LIMIT;
        while all_targets(&fixture).await.iter().any(|(_, url)| url.ends_with("/cookie")) {
            assert!(Instant::now() < deadline, "{engine}: the page beside stays");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(window.evaluate("mark", LIMIT).await, Ok(json!("main")), "{engine}");
        fixture.browser.close().await;
    }
}

/// Every target that Chromium has, whatever its kind.
async fn all_targets(fixture: &Fixture) -> Vec<(String, String)> {
    let all = GetTargets { filter: vec![FilterEntry { kind: None, exclude: false }] };
    let targets = fixture.browser.connection().call(None, all).await.unwrap().target_infos;
    targets.into_iter().map(|target| (target.target_id, target.url)).collect()
}
