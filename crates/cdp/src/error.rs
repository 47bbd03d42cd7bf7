//! Errors of the communication with Chromium. No variant contains parameters: they may contain secrets.

use std::time::Duration;

use crate::envelope::RemoteError;
use crate::framing::FramingError;

/// Why a call has no reply.
#[derive(Debug, thiserror::Error)]
pub enum CdpError {
    /// The pipe is closed: the browser ended, or the connection was closed.
    #[error("the connection to the browser is closed")]
    Closed,
    /// No reply within the time of the call.
    #[error("{method} was not answered within {} s", timeout.as_secs_f32())]
    Timeout {
        /// The protocol's method.
        method: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// Chromium refused the command.
    #[error("{method} was refused")]
    Remote {
        /// The protocol's method.
        method: String,
        /// Chromium's answer.
        #[source]
        error: RemoteError,
    },
    /// The reply is not what the protocol says.
    #[error("the reply to {method} could not be read")]
    Reply {
        /// The protocol's method.
        method: String,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// The command could not be written as JSON.
    #[error("{method} could not be written")]
    Write {
        /// The protocol's method.
        method: String,
        /// What the serialiser says.
        #[source]
        source: serde_json::Error,
    },
    /// The command cannot be sent in one message.
    #[error("{method} does not fit into a message")]
    Framing {
        /// The protocol's method.
        method: String,
        /// Why.
        #[source]
        source: FramingError,
    },
    /// More than [`crate::MAX_PENDING_CALLS`] calls wait for their replies.
    #[error("too many calls wait for the browser")]
    TooManyCalls,
}

impl CdpError {
    /// Chromium's own words, where it refused the command.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Remote { error, .. } => Some(&error.message),
            _ => None,
        }
    }
}
