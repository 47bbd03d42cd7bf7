//! The process of a shim, from its launch description to its end.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use pilotlight_linux::{merge, oom, priority};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::HELLO_TIMEOUT;
use super::control::{Shim, tell};
use super::protocol::{
    CARD, Card, DESCRIPTION_BYTES_MAX, Description, GREETING, Greeting, PROTOCOL, Report, Role, SOCKET,
    ShimEvent, YIELDS, control_codec,
};
use super::relay::{Relay, lock};
use crate::launch::{DirectLauncher, LockedFolder, Started, keep_memory_private};

/// The prefix of the names of shims' folders.
pub(super) const PREFIX: &str = "shim-";
/// The name of the process in `ps`.
const PROCESS_NAME: &str = "pilotlight-shim";
/// The longest path of a UNIX socket, in bytes (`struct sockaddr_un` without the NUL).
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Connections at once.
const CONNECTIONS_MAX: usize = 32;
/// How long informing servers of the end may take.
const LAST_EVENTS_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs a shim: reads a launch description from standard input, starts the browser, reports that in one line on
/// standard output, and runs until the browser has ended.
pub fn run() -> ExitCode {
    // A session of its own, so that no terminal's signal reaches it. Refused only if it has one already.
    let _ = rustix::process::setsid();
    let _ = fs::write("/proc/self/comm", PROCESS_NAME);
    // Browsers must not get the server's capabilities. Before there are other threads.
    let _ = rustix::thread::clear_ambient_capability_set();
    let _ = oom::put_above("self", "self", oom::SHIM);
    if std::env::var_os(YIELDS).is_some() {
        // Inherited by the browser. If this fails, the browser has the normal priority.
        let _ = priority::yield_to_others();
    }
    // After writing to /proc/self, which belongs to root from here on.
    keep_memory_private();
    match begin() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // The server that started this process may have ended.
            let _ = report(&Report::Failed(reason));
            ExitCode::FAILURE
        }
    }
}

fn begin() -> Result<(), String> {
    let description = read_description()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime could be started: {error}"))?;
    runtime.block_on(live(description))
}

fn read_description() -> Result<Description, String> {
    let mut text = Vec::new();
    let read = io::stdin().take(DESCRIPTION_BYTES_MAX).read_to_end(&mut text);
    read.map_err(|error| format!("the launch description cannot be read: {error}"))?;
    serde_json::from_slice(&text).map_err(|error| format!("the launch description has a mistake: {error}"))
}

fn report(report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    let mut output = io::stdout();
    output.write_all(&line)?;
    output.flush()?;
    // Closes both, as far as others can see.
    let nothing = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    Ok(())
}

async fn live(description: Description) -> Result<(), String> {
    let unusable =
        |error: io::Error| format!("`{}` cannot be used: {error}", description.run_directory.display());
    let plan = description.plan()?;
    if plan.merges_pages {
        // Inherited by the browser. If the kernel does not support it, `pilotlight doctor` reports that.
        let _ = merge::merge_own_pages();
    }
    let mut terminated = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let folder = LockedFolder::claim(&description.run_directory, PREFIX).map_err(unusable)?;
    let listener = listen(folder.path())?;
    let launcher = DirectLauncher::for_users(description.run_directory.clone(), description.users);
    let Started { reader, writer, process } = launcher.start(&plan).map_err(|error| in_words(&error))?;
    let (relay, queues) = Relay::new();
    let shim = Arc::new(Shim {
        process: process.clone(),
        engine: description.engine,
        label: description.label,
        relay,
        notes: Mutex::default(),
        orphan_timeout: watch::Sender::new(Duration::from_millis(description.orphan_timeout_ms)),
        owner: watch::Sender::new(None),
        told: watch::Sender::new(false),
        close: CancellationToken::new(),
    });
    // If the server has ended meanwhile, nothing would ever know of this browser.
    let announced =
        write_card(folder.path(), &shim).and_then(|()| report(&Report::Ready(folder.path().into())));
    if let Err(error) = announced {
        process.kill();
        process.gone().await;
        return Err(unusable(error));
    }
    let tasks = TaskTracker::new();
    let relaying = {
        let shim = Arc::clone(&shim);
        tokio::spawn(async move { shim.relay.run(queues, reader, writer, shim.close.clone()).await })
    };
    let by_itself = tokio::select! {
        () = attend(&listener, &shim, &tasks) => false,
        _ = process.ended() => true,
        _ = terminated.recv() => false,
        () = shim.close.cancelled() => false,
        () = orphaned(&shim) => false,
    };
    shim.close.cancel();
    process.finish().await;
    relaying.abort();
    let tell = async {
        // A browser that ends immediately ends before its server has connected, which needs the reason.
        if by_itself && shim.owner.borrow().is_none() {
            let mut told = shim.told.subscribe();
            tokio::select! {
                () = attend(&listener, &shim, &tasks) => {}
                _ = told.wait_for(|told| *told) => {}
            }
        }
        tasks.close();
        tasks.wait().await;
    };
    let _ = tokio::time::timeout(LAST_EVENTS_TIMEOUT, tell).await;
    drop(folder);
    Ok(())
}

fn in_words(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", in_words(source)),
        None => error.to_string(),
    }
}

/// Creates the socket in a folder that no other user can enter, so that others can never connect.
fn listen(folder: &Path) -> Result<UnixListener, String> {
    let socket = folder.join(SOCKET);
    let length = socket.as_os_str().len();
    if length > SOCKET_PATH_BYTES_MAX {
        return Err(format!(
            "`{}` has {length} bytes, and the path of a UNIX socket has up to {SOCKET_PATH_BYTES_MAX}: choose a \
             shorter directory",
            socket.display()
        ));
    }
    let listening = || {
        fs::DirBuilder::new().mode(0o700).create(folder)?;
        let listener = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    listening().map_err(|error: io::Error| format!("`{}` cannot be listened on: {error}", socket.display()))
}

/// Writes the card so that readers see all of it or nothing.
fn write_card(folder: &Path, shim: &Shim) -> io::Result<()> {
    let card = Card {
        protocol: PROTOCOL,
        shim_pid: std::process::id(),
        browser_pid: shim.process.pid,
        label: shim.label.clone(),
    };
    let unfinished: PathBuf = folder.join(".shim.json");
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(&serde_json::to_vec(&card)?)?;
    fs::rename(unfinished, folder.join(CARD))
}

/// Returns when there has been no server for the orphan timeout.
async fn orphaned(shim: &Shim) {
    let mut connected = shim.relay.connected();
    let mut timeout = shim.orphan_timeout.subscribe();
    loop {
        if connected.wait_for(|connected| !connected).await.is_err() {
            return;
        }
        let left = *timeout.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep(left) => return,
            _ = connected.changed() => {}
            _ = timeout.changed() => {}
        }
    }
}

/// The current relay.
#[derive(Debug)]
struct Current {
    ended: CancellationToken,
    task: JoinHandle<()>,
}

async fn attend(listener: &UnixListener, shim: &Arc<Shim>, tasks: &TaskTracker) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let current: Arc<Mutex<Option<Current>>> = Arc::default();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Most likely out of file descriptors; connections that end release some.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        if !is_welcome(&stream) {
            continue;
        }
        let (shim, current) = (Arc::clone(shim), Arc::clone(&current));
        tasks.spawn(async move {
            receive(stream, &shim, &current).await;
            drop(place);
        });
    }
}

/// Returns whether the peer is our own user or root.
fn is_welcome(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn receive(stream: UnixStream, shim: &Arc<Shim>, current: &Mutex<Option<Current>>) {
    let (reader, writer) = stream.into_split();
    let mut messages = FramedRead::new(reader, control_codec());
    let Ok(Some(Ok(message))) = tokio::time::timeout(HELLO_TIMEOUT, messages.next()).await else { return };
    let greeting: Result<Greeting, _> = serde_json::from_slice(&message);
    let refusal = match &greeting {
        Ok(greeting) if greeting.protocol == PROTOCOL => None,
        Ok(greeting) => {
            Some(format!("this shim speaks version {PROTOCOL} of the protocol and not {}", greeting.protocol))
        }
        Err(error) => Some(format!("this is no greeting: {error}")),
    };
    let (greeting, refusal) = (greeting.ok(), refusal);
    let Some(greeting) = greeting.filter(|_| refusal.is_none()) else {
        let refused = ShimEvent::Refused { id: GREETING, reason: refusal.unwrap_or_default() };
        tell(&mut FramedWrite::new(writer, control_codec()), &refused).await;
        return;
    };
    match greeting.role {
        Role::Control => shim.serve_control(&greeting.server, messages, writer).await,
        Role::Relay => {
            let ended = CancellationToken::new();
            // The newest wins. It waits for the end of the one before, so that their messages do not mix.
            let (shim, mut current) = (Arc::clone(shim), lock(current));
            let previous = current.take();
            let serving = {
                let ended = ended.clone();
                async move {
                    if let Some(previous) = previous {
                        previous.ended.cancel();
                        let _ = previous.task.await;
                    }
                    let mut hello = FramedWrite::new(writer, control_codec());
                    shim.owner.send_replace(Some(greeting.server));
                    if tell(&mut hello, &shim.hello()).await {
                        let messages = messages.map_decoder(|_| Default::default());
                        shim.relay.serve(messages, hello.into_inner(), ended).await;
                    }
                }
            };
            *current = Some(Current { ended, task: tokio::spawn(serving) });
        }
    }
}
