//! Making windows that stand still small: their processes' pages go where the machine has room for them.
//!
//! Nothing here knows when that is wanted. A process that runs again meanwhile takes no harm: it fetches back
//! what it touches.

use std::sync::Arc;
use std::time::Duration;

use pilotlight_levers::reclaim::Means;
use pilotlight_levers::{ReclaimError, Reclaimer, trees};
use tokio::sync::Semaphore;

/// How long what has come to a stand is let alone before its memory is moved, and then moved once more.
///
/// A page that was frozen still frees what it can do without for about a second, and V8 collects garbage once or
/// twice more, each 8 s after the last collection (`MemoryReducer::kLongDelayMs`), which fetches its heap back.
/// Measured on 156: 8 s and 17 s after freezing.
const PASSES: [Duration; 2] = [Duration::from_secs(12), Duration::from_secs(18)];

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

    /// Shrinks these processes.
    pub(super) async fn shrink(&self, pids: Vec<u32>) {
        self.run(|| pids.clone()).await;
    }

    /// Shrinks a process and all below it.
    pub(super) async fn shrink_tree(&self, pid: u32) {
        self.run(|| trees(&[pid]).concat()).await;
    }

    async fn run(&self, pids: impl Fn() -> Vec<u32>) {
        if !self.is_on {
            return;
        }
        for pass in PASSES {
            tokio::time::sleep(pass).await;
            let Ok(_place) = self.place.acquire().await else { return };
            let pids = pids();
            drop(tokio::task::spawn_blocking(move || page_out(&pids)).await);
        }
    }
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
