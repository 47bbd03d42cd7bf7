//! What a store can do, whatever is behind it.

use uuid::Uuid;

use crate::checkpoint::Checkpoint;
use crate::error::{RecordError, StoreError};
use crate::operation::OperationRecord;
use crate::record::{CredentialRecord, SessionRecord};

/// Keeps sessions with the last checkpoint and the operations of each, and credentials. Every call waits for the disk, and what it did outlasts a
/// crash of the machine from the moment it returns; where it fails, what was there before is still there, and
/// where it failed for a [passing](StoreError::is_passing) reason it is the caller's to repeat.
pub trait Store: Send + 'static {
    /// All sessions and credentials. One that cannot be read does not keep the others from loading.
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// Writes sessions, all or none. Their checkpoints stay.
    fn save_sessions(&mut self, records: &[SessionRecord]) -> Result<(), StoreError>;

    /// Writes the checkpoint of a session that is there, in place of the one before. Gives the bytes that it
    /// takes in the store.
    fn save_checkpoint(&mut self, session: Uuid, checkpoint: &Checkpoint) -> Result<u64, StoreError>;

    /// The last checkpoint of a session.
    fn checkpoint(&mut self, session: Uuid) -> Result<Option<Checkpoint>, StoreError>;

    /// All operations.
    fn operations(&mut self) -> Result<LoadedOperations, StoreError>;

    /// Writes an operation of a session that is there.
    fn save_operation(&mut self, operation: &OperationRecord) -> Result<(), StoreError>;

    /// Forgets operations, all or none. Those that are not there do not matter.
    fn remove_operations(&mut self, operations: &[Uuid]) -> Result<(), StoreError>;

    /// Forgets sessions with their checkpoints and operations, all or none. Those that are not there do not matter.
    fn remove_sessions(&mut self, sessions: &[Uuid]) -> Result<(), StoreError>;

    /// Writes a credential, in place of the one before.
    fn save_credential(&mut self, record: &CredentialRecord) -> Result<(), StoreError>;

    /// Forgets a credential. One that is not there does not matter.
    fn remove_credential(&mut self, id: Uuid) -> Result<(), StoreError>;

    /// Brings everything to the place where it stays. Nothing is lost without; the next opening is faster.
    fn flush(&mut self) -> Result<(), StoreError>;
}

/// What is in a store. In no order.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The sessions.
    pub sessions: Vec<LoadedSession>,
    /// The credentials.
    pub credentials: Vec<CredentialRecord>,
    /// Those that cannot be read. They stay as they are, for a release or a keyring that can.
    pub damaged: Vec<DamagedRecord>,
}

/// The operations in a store. In no order.
#[derive(Debug, Default)]
pub struct LoadedOperations {
    /// The operations.
    pub operations: Vec<OperationRecord>,
    /// Those that cannot be read. They stay as they are.
    pub damaged: Vec<DamagedRecord>,
}

/// A session, and whether there is a checkpoint of it.
#[derive(Debug)]
pub struct LoadedSession {
    /// The session.
    pub record: SessionRecord,
    /// Its checkpoint.
    pub checkpoint: Option<CheckpointInfo>,
}

/// What is known of a checkpoint without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// When it was taken, in milliseconds since 1970.
    pub taken_at_ms: u64,
    /// What it takes in the store.
    pub stored_bytes: u64,
}

/// A session, an operation or a credential that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRecord {
    /// Its id.
    pub id: Uuid,
    /// Why.
    pub error: RecordError,
}

#[cfg(test)]
#[path = "store/tests.rs"]
mod tests;
