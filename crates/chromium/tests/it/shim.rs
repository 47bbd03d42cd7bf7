//! Browsers that outlive their server.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use pilotlight_cdp::protocol::browser::GetVersion;
use pilotlight_cdp::protocol::fetch::{self, RequestPattern};
use pilotlight_cdp::protocol::runtime::RunIfWaitingForDebugger;
use pilotlight_cdp::protocol::target::{
    AttachedToTarget, CreateBrowserContext, CreateHiddenTarget, CreateTarget, FilterEntry,
    GetBrowserContexts, GetTargets, SetAutoAttach,
};
use pilotlight_cdp::{Connection, PipeCodec, Scope};
use pilotlight_chromium::find::Engine;
use pilotlight_chromium::launch::{DirectLauncher, LaunchPlan};
use pilotlight_chromium::launcher::{Launched, Launcher};
use pilotlight_chromium::profiles::Profile;
use pilotlight_chromium::shim::{OrphanedBrowser, ShimError, ShimLauncher, ShimOptions};
use pilotlight_chromium::{Browser, BrowserEvent, LostWindow, StartError, Window, WindowOptions};
use pilotlight_linux::ProcessMemory;
use pilotlight_linux::priority::{YIELDING, niceness};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::codec::Framed;

use crate::portal::Server;
use crate::support::{
    LIMIT, is_empty, is_running, kill_hard, plan, processes_naming, run_directory, signal, until,
};

const SHIM: &str = env!("CARGO_BIN_EXE_shim-for-tests");

fn launcher_with(run: &Path, orphan_timeout: Duration) -> ShimLauncher {
    let options = ShimOptions {
        program: SHIM.into(),
        arguments: Vec::new(),
        orphan_timeout,
        ..ShimOptions::new(run.into())
    };
    ShimLauncher::new(options, None).unwrap().labelled("test")
}

fn launcher(run: &Path) -> ShimLauncher {
    // What a test that fails leaves ends by itself.
    launcher_with(run, Duration::from_secs(60))
}

/// A browser under a shim with the directory that both run in.
struct Kept {
    browser: Browser,
    events: mpsc::Receiver<BrowserEvent>,
    run: TempDir,
}

impl Kept {
    async fn start() -> Self {
        let run = run_directory();
        let (browser, events) = start(&launcher(run.path())).await;
        Self { browser, events, run }
    }

    fn shim_pid(&self) -> u32 {
        self.browser.shim().unwrap().pid()
    }

    async fn event(&mut self) -> BrowserEvent {
        tokio::time::timeout(LIMIT, self.events.recv()).await.expect("an event in time").expect("a browser")
    }
}

async fn start(launcher: &ShimLauncher) -> (Browser, mpsc::Receiver<BrowserEvent>) {
    let plan = plan(&Profile::Dense.into(), Engine::HeadlessShell, HashMap::new());
    Browser::start(launcher, plan).await.unwrap_or_else(|error| panic!("{error:?}"))
}

fn labelled(label: &str) -> WindowOptions {
    WindowOptions { label: Some(label.into()), viewport: Some((640, 480)), ..WindowOptions::default() }
}

async fn orphan(run: &Path) -> OrphanedBrowser {
    let mut found = launcher(run).orphans().await;
    assert!(found.ended.is_empty(), "{:?}", found.ended);
    assert_eq!(found.orphans.len(), 1);
    found.orphans.remove(0)
}

/// Adopts the one browser in the directory with all of its windows.
async fn adopt(run: &Path) -> (Browser, mpsc::Receiver<BrowserEvent>, HashMap<String, Window>) {
    let orphan = orphan(run).await;
    let (contexts, labels): (Vec<_>, Vec<_>) = orphan.windows().into_iter().unzip();
    let wanted = contexts.into_iter().zip(labels.iter().map(|label| labelled(label)));
    let began = Instant::now();
    let (browser, events, windows) = Browser::adopt(orphan, wanted.collect()).await.unwrap();
    println!("adopted {} windows in {:?}", windows.len(), began.elapsed());
    (browser, events, labels.into_iter().zip(windows.into_iter().map(Result::unwrap)).collect())
}

async fn value(window: &Window, expression: &str) -> Value {
    window.evaluate(expression, LIMIT).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_server_finds_everything_as_it_was() {
    let portal = Server::portal().await;
    let Kept { browser, events, run } = Kept::start().await;
    let (pid, shim_pid) = (browser.pid(), browser.shim().unwrap().pid());
    let window = browser.open_window(labelled("one")).await.unwrap();
    let other = browser.open_window(labelled("two")).await.unwrap();
    browser.open_window(WindowOptions::default()).await.unwrap();
    window.navigate(&portal.url("/set"), LIMIT).await.unwrap();
    window
        .evaluate("globalThis.kept = {since: 'ever'}, open('about:blank'), open('about:blank'), 1", LIMIT)
        .await
        .unwrap();
    until("the popups are there", || window.summary().tabs == 3).await;
    let main = window.pages()[0].target_id.clone();
    until("its main page is noted", || browser.notes().values().any(|note| *note == main)).await;
    let renderer = other.renderer_pids().await.unwrap();
    drop((window, other, browser, events));

    for round in 0..2 {
        let (browser, events, windows) = adopt(run.path()).await;
        assert_eq!((browser.pid(), browser.shim().unwrap().pid()), (pid, shim_pid), "{round}");
        assert_eq!(browser.window_count(), 2, "the window without a label is gone");
        assert!(browser.product().contains("Chrome/"));
        let window = &windows["one"];
        assert_eq!(window.pages()[0].target_id, main);
        assert_eq!(window.summary().tabs, 3);
        assert_eq!(window.summary().url, portal.url("/set"));
        assert_eq!(value(window, "kept").await, json!({"since": "ever"}));
        assert_eq!(value(window, "[innerWidth, innerHeight]").await, json!([640, 480]));
        assert_eq!(windows["two"].renderer_pids().await.unwrap(), renderer);
        // It works from here on as one that was started.
        windows["two"].navigate(&portal.url("/"), LIMIT).await.unwrap();
        window.reload(LIMIT).await.unwrap();
        window.evaluate("globalThis.kept = {since: 'ever'}", LIMIT).await.unwrap();
        let fresh = browser.open_window(labelled("three")).await.unwrap();
        assert_eq!(browser.notes()[&format!("window/{}", fresh.id())], "three");
        fresh.close().await.unwrap();
        until("closing removes the note", || browser.notes().len() == 4).await;
        assert!(events.is_empty());
        browser.leave();
        let memory_kib = ProcessMemory::of(shim_pid).unwrap().bytes / 1024;
        println!("shim: {memory_kib} KiB");
    }
    let (browser, _events, _windows) = adopt(run.path()).await;
    browser.close().await;
    assert!(!is_running(pid) && !is_running(shim_pid));
    assert!(is_empty(run.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_window_is_told_what_it_no_longer_shows() {
    let (portal, lost) = (Server::portal().await, Server::portal().await);
    let Kept { browser, events, run } = Kept::start().await;
    let window = browser.open_window(labelled("one")).await.unwrap();
    window.navigate(&format!("http://localhost:{}/", portal.port), LIMIT).await.unwrap();
    value(&window, "localStorage.left = 'behind'").await;
    window.navigate(&lost.url("/"), LIMIT).await.unwrap();
    value(&window, "sessionStorage.kept = 'yes'").await;
    let checkpoint = window.capture(0).await.unwrap();
    assert_eq!((checkpoint.origins.len(), checkpoint.tabs[0].session_storage.len()), (1, 1));
    drop(lost);
    window.reload(LIMIT).await.unwrap_err();
    drop((window, browser, events));

    let (browser, _events, windows) = adopt(run.path()).await;
    let window = &windows["one"];
    assert_eq!(window.capture(1).await.unwrap().origins, []);
    window.remember(&checkpoint);
    let again = window.capture(2).await.unwrap();
    assert_eq!((again.origins, again.tabs), (checkpoint.origins, checkpoint.tabs));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_pages_of_a_dead_server_are_closed() {
    let portal = Server::portal().await;
    let Kept { browser, events, run } = Kept::start().await;
    let window = browser.open_window(labelled("one")).await.unwrap();
    window.navigate(&portal.url("/"), LIMIT).await.unwrap();
    let hidden = ["about:blank#pilotlight-stub".to_owned(), portal.url("/.well-known/pilotlight-stub")];
    for url in hidden.clone() {
        let browser_context_id = window.id().to_string();
        let create = CreateHiddenTarget { url, browser_context_id, background: true, hidden: true };
        browser.connection().call(None, create).await.unwrap();
    }
    window.evaluate("open('about:blank'), 1", LIMIT).await.unwrap();
    let urls = |window: &Window| window.pages().into_iter().map(|page| page.url).collect::<Vec<_>>();
    until("all are there", || hidden.iter().all(|url| urls(&window).contains(url))).await;
    until("with the popup", || window.summary().tabs == 4).await;
    drop((window, browser, events));
    let (browser, _events, windows) = adopt(run.path()).await;
    assert_eq!(urls(&windows["one"]), [portal.url("/"), "about:blank".into()]);
    let targets = async || {
        let pages = GetTargets { filter: FilterEntry::only(&["page"]) };
        browser.connection().call(None, pages).await.unwrap().target_infos.len()
    };
    let deadline = Instant::now() + LIMIT;
    while targets().await > 2 {
        assert!(Instant::now() < deadline, "they are not closed");
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_hard_loses_nothing() {
    let run = run_directory();
    let mut command = tokio::process::Command::new(SHIM);
    command.arg("serve").arg(run.path()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut server = command.spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(LIMIT, lines.next_line()).await.unwrap().unwrap();
    let pid: u32 = line.expect("a server that comes up").parse().unwrap();
    server.kill().await.unwrap();
    let (browser, _events, windows) = adopt(run.path()).await;
    assert_eq!(browser.pid(), pid);
    assert_eq!(value(&windows["its window"], "kept").await, json!(42));
    browser.close().await;
    assert!(is_empty(run.path()));
}

#[tokio::test]
async fn one_that_yields_the_processor_does_so_with_its_browser() {
    let run = run_directory();
    let plan = plan(&Profile::Dense.into(), Engine::HeadlessShell, HashMap::new());
    let plan = LaunchPlan { yields: true, ..plan };
    let (browser, _events) = Browser::start(&launcher(run.path()), plan).await.unwrap();
    let window = browser.open_window(WindowOptions::default()).await.unwrap();
    let renderer = window.renderer_pids().await.unwrap()[0];
    for process in [browser.shim().unwrap().pid(), browser.pid(), renderer] {
        assert!(niceness(process).unwrap() >= YIELDING, "{process}");
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_is_a_process_of_its_own() {
    let kept = Kept::start().await;
    let pid = kept.shim_pid();
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    assert_eq!(read("environ"), "");
    assert_eq!(read("cmdline").trim_end_matches('\0'), SHIM);
    let stat = read("stat");
    let session = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().to_owned();
    assert_eq!(session, pid.to_string());
    for descriptor in 0..3 {
        assert_eq!(fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).unwrap(), Path::new("/dev/null"));
    }
    let folder = shim_folder(kept.run.path());
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(folder.join("shim.sock")).unwrap().permissions().mode() & 0o777, 0o600);
    let card: Value = serde_json::from_slice(&fs::read(folder.join("shim.json")).unwrap()).unwrap();
    let browser_pid = kept.browser.pid();
    assert_eq!(card, json!({"protocol": 1, "shim_pid": pid, "browser_pid": browser_pid, "label": "test"}));
    kept.browser.close().await;
    assert!(is_empty(kept.run.path()));
}

fn shim_folder(run: &Path) -> PathBuf {
    let mut folders = fs::read_dir(run).unwrap().flatten().map(|entry| entry.path());
    folders.find(|path| path.join("shim.sock").exists()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_dead_server_goes_on() {
    let portal = Server::portal().await;
    let run = run_directory();
    let plan = plan(&Profile::Dense.into(), Engine::HeadlessShell, HashMap::new());
    let launched = launcher(run.path()).launch(&plan).await.unwrap();
    assert_eq!(launched.next_id, 1);
    let connection = Connection::new(launched.started.reader, launched.started.writer);
    let mut events = connection.subscribe(Scope::Root, 100);
    let attach = SetAutoAttach {
        auto_attach: true,
        wait_for_debugger_on_start: true,
        flatten: true,
        filter: FilterEntry::only(&["page"]),
    };
    connection.call(None, attach).await.unwrap();
    let create = CreateBrowserContext { proxy_server: None, proxy_bypass_list: None };
    let browser_context_id = connection.call(None, create).await.unwrap().browser_context_id;
    let create = |path| CreateTarget {
        url: portal.url(path),
        browser_context_id: browser_context_id.clone(),
        new_window: false,
    };
    connection.call(None, create("/holding")).await.unwrap();
    let attached: AttachedToTarget = loop {
        if let Some(attached) = events.next().await.unwrap().read() {
            break attached;
        }
    };
    let session = Some(&attached.session_id);
    connection.call(session, RunIfWaitingForDebugger {}).await.unwrap();
    until("a page has loaded", || portal.count("/holding") == 1).await;
    let patterns = vec![RequestPattern { url_pattern: "*", resource_type: Some("Fetch") }];
    connection.call(session, fetch::Enable { patterns, handle_auth_requests: false }).await.unwrap();
    let expression = serde_json::value::to_raw_value(&json!({"expression": "void fetch('/held')"})).unwrap();
    connection.call_raw(session, "Runtime.evaluate", &expression, LIMIT).await.unwrap();
    connection.call(None, create("/paused")).await.unwrap();
    // Questions whose answers come when nobody is there any more.
    let asking = (0..200).map(|_| {
        let connection = connection.clone();
        tokio::spawn(async move { connection.call(None, GetVersion {}).await.is_ok() })
    });
    let asking: Vec<_> = asking.collect();
    connection.call(None, GetVersion {}).await.unwrap();
    assert_eq!((portal.count("/held"), portal.count("/paused")), (0, 0));
    connection.close();
    drop(connection);
    until("the request goes on", || portal.count("/held") == 1).await;
    until("the page goes on", || portal.count("/paused") == 1).await;

    let next_id = greet(run.path(), 1, "control").await["hello"]["next_id"].as_i64().unwrap();
    assert!(next_id > 8, "{next_id}");
    let (browser, _events, windows) = Browser::adopt(orphan(run.path()).await, Vec::new()).await.unwrap();
    assert!(windows.is_empty());
    // Had an answer to a question of the dead been taken for this, it could not be read.
    let contexts = browser.connection().call(None, GetBrowserContexts {}).await.unwrap();
    assert!(contexts.browser_context_ids.is_empty(), "nobody claimed it");
    for asked in asking {
        asked.await.unwrap();
    }
    browser.close().await;
    assert!(is_empty(run.path()));
}

/// What a shim answers to a greeting.
async fn greet(run: &Path, protocol: u32, role: &str) -> Value {
    let stream = UnixStream::connect(shim_folder(run).join("shim.sock")).await.unwrap();
    let mut messages = Framed::new(stream, PipeCodec::default());
    let greeting = json!({"protocol": protocol, "role": role, "server": "a test", "since": "later"});
    messages.send(greeting.to_string().into()).await.unwrap();
    let answer = tokio::time::timeout(LIMIT, messages.next()).await.unwrap().unwrap().unwrap();
    serde_json::from_slice(&answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_are_there_for_the_next_server() {
    let Kept { browser, run, .. } = Kept::start().await;
    browser.set_note("a", Some("1")).await.unwrap();
    browser.set_note("b", Some("2")).await.unwrap();
    browser.set_note("b", None).await.unwrap();
    let refused = browser.set_note("c", Some(&"x".repeat(2000))).await.unwrap_err();
    assert!(matches!(refused, ShimError::Refused(_)), "{refused:?}");
    browser.shim().unwrap().set_orphan_timeout(Duration::from_secs(77)).await.unwrap();
    let notes = browser.notes();
    drop(browser);
    let orphan = orphan(run.path()).await;
    assert_eq!(orphan.notes(), &notes);
    assert_eq!(notes, [("a".to_owned(), "1".to_owned())].into());
    assert_eq!((orphan.label(), orphan.orphan_timeout()), ("test", Duration::from_secs(77)));
    orphan.end().await;
    assert!(is_empty(run.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_cannot_be_given_back_are_said_to_be_lost() {
    let Kept { browser, run, .. } = Kept::start().await;
    let kept = browser.open_window(labelled("kept")).await.unwrap();
    let emptied = browser.open_window(labelled("emptied")).await.unwrap();
    let crashed = browser.open_window(labelled("crashed")).await.unwrap();
    let renderer = crashed.renderer_pids().await.unwrap()[0];
    // It closes itself once nobody is there.
    emptied.evaluate("setTimeout(close, 300), 1", LIMIT).await.unwrap();
    let ids = [&kept, &emptied, &crashed].map(|window| window.id().to_string());
    browser.leave();
    kill_hard(renderer);
    let raw = orphan(run.path()).await;
    assert_eq!(raw.windows().len(), 3);
    drop(raw);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let [kept, emptied, crashed] = ids;
    let wanted = [kept.clone(), emptied.clone(), crashed.clone(), "unknown".to_owned()];
    let wanted = wanted.into_iter().map(|context| (context, labelled("again"))).collect();
    let (browser, mut events, windows) = Browser::adopt(orphan(run.path()).await, wanted).await.unwrap();
    assert!(windows[0].is_ok());
    // Its context is there, with an empty page.
    assert_eq!(windows[1].as_ref().unwrap().pages().len(), 1);
    assert_eq!(windows[3].as_ref().unwrap_err(), &LostWindow::Gone);
    for _ in 0..2 {
        match tokio::time::timeout(LIMIT, events.recv()).await.unwrap().unwrap() {
            BrowserEvent::WindowCrashed { window } => assert_eq!(window.as_str(), crashed),
            BrowserEvent::LastPageClosed { window } => assert_eq!(window.as_str(), emptied),
            event => panic!("{event:?}"),
        }
    }
    windows[2].as_ref().unwrap().reload(LIMIT).await.unwrap();
    let notes = browser.notes();
    assert_eq!(notes[&format!("window/{kept}")], "again");
    assert_eq!(notes[&format!("window/{emptied}")], "again");
    browser.close().await;
    assert!(is_empty(run.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_a_browser_ends_in_its_time() {
    let run = run_directory();
    let (browser, _events) = start(&launcher_with(run.path(), Duration::from_millis(300))).await;
    let (pid, shim_pid) = (browser.pid(), browser.shim().unwrap().pid());
    let window = browser.open_window(labelled("one")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(value(&window, "1").await, json!(1), "it ends only without a server");
    drop((window, browser));
    until("all of it is gone", || !is_running(pid) && !is_running(shim_pid) && is_empty(run.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_shim_takes_its_browser_along() {
    let mut kept = Kept::start().await;
    signal(kept.shim_pid(), Signal::TERM);
    let event = kept.event().await;
    let BrowserEvent::Exited { status, .. } = event else { panic!("{event:?}") };
    assert!(status.contains("exit status: 0"), "{status}");
    until("nothing is left", || is_empty(kept.run.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_does_not_outlive_its_shim() {
    let mut kept = Kept::start().await;
    let pid = kept.browser.pid();
    kill_hard(kept.shim_pid());
    let event = kept.event().await;
    let BrowserEvent::Exited { status, .. } = event else { panic!("{event:?}") };
    assert!(status.contains("shim") && status.contains("SIGKILL"), "{status}");
    until("the browser is gone", || !is_running(pid)).await;
    until("the folders are gone", || is_empty(kept.run.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_browser_is_told_with_its_last_words() {
    let mut kept = Kept::start().await;
    let shim_pid = kept.shim_pid();
    kill_hard(kept.browser.pid());
    let event = kept.event().await;
    assert!(matches!(&event, BrowserEvent::Exited { status, .. } if status.contains("SIGKILL")), "{event:?}");
    until("nothing is left", || !is_running(shim_pid) && is_empty(kept.run.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_browser_stays_killed_where_it_is_dropped_at_once() {
    let Kept { browser, run, .. } = Kept::start().await;
    let pid = browser.pid();
    browser.kill();
    drop(browser);
    until("nothing is left", || !is_running(pid) && is_empty(run.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_shim_can_be_killed() {
    let mut kept = Kept::start().await;
    let pid = kept.browser.pid();
    signal(kept.shim_pid(), Signal::STOP);
    kept.browser.kill();
    let event = kept.event().await;
    assert!(matches!(event, BrowserEvent::Exited { .. }));
    until("nothing is left", || !is_running(pid) && is_empty(kept.run.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_hangs_under_a_dead_shim_is_swept_and_no_other() {
    let run = run_directory();
    let launcher = launcher(run.path());
    let (other, _events) = start(&launcher).await;
    let direct = DirectLauncher::new(run.path().into(), None).unwrap();
    let mut plan = plan(&Profile::Dense.into(), Engine::HeadlessShell, HashMap::new());
    let (foreign, _events) = Browser::start(&direct, plan.clone()).await.unwrap();
    // A stopped Chromium will not do: when its shim dies, the kernel has it go on and hang up.
    let program = run_directory();
    plan.binary.path = program.path().join("hangs");
    fs::write(&plan.binary.path, "#!/bin/sh\ntrap '' HUP TERM\nwhile :; do sleep 0.1; done\n").unwrap();
    fs::set_permissions(&plan.binary.path, fs::Permissions::from_mode(0o755)).unwrap();
    let Launched { started, shim, .. } = launcher.launch(&plan).await.unwrap();
    let process = started.process;
    assert!(is_running(process.pid));
    kill_hard(shim.unwrap().pid());
    let end = tokio::time::timeout(LIMIT, process.gone()).await.unwrap();
    assert!(end.contains("shim"), "{end}");
    assert!(!is_running(process.pid));
    assert!(other.is_answering(LIMIT).await && foreign.is_answering(LIMIT).await);
    foreign.close().await;
    other.close().await;
    assert!(is_empty(run.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_server_wins() {
    let mut kept = Kept::start().await;
    let window = kept.browser.open_window(labelled("one")).await.unwrap();
    window.evaluate("globalThis.kept = 1", LIMIT).await.unwrap();
    let (browser, _events, windows) = adopt(kept.run.path()).await;
    let event = kept.event().await;
    let BrowserEvent::Exited { status, .. } = event else { panic!("{event:?}") };
    assert!(status.contains("another server"), "{status}");
    drop(kept.browser);
    assert_eq!(value(&windows["one"], "kept").await, json!(1));
    browser.close().await;
    assert!(is_empty(kept.run.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_of_another_version_is_ended_and_told() {
    let Kept { browser, run, .. } = Kept::start().await;
    let (pid, shim_pid) = (browser.pid(), browser.shim().unwrap().pid());
    browser.leave();
    let answer = greet(run.path(), 99, "relay").await;
    assert!(answer["refused"]["reason"].as_str().unwrap().contains("version 1"), "{answer}");
    let card = shim_folder(run.path()).join("shim.json");
    let text = fs::read_to_string(&card).unwrap();
    fs::write(&card, text.replace("\"protocol\":1", "\"protocol\":99")).unwrap();
    let found = launcher(run.path()).orphans().await;
    assert!(found.orphans.is_empty());
    assert!(matches!(found.ended[0].reason, ShimError::Version { theirs: 99 }));
    assert_eq!((found.ended[0].shim_pid, &*found.ended[0].label), (shim_pid, "test"));
    assert!(!is_running(shim_pid) && !is_running(pid));
    assert!(is_empty(run.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_users_are_turned_away() {
    let kept = Kept::start().await;
    let folder = shim_folder(kept.run.path());
    let socket = folder.join("shim.sock");
    let stranger = || {
        let mut command = std::process::Command::new("/proc/self/fd/0");
        // The program as an open file, since strangers cannot enter the folder that it is in.
        command.stdin(fs::File::open(SHIM).unwrap()).arg("connect").arg(&socket).uid(65534).gid(65534);
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    // The test can only be somebody else where it is root.
    assert!(rustix::process::geteuid().is_root(), "this test needs root");
    assert!(stranger().contains("Permission denied"), "{}", stranger());
    // Even with all doors open.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(stranger(), "[]\n");
    assert!(greet(kept.run.path(), 1, "control").await["hello"].is_object());
    assert!(kept.browser.is_answering(LIMIT).await);
    kept.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_cannot_start_its_browser_says_why_and_leaves_nothing() {
    let run = run_directory();
    let program = run_directory();
    let path = program.path().join("chromium");
    fs::write(&path, "#!/bin/sh\necho '[0:FATAL:zygote] No usable sandbox!' >&2\nexit 7\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let mut broken = plan(&Profile::Dense.into(), Engine::HeadlessShell, HashMap::new());
    broken.binary.path = path;
    let error = Browser::start(&launcher(run.path()), broken.clone()).await.unwrap_err();
    assert!(matches!(error, StartError::NoSandbox), "{error:?}");
    assert!(is_empty(run.path()));

    broken.binary.path = program.path().join("nowhere");
    let error = Browser::start(&launcher(run.path()), broken.clone()).await.unwrap_err();
    assert!(format!("{error:?}").contains("nowhere"), "{error:?}");
    assert!(is_empty(run.path()));

    let long = run.path().join("x".repeat(100));
    let error = Browser::start(&launcher(&long), broken).await.unwrap_err();
    assert!(format!("{error:?}").contains("choose a shorter directory"), "{error:?}");
    let name = run.path().display().to_string();
    assert_eq!(processes_naming(&name), Vec::<u32>::new());
}
