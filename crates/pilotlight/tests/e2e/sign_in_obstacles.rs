//! Sign-ins with something in their way: what covers the form, what is not always there, what nobody sees.

use std::time::Duration;

use pilotlight_api::SessionState;
use pilotlight_testkit::harness::{Answer, Server};
use pilotlight_testkit::portal::{InPlace, Obstacles, Portal, PortalOptions};
use serde_json::{Value, json};

use crate::support::{TestEnv, account, options, path, test_env, with};

async fn with_wrong_password(env: &TestEnv, user: &str) -> Answer {
    let wrong = with(account(user), json!({ "password": "hunter2-hunter2" }));
    env.client().post("/sessions", &wrong).await
}

fn says(answer: &Answer) -> &str {
    answer.body["error"].as_str().unwrap_or_default()
}

/// A spinner takes clicks as a banner does; only after it the form gets them.
#[tokio::test]
async fn what_covers_the_form_for_a_while_takes_no_click() {
    let env = test_env().await;
    env.portal
        .set_obstacles(Obstacles { spinner: Some(Duration::from_millis(2500)), ..Obstacles::default() });
    let session = env.sign_in("acme").await;
    assert_eq!(session.state, SessionState::Ready, "{session:?}");
    assert_eq!(env.portal.sign_ins("acme"), 1);
}

#[tokio::test]
async fn fields_that_are_read_only_until_they_are_entered_are_filled_in() {
    let env = test_env().await;
    env.portal.set_obstacles(Obstacles { is_read_only: true, ..Obstacles::default() });
    assert_eq!(env.sign_in("acme").await.state, SessionState::Ready);
}

/// The site's condition for a captcha matches it, as those of most portals match what is only there for some visitors.
#[tokio::test]
async fn a_captcha_that_nobody_sees_calls_nobody() {
    let env = test_env().await;
    env.portal.set_obstacles(Obstacles { has_invisible_captcha: true, ..Obstacles::default() });
    let session = env.sign_in("acme").await;
    assert_eq!((session.state, session.attention), (SessionState::Ready, None));
}

/// The banner and the question are there at the first sign-in and not at the second one.
#[tokio::test]
async fn what_is_not_always_there_is_left_out() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let mut site = portal.site();
    let mut flow: Value = serde_json::from_str(&site.sign_in_json).unwrap();
    let click = |selectors: Value| json!({ "type": "click", "optional": true, "selectors": selectors, "offsetX": 5, "offsetY": 5 });
    let steps = flow["steps"].as_array_mut().unwrap();
    steps.insert(2, click(json!([["aria/Accept all cookies"], ["#accept"]])));
    steps.push(click(json!([["aria/Yes"], ["#stay"]])));
    site.sign_in_json = flow.to_string();
    let server = Server::start(options().site("portal", site)).await;
    let env = TestEnv { server, portal };
    let obstacles =
        Obstacles { banner_after: Some(Duration::ZERO), asks_to_stay: true, ..Obstacles::default() };
    // A banner that comes when the fields are there already covers the button.
    for (user, banner_after) in [("acme", 0), ("late", 1200)] {
        let banner_after = Some(Duration::from_millis(banner_after));
        env.portal.set_obstacles(Obstacles { banner_after, ..obstacles });
        let session = env.sign_in(user).await;
        assert_eq!(session.state, SessionState::Ready, "{session:?}");
        env.portal.log_everybody_out();
        let refreshed = env.client().post_nothing(&path(&session, "/refresh")).await;
        refreshed.expect(200);
        assert_eq!((env.portal.sign_ins(user), env.portal.counts(user).failed_sign_ins), (2, 0), "{user}");
    }
    // Where the question is part of the recording alone, a refusal is still one: nothing is sent twice.
    let answer = with_wrong_password(&env, "wrong").await;
    assert_eq!(answer.refusal(), (401, "sign_in_failed"), "{}", answer.body);
    assert_eq!(env.portal.counts("wrong").failed_sign_ins, 1);
}

#[tokio::test]
async fn a_refusal_with_an_error_status_is_a_wrong_password_and_an_outage_is_not() {
    let env = test_env().await;
    env.portal.set_obstacles(Obstacles { refusal_status: Some(500), ..Obstacles::default() });
    let by_page = with_wrong_password(&env, "by-page").await;
    env.portal.set_obstacles(Obstacles::default());
    env.portal.set_in_place(Some(InPlace { refusal_status: 500, ..InPlace::default() }));
    let in_place = with_wrong_password(&env, "in-place").await;
    for (answer, user) in [(by_page, "by-page"), (in_place, "in-place")] {
        assert_eq!(answer.refusal(), (401, "sign_in_failed"), "{user}: {}", answer.body);
        assert!(says(&answer).contains("the user name or the password is wrong"), "{}", answer.body);
        assert_eq!(env.portal.counts(user).failed_sign_ins, 1);
    }
    // The page says that it did not work, but the portal never looked at the password.
    env.portal.set_in_place(Some(InPlace { refusal_status: 503, ..InPlace::default() }));
    let answer = with_wrong_password(&env, "away").await;
    assert_eq!(answer.refusal(), (502, "flow_failed"), "{}", answer.body);
    assert!(says(&answer).contains("HTTP status 503"), "{}", answer.body);
}

/// A picture that never comes is on each page; without `ready = "dom"` each load takes its whole time and fails.
#[tokio::test]
async fn one_request_that_never_ends_holds_nothing_up() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    portal.set_obstacles(Obstacles { hangs: true, ..Obstacles::default() });
    let mut site = portal.site();
    site.site_toml.insert_str(0, "ready = \"dom\"\n");
    let server = Server::start(options().site("portal", site)).await;
    let env = TestEnv { server, portal };
    let session = env.sign_in("acme").await;
    assert_eq!(session.state, SessionState::Ready, "{session:?}");
    env.client().post_nothing(&path(&session, "/refresh")).await.expect(200);
    env.client().post_nothing(&path(&session, "/hibernate")).await.expect(200);
    env.client().post_nothing(&path(&session, "/wake")).await.expect(200);
    assert_eq!(
        (env.reaches(&session, SessionState::Ready).await.attention, env.portal.sign_ins("acme")),
        (None, 1)
    );
}

/// The recording closes the page with the form: then the portal's page is the one that is looked at and refreshed.
#[tokio::test]
async fn a_portal_that_opens_in_a_tab_of_its_own_becomes_the_page_of_the_session() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    portal.set_obstacles(Obstacles { opens_tab: true, ..Obstacles::default() });
    let mut site = portal.site();
    let mut flow: Value = serde_json::from_str(&site.sign_in_json).unwrap();
    let steps = flow["steps"].as_array_mut().unwrap();
    steps.last_mut().unwrap().as_object_mut().unwrap().remove("assertedEvents");
    steps.push(json!({ "type": "waitForElement", "target": portal.url(), "selectors": ["#user"] }));
    steps.push(json!({ "type": "close", "target": "main" }));
    site.sign_in_json = flow.to_string();
    let server = Server::start(options().site("portal", site)).await;
    let env = TestEnv { server, portal };
    let session = env.sign_in("acme").await;
    assert_eq!((session.state, session.url.clone()), (SessionState::Ready, Some(env.portal.url())));
    env.portal.log_everybody_out();
    env.client().post_nothing(&path(&session, "/refresh")).await.expect(200);
    assert_eq!((env.portal.sign_ins("acme"), env.portal.counts("acme").failed_sign_ins), (2, 0));
}
