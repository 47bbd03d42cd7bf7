//! Sessions are created by signing in, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use pilotlight_api::{EventKind, Session, SessionState};
use pilotlight_flow::Totp;
use pilotlight_testkit::harness::{Server, expect_that, wait_for};
use pilotlight_testkit::portal::{PASSWORD, Portal, PortalOptions, example_site};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::{SOON, TestEnv, account, nobody_there, options, path, test_env, test_env_with, with};

const USER: &str = "document.querySelector('#user').textContent";

#[tokio::test]
async fn a_sign_in_makes_a_session_and_the_same_again_gives_it() {
    let env = test_env().await;
    let request = with(account("acme"), json!({ "name": "acme-portal", "tags": { "team": "north" } }));
    let answer = env.client().post("/sessions", &request).await.expect(201);
    assert_eq!((&answer.body["success"], &answer.body["is_new"]), (&json!(true), &json!(true)));
    let session = answer.session();
    assert_eq!(session.state, SessionState::Ready, "{session:?}");
    assert_eq!(session.name.as_deref(), Some("acme-portal"));
    assert_eq!((session.site.as_deref(), session.username.as_deref()), (Some("portal"), Some("acme")));
    assert_eq!(session.url.as_deref(), Some(env.portal.url().as_str()));
    assert_eq!((session.title.as_deref(), session.tabs), (Some("Harbour Gate"), 1));
    assert_eq!((session.profile.as_str(), session.shard.is_some()), ("dense", true));
    assert!(session.keep_alive && !session.never_terminate && !session.in_use);
    assert_eq!((session.expires_at, session.ended_reason, session.attention.as_deref()), (None, None, None));
    assert_eq!(session.tags["team"], "north");
    assert_eq!(env.client().evaluate(&session, USER).await, "acme");

    for again in [account("acme"), request] {
        let answer = env.client().post("/sessions", &again).await.expect(200);
        assert_eq!(answer.body["is_new"], false);
        assert_eq!(answer.session().session_id, session.session_id);
    }
    assert_eq!(env.portal.sign_ins("acme"), 1);
    assert_eq!(env.client().sessions().await.len(), 1);

    let told = format!("{}{}", String::from_utf8_lossy(&answer.bytes), env.server.log());
    assert!(!told.contains(PASSWORD), "the password is told to others");
}

#[tokio::test]
async fn ten_equal_requests_at_once_share_one_sign_in() {
    let sign_in_delay = Duration::from_millis(300);
    let env = test_env_with("", PortalOptions { sign_in_delay, ..PortalOptions::default() }).await;
    let request = account("acme");
    let answers = join_all((0..10).map(|_| env.client().post("/sessions", &request))).await;
    let ids: Vec<_> = answers.iter().map(|answer| answer.session().session_id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![200; 9], vec![201]].concat());
    assert_eq!((env.portal.sign_ins("acme"), env.portal.counts("acme").signing_in_peak), (1, 1));
    assert_eq!(env.client().sessions().await.len(), 1);
}

#[tokio::test]
async fn a_wrong_password_leaves_nothing_behind() {
    let env = test_env().await;
    let wrong = with(account("acme"), json!({ "password": "hunter2-hunter2" }));
    let answer = env.client().post("/sessions", &wrong).await;
    assert_eq!(answer.refusal(), (401, "sign_in_failed"), "{}", answer.body);
    assert!(!answer.body.to_string().contains("hunter2") && !env.server.log().contains("hunter2"));
    assert!(env.client().sessions().await.is_empty());
    assert_eq!(env.client().get("/health").await.body["active_sessions"], 0);
    assert_eq!(env.portal.counts("acme").failed_sign_ins, 1, "it was tried again");

    // With the right one there is a session, and the wrong one neither gives it nor harms it.
    let session = env.sign_in("acme").await;
    let all = join_all((0..5).map(|_| env.client().post("/sessions", &wrong))).await;
    for answer in all {
        assert_eq!(answer.refusal(), (401, "sign_in_failed"), "{}", answer.body);
    }
    assert_eq!(env.portal.counts("acme").failed_sign_ins, 2, "equal requests fail together");
    assert_eq!(env.client().session(&session).await.state, SessionState::Ready);
    assert_eq!(env.client().sessions().await.len(), 1);
}

/// A sign-in that takes its time, seen from outside while it runs.
async fn slow_sign_in(env: &TestEnv) -> Session {
    wait_for("the sign-in to be sent", SOON, async || {
        let sessions = env.client().sessions().await;
        let is_sent = env.portal.counts("acme").signing_in_peak > 0;
        expect_that(is_sent && sessions.len() == 1, sessions)
    })
    .await
    .remove(0)
}

#[tokio::test]
async fn a_client_that_hangs_up_finds_its_session_when_it_comes_back() {
    let sign_in_delay = Duration::from_secs(2);
    let env = test_env_with("", PortalOptions { sign_in_delay, ..PortalOptions::default() }).await;
    let request = env.client().request(Method::POST, "/sessions").json(&account("acme"));
    let hangs_up = tokio::spawn(request.send());
    let under_way = slow_sign_in(&env).await;
    assert_eq!(under_way.state, SessionState::SigningIn);
    hangs_up.abort();
    assert!(hangs_up.await.is_err_and(|error| error.is_cancelled()));
    let answer = env.client().post("/sessions", &account("acme")).await;
    assert!([200, 201].contains(&answer.status), "{}", answer.body);
    assert_eq!(answer.session().session_id, under_way.session_id);
    assert_eq!(env.portal.sign_ins("acme"), 1);
}

#[tokio::test]
async fn a_session_can_be_closed_while_it_signs_in() {
    let sign_in_delay = Duration::from_secs(60);
    let env = test_env_with("", PortalOptions { sign_in_delay, ..PortalOptions::default() }).await;
    let client = env.client().clone();
    let waits = tokio::spawn(async move { client.post("/sessions", &account("acme")).await });
    let under_way = slow_sign_in(&env).await;
    env.client().delete(&path(&under_way, "")).await.expect(200);
    assert_eq!(waits.await.unwrap().refusal(), (410, "session_ended"));
    assert!(env.client().sessions().await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_signed_in_to_is_told_apart() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let away = example_site(&nobody_there());
    let server = Server::start(options().site("portal", portal.site()).site("away", away)).await;
    let env = TestEnv { server, portal };
    let create = async |body: Value| env.client().post("/sessions", &body).await;

    let answer = create(with(account("acme"), json!({ "site": "nowhere" }))).await;
    assert_eq!(answer.refusal(), (422, "unknown_site"), "{}", answer.body);
    assert!(answer.body["error"].as_str().unwrap().contains("nowhere"));

    let answer = create(with(account("acme"), json!({ "site": "away" }))).await;
    assert_eq!(answer.refusal(), (502, "portal_unreachable"), "{}", answer.body);

    env.portal.set_down(true);
    let answer = create(account("acme")).await;
    assert_eq!(answer.refusal(), (502, "portal_unreachable"), "{}", answer.body);

    let answer = create(json!({ "site": "portal", "username": "acme" })).await;
    assert_eq!(answer.refusal(), (422, "invalid_field"), "{}", answer.body);
    assert!(answer.body["error"].as_str().unwrap().contains("password"));
    assert!(env.client().sessions().await.is_empty());
}

#[tokio::test]
async fn a_captcha_waits_for_a_person_and_is_noticed_to_be_gone() {
    let portal = PortalOptions { captcha: true, ..PortalOptions::default() };
    let portal = Portal::start(portal).await.unwrap();
    let (hook, mut told) = webhook().await;
    let config = "[sessions]\nrefresh_check = \"1s\"";
    let options = options().config(config).server_config(&format!("webhook = \"{hook}\""));
    let server = Server::start(options.site("portal", portal.site())).await;
    let env = TestEnv { server, portal };
    let session = env.client().create(&account("acme")).await;
    assert_eq!(session.state, SessionState::NeedsAttention);
    assert!(session.attention.as_ref().is_some_and(|sentence| !sentence.is_empty()));
    assert_eq!((env.portal.sign_ins("acme"), env.portal.counts("acme").failed_sign_ins), (0, 0));
    assert_eq!(env.client().get("/health").await.body["status"], "degraded");

    let mut events = env.client().events(&path(&session, "/events?after=0")).await;
    let event = events.kind(EventKind::NeedsAttention, SOON).await;
    assert_eq!((&event.live_url, event.live_url.is_some()), (&session.live_url, true));
    // What a person would do.
    env.portal.set_captcha(false);
    let by_hand = format!(
        "document.querySelector('#username').value = 'acme'; \
         document.querySelector('#password').value = '{PASSWORD}'; document.forms[0].submit()"
    );
    env.client().evaluate(&session, &by_hand).await;
    let session = env.reaches(&session, SessionState::Ready).await;
    assert_eq!((session.attention.as_deref(), env.portal.sign_ins("acme")), (None, 1));
    assert_eq!(env.client().get("/health").await.body["status"], "healthy");

    for event in ["needs_attention", "attention_ended"] {
        let message = tokio::time::timeout(SOON, told.recv()).await.expect("a message in time").unwrap();
        assert_eq!(message["event"], event, "{message}");
        assert_eq!(message["session_id"], session.session_id.to_string());
        let picture = message["screenshot_url"].as_str().unwrap();
        assert!(picture.ends_with(&path(&session, "/screenshot")), "{message}");
        assert_eq!(message["live_url"].as_str(), session.live_url.as_deref());
    }
}

#[tokio::test]
async fn messages_to_the_webhook_are_signed_and_come_again_from_the_next_server() {
    let portal = PortalOptions { captcha: true, ..PortalOptions::default() };
    let portal = Portal::start(portal).await.unwrap();
    let (sender, mut told) = mpsc::channel(16);
    let strayed = Arc::new(AtomicBool::new(false));
    let (strays, redirected) = (Arc::clone(&strayed), Arc::new(AtomicBool::new(false)));
    let take = move |headers: HeaderMap, body: String| {
        let (sender, is_first) = (sender.clone(), !redirected.swap(true, Ordering::Relaxed));
        async move {
            if is_first {
                return Redirect::temporary("/elsewhere").into_response();
            }
            sender.send((headers, body)).await.unwrap();
            StatusCode::NO_CONTENT.into_response()
        }
    };
    let elsewhere = move || {
        strays.store(true, Ordering::Relaxed);
        async {}
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hook = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/hook", axum::routing::post(take));
    let router = router.route("/elsewhere", axum::routing::any(elsewhere));
    tokio::spawn(async move { axum::serve(listener, router).await });

    let secret = "a secret of sixteen bytes or more";
    let config = format!("webhook = \"{hook}\"\nwebhook_secret = \"{secret}\"");
    let server = Server::start(options().server_config(&config).site("portal", portal.site())).await;
    let session = server.client().create(&account("acme")).await;
    let mut ids = Vec::new();
    let mut server = Some(server);
    for _ in 0..2 {
        let message = tokio::time::timeout(SOON, told.recv()).await.expect("a message in time");
        let (headers, body) = message.unwrap();
        let [id, time, signature] = ["webhook-id", "webhook-timestamp", "webhook-signature"]
            .map(|name| headers[name].to_str().unwrap().to_owned());
        let mut keyed = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        keyed.update(format!("{id}.{time}.{body}").as_bytes());
        assert_eq!(signature, format!("v1,{}", BASE64_STANDARD.encode(keyed.finalize().into_bytes())));
        let message: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(message["event"], "needs_attention", "{message}");
        assert_eq!(message["session_id"], session.session_id.to_string());
        ids.push(id);
        if let Some(mut running) = server.take() {
            running.kill_server();
            server = Some(running.start_again().await);
        }
    }
    assert_ne!(ids[0], ids[1], "each message has an id of its own");
    assert!(!strayed.load(Ordering::Relaxed), "a redirect was followed");
}

/// Where the server tells what needs a person, and what it told. Its first message is refused.
async fn webhook() -> (String, mpsc::Receiver<Value>) {
    let (sender, told) = mpsc::channel(16);
    let refused = Arc::new(AtomicBool::new(false));
    let take = move |Json(message): Json<Value>| {
        let (sender, is_first) = (sender.clone(), !refused.swap(true, Ordering::Relaxed));
        async move {
            if is_first {
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            sender.send(message).await.unwrap();
            StatusCode::NO_CONTENT
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/hook", axum::routing::post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, told)
}

#[tokio::test]
async fn without_a_site_a_session_is_a_plain_window() {
    let env = test_env().await;
    let url = format!("{}login", env.portal.url());
    let session = env.client().create(&json!({ "url": url })).await;
    assert_eq!((session.state, session.site.as_deref()), (SessionState::Ready, None));
    assert_eq!(session.url.as_deref(), Some(url.as_str()));
    let other = env.client().create(&json!({ "url": url })).await;
    assert_ne!(other.session_id, session.session_id, "plain windows without a name are not equal");
    let answer = env.client().post("/sessions", &json!({ "url": nobody_there() })).await;
    assert_eq!(answer.status, 502, "{}", answer.body);
}

#[tokio::test]
async fn a_site_can_be_defined_over_rest() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let server = Server::start(options()).await;
    let client = server.client();
    let flow: Value = serde_json::from_str(&portal.site().sign_in_json).unwrap();
    let definition = json!({
        "start_url": portal.url(), "sign_in": flow, "signed_in": { "any": [{ "selector": "#user" }] },
    });
    client.put("/sites/harbour", &definition).await.expect(200);
    let shown = client.get("/sites/harbour").await.expect(200).body;
    assert_eq!((&shown["start_url"], &shown["name"]), (&json!(portal.url()), &json!("harbour")));
    let session = client.create(&with(account("acme"), json!({ "site": "harbour" }))).await;
    assert_eq!(client.evaluate(&session, USER).await, "acme");

    let file = json!({ "start_url": portal.url(), "sign_in": "/etc/passwd", "signed_in": { "text": "a" } });
    let answer = client.put("/sites/file", &file).await;
    assert_eq!(answer.refusal(), (422, "invalid_field"), "a server opens no file by a client's word");
    client.delete(&path(&session, "")).await.expect(200);
    client.delete("/sites/harbour").await.expect(200);
    assert_eq!(client.get("/sites/harbour").await.refusal(), (404, "site_not_found"));
}

#[tokio::test]
async fn a_sign_in_that_fails_says_why_and_is_not_tried_again() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let mut site = portal.site();
    site.site_toml.insert_str(0, "locked_out = { text = \"account is locked\" }\n");
    let server = Server::start(options().site("portal", site)).await;
    let env = TestEnv { server, portal };
    assert!(env.portal.set_locked("locked", true));
    let secret = "GEZDGNBVGY3TQOJQ".into();
    assert!(env.portal.set_second_factor("coded", Some(Totp::parse(&secret).unwrap())));
    assert!(env.portal.set_password("changed", "another"));
    for (user, expected) in [
        ("locked", "the portal has locked the account"),
        ("coded", "the portal asks for a second factor"),
        ("changed", "the user name or the password is wrong"),
    ] {
        let answer = env.client().post("/sessions", &account(user)).await;
        assert_eq!(answer.refusal(), (401, "sign_in_failed"), "{}", answer.body);
        assert!(answer.body["error"].as_str().unwrap().contains(expected), "{}", answer.body);
        let counts = env.portal.counts(user);
        assert_eq!(counts.signing_in_peak, 1);
        assert_eq!(counts.failed_sign_ins, u64::from(user != "coded"), "{user} was tried more than once");
    }

    env.portal.set_redesigned(true);
    let answer = env.client().post("/sessions", &account("acme")).await;
    assert_eq!(answer.refusal(), (502, "flow_failed"), "{}", answer.body);
    let error = answer.body["error"].as_str().unwrap();
    assert!(
        error.contains("no longer fits the page: step 3 (change) failed; tried `aria/User name`"),
        "{error}"
    );
    assert_eq!(env.portal.counts("acme").failed_sign_ins, 0);
}

#[tokio::test]
async fn a_site_with_a_password_in_its_recording_is_refused() {
    let env = test_env().await;
    let mut flow: Value = serde_json::from_str(&env.portal.site().sign_in_json).unwrap();
    flow["steps"][3]["value"] = json!(PASSWORD);
    let site =
        json!({ "start_url": env.portal.url(), "sign_in": flow, "signed_in": { "selector": "#user" } });
    let answer = env.client().put("/sites/leaky", &site).await;
    assert_eq!(answer.refusal(), (422, "invalid_field"), "{}", answer.body);
    let told = answer.body.to_string();
    assert!(told.contains("step 4") && told.contains("${password}") && !told.contains(PASSWORD), "{told}");
}

#[tokio::test]
async fn what_was_seen_of_a_failed_sign_in_is_kept_with_its_session() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    assert_eq!(session.failure_url, None);
    let failure = path(&session, "/failure");
    assert_eq!(env.client().get(&failure).await.refusal(), (404, "file_not_found"));

    env.portal.set_redesigned(true);
    env.portal.log_everybody_out();
    // On a slow machine a page may not come in time, of which nothing is kept, or not let itself be pictured.
    let seen = wait_for("a picture of the failed sign-in", 2 * SOON, async || {
        let refreshed = env.client().post_nothing(&path(&session, "/refresh")).await;
        assert_eq!(refreshed.status, 502, "{}", refreshed.body);
        let seen = env.client().get(&failure).await;
        expect_that(seen.status == 200 && seen.body["picture_url"].is_string(), seen)
    })
    .await
    .body;
    assert_eq!((&seen["step"]["number"], &seen["step"]["kind"]), (&json!(3), &json!("change")), "{seen}");
    assert_eq!(seen["step"]["selectors"][0], "aria/User name");
    assert!(seen["error"].as_str().unwrap().contains("no longer fits the page"), "{seen}");
    assert!(seen["picture_url"].as_str().unwrap().ends_with(&format!("{failure}/picture")), "{seen}");
    let picture = env.client().get(&format!("{failure}/picture")).await.expect(200).bytes;
    assert!(picture.starts_with(&[0xff, 0xd8, 0xff]), "no JPEG");
    assert!(env.client().session(&session).await.failure_url.unwrap().ends_with(&failure));

    // The next failure replaces it, and notifications about needed attention link to it.
    // The password first: with the old one a sign-in that is repeated meanwhile would work.
    assert!(env.portal.set_password("acme", "another"));
    env.portal.set_redesigned(false);
    let mut events = env.client().events(&path(&session, "/events?after=0")).await;
    // The first answer may be of a sign-in that began before the form was the old one again.
    let refused = wait_for("a refused sign-in", 2 * SOON, async || {
        env.client().post_nothing(&path(&session, "/refresh")).await;
        let now = env.client().session(&session).await;
        let is_refused = now.attention.as_ref().is_some_and(|why| why.contains("refused"));
        expect_that(now.state == SessionState::NeedsAttention && is_refused, now)
    })
    .await;
    let again = env.client().get(&failure).await.expect(200).body;
    let error = again["error"].as_str().unwrap();
    assert!(error.contains("the user name or the password is wrong") && !error.contains(PASSWORD), "{again}");
    let is_told = events.find("a link to it", SOON, |event| {
        event.kind == EventKind::NeedsAttention && event.failure_url == refused.failure_url
    });
    is_told.await;

    env.client().delete(&path(&session, "")).await.expect(200);
    assert_eq!(env.client().get(&failure).await.refusal(), (410, "session_ended"));
}
