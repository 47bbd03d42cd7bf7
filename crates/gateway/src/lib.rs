//! One session's window seen as a whole browser: what a client of the Chrome DevTools Protocol speaks to.
//!
//! Pure: messages go in, messages and a few orders come out. It must never let a client name what is not of its
//! own window: a target, a context, a protocol session, a file. Payloads are not looked into, except those of
//! the few methods in [`policy`] that name such things or reach beyond one page.

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
