//! Processes: start, end, what is left, and who hears of it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use pilotlight_cdp::{CdpError, MAX_MESSAGE_BYTES};
use pilotlight_chromium::find::{Engine, Search, check_version, find};
use pilotlight_chromium::launch::DirectLauncher;
use pilotlight_chromium::profiles::{CustomProfile, Profile};
use pilotlight_chromium::{Browser, BrowserEvent, StartError, WindowError, WindowOptions};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::Instant;

use crate::portal::Server;
use crate::support::{
    Fixture, LIMIT, is_empty, is_running, kill_hard, plan, processes_naming, run_directory, until,
};

/// Chromium counts the byte that ends a message, and ends itself where it does not fit.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_message_that_is_sent_is_one_that_chromium_takes() {
    let fixture = Fixture::start().await;
    let connection = fixture.browser.connection();
    let sized = |bytes: usize| {
        // The number of the call has as many digits as the next one's.
        let empty = r#"{"id":1000,"method":"Browser.getVersion","params":{"x":""}}"#;
        let params = json!({ "x": "x".repeat(bytes - empty.len()) });
        serde_json::value::to_raw_value(&params).unwrap()
    };
    let ask =
        async |params: &RawValue| connection.call_raw(None, "Browser.getVersion", params, 3 * LIMIT).await;
    let none = serde_json::value::to_raw_value(&json!({})).unwrap();
    for _ in 0..1000 {
        ask(&none).await.unwrap();
    }
    ask(&sized(MAX_MESSAGE_BYTES)).await.unwrap();
    let refused = ask(&sized(MAX_MESSAGE_BYTES + 1)).await.unwrap_err();
    assert!(matches!(refused, CdpError::Framing { .. }), "{refused:?}");
    ask(&none).await.unwrap();
    assert!(!connection.is_closed());
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn start_and_close_leave_neither_process_nor_directory() {
    let fixture = Fixture::start().await;
    let pid = fixture.browser.pid();
    assert!(fixture.browser.product().contains("Chrome/"));
    let name = fixture.run.path().display().to_string();
    assert!(is_running(pid) && processes_naming(&name).contains(&pid));
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(!status.contains("Uid:\t0\t"), "Chromium runs as root");
    let window = fixture.window().await;
    fixture.browser.close().await;
    assert!(!is_running(pid));
    assert_eq!(processes_naming(&name), Vec::<u32>::new());
    assert!(is_empty(fixture.run.path()));
    assert_eq!(window.navigate("about:blank", LIMIT).await, Err(WindowError::Closed));
    window.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_browser_goes_completely() {
    let Fixture { browser, events, run } = Fixture::start().await;
    let name = run.path().display().to_string();
    drop((browser, events));
    until("the browser is gone", || processes_naming(&name).is_empty() && is_empty(run.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_browser_is_noticed_and_swept() {
    let mut fixture = Fixture::start().await;
    let window = fixture.window().await;
    let evaluating = tokio::spawn({
        let window = window.clone();
        async move { window.evaluate("new Promise(() => {})", LIMIT).await }
    });
    let killed = Instant::now();
    kill_hard(fixture.browser.pid());
    let event = fixture.event().await;
    assert!(killed.elapsed() < Duration::from_secs(2), "noticed after {:?}", killed.elapsed());
    let BrowserEvent::Exited { status, .. } = event else { panic!("{event:?}") };
    assert!(status.contains("SIGKILL"), "{status}");
    assert_eq!(evaluating.await.unwrap(), Err(WindowError::Closed));
    assert_eq!(fixture.browser.window_count(), 0);
    until("the directory is gone", || fixture.is_swept()).await;
    let name = fixture.run.path().display().to_string();
    until("its processes are gone", || processes_naming(&name).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_does_not_answer_can_be_killed() {
    let mut fixture = Fixture::start().await;
    assert!(fixture.browser.is_answering(LIMIT).await);
    let pid = rustix::process::Pid::from_raw(i32::try_from(fixture.browser.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    assert!(!fixture.browser.is_answering(Duration::from_millis(200)).await);
    fixture.browser.kill();
    let event = fixture.event().await;
    assert!(matches!(&event, BrowserEvent::Exited { status, .. } if status.contains("SIGKILL")), "{event:?}");
    until("nothing is left", || fixture.is_swept()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_does_not_come_up_says_why_and_leaves_nothing() {
    let run = run_directory();
    let program = run_directory();
    let path = program.path().join("chromium");
    fs::write(&path, "#!/bin/sh\necho '[0:FATAL:zygote_host_impl_linux.cc] No usable sandbox! Update your kernel' >&2\nexit 7\n")
        .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let launcher = DirectLauncher::new(run.path().into(), None).unwrap();
    let mut broken = plan(&Profile::Dense.into(), Engine::HeadlessShell, HashMap::new());
    broken.binary.path.clone_from(&path);
    let error = Browser::start(&launcher, broken.clone()).await.unwrap_err();
    assert!(matches!(error, StartError::NoSandbox), "{error:?}");
    assert!(is_empty(run.path()));

    fs::write(&path, "#!/bin/sh\necho 'libnss3.so: cannot open shared object file' >&2\nexit 7\n").unwrap();
    let error = Browser::start(&launcher, broken.clone()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("exit status: 7") && text.contains("libnss3.so"), "{text}");

    broken.binary.path = program.path().join("nowhere");
    let error = Browser::start(&launcher, broken).await.unwrap_err();
    assert!(matches!(error, StartError::Launch(_)), "{error:?}");
    assert!(is_empty(run.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_installed_version_is_told() {
    let environment = HashMap::new();
    let search = Search { configured: None, environment: &environment, root: "/".as_ref() };
    let launcher = DirectLauncher::new(run_directory().path().into(), None).unwrap();
    for engine in [Engine::HeadlessShell, Engine::Headless] {
        let binary = find(&search, &[engine]).expect("this test needs chromium-headless-shell and chromium");
        assert!(check_version(&binary, launcher.users().helper().as_ref()).await.unwrap() > 120);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_chromium_without_a_display_keeps_windows_as_well() {
    let portal = Server::portal().await;
    let profile = CustomProfile { images: Some(false), ..Profile::Dense.into() };
    let mut fixture = Fixture::with(profile, Engine::Headless, HashMap::new()).await;
    let viewport = Some((900, 500));
    let window =
        fixture.browser.open_window(WindowOptions { viewport, ..WindowOptions::default() }).await.unwrap();
    window.navigate(&portal.url("/"), LIMIT).await.unwrap();
    until("the title is there", || window.summary().title == "Portal").await;
    assert_eq!(window.evaluate("[innerWidth, innerHeight]", LIMIT).await.unwrap(), json!([900, 500]));
    window.evaluate("void open('/popup')", LIMIT).await.unwrap();
    until("the popup is there", || window.summary().tabs == 2).await;
    assert!(!window.screenshot(pilotlight_chromium::Format::Jpeg, false).await.unwrap().is_empty());
    assert!(!window.renderer_pids().await.unwrap().is_empty());
    let other = fixture.window().await;
    other.navigate(&portal.url("/"), LIMIT).await.unwrap();
    window.close().await.unwrap();
    assert_eq!(other.evaluate("document.title", LIMIT).await.unwrap(), json!("Portal"));
    other.close().await.unwrap();
    // The browser stays although its last window is gone.
    fixture.window().await.navigate(&portal.url("/"), LIMIT).await.unwrap();
    assert!(fixture.events.try_recv().is_err());
    let name = fixture.run.path().display().to_string();
    fixture.browser.close().await;
    assert_eq!(processes_naming(&name), Vec::<u32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn full_chromium_shows_windows_on_a_display() {
    let (mut xvfb, display) = start_display().await;
    let portal = Server::portal().await;
    let environment = HashMap::from([("DISPLAY".to_owned(), display)]);
    let fixture = Fixture::with(Profile::Moderate.into(), Engine::Headed, environment).await;
    let window = fixture.window().await;
    window.navigate(&portal.url("/"), LIMIT).await.unwrap();
    assert_eq!(window.evaluate("document.title", LIMIT).await.unwrap(), json!("Portal"));
    let outer = window.evaluate("outerWidth", LIMIT).await.unwrap();
    assert!(outer.as_u64().is_some_and(|width| width <= 1024), "{outer}");
    fixture.browser.close().await;
    xvfb.kill().await.unwrap();
}

/// Xvfb chooses a free display and writes its number.
async fn start_display() -> (tokio::process::Child, String) {
    let mut command = tokio::process::Command::new("Xvfb");
    command.args(["-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().expect("this test needs Xvfb (`apt install xvfb`)");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let number = tokio::time::timeout(LIMIT, lines.next_line()).await.unwrap().unwrap().unwrap();
    (child, format!(":{number}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn site_isolation_can_be_switched_on() {
    let one = Server::portal().await;
    let other = Server::portal().await;
    for (site_isolation, renderers) in [(false, 1), (true, 2)] {
        let profile = CustomProfile { site_isolation: Some(site_isolation), ..Profile::Dense.into() };
        let fixture = Fixture::with(profile, Engine::HeadlessShell, HashMap::new()).await;
        let window = fixture.window().await;
        window.navigate(&one.url("/"), LIMIT).await.unwrap();
        let script = format!(
            "new Promise(done => {{
            const frame = document.createElement('iframe');
            frame.onload = () => done(1);
            frame.src = 'http://localhost:{}/';
            document.body.append(frame);
        }})",
            other.port
        );
        window.evaluate(&script, LIMIT).await.unwrap();
        assert_eq!(window.renderer_pids().await.unwrap().len(), renderers);
        fixture.browser.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_loaded_or_not_as_the_profile_has_it() {
    let portal = Server::portal().await;
    let script = "new Promise(done => {
        const image = new Image();
        image.onload = image.onerror = done;
        image.src = '/picture.png';
        document.body.append(image);
        setTimeout(done, 500);
    })";
    for engine in [Engine::HeadlessShell, Engine::Headless] {
        for (profile, images) in [(Profile::Dense, true), (Profile::Aggressive, false)] {
            let fixture = Fixture::with(profile.into(), engine, HashMap::new()).await;
            let window = fixture.window().await;
            window.navigate(&portal.url("/"), LIMIT).await.unwrap();
            let before = portal.count("/picture.png");
            window.evaluate(script, LIMIT).await.unwrap();
            assert_eq!(portal.count("/picture.png") > before, images, "{engine} {profile}");
            fixture.browser.close().await;
        }
    }
}
