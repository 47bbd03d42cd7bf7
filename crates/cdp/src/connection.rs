//! One connection to one browser: a reader task, a writer task, and any number of handles.
//!
//! Sessions are flattened, so every message of the browser passes here; many clients can share the connection, each
//! with its own calls and subscriptions. When the last handle is dropped, both ends of the stream are closed, upon
//! which Chromium ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::codec::FramedRead;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::command::Command;
use crate::envelope::{Envelope, SessionId, Text};
use crate::error::CdpError;
use crate::framing::{self, Frame, FrameCodec, MAX_MESSAGE_BYTES};
use crate::load::{Source, time_of};
use crate::long_work::work_on;
use crate::outbound::{LARGE_MESSAGE_BYTES, Next, Outbound};
use crate::protocol::browser::GetVersion;
use crate::routing::{NotRegistered, RawReply, Router, Scope, Subscription};
use crate::tap::{self, TapReceiver, TapSender};
use crate::traffic::{Traffic, Watched};

/// How long [`Connection::call`] waits for a reply.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The size of the parts in which a message is written: the transfer of a large one shows that the browser is alive.
const WRITTEN_AT_ONCE_BYTES: usize = 256 * 1024;

/// A handle to the connection; clones share it.
#[derive(Debug, Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    router: Arc<Router>,
    outbound: Arc<Outbound>,
    traffic: Arc<Traffic>,
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

    /// The same if the stream was used before: the first call has the id `next_id`, so that a late reply to an
    /// earlier call is never taken for one of ours.
    pub fn with_next_id(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        next_id: i32,
    ) -> Self {
        let (outbound, traffic) = (Arc::<Outbound>::default(), Arc::<Traffic>::default());
        let router = Arc::new(Router::with_next_id(next_id, Arc::clone(&outbound)));
        let closed = CancellationToken::new();
        let reader = Watched::new(reader, Arc::clone(&traffic));
        tokio::spawn(read(reader, Arc::clone(&router), Arc::clone(&outbound), closed.clone()));
        let writing = Writing {
            router: Arc::clone(&router),
            outbound: Arc::clone(&outbound),
            traffic: Arc::clone(&traffic),
        };
        tokio::spawn(writing.run(writer, closed.clone()));
        let guard = closed.clone().drop_guard();
        Self {
            shared: Arc::new(Shared { router, outbound, traffic, closed, _close_with_last_handle: guard }),
        }
    }

    /// Sends a command to `session` (or the root) and waits up to [`CALL_TIMEOUT`] for its reply.
    ///
    /// # Errors
    /// If it is refused, times out, or the connection is closed meanwhile.
    pub async fn call<C: Command>(
        &self,
        session: Option<&SessionId>,
        command: C,
    ) -> Result<C::Reply, CdpError> {
        self.call_within(session, command, CALL_TIMEOUT).await
    }

    /// The same with a time limit.
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
        work_on(result.get().len(), || serde_json::from_str(result.get()))
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
        framing::check(&message, MAX_MESSAGE_BYTES)
            .map_err(|source| CdpError::Framing { method: method.into(), source })?;
        if let Some(session) = session {
            self.shared.router.session_moved(session, message.len(), false);
        }
        self.shared.outbound.push_own(message.into()).await.map_err(|_| CdpError::Closed)?;
        (&mut call.reply).await.map_err(|_| CdpError::Closed)
    }

    /// Subscribes to events from now on. `capacity` events may wait to be read; a subscriber that falls further
    /// behind loses its subscription.
    pub fn subscribe(&self, scope: Scope, capacity: usize) -> Subscription {
        self.shared.router.subscribe(scope, capacity)
    }

    /// Adds a tap for a client with its own sessions. Those of one `group` share its turns and its limits of
    /// transfer. `backlog_bytes` may wait for it besides the message that is passed on; a tap that falls further
    /// behind is disconnected.
    pub fn tap(&self, group: &str, backlog_bytes: usize) -> (TapSender, TapReceiver) {
        tap::open(&self.shared.router, &self.shared.outbound, group, backlog_bytes)
    }

    /// Sets whether the browser has windows that slow one another down; transfers are counted only then.
    pub fn set_shared(&self, is_shared: bool) {
        self.shared.outbound.loads.set_shared(is_shared);
    }

    /// Returns whether [`Self::set_shared`] was set.
    pub fn is_shared(&self) -> bool {
        self.shared.outbound.loads.is_shared()
    }

    /// Sets the group, such as a window, of one of our own sessions, so that transfers of all of them are counted
    /// together; `None` if the session has ended.
    pub fn set_group(&self, session: &SessionId, group: Option<&str>) {
        self.shared.router.set_own_group(session, group);
    }

    /// Waits while our own sessions of a group have transferred more than the browser's other windows can tolerate:
    /// 20 s at most.
    pub async fn rest(&self, group: &str) {
        if let Some(until) =
            self.shared.outbound.loads.rests_until(&Source::Own(group.into()), Instant::now())
        {
            tokio::time::sleep_until(until).await;
        }
    }

    /// Returns how long to wait after this number of bytes, so that repeating it is no more than the browser's other
    /// windows can tolerate. Zero if it has none.
    pub fn pace(&self, bytes: usize) -> Duration {
        if self.shared.outbound.loads.is_shared() { time_of(bytes) } else { Duration::ZERO }
    }

    /// Returns when the browser last showed activity of any kind: something of it arrived, or it read more of a large
    /// message.
    pub fn last_sign_of_life(&self) -> Instant {
        self.shared.traffic.last()
    }

    /// Returns since when the browser is executing a large message of a client; meanwhile it may not reply.
    pub fn large_message_since(&self) -> Option<Instant> {
        self.shared.outbound.large_since()
    }

    /// Closes the stream for every handle. Pending calls fail immediately.
    pub fn close(&self) {
        // First, so that a caller whose call fails because of this sees the connection closed.
        self.shared.closed.cancel();
        self.shared.router.close();
        self.shared.outbound.close();
    }

    /// Returns when the connection is closed, by either side.
    pub async fn closed(&self) {
        self.shared.closed.cancelled().await;
    }

    /// Returns whether the connection is closed.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.is_cancelled()
    }
}

async fn read(
    reader: impl AsyncRead + Unpin,
    router: Arc<Router>,
    outbound: Arc<Outbound>,
    closed: CancellationToken,
) {
    let mut frames = FramedRead::new(reader, FrameCodec::default());
    let reading = async {
        while let Some(frame) = frames.next().await {
            match frame {
                Ok(Frame::Message(message)) => {
                    work_on(message.len(), || match Envelope::parse(&message) {
                        Ok(envelope) => router.route(&envelope, &message),
                        Err(error) => tracing::warn!(%error, "failed to read a message of the browser"),
                    });
                }
                Ok(Frame::PassedOver(message)) => router.pass_over(&message),
                Err(error) => return tracing::warn!(%error, "failed to read from the browser"),
            }
        }
    };
    closed.run_until_cancelled(reading).await;
    // First, as in `Connection::close`.
    closed.cancel();
    router.close();
    outbound.close();
}

/// The writer's task.
struct Writing {
    router: Arc<Router>,
    outbound: Arc<Outbound>,
    traffic: Arc<Traffic>,
}

impl Writing {
    async fn run(self, mut writer: impl AsyncWrite + Unpin, closed: CancellationToken) {
        let writing = async {
            while let Some(message) = self.next().await {
                if let Err(error) = self.write(&mut writer, &message).await {
                    return tracing::debug!(%error, "failed to write to the browser");
                }
            }
        };
        closed.run_until_cancelled(writing).await;
        closed.cancel();
        self.outbound.close();
    }

    async fn next(&self) -> Option<Bytes> {
        match self.outbound.next().await? {
            Next::Message(message) => Some(message),
            Next::Probe => {
                let id = self.router.register_probe()?;
                Some(format!(r#"{{"id":{id},"method":"{}"}}"#, GetVersion::METHOD).into())
            }
        }
    }

    async fn write(&self, writer: &mut (impl AsyncWrite + Unpin), message: &Bytes) -> io::Result<()> {
        if message.len() < WRITTEN_AT_ONCE_BYTES {
            // In one piece with its end, which saves a system call.
            writer.write_all(&[message, &b"\0"[..]].concat()).await?;
        } else {
            for piece in message.chunks(WRITTEN_AT_ONCE_BYTES) {
                writer.write_all(piece).await?;
                if message.len() >= LARGE_MESSAGE_BYTES {
                    self.traffic.note();
                }
            }
            writer.write_all(b"\0").await?;
        }
        writer.flush().await
    }
}

#[cfg(test)]
mod tests;
