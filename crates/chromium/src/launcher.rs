//! Starting browsers in either way: as a child of this process, or under a shim that outlives it.
//!
//! [`Launcher`] is the only interface between the browser and the operating system: another way to start Chromium is
//! another implementation, and nothing else changes. A launcher must never start Chromium as root, never disable its
//! sandbox, and never leave a process or a directory behind.

use std::future::Future;

use crate::launch::{DirectLauncher, LaunchError, LaunchPlan, Started};
use crate::shim::{Kept, ShimHandle, ShimLauncher};

/// Starts browsers.
pub trait Launcher: Send + Sync {
    /// Starts a browser and returns the ends of its pipe. Whether Chromium comes up is checked by the caller.
    fn launch(&self, plan: &LaunchPlan) -> impl Future<Output = Result<Launched, LaunchError>> + Send;
}

/// A started browser.
#[derive(Debug)]
pub struct Launched {
    /// The process, and the ends of its pipe.
    pub started: Started,
    /// The id of the first call. Not 1 if the pipe was used before.
    pub next_id: i32,
    /// The shim that keeps the browser after the server has ended; `None` if the browser ends with the server.
    pub shim: Option<ShimHandle>,
}

impl Launched {
    /// Returns a browser that a shim keeps.
    pub(crate) fn by(kept: Kept) -> Self {
        Self { started: kept.started, next_id: kept.next_id, shim: Some(kept.shim) }
    }
}

impl Launcher for DirectLauncher {
    async fn launch(&self, plan: &LaunchPlan) -> Result<Launched, LaunchError> {
        Ok(Launched { started: self.start(plan)?, next_id: 1, shim: None })
    }
}

impl Launcher for ShimLauncher {
    async fn launch(&self, plan: &LaunchPlan) -> Result<Launched, LaunchError> {
        self.start(plan).await.map(Launched::by)
    }
}
