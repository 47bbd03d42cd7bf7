//! A whole server: state folder, token, listener, keeper and REST interface, from start to end.

mod state_dir;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pilotlight_core::{AtCapacity, Limits};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use state_dir::{StateDir, StateDirError};

use crate::config::{self, Auth, Config};
use crate::fingerprint::Fingerprint;
use crate::http::{self, App, Guard, Readiness, router};
use crate::keeper::{self, Farm, FarmOptions};
use crate::sites::Sites;

/// How long requests that are being answered may take once the server is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Why a server cannot be started or went down.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The state folder cannot be used.
    #[error("the state folder cannot be used")]
    StateDir(#[from] StateDirError),
    /// The address cannot be listened on.
    #[error("{listen} cannot be listened on")]
    Listen {
        /// Where.
        listen: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The launch profiles or the browser cannot be used.
    #[error("browsers cannot be started")]
    Farm(#[from] keeper::FarmError),
    /// Something of the operating system failed.
    #[error("the server cannot run")]
    System(#[source] io::Error),
}

/// The signals that say stop. Whoever holds this decides what they do; before, they end the process at once.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals in.
    ///
    /// # Errors
    /// That the operating system does not hand them over.
    pub fn take() -> Result<Self, ServeError> {
        let take = |kind| signal(kind).map_err(ServeError::System);
        Ok(Self { terminate: take(SignalKind::terminate())?, interrupt: take(SignalKind::interrupt())? })
    }

    /// Returns at the next one.
    pub async fn next(&mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}

/// A server that runs.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// The state folder, locked for as long as this lives.
    pub state_dir: StateDir,
    /// Sends orders without a way through HTTP.
    pub app: App,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<io::Result<()>>,
    keeper: tokio::task::JoinHandle<()>,
}

/// Starts a server.
///
/// # Errors
/// What is in the way; nothing is left running.
pub async fn start(config: Config) -> Result<Running, ServeError> {
    let state_dir = StateDir::open(&config.server.state_dir)?;
    let listen = config.server.listen;
    let listener = TcpListener::bind(listen).await.map_err(|source| ServeError::Listen { listen, source })?;
    let address = listener.local_addr().map_err(ServeError::System)?;
    let token = match config.server.auth {
        Auth::Token => Some(state_dir.token()?),
        Auth::None => None,
    };
    let options = FarmOptions {
        chromium: config.chromium.clone(),
        profiles: config.profiles.clone(),
        run_dir: state_dir.run_dir().await?,
    };
    let farm = Arc::new(Farm::open(options).await?);
    let stop = CancellationToken::new();
    let seed = rand::random();
    let (keeper, keeper_task) = keeper::start(limits(&config), seed, Arc::clone(&farm), stop.clone());
    let readiness = Readiness::default();
    let app = App {
        keeper,
        sites: Arc::new(Sites::new(config.server.sites_dir(), config.sites)),
        farm,
        defaults: Arc::new(config.sessions),
        max_sessions: config.limits.max_sessions,
        profile: config.chromium.profile.into(),
        readiness: readiness.clone(),
        fingerprint: Arc::new(Fingerprint::new(random_key())),
    };
    let guard = Guard::new(token, address, config.server.allowed_hosts, config.server.allowed_origins);
    let service = router(app.clone(), guard);
    let draining = readiness.draining();
    let served = tokio::spawn(http::serve(listener, service, draining));
    readiness.set_up();
    Ok(Running { address, state_dir, app, stop, served, keeper: keeper_task })
}

impl Running {
    /// Serves until a signal says stop, or the listener fails.
    ///
    /// # Errors
    /// How the listener failed.
    pub async fn until(mut self, mut signals: Signals) -> Result<(), ServeError> {
        let failed = tokio::select! {
            () = signals.next() => None,
            served = &mut self.served => Some(served),
        };
        let Some(served) = failed else {
            self.shut_down(signals.next()).await;
            return Ok(());
        };
        let error = served.map_err(io::Error::other).and_then(|served| served).err();
        self.stop.cancel();
        drop(self.keeper.await);
        Err(ServeError::System(error.unwrap_or_else(|| io::Error::other("the listener ended"))))
    }

    /// Ends everything now.
    pub async fn stop_now(self) {
        self.shut_down(std::future::ready(())).await;
    }

    /// Finishes the requests that are being answered, for a while, then ends every browser. A second signal
    /// means now.
    async fn shut_down(self, again: impl Future<Output = ()>) {
        tracing::info!("stopping: requests are finished, then browsers are ended");
        self.app.readiness.drain();
        tokio::pin!(again);
        let graceful = tokio::select! {
            served = timeout(GRACE, self.served) => served.is_ok(),
            () = &mut again => false,
        };
        self.stop.cancel();
        drop(self.keeper.await);
        tracing::info!(graceful, "stopped");
    }
}

/// A key for as long as this process lives.
fn random_key() -> [u8; 64] {
    let mut key = [0; 64];
    rand::fill(&mut key);
    key
}

/// What the rules keep to, from what was configured.
fn limits(config: &Config) -> Limits {
    let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    Limits {
        max_sessions: size(config.limits.max_sessions),
        max_live: size(config.limits.max_live),
        windows_per_browser: size(config.limits.windows_per_browser),
        at_capacity: match config.limits.at_capacity {
            config::AtCapacity::Terminate => AtCapacity::Terminate,
            config::AtCapacity::Reject => AtCapacity::Reject,
        },
        queue_timeout: config.limits.queue_timeout,
        refresh_check: config.sessions.refresh_check,
        ..Limits::default()
    }
}
