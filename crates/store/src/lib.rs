//! What must outlast the server: sessions, their checkpoints and their operations.
//!
//! Everything here that is written down is sealed. Nothing here decides, and nothing here knows a browser.

pub mod archive;
pub mod checkpoint;
mod error;
mod format;
pub mod keys;
mod memory;
pub mod operation;
pub mod record;
#[cfg(test)]
mod samples;
mod seal;
pub mod sqlite;
mod storage_state;
mod store;

pub use archive::Archive;
pub use checkpoint::Checkpoint;
pub use error::{RecordError, StoreError};
pub use format::{NESTING_MAX, RECORD_BYTES_MAX};
pub use keys::{KeyError, KeySources, Keyring};
pub use memory::MemoryStore;
pub use operation::OperationRecord;
pub use record::{CredentialRecord, SessionRecord};
pub use seal::SealError;
pub use sqlite::SqliteStore;
pub use storage_state::StorageStateError;
pub use store::{CheckpointInfo, DamagedRecord, Loaded, LoadedOperations, LoadedSession, Store};
