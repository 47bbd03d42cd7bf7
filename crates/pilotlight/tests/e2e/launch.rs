//! Profiles, engines, isolation, proxies: how browsers are started, and as whom.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::Html;
use axum::routing::get;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pilotlight_testkit::harness::{ProxyOptions, Role, Server, TestProxy, expect_that, wait_for};
use pilotlight_testkit::portal::{Portal, PortalOptions, example_site};
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::{Display, SOON, TestEnv, account, options, path, test_env, test_env_with, with};

const USER: &str = "document.querySelector('#user').textContent";
/// A picture of one grey pixel.
const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==";

/// A page with a picture, which counts how often the picture is asked for.
async fn picture_page() -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&asked);
    let pixel = BASE64_STANDARD.decode(PIXEL).unwrap();
    let picture = get(move || async move {
        counter.fetch_add(1, Ordering::Relaxed);
        ([(CONTENT_TYPE, "image/png")], pixel)
    });
    let page = get(|| async { Html("<!doctype html><title>Picture</title><img src=/pixel.png>") });
    let router = Router::new().route("/", page).route("/pixel.png", picture);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

#[tokio::test]
async fn every_profile_signs_in_and_only_lean_ones_leave_pictures_out() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let own = "[profiles.small]\nbase = \"dense\"\nimages = false\nwindow_size = \"640x480\"";
    let server = Server::start(options().config(own).site("portal", portal.site())).await;
    let env = TestEnv { server, portal };
    let (url, asked) = picture_page().await;
    // A sign-in flow may set a size of its own; a plain window has the profile's.
    let small = env.window("plain", json!({ "profile": "small" })).await;
    assert_eq!(env.client().evaluate(&small, "innerWidth").await, 640);
    for (profile, has_pictures) in
        [("dense", true), ("conservative", true), ("moderate", true), ("aggressive", false), ("small", false)]
    {
        let body = with(account(profile), json!({ "profile": profile }));
        let session = env.client().create(&body).await;
        assert_eq!(session.profile, profile);
        assert_eq!(env.client().evaluate(&session, USER).await, profile);
        let before = asked.load(Ordering::Relaxed);
        env.client().post(&path(&session, "/navigate"), &json!({ "url": url })).await.expect(200);
        let width = env.client().evaluate(&session, "document.images[0].naturalWidth").await;
        assert_eq!(width == 1, has_pictures, "{profile}: {width}");
        assert_eq!(asked.load(Ordering::Relaxed) > before, has_pictures, "{profile}");
        env.client().delete(&path(&session, "")).await.expect(200);
    }
}

#[tokio::test]
async fn a_dedicated_session_has_a_browser_of_its_own() {
    let env = test_env().await;
    let dedicated = json!({ "isolation": "dedicated" });
    let first = env.client().create(&with(account("first"), dedicated.clone())).await;
    let second = env.client().create(&with(account("second"), dedicated)).await;
    let shared = env.sign_in("shared").await;
    assert_eq!(json!(first.isolation), "dedicated");
    let browsers = || env.server.processes().into_iter().filter(|one| one.role() == Role::Browser).count();
    assert_eq!(browsers(), 3);
    assert!(first.shard != second.shard && second.shard != shared.shard && first.shard != shared.shard);
    for (session, user) in [(&first, "first"), (&second, "second"), (&shared, "shared")] {
        assert_eq!(env.client().evaluate(session, USER).await, user);
    }
    // Its browser goes with it.
    env.client().delete(&path(&first, "")).await.expect(200);
    wait_for("two browsers", SOON, async || expect_that(browsers() == 2, browsers())).await;
}

#[tokio::test]
async fn a_browser_holds_so_many_windows_and_no_more() {
    let env = test_env_with("[limits]\nwindows_per_browser = 2", PortalOptions::default()).await;
    let mut shards = Vec::new();
    for name in ["a", "b", "c"] {
        shards.push(env.window(name, json!({})).await.shard);
    }
    assert!(shards[0] == shards[1] && shards[1] != shards[2], "{shards:?}");
    let fourth = env.window("d", json!({})).await;
    assert_eq!(fourth.shard, shards[2], "a place that is free is taken");
}

#[tokio::test]
async fn each_session_has_its_own_proxy_with_its_password() {
    const PASSWORD: &str = "swordfish-swordfish";
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let upstream = portal.url().trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    let authorization = format!("Basic {}", BASE64_STANDARD.encode(format!("acme:{PASSWORD}")));
    let proxy = TestProxy::start(ProxyOptions { upstream, authorization }).await;
    // A name that cannot be resolved: it is only reachable through the proxy.
    let site = example_site("http://harbour-gate.test");
    let server = Server::start(options().site("portal", site)).await;
    let env = TestEnv { server, portal };
    let with_proxy = |password: &str| {
        let proxy = json!({ "server": proxy.url(), "username": "acme", "password": password });
        with(account("acme"), json!({ "proxy": proxy }))
    };
    let answer = env.client().post("/sessions", &account("direct")).await;
    assert_eq!(answer.refusal(), (502, "portal_unreachable"), "{}", answer.body);
    assert_eq!(proxy.served(), 0);
    let answer = env.client().post("/sessions", &with_proxy("wrong-wrong")).await;
    assert!(answer.status >= 400 && proxy.refused() > 0 && proxy.served() == 0, "{}", answer.body);

    let session = env.client().create(&with_proxy(PASSWORD)).await;
    assert_eq!(env.client().evaluate(&session, USER).await, "acme");
    assert!(proxy.served() > 0);
    let commands: Vec<_> = env.server.processes().into_iter().map(|process| process.command).collect();
    let told = format!("{commands:?}{}{}", env.server.log(), json!(env.client().sessions().await));
    assert!(!told.contains(PASSWORD), "the proxy's password is told to others");
}

#[tokio::test]
async fn browsers_run_in_their_sandbox_and_never_as_root() {
    let env = test_env().await;
    env.sign_in("acme").await;
    let browsers: Vec<_> =
        env.server.processes().into_iter().filter(|process| process.role() != Role::Other).collect();
    assert!(browsers.len() > 1, "{browsers:#?}");
    for process in &browsers {
        assert_ne!(process.user_id(), Some(0), "{process:?} runs as root");
        let line = process.command.join(" ");
        for unsafe_switch in
            ["--no-sandbox", "--disable-web-security", "--single-process", "--remote-debugging-port"]
        {
            assert!(!line.contains(unsafe_switch), "{line}");
        }
        assert!(!line.contains("let-me-in"), "a password is on a command line");
    }
}

#[tokio::test]
async fn full_chromium_serves_too() {
    for (engine, display) in [("headless", None), ("headed", Some(Display::start().await))] {
        let portal = Portal::start(PortalOptions::default()).await.unwrap();
        let config = format!("[chromium]\nengine = \"{engine}\"");
        let mut options = options().config(&config).site("portal", portal.site());
        if let Some(display) = &display {
            options = options.environment("DISPLAY", display.name());
        }
        let env = TestEnv { server: Server::start(options).await, portal };
        let session = env.sign_in(engine).await;
        assert_eq!(env.client().evaluate(&session, USER).await, engine);
        let agent = env.client().evaluate(&session, "navigator.userAgent").await;
        assert_eq!(agent.as_str().unwrap().contains("Headless"), engine == "headless", "{agent}");
        let other = env.sign_in("other").await;
        assert_eq!(env.client().evaluate(&other, USER).await, "other");
        assert_eq!(env.client().evaluate(&session, USER).await, engine, "they share no cookies");
    }
}
