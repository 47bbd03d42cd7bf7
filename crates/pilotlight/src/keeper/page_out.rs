//! Making windows that stand still small: their processes' pages go where the machine has room for them.
//!
//! Nothing here knows when that is wanted. A process that runs again meanwhile takes no harm: it fetches back
//! what it touches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pilotlight_linux::reclaim::{Means, anonymous_bytes};
use pilotlight_linux::{Destination, ReclaimError, Reclaimer, trees};
use tokio::sync::Semaphore;

/// How long what has come to a stand is let alone before its memory is moved.
///
/// A page that was frozen still frees what it can do without for about a second, and V8 collects garbage 8 s after
/// the last collection (`MemoryReducer::kLongDelayMs`), which fetches its heap back.
const FIRST_AFTER: Duration = Duration::from_secs(12);
/// How often it is looked again: V8 may collect once more, 17 s after freezing, and some time between the first
/// minute and the fourth a hidden renderer drops its caches and collects all (`MemoryPurgeManager` of Blink).
/// Measured on 156.
const AGAIN_AFTER: Duration = Duration::from_secs(18);
/// What a process may have fetched back before it is moved once more.
const FETCHED_BYTES: u64 = 1 << 20;

/// Does it for all windows, one process after the other. Clones share the place.
#[derive(Debug, Clone)]
pub(super) struct PageOutWorker {
    /// Where pages may go; `None` where they stay.
    destination: Option<Destination>,
    /// Moving pages takes a whole core for 100 ms a process.
    place: Arc<Semaphore>,
}

impl PageOutWorker {
    pub(super) fn new(destination: Option<Destination>) -> Self {
        Self { destination, place: Arc::new(Semaphore::new(1)) }
    }

    /// Shrinks these processes, and keeps them small until it is dropped or they are gone.
    pub(super) async fn page_out(&self, pids: Vec<u32>) {
        self.run(|| pids.clone()).await;
    }

    /// Shrinks a process and all below it, and keeps them small.
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

/// Moves out those that have grown since `left` was left of them in memory, in bytes. Gives what is left now, of those
/// that are still there.
fn page_out(destination: Destination, pids: &[u32], left: &BTreeMap<u32, u64>) -> BTreeMap<u32, u64> {
    // Asked anew each time: swap comes and goes, and fills up.
    let reclaimer = Reclaimer::probe(destination);
    let mut now = BTreeMap::new();
    for &pid in pids {
        let Some(bytes) = anonymous_bytes(pid) else { continue };
        let before = left.get(&pid).copied();
        if reclaimer.means() == Means::None {
            // Whatever there is shall go as soon as it can.
            now.insert(pid, 0);
        } else if before.is_none_or(|before| bytes > before + FETCHED_BYTES) {
            let moved = match reclaimer.page_out(pid) {
                Ok(bytes) => {
                    tracing::debug!(pid, bytes, "moved out");
                    bytes
                }
                Err(ReclaimError::Gone(_)) => continue,
                Err(error) => {
                    tracing::debug!(pid, error = crate::sentence::with_sources(&error), "not moved out");
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

    /// Whatever the machine offers: what is there is told of, what did not grow is let alone, and what is gone
    /// is forgotten, so that there is an end.
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
