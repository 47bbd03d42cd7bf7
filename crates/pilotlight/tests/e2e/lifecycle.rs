//! How a server comes up, does not come up, and goes down.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use pilotlight_testkit::harness::{Finished, Role, Server, run, wait_for, wait_until_gone};
use pilotlight_testkit::portal::{Portal, PortalOptions};
use serde_json::{Value, json};

use crate::support::{SOON, TestEnv, account, options, path, test_env, test_env_with};

const BINARY: &str = env!("CARGO_BIN_EXE_pilotlight");

/// Runs `pilotlight serve` with a configuration that it cannot start with.
async fn serve(folder: &Path, config: &str) -> Finished {
    fs::write(folder.join("pilotlight.toml"), config).unwrap();
    let finished = run(Path::new(BINARY), folder, &["serve"], &[], "").await;
    assert!(finished.stderr.contains("error: ") && finished.stderr.contains("hint: "), "{finished:?}");
    assert!(!finished.stderr.contains("panicked"), "{finished:?}");
    finished
}

fn config(more: &str) -> String {
    format!("[server]\nlisten = \"127.0.0.1:0\"\nstate_dir = \"state\"\n{more}\n")
}

#[tokio::test]
async fn with_every_session_closed_it_leaves_no_process_and_no_folder() {
    let mut env = test_env().await;
    let sessions = [env.sign_in("acme").await, env.window("b", json!({ "isolation": "dedicated" })).await];
    // A client follows the events all the time, and does not prevent the server from stopping.
    let _events = env.client().events("/events").await;
    let processes = env.server.processes();
    assert!(processes.iter().any(|process| process.role() == Role::Browser), "{processes:#?}");
    for session in &sessions {
        env.client().delete(&path(session, "")).await.expect(200);
    }
    assert_eq!(env.server.terminate().await, 0);
    let left: Vec<_> = processes.iter().filter(|process| process.is_alive()).collect();
    assert!(left.is_empty(), "still there: {left:#?}");
    let run_dir: Vec<_> = fs::read_dir(env.server.run_dir()).unwrap().collect();
    assert!(run_dir.is_empty(), "left behind: {run_dir:?}");
}

#[tokio::test]
async fn asked_to_end_while_somebody_signs_in_it_ends() {
    let portal = PortalOptions { sign_in_delay: Duration::from_secs(60), ..PortalOptions::default() };
    let mut env = test_env_with("", portal).await;
    let client = env.client().clone();
    let request = tokio::spawn(async move {
        let request = client.request("POST".parse().unwrap(), "/sessions").json(&account("acme"));
        request.send().await.map(|answer| answer.status().as_u16())
    });
    wait_for("the sign-in to be sent", SOON, async || match env.portal.counts("acme").signing_in_peak {
        0 => Err("not yet"),
        _ => Ok(()),
    })
    .await;
    let processes = env.server.processes();
    assert_eq!(env.server.terminate().await, 0);
    wait_until_gone(&processes, SOON).await;
    // It is told that it will not be, or finds the connection closed.
    assert!(!request.await.unwrap().is_ok_and(|status| status < 400));
}

#[tokio::test]
async fn an_address_or_a_state_folder_in_use_is_said() {
    let first = Server::start(options()).await;
    let folder = tempfile::tempdir().unwrap();
    let taken = first.address();
    let config = format!("[server]\nlisten = \"{taken}\"\nstate_dir = \"state\"\n");
    let finished = serve(folder.path(), &config).await.expect(1);
    assert!(finished.stderr.contains(&taken), "{finished:?}");

    let state_dir = first.state_dir();
    let config = format!("[server]\nlisten = \"127.0.0.1:0\"\nstate_dir = {state_dir:?}\n");
    let finished = serve(folder.path(), &config).await.expect(78);
    assert!(finished.stderr.contains("another server"), "{finished:?}");
    assert_eq!(first.client().get("/health").await.status, 200, "the first goes on");
}

#[tokio::test]
async fn a_state_folder_that_cannot_be_written_is_said() {
    let folder = tempfile::tempdir().unwrap();
    // A file in its way stops root too, whom no permission stops.
    fs::write(folder.path().join("state"), "").unwrap();
    let finished = serve(folder.path(), &config("")).await.expect(78);
    assert!(finished.stderr.contains("state"), "{finished:?}");
}

#[tokio::test]
async fn a_missing_old_or_broken_browser_is_said() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let named = |name: &str| folder.path().join(name).join("chrome-headless-shell");
    let program = |name: &str, script: &str| {
        let file = named(name);
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        file
    };
    let old = program("old", "echo Chromium 79.0.3945.0");
    let broken = program("broken", "echo no such library >&2; exit 127");
    let missing = named("missing");
    for (binary, says) in [(&old, "79"), (&broken, "failed: "), (&missing, "missing")] {
        let more = format!("[chromium]\nbinary = {binary:?}\n");
        let finished = serve(folder.path(), &config(&more)).await.expect(78);
        assert!(finished.stderr.contains(says), "{binary:?}: {finished:?}");
    }
}

#[tokio::test]
async fn unsafe_switches_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    for switch in
        ["--no-sandbox", "--disable-web-security", "--single-process", "--remote-debugging-port=9222"]
    {
        let more = format!("[chromium]\nextra_args = [\"{switch}\"]\n");
        let finished = serve(folder.path(), &config(&more)).await.expect(78);
        assert!(finished.stderr.contains(switch), "{finished:?}");
    }
}

#[tokio::test]
async fn every_mistake_of_a_configuration_is_told_at_once_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("sites")).unwrap();
    fs::write(
        folder.path().join("sites/broken.toml"),
        "start_url = \"http://a.test/\"\nsign_on = \"x.json\"\n",
    )
    .unwrap();
    let finished =
        serve(folder.path(), &config("[limits]\nmax_live = \"many\"\nmax_sesions = 5\n")).await.expect(78);
    for told in
        ["pilotlight.toml:5", "max_live", "pilotlight.toml:6", "max_sessions", "broken.toml:2", "sign_in"]
    {
        assert!(finished.stderr.contains(told), "{told} is missing: {}", finished.stderr);
    }
    let checked =
        run(Path::new(BINARY), folder.path(), &["check-config", "-o", "json"], &[], "").await.expect(78);
    let problems = checked.json()["problems"].as_array().unwrap().len();
    assert_eq!(problems, 3, "{checked:?}");
}

#[tokio::test]
async fn the_served_description_is_the_committed_one() {
    let server = Server::start(options()).await;
    let served = server.client().get("/openapi.json").await.expect(200);
    let committed =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi.json")).unwrap();
    assert_eq!(String::from_utf8(served.bytes).unwrap(), committed);
    let document: Value = serde_json::from_str(&committed).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for route in
        ["/sessions", "/sessions/{id}", "/ping_session/{id}", "/sessions/{id}/hold", "/health", "/events"]
    {
        assert!(document["paths"][route].is_object(), "{route} is not described");
    }
}

#[tokio::test]
async fn a_server_starts_again_where_another_was_killed() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let mut env = TestEnv { server: Server::start(options().site("portal", portal.site())).await, portal };
    let session = env.sign_in("acme").await;
    env.server.kill_server();
    let token = env.client().token().to_owned();
    let TestEnv { server, portal } = env;
    let server = server.start_again().await;
    assert_eq!(server.client().token(), token, "the token stays");
    let env = TestEnv { server, portal };
    let again = env.client().post("/sessions", &account("acme")).await.expect(200).session();
    assert_eq!(again.session_id, session.session_id, "it is the same session");
}
