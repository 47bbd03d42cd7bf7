//! The configuration: one TOML file, the environment and flags, read into plain types.
//!
//! Precedence: defaults < file < `PILOTLIGHT_<SECTION>_<KEY>` < flags. All errors are reported at once, each with its
//! place and a suggestion. [`Config`] is independent of the file format, and loading it never changes anything on the
//! machine.

mod document;
mod keys;
mod load;
mod problem;
mod site;
#[cfg(test)]
mod tests;
mod types;
mod walk;

pub(crate) use document::read as read_text;
pub use keys::Override;
pub use load::Sources;
pub use problem::{ConfigErrors, Problem};
pub use site::{Site, SiteError};
pub use types::{
    AtCapacity, Auth, Chromium, Config, Engine, MemoryBudget, ProfileDefinition, Server, Sessions,
    WebhookSecret,
};
