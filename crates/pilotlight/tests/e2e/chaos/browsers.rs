//! Browsers and shims die at any moment; sessions come back from what was stored of them.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::{Chance, rounds};
use crate::support::{TestEnv, test_env, test_env_with};

/// How soon what changed in a page is stored, and a little more for a slow machine.
pub(super) const STORED_WITHIN: Duration = Duration::from_secs(10 + 2);
/// The longest peace between two acts of violence: some come while browsers are new, some later.
const LONGEST_PEACE: Duration = Duration::from_secs(2);
/// The same in the rounds that a long run has more.
const LONGEST_PEACE_LATER: Duration = Duration::from_secs(20);
const USERS: [&str; 5] = ["north", "south", "east", "west", "centre"];
const SHORT_ROUNDS: usize = 2;

#[tokio::test]
async fn browsers_and_shims_die_at_any_moment_and_no_session_does() {
    let mut chance = Chance::new();
    let env = test_env_with("[limits]\nwindows_per_browser = 2", Default::default()).await;
    let mut sessions = Vec::new();
    for user in USERS {
        let session = env.at_work(user, json!({})).await;
        // What is put away is stored.
        env.order(&session, "/hibernate").await;
        sessions.push(env.order(&session, "/wake").await);
    }
    for round in rounds(SHORT_ROUNDS) {
        let longest = if round < SHORT_ROUNDS { LONGEST_PEACE } else { LONGEST_PEACE_LATER };
        sleep(chance.moment(longest)).await;
        let shims = env.server.shims();
        assert!(!shims.is_empty(), "no shim is named in the run folder");
        let first = chance.pick(&shims);
        for shim in &shims {
            let victim = if chance.coin() { &shim.shim } else { &shim.browser };
            if shim == first || chance.coin() {
                victim.kill_if_alive();
            }
        }
        for (session, user) in sessions.iter().zip(USERS) {
            env.has_kept(session, user).await;
        }
        env.all_tell_the_same().await;
    }
    env.each_signed_in_once();
}

#[tokio::test]
async fn what_changed_ten_seconds_ago_outlasts_the_browser() {
    let env = test_env().await;
    let session = env.at_work("acme", json!({})).await;
    env.write(&session, "before").await;
    sleep(STORED_WITHIN).await;
    kill_browsers(&env);
    env.has_kept(&session, "before").await;
    // The cookie of the session was changed by each writing: an older one would have cost a sign-in.
    env.each_signed_in_once();
    assert_eq!(env.read(&session).await.counter, 0, "it is another window");
}

pub(super) fn kill_browsers(env: &TestEnv) {
    let shims = env.server.shims();
    assert!(!shims.is_empty(), "no shim is named in the run folder");
    shims.iter().for_each(|shim| shim.browser.kill());
}
