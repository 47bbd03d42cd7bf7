//! Sign-in forms that a script sends: a refusal changes nothing but what the page shows.

use std::time::Duration;

use pilotlight_api::SessionState;
use pilotlight_testkit::harness::Answer;
use pilotlight_testkit::portal::{InPlace, Portal, PortalOptions};
use serde_json::json;

use crate::support::{TestEnv, account, test_env, test_env_with, with};

async fn with_wrong_password(env: &TestEnv, user: &str) -> Answer {
    let wrong = with(account(user), json!({ "password": "hunter2-hunter2" }));
    env.client().post("/sessions", &wrong).await
}

fn says(answer: &Answer) -> &str {
    answer.body["error"].as_str().unwrap_or_default()
}

fn failed(portal: &Portal, user: &str) -> u64 {
    portal.counts(user).failed_sign_ins
}

/// The recording expects a navigation, which a refusal does not bring.
#[tokio::test]
async fn a_refusal_in_place_is_a_wrong_password_and_is_typed_once() {
    let env = test_env().await;
    let said_late = InPlace { message_after: Some(Duration::from_secs(3)), ..InPlace::default() };
    let not_said = InPlace { refusal_status: 200, message_after: None, ..InPlace::default() };
    for (user, style) in [
        ("told-by-status", InPlace { message_after: None, ..InPlace::default() }),
        ("told-by-page", InPlace { refusal_status: 200, ..InPlace::default() }),
        ("told-late", InPlace { refusal_status: 200, ..said_late }),
        ("emptied", InPlace { empties: true, ..not_said }),
    ] {
        env.portal.set_in_place(Some(style));
        let answer = with_wrong_password(&env, user).await;
        assert_eq!(answer.refusal(), (401, "sign_in_failed"), "{user}: {}", answer.body);
        assert!(says(&answer).contains("the user name or the password is wrong"), "{user}: {}", answer.body);
        assert_eq!(failed(&env.portal, user), 1, "{user} was tried again");
    }
    // The same form lets in who knows the password. Its hidden field for a code asks for none.
    let session = env.sign_in("told-by-page").await;
    assert_eq!(session.state, SessionState::Ready);
    assert_eq!(env.portal.sign_ins("told-by-page"), 1);
}

#[tokio::test]
async fn a_portal_that_answers_and_says_nothing_has_refused() {
    let env = test_env().await;
    let style = InPlace { refusal_status: 200, message_after: None, ..InPlace::default() };
    env.portal.set_in_place(Some(style));
    let answer = with_wrong_password(&env, "acme").await;
    assert_eq!(answer.refusal(), (401, "sign_in_failed"), "{}", answer.body);
    assert!(says(&answer).contains("or the portal is slow"), "{}", answer.body);
    assert_eq!(failed(&env.portal, "acme"), 1);
}

#[tokio::test]
async fn a_portal_that_takes_its_time_has_not_refused() {
    // Longer than a portal may take that has answered.
    let sign_in_delay = Duration::from_secs(17);
    let env = test_env_with("", PortalOptions { sign_in_delay, ..PortalOptions::default() }).await;
    env.portal.set_in_place(Some(InPlace::default()));
    let session = env.sign_in("acme").await;
    assert_eq!(session.state, SessionState::Ready, "{session:?}");
    assert_eq!((env.portal.sign_ins("acme"), failed(&env.portal, "acme")), (1, 0));
}

#[tokio::test]
async fn a_form_that_was_never_sent_is_no_wrong_password() {
    let env = test_env().await;
    env.portal.set_in_place(Some(InPlace { is_covered: true, ..InPlace::default() }));
    let answer = env.client().post("/sessions", &account("acme")).await;
    assert_eq!(answer.refusal(), (502, "flow_failed"), "{}", answer.body);
    assert!(says(&answer).contains("the page has sent nothing to the portal"), "{}", answer.body);
    assert!(says(&answer).contains("the element is covered by div"), "{}", answer.body);
    assert_eq!((env.portal.sign_ins("acme"), failed(&env.portal, "acme")), (0, 0));
}

/// A password that was changed at the portal is typed once, though the session is refreshed each second.
#[tokio::test]
async fn a_kept_session_that_is_refused_in_place_waits_for_a_person() {
    let env = test_env_with("[sessions]\nrefresh_check = \"1s\"", PortalOptions::default()).await;
    env.portal.set_in_place(Some(InPlace::default()));
    let session = env.client().create(&with(account("acme"), json!({ "refresh_interval": 1 }))).await;
    assert!(env.portal.set_password("acme", "another"));
    env.portal.log_everybody_out();
    let refused = env.reaches(&session, SessionState::NeedsAttention).await;
    let why = refused.attention.as_deref().unwrap_or_default();
    assert!(why.contains("the user name or the password is wrong"), "{why}");
    assert_eq!(failed(&env.portal, "acme"), 1);
}
