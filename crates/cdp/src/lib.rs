//! The wire to Chromium: messages of the DevTools protocol over a pipe, and the few typed commands that
//! Pilotlight sends itself.
//!
//! A [`Connection`] takes any byte stream, so it serves the debugging pipe and whatever is later put in its
//! place. It matches replies to calls and hands events to subscribers; it never models the payload of a
//! message that it merely passes on, and it never logs a payload, since payloads carry passwords.

mod binary;
mod command;
mod connection;
mod envelope;
mod error;
mod framing;
#[cfg(fuzzing)]
pub mod fuzzing;
mod load;
mod long_work;
mod outbound;
pub mod protocol;
mod routing;
mod tap;
mod taps;
mod traffic;

pub use binary::{EncodeError, JsonReader, JsonWriter, OutOfStep, json_over_binary};
pub use command::{Command, Notification};
pub use connection::{CALL_TIMEOUT, Connection};
pub use envelope::{Envelope, RemoteError, SessionId, Text};
pub use error::CdpError;
pub use framing::{FramingError, MAX_MESSAGE_BYTES, PipeCodec, end_of_message};
pub use load::{BURST_BYTES, SUSTAINED_BYTES_PER_SECOND};
pub use long_work::{LONG_WORK_BYTES, work_on};
pub use outbound::{GROUP_QUEUE_BYTES, IN_FLIGHT_BYTES, LARGE_MESSAGE_BYTES, OUTBOUND_QUEUE_MESSAGES};
pub use routing::{Event, FLOODS, HOLDS_OTHERS_UP, MAX_PENDING_CALLS, MESSAGE_TOO_LONG, Scope, Subscription};
pub use tap::{TapReceiver, TapSender};
pub use taps::{GROUP_BACKLOG_BYTES, MAX_TAP_CALLS};
