//! Starts the real server for a test, sends requests to it as a client, and observes its processes from outside.
//!
//! It uses only the server's binary, its configuration file and its REST interface, never its code. If something does
//! not work, it panics with a message, so that the test fails. It ends only processes that the test itself started,
//! by their id.

mod client;
mod command;
mod devtools;
mod disk;
mod events;
mod memory;
mod processes;
mod proxy;
mod server;
mod shims;
mod wait;

pub use self::client::{Answer, Client};
pub use self::command::{Finished, run};
pub use self::devtools::DevTools;
pub use self::events::EventStream;
pub use self::memory::copies_in_memory;
pub use self::processes::{Process, Role, anonymous_bytes, cpu_time, descendants, pss_bytes};
pub use self::proxy::{ProxyOptions, TestProxy};
pub use self::server::{Server, ServerOptions, wait_until_gone};
pub use self::shims::Shim;
pub use self::wait::{expect_that, wait_for};
