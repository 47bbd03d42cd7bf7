//! Many sessions that stand still, or for which there is not enough memory, for a while.
//!
//! `make soak` runs them with 60 sessions, for ten minutes and for five; in the ordinary run they are few and short.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use pilotlight_api::{Session, SessionState};
use pilotlight_linux::{ProcessMemory, Swap};
use pilotlight_testkit::harness::{Server, expect_that, wait_for};
use pilotlight_testkit::portal::{Portal, PortalOptions};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{TestEnv, account, options, path, test_env_with, with};

/// What the long run has.
const SESSIONS: usize = 60;
const SESSIONS_SHORT: usize = 6;
/// Sessions that are made at once.
const AT_ONCE: usize = 4;
/// How long freezing, hibernating and measuring may take together. Machines that run tests are slow.
const EVENTUALLY: Duration = Duration::from_secs(90);

/// How long a long run goes on; `None` in the ordinary run.
fn long_run() -> Option<Duration> {
    let seconds = std::env::var("PILOTLIGHT_SOAK_SECONDS").ok()?;
    Some(Duration::from_secs(seconds.parse().expect("PILOTLIGHT_SOAK_SECONDS is no number")))
}

fn sessions() -> usize {
    if long_run().is_some() { SESSIONS } else { SESSIONS_SHORT }
}

/// So many sessions at work on a page that holds much.
async fn crowd(env: &TestEnv, more: Value) -> Vec<Session> {
    let open = async |number: usize| {
        let session = env.client().create(&with(account(&format!("driver-{number}")), more.clone())).await;
        let body = json!({ "url": format!("{}yard", env.portal.url()) });
        env.client().post(&path(&session, "/navigate"), &body).await.expect(200);
        env.client().evaluate(&session, &format!("globalThis.kept = {number}")).await;
        session
    };
    stream::iter(0..sessions()).map(open).buffered(AT_ONCE).collect().await
}

/// What all browsers really take, swap as it is compressed. Not by what the server says of it.
fn used_bytes(env: &TestEnv) -> u64 {
    let server = env.server.server_pid();
    let processes = env.server.processes().into_iter().filter(|process| process.id != server);
    let memory: ProcessMemory =
        processes.filter_map(|process| ProcessMemory::of(u32::try_from(process.id).unwrap())).sum();
    memory.bytes + Swap::now().held_bytes(memory.swapped_bytes)
}

/// Stopped timers never cost a sign-in: what is frozen is refreshed from within its page, and stands still again.
#[tokio::test]
async fn soak_what_is_frozen_stays_signed_in_with_its_memory() {
    let (time, interval, patience) = match long_run() {
        Some(time) => (2 * time, 60, 150),
        // Several times the interval, as on machines that are slow a refresh comes late.
        None => (Duration::from_secs(40), 8, 35),
    };
    let portal = PortalOptions { session_timeout: Duration::from_secs(patience), ..PortalOptions::default() };
    let portal = Portal::start(portal).await.unwrap();
    let mut site = portal.site();
    let reload = "refresh = { how = \"reload\"";
    assert!(site.site_toml.contains(reload), "{}", site.site_toml);
    let request = format!("refresh = {{ how = \"request\", url = \"{}\"", portal.url());
    site.site_toml = site.site_toml.replace(reload, &request);
    let config = "[limits]\nmax_live = 80\nmemory_budget = \"24GiB\"\n[sessions]\nfreeze_after = \"1s\"\nrefresh_check = \"1s\"";
    let server = Server::start(options().config(config).site("portal", site)).await;
    let env = TestEnv { server, portal };
    let sessions = crowd(&env, json!({ "refresh_interval": interval })).await;
    let end = Instant::now() + time;
    let mut most_frozen = 0;
    wait_for("the end of the time", time + EVENTUALLY, async || {
        let now = env.client().sessions().await;
        most_frozen =
            most_frozen.max(now.iter().filter(|session| session.state == SessionState::Frozen).count());
        let lost: Vec<_> = now
            .iter()
            .filter(|session| !matches!(session.state, SessionState::Frozen | SessionState::Ready))
            .collect();
        assert!(lost.is_empty() && now.len() == sessions.len(), "{lost:#?}");
        expect_that(Instant::now() >= end, most_frozen)
    })
    .await;
    assert!(most_frozen >= sessions.len() / 2, "only {most_frozen} were ever frozen at once");
    for (number, session) in sessions.iter().enumerate() {
        assert_eq!(env.client().evaluate(session, "kept").await, number, "its page's memory");
    }
    for (user, counts) in &env.portal.statistics().users {
        assert_eq!((counts.sign_ins, counts.expired), (1, 0), "{user}: {counts:?}");
        let least = time.as_secs() / (2 * interval);
        assert!(counts.requests >= least, "{user}: {counts:?}");
    }
    println!("{} sessions, for {time:?}, up to {most_frozen} of them frozen at once", sessions.len());
}

/// With a third of the memory that all windows need at once, all sessions are served in turn.
#[tokio::test]
async fn soak_with_a_third_of_the_memory_everybody_is_served() {
    let live = "[limits]\nmax_live = 80\nmemory_budget = \"24GiB\"\n[sessions]\nfreeze_after = \"never\"";
    let env = test_env_with(live, PortalOptions::default()).await;
    crowd(&env, json!({})).await;
    let all = used_bytes(&env);
    drop(env);

    let budget = all / 3;
    let config = live.replace("\"24GiB\"", &budget.to_string());
    let env = test_env_with(&config, PortalOptions::default()).await;
    let sessions = crowd(&env, json!({})).await;
    let fits = async || {
        wait_for("the windows to fit", EVENTUALLY, async || {
            let used = used_bytes(&env);
            expect_that(used <= budget / 10 * 11, used)
        })
        .await;
    };
    // They were all made at once, and memory is measured now and then.
    fits().await;
    let end = Instant::now() + long_run().unwrap_or(Duration::from_secs(15));
    let (mut cold, mut most) = (Vec::new(), 0);
    let mut turns = 0;
    while Instant::now() < end || (cold.is_empty() && Instant::now() < end + EVENTUALLY) {
        for session in &sessions {
            let before = env.client().session(session).await;
            let started = Instant::now();
            let user = env.client().evaluate(session, "document.querySelector('#user')?.textContent").await;
            if matches!(before.state, SessionState::Frozen | SessionState::Hibernated) {
                cold.push(started.elapsed());
            }
            assert!(user.as_str().is_some_and(|user| user.contains("driver")), "{before:?} shows {user}");
            most = most.max(used_bytes(&env));
        }
        turns += 1;
    }
    fits().await;
    let now = env.client().sessions().await;
    assert_eq!(now.len(), sessions.len(), "somebody is lost");
    for (user, counts) in &env.portal.statistics().users {
        assert_eq!(counts.sign_ins, 1, "{user}: {counts:?}");
    }
    cold.sort();
    assert!(!cold.is_empty(), "nobody was ever cold");
    let percentile = |percent: usize| cold[(cold.len() * percent).div_ceil(100) - 1];
    println!(
        "{} sessions, {turns} turns, live they take {all} bytes, the budget was {budget} and the most taken {most} ({} %). \
         {} uses of cold ones: p50 {:?}, p99 {:?}",
        sessions.len(),
        most * 100 / budget,
        cold.len(),
        percentile(50),
        percentile(99)
    );
    // The least that a budget can be kept to: one browser with a window or two.
    let spare = if long_run().is_some() { budget / 10 } else { budget };
    assert!(most <= budget + spare, "{most} of {budget} were taken");
}
