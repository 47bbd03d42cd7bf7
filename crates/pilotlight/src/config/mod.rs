//! The configuration: one TOML file, the environment and flags, read into plain types.
//!
//! Defaults < file < `PILOTLIGHT_<SECTION>_<KEY>` < flags. Everything that is wrong is reported at once,
//! with its place and a suggestion. [`Config`] has no type of the file format in it, and loading one never
//! changes anything on the machine.

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
pub use problem::{ConfigErrors, Place, Problem};
pub use site::{Site, SiteError};
pub use types::{
    AtCapacity, Auth, Chromium, Config, Engine, Limits, MemoryBudget, ProfileDefinition, Server, Sessions,
};
