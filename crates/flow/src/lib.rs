//! Flows in the Chrome DevTools Recorder's format: schema, selectors, placeholders, conditions, replay.
//!
//! This crate accesses the page only through the trait [`page::Page`]: it opens no connections and reads no files and
//! no environment. It must never panic on its input, and never reveal a value that was filled in for a placeholder:
//! not in a log, an error or a `Debug` output.
pub mod condition;
pub mod dialog;
pub mod page;
mod pattern;
pub mod placeholders;
pub mod recorded;
pub mod replay;
pub mod review;
pub mod schema;
pub mod selector;
pub mod totp;

#[cfg(test)]
mod fake;

pub use condition::Condition;
pub use dialog::{DialogAnswer, DialogRule};
pub use placeholders::Values;
pub use replay::{ReplayError, ReplayOptions, replay};
pub use schema::{Flow, FlowError, Step};
pub use selector::Selector;
pub use totp::Totp;
