//! What tests alone run against: a simulated world for the rules, and a harness that starts real servers. What
//! they sign in to is the demo's portal.

pub mod harness;
pub mod simulation;

pub use pilotlight_demo_portal as portal;
