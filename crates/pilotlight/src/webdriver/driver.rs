//! One chromedriver with its relay: how it is started, reached and ended.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use axum::Router;
use command_fds::{CommandFdExt, FdMapping};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use pilotlight_chromium::launch::RunAs;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixListener;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::relay::{BROWSERS, COMMANDS, DRIVER_PORT, READY, SUBCOMMAND};

/// What folders of drivers begin with, in the run folder.
const PREFIX: &str = "driver-";
/// How long the relay may take until chromedriver listens.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that one command may take: pages and scripts have their own, shorter limits.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Where our own program is found under this number by whoever may not come to where it lies.
const PROGRAM_FD: i32 = 3;

/// Why there is no chromedriver.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DriverError {
    /// It is not installed.
    #[error("chromedriver is missing: install it (Debian, Ubuntu: apt-get install chromium-driver)")]
    Missing,
    /// It does not come up.
    #[error(
        "chromedriver could not be started: {0}. It runs in a network of its own, for which unprivileged user \
         namespaces must be allowed, and `unshare` of util-linux be there"
    )]
    Start(String),
}

/// A chromedriver that runs. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Driver {
    /// Speaks to it.
    pub(super) client: reqwest::Client,
    _folder: TempDir,
    /// Says whether it runs.
    alive: watch::Receiver<bool>,
    end: CancellationToken,
}

impl Driver {
    /// Starts one in a folder below `run_dir`; browsers that it asks for are to be had from `browsers`.
    pub(super) async fn start(
        run_dir: &Path,
        run_as: Option<&RunAs>,
        browsers: Router,
    ) -> Result<Self, DriverError> {
        let program = find().ok_or(DriverError::Missing)?;
        let failed = |error: &dyn std::error::Error| DriverError::Start(error.to_string());
        let folder = folder(run_dir).map_err(|error| failed(&error))?;
        let listener = UnixListener::bind(folder.path().join(BROWSERS)).map_err(|error| failed(&error))?;
        give_to(folder.path(), run_as).map_err(|error| failed(&error))?;
        let mut child = spawn(&program, folder.path(), run_as).map_err(|error| failed(&error))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(DriverError::Start("it has no standard input and output".into()));
        };
        let mut said = String::new();
        let mut output = BufReader::new(output);
        match timeout(START_TIMEOUT, output.read_line(&mut said)).await {
            Ok(Ok(_)) if said.trim_end() == READY => {}
            Ok(Ok(0)) => return Err(DriverError::Start("it ended without a word".into())),
            Ok(Ok(_)) => return Err(DriverError::Start(said.trim_end().to_owned())),
            Ok(Err(error)) => return Err(failed(&error)),
            Err(_) => return Err(DriverError::Start("it does not say anything".into())),
        }
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(COMMAND_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .unix_socket(folder.path().join(COMMANDS))
            .build()
            .map_err(|error| failed(&error))?;
        let end = CancellationToken::new();
        let (sender, alive) = watch::channel(true);
        tokio::spawn(serve(listener, browsers, end.clone()));
        tokio::spawn(supervise(child, input, sender, end.clone()));
        Ok(Self { client, _folder: folder, alive, end })
    }

    pub(super) fn is_alive(&self) -> bool {
        *self.alive.borrow() && !self.end.is_cancelled()
    }

    /// Ends it.
    pub(super) fn end(&self) {
        self.end.cancel();
    }

    /// A command's address.
    pub(super) fn url(path: &str) -> String {
        format!("http://127.0.0.1:{DRIVER_PORT}{path}")
    }

    /// Starts a session with these capabilities: its id, and what it is, or chromedriver's own answer.
    pub(super) async fn begin(&self, capabilities: &Value) -> Result<(String, Value), (u16, Value)> {
        let body = serde_json::json!({ "capabilities": { "alwaysMatch": capabilities } });
        let failed = |error: reqwest::Error| {
            (500, super::error::error_body("session not created", &crate::sentence::with_sources(&error)))
        };
        let answer = self.client.post(Self::url("/session")).json(&body).send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        let mut answer: Value = answer.json().await.map_err(failed)?;
        match answer["value"]["sessionId"].as_str() {
            Some(id) if status == 200 => Ok((id.to_owned(), answer["value"]["capabilities"].take())),
            _ => Err((status, answer)),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.end();
    }
}

/// Removes what drivers of a server that is no more left.
pub(super) fn sweep(run_dir: &Path) {
    for entry in fs::read_dir(run_dir).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// Chromedriver, where `PATH` or Debian has it.
fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
    let mut places = folders.chain([PathBuf::from("/usr/bin"), PathBuf::from("/usr/lib/chromium-browser")]);
    places.find_map(|folder| Some(folder.join("chromedriver")).filter(|program| program.is_file()))
}

fn folder(run_dir: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(PREFIX).permissions(Permissions::from_mode(0o700)).tempdir_in(run_dir)
}

/// The relay listens in the folder and connects to our socket in it. The folder goes last: until then nobody can
/// put anything in the socket's place.
fn give_to(folder: &Path, run_as: Option<&RunAs>) -> io::Result<()> {
    let Some(user) = run_as else { return Ok(()) };
    lchown(folder.join(BROWSERS), Some(user.uid), Some(user.gid))?;
    lchown(folder, Some(user.uid), Some(user.gid))
}

/// In a user namespace a network namespace needs no privilege; with the first process of a process namespace go
/// all others, and with `unshare` goes that one.
fn spawn(driver: &Path, folder: &Path, run_as: Option<&RunAs>) -> io::Result<Child> {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--"]);
    command.arg(format!("/proc/self/fd/{PROGRAM_FD}")).arg(SUBCOMMAND).arg(folder).arg(driver);
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("HOME", folder).env("TMPDIR", folder).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    if let Some(user) = run_as {
        command.uid(user.uid).gid(user.gid);
    }
    let program = File::open("/proc/self/exe")?;
    let mapping = FdMapping { parent_fd: program.into(), child_fd: PROGRAM_FD };
    command.as_std_mut().fd_mappings(vec![mapping]).map_err(io::Error::other)?;
    command.spawn()
}

/// Waits for its end, or brings it about.
async fn supervise(mut child: Child, input: ChildStdin, alive: watch::Sender<bool>, end: CancellationToken) {
    tokio::select! {
        ended = child.wait() => {
            let status = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            tracing::warn!(status, "chromedriver ended; it is started again when it is needed");
        }
        () = end.cancelled() => drop(child.kill().await),
    }
    alive.send_replace(false);
    end.cancel();
    drop(input);
}

/// Answers chromedriver's questions for browsers.
async fn serve(listener: UnixListener, browsers: Router, end: CancellationToken) {
    let accepting = async {
        while let Ok((stream, _)) = listener.accept().await {
            let routes = TowerToHyperService::new(browsers.clone());
            let connection =
                http1::Builder::new().serve_connection(TokioIo::new(stream), routes).with_upgrades();
            let end = end.clone();
            // How a connection ends is chromedriver's business.
            tokio::spawn(async move { drop(end.run_until_cancelled(connection).await) });
        }
    };
    end.run_until_cancelled(accepting).await;
}
