//! What lies on the disk: sealed, guarded by its key, and of use to others only where it is asked for.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use pilotlight_api::SessionState;
use pilotlight_testkit::harness::{Server, expect_that, wait_for};
use pilotlight_testkit::portal::{Portal, PortalOptions, Work};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::chaos::work::brought_back;
use crate::support::{SOON, TestEnv, account, options, path, test_env, with};

/// What must not be seen anywhere. No word of it is in anything else.
const PASSWORD: &str = "xq7-geheim-ZULU";
const VALUE: &str = "kv3-paroli-OSCAR";

/// Every file below a folder.
fn files_below(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files_below(&path));
        } else if let Ok(bytes) = fs::read(&path) {
            found.push((path, bytes));
        }
    }
    found
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

/// The session's cookie at the portal, as a client that asks for it gets it.
fn session_cookie(storage_state: &Value) -> &Value {
    let cookies = storage_state["cookies"].as_array().expect("cookies");
    let cookie = cookies.iter().find(|cookie| cookie["name"] == "portal_session");
    cookie.unwrap_or_else(|| panic!("no cookie of the session: {storage_state}"))
}

#[tokio::test]
async fn no_password_no_cookie_and_no_stored_value_lies_in_a_file() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    assert!(portal.set_password("carol", PASSWORD));
    let server = Server::start(options().site("portal", portal.site())).await;
    let mut env = TestEnv { server, portal };
    let session = env.at_work("carol", json!({ "password": PASSWORD })).await;
    env.write(&session, VALUE).await;
    let state = env.client().get(&path(&session, "/storage_state")).await.expect(200).body;
    let cookie = session_cookie(&state)["value"].as_str().unwrap().to_owned();
    assert!(cookie.len() > 16, "{cookie}");
    let nothing_is_seen = |env: &TestEnv, moment: &str| {
        let files = files_below(&env.server.state_dir());
        assert!(files.iter().any(|(path, _)| path.ends_with("pilotlight.db")), "no store: {moment}");
        for (path, bytes) in files {
            for secret in [PASSWORD, VALUE, &cookie] {
                assert!(!contains(&bytes, secret), "{secret} is in {}: {moment}", path.display());
            }
        }
    };
    nothing_is_seen(&env, "with a window");
    env.order(&session, "/hibernate").await;
    nothing_is_seen(&env, "put away");
    env.order(&session, "/wake").await;
    assert_eq!(env.server.terminate().await, 0);
    nothing_is_seen(&env, "without a server");
    let (env, _) = env.start_again().await;
    assert_eq!(env.read(&session).await, brought_back(VALUE), "and yet all of it is there");
    nothing_is_seen(&env, "after a start");
    let log = env.server.log();
    assert!([PASSWORD, VALUE, &cookie].iter().all(|secret| !log.contains(secret)), "the log tells it");
}

#[tokio::test]
async fn with_a_wrong_or_missing_key_it_does_not_start_and_changes_nothing() {
    let mut env = test_env().await;
    let session = env.at_work("acme", json!({})).await;
    assert_eq!(env.server.terminate().await, 0);
    let state_dir = env.server.state_dir();
    let (key_file, store) = (state_dir.join("master.key"), state_dir.join("pilotlight.db"));
    let (key, stored) = (fs::read(&key_file).unwrap(), fs::read(&store).unwrap());
    // One key is another server's, one is cut, one is none.
    let other = Server::start(options()).await;
    let foreign = fs::read(other.state_dir().join("master.key")).unwrap();
    assert_ne!(foreign, key);
    let put = |content: &[u8]| {
        let mut key_file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&key_file);
        key_file.as_mut().unwrap().write_all(content).unwrap();
    };
    for wrong in [Some(foreign.as_slice()), Some(&key[..key.len() / 2]), Some(b""), None] {
        match wrong {
            Some(wrong) => put(wrong),
            None => fs::remove_file(&key_file).unwrap(),
        }
        let finished = env.server.command(&["serve"], "").await.expect(78);
        let errors: Vec<_> = finished.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(errors.len() == 1 && errors[0].contains("key"), "{finished:?}");
        assert!(finished.stderr.contains("hint: ") && !finished.stderr.contains("panicked"), "{finished:?}");
        assert_eq!(fs::read(&key_file).ok().as_deref(), wrong, "the key was touched");
        assert!(fs::read(&store).unwrap() == stored, "the store was touched");
    }
    put(&key);
    let (env, _) = env.start_again().await;
    env.reaches(&session, SessionState::Ready).await;
    // Its window was not touched either.
    assert_eq!(env.read(&session).await, Work::written("acme", 1));
    env.each_signed_in_once();
}

#[tokio::test]
async fn what_is_exported_signs_another_window_in() {
    let env = test_env().await;
    let session = env.at_work("acme", json!({})).await;
    let state = env.client().get(&path(&session, "/storage_state")).await.expect(200).body;
    // In Playwright's words.
    let cookie = session_cookie(&state);
    assert_eq!((&cookie["domain"], &cookie["path"]), (&json!("127.0.0.1"), &json!("/")));
    let attributes = (&cookie["httpOnly"], &cookie["sameSite"], &cookie["expires"]);
    assert_eq!(attributes, (&json!(true), &json!("Lax"), &json!(-1)));
    let origin = env.portal.url().trim_end_matches('/').to_owned();
    let origins = state["origins"].as_array().expect("origins");
    let own = origins.iter().find(|one| one["origin"] == origin.as_str());
    let own = own.unwrap_or_else(|| panic!("nothing of {origin}: {state}"));
    let entries = own["localStorage"].as_array().expect("localStorage");
    assert!(entries.contains(&json!({ "name": "workbench", "value": "acme" })), "{entries:?}");
    assert_eq!(own["indexedDB"][0]["name"], "workbench", "{own}");

    let body = json!({ "name": "copy", "url": env.workbench_url(), "storage_state": state });
    let copy = env.client().create(&body).await;
    let work = env.read(&copy).await;
    // It is another page: what a page has by itself is its own.
    let new_page = Work {
        session_storage: None,
        note: String::new(),
        remarks: String::new(),
        terminal: "Pier T".to_owned(),
        urgent: false,
        scroll_px: 0,
        ..brought_back("acme")
    };
    assert_eq!(work, new_page);
    env.each_signed_in_once();
}

#[tokio::test]
async fn what_is_no_state_is_refused_by_its_field_and_leaves_nothing() {
    let env = test_env().await;
    for wrong in [
        json!("cookies"),
        json!({ "cookies": "none" }),
        json!({ "cookies": [{ "name": "a" }], "origins": [] }),
        json!({ "cookies": [], "origins": [{ "origin": "no origin", "localStorage": [] }] }),
    ] {
        let body = with(account("acme"), json!({ "storage_state": wrong }));
        let answer = env.client().post("/sessions", &body).await;
        assert!([400, 422].contains(&answer.status), "{wrong}: {}", answer.body);
        assert!(answer.body["error"].as_str().unwrap().contains("storage_state"), "{}", answer.body);
    }
    assert!(env.client().sessions().await.is_empty());
    assert_eq!(env.portal.total_sign_ins(), 0);
}

/// Copies of the store beside it.
fn copies(state_dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(state_dir).unwrap().map(|entry| entry.unwrap().path());
    let is_copy = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("backup-");
    entries.filter(is_copy).collect()
}

/// Sends a request, and goes away without its answer.
async fn ask_and_leave(env: &TestEnv, method: &str, target: &str, length: usize, body: &str) {
    let (address, token) = (env.server.address(), env.client().token());
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let mut stream = TcpStream::connect(address.to_string()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_copy_whose_client_has_left_is_not_left_behind() {
    let mut env = test_env().await;
    let state_dir = env.server.state_dir();
    for _ in 0..20 {
        ask_and_leave(&env, "GET", "/store/backup", 0, "").await;
    }
    // Copies are made one after the other.
    env.client().get("/store/backup").await.expect(200);
    wait_for("the end of all copies", SOON, async || {
        let copies = copies(&state_dir);
        expect_that(copies.is_empty(), copies)
    })
    .await;
    // A server that was killed had no time to remove one.
    env.server.kill_server();
    fs::write(state_dir.join("backup-0192d3a4-5b6c-7d8e-9f00-112233445566.new"), "half").unwrap();
    fs::write(state_dir.join("backup-of-mine"), "not ours").unwrap();
    env = TestEnv { server: env.server.start_again().await, portal: env.portal };
    assert_eq!(copies(&state_dir), [state_dir.join("backup-of-mine")]);
    drop(env);
}

#[tokio::test]
async fn a_file_that_is_not_sent_to_its_end_is_not_kept() {
    let env = test_env().await;
    let session = env.window("w", json!({})).await;
    let target = path(&session, "/files/half.txt");
    let uploads = env.server.state_dir().join(format!("files/{}/u", session.session_id));
    for _ in 0..10 {
        ask_and_leave(&env, "PUT", &target, 1000, "half").await;
    }
    let whole = env.client().request(Method::PUT, &path(&session, "/files/whole.txt")).body("whole");
    let sent = env.client().send(whole).await.expect(201).body;
    assert_eq!(fs::read_to_string(sent["path"].as_str().unwrap()).unwrap(), "whole");
    wait_for("the end of what was not sent", SOON, async || {
        let left = files_below(&uploads);
        expect_that(left.len() == 1 && left[0].1 == b"whole", left)
    })
    .await;
    assert_eq!(fs::read_dir(&uploads).unwrap().count(), 1);
}
