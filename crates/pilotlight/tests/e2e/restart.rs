//! The server ends and starts again; the windows stay.

use std::fs;
use std::time::Duration;

use futures_util::future::join_all;
use pilotlight_api::{HoldAnswer, Session, SessionState};
use pilotlight_testkit::harness::{Client, Shim, expect_that, wait_for, wait_until_gone};
use pilotlight_testkit::portal::Work;
use serde_json::json;
use tokio::time::sleep;

use crate::chaos::work::{ids, try_evaluate};
use crate::chaos::{Chance, is_long, rounds};
use crate::support::{SOON, TestEnv, path, test_env, test_env_with};

/// On a machine that does nothing else it is a fifth of this.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// When the server is killed, at the latest.
const LONGEST_LOAD: Duration = Duration::from_millis(600);
/// Sessions of a short run, and of a long one.
const SESSIONS: (usize, usize) = (4, 20);

async fn at_work(env: &TestEnv, count: usize) -> Vec<Session> {
    let mut sessions = Vec::new();
    for index in 0..count {
        sessions.push(env.at_work(&format!("user-{index}"), json!({})).await);
    }
    sessions
}

/// The shims, of which there must be some.
fn shims(env: &TestEnv) -> Vec<Shim> {
    let shims = env.server.shims();
    assert!(!shims.is_empty(), "no shim is named in the run folder: {:#?}", env.server.processes());
    shims
}

fn all_still_run(shims: &[Shim]) {
    for shim in shims {
        assert!(shim.shim.is_alive() && shim.browser.is_alive(), "{shim:?} has ended");
    }
}

/// How often was counted in a page.
struct Counted {
    asked: u64,
    answered: u64,
}

/// Counts in a session's page until the server is no more.
async fn count_on(client: &Client, session: &Session) -> Counted {
    let mut counted = Counted { asked: 0, answered: 0 };
    loop {
        counted.asked += 1;
        match try_evaluate(client, session, "workbench.count()").await {
            Ok(answer) => {
                answer.expect(200);
                counted.answered += 1;
            }
            Err(_) => return counted,
        }
    }
}

#[tokio::test]
async fn killed_under_load_it_loses_no_session_and_no_variable() {
    let mut chance = Chance::new();
    // Several browsers, so that there is more than one to take over.
    let (count, windows) = if is_long() { (SESSIONS.1, 8) } else { (SESSIONS.0, 2) };
    let config = format!("[limits]\nmax_live = 40\nwindows_per_browser = {windows}");
    let mut env = test_env_with(&config, Default::default()).await;
    let sessions = at_work(&env, count).await;
    let shims = shims(&env);
    let client = env.client().clone();
    let mut counters = vec![1; count];
    let mut times = Vec::new();
    for _ in rounds(5) {
        let moment = chance.moment(LONGEST_LOAD);
        let load = join_all(sessions.iter().map(|session| count_on(&client, session)));
        let kill = async {
            sleep(moment).await;
            env.server.kill_server();
        };
        let (counted, ()) = tokio::join!(load, kill);
        let (again, time) = env.start_again().await;
        env = again;
        times.push(time);
        // From its first response on, no session is missing.
        assert_eq!(ids(&env.client().sessions().await), ids(&sessions), "the list is not whole");
        for (index, (session, counted)) in sessions.iter().zip(counted).enumerate() {
            env.reaches(session, SessionState::Ready).await;
            let work = env.read(session).await;
            let possible = counters[index] + counted.answered..=counters[index] + counted.asked;
            assert!(possible.contains(&work.counter), "{} is not in {possible:?}", work.counter);
            counters[index] = work.counter;
            assert_eq!(work, Work::written(&format!("user-{index}"), work.counter));
        }
        all_still_run(&shims);
    }
    env.each_signed_in_once();
    times.sort();
    println!("Killed {} times, it was ready again after {times:?}.", times.len());
    assert!(times.iter().all(|time| *time <= READY_WITHIN), "it was ready again after {times:?}");
}

#[tokio::test]
async fn asked_to_end_it_leaves_the_windows() {
    let mut env = test_env().await;
    let sessions = at_work(&env, SESSIONS.0).await;
    let shims = shims(&env);
    assert_eq!(env.server.terminate().await, 0);
    all_still_run(&shims);
    let (env, _) = env.start_again().await;
    for (index, session) in sessions.iter().enumerate() {
        env.reaches(session, SessionState::Ready).await;
        assert_eq!(env.read(session).await, Work::written(&format!("user-{index}"), 1));
    }
    all_still_run(&shims);
    env.each_signed_in_once();
}

#[tokio::test]
async fn a_hold_outlasts_the_server() {
    let mut env = test_env().await;
    let session = env.window("a", json!({})).await;
    let body = json!({ "ttl": 600, "owner": "first" });
    let hold: HoldAnswer = env.client().post(&path(&session, "/hold"), &body).await.expect(201).typed();
    env.server.kill_server();
    let (env, _) = env.start_again().await;
    assert!(env.client().session(&session).await.in_use, "the hold was lost");
    let second = env.client().post(&path(&session, "/hold"), &json!({})).await;
    assert_eq!(second.refusal(), (409, "session_in_use"), "{}", second.body);
    let below = path(&session, &format!("/hold/{}", hold.hold_id));
    env.client().delete(&below).await.expect(200);
    assert!(!env.client().session(&session).await.in_use);
}

#[tokio::test]
async fn what_was_answered_as_created_is_there_whenever_it_is_killed() {
    let mut env = test_env().await;
    let mut sessions = Vec::new();
    for round in rounds(4) {
        let tags = json!({ "tags": { "round": round.to_string() } });
        sessions.push(env.window(&format!("w{round}"), tags).await);
        env.server.kill_server();
        env = env.start_again().await.0;
        for session in &sessions {
            let now = env.client().session(session).await;
            assert_eq!((now.name, now.tags), (session.name.clone(), session.tags.clone()));
        }
        if sessions.len() > SESSIONS.0 {
            env.client().delete(&path(&sessions.remove(0), "")).await.expect(200);
        }
    }
    for session in &sessions {
        env.reaches(session, SessionState::Ready).await;
        assert_eq!(env.client().evaluate(session, "1 + 1").await, 2);
    }
}

#[tokio::test]
async fn what_was_closed_leaves_nothing_and_stays_closed() {
    let mut env = test_env().await;
    // A browser of its own goes at once; others are kept for a while for the next window.
    let session = env.at_work("acme", json!({ "isolation": "dedicated" })).await;
    let processes: Vec<_> = shims(&env).into_iter().flat_map(|shim| [shim.shim, shim.browser]).collect();
    env.client().delete(&path(&session, "")).await.expect(200);
    wait_until_gone(&processes, SOON).await;
    wait_for("an empty run folder", SOON, async || {
        let entries = fs::read_dir(env.server.run_dir()).unwrap().flatten();
        let folders: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        expect_that(folders.is_empty(), folders)
    })
    .await;
    env.server.kill_server();
    let (env, _) = env.start_again().await;
    assert!(env.client().sessions().await.is_empty());
    let answer = env.client().get(&path(&session, "")).await;
    assert_eq!(answer.refusal(), (410, "session_ended"), "{}", answer.body);
    // Another of the same account is another session.
    let other = env.sign_in("acme").await;
    assert_ne!(other.session_id, session.session_id);
    assert_eq!(env.portal.sign_ins("acme"), 2);
}

#[tokio::test]
async fn the_harness_takes_along_what_outlives_a_server() {
    let mut env = test_env().await;
    env.window("a", json!({})).await;
    let processes = env.server.processes();
    assert!(processes.len() > 1, "{processes:?}");
    env.server.kill_server();
    drop(env);
    wait_until_gone(&processes, SOON).await;
}
