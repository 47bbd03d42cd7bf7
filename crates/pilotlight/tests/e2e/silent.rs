//! Clients that are connected and send nothing: their windows freeze, their sessions stay signed in, and they go on as if
//! nothing had been.
//!
//! In the ordinary run real clients are silent for a short while; `PILOTLIGHT_SILENT_SECONDS=600` makes it ten minutes,
//! with a portal that signs out after one.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use pilotlight_api::{EventKind, Session, SessionState};
use pilotlight_testkit::harness::{DevTools, Role, expect_that, wait_for};
use pilotlight_testkit::portal::PortalOptions;
use serde_json::{Value, json};

use crate::clients::{cdp_url, run_within, server_url, session_url};
use crate::support::{SOON, TestEnv, account, path, test_env_with, with};

/// Who is signed in.
const USER: &str = "document.querySelector('#user').textContent";
const SHORT: Duration = Duration::from_secs(40);
/// Soon silent, and soon frozen.
const CONFIG: &str = "[sessions]\nclient_idle_after = \"2s\"\nfreeze_after = \"2s\"";

/// For how long clients are silent.
fn silence() -> Duration {
    let seconds = std::env::var("PILOTLIGHT_SILENT_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    seconds.map_or(SHORT, Duration::from_secs)
}

fn portal() -> PortalOptions {
    PortalOptions { session_timeout: silence().min(4 * SHORT) * 3 / 8, ..PortalOptions::default() }
}

/// An account that is refreshed often enough.
fn often(user: &str) -> Value {
    with(account(user), json!({ "refresh_interval": portal().session_timeout.as_secs() / 3 }))
}

/// Waits until the session's only client counts as silent and its window is frozen.
async fn freezes_beside_its_client(env: &TestEnv, session: &Session) {
    wait_for("a frozen window", 2 * SOON, async || {
        let now = env.client().session(session).await;
        let is_silent = now.clients.len() == 1 && now.clients[0].silent_since.is_some();
        expect_that(now.state == SessionState::Frozen && is_silent && !now.in_use, now)
    })
    .await;
}

#[tokio::test]
async fn the_window_of_a_silent_client_freezes_and_runs_again_for_its_next_message() {
    let env = test_env_with(CONFIG, portal()).await;
    let session = env.client().create(&often("silent")).await;
    let url = session.cdp_url.as_deref().unwrap();
    let mut client = DevTools::connect(url, Some(env.client().token())).await.unwrap();
    let page = client.first_page().await;
    client.evaluate(&page, "globalThis.kept = 'here'").await;
    let now = env.client().session(&session).await;
    assert!(now.in_use && now.clients.len() == 1 && now.clients[0].silent_since.is_none(), "{now:?}");
    for _ in 0..3 {
        freezes_beside_its_client(&env, &session).await;
        assert_eq!(client.evaluate(&page, "globalThis.kept").await, "here");
        let now = env.client().session(&session).await;
        assert!(now.in_use && now.state == SessionState::Ready, "{now:?}");
    }
    drop(client);
    env.is_free(&session).await;
    assert_eq!(env.client().session(&session).await.clients, []);
}

#[tokio::test]
async fn a_client_that_waits_for_an_answer_is_not_silent() {
    let env = test_env_with(CONFIG, portal()).await;
    let session = env.client().create(&often("waits")).await;
    let url = session.cdp_url.as_deref().unwrap();
    let mut client = DevTools::connect(url, Some(env.client().token())).await.unwrap();
    let page = client.first_page().await;
    let wait = "new Promise((done) => setTimeout(() => done('at last'), 15000))";
    assert_eq!(client.evaluate(&page, wait).await, "at last");
    freezes_beside_its_client(&env, &session).await;
}

#[tokio::test]
async fn playwright_puppeteer_and_selenium_are_silent_and_go_on() {
    let env = test_env_with(CONFIG, portal()).await;
    let seconds = silence().as_secs().to_string();
    let works = ["playwright", "puppeteer", "selenium"].map(async |name| {
        let session = env.client().create(&often(name)).await;
        let [url, key] = match name {
            "playwright" => session_url(&env, &session),
            "puppeteer" => cdp_url(&env, &session),
            _ => server_url(&env, &session),
        };
        let (script, folder) = (format!("silent_{name}.js"), tempfile::tempdir().unwrap());
        let arguments = [&*url, &*key, &*seconds];
        let working = run_within(silence() + 4 * SOON, Path::new("node"), &script, &arguments, folder.path());
        let ((), ()) = tokio::join!(working, freezes_beside_its_client(&env, &session));
        env.is_free(&session).await;
        assert_eq!(env.client().evaluate(&session, USER).await, name);
    });
    join_all(works).await;
    env.each_signed_in_once();
}

#[tokio::test]
async fn what_the_portal_changed_beside_a_frozen_window_outlives_its_browser() {
    let env = test_env_with(CONFIG, PortalOptions { rotates_cookie: true, ..portal() }).await;
    let session = env.client().create(&often("kept")).await;
    let url = session.cdp_url.as_deref().unwrap();
    let mut client = DevTools::connect(url, Some(env.client().token())).await.unwrap();
    client.first_page().await;
    freezes_beside_its_client(&env, &session).await;
    let frozen = env.client().session(&session).await;
    // Twice beside the frozen window: what was saved before it froze is worth nothing to the portal by then.
    let mut events = env.client().events(&path(&session, "/events")).await;
    for _ in 0..2 {
        let refreshed = events.kind(EventKind::Refreshed, SOON).await;
        assert_eq!(refreshed.state, Some(SessionState::Frozen));
    }
    assert_eq!(env.client().session(&session).await.last_used, frozen.last_used);
    for browser in env.server.processes().iter().filter(|process| process.role() == Role::Browser) {
        browser.kill();
    }
    drop(client);
    env.is_free(&session).await;
    env.reaches(&session, SessionState::Ready).await;
    assert_eq!(env.client().evaluate(&session, USER).await, "kept");
    env.each_signed_in_once();
}
