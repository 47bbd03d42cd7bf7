//! Forwards messages between Chromium and the current server. Chromium must always be read, or its memory grows; a
//! server that does not read is disconnected. Only whole messages are sent to Chromium, since a partial one would
//! corrupt the next.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use pilotlight_cdp::{FramingError, PipeCodec, end_of_message};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::sync::CancellationToken;

use super::STALL_TIMEOUT;
use super::journal::{Ids, Journal};

/// How many bytes of Chromium are read at once.
const READ_BYTES: usize = 32 * 1024;
/// Messages to Chromium that may wait; servers wait beyond that.
const TO_BROWSER_QUEUE: usize = 16;
/// How long Chromium may take to release everything that a server had paused.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The shim's relay.
#[derive(Debug)]
pub(super) struct Relay {
    to_browser: mpsc::Sender<Bytes>,
    servers: mpsc::Sender<Server>,
    journal: Mutex<Journal>,
    ids: Mutex<Ids>,
    /// The last call that Chromium answered.
    answered: watch::Sender<i64>,
    /// Whether there is a server.
    connected: watch::Sender<bool>,
}

/// The receiver of Chromium's messages.
#[derive(Debug)]
struct Server {
    writer: OwnedWriteHalf,
    ended: CancellationToken,
}

/// The queues of the two tasks at Chromium's pipe.
#[derive(Debug)]
pub(super) struct Queues {
    to_browser: mpsc::Receiver<Bytes>,
    servers: mpsc::Receiver<Server>,
}

impl Relay {
    pub(super) fn new() -> (Self, Queues) {
        let (to_browser, messages) = mpsc::channel(TO_BROWSER_QUEUE);
        let (servers, newcomers) = mpsc::channel(1);
        let relay = Self {
            to_browser,
            servers,
            journal: Mutex::default(),
            ids: Mutex::default(),
            answered: watch::Sender::new(0),
            connected: watch::Sender::new(false),
        };
        (relay, Queues { to_browser: messages, servers: newcomers })
    }

    /// Returns the first unused id of a call.
    pub(super) fn next_id(&self) -> i32 {
        lock(&self.ids).next()
    }

    /// Returns whether there is a server.
    pub(super) fn connected(&self) -> watch::Receiver<bool> {
        self.connected.subscribe()
    }

    /// Runs both directions until the pipe closes, or until `close`, which closes it from our side.
    pub(super) async fn run(
        &self,
        queues: Queues,
        reader: impl AsyncRead + Unpin,
        writer: impl AsyncWrite + Unpin,
        close: CancellationToken,
    ) {
        let write = async {
            close.run_until_cancelled(write_browser(writer, queues.to_browser)).await;
            // The pipe is closed; whatever still arrives is useless.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = self.read_browser(reader, queues.servers) => {}
            () = write => {}
        }
    }

    async fn read_browser(&self, mut reader: impl AsyncRead + Unpin, mut servers: mpsc::Receiver<Server>) {
        let mut buffer = vec![0; READ_BYTES];
        let mut current: Option<Server> = None;
        let mut next: Option<Server> = None;
        let mut within_message = false;
        loop {
            let length = tokio::select! {
                // Changes of the server come before messages.
                biased;
                () = ended(current.as_ref()) => {
                    current = None;
                    continue;
                }
                Some(server) = servers.recv() => {
                    next = Some(server);
                    continue;
                }
                length = reader.read(&mut buffer) => length.unwrap_or(0),
            };
            if length == 0 {
                return;
            }
            let bytes = &buffer[..length];
            self.take_note(bytes);
            // A new server begins with a whole message.
            let end_of_message = end_of_message(bytes).map_or(length, |end| end + 1);
            let (rest, whole) = bytes.split_at(if within_message { end_of_message } else { 0 });
            pass_on(&mut current, rest).await;
            if !within_message || rest.ends_with(&[0]) {
                current = next.take().or(current);
            }
            pass_on(&mut current, whole).await;
            within_message = bytes.last() != Some(&0);
        }
    }

    fn take_note(&self, bytes: &[u8]) {
        let mut journal = lock(&self.journal);
        journal.observe(bytes);
        let answered = journal.answered().unwrap_or_default();
        self.answered.send_if_modified(|known| std::mem::replace(known, answered) != answered);
        if !*self.connected.borrow() {
            // Replies to requests of the last server.
            for session in journal.take_sessions() {
                let (_, call) = self.detach(&session);
                let _ = self.to_browser.try_send(call);
            }
        }
    }

    /// Serves a server's connection, from after its hello to its end.
    pub(super) async fn serve(
        &self,
        messages: FramedRead<OwnedReadHalf, PipeCodec>,
        writer: OwnedWriteHalf,
        ended: CancellationToken,
    ) {
        self.connected.send_replace(true);
        let _ = self.servers.send(Server { writer, ended: ended.clone() }).await;
        ended.run_until_cancelled(self.carry(messages)).await;
        ended.cancel();
        self.connected.send_replace(false);
        let _ = tokio::time::timeout(LEAVE_TIMEOUT, self.let_everything_go()).await;
    }

    async fn carry(&self, mut messages: FramedRead<OwnedReadHalf, PipeCodec>) {
        while let Some(Ok(message)) = messages.next().await {
            lock(&self.ids).observe(&message);
            if self.to_browser.send(message).await.is_err() {
                return;
            }
        }
    }

    /// Disables what the last server had enabled: new pages that wait for it and requests that it paused continue
    /// (`content/browser/devtools/protocol/target_handler.cc`, `fetch_handler.cc`: `Disable`). Returns when Chromium
    /// has done so, hence after all of its messages for that server.
    async fn let_everything_go(&self) {
        let mut calls: Vec<(i32, Bytes)> = vec![
            self.call(
                "Target.setAutoAttach",
                &json!({"autoAttach": false, "waitForDebuggerOnStart": false, "flatten": true}),
            ),
            self.call("Target.setDiscoverTargets", &json!({"discover": false})),
        ];
        let sessions = lock(&self.journal).take_sessions();
        calls.extend(sessions.iter().map(|session| self.detach(session)));
        let (last, call) = self.call("Browser.getVersion", &json!({}));
        calls.push((last, call));
        let mut answered = self.answered.subscribe();
        for (_, call) in calls {
            if self.to_browser.send(call).await.is_err() {
                return;
            }
        }
        let _ = answered.wait_for(|answered| *answered == i64::from(last)).await;
    }

    fn detach(&self, session: &str) -> (i32, Bytes) {
        self.call("Target.detachFromTarget", &json!({"sessionId": session}))
    }

    fn call(&self, method: &str, params: &Value) -> (i32, Bytes) {
        lock(&self.ids).call(method, params)
    }
}

async fn write_browser(writer: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Bytes>) {
    let mut messages = FramedWrite::new(writer, PipeCodec::default());
    while let Some(message) = queue.recv().await {
        match messages.send(message).await {
            Ok(()) => {}
            Err(FramingError::Io(_)) => return,
            // A single message that cannot be forwarded must not end the browser.
            Err(error) => tracing::warn!(%error, "failed to forward a message of the server"),
        }
    }
}

async fn ended(server: Option<&Server>) {
    match server {
        Some(server) => server.ended.cancelled().await,
        None => std::future::pending().await,
    }
}

async fn pass_on(server: &mut Option<Server>, bytes: &[u8]) {
    let Some(Server { writer, ended }) = server else { return };
    if bytes.is_empty() {
        return;
    }
    let writing = tokio::time::timeout(STALL_TIMEOUT, writer.write_all(bytes));
    if !matches!(ended.run_until_cancelled(writing).await, Some(Ok(Ok(())))) {
        ended.cancel();
        *server = None;
    }
}

/// Locks; a panic elsewhere while it was locked changes nothing about the data here.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::DuplexStream;
    use tokio::net::UnixStream;

    use super::*;

    /// Chromium's end of the pipe, and a relay at the other.
    fn relay() -> (Arc<Relay>, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(256 * 1024);
        let (relay, queues) = Relay::new();
        let relay = Arc::new(relay);
        let (reader, writer) = tokio::io::split(ours);
        let running = Arc::clone(&relay);
        tokio::spawn(async move { running.run(queues, reader, writer, CancellationToken::new()).await });
        (relay, theirs)
    }

    /// A server's end of a connection, and its end in the relay.
    async fn join(relay: &Arc<Relay>) -> (UnixStream, CancellationToken) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (reader, writer) = ours.into_split();
        let ended = CancellationToken::new();
        let (relay, serving) = (Arc::clone(relay), ended.clone());
        let mut connected = relay.connected();
        tokio::spawn(async move {
            relay.serve(FramedRead::new(reader, PipeCodec::default()), writer, serving).await;
        });
        connected.wait_for(|connected| *connected).await.unwrap();
        (theirs, ended)
    }

    async fn read_text(stream: &mut (impl AsyncRead + Unpin), length: usize) -> String {
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test]
    async fn a_newcomer_begins_with_a_whole_message() {
        let (relay, mut browser) = relay();
        let (mut first, ended) = join(&relay).await;
        browser.write_all(b"{\"a\":1}\0{\"b\":").await.unwrap();
        assert_eq!(read_text(&mut first, 13).await, "{\"a\":1}\0{\"b\":");
        ended.cancel();
        // What is let go at the end of a server goes to Chromium, the last of it a question.
        let mut last_words = String::new();
        while !last_words.contains("Browser.getVersion") {
            let mut bytes = [0; 512];
            let length = browser.read(&mut bytes).await.unwrap();
            last_words.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
        }
        let (mut second, _ended) = join(&relay).await;
        browser.write_all(b"2}\0").await.unwrap();
        browser.write_all(b"{\"c\":3}\0").await.unwrap();
        assert_eq!(read_text(&mut second, 8).await, "{\"c\":3}\0");
        second.write_all(b"{\"id\":900,\"method\":\"x\"}\0{\"id\":901,\"met").await.unwrap();
        assert_eq!(read_text(&mut browser, 24).await, "{\"id\":900,\"method\":\"x\"}\0");
        assert_eq!(relay.next_id(), 901);
        drop(second);
        let last_words = read_text(&mut browser, 20).await;
        assert!(last_words.starts_with("{\"id\":901,"), "half a message went to Chromium: {last_words}");
    }

    /// The clock is the test's: it goes on where there is nothing else to do.
    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_read_is_cut_off_and_chromium_is_read_on() {
        let (relay, mut browser) = relay();
        let (server, ended) = join(&relay).await;
        let message = [vec![b'x'; 64 * 1024], vec![0]].concat();
        for _ in 0..100 {
            browser.write_all(&message).await.unwrap();
        }
        assert!(ended.is_cancelled());
        drop(server);
    }
}
