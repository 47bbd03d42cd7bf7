//! The benchmark `cdp`: a client through the gateway, against the same work with a direct connection to the same
//! browser: the same program with the same switches and a debugging port. Pilotlight's browsers have no such port, so
//! the benchmark starts a separate browser for the baseline, and measures the two alternately.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::process::Stdio;
use std::time::Duration;

use indicatif::ProgressBar;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::devtools::DevTools;
use super::fixture::Fixture;
use super::report::{Line, Samples};
use crate::exit::{self, Failure};

/// The target ratio: for actions, and for bulk data, of which nine tenths of the throughput must be reached.
const REACH_ACTIONS: f64 = 1.1;
const REACH_BULK: f64 = 1.0 / 0.9;
/// Number of actions per sample.
const ACTIONS: usize = 200;
/// Number of screenshots per sample.
const PICTURES: usize = 4;
/// Number of requests that a page makes, each with network events.
const REQUESTS: usize = 400;
/// Time limit for the start of the baseline's browser, and for loading a page.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// Switches of Pilotlight's browsers that the baseline does not use.
const OURS: [&str; 2] = ["--remote-debugging-pipe", "--user-data-dir="];
/// The test page: a button, a text field, and noise that cannot be compressed.
const PAGE: &str = "document.body.innerHTML = '<input id=text><button id=press>press</button><canvas id=noise \
    width=1400 height=1400></canvas>'; document.querySelector('#press').onclick = () => globalThis.presses = \
    (globalThis.presses || 0) + 1; { const context = noise.getContext('2d'), image = context.createImageData(1400, \
    1400); for (let at = 0; at < image.data.length; at += 4) { const number = Math.random() * 0x1000000; \
    image.data.set([number & 255, number >> 8 & 255, number >> 16 & 255, 255], at); } context.putImageData(image, 0, \
    0); }";

/// The measured work.
#[derive(Debug, Clone, Copy)]
enum Work {
    Actions,
    Pictures,
    Events,
}

const WORKS: [(Work, &str, f64); 3] = [
    (Work::Actions, "200 page actions", REACH_ACTIONS),
    (Work::Pictures, "large screenshots", REACH_BULK),
    (Work::Events, "network events", REACH_BULK),
];

pub(super) fn steps(rounds: u32) -> u64 {
    3 * (u64::from(rounds) + 1)
}

pub(super) async fn measure(
    fixture: &Fixture,
    rounds: u32,
    progress: &ProgressBar,
) -> Result<Vec<Line>, Failure> {
    progress.set_message("connecting");
    let id = fixture.sign_in("cdp").await?;
    let url = format!("ws://{}/sessions/{id}/devtools/browser", fixture.address());
    let ours = DevTools::connect(&url, Some(fixture.token().expose_secret())).await.map_err(failed)?;
    let mut through = Client::begin(ours, &fixture.portal.url()).await?;
    let baseline = Baseline::start(fixture).await?;
    let direct = DevTools::connect(&baseline.url, None).await.map_err(failed)?;
    let mut direct = Client::begin(direct, &fixture.portal.url()).await?;
    let mut lines = Vec::new();
    for (work, case, reach) in WORKS {
        progress.set_message(case);
        let (mut measured, mut against) = (Samples::default(), Samples::default());
        for round in 0..=rounds {
            let (one, other) = (direct.time(work).await?, through.time(work).await?);
            // The first sample of each fills caches and is not counted.
            if round > 0 {
                against.push_time(one);
                measured.push_time(other);
            }
            progress.inc(1);
        }
        lines.push(Line {
            row: "cdp",
            case: case.to_owned(),
            measured: measured.of("through the gateway", "ms"),
            baseline: Some(against.of("a direct connection to the same browser", "ms")),
            reach,
        });
    }
    Ok(lines)
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(exit::FAILED, error.to_string())
}

/// A client with its page.
struct Client {
    devtools: DevTools,
    page: String,
}

impl Client {
    async fn begin(mut devtools: DevTools, portal: &str) -> Result<Self, Failure> {
        let made = json!({ "url": format!("{portal}control/statistics") });
        let made = ask(&mut devtools, None, "Target.createTarget", made).await?;
        let attach = json!({ "targetId": made["targetId"], "flatten": true });
        let attached = ask(&mut devtools, None, "Target.attachToTarget", attach).await?;
        let page = attached["sessionId"].as_str().unwrap_or_default().to_owned();
        let mut client = Self { devtools, page };
        for method in ["Page.enable", "Runtime.enable", "DOM.enable", "Page.bringToFront"] {
            client.ask(method, json!({})).await?;
        }
        let deadline = Instant::now() + START_TIMEOUT;
        let loaded = "location.pathname === '/control/statistics' && document.readyState === 'complete'";
        while client.evaluate(loaded).await? != Value::Bool(true) {
            if Instant::now() > deadline {
                return Err(failed("the portal's page does not load"));
            }
            sleep(POLL).await;
        }
        client.evaluate(PAGE).await?;
        Ok(client)
    }

    async fn time(&mut self, work: Work) -> Result<Duration, Failure> {
        let started = Instant::now();
        match work {
            Work::Actions => self.act().await?,
            Work::Pictures => self.take_pictures().await?,
            Work::Events => self.hear_of_requests().await?,
        }
        Ok(started.elapsed())
    }

    /// Alternates between reading, clicking and typing.
    async fn act(&mut self) -> Result<(), Failure> {
        let before = self.evaluate("globalThis.presses || 0").await?;
        for action in 0..ACTIONS {
            match action % 4 {
                0 | 2 => drop(self.evaluate("document.querySelector('#press').textContent").await?),
                1 => {
                    let place = "(() => { const at = document.querySelector('#press').getBoundingClientRect(); \
                         return [at.x + at.width / 2, at.y + at.height / 2]; })()";
                    let place = self.evaluate(place).await?;
                    for (kind, clicks) in [("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 1)] {
                        let button = if clicks == 0 { "none" } else { "left" };
                        let params = json!({ "type": kind, "x": place[0], "y": place[1], "button": button,
                            "clickCount": clicks });
                        self.ask("Input.dispatchMouseEvent", params).await?;
                    }
                }
                _ => {
                    self.evaluate(
                        "document.querySelector('#text').value = ''; document.querySelector('#text').focus()",
                    )
                    .await?;
                    self.ask("Input.insertText", json!({ "text": "typed" })).await?;
                }
            }
        }
        let presses = self.evaluate("globalThis.presses || 0").await?;
        if presses.as_u64() != before.as_u64().map(|before| before + 50) {
            return Err(failed(format!("a page was pressed {presses} times after {before}")));
        }
        Ok(())
    }

    async fn take_pictures(&mut self) -> Result<(), Failure> {
        for _ in 0..PICTURES {
            let clip = json!({ "x": 0, "y": 0, "width": 1400, "height": 1400, "scale": 1 });
            let params = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
            let picture = self.ask("Page.captureScreenshot", params).await?;
            let length = picture["data"].as_str().unwrap_or_default().len();
            if length < 4_000_000 {
                return Err(failed(format!("a picture has only {length} letters")));
            }
        }
        Ok(())
    }

    /// The events of all requests arrive before the response.
    async fn hear_of_requests(&mut self) -> Result<(), Failure> {
        self.ask("Network.enable", json!({})).await?;
        let fetch = format!(
            "(async () => {{ for (let at = 0; at < {REQUESTS}; at += 8) await Promise.all(Array.from({{ length: 8 }}, \
             (_, more) => fetch('/control/statistics?' + at + more).then(answer => answer.text()))); }})()"
        );
        self.evaluate(&fetch).await?;
        self.ask("Network.disable", json!({})).await.map(drop)
    }

    async fn evaluate(&mut self, expression: &str) -> Result<Value, Failure> {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut told = self.ask("Runtime.evaluate", params).await?;
        match told.get("exceptionDetails") {
            None => Ok(told["result"]["value"].take()),
            Some(thrown) => Err(failed(format!("a script threw: {thrown}"))),
        }
    }

    async fn ask(&mut self, method: &str, params: Value) -> Result<Value, Failure> {
        ask(&mut self.devtools, Some(&self.page), method, params).await
    }
}

async fn ask(
    devtools: &mut DevTools,
    session: Option<&str>,
    method: &str,
    params: Value,
) -> Result<Value, Failure> {
    let reply = devtools.exchange(session, method, &params).await.map_err(failed)?;
    reply.map_err(|refused| failed(format!("{method} was refused: {refused}")))
}

/// A browser with a debugging port. It is killed when this is dropped.
struct Baseline {
    url: String,
    _browser: Child,
    _folder: TempDir,
}

impl Baseline {
    /// Starts it like the fixture's own browser.
    async fn start(fixture: &Fixture) -> Result<Self, Failure> {
        let ours = fixture.browser().ok_or_else(|| failed("there is no browser for the baseline"))?;
        let command = command_of(ours).map_err(failed)?;
        let (program, switches) =
            command.split_first().ok_or_else(|| failed("the browser has no command"))?;
        let mut folder = tempfile::Builder::new();
        folder.prefix("baseline-").permissions(Permissions::from_mode(0o700));
        let folder = folder.tempdir_in(fixture.folder()).map_err(failed)?;
        let mut browser = Command::new(program);
        browser.args(switches.iter().filter(|switch| !OURS.iter().any(|ours| switch.starts_with(ours))));
        browser.arg("--remote-debugging-port=0").arg(format!("--user-data-dir={}", folder.path().display()));
        browser.env_clear().env("HOME", folder.path()).env("TMPDIR", folder.path()).current_dir("/");
        browser.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        if let Some(user) = fixture.run_as() {
            lchown(folder.path(), Some(user.uid), Some(user.gid)).map_err(failed)?;
            browser.uid(user.uid).gid(user.gid);
        }
        let browser = browser.spawn().map_err(failed)?;
        // Two lines: the port, and the path of the WebSocket.
        let file = folder.path().join("DevToolsActivePort");
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let told = std::fs::read_to_string(&file).unwrap_or_default();
            if let Some((port, path)) = told.split_once('\n') {
                let url = format!("ws://127.0.0.1:{port}{}", path.trim_end());
                return Ok(Self { url, _browser: browser, _folder: folder });
            }
            if Instant::now() > deadline {
                return Err(failed("the browser to be measured against does not come up"));
            }
            sleep(POLL).await;
        }
    }
}

/// Returns the words of a browser's command line, proc_pid_cmdline(5). Chromium writes its own anew, with spaces for
/// the separators (`base/process/set_process_title.cc`).
fn command_of(pid: u32) -> std::io::Result<Vec<String>> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline"))?;
    let words = line.split(|byte| matches!(byte, 0 | b' ')).filter(|word| !word.is_empty());
    Ok(words.map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}
