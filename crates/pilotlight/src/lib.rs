//! Pilotlight: keeps browser windows signed in. This crate contains the parts of the binary.
//!
//! `cli` starts everything. `server` connects `config`, `keeper` and `http`; the keeper drives the rules, and `http`
//! talks only to the keeper.

#![expect(unreachable_pub, reason = "the modules are private: what is `pub` in them is the crate's own")]

mod authenticator;
mod authority;
mod bench;
mod cli;
mod clock;
mod config;
mod credentials;
mod damaged;
mod demo;
mod demo_address;
mod descriptors;
mod doctor;
mod exit;
mod failures;
mod fingerprint;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gateway;
mod http;
mod keeper;
mod live;
mod machine;
mod memory;
mod memory_monitor;
mod operations;
mod plan;
mod private_file;
mod quiet;
mod reports;
mod rotate;
mod sentence;
mod serve;
mod server;
mod service_manager;
mod sites;
mod store;
mod table;
mod webdriver;
mod webhook;

pub use cli::main;
