//! A tiny web server and a tiny proxy, just enough for a browser.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What was asked of a server.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// As in the first line: a path at a server, a URL at a proxy.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// What is answered.
pub(crate) struct Answer {
    pub(crate) status: &'static str,
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn html(body: impl Into<String>) -> Self {
        Self { status: "200 OK", headers: vec!["Content-Type: text/html".into()], body: body.into() }
    }
}

type Handler = dyn Fn(&Request) -> Option<Answer> + Send + Sync;

/// A server on this machine; it ends when it is dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) requests: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// `None` from the handler never answers.
    pub(crate) async fn start(handler: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let handler: Arc<Handler> = Arc::new(handler);
        let seen = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&handler), Arc::clone(&seen)));
            }
        });
        Self { port, requests, task }
    }

    /// The pages of the tests.
    pub(crate) async fn portal() -> Self {
        Self::start(|request| match request.target.as_str() {
            "/never" => None,
            "/set" => Some(Answer {
                headers: vec!["Content-Type: text/html".into(), "Set-Cookie: who=me; Path=/".into()],
                ..Answer::html("<title>set</title>")
            }),
            "/cookie" => Some(Answer::html(request.header("cookie").unwrap_or("none"))),
            "/empty" => Some(Answer { status: "404 Not Found", ..Answer::html("not here") }),
            "/forbidden" => Some(Answer { status: "403 Forbidden", ..Answer::html("no") }),
            "/redirect" => Some(Answer::html("<script>location.replace('/')</script>")),
            path if path.ends_with(".ico") => Some(Answer { status: "404 Not Found", ..Answer::html("") }),
            _ => Some(Answer::html("<!doctype html><title>Portal</title><h1>Welcome</h1>")),
        })
        .await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn count(&self, target: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|request| request.target == target).count()
    }
}

async fn serve(stream: TcpStream, handler: Arc<Handler>, seen: Arc<Mutex<Vec<Request>>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        seen.lock().unwrap().push(request.clone());
        let Some(answer) = handler(&request) else { return std::future::pending().await };
        let headers = answer.headers.join("\r\n");
        let head = format!(
            "HTTP/1.1 {}\r\n{headers}\r\nContent-Length: {}\r\n\r\n",
            answer.status,
            answer.body.len()
        );
        if stream.write_all(format!("{head}{}", answer.body).as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let target = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let request = Request { target, headers };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(request)
}

/// A proxy that lets `user` with `password` in and answers everything itself.
pub(crate) async fn proxy(user: &str, password: &str) -> Server {
    let expected = format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}")));
    Server::start(move |request| {
        if request.header("proxy-authorization") == Some(&expected) {
            return Some(Answer::html("<title>through the proxy</title><script src=/script.js></script>"));
        }
        Some(Answer {
            status: "407 Proxy Authentication Required",
            headers: vec!["Proxy-Authenticate: Basic realm=\"test\"".into()],
            body: "no".into(),
        })
    })
    .await
}
