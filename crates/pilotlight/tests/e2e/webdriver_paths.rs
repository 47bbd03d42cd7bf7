//! What a client of WebDriver reaches, and what it does not: its own session, by the commands of WebDriver's table.
//!
//! Requests are written byte for byte: a library would tidy the paths up before they are sent.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use pilotlight_testkit::harness::{DevTools, expect_that, wait_for};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{SOON, TestEnv, test_env};
use crate::webdriver::{Remote, drivers, of};

/// How a request proves that it may be there.
#[derive(Debug, Clone, Copy)]
enum By<'a> {
    /// The server's token, in a header.
    Token,
    /// A WebDriver session's ticket, in the query.
    Ticket(&'a str),
}

fn ticket_of<'a>(remote: &'a Remote<'_>) -> &'a str {
    remote.capabilities["se:cdp"].as_str().unwrap().split_once("?token=").unwrap().1
}

/// Sends a request exactly as it is written here, and reads status and body of the answer.
async fn raw(env: &TestEnv, method: &str, target: &str, by: By<'_>, body: &str) -> (u16, Value) {
    let (query, header) = match by {
        By::Token => (String::new(), format!("Authorization: Bearer {}\r\n", env.client().token())),
        By::Ticket(ticket) => (format!("?token={ticket}"), String::new()),
    };
    let address = env.server.address();
    let request = format!(
        "{method} {target}{query} HTTP/1.1\r\nHost: {address}\r\n{header}Content-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address.to_string()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(90), stream.read_to_end(&mut answer)).await.expect("an answer").unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.get(9..12).and_then(|status| status.parse().ok()).expect(&answer);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    (status, serde_json::from_str(body).unwrap_or_default())
}

/// Packets that went through the network of chromedriver: every command sent to it is some.
fn packets(env: &TestEnv) -> u64 {
    let driver = drivers(env).pop().expect("chromedriver runs");
    let devices = std::fs::read_to_string(format!("/proc/{}/net/dev", driver.id)).unwrap();
    let loopback = devices.lines().find_map(|line| line.trim().strip_prefix("lo:")).unwrap();
    loopback.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The count once nothing is said any more.
async fn packets_at_rest(env: &TestEnv) -> u64 {
    let mut last = (0, 0);
    wait_for("silence in chromedriver's network", SOON, async || {
        let now = packets(env);
        last = if last.0 == now { (now, last.1 + 1) } else { (now, 0) };
        expect_that(last.1 >= 10, now)
    })
    .await;
    last.0
}

/// Targets that name something else than a command of the session `id`, however they are read: `%` stands for what
/// is to be reached.
fn escapes(id: &str, other: &str) -> Vec<(&'static str, String)> {
    let mut targets = Vec::new();
    for beyond in ["status", "sessions", "session", &format!("session/{other}/url")] {
        for up in [
            "/../../",
            "/x/../../../",
            "/url/../../../",
            "/%2e%2e/%2e%2e/",
            "/%2E%2E/%2e./",
            "/.%2e/.%2E/",
            "/..%2f..%2f",
            "/..%2F../",
            "/%2e%2e%2f%2e%2e%2f",
            "/%252e%252e/%252e%252e/",
            "/..%252f..%252f",
            "/..\\..\\",
            "/..%5c..%5c",
            "\\..\\..\\",
            "//../../../",
            "/./../../",
            "/..;/..;/",
            "/..;a=b/../",
            "/%2e%2e;/%2e%2e;/",
            "/%00/../../../",
            "/..%00/..%00/",
            "/element/../../../",
            "/element/%2e%2e/attribute/%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2f",
            "/..%c0%af..%c0%af",
            "/\u{ff0e}\u{ff0e}/\u{ff0e}\u{ff0e}/",
        ] {
            targets.push(("GET", format!("/session/{id}{up}{beyond}")));
            targets.push(("GET", format!("/wd/hub/session/{id}{up}{beyond}")));
        }
    }
    for target in [
        format!("/session/{id}/../{other}/url"),
        format!("/session/{id}/../{other}/cookie"),
        format!("/session/{id}/../../shutdown"),
        format!("/session/{id}/%2e%2e/%2e%2e/shutdown"),
        format!("/session/{id}/./url"),
        format!("/session/{id}/x/../url"),
        format!("/session/{id}//url"),
        format!("/session//{id}/url"),
        format!("/session/{id}/url/"),
        format!("/session/{id}/"),
        format!("/session/{id}/url;a=b"),
        format!("/session/{id};a=b/url"),
        format!("/session/{id}/%75rl"),
        format!("/session/{id}/element/%2e%2e/text"),
        format!("/session/{id}/element/../text"),
        format!("/session/{id}/element/./text"),
        format!("/session/{id}/element/a%2fb/text"),
        format!("/session/{id}/element/e/attribute/a%2Fb"),
        format!("/session/{id}/element/e/attribute/a%5Cb"),
        format!("/session/{id}/element/e/attribute/a%252Fb"),
        format!("/session/{id}/element/e/attribute/%2E%2E"),
        format!("/session/{id}/element/e/attribute/a%00b"),
        format!("/session/{id}/element/e/attribute/%"),
        format!("/session/{id}/element/e/attribute/%ff"),
        format!("/session/{id}/cookie/%2e"),
        format!("/session/{id}/cookie/..%2f..%2fsessions"),
        format!("/session/{id}/goog/cast/get_sinks"),
        format!("/session/{id}/nothing"),
        format!("/wd/hub/../session/{id}/url"),
        format!("/wd/hub/wd/hub/session/{id}/url"),
        "/session/../status".to_owned(),
        "/session/%2e%2e/sessions".to_owned(),
        "/session/..".to_owned(),
    ] {
        targets.push(("GET", target));
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "HEAD", "get", "NOTHING"] {
        for up in ["/../../", "/%2e%2e/%2e%2e/", "/..\\..\\"] {
            targets.push((method, format!("/session/{id}{up}session")));
        }
    }
    targets.push(("POST", format!("/session/{id}/chromium/send_command_from_websocket")));
    targets.push(("POST", format!("/session/{id}/goog/cast/stop_casting")));
    targets
}

#[tokio::test]
async fn no_path_leads_out_of_its_session() {
    let env = test_env().await;
    let (hostile, victim) = (Remote::begin(&env, json!({})).await, Remote::begin(&env, json!({})).await);
    let id = |remote: &Remote<'_>| remote.path.trim_start_matches("/session/").to_owned();
    let targets = escapes(&id(&hostile), &id(&victim));
    let ticket = ticket_of(&hostile);
    let before = packets_at_rest(&env).await;
    let mut wrong = Vec::new();
    for (method, target) in &targets {
        for by in [By::Token, By::Ticket(ticket)] {
            let (status, body) = raw(&env, method, target, by, "{}").await;
            let error = body["value"]["error"].as_str().unwrap_or_default();
            let is_refused = match by {
                // What is no HTTP at all is refused as such, and `HEAD` has no body.
                By::Token => {
                    (status == 404 && (error == "unknown command" || *method == "HEAD"))
                        || (status == 400 && body.is_null())
                        || (status == 404 && body["code"] == "route_not_found")
                        || (status == 405 && error == "unknown method")
                }
                By::Ticket(_) => status == 401 || (status == 400 && body.is_null()),
            };
            if !is_refused {
                wrong.push(format!("{method} {target} {by:?}: {status} {body}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), targets.len() * 2, wrong.join("\n"));
    assert_eq!(packets(&env), before, "something was said to chromedriver");
    // The measure measures, and both sessions are unharmed.
    assert_eq!(hostile.get("/url").await, "about:blank");
    assert!(packets(&env) > before, "a command is some packets");
    assert_eq!(victim.get("/url").await, "about:blank");
    hostile.end().await;
    victim.end().await;
}

/// A world-writable folder.
fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

/// A program that leaves a trace in the folder when it is run.
fn tracer(folder: &Path) -> std::path::PathBuf {
    let program = folder.join("browser");
    let trace = folder.join("trace");
    std::fs::write(&program, format!("#!/bin/sh\nid > {}\n", trace.display())).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

fn asking_for(program: &Path) -> Value {
    let options = json!({ "binary": program, "args": ["--headless=new", "--no-sandbox"] });
    json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } })
}

#[tokio::test]
async fn no_path_starts_a_program() {
    let env = test_env().await;
    let remote = Remote::begin(&env, json!({})).await;
    let folder = open_folder();
    let body = asking_for(&tracer(folder.path())).to_string();
    for up in ["/../..", "/%2e%2e/%2e%2e", "/..\\..", "//../../..", "/x/../../.."] {
        for by in [By::Token, By::Ticket(ticket_of(&remote))] {
            let target = format!("{}{up}/session", remote.path);
            let (status, answer) = raw(&env, "POST", &target, by, &body).await;
            assert!(!folder.path().join("trace").exists(), "{target} {by:?} has it run: {answer}");
            assert!(matches!(status, 401 | 404), "{target} {by:?}: {status} {answer}");
        }
    }
    remote.end().await;
}

#[tokio::test]
async fn a_ticket_opens_the_sockets_of_its_session_and_nothing_else() {
    let env = test_env().await;
    let remote = Remote::begin(&env, json!({ "webSocketUrl": true })).await;
    let other = Remote::begin(&env, json!({})).await;
    let ticket = ticket_of(&remote);
    let before = packets_at_rest(&env).await;
    let script = json!({ "script": "return document.title", "args": [] }).to_string();
    for (method, below, body) in [
        ("GET", "/url", ""),
        ("GET", "/cookie", ""),
        ("GET", "/screenshot", ""),
        ("POST", "/execute/sync", &*script),
        ("POST", "/goog/cdp/execute", r#"{"cmd":"Browser.getVersion","params":{}}"#),
        ("POST", "/se/file", r#"{"file":""}"#),
        ("POST", "/se/cdp", "{}"),
        ("POST", "", "{}"),
        ("DELETE", "", ""),
        ("DELETE", "/window", ""),
        // Where sockets are, but without asking for one.
        ("GET", "", ""),
        ("GET", "/se/cdp", ""),
    ] {
        for hub in ["", "/wd/hub"] {
            let target = format!("{hub}{}{below}", remote.path);
            let (status, answer) = raw(&env, method, &target, By::Ticket(ticket), body).await;
            assert_eq!(status, 401, "{method} {target}: {answer}");
        }
    }
    for target in ["/session", "/status", "/sessions", "/wd/hub/status", &format!("{}/se/cdp", other.path)] {
        let (status, answer) = raw(&env, "GET", target, By::Ticket(ticket), "").await;
        assert_eq!(status, 401, "{target}: {answer}");
    }
    assert_eq!(packets(&env), before, "something was said to chromedriver");
    let address = env.server.address();
    for below in ["", "/se/cdp"] {
        for hub in ["", "/wd/hub"] {
            let url = format!("ws://{address}{hub}{}{below}?token={ticket}", remote.path);
            DevTools::connect(&url, None).await.unwrap();
            let twice = format!("{url}&token={ticket}");
            assert!(DevTools::connect(&twice, None).await.is_err(), "a query of its own");
        }
        let foreign = format!("ws://{address}{}{below}?token={ticket}", other.path);
        assert!(DevTools::connect(&foreign, None).await.unwrap_err().contains("401"));
    }
    remote.end().await;
    other.end().await;
}

#[tokio::test]
async fn absolute_targets_and_foreign_queries_are_no_commands() {
    let env = test_env().await;
    let remote = Remote::begin(&env, json!({})).await;
    let before = packets_at_rest(&env).await;
    let address = env.server.address();
    for target in [
        format!("http://{address}{}/url", remote.path),
        format!("http://{address}{}/../../sessions", remote.path),
        format!("http://{address}/session"),
        format!("{}/url?x=1", remote.path),
        format!("{}/url?", remote.path),
        format!("{}/url?/../../sessions", remote.path),
    ] {
        let (status, answer) = raw(&env, "GET", &target, By::Token, "").await;
        assert_eq!(
            (status, &answer["value"]["error"]),
            (404, &json!("unknown command")),
            "{target}: {answer}"
        );
    }
    assert_eq!(packets(&env), before, "something was said to chromedriver");
    // The token itself may be there.
    let target = format!("{}/url?token={}", remote.path, env.client().token());
    assert_eq!(raw(&env, "GET", &target, By::Token, "").await.0, 200);
    remote.end().await;
}

#[tokio::test]
async fn a_bidi_socket_begins_no_session_and_ends_only_its_own() {
    let env = test_env().await;
    let session = env.window("kept", json!({})).await;
    let mut wanted = of(&session);
    wanted["webSocketUrl"] = json!(true);
    let remote = Remote::begin(&env, wanted).await;
    let other = Remote::begin(&env, json!({})).await;
    let url = remote.capabilities["webSocketUrl"].as_str().unwrap();
    let mut bidi = DevTools::connect(url, None).await.unwrap();
    let mut in_pieces = DevTools::connect_in_frames(url, None, 5).await.unwrap();
    let folder = open_folder();
    let before = packets_at_rest(&env).await;
    let params = asking_for(&tracer(folder.path()));
    let new = json!({ "id": 1, "method": "session.new", "params": params }).to_string();
    let hidden = new.replace("session.new", "session.\\u006eew");
    let doubled = new.replace("\"method\"", "\"method\":\"session.status\",\"method\"");
    for (said, error) in [
        (&*new, "session not created"),
        (&hidden, "session not created"),
        (&doubled, "invalid argument"),
        (&format!("/* x */{new}"), "invalid argument"),
        ("{", "invalid argument"),
        ("[1]", "invalid argument"),
        (r#"{"id":1,"method":7}"#, "invalid argument"),
        (r#"{"method":"session.new","params":{}}"#, "invalid argument"),
        (r#"{"id":2,"method":"session.other","params":{}}"#, "unknown command"),
    ] {
        for socket in [&mut bidi, &mut in_pieces] {
            socket.say(said).await;
            let answer = socket.hear().await;
            assert_eq!(
                (&answer["type"], &answer["error"]),
                (&json!("error"), &json!(error)),
                "{said}: {answer}"
            );
        }
    }
    assert_eq!(packets(&env), before, "something was said to chromedriver");
    assert!(!folder.path().join("trace").exists(), "it was run");
    let status = bidi.call(None, "session.status", json!({})).await;
    assert_eq!(status["ready"], false, "{status}");

    // Where nobody reads bytes, they end the connection and nothing else.
    let mut bytes = DevTools::connect(url, None).await.unwrap();
    bytes.say_bytes(new.as_bytes()).await;
    assert!(matches!(bytes.close_message().await, Some((1003, _)) | None));

    for ending in ["session.end", "browser.close"] {
        let remote = Remote::begin(&env, json!({ "webSocketUrl": true })).await;
        let url = remote.capabilities["webSocketUrl"].as_str().unwrap();
        let mut bidi = DevTools::connect(url, None).await.unwrap();
        assert_eq!(bidi.call(None, ending, json!({})).await, json!({}), "{ending}");
        drop(bidi.close_message().await);
        wait_for("the end of the session", SOON, async || {
            let answer = remote.command(Method::GET, "/url", Value::Null).await;
            expect_that(answer.body["value"]["error"] == "invalid session id", answer.body)
        })
        .await;
    }
    assert_eq!(other.get("/url").await, "about:blank", "others are unharmed");
    let tree = bidi.call(None, "browsingContext.getTree", json!({})).await;
    assert_eq!(tree["contexts"].as_array().unwrap().len(), 1, "{tree}");
    bidi.call(None, "session.end", json!({})).await;
    env.is_free(&session).await;
    assert_eq!(env.client().session(&session).await.tabs, 1, "what is kept stays");
    other.end().await;
}

/// What Selenium (Python, JavaScript, Java), `WebdriverIO`, fantoccini and thirtyfour send, as their own tables have it.
const SENT_BY_CLIENTS: &str = "
    GET /timeouts, POST /timeouts, GET /url, POST /url, POST /back, POST /forward, POST /refresh, GET /title,
    GET /window, POST /window, GET /window/handles, POST /window/new, GET /window/rect, POST /window/rect,
    POST /window/maximize, POST /window/minimize, POST /window/fullscreen, POST /frame, POST /frame/parent,
    GET /element/active, POST /element, POST /elements, POST /element/ID/element, POST /element/ID/elements,
    GET /element/ID/shadow, POST /shadow/ID/element, POST /shadow/ID/elements, GET /element/ID/selected,
    GET /element/ID/displayed, GET /element/ID/attribute/title, GET /element/ID/attribute/data-%5Bx%5D,
    GET /element/ID/property/value, GET /element/ID/css/background-color, GET /element/ID/text, GET /element/ID/name,
    GET /element/ID/rect, GET /element/ID/enabled, GET /element/ID/computedrole, GET /element/ID/computedlabel,
    GET /element/ID/screenshot, POST /element/ID/click, POST /element/ID/clear, POST /element/ID/value, GET /source,
    POST /execute/sync, POST /execute/async, GET /cookie, POST /cookie, DELETE /cookie, GET /cookie/name,
    DELETE /cookie/a%20b, POST /actions, DELETE /actions, GET /alert/text, POST /alert/text, POST /alert/accept,
    POST /alert/dismiss, GET /screenshot, POST /print, POST /permissions, POST /se/log, GET /se/log/types,
    POST /log, POST /webauthn/authenticator, DELETE /webauthn/authenticator/ID,
    POST /webauthn/authenticator/ID/credential, GET /webauthn/authenticator/ID/credentials,
    DELETE /webauthn/authenticator/ID/credentials, DELETE /webauthn/authenticator/ID/credentials/c2Vj%3D,
    POST /webauthn/authenticator/ID/uv, POST /sensor, GET /sensor/accelerometer, POST /sensor/ambient-light,
    DELETE /sensor/accelerometer, GET /network_connection, POST /network_connection,
    GET /chromium/network_conditions, POST /chromium/network_conditions, DELETE /chromium/network_conditions,
    POST /chromium/send_command, POST /chromium/send_command_and_get_result, POST /goog/cdp/execute,
    GET /fedcm/accountlist, GET /fedcm/gettitle, GET /fedcm/getdialogtype, POST /fedcm/selectaccount,
    POST /fedcm/clickdialogbutton, POST /fedcm/canceldialog, POST /fedcm/setdelayenabled, POST /fedcm/resetcooldown";

#[tokio::test]
async fn what_clients_send_reaches_chromedriver() {
    let env = test_env().await;
    let remote = Remote::begin(&env, json!({})).await;
    let mut unknown = Vec::new();
    for command in SENT_BY_CLIENTS.split(',') {
        let (method, below) = command.trim().split_once(' ').unwrap();
        let target = format!("{}{}", remote.path, below.replace("ID", "f.0A.d.0B.e.1"));
        let body = if method == "POST" { "{}" } else { "" };
        let (status, answer) = raw(&env, method, &target, By::Token, body).await;
        let error = answer["value"]["error"].as_str().unwrap_or_default();
        if status == 401 || status == 405 || matches!(error, "unknown command" | "unknown method") {
            unknown.push(format!("{command}: {status} {answer}"));
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    // Names are read by chromedriver as the client wrote them.
    let page = "data:text/html,<p id=p data-[x]=brackets title='of it'>text</p>";
    remote.post("/url", json!({ "url": page })).await;
    let found = remote.post("/element", json!({ "using": "css selector", "value": "#p" })).await;
    let element = found.as_object().unwrap().values().next().unwrap().as_str().unwrap();
    for (name, value) in
        [("title", "of it"), ("%74itle", "of it"), ("data-%5Bx%5D", "brackets"), ("data-[x]", "brackets")]
    {
        assert_eq!(remote.get(&format!("/element/{element}/attribute/{name}")).await, value, "{name}");
    }
    remote.end().await;
}

#[tokio::test]
async fn a_bidi_socket_agrees_to_no_compression() {
    let env = test_env().await;
    let remote = Remote::begin(&env, json!({ "webSocketUrl": true })).await;
    let address = env.server.address();
    let target = format!("{}?token={}", remote.path, ticket_of(&remote));
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    );
    let mut stream = TcpStream::connect(address.to_string()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(SOON, stream.read_u8()).await.expect("an answer").unwrap());
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && !head.contains("sec-websocket-extensions"), "{head}");
    // A short text in one frame, with a mask of zeros, and its answer: neither is compressed.
    let command = br#"{"id":1,"method":"session.status","params":{}}"#;
    let mut frame = vec![0x81, 0x80 | u8::try_from(command.len()).unwrap(), 0, 0, 0, 0];
    frame.extend(command);
    stream.write_all(&frame).await.unwrap();
    let first = timeout(SOON, stream.read_u8()).await.expect("an answer").unwrap();
    assert_eq!(first, 0x81, "one frame of text, without reserved bits");
    remote.end().await;
}

#[tokio::test]
async fn chromedriver_is_left_with_nothing_but_its_network() {
    let env = test_env().await;
    let remote = Remote::begin(&env, json!({})).await;
    let driver = drivers(&env).pop().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", driver.id)).unwrap();
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("missing").trim();
    assert_eq!(field("NoNewPrivs:"), "1", "it gains no privilege");
    assert_eq!(field("Seccomp:"), "2", "it starts no process");
    for capabilities in ["CapEff:", "CapPrm:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(capabilities).trim_start_matches('0'), "", "{capabilities}");
    }
    // Nothing in the file system leads to it or to the browsers: not for who has its user, either.
    let mut sockets = Vec::new();
    for entry in std::fs::read_dir(env.server.run_dir()).unwrap().flatten() {
        if entry.file_name().to_str().unwrap().starts_with("driver-") {
            sockets.extend(std::fs::read_dir(entry.path()).unwrap().flatten().map(|entry| entry.path()));
        }
    }
    assert!(sockets.is_empty(), "{sockets:?}");
    remote.end().await;
}

#[tokio::test]
async fn a_session_takes_no_more_than_its_share_of_chromedriver() {
    let env = test_env().await;
    let hostile = Remote::begin(&env, json!({ "webSocketUrl": true })).await;
    let other = Remote::begin(&env, json!({})).await;
    let url = hostile.capabilities["webSocketUrl"].as_str().unwrap();
    let mut sockets = Vec::new();
    while let Ok(socket) = DevTools::connect(url, None).await {
        sockets.push(socket);
        assert!(sockets.len() <= 64, "there is no end");
    }
    assert!(sockets.len() >= 8, "several are had: {}", sockets.len());
    let refused = hostile.command(Method::GET, "/url", Value::Null).await;
    let message = refused.body["value"]["message"].as_str().unwrap();
    assert!(refused.status == 500 && message.contains("already has"), "{message}");
    assert_eq!(other.get("/url").await, "about:blank", "others are unharmed");
    drop(sockets);
    wait_for("a place", SOON, async || {
        let answer = hostile.command(Method::GET, "/url", Value::Null).await;
        expect_that(answer.status == 200, answer.body)
    })
    .await;
    hostile.end().await;
    other.end().await;
}
