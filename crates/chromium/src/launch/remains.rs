//! Browsers whose owner has ended. Most end by themselves, since their pipe has closed; unresponsive ones are killed.
//!
//! A process is killed only if its own command line names exactly the abandoned folder: process ids are reused, and
//! other browsers must not be touched.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getpgid, kill_process_group, pidfd_open, pidfd_send_signal};

/// How long a killed process may take to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// The switch that names a browser's folder on its command line.
const DATA_SWITCH: &[u8] = b"--user-data-dir=";

/// Waits up to `grace` for browsers with these user data directories to end, and kills the others.
pub(super) fn end_browsers(data: &[PathBuf], grace: Duration) {
    let found: Vec<(Pid, OwnedFd)> = browsers(data);
    let deadline = Instant::now() + grace;
    for (pid, handle) in found.iter().filter(|(_, handle)| !has_ended_by(handle, deadline)) {
        tracing::warn!(pid = pid.as_raw_pid(), "an abandoned browser does not end and is killed");
        // The handle refers to the process that was checked, whatever has become of its id.
        let killed = pidfd_send_signal(handle, Signal::KILL);
        if killed.is_ok() && getpgid(Some(*pid)) == Ok(*pid) {
            // The id of its group stays valid until it is reaped.
            let _ = kill_process_group(*pid, Signal::KILL);
        }
        has_ended_by(handle, Instant::now() + KILL_TIMEOUT);
    }
}

fn browsers(data: &[PathBuf]) -> Vec<(Pid, OwnedFd)> {
    if data.is_empty() {
        return Vec::new();
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw));
    let suspects = pids.filter(|pid| is_browser_of(*pid, data));
    let held = suspects.filter_map(|pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?)));
    // Checked again, now that the id cannot pass to another process unnoticed.
    held.filter(|(pid, _)| is_browser_of(*pid, data)).collect()
}

fn is_browser_of(pid: Pid, data: &[PathBuf]) -> bool {
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid())).unwrap_or_default();
    data.iter().any(|path| names(&line, path))
}

/// Returns whether exactly this switch is on a command line. Chromium rewrites its own, with spaces as separators
/// (`base/process/set_process_title.cc`).
fn names(line: &[u8], data: &Path) -> bool {
    let switch = [DATA_SWITCH, data.as_os_str().as_bytes()].concat();
    let separates = |byte: Option<&u8>| byte.is_none_or(|byte| matches!(byte, 0 | b' '));
    let mut places = line.windows(switch.len()).enumerate().filter(|(_, window)| **window == *switch);
    places.any(|(start, _)| {
        let before = start.checked_sub(1).and_then(|place| line.get(place));
        before.is_some() && separates(before) && separates(line.get(start + switch.len()))
    })
}

/// Waits for the process of a handle to end, until `deadline` at most. Blocks meanwhile. (A handle is readable once
/// its process has ended: `pidfd_open(2)`.)
pub(crate) fn has_ended_by(handle: &OwnedFd, deadline: Instant) -> bool {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
    let mut waited_for = [PollFd::new(handle, PollFlags::IN)];
    matches!(poll(&mut waited_for, Some(&timeout)), Ok(1..))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Reads until its input ends, with the given arguments on its command line.
    fn process(argument: &str) -> Child {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "read line", argument]).stdin(Stdio::piped()).process_group(0);
        command.spawn().unwrap()
    }

    #[test]
    fn only_the_browser_of_the_very_folder_is_killed() {
        let data = PathBuf::from("/nowhere/browser-1-1/d");
        let mut hung = process("--user-data-dir=/nowhere/browser-1-1/d");
        let mut retitled = process("chromium --user-data-dir=/nowhere/browser-1-1/d --headless");
        let strangers = [
            "--user-data-dir=/nowhere/browser-1-1/d2",
            "--user-data-dir=/nowhere/browser-1-10/d",
            "x--user-data-dir=/nowhere/browser-1-1/d",
        ];
        let mut strangers = strangers.map(process);
        end_browsers(std::slice::from_ref(&data), Duration::ZERO);
        assert_eq!(hung.wait().unwrap().signal(), Some(9));
        assert_eq!(retitled.wait().unwrap().signal(), Some(9));
        for stranger in &mut strangers {
            assert!(stranger.try_wait().unwrap().is_none());
            drop(stranger.stdin.take());
            assert!(stranger.wait().unwrap().signal().is_none());
        }
        end_browsers(&[data], Duration::from_secs(60));
    }

    #[test]
    fn one_that_ends_by_itself_is_left_alone() {
        let mut ending = process("--user-data-dir=/nowhere/browser-2-2/d");
        let input = ending.stdin.take();
        let waiting = std::thread::spawn(|| {
            end_browsers(&["/nowhere/browser-2-2/d".into()], Duration::from_secs(60));
        });
        drop(input);
        assert_eq!(ending.wait().unwrap().signal(), None);
        waiting.join().unwrap();
    }
}
