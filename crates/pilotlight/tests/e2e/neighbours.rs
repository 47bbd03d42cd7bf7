//! Sessions that share a browser with one that takes all it can get: they keep their window, and are answered.

use std::time::Duration;

use pilotlight_api::{EventKind, Session, SessionState};
use pilotlight_testkit::harness::{DevTools, Process, Role, expect_that, pss_bytes, wait_for};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{SOON, TestEnv, path, test_env_with};

/// Shorter than in production, so that a browser that is ended too early is noticed.
const QUICK_HEARTBEAT: &str = "[chromium]\nheartbeat = \"1s\"";
/// As many heartbeats as it takes to give up a browser or a page, several times over.
const A_WHILE: Duration = Duration::from_secs(12);
/// How long it may take until what is large is through. Machines that run tests are slow.
const EVENTUALLY: Duration = Duration::from_secs(240);
/// What Chromium reads one message into, with the byte that ends it.
const CHROMIUM_BUFFER_BYTES: usize = 100 * 1024 * 1024;
const MIB: usize = 1024 * 1024;
/// How many calls of one client may wait for their replies.
const CALLS_OF_A_CLIENT: usize = 2048;

/// A session with something in its page that no other page has.
struct Neighbour {
    session: Session,
}

impl Neighbour {
    async fn of(env: &TestEnv, name: &str) -> Self {
        let session = env.window(name, json!({ "refresh_interval": 0 })).await;
        env.client().evaluate(&session, "globalThis.kept = 'kept'").await;
        Self { session }
    }

    /// Its window is the one that it was, and answers.
    async fn is_well(&self, env: &TestEnv) {
        let asked = Instant::now();
        let kept = env.client().evaluate(&self.session, "globalThis.kept").await;
        assert_eq!(kept, "kept", "the neighbour lost its page ({:?})", asked.elapsed());
    }

    /// The same for a while.
    async fn stays_well(&self, env: &TestEnv) {
        let until = Instant::now() + A_WHILE;
        while Instant::now() < until {
            self.is_well(env).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn connect(env: &TestEnv, session: &Session) -> Result<DevTools, String> {
    DevTools::connect(session.cdp_url.as_deref().unwrap(), Some(env.client().token())).await
}

/// The renderer that uses the most memory.
fn largest_renderer(env: &TestEnv) -> Process {
    let renderers = env.server.processes().into_iter().filter(|process| process.role() == Role::Renderer);
    renderers.max_by_key(|process| pss_bytes(process.id)).unwrap()
}

/// Two sessions of one browser.
async fn neighbours(config: &str) -> (TestEnv, Neighbour, Session) {
    let env = test_env_with(config, Default::default()).await;
    let neighbour = Neighbour::of(&env, "neighbour").await;
    let hostile = env.window("hostile", json!({ "refresh_interval": 0 })).await;
    assert_eq!(neighbour.session.shard, hostile.shard, "they share a browser");
    (env, neighbour, hostile)
}

#[tokio::test]
async fn calls_that_are_never_answered_are_their_clients_own_affair() {
    let (env, neighbour, hostile) = neighbours(QUICK_HEARTBEAT).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = connect(&env, &hostile).await.unwrap();
        let page = client.first_page().await;
        let never = json!({ "expression": "new Promise(() => 0)", "awaitPromise": true });
        for _ in 0..CALLS_OF_A_CLIENT {
            client.tell(Some(&page), "Runtime.evaluate", &never).await;
        }
        // It is over its quota now, and told so.
        let refused = client.try_call(Some(&page), "Runtime.evaluate", never).await.unwrap_err();
        assert!(refused["message"].as_str().unwrap().contains("wait for"), "{refused}");
        clients.push(client);
    }
    neighbour.is_well(&env).await;
    env.client().get(&path(&neighbour.session, "/screenshot")).await.expect(200);
    let mut honest = connect(&env, &neighbour.session).await.unwrap();
    let page = honest.first_page().await;
    assert_eq!(honest.evaluate(&page, "globalThis.kept").await, "kept");
    Neighbour::of(&env, "newcomer").await.is_well(&env).await;
    neighbour.stays_well(&env).await;
}

#[tokio::test]
async fn a_session_has_so_many_clients_and_further_ones_are_told() {
    let (env, neighbour, hostile) = neighbours("").await;
    let mut clients = Vec::new();
    let refused = loop {
        match connect(&env, &hostile).await {
            Ok(client) => clients.push(client),
            Err(refused) => break refused,
        }
        assert!(clients.len() < 200, "there is no limit");
    };
    assert!(clients.len() >= 8 && refused.contains("503"), "{} clients, then {refused}", clients.len());
    // In words, over plain HTTP.
    let request = env.client().request(reqwest::Method::GET, &path(&hostile, "/devtools/browser"));
    let upgrade = request
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let answer = env.client().send(upgrade).await;
    assert_eq!(answer.refusal(), (503, "busy"), "{}", answer.body);
    assert!(answer.body["error"].as_str().unwrap().contains("clients"), "{}", answer.body);
    assert!(answer.body["hint"].as_str().unwrap().contains("isconnect"), "{}", answer.body);
    let mut honest = connect(&env, &neighbour.session).await.unwrap();
    honest.first_page().await;
    clients.pop();
    wait_for("a place", SOON, async || connect(&env, &hostile).await).await;
}

/// Those that Chromium cannot read it answers without a number, so that their callers wait for ever.
#[tokio::test]
async fn what_is_nested_too_deeply_is_answered() {
    let (env, neighbour, hostile) = neighbours("").await;
    let mut client = connect(&env, &hostile).await.unwrap();
    let page = client.first_page().await;
    for (depth, works) in [(100, true), (190, true), (400, false), (5_000, false), (200_000, false)] {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        let id = 1_000_000 + depth;
        let text = format!(
            r#"{{"id":{id},"method":"Runtime.evaluate","params":{{"expression":"1","x":{open}{close}}},"sessionId":"{page}"}}"#
        );
        client.send_text(text).await.unwrap();
        let reply = client.reply(i64::try_from(id).unwrap()).await;
        assert_eq!(reply.is_ok(), works, "{depth}: {reply:?}");
    }
    neighbour.is_well(&env).await;
}

/// Sizes about Chromium's own limit, as they are once the gateway has given them another number.
#[tokio::test]
async fn a_message_as_large_as_chromium_can_take_ends_no_browser() {
    let (env, neighbour, hostile) = neighbours("").await;
    for missing in [3, 2, 1, 0] {
        // One that is too long may cost its client the connection.
        let mut client = connect(&env, &hostile).await.unwrap();
        let page = client.first_page().await;
        let head = r#"{"id":1000,"method":"Runtime.evaluate","params":{"expression":"1//"#;
        let tail = format!(r#""}},"sessionId":"{page}"}}"#);
        let length = CHROMIUM_BUFFER_BYTES - missing - head.len() - tail.len();
        let text = format!("{head}{}{tail}", "x".repeat(length));
        if client.send_text(text).await.is_ok() {
            println!("{missing} bytes less: {:?}", client.try_reply(1000).await);
        }
        drop(client);
        neighbour.is_well(&env).await;
    }
}

#[tokio::test]
async fn large_messages_of_one_session_cost_no_other_its_window_and_the_server_little_memory() {
    let (env, neighbour, hostile) = neighbours(QUICK_HEARTBEAT).await;
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut client = connect(&env, &hostile).await.unwrap();
        senders.spawn(async move {
            let page = client.first_page().await;
            let expression = format!("1//{}", "x".repeat(60 * MIB));
            for id in [1001, 1002] {
                let text = format!(
                    r#"{{"id":{id},"method":"Runtime.evaluate","params":{{"expression":"{expression}"}},"sessionId":"{page}"}}"#
                );
                if client.send_text(text).await.is_err() {
                    return 0;
                }
            }
            let mut answered = 0;
            for id in [1001, 1002] {
                // Its turn may come late, and until then it hears nothing.
                for _ in 0..10 {
                    match client.try_reply(id).await {
                        Ok(Ok(_)) => answered += 1,
                        Err(silence) if silence.contains("nothing came") => continue,
                        Ok(Err(_)) | Err(_) => {}
                    }
                    break;
                }
            }
            answered
        });
    }
    let (mut slowest, mut most) = (Duration::ZERO, 0);
    let until = Instant::now() + EVENTUALLY;
    let mut answered = 0;
    while let Some(done) = tokio::select! {
        done = senders.join_next() => Some(done),
        () = async {
            loop {
                assert!(Instant::now() < until, "what is large does not come through");
                let asked = Instant::now();
                neighbour.is_well(&env).await;
                slowest = slowest.max(asked.elapsed());
                most = most.max(pss_bytes(env.server.server_pid()).unwrap_or(0));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        } => None,
    } {
        match done {
            Some(done) => answered += done.unwrap(),
            None => break,
        }
    }
    println!("{answered} of 8 answered; the neighbour waited {slowest:?} at most; {} MiB", most >> 20);
    assert_eq!(answered, 8, "the sender's own messages");
    assert!(most < 450 << 20, "the server took {} MiB", most >> 20);
    neighbour.stays_well(&env).await;
}

/// What Chromium tells of by itself can be larger than anything a client may send.
#[tokio::test]
async fn an_event_that_is_too_long_costs_the_page_that_made_it_and_nobody_else() {
    let (env, neighbour, hostile) = neighbours("").await;
    let mut events = env.client().events("/events").await;
    let name = format!(
        "void setTimeout(() => {{
            const frame = document.createElement('iframe');
            frame.src = '/login?1';
            frame.onload = () => {{
                frame.onload = null;
                frame.contentWindow.name = 'x'.repeat({});
                frame.src = '/login?2';
            }};
            document.body.append(frame);
        }}, 100)",
        130 * MIB
    );
    env.client().evaluate(&hostile, &name).await;
    let ended = |event: &pilotlight_api::Event| {
        event.session_id == Some(hostile.session_id)
            && matches!(event.kind, EventKind::PageCrashed | EventKind::PageHung)
    };
    let (mut slowest, mut crashed) = (Duration::ZERO, None);
    let (below, evaluate) =
        (path(&neighbour.session, "/evaluate"), json!({ "expression": "globalThis.kept" }));
    {
        let watching = events.find("the end of the page", EVENTUALLY, ended);
        tokio::pin!(watching);
        while crashed.is_none() {
            let asked = Instant::now();
            let asking = env.client().post(&below, &evaluate);
            tokio::select! {
                event = &mut watching => crashed = Some(event),
                // Nothing can be told of any page while the browser works on what is so large.
                answer = asking => {
                    assert!(answer.status == 504 || answer.body["result"] == "kept", "{}", answer.body);
                    slowest = slowest.max(asked.elapsed());
                }
            }
        }
    }
    println!("{:?}; the neighbour waited {slowest:?} at most", crashed.unwrap().message);
    neighbour.stays_well(&env).await;
    let of_neighbour = |event: &pilotlight_api::Event| {
        event.session_id == Some(neighbour.session.session_id)
            && matches!(event.kind, EventKind::PageCrashed | EventKind::PageHung | EventKind::WindowLost)
    };
    assert!(!events.seen.iter().any(of_neighbour), "{:#?}", events.seen);
    env.reaches(&hostile, SessionState::Ready).await;
}

/// Waits until the session's window is in another browser and answers.
async fn has_moved(env: &TestEnv, session: &Session) -> Session {
    wait_for("a browser of its own", SOON, async || {
        let now = env.client().session(session).await;
        let is_elsewhere = now.shard.is_some() && now.shard != session.shard;
        expect_that(is_elsewhere && now.state == SessionState::Ready, now)
    })
    .await
}

#[tokio::test]
async fn a_page_that_makes_the_browser_tell_much_gets_a_browser_of_its_own_with_what_it_has() {
    let (env, neighbour, hostile) = neighbours("").await;
    let mut events = env.client().events("/events").await;
    env.client().evaluate(&hostile, "localStorage.kept = 'kept'").await;
    let frames = "for (let i = 0; i < 200; i++) {
        const frame = document.createElement('iframe');
        document.body.append(frame);
        frame.remove();
    }";
    for _ in 0..100 {
        env.client().evaluate(&hostile, frames).await;
        if env.client().session(&hostile).await.shard != hostile.shard {
            break;
        }
    }
    let moved = has_moved(&env, &hostile).await;
    let told = events.kind(EventKind::Moving, SOON).await;
    assert_eq!(told.session_id, Some(hostile.session_id));
    assert!(told.message.contains("slowed down"), "{}", told.message);
    assert_eq!(env.client().evaluate(&moved, "localStorage.kept").await, "kept");
    neighbour.is_well(&env).await;
    assert_eq!(env.client().session(&neighbour.session).await.shard, neighbour.session.shard);
    // There it may go on as it likes, and no other session comes there.
    env.client().evaluate(&moved, frames).await;
    assert_eq!(env.client().session(&moved).await.shard, moved.shard);
    let newcomer = env.window("newcomer", json!({})).await;
    assert_eq!(newcomer.shard, neighbour.session.shard);
    // It yields the processor to all others, as a whole.
    let browsers = env.server.processes().into_iter().filter(|process| process.role() == Role::Browser);
    let nice: Vec<_> = browsers.filter_map(|process| process.niceness()).collect();
    let [least, most] = [nice.iter().min(), nice.iter().max()].map(Option::unwrap);
    assert!(nice.len() == 2 && *most >= 10 && least < most, "{nice:?}");
}

#[tokio::test]
async fn a_page_that_keeps_the_browser_busy_gets_a_browser_of_its_own() {
    let (env, neighbour, hostile) = neighbours("").await;
    let mut events = env.client().events("/events").await;
    // Which renderer is whose is known once its memory was measured.
    wait_for("its memory to be measured", SOON, async || {
        let now = env.client().session(&hostile).await;
        expect_that(now.memory_bytes.is_some_and(|bytes| bytes > 0), now)
    })
    .await;
    // Nothing of this shows in the protocol.
    let titles = "for (let i = 0; i < 2e4; i++) document.title = 't' + i; 1";
    let until = Instant::now() + EVENTUALLY;
    while env.client().session(&hostile).await.shard == hostile.shard {
        assert!(Instant::now() < until, "it is not found");
        env.client().post(&path(&hostile, "/evaluate"), &json!({ "expression": titles })).await;
    }
    has_moved(&env, &hostile).await;
    let told = events.kind(EventKind::Moving, SOON).await;
    assert_eq!(told.session_id, Some(hostile.session_id));
    neighbour.is_well(&env).await;
    assert_eq!(env.client().session(&neighbour.session).await.shard, neighbour.session.shard);
}

/// What it sent before is not read while it waits, so that its end does not show there.
#[tokio::test]
async fn who_goes_while_it_is_made_to_wait_does_not_keep_its_session() {
    let (env, _neighbour, hostile) = neighbours("").await;
    let mut client = connect(&env, &hostile).await.unwrap();
    let page = client.first_page().await;
    client.call(Some(&page), "Runtime.enable", json!({})).await;
    let many = json!({ "expression": "for (let i = 0; i < 6e4; i++) console.log(i)" });
    client.call(Some(&page), "Runtime.evaluate", many).await;
    client.tell(Some(&page), "Runtime.evaluate", &json!({ "expression": "1" })).await;
    drop(client);
    // It would wait for 20 s.
    wait_for("the end of its hold", Duration::from_secs(10), async || {
        let now = env.client().session(&hostile).await;
        expect_that(!now.in_use, now)
    })
    .await;
}

/// Their replies cannot be made to wait, however long they are.
#[tokio::test]
async fn of_a_window_that_shares_its_browser_two_values_are_asked_for_at_once() {
    let (env, _neighbour, session) = neighbours("").await;
    let mut client = connect(&env, &session).await.unwrap();
    let page = client.first_page().await;
    client.evaluate(&page, "globalThis.goes = []; globalThis.asked = 0").await;
    let mut values = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let (client, evaluate) = (env.client().clone(), path(&session, "/evaluate"));
        let waits = json!({ "expression": "asked += 1; new Promise((go) => goes.push(go))" });
        values.spawn(async move { client.post(&evaluate, &waits).await.expect(200) });
    }
    let mut most = 0;
    for answered in 0..5 {
        // As many as it takes for a third one to come, too.
        for _ in 0..50 {
            let waiting = client.evaluate(&page, "goes.length").await;
            most = most.max(waiting.as_u64().unwrap());
        }
        wait_for("one that is asked for", SOON, async || {
            let asked = client.evaluate(&page, "asked").await;
            expect_that(asked.as_u64().is_some_and(|asked| asked > answered), asked)
        })
        .await;
        client.evaluate(&page, "goes.shift()(1)").await;
        assert_eq!(values.join_next().await.unwrap().unwrap().body["result"], 1);
    }
    assert_eq!(most, 2);
}

#[tokio::test]
async fn a_client_that_has_the_browser_tell_much_waits_and_is_not_driven_away() {
    let (env, neighbour, hostile) = neighbours("").await;
    let mut client = connect(&env, &hostile).await.unwrap();
    let page = client.first_page().await;
    client.call(Some(&page), "Runtime.enable", json!({})).await;
    // Each counts 4 KiB at least, and 64 MiB may be moved at once.
    let many = json!({ "expression": "for (let i = 0; i < 3e4; i++) console.log(i)" });
    client.call(Some(&page), "Runtime.evaluate", many).await;
    let asked = Instant::now();
    client.call(Some(&page), "Runtime.evaluate", json!({ "expression": "1" })).await;
    // Which takes 13 s, less what the events took themselves.
    assert!(asked.elapsed() > Duration::from_secs(1), "{:?}", asked.elapsed());
    neighbour.is_well(&env).await;
    assert_eq!(env.client().session(&hostile).await.shard, hostile.shard, "who holds it keeps it");
    drop(client);
    has_moved(&env, &hostile).await;
    neighbour.is_well(&env).await;
}

#[tokio::test]
async fn a_renderer_that_does_not_run_is_ended_and_its_session_comes_back() {
    let (env, neighbour, stopped) = neighbours(QUICK_HEARTBEAT).await;
    env.client().evaluate(&stopped, "globalThis.large = new Uint8Array(150 << 20).fill(1), 1").await;
    wait_for("its memory to be measured", SOON, async || {
        let now = env.client().session(&stopped).await;
        expect_that(now.memory_bytes.is_some_and(|bytes| bytes > 150 << 20), now)
    })
    .await;
    let renderer = largest_renderer(&env);
    renderer.silence();
    wait_for("its end", EVENTUALLY, async || {
        let asked = Instant::now();
        env.client().sessions().await;
        assert!(
            asked.elapsed() < Duration::from_millis(1500),
            "the list waited for a page that does not run"
        );
        expect_that(!renderer.is_alive(), &renderer)
    })
    .await;
    env.reaches(&stopped, SessionState::Ready).await;
    assert_eq!(env.client().evaluate(&stopped, "typeof large").await, "undefined");
    neighbour.is_well(&env).await;
}

/// Takes so many megabytes, and keeps them.
fn takes(mebibytes: usize) -> String {
    format!(
        "globalThis.hog = [], void setTimeout(function more() {{
            for (let n = 0; n < 8 && hog.length < {mebibytes}; n += 1) hog.push(new Uint8Array(1 << 20).fill(n));
            if (hog.length < {mebibytes}) setTimeout(more, 5);
        }})"
    )
}

#[tokio::test]
async fn a_page_that_takes_more_than_a_window_may_is_ended_and_nobody_else_goes_for_it() {
    let config = "[limits]\nmemory_budget = \"1200MiB\"\n[sessions]\nfreeze_after = \"never\"";
    let (env, neighbour, hostile) = neighbours(config).await;
    let others = [Neighbour::of(&env, "one").await, Neighbour::of(&env, "two").await];
    let mut events = env.client().events("/events").await;
    env.client().evaluate(&hostile, &takes(1500)).await;
    // Used last, it would be the last to go.
    let mut client = connect(&env, &hostile).await.unwrap();
    client.first_page().await;
    let crashed = |event: &pilotlight_api::Event| {
        event.session_id == Some(hostile.session_id) && event.kind == EventKind::PageCrashed
    };
    let event = events.find("the end of the page", EVENTUALLY, crashed).await;
    assert!(event.message.contains("limits.window_memory"), "{}", event.message);
    env.reaches(&hostile, SessionState::Ready).await;
    for neighbour in others.iter().chain([&neighbour]) {
        assert_eq!(env.client().session(&neighbour.session).await.state, SessionState::Ready);
        neighbour.is_well(&env).await;
    }
    let went = |event: &pilotlight_api::Event| {
        event.session_id != Some(hostile.session_id) && event.kind == EventKind::Hibernating
    };
    assert!(!events.seen.iter().any(went), "{:#?}", events.seen);
    let hog: Value = env.client().evaluate(&hostile, "typeof hog").await;
    assert_eq!(hog, "undefined");
}
