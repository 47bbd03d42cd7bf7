//! The end of a browser's standard error, for error messages. Its size is limited.
//!
//! Console messages of pages are left out: portals write tokens there, and this output is logged. Chromium is started
//! so that it does not write them; if a profile enables more output, all lines of its INFO records are left out here.
//! A page could end such a record by a line that looks like the beginning of another; so decisions may be based only
//! on what was read before the first page was opened.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};

/// How many bytes are kept.
pub const STDERR_RING_BYTES: usize = 64 * 1024;
/// How many lines an error shows.
const SHOWN_LINES_MAX: usize = 8;
/// What Chromium always reports on a server without desktop or GPU; it says nothing about failures.
const NOISE: [&str; 6] =
    ["dbus/", "vaapi", "Floss manager", "gcm/", "DevTools listening", "Connection terminated while reading"];
/// Messages of a failing sandbox (`content/browser/zygote_host/zygote_host_impl_linux.cc`,
/// `sandbox/linux/services/credentials.cc`).
const NO_SANDBOX: [&str; 3] = [
    "No usable sandbox",
    "Operation not permitted (1): Failed to move to new namespace",
    "Running as root without",
];

/// How many bytes of a line are needed to find out what kind of record it begins.
const HEAD_BYTES_MAX: usize = 256;
/// The levels, or prefixes of levels, of records that are left out, as `base/logging.cc` writes them.
const INFORMATION: [&str; 2] = ["INFO", "VERBOSE"];
/// All other levels.
const TROUBLE: [&str; 3] = ["WARNING", "ERROR", "FATAL"];
/// The source of console messages.
const CONSOLE: &str = "CONSOLE";

/// The end of the standard error; clones share it.
#[derive(Debug, Clone, Default)]
pub struct StderrTail {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    ring: VecDeque<u8>,
    /// The beginning of the last line, until its kind is known.
    head: Vec<u8>,
    /// Whether the rest of the last line is left out, once that is known.
    leaves_out_line: Option<bool>,
    /// Whether the last record is left out. Its lines extend to the beginning of the next.
    leaves_out_record: bool,
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            match self.leaves_out_line {
                Some(true) => {}
                Some(false) => self.keep(piece),
                None => {
                    self.head.extend(piece);
                    if self.head.len() >= HEAD_BYTES_MAX || piece.ends_with(b"\n") {
                        let head = std::mem::take(&mut self.head);
                        self.leaves_out_record = self.is_left_out(&head);
                        self.leaves_out_line = Some(self.leaves_out_record);
                        if !self.leaves_out_record {
                            self.keep(&head);
                        }
                    }
                }
            }
            if piece.ends_with(b"\n") {
                self.leaves_out_line = None;
            }
        }
    }

    fn is_left_out(&self, head: &[u8]) -> bool {
        is_information(&String::from_utf8_lossy(head)).unwrap_or(self.leaves_out_record)
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.ring.extend(bytes);
        let surplus = self.ring.len().saturating_sub(STDERR_RING_BYTES);
        self.ring.drain(..surplus);
    }

    fn text(&self) -> String {
        let mut bytes: Vec<u8> = self.ring.iter().copied().collect();
        if !self.is_left_out(&self.head) {
            bytes.extend(&self.head);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Returns whether a line begins an INFO record; `None` if it continues the record before. A record begins with
/// `[1130/071854.480778:INFO:CONSOLE:2] `, with or without ids of process and thread.
fn is_information(line: &str) -> Option<bool> {
    let (fields, _) = line.strip_prefix('[')?.split_once(']')?;
    let mut fields = fields.split(':').skip_while(|field| {
        !TROUBLE.contains(field) && !INFORMATION.iter().any(|level| field.starts_with(level))
    });
    let level = fields.next()?;
    Some(!TROUBLE.contains(&level) || fields.any(|field| field.starts_with(CONSOLE)))
}

impl StderrTail {
    /// Reads `source` until its end, and keeps the last part.
    pub async fn follow(&self, mut source: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 4096];
        while let Ok(length @ 1..) = source.read(&mut buffer).await {
            self.push(&buffer[..length]);
        }
    }

    pub(crate) fn push(&self, bytes: &[u8]) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }

    /// Returns all that is kept.
    pub fn text(&self) -> String {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).text()
    }

    /// Returns the last lines that may explain a failure.
    pub fn useful_lines(&self) -> Vec<String> {
        let text = self.text();
        let useful = text
            .lines()
            .filter(|line| !line.trim().is_empty() && !NOISE.iter().any(|noise| line.contains(noise)));
        let mut lines: Vec<String> = useful.rev().take(SHOWN_LINES_MAX).map(ToOwned::to_owned).collect();
        lines.reverse();
        lines
    }

    /// Returns whether Chromium ended because it has no sandbox. Must be called before the first page is opened: see
    /// above.
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

    fn tail_of(pieces: &[&str]) -> StderrTail {
        let tail = StderrTail::default();
        pieces.iter().for_each(|piece| tail.push(piece.as_bytes()));
        tail
    }

    #[test]
    fn what_pages_say_is_left_out_with_all_of_its_lines() {
        let text = "libx.so: cannot open\n\
            [1130/071854.480778:INFO:CONSOLE:2] \"secret\n\nsecret: No usable sandbox!\", source:  (3)\n\
            [5:5:1130/071854.480778:ERROR:socket.cc:4] trouble\nin two lines\n\
            [5:5:1130/071854.480778:ERROR:CONSOLE(4)] \"secret\", source:\n\
            [5:5:1130/071854.480778:VERBOSE1:x.cc(4)] secret\nsecret\n\
            [5:5:1130/071854.480778:WARNING:x.cc(4)] the end";
        let expected = [
            "libx.so: cannot open",
            "[5:5:1130/071854.480778:ERROR:socket.cc:4] trouble",
            "in two lines",
            "[5:5:1130/071854.480778:WARNING:x.cc(4)] the end",
        ];
        for size in [1, 3, 7, 64, text.len()] {
            let pieces: Vec<&str> =
                text.as_bytes().chunks(size).map(|piece| std::str::from_utf8(piece).unwrap()).collect();
            let tail = tail_of(&pieces);
            assert_eq!(tail.useful_lines(), expected, "in pieces of {size}");
            assert!(!tail.text().contains("secret") && !tail.says_no_sandbox());
        }
    }

    #[test]
    fn a_long_line_is_of_its_record_to_its_end() {
        let long = "secret ".repeat(HEAD_BYTES_MAX);
        let tail =
            tail_of(&["[1:INFO:CONSOLE:1] ", &long, &long, "\nsecret\n[1:ERROR:x.cc] ", &"y".repeat(1000)]);
        let text = tail.text();
        assert!(!text.contains("secret") && text.starts_with("[1:ERROR:x.cc] yyy"), "{text}");
        assert_eq!(text.len(), 1015);
    }
}
