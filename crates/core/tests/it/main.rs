//! The rules, row by row, in a world where everything works unless the test says otherwise.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing there has failed")]

mod access;
mod asleep;
mod beside;
mod cold;
mod frozen;
mod guide;
mod manners;
mod memory;
mod operations;
mod promises;
mod scene;
mod sign_in;
mod silence;
