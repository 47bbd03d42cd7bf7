//! What must outlast the server: sessions and their checkpoints.
//!
//! Everything here that is written down is sealed. Nothing here decides, and nothing here knows a browser.

pub mod checkpoint;
pub mod record;

pub use checkpoint::Checkpoint;
pub use record::SessionRecord;
