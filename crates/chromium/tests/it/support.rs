//! Starting browsers, waiting for predicates, looking at processes.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use pilotlight_chromium::find::{Engine, INSTALL_HINT, Search, find};
use pilotlight_chromium::launch::{DirectLauncher, LaunchPlan, Reach};
use pilotlight_chromium::profiles::{CustomProfile, Profile, resolve};
use pilotlight_chromium::{Browser, BrowserEvent, StartError, Window, WindowOptions};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long anything may take that takes milliseconds on a quiet machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A browser with the directory that it runs in.
pub(crate) struct Fixture {
    pub(crate) browser: Browser,
    pub(crate) events: mpsc::Receiver<BrowserEvent>,
    pub(crate) run: TempDir,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::with(Profile::Dense.into(), Engine::HeadlessShell, HashMap::new()).await
    }

    pub(crate) async fn with(
        profile: CustomProfile,
        engine: Engine,
        environment: HashMap<String, String>,
    ) -> Self {
        let run = run_directory();
        let launcher = DirectLauncher::new(run.path().into(), None).unwrap();
        let plan = plan(&profile, engine, environment);
        // Chromium itself has been seen to crash at its start, once in some thousand; servers try again, too.
        let started = match Browser::start(&launcher, plan.clone()).await {
            Err(StartError::Exited { status, .. }) if status.starts_with("signal: 11") => {
                println!("Chromium crashed at its start and is started once more");
                Browser::start(&launcher, plan).await
            }
            started => started,
        };
        let (browser, events) = started.unwrap_or_else(|error| panic!("{error:?}"));
        Self { browser, events, run }
    }

    pub(crate) async fn window(&self) -> Window {
        self.browser.open_window(WindowOptions::default()).await.unwrap()
    }

    pub(crate) async fn event(&mut self) -> BrowserEvent {
        tokio::time::timeout(LIMIT, self.events.recv()).await.expect("an event in time").expect("a browser")
    }

    pub(crate) fn is_swept(&self) -> bool {
        is_empty(self.run.path())
    }
}

pub(crate) fn plan(
    profile: &CustomProfile,
    engine: Engine,
    environment: HashMap<String, String>,
) -> LaunchPlan {
    let search = Search { configured: None, environment: &environment, root: Path::new("/") };
    let binary = find(&search, &[engine])
        .unwrap_or_else(|error| panic!("this test needs a real Chromium: {error} ({INSTALL_HINT})"));
    let resolved = resolve(profile, engine, &[], false).unwrap();
    LaunchPlan {
        binary,
        arguments: resolved.arguments,
        preferences: resolved.preferences,
        environment,
        merges_pages: false,
        yields: false,
        reach: Reach::default(),
    }
}

/// One that the browser's user can enter.
pub(crate) fn run_directory() -> TempDir {
    let run = tempfile::Builder::new().prefix("pilotlight-test-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(run.path(), fs::Permissions::from_mode(0o711)).unwrap();
    run
}

pub(crate) fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

/// Processes whose command line names `text` and that have not ended.
pub(crate) fn processes_naming(text: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    })
    .collect()
}

pub(crate) fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

pub(crate) fn kill_hard(pid: u32) {
    signal(pid, Signal::KILL);
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Waits for a predicate.
pub(crate) async fn until(what: &str, mut predicate: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !predicate() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
