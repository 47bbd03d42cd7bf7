//! Who is ended first where the kernel finds no memory any more: `/proc/PID/oom_score_adj`, proc(5).
//!
//! Scores are set above what was there before and never below: that needs no privilege, and what a service
//! manager has given the server stays the measure of it. Chromium gives its renderers 300 by itself, so a page
//! goes before its browser, a browser before the shim that owns it, and a shim before the server.

use std::fs;
use std::io;

/// How much likelier than the server a shim goes, in thousandths of the machine's memory.
pub const SHIM: i32 = 100;
/// How much likelier than its shim a browser's main process goes.
pub const BROWSER: i32 = 100;
/// The highest score.
const MAX: i32 = 1000;

/// Puts a process (an id, or `self`) so far above the score that its parent, or whoever is `above`, has.
///
/// # Errors
/// Where one of them is gone, or the process is not ours.
pub fn put_above(process: &str, above: &str, by: i32) -> io::Result<()> {
    let score = score(above)?.saturating_add(by).min(MAX);
    fs::write(format!("/proc/{process}/oom_score_adj"), score.to_string())
}

/// The score of a process (an id, or `self`).
///
/// # Errors
/// Where it is gone.
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
