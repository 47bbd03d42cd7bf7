//! Browsers and pages die; sessions do not.

use std::collections::BTreeSet;
use std::time::Duration;

use pilotlight_api::{EventKind, Session, SessionState};
use pilotlight_testkit::harness::{Process, Role, expect_that, wait_for, wait_until_gone};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{SOON, TestEnv, account, path, test_env, with};

/// How soon a dead browser must be noticed.
const NOTICED_WITHIN: Duration = Duration::from_secs(2);

fn of_role(env: &TestEnv, role: Role) -> Vec<Process> {
    env.server.processes().into_iter().filter(|process| process.role() == role).collect()
}

#[tokio::test]
async fn a_killed_browser_is_noticed_and_its_sessions_come_back_signed_in() {
    let env = test_env().await;
    let users = ["north", "south", "east"];
    let mut sessions = Vec::new();
    for user in users {
        sessions.push(env.sign_in(user).await);
    }
    let immortal = with(account("immortal"), json!({ "never_terminate": true }));
    sessions.push(env.client().create(&immortal).await);
    let hold = json!({ "ttl": 600 });
    env.client().post(&path(&sessions[0], "/hold"), &hold).await.expect(201);
    let mut events = env.client().events("/events").await;

    wait_for("all states to be written down", SOON, async || {
        let now = env.client().sessions().await;
        expect_that(now.iter().all(|session| session.storage_bytes.is_some()), now)
    })
    .await;
    let before = env.server.processes();
    let browsers = of_role(&env, Role::Browser);
    assert_eq!(browsers.len(), 1, "{browsers:#?}");
    let killed_at = Instant::now();
    browsers[0].kill();
    let lost = events.kind(EventKind::WindowLost, NOTICED_WITHIN).await;
    assert!(!lost.message.is_empty() && !lost.reason.is_empty());

    let ids = |sessions: &[Session]| -> BTreeSet<_> { sessions.iter().map(|one| one.session_id).collect() };
    wait_for("everybody to be back", SOON, async || {
        let elapsed = killed_at.elapsed();
        let now = env.client().sessions().await;
        assert_eq!(ids(&now), ids(&sessions), "the list is not whole");
        for session in &now {
            let user = session.username.as_deref().unwrap();
            // Whoever is called ready has a new window; a moment is allowed for noticing.
            let claims = session.state == SessionState::Ready && elapsed > NOTICED_WITHIN;
            assert!(!claims || session.shard != sessions[0].shard, "{user}: {session:?}");
        }
        let all_ready = now.iter().all(|session| session.state == SessionState::Ready);
        let nobody_again =
            ["north", "south", "east", "immortal"].map(|user| env.portal.sign_ins(user)) == [1; 4];
        assert!(nobody_again, "somebody was signed in anew");
        expect_that(all_ready, now)
    })
    .await;
    assert!(env.client().session(&sessions[0]).await.in_use, "the hold was lost");
    for (user, session) in users.iter().zip(&sessions) {
        let shown = env.client().evaluate(session, "document.querySelector('#user').textContent").await;
        assert_eq!(shown, *user);
    }
    wait_until_gone(&before, SOON).await;
}

/// Between the death of a browser and the news of it nothing is the fault of a session.
#[tokio::test]
async fn what_is_asked_for_in_the_moment_when_a_browser_dies_is_done_in_another() {
    let env = test_env().await;
    let sleeper = env.window("sleeper", json!({ "refresh_interval": 0 })).await;
    env.window("other", json!({ "refresh_interval": 0 })).await;
    // A browser that keeps dying is told: not so often.
    for round in 0..3 {
        env.client().post(&path(&sleeper, "/hibernate"), &json!({})).await.expect(200);
        let browsers = of_role(&env, Role::Browser);
        browsers.iter().for_each(Process::kill);
        // As soon as can be, and then a little later each time.
        tokio::time::sleep(Duration::from_millis(5 * round)).await;
        let woken = env.client().post(&path(&sleeper, "/wake"), &json!({})).await.expect(200);
        assert_eq!(woken.session().state, SessionState::Ready);
        wait_for("everybody to be back", SOON, async || {
            let now = env.client().sessions().await;
            expect_that(now.iter().all(|session| session.state == SessionState::Ready), now)
        })
        .await;
    }
}

#[tokio::test]
async fn a_crashed_tab_is_loaded_again() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    env.client().evaluate(&session, "window.mark = 'here'").await;
    let mut events = env.client().events(&path(&session, "/events")).await;
    let renderers = of_role(&env, Role::Renderer);
    assert!(!renderers.is_empty(), "no renderer is there");
    renderers.iter().for_each(Process::kill);
    let crashed = events.kind(EventKind::PageCrashed, NOTICED_WITHIN).await;
    assert!(!crashed.message.is_empty());
    env.reaches(&session, SessionState::Ready).await;
    wait_for("the page to be loaded again", SOON, async || {
        let body =
            json!({ "expression": "[document.querySelector('#user').textContent, window.mark ?? null]" });
        let answer = env.client().post(&path(&session, "/evaluate"), &body).await;
        expect_that(answer.body["result"] == json!(["acme", null]), answer)
    })
    .await;
    assert_eq!(env.portal.sign_ins("acme"), 1, "a crashed page costs no sign-in");
}

#[tokio::test]
async fn a_restart_opens_the_window_anew() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    let restarted = env.client().post_nothing(&path(&session, "/restart")).await.expect(200).session();
    assert_eq!((restarted.session_id, restarted.state), (session.session_id, SessionState::Ready));
    assert_eq!(env.portal.sign_ins("acme"), 1, "its state came along");
    let shown = env.client().evaluate(&session, "document.querySelector('#user').textContent").await;
    assert_eq!(shown, "acme");
}

#[tokio::test]
async fn a_page_that_hangs_in_a_script_is_freed_by_its_refresh() {
    let env = test_env().await;
    let session = env.sign_in("loop").await;
    env.client().evaluate(&session, "setTimeout(() => { for (;;); }, 0), 1").await;
    let refreshed = env.client().post_nothing(&path(&session, "/refresh")).await.expect(200).session();
    assert_eq!(refreshed.state, SessionState::Ready);
    assert_eq!(env.client().evaluate(&session, "1 + 1").await, 2);
    assert_eq!(env.portal.sign_ins("loop"), 1, "it is still signed in");
}
