//! The stored record of an operation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// An operation. Times are milliseconds since 1970, phases are counted from 0.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationRecord {
    /// Its id.
    pub id: Uuid,
    /// The session in whose window it runs.
    pub session: Uuid,
    /// Its name in the site.
    pub operation: String,
    /// Its hold on the session.
    pub hold: Uuid,
    /// When it was started.
    pub created_at_ms: u64,
    /// How long it waits for input, in milliseconds.
    pub timeout_ms: u64,
    /// The inputs that each phase needs.
    pub needs: Vec<BTreeSet<String>>,
    /// The inputs so far, as text to type.
    pub inputs: BTreeMap<String, String>,
    /// The requests that were executed and must not be executed again: a digest of each, by its idempotency key.
    pub requests: BTreeMap<String, String>,
    /// Its stage.
    pub stage: StageRecord,
    /// The current or last phase.
    pub phase: usize,
    /// The outputs, by name.
    pub outputs: Map<String, Value>,
    /// The downloads among the outputs, by name.
    pub downloads: BTreeMap<String, DownloadRecord>,
    /// Its screenshots, in order.
    pub screenshots: Vec<ScreenshotRecord>,
    /// The error, if any.
    pub fault: Option<FaultRecord>,
}

/// Inputs and outputs must not be logged.
impl fmt::Debug for OperationRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, stage, phase) = (&self.id, &self.stage, &self.phase);
        f.debug_struct("OperationRecord")
            .field("id", id)
            .field("stage", stage)
            .field("phase", phase)
            .finish_non_exhaustive()
    }
}

/// The stage of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageRecord {
    /// A phase is running or about to run.
    Running,
    /// A phase waits for inputs.
    Waiting {
        /// When it expires.
        expires_at_ms: u64,
    },
    /// It has ended.
    Ended {
        /// How it ended.
        ending: String,
        /// When it ended.
        at_ms: u64,
    },
}

/// A downloaded file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadRecord {
    /// The name of the file in the operation's folder.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A screenshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScreenshotRecord {
    /// The name of the file in the operation's folder.
    pub name: String,
    /// The step before it, such as `2.3`.
    pub step: String,
}

/// An error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// The step, counted from 1 in its phase.
    pub step: Option<usize>,
    /// The stable code.
    pub code: String,
    /// The message, in one sentence.
    pub sentence: String,
}
