//! A hostile client, a hostile page and a hostile neighbour, all in the browser that has the windows of twenty
//! others. None of these loses its window or its state; how long they wait, with the three and without, is printed.
//!
//! `make siege` takes ten minutes and as long again before it, without the three, to compare with; in the ordinary
//! run it is short.

use std::cell::RefCell;
use std::time::Duration;

use futures_util::future::{join, join_all};
use pilotlight_api::Session;
use pilotlight_testkit::harness::{Client, DevTools, expect_that, wait_for};
use pilotlight_testkit::portal::PortalOptions;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use crate::chaos::PATIENCE;
use crate::support::{TestEnv, account, path, test_env_with, with};

const SHORT: (usize, Duration) = (6, Duration::from_secs(15));
const LONG_SESSIONS: usize = 20;
/// All windows share one browser.
const CONFIG: &str = "[limits]\nwindows_per_browser = 32\n[sessions]\nfreeze_after = \"never\"";
/// How often each of the others is used.
const USE_EVERY: Duration = Duration::from_millis(500);
/// How long one hostile act may take before the next begins.
const ACT_TIMEOUT: Duration = Duration::from_secs(20);
/// Calls of one hostile client that are never answered.
const UNANSWERED: usize = 2048;
/// Above the numbers that calls which are answered have.
const FIRST_ID: usize = 1_000_000;
/// Hostile clients at once.
const CLIENTS: usize = 8;

fn sessions_and_time() -> (usize, Duration) {
    let seconds = std::env::var("PILOTLIGHT_SIEGE_SECONDS").ok();
    let seconds = seconds.map(|seconds| seconds.parse().expect("PILOTLIGHT_SIEGE_SECONDS is no number"));
    seconds.map_or(SHORT, |seconds| (LONG_SESSIONS, Duration::from_secs(seconds)))
}

/// Uses every one of the others for a time, on a thread of its own: what the attackers do in theirs would count as
/// waiting otherwise. Returns how long each use took.
async fn use_apart(client: &Client, others: &[Session], time: Duration) -> Vec<Duration> {
    let (client, others) = (client.with_own_connections(), others.to_vec());
    let using = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(use_all(&client, &others, Instant::now() + time))
    };
    tokio::task::spawn_blocking(using).await.unwrap()
}

/// Uses every one of the others again and again until `end`, and gives how long each use took.
async fn use_all(client: &Client, others: &[Session], end: Instant) -> Vec<Duration> {
    let taken = RefCell::new(Vec::new());
    let uses = others.iter().enumerate().map(|(index, session)| {
        let taken = &taken;
        async move {
            let mut next = Instant::now();
            while next < end {
                sleep_until(next).await;
                let began = Instant::now();
                let kept = client.evaluate(session, "window.kept").await;
                taken.borrow_mut().push(began.elapsed());
                assert_eq!(kept, format!("user-{index}"), "its window was lost");
                next = (next + USE_EVERY).max(Instant::now());
            }
        }
    });
    join_all(uses).await;
    taken.into_inner()
}

/// The value that this part of all does not exceed.
fn quantile(sorted: &[Duration], part: f64) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let place = part * sorted.len().saturating_sub(1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the list")]
    sorted.get(place.round() as usize).copied().unwrap_or_default()
}

/// A session that may be lost is there again: a new one if it has ended.
async fn there(client: &Client, name: &str, url: &str) -> Option<Session> {
    let body = json!({ "name": name, "url": url });
    let answer = client.try_send(client.request(Method::POST, "/sessions").json(&body)).await.ok()?;
    (answer.status < 300).then(|| answer.session())
}

/// Sends a call to a page, and waits for nothing.
async fn send(client: &mut DevTools, page: &str, id: usize, params: &Value) -> Result<(), String> {
    let call = json!({ "id": id, "method": "Runtime.evaluate", "params": params, "sessionId": page });
    client.send_text(call.to_string()).await
}

/// What a hostile client does over the DevTools protocol, in its own session.
async fn client_attacks(env: &TestEnv, round: usize) {
    let Some(session) = there(env.client(), "hostile-client", &env.portal.url()).await else { return };
    let url = session.cdp_url.clone().unwrap_or_default();
    let token = env.client().token();
    let attacks = (0..CLIENTS).map(|_| async {
        let Ok(mut client) = DevTools::connect(&url, Some(token)).await else { return };
        let Ok(Ok(listed)) = client.exchange(None, "Target.getTargets", &json!({})).await else { return };
        let attach = json!({ "targetId": listed["targetInfos"][0]["targetId"], "flatten": true });
        let Ok(Ok(attached)) = client.exchange(None, "Target.attachToTarget", &attach).await else { return };
        let page = attached["sessionId"].as_str().unwrap_or_default().to_owned();
        match round % 4 {
            0 => {
                let waiting = json!({ "expression": "new Promise(() => {})", "awaitPromise": true });
                for id in 0..UNANSWERED {
                    if send(&mut client, &page, FIRST_ID + id, &waiting).await.is_err() {
                        return;
                    }
                }
                drop(client.exchange(None, "Browser.getVersion", &json!({})).await);
            }
            1 => {
                let large = json!({ "expression": format!("'{}'.length", "x".repeat(70 << 20)) });
                for _ in 0..3 {
                    drop(client.exchange(Some(&page), "Runtime.evaluate", &large).await);
                }
            }
            2 => {
                // As text: a value of this depth overflows the stack of whoever writes it.
                let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
                for id in 0..100 {
                    let call =
                        json!({ "id": FIRST_ID + id, "method": "Runtime.evaluate", "sessionId": page });
                    let call = call.to_string().replacen('{', &format!(r#"{{"params":{{"x":{deep}}},"#), 1);
                    drop(client.send_text(call).await);
                }
            }
            _ => {
                let answer = json!({ "expression": "'x'.repeat(50 << 20)", "returnByValue": true });
                for _ in 0..3 {
                    drop(client.exchange(Some(&page), "Runtime.evaluate", &answer).await);
                }
            }
        }
    });
    drop(timeout(ACT_TIMEOUT, join_all(attacks)).await);
}

/// What a hostile page does by its own script.
async fn page_attacks(env: &TestEnv, round: usize) {
    const ACTS: [&str; 7] = [
        "for (let i = 0; i < 5e4; i++) console.log('x'.repeat(1000))",
        "const f = document.createElement('iframe'); f.name = 'x'.repeat(100 << 20); document.body.append(f); 1",
        "globalThis.kept = []; for (let i = 0; i < 400; i++) kept.push(new Uint8Array(1 << 20).fill(i)); 1",
        "const until = Date.now() + 8000; while (Date.now() < until); 1",
        "for (let i = 0; i < 50; i++) window.open('about:blank'); 1",
        "for (let i = 0; i < 2e4; i++) { document.title = 't' + i; history.replaceState(0, '', '#' + i) } 1",
        "setInterval(() => alert(1), 10); 1",
    ];
    let Some(session) = there(env.client(), "hostile-page", &env.portal.url()).await else { return };
    let act = json!({ "expression": ACTS[round % ACTS.len()] });
    let client = env.client();
    let acting = client.request(Method::POST, &path(&session, "/evaluate")).json(&act);
    drop(timeout(ACT_TIMEOUT, client.try_send(acting)).await);
    let navigate = client.request(Method::POST, &path(&session, "/navigate"));
    let navigate = navigate.json(&json!({ "url": format!("{}login", env.portal.url()) }));
    drop(timeout(ACT_TIMEOUT, client.try_send(navigate)).await);
}

/// What a hostile neighbour does over HTTP, with and without the token.
async fn neighbour_attacks(env: &TestEnv, round: usize) {
    let client = env.client();
    let Some(session) = there(client, "hostile-neighbour", &env.portal.url()).await else { return };
    match round % 3 {
        0 => {
            let strangers = (0..500).map(|_| async {
                let Ok(mut socket) = TcpStream::connect(env.server.address()).await else { return None };
                drop(socket.write_all(b"GET /sessions HTTP/1.1\r\nHost: ").await);
                Some(socket)
            });
            let half_open = join_all(strangers).await;
            drop(timeout(ACT_TIMEOUT / 2, std::future::pending::<()>()).await);
            drop(half_open);
        }
        1 => {
            let picture = path(&session, "/screenshot?full_page=true");
            let pictures = (0..50).map(|_| client.try_send(client.request(Method::GET, &picture)));
            drop(timeout(ACT_TIMEOUT, join_all(pictures)).await);
        }
        _ => {
            let large = json!({ "expression": "'x'.repeat(30 << 20)" });
            let evaluate = path(&session, "/evaluate");
            let values =
                (0..8).map(|_| client.try_send(client.request(Method::POST, &evaluate).json(&large)));
            drop(timeout(ACT_TIMEOUT, join_all(values)).await);
        }
    }
}

/// Attacks again and again until `end`; gives how often.
async fn until(end: Instant, mut attack: impl AsyncFnMut(usize)) -> usize {
    let mut round = 0;
    while Instant::now() < end {
        attack(round).await;
        round += 1;
    }
    round
}

#[tokio::test]
async fn hostile_sessions_take_nothing_from_their_neighbours() {
    let (count, time) = sessions_and_time();
    let env = test_env_with(CONFIG, PortalOptions::default()).await;
    let mut others = Vec::new();
    for index in 0..count {
        // A refresh after five minutes would load the page again, and what it has would be gone.
        let body = with(account(&format!("user-{index}")), json!({ "refresh_interval": 0 }));
        let session = env.client().create(&body).await;
        env.client().evaluate(&session, &format!("window.kept = 'user-{index}'")).await;
        others.push(session);
    }
    let shard = env.client().session(&others[0]).await.shard;
    let mut before = use_apart(env.client(), &others, time).await;
    let end = Instant::now() + time;
    let attacks = async {
        tokio::join!(
            until(end, async |round| client_attacks(&env, round).await),
            until(end, async |round| page_attacks(&env, round).await),
            until(end, async |round| neighbour_attacks(&env, round).await),
        )
    };
    let (mut during, rounds) = join(use_apart(env.client(), &others, time), attacks).await;
    for (index, session) in others.iter().enumerate() {
        let now = wait_for("a session that is served", PATIENCE, async || {
            let now = env.client().session(session).await;
            expect_that(now.state.to_string() == "ready", now)
        });
        assert_eq!(now.await.shard, shard, "user-{index} was moved to another browser");
        assert_eq!(env.client().evaluate(session, "window.kept").await, format!("user-{index}"));
    }
    env.each_signed_in_once();
    before.sort();
    during.sort();
    let shown = |uses: &[Duration]| {
        format!("{} uses, p50 {:?}, p99 {:?}", uses.len(), quantile(uses, 0.5), quantile(uses, 0.99))
    };
    println!("{count} sessions for {time:?}; rounds of client, page and neighbour: {rounds:?}");
    println!("without them: {}\nwith them: {}", shown(&before), shown(&during));
    assert!(rounds.0 > 0 && rounds.1 > 0 && rounds.2 > 0, "nobody attacked: {rounds:?}");
}
