//! Paging out the memory of processes, by the best means that the machine offers.
//!
//! The pages still belong to the process and are read back when it touches them. This is for idle processes: a busy
//! one would read everything back.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::cgroup::folder_of;
use crate::swap::Swap;
use crate::system_calls::{RANGES_MAX, page_out};
use crate::text::{kibibytes, number, read};

/// `CAP_SYS_NICE` in the masks of `/proc/PID/status`, capabilities(7).
const SYS_NICE_BIT: u32 = 23;
/// The content of `/proc/self/uid_map` outside of user namespaces: all ids map to themselves.
const ALL_USERS: [&str; 3] = ["0", "0", "4294967295"];

/// Pages out memory. Created by [`Reclaimer::probe`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reclaimer {
    means: Means,
    /// All that the machine lacks, relevant or not.
    lacks: Vec<Lack>,
}

/// How memory is paged out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// `process_madvise`: exactly the pages of one process.
    Advice,
    /// `memory.reclaim` of the process's cgroup: as many bytes as the process has, the coldest of the group.
    Group,
    /// Not at all.
    None,
}

/// What the machine lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// There is no room for pages.
    #[error("there is no swap, or it is full")]
    Swap,
    /// Pages would be stored on a disk unencrypted, with passwords and cookies in them.
    #[error("swap is on a disk in the clear, where passwords would lie")]
    Sealed,
    /// `process_madvise` requires it for processes other than the caller.
    #[error("the capability CAP_SYS_NICE is missing")]
    Capability,
    /// The kernel, or a filter of system calls, does not allow `process_madvise`.
    #[error("the system call process_madvise is missing (Linux 5.10 has it) or filtered")]
    Call,
    /// There is no cgroup of version 2 that manages memory, has `memory.reclaim` (Linux 5.19) and is delegated to us.
    #[error("no cgroup with `memory.reclaim` is delegated to this user")]
    Group,
}

/// The allowed destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Compressed memory, and disks that the kernel encrypts.
    Sealed,
    /// Any swap.
    Any,
}

/// Why memory was not paged out.
#[derive(Debug, thiserror::Error)]
pub enum ReclaimError {
    /// The machine offers no means.
    #[error("pages cannot be moved out: {0}")]
    NoMeans(String),
    /// The process has ended.
    #[error("process {0} has ended")]
    Gone(u32),
    /// The kernel refused.
    #[error("the kernel does not move the pages of process {pid} out")]
    Refused {
        /// The process.
        pid: u32,
        /// The kernel's error.
        source: io::Error,
    },
}

impl Reclaimer {
    /// Examines the machine. Swap can be added and removed, so this is worth repeating.
    #[must_use]
    pub fn probe(destination: Destination) -> Self {
        let root = Path::new("/");
        let status = read("/proc/self/status").unwrap_or_default();
        let is_capable =
            has_sys_nice(&status) && read("/proc/self/uid_map").is_some_and(|map| is_whole(&map));
        let group = folder_of(root, "self");
        let swap = Swap::now();
        let lacks = [
            (swap.has_room(), Lack::Swap),
            (destination == Destination::Any || swap.in_the_clear().is_none(), Lack::Sealed),
            (is_capable, Lack::Capability),
            (has_call(), Lack::Call),
            (group.is_some_and(|group| can_reclaim(&group)), Lack::Group),
        ];
        Self::choose(lacks.into_iter().filter_map(|(is_there, lack)| (!is_there).then_some(lack)).collect())
    }

    fn choose(lacks: Vec<Lack>) -> Self {
        let means = if lacks.contains(&Lack::Swap) || lacks.contains(&Lack::Sealed) {
            Means::None
        } else if !lacks.contains(&Lack::Capability) && !lacks.contains(&Lack::Call) {
            Means::Advice
        } else if lacks.contains(&Lack::Group) {
            Means::None
        } else {
            Means::Group
        };
        Self { means, lacks }
    }

    /// Returns how memory is paged out here.
    #[must_use]
    pub fn means(&self) -> Means {
        self.means
    }

    /// Returns all that the machine lacks, whether it would be used or not.
    #[must_use]
    pub fn lacks(&self) -> &[Lack] {
        &self.lacks
    }

    /// Returns the means that is used and why no better one is, without a full stop.
    #[must_use]
    pub fn describe(&self) -> String {
        let means = match self.means {
            Means::Advice => "cold pages are moved out process by process (process_madvise)",
            Means::Group => "cold pages are moved out by cgroup (memory.reclaim)",
            Means::None => "cold pages stay in memory",
        };
        match self.means {
            Means::Advice => means.to_owned(),
            Means::Group | Means::None => format!("{means}: {}", self.reasons()),
        }
    }

    fn reasons(&self) -> String {
        self.lacks.iter().map(Lack::to_string).collect::<Vec<_>>().join("; ")
    }

    /// Pages out the private memory of a process, and returns by how many bytes its anonymous memory has shrunk.
    /// Blocks for as long as the kernel takes: about 100 ms for 50 MB.
    ///
    /// # Errors
    /// If the machine offers no means, the process has ended, or the kernel refuses.
    pub fn page_out(&self, pid: u32) -> Result<u64, ReclaimError> {
        let before = anonymous_bytes(pid).ok_or(ReclaimError::Gone(pid))?;
        let done = match self.means {
            Means::Advice => advise(pid),
            Means::Group => shrink_group(pid, before),
            Means::None => return Err(ReclaimError::NoMeans(self.reasons())),
        };
        done.map_err(|source| match Errno::from_io_error(&source) {
            Some(Errno::SRCH) => ReclaimError::Gone(pid),
            _ => ReclaimError::Refused { pid, source },
        })?;
        let after = anonymous_bytes(pid).ok_or(ReclaimError::Gone(pid))?;
        Ok(before.saturating_sub(after))
    }
}

/// Returns how much memory of a process can be paged out: what belongs to no file and is not shared by name. Needs no
/// privilege. `None` if the process has ended.
#[must_use]
pub fn anonymous_bytes(pid: u32) -> Option<u64> {
    kibibytes(&read(format!("/proc/{pid}/status"))?, "RssAnon:")
}

/// Returns whether the mask of effective capabilities has `CAP_SYS_NICE`.
fn has_sys_nice(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> SYS_NICE_BIT & 1 == 1)
}

/// Capabilities within a user namespace do not count for `process_madvise`.
fn is_whole(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(ALL_USERS)
}

/// Calls it for an empty range of our own, which is allowed to everyone or refused for lack of the capability.
fn has_call() -> bool {
    let own = pidfd_open(rustix::process::getpid(), PidfdFlags::empty());
    own.is_ok_and(|own| {
        use std::os::fd::AsFd;
        let asked = page_out(own.as_fd(), &[]);
        !asked.is_err_and(|error| Errno::from_io_error(&error) == Some(Errno::NOSYS))
    })
}

fn can_reclaim(group: &Path) -> bool {
    use rustix::fs::{Access, access};
    access(group.join("memory.reclaim"), Access::WRITE_OK).is_ok()
}

fn advise(pid: u32) -> io::Result<()> {
    use std::os::fd::AsFd;
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    // Opened before the mappings are read, so that both belong to the same process.
    let process = pidfd_open(id, PidfdFlags::empty())?;
    let ranges = anonymous(&fs::read_to_string(format!("/proc/{pid}/smaps"))?);
    let mut rest = ranges.as_slice();
    while !rest.is_empty() {
        let part = &rest[..rest.len().min(RANGES_MAX)];
        let taken = match page_out(process.as_fd(), part) {
            Ok(bytes) => whole_ranges(part, bytes),
            // The range is locked, or was unmapped.
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::INVAL | Errno::NOMEM)) => 0,
            Err(error) => return Err(error),
        };
        // The range at which the kernel stopped is skipped.
        rest = &rest[(taken + 1).min(part.len())..];
    }
    Ok(())
}

/// Returns how many of the ranges this number of bytes covers.
fn whole_ranges(ranges: &[Range<usize>], bytes: usize) -> usize {
    let ends = ranges.iter().scan(0_usize, |end, range| {
        *end = end.saturating_add(range.len());
        Some(*end)
    });
    ends.take_while(|&end| end <= bytes).count()
}

/// Returns the mappings of `/proc/PID/smaps`, proc(5), that have private memory: heaps and stacks, and the modified
/// parts of its program and libraries, which for Chromium's addresses (`.data.rel.ro`) alone is 8 MB.
fn anonymous(smaps: &str) -> Vec<Range<usize>> {
    let range = |line: &str| {
        let (start, end) = line.split_whitespace().next()?.split_once('-')?;
        Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
    };
    let mut found = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        if let Some(range) = range(line) {
            current = Some(range).filter(|range| !range.is_empty());
        } else if kibibytes(line, "Anonymous:").is_some_and(|bytes| bytes > 0) {
            found.extend(current.take());
        }
    }
    found
}

fn shrink_group(pid: u32, bytes: u64) -> io::Result<()> {
    let folder: Option<PathBuf> = folder_of(Path::new("/"), &pid.to_string());
    let folder = folder.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    // It would take file pages first, which all processes share.
    let anonymous = read(folder.join("memory.stat")).and_then(|stat| number(&stat, "anon"));
    let bytes = bytes.min(anonymous.unwrap_or(bytes));
    let file = folder.join("memory.reclaim");
    let written = fs::write(&file, format!("{bytes} swappiness=200"));
    let written = match written {
        // Linux before 6.11 accepts only the size.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
            fs::write(&file, bytes.to_string())
        }
        written => written,
    };
    match written {
        // Less could be paged out than requested.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::AGAIN) => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;

    const SMAPS: &str = "\
        10000-20000 r-xp 00000000 fe:00 1234                     /usr/bin/a-b\nAnonymous:             0 kB\n\
        20000-30000 r--p 00010000 fe:00 1234                     /usr/bin/a-b\nAnonymous:            12 kB\n\
        30000-40000 rw-p 00000000 00:00 0                        [heap]\nAnonymous:            64 kB\nSwap: 4 kB\n\
        40000-50000 ---p 00000000 00:00 0 \nAnonymous:             0 kB\nSwap:              0 kB\n\
        50000-68000 rw-p 00000000 00:00 0 \nRss:                  8 kB\nAnonymous:             4 kB\n\
        70000-80000 rw-s 00000000 00:05 99                       /memfd:x (deleted)\nAnonymous:       0 kB\n\
        80000-90000 rw-p 00000000 00:00 0                        [anon:v8]\nAnonymous:            64 kB\n\
        7ff0000-7ff1000 r-xp 00000000 00:00 0                    [vdso]\nAnonymous:             0 kB\n\
        7ff2000-7ff4000 rw-p 00000000 00:00 0                    [stack]\nAnonymous:             8 kB\n";

    #[test]
    fn only_mappings_with_anonymous_memory_are_moved() {
        let expected =
            [0x20000..0x30000, 0x30000..0x40000, 0x50000..0x68000, 0x80000..0x90000, 0x7ff_2000..0x7ff_4000];
        assert_eq!(anonymous(SMAPS), expected);
        assert_eq!(whole_ranges(&expected, 0), 0);
        assert_eq!(whole_ranges(&expected, 0x10000), 1);
        assert_eq!(whole_ranges(&expected, 0x1ffff), 1);
        assert_eq!(whole_ranges(&expected, 0x20000), 2);
        assert_eq!(whole_ranges(&expected, usize::MAX), 5);
    }

    /// As the kernel tells it of ourselves: what is written in the program's own mapping counts like the heap.
    #[test]
    fn what_a_program_wrote_into_its_own_mapping_is_moved_too() {
        static WRITTEN: AtomicUsize = AtomicUsize::new(1);
        WRITTEN.fetch_add(1, Ordering::Relaxed);
        let heap = Box::new(0_u8);
        let own = anonymous(&fs::read_to_string("/proc/self/smaps").unwrap());
        for address in [&raw const WRITTEN as usize, &raw const *heap as usize] {
            assert!(own.iter().any(|range| range.contains(&address)), "{address:x} is not in {own:x?}");
        }
    }

    #[test]
    fn privileges_are_read_from_masks() {
        assert!(has_sys_nice("CapPrm:\t0\nCapEff:\t0000000000800000\n"));
        assert!(has_sys_nice("CapEff:\t000001fffeffffff\n"));
        assert!(!has_sys_nice("CapPrm:\t0000000000800000\nCapEff:\t00000000ff7fffff\n"));
        assert!(!has_sys_nice("") && !has_sys_nice("CapEff:\tx"));
        assert!(is_whole("         0          0 4294967295\n"));
        assert!(!is_whole("         0       1000          1\n") && !is_whole(""));
    }

    #[test]
    fn the_best_means_is_taken_and_the_reason_told() {
        let advice = Reclaimer::choose(vec![Lack::Group]);
        assert_eq!((advice.means(), advice.lacks()), (Means::Advice, &[Lack::Group][..]));
        assert!(!advice.describe().contains("cgroup"), "{}", advice.describe());
        let group = Reclaimer::choose(vec![Lack::Capability]);
        assert_eq!(group.means(), Means::Group);
        assert!(group.describe().contains("CAP_SYS_NICE"), "{}", group.describe());
        for lacks in [
            vec![Lack::Swap],
            vec![Lack::Sealed],
            vec![Lack::Call, Lack::Group],
            vec![Lack::Capability, Lack::Group],
        ] {
            let none = Reclaimer::choose(lacks.clone());
            assert_eq!((none.means(), none.lacks()), (Means::None, &lacks[..]));
            let refused = none.page_out(std::process::id()).unwrap_err().to_string();
            assert!(refused.contains(&lacks[0].to_string()), "{refused}");
        }
    }

    #[test]
    fn a_group_that_is_not_ours_is_no_means() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!can_reclaim(folder.path()));
        fs::write(folder.path().join("memory.reclaim"), "").unwrap();
        assert!(can_reclaim(folder.path()));
    }

    /// A shell with 30 MB in a variable, which says when it has them and ends with its input.
    fn heavy_child() -> Child {
        let script = "x=$(head -c 30000000 /dev/zero | tr '\\0' x); echo ready; read line; echo ${#x}";
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().unwrap()
    }

    fn line_of(child: &mut Child) -> String {
        use std::io::Read;
        let output = child.stdout.as_mut().unwrap();
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            output.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap().trim().to_owned()
    }

    /// Whatever this machine offers: the pages of a child go, or the probe has said why they do not; and the
    /// child has all of them afterwards.
    #[test]
    fn a_child_loses_pages_as_the_probe_promises_and_nothing_else() {
        let reclaimer = Reclaimer::probe(Destination::Sealed);
        let mut child = heavy_child();
        assert_eq!(line_of(&mut child), "ready");
        let moved = reclaimer.page_out(child.id());
        println!("{}: {moved:?}", reclaimer.describe());
        match reclaimer.means() {
            Means::Advice => assert!(moved.unwrap() > 20_000_000),
            Means::Group => assert!(moved.is_ok()),
            Means::None => {
                assert!(matches!(moved, Err(ReclaimError::NoMeans(_))));
                assert!(!reclaimer.lacks().is_empty());
            }
        }
        // The call itself, with or without swap: it is harmless, and refused where the probe says so.
        let advised = advise(child.id());
        let status = read("/proc/self/status").unwrap();
        let is_privileged = has_sys_nice(&status) && is_whole(&read("/proc/self/uid_map").unwrap());
        assert_eq!(advised.is_ok(), is_privileged && has_call(), "{advised:?}");
        drop(child.stdin.take());
        assert_eq!(line_of(&mut child), "30000000");
        child.wait().unwrap();
        let gone = Reclaimer::choose(Vec::new()).page_out(child.id());
        assert!(matches!(gone, Err(ReclaimError::Gone(_))), "{gone:?}");
    }

    proptest! {
        #[test]
        fn nothing_makes_the_parser_panic(smaps in "([0-9a-f]{0,17}-?[0-9a-f]{0,17} ?[r-][w-]?x?p?\n|Anonymous: *[0-9]{0,30} ?k?B?\n){0,6}") {
            for range in anonymous(&smaps) {
                prop_assert!(range.start < range.end);
            }
        }
    }
}
