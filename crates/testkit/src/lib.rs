//! What tests and the demo run against: a simulated world for the rules, and a real demo portal.

pub mod portal;
pub mod simulation;
