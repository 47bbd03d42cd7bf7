//! The interface of a store.

use std::path::Path;

use pilotlight_checkpoint::Checkpoint;
use uuid::Uuid;

use crate::error::{RecordError, StoreError};
use crate::operation::OperationRecord;
use crate::record::{CredentialRecord, SessionRecord};

/// Stores sessions, each with its last checkpoint and its operations, and credentials. Every call waits for the disk,
/// and its changes survive a crash of the machine as soon as it returns. If it fails, the previous state is
/// unchanged; after a [transient](StoreError::is_passing) error, the caller may retry.
pub trait Store: Send + 'static {
    /// Loads all sessions and credentials. A damaged one does not prevent the others from loading.
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// Writes sessions, all or none. Their checkpoints are kept. If all of them [must be
    /// known](SessionRecord::is_needed) after a restart, the reserved disk space may be used.
    fn save_sessions(&mut self, records: &[SessionRecord]) -> Result<(), StoreError>;

    /// Replaces the checkpoint of an existing session. Returns its size in the store, in bytes.
    fn save_checkpoint(&mut self, session: Uuid, checkpoint: &Checkpoint) -> Result<u64, StoreError>;

    /// Returns the last checkpoint of a session.
    fn checkpoint(&mut self, session: Uuid) -> Result<Option<Checkpoint>, StoreError>;

    /// Loads all operations.
    fn operations(&mut self) -> Result<LoadedOperations, StoreError>;

    /// Writes an operation of an existing session.
    fn save_operation(&mut self, operation: &OperationRecord) -> Result<(), StoreError>;

    /// Removes operations, all or none. Missing ones are ignored.
    fn remove_operations(&mut self, operations: &[Uuid]) -> Result<(), StoreError>;

    /// Removes sessions with their checkpoints and operations, all or none. Missing ones are ignored.
    fn remove_sessions(&mut self, sessions: &[Uuid]) -> Result<(), StoreError>;

    /// Removes the checkpoints and operations of sessions that are kept, all or none.
    fn strip_sessions(&mut self, sessions: &[Uuid]) -> Result<(), StoreError>;

    /// Checks that something of the size of a session can be written.
    fn probe(&mut self) -> Result<(), StoreError>;

    /// Creates or replaces a credential.
    fn save_credential(&mut self, record: &CredentialRecord) -> Result<(), StoreError>;

    /// Removes a credential. A missing one is ignored.
    fn remove_credential(&mut self, id: Uuid) -> Result<(), StoreError>;

    /// Copies everything to a new file.
    fn backup(&mut self, path: &Path) -> Result<(), StoreError>;

    /// Completes pending housekeeping. Optional: without it, the next opening is slower.
    fn flush(&mut self) -> Result<(), StoreError>;
}

/// The contents of a store, unordered.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The sessions.
    pub sessions: Vec<LoadedSession>,
    /// The credentials.
    pub credentials: Vec<CredentialRecord>,
    /// The damaged records. They are kept for a release or a keyring that can read them.
    pub damaged: Vec<DamagedRecord>,
}

/// The operations in a store, unordered.
#[derive(Debug, Default)]
pub struct LoadedOperations {
    /// The operations.
    pub operations: Vec<OperationRecord>,
    /// The damaged records. They are kept.
    pub damaged: Vec<DamagedRecord>,
}

/// A session and information about its checkpoint.
#[derive(Debug)]
pub struct LoadedSession {
    /// The session.
    pub record: SessionRecord,
    /// Its checkpoint.
    pub checkpoint: Option<CheckpointInfo>,
}

/// What is known about a checkpoint without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// When it was taken, in milliseconds since 1970.
    pub taken_at_ms: u64,
    /// Its size in the store, in bytes.
    pub stored_bytes: u64,
}

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// A session.
    Session,
    /// The state of a session's window, under the session's id.
    Checkpoint,
    /// A credential.
    Credential,
    /// An operation.
    Operation,
}

impl RecordKind {
    /// Returns the name for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Checkpoint => "checkpoint",
            Self::Credential => "credential",
            Self::Operation => "operation",
        }
    }
}

impl std::fmt::Display for RecordKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A damaged record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRecord {
    /// Its kind.
    pub kind: RecordKind,
    /// Its id.
    pub id: Uuid,
    /// The error.
    pub error: RecordError,
}

#[cfg(test)]
#[path = "store/tests.rs"]
mod tests;
