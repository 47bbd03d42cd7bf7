//! A chromedriver with its relay: starting, connecting and stopping.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use command_fds::{CommandFdExt, FdMapping};
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use pilotlight_chromium::launch::RunAs;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_websockets::{ClientBuilder, WebSocketStream};

use super::bidi::driver_side;
use super::connection_channel::ConnectionChannel;
use super::error::error_body;
use super::relay::{DRIVER_PORT, READY, RELAY, SUBCOMMAND};
use super::route::{Command as Wanted, is_id};
use super::{Refused, Session};
use crate::sentence::with_sources;

/// Prefix of the drivers' folders in the run folder.
const PREFIX: &str = "driver-";
/// Time limit for chromedriver to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit of a command; pages and scripts have their own, shorter limits.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Maximum size of a response, for example a heap snapshot of a page.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// Maximum number of chromedriver's connections to browsers; further ones wait.
const MAX_CONNECTIONS: usize = 4096;
/// Time limit for opening a WebSocket.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(30);
/// The path of our own program by file descriptor, for users that cannot access its folder.
const PROGRAM_FD: i32 = 3;

/// Why chromedriver is not available.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DriverError {
    /// It is not installed.
    #[error("chromedriver is missing: install it (Debian, Ubuntu: apt-get install chromium-driver)")]
    Missing,
    /// It does not start.
    #[error(
        "chromedriver could not be started: {0}. It runs in a separate network namespace, which requires unprivileged user \
         namespaces and `unshare` from util-linux"
    )]
    Start(String),
}

/// Why chromedriver does not respond.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The connection was refused, so it received nothing.
    #[error("cannot connect to chromedriver")]
    Unreachable(#[source] io::Error),
    /// The connection was lost, possibly in the middle of the command.
    #[error("the connection was lost")]
    Broken(#[source] hyper::Error),
    /// The response is invalid or too large.
    #[error("cannot read the response")]
    Unreadable(#[source] axum::Error),
    /// The response takes too long.
    #[error("no response within {} seconds", COMMAND_TIMEOUT.as_secs())]
    Late,
    /// It refuses the WebSocket.
    #[error("chromedriver refused the WebSocket")]
    NoSocket(#[source] tokio_websockets::Error),
    /// The command cannot be serialized.
    #[error("cannot write the command")]
    Unwritable,
}

/// A response of chromedriver.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

/// A running chromedriver. It is stopped when this is dropped.
#[derive(Debug)]
pub(super) struct Driver {
    /// The connection to its relay.
    channel: Arc<ConnectionChannel>,
    _folder: TempDir,
    /// Shows whether it is running.
    alive: watch::Receiver<bool>,
    end: CancellationToken,
}

impl Driver {
    /// Starts one in a folder below `run_dir`; `browsers` answers its connections to browsers.
    pub(super) async fn start(
        run_dir: &Path,
        run_as: Option<&RunAs>,
        browsers: Router,
    ) -> Result<Self, DriverError> {
        let program = find().ok_or(DriverError::Missing)?;
        let failed = |error: &dyn std::error::Error| DriverError::Start(error.to_string());
        let folder = folder(run_dir).map_err(|error| failed(&error))?;
        give_to(folder.path(), run_as).map_err(|error| failed(&error))?;
        let (channel, theirs) = ConnectionChannel::pair().map_err(|error| failed(&error))?;
        let mut child = spawn(&program, folder.path(), run_as, theirs).map_err(|error| failed(&error))?;
        let Some(output) = child.stdout.take() else {
            return Err(DriverError::Start("its standard output is not available".into()));
        };
        let mut said = String::new();
        let mut output = BufReader::new(output);
        match timeout(START_TIMEOUT, output.read_line(&mut said)).await {
            Ok(Ok(_)) if said.trim_end() == READY => {}
            Ok(Ok(0)) => return Err(DriverError::Start("it exited without output".into())),
            Ok(Ok(_)) => return Err(DriverError::Start(said.trim_end().to_owned())),
            Ok(Err(error)) => return Err(failed(&error)),
            Err(_) => return Err(DriverError::Start("it produced no output in time".into())),
        }
        let end = CancellationToken::new();
        let (sender, alive) = watch::channel(true);
        let channel = Arc::new(channel);
        tokio::spawn(serve(Arc::clone(&channel), browsers, end.clone()));
        tokio::spawn(supervise(child, sender, end.clone()));
        Ok(Self { channel, _folder: folder, alive, end })
    }

    pub(super) fn is_alive(&self) -> bool {
        *self.alive.borrow() && !self.end.is_cancelled()
    }

    /// Stops it.
    pub(super) fn end(&self) {
        self.end.cancel();
    }

    /// Creates a session with these capabilities. Returns its id and capabilities, or chromedriver's error.
    pub(super) async fn begin(&self, capabilities: &Value) -> Result<(Session, Value), Refused> {
        let body = json!({ "capabilities": { "alwaysMatch": capabilities } }).to_string();
        let failed = |message: &str| (500, error_body("session not created", message));
        let asked = self.ask(Method::POST, "/session", body.into()).await;
        let answer = asked.map_err(|error| failed(&with_sources(&error)))?;
        let mut told: Value =
            serde_json::from_slice(&answer.body).map_err(|error| failed(&error.to_string()))?;
        // It becomes part of paths.
        match told["value"]["sessionId"].as_str().filter(|id| is_id(id)) {
            Some(id) if answer.status == StatusCode::OK => {
                Ok((Session(id.to_owned()), told["value"]["capabilities"].take()))
            }
            _ => Err((answer.status.as_u16(), told)),
        }
    }

    /// Ends a session.
    pub(super) async fn end_session(&self, Session(id): &Session) -> Result<Answer, AskError> {
        self.ask(Method::DELETE, &format!("/session/{id}"), Bytes::new()).await
    }

    /// Executes a command of a session.
    pub(super) async fn carry_out(
        &self,
        Session(id): &Session,
        wanted: &Wanted,
        body: Bytes,
    ) -> Result<Answer, AskError> {
        let body = if wanted.has_body() { body } else { Bytes::new() };
        self.ask(wanted.method(), &format!("/session/{id}{}", wanted.path()), body).await
    }

    /// Opens the WebSocket of a session.
    pub(super) async fn socket(
        &self,
        Session(id): &Session,
    ) -> Result<WebSocketStream<UnixStream>, AskError> {
        let address = format!("ws://127.0.0.1:{DRIVER_PORT}/session/{id}");
        let (config, limits) = driver_side();
        let builder = ClientBuilder::new().uri(&address).map_err(|_| AskError::Unwritable)?;
        // No extensions are offered, so nothing is compressed.
        let builder = builder.config(config).limits(limits);
        let connecting = async {
            let stream = self.channel.connect().await.map_err(AskError::Unreachable)?;
            builder.connect_on(stream).await.map_err(AskError::NoSocket)
        };
        let connected = timeout(SOCKET_TIMEOUT, connecting).await.unwrap_or(Err(AskError::Late));
        connected.map(|(socket, _)| socket)
    }

    /// Sends a request with exactly this path, without normalization.
    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, AskError> {
        let target: Uri = path.parse().map_err(|_| AskError::Unwritable)?;
        if target.path() != path || target.path_and_query().is_none_or(|target| target != path) {
            return Err(AskError::Unwritable);
        }
        let body = if body.is_empty() { Body::empty() } else { Body::from(body) };
        let request = Request::builder().method(method).uri(target);
        let request = request
            .header(header::HOST, format!("127.0.0.1:{DRIVER_PORT}"))
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"))
            .body(body)
            .map_err(|_| AskError::Unwritable)?;
        timeout(COMMAND_TIMEOUT, self.exchange(request)).await.unwrap_or(Err(AskError::Late))
    }

    async fn exchange(&self, request: Request<Body>) -> Result<Answer, AskError> {
        let stream = self.channel.connect().await.map_err(AskError::Unreachable)?;
        let shaken = client::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(AskError::Broken)?;
        let answering = async {
            let (head, body) = sender.send_request(request).await.map_err(AskError::Broken)?.into_parts();
            let body = to_bytes(Body::new(body), MAX_ANSWER_BYTES).await.map_err(AskError::Unreadable)?;
            Ok(Answer { status: head.status, body })
        };
        let mut answering = pin!(answering);
        let mut connection = pin!(connection);
        tokio::select! {
            answer = &mut answering => answer,
            // An error while reading is part of the result.
            _ = &mut connection => answering.await,
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.end();
    }
}

/// Removes the folders of drivers of an earlier server.
pub(super) fn sweep(run_dir: &Path) {
    for entry in fs::read_dir(run_dir).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// Returns chromedriver from `PATH` or from Debian's folder.
fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
    let mut places = folders.chain([PathBuf::from("/usr/bin"), PathBuf::from("/usr/lib/chromium-browser")]);
    places.find_map(|folder| Some(folder.join("chromedriver")).filter(|program| program.is_file()))
}

fn folder(run_dir: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(PREFIX).permissions(Permissions::from_mode(0o700)).tempdir_in(run_dir)
}

/// The folder is only for chromedriver.
fn give_to(folder: &Path, run_as: Option<&RunAs>) -> io::Result<()> {
    let Some(user) = run_as else { return Ok(()) };
    lchown(folder, Some(user.uid), Some(user.gid))
}

/// In a user namespace, a network namespace requires no privileges. When the first process of the PID namespace ends,
/// all others end, and it ends with `unshare`. The relay's end of the channel is its standard input.
fn spawn(driver: &Path, folder: &Path, run_as: Option<&RunAs>, channel: OwnedFd) -> io::Result<Child> {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--"]);
    command.arg(format!("/proc/self/fd/{PROGRAM_FD}")).args([SUBCOMMAND, RELAY]).arg(folder).arg(driver);
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("HOME", folder).env("TMPDIR", folder).current_dir("/");
    command.stdin(Stdio::from(channel)).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    if let Some(user) = run_as {
        command.uid(user.uid).gid(user.gid);
    }
    let program = File::open("/proc/self/exe")?;
    let mapping = FdMapping { parent_fd: program.into(), child_fd: PROGRAM_FD };
    command.as_std_mut().fd_mappings(vec![mapping]).map_err(io::Error::other)?;
    command.spawn()
}

/// Waits until it has exited, or stops it.
async fn supervise(mut child: Child, alive: watch::Sender<bool>, end: CancellationToken) {
    tokio::select! {
        ended = child.wait() => {
            let status = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            tracing::warn!(status, "chromedriver exited; it will be restarted when needed");
        }
        () = end.cancelled() => drop(child.kill().await),
    }
    alive.send_replace(false);
    end.cancel();
}

/// Answers chromedriver's connections to browsers.
async fn serve(channel: Arc<ConnectionChannel>, browsers: Router, end: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let accepting = async {
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let Ok(Some(stream)) = channel.accept().await else { return };
            let routes = TowerToHyperService::new(browsers.clone());
            let connection =
                server::Builder::new().serve_connection(TokioIo::new(stream), routes).with_upgrades();
            let end = end.clone();
            tokio::spawn(async move {
                // How chromedriver closes a connection is not our concern.
                drop(end.run_until_cancelled(connection).await);
                drop(place);
            });
        }
    };
    end.run_until_cancelled(accepting).await;
}
