//! Making windows that stand still small: their processes' pages go where the machine has room for them.
//!
//! Nothing here knows when that is wanted. A process that runs again meanwhile takes no harm: it fetches back
//! what it touches.

use std::sync::Arc;
use std::time::Duration;

use pilotlight_levers::reclaim::Means;
use pilotlight_levers::{ReclaimError, Reclaimer, trees};
use tokio::sync::Semaphore;

/// A page that was frozen still frees what it can do without for about a second: what is gone then need not be
/// moved.
const SETTLING: Duration = Duration::from_millis(1500);

/// Does it for all windows, one process after the other. Clones share the place.
#[derive(Debug, Clone)]
pub(super) struct Shrinker {
    /// Moving pages takes a whole core for 100 ms a process.
    place: Arc<Semaphore>,
}

impl Default for Shrinker {
    fn default() -> Self {
        Self { place: Arc::new(Semaphore::new(1)) }
    }
}

impl Shrinker {
    /// Shrinks these processes.
    pub(super) async fn shrink(&self, pids: Vec<u32>) {
        tokio::time::sleep(SETTLING).await;
        self.run(move || page_out(&pids)).await;
    }

    /// Shrinks a process and all below it.
    pub(super) async fn shrink_tree(&self, pid: u32) {
        tokio::time::sleep(SETTLING).await;
        self.run(move || page_out(&trees(&[pid]).concat())).await;
    }

    async fn run(&self, work: impl FnOnce() + Send + 'static) {
        let Ok(_place) = self.place.acquire().await else { return };
        drop(tokio::task::spawn_blocking(work).await);
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
