//! Starting and ending a browser process.
//!
//! This module never starts Chromium as root, never disables its sandbox, and leaves no process and no directory
//! behind.

mod confine;
mod direct;
mod directory;
mod folder;
mod remains;
pub mod ruleset;
mod stderr;
mod user;
mod users;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use confine::{Confined, Reach, keep_memory_private, probe};
pub use direct::DirectLauncher;
pub(crate) use direct::passed_on;
pub(crate) use directory::{TEMPORARY, sweep_browsers};
pub(crate) use folder::LockedFolder;
pub(crate) use remains::has_ended_by;
pub use ruleset::Confinement;
pub use stderr::{STDERR_RING_BYTES, StderrTail};
pub use user::{BrowserUsers, RunAs, UserError};

use crate::engine::Binary;

/// How long a browser may take to end once its pipe is closed, before it is killed. Measured: 0.03 to 0.2 s.
pub const EXIT_GRACE: Duration = Duration::from_secs(3);

/// How to start a browser.
#[derive(Debug, Clone)]
pub struct LaunchPlan {
    /// The program and its engine.
    pub binary: Binary,
    /// Switches, as [`crate::profiles::resolve`] returns them.
    pub arguments: Vec<String>,
    /// The contents of `Default/Preferences`; an empty object for none.
    pub preferences: Value,
    /// The environment, of which only the few variables that Chromium needs are used: `LANG`, `TZ`, and for a window
    /// `DISPLAY` and `XAUTHORITY`.
    pub environment: HashMap<String, String>,
    /// Whether the kernel may merge equal pages of its processes with those of others. Needs a shim.
    pub merges_pages: bool,
    /// Whether its processes, and its shim, have a lower priority than all others. Needs a shim.
    pub yields: bool,
    /// What it may access besides the system and its own folder.
    pub reach: Reach,
}

/// A started process, and the ends of its pipe.
pub struct Started {
    /// What Chromium writes.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What Chromium reads. Chromium ends when this is dropped, unless it has a shim.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// The process.
    pub process: Process,
}

impl fmt::Debug for Started {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Started").field("process", &self.process).finish_non_exhaustive()
    }
}

/// The state of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessState {
    /// It runs.
    Running,
    /// It ended, with a description such as `exit status: 1` or `signal: 9 (SIGKILL)`.
    Ended(String),
    /// It ended and nothing of it is left: no other process of its group, no directory.
    Gone(String),
}

/// A handle to a process.
#[derive(Debug, Clone)]
pub struct Process {
    /// Chromium's process id.
    pub pid: u32,
    /// The end of its standard error.
    pub stderr: StderrTail,
    /// Its own folder, if known: user data, home, temporary files.
    pub folder: Option<PathBuf>,
    state: watch::Receiver<ProcessState>,
    kill: CancellationToken,
}

impl Process {
    /// Created by a launcher. Cancelling `kill` must kill the process; `state` must become `Gone` thereafter.
    pub fn new(
        pid: u32,
        stderr: StderrTail,
        folder: Option<PathBuf>,
        state: watch::Receiver<ProcessState>,
        kill: CancellationToken,
    ) -> Self {
        Self { pid, stderr, folder, state, kill }
    }

    /// Kills it, with all of its processes. Returns immediately.
    pub fn kill(&self) {
        self.kill.cancel();
    }

    /// Returns whether it was killed.
    pub(crate) fn is_killed(&self) -> bool {
        self.kill.is_cancelled()
    }

    /// Kills it when the guard is dropped.
    pub(crate) fn kill_on_drop(&self) -> tokio_util::sync::DropGuard {
        self.kill.clone().drop_guard()
    }

    /// Returns the description of its end once it has ended.
    pub async fn ended(&self) -> String {
        self.wait(|state| !matches!(state, ProcessState::Running)).await
    }

    /// Returns the description of its end once nothing of it is left.
    pub async fn gone(&self) -> String {
        self.wait(|state| matches!(state, ProcessState::Gone(_))).await
    }

    async fn wait(&self, reached: impl Fn(&ProcessState) -> bool) -> String {
        let mut state = self.state.clone();
        match state.wait_for(|state| reached(state)).await.as_deref() {
            Ok(ProcessState::Ended(status) | ProcessState::Gone(status)) => status.clone(),
            Ok(ProcessState::Running) | Err(_) => "ended with its launcher".into(),
        }
    }

    /// Closes nothing itself: waits up to [`EXIT_GRACE`] for the process to end with its closed pipe, then kills it,
    /// and returns once nothing is left.
    pub async fn finish(&self) {
        if tokio::time::timeout(EXIT_GRACE, self.ended()).await.is_err() {
            tracing::warn!(pid = self.pid, "the browser did not end with its pipe and is killed");
        }
        self.kill();
        self.gone().await;
    }
}

/// Why a browser was not started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// There is no user to run it as.
    #[error("the browser cannot be started as the configured user")]
    User(#[from] UserError),
    /// The run directory cannot be used.
    #[error("the directory `{}` cannot be used for browsers", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The error.
        #[source]
        source: io::Error,
    },
    /// The unprivileged user cannot access the run directory.
    #[error(
        "the user `{user}`, as whom browsers run, cannot enter `{}`; choose a directory that it can enter, such as one in /var/lib or /tmp",
        path.display()
    )]
    NoEntry {
        /// The user.
        user: String,
        /// The first folder in its path that the user cannot enter.
        path: PathBuf,
    },
    /// There is no shim to keep the browser, or it could not start one.
    #[error("the browser's shim could not start it: {0}")]
    Shim(String),
    /// The program did not start.
    #[error("`{}` could not be started", path.display())]
    Spawn {
        /// The program.
        path: PathBuf,
        /// The error.
        #[source]
        source: io::Error,
    },
}
