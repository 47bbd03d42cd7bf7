//! Which process is killed first when the kernel runs out of memory: `/proc/PID/oom_score_adj`, proc(5).
//!
//! Scores are only raised relative to the existing ones: that needs no privilege, and respects the setting of a
//! service manager for the server. Chromium gives its renderers 300 itself, so a page is killed before its browser, a
//! browser before the shim that owns it, and a shim before the server.

use std::fs;
use std::io;

/// How much higher than the server's the score of a shim is, in thousandths of the machine's memory.
pub const SHIM: i32 = 100;
/// How much higher than its shim's the score of a browser's main process is.
pub const BROWSER: i32 = 100;
/// The highest score.
const MAX: i32 = 1000;

/// Raises the score of a process (an id, or `self`) by this much above that of its parent, or of `above`.
///
/// # Errors
/// If one of them has ended, or we may not change it.
pub fn put_above(process: &str, above: &str, by: i32) -> io::Result<()> {
    let score = score(above)?.saturating_add(by).min(MAX);
    fs::write(format!("/proc/{process}/oom_score_adj"), score.to_string())
}

/// Returns the score of a process (an id, or `self`).
///
/// # Errors
/// If it has ended.
pub fn score(process: &str) -> io::Result<i32> {
    let text = fs::read_to_string(format!("/proc/{process}/oom_score_adj"))?;
    text.trim().parse().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_child_is_put_above_its_parent() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let id = child.id().to_string();
        let own = score("self").unwrap();
        assert_eq!(score(&id).unwrap(), own);
        put_above(&id, "self", BROWSER).unwrap();
        assert_eq!(score(&id).unwrap(), (own + BROWSER).min(MAX));
        put_above(&id, "self", 5000).unwrap();
        assert_eq!(score(&id).unwrap(), MAX);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(put_above(&id, "self", BROWSER).is_err());
    }
}
