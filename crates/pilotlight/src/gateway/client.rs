//! One client from its first message to its last.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use pilotlight_chromium::{Guest, NewPage};
use pilotlight_gateway::{Identity, Out, VirtualBrowser};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_websockets::{CloseCode, Config, Limits, Message, ServerBuilder, WebSocketStream};

use super::Terms;
use super::files::SessionFiles;
use super::visit::{KEEP_EVERY, Visit};

/// The largest message that a client may send, in bytes; Chromium itself takes 100 MB.
const MAX_MESSAGE_BYTES: usize = 100 * 1024 * 1024;
/// How long a client may leave a message untaken.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// How many messages of the browser are taken before the client is listened to again.
const BATCH: usize = 64;

/// Why a client's stay is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Farewell {
    /// It left, or was asked to.
    Left,
    /// It broke the rules of the socket, or does not read.
    Broken,
    /// The window is gone, or it did not take what was its.
    Lost,
    /// The server stops.
    Stopping,
}

/// Serves a client over its socket until either is gone.
pub async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    visit: Visit,
    guest: Guest,
    files: SessionFiles,
    terms: Terms,
    stop: CancellationToken,
) {
    // One frame for each message: not every client puts pieces together.
    let config = Config::default().frame_size(usize::MAX).flush_threshold(256 * 1024);
    let limits = Limits::default().max_payload_len(Some(MAX_MESSAGE_BYTES));
    let mut socket = ServerBuilder::new().config(config).limits(limits).serve(stream);
    let session = visit.session();
    let mut client = Client::new(visit, guest, files, terms);
    tracing::info!(session_id = %session, "a client came");
    let farewell = client.run(&mut socket, &stop).await;
    let (code, reason) = match farewell {
        Farewell::Left => (CloseCode::NORMAL_CLOSURE, ""),
        Farewell::Broken => (CloseCode::POLICY_VIOLATION, "the client does not keep up"),
        Farewell::Lost => {
            (CloseCode::INTERNAL_SERVER_ERROR, "the window is gone, or its client was too slow")
        }
        Farewell::Stopping => (CloseCode::GOING_AWAY, "the server stops"),
    };
    // The session is free at once; the farewell may take as long as the client likes, within limits.
    drop(client);
    tracing::info!(session_id = %session, ?farewell, "a client is gone");
    let closing = async {
        socket.send(Message::close(Some(code), reason)).await?;
        socket.close().await
    };
    drop(timeout(Duration::from_secs(2), closing).await);
}

struct Client {
    browser: VirtualBrowser,
    // The guest goes before the visit: nothing of it may be there when the session is free.
    guest: Guest,
    visit: Visit,
    files: SessionFiles,
    terms: Terms,
    /// Pages that do not run yet.
    held: HashMap<String, NewPage>,
}

impl Client {
    fn new(visit: Visit, mut guest: Guest, files: SessionFiles, terms: Terms) -> Self {
        let identity = Identity {
            session: guest.session().as_str().into(),
            context: guest.window().as_str().into(),
            folder: files.downloads().to_string_lossy().into_owned(),
        };
        let browser = VirtualBrowser::new(identity, guest.pages.ids());
        Self { browser, guest, visit, files, terms, held: HashMap::new() }
    }

    async fn run<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut WebSocketStream<S>,
        stop: &CancellationToken,
    ) -> Farewell {
        let mut keep = interval(KEEP_EVERY);
        keep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.browser.start(self.terms.downloads, self.terms.keeps_page, &mut || self.guest.sender.next_id());
        let mut is_ready = false;
        loop {
            if let Err(farewell) = self.carry_out(socket).await {
                return farewell;
            }
            is_ready = is_ready || self.browser.is_ready();
            let mut ids = || self.guest.sender.next_id();
            tokio::select! {
                () = stop.cancelled() => return Farewell::Stopping,
                message = self.guest.receiver.next() => {
                    let Some(message) = message else { return Farewell::Lost };
                    self.browser.from_browser(&message, &mut ids);
                    for _ in 1..BATCH {
                        let Some(message) = self.guest.receiver.try_next() else { break };
                        self.browser.from_browser(&message, &mut ids);
                    }
                }
                message = socket.next(), if is_ready && self.browser.listens() => match message {
                    Some(Ok(message)) if message.is_text() => {
                        self.browser.from_client(message.as_payload(), &mut ids);
                        self.visit.used().await;
                    }
                    Some(Ok(message)) if message.is_binary() => return Farewell::Broken,
                    Some(Ok(message)) if message.is_close() => return Farewell::Left,
                    // Pings are answered by the socket itself.
                    Some(Ok(_)) => {}
                    Some(Err(tokio_websockets::Error::Protocol(_) | tokio_websockets::Error::PayloadTooLong { .. })) => {
                        return Farewell::Broken;
                    }
                    Some(Err(_)) | None => return Farewell::Left,
                },
                Some(page) = self.guest.new_pages.recv() => {
                    let target = page.target_id.clone();
                    self.held.insert(target.clone(), page);
                    self.browser.hold(target, &mut ids);
                }
                changed = self.guest.pages.changed() => {
                    if !changed {
                        return Farewell::Lost;
                    }
                    // What is held was announced before it was shown.
                    while let Ok(page) = self.guest.new_pages.try_recv() {
                        let target = page.target_id.clone();
                        self.held.insert(target.clone(), page);
                        self.browser.hold(target, &mut ids);
                    }
                    self.browser.pages(self.guest.pages.ids(), &mut ids);
                }
                _ = keep.tick() => self.visit.keep().await,
            }
        }
    }

    async fn carry_out<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut WebSocketStream<S>,
    ) -> Result<(), Farewell> {
        let mut has_written = false;
        while let Some(out) = self.browser.take() {
            match out {
                Out::Client(message) => {
                    write(socket.feed(text(message)?)).await?;
                    has_written = true;
                }
                Out::Browser(message) => {
                    self.guest.sender.send(message).await.map_err(|_| Farewell::Lost)?;
                }
                Out::Release(page) => drop(self.held.remove(&page)),
                Out::OwnContext(context) => self.guest.own_context(&context),
                Out::Deliver { name, wanted } => self.deliver(name, wanted).await,
                Out::Upload { ticket, files } => self.upload(ticket, files).await,
                Out::Close => {
                    write(socket.flush()).await?;
                    return Err(Farewell::Left);
                }
            }
        }
        if has_written { write(socket.flush()).await } else { Ok(()) }
    }

    /// Into the client's own folder, where the client could do that by itself.
    async fn deliver(&self, name: String, wanted: String) {
        if !self.terms.is_own_user {
            return;
        }
        let files = self.files.clone();
        let delivering = move || files.deliver(&name, Path::new(&wanted));
        if let Ok(Err(error)) = tokio::task::spawn_blocking(delivering).await {
            tracing::warn!(%error, "a download stays in the session's folder");
        }
    }

    async fn upload(&mut self, ticket: u64, paths: Vec<String>) {
        let (files, terms) = (self.files.clone(), self.terms);
        let taken = tokio::task::spawn_blocking(move || files.take(&paths, &terms)).await;
        let taken = match taken {
            Ok(taken) => taken.map_err(|error| error.to_string()),
            Err(_) => Err("the files could not be read".to_owned()),
        };
        self.browser.uploaded(ticket, taken, &mut || self.guest.sender.next_id());
    }
}

/// Chromium writes nothing but text.
fn text(message: Bytes) -> Result<Message, Farewell> {
    if std::str::from_utf8(&message).is_err() {
        return Err(Farewell::Lost);
    }
    Ok(Message::text(message))
}

async fn write<E>(writing: impl Future<Output = Result<(), E>>) -> Result<(), Farewell> {
    match timeout(WRITE_TIMEOUT, writing).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Farewell::Left),
        Err(_) => Err(Farewell::Broken),
    }
}
