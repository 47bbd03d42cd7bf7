//! The last words of a browser, for errors that people read. Bounded, whatever Chromium writes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};

/// How much is remembered.
pub const STDERR_RING_BYTES: usize = 64 * 1024;
/// How many lines an error shows.
const SHOWN_LINES_MAX: usize = 8;
/// What Chromium always complains about on a server without desktop or GPU; it says nothing about failures.
const NOISE: [&str; 6] =
    ["dbus/", "vaapi", "Floss manager", "gcm/", "DevTools listening", "Connection terminated while reading"];
/// Where the sandbox cannot come up (`content/browser/zygote_host/zygote_host_impl_linux.cc`,
/// `sandbox/linux/services/credentials.cc`).
const NO_SANDBOX: [&str; 3] = [
    "No usable sandbox",
    "Operation not permitted (1): Failed to move to new namespace",
    "Running as root without",
];

/// The end of what was written to standard error; clones share it.
#[derive(Debug, Clone, Default)]
pub struct StderrTail {
    ring: Arc<Mutex<VecDeque<u8>>>,
}

impl StderrTail {
    /// Keeps the end of `source` until it ends.
    pub async fn follow(&self, mut source: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 4096];
        while let Ok(length @ 1..) = source.read(&mut buffer).await {
            self.push(&buffer[..length]);
        }
    }

    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.extend(bytes);
        let surplus = ring.len().saturating_sub(STDERR_RING_BYTES);
        ring.drain(..surplus);
    }

    /// All that is remembered.
    pub fn text(&self) -> String {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = ring.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines that may explain a failure.
    pub fn useful_lines(&self) -> Vec<String> {
        let text = self.text();
        let useful = text
            .lines()
            .filter(|line| !line.trim().is_empty() && !NOISE.iter().any(|noise| line.contains(noise)));
        let mut lines: Vec<String> = useful.rev().take(SHOWN_LINES_MAX).map(ToOwned::to_owned).collect();
        lines.reverse();
        lines
    }

    /// Whether Chromium gave up because it has no sandbox.
    pub fn says_no_sandbox(&self) -> bool {
        let text = self.text();
        NO_SANDBOX.iter().any(|words| text.contains(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_is_kept_and_noise_is_left_out() {
        let tail = StderrTail::default();
        let text = format!(
            "{}\n[1:ERROR:dbus/bus.cc] x\n[1:FATAL:zygote] No usable sandbox!\n",
            "a".repeat(200_000)
        );
        tail.follow(text.as_bytes()).await;
        assert_eq!(tail.text().len(), STDERR_RING_BYTES);
        assert_eq!(tail.useful_lines().last().unwrap(), "[1:FATAL:zygote] No usable sandbox!");
        assert!(!tail.useful_lines().iter().any(|line| line.contains("dbus")));
        assert!(tail.says_no_sandbox());
    }
}
