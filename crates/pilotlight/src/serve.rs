//! `pilotlight serve`: runs the server in this process, with its log, until a signal.

use std::io::{IsTerminal, Write};
use std::num::NonZeroUsize;

use pilotlight_store::StoreError;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::exit::{self, Failure};
use crate::sentence::with_sources;
use crate::server::{self, Browsers, ServeError, Signals, StateDirError};

/// How many threads there are for tasks at least. A task that works for long without a pause, as at unmasking a long
/// message of a client, leaves the others to the rest, among which the kernel divides what processors there are.
const WORKERS_MIN: usize = 4;

/// The default log level, without `PILOTLIGHT_LOG`.
const DEFAULT_LOG: &str = "info";

/// The hint for a store that is sealed with another key.
const KEY_HINT: &str = "provide the key that the store was created with: `master.key` in the state folder, \
                        `PILOTLIGHT_MASTER_KEY`, or the systemd credential `pilotlight-master-key`";

/// Runs the server until a signal stops it.
///
/// # Errors
/// Returns an error message with a hint.
pub fn serve(config: Config) -> Result<(), Failure> {
    start_log(DEFAULT_LOG);
    run(async {
        let signals = Signals::take()?;
        let token_file = config.server.token_file();
        let running = server::start(config, Browsers::Stay).await?;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            address = %running.address,
            token_file = %token_file.display(),
            "pilotlight is ready"
        );
        // A sign-in link is for the person at the terminal only. Logs are stored, forwarded, and read by others.
        if std::io::stderr().is_terminal() {
            tracing::info!(dashboard = running.dashboard_link(), "one-time link to the dashboard");
        } else {
            tracing::info!("run `pilotlight dashboard` to get a link to the dashboard");
        }
        running.until(signals).await
    })
}

/// Runs a task of the server to completion.
pub(crate) fn run<T>(work: impl Future<Output = Result<T, ServeError>>) -> Result<T, Failure> {
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.max(WORKERS_MIN))
        .enable_all()
        .build()
        .map_err(|error| Failure::new(exit::FAILED, format!("failed to start the async runtime: {error}")))?;
    runtime.block_on(work).map_err(|error| failure(&error))
}

/// Runs a command to completion. A signal cancels the token; then the command has its clean-up still to do, which is waited
/// for.
pub(crate) fn run_until_stopped<T>(work: impl AsyncFnOnce(&CancellationToken) -> T) -> Result<T, Failure> {
    run(async {
        let mut signals = Signals::take()?;
        let stop = CancellationToken::new();
        let mut working = std::pin::pin!(work(&stop));
        Ok(tokio::select! {
            done = &mut working => done,
            () = signals.next() => {
                stop.cancel();
                working.await
            }
        })
    })
}

/// Logs to stderr: text on a terminal, JSON otherwise.
pub(crate) fn start_log(default: &str) {
    let filter = EnvFilter::try_from_env("PILOTLIGHT_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let started = if std::io::stderr().is_terminal() {
        log.with_ansi(colours).with_target(false).try_init()
    } else {
        log.json().try_init()
    };
    if started.is_err() {
        // A test may have installed a logger.
        drop(writeln!(std::io::stderr(), "another logger is already installed"));
    }
}

/// Converts an error of the server to a message with a hint.
pub(crate) fn failure(error: &ServeError) -> Failure {
    let (code, hint) = match error {
        ServeError::StateDir(StateDirError::Taken { .. }) => {
            (exit::CONFIGURATION, "stop that server first, or use another folder with `--state-dir`")
        }
        ServeError::StateDir(StateDirError::NotOurs { .. }) => (
            exit::CONFIGURATION,
            "run the command as the folder's owner, and remove write access for other users",
        ),
        ServeError::StateDir(_) => {
            (exit::CONFIGURATION, "use a folder that this user can write to with `--state-dir`")
        }
        ServeError::Listen { .. } => {
            (exit::FAILED, "another server may be using the address; choose another with `--listen`")
        }
        ServeError::Key(error) => {
            let hint = error.hint().unwrap_or_else(|| KEY_HINT.to_owned());
            return Failure::new(exit::CONFIGURATION, with_sources(error)).with_hint(hint);
        }
        ServeError::Store(StoreError::WrongKey { .. } | StoreError::MissingKey { .. }) => {
            (exit::CONFIGURATION, KEY_HINT)
        }
        ServeError::Store(error) => (exit::FAILED, error.hint().unwrap_or("the store was not changed")),
        ServeError::Launcher(_) => {
            (exit::CONFIGURATION, "run `pilotlight check-config` to check the configuration")
        }
        ServeError::System(_) => (exit::FAILED, "see the log above for details"),
    };
    Failure::new(code, with_sources(error)).with_hint(hint)
}
