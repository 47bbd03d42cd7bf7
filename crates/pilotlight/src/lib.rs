//! Pilotlight: keeps signed-in browser windows lit. The one binary's parts.

pub mod cli;
pub mod config;
