//! The baseline for many windows: what people use without Pilotlight. One chromedriver and one full Chromium per
//! session, each with its own profile, in a window on a virtual display, without any options.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use pilotlight_chromium::find::{Engine, Search, find};
use pilotlight_chromium::launch::{BrowserUsers, RunAs};
use pilotlight_demo_portal::PASSWORD;
use pilotlight_linux::trees;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::fixture::failed_at;
use crate::config;
use crate::exit::{self, Failure};

/// Time limit for the start of a program.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit of a command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);
/// Xvfb accepts 256 clients by default.
const MAX_CLIENTS: &str = "2048";

/// The display, and a chromedriver with a browser for each session.
pub(super) struct Baselines {
    display: String,
    browser: PathBuf,
    run_as: Option<RunAs>,
    client: reqwest::Client,
    drivers: Vec<Driver>,
    /// The home folders of the drivers and the profiles of their browsers.
    folder: TempDir,
    /// Killed when this is dropped.
    _xvfb: Child,
}

/// A driver and its child processes, which are killed when this is dropped.
#[derive(Debug)]
struct Driver {
    pid: u32,
    port: u16,
    /// Of its session.
    id: String,
    _child: Child,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Killing the driver alone would leave its browser.
        for pid in trees(&[self.pid]).concat() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // A process may have ended in the meantime.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

impl Baselines {
    /// Starts the display.
    pub(super) async fn start(chromium: &config::Chromium) -> Result<Self, Failure> {
        let environment = std::env::vars().collect();
        let search = Search { configured: None, environment: &environment, root: Path::new("/") };
        let browser = find(&search, &[Engine::Headless]).map_err(|error| {
            failed_at("the baseline needs full Chromium, which is not installed", &error)
                .with_hint("Debian, Ubuntu: apt-get install chromium chromium-driver xvfb")
        })?;
        let users = BrowserUsers::choose(chromium.user.as_deref())
            .map_err(|error| failed_at("there is no user to run the baseline as", &error))?;
        let mut xvfb = Command::new("Xvfb");
        xvfb.args([
            "-displayfd",
            "1",
            "-screen",
            "0",
            "1280x800x24",
            "-nolisten",
            "tcp",
            "-ac",
            "-maxclients",
        ]);
        xvfb.arg(MAX_CLIENTS)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let mut xvfb = xvfb.spawn().map_err(|error| missing("Xvfb", "xvfb", &error))?;
        let number = first_line(&mut xvfb, |_| true).await?;
        let client = reqwest::Client::builder().no_proxy().timeout(COMMAND_TIMEOUT).build();
        let folder = tempfile::Builder::new()
            .prefix("pilotlight-bench-baseline-")
            .permissions(fs::Permissions::from_mode(0o711))
            .tempdir()
            .map_err(|error| failed_at("failed to create a folder", &error))?;
        Ok(Self {
            display: format!(":{}", number.trim()),
            browser: browser.path,
            run_as: users.helper(),
            client: client.map_err(|error| failed_at("failed to create a client", &error))?,
            drivers: Vec::new(),
            folder,
            _xvfb: xvfb,
        })
    }

    /// Returns the root processes of everything.
    pub(super) fn roots(&self) -> Vec<u32> {
        self.drivers.iter().map(|driver| driver.pid).collect()
    }

    /// Starts another driver, and returns how long `POST /session` took; then signs in and opens `page`.
    pub(super) async fn add(&mut self, portal: &str, page: &str) -> Result<Duration, Failure> {
        let user = format!("baseline-{}", self.drivers.len());
        let driver = self.start_driver(&user).await?;
        let port = driver.port;
        let started_driver = Driver { pid: driver.pid, port, id: String::new(), _child: driver.child };
        self.drivers.push(started_driver);
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "binary": self.browser } } } });
        let started = std::time::Instant::now();
        let made = self.ask(port, "/session", &wanted).await?;
        let took = started.elapsed();
        let id = made["sessionId"].as_str().unwrap_or_default().to_owned();
        if let Some(driver) = self.drivers.last_mut() {
            driver.id.clone_from(&id);
        }
        self.ask(port, &format!("/session/{id}/url"), &json!({ "url": format!("{portal}login") })).await?;
        let sign_in = "return fetch('/login', { method: 'POST', body: new URLSearchParams({ \
            username: arguments[0], password: arguments[1] }) }).then(answer => answer.url)";
        let body = json!({ "script": sign_in, "args": [user, PASSWORD] });
        self.ask(port, &format!("/session/{id}/execute/sync"), &body).await?;
        self.ask(port, &format!("/session/{id}/url"), &json!({ "url": page })).await?;
        let look = json!({ "script": "return document.querySelector('#user')?.textContent", "args": [] });
        let seen = self.ask(port, &format!("/session/{id}/execute/sync"), &look).await?;
        if seen.as_str().is_none_or(|seen| !seen.contains(&user)) {
            return Err(Failure::new(exit::FAILED, format!("the baseline is not signed in: {seen}")));
        }
        Ok(took)
    }

    /// Loads the page of a driver again, by its number from 0.
    pub(super) async fn reload(&self, number: u32) -> Result<(), Failure> {
        let driver = usize::try_from(number).ok().and_then(|number| self.drivers.get(number));
        let Some(Driver { port, id, .. }) = driver else { return Ok(()) };
        self.ask(*port, &format!("/session/{id}/refresh"), &json!({})).await.map(drop)
    }

    async fn start_driver(&self, user: &str) -> Result<Started, Failure> {
        let home = self.folder.path().join(user);
        fs::create_dir(&home).map_err(|error| failed_at("failed to create a folder", &error))?;
        let mut command = Command::new("chromedriver");
        command
            .arg("--port=0")
            .env_clear()
            .env("DISPLAY", &self.display)
            .env("HOME", &home)
            .env("TMPDIR", &home);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).current_dir(&home);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        if let Some(run_as) = &self.run_as {
            std::os::unix::fs::chown(&home, Some(run_as.uid), Some(run_as.gid))
                .map_err(|error| failed_at("failed to change the owner of a folder", &error))?;
            command.uid(run_as.uid).gid(run_as.gid);
        }
        let mut child =
            command.spawn().map_err(|error| missing("chromedriver", "chromium-driver", &error))?;
        let pid = child.id().unwrap_or_default();
        let line = first_line(&mut child, |line| line.contains("started successfully on port")).await?;
        let port = line.trim_end_matches('.').rsplit(' ').next().and_then(|port| port.parse().ok());
        let port = port.ok_or_else(|| {
            Failure::new(exit::FAILED, format!("unexpected output of chromedriver: `{line}`"))
        })?;
        Ok(Started { child, pid, port })
    }

    async fn ask(&self, port: u16, path: &str, body: &Value) -> Result<Value, Failure> {
        let told = |error: &reqwest::Error| failed_at("chromedriver did not respond", error);
        let request = self.client.post(format!("http://127.0.0.1:{port}{path}")).json(body);
        let mut answer: Value =
            request.send().await.map_err(|error| told(&error))?.json().await.map_err(|error| told(&error))?;
        let value = answer["value"].take();
        match value["error"].as_str() {
            Some(error) => {
                let message = format!("chromedriver reported {error}: {}", value["message"]);
                Err(Failure::new(exit::FAILED, message))
            }
            None => Ok(value),
        }
    }
}

/// Waits until a driver is listening.
struct Started {
    child: Child,
    pid: u32,
    port: u16,
}

/// Waits for a line on a program's standard output. Further output is discarded.
async fn first_line(child: &mut Child, is_wanted: fn(&str) -> bool) -> Result<String, Failure> {
    let nothing = || Failure::new(exit::FAILED, "a program of the baseline did not start");
    let mut lines = BufReader::new(child.stdout.take().ok_or_else(nothing)?).lines();
    let line = timeout(START_TIMEOUT, find_line(&mut lines, is_wanted)).await.ok().flatten();
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    line.ok_or_else(nothing)
}

async fn find_line<R: AsyncBufRead + Unpin>(
    lines: &mut tokio::io::Lines<R>,
    is_wanted: fn(&str) -> bool,
) -> Option<String> {
    while let Ok(Some(line)) = lines.next_line().await {
        if is_wanted(&line) {
            return Some(line);
        }
    }
    None
}

fn missing(program: &str, package: &str, error: &io::Error) -> Failure {
    failed_at(&format!("cannot start `{program}`, which the baseline needs"), error)
        .with_hint(format!("Debian, Ubuntu: apt-get install {package}"))
}
