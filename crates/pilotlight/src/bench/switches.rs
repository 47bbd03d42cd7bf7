//! `pilotlight flags --measure`: measures each switch of the table by itself, and each launch profile, on this
//! machine and with a page of the user's choice. Each gets a separate browser with a few windows that show the page.
//!
//! Switches that remove a protection, and those that Pilotlight sets itself, are not measured.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use clap::Args;
use pilotlight_chromium::find::Binary;
use pilotlight_chromium::launch::{DirectLauncher, LaunchPlan, Reach};
use pilotlight_chromium::profiles::table::{FLAGS, Flag, Kind, Verdict};
use pilotlight_chromium::profiles::{CustomProfile, Profile, resolve};
use pilotlight_chromium::{Browser, Window, WindowOptions};
use pilotlight_demo_portal::{PASSWORD, Portal, PortalOptions};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::crowd::steady;
use super::fixture::{failed_at, stopped};
use super::{progress, until_stopped};
use crate::config::Config;
use crate::exit::Failure;
use crate::keeper::find_browser;

/// Time limit for loading a page.
const LOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Rest before windows are measured.
const REST: Duration = Duration::from_secs(3);
/// The default page, of the demo portal.
const PAGE: &str = "/yard";

/// Arguments of `pilotlight flags`.
#[derive(Debug, Clone, Args)]
pub struct SwitchesArgs {
    /// Measure each switch by itself, and each launch profile, on this machine
    #[arg(long)]
    pub measure: bool,
    /// Page to show in the windows: a URL, or a path of the demo portal [default: /yard]
    #[arg(long, value_name = "URL", requires = "measure")]
    url: Option<String>,
    /// Number of simultaneous windows
    #[arg(long, value_name = "N", default_value_t = 3, requires = "measure", value_parser = clap::value_parser!(u32).range(1..=100))]
    windows: u32,
    /// Measure only switches and profiles whose names contain this; the run without switches and the default profile are
    /// always included
    #[arg(long, value_name = "NAME", requires = "measure", num_args = 1..)]
    only: Vec<String>,
}

/// The results.
#[derive(Debug, Serialize)]
pub struct SwitchesReport {
    /// The path of the browser.
    pub browser: String,
    /// Number of windows.
    pub windows: u32,
    /// The page.
    pub url: String,
    /// The switches and profiles; the first row is without any switches.
    pub rows: Vec<SwitchLine>,
}

/// The result of a switch or profile.
#[derive(Debug, Serialize)]
pub struct SwitchLine {
    /// The switch as written, or the profile.
    pub name: String,
    /// The error if the browser did not start or the page did not load, otherwise null.
    pub error: Option<String>,
    /// Time from the start until the browser responded, in ms.
    pub start_ms: Option<f64>,
    /// Time from then until the first window had loaded the page, in ms.
    pub load_ms: Option<f64>,
    /// Memory per window: all memory of the browser divided by the number of windows, in MB.
    pub megabytes: Option<f64>,
    /// Difference to a browser without any switches, in percent.
    pub change_percent: Option<f64>,
}

/// A set of switches.
struct Candidate {
    name: String,
    arguments: Vec<String>,
    preferences: Value,
}

/// Measures until it is done or stopped, and cleans up.
///
/// # Errors
/// Returns an error message with a hint.
pub fn measure_switches(config: Config, arguments: &SwitchesArgs) -> Result<SwitchesReport, Failure> {
    until_stopped("error", async |stop| measure(&config, arguments, stop).await)
}

async fn measure(
    config: &Config,
    arguments: &SwitchesArgs,
    stop: &CancellationToken,
) -> Result<SwitchesReport, Failure> {
    let binary = find_browser(&config.chromium, Profile::Dense, &std::env::vars().collect())
        .map_err(|error| failed_at("there is no browser to measure", &error))?;
    let portal = Portal::start(PortalOptions::default()).await;
    let portal = portal.map_err(|error| failed_at("failed to start the demo portal", &error))?;
    let url = arguments.url.as_deref().unwrap_or(PAGE);
    let url = url.strip_prefix('/').map_or_else(|| url.to_owned(), |path| portal.url() + path);
    let candidates = candidates(&binary, &config.chromium.profile, &arguments.only)?;
    let progress = progress(candidates.len() as u64);
    let mut rows: Vec<SwitchLine> = Vec::new();
    for candidate in candidates {
        progress.set_message(candidate.name.clone());
        let bench = Bench { config, binary: &binary, portal: &portal, url: &url, windows: arguments.windows };
        let Some(mut line) = stop.run_until_cancelled(bench.measure(candidate)).await else { break };
        let bare = rows.first().map_or(line.megabytes, |bare| bare.megabytes);
        line.change_percent =
            line.megabytes.zip(bare).map(|(now, bare)| ((now / bare - 1.0) * 1000.0).round() / 10.0);
        rows.push(line);
        progress.inc(1);
    }
    portal.stop().await;
    if stop.is_cancelled() {
        return Err(stopped());
    }
    Ok(SwitchesReport { browser: binary.path.display().to_string(), windows: arguments.windows, url, rows })
}

/// Returns no switches, each known switch by itself, and then the profiles.
fn candidates(binary: &Binary, default: &str, only: &[String]) -> Result<Vec<Candidate>, Failure> {
    let bare = Candidate { name: "(none)".to_owned(), arguments: Vec::new(), preferences: json!({}) };
    let is_wanted = |name: &str| only.is_empty() || only.iter().any(|part| name.contains(part.as_str()));
    let is_safe = |flag: &&Flag| ![flag.headless_shell, flag.full].contains(&Verdict::Unsafe);
    let switches = FLAGS.iter().filter(|flag| !flag.owned && is_safe(flag));
    let switches = switches.filter(|flag| !matches!(flag.kind, Kind::Preference | Kind::DriverOption));
    let switches = switches.filter(|flag| is_wanted(&flag.written())).map(|flag| Candidate {
        name: flag.written(),
        arguments: vec![flag.written()],
        preferences: json!({}),
    });
    let mut all: Vec<Candidate> = std::iter::once(bare).chain(switches).collect();
    for profile in Profile::ALL {
        if is_wanted(profile.name()) || profile.name() == default {
            let resolved = resolve(&CustomProfile::from(profile), binary.engine, &[], false)
                .map_err(|mut errors| failed_at("a launch profile is invalid", &errors.swap_remove(0)))?;
            all.push(Candidate {
                name: format!("profile {profile}"),
                arguments: resolved.arguments,
                preferences: resolved.preferences,
            });
        }
    }
    Ok(all)
}

/// The common conditions of all measurements.
struct Bench<'a> {
    config: &'a Config,
    binary: &'a Binary,
    portal: &'a Portal,
    url: &'a str,
    windows: u32,
}

impl Bench<'_> {
    async fn measure(&self, candidate: Candidate) -> SwitchLine {
        let mut line = SwitchLine {
            name: candidate.name.clone(),
            error: None,
            start_ms: None,
            load_ms: None,
            megabytes: None,
            change_percent: None,
        };
        if let Err(failure) = self.try_measure(candidate, &mut line).await {
            line.error = Some(failure.to_string());
        }
        line
    }

    async fn try_measure(&self, candidate: Candidate, line: &mut SwitchLine) -> Result<(), Failure> {
        let folder = tempfile::Builder::new()
            .prefix("pilotlight-flags-")
            .permissions(Permissions::from_mode(0o711))
            .tempdir()
            .map_err(|error| failed_at("failed to create a folder", &error))?;
        let launcher = DirectLauncher::new(folder.path().to_owned(), self.config.chromium.user.as_deref())
            .map_err(|error| failed_at("there is no user to run it as", &error))?;
        let plan = LaunchPlan {
            binary: self.binary.clone(),
            arguments: candidate.arguments,
            preferences: candidate.preferences,
            environment: std::env::vars().collect(),
            merges_pages: false,
            yields: false,
            reach: Reach::default(),
        };
        let started = Instant::now();
        let (browser, _events) =
            Browser::start(&launcher, plan).await.map_err(|error| failed_at("it does not start", &error))?;
        line.start_ms = Some(milliseconds(started.elapsed()));
        let measured = self.measure_windows(&browser, line).await;
        browser.close().await;
        measured
    }

    async fn measure_windows(&self, browser: &Browser, line: &mut SwitchLine) -> Result<(), Failure> {
        let mut windows: Vec<Window> = Vec::new();
        for number in 0..self.windows {
            let opened = Instant::now();
            let window = browser.open_window(WindowOptions::default()).await;
            let window = window.map_err(|error| failed_at("failed to open a window", &error))?;
            self.show(&window, number).await.map_err(|error| failed_at("failed to load the page", &error))?;
            if number == 0 {
                line.load_ms = Some(milliseconds(opened.elapsed()));
            }
            windows.push(window);
        }
        let all = steady(&[browser.pid()], REST).await;
        line.megabytes = Some((all / f64::from(self.windows) * 10.0).round() / 10.0);
        Ok(())
    }

    async fn show(&self, window: &Window, number: u32) -> Result<(), pilotlight_chromium::WindowError> {
        if self.url.starts_with(&self.portal.url()) {
            window.navigate(&format!("{}login", self.portal.url()), LOAD_TIMEOUT).await?;
            let sign_in = format!(
                "fetch('/login', {{ method: 'POST', body: new URLSearchParams({{ username: 'user-{number}', \
                 password: '{PASSWORD}' }}) }}).then(answer => answer.url)"
            );
            window.evaluate(&sign_in, LOAD_TIMEOUT).await?;
        }
        window.navigate(self.url, LOAD_TIMEOUT).await
    }
}

impl SwitchesReport {
    /// The columns of [`SwitchesReport::lines`].
    pub const HEADER: [&'static str; 6] =
        ["SWITCH OR PROFILE", "CAME UP", "START", "PAGE LOADED", "A WINDOW", "CHANGE"];

    /// Returns the rows of the table for people.
    pub fn lines(&self) -> impl Iterator<Item = Vec<String>> {
        self.rows.iter().map(|line| {
            let number = |number: Option<f64>, unit: &str| {
                number.map_or_else(|| "-".to_owned(), |number| format!("{number:.0} {unit}"))
            };
            vec![
                line.name.clone(),
                line.error.clone().map_or_else(|| "yes".to_owned(), |error| format!("no: {error}")),
                number(line.start_ms, "ms"),
                number(line.load_ms, "ms"),
                line.megabytes.map_or_else(|| "-".to_owned(), |megabytes| format!("{megabytes:.1} MB")),
                line.change_percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:+.1} %")),
            ]
        })
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}
