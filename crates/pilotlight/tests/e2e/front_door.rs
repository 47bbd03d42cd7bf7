//! What strangers can do at the door, and what they cannot: connections without end, cookies of neighbours, hosts
//! that are none, and what is left of a token that was replaced.

use std::time::Duration;

use pilotlight_api::{Session, SessionState};
use pilotlight_testkit::harness::{Server, expect_that, wait_for};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::support::{SOON, options};

/// More than the server's limit of unauthenticated connections.
const FLOOD: usize = 2200;
/// How many event streams and WebSockets a server with files enough keeps open.
const MAX_STREAMS: usize = 1024;
/// How long a server that is flooded may take for an answer, on a machine that is busy with other tests.
const ANSWER: Duration = Duration::from_secs(15);
/// A stranger's request has to be there long before this; known clients have more time.
const STRANGER: Duration = Duration::from_secs(40);

/// Opens so many connections and sends this on each.
async fn flood(server: &Server, count: usize, said: &str) -> Vec<TcpStream> {
    let mut connections = Vec::new();
    for _ in 0..count {
        let connecting = timeout(ANSWER, TcpStream::connect(server.address())).await;
        let mut connection = connecting.expect("the operating system takes it").unwrap();
        // One that is dropped already says so, or not.
        drop(connection.write_all(said.as_bytes()).await);
        connections.push(connection);
    }
    connections
}

/// A request for a session that shows a page which is there: the server's own.
fn own_page(server: &Server) -> Value {
    json!({ "url": format!("http://{}/ui", server.address()) })
}

/// A request on a connection of its own, and what is answered.
async fn raw(server: &Server, said: &str) -> String {
    let mut connection = TcpStream::connect(server.address()).await.unwrap();
    connection.write_all(said.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = timeout(ANSWER, connection.read_to_end(&mut answer)).await;
    reading.unwrap_or_else(|_| panic!("no answer to {said:?}")).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads on until this has come, which may not be the end of the answer.
async fn read_to(connection: &mut TcpStream, answer: &mut Vec<u8>, wanted: &str) {
    while !String::from_utf8_lossy(answer).contains(wanted) {
        let reading = timeout(ANSWER, connection.read_buf(answer)).await;
        let told = String::from_utf8_lossy(answer);
        let read = reading.unwrap_or_else(|_| panic!("no {wanted:?} comes after {told:?}")).unwrap();
        assert_ne!(read, 0, "the connection ended before {wanted:?} came: {told:?}");
    }
}

async fn is_healthy(server: &Server, when: &str) {
    let host = server.address();
    let request = format!("GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = timeout(ANSWER, raw(server, &request)).await;
    let answer = answer.unwrap_or_else(|_| panic!("no answer {when}"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{when}: {answer}");
}

/// A client with new connections.
async fn is_served(server: &Server, when: &str) {
    let client = server.client().with_own_connections();
    let answer =
        timeout(ANSWER, client.get("/sessions")).await.unwrap_or_else(|_| panic!("a client waits {when}"));
    assert_eq!(answer.status, 200, "{when}: {}", answer.body);
}

#[tokio::test]
async fn half_requests_and_silent_connections_keep_nobody_out() {
    let server = Server::start(options()).await;
    let host = server.address();
    let whole = format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for (what, said) in
        [("half requests", "GET /health HTTP/1.1\r\nHost: x"), ("nothing", ""), ("idle", &whole)]
    {
        let connections = flood(&server, FLOOD, said).await;
        is_healthy(&server, what).await;
        is_served(&server, what).await;
        drop(connections);
    }
}

#[tokio::test]
async fn a_stranger_has_little_time_for_a_request_and_a_client_more() {
    let server = Server::start(options()).await;
    let (host, token) = (server.address(), server.client().token().to_owned());
    let mut client = TcpStream::connect(&host).await.unwrap();
    let request = format!("GET /ready HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut answer = [0; 4096];
    client.write_all(request.as_bytes()).await.unwrap();
    assert!(client.read(&mut answer).await.unwrap() > 0);
    for said in ["", "GET /health HTTP/1.1\r\n"] {
        let mut stranger = TcpStream::connect(&host).await.unwrap();
        stranger.write_all(said.as_bytes()).await.unwrap();
        let ended = timeout(STRANGER, stranger.read_to_end(&mut Vec::new())).await;
        drop(ended.unwrap_or_else(|_| panic!("a connection that says {said:?} stays")));
    }
    // Meanwhile a client that showed the token was silent for as long.
    client.write_all(request.as_bytes()).await.unwrap();
    let read = timeout(ANSWER, client.read(&mut answer)).await.expect("the client is answered").unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "the client was dropped");
}

#[tokio::test]
async fn streams_have_a_limit_of_their_own_and_leave_room() {
    const SURPLUS: usize = 6;
    let server = Server::start(options().open_files(4096, 4096)).await;
    let (host, token) = (server.address(), server.client().token().to_owned());
    let request = format!("GET /events HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut streams = flood(&server, MAX_STREAMS + SURPLUS, &request).await;
    is_healthy(&server, "beside many streams").await;
    is_served(&server, "beside many streams").await;
    // Requests are not answered in the order in which their connections were opened: any of them may be one too many.
    let (mut open, mut refused) = (0, 0);
    for stream in &mut streams {
        let mut answer = Vec::new();
        read_to(stream, &mut answer, "\r\n\r\n").await;
        if answer.starts_with(b"HTTP/1.1 200") {
            open += 1;
            continue;
        }
        read_to(stream, &mut answer, "imit of event streams").await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\"busy\""), "{answer}");
        refused += 1;
    }
    assert_eq!((open, refused), (MAX_STREAMS, SURPLUS));
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised() {
    let server = Server::start(options().open_files(256, 4096)).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.server_pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("4096"), "{line}");
}

/// Where the operating system gives too few, what fails says so, and what is there already goes on.
#[tokio::test]
async fn that_file_descriptors_run_out_is_said() {
    let server = Server::start(options().open_files(48, 48)).await;
    let connections = flood(&server, 100, "GET /health HTTP/1.1\r\n").await;
    is_healthy(&server, "with few descriptors").await;
    drop(connections);
    let answer = server.client().post("/sessions", &own_page(&server)).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    let (error, hint) = (answer.body["error"].as_str().unwrap(), answer.body["hint"].as_str().unwrap());
    assert!(error.contains("file descriptors"), "{error}");
    assert!(hint.contains("LimitNOFILE"), "{hint}");
    is_served(&server, "after that").await;
}

/// A window of another server, as a person's browser or as a page of another origin.
struct Person {
    server: Server,
    window: Session,
}

impl Person {
    async fn at(url: &str) -> Self {
        let server = Server::start(options()).await;
        let window = server.client().create(&json!({ "url": url })).await;
        Self { server, window }
    }

    async fn goes_to(&self, url: &str) {
        let path = format!("/sessions/{}/navigate", self.window.session_id);
        self.server.client().post(&path, &json!({ "url": url })).await.expect(200);
    }

    async fn script(&self, script: &str) -> Value {
        self.server.client().evaluate(&self.window, script).await
    }

    async fn sees(&self, text: &str) {
        let script = format!("document.body.innerText.includes({})", json!(text));
        wait_for(&format!("{text:?} in the page"), SOON, async || {
            expect_that(self.script(&script).await == true, self.script("document.body.innerText").await)
        })
        .await;
    }
}

/// Another service of this machine: it says nothing of interest and keeps the heads of all requests.
async fn neighbour() -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, heads) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let (mut head, mut bytes) = (Vec::new(), [0; 4096]);
                while !head.ends_with(b"\r\n\r\n") {
                    match connection.read(&mut bytes).await {
                        Ok(0) | Err(_) => return,
                        Ok(count) => head.extend_from_slice(&bytes[..count]),
                    }
                }
                drop(sender.send(String::from_utf8_lossy(&head).into_owned()));
                let page = "<!doctype html><title>a neighbour</title>a neighbour";
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                    page.len()
                );
                drop(connection.write_all(answer.as_bytes()).await);
            });
        }
    });
    (address, heads)
}

/// The link that a person gets who may use the server.
async fn link(server: &Server) -> String {
    server.command(&["dashboard"], "").await.expect(0).stdout.trim().to_owned()
}

#[tokio::test]
async fn nothing_of_the_dashboard_goes_to_another_port_nor_counts_from_there() {
    let server = Server::start(options()).await;
    let own = format!("http://{}", server.address());
    let person = Person::at(&link(&server).await).await;
    person.sees("There are no sessions yet").await;
    let (address, mut heads) = neighbour().await;
    person.goes_to(&address).await;
    let head = timeout(SOON, heads.recv()).await.unwrap().unwrap();
    let cookie =
        head.lines().find_map(|line| line.strip_prefix("Cookie: ").or(line.strip_prefix("cookie: ")));
    // Whatever it was given, it can do nothing with, though it says what a page of the dashboard would.
    let client = server.client().with_token("");
    for method in [Method::GET, Method::POST] {
        let request = client.request(method.clone(), "/sessions").header("origin", &own);
        let request = request.header("cookie", cookie.unwrap_or_default()).json(&own_page(&server));
        let answer = client.send(request).await;
        assert_eq!(answer.status, 401, "{method} with {cookie:?}: {}", answer.body);
    }
    // Its page reads nothing of ours, either, and fills the browser with cookies.
    let fetch = format!(
        "fetch('{own}/sessions', {{ credentials: 'include' }}).then((answer) => answer.status, String)"
    );
    assert_ne!(person.script(&fetch).await, 200);
    let junk = "for (let i = 0; i < 300; i += 1) document.cookie = `junk${i}=${'x'.repeat(4000)}; path=/`; document.cookie.length";
    assert!(person.script(junk).await.as_u64().unwrap() > 400_000);
    person.goes_to(&format!("{own}/ui")).await;
    person.sees("There are no sessions yet").await;
}

#[tokio::test]
async fn a_link_that_signs_in_is_for_people_and_not_for_logs() {
    let server = Server::start(options()).await;
    let link = link(&server).await;
    let code = link.split("#code=").nth(1).expect("a code").to_owned();
    wait_for("the server to say how one gets in", SOON, async || {
        let log = server.log();
        expect_that(log.contains("`pilotlight dashboard`"), log)
    })
    .await;
    let entered =
        server.client().with_token("").post("/ui/enter", &json!({ "code": code })).await.expect(200);
    assert!(entered.headers.get("set-cookie").is_none());
    let key = entered.body["key"].as_str().unwrap().to_owned();
    assert_eq!(server.client().with_token(&key).get("/sessions").await.status, 200);
    for secret in [&*code, &key, server.client().token(), "code="] {
        assert!(!server.log().contains(secret), "{secret} is in the log");
    }
    let again = server.client().with_token("").post("/ui/enter", &json!({ "code": code })).await;
    assert_eq!(again.refusal(), (401, "unauthorized"));
    assert!(again.body["hint"].as_str().unwrap().contains("pilotlight dashboard"), "{}", again.body);
    // Links require the token.
    let refused = server.client().with_token("").post_nothing("/ui/link").await;
    assert_eq!(refused.refusal(), (401, "unauthorized"));
    let alias = server.command(&["ui", "-o", "json"], "").await.expect(0).json();
    assert!(alias["link"].as_str().unwrap().starts_with(&format!("http://{}/ui#code=", server.address())));
}

/// A visitor of the dashboard, with the ticket of a stream.
pub(crate) async fn visitor(server: &Server) -> (String, String) {
    let code = link(server).await.split("#code=").nth(1).unwrap().to_owned();
    let entered = server.client().post("/ui/enter", &json!({ "code": code })).await.expect(200);
    let key = entered.body["key"].as_str().unwrap().to_owned();
    let ticket =
        server.client().with_token(&key).post("/ui/ticket", &json!({ "path": "/events" })).await.expect(200);
    (key, ticket.body["ticket"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_new_token_ends_everything_that_came_in_with_the_old_one() {
    let server = Server::start(options()).await;
    let old = server.client().token().to_owned();
    let (key, ticket) = visitor(&server).await;
    let session = server.client().create(&own_page(&server)).await;
    let host = server.address();
    let mut streams = Vec::new();
    let socket = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let live = format!("/sessions/{}/live", session.session_id);
    let cdp = format!("/sessions/{}/devtools/browser", session.session_id);
    for (path, more, shown) in
        [("/events", "", &old), ("/events", "", &key), (&live, socket, &key), (&cdp, socket, &old)]
    {
        let mut stream = TcpStream::connect(&host).await.unwrap();
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {shown}\r\n{more}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        timeout(ANSWER, stream.read_exact(&mut first)).await.expect("an answer").unwrap();
        assert!(
            first.ends_with(b" 200") || first.ends_with(b" 101"),
            "{path}: {}",
            String::from_utf8_lossy(&first)
        );
        streams.push((path.to_owned(), stream));
    }

    // A visitor can neither shut others out nor let in more.
    for path in ["/token/rotate", "/ui/link"] {
        let refused = server.client().with_token(&key).post_nothing(path).await;
        assert_eq!(refused.refusal(), (401, "unauthorized"), "{path}");
    }
    let rotated = server.command(&["token", "--rotate"], "").await.expect(0);
    let new = rotated.stdout.trim().to_owned();
    assert!(new.len() == 64 && new != old, "{rotated:?}");
    let file = std::fs::read_to_string(server.state_dir().join("token")).unwrap();
    assert_eq!(file.trim(), new);
    for (path, mut stream) in streams {
        let ended = timeout(ANSWER, stream.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "{path} goes on");
    }
    for dead in [&old, &key] {
        let client = server.client().with_token(dead);
        assert_eq!(client.get("/sessions").await.refusal(), (401, "unauthorized"));
    }
    let by_ticket = server.client().with_token("").get(&format!("/events?ticket={ticket}")).await;
    assert_eq!(by_ticket.refusal(), (401, "unauthorized"));
    assert_eq!(server.client().with_token("").post("/ui/enter", &json!({ "code": old })).await.status, 401);
    let client = server.client().with_token(&new);
    let now = client.session(&session).await;
    assert_eq!(now.state, SessionState::Ready, "sessions stay");
    assert!(!server.log().contains(&new), "the token is in the log");
}

#[tokio::test]
async fn visitors_do_not_outlast_the_token_over_a_restart() {
    let mut server = Server::start(options()).await;
    let (key, _) = visitor(&server).await;
    server.terminate().await;
    let server = server.start_again().await;
    assert_eq!(
        server.client().with_token(&key).get("/sessions").await.status,
        200,
        "a restart sends nobody away"
    );
    let mut server = server;
    server.terminate().await;
    // Without a server the command replaces the file.
    let old = server.client().token().to_owned();
    let rotated = server.command(&["token", "--rotate"], "").await.expect(0);
    assert_ne!(rotated.stdout.trim(), old);
    let server = server.start_again().await;
    assert_eq!(server.client().token(), rotated.stdout.trim());
    for dead in [&old, &key] {
        assert_eq!(server.client().with_token(dead).get("/sessions").await.refusal(), (401, "unauthorized"));
    }
}

#[tokio::test]
async fn hosts_are_taken_to_the_letter() {
    let server = Server::start(options()).await;
    let host = server.address();
    let port = host.rsplit(':').next().unwrap();
    for bad in [
        format!("evil@{host}"),
        format!("{host}/x"),
        format!("{host}#evil"),
        format!("{host}?evil"),
        format!("localhost\t:{port}"),
        format!("127.1:{port}"),
        format!("0x7f.0.0.1:{port}"),
        format!("127.0.0.1:0{port}"),
        format!("localhost.:{port}"),
        "127.0.0.1:0".to_owned(),
    ] {
        let answer =
            raw(&server, &format!("GET /health HTTP/1.1\r\nHost: {bad}\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 403") || answer.starts_with("HTTP/1.1 400"), "{bad}: {answer}");
    }
    let absolute =
        format!("GET http://evil@{host}/health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = raw(&server, &absolute).await;
    assert!(answer.starts_with("HTTP/1.1 403") || answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn pages_of_allowed_origins_use_the_interface_and_others_do_not() {
    let (tool, _heads) = neighbour().await;
    let (other, _other_heads) = neighbour().await;
    let server = Server::start(options().server_config(&format!("allowed_origins = [\"{tool}\"]"))).await;
    let (own, token) = (format!("http://{}", server.address()), server.client().token().to_owned());
    let person = Person::at(&tool).await;
    let fetch = format!(
        "fetch('{own}/sessions', {{ headers: {{ authorization: 'Bearer {token}' }} }}).then((answer) => answer.status, String)"
    );
    let change = format!(
        "fetch('{own}/sessions/none', {{ method: 'PATCH', headers: {{ authorization: 'Bearer {token}', \
         'content-type': 'application/json' }}, body: '{{}}' }}).then((answer) => answer.json()).then((body) => body.code, String)"
    );
    let wrong = format!("fetch('{own}/sessions').then((answer) => answer.status, String)");
    assert_eq!(person.script(&fetch).await, 200);
    assert_eq!(person.script(&change).await, "session_not_found");
    assert_eq!(person.script(&wrong).await, 401, "it can read why it is refused");
    person.goes_to(&other).await;
    for script in [&fetch, &change, &wrong] {
        let told = person.script(script).await;
        assert!(told.as_str().is_some_and(|told| told.contains("Failed to fetch")), "{told}");
    }

    let ask = async |method: &str, origin: &str, asks: &str| {
        let client = server.client().with_token("");
        let request = client
            .request(Method::from_bytes(method.as_bytes()).unwrap(), "/sessions")
            .header("origin", origin);
        let request =
            if asks.is_empty() { request } else { request.header("access-control-request-method", asks) };
        client.send(request).await
    };
    let preflight = ask("OPTIONS", &tool, "DELETE").await.expect(204);
    assert_eq!(preflight.headers["access-control-allow-origin"], tool);
    assert!(preflight.headers["access-control-allow-methods"].to_str().unwrap().contains("DELETE"));
    assert!(preflight.headers["access-control-allow-headers"].to_str().unwrap().contains("authorization"));
    assert_eq!(preflight.headers["vary"], "origin");
    assert!(!preflight.headers.contains_key("access-control-allow-credentials"));
    // No preflight gets more than leave to ask.
    assert_eq!(ask("OPTIONS", &tool, "").await.refusal(), (401, "unauthorized"));
    let refused = ask("OPTIONS", &other, "GET").await;
    assert_eq!(refused.refusal(), (403, "forbidden_origin"));
    assert!(!refused.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn no_answer_is_shown_in_a_frame_or_tells_its_address() {
    let server = Server::start(options()).await;
    for path in
        ["/docs", "/ui", "/ui/assets/app.js", "/health", "/sessions", "/openapi.json", "/no/such/route"]
    {
        let headers = server.client().get(path).await.headers;
        let policy = headers.get("content-security-policy").map(|policy| policy.to_str().unwrap().to_owned());
        assert!(
            policy.is_some_and(|policy| policy.contains("frame-ancestors 'none'")),
            "{path}: {headers:?}"
        );
        assert_eq!(headers.get("referrer-policy").unwrap(), "no-referrer", "{path}");
        assert_eq!(headers.get("x-content-type-options").unwrap(), "nosniff", "{path}");
    }
    let refused = server.client().with_token("").get("/sessions").await;
    let challenges: Vec<_> = refused.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(challenges, ["Basic realm=\"pilotlight\"", "Bearer"]);
}
