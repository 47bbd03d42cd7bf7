//! Credentials: kept by name, never shown, corrected once for all, and typed once where they are wrong.

use pilotlight_api::{Session, SessionState};
use pilotlight_flow::Totp;
use pilotlight_testkit::harness::{Server, expect_that, wait_for};
use pilotlight_testkit::portal::{PASSWORD, Portal, PortalOptions};
use serde_json::{Value, json};

use crate::support::{SOON, TestEnv, options, path, test_env, test_env_with};

const OFTEN: &str = "[sessions]\nrefresh_interval = \"1s\"\nrefresh_check = \"1s\"";
const CHANGED: &str = "another-one";
/// Codes that change often, so that the test need not wait long for the next one.
const TOTP: &str = "otpauth://totp/portal?secret=GEZDGNBVGY3TQOJQ&period=4";

fn credential(password: &str) -> Value {
    json!({ "username": "acme", "password": password })
}

/// Three sessions of one credential, signed in, and refreshed every second.
async fn three_of_one() -> (TestEnv, Vec<Session>) {
    let env = test_env_with(OFTEN, PortalOptions::default()).await;
    env.client().put("/credentials/harbour", &credential(PASSWORD)).await.expect(200);
    let mut sessions = Vec::new();
    for name in ["a", "b", "c"] {
        let body = json!({ "site": "portal", "credential": "harbour", "name": name, "refresh_interval": 1 });
        sessions.push(env.client().create(&body).await);
    }
    assert_eq!((env.portal.sign_ins("acme"), env.names().await.len()), (3, 3));
    (env, sessions)
}

fn change_password(env: &TestEnv) {
    assert!(env.portal.set_password("acme", CHANGED));
    env.portal.log_everybody_out();
}

async fn all_need_attention(env: &TestEnv, sessions: &[Session]) {
    for session in sessions {
        let session = env.reaches(session, SessionState::NeedsAttention).await;
        assert!(session.attention.is_some_and(|sentence| !sentence.contains(PASSWORD)));
    }
}

#[tokio::test]
async fn a_changed_password_is_tried_once_and_its_correction_heals_all_sessions() {
    let (env, sessions) = three_of_one().await;
    change_password(&env);
    all_need_attention(&env, &sessions).await;
    assert_eq!(env.portal.counts("acme").failed_sign_ins, 1, "each of them tried it");

    // One that is wrong too is tried once.
    env.client().put("/credentials/harbour", &credential("a-guess")).await.expect(200);
    wait_for("the second refusal", SOON, async || {
        let failed = env.portal.counts("acme").failed_sign_ins;
        expect_that(failed == 2, failed)
    })
    .await;
    all_need_attention(&env, &sessions).await;

    let answer = env.client().put("/credentials/harbour", &credential(CHANGED)).await.expect(200);
    for session in &sessions {
        env.reaches(session, SessionState::Ready).await;
    }
    let counts = env.portal.counts("acme");
    assert_eq!((counts.failed_sign_ins, counts.sign_ins), (2, 6));
    let told = format!("{}{}", answer.body, env.server.log());
    assert!([PASSWORD, CHANGED, "a-guess"].iter().all(|secret| !told.contains(secret)), "{told}");
}

#[tokio::test]
async fn a_server_that_dies_right_after_a_refusal_leaves_it_to_nobody_to_try_again() {
    let (mut env, sessions) = three_of_one().await;
    change_password(&env);
    wait_for("the refusal", SOON, async || {
        let failed = env.portal.counts("acme").failed_sign_ins;
        expect_that(failed == 1, failed)
    })
    .await;
    // The portal has refused it, and the server has not even seen that it did.
    env.server.kill_server();
    let mut env = TestEnv { server: env.server.start_again().await, ..env };
    all_need_attention(&env, &sessions).await;
    assert_eq!(env.portal.counts("acme").failed_sign_ins, 1, "the next server tried it again");
    // Nor does one that finds it written down.
    env.server.kill_server();
    let env = TestEnv { server: env.server.start_again().await, ..env };
    all_need_attention(&env, &sessions).await;
    assert_eq!(env.portal.counts("acme").failed_sign_ins, 1);
    env.client().put("/credentials/harbour", &credential(CHANGED)).await.expect(200);
    for session in &sessions {
        env.reaches(session, SessionState::Ready).await;
    }
    assert_eq!(env.portal.counts("acme").failed_sign_ins, 1);
}

#[tokio::test]
async fn a_second_factor_is_typed_and_no_code_twice() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let server =
        Server::start(options().config(OFTEN).site("portal", portal.site().with_second_factor())).await;
    let mut env = TestEnv { server, portal };
    assert!(env.portal.set_second_factor("acme", Some(Totp::parse(&TOTP.into()).unwrap())));
    let create = json!({ "site": "portal", "credential": "coded", "refresh_interval": 1 });

    env.client().put("/credentials/coded", &credential(PASSWORD)).await.expect(200);
    let answer = env.client().post("/sessions", &create).await;
    assert_eq!(answer.refusal(), (422, "invalid_field"), "{}", answer.body);
    let coded = json!({ "username": "acme", "password": PASSWORD, "totp_secret": TOTP });
    env.client().put("/credentials/coded", &coded).await.expect(200);
    let session = env.client().create(&create).await;
    assert_eq!((session.state, session.credential.as_deref()), (SessionState::Ready, Some("coded")));

    for sign_ins in [2, 3] {
        if sign_ins == 3 {
            env.server.kill_server();
            env = TestEnv { server: env.server.start_again().await, ..env };
        }
        env.portal.log_everybody_out();
        wait_for("the next sign-in", SOON, async || {
            let counts = env.portal.counts("acme");
            expect_that(counts.sign_ins == sign_ins, counts)
        })
        .await;
        env.reaches(&session, SessionState::Ready).await;
    }
    let counts = env.portal.counts("acme");
    assert_eq!((counts.failed_sign_ins, counts.refused_codes), (0, 0));
    assert!(!env.server.log().contains("GEZDGNBVGY3TQOJQ"));
}

#[tokio::test]
async fn credentials_are_kept_over_rest_and_show_no_secret() {
    let env = test_env().await;
    let client = env.client();
    assert_eq!(client.get("/credentials").await.expect(200).body["credentials"], json!([]));
    let coded = json!({ "username": "acme", "password": PASSWORD, "totp_secret": "GEZD GNBV GY3T QOJQ" });
    let shown = json!({ "name": "a", "username": "acme", "has_password": true, "has_totp_secret": true });
    let answers = [
        client.put("/credentials/a", &coded).await.expect(200),
        client.get("/credentials/a").await.expect(200),
        client.get("/credentials").await.expect(200),
    ];
    for answer in &answers {
        let text = String::from_utf8_lossy(&answer.bytes).to_uppercase();
        assert!(!text.contains(&PASSWORD.to_uppercase()) && !text.contains("GEZD"), "{text}");
    }
    assert_eq!(answers[2].body["credentials"], json!([shown]));

    for (name, body, refusal) in [
        ("a", json!({ "username": "acme", "totp_secret": "1" }), (422, "invalid_field")),
        ("a", json!({ "password": "x" }), (422, "invalid_field")),
        ("a", json!({ "username": "acme", "pasword": "x" }), (422, "invalid_field")),
        ("-", coded.clone(), (422, "invalid_field")),
    ] {
        let answer = client.put(&format!("/credentials/{name}"), &body).await;
        assert_eq!(answer.refusal(), refusal, "{}", answer.body);
    }
    let both = json!({ "site": "portal", "credential": "a", "username": "acme" });
    assert_eq!(client.post("/sessions", &both).await.refusal(), (422, "invalid_field"));
    let unknown = json!({ "site": "portal", "credential": "nobody" });
    assert_eq!(client.post("/sessions", &unknown).await.refusal(), (422, "unknown_credential"));

    let body = json!({ "site": "portal", "credential": "a" });
    let session = client.create(&body).await;
    assert_eq!(client.post("/sessions", &body).await.expect(200).session().session_id, session.session_id);
    assert_eq!(client.delete("/credentials/a").await.refusal(), (409, "credential_in_use"));
    client.delete(&path(&session, "")).await.expect(200);
    client.delete("/credentials/a").await.expect(200);
    assert_eq!(client.delete("/credentials/a").await.refusal(), (404, "credential_not_found"));
    assert_eq!(client.get("/credentials/a").await.refusal(), (404, "credential_not_found"));
}

#[tokio::test]
async fn credentials_are_kept_from_the_command_line() {
    let env = test_env().await;
    let set = ["credential", "set", "a", "--username", "acme", "--password-stdin", "--totp"];
    let stdin = format!("{PASSWORD}\nGEZDGNBVGY3TQOJQ\n");
    let said = env.server.command(&set, &stdin).await.expect(0);
    assert!(said.stdout.contains("acme") && !format!("{said:?}").contains(PASSWORD), "{said:?}");
    env.server.command(&set[..5], "").await.expect(2);
    env.server.command(&["credential", "set", "a", "--username", "u", "--password", "x"], "").await.expect(2);
    let listed = env.server.command(&["credential", "list", "-o", "json"], "").await.expect(0).json();
    assert_eq!(listed["credentials"][0]["has_totp_secret"], true);
    let open = ["open", "--site", "portal", "--credential", "a", "-o", "json"];
    let opened = env.server.command(&open, "").await.expect(0).json();
    assert_eq!((&opened["credential"], &opened["username"]), (&json!("a"), &json!("acme")));
    env.server.command(&["credential", "remove", "a"], "").await.expect(1);
    env.server.command(&["close", opened["session_id"].as_str().unwrap()], "").await.expect(0);
    env.server.command(&["credential", "remove", "a"], "").await.expect(0);
}
