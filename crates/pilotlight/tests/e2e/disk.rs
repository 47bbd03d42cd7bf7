//! A full disk: what was answered is what is there, also after a restart.

use futures_util::future::join_all;
use pilotlight_api::{Health, HealthStatus, Session, SessionState};
use pilotlight_testkit::harness::{Server, expect_that, wait_for};
use pilotlight_testkit::portal::{Portal, PortalOptions};
use serde_json::json;

use crate::support::{SOON, TestEnv, account, options, path};

/// The server's disk.
const DISK_BYTES: u64 = 24 << 20;
const REFUSED: (u16, &str) = (507, "storage_full");

async fn test_env() -> TestEnv {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let server = Server::start(options().disk(DISK_BYTES).site("portal", portal.site())).await;
    TestEnv { server, portal }
}

/// Waits until everything that is owed is on the disk, and nothing is about to be written.
async fn is_at_rest(env: &TestEnv) {
    wait_for("all states to be written down", SOON, async || {
        let now = env.client().sessions().await;
        expect_that(now.iter().all(|session| session.checkpoint_at.is_some()), now)
    })
    .await;
}

async fn health(env: &TestEnv) -> Health {
    env.client().get("/health").await.expect(200).typed()
}

async fn can_write(env: &TestEnv) {
    wait_for("a store that can be written", SOON, async || {
        let now = health(env).await;
        expect_that(!now.reasons.iter().any(|reason| reason.contains("written")), now)
    })
    .await;
}

/// Fills the disk until the server notices. What it wrote a moment ago may still make room when its log is emptied.
async fn fill(env: &TestEnv, session: &Session) {
    wait_for("a full disk", SOON, async || {
        env.server.fill_disk();
        env.client().post_nothing(&path(session, "/ping")).await.expect(200);
        let now = health(env).await;
        expect_that(now.reasons.iter().any(|reason| reason.contains("written")), now)
    })
    .await;
    env.server.fill_disk();
}

/// The same server's next life, on the same disk.
async fn restarted(mut env: TestEnv) -> TestEnv {
    assert_eq!(env.server.terminate().await, 0);
    let TestEnv { server, portal } = env;
    TestEnv { server: server.start_again().await, portal }
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_promised_that_is_not_there_after_a_restart() {
    let env = test_env().await;
    let kept = env.window("kept", json!({})).await;
    let closed = env.window("closed", json!({})).await;
    is_at_rest(&env).await;
    fill(&env, &kept).await;
    let client = env.client();
    let page = format!("{}login", env.portal.url());
    let late = json!({ "url": page, "name": "late" });
    assert_eq!(client.post("/sessions", &late).await.refusal(), REFUSED);
    assert_eq!(client.post("/sessions", &account("acme")).await.refusal(), REFUSED);
    assert_eq!(env.portal.total_sign_ins(), 0, "a sign-in was typed that is written down nowhere");
    assert_eq!(client.post(&path(&kept, "/hold"), &json!({ "ttl": 600 })).await.refusal(), REFUSED);
    let patch = json!({ "name": "other", "tags": { "a": "b" }, "never_terminate": true });
    assert_eq!(client.patch(&path(&kept, ""), &patch).await.refusal(), REFUSED);
    let credential = json!({ "username": "acme", "password": "secret" });
    assert_eq!(client.put("/credentials/a", &credential).await.refusal(), REFUSED);
    let steps: Vec<_> = (0..200).map(|_| json!({"type": "navigate", "url": env.portal.url()})).collect();
    let site = json!({ "start_url": env.portal.url(), "signed_in": { "selector": "#user" },
        "sign_in": { "title": "sign in", "steps": steps } });
    assert_eq!(client.put("/sites/new", &site).await.refusal(), REFUSED);
    let sick = health(&env).await;
    assert_eq!(sick.status, HealthStatus::Degraded);
    assert!(sick.reasons.iter().any(|reason| reason.contains("written")), "{sick:?}");
    // Nothing is left half done.
    let unchanged = |now: &Session| {
        (now.name.as_deref(), now.tags.len(), now.never_terminate, now.in_use)
            == (Some("kept"), 0, false, false)
    };
    let now = client.session(&kept).await;
    assert!(unchanged(&now), "{now:?}");
    assert_eq!(env.names().await, ["closed", "kept"]);
    // An equal request finds what is there, which promises nothing new.
    let equal = json!({ "url": page, "name": "kept" });
    assert_eq!(client.post("/sessions", &equal).await.expect(200).session().session_id, kept.session_id);
    // For an end there is room kept free.
    client.delete(&path(&closed, "")).await.expect(200);

    let env = restarted(env).await;
    assert_eq!(env.names().await, ["kept"], "after a restart on the full disk");
    let now = env.client().session(&kept).await;
    assert!(unchanged(&now), "{now:?}");
    assert_eq!(env.client().get(&path(&closed, "")).await.refusal(), (410, "session_ended"));
    assert_eq!(env.client().get("/credentials").await.expect(200).body["credentials"], json!([]));
    assert_eq!(env.client().get("/sites").await.expect(200).body["sites"], json!(["portal"]));

    env.server.empty_disk();
    can_write(&env).await;
    env.client().create(&late).await;
    let env = restarted(env).await;
    assert_eq!(env.names().await, ["kept", "late"], "with room again");
}

#[tokio::test]
async fn changes_that_overlap_on_a_full_disk_leave_nothing_of_each_other() {
    let env = test_env().await;
    let kept = env.window("kept", json!({ "tags": { "is": "first" } })).await;
    is_at_rest(&env).await;
    fill(&env, &kept).await;
    let before = env.client().session(&kept).await;
    let changes: Vec<_> = (0..8)
        .map(|number| {
            json!({ "tags": { "is": number.to_string() }, "name": format!("other-{number}"), "idle_timeout": 60 + number,
                "never_terminate": number % 2 == 0 })
        })
        .collect();
    let address = path(&kept, "");
    let sent = changes.iter().map(|change| env.client().patch(&address, change));
    for answer in join_all(sent).await {
        assert_eq!(answer.refusal(), REFUSED);
    }
    let said = |now: &Session| (now.name.clone(), now.tags.clone(), now.never_terminate, now.idle_timeout);
    assert_eq!(said(&env.client().session(&kept).await), said(&before));
    env.server.empty_disk();
    can_write(&env).await;
    let env = restarted(env).await;
    assert_eq!(said(&env.client().session(&kept).await), said(&before), "after a restart");
}

#[tokio::test]
async fn a_close_that_could_not_be_written_is_refused_and_made_good() {
    let env = test_env().await;
    let first = env.window("first", json!({})).await;
    let second = env.window("second", json!({})).await;
    is_at_rest(&env).await;
    fill(&env, &first).await;
    env.client().delete(&path(&first, "")).await.expect(200);
    // Another program takes up the reserved space.
    env.server.fill_disk();
    assert_eq!(env.client().delete(&path(&second, "")).await.refusal(), REFUSED);
    env.server.empty_disk();
    can_write(&env).await;
    let env = restarted(env).await;
    assert!(env.names().await.is_empty(), "a closed session came back: {:?}", env.names().await);
}

#[tokio::test]
async fn a_sign_in_that_cannot_be_recorded_is_not_typed_until_it_can_be() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    is_at_rest(&env).await;
    assert_eq!(env.portal.sign_ins("acme"), 1);
    fill(&env, &session).await;
    env.portal.log_everybody_out();
    let refused = env.client().post_nothing(&path(&session, "/refresh")).await;
    assert_eq!(refused.refusal(), REFUSED);
    assert_eq!(env.portal.sign_ins("acme"), 1, "it was typed");
    env.server.empty_disk();
    can_write(&env).await;
    env.client().post_nothing(&path(&session, "/refresh")).await.expect(200);
    env.reaches(&session, SessionState::Ready).await;
    assert_eq!(env.portal.sign_ins("acme"), 2);
}
