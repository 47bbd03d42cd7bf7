//! Where idle pages can be moved: compressed memory (zram, zswap), a partition, a file; and whether they are readable
//! there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::text::read;

/// All swap of the machine, in bytes. Compressed swap uses memory, too: `held_bytes`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swap {
    /// The devices and files, in the kernel's order.
    pub areas: Vec<Area>,
    /// Whether pages are compressed in memory before they are written to a disk.
    pub has_zswap: bool,
}

/// A device or file for swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Area {
    /// Its name.
    pub path: PathBuf,
    /// Its kind.
    pub kind: SwapKind,
    /// Its size in bytes, before compression.
    pub size_bytes: u64,
    /// The used part in bytes, before compression.
    pub used_bytes: u64,
    /// The memory that a zram device uses for that; `None` for other kinds.
    pub held_bytes: Option<u64>,
    /// Whether its content is stored on a disk unencrypted. Compressed memory is not, unless it has a backing device,
    /// and neither is what the kernel encrypts (dm-crypt). If it is not known, it is assumed.
    pub is_in_the_clear: bool,
}

/// The maximum number of stacked devices.
const LAYERS_MAX: u32 = 8;

/// The kind of an area.
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
    /// Returns the present state.
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
        for area in &mut areas {
            area.is_in_the_clear = !is_sealed(root, area);
        }
        let has_zswap = read(root.join("sys/module/zswap/parameters/enabled")).as_deref() == Some("Y");
        Self { areas, has_zswap }
    }

    /// Returns whether there is room for another page.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.areas.iter().any(|area| area.used_bytes < area.size_bytes)
    }

    /// Returns the first area whose pages would be stored unencrypted. Pages go to the area of the highest priority
    /// that has room, so that a single such area is enough for any page to get there.
    #[must_use]
    pub fn in_the_clear(&self) -> Option<&Area> {
        self.areas.iter().find(|area| area.is_in_the_clear)
    }

    /// Returns how much memory this number of swapped bytes uses because they are compressed there. Memory of zswap
    /// is not known per process, and left out.
    #[must_use]
    pub fn held_bytes(&self, swapped_bytes: u64) -> u64 {
        let used: u128 = self.areas.iter().map(|area| u128::from(area.used_bytes)).sum();
        let held: u128 = self.areas.iter().filter_map(|area| area.held_bytes).map(u128::from).sum();
        let share = u128::from(swapped_bytes) * held.min(used) / used.max(1);
        u64::try_from(share).unwrap_or(swapped_bytes)
    }

    /// Returns whether pages are compressed in memory, from where they can be read back in microseconds.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.areas.iter().any(|area| area.kind == SwapKind::Zram)
            || (self.has_zswap && !self.areas.is_empty())
    }
}

/// Parses the table of `/proc/swaps`: name, type, size, used, priority; sizes in KiB.
fn parse(table: &str) -> Vec<Area> {
    let area = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, kind, size, used, _priority] = fields[..] else { return None };
        // The kernel writes blanks in names like this.
        let path = PathBuf::from(name.replace("\\040", " "));
        let is_zram = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"zram"));
        let kind = match kind {
            "partition" if is_zram => SwapKind::Zram,
            "partition" => SwapKind::Partition,
            "file" => SwapKind::File,
            _ => return None,
        };
        let bytes = |kibibytes: &str| kibibytes.parse::<u64>().ok()?.checked_mul(1024);
        let (size_bytes, used_bytes) = (bytes(size)?, bytes(used)?);
        Some(Area { path, kind, size_bytes, used_bytes, held_bytes: None, is_in_the_clear: true })
    };
    table.lines().filter_map(area).collect()
}

/// Returns whether data that is swapped to this area cannot be read from a disk.
fn is_sealed(root: &Path, area: &Area) -> bool {
    let class = |name: &std::ffi::OsStr| root.join("sys/class/block").join(name);
    match area.kind {
        SwapKind::Zram => {
            let Some(name) = area.path.file_name() else { return false };
            // Without that file, the kernel does not support a backing device.
            let behind = read(root.join("sys/block").join(name).join("backing_dev"));
            behind.is_none_or(|behind| {
                let device = Path::new(&behind).file_name();
                behind == "none" || device.is_some_and(|device| is_encrypted(&class(device), LAYERS_MAX))
            })
        }
        SwapKind::Partition => {
            area.path.file_name().is_some_and(|name| is_encrypted(&class(name), LAYERS_MAX))
        }
        SwapKind::File => {
            let name = area.path.strip_prefix("/").unwrap_or(&area.path);
            let Ok(device) = fs::metadata(root.join(name)).map(|file| file.dev()) else { return false };
            let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
            is_encrypted(&root.join("sys/dev/block").join(number), LAYERS_MAX)
        }
    }
}

/// Returns whether a device is one of dm-crypt, by the prefix of its id, or consists only of such devices
/// (`drivers/md/dm-ioctl.c`; cryptsetup sets such ids).
fn is_encrypted(device: &Path, layers: u32) -> bool {
    if read(device.join("dm/uuid")).is_some_and(|id| id.starts_with("CRYPT-")) {
        return true;
    }
    let below: Vec<PathBuf> = fs::read_dir(device.join("slaves"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    layers > 0 && !below.is_empty() && below.iter().all(|device| is_encrypted(device, layers - 1))
}

/// Parses the third value of `mm_stat`, in bytes: <https://docs.kernel.org/admin-guide/blockdev/zram.html>.
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

    /// A machine with these files.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn in_the_clear(files: &[(&str, &str)]) -> Option<PathBuf> {
        let root = machine(files);
        Swap::under(root.path()).in_the_clear().map(|area| area.path.clone())
    }

    const ZRAM: (&str, &str) = ("proc/swaps", "x\n/dev/zram0 partition 4096 0 100\n");
    const CRYPT: (&str, &str) = ("sys/class/block/dm-1/dm/uuid", "CRYPT-LUKS2-5e5e-swap\n");

    #[test]
    fn compressed_memory_is_no_disk_unless_one_is_behind_it() {
        assert_eq!(in_the_clear(&[ZRAM]), None);
        assert_eq!(in_the_clear(&[ZRAM, ("sys/block/zram0/backing_dev", "none\n")]), None);
        let behind = [ZRAM, ("sys/block/zram0/backing_dev", "/dev/sda5\n")];
        assert_eq!(in_the_clear(&behind), Some("/dev/zram0".into()));
        let encrypted = [ZRAM, ("sys/block/zram0/backing_dev", "/dev/dm-1\n"), CRYPT];
        assert_eq!(in_the_clear(&encrypted), None);
    }

    #[test]
    fn a_disk_is_in_the_clear_unless_the_kernel_encrypts_it() {
        let plain = ("proc/swaps", "x\n/dev/sda2 partition 4096 0 -2\n");
        assert_eq!(in_the_clear(&[plain]), Some("/dev/sda2".into()));
        let mapped = ("proc/swaps", "x\n/dev/dm-1 partition 4096 0 -2\n");
        assert_eq!(in_the_clear(&[mapped, CRYPT]), None);
        assert_eq!(in_the_clear(&[mapped]), Some("/dev/dm-1".into()));
        let volume = ("sys/class/block/dm-1/dm/uuid", "LVM-abc\n");
        assert_eq!(in_the_clear(&[mapped, volume]), Some("/dev/dm-1".into()));
        let on_crypt = ("sys/class/block/dm-1/slaves/dm-0/dm/uuid", "CRYPT-LUKS2-5e5e-disk\n");
        assert_eq!(in_the_clear(&[mapped, volume, on_crypt]), None);
        let half = ("sys/class/block/dm-1/slaves/sda3/size", "1\n");
        assert_eq!(in_the_clear(&[mapped, volume, on_crypt, half]), Some("/dev/dm-1".into()));
        // Compression on the way to a disk is no help.
        let zswap = ("sys/module/zswap/parameters/enabled", "Y\n");
        assert_eq!(in_the_clear(&[plain, zswap]), Some("/dev/sda2".into()));
        // One is enough, whatever comes first.
        let both = ("proc/swaps", "x\n/dev/zram0 partition 4096 0 100\n/dev/sda2 partition 4096 0 -2\n");
        assert_eq!(in_the_clear(&[both]), Some("/dev/sda2".into()));
    }

    #[test]
    fn a_file_is_as_safe_as_the_disk_that_it_lies_on() {
        let swap_file = [("proc/swaps", "x\n/swap.img file 4096 0 -2\n"), ("swap.img", "")];
        let root = machine(&swap_file);
        assert!(Swap::under(root.path()).in_the_clear().is_some());
        let device = fs::metadata(root.path().join("swap.img")).unwrap().dev();
        let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        let mapped = root.path().join("sys/dev/block").join(number).join("dm");
        fs::create_dir_all(&mapped).unwrap();
        fs::write(mapped.join("uuid"), "CRYPT-PLAIN-x\n").unwrap();
        assert!(Swap::under(root.path()).in_the_clear().is_none());
        fs::remove_file(root.path().join("swap.img")).unwrap();
        assert!(Swap::under(root.path()).in_the_clear().is_some(), "nobody knows where it lies");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(table in "([ /a-z0-9\\\\]{0,20}[ \t\n]){0,12}") {
            let _ = (parse(&table), held(&table));
        }
    }
}
