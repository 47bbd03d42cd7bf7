//! The command line: a client of the REST interface, and the way to start the server.
//!
//! Data goes to stdout, everything else to stderr. No secret is ever an argument or printed, but for
//! `pilotlight token`, which exists for it. Commands never look into the state folder beside the token, but for
//! `pilotlight rotate-key`, which has the folder to itself.

mod args;
mod client;
mod commands;
mod credential;
mod doctor;
mod events;
pub mod exit_codes;
mod failure;
mod flags;
mod operations;
mod output;
mod rehearsal;
mod resolve;
mod run;
mod secret;
mod site;
mod table;
#[cfg(test)]
mod tests;

pub use failure::Failure;
pub use run::{Servers, main};

/// The sessions as `pilotlight list` shows them.
#[must_use]
pub fn sessions_table(sessions: &[pilotlight_api::Session], now: jiff::Timestamp) -> String {
    table::sessions(sessions, now)
}
