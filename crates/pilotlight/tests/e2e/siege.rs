//! A hostile client, a hostile page and a hostile neighbour, all in the browser that has the windows of twenty
//! others. None of these loses its window or its state; how long they wait, with the three and without, is printed,
//! and what was done while they waited.
//!
//! `make siege` takes ten minutes and as long again before it, without the three, to compare with; in the ordinary
//! run it is short. To find out what a single act does, set `PILOTLIGHT_SIEGE_ONLY` to a part of its name, or to that
//! of its attacker: `PILOTLIGHT_SIEGE_ONLY=screenshots make siege`.

mod report;

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

use self::report::{Act, Log, Place, Use, by_act, quantile, stalls, summary};
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

/// What the hostile client does in turn.
const CLIENT_ACTS: [&str; 4] = ["unanswered calls", "long messages", "deep messages", "long replies"];
/// What the hostile page does in turn, by its own script.
const PAGE_ACTS: [(&str, &str); 7] = [
    ("console", "for (let i = 0; i < 5e4; i++) console.log('x'.repeat(1000))"),
    (
        "name of a frame",
        "const f = document.createElement('iframe'); f.name = 'x'.repeat(100 << 20); document.body.append(f); 1",
    ),
    (
        "memory",
        "globalThis.kept = []; for (let i = 0; i < 400; i++) kept.push(new Uint8Array(1 << 20).fill(i)); 1",
    ),
    ("endless script", "const until = Date.now() + 8000; while (Date.now() < until); 1"),
    ("popups", "for (let i = 0; i < 50; i++) window.open('about:blank'); 1"),
    (
        "titles and history",
        "for (let i = 0; i < 2e4; i++) { document.title = 't' + i; history.replaceState(0, '', '#' + i) } 1",
    ),
    ("alerts", "setInterval(() => alert(1), 10); 1"),
];
/// What the hostile neighbour does in turn, over HTTP.
const NEIGHBOUR_ACTS: [&str; 3] = ["half requests", "screenshots", "long values"];

/// What the server does for an attacker before each act: its window is opened, restored or moved.
const OPENING: &str = "(its window)";

/// One of the three.
struct Attacker<'a> {
    env: &'a TestEnv,
    /// Also the name of its session.
    name: &'static str,
    /// The browser of the others.
    shard: &'a Option<String>,
    log: &'a Log,
}

fn sessions_and_time() -> (usize, Duration) {
    let seconds = std::env::var("PILOTLIGHT_SIEGE_SECONDS").ok();
    let seconds = seconds.map(|seconds| seconds.parse().expect("PILOTLIGHT_SIEGE_SECONDS is no number"));
    seconds.map_or(SHORT, |seconds| (LONG_SESSIONS, Duration::from_secs(seconds)))
}

/// Uses every one of the others for a time, on a thread of its own: what the attackers do in theirs would count as
/// waiting otherwise.
async fn use_apart(client: &Client, others: &[Session], time: Duration) -> Vec<Use> {
    let (client, others) = (client.with_own_connections(), others.to_vec());
    let using = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(use_all(&client, &others, Instant::now() + time))
    };
    tokio::task::spawn_blocking(using).await.unwrap()
}

/// Uses every one of the others again and again until `end`.
async fn use_all(client: &Client, others: &[Session], end: Instant) -> Vec<Use> {
    let done = RefCell::new(Vec::new());
    let uses = others.iter().enumerate().map(|(index, session)| {
        let done = &done;
        async move {
            let mut next = Instant::now();
            while next < end {
                sleep_until(next).await;
                let began = Instant::now();
                let kept = client.evaluate(session, "window.kept").await;
                done.borrow_mut().push(Use { began, took: began.elapsed() });
                assert_eq!(kept, format!("user-{index}"), "its window was lost");
                next = (next + USE_EVERY).max(Instant::now());
            }
        }
    });
    join_all(uses).await;
    done.into_inner()
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
async fn client_attacks(env: &TestEnv, session: &Session, act: &str) {
    let url = session.cdp_url.clone().unwrap_or_default();
    let token = env.client().token();
    let attacks = (0..CLIENTS).map(|_| async {
        let Ok(mut client) = DevTools::connect(&url, Some(token)).await else { return };
        let Ok(Ok(listed)) = client.exchange(None, "Target.getTargets", &json!({})).await else { return };
        let attach = json!({ "targetId": listed["targetInfos"][0]["targetId"], "flatten": true });
        let Ok(Ok(attached)) = client.exchange(None, "Target.attachToTarget", &attach).await else { return };
        let page = attached["sessionId"].as_str().unwrap_or_default().to_owned();
        match act {
            "unanswered calls" => {
                let waiting = json!({ "expression": "new Promise(() => {})", "awaitPromise": true });
                for id in 0..UNANSWERED {
                    if send(&mut client, &page, FIRST_ID + id, &waiting).await.is_err() {
                        return;
                    }
                }
                drop(client.exchange(None, "Browser.getVersion", &json!({})).await);
            }
            "long messages" => {
                let large = json!({ "expression": format!("'{}'.length", "x".repeat(70 << 20)) });
                for _ in 0..3 {
                    drop(client.exchange(Some(&page), "Runtime.evaluate", &large).await);
                }
            }
            "deep messages" => {
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
async fn page_attacks(env: &TestEnv, session: &Session, act: &str) {
    let script = PAGE_ACTS.iter().find(|(name, _)| *name == act).map(|(_, script)| *script);
    let client = env.client();
    let acting = client.request(Method::POST, &path(session, "/evaluate"));
    let acting = acting.json(&json!({ "expression": script.unwrap() }));
    drop(timeout(ACT_TIMEOUT, client.try_send(acting)).await);
    let navigate = client.request(Method::POST, &path(session, "/navigate"));
    let navigate = navigate.json(&json!({ "url": format!("{}login", env.portal.url()) }));
    drop(timeout(ACT_TIMEOUT, client.try_send(navigate)).await);
}

/// What a hostile neighbour does over HTTP, with and without the token.
async fn neighbour_attacks(env: &TestEnv, session: &Session, act: &str) {
    let client = env.client();
    match act {
        "half requests" => {
            let strangers = (0..500).map(|_| async {
                let Ok(mut socket) = TcpStream::connect(env.server.address()).await else { return None };
                drop(socket.write_all(b"GET /sessions HTTP/1.1\r\nHost: ").await);
                Some(socket)
            });
            let half_open = join_all(strangers).await;
            drop(timeout(ACT_TIMEOUT / 2, std::future::pending::<()>()).await);
            drop(half_open);
        }
        "screenshots" => {
            let picture = path(session, "/screenshot?full_page=true");
            let pictures = (0..50).map(|_| client.try_send(client.request(Method::GET, &picture)));
            drop(timeout(ACT_TIMEOUT, join_all(pictures)).await);
        }
        _ => {
            let large = json!({ "expression": "'x'.repeat(30 << 20)" });
            let evaluate = path(session, "/evaluate");
            let values =
                (0..8).map(|_| client.try_send(client.request(Method::POST, &evaluate).json(&large)));
            drop(timeout(ACT_TIMEOUT, join_all(values)).await);
        }
    }
}

impl Attacker<'_> {
    /// Attacks again and again until `end`, with each of `acts` in turn; gives how often.
    async fn attack(
        &self,
        acts: &[&'static str],
        end: Instant,
        attack: impl AsyncFn(&TestEnv, &Session, &str),
    ) -> usize {
        let mut round = 0;
        while !acts.is_empty() && Instant::now() < end {
            let act = Act { attacker: self.name, name: acts[round % acts.len()] };
            let began = Instant::now();
            let session = there(self.env.client(), self.name, &self.env.portal.url()).await;
            self.log.add(Act { name: OPENING, ..act }, Place::None, began);
            if let Some(session) = session {
                let place = match &session.shard {
                    None => Place::None,
                    shard if shard == self.shard => Place::Shared,
                    _ => Place::Own,
                };
                let began = Instant::now();
                attack(self.env, &session, act.name).await;
                self.log.add(act, place, began);
            }
            round += 1;
        }
        round
    }
}

/// Those acts that are to be tried.
fn chosen(attacker: &str, acts: impl IntoIterator<Item = &'static str>) -> Vec<&'static str> {
    let only = std::env::var("PILOTLIGHT_SIEGE_ONLY").unwrap_or_default();
    acts.into_iter().filter(|act| act.contains(&only) || attacker.contains(&only)).collect()
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
    let before = use_apart(env.client(), &others, time).await;
    let (start, log) = (Instant::now(), Log::default());
    let end = start + time;
    let attacker = |name| Attacker { env: &env, name, shard: &shard, log: &log };
    let [client, page, neighbour] = ["hostile-client", "hostile-page", "hostile-neighbour"].map(attacker);
    let acts = [
        chosen(client.name, CLIENT_ACTS),
        chosen(page.name, PAGE_ACTS.map(|(name, _)| name)),
        chosen(neighbour.name, NEIGHBOUR_ACTS),
    ];
    let attacks = async {
        tokio::join!(
            client.attack(&acts[0], end, client_attacks),
            page.attack(&acts[1], end, page_attacks),
            neighbour.attack(&acts[2], end, neighbour_attacks),
        )
    };
    let (during, rounds) = join(use_apart(env.client(), &others, time), attacks).await;
    for (index, session) in others.iter().enumerate() {
        let now = wait_for("a session that is served", PATIENCE, async || {
            let now = env.client().session(session).await;
            expect_that(now.state.to_string() == "ready", now)
        });
        assert_eq!(now.await.shard, shard, "user-{index} was moved to another browser");
        assert_eq!(env.client().evaluate(session, "window.kept").await, format!("user-{index}"));
    }
    env.each_signed_in_once();
    println!("{count} sessions for {time:?}; rounds of client, page and neighbour: {rounds:?}");
    println!("without them: {}\nwith them: {}", summary(&before), summary(&during));
    println!("{}{}", by_act(&log, &during), stalls(&log, &during, quantile(&before, 0.99), start));
    let rounds = [rounds.0, rounds.1, rounds.2];
    assert!(rounds.iter().any(|rounds| *rounds > 0), "PILOTLIGHT_SIEGE_ONLY names no act");
    for (rounds, acts) in rounds.iter().zip(&acts) {
        assert!(*rounds > 0 || acts.is_empty(), "somebody did not attack: {rounds:?}");
    }
}
