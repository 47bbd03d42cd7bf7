//! One connection to one browser: a reader task, a writer task, and any number of handles.
//!
//! Sessions are flattened, so every message of the browser passes here; many clients may share the
//! connection, each with calls and subscriptions of its own. When the last handle goes, both ends of the
//! stream are dropped, upon which Chromium ends by itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::command::Command;
use crate::envelope::{Envelope, SessionId, Text};
use crate::error::CdpError;
use crate::framing::{FramingError, MAX_MESSAGE_BYTES, PipeCodec};
use crate::routing::{NotRegistered, RawReply, Router, Scope, Subscription};
use crate::tap::{self, TapReceiver, TapSender};

/// How long [`Connection::call`] waits for a reply.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How many messages may wait to be written; callers wait beyond that, within their time.
pub const OUTBOUND_QUEUE_MESSAGES: usize = 1024;

/// A handle to the connection; clones share it.
#[derive(Debug, Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    router: Arc<Router>,
    outbound: mpsc::Sender<Bytes>,
    closed: CancellationToken,
    _close_with_last_handle: DropGuard,
}

impl Connection {
    /// Starts the two tasks over a byte stream. Must be called inside a tokio runtime.
    pub fn new(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        Self::with_next_id(reader, writer, 1)
    }

    /// The same where others have used the stream before: the first call has the id `next_id`, so that a late
    /// reply to one of theirs is never taken for one of ours.
    pub fn with_next_id(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        next_id: i32,
    ) -> Self {
        let router = Arc::new(Router::with_next_id(next_id));
        let closed = CancellationToken::new();
        let (outbound, queue) = mpsc::channel(OUTBOUND_QUEUE_MESSAGES);
        tokio::spawn(read(reader, Arc::clone(&router), closed.clone()));
        tokio::spawn(write(writer, queue, closed.clone()));
        let guard = closed.clone().drop_guard();
        Self { shared: Arc::new(Shared { router, outbound, closed, _close_with_last_handle: guard }) }
    }

    /// Sends a command to `session` (or the root) and waits up to [`CALL_TIMEOUT`] for its reply.
    ///
    /// # Errors
    /// Refused, not answered in time, or the connection closed meanwhile.
    pub async fn call<C: Command>(
        &self,
        session: Option<&SessionId>,
        command: C,
    ) -> Result<C::Reply, CdpError> {
        self.call_within(session, command, CALL_TIMEOUT).await
    }

    /// The same with a time of its own.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_within<C: Command>(
        &self,
        session: Option<&SessionId>,
        command: C,
        timeout: Duration,
    ) -> Result<C::Reply, CdpError> {
        let params = serde_json::value::to_raw_value(&command)
            .map_err(|source| CdpError::Write { method: C::METHOD.into(), source })?;
        let result = self.call_raw(session, C::METHOD, &params, timeout).await?;
        serde_json::from_str(result.get())
            .map_err(|source| CdpError::Reply { method: C::METHOD.into(), source })
    }

    /// Sends a command whose payload is not modelled, as a gateway does for its clients.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_raw(
        &self,
        session: Option<&SessionId>,
        method: &str,
        params: &RawValue,
        timeout: Duration,
    ) -> Result<Box<RawValue>, CdpError> {
        match tokio::time::timeout(timeout, self.exchange(session, method, params)).await {
            Ok(Ok(reply)) => reply.map_err(|error| CdpError::Remote { method: method.into(), error }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(CdpError::Timeout { method: method.into(), timeout }),
        }
    }

    async fn exchange(
        &self,
        session: Option<&SessionId>,
        method: &str,
        params: &RawValue,
    ) -> Result<RawReply, CdpError> {
        let mut call = self.shared.router.register().map_err(|refusal| match refusal {
            NotRegistered::Closed => CdpError::Closed,
            NotRegistered::TooMany => CdpError::TooManyCalls,
        })?;
        let envelope = Envelope {
            id: Some(call.id),
            method: Some(Text::from(method)),
            session: session.map(|session| Text::from(session.as_str())),
            params: Some(params),
            ..Envelope::default()
        };
        let message =
            envelope.to_bytes().map_err(|source| CdpError::Write { method: method.into(), source })?;
        // Checked here, so that one caller's mistake is that caller's error and not the end of the stream.
        // (JSON text never holds a NUL: serde escapes it.)
        if message.len() > MAX_MESSAGE_BYTES {
            let source = FramingError::TooLong { limit_bytes: MAX_MESSAGE_BYTES };
            return Err(CdpError::Framing { method: method.into(), source });
        }
        self.shared.outbound.send(message.into()).await.map_err(|_| CdpError::Closed)?;
        (&mut call.reply).await.map_err(|_| CdpError::Closed)
    }

    /// Events from now on. `capacity` events may wait to be taken; a subscriber that falls behind further
    /// loses its subscription.
    pub fn subscribe(&self, scope: Scope, capacity: usize) -> Subscription {
        self.shared.router.subscribe(scope, capacity)
    }

    /// Lets in somebody who speaks for himself, with sessions of his own. `backlog_bytes` may wait for him beside
    /// the message that is passed on; a tap that falls behind further ends.
    pub fn tap(&self, backlog_bytes: usize) -> (TapSender, TapReceiver) {
        tap::open(&self.shared.router, self.shared.outbound.clone(), backlog_bytes)
    }

    /// Closes the stream for every handle. Calls that wait fail at once.
    pub fn close(&self) {
        self.shared.router.close();
        self.shared.closed.cancel();
    }

    /// Returns when the connection is closed, by whichever side.
    pub async fn closed(&self) {
        self.shared.closed.cancelled().await;
    }

    /// Whether the connection is closed.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.is_cancelled()
    }
}

async fn read(reader: impl AsyncRead + Unpin, router: Arc<Router>, closed: CancellationToken) {
    let mut messages = FramedRead::new(reader, PipeCodec::default());
    let reading = async {
        while let Some(message) = messages.next().await {
            match message {
                Ok(message) => match Envelope::parse(&message) {
                    Ok(envelope) => router.route(&envelope, &message),
                    Err(error) => tracing::warn!(%error, "a message of the browser could not be read"),
                },
                Err(error) => return tracing::warn!(%error, "the stream from the browser broke"),
            }
        }
    };
    closed.run_until_cancelled(reading).await;
    router.close();
    closed.cancel();
}

async fn write(writer: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Bytes>, closed: CancellationToken) {
    let mut messages = FramedWrite::new(writer, PipeCodec::default());
    let writing = async {
        while let Some(message) = queue.recv().await {
            if let Err(error) = messages.send(message).await {
                return tracing::debug!(%error, "the stream to the browser broke");
            }
        }
    };
    closed.run_until_cancelled(writing).await;
    closed.cancel();
}

#[cfg(test)]
mod tests;
