//! Pilotlight: keeps signed-in browser windows lit. The one binary's parts.
//!
//! `cli` starts everything. `server` joins `config`, `keeper` and `http`; the keeper drives the rules, and
//! `http` only talks to the keeper.

pub mod bench;
pub mod cli;
pub mod config;
pub mod credentials;
pub mod demo;
mod doctor;
pub mod door;
pub mod failures;
mod fingerprint;
pub mod gateway;
mod gauge;
pub mod http;
pub mod keeper;
pub mod live;
pub mod machine;
mod memory;
pub mod operations;
pub mod plan;
mod quiet;
pub mod reports;
pub mod rotate;
mod sentence;
pub mod serve;
pub mod server;
mod service_manager;
pub mod sites;
pub mod webdriver;
mod webhook;
