//! Paging out the memory of frozen windows: it is moved to wherever the machine has room for it.
//!
//! This module does not decide when. A process that runs again meanwhile is not harmed: its pages are read back when
//! it touches them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pilotlight_linux::reclaim::{Means, anonymous_bytes};
use pilotlight_linux::{Destination, ReclaimError, Reclaimer, trees};
use tokio::sync::Semaphore;

/// The delay between freezing a window and moving its memory.
///
/// A page that was frozen still frees what it can do without for about a second, and V8 collects garbage 8 s after
/// the last collection (`MemoryReducer::kLongDelayMs`), which fetches its heap back.
const FIRST_AFTER: Duration = Duration::from_secs(12);
/// The delays of further checks: V8 may collect once more, 17 s after freezing, and between the first minute and the
/// fourth a hidden renderer drops its caches and collects everything (`MemoryPurgeManager` of Blink). Measured on
/// 156.
const AGAIN_AFTER: Duration = Duration::from_secs(18);
/// How much a process may have read back before its memory is moved again.
const FETCHED_BYTES: u64 = 1 << 20;

/// Moves the memory of all frozen windows, one process at a time. Clones share the queue.
#[derive(Debug, Clone)]
pub(super) struct PageOutWorker {
    /// The destination; `None` if memory stays where it is.
    destination: Option<Destination>,
    /// Moving the memory of one process takes a whole core for 100 ms.
    place: Arc<Semaphore>,
}

impl PageOutWorker {
    pub(super) fn new(destination: Option<Destination>) -> Self {
        Self { destination, place: Arc::new(Semaphore::new(1)) }
    }

    /// Moves the memory of these processes, and repeats it as needed until this is dropped or they have ended.
    pub(super) async fn page_out(&self, pids: Vec<u32>) {
        self.run(|| pids.clone()).await;
    }

    /// Moves the memory of a process and of its descendants, and repeats it as needed.
    pub(super) async fn page_out_tree(&self, pid: u32) {
        self.run(|| trees(&[pid]).concat()).await;
    }

    async fn run(&self, pids: impl Fn() -> Vec<u32>) {
        let Some(destination) = self.destination else { return };
        let mut left = BTreeMap::new();
        let mut wait = FIRST_AFTER;
        loop {
            tokio::time::sleep(wait).await;
            wait = AGAIN_AFTER;
            let Ok(_place) = self.place.acquire().await else { return };
            let pids = pids();
            let moved = tokio::task::spawn_blocking(move || page_out(destination, &pids, &left));
            left = moved.await.unwrap_or_default();
            if left.is_empty() {
                return;
            }
        }
    }
}

/// Moves the memory of those processes that have grown since `left` remained of them in memory, in bytes. Returns
/// what remains now, of those that still run.
fn page_out(destination: Destination, pids: &[u32], left: &BTreeMap<u32, u64>) -> BTreeMap<u32, u64> {
    // Checked each time: swap can be added, removed or filled.
    let reclaimer = Reclaimer::probe(destination);
    let mut now = BTreeMap::new();
    for &pid in pids {
        let Some(bytes) = anonymous_bytes(pid) else { continue };
        let before = left.get(&pid).copied();
        if reclaimer.means() == Means::None {
            // Everything can be moved as soon as possible.
            now.insert(pid, 0);
        } else if before.is_none_or(|before| bytes > before + FETCHED_BYTES) {
            let moved = match reclaimer.page_out(pid) {
                Ok(bytes) => {
                    tracing::debug!(pid, bytes, "paged out");
                    bytes
                }
                Err(ReclaimError::Gone(_)) => continue,
                Err(error) => {
                    tracing::debug!(pid, error = crate::sentence::with_sources(&error), "not paged out");
                    0
                }
            };
            now.insert(pid, bytes.saturating_sub(moved));
        } else {
            now.extend(before.map(|before| (pid, before)));
        }
    }
    now
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// On any machine: processes that exist are listed, those that did not grow are left alone, and those that have
    /// ended are forgotten, so that this terminates.
    #[test]
    fn only_what_has_grown_is_moved_and_what_is_gone_is_forgotten() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let page_out = |left: &BTreeMap<u32, u64>| page_out(Destination::Sealed, &[pid], left);
        let first = page_out(&BTreeMap::new());
        assert!(first.contains_key(&pid));
        let let_alone = BTreeMap::from([(pid, u64::MAX - FETCHED_BYTES)]);
        let again = page_out(&let_alone);
        let can_move = Reclaimer::probe(Destination::Sealed).means() != Means::None;
        assert_eq!(again, if can_move { let_alone } else { BTreeMap::from([(pid, 0)]) });
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(page_out(&first), BTreeMap::new());
    }
}
