//! Many more sessions than windows.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use pilotlight_api::Session;
use pilotlight_testkit::harness::pss_bytes;
use serde_json::json;

use super::work::brought_back;
use super::{Chance, rounds};
use crate::support::{TestEnv, test_env_with};

const SESSIONS: usize = 200;
const MAX_LIVE: usize = 10;
/// Who comes at the same time.
const VISITORS: usize = 4;

/// A session, and what was last written in it.
struct Kept {
    session: Session,
    value: String,
}

impl Kept {
    /// Looks whether it has what was written, and writes something else.
    async fn visit(&mut self, env: &TestEnv, value: String) {
        let work = env.read(&self.session).await;
        assert_eq!(work.that_is_kept(), brought_back(&self.value));
        env.write(&self.session, &value).await;
        self.value = value;
    }
}

#[tokio::test]
#[ignore = "takes minutes: make chaos"]
async fn two_hundred_sessions_share_ten_windows() {
    let mut chance = Chance::new();
    let config = format!("[limits]\nmax_live = {MAX_LIVE}\nqueue_timeout = \"60s\"");
    let env = test_env_with(&config, Default::default()).await;
    let users: Vec<_> = (0..SESSIONS).map(|index| format!("user-{index}")).collect();
    let mut all = Vec::new();
    for few in users.chunks(VISITORS) {
        let sessions = join_all(few.iter().map(|user| env.at_work(user, json!({})))).await;
        let kept = sessions.into_iter().zip(few);
        all.extend(kept.map(|(session, user)| Kept { session, value: user.clone() }));
        assert!(env.live().await <= MAX_LIVE);
    }
    assert_eq!(env.client().sessions().await.len(), SESSIONS);

    let indices: Vec<_> = (0..SESSIONS).collect();
    let mut visits = 0;
    for round in rounds(SESSIONS / VISITORS) {
        let chosen: BTreeMap<_, _> =
            (0..VISITORS).map(|_| (*chance.pick(&indices), format!("round-{round}"))).collect();
        let visitors =
            all.iter_mut().enumerate().filter_map(|(index, kept)| Some((kept, chosen.get(&index)?)));
        visits += join_all(visitors.map(|(kept, value)| kept.visit(&env, value.clone()))).await.len();
        assert!(env.live().await <= MAX_LIVE);
    }
    env.all_tell_the_same().await;
    env.each_signed_in_once();
    let memory = pss_bytes(env.server.server_pid()).expect("the server runs");
    println!("{SESSIONS} sessions in {MAX_LIVE} windows, {visits} visits; the server takes {memory} bytes.");
}
