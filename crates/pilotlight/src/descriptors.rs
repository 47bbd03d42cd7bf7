//! File descriptors: limits, and errors caused by a shortage.

use std::fmt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit is raised to at most this. The server never comes close, and programs that iterate over all
/// descriptors at start-up would otherwise take long.
const MAX_RAISED: u64 = 65_536;
/// This many are reserved for ourselves (browsers, files, the store), but at most half of all.
const MAX_RESERVE: u64 = 512;
/// If fewer are left, failures are attributed to the shortage.
const SHORT: u64 = 24;

/// Browsers inherit the limit. A browser with many windows needs some hundreds; with 64 it exits at once.
const MIN_FOR_BROWSERS: u64 = 256;

/// Raises the soft limit to the hard limit and returns it. Child processes inherit it, which is harmless: Chromium
/// also raises its own limit, to 8192.
pub(crate) fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let (now, most) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX));
    let wanted = most.min(MAX_RAISED);
    let limit = if now >= wanted {
        now
    } else {
        match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
            Ok(()) => wanted,
            Err(error) => {
                tracing::warn!(%error, now, wanted, "failed to raise the open file limit");
                now
            }
        }
    };
    if limit < MIN_FOR_BROWSERS {
        tracing::warn!(limit, hint = Shortage::HINT, "the open file limit is too low for browsers");
    }
    limit
}

/// Returns how many connections fit besides our own needs.
pub(crate) fn connections(limit: u64) -> usize {
    let reserve = MAX_RESERVE.min(limit / 2);
    usize::try_from(limit - reserve).unwrap_or(usize::MAX)
}

/// A shortage of file descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shortage {
    open: u64,
    limit: u64,
}

impl Shortage {
    /// What to do about it.
    pub(crate) const HINT: &str = "Raise the open file limit with `LimitNOFILE=` in the systemd unit, or with `ulimit \
                                   -Hn` in the shell that starts the server. 4096 is usually enough.";
}

impl fmt::Display for Shortage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { open, limit } = self;
        if *limit < MIN_FOR_BROWSERS {
            return write!(
                formatter,
                "the server and its browsers are limited to {limit} file descriptors each"
            );
        }
        write!(formatter, "the server is running out of file descriptors: {open} of {limit} are in use")
    }
}

/// Returns a shortage if it probably caused a recent failure.
pub(crate) fn shortage() -> Option<Shortage> {
    let limit = getrlimit(Resource::Nofile).current?;
    // Includes the descriptor of the folder itself; if not even that can be opened, none is left.
    let open = match std::fs::read_dir("/proc/self/fd") {
        Ok(entries) => u64::try_from(entries.count()).unwrap_or(u64::MAX),
        Err(_) => limit,
    };
    let is_short = limit < MIN_FOR_BROWSERS || limit.saturating_sub(open) < SHORT;
    is_short.then_some(Shortage { open, limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_small_limit_and_enough_of_a_large_one_is_kept() {
        assert_eq!(connections(64), 32);
        assert_eq!(connections(1024), 512);
        assert_eq!(connections(4096), 4096 - 512);
        assert!(connections(u64::MAX) > 1_000_000);
    }

    #[test]
    fn raised_once_it_stays() {
        let limit = raise();
        assert_eq!(raise(), limit);
        assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), limit);
    }
}
