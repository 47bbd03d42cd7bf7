//! What must outlast the server: sessions, their checkpoints and their operations.
//!
//! Everything here that is written down is sealed. Nothing here decides, and nothing here knows a browser.

mod error;
pub mod files;
mod format;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod keys;
mod memory;
pub mod operation;
mod random;
pub mod record;
mod reserve;
#[cfg(test)]
mod samples;
mod seal;
pub mod sqlite;
mod store;
pub mod store_thread;

pub use error::{RecordError, StoreError};
pub use files::FilesKey;
pub use format::{NESTING_MAX, RECORD_BYTES_MAX};
pub use keys::{KeyError, KeySources, Keyring};
pub use memory::MemoryStore;
pub use operation::OperationRecord;
pub use record::{CredentialRecord, SessionRecord};
pub use reserve::RESERVE_BYTES;
pub use seal::SealError;
pub use sqlite::{Checked, SqliteStore};
pub use store::{CheckpointInfo, DamagedRecord, Loaded, LoadedOperations, LoadedSession, RecordKind, Store};
pub use store_thread::StoreHandle;
