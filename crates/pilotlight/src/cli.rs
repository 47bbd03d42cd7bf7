//! The command line: a client of the REST interface, and the way to start the server.
//!
//! Data goes to stdout, everything else to stderr. No secret is ever an argument or printed, but for
//! `pilotlight token`, which exists for it. Commands never look into the state folder beside the token and the
//! demo's address, but for `pilotlight rotate-key` and `pilotlight store`, which have the folder to themselves.

mod args;
mod client;
mod commands;
mod credential;
mod doctor;
mod events;
mod flags;
mod operations;
mod output;
mod recording;
mod refresh_capacity;
mod resolve;
mod run;
mod secret;
mod sign_in_trial;
mod site;
mod stop;
mod store;
#[cfg(test)]
mod tests;
mod trial_browser;

#[cfg(fuzzing)]
pub use recording::clean_recording;
pub use run::main;
