//! Checkpoints: the state of a window, in the types that the browser takes and restores and the store writes down,
//! and in the form that Playwright saves.
//!
//! Nothing here does IO, and nothing here knows a browser or a database.

mod checkpoint;
mod storage_state;

pub use checkpoint::{
    Checkpoint, Cookie, Entry, Field, FieldContent, Origin, PartitionKey, SessionStorage, Tab,
};
pub use storage_state::StorageStateError;
