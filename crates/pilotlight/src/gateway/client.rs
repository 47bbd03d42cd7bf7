//! One client from its first message to its last.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use pilotlight_chromium::{ClientConnection, NewPage, work_on};
use pilotlight_gateway::{Identity, Out, VirtualBrowser};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_websockets::{CloseCode, Config, Limits, Message, ServerBuilder, WebSocketStream};

use super::Terms;
use super::files::{FileError, SessionFiles};
use super::intake::{Intake, Meter};
use super::visit::{KEEP_EVERY, Visit};
use crate::clock::reached;

/// The largest message that is read, in bytes. A smaller one that is longer than a client may send gets an error; a
/// client that sends a larger one is disconnected.
const MAX_MESSAGE_BYTES: usize = 100 * 1024 * 1024;
/// How long a client may leave a message unread.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a client is pinged while its messages are not read: its disconnection is then noticed only by writing.
/// Its session must not be held by it.
const PING_EVERY: Duration = Duration::from_secs(1);
/// Messages of the browser that are handled before the client is read again.
const BATCH: usize = 64;

/// Why a client was disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DisconnectReason {
    /// It closed the connection, or was asked to.
    Left,
    /// It violated the protocol of the socket, or does not read.
    Broken,
    /// It sent more than is accepted.
    TooLong,
    /// The window is closed, or a command for it was lost.
    Lost,
    /// The server stops.
    Stopping,
}

/// Serves a client over its socket until either ends.
pub async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    visit: Visit,
    connection: ClientConnection,
    files: SessionFiles,
    terms: Terms,
    stop: CancellationToken,
) {
    // One frame for each message: not every client assembles fragments.
    let config = Config::default().frame_size(usize::MAX).flush_threshold(256 * 1024);
    let limits = Limits::default().max_payload_len(Some(MAX_MESSAGE_BYTES));
    let (stream, meter) = Intake::new(stream, Arc::clone(&connection.large_messages));
    let mut socket = ServerBuilder::new().config(config).limits(limits).serve(stream);
    let session = visit.session();
    let mut client = Client::new(visit, connection, files, terms, meter);
    tracing::info!(session_id = %session, "CDP client connected");
    let disconnect = client.run(&mut socket, &stop).await;
    let (code, reason) = match disconnect {
        DisconnectReason::Left => (CloseCode::NORMAL_CLOSURE, ""),
        DisconnectReason::Broken => (CloseCode::POLICY_VIOLATION, "the client does not keep up"),
        DisconnectReason::TooLong => (CloseCode::MESSAGE_TOO_BIG, "a message is too long"),
        DisconnectReason::Lost => {
            (CloseCode::INTERNAL_SERVER_ERROR, "the window is gone, or its client was too slow")
        }
        DisconnectReason::Stopping => (CloseCode::GOING_AWAY, "the server stops"),
    };
    // The session is free immediately; the closing handshake may take longer, within limits.
    drop(client);
    tracing::info!(session_id = %session, reason = ?disconnect, "CDP client disconnected");
    let closing = async {
        socket.send(Message::close(Some(code), reason)).await?;
        socket.close().await
    };
    drop(timeout(Duration::from_secs(2), closing).await);
}

struct Client {
    browser: VirtualBrowser,
    // The connection is dropped before the visit: nothing of it may remain when the session is free.
    connection: ClientConnection,
    visit: Visit,
    files: SessionFiles,
    terms: Terms,
    /// Pages that do not run yet.
    held: HashMap<String, NewPage>,
    /// How much of a message was read.
    meter: Meter,
    /// When it last sent something, or waited for a reply.
    active_at: Instant,
    /// When the hold is to be extended.
    keep: Interval,
    /// When it is to be pinged, if it is not being read.
    ping: Interval,
}

impl Client {
    fn new(
        visit: Visit,
        mut connection: ClientConnection,
        files: SessionFiles,
        terms: Terms,
        meter: Meter,
    ) -> Self {
        let identity = Identity {
            session: connection.session().as_str().into(),
            context: connection.window().as_str().into(),
            folder: files.downloads().to_string_lossy().into_owned(),
            has_clipboard: terms.has_clipboard,
        };
        let browser = VirtualBrowser::new(identity, connection.pages.ids());
        let mut keep = interval(KEEP_EVERY);
        keep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            browser,
            connection,
            visit,
            files,
            terms,
            held: HashMap::new(),
            meter,
            active_at: Instant::now(),
            keep,
            ping,
        }
    }

    async fn run<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut WebSocketStream<S>,
        stop: &CancellationToken,
    ) -> DisconnectReason {
        self.browser
            .start(self.terms.downloads, self.terms.keeps_page, &mut || self.connection.sender.next_id());
        let (mut is_ready, mut has_heard) = (false, false);
        loop {
            if let Err(reason) = self.carry_out(socket).await {
                return reason;
            }
            if std::mem::take(&mut has_heard) {
                self.meter.is_through();
            }
            is_ready = is_ready || self.browser.is_ready();
            // Meanwhile the client still gets messages, and what it sends waits in its socket.
            let rests_until = self.connection.sender.rests_until();
            if self.browser.has_open_calls() {
                self.active_at = Instant::now();
            }
            let silent_at = self.terms.idle_after.filter(|_| !self.visit.is_paused());
            let silent_at = silent_at.map(|after| self.active_at + after);
            let mut ids = || self.connection.sender.next_id();
            tokio::select! {
                () = reached(rests_until) => {}
                () = reached(silent_at) => {
                    if !self.browser.has_open_calls() {
                        self.visit.pause(self.active_at.elapsed()).await;
                    }
                }
                () = stop.cancelled() => return DisconnectReason::Stopping,
                message = self.connection.receiver.next() => {
                    let Some(message) = message else { return DisconnectReason::Lost };
                    if self.browser.has_open_calls() {
                        self.active_at = Instant::now();
                    }
                    work_on(message.len(), || self.browser.from_browser(&message, &mut ids));
                    for _ in 1..BATCH {
                        let Some(message) = self.connection.receiver.try_next() else { break };
                        work_on(message.len(), || self.browser.from_browser(&message, &mut ids));
                    }
                }
                message = socket.next(), if is_ready && self.browser.listens() && rests_until.is_none() => match message {
                    Some(Ok(message)) if message.is_text() => {
                        has_heard = true;
                        self.active_at = Instant::now();
                        if self.visit.is_paused()
                            && let Err(reason) = self.resume(socket, stop).await
                        {
                            return reason;
                        }
                        let mut ids = || self.connection.sender.next_id();
                        let message = message.as_payload();
                        work_on(message.len(), || self.browser.from_client(message, &mut ids));
                        if self.browser.hears_dialogs() {
                            self.connection.answers_dialogs();
                        }
                        self.visit.used().await;
                    }
                    Some(Ok(message)) if message.is_binary() => return DisconnectReason::Broken,
                    Some(Ok(message)) if message.is_close() => return DisconnectReason::Left,
                    // The socket answers pings itself.
                    Some(Ok(_)) => has_heard = true,
                    Some(Err(tokio_websockets::Error::PayloadTooLong { .. })) => return DisconnectReason::TooLong,
                    Some(Err(tokio_websockets::Error::Protocol(_))) => return DisconnectReason::Broken,
                    Some(Err(_)) | None => return DisconnectReason::Left,
                },
                Some(page) = self.connection.new_pages.recv() => {
                    let target = page.target_id.clone();
                    self.held.insert(target.clone(), page);
                    self.browser.hold(target, &mut ids);
                }
                changed = self.connection.pages.changed() => {
                    if !changed {
                        return DisconnectReason::Lost;
                    }
                    // Held pages were announced before they were shown.
                    while let Ok(page) = self.connection.new_pages.try_recv() {
                        let target = page.target_id.clone();
                        self.held.insert(target.clone(), page);
                        self.browser.hold(target, &mut ids);
                    }
                    self.browser.pages(self.connection.pages.ids(), &mut ids);
                }
                _ = self.keep.tick() => self.visit.keep().await,
                _ = self.ping.tick(), if rests_until.is_some() => {
                    if let Err(reason) = ping(socket).await {
                        return reason;
                    }
                }
                () = self.meter.overdue() => return DisconnectReason::Broken,
            }
        }
    }

    async fn carry_out<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut WebSocketStream<S>,
    ) -> Result<(), DisconnectReason> {
        let mut has_written = false;
        while let Some(out) = self.browser.take() {
            match out {
                Out::Client(message) => {
                    write(socket.feed(text(message)?)).await?;
                    has_written = true;
                }
                Out::Browser(message) => {
                    self.send(socket, message).await?;
                }
                Out::Release(page) => drop(self.held.remove(&page)),
                Out::OwnContext(context) => self.connection.own_context(&context),
                Out::Deliver { name, wanted } => self.deliver(name, wanted).await,
                Out::Upload { ticket, files } => self.upload(ticket, files).await,
                Out::Close => {
                    write(socket.flush()).await?;
                    return Err(DisconnectReason::Left);
                }
            }
        }
        if has_written { write(socket.flush()).await } else { Ok(()) }
    }

    /// Waits until the window is thawed, which may have been frozen while the client was silent.
    async fn resume<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut WebSocketStream<S>,
        stop: &CancellationToken,
    ) -> Result<(), DisconnectReason> {
        let resuming = stop.run_until_cancelled(self.visit.resume());
        let resumed = meanwhile(&mut self.keep, &mut self.ping, &self.visit, socket, resuming).await?;
        let resumed = resumed.ok_or(DisconnectReason::Stopping)?;
        self.visit.resumed(resumed.map_err(|_| DisconnectReason::Lost)?);
        Ok(())
    }

    /// Sends to the browser. That may have to wait for earlier messages of other clients of the session.
    async fn send<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut WebSocketStream<S>,
        message: Bytes,
    ) -> Result<(), DisconnectReason> {
        let sending = self.connection.sender.send(message);
        let sent = meanwhile(&mut self.keep, &mut self.ping, &self.visit, socket, sending).await?;
        sent.map_err(|_| DisconnectReason::Lost)
    }

    /// Copies a download into the client's own folder, if that is shared with clients.
    async fn deliver(&self, name: String, wanted: String) {
        // The client set the folder of downloads at some earlier time.
        if !self.terms.locality.was_always_local() {
            return;
        }
        let files = self.files.clone();
        let delivering = move || files.deliver(&name, Path::new(&wanted));
        match tokio::task::spawn_blocking(delivering).await {
            // As in Chromium's default.
            Ok(Ok(()) | Err(FileError::Foreign)) | Err(_) => {}
            Ok(Err(error)) => tracing::warn!(%error, "failed to copy a download into the client's folder"),
        }
    }

    async fn upload(&mut self, ticket: u64, paths: Vec<String>) {
        let (files, is_local) = (self.files.clone(), self.terms.locality.is_local_now());
        let taken = tokio::task::spawn_blocking(move || files.take(&paths, is_local)).await;
        let taken = match taken {
            Ok(taken) => taken.map_err(|error| error.to_string()),
            Err(_) => Err("the files could not be read".to_owned()),
        };
        self.browser.uploaded(ticket, taken, &mut || self.connection.sender.next_id());
    }
}

/// Waits for a future, extends the hold meanwhile, and checks whether the client is still connected.
async fn meanwhile<S: AsyncRead + AsyncWrite + Unpin, T>(
    keep: &mut Interval,
    pings: &mut Interval,
    visit: &Visit,
    socket: &mut WebSocketStream<S>,
    waiting: impl Future<Output = T>,
) -> Result<T, DisconnectReason> {
    tokio::pin!(waiting);
    loop {
        tokio::select! {
            done = &mut waiting => return Ok(done),
            _ = keep.tick() => visit.keep().await,
            _ = pings.tick() => ping(socket).await?,
        }
    }
}

/// Chromium sends only text.
fn text(message: Bytes) -> Result<Message, DisconnectReason> {
    if std::str::from_utf8(&message).is_err() {
        return Err(DisconnectReason::Lost);
    }
    Ok(Message::text(message))
}

async fn ping<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
) -> Result<(), DisconnectReason> {
    write(socket.send(Message::ping(Bytes::new()))).await
}

async fn write<E>(writing: impl Future<Output = Result<(), E>>) -> Result<(), DisconnectReason> {
    match timeout(WRITE_TIMEOUT, writing).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(DisconnectReason::Left),
        Err(_) => Err(DisconnectReason::Broken),
    }
}
