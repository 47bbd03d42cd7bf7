//! Making windows that stand still small: their processes' pages go where the machine has room for them.
//!
//! Nothing here knows when that is wanted. A process that runs again meanwhile takes no harm: it fetches back
//! what it touches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pilotlight_levers::reclaim::Means;
use pilotlight_levers::{ProcessMemory, ReclaimError, Reclaimer, trees};
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
const FETCHED_BYTES: u64 = 2 << 20;

/// Does it for all windows, one process after the other. Clones share the place.
#[derive(Debug, Clone)]
pub(super) struct Shrinker {
    /// Whether it does anything.
    is_on: bool,
    /// Moving pages takes a whole core for 100 ms a process.
    place: Arc<Semaphore>,
}

impl Shrinker {
    pub(super) fn new(is_on: bool) -> Self {
        Self { is_on, place: Arc::new(Semaphore::new(1)) }
    }

    /// Shrinks these processes, and keeps them small until it is dropped or they are gone.
    pub(super) async fn shrink(&self, pids: Vec<u32>) {
        self.run(|| pids.clone()).await;
    }

    /// Shrinks a process and all below it, and keeps them small.
    pub(super) async fn shrink_tree(&self, pid: u32) {
        self.run(|| trees(&[pid]).concat()).await;
    }

    async fn run(&self, pids: impl Fn() -> Vec<u32>) {
        if !self.is_on {
            return;
        }
        let mut left = BTreeMap::new();
        let mut wait = FIRST_AFTER;
        loop {
            tokio::time::sleep(wait).await;
            wait = AGAIN_AFTER;
            let now = resident(&pids());
            if now.is_empty() {
                return;
            }
            let grown = |(pid, bytes): (&u32, &u64)| {
                let is_grown = left.get(pid).is_none_or(|left| *bytes > left + FETCHED_BYTES);
                is_grown.then_some(*pid)
            };
            let grown: Vec<u32> = now.iter().filter_map(grown).collect();
            if grown.is_empty() {
                continue;
            }
            let Ok(_place) = self.place.acquire().await else { return };
            let moved = tokio::task::spawn_blocking(move || {
                page_out(&grown);
                resident(&grown)
            });
            left.extend(moved.await.unwrap_or_default());
        }
    }
}

/// What these processes have in memory, those that are still there.
fn resident(pids: &[u32]) -> BTreeMap<u32, u64> {
    pids.iter().filter_map(|pid| Some((*pid, ProcessMemory::quick(*pid)?.bytes))).collect()
}

fn page_out(pids: &[u32]) {
    // Asked anew each time: swap comes and goes, and fills up.
    let reclaimer = Reclaimer::probe();
    if reclaimer.means() == Means::None {
        return;
    }
    for &pid in pids {
        match reclaimer.page_out(pid) {
            Ok(bytes) => tracing::debug!(pid, bytes, "moved out"),
            Err(ReclaimError::Gone(_)) => {}
            Err(error) => {
                tracing::debug!(pid, error = crate::sentence::with_sources(&error), "not moved out");
            }
        }
    }
}
