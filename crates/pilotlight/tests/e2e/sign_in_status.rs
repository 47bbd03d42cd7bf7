//! Sessions say whether they are signed in, since when that is known, and how.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::response::{Html, IntoResponse, Redirect};
use axum::routing::get;
use pilotlight_api::{EventKind, Session, SessionState, SignInHow, SignInStatus};
use pilotlight_testkit::harness::{Server, expect_that, wait_for};
use pilotlight_testkit::portal::{PASSWORD, PortalOptions};
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::{SOON, TestEnv, account, options, path, test_env, test_env_with, with};

/// What is said of a session after it was used is soon looked at.
const SOON_LOOKED_AT: &str = "[sessions]\nrefresh_check = \"1s\"";

fn status(session: &Session) -> (SignInStatus, Option<SignInHow>) {
    (session.sign_in.status, session.sign_in.how)
}

impl TestEnv {
    async fn refreshed(&self, session: &Session) -> Session {
        self.client().post_nothing(&path(session, "/refresh")).await.expect(200).session()
    }

    /// Signs a plain window in by its page's form, as a client does.
    async fn sign_in_by_hand(&self, session: &Session) {
        let login = json!({ "url": format!("{}login", self.portal.url()) });
        self.client().post(&path(session, "/navigate"), &login).await.expect(200);
        let form = format!(
            "document.querySelector('#username').value = 'acme';
             document.querySelector('#password').value = '{PASSWORD}';
             void document.querySelector('form').requestSubmit()"
        );
        self.client().evaluate(session, &form).await;
        wait_for("the page behind the sign-in", SOON, async || {
            let body = json!({ "expression": "location.pathname + document.readyState" });
            let shown = self.client().post(&path(session, "/evaluate"), &body).await;
            expect_that(shown.body["result"] == "/complete", shown)
        })
        .await;
    }
}

#[tokio::test]
async fn a_window_without_a_site_says_so_when_its_portal_has_logged_it_out() {
    let env = test_env_with(SOON_LOOKED_AT, PortalOptions::default()).await;
    let session = env.window("plain", json!({ "refresh_interval": 0 })).await;
    let form = (SignInStatus::SignedOut, Some(SignInHow::PasswordField));
    assert_eq!((status(&session), session.state, &session.attention), (form, SessionState::Ready, &None));
    env.sign_in_by_hand(&session).await;
    let mut events = env.client().events(&path(&session, "/events")).await;
    let kept = env.refreshed(&session).await;
    assert_eq!(status(&kept), (SignInStatus::Unknown, Some(SignInHow::NoConditions)));
    assert_eq!((kept.state, &kept.attention), (SessionState::Ready, &None));
    assert_eq!(events.kind(EventKind::Refreshed, SOON).await.message, "it was refreshed");

    env.portal.log_everybody_out();
    let lost = env.refreshed(&session).await;
    assert_eq!((status(&lost), lost.state), (form, SessionState::NeedsAttention));
    assert!(lost.attention.is_some_and(|sentence| sentence.contains("password field")));
    assert!(lost.sign_in.checked_at > kept.sign_in.checked_at);
    events.kind(EventKind::SignedOut, SOON).await;
    let listed = env.server.command(&["list"], "").await.expect(0).stdout;
    assert!(listed.contains("signed_out"), "{listed}");

    env.sign_in_by_hand(&session).await;
    let back = env.reaches(&session, SessionState::Ready).await;
    assert_eq!(
        (status(&back), back.attention),
        ((SignInStatus::Unknown, Some(SignInHow::NoConditions)), None)
    );
}

/// Pages of somebody who is signed in for as long as the flag says so.
async fn pages() -> (String, Arc<AtomicBool>) {
    const FIELD: &str = "<input type=password>";
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let is_signed_in = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&is_signed_in);
    let inside = move || async move {
        match flag.load(Ordering::Relaxed) {
            true => Html("<title>Inside</title><h1>Orders</h1>").into_response(),
            false => Redirect::to("/welcome").into_response(),
        }
    };
    let page =
        |body: String| get(move || async move { Html(format!("<!doctype html><title>Page</title>{body}")) });
    let hidden = format!(
        "<div hidden>{FIELD}</div><div style='opacity: 0'>{FIELD}</div><div style='visibility: hidden'>{FIELD}</div>
         <input type=password style='position: absolute; left: -9999px'>
         <input type=password autocomplete=new-password><iframe hidden srcdoc='{FIELD}'></iframe>"
    );
    let shadow = format!(
        "<div id=host></div><script>host.attachShadow({{ mode: 'open' }}).innerHTML = '{FIELD}'</script>"
    );
    let router = Router::new()
        .route("/", get(inside))
        .route("/welcome", page("<h1>See you soon</h1>".to_owned()))
        .route("/hidden", page(hidden))
        .route("/shown", page(FIELD.to_owned()))
        .route("/shadow", page(shadow))
        .route("/frame", page(format!("<iframe srcdoc='{FIELD}'></iframe>")))
        .route("/revealed", page("<input type=text autocomplete=current-password>".to_owned()));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, is_signed_in)
}

#[tokio::test]
async fn a_page_looks_signed_out_where_a_password_field_can_be_seen_or_it_has_moved() {
    let server = Server::start(options().config(SOON_LOOKED_AT)).await;
    let client = server.client();
    let (url, is_signed_in) = pages().await;
    let open = async |page: &str| client.create(&json!({ "url": format!("{url}{page}") })).await;
    let unknown = (SignInStatus::Unknown, Some(SignInHow::NoConditions));
    for (page, expected) in [
        ("hidden", unknown),
        ("shown", (SignInStatus::SignedOut, Some(SignInHow::PasswordField))),
        ("shadow", (SignInStatus::SignedOut, Some(SignInHow::PasswordField))),
        ("frame", (SignInStatus::SignedOut, Some(SignInHow::PasswordField))),
        ("revealed", (SignInStatus::SignedOut, Some(SignInHow::PasswordField))),
    ] {
        let session = open(page).await;
        assert_eq!((status(&session), session.state), (expected, SessionState::Ready), "{page}");
    }
    let session = open("").await;
    let refresh = async || client.post_nothing(&path(&session, "/refresh")).await.expect(200).session();
    assert_eq!(status(&refresh().await), unknown);
    is_signed_in.store(false, Ordering::Relaxed);
    let moved = (SignInStatus::SignedOut, Some(SignInHow::Moved));
    // It is said for as long as it is there, however often it is refreshed.
    for _ in 0..2 {
        let lost = refresh().await;
        assert_eq!((status(&lost), lost.state), (moved, SessionState::NeedsAttention));
        assert!(lost.attention.is_some_and(|sentence| sentence.contains("/welcome")));
    }
    is_signed_in.store(true, Ordering::Relaxed);
    client.post(&path(&session, "/navigate"), &json!({ "url": url })).await.expect(200);
    wait_for("a look at the page that is back", SOON, async || {
        let now = client.session(&session).await;
        expect_that(status(&now) == unknown && now.attention.is_none(), now)
    })
    .await;
}

#[tokio::test]
async fn a_site_s_session_says_when_it_was_last_seen_signed_in() {
    let mut env = test_env().await;
    let session = env.client().create(&with(account("acme"), json!({ "refresh_interval": 0 }))).await;
    assert_eq!(status(&session), (SignInStatus::SignedIn, Some(SignInHow::SignIn)));
    let refreshed = env.refreshed(&session).await;
    assert_eq!(status(&refreshed), (SignInStatus::SignedIn, Some(SignInHow::Refresh)));
    assert!(refreshed.sign_in.checked_at > session.sign_in.checked_at);
    let metrics = String::from_utf8(env.client().get("/metrics").await.expect(200).bytes).unwrap();
    for line in ["{status=\"signed_in\"} 1", "{status=\"signed_out\"} 0", "{status=\"unknown\"} 0"] {
        let line = format!("pilotlight_sessions_by_sign_in{line}");
        assert!(metrics.lines().any(|one| one == line), "{line} is missing: {metrics}");
    }
    // Without a window, and in the next server, it is as it was last seen.
    let asleep = env.order(&session, "/hibernate").await;
    assert_eq!(asleep.sign_in, refreshed.sign_in);
    env.server.kill_server();
    env = env.start_again().await.0;
    assert_eq!(env.client().session(&session).await.sign_in, refreshed.sign_in);
}
