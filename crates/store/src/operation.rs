//! What is kept of an operation: what it was given, how far it came, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// An operation as it is written down. Times are milliseconds since 1970, phases are counted from 0.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationRecord {
    /// Its id.
    pub id: Uuid,
    /// The session in whose window it is done.
    pub session: Uuid,
    /// Its name in the site.
    pub operation: String,
    /// Its hold on the session.
    pub hold: Uuid,
    /// When it was begun.
    pub created_at_ms: u64,
    /// How long it waits for an input, in milliseconds.
    pub timeout_ms: u64,
    /// What each phase needs.
    pub needs: Vec<BTreeSet<String>>,
    /// What was given so far, as it is typed.
    pub inputs: BTreeMap<String, String>,
    /// The requests that brought it so far and are not to be carried out twice: a digest of each, by its key.
    pub requests: BTreeMap<String, String>,
    /// Where it is.
    pub stage: StageRecord,
    /// The phase that runs, waits, or was the last one to run.
    pub phase: usize,
    /// What the pages showed, by name.
    pub outputs: Map<String, Value>,
    /// The downloads among the outputs, by name.
    pub downloads: BTreeMap<String, DownloadRecord>,
    /// Its pictures, in order.
    pub screenshots: Vec<ScreenshotRecord>,
    /// What went wrong.
    pub fault: Option<FaultRecord>,
}

/// What was typed, and what pages showed, belongs into no log.
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

/// Where an operation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageRecord {
    /// Its phase runs, or is about to.
    Running,
    /// Its phase waits for inputs.
    Waiting {
        /// How long.
        expires_at_ms: u64,
    },
    /// It is over.
    Ended {
        /// How.
        ending: String,
        /// When.
        at_ms: u64,
    },
}

/// A file that a page gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadRecord {
    /// What the file is called in the operation's folder.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A picture of the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScreenshotRecord {
    /// What the file is called in the operation's folder.
    pub name: String,
    /// After which step it was taken, as `2.3`.
    pub step: String,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// The step, counted from 1 in its phase.
    pub step: Option<usize>,
    /// The stable code.
    pub code: String,
    /// In one sentence.
    pub sentence: String,
}
