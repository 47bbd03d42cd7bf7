//! A session is signed in as who it says, or it is not to be had.

use pilotlight_api::SessionState;
use pilotlight_testkit::harness::{Server, expect_that, wait_for};
use pilotlight_testkit::portal::{ExampleSite, PASSWORD, Portal, PortalOptions};
use serde_json::{Value, json};

use crate::support::{SOON, TestEnv, account, options, path, test_env, with};

const FLOW: &str = "sites/portal/portal/sign-in.json";

/// A server whose recording still has the user name `jane` in it.
async fn recorded_by_jane(change: impl FnOnce(&mut ExampleSite)) -> TestEnv {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let mut site = portal.site();
    site.sign_in_json = site.sign_in_json.replace("${username}", "jane");
    change(&mut site);
    let server = Server::start(options().site("portal", site)).await;
    TestEnv { server, portal }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_of_one_user_signs_nobody_else_in() {
    let env = recorded_by_jane(|_| {}).await;
    let answer = env.client().post("/sessions", &account("bob")).await;
    assert_eq!(answer.refusal(), (422, "username_not_used"), "{}", answer.body);
    assert!(
        answer.body["hint"].as_str().unwrap().contains("site check-recording --write"),
        "{}",
        answer.body
    );
    let credential = json!({ "username": "bob", "password": PASSWORD });
    env.client().put("/credentials/bob", &credential).await.expect(200);
    let by_credential = json!({ "site": "portal", "credential": "bob" });
    let answer = env.client().post("/sessions", &by_credential).await;
    assert_eq!(answer.refusal(), (422, "username_not_used"), "{}", answer.body);
    let try_it = ["site", "try", "portal", "--username", "bob", "--password-stdin"];
    let tried = env.server.command(&try_it, &format!("{PASSWORD}\n")).await.expect(2);
    assert!(tried.stderr.contains("types a fixed user name"), "{tried:?}");
    assert_eq!((env.portal.total_sign_ins(), env.portal.counts("jane").failed_sign_ins), (0, 0));
    // It is what it says for one.
    let session = env.client().create(&account("jane")).await;
    assert_eq!((session.username.as_deref(), env.portal.sign_ins("jane")), (Some("jane"), 1));

    let told = env.server.command(&["check-config"], "").await.expect(0);
    assert!(told.stderr.contains("types the recorded user name in step 3"), "{told:?}");
    let told = env.server.command(&["site", "check-recording", FLOW], "").await.expect(0);
    assert!(told.stdout.contains("types a fixed user name"), "{told:?}");
    let file = env.server.folder().join(FLOW);
    let before = std::fs::read_to_string(&file).unwrap();
    let told = env.server.command(&["site", "check-recording", "--write", FLOW], "").await.expect(0);
    assert!(told.stderr.contains("${username} in step 3"), "{told:?}");
    assert!(!told.stdout.contains("a fixed user name"), "{told:?}");
    let after = std::fs::read_to_string(&file).unwrap();
    assert_eq!(after, before.replace("\"jane\"", "\"${username}\""), "anything else was changed");
    let told = env.server.command(&["check-config"], "").await.expect(0);
    assert!(!told.stderr.contains("recorded user name"), "{told:?}");
    let TestEnv { mut server, portal } = env;
    server.terminate().await;
    let env = TestEnv { server: server.start_again().await, portal };
    env.client().create(&account("bob")).await;
    assert_eq!(env.portal.sign_ins("bob"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_may_have_one_account_for_all() {
    let env = recorded_by_jane(|site| site.site_toml.insert_str(0, "shared_account = true\n")).await;
    let told = env.server.command(&["check-config"], "").await.expect(0);
    assert!(!told.stderr.contains("recorded user name"), "{told:?}");
    let session = env.client().create(&json!({ "site": "portal", "password": PASSWORD })).await;
    assert_eq!((session.username, env.portal.sign_ins("jane")), (None, 1));
    let answer = env.client().post("/sessions", &account("bob")).await;
    assert_eq!(answer.refusal(), (422, "username_not_used"), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_a_selector_repeats_is_found_refused_and_taken_out() {
    let env = test_env().await;
    let flow = env.server.folder().join("recorded.json");
    let mut recording: Value = serde_json::from_str(&env.portal.site().sign_in_json).unwrap();
    recording["steps"][3]["selectors"] = json!([["aria/Senha"], ["text/hunter2-secret"], ["#password"]]);
    for value in ["hunter2-secret", "${password}"] {
        recording["steps"][3]["value"] = json!(value);
        std::fs::write(&flow, recording.to_string()).unwrap();
        let site = json!({
            "start_url": env.portal.url(), "sign_in": recording, "signed_in": { "selector": "#user" },
        });
        let answer = env.client().put("/sites/leaky", &site).await;
        assert_eq!(answer.refusal(), (422, "invalid_field"), "{}", answer.body);
        assert!(answer.body["error"].as_str().unwrap().contains("step 4"), "{}", answer.body);
        let told = env.server.command(&["site", "check-recording", "recorded.json"], "").await.expect(1);
        let all = format!("{told:?}{}{}", answer.body, env.server.log());
        assert!(!all.contains("hunter2"), "{all}");
        let write = ["site", "check-recording", "--write", "recorded.json"];
        let told = env.server.command(&write, "").await.expect(0);
        assert!(told.stderr.contains("${password} in step 4"), "{told:?}");
        let written = std::fs::read_to_string(&flow).unwrap();
        assert!(!written.contains("hunter2") && written.contains("text/${password}"), "{written}");
    }
    // A password that nothing tells by itself is taken out by its own words, and never repeated.
    recording["steps"][3] = json!({ "type": "change", "selectors": [["#x1"]], "value": "hunter2-secret" });
    recording["steps"][2] = json!({ "type": "change", "selectors": [["#x0"]], "value": "jane" });
    std::fs::write(&flow, recording.to_string()).unwrap();
    let write =
        ["site", "check-recording", "--write", "--keep-username", "--password-stdin", "recorded.json"];
    let told = env.server.command(&write, "another\n").await.expect(1);
    assert!(told.stderr.contains("does not occur in it") && !told.stderr.contains("another"), "{told:?}");
    env.server.command(&write, "hunter2-secret\n").await.expect(0);
    assert!(!std::fs::read_to_string(&flow).unwrap().contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_anothers_session_gives_nobody_its_window() {
    let env = test_env().await;
    let named = |user: &str| with(account(user), json!({ "name": "main" }));
    let session = env.client().create(&named("acme")).await;
    for (request, differs) in [
        (named("other"), json!(["username"])),
        (json!({ "name": "main", "url": env.portal.url() }), json!(["url"])),
        (with(named("acme"), json!({ "password": "another" })), json!(["password"])),
    ] {
        let answer = env.client().post("/sessions", &request).await;
        assert_eq!(answer.refusal(), (409, "name_taken"), "{}", answer.body);
        assert_eq!(answer.body["differs"], differs, "{}", answer.body);
    }
    for request in [json!({ "name": "main" }), named("acme")] {
        let answer = env.client().post("/sessions", &request).await;
        assert_eq!((answer.status, answer.body["is_new"].clone()), (200, json!(false)), "{}", answer.body);
        assert_eq!(answer.session().session_id, session.session_id);
    }
    let open = ["open", "--site", "portal", "--username", "other", "--password-stdin", "--name", "main"];
    let told = env.server.command(&open, &format!("{PASSWORD}\n")).await.expect(1);
    assert!(told.stderr.contains("a different user name"), "{told:?}");
    assert_eq!((env.portal.sign_ins("acme"), env.portal.total_sign_ins()), (1, 1));
    assert_eq!(env.client().sessions().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_refused_can_be_given_anew() {
    let env = test_env().await;
    let named = |password: &str| with(account("acme"), json!({ "name": "main", "password": password }));
    let session = env.client().create(&named(PASSWORD)).await;
    assert!(env.portal.set_password("acme", "rotated-secret"));
    env.portal.log_everybody_out();
    env.client().post_nothing(&path(&session, "/refresh")).await;
    env.reaches(&session, SessionState::NeedsAttention).await;
    let wrong = env.client().post("/sessions", &named("wrong-wrong")).await;
    assert_eq!(wrong.refusal(), (401, "sign_in_failed"), "{}", wrong.body);
    assert_eq!(env.portal.counts("acme").failed_sign_ins, 2);
    let answer = env.client().post("/sessions", &named("rotated-secret")).await.expect(200);
    let again = answer.session();
    assert_eq!((again.session_id, again.state), (session.session_id, SessionState::Ready));
    assert_eq!((env.portal.sign_ins("acme"), env.portal.counts("acme").failed_sign_ins), (2, 2));

    // It is sealed with the session.
    let TestEnv { mut server, portal } = env;
    server.terminate().await;
    let env = TestEnv { server: server.start_again().await, portal };
    env.portal.log_everybody_out();
    wait_for("the next sign-in", SOON, async || {
        env.client().post_nothing(&path(&session, "/refresh")).await;
        expect_that(env.portal.sign_ins("acme") == 3, env.portal.counts("acme"))
    })
    .await;
    assert_eq!(env.portal.counts("acme").failed_sign_ins, 2);
    assert!(!format!("{}{}", answer.body, env.server.log()).contains("rotated-secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_shows_who_is_signed_in_is_believed() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let mut site = portal.site();
    site.site_toml.insert_str(0, "signed_in_as = { selector = \"#user\" }\n");
    let server =
        Server::start(options().config("[sessions]\nrefresh_check = \"1s\"").site("portal", site)).await;
    let env = TestEnv { server, portal };
    let session = env.client().create(&account("acme")).await;
    assert_eq!(session.state, SessionState::Ready);
    // A person signs in by hand, as a different user.
    let by_hand = format!(
        "fetch('/logout').then(() => fetch('/login', {{ method: 'POST', headers: {{ 'Content-Type': \
         'application/x-www-form-urlencoded' }}, body: 'username=jane&password={PASSWORD}' }})).then(() => {{ \
         location = '/' }}), 0"
    );
    env.client().evaluate(&session, &by_hand).await;
    wait_for("the page to show the other user", SOON, async || {
        let shown = env.client().evaluate(&session, "document.querySelector('#user')?.textContent").await;
        expect_that(shown == "jane", shown)
    })
    .await;
    let wrong = env.client().post_nothing(&path(&session, "/refresh")).await;
    let wrong = if wrong.status == 200 { wrong.session() } else { env.client().session(&session).await };
    assert_eq!(wrong.state, SessionState::NeedsAttention, "{wrong:?}");
    assert!(wrong.attention.as_ref().is_some_and(|why| why.contains("somebody else")), "{wrong:?}");
}
