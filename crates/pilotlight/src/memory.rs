//! How much memory the machine has, and how it stands with it, by `/proc/meminfo`.

use std::fs;

const MEMINFO: &str = "/proc/meminfo";

/// Less than this share of the machine's memory available is short, in percent.
const SHORT_PERCENT: u64 = 5;

/// Whether the machine has hardly any memory left. Where it does not say, it has.
#[must_use]
pub(crate) fn machine_is_short() -> bool {
    fs::read_to_string(MEMINFO).is_ok_and(|meminfo| is_short(&meminfo))
}

/// The machine's memory in bytes, where it says.
pub(crate) fn total_bytes() -> Option<u64> {
    let total = kibibytes(&fs::read_to_string(MEMINFO).ok()?, "MemTotal:")?;
    Some(total * 1024)
}

/// The memory that is left in bytes, where the machine says.
pub(crate) fn available_bytes() -> Option<u64> {
    let available = kibibytes(&fs::read_to_string(MEMINFO).ok()?, "MemAvailable:")?;
    Some(available * 1024)
}

fn kibibytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn is_short(meminfo: &str) -> bool {
    match (kibibytes(meminfo, "MemAvailable:"), kibibytes(meminfo, "MemTotal:")) {
        (Some(available), Some(total)) => available.saturating_mul(100) < total.saturating_mul(SHORT_PERCENT),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_is_less_than_a_twentieth() {
        assert!(is_short("MemTotal:  1000 kB\nMemAvailable:  49 kB\n"));
        assert!(!is_short("MemTotal:  1000 kB\nMemAvailable:  50 kB\n"));
        assert!(!is_short("nothing of the kind"));
    }
}
