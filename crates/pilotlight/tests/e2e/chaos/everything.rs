//! The power goes: everything ends at once, and what was last written to the disk is not whole.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use pilotlight_api::Session;
use pilotlight_testkit::harness::{expect_that, wait_for};
use serde_json::json;
use tokio::time::sleep;

use super::work::{ids, try_evaluate, writing};
use super::{Chance, PATIENCE, rounds};
use crate::support::{TestEnv, path, test_env};

const USERS: [&str; 3] = ["north", "south", "east"];
/// When the power goes, at the latest.
const LONGEST_WORK: Duration = Duration::from_secs(2);

impl TestEnv {
    /// Kills the server, its shims and its browsers.
    pub(crate) fn kill_everything(&mut self) {
        let processes = self.server.processes();
        self.server.kill_server();
        for process in processes {
            // It may have ended with another.
            process.kill_if_alive();
        }
    }

    fn log(&self) -> PathBuf {
        self.server.state_dir().join("pilotlight.db-wal")
    }

    fn log_bytes(&self) -> u64 {
        fs::metadata(self.log()).expect("the store has no write-ahead log").len()
    }

    /// Cuts the store's write-ahead log at a random byte.
    fn cut_log(&self, chance: &mut Chance) {
        let (log, length) = (self.log(), self.log_bytes());
        let left = chance.up_to(length);
        println!("{left} of {length} bytes are left of the log.");
        fs::File::options().write(true).open(&log).unwrap().set_len(left).unwrap();
    }

    /// Ends the server in peace and starts it again: what it has stored is whole then.
    async fn settle(mut self) -> Self {
        assert_eq!(self.server.terminate().await, 0);
        self.start_again().await.0
    }
}

#[tokio::test]
async fn when_everything_is_killed_everybody_comes_back_signed_in() {
    let mut env = test_env().await;
    let mut sessions = Vec::new();
    for user in USERS {
        let session = env.at_work(user, json!({})).await;
        env.order(&session, "/hibernate").await;
        sessions.push(session);
    }
    // One sleeps, the others have windows.
    for session in &sessions[1..] {
        env.order(session, "/wake").await;
    }
    env.kill_everything();
    let (env, _) = env.start_again().await;
    assert_eq!(ids(&env.client().sessions().await), ids(&sessions), "the list is not whole");
    for (session, user) in sessions.iter().zip(USERS) {
        env.has_kept(session, user).await;
    }
    env.all_tell_the_same().await;
    env.each_signed_in_once();
}

/// Writes in a session's page until the server is no more.
async fn write_on(env: &TestEnv, session: &Session) {
    for value in 0.. {
        let expression = writing(&format!("value-{value}"));
        if try_evaluate(env.client(), session, &expression).await.is_err() {
            return;
        }
    }
}

/// Waits until a session answers, in whichever state it is and whatever it lost.
async fn is_of_use(env: &TestEnv, session: &Session) {
    wait_for(&format!("an answer of {:?}", session.name), PATIENCE, async || {
        let answer = try_evaluate(env.client(), session, "1 + 1").await.map_err(|error| error.to_string())?;
        expect_that(answer.body["result"] == 2, answer.body.to_string())
    })
    .await;
}

#[tokio::test]
async fn with_the_end_of_its_log_cut_off_the_store_has_all_that_was_whole_before() {
    let mut chance = Chance::new();
    let mut env = test_env().await;
    let mut old = Vec::new();
    for user in USERS {
        old.push(env.at_work(user, json!({})).await);
    }
    for round in rounds(1) {
        env = env.settle().await;
        let client = env.client().clone();
        let newcomer = env.window(&format!("newcomer-{round}"), json!({})).await;
        let moment = chance.moment(LONGEST_WORK);
        {
            let writers = join_all(old.iter().map(|session| write_on(&env, session)));
            // Who writes is cut off in the middle.
            tokio::select! {
                _ = writers => panic!("the server ended by itself"),
                () = sleep(moment) => {}
            }
        }
        // States are written down a while after the last change; sessions, which empty the log, at once.
        wait_for("something in the log", PATIENCE, async || expect_that(env.log_bytes() > 0, "it is empty"))
            .await;
        env.kill_everything();
        env.cut_log(&mut chance);
        env = env.start_again().await.0;

        let listed = client.sessions().await;
        let (seen, expected) = (ids(&listed), ids(&old));
        assert!(seen.is_superset(&expected), "some are lost: {listed:#?}");
        let strangers: Vec<_> = seen.difference(&expected).filter(|id| **id != newcomer.session_id).collect();
        assert!(strangers.is_empty(), "some were never there, or were closed: {listed:#?}");
        for session in &listed {
            is_of_use(&env, session).await;
        }
        env.all_tell_the_same().await;
        if listed.len() > old.len() {
            client.delete(&path(&newcomer, "")).await.expect(200);
        }
    }
}
