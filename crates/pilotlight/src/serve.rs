//! `pilotlight serve`: the server in this process, with its log, until a signal.

use std::io::{IsTerminal, Write};

use pilotlight_store::StoreError;
use tracing_subscriber::EnvFilter;

use crate::cli::{Failure, exit_codes};
use crate::config::Config;
use crate::sentence::with_sources;
use crate::server::{self, Browsers, ServeError, Signals, StateDirError};

/// What is logged where `PILOTLIGHT_LOG` says nothing.
const DEFAULT_LOG: &str = "info";

/// What to do where the store is sealed under another key.
const KEY_HINT: &str = "give the key that the store was made with: `master.key` in the state folder, \
                        `PILOTLIGHT_MASTER_KEY`, or the systemd credential `pilotlight-master-key`";

/// Runs the server until a signal says stop.
///
/// # Errors
/// What is in the way, as a sentence with a hint.
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
            dashboard = running.dashboard_link(),
            "pilotlight is ready"
        );
        running.until(signals).await
    })
}

/// Runs something of the server's to its end.
pub(crate) fn run<F>(work: F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), ServeError>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(exit_codes::FAILED, format!("no runtime could be started: {error}")))?;
    runtime.block_on(work).map_err(|error| failure(&error))
}

/// Logs to stderr: lines for people on a terminal, JSON elsewhere.
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
        // Somebody else's subscriber is there already, and logs.
        drop(writeln!(std::io::stderr(), "the log was started before"));
    }
}

/// What is in the way of a server, as people are told.
pub(crate) fn failure(error: &ServeError) -> Failure {
    let (code, hint) = match error {
        ServeError::StateDir(StateDirError::Taken { .. }) => {
            (exit_codes::CONFIGURATION, "end that server first, or give another folder with `--state-dir`")
        }
        ServeError::StateDir(StateDirError::NotOurs { .. }) => {
            (exit_codes::CONFIGURATION, "run this as the folder's owner, and let nobody else write to it")
        }
        ServeError::StateDir(_) => {
            (exit_codes::CONFIGURATION, "give a folder that this user may write to with `--state-dir`")
        }
        ServeError::Listen { .. } => {
            (exit_codes::FAILED, "another server may run there; choose another address with `--listen`")
        }
        ServeError::Key(error) => {
            let hint = error.hint().unwrap_or_else(|| KEY_HINT.to_owned());
            return Failure::new(exit_codes::CONFIGURATION, with_sources(error)).with_hint(hint);
        }
        ServeError::Store(StoreError::WrongKey { .. } | StoreError::MissingKey { .. }) => {
            (exit_codes::CONFIGURATION, KEY_HINT)
        }
        ServeError::Store(error) => {
            (exit_codes::FAILED, error.hint().unwrap_or("it was left as it is; nothing of it was changed"))
        }
        ServeError::Farm(_) => {
            (exit_codes::CONFIGURATION, "`pilotlight check-config` checks the configuration")
        }
        ServeError::System(_) => (exit_codes::FAILED, "the log above may say more"),
    };
    Failure::new(code, with_sources(error)).with_hint(hint)
}
