//! The memory that is available: the machine's, or less if a cgroup limits it.

use std::path::Path;

use crate::cgroup::{folder_of, upwards};
use crate::text::{kibibytes, number, read};

/// Memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// The total.
    pub total_bytes: u64,
    /// What can be allocated without swapping, by the kernel's estimate.
    pub available_bytes: u64,
    /// Whether the limit is that of a cgroup, and not of the machine.
    pub is_limited: bool,
}

impl Memory {
    /// Returns the present values; `None` if the kernel does not report them.
    #[must_use]
    pub fn now() -> Option<Self> {
        Self::under(Path::new("/"))
    }

    fn under(root: &Path) -> Option<Self> {
        let machine = Self::of_machine(&read(root.join("proc/meminfo"))?)?;
        let groups = folder_of(root, "self").map(|folder| upwards(root, &folder)).unwrap_or_default();
        Some(groups.iter().filter_map(|group| Self::of_group(group)).fold(machine, Self::and))
    }

    fn of_machine(meminfo: &str) -> Option<Self> {
        let figure = |key| kibibytes(meminfo, key);
        Some(Self {
            total_bytes: figure("MemTotal:")?,
            available_bytes: figure("MemAvailable:")?,
            is_limited: false,
        })
    }

    /// Returns what is left of a cgroup's limit; inactive file pages count as free, as for the kernel.
    fn of_group(folder: &Path) -> Option<Self> {
        // Without a limit the word is `max`. Beyond `memory.high` we are slowed down, which is a limit, too.
        let limits = ["memory.max", "memory.high"].map(|limit| read(folder.join(limit))?.parse().ok());
        let total_bytes: u64 = limits.into_iter().flatten().min()?;
        let current: u64 = read(folder.join("memory.current"))?.parse().ok()?;
        let idle = read(folder.join("memory.stat")).and_then(|stat| number(&stat, "inactive_file"));
        let used = current.saturating_sub(idle.unwrap_or(0));
        Some(Self { total_bytes, available_bytes: total_bytes.saturating_sub(used), is_limited: true })
    }

    /// Returns the values under both limits.
    fn and(self, group: Self) -> Self {
        Self {
            total_bytes: self.total_bytes.min(group.total_bytes),
            available_bytes: self.available_bytes.min(group.available_bytes),
            is_limited: self.is_limited || group.total_bytes < self.total_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const MEMINFO: &str = "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    600 kB\n";

    fn root(groups: &[(&str, &str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/meminfo", MEMINFO);
        write("proc/self/cgroup", "0::/a/b\n");
        write("sys/fs/cgroup/cgroup.controllers", "memory\n");
        for (group, file, text) in groups {
            write(&format!("sys/fs/cgroup/{group}/{file}"), text);
        }
        root
    }

    #[test]
    fn a_machine_without_limits() {
        let root = root(&[("a", "memory.max", "max\n"), ("a", "memory.current", "5\n")]);
        let expected = Memory { total_bytes: 1_024_000, available_bytes: 614_400, is_limited: false };
        assert_eq!(Memory::under(root.path()), Some(expected));
        assert!(Memory::now().is_some_and(|now| now.available_bytes <= now.total_bytes));
    }

    #[test]
    fn the_tightest_group_on_the_way_up_counts() {
        let groups = [
            ("a/b", "memory.max", "max\n"),
            ("a/b", "memory.high", "800000\n"),
            ("a/b", "memory.current", "100000\n"),
            ("a", "memory.max", "500000\n"),
            ("a", "memory.current", "450000\n"),
            ("a", "memory.stat", "anon 1\ninactive_file 50000\n"),
        ];
        let expected = Memory { total_bytes: 500_000, available_bytes: 100_000, is_limited: true };
        assert_eq!(Memory::under(root(&groups).path()), Some(expected));
    }

    #[test]
    fn a_limit_above_the_machine_is_none() {
        let groups = [("a", "memory.max", "9999999999\n"), ("a", "memory.current", "1\n")];
        assert!(Memory::under(root(&groups).path()).is_some_and(|memory| !memory.is_limited));
    }
}
