//! Starting shims, and finding those of an earlier server.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::SUBCOMMAND;
use super::client::{Kept, OrphanedBrowser, ShimError, listener_of};
use super::process::PREFIX;
use super::protocol::{CARD, Card, Description, PROTOCOLS, Report, YIELDS};
use crate::launch::{
    BrowserUsers, EXIT_GRACE, LaunchError, LaunchPlan, LockedFolder, passed_on, sweep_browsers,
};

/// How long a shim may take until it listens.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum size of a shim's report, in bytes.
const REPORT_BYTES_MAX: u64 = 64 * 1024;
/// The maximum size of a `shim.json`, in bytes.
const CARD_BYTES_MAX: u64 = 64 * 1024;

/// How shims are started.
#[derive(Debug, Clone)]
pub struct ShimOptions {
    /// The program. `/proc/self/exe` is our own, even if its file was replaced meanwhile.
    pub program: PathBuf,
    /// The arguments that make it a shim.
    pub arguments: Vec<OsString>,
    /// The folder of the folders of shims and browsers.
    pub run_directory: PathBuf,
    /// How long a browser may be without a server before it ends.
    pub orphan_timeout: Duration,
}

impl ShimOptions {
    /// Returns our own program, with the default timeout.
    pub fn new(run_directory: PathBuf) -> Self {
        Self {
            program: "/proc/self/exe".into(),
            arguments: vec![SUBCOMMAND.into()],
            run_directory,
            orphan_timeout: super::DEFAULT_ORPHAN_TIMEOUT,
        }
    }
}

/// Starts browsers under separate shims, and finds those of an earlier server.
#[derive(Debug, Clone)]
pub struct ShimLauncher {
    options: ShimOptions,
    users: BrowserUsers,
    label: String,
}

/// A shim that was found and could not be adopted. It and its browser were ended.
#[derive(Debug)]
pub struct EndedShim {
    /// The label of its browser.
    pub label: String,
    /// Its process id.
    pub shim_pid: u32,
    /// The reason.
    pub reason: ShimError,
}

/// What an earlier server left.
#[derive(Debug, Default)]
pub struct Found {
    /// Browsers that can be adopted.
    pub orphans: Vec<OrphanedBrowser>,
    /// Shims with which communication failed.
    pub ended: Vec<EndedShim>,
}

impl ShimLauncher {
    /// Browsers run as `user`, as with [`crate::launch::DirectLauncher::new`]. What ended shims left in the run
    /// directory is removed: unresponsive browsers are killed. Blocks meanwhile.
    ///
    /// # Errors
    /// If there is no user to run browsers as.
    pub fn new(options: ShimOptions, user: Option<&str>) -> Result<Self, LaunchError> {
        let users = BrowserUsers::choose(user)?;
        sweep(&options.run_directory);
        Ok(Self { options, users, label: String::new() })
    }

    /// Returns the same for browsers of this label, by which the next server finds them.
    #[must_use]
    pub fn labelled(&self, label: &str) -> Self {
        Self { label: label.into(), ..self.clone() }
    }

    /// Returns the users of browsers.
    pub fn users(&self) -> &BrowserUsers {
        &self.users
    }

    /// Finds the shims in the run directory. Those with which communication fails are ended, with their browsers.
    pub async fn orphans(&self) -> Found {
        let mut found = Found::default();
        // All at once: an unresponsive one does not delay the others.
        let greeted = join_all(shim_folders(&self.options.run_directory).into_iter().map(greet_or_end)).await;
        for greeted in greeted.into_iter().flatten() {
            match greeted {
                Ok(orphan) => found.orphans.push(orphan),
                Err(ended) => found.ended.push(ended),
            }
        }
        let run_directory = self.options.run_directory.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || sweep(&run_directory)).await {
            tracing::warn!(%error, "failed to clean up the run directory");
        }
        found
    }

    /// Starts a browser under a shim of its own.
    pub(crate) async fn start(&self, plan: &LaunchPlan) -> Result<Kept, LaunchError> {
        let description = self.description(plan);
        let path = self.options.program.clone();
        let mut command = self.command();
        if plan.yields {
            command.env(YIELDS, "1");
        }
        let child = command.spawn().map_err(|source| LaunchError::Spawn { path, source })?;
        let (sender, launched) = oneshot::channel();
        // A task of its own: if the caller is dropped meanwhile, the browser must not be left behind.
        tokio::spawn(async move {
            if let Err(Ok(unwanted)) = sender.send(begin(child, description).await) {
                unwanted.started.process.kill();
            }
        });
        launched.await.unwrap_or_else(|_| Err(LaunchError::Shim("it was not waited for".into())))
    }

    fn description(&self, plan: &LaunchPlan) -> Description {
        Description {
            run_directory: self.options.run_directory.clone(),
            label: self.label.clone(),
            orphan_timeout_ms: self.options.orphan_timeout.as_millis().try_into().unwrap_or(u64::MAX),
            users: self.users.clone(),
            program: plan.binary.path.clone(),
            engine: plan.binary.engine.name().into(),
            arguments: plan.arguments.clone(),
            preferences: plan.preferences.clone(),
            environment: passed_on(plan),
            merges_pages: plan.merges_pages,
            reach: plan.reach.clone(),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.options.program);
        command.args(&self.options.arguments).env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }
}

/// Returns nothing if no shim listens.
async fn greet_or_end(folder: PathBuf) -> Option<Result<OrphanedBrowser, EndedShim>> {
    // One without a card does not listen yet. Without its server it ends by itself.
    let card = read_card(&folder)?;
    let orphan = if PROTOCOLS.contains(&card.protocol) {
        OrphanedBrowser::find(folder.clone()).await
    } else {
        Err(ShimError::Version { theirs: card.protocol })
    };
    let reason = match orphan {
        Ok(orphan) => return Some(Ok(orphan)),
        Err(reason) => reason,
    };
    // The process at the socket, and not the id in the file, which may have been reused.
    let process = listener_of(&folder).await.ok()?;
    let (label, shim_pid) = (card.label, process.pid);
    tracing::warn!(label, shim_pid, error = %reason, "failed to communicate with a shim, which is ended");
    process.terminate().await;
    Some(Err(EndedShim { label, shim_pid, reason }))
}

async fn begin(mut child: Child, description: Description) -> Result<Kept, LaunchError> {
    let run_directory = description.run_directory.clone();
    let begun = tokio::time::timeout(READY_TIMEOUT, hand_over(&mut child, &description)).await;
    let begun = begun.unwrap_or_else(|_| Err("it does not say anything".into()));
    let in_words = |error: ShimError| error.to_string();
    let found = match begun {
        Ok(folder) => OrphanedBrowser::find(folder).await.map_err(in_words),
        Err(reason) => Err(reason),
    };
    match found {
        Ok(shim) => shim.of_child(child).take().await.map_err(|error| LaunchError::Shim(in_words(error))),
        Err(reason) => {
            // It has ended, or is useless.
            let _ = child.kill().await;
            let _ = tokio::task::spawn_blocking(move || sweep(&run_directory)).await;
            Err(LaunchError::Shim(reason))
        }
    }
}

async fn hand_over(child: &mut Child, description: &Description) -> Result<PathBuf, String> {
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("it has no standard input and output".into());
    };
    let text = serde_json::to_vec(description).map_err(|error| error.to_string())?;
    // If it cannot be written, the report says why, or there is none.
    let _ = input.write_all(&text).await;
    drop(input);
    let mut line = String::new();
    let read = BufReader::new(output.take(REPORT_BYTES_MAX)).read_line(&mut line).await;
    read.map_err(|error: io::Error| error.to_string())?;
    match serde_json::from_str(&line) {
        Ok(Report::Ready(folder)) => Ok(folder),
        Ok(Report::Failed(reason)) => Err(reason),
        Err(_) => Err("it ended without a word, or is not a shim".into()),
    }
}

/// Removes what ended shims left. Their browsers get [`EXIT_GRACE`] to end, and are killed then. Blocks meanwhile.
pub(super) fn sweep(run_directory: &Path) {
    sweep_browsers(run_directory, EXIT_GRACE);
    drop(LockedFolder::abandoned(run_directory, PREFIX));
}

/// Returns the folders of running shims.
fn shim_folders(run_directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run_directory).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        is_folder && entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
    });
    let mut folders: Vec<PathBuf> = folders.map(|entry| entry.path()).collect();
    folders.retain(|folder| LockedFolder::is_in_use(folder));
    folders.sort();
    folders
}

fn read_card(folder: &Path) -> Option<Card> {
    let file = fs::File::open(folder.join(CARD)).ok()?;
    serde_json::from_reader(io::Read::take(file, CARD_BYTES_MAX)).ok()
}
