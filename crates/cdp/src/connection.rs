//! One connection to one browser: a reader task, a writer task, and any number of handles.
//!
//! Sessions are flattened, so every message of the browser passes here; many clients may share the
//! connection, each with calls and subscriptions of its own. When the last handle goes, both ends of the
//! stream are dropped, upon which Chromium ends by itself.

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

/// How much of a message is written at once: what is taken in of a large one shows that the browser lives.
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

    /// The same where others have used the stream before: the first call has the id `next_id`, so that a late
    /// reply to one of theirs is never taken for one of ours.
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

    /// Events from now on. `capacity` events may wait to be taken; a subscriber that falls behind further
    /// loses its subscription.
    pub fn subscribe(&self, scope: Scope, capacity: usize) -> Subscription {
        self.shared.router.subscribe(scope, capacity)
    }

    /// Lets in somebody who speaks for himself, with sessions of his own. Those of one `group` share its turns and
    /// what may be on its way. `backlog_bytes` may wait for him beside the message that is passed on; a tap that falls
    /// behind further ends.
    pub fn tap(&self, group: &str, backlog_bytes: usize) -> (TapSender, TapReceiver) {
        tap::open(&self.shared.router, &self.shared.outbound, group, backlog_bytes)
    }

    /// Says whether the browser has windows that hold one another up; what each moves is counted only then.
    pub fn set_shared(&self, is_shared: bool) {
        self.shared.outbound.loads.set_shared(is_shared);
    }

    /// Whether [`Self::set_shared`] was said.
    pub fn is_shared(&self) -> bool {
        self.shared.outbound.loads.is_shared()
    }

    /// Says to which group, such as a window, a session of our own belongs, so that what all of them move counts
    /// together; `None` where the session is over.
    pub fn set_group(&self, session: &SessionId, group: Option<&str>) {
        self.shared.router.set_own_group(session, group);
    }

    /// Waits while what our own sessions of a group have moved is more than the browser's other windows can bear: 20 s
    /// at most.
    pub async fn rest(&self, group: &str) {
        if let Some(until) =
            self.shared.outbound.loads.rests_until(&Source::Own(group.into()), Instant::now())
        {
            tokio::time::sleep_until(until).await;
        }
    }

    /// Returns how long to wait after so many bytes, so that as many again and again are no more than the browser's
    /// other windows can bear. Nothing where it has none.
    pub fn pace(&self, bytes: usize) -> Duration {
        if self.shared.outbound.loads.is_shared() { time_of(bytes) } else { Duration::ZERO }
    }

    /// When the browser last showed that it lives, whatever it was asked: something of it arrived, or it took in more
    /// of a large message.
    pub fn last_sign_of_life(&self) -> Instant {
        self.shared.traffic.last()
    }

    /// Since when the browser has a large message of a client's to work off; meanwhile it may answer nothing.
    pub fn large_message_since(&self) -> Option<Instant> {
        self.shared.outbound.large_since()
    }

    /// Closes the stream for every handle. Calls that wait fail at once.
    pub fn close(&self) {
        // First, so that whoever sees a call fail for it sees the connection closed.
        self.shared.closed.cancel();
        self.shared.router.close();
        self.shared.outbound.close();
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
                        Err(error) => tracing::warn!(%error, "a message of the browser could not be read"),
                    });
                }
                Ok(Frame::PassedOver(message)) => router.pass_over(&message),
                Err(error) => return tracing::warn!(%error, "the stream from the browser broke"),
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
                    return tracing::debug!(%error, "the stream to the browser broke");
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
            // In one piece with its end, which spares a system call.
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
