//! Starting browsers in either way: as our own child, or under a shim that outlives us.
//!
//! [`Launcher`] is the one narrow place between the browser and the operating system: whoever starts
//! Chromium some other way implements it and nothing else changes. A launcher must never start Chromium as
//! root, never without its sandbox by itself, and never leave a process or a directory behind.

use std::future::Future;

use crate::launch::{DirectLauncher, LaunchError, LaunchPlan, Started};
use crate::shim::{Kept, ShimHandle, ShimLauncher};

/// Starts browsers.
pub trait Launcher: Send + Sync {
    /// Starts one and gives the ends of its pipe. Whether Chromium then comes up is the caller's to see.
    fn launch(&self, plan: &LaunchPlan) -> impl Future<Output = Result<Launched, LaunchError>> + Send;
}

/// A started browser.
#[derive(Debug)]
pub struct Launched {
    /// The process, and the ends of its pipe.
    pub started: Started,
    /// The id of the first call. Another than 1 where others have used the pipe before.
    pub next_id: i32,
    /// Who keeps the browser when we are gone; `None` where it goes with us.
    pub shim: Option<ShimHandle>,
}

impl Launched {
    /// A browser that a shim keeps.
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
