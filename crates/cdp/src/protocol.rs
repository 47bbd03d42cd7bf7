//! The commands and events that Pilotlight itself uses, by the protocol's domains.
//!
//! Meanings are the protocol's own (<https://chromedevtools.github.io/devtools-protocol/tot/>); comments say
//! only what matters to us. Fields that nobody reads are left out.

pub mod browser;
pub mod dom;
pub mod fetch;
pub mod input;
pub mod inspector;
pub mod network;
pub mod page;
pub mod runtime;
pub mod storage;
pub mod target;

pub use crate::command::Nothing;
