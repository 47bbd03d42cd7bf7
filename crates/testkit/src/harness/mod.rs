//! Starts the real server for a test, talks to it as a client, and looks at its processes from outside.
//!
//! It knows the server by its binary, its configuration file and its REST interface alone, never by its
//! code. Where the world does not do what a test needs, it panics with a sentence: that is how a test
//! fails. It ends only processes that the test itself started, by their id.

mod client;
mod command;
mod devtools;
mod events;
mod processes;
mod proxy;
mod server;
mod shims;
mod wait;

pub use self::client::{Answer, Client};
pub use self::command::{Finished, run};
pub use self::devtools::DevTools;
pub use self::events::EventStream;
pub use self::processes::{Process, Role, cpu_time, descendants, pss_bytes};
pub use self::proxy::{ProxyOptions, TestProxy};
pub use self::server::{Server, ServerOptions, wait_until_gone};
pub use self::shims::Shim;
pub use self::wait::{expect_that, wait_for};
