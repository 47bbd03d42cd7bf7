//! Many clients that connect, work and vanish in the middle of it, as those do that are killed; and what is left then.
//!
//! `make vanish` has 50 of them for three minutes; in the ordinary run it is fewer, and short.

use std::cell::RefCell;
use std::time::Duration;

use futures_util::future::join_all;
use pilotlight_api::Session;
use pilotlight_testkit::harness::{DevTools, Role, expect_that, pss_bytes, wait_for};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::chaos::{Chance, PATIENCE};
use crate::support::{TestEnv, test_env_with};

const SESSIONS: usize = 5;
const SHORT: (usize, Duration) = (10, Duration::from_secs(8));
const LONG_CLIENTS: usize = 50;
/// How long a client works at the most before it is no more.
const LONGEST_STAY: Duration = Duration::from_secs(4);
/// What the server's memory may have grown by: allocators do not give everything back.
const MAX_GROWTH_BYTES: u64 = 24 * 1024 * 1024;

fn clients_and_time() -> (usize, Duration) {
    let seconds = std::env::var("PILOTLIGHT_VANISH_SECONDS").ok();
    let seconds = seconds.map(|seconds| seconds.parse().expect("PILOTLIGHT_VANISH_SECONDS is no number"));
    seconds.map_or(SHORT, |seconds| (LONG_CLIENTS, Duration::from_secs(seconds)))
}

/// Works without end, in ways that leave much behind.
async fn work(mut client: DevTools, portal: String) {
    let page = client.first_page().await;
    let attach = json!({ "autoAttach": true, "waitForDebuggerOnStart": true, "flatten": true });
    client.call(None, "Target.setAutoAttach", attach).await;
    client.call(None, "Target.setDiscoverTargets", json!({ "discover": true })).await;
    loop {
        let made = client.call(None, "Target.createBrowserContext", json!({})).await;
        let context = &made["browserContextId"];
        let opened = json!({ "url": format!("{portal}login"), "browserContextId": context });
        let opened = client.call(None, "Target.createTarget", opened).await;
        let attach = json!({ "targetId": opened["targetId"], "flatten": true });
        let attached = client.call(None, "Target.attachToTarget", attach).await;
        let own = attached["sessionId"].as_str().unwrap_or_default();
        client.call(Some(own), "Network.enable", json!({})).await;
        // It waits for us to let it run, and may do so for ever.
        client.tell(Some(own), "Runtime.evaluate", &json!({ "expression": "document.title" })).await;
        client.evaluate(&page, "document.querySelector('#user').textContent").await;
        client.call(Some(&page), "Page.captureScreenshot", json!({ "format": "jpeg" })).await;
        client.call(None, "Target.disposeBrowserContext", json!({ "browserContextId": context })).await;
    }
}

fn renderers(env: &TestEnv) -> usize {
    env.server.processes().iter().filter(|process| process.role() == Role::Renderer).count()
}

/// What a client that comes now finds: one page, and no context.
async fn is_tidy(env: &TestEnv, session: &Session) -> Result<(), Value> {
    let url = session.cdp_url.as_deref().unwrap();
    let mut client =
        DevTools::connect(url, Some(env.client().token())).await.map_err(|error| json!(error))?;
    let targets = client.call(None, "Target.getTargets", json!({})).await["targetInfos"].take();
    let contexts =
        client.call(None, "Target.getBrowserContexts", json!({})).await["browserContextIds"].take();
    client.call(None, "Browser.close", json!({})).await;
    let pages = targets.as_array().into_iter().flatten().filter(|target| target["type"] == "page").count();
    if pages == 1 && contexts == json!([]) { Ok(()) } else { Err(json!([targets, contexts])) }
}

#[tokio::test]
async fn of_clients_that_vanish_nothing_is_left() {
    let (clients, time) = clients_and_time();
    let env = test_env_with("[sessions]\nfreeze_after = \"never\"", Default::default()).await;
    let mut sessions = Vec::new();
    for index in 0..SESSIONS {
        sessions.push(env.sign_in(&format!("user-{index}")).await);
    }
    let server = env.server.server_pid();
    let chance = RefCell::new(Chance::new());
    let end = Instant::now() + time;
    let vanished = RefCell::new(0_usize);
    let mut before = None;
    // A first round is there to fill what stays: threads, buffers, caches.
    for until in [Instant::now() + time / 4, end] {
        let stays = (0..clients).map(|index| {
            let (env, session, chance, vanished) = (&env, &sessions[index % SESSIONS], &chance, &vanished);
            async move {
                while Instant::now() < until {
                    let url = session.cdp_url.as_deref().unwrap();
                    let client = DevTools::connect(url, Some(env.client().token())).await.unwrap();
                    let stay = chance.borrow_mut().moment(LONGEST_STAY);
                    // Its socket goes with whatever was on its way.
                    let worked = timeout(stay, work(client, env.portal.url())).await;
                    assert!(worked.is_err(), "it never ends by itself");
                    *vanished.borrow_mut() += 1;
                }
            }
        });
        join_all(stays).await;
        for session in &sessions {
            env.is_free(session).await;
        }
        wait_for("the end of everything that was theirs", PATIENCE, async || {
            let left = renderers(&env);
            // One window for each session, and one in reserve.
            expect_that(left <= SESSIONS + 1, left)
        })
        .await;
        before.get_or_insert(pss_bytes(server).unwrap());
    }
    let after = wait_for("the memory that was theirs", PATIENCE, async || {
        let after = pss_bytes(server).unwrap();
        expect_that(after <= before.unwrap_or_default() + MAX_GROWTH_BYTES, (before, after))
    });
    let after = after.await.1;
    println!("{} clients vanished; the server took {before:?} bytes, then {after}.", vanished.borrow());
    for (index, session) in sessions.iter().enumerate() {
        is_tidy(&env, session).await.unwrap();
        let user = env.client().evaluate(session, "document.querySelector('#user').textContent").await;
        assert_eq!(user, format!("user-{index}"));
        assert_eq!(env.client().session(session).await.tabs, 1);
    }
    env.each_signed_in_once();
}
