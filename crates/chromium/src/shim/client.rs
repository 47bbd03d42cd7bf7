//! The server's side of a shim: connecting to it, sending orders, and receiving events.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use pilotlight_cdp::PipeCodec;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Serialize;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::sync::CancellationToken;

use super::HELLO_TIMEOUT;
use super::launcher::sweep;
use super::protocol::{
    GREETING, Greeting, Hello, Order, PROTOCOL, PROTOCOLS, Request, Role, SOCKET, ShimEvent, control_codec,
    take_note,
};
use super::relay::lock;
use crate::engine::Engine;
use crate::launch::{EXIT_GRACE, Process, ProcessState, Started, StderrTail, has_ended_by};

/// How long a shim may take to execute an order.
const ORDER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a shim may take to end once its browser has ended or was ordered to, before it is killed.
const SHIM_END_TIMEOUT: Duration = Duration::from_secs(8);
/// Orders that may wait.
const ORDERS_QUEUE: usize = 64;
/// The prefix of the keys of notes with a window's label.
const WINDOW_NOTE: &str = "window/";
/// The prefix of the keys of notes with the main page of a window.
const MAIN_PAGE_NOTE: &str = "main/";

/// Why a connection to a shim failed.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// There is no shim.
    #[error("the shim cannot be reached")]
    Connect(#[source] io::Error),
    /// It does not answer.
    #[error("the shim does not answer")]
    Silent,
    /// It has an incompatible version.
    #[error("the shim speaks version {theirs} of its protocol, and this server {} to {}", PROTOCOLS.start(), PROTOCOLS.end())]
    Version {
        /// Its version.
        theirs: u32,
    },
    /// It refuses a request.
    #[error("the shim refuses: {0}")]
    Refused(String),
    /// It has ended, or this server has disconnected.
    #[error("the connection to the shim is closed")]
    Closed,
}

/// A shim's process. The handle stays valid whatever becomes of its id.
#[derive(Debug)]
pub(super) struct ShimProcess {
    pub(super) pid: u32,
    handle: Arc<OwnedFd>,
    /// The child, if it is ours, which must be reaped.
    child: Option<Child>,
}

impl ShimProcess {
    /// Returns the process at the other end.
    fn behind(stream: &UnixStream) -> io::Result<Self> {
        let pid = stream.peer_cred()?.pid().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the shim is in another process namespace"))?;
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { pid: pid.as_raw_pid().cast_unsigned(), handle: Arc::new(handle), child: None })
    }

    /// Returns whether it ends within `timeout`.
    async fn ends_within(&self, timeout: Duration) -> bool {
        let (handle, deadline) = (Arc::clone(&self.handle), Instant::now() + timeout);
        // In a thread, since tokio cannot wait for a handle of this kind without `unsafe`; it is used only at the
        // end.
        tokio::task::spawn_blocking(move || has_ended_by(&handle, deadline)).await.unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        // It may have ended already.
        let _ = pidfd_send_signal(&self.handle, signal);
    }

    /// Waits for it to end, and kills it after `timeout`. Returns how it ended, if that is known.
    async fn end_within(&mut self, timeout: Duration) -> Option<String> {
        if !self.ends_within(timeout).await {
            tracing::warn!(pid = self.pid, "a shim does not end and is killed");
            self.signal(Signal::KILL);
            self.ends_within(timeout).await;
        }
        let status = self.child.take()?.wait().await;
        status.ok().map(|status| status.to_string())
    }

    /// Orders it to end in the way that every version understands.
    pub(super) async fn terminate(mut self) {
        self.signal(Signal::TERM);
        self.end_within(EXIT_GRACE + SHIM_END_TIMEOUT).await;
    }
}

/// A connection after its greeting.
struct Greeted {
    messages: FramedRead<OwnedReadHalf, PipeCodec>,
    writer: OwnedWriteHalf,
    hello: Hello,
}

async fn connect(folder: &Path) -> Result<UnixStream, ShimError> {
    UnixStream::connect(folder.join(SOCKET)).await.map_err(ShimError::Connect)
}

async fn greet(stream: UnixStream, role: Role, server: &str) -> Result<Greeted, ShimError> {
    let (reader, writer) = stream.into_split();
    let mut messages = FramedRead::new(reader, control_codec());
    let mut greetings = FramedWrite::new(writer, control_codec());
    let greeting = Greeting { protocol: PROTOCOL, role, server: server.into() };
    let exchange = async {
        send(&mut greetings, &greeting).await?;
        messages.next().await.and_then(Result::ok).ok_or(ShimError::Closed)
    };
    let answer = tokio::time::timeout(HELLO_TIMEOUT, exchange).await.map_err(|_| ShimError::Silent)??;
    match serde_json::from_slice(&answer) {
        Ok(ShimEvent::Hello(hello)) if PROTOCOLS.contains(&hello.protocol) => {
            Ok(Greeted { messages, writer: greetings.into_inner(), hello })
        }
        Ok(ShimEvent::Hello(hello)) => Err(ShimError::Version { theirs: hello.protocol }),
        Ok(ShimEvent::Refused { reason, .. }) => Err(ShimError::Refused(reason)),
        Ok(_) => Err(ShimError::Refused("it answers a greeting with something else".into())),
        Err(error) => Err(ShimError::Refused(error.to_string())),
    }
}

async fn send(
    messages: &mut FramedWrite<OwnedWriteHalf, PipeCodec>,
    message: &impl Serialize,
) -> Result<(), ShimError> {
    let text = serde_json::to_vec(message).map_err(|error| ShimError::Refused(error.to_string()))?;
    messages.send(text.into()).await.map_err(|_| ShimError::Closed)
}

/// Returns the process that listens in a shim's folder, whatever its version.
pub(super) async fn listener_of(folder: &Path) -> Result<ShimProcess, ShimError> {
    ShimProcess::behind(&connect(folder).await?).map_err(ShimError::Connect)
}

/// A browser whose server has ended, kept by its shim. Dropping this does not change it.
pub struct OrphanedBrowser {
    folder: PathBuf,
    server: String,
    process: ShimProcess,
    engine: Engine,
    control: Greeted,
}

impl std::fmt::Debug for OrphanedBrowser {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("OrphanedBrowser").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl OrphanedBrowser {
    /// Greets the shim in `folder`.
    pub(super) async fn find(folder: PathBuf) -> Result<Self, ShimError> {
        static SERVER: AtomicU64 = AtomicU64::new(1);
        let server = format!("{}-{}", std::process::id(), SERVER.fetch_add(1, Ordering::Relaxed));
        let stream = connect(&folder).await?;
        let process = ShimProcess::behind(&stream).map_err(ShimError::Connect)?;
        let control = greet(stream, Role::Control, &server).await?;
        let engine = control.hello.engine.parse().map_err(ShimError::Refused)?;
        Ok(Self { folder, server, process, engine, control })
    }

    /// Sets the shim as our own child.
    pub(super) fn of_child(mut self, child: Child) -> Self {
        self.process.child = Some(child);
        self
    }

    /// Returns the label of the browser.
    pub fn label(&self) -> &str {
        &self.control.hello.label
    }

    /// Returns Chromium's process id.
    pub fn browser_pid(&self) -> u32 {
        self.control.hello.browser_pid
    }

    /// Returns the shim's process id.
    pub fn shim_pid(&self) -> u32 {
        self.process.pid
    }

    /// Returns how its windows are drawn.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Returns how long it waits for a server.
    pub fn orphan_timeout(&self) -> Duration {
        Duration::from_millis(self.control.hello.orphan_timeout_ms)
    }

    /// Returns the notes of earlier servers.
    pub fn notes(&self) -> &BTreeMap<String, String> {
        &self.control.hello.notes
    }

    /// Returns the windows that were opened with a label: their context ids and labels.
    pub fn windows(&self) -> BTreeMap<String, String> {
        let of_windows = self.notes().iter().filter_map(|(key, label)| {
            let context = key.strip_prefix(WINDOW_NOTE)?;
            Some((context.to_owned(), label.clone()))
        });
        of_windows.collect()
    }

    /// Ends the browser and the shim. Returns once nothing is left.
    pub async fn end(self) {
        let (process, shim) = attend(self);
        shim.close();
        process.finish().await;
    }

    /// Takes the browser over. If that fails, it is ended; one that has ended already has a closed pipe.
    pub(crate) async fn take(self) -> Result<Kept, ShimError> {
        let relay = async { greet(connect(&self.folder).await?, Role::Relay, &self.server).await };
        let relay = relay.await;
        let (process, shim) = attend(self);
        let Greeted { messages, writer, hello } = match relay {
            Ok(relay) => relay,
            Err(ShimError::Connect(_) | ShimError::Closed) => {
                let (reader, writer) = (Box::new(tokio::io::empty()), Box::new(tokio::io::empty()));
                return Ok(Kept { started: Started { reader, writer, process }, next_id: 1, shim });
            }
            Err(error) => {
                process.kill();
                process.gone().await;
                return Err(error);
            }
        };
        // What arrived right after the hello is in the buffer already.
        let (already, reader) = (messages.read_buffer().to_vec(), messages.into_inner());
        let reader = tokio::io::AsyncReadExt::chain(io::Cursor::new(already), reader);
        let (reader, writer) = (Box::new(reader), Box::new(writer));
        Ok(Kept { started: Started { reader, writer, process }, next_id: hello.next_id, shim })
    }
}

/// A browser that was adopted, or was just started, with its shim.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) started: Started,
    /// The id of the first call: earlier servers may have used the pipe.
    pub(crate) next_id: i32,
    pub(crate) shim: ShimHandle,
}

/// Returns the key of the note with the label of a window.
pub(crate) fn window_note(context: &str) -> String {
    format!("{WINDOW_NOTE}{context}")
}

/// Returns the key of the note with the main page of a window.
pub(crate) fn main_page_note(context: &str) -> String {
    format!("{MAIN_PAGE_NOTE}{context}")
}

/// Returns whether a note belongs to a window.
pub(crate) fn is_of_window(key: &str) -> bool {
    key.starts_with(WINDOW_NOTE) || key.starts_with(MAIN_PAGE_NOTE)
}

type Answer = oneshot::Sender<Result<(), ShimError>>;

/// The shim of a browser of this server; clones share it.
#[derive(Debug, Clone)]
pub struct ShimHandle {
    pid: u32,
    orders: mpsc::Sender<(Order, Answer)>,
    notes: Arc<Mutex<BTreeMap<String, String>>>,
    close: CancellationToken,
    leave: CancellationToken,
}

impl ShimHandle {
    /// Returns the shim's process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns what the next server will find.
    pub fn notes(&self) -> BTreeMap<String, String> {
        lock(&self.notes).clone()
    }

    /// Stores a note for the next server, or removes it. Once this returns the shim has it.
    ///
    /// # Errors
    /// If there are too many or it is too long (see [`super::NOTES_MAX`]), or the shim has ended.
    pub async fn set_note(&self, key: &str, value: Option<&str>) -> Result<(), ShimError> {
        let (key, value) = (key.to_owned(), value.map(ToOwned::to_owned));
        self.order(Order::SetNote { key: key.clone(), value: value.clone() }).await?;
        take_note(&mut lock(&self.notes), key, value).map_err(ShimError::Refused)
    }

    /// Sets how long the browser may be without a server before it ends. Starts again from now if it is without one.
    ///
    /// # Errors
    /// If the shim has ended.
    pub async fn set_orphan_timeout(&self, timeout: Duration) -> Result<(), ShimError> {
        let timeout_ms = timeout.as_millis().try_into().unwrap_or(u64::MAX);
        self.order(Order::SetOrphanTimeout { timeout_ms }).await
    }

    async fn order(&self, order: Order) -> Result<(), ShimError> {
        let (sender, answer) = oneshot::channel();
        let exchange = async {
            self.orders.send((order, sender)).await.map_err(|_| ShimError::Closed)?;
            answer.await.unwrap_or(Err(ShimError::Closed))
        };
        tokio::time::timeout(ORDER_TIMEOUT, exchange).await.unwrap_or(Err(ShimError::Silent))
    }

    /// Ends browser and shim, gently first.
    pub(crate) fn close(&self) {
        self.close.cancel();
    }

    /// Disconnects from the shim, and leaves it the browser.
    pub(crate) fn leave(&self) {
        self.leave.cancel();
    }
}

/// Serves the control connection until the shim ends.
fn attend(orphan: OrphanedBrowser) -> (Process, ShimHandle) {
    let OrphanedBrowser { folder, process: shim, control, .. } = orphan;
    let Greeted { messages, writer, hello } = control;
    let (orders, queue) = mpsc::channel(ORDERS_QUEUE);
    let (state, watched) = watch::channel(ProcessState::Running);
    let (kill, stderr) = (CancellationToken::new(), StderrTail::default());
    let handle = ShimHandle {
        pid: shim.pid,
        orders,
        notes: Arc::new(Mutex::new(hello.notes)),
        close: CancellationToken::new(),
        leave: CancellationToken::new(),
    };
    let process =
        Process::new(hello.browser_pid, stderr.clone(), hello.browser_folder.clone(), watched, kill.clone());
    let supervisor = Supervisor {
        shim,
        run_directory: folder.parent().map(Path::to_owned).unwrap_or_default(),
        writer: FramedWrite::new(writer, control_codec()),
        waiting: HashMap::new(),
        last_id: GREETING,
        state,
        stderr,
    };
    let (close, leave) = (handle.close.clone(), handle.leave.clone());
    tokio::spawn(async move {
        let ended = leave.run_until_cancelled(supervisor.attend(messages, queue, close, kill)).await;
        if let Some(Some(supervisor)) = ended {
            supervisor.see_off().await;
        }
    });
    (process, handle)
}

struct Supervisor {
    shim: ShimProcess,
    run_directory: PathBuf,
    writer: FramedWrite<OwnedWriteHalf, PipeCodec>,
    waiting: HashMap<u64, Answer>,
    last_id: u64,
    state: watch::Sender<ProcessState>,
    stderr: StderrTail,
}

impl Supervisor {
    /// Returns itself when the connection ends because the shim does; `None` if another server has it now.
    async fn attend(
        mut self,
        mut events_out: FramedRead<OwnedReadHalf, PipeCodec>,
        mut orders: mpsc::Receiver<(Order, Answer)>,
        close: CancellationToken,
        kill: CancellationToken,
    ) -> Option<Self> {
        let (mut closing, mut killing) = (false, false);
        let overdue = async {
            kill.cancelled().await;
            tokio::time::sleep(SHIM_END_TIMEOUT).await;
        };
        tokio::pin!(overdue);
        loop {
            let sent = tokio::select! {
                event = events_out.next() => match event {
                    Some(Ok(message)) => match self.hear(&message) {
                        Heard::Replaced => return None,
                        Heard::Other => Ok(()),
                    },
                    Some(Err(_)) | None => return Some(self),
                },
                Some((order, answer)) = orders.recv() => self.order(order, Some(answer)).await,
                () = close.cancelled(), if !closing => {
                    closing = true;
                    self.order(Order::Close, None).await
                }
                () = kill.cancelled(), if !killing => {
                    killing = true;
                    self.order(Order::Kill, None).await
                }
                // It does not respond. Its browser ends with it.
                () = &mut overdue => {
                    self.shim.signal(Signal::KILL);
                    return Some(self);
                }
            };
            if sent.is_err() {
                tracing::debug!(pid = self.shim.pid, "failed to write to a shim");
            }
        }
    }

    async fn order(&mut self, order: Order, answer: Option<Answer>) -> Result<(), ShimError> {
        self.last_id += 1;
        // Cancelled orders would accumulate if a shim does not answer.
        self.waiting.retain(|_, answer| !answer.is_closed());
        if let Some(answer) = answer {
            self.waiting.insert(self.last_id, answer);
        }
        let request = Request { id: self.last_id, order };
        let sending = tokio::time::timeout(ORDER_TIMEOUT, send(&mut self.writer, &request));
        sending.await.unwrap_or(Err(ShimError::Silent))
    }

    fn hear(&mut self, message: &[u8]) -> Heard {
        let answer = |waiting: &mut HashMap<u64, Answer>, id, answer| {
            if let Some(sender) = waiting.remove(&id) {
                let _: Result<_, _> = sender.send(answer);
            }
        };
        match serde_json::from_slice(message) {
            Ok(ShimEvent::Done { id }) => answer(&mut self.waiting, id, Ok(())),
            Ok(ShimEvent::Refused { id, reason }) => {
                answer(&mut self.waiting, id, Err(ShimError::Refused(reason)));
            }
            Ok(ShimEvent::Exited { status, stderr }) => {
                self.stderr.push(stderr.as_bytes());
                self.state.send_replace(ProcessState::Ended(status));
            }
            Ok(ShimEvent::Replaced) => {
                self.state.send_replace(ProcessState::Gone("another server has taken it over".into()));
                return Heard::Replaced;
            }
            Ok(ShimEvent::Hello(_)) => {}
            Err(error) => tracing::debug!(%error, "received an unknown message from a shim"),
        }
        Heard::Other
    }

    /// Waits for the end of the shim, and removes what it may have left.
    async fn see_off(mut self) {
        drop(self.writer);
        let shim_status = self.shim.end_within(SHIM_END_TIMEOUT).await;
        let known = match &*self.state.borrow() {
            ProcessState::Ended(status) | ProcessState::Gone(status) => Some(status.clone()),
            ProcessState::Running => None,
        };
        let status = known.unwrap_or_else(|| {
            format!("its shim ended before it: {}", shim_status.as_deref().unwrap_or("nobody knows how"))
        });
        self.state.send_replace(ProcessState::Ended(status.clone()));
        let run_directory = self.run_directory;
        if let Err(error) = tokio::task::spawn_blocking(move || sweep(&run_directory)).await {
            tracing::warn!(%error, "failed to remove a browser's directory");
        }
        self.state.send_replace(ProcessState::Gone(status));
    }
}

enum Heard {
    Replaced,
    Other,
}
