//! Where pages that are not in use may go: compressed memory (zram, zswap), a partition, a file.

use std::path::{Path, PathBuf};

use crate::text::read;

/// All the swap that the machine has, in bytes. What is compressed takes memory all the same: `held_bytes`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swap {
    /// The devices and files, as the kernel lists them.
    pub areas: Vec<Area>,
    /// Whether pages are compressed in memory before they are written to a disk.
    pub has_zswap: bool,
}

/// One device or file that is swapped to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Area {
    /// Its name.
    pub path: PathBuf,
    /// What it is.
    pub kind: SwapKind,
    /// How much it takes, in bytes, before compression.
    pub size_bytes: u64,
    /// How much it has taken, in bytes, before compression.
    pub used_bytes: u64,
    /// How much memory a zram device really holds for that; `None` of other kinds.
    pub held_bytes: Option<u64>,
}

/// What is swapped to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwapKind {
    /// Compressed memory.
    Zram,
    /// A disk's partition.
    Partition,
    /// A file on a disk.
    File,
}

impl Swap {
    /// As it is now.
    #[must_use]
    pub fn now() -> Self {
        Self::under(Path::new("/"))
    }

    fn under(root: &Path) -> Self {
        let mut areas = parse(&read(root.join("proc/swaps")).unwrap_or_default());
        for area in areas.iter_mut().filter(|area| area.kind == SwapKind::Zram) {
            let device = area.path.file_name().unwrap_or_default();
            let statistics = read(root.join("sys/block").join(device).join("mm_stat"));
            area.held_bytes = statistics.and_then(|statistics| held(&statistics));
        }
        let has_zswap = read(root.join("sys/module/zswap/parameters/enabled")).as_deref() == Some("Y");
        Self { areas, has_zswap }
    }

    /// Whether there is room for another page.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.areas.iter().any(|area| area.used_bytes < area.size_bytes)
    }

    /// How much memory so many swapped bytes take all the same, because they are compressed there. What zswap
    /// keeps is not known process by process and left out.
    #[must_use]
    pub fn held_bytes(&self, swapped_bytes: u64) -> u64 {
        let used: u128 = self.areas.iter().map(|area| u128::from(area.used_bytes)).sum();
        let held: u128 = self.areas.iter().filter_map(|area| area.held_bytes).map(u128::from).sum();
        let share = u128::from(swapped_bytes) * held.min(used) / used.max(1);
        u64::try_from(share).unwrap_or(swapped_bytes)
    }

    /// Whether pages are kept compressed in memory, from where they are back in microseconds.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.areas.iter().any(|area| area.kind == SwapKind::Zram)
            || (self.has_zswap && !self.areas.is_empty())
    }
}

/// The table of `/proc/swaps`: name, type, size, used, priority; sizes in KiB.
fn parse(table: &str) -> Vec<Area> {
    let area = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, kind, size, used, _priority] = fields[..] else { return None };
        // The kernel writes blanks in names so.
        let path = PathBuf::from(name.replace("\\040", " "));
        let is_zram = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"zram"));
        let kind = match kind {
            "partition" if is_zram => SwapKind::Zram,
            "partition" => SwapKind::Partition,
            "file" => SwapKind::File,
            _ => return None,
        };
        let bytes = |kibibytes: &str| kibibytes.parse::<u64>().ok()?.checked_mul(1024);
        Some(Area { path, kind, size_bytes: bytes(size)?, used_bytes: bytes(used)?, held_bytes: None })
    };
    table.lines().filter_map(area).collect()
}

/// The third figure of `mm_stat`, in bytes: <https://docs.kernel.org/admin-guide/blockdev/zram.html>.
fn held(statistics: &str) -> Option<u64> {
    statistics.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    const TABLE: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
        /dev/zram0                              partition\t4194300\t\t1024\t\t100\n\
        /dev/sda2                               partition\t2048\t\t2048\t\t-2\n\
        /my\\040swap                             file\t\t8\t\t0\t\t-3\n";

    #[test]
    fn kinds_and_sizes_are_read() {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("proc/swaps", TABLE),
            ("sys/block/zram0/mm_stat", " 1048576   300000   400000        0   400000  0 0 0 0\n"),
            ("sys/module/zswap/parameters/enabled", "N\n"),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let swap = Swap::under(root.path());
        let kinds: Vec<SwapKind> = swap.areas.iter().map(|area| area.kind).collect();
        assert_eq!(kinds, [SwapKind::Zram, SwapKind::Partition, SwapKind::File]);
        assert_eq!(swap.areas[0].size_bytes, 4_194_300 * 1024);
        assert_eq!(swap.areas[0].held_bytes, Some(400_000));
        assert_eq!(swap.areas[2].path, Path::new("/my swap"));
        assert!(swap.has_room() && swap.is_compressed() && !swap.has_zswap);
        // 400000 are held for all that both devices have taken.
        assert_eq!(swap.held_bytes(3 * 1024 * 1024), 400_000);
        assert_eq!(Swap::default().held_bytes(1), 0);
    }

    #[test]
    fn none_and_full_have_no_room() {
        assert!(!Swap::under(Path::new("/nonexistent")).has_room());
        let full = Swap { areas: parse(TABLE.lines().nth(2).unwrap()), has_zswap: true };
        assert!(!full.has_room() && full.is_compressed());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(table in "([ /a-z0-9\\\\]{0,20}[ \t\n]){0,12}") {
            let _ = (parse(&table), held(&table));
        }
    }
}
