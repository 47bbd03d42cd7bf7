//! Invariant 7, secrets stay inside, and invariant 8, Chromium stays in its sandbox.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pilotlight_testkit::harness::{Answer, Process, ProxyOptions, Role, Server, TestProxy};
use pilotlight_testkit::portal::{Portal, PortalOptions};
use serde_json::json;

use crate::support::{TestEnv, account, options, path, test_env, with};

/// What must not be seen anywhere. No word of it is in anything else.
const PASSWORD: &str = "xq7-geheim-ZULU";
const PROXY_PASSWORD: &str = "kv3-paroli-OSCAR";

/// Every file below a folder, as text.
fn files_below(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else if let Ok(bytes) = fs::read(&path) {
            found.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    found
}

#[tokio::test]
async fn invariant_7_secrets_are_never_logged_returned_stored_or_on_a_command_line() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    assert!(portal.set_password("carol", PASSWORD));
    let upstream = portal.url().trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    let authorization = format!("Basic {}", BASE64_STANDARD.encode(format!("carol:{PROXY_PASSWORD}")));
    let proxy = TestProxy::start(ProxyOptions { upstream, authorization }).await;
    let server = options().environment("PILOTLIGHT_LOG", "trace").site("portal", portal.site());
    let env = TestEnv { server: Server::start(server).await, portal };
    let client = env.client();

    let proxied = json!({"server": proxy.url(), "username": "carol", "password": PROXY_PASSWORD, "bypass": "<-loopback>"});
    let body = with(account("carol"), json!({ "password": PASSWORD, "proxy": proxied }));
    let session = client.create(&body).await;
    let wrong = with(account("carol"), json!({ "password": format!("{PASSWORD}-wrong") }));
    let text = |answer: Answer| String::from_utf8_lossy(&answer.bytes).into_owned();
    let mut said = vec![
        ("a refused sign-in".to_owned(), text(client.post("/sessions", &wrong).await.expect(401))),
        ("the session".to_owned(), text(client.get(&path(&session, "")).await.expect(200))),
        ("the list".to_owned(), text(client.get("/sessions").await.expect(200))),
        ("the site".to_owned(), text(client.get("/sites/portal").await.expect(200))),
        ("the metrics".to_owned(), text(client.get("/metrics").await.expect(200))),
    ];
    let processes = env.server.processes();
    assert!(processes.iter().any(|process| process.role() == Role::Renderer), "{processes:?}");
    said.extend(processes.iter().map(|process| (format!("{process:?}"), process.command.join(" "))));
    said.push(("the log".to_owned(), env.server.log()));
    said.extend(files_below(env.server.folder()));
    for (place, text) in said {
        for secret in [PASSWORD, PROXY_PASSWORD] {
            assert!(!text.contains(secret), "a password is in {place}");
        }
        let token = place.ends_with("/token") || !text.contains(client.token());
        assert!(token, "the token is in {place}");
    }
}

/// What the kernel says of a process: a line of `/proc/<id>/status`.
fn status(process: &Process, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id)).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap().split_whitespace().next().unwrap().to_owned()
}

#[tokio::test]
async fn invariant_8_chromium_is_unprivileged_and_its_renderers_are_sandboxed() {
    let env = test_env().await;
    env.sign_in("carol").await;
    let processes = env.server.processes();
    let renderers: Vec<_> = processes.iter().filter(|process| process.role() == Role::Renderer).collect();
    assert!(!renderers.is_empty(), "{processes:?}");
    // The shim runs as the server's user; all processes of Chromium run as another user.
    for process in processes.iter().filter(|process| process.role() != Role::Other) {
        assert_ne!(process.user_id(), Some(0), "{process:?} runs as root");
        assert!(!process.command.iter().any(|word| word == "--no-sandbox"), "{process:?}");
    }
    for renderer in renderers {
        assert_eq!(status(renderer, "Seccomp"), "2", "{renderer:?} has no filter of system calls");
        assert_eq!(status(renderer, "NoNewPrivs"), "1", "{renderer:?}");
        assert_eq!(status(renderer, "CapEff"), "0000000000000000", "{renderer:?}");
    }
}
