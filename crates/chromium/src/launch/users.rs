//! A separate user for each browser: ids without accounts.
//!
//! Code that has compromised one browser has the rights of its user, and therefore no access to other browsers. An id
//! is claimed by a lock in the run directory (`user-<number>.lock`), which is held until the process that started the
//! browser ends; the browser's folder belongs to the id, so that the next server recognises it. An id is never used
//! if a process of the machine has it, or if it owns something of a session where browsers write.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::folder::LockedFolder;
use super::remains::has_ended_by;
use super::user::RunAs;

/// The prefix of the names of locks.
const PREFIX: &str = "user-";
/// How many ids are tried, beginning at one that depends on the run directory.
const TRIED_MAX: u32 = 4096;
/// How long killed processes may take to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// A user that only one browser has, until this is dropped.
#[derive(Debug)]
pub(super) struct OwnUser {
    pub(super) run_as: RunAs,
    _lock: LockedFolder,
}

impl OwnUser {
    /// Claims one of these ids that is free. `writable` are folders that browsers write besides their own.
    pub(super) fn claim(
        run_directory: &Path,
        writable: &[PathBuf],
        numbers: &RangeInclusive<u32>,
    ) -> io::Result<Self> {
        let taken: BTreeSet<u32> = in_use(run_directory).into_iter().chain(owners_below(writable)).collect();
        // The first one is not for browsers.
        let (first, count) = (numbers.start() + 1, numbers.end() - numbers.start());
        let start = place_of(run_directory) % count;
        for step in 0..count.min(TRIED_MAX) {
            let number = first + (start + step) % count;
            if taken.contains(&number) {
                continue;
            }
            let Some(lock) = LockedFolder::claim_name(run_directory, &format!("{PREFIX}{number}"))? else {
                continue;
            };
            // The last owner may have left something since the check.
            if !in_use(run_directory).contains(&number) {
                return Ok(Self { run_as: RunAs::numbered(number), _lock: lock });
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "every user for browsers is in use"))
    }
}

impl OwnUser {
    /// Kills whatever the browser left, wherever it is. Blocks until it has ended, within limits.
    pub(super) fn end_processes(&self) {
        end_processes_of(self.run_as.uid);
    }
}

impl Drop for OwnUser {
    fn drop(&mut self) {
        self.end_processes();
    }
}

/// Ends what browsers left whose owner has ended, and frees their users. Blocks meanwhile.
pub(super) fn sweep_users(run_directory: &Path) {
    for lock in LockedFolder::abandoned(run_directory, PREFIX) {
        let name = lock.path().file_name().and_then(|name| name.to_str());
        if let Some(number) = name.and_then(|name| name.strip_prefix(PREFIX)?.parse().ok()) {
            end_processes_of(number);
        }
    }
}

/// Returns all users that have a process on this machine, or a folder of a browser that was not removed yet.
fn in_use(run_directory: &Path) -> BTreeSet<u32> {
    let folders = fs::read_dir(run_directory).into_iter().flatten().flatten();
    let owners = folders.filter_map(|folder| folder.path().symlink_metadata().ok()).map(|of| of.uid());
    owners.chain(processes().flat_map(|(_, users)| users)).collect()
}

/// Returns all users that own something where browsers write: in these folders, and in the folders of sessions in
/// them.
fn owners_below(writable: &[PathBuf]) -> BTreeSet<u32> {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let of_sessions = writable.iter().flat_map(|folder| entries(folder));
    let below = of_sessions.flat_map(|session| entries(&session.path()).chain([session]));
    // Of the entry itself, not of the target of a link.
    below.filter_map(|entry| entry.metadata().ok()).map(|of| of.uid()).collect()
}

/// Returns the users of all processes: real, effective, saved, and that of files.
fn processes() -> impl Iterator<Item = (Pid, Vec<u32>)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw));
    pids.map(|pid| (pid, users_of(pid)))
}

/// None for a process that has ended. A zombie does nothing any more.
fn users_of(pid: Pid) -> Vec<u32> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_pid())).unwrap_or_default();
    if status.lines().any(|line| line.starts_with("State:\tZ") || line.starts_with("State:\tX")) {
        return Vec::new();
    }
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    line.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// Kills all processes of a user that belongs to one browser. Blocks until they have ended, within limits.
fn end_processes_of(number: u32) {
    let deadline = Instant::now() + KILL_TIMEOUT;
    loop {
        let pids = processes().filter(|(_, users)| users.contains(&number)).map(|(pid, _)| pid);
        let handles = pids.filter_map(|pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?)));
        // Checked again, now that the id cannot pass to another process unnoticed.
        let theirs: Vec<OwnedFd> =
            handles.filter(|(pid, _)| users_of(*pid).contains(&number)).map(|(_, handle)| handle).collect();
        if theirs.is_empty() {
            return;
        }
        for handle in &theirs {
            let _ = pidfd_send_signal(handle, Signal::KILL);
        }
        if !theirs.iter().all(|handle| has_ended_by(handle, deadline)) {
            tracing::warn!(user = number, "processes of an ended browser still run");
            return;
        }
        // They may have started others meanwhile.
    }
}

/// Returns the first id to try, so that servers with different run directories use different ones. (FNV-1a)
fn place_of(run_directory: &Path) -> u32 {
    let full = run_directory.canonicalize().unwrap_or_else(|_| run_directory.to_owned());
    let bytes = full.as_os_str().as_encoded_bytes();
    bytes.iter().fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Command, Stdio};

    use super::*;

    fn number(claimed: &OwnUser) -> u32 {
        claimed.run_as.uid
    }

    #[test]
    fn each_number_is_taken_once_and_free_again_afterwards() {
        let run = tempfile::tempdir().unwrap();
        let numbers = 1_900_000_010..=1_900_000_013;
        let mut taken: Vec<OwnUser> =
            (0..3).map(|_| OwnUser::claim(run.path(), &[], &numbers).unwrap()).collect();
        let distinct: BTreeSet<u32> = taken.iter().map(number).collect();
        assert_eq!(distinct, (1_900_000_011..=1_900_000_013).collect(), "the first is not for browsers");
        OwnUser::claim(run.path(), &[], &numbers).unwrap_err();
        let freed = number(&taken.remove(1));
        assert_eq!(number(&OwnUser::claim(run.path(), &[], &numbers).unwrap()), freed);
        drop(taken);
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 0, "locks are left");
    }

    /// As root alone a process can be given another user.
    #[test]
    fn what_somebody_has_is_passed_over_and_what_is_left_behind_is_ended() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let run = tempfile::tempdir().unwrap();
        let numbers = 1_900_000_020..=1_900_000_022;
        let mut left = Command::new("/bin/cat");
        left.uid(1_900_000_021).gid(1_900_000_021).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut left = left.spawn().unwrap();
        let other = OwnUser::claim(run.path(), &[], &numbers).unwrap();
        assert_eq!(number(&other), 1_900_000_022);
        OwnUser::claim(run.path(), &[], &numbers).unwrap_err();
        // A lock that no process holds any more says that it was a browser's.
        fs::write(run.path().join("user-1900000021.lock"), "").unwrap();
        sweep_users(run.path());
        assert_eq!(left.wait().unwrap().signal(), Some(9));
        assert_eq!(number(&OwnUser::claim(run.path(), &[], &numbers).unwrap()), 1_900_000_021);
        // A folder that is not swept yet belongs to somebody, too.
        let folder = run.path().join("browser-1-1");
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::chown(&folder, Some(1_900_000_021), None).unwrap();
        OwnUser::claim(run.path(), &[], &numbers).unwrap_err();
    }

    /// As root alone files can be given away.
    #[test]
    fn a_number_that_has_files_of_a_session_is_given_to_no_other_browser() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (run, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let numbers = 1_900_000_030..=1_900_000_031;
        let downloads = files.path().join("session/d");
        fs::create_dir_all(&downloads).unwrap();
        let give = |number| std::os::unix::fs::chown(&downloads, Some(number), None).unwrap();
        let writable = [files.path().to_owned(), files.path().join("none")];
        give(1_900_000_031);
        OwnUser::claim(run.path(), &writable, &numbers).unwrap_err();
        give(0);
        assert_eq!(number(&OwnUser::claim(run.path(), &writable, &numbers).unwrap()), 1_900_000_031);
    }
}
