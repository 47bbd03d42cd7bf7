//! The benchmark `server`: memory of a server with many windows, and of each of its shims. The server runs in a
//! separate process, as users run it.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use pilotlight_linux::{ProcessMemory, trees};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::fixture::{Fixture, failed};
use super::report::{Line, Samples};
use crate::exit::{self, Failure};

/// Number of windows.
pub(super) const SESSIONS: u32 = 100;
/// Number of windows that are opened at the same time.
const AT_ONCE: usize = 4;
/// Rest before memory is measured.
const REST: Duration = Duration::from_secs(15);
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long its browsers run after it.
const ORPHAN_TIMEOUT: &str = "2s";

/// Uses only the portal of `fixture`.
pub(super) async fn measure(fixture: &Fixture, progress: &ProgressBar) -> Result<Vec<Line>, Failure> {
    progress.set_message(format!("a server with {SESSIONS} windows"));
    let server = Alone::start(fixture.folder()).await?;
    let url = format!("{}login", fixture.portal.url());
    let open = |number: u32| {
        let wanted = json!({ "url": url, "name": format!("window-{number}") });
        let (server, progress) = (&server, progress);
        async move {
            server.ask(Method::POST, "/sessions", &wanted).await?;
            progress.inc(1);
            Ok::<(), Failure>(())
        }
    };
    stream::iter(0..SESSIONS).map(open).buffered(AT_ONCE).try_collect::<()>().await?;
    sleep(REST).await;
    let pid = server.child.id().unwrap_or_default();
    let own = mebibytes(&[pid]);
    // Its children are the shims, and their children are the browsers.
    let is_shim = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|name| name.trim() == "pilotlight-shim")
    };
    let shims: Vec<u32> = trees(&[pid]).concat().into_iter().filter(is_shim).collect();
    let each = mebibytes(&shims) / f64::from(u32::try_from(shims.len().max(1)).unwrap_or(u32::MAX));
    server.end().await;
    let line = |case: &str, measured: f64, what, reach| Line {
        row: "server",
        case: case.to_owned(),
        measured: Samples::one(measured).of(what, "MiB"),
        baseline: None,
        reach,
    };
    Ok(vec![
        line(&format!("{SESSIONS} sessions"), own, "the server's own memory", 30.0),
        line("a shim", each, "a shim's memory", 3.0),
    ])
}

fn mebibytes(pids: &[u32]) -> f64 {
    let memory: ProcessMemory = pids.iter().filter_map(|pid| ProcessMemory::of(*pid)).sum();
    memory.bytes as f64 / f64::from(1 << 20)
}

/// A server in a separate process.
struct Alone {
    child: Child,
    address: String,
    token: String,
    client: reqwest::Client,
}

impl Alone {
    async fn start(folder: &Path) -> Result<Self, Failure> {
        let folder = folder.join("alone");
        let state_dir = folder.join("state");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| failed(&error))?;
        let address = listener.local_addr().map_err(|error| failed(&error))?.to_string();
        drop(listener);
        let config = format!(
            "[server]\nlisten = \"{address}\"\nstate_dir = \"{}\"\norphan_timeout = \"{ORPHAN_TIMEOUT}\"\n\
             [limits]\nmax_live = {SESSIONS}\n[sessions]\nfreeze_after = \"never\"\n",
            state_dir.display()
        );
        std::fs::create_dir(&folder)
            .and_then(|()| std::fs::write(folder.join("pilotlight.toml"), config))
            .map_err(|error| failed(&error))?;
        let program = std::env::current_exe().map_err(|error| failed(&error))?;
        let mut command = Command::new(program);
        command.args(["serve", "--config", "pilotlight.toml"]).current_dir(&folder).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| failed(&error))?;
        let client = reqwest::Client::builder().no_proxy().build().map_err(|error| failed(&error))?;
        let mut server = Self { child, address, token: String::new(), client };
        let started = Instant::now();
        while server.ask(Method::GET, "/ready", &Value::Null).await.is_err() {
            if started.elapsed() > START_TIMEOUT {
                return Err(Failure::new(exit::FAILED, "the server does not start"));
            }
            sleep(Duration::from_millis(50)).await;
        }
        server.token = std::fs::read_to_string(state_dir.join("token"))
            .map_err(|error| failed(&error))?
            .trim()
            .to_owned();
        Ok(server)
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<(), Failure> {
        let request = self.client.request(method, format!("http://{}{path}", self.address));
        let answer =
            request.bearer_auth(&self.token).json(body).send().await.map_err(|error| failed(&error))?;
        answer.error_for_status().map(drop).map_err(|error| failed(&error))
    }

    /// Hibernates all sessions, so that no browser outlives the server.
    async fn end(mut self) {
        // If this fails, its browsers end soon after it.
        drop(self.ask(Method::POST, "/drain", &json!({})).await);
        drop(self.child.kill().await);
    }
}
