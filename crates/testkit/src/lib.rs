//! What tests and the demo run against: a simulated world for the rules, a real demo portal, and a harness
//! that starts real servers.

pub mod harness;
pub mod portal;
pub mod simulation;
