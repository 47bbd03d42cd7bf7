//! Presents one session's window as a whole browser to a client of the Chrome DevTools Protocol.
//!
//! Pure: its inputs are messages, its outputs are messages and a few commands. A client must never be able to name
//! anything outside its own window: a target, a context, a protocol session, a file. Payloads are not parsed, except
//! those of the few methods in [`policy`] that name such things or have effects beyond one page.

mod attach;
mod browser;
mod downloads;
mod exposed;
pub mod policy;
mod state;
pub mod target_filter;
mod targets;
mod wire;

pub use state::{Identity, Ids, Out, VirtualBrowser};
pub use wire::MAX_CLIENT_CALLS;
