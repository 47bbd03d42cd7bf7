//! How it stands with the memory that there is for us: the machine's, or less where a cgroup limits us.

use pilotlight_levers::Memory;

/// Less than this share of the memory available is short, in percent.
const SHORT_PERCENT: u64 = 5;

/// Whether there is hardly any memory left. Where the kernel does not say, there is.
#[must_use]
pub(crate) fn machine_is_short() -> bool {
    Memory::now().is_some_and(is_short)
}

/// The memory that there is in bytes, where the kernel says.
pub(crate) fn total_bytes() -> Option<u64> {
    Memory::now().map(|memory| memory.total_bytes)
}

/// What of it is left in bytes, where the kernel says.
pub(crate) fn available_bytes() -> Option<u64> {
    Memory::now().map(|memory| memory.available_bytes)
}

fn is_short(memory: Memory) -> bool {
    memory.available_bytes.saturating_mul(100) < memory.total_bytes.saturating_mul(SHORT_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_is_less_than_a_twentieth() {
        let with = |available_bytes| Memory { total_bytes: 1000, available_bytes, is_limited: false };
        assert!(is_short(with(49)));
        assert!(!is_short(with(50)));
    }
}
