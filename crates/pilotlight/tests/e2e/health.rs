//! What fails in silence is noticed and made good: browsers, pages, the store. And how the server says how it is.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use pilotlight_api::{Event, EventKind, Health, HealthStatus, Session, SessionState};
use pilotlight_testkit::harness::{
    Process, Role, Server, ServerOptions, expect_that, run, wait_for, wait_until_gone,
};
use pilotlight_testkit::portal::{Portal, PortalOptions};
use rusqlite::Connection;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use crate::chaos::work::{brought_back, ids};
use crate::support::{SOON, TestEnv, account, options, path, test_env, test_env_with};

/// A pulse as the service manager may want it, in microseconds.
const WATCHDOG_USEC: &str = "1000000";
/// Shorter than in production, so that tests are fast.
const QUICK_HEARTBEAT: &str = "[chromium]\nheartbeat = \"1s\"";
/// A script that never ends, and lets the one that plants it end.
const HANG: &str = "setTimeout(() => { for (;;); }, 0), 1";
const SHOWN_USER: &str = "document.querySelector('#user').textContent";

fn the_browser(env: &TestEnv) -> Process {
    let mut browsers: Vec<_> =
        env.server.processes().into_iter().filter(|process| process.role() == Role::Browser).collect();
    assert_eq!(browsers.len(), 1, "{browsers:#?}");
    browsers.remove(0)
}

/// Waits until the states of all sessions are written down.
async fn all_are_stored(env: &TestEnv) {
    wait_for("all states to be written down", SOON, async || {
        let now = env.client().sessions().await;
        expect_that(now.iter().all(|session| session.storage_bytes.is_some()), now)
    })
    .await;
}

async fn hold(env: &TestEnv, session: &Session) -> String {
    let hold = env.client().post(&path(session, "/hold"), &json!({ "ttl": 600 })).await.expect(201);
    format!("/hold/{}", hold.body["hold_id"].as_str().unwrap())
}

async fn give_back(env: &TestEnv, session: &Session, hold: &str) {
    env.client().send(env.client().request(reqwest::Method::DELETE, &path(session, hold))).await.expect(200);
}

#[tokio::test]
async fn a_browser_that_is_silent_is_ended_and_its_sessions_come_back_signed_in() {
    let env = test_env_with(QUICK_HEARTBEAT, Default::default()).await;
    let sessions = [env.sign_in("north").await, env.sign_in("south").await];
    all_are_stored(&env).await;
    hold(&env, &sessions[0]).await;
    let mut events = env.client().events("/events").await;
    let silent = the_browser(&env);
    silent.silence();
    for _ in &sessions {
        let lost = events.kind(EventKind::WindowLost, SOON).await;
        assert!(lost.message.contains("did not respond"), "{lost:?}");
    }
    wait_until_gone(&[silent], SOON).await;
    // Nothing was known of the pages in it.
    assert!(events.seen.iter().all(|event| event.kind != EventKind::PageHung), "{:#?}", events.seen);
    for (session, user) in sessions.iter().zip(["north", "south"]) {
        let back = env.reaches(session, SessionState::Ready).await;
        assert_ne!(back.shard, session.shard);
        assert_eq!(env.client().evaluate(session, SHOWN_USER).await, user);
    }
    assert!(env.client().session(&sessions[0]).await.in_use, "the hold was lost");
    env.each_signed_in_once();
}

#[tokio::test]
async fn a_browser_that_is_silent_at_a_start_is_replaced() {
    let mut env = test_env_with(QUICK_HEARTBEAT, Default::default()).await;
    let session = env.sign_in("acme").await;
    all_are_stored(&env).await;
    let silent = the_browser(&env);
    env.server.kill_server();
    silent.silence();
    let (env, took) = env.start_again().await;
    println!("With a silent browser to take over it was ready after {took:?}.");
    env.reaches(&session, SessionState::Ready).await;
    assert_eq!(env.client().evaluate(&session, SHOWN_USER).await, "acme");
    wait_until_gone(&[silent], SOON).await;
    env.each_signed_in_once();
}

#[tokio::test]
async fn a_page_that_hangs_comes_back_unless_somebody_holds_it() {
    let env = test_env_with(QUICK_HEARTBEAT, Default::default()).await;
    let (held, free) = (env.sign_in("held").await, env.sign_in("free").await);
    let mut events = env.client().events("/events").await;
    let holding = hold(&env, &held).await;
    for session in [&held, &free] {
        env.client().evaluate(session, HANG).await;
    }
    let hung = events.kind(EventKind::PageHung, SOON).await;
    assert_eq!(hung.session_id, Some(free.session_id), "{hung:?}");
    assert_eq!(hung.state, Some(SessionState::Recovering));
    env.reaches(&free, SessionState::Ready).await;
    assert_eq!(env.client().evaluate(&free, SHOWN_USER).await, "free");
    // It hangs for as long as its holder likes.
    let of_held = |event: &Event| event.session_id == Some(held.session_id);
    assert!(!events.seen.iter().any(|event| of_held(event) && event.kind == EventKind::PageHung));
    give_back(&env, &held, &holding).await;
    events.find("a hung page", SOON, |event| of_held(event) && event.kind == EventKind::PageHung).await;
    env.reaches(&held, SessionState::Ready).await;
    assert_eq!(env.client().evaluate(&held, SHOWN_USER).await, "held");
    env.each_signed_in_once();
}

async fn said_to(service_manager: &UnixDatagram) -> String {
    let mut message = [0; 4096];
    let length = timeout(SOON, service_manager.recv(&mut message)).await.expect("nothing is said").unwrap();
    String::from_utf8(message[..length].to_vec()).unwrap()
}

#[tokio::test]
async fn the_service_manager_hears_that_it_is_ready_lives_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("notify");
    let service_manager = UnixDatagram::bind(&socket).unwrap();
    let told = options().environment("NOTIFY_SOCKET", socket.to_str().unwrap());
    let told = told.environment("WATCHDOG_USEC", WATCHDOG_USEC);
    let server = Server::start(told).await;
    let mut env = TestEnv { server, portal: Portal::start(PortalOptions::default()).await.unwrap() };
    let mut said = said_to(&service_manager).await;
    while said == "WATCHDOG=1\n" {
        said = said_to(&service_manager).await;
    }
    assert_eq!(said, format!("READY=1\nSTATUS=listening on http://{}\n", env.server.address()));
    env.window("a", json!({})).await;
    for _ in 0..3 {
        assert_eq!(said_to(&service_manager).await, "WATCHDOG=1\n");
    }
    // The notification must come from the server itself.
    let shims = env.server.shims();
    assert_eq!(shims.len(), 1, "{shims:?}");
    for process in [&shims[0].shim, &shims[0].browser] {
        let environment = fs::read(format!("/proc/{}/environ", process.id)).unwrap();
        let environment = String::from_utf8_lossy(&environment);
        for variable in ["NOTIFY_SOCKET", "WATCHDOG", "PILOTLIGHT_"] {
            assert!(!environment.contains(variable), "{variable} reaches {process:?}");
        }
    }
    assert_eq!(env.server.terminate().await, 0);
    while said != "STOPPING=1\nSTATUS=saving changes\n" {
        said = said_to(&service_manager).await;
    }
    let after = std::iter::from_fn(|| match service_manager.try_recv(&mut [0; 4096]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        received => Some(received.unwrap()),
    });
    // The keeper's last signs of life; after its end there are no more.
    assert!(after.count() <= 20);
}

fn write_key_file(path: &Path, content: &[u8]) {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path).unwrap();
    file.write_all(content).unwrap();
}

#[tokio::test]
async fn a_rotated_key_opens_everything_and_the_one_before_nothing() {
    let mut env = test_env().await;
    let session = env.at_work("acme", json!({})).await;
    env.order(&session, "/hibernate").await;
    let key_file = env.server.state_dir().join("master.key");
    let old = fs::read_to_string(&key_file).unwrap();
    let busy = env.server.command(&["rotate-key"], "").await.expect(75);
    assert!(busy.stderr.contains("hint: stop the server"), "{busy:?}");
    assert_eq!(fs::read_to_string(&key_file).unwrap(), old);
    assert_eq!(env.server.terminate().await, 0);

    let elsewhere = format!("main:{}", "5e".repeat(32));
    let folder = env.server.folder().to_owned();
    let environment = [("PILOTLIGHT_MASTER_KEY", elsewhere.as_str())];
    let binary = Path::new(env!("CARGO_BIN_EXE_pilotlight"));
    let refused = run(binary, &folder, &["rotate-key"], &environment, "").await.expect(78);
    assert!(refused.stderr.contains("hint: ") && !refused.stderr.contains("5e5e"), "{refused:?}");
    assert_eq!(fs::read_to_string(&key_file).unwrap(), old);

    // The power went when an earlier try had come as far as a new key in the file.
    write_key_file(&key_file, format!("cut-off:{}\n{old}", "7a".repeat(32)).as_bytes());
    let rotated = env.server.command(&["rotate-key", "-o", "json"], "").await.expect(0).json();
    let new = fs::read_to_string(&key_file).unwrap();
    let names: Vec<_> = new.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
    assert_eq!(names, [rotated["key"].as_str().unwrap()]);
    let removed = rotated["removed"].as_array().unwrap();
    assert!(removed.len() == 2 && removed.contains(&json!("cut-off")), "{rotated}");

    write_key_file(&key_file, old.as_bytes());
    env.server.command(&["serve"], "").await.expect(78);
    write_key_file(&key_file, new.as_bytes());
    let (env, _) = env.start_again().await;
    assert_eq!(env.client().session(&session).await.state, SessionState::Hibernated);
    assert_eq!(env.read(&session).await, brought_back("acme"));
    env.each_signed_in_once();
}

#[tokio::test]
async fn a_store_that_somebody_else_uses_is_told_in_one_sentence() {
    let mut env = test_env().await;
    let session = env.at_work("acme", json!({})).await;
    assert_eq!(env.server.terminate().await, 0);
    let stranger = Connection::open(env.server.state_dir().join("pilotlight.db")).unwrap();
    stranger.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let finished = env.server.command(&["serve"], "").await.expect(1);
    let errors: Vec<_> = finished.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(errors.len() == 1 && errors[0].contains("in use by another process"), "{finished:?}");
    assert!(finished.stderr.contains("hint: stop the other"), "{finished:?}");
    drop(stranger);
    let (env, _) = env.start_again().await;
    env.reaches(&session, SessionState::Ready).await;
    env.each_signed_in_once();
}

/// A server whose files can be kept from growing while it runs: it is told so by an error and not by a signal,
/// as on a disk that is full.
fn with_a_small_disk(folder: &Path) -> ServerOptions {
    let script = folder.join("pilotlight");
    let text = format!("#!/bin/sh\ntrap '' XFSZ\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_pilotlight"));
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    ServerOptions::new(script)
}

/// How large the server's files may be from now on, in bytes; `None` is as large as they like.
fn limit_files(env: &TestEnv, bytes: Option<u64>) {
    let limit = Rlimit { current: bytes, maximum: getrlimit(Resource::Fsize).maximum };
    prlimit(Pid::from_raw(env.server.server_pid()), Resource::Fsize, limit).unwrap();
}

async fn metrics(env: &TestEnv) -> String {
    String::from_utf8(env.client().get("/metrics").await.expect(200).bytes).unwrap()
}

async fn health(env: &TestEnv) -> HealthStatus {
    env.client().get("/health").await.expect(200).typed::<Health>().status
}

/// How many states of windows are in the store. A copy is looked at: looking changes it.
fn stored_states(env: &TestEnv, folder: &Path) -> i64 {
    for name in ["pilotlight.db", "pilotlight.db-wal"] {
        fs::copy(env.server.state_dir().join(name), folder.join(name)).unwrap();
    }
    let copy = Connection::open(folder.join("pilotlight.db")).unwrap();
    copy.query_row("SELECT count(*) FROM checkpoints", (), |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn without_room_on_the_disk_it_goes_on_and_then_writes_everything_down() {
    let folder = tempfile::tempdir().unwrap();
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let server = Server::start(with_a_small_disk(folder.path()).site("portal", portal.site())).await;
    let mut env = TestEnv { server, portal };
    let north = env.at_work("north", json!({})).await;
    let gone = env.sign_in("gone").await;
    let holding = hold(&env, &north).await;
    all_are_stored(&env).await;
    let before = env.client().session(&north).await.storage_bytes;
    let mut events = env.client().events("/events").await;

    limit_files(&env, Some(0));
    let value = "written-while-there-was-no-room";
    env.write(&north, value).await;
    // It is given back, and no other server would know of it yet.
    let refused = (503, "storage_failed");
    assert_eq!(env.client().delete(&path(&north, &holding)).await.refusal(), refused);
    let failed = events.kind(EventKind::CheckpointFailed, SOON).await;
    assert!(failed.session_id == Some(north.session_id) && !failed.message.is_empty(), "{failed:?}");
    assert_eq!(health(&env).await, HealthStatus::Degraded);
    assert!(metrics(&env).await.contains("pilotlight_store_healthy 0"));
    // Changes that cannot be stored are refused and not made.
    assert_eq!(env.client().post("/sessions", &account("south")).await.refusal(), refused);
    assert_eq!(env.portal.sign_ins("south"), 0, "a sign-in was typed that is written down nowhere");
    assert_eq!(env.client().post(&path(&north, "/hold"), &json!({})).await.refusal(), refused);
    assert_eq!(env.client().patch(&path(&north, ""), &json!({ "name": "new" })).await.refusal(), refused);
    let now = env.client().session(&north).await;
    assert_eq!((now.in_use, &now.name), (false, &north.name), "{now:?}");
    assert_eq!(env.client().delete(&path(&gone, "")).await.refusal(), refused);
    wait_for("the log to tell it", SOON, async || {
        let log = env.server.log();
        expect_that(log.contains("could not be stored"), log)
    })
    .await;

    limit_files(&env, None);
    // Whether all of it is well depends on the machine's memory too.
    wait_for("a store that can be written to", SOON, async || {
        let now = metrics(&env).await;
        expect_that(now.contains("pilotlight_store_healthy 1"), now)
    })
    .await;
    all_are_stored(&env).await;
    wait_for("the newer state to be written down", SOON, async || {
        let now = env.client().session(&north).await;
        expect_that(now.storage_bytes > before, now)
    })
    .await;
    env.kill_everything();
    assert_eq!(stored_states(&env, folder.path()), 1, "what is left of a session that was closed");
    let (env, _) = env.start_again().await;
    assert_eq!(ids(&env.client().sessions().await), ids(std::slice::from_ref(&north)));
    env.has_kept(&north, value).await;
    env.each_signed_in_once();
}

#[tokio::test]
async fn an_old_browser_hands_its_idle_windows_over_with_their_state() {
    let env = test_env_with("[chromium]\nmax_age = \"4s\"", Default::default()).await;
    let held = env.at_work("held", json!({})).await;
    let holding = hold(&env, &held).await;
    let idle = env.at_work("idle", json!({})).await;
    let mut events = env.client().events("/events").await;
    let moving = events.kind(EventKind::Moving, SOON).await;
    assert_eq!(moving.session_id, Some(idle.session_id), "{moving:?}");
    let has_moved = async |session: &Session| {
        wait_for("another browser", SOON, async || {
            let now = env.client().session(session).await;
            let elsewhere = now.shard.is_some() && now.shard != session.shard;
            expect_that(elsewhere && now.state == SessionState::Ready, now)
        })
        .await
    };
    has_moved(&idle).await;
    assert_eq!(env.read(&idle).await, brought_back("idle"));
    let now = env.client().session(&held).await;
    assert_eq!((now.shard, now.state), (held.shard.clone(), SessionState::Ready));
    assert_eq!(env.read(&held).await.counter, 1, "its page is another");
    give_back(&env, &held, &holding).await;
    has_moved(&held).await;
    assert_eq!(env.read(&held).await, brought_back("held"));
    env.each_signed_in_once();
}

#[tokio::test]
async fn sessions_without_a_window_are_listed_shown_and_counted() {
    let env = test_env().await;
    let session = env.at_work("acme", json!({ "name": "put-away" })).await;
    env.order(&session, "/hibernate").await;
    let listed = env.server.command(&["list"], "").await.expect(0).stdout;
    let row = listed.lines().find(|line| line.contains("put-away")).unwrap_or_else(|| panic!("{listed}"));
    assert!(row.contains("hibernated") && row.contains(&env.workbench_url()), "{row}");
    assert!(!row.contains(" MB"), "it takes no memory: {row}");
    let shown = env.server.command(&["show", "put-away"], "").await.expect(0).stdout;
    let value = |field: &str| {
        let line = shown.lines().find(|line| line.starts_with(field)).unwrap_or_else(|| panic!("{shown}"));
        line.trim_start_matches(field).trim().to_owned()
    };
    assert_eq!(
        (value("state"), value("shard"), value("memory")),
        ("hibernated".into(), "-".into(), "-".into())
    );
    assert!(value("stored").ends_with(" kB"), "{shown}");
    let metrics = metrics(&env).await;
    for line in [
        "pilotlight_sessions{state=\"hibernated\"} 1",
        "pilotlight_sessions{state=\"ready\"} 0",
        "pilotlight_browsers 0",
        "pilotlight_store_healthy 1",
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line} is missing: {metrics}");
    }
}
