//! The relay in chromedriver's network namespace: our own program with a hidden subcommand.
//!
//! Anything that can connect to chromedriver's port can make it start any program, and chromedriver cannot check who
//! connects. So it gets its own network, in which there are only chromedriver and this relay. The relay passes
//! connections in both directions between that network and the server, through a socket without a name (see
//! [`super::connection_channel`]). It never inspects the data, and ends with the server or with chromedriver,
//! whichever ends first.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::confine::become_driver;
use super::connection_channel::ConnectionChannel;

/// The hidden subcommand; it is followed by its role, chromedriver's own folder, and chromedriver's path.
pub const SUBCOMMAND: &str = "__driver";
/// The role that passes connections on.
pub(super) const RELAY: &str = "relay";
/// The role that becomes chromedriver.
const DRIVER: &str = "driver";
/// The port of chromedriver, in its own network.
pub(super) const DRIVER_PORT: u16 = 9515;
/// The port of browsers, at any address of chromedriver's network.
pub(super) const BROWSER_PORT: u16 = 9222;
/// The output that reports that chromedriver is listening.
pub(super) const READY: &str = "ready";
/// Time limit for chromedriver to start.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Interval of attempts to connect.
const POLL: Duration = Duration::from_millis(20);
/// Number of open files that are reserved for other purposes than connections.
const FILES_KEPT: usize = 64;
/// Maximum length of a program's output that is read if it does not start.
const MAX_WORDS_BYTES: u64 = 4096;
/// Maximum number of simultaneous connections; further ones wait.
const MAX_CONNECTIONS: usize = 4096;

/// Runs the relay until the server or chromedriver ends, or becomes chromedriver.
#[must_use]
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(2).collect();
    let [part, folder, driver] = arguments.as_slice() else { return ExitCode::FAILURE };
    if part == DRIVER {
        let arguments = [format!("--port={DRIVER_PORT}"), "--log-level=OFF".into()];
        let error = become_driver(Path::new(folder), Path::new(driver), &arguments);
        let _ = writeln!(io::stdout(), "{}: {error}", Path::new(driver).display());
        return ExitCode::FAILURE;
    }
    // Prevents programs that are started here from gaining privileges.
    if rustix::thread::set_no_new_privs(true).is_err() {
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let relayed = runtime.and_then(|runtime| {
        raise_loopback()?;
        runtime.block_on(relay(Path::new(folder), Path::new(driver)))
    });
    match relayed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Reported instead of readiness. The server may be gone.
            let _ = writeln!(io::stdout(), "{error}");
            ExitCode::FAILURE
        }
    }
}

async fn relay(folder: &Path, driver: &Path) -> io::Result<()> {
    let channel = ConnectionChannel::new(io::stdin().as_fd().try_clone_to_owned()?)?;
    let browsers = TcpListener::bind((Ipv4Addr::UNSPECIFIED, BROWSER_PORT)).await?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(SUBCOMMAND).arg(DRIVER).arg(folder).arg(driver).current_dir(folder).kill_on_drop(true);
    // Output before it becomes chromedriver explains a failure; chromedriver's own output is not useful.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let mut said = child.stdout.take();
    let deadline = Instant::now() + START_TIMEOUT;
    while let Err(error) = to_driver().await {
        if child.try_wait()?.is_some() || Instant::now() > deadline {
            return Err(match last_words(said.take()).await {
                words if words.is_empty() => {
                    io::Error::other(format!("cannot connect to chromedriver: {error}"))
                }
                words => io::Error::other(words),
            });
        }
        sleep(POLL).await;
    }
    tokio::spawn(async move {
        if let Some(mut said) = said {
            // The output must be drained, so that chromedriver does not block.
            drop(tokio::io::copy(&mut said, &mut tokio::io::sink()).await);
        }
    });
    writeln!(io::stdout(), "{READY}")?;
    let channel = Arc::new(channel);
    let places = Arc::new(Semaphore::new(connections_max()));
    let place = || async { Arc::clone(&places).acquire_owned().await.map_err(io::Error::other) };
    let commands = async {
        loop {
            let place = place().await?;
            // The server is gone, or sends no more connections.
            let Some(stream) = channel.accept().await? else { return Ok(()) };
            tokio::spawn(pass_on(stream, to_driver(), place));
        }
    };
    let requests = async {
        loop {
            let place = place().await?;
            let (stream, _) = browsers.accept().await?;
            drop(stream.set_nodelay(true));
            let channel = Arc::clone(&channel);
            tokio::spawn(pass_on(stream, async move { channel.connect().await }, place));
        }
    };
    tokio::select! {
        ended = commands => ended,
        ended = requests => ended,
        status = child.wait() => Err(io::Error::other(format!("chromedriver ended: {}", status?))),
    }
}

/// Returns how many connections can be passed on: each needs both of its ends, and one more while it is passed over.
fn connections_max() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        limit = raised;
    }
    let files = limit.current.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    (files.saturating_sub(FILES_KEPT) / 3).clamp(1, MAX_CONNECTIONS)
}

/// Returns the last output of a program that has exited.
async fn last_words(said: Option<ChildStdout>) -> String {
    let mut words = String::new();
    if let Some(said) = said {
        // It may have left a child process that keeps the pipe open.
        let reading = async { said.take(MAX_WORDS_BYTES).read_to_string(&mut words).await.map(drop) };
        drop(timeout(POLL, reading).await);
    }
    words.trim_end().to_owned()
}

async fn to_driver() -> io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, DRIVER_PORT)).await?;
    drop(stream.set_nodelay(true));
    Ok(stream)
}

/// If either end fails, the other is closed.
async fn pass_on<S: AsyncRead + AsyncWrite + Unpin>(
    mut from: impl AsyncRead + AsyncWrite + Unpin,
    to: impl Future<Output = io::Result<S>>,
    _place: OwnedSemaphorePermit,
) {
    if let Ok(mut to) = to.await {
        drop(copy_bidirectional(&mut from, &mut to).await);
    }
}

/// Enables the loopback device, which is disabled in a new network namespace: with one message to the kernel
/// (rtnetlink(7): `RTM_NEWLINK` with a `struct ifinfomsg`), which acknowledges it with an error of 0.
fn raise_loopback() -> io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_AND_ACKNOWLEDGE: u16 = 1 | 4;
    const LOOPBACK_INDEX: i32 = 1;
    const UP: u32 = 1;
    let mut message = Vec::with_capacity(32);
    message.extend(32_u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(REQUEST_AND_ACKNOWLEDGE.to_ne_bytes());
    // Sequence and port, family and type: zero.
    message.extend([0; 12]);
    message.extend(LOOPBACK_INDEX.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    // No protocol is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0; 256];
    let (_, length) = recv(&socket, &mut answer, RecvFlags::empty())?;
    // After the header of 16 bytes comes the error, which is negative if there is one.
    let error = answer.get(16..20).filter(|_| length >= 20).and_then(|error| error.try_into().ok());
    match error.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::Error::other("cannot query the loopback device")),
    }
}
