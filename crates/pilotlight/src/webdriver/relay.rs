//! What runs in chromedriver's network namespace: the same program under a hidden subcommand.
//!
//! Whoever reaches chromedriver's port can have it start any program, and it has no way of telling who asks. So it
//! gets a network of its own, in which there is nobody but it and this relay. The relay passes connections on, both
//! ways, between that network and two sockets in a folder that is closed to everybody else. It never looks into
//! what it passes on, and ends with the server or with chromedriver, whichever goes first.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::pin::pin;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, copy_bidirectional};
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

/// The hidden subcommand: then follow the folder of the sockets, and chromedriver's path.
pub const SUBCOMMAND: &str = "__driver";
/// In the folder: where chromedriver is reached.
pub(super) const COMMANDS: &str = "commands.sock";
/// In the folder: where it reaches browsers.
pub(super) const BROWSERS: &str = "browsers.sock";
/// Where chromedriver listens, in its own network.
pub(super) const DRIVER_PORT: u16 = 9515;
/// Where chromedriver finds browsers, at any address of its own network.
pub(super) const BROWSER_PORT: u16 = 9222;
/// What is said once chromedriver listens.
pub(super) const READY: &str = "ready";
/// How long chromedriver may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it is tried.
const POLL: Duration = Duration::from_millis(20);

/// Runs the relay until the server or chromedriver is gone.
#[must_use]
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(2).collect();
    let [folder, driver] = arguments.as_slice() else { return ExitCode::FAILURE };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let relayed = runtime.and_then(|runtime| {
        raise_loopback()?;
        runtime.block_on(relay(Path::new(folder), Path::new(driver)))
    });
    match relayed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // In place of being ready. Nobody may be left to hear it.
            let _ = writeln!(io::stdout(), "{error}");
            ExitCode::FAILURE
        }
    }
}

async fn relay(folder: &Path, driver: &Path) -> io::Result<()> {
    let browsers = TcpListener::bind((Ipv4Addr::UNSPECIFIED, BROWSER_PORT)).await?;
    let mut command = Command::new(driver);
    command
        .arg(format!("--port={DRIVER_PORT}"))
        .arg("--log-level=OFF")
        .current_dir(folder)
        .kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let starting = |error| io::Error::other(format!("{} cannot be started: {error}", driver.display()));
    let mut child = command.spawn().map_err(starting)?;
    let deadline = Instant::now() + START_TIMEOUT;
    while let Err(error) = to_driver().await {
        if child.try_wait()?.is_some() || Instant::now() > deadline {
            return Err(io::Error::other(format!("chromedriver does not listen: {error}")));
        }
        sleep(POLL).await;
    }
    let commands = UnixListener::bind(folder.join(COMMANDS))?;
    writeln!(io::stdout(), "{READY}")?;
    let to_server = folder.join(BROWSERS);
    let mut server = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
    let mut gone = pin!(server.read_u8());
    loop {
        tokio::select! {
            accepted = commands.accept() => {
                let (stream, _) = accepted?;
                tokio::spawn(pass_on(stream, to_driver()));
            }
            accepted = browsers.accept() => {
                let (stream, _) = accepted?;
                drop(stream.set_nodelay(true));
                let to_server = to_server.clone();
                tokio::spawn(pass_on(stream, async move { UnixStream::connect(to_server).await }));
            }
            // Nothing is ever said here, so this is its end.
            _ = &mut gone => return Ok(()),
            status = child.wait() => return Err(io::Error::other(format!("chromedriver ended: {}", status?))),
        }
    }
}

async fn to_driver() -> io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, DRIVER_PORT)).await?;
    drop(stream.set_nodelay(true));
    Ok(stream)
}

/// Where either end breaks, the other sees it close.
async fn pass_on<S: AsyncRead + AsyncWrite + Unpin>(
    mut from: impl AsyncRead + AsyncWrite + Unpin,
    to: impl Future<Output = io::Result<S>>,
) {
    if let Ok(mut to) = to.await {
        drop(copy_bidirectional(&mut from, &mut to).await);
    }
}

/// A new network has its loopback device down: one message to the kernel raises it (rtnetlink(7): `RTM_NEWLINK`
/// with a `struct ifinfomsg`), which it acknowledges with an error of 0.
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
    // After the header of 16 bytes comes the error, negative where there is one.
    let error = answer.get(16..20).filter(|_| length >= 20).and_then(|error| error.try_into().ok());
    match error.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::Error::other("the kernel says nothing of the loopback device")),
    }
}
