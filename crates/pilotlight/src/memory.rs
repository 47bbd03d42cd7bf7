//! Available memory: the machine's, or less if a cgroup limits it.

use pilotlight_linux::Memory;

/// Memory is low if less than this share is available, in percent.
const SHORT_PERCENT: u64 = 5;

/// Returns whether memory is low. If the kernel does not report memory, it is not.
#[must_use]
pub(crate) fn machine_is_short() -> bool {
    Memory::now().is_some_and(is_short)
}

/// Returns the total memory in bytes, if known.
pub(crate) fn total_bytes() -> Option<u64> {
    Memory::now().map(|memory| memory.total_bytes)
}

/// Returns the available memory in bytes, if known.
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
