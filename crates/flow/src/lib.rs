//! Flows in the Chrome DevTools Recorder's format: schema, selectors, placeholders, conditions, replay.
//!
//! This crate knows the page only through the small trait [`page::Page`]: it opens no connection, reads
//! no file and no environment. It must never panic on what it is given to read, and never show a value
//! that was filled in for a placeholder: not in a log, an error or a `Debug` text.
pub mod condition;
pub mod page;
pub mod placeholders;
pub mod replay;
pub mod review;
pub mod schema;
pub mod selector;
pub mod totp;

#[cfg(test)]
mod fake;

pub use condition::Condition;
pub use placeholders::Values;
pub use replay::{ReplayError, ReplayOptions, replay};
pub use schema::{Flow, FlowError, Step};
pub use selector::Selector;
pub use totp::Totp;
