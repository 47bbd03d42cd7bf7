//! The processes of a server, from `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The unit of times in `/proc/PID/stat`: `USER_HZ`, which is fixed on all supported architectures.
const TICKS_PER_SECOND: u64 = 100;

/// A process. Its start time distinguishes it from a later one with the same id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its id.
    pub id: i32,
    /// Its parent's id when it was observed.
    pub parent: i32,
    /// Its command line.
    pub command: Vec<String>,
    start_ticks: u64,
}

/// The role of a process in Chromium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The main process of a browser.
    Browser,
    /// A renderer.
    Renderer,
    /// Another process of a browser: zygote, GPU, network, crash handler.
    Helper,
    /// Not a process of a browser.
    Other,
}

/// The fields of `/proc/PID/stat` that are used here.
struct Stat {
    state: char,
    parent: i32,
    /// User and system time.
    cpu_ticks: u64,
    start_ticks: u64,
}

fn stat(id: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// The name in parentheses may contain anything, so the fields are counted from its end: proc(5).
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.get(text.rfind(')')? + 2..)?.split(' ').collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        cpu_ticks: number(11)? + number(12)?,
        start_ticks: number(19)?,
    })
}

impl Process {
    /// Returns the process with this id; `None` if it does not exist or is a zombie.
    #[must_use]
    pub fn find(id: i32) -> Option<Self> {
        let stat = stat(id).filter(|stat| !matches!(stat.state, 'Z' | 'X'))?;
        let words = fs::read(format!("/proc/{id}/cmdline")).ok()?;
        // Chromium's child processes write their whole command line as one word.
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        let command = words.split_whitespace().map(str::to_owned).collect();
        Some(Self { id, parent: stat.parent, command, start_ticks: stat.start_ticks })
    }

    /// Returns whether it is the same process, observed at another time: its parent may have changed.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        (self.id, self.start_ticks) == (other.id, other.start_ticks)
    }

    /// Returns whether it is still running.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        Self::find(self.id).is_some_and(|now| now.is(self))
    }

    /// Returns its role in Chromium, from its command line.
    #[must_use]
    pub fn role(&self) -> Role {
        let program = self.command.first().and_then(|program| Path::new(program).file_name());
        let program = program.map(|name| name.to_string_lossy()).unwrap_or_default();
        let is_chromium = program.contains("chrom") || program.contains("headless");
        if !is_chromium || program == "chromedriver" {
            return Role::Other;
        }
        match self.command.iter().find_map(|word| word.strip_prefix("--type=")) {
            Some("renderer") => Role::Renderer,
            None if !program.contains("crashpad") => Role::Browser,
            _ => Role::Helper,
        }
    }

    /// Returns the user that it runs as.
    #[must_use]
    pub fn user_id(&self) -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// Returns its nice value: the higher it is, the more it leaves the processor to others.
    #[must_use]
    pub fn niceness(&self) -> Option<i32> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id)).ok()?;
        // Field 19 of proc(5); the first after the name is the third.
        stat.get(stat.rfind(')')? + 2..)?.split(' ').nth(16)?.parse().ok()
    }

    /// Kills it like `kill -9`.
    ///
    /// # Panics
    /// If it no longer exists.
    pub fn kill(&self) {
        assert!(self.kill_if_alive(), "there is no process {} any more to kill", self.id);
    }

    /// Kills it like `kill -9`; returns `false` if it no longer exists.
    pub fn kill_if_alive(&self) -> bool {
        self.handle().is_some_and(|handle| pidfd_send_signal(&handle, Signal::KILL).is_ok())
    }

    /// Stops it like `kill -STOP`: it exists, but does not respond.
    ///
    /// # Panics
    /// If it no longer exists.
    pub fn silence(&self) {
        let silenced = self.handle().is_some_and(|handle| pidfd_send_signal(&handle, Signal::STOP).is_ok());
        assert!(silenced, "there is no process {} any more to silence", self.id);
    }

    /// Returns a handle to the process, if it is still the observed one.
    fn handle(&self) -> Option<OwnedFd> {
        let handle = pidfd_open(pid(self.id)?, PidfdFlags::empty()).ok()?;
        self.is_alive().then_some(handle)
    }

    /// Waits for its end, blocking; kills it after `within`. For destructors, which cannot await.
    pub(super) fn see_off(&self, within: Duration) {
        let Some(handle) = self.handle() else { return };
        let within = Timespec::try_from(within).ok();
        let ended = poll(&mut [PollFd::new(&handle, PollFlags::IN)], within.as_ref());
        if ended == Ok(0) {
            // It may have exited in the meantime.
            let _ = pidfd_send_signal(&handle, Signal::KILL);
        }
    }
}

pub(super) fn pid(id: i32) -> Option<Pid> {
    Pid::from_raw(id)
}

/// Returns all descendants of `id`, parents before children.
#[must_use]
pub fn descendants(id: i32) -> Vec<Process> {
    family(id, |_| false)
}

/// Returns all descendants of `id`, all processes for which `is_member` is true, and their descendants.
pub(super) fn family(id: i32, is_member: impl Fn(&Process) -> bool) -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut all: Vec<Process> = ids.filter_map(Process::find).collect();
    let mut below = BTreeSet::from([id]);
    let mut found = Vec::new();
    loop {
        let (children, rest): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|process| below.contains(&process.parent) || is_member(process));
        if children.is_empty() {
            return found;
        }
        below.extend(children.iter().map(|process| process.id));
        found.extend(children);
        all = rest;
    }
}

/// Returns the processor time of a process, without its children.
#[must_use]
pub fn cpu_time(id: i32) -> Option<Duration> {
    let ticks = stat(id)?.cpu_ticks;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// Returns the proportional memory (PSS) of a process, in bytes.
#[must_use]
pub fn pss_bytes(id: i32) -> Option<u64> {
    measure(id, "Pss:")
}

/// Returns the anonymous memory of a process, in bytes: without its program and other files.
#[must_use]
pub fn anonymous_bytes(id: i32) -> Option<u64> {
    measure(id, "Pss_Anon:")
}

/// Returns a line of `smaps_rollup` (proc_pid_smaps(5)), in bytes.
fn measure(id: i32, name: &str) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn process(command: &str) -> Process {
        let command = command.split(' ').map(str::to_owned).collect();
        Process { id: 1, parent: 0, command, start_ticks: 0 }
    }

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_confuse() {
        let text = "7 (a) b (c) S 3 7 7 0 -1 0 0 0 0 0 250 50 0 0 20 0 1 0 4711 0 0";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.state, stat.parent, stat.cpu_ticks, stat.start_ticks), ('S', 3, 300, 4711));
    }

    #[test]
    fn roles_are_told_apart() {
        let roles = [
            ("/usr/lib/chromium/chromium-headless-shell --remote-debugging-pipe", Role::Browser),
            ("/usr/lib/chromium/chromium --type=renderer --lang=en", Role::Renderer),
            ("/usr/lib/chromium/chromium --type=zygote", Role::Helper),
            ("/usr/lib/chromium/chrome_crashpad_handler --monitor-self", Role::Helper),
            ("/tmp/pilotlight serve", Role::Other),
        ];
        for (command, role) in roles {
            assert_eq!(process(command).role(), role, "{command}");
        }
    }

    #[test]
    fn a_child_is_found_seen_off_and_gone() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let id = i32::try_from(child.id()).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let found = descendants(own).into_iter().find(|process| process.id == id).unwrap();
        assert!(found.is_alive() && pss_bytes(id).is_some() && cpu_time(id).is_some());
        found.see_off(Duration::from_millis(1));
        child.wait().unwrap();
        assert!(!found.is_alive() && !found.kill_if_alive());
    }
}
