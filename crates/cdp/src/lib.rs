//! The wire to Chromium: messages of the DevTools protocol over a pipe, and the few typed commands that
//! Pilotlight sends itself.
//!
//! A [`Connection`] takes any byte stream, so it serves the debugging pipe and whatever is later put in its
//! place. It matches replies to calls and hands events to subscribers; it never models the payload of a
//! message that it merely passes on, and it never logs a payload, since payloads carry passwords.

mod command;
mod connection;
mod envelope;
mod error;
mod framing;
pub mod protocol;
mod routing;
mod tap;

pub use command::{Command, Notification};
pub use connection::{CALL_TIMEOUT, Connection, OUTBOUND_QUEUE_MESSAGES};
pub use envelope::{Envelope, SessionId, Text};
pub use error::{CdpError, RemoteError};
pub use framing::{FramingError, MAX_MESSAGE_BYTES, PipeCodec};
pub use routing::{Event, MAX_PENDING_CALLS, Scope, Subscription};
pub use tap::{TapReceiver, TapSender};
