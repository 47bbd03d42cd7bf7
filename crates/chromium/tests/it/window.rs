//! Windows: loading, scripts, pictures, dialogs, proxies, crashes.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use pilotlight_cdp::Scope;
use pilotlight_cdp::protocol::target::DisposeBrowserContext;
use pilotlight_chromium::find::Engine;
use pilotlight_chromium::profiles::{CustomProfile, Profile};
use pilotlight_chromium::{
    BrowserEvent, Format, PageAnswer, Proxy, Shown, TABS_MAX, Window, WindowError, WindowOptions,
};
use serde_json::json;
use tokio::time::Instant;

use crate::portal::{Answer, Server, proxy};
use crate::support::{Fixture, LIMIT, kill_hard, until};

#[tokio::test(flavor = "multi_thread")]
async fn windows_have_their_own_cookies() {
    let portal = Server::portal().await;
    let fixture = Fixture::start().await;
    let (one, other) = (fixture.window().await, fixture.window().await);
    assert_ne!(one.id(), other.id());
    one.navigate(&portal.url("/set"), LIMIT).await.unwrap();
    for (window, cookies) in [(&one, "who=me"), (&other, "none")] {
        window.navigate(&portal.url("/cookie"), LIMIT).await.unwrap();
        assert_eq!(window.evaluate("document.body.innerText", LIMIT).await.unwrap(), json!(cookies));
    }
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_summary_follows_the_page() {
    let portal = Server::portal().await;
    let fixture = Fixture::start().await;
    let window = fixture.window().await;
    let mut summary = window.watch_summary();
    window.navigate(&portal.url("/"), LIMIT).await.unwrap();
    let url = portal.url("/");
    summary
        .wait_for(|summary| summary.title == "Portal" && summary.url == url && summary.tabs == 1)
        .await
        .unwrap();
    window.evaluate("document.title = 'Moved', history.pushState(1, '', '/moved'), 1", LIMIT).await.unwrap();
    let url = portal.url("/moved");
    summary.wait_for(|summary| summary.title == "Moved" && summary.url == url).await.unwrap();
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn popups_belong_to_their_window_and_get_its_set_up() {
    let portal = Server::portal().await;
    let mut fixture = Fixture::start().await;
    let viewport = Some((640, 480));
    let window =
        fixture.browser.open_window(WindowOptions { viewport, ..WindowOptions::default() }).await.unwrap();
    let other = fixture.window().await;
    window.navigate(&portal.url("/set"), LIMIT).await.unwrap();
    for features in ["", "noopener"] {
        window
            .evaluate(&format!("void open('/cookie?{features}', '_blank', '{features}')"), LIMIT)
            .await
            .unwrap();
    }
    until("both popups are there", || {
        window.pages().iter().filter(|page| page.url.contains("/cookie")).count() == 2
    })
    .await;
    assert_eq!((window.summary().tabs, other.summary().tabs), (3, 1));
    let sizes = "(() => { const w = open('/x'); const size = [w.innerWidth, w.innerHeight]; w.close(); return size })()";
    assert_eq!(window.evaluate(sizes, LIMIT).await.unwrap(), json!([640, 480]));
    until("the third popup is gone", || window.summary().tabs == 3).await;
    let requests = portal.requests.lock().unwrap().clone();
    assert!(requests.iter().filter(|request| request.header("cookie") == Some("who=me")).count() >= 2);
    window.close().await.unwrap();
    assert!(fixture.events.try_recv().is_err(), "closing on request is no event");
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_whose_last_page_closes_keeps_what_it_has() {
    let portal = Server::portal().await;
    for engine in [Engine::HeadlessShell, Engine::Headless] {
        let mut fixture = Fixture::with(Profile::Dense.into(), engine, HashMap::new()).await;
        let window = fixture.window().await;
        keeps_what_it_has(&mut fixture, &window, &portal).await;
        fixture.browser.close().await;
    }
}

async fn keeps_what_it_has(fixture: &mut Fixture, window: &Window, portal: &Server) {
    window.navigate(&portal.url("/"), LIMIT).await.unwrap();
    window.evaluate("document.cookie = 'fresh=1', localStorage.fresh = 'kept'", LIMIT).await.unwrap();
    window.evaluate("void open('about:blank#popup')", LIMIT).await.unwrap();
    until("the popup is there", || window.summary().tabs == 2).await;
    for page in window.pages() {
        let close = pilotlight_cdp::protocol::target::CloseTarget { target_id: page.target_id };
        fixture.browser.connection().call(None, close).await.unwrap();
    }
    assert_eq!(fixture.event().await, BrowserEvent::LastPageClosed { window: window.id().clone() });
    assert_eq!(window.pages().len(), 1);
    assert_eq!(window.shown().await, Ok(Shown::Nothing));
    window.navigate(&portal.url("/"), LIMIT).await.unwrap();
    let kept = window.evaluate("[document.cookie.includes('fresh=1'), localStorage.fresh]", LIMIT).await;
    assert_eq!(kept, Ok(json!([true, "kept"])));
    // Where its context goes as well, nothing is left to be kept.
    let dispose = DisposeBrowserContext { browser_context_id: window.id().as_str().into() };
    fixture.browser.connection().call(None, dispose).await.unwrap();
    assert_eq!(fixture.event().await, BrowserEvent::WindowEmptied { window: window.id().clone() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_renderer_is_noticed_and_reload_recovers() {
    let portal = Server::portal().await;
    let mut fixture = Fixture::start().await;
    let (window, other) = (fixture.window().await, fixture.window().await);
    window.navigate(&portal.url("/"), LIMIT).await.unwrap();
    for _ in 0..2 {
        let pids = window.renderer_pids().await.unwrap();
        assert_eq!(pids.len(), 1);
        assert!(!other.renderer_pids().await.unwrap().contains(&pids[0]));
        let evaluating = tokio::spawn({
            let window = window.clone();
            async move { window.evaluate("new Promise(() => {})", LIMIT).await }
        });
        let killed = Instant::now();
        kill_hard(pids[0]);
        assert_eq!(fixture.event().await, BrowserEvent::WindowCrashed { window: window.id().clone() });
        assert!(killed.elapsed() < Duration::from_secs(2));
        assert_eq!(evaluating.await.unwrap(), Err(WindowError::Crashed));
        assert_eq!(window.evaluate("1", LIMIT).await, Err(WindowError::Crashed));
        assert!(window.pages()[0].crashed);
        window.reload(LIMIT).await.unwrap();
        assert_eq!(window.evaluate("document.title", LIMIT).await.unwrap(), json!("Portal"));
    }
    assert_eq!(portal.count("/"), 3);
    assert!(fixture.events.try_recv().is_err());
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_popup_is_closed_and_the_main_page_stays() {
    let (portal, elsewhere) = (Server::portal().await, Server::portal().await);
    // One renderer for each site, or both pages would share one.
    let profile = CustomProfile { site_isolation: Some(true), ..Profile::Dense.into() };
    let mut fixture = Fixture::with(profile, Engine::HeadlessShell, HashMap::new()).await;
    let window = fixture.window().await;
    window.navigate(&portal.url("/"), LIMIT).await.unwrap();
    window.evaluate("globalThis.kept = 1", LIMIT).await.unwrap();
    let main = window.renderer_pids().await.unwrap();
    let popup = format!("void open('http://localhost:{}/', '_blank', 'noopener')", elsewhere.port);
    window.evaluate(&popup, LIMIT).await.unwrap();
    until("the popup is there", || window.pages().iter().any(|page| page.url.contains("localhost"))).await;
    let pids = window.renderer_pids().await.unwrap();
    let of_popup: Vec<_> = pids.into_iter().filter(|pid| !main.contains(pid)).collect();
    assert_eq!(of_popup.len(), 1, "the popup has a renderer of its own");
    kill_hard(of_popup[0]);
    until("the popup is closed", || window.summary().tabs == 1).await;
    assert_eq!(window.evaluate("kept", LIMIT).await.unwrap(), json!(1));
    assert_eq!(portal.count("/"), 1);
    assert!(fixture.events.try_recv().is_err(), "the window itself has not crashed");
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_popup_that_crashes_with_the_main_page_is_closed_and_the_crash_told_once() {
    let mut fixture = Fixture::start().await;
    let window = fixture.window().await;
    window.evaluate("void open('about:blank#popup')", LIMIT).await.unwrap();
    until("the popup is there", || window.summary().tabs == 2).await;
    kill_hard(window.renderer_pids().await.unwrap()[0]);
    assert_eq!(fixture.event().await, BrowserEvent::WindowCrashed { window: window.id().clone() });
    until("the popup is closed", || window.summary().tabs == 1).await;
    window.reload(LIMIT).await.unwrap();
    assert!(fixture.events.try_recv().is_err());
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_cannot_open_pages_without_end() {
    let fixture = Fixture::start().await;
    let window = fixture.window().await;
    let mut events = fixture.browser.connection().subscribe(Scope::Root, 4096);
    window.evaluate("for (let n = 0; n < 40; n++) void open('about:blank#' + n)", LIMIT).await.unwrap();
    let refused = 40 + 1 - TABS_MAX;
    let closing = async {
        let mut closed = 0;
        while closed < refused {
            let event = events.next().await.expect("a connection");
            closed += usize::from(event.method == "Target.detachedFromTarget");
        }
    };
    tokio::time::timeout(LIMIT, closing).await.expect("the pages beyond the limit are closed");
    assert_eq!(window.pages().len(), TABS_MAX);
    assert_eq!(window.evaluate("1", LIMIT).await.unwrap(), json!(1));
    window.close().await.unwrap();
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_leave_no_file() {
    let site = Server::start(|request| {
        let mut answer = Answer::html("<a href='/file' download='file'>file</a>");
        if request.target == "/file" {
            answer.headers = vec!["Content-Disposition: attachment".into()];
            answer.body = "downloaded content".into();
        }
        Some(answer)
    })
    .await;
    for engine in [Engine::HeadlessShell, Engine::Headless] {
        let fixture = Fixture::with(Profile::Dense.into(), engine, HashMap::new()).await;
        let window = fixture.window().await;
        window.navigate(&site.url("/"), LIMIT).await.unwrap();
        let mut events = fixture.browser.connection().subscribe(Scope::All, 4096);
        window.evaluate("document.querySelector('a').click()", LIMIT).await.unwrap();
        let ending = async {
            loop {
                let event = events.next().await.expect("a connection");
                if event.method == "Page.downloadProgress" && !event.params.get().contains("inProgress") {
                    return event.params.get().to_owned();
                }
            }
        };
        let end = tokio::time::timeout(LIMIT, ending).await.expect("the end of the download");
        assert!(end.contains("canceled"), "{engine}: {end}");
        // Chromium may have begun to write before it decides, and removes that a moment later.
        until("no file is left", || !holds(fixture.run.path(), "downloaded content")).await;
        fixture.browser.close().await;
    }
}

/// Whether a file in or below `folder` holds `text`.
fn holds(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            return holds(&entry.path(), text);
        }
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        is_file && fs::read(entry.path()).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_loaded_is_told_with_its_reason() {
    let fixture = Fixture::start().await;
    let window = fixture.window().await;
    let (portal, port) = {
        let portal = Server::portal().await;
        let port = portal.port;
        (portal, port)
    };
    window.navigate(&portal.url("/"), LIMIT).await.unwrap();
    drop(portal);
    let error = window.navigate(&format!("http://user:geheim@127.0.0.1:{port}/x"), LIMIT).await.unwrap_err();
    let url = format!("http://127.0.0.1:{port}/x");
    assert_eq!(error, WindowError::Unreachable { url, reason: "net::ERR_CONNECTION_REFUSED".into() });
    let error = window.reload(LIMIT).await.unwrap_err();
    let WindowError::Unreachable { reason, .. } = error else { panic!("{error}") };
    assert_eq!(reason, "net::ERR_CONNECTION_REFUSED");
    for url in ["file:///etc/passwd", "javascript:alert(1)", "chrome://version"] {
        assert_eq!(window.navigate(url, LIMIT).await, Err(WindowError::Url));
    }
    let portal = Server::portal().await;
    let short = Duration::from_millis(300);
    assert_eq!(window.navigate(&portal.url("/never"), short).await, Err(WindowError::Timeout(short)));
    window.navigate(&portal.url("/redirect"), LIMIT).await.unwrap();
    until("the script's redirect is there", || window.summary().title == "Portal").await;
    window.navigate(&portal.url("/#fragment"), LIMIT).await.unwrap();
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_give_json_or_say_what_was_thrown() {
    let fixture = Fixture::start().await;
    let window = fixture.window().await;
    for (expression, value) in [
        ("1 + 1", json!(2)),
        ("Promise.resolve({a: [1, 'x', null]})", json!({"a": [1, "x", null]})),
        ("undefined", json!(null)),
        ("NaN", json!(null)),
        ("12345678901234567890n", json!("12345678901234567890")),
        ("'\\u0000'", json!("\0")),
    ] {
        assert_eq!(window.evaluate(expression, LIMIT).await.unwrap(), value, "{expression}");
    }
    for (expression, message) in [
        ("throw new Error('boom')", "Error: boom"),
        ("Promise.reject('no')", "no"),
        ("nothing.like.it", "ReferenceError: nothing is not defined"),
        ("(", "SyntaxError: Unexpected end of input"),
    ] {
        assert_eq!(
            window.evaluate(expression, LIMIT).await,
            Err(WindowError::Script(message.into())),
            "{expression}"
        );
    }
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_hangs_is_ended_and_a_slow_promise_is_not() {
    let fixture = Fixture::start().await;
    let window = fixture.window().await;
    let short = Duration::from_millis(200);
    assert_eq!(window.evaluate("for (;;);", short).await, Err(WindowError::Timeout(short)));
    assert_eq!(window.evaluate("2", LIMIT).await.unwrap(), json!(2));
    window.evaluate("setTimeout(() => { for (;;); }); 0", LIMIT).await.unwrap();
    assert_eq!(window.evaluate("3", short).await, Err(WindowError::Timeout(short)));
    assert_eq!(window.evaluate("4", LIMIT).await.unwrap(), json!(4));
    let slow = "new Promise(done => setTimeout(() => done(window.slow = 5), 400))";
    assert_eq!(window.evaluate(slow, short).await, Err(WindowError::Timeout(short)));
    let waiting = "new Promise(done => setInterval(() => window.slow && done(slow), 10))";
    assert_eq!(window.evaluate(waiting, LIMIT).await.unwrap(), json!(5));
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_out_from_inside_the_page() {
    let portal = Server::portal().await;
    let fixture = Fixture::start().await;
    let window = fixture.window().await;
    window.navigate(&portal.url("/set"), LIMIT).await.unwrap();
    window.evaluate("window.fetch = () => { throw 'changed by the page' }, 1", LIMIT).await.unwrap();
    let answer = |status| Ok(PageAnswer { status, is_redirected: false });
    assert_eq!(window.request("/cookie", LIMIT).await, answer(200));
    assert_eq!(window.request(&portal.url("/forbidden"), LIMIT).await, answer(403));
    let seen = portal
        .requests
        .lock()
        .unwrap()
        .iter()
        .any(|r| r.target == "/cookie" && r.header("cookie") == Some("who=me"));
    assert!(seen);
    let short = Duration::from_millis(200);
    assert_eq!(window.request("/never", short).await, Err(WindowError::Timeout(short)));
    assert_eq!(window.request("file:///x", short).await, Err(WindowError::Url));
    drop(portal);
    let error = window.request("/cookie", LIMIT).await.unwrap_err();
    assert!(matches!(error, WindowError::Unreachable { .. }), "{error}");
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_show_the_viewport_or_the_full_page() {
    let fixture = Fixture::start().await;
    let viewport = Some((320, 200));
    let window =
        fixture.browser.open_window(WindowOptions { viewport, ..WindowOptions::default() }).await.unwrap();
    window.evaluate("document.body.style = 'margin: 0; height: 1234px', 0", LIMIT).await.unwrap();
    let size = |png: &[u8]| {
        assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
        let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
        (number(16), number(20))
    };
    assert_eq!(size(&window.screenshot(Format::Png, false).await.unwrap()), (320, 200));
    assert_eq!(size(&window.screenshot(Format::Png, true).await.unwrap()).1, 1234);
    assert_eq!(window.screenshot(Format::Jpeg, false).await.unwrap()[..3], [0xff, 0xd8, 0xff]);
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dialogs_never_hang_a_window() {
    let portal = Server::portal().await;
    let fixture = Fixture::start().await;
    let window = fixture.window().await;
    window.navigate(&portal.url("/"), LIMIT).await.unwrap();
    let answers = window.evaluate("[alert('a'), confirm('b'), prompt('c')]", LIMIT).await.unwrap();
    assert_eq!(answers, json!([null, false, null]));
    window
        .evaluate("addEventListener('beforeunload', event => event.preventDefault()), 0", LIMIT)
        .await
        .unwrap();
    window.navigate(&portal.url("/set"), LIMIT).await.unwrap();
    until("the title is there", || window.summary().title == "set").await;
    fixture.browser.close().await;
}

fn through(proxy: &Server, password: &str) -> WindowOptions {
    let proxy = Proxy {
        server: format!("http://127.0.0.1:{}", proxy.port),
        username: Some("user".into()),
        password: Some(password.into()),
        bypass: None,
    };
    WindowOptions { proxy: Some(proxy), ..WindowOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_gets_the_password_and_a_wrong_one_does_not_loop() {
    let proxy = proxy("user", "right").await;
    let fixture = Fixture::start().await;
    let window = fixture.browser.open_window(through(&proxy, "right")).await.unwrap();
    window.navigate("http://site.test/", LIMIT).await.unwrap();
    until("the title is there", || window.summary().title == "through the proxy").await;
    assert_eq!(window.request("/more", LIMIT).await.map(|answer| answer.status), Ok(200));
    window.reload(LIMIT).await.unwrap();
    window.evaluate("void open('http://other.test/popup')", LIMIT).await.unwrap();
    until("the popup went through the proxy", || {
        window.pages().iter().any(|page| page.url.contains("popup") && page.title == "through the proxy")
    })
    .await;

    let wrong = fixture.browser.open_window(through(&proxy, "wrong")).await.unwrap();
    let error = wrong.navigate("http://wrong.test/", LIMIT).await.unwrap_err();
    let WindowError::Unreachable { reason, .. } = &error else { panic!("{error}") };
    assert_eq!(reason, "the proxy refused the user name and password");
    assert_eq!(proxy.count("http://wrong.test/"), 2);
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_of_a_site_is_not_the_proxys() {
    let site = Server::start(|_| {
        Some(Answer {
            status: "401 Unauthorized",
            headers: vec!["WWW-Authenticate: Basic realm=\"site\"".into()],
            body: "who are you?".into(),
        })
    })
    .await;
    let fixture = Fixture::start().await;
    let window = fixture.browser.open_window(through(&site, "right")).await.unwrap();
    // This machine itself is reached without the proxy.
    window.navigate(&site.url("/"), LIMIT).await.unwrap();
    assert!(site.requests.lock().unwrap().iter().all(|request| request.header("authorization").is_none()));
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_told_without_disturbing_the_page() {
    let portal = Server::portal().await;
    let fixture = Fixture::start().await;
    let window = fixture.window().await;
    window.navigate(&portal.url("/"), LIMIT).await.unwrap();
    window.evaluate("window.kept = 1", LIMIT).await.unwrap();
    let bytes = window.memory().await.unwrap().bytes;
    assert!((1_000_000..1_000_000_000).contains(&bytes), "{bytes}");
    let state = "[kept, document.styleSheets.length, document.querySelectorAll('style').length]";
    assert_eq!(window.evaluate(state, LIMIT).await.unwrap(), json!([1, 0, 0]));
    assert_eq!(window.summary().tabs, 1);
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_for_memory_that_is_given_up_leaves_no_session() {
    const QUESTIONS: usize = 10;
    let fixture = Fixture::start().await;
    let window = fixture.window().await;
    let mut events = fixture.browser.connection().subscribe(Scope::Root, 4096);
    for _ in 0..QUESTIONS {
        // One poll lets the question leave; then nobody waits for its answer.
        tokio::time::timeout(Duration::ZERO, window.renderer_pids()).await.unwrap_err();
    }
    let (mut attached, mut detached) = (0, 0);
    let counting = async {
        while (attached, detached) != (QUESTIONS, QUESTIONS) {
            let event = events.next().await.expect("a connection");
            attached += usize::from(event.method == "Target.attachedToTarget");
            detached += usize::from(event.method == "Target.detachedFromTarget");
        }
    };
    tokio::time::timeout(LIMIT, counting).await.expect("every session that was opened is closed");
    fixture.browser.close().await;
}
