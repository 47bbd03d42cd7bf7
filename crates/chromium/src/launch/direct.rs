//! Chromium as a child of this process, with a socket pair at its file descriptors 3 and 4.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use pilotlight_cdp::json_over_binary;
use pilotlight_linux::oom;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::confine::{Confined, Reach, extensions};
use super::directory::{BrowserDirectory, sweep_browsers};
use super::users::OwnUser;
use super::{
    BrowserUsers, EXIT_GRACE, LaunchError, LaunchPlan, Process, ProcessState, RunAs, Started, StderrTail,
};
use crate::engine::Engine;

/// Chromium's file descriptors of the protocol with `--remote-debugging-pipe`: see [`json_over_binary`] for its form.
const PIPE_FDS: [i32; 2] = [3, 4];
/// How long to wait for the rest of a killed process group before its directory is removed.
const GROUP_END_TIMEOUT: Duration = Duration::from_secs(2);
/// The interval of checking whether the group has ended.
const GROUP_END_INTERVAL: Duration = Duration::from_millis(10);
/// How long to wait for the rest of the standard error of an ended browser.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_millis(500);
/// Variables that are passed on; all others are removed.
const PASSED_ON: [&str; 4] = ["LANG", "LC_ALL", "TZ", "FONTCONFIG_FILE"];
/// Variables that a window needs.
const PASSED_ON_TO_WINDOWS: [&str; 2] = ["DISPLAY", "XAUTHORITY"];
/// Those of them that name files.
const PASSED_ON_FILES: [&str; 2] = ["FONTCONFIG_FILE", "XAUTHORITY"];
/// Console messages of pages have the level INFO, and pages can write anything, over several lines: none of it may be
/// part of a browser's last output, which is logged. So nothing below an error is written
/// (`content/browser/log_console_message.cc`). Headless shell uses the level only if logging is enabled; measured on
/// 156. A profile that sets another level comes later, and the last one counts.
const ERRORS_ONLY: [&str; 2] = ["--enable-logging=stderr", "--log-level=2"];

/// Starts Chromium itself.
#[derive(Debug, Clone)]
pub struct DirectLauncher {
    run_directory: PathBuf,
    users: BrowserUsers,
}

impl DirectLauncher {
    /// Browsers get their directories under `run_directory` (removing what a killed predecessor left there) and run
    /// as `user`: see [`BrowserUsers::choose`].
    ///
    /// # Errors
    /// If there is no user to run them as.
    pub fn new(run_directory: PathBuf, user: Option<&str>) -> Result<Self, LaunchError> {
        let users = BrowserUsers::choose(user)?;
        sweep_browsers(&run_directory, EXIT_GRACE);
        Ok(Self { run_directory, users })
    }

    /// Returns the same for users that were chosen before, without changing anything in `run_directory`.
    pub(crate) fn for_users(run_directory: PathBuf, users: BrowserUsers) -> Self {
        Self { run_directory, users }
    }

    /// Returns the users of browsers.
    pub fn users(&self) -> &BrowserUsers {
        &self.users
    }

    /// Returns the user of one browser, and a lock of it if it is exclusive.
    fn user(&self, writable: &[PathBuf]) -> Result<(Option<RunAs>, Option<OwnUser>), LaunchError> {
        match &self.users {
            BrowserUsers::Own => Ok((None, None)),
            BrowserUsers::One(user) => Ok((Some(user.clone()), None)),
            BrowserUsers::Each(numbers) => {
                let failed = |source| LaunchError::Directory { path: self.run_directory.clone(), source };
                let own = OwnUser::claim(&self.run_directory, writable, numbers).map_err(failed)?;
                Ok((Some(own.run_as.clone()), Some(own)))
            }
        }
    }

    fn command(plan: &LaunchPlan, directory: &BrowserDirectory, user: Option<&RunAs>) -> Command {
        let mut command = Command::new(&plan.binary.path);
        command
            .arg("--remote-debugging-pipe=cbor")
            .arg(format!("--user-data-dir={}", directory.data().display()));
        command.args(ERRORS_ONLY);
        command.args(engine_arguments(plan.binary.engine)).args(&plan.arguments);
        command.env_clear().envs(environment(plan, directory)).current_dir(directory.home());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        if let Some(user) = user {
            // With a change of user the standard library also drops all supplementary groups.
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// Starts a browser. Whether it comes up is checked by the caller. Needs a runtime, and does not wait.
    pub(crate) fn start(&self, plan: &LaunchPlan) -> Result<Started, LaunchError> {
        let (user, own) = self.user(&plan.reach.writable)?;
        let directory = BrowserDirectory::create(&self.run_directory, &plan.preferences, user.as_ref())?;
        let mut command = Self::command(plan, &directory, user.as_ref());
        let (stream, child) = spawn(&mut command, confined(plan, &directory))
            .map_err(|source| LaunchError::Spawn { path: plan.binary.path.clone(), source })?;
        let pid = child.id().unwrap_or_default();
        if let Err(error) = oom::put_above(&pid.to_string(), "self", oom::BROWSER) {
            tracing::debug!(%error, "the kernel does not know that the browser may go first");
        }
        let (reader, writer) = stream.into_split();
        let (reader, writer) = json_over_binary(reader, writer);
        let kill = CancellationToken::new();
        let stderr = StderrTail::default();
        let (sender, state) = watch::channel(ProcessState::Running);
        let folder = Some(directory.path().to_owned());
        tokio::spawn(supervise(child, (directory, own), stderr.clone(), kill.clone(), sender));
        let process = Process::new(pid, stderr, folder, state, kill);
        let (reader, writer) = (Box::new(reader), Box::new(writer));
        Ok(Started { reader, writer, process })
    }
}

/// Returns the rights of a browser.
fn confined(plan: &LaunchPlan, directory: &BrowserDirectory) -> Confined {
    let environment = passed_on(plan);
    let files = PASSED_ON_FILES.iter().filter_map(|name| environment.get(*name)).map(PathBuf::from);
    let readable = plan.reach.readable.iter().cloned().chain(files).chain(extensions(&plan.arguments));
    let reach = Reach { readable: readable.collect(), ..plan.reach.clone() };
    let confined = Confined::new(&plan.binary.path, directory.path(), &reach);
    if plan.binary.engine == Engine::Headed { confined.with_abstract_sockets() } else { confined }
}

fn spawn(command: &mut Command, confined: Confined) -> io::Result<(UnixStream, Child)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let theirs = OwnedFd::from(theirs);
    let mappings = vec![
        FdMapping { parent_fd: theirs.try_clone()?, child_fd: PIPE_FDS[0] },
        FdMapping { parent_fd: theirs, child_fd: PIPE_FDS[1] },
    ];
    command.as_std_mut().fd_mappings(mappings).map_err(|error| io::Error::other(error.to_string()))?;
    let child = confined.spawn(command)?;
    // Our copies of the child's end must be closed, or we would never notice that it closes its own.
    *command = Command::new("/nonexistent");
    Ok((UnixStream::from_std(ours)?, child))
}

/// `--headless=new` is the meaning of `--headless` since 132, and is understood by older versions, too.
fn engine_arguments(engine: Engine) -> &'static [&'static str] {
    match engine {
        Engine::HeadlessShell => &[],
        Engine::Headless => &["--headless=new", "--no-startup-window"],
        Engine::Headed => &["--no-startup-window"],
    }
}

fn environment(plan: &LaunchPlan, directory: &BrowserDirectory) -> HashMap<String, String> {
    let text = |path: PathBuf| path.display().to_string();
    let home = text(directory.home());
    let mut environment = HashMap::from([
        ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("TMPDIR".to_owned(), text(directory.temporary())),
        ("XDG_RUNTIME_DIR".to_owned(), text(directory.temporary())),
        ("XDG_CONFIG_HOME".to_owned(), format!("{home}/config")),
        ("XDG_CACHE_HOME".to_owned(), format!("{home}/cache")),
        ("XDG_DATA_HOME".to_owned(), format!("{home}/data")),
        ("HOME".to_owned(), home),
        // There is no bus on a server, and looking for one costs time at the start.
        ("DBUS_SESSION_BUS_ADDRESS".to_owned(), "disabled:".to_owned()),
        // Chromium 156 sets this itself at its start, and `VK_ICD_FILENAMES` from the thread that draws, if that is
        // in the main process. Two new names move glibc's list of variables twice, and the second time frees the
        // first copy during another thread's `getenv`: a rare segmentation fault. One new name is harmless: the list
        // that it replaces is the kernel's, which is never freed.
        ("FC_FONTATIONS".to_owned(), "1".to_owned()),
    ]);
    environment.extend(passed_on(plan));
    environment
}

/// Returns the part of the plan's environment that Chromium needs.
pub(crate) fn passed_on(plan: &LaunchPlan) -> HashMap<String, String> {
    let windows: &[&str] = if plan.binary.engine == Engine::Headed { &PASSED_ON_TO_WINDOWS } else { &[] };
    let names = PASSED_ON.iter().chain(windows);
    names.filter_map(|&name| Some((name.to_owned(), plan.environment.get(name)?.clone()))).collect()
}

/// Owns the child until its end: collects its last output, ends its group, removes its directory.
async fn supervise(
    mut child: Child,
    (directory, own): (BrowserDirectory, Option<OwnUser>),
    tail: StderrTail,
    kill: CancellationToken,
    state: watch::Sender<ProcessState>,
) {
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let mut reading = tokio::spawn({
        let stderr = child.stderr.take();
        async move {
            if let Some(stderr) = stderr {
                tail.follow(stderr).await;
            }
        }
    });
    let status = tokio::select! {
        status = child.wait() => status,
        () = kill.cancelled() => {
            kill_group(group);
            child.wait().await
        }
    };
    kill_group(group);
    if tokio::time::timeout(LAST_WORDS_TIMEOUT, &mut reading).await.is_err() {
        reading.abort();
    }
    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    state.send_replace(ProcessState::Ended(status.clone()));
    wait_for_group(group).await;
    let removing = tokio::task::spawn_blocking(move || {
        if let Some(own) = &own {
            own.end_processes();
        }
        drop(directory);
        drop(own);
    });
    if let Err(error) = removing.await {
        tracing::warn!(%error, "failed to remove a browser's directory");
    }
    state.send_replace(ProcessState::Gone(status));
}

fn kill_group(group: Option<Pid>) {
    if let Some(group) = group {
        // The group may be empty already.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Waits, within limits, until no process of the group is left. Zombies that were not reaped yet count as well, hence
/// the limit.
async fn wait_for_group(group: Option<Pid>) {
    let Some(group) = group else { return };
    let ended = async {
        while test_kill_process_group(group).is_ok() && !only_zombies(group) {
            tokio::time::sleep(GROUP_END_INTERVAL).await;
        }
    };
    if tokio::time::timeout(GROUP_END_TIMEOUT, ended).await.is_err() {
        tracing::warn!(group = group.as_raw_nonzero().get(), "processes of an ended browser still run");
    }
}

/// Returns whether all that is left of the group has ended and merely waits for its parent.
fn only_zombies(group: Pid) -> bool {
    let wanted = group.as_raw_nonzero().get().to_string();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut alive =
        processes.filter_map(|entry| state_and_group(&entry.path())).filter(|(_, group)| *group == wanted);
    alive.all(|(state, _)| state == "Z" || state == "X")
}

/// Parses state and process group from `/proc/<pid>/stat`; the name before them may contain anything but ends at `)`.
fn state_and_group(process: &Path) -> Option<(String, String)> {
    let stat = std::fs::read_to_string(process.join("stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.to_owned();
    Some((state, fields.nth(1)?.to_owned()))
}
