//! What a power cut, a bad disk or a later version leaves of the server's own files: each costs what was in it and
//! nothing else, and is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pilotlight_api::{Health, HealthStatus, Session, SessionState};
use pilotlight_testkit::harness::{Server, expect_that, wait_for};
use pilotlight_testkit::portal::{Portal, PortalOptions};
use serde_json::{Value, json};

use crate::support::{SOON, options, path};

async fn health(server: &Server) -> Health {
    server.client().get("/health").await.expect(200).typed()
}

/// A page for plain windows, which lives as long as the portal.
async fn page() -> (Portal, String) {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let url = format!("{}login", portal.url());
    (portal, url)
}

fn window(url: &str, name: &str) -> Value {
    json!({ "url": url, "name": name })
}

/// Flips a bit in what is written down of a session. A sealed record begins with its mark, its kind and its id.
fn damage(store: &Path, session: &Session) {
    let mut bytes = fs::read(store).unwrap();
    let mark = [b"PLSR\x01\x01\x02".as_slice(), session.session_id.as_bytes()].concat();
    let at = bytes.windows(mark.len()).position(|window| window == mark).expect("the session's record");
    bytes[at + mark.len() + 150] ^= 1;
    fs::write(store, bytes).unwrap();
}

#[tokio::test]
async fn a_broken_site_file_costs_that_site_alone() {
    let mut server = Server::start(options()).await;
    let site = json!({ "start_url": "about:blank" });
    server.client().put("/sites/good", &json!({ "start_url": "http://127.0.0.1:9/" })).await.expect(200);
    assert_eq!(server.client().put("/sites/bad", &site).await.status, 422);
    server.client().put("/sites/bad", &json!({ "start_url": "http://127.0.0.1:9/" })).await.expect(200);
    let file = server.state_dir().join("sites/bad.toml");
    let whole = fs::read_to_string(&file).unwrap();
    let later = format!("{whole}\nof_a_later_version = 1\n");
    for broken in ["", &whole[..whole.len() / 2], "\0\0\0\0", &later] {
        assert_eq!(server.terminate().await, 0);
        fs::write(&file, broken).unwrap();
        server = server.start_again().await;
        let sites = server.client().get("/sites").await.expect(200).body;
        assert_eq!(sites["sites"], json!(["good"]), "{broken:?}");
        assert!(sites["broken"]["bad"].as_str().is_some_and(|problem| !problem.is_empty()), "{sites}");
        let told = server.client().get("/sites/bad").await;
        assert_eq!(told.refusal(), (404, "site_not_found"));
        assert!(told.body["error"].as_str().unwrap().contains("cannot be used"), "{}", told.body);
        let health = health(&server).await;
        assert_eq!(health.status, HealthStatus::Degraded);
        assert!(health.reasons.iter().any(|reason| reason.contains("site")), "{health:?}");
        assert!(server.log().contains("cannot be used"), "the log does not tell it");
    }
    server.command(&["check-config"], "").await.expect(0);
    // It can be defined anew, or removed, and then all is well.
    server.client().put("/sites/bad", &json!({ "start_url": "http://127.0.0.1:9/" })).await.expect(200);
    assert!(!health(&server).await.reasons.iter().any(|reason| reason.contains("site")));
    assert_eq!(server.terminate().await, 0);
    fs::write(&file, "").unwrap();
    server = server.start_again().await;
    server.client().delete("/sites/bad").await.expect(200);
    assert!(!file.exists());
    // What a person has written is the person's to correct.
    assert_eq!(server.terminate().await, 0);
    fs::create_dir_all(server.folder().join("sites")).unwrap();
    fs::write(server.folder().join("sites/own.toml"), "").unwrap();
    server.command(&["serve"], "").await.expect(78);
}

#[tokio::test]
async fn an_empty_token_is_made_anew_and_a_broken_key_is_not() {
    let mut server = Server::start(options()).await;
    let (_portal, url) = page().await;
    let session = server.client().create(&window(&url, "kept")).await;
    let (token, key) = (server.state_dir().join("token"), server.state_dir().join("master.key"));
    let before = fs::read_to_string(&token).unwrap();
    for empty in ["", "\n", "\0\0\0\0"] {
        assert_eq!(server.terminate().await, 0);
        fs::write(&token, empty.repeat(20)).unwrap();
        server = server.start_again().await;
        assert_ne!(fs::read_to_string(&token).unwrap(), before);
        assert_eq!(server.client().session(&session).await.name.as_deref(), Some("kept"));
        assert!(server.log().contains("creating a new token"), "nothing is said of it");
    }
    assert_eq!(server.terminate().await, 0);
    let whole = fs::read(&key).unwrap();
    for broken in [&b""[..], b"\0\0\0\0", &whole[..whole.len() / 2]] {
        fs::write(&key, broken).unwrap();
        let refused = server.command(&["serve"], "").await.expect(78);
        assert!(refused.stderr.contains("key") && refused.stderr.contains("hint: "), "{refused:?}");
        assert_eq!(fs::read(&key).unwrap(), broken);
    }
}

#[tokio::test]
async fn a_damaged_record_is_told_and_can_be_removed() {
    let mut server = Server::start(options()).await;
    let (_portal, url) = page().await;
    let whole = server.client().create(&window(&url, "whole")).await;
    let lost = server.client().create(&window(&url, "lost")).await;
    let store = server.state_dir().join("pilotlight.db");
    assert_eq!(server.terminate().await, 0);
    server.command(&["store", "check"], "").await.expect(0);
    damage(&store, &lost);
    server = server.start_again().await;
    assert_eq!(server.client().sessions().await.len(), 1);
    // It is not as if it had never been.
    for answer in
        [server.client().get(&path(&lost, "")).await, server.client().delete(&path(&lost, "")).await]
    {
        assert_eq!(answer.refusal(), (500, "record_damaged"));
    }
    let health = health(&server).await;
    assert_eq!(health.status, HealthStatus::Degraded);
    assert!(health.reasons.iter().any(|reason| reason.contains("store check")), "{health:?}");
    let metrics = String::from_utf8(server.client().get("/metrics").await.expect(200).bytes).unwrap();
    assert!(metrics.lines().any(|line| line == "pilotlight_store_damaged_records 1"), "{metrics}");
    // While the server has the store it is the server's.
    let taken = server.command(&["store", "check"], "").await.expect(75);
    assert!(taken.stderr.contains("stop the server first"), "{taken:?}");

    assert_eq!(server.terminate().await, 0);
    let refused = server.command(&["rotate-key"], "").await.expect(1);
    assert!(refused.stderr.contains("pilotlight store forget"), "{refused:?}");
    let id = lost.session_id.to_string();
    let listed = server.command(&["store", "check"], "").await.expect(1);
    assert!(listed.stdout.contains(&id) && listed.stdout.contains("session"), "{listed:?}");
    server.command(&["store", "forget", &whole.session_id.to_string()], "").await.expect(1);
    let export = server.folder().join("export");
    let exported = export.display().to_string();
    server.command(&["store", "forget", &id, "--export", &exported], "").await.expect(0);
    assert_eq!(fs::metadata(&export).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&export).unwrap().contains(&id));
    server.command(&["store", "check"], "").await.expect(0);
    server.command(&["rotate-key"], "").await.expect(0);
    server = server.start_again().await;
    assert_eq!(server.client().get(&path(&lost, "")).await.refusal(), (404, "session_not_found"));
    wait_for("the whole one", SOON, async || {
        let now = server.client().session(&whole).await;
        expect_that(now.state == SessionState::Ready, now)
    })
    .await;
}

#[tokio::test]
async fn a_copy_of_the_store_is_made_while_the_server_runs_and_brings_everything_back() {
    let mut server = Server::start(options()).await;
    let (_portal, url) = page().await;
    let kept = server.client().create(&window(&url, "kept")).await;
    let (running, stopped) = (server.folder().join("running.db"), server.folder().join("stopped.db"));
    server.command(&["store", "backup", &running.display().to_string()], "").await.expect(0);
    let later = server.client().create(&window(&url, "later")).await;
    assert_eq!(server.terminate().await, 0);
    server.command(&["store", "backup", &stopped.display().to_string()], "").await.expect(0);
    // Nothing is overwritten.
    server.command(&["store", "backup", &stopped.display().to_string()], "").await.expect(1);
    let store = server.state_dir().join("pilotlight.db");
    for (copy, sessions) in [(&running, vec![&kept]), (&stopped, vec![&kept, &later])] {
        assert_eq!(fs::metadata(copy).unwrap().permissions().mode() & 0o777, 0o600);
        fs::copy(copy, &store).unwrap();
        server = server.start_again().await;
        let mut found: Vec<_> = server.client().sessions().await.iter().map(|one| one.session_id).collect();
        found.sort();
        let mut wanted: Vec<_> = sessions.iter().map(|session| session.session_id).collect();
        wanted.sort();
        assert_eq!(found, wanted, "{}", copy.display());
        assert_eq!(server.terminate().await, 0);
    }
    // An empty file beside a key is what is left of a store, and no new one.
    fs::write(&store, "").unwrap();
    let refused = server.command(&["serve"], "").await.expect(1);
    assert!(refused.stderr.contains("it is empty") && refused.stderr.contains("backup"), "{refused:?}");
}
