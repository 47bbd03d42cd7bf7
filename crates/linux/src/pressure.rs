//! Pressure-stall information: the share of time in which processes waited for memory.
//! <https://docs.kernel.org/accounting/psi.html>

use std::path::Path;

use crate::cgroup::folder_of;
use crate::text::read;

/// The share of time in which one of our processes, or all at once, waited for memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pressure {
    /// At least one waited.
    pub some: Stall,
    /// All that had work waited.
    pub full: Stall,
}

/// A share of the time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stall {
    /// Over the last 10 s, in percent.
    pub last_10_s_percent: f64,
    /// Over the last minute, in percent.
    pub last_60_s_percent: f64,
    /// Over the last five minutes, in percent.
    pub last_300_s_percent: f64,
    /// Since the start, in microseconds.
    pub total_us: u64,
}

impl Pressure {
    /// Returns that of our own cgroup if it has one, otherwise of the machine; `None` if the kernel does not report
    /// it.
    #[must_use]
    pub fn now() -> Option<Self> {
        Self::under(Path::new("/"))
    }

    fn under(root: &Path) -> Option<Self> {
        // The topmost group of a container reports pressure too, but not if version 2 does not manage memory.
        let group = folder_of(root, "self").filter(|folder| folder.join("memory.current").exists());
        let of_group = group.and_then(|folder| Self::parse(&read(folder.join("memory.pressure"))?));
        of_group.or_else(|| Self::parse(&read(root.join("proc/pressure/memory"))?))
    }

    /// Parses `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and the same with `full`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let line = |word: &str| text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        Some(Self { some: Stall::parse(line("some")?)?, full: Stall::parse(line("full")?)? })
    }
}

impl Stall {
    fn parse(line: &str) -> Option<Self> {
        let field = |key: &str| line.split_whitespace().find_map(|field| field.strip_prefix(key));
        let percent = |key: &str| field(key)?.parse().ok().filter(|share| (0.0..=100.0).contains(share));
        Some(Self {
            last_10_s_percent: percent("avg10=")?,
            last_60_s_percent: percent("avg60=")?,
            last_300_s_percent: percent("avg300=")?,
            total_us: field("total=")?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "some avg10=1.50 avg60=0.20 avg300=0.01 total=4711\nfull avg10=0.75 avg60=0.10 avg300=0.00 total=12\n";

    #[test]
    fn both_lines_are_read() {
        let pressure = Pressure::parse(TEXT).unwrap();
        assert_eq!((pressure.some.last_10_s_percent, pressure.some.total_us), (1.5, 4711));
        assert_eq!((pressure.full.last_60_s_percent, pressure.full.total_us), (0.1, 12));
        for bad in ["", "some", TEXT.lines().next().unwrap(), &TEXT.replace("0.75", "NaN")] {
            assert_eq!(Pressure::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_own_group_comes_before_the_machine() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/pressure/memory", TEXT);
        write("proc/self/cgroup", "0::/a\n");
        write("sys/fs/cgroup/cgroup.controllers", "");
        write("sys/fs/cgroup/a/memory.pressure", &TEXT.replace("4711", "1"));
        assert_eq!(Pressure::under(root.path()).unwrap().some.total_us, 4711);
        write("sys/fs/cgroup/a/memory.current", "1");
        assert_eq!(Pressure::under(root.path()).unwrap().some.total_us, 1);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "(some|full)?[ a-z0-9=.\n-]{0,80}") {
            let _ = Pressure::parse(&text);
        }

        #[test]
        fn what_the_kernel_writes_comes_back(shares in prop::array::uniform6(0u32..=10_000), totals in any::<(u64, u64)>()) {
            let share = |index: usize| format!("{}.{:02}", shares[index] / 100, shares[index] % 100);
            let text = format!(
                "some avg10={} avg60={} avg300={} total={}\nfull avg10={} avg60={} avg300={} total={}\n",
                share(0), share(1), share(2), totals.0, share(3), share(4), share(5), totals.1
            );
            let pressure = Pressure::parse(&text).unwrap();
            prop_assert_eq!(pressure.some.last_10_s_percent, f64::from(shares[0]) / 100.0);
            prop_assert_eq!((pressure.some.total_us, pressure.full.total_us), totals);
        }
    }
}
