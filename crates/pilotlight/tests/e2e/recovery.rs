//! Browsers and pages die; sessions do not.

use std::collections::BTreeSet;
use std::time::Duration;

use pilotlight_api::{EventKind, Session, SessionState};
use pilotlight_testkit::harness::{Process, Role, expect_that, wait_for, wait_until_gone};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{House, SOON, account, house, path, with};

/// How soon a dead browser must be noticed.
const NOTICED_WITHIN: Duration = Duration::from_secs(2);

fn of_role(house: &House, role: Role) -> Vec<Process> {
    house.server.processes().into_iter().filter(|process| process.role() == role).collect()
}

#[tokio::test]
async fn a_killed_browser_is_noticed_and_its_sessions_come_back_signed_in() {
    let house = house().await;
    let users = ["north", "south", "east"];
    let mut sessions = Vec::new();
    for user in users {
        sessions.push(house.sign_in(user).await);
    }
    let immortal = with(account("immortal"), json!({ "never_terminate": true }));
    sessions.push(house.client().create(&immortal).await);
    let hold = json!({ "ttl": 600 });
    house.client().post(&path(&sessions[0], "/hold"), &hold).await.expect(201);
    let mut events = house.client().events("/events").await;

    wait_for("all states to be written down", SOON, async || {
        let now = house.client().sessions().await;
        expect_that(now.iter().all(|session| session.storage_bytes.is_some()), now)
    })
    .await;
    let before = house.server.processes();
    let browsers = of_role(&house, Role::Browser);
    assert_eq!(browsers.len(), 1, "{browsers:#?}");
    let killed_at = Instant::now();
    browsers[0].kill();
    let lost = events.kind(EventKind::WindowLost, NOTICED_WITHIN).await;
    assert!(!lost.sentence.is_empty() && !lost.reason.is_empty());

    let ids = |sessions: &[Session]| -> BTreeSet<_> { sessions.iter().map(|one| one.session_id).collect() };
    wait_for("everybody to be back", SOON, async || {
        let elapsed = killed_at.elapsed();
        let now = house.client().sessions().await;
        assert_eq!(ids(&now), ids(&sessions), "the list is not whole");
        for session in &now {
            let user = session.username.as_deref().unwrap();
            // Whoever is called ready has a new window; a moment is allowed for noticing.
            let claims = session.state == SessionState::Ready && elapsed > NOTICED_WITHIN;
            assert!(!claims || session.shard != sessions[0].shard, "{user}: {session:?}");
        }
        let all_ready = now.iter().all(|session| session.state == SessionState::Ready);
        let nobody_again =
            ["north", "south", "east", "immortal"].map(|user| house.portal.sign_ins(user)) == [1; 4];
        assert!(nobody_again, "somebody was signed in anew");
        expect_that(all_ready, now)
    })
    .await;
    assert!(house.client().session(&sessions[0]).await.in_use, "the hold was lost");
    for (user, session) in users.iter().zip(&sessions) {
        let shown = house.client().evaluate(session, "document.querySelector('#user').textContent").await;
        assert_eq!(shown, *user);
    }
    wait_until_gone(&before, SOON).await;
}

#[tokio::test]
async fn a_crashed_tab_is_loaded_again() {
    let house = house().await;
    let session = house.sign_in("acme").await;
    house.client().evaluate(&session, "window.mark = 'here'").await;
    let mut events = house.client().events(&path(&session, "/events")).await;
    let renderers = of_role(&house, Role::Renderer);
    assert!(!renderers.is_empty(), "no renderer is there");
    renderers.iter().for_each(Process::kill);
    let crashed = events.kind(EventKind::PageCrashed, NOTICED_WITHIN).await;
    assert!(!crashed.sentence.is_empty());
    house.reaches(&session, SessionState::Ready).await;
    wait_for("the page to be loaded again", SOON, async || {
        let body =
            json!({ "expression": "[document.querySelector('#user').textContent, window.mark ?? null]" });
        let answer = house.client().post(&path(&session, "/evaluate"), &body).await;
        expect_that(answer.body["result"] == json!(["acme", null]), answer)
    })
    .await;
    assert_eq!(house.portal.sign_ins("acme"), 1, "a crashed page costs no sign-in");
}

#[tokio::test]
async fn a_restart_opens_the_window_anew() {
    let house = house().await;
    let session = house.sign_in("acme").await;
    let restarted = house.client().post_nothing(&path(&session, "/restart")).await.expect(200).session();
    assert_eq!((restarted.session_id, restarted.state), (session.session_id, SessionState::Ready));
    assert_eq!(house.portal.sign_ins("acme"), 1, "its state came along");
    let shown = house.client().evaluate(&session, "document.querySelector('#user').textContent").await;
    assert_eq!(shown, "acme");
}

#[tokio::test]
async fn a_page_that_hangs_in_a_script_is_freed_by_its_refresh() {
    let house = house().await;
    let session = house.sign_in("loop").await;
    house.client().evaluate(&session, "setTimeout(() => { for (;;); }, 0), 1").await;
    let refreshed = house.client().post_nothing(&path(&session, "/refresh")).await.expect(200).session();
    assert_eq!(refreshed.state, SessionState::Ready);
    assert_eq!(house.client().evaluate(&session, "1 + 1").await, 2);
    assert_eq!(house.portal.sign_ins("loop"), 1, "it is still signed in");
}
