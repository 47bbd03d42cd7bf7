//! Delays before retries, with jitter so that not all retries happen at once.

use std::time::Duration;

/// Delays that double between a first and a longest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The delay after the first failure.
    pub first: Duration,
    /// The longest delay.
    pub longest: Duration,
}

impl Backoff {
    /// Returns the delay after `failures` consecutive failures (at least 1): between half of the doubled delay and
    /// all of it, chosen by `random`.
    #[must_use]
    pub fn wait(&self, failures: u32, random: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        let whole = self.first.saturating_mul(1 << doublings).min(self.longest);
        let half_ms = u64::try_from(whole.as_millis() / 2).unwrap_or(u64::MAX / 2);
        Duration::from_millis(half_ms + random % (half_ms + 1))
    }
}

/// SplitMix64: small, seeded, and sufficient for jitter. Not for secrets.
#[derive(Debug, Clone)]
pub(crate) struct Jitter(pub(crate) u64);

impl Jitter {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_stay_within_bounds() {
        let backoff = Backoff { first: Duration::from_secs(4), longest: Duration::from_secs(60) };
        let mut jitter = Jitter(7);
        for failures in 1..200 {
            let whole =
                Duration::from_secs(4).saturating_mul(1 << (failures - 1).min(10)).min(backoff.longest);
            let wait = backoff.wait(failures, jitter.next());
            assert!(wait >= whole / 2 && wait <= whole, "{failures}: {wait:?} of {whole:?}");
        }
    }
}
