//! Memory and processor time of processes.
//!
//! Sizes of resident sets are never added up: pages that several processes map would be counted several times.

use std::collections::BTreeMap;
use std::fs;
use std::iter::Sum;
use std::ops::Add;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::text::kibibytes;

/// The memory of one process, or of several, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessMemory {
    /// The memory in RAM, counted by `measure`.
    pub bytes: u64,
    /// What is swapped out, before compression.
    pub swapped_bytes: u64,
    /// How both were counted.
    pub measure: Measure,
}

/// How memory is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Private pages, and a proportional share of shared ones (PSS). Sums are accurate.
    Proportional,
    /// Private pages and all of the shared memory; shared pages of programs and files are left out. Readable without
    /// privilege.
    Private,
}

impl Measure {
    /// Returns the name for scripts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Proportional => "proportional",
            Self::Private => "private",
        }
    }
}

impl ProcessMemory {
    /// Measures a process: proportionally if allowed (the same user, or root). `None` if it has ended.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok();
        rollup.and_then(|rollup| Self::proportional(&rollup)).or_else(|| Self::quick(pid))
    }

    /// Measures a process with what is readable without privilege: a hundred times as fast, because the kernel keeps
    /// these numbers and need not walk over all pages. `None` if it has ended.
    #[must_use]
    pub fn quick(pid: u32) -> Option<Self> {
        Self::private(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    fn proportional(rollup: &str) -> Option<Self> {
        Some(Self {
            bytes: kibibytes(rollup, "Pss:")?,
            swapped_bytes: kibibytes(rollup, "SwapPss:")?,
            measure: Measure::Proportional,
        })
    }

    fn private(status: &str) -> Option<Self> {
        Some(Self {
            bytes: kibibytes(status, "RssAnon:")? + kibibytes(status, "RssShmem:")?,
            swapped_bytes: kibibytes(status, "VmSwap:")?,
            measure: Measure::Private,
        })
    }
}

/// A sum has the less accurate measure of the two.
impl Add for ProcessMemory {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            swapped_bytes: self.swapped_bytes.saturating_add(other.swapped_bytes),
            measure: self.measure.max(other.measure),
        }
    }
}

impl Sum for ProcessMemory {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        let none = Self { bytes: 0, swapped_bytes: 0, measure: Measure::Proportional };
        all.fold(none, Self::add)
    }
}

/// Returns the processor time of a process so far; `None` if it has ended.
#[must_use]
pub fn processor_time(pid: u32) -> Option<Duration> {
    time_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Returns the processor time of a process so far, with that of its ended children that were waited for; `None` if it
/// has ended.
#[must_use]
pub fn processor_time_with_children(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(time_in(&stat)? + childrens_time_in(&stat)?)
}

/// Returns the processor time of the main thread of a process so far; `None` if it has ended.
#[must_use]
pub fn main_thread_time(pid: u32) -> Option<Duration> {
    time_in(&fs::read_to_string(format!("/proc/{pid}/task/{pid}/stat")).ok()?)
}

/// The run time of the main thread of a process so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MainThread {
    /// How long it ran.
    pub ran: Duration,
    /// How long it was ready to run, but had no processor.
    pub waited: Duration,
}

/// Returns the run time of the main thread of a process, more precisely than [`main_thread_time`]; `None` if the
/// process has ended, or the kernel does not count it.
#[must_use]
pub fn main_thread(pid: u32) -> Option<MainThread> {
    // In nanoseconds: `Documentation/scheduler/sched-stats.rst`.
    let counted = fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).ok()?;
    let mut fields = counted.split_whitespace().map(|field| field.parse().map(Duration::from_nanos).ok());
    Some(MainThread { ran: fields.next()??, waited: fields.next()?? })
}

fn time_in(stat: &str) -> Option<Duration> {
    // User and system time are the 12th and 13th field after the name, in ticks: proc(5).
    ticks_in(stat, 11)
}

/// The same for children that were waited for.
fn childrens_time_in(stat: &str) -> Option<Duration> {
    ticks_in(stat, 13)
}

fn ticks_in(stat: &str, place: usize) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(place);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system) * 1000 / clock_ticks_per_second().max(1)))
}

/// A process. Its start time distinguishes it from a later one with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pid: u32,
    start_ticks: u64,
}

impl Seen {
    /// Returns the process with this id; `None` if there is none.
    #[must_use]
    pub fn find(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Its start is the 20th field after the name, in ticks since the machine was started: proc(5).
        let start_ticks = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
        Some(Self { pid, start_ticks })
    }

    /// Returns its id.
    #[must_use]
    pub fn pid(self) -> u32 {
        self.pid
    }

    /// Kills it, if it still runs and we may; returns whether it was sent the signal.
    #[must_use]
    pub fn kill(self) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        // The handle stays valid. Only after opening it the start time is compared.
        let handle = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        handle.is_some_and(|handle| {
            Self::find(self.pid) == Some(self) && pidfd_send_signal(&handle, Signal::KILL).is_ok()
        })
    }
}

/// Returns each process with all of its descendants. Walks all of `/proc` once.
#[must_use]
pub fn trees(roots: &[u32]) -> Vec<Vec<u32>> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let parent = id.and_then(|id: u32| parent_in(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?));
        if let (Some(id), Some(parent)) = (id, parent) {
            children.entry(parent).or_default().push(id);
        }
    }
    let mut below = |root: &u32| {
        let mut found = vec![*root];
        let mut next = 0;
        while let Some(&parent) = found.get(next) {
            // Removed, so that ids that are reused meanwhile cannot form a cycle.
            found.extend(children.remove(&parent).unwrap_or_default());
            next += 1;
        }
        found
    };
    roots.iter().map(&mut below).collect()
}

/// Returns the second field after the name, which ends at the last bracket whatever it contains: proc(5).
fn parent_in(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_share_comes_before_what_anybody_may_read() {
        let rollup = "Rss: 900 kB\nPss: 300 kB\nSwap: 80 kB\nSwapPss: 40 kB\n";
        let share = ProcessMemory::proportional(rollup).unwrap();
        assert_eq!((share.bytes, share.swapped_bytes), (300 * 1024, 40 * 1024));
        let status = "VmRSS: 900 kB\nRssAnon: 200 kB\nRssFile: 650 kB\nRssShmem: 50 kB\nVmSwap: 80 kB\n";
        let private = ProcessMemory::private(status).unwrap();
        assert_eq!((private.bytes, private.swapped_bytes), (250 * 1024, 80 * 1024));
        let both = share + private;
        assert_eq!((both.bytes, both.measure), (550 * 1024, Measure::Private));
        assert_eq!(ProcessMemory::proportional(status), None);
        let own = ProcessMemory::of(std::process::id()).unwrap();
        assert!(own.bytes > 100_000 && own.measure == Measure::Proportional, "{own:?}");
    }

    #[test]
    fn work_takes_processor_time() {
        let own = std::process::id();
        let before = processor_time(own).unwrap();
        while processor_time(own).unwrap() < before + Duration::from_millis(20) {}
        assert_eq!(processor_time(u32::MAX), None);
        assert!(main_thread_time(own).unwrap() <= processor_time(own).unwrap());
        assert_eq!(main_thread_time(u32::MAX), None);
        assert!(main_thread(own).unwrap().ran > Duration::ZERO);
        assert_eq!(main_thread(u32::MAX), None);
    }

    #[test]
    fn only_the_process_that_was_seen_is_ended() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let seen = Seen::find(child.id()).unwrap();
        let later = Seen { start_ticks: seen.start_ticks + 1, ..seen };
        assert!(!later.kill() && child.try_wait().unwrap().is_none());
        assert!(seen.kill());
        assert!(!child.wait().unwrap().success());
        assert!(!seen.kill() && Seen::find(u32::MAX).is_none());
    }

    #[test]
    fn a_tree_has_what_is_below() {
        assert_eq!(parent_in("7 (a) b (c) S 3 7 7 0"), Some(3));
        let mut shell = Command::new("sh");
        shell.args(["-c", "cat; true"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        // What comes back shows that the child has a child of its own.
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let own = std::process::id();
        assert!(trees(&[child.id(), own])[1].contains(&own));
        let tree = &trees(&[own])[0];
        assert!(tree.len() > 2 && tree.contains(&child.id()), "{tree:?}");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!trees(&[own])[0].contains(&child.id()));
        assert_eq!(ProcessMemory::of(child.id()), None);
    }
}
