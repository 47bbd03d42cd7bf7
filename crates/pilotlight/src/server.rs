//! Starts, runs and stops a whole server: state folder, token, listener, keeper and REST interface.

mod state_dir;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pilotlight_chromium::launch::{Reach, keep_memory_private};
use pilotlight_core::{AtCapacity, Limits, Moment, PersistedSession, SessionId};
use pilotlight_store::{
    FilesKey, KeyError, KeySources, Keyring, LoadedSession, SqliteStore, StoreError, StoreHandle,
};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use state_dir::{StateDir, StateDirError};

use crate::authenticator::Authenticator;
use crate::clock::Clock;
use crate::config::{self, Auth, Config};
use crate::credentials::Credentials;
use crate::damaged::Damaged;
use crate::demo_address::DemoAddress;
use crate::descriptors;
use crate::doctor::intended::Intended;
use crate::failures::Failures;
use crate::fingerprint::Fingerprint;
use crate::gateway::{self, Gateway};
use crate::http::{self, App, Connections, Guard, Readiness, router};
use crate::keeper::{
    self, BrowserLauncher, BrowserLauncherOptions, KeeperHandle, KeeperOptions, RecoveredState,
    SessionDetails,
};
use crate::live::Live;
use crate::machine::Machine;
use crate::memory_monitor::MemoryMonitor;
use crate::operations::{Folders, Operations};
use crate::plan::Planner;
use crate::quiet;
use crate::reports::Reports;
use crate::sentence::with_sources;
use crate::service_manager::{self, ServiceWatchdog};
use crate::sites::Sites;
use crate::webdriver::WebDriver;
use crate::webhook;

/// Interval at which files of ended sessions and deleted operations are removed.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Delay before a failed update of stored times, after a change of the wall clock, is retried.
const RETRY: Duration = Duration::from_secs(5);
/// Time that requests in progress may take after the server is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// The name of the systemd credential with the master key.
const CREDENTIAL: &str = "pilotlight-master-key";

/// Why a server cannot start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The state folder cannot be used.
    #[error("the state folder cannot be used")]
    StateDir(#[from] StateDirError),
    /// The address cannot be listened on.
    #[error("cannot listen on {listen}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The store cannot be read.
    #[error("the store cannot be used")]
    Store(#[from] StoreError),
    /// The store's master key is missing.
    #[error("the master key cannot be used")]
    Key(#[from] KeyError),
    /// The launch profiles or the browser cannot be used.
    #[error("cannot start browsers")]
    Launcher(#[from] keeper::BrowserLauncherError),
    /// An operating system call failed.
    #[error("the server cannot run")]
    System(#[source] io::Error),
}

/// Handles the signals that stop the server. As long as it does not exist, they end the process at once.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Installs the signal handlers.
    ///
    /// # Errors
    /// Returns an error if the operating system refuses.
    pub fn take() -> Result<Self, ServeError> {
        let take = |kind| signal(kind).map_err(ServeError::System);
        Ok(Self { terminate: take(SignalKind::terminate())?, interrupt: take(SignalKind::interrupt())? })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Running {
    /// The address that it listens on.
    pub address: SocketAddr,
    /// The state folder, locked as long as this exists.
    pub state_dir: StateDir,
    /// The application state, for direct calls without HTTP.
    pub app: App,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<io::Result<()>>,
    keeper: tokio::task::JoinHandle<()>,
}

/// What happens to the browsers when a server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Browsers {
    /// They keep running, with their windows, for the next server.
    Stay,
    /// They are closed.
    End,
}

/// Starts a server and restores what an earlier one left.
///
/// # Errors
/// Returns the cause; nothing that it started is left running.
pub async fn start(config: Config, browsers: Browsers) -> Result<Running, ServeError> {
    keep_memory_private();
    let connections = Connections::new(descriptors::connections(descriptors::raise()));
    let state_dir = StateDir::open(&config.server.state_dir)?;
    let intended = Intended::by(&config);
    let listen = config.server.listen;
    let listener = TcpListener::bind(listen).await.map_err(|source| ServeError::Listen { listen, source })?;
    let address = listener.local_addr().map_err(ServeError::System)?;
    DemoAddress::forget(&config.server.demo_dir(), address);
    let token = match config.server.auth {
        Auth::Token => Some(state_dir.token()?),
        Auth::None => None,
    };
    let options = BrowserLauncherOptions {
        chromium: config.chromium.clone(),
        profiles: config.profiles.clone(),
        run_dir: state_dir.run_dir()?,
        orphan_timeout: config.server.orphan_timeout,
        reach: Reach {
            writable: vec![state_dir.files_dir()?],
            secret: secrets(&config.server),
            ..Reach::default()
        },
    };
    let launcher = Arc::new(BrowserLauncher::open(options).await?);
    let (store, files_key) = open_store(&config)?;
    http::sweep_copies(&config.server.state_dir);
    let limits = limits(&config);
    let max_live = config.limits.max_live;
    let gateway = Gateway {
        folder: state_dir.files_dir()?,
        files_key: files_key.clone(),
        local: gateway::LocalFolders::new(config.server.local_folders.clone()),
        client_idle_after: config.sessions.client_idle_after,
        stop: CancellationToken::new(),
    };
    let (operation_timeout, keep_pictures) =
        (config.sessions.operation_timeout, config.sessions.keep_pictures);
    let operations_dir = state_dir.operations_dir()?;
    let webdriver =
        WebDriver::new(&state_dir.run_dir()?, launcher.helper(), config.sessions.webdriver_timeout);
    let loaded = store.load().await?;
    let fingerprint = Arc::new(Fingerprint::new(random_key()));
    let sites =
        Sites::new(config.server.sites_dir(), config.sites, &config.stored_sites, config.broken_sites);
    let planner = Planner {
        sites: Arc::new(sites),
        launcher: Arc::clone(&launcher),
        defaults: Arc::new(config.sessions),
        profile: config.chromium.profile.into(),
        credentials: Arc::new(Credentials::new(store.clone(), loaded.credentials)),
        fingerprint: Arc::clone(&fingerprint),
    };
    let clock = Clock::start();
    let failures = Failures::open(state_dir.failures_dir()?, clock, files_key.clone());
    let mut damaged = loaded.damaged;
    let recovered = recovered(&planner, &store, loaded.sessions, clock).await;
    let stop = CancellationToken::new();
    let options = KeeperOptions {
        limits,
        seed: rand::random(),
        clock,
        address: reachable(address),
        fingerprint,
        launcher,
        store: store.clone(),
        leaves_browsers: browsers == Browsers::Stay,
        heartbeat: config.chromium.heartbeat,
        pages_out: config.chromium.page_out,
        failures: failures.clone(),
        watchdog: ServiceWatchdog::wanted(),
    };
    let (keeper, keeper_task) = keeper::start(options, recovered, stop.clone());
    let readiness = Readiness::default();
    let authenticator = Arc::new(Authenticator::new(state_dir.authenticator_files(), token.as_ref()));
    let memory_monitor = MemoryMonitor::watch(
        config.limits.memory_budget,
        config.limits.window_memory,
        keeper.clone(),
        stop.clone(),
    );
    let machine = Machine::watch(max_live, memory_monitor, keeper.clone(), stop.clone());
    let operations = Operations::new(
        keeper.clone(),
        Arc::clone(&planner.sites),
        store.clone(),
        Folders::new(operations_dir, files_key),
        reachable(address),
        operation_timeout,
        keep_pictures,
        stop.clone(),
    );
    damaged.extend(operations.resume().await?);
    let live = Live::new(keeper.clone());
    let reports = Reports::start(keeper.clone());
    let app = App {
        keeper,
        reports,
        planner,
        store,
        damaged: Damaged::new(damaged),
        state_dir: config.server.state_dir.clone(),
        max_sessions: config.limits.max_sessions,
        authenticator: Arc::clone(&authenticator),
        connections: connections.clone(),
        live,
        machine,
        intended,
        operations: operations.clone(),
        failures: failures.clone(),
        gateway: gateway.clone(),
        webdriver: webdriver.clone(),
        readiness: readiness.clone(),
    };
    tokio::spawn(quiet::run(app.planner.clone(), app.keeper.clone(), stop.clone()));
    tokio::spawn(follow_clock(Arc::clone(&authenticator), clock, stop.clone()));
    tokio::spawn(operations.clone().follow_clock());
    tokio::spawn(gateway.clone().follow_windows(app.keeper.clone()));
    tokio::spawn(sweep_files(gateway, app.keeper.clone(), operations, failures));
    tokio::spawn(http::look_after(app.clone()));
    if let Some(url) = config.server.webhook {
        // Includes events since the keeper started: sessions that needed a person before this server started.
        let events = app.keeper.events().subscribe_after(0);
        tokio::spawn(webhook::run(url, config.server.webhook_secret, clock, address, events, stop.clone()));
    }
    let (hosts, origins) = (config.server.allowed_hosts, config.server.allowed_origins);
    let guard = Guard {
        listen: address,
        hosts,
        origins,
        authenticator,
        webdriver,
        connections: connections.clone(),
        clock,
    };
    let service = router(app.clone(), guard);
    let draining = readiness.draining();
    let served = tokio::spawn(http::serve(listener, service, connections, draining));
    readiness.set_up();
    service_manager::ready(address);
    Ok(Running { address, state_dir, app, stop, served, keeper: keeper_task })
}

/// Returns the places where the master key may be: the environment, systemd, or the state folder.
pub(crate) fn key_sources(server: &config::Server) -> KeySources {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    KeySources {
        environment: variable("PILOTLIGHT_MASTER_KEY").map(Into::into),
        credential_path: variable("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join(CREDENTIAL)),
        key_file_path: server.key_file(),
        store_path: server.store_file(),
    }
}

/// Returns the paths that no browser may ever read: the state folder, and the folder of systemd's credentials.
fn secrets(server: &config::Server) -> Vec<PathBuf> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
    credentials.map(PathBuf::from).into_iter().chain([server.state_dir.clone()]).collect()
}

/// Opens the store and returns it with the key of the files beside it.
pub(crate) fn open_store(config: &Config) -> Result<(StoreHandle, FilesKey), ServeError> {
    let sources = key_sources(&config.server);
    let keyring = Keyring::find(&sources)?;
    let mut store = SqliteStore::open(&sources.store_path, keyring)?;
    let files_key = match store.files_key() {
        // If there is no space for it, files sealed from now on can be read only until the next start.
        Err(error) if error.is_passing() => {
            tracing::error!(error = error.sentence(), "failed to store the key of screenshots and downloads");
            FilesKey::random()
        }
        key => key?,
    };
    Ok((StoreHandle::start(store).map_err(ServeError::System)?, files_key))
}

/// What an earlier server left: stored records, and browsers that are still running.
async fn recovered(
    planner: &Planner,
    store: &StoreHandle,
    loaded: Vec<LoadedSession>,
    clock: Clock,
) -> RecoveredState {
    let mut sessions = BTreeMap::new();
    for LoadedSession { record, checkpoint } in loaded {
        let id = record.id;
        match planner.recall(record, clock.now()) {
            Ok((kept, details)) => {
                let stored_at = checkpoint.as_ref().map(|checkpoint| Moment(checkpoint.taken_at_ms));
                let stored_bytes = checkpoint.map(|checkpoint| checkpoint.stored_bytes);
                sessions.insert(kept.id, (kept, SessionDetails { stored_bytes, stored_at, ..details }));
            }
            Err(error) => tracing::error!(session_id = %id, %error, "failed to restore a session"),
        }
    }
    let live = |(id, (kept, details)): (&SessionId, &(PersistedSession, SessionDetails))| {
        kept.ended.is_none().then(|| (*id, details.window.clone()))
    };
    let browsers = planner.launcher.adopt_all(&sessions.iter().filter_map(live).collect()).await;
    // What a window no longer shows is known only from its checkpoint, and must be part of the next one.
    for (session, window) in browsers.iter().flat_map(|browser| &browser.windows) {
        match store.checkpoint(Uuid::from_u128(session.0)).await {
            Ok(checkpoint) => checkpoint.iter().for_each(|checkpoint| window.remember(checkpoint)),
            Err(error) => {
                let error = with_sources(&error);
                tracing::error!(window = %window.id(), error, "failed to read a window's previous state");
            }
        }
    }
    RecoveredState { sessions, browsers }
}

impl Running {
    /// Returns a one-time sign-in link to the dashboard. The code is in the fragment, which browsers do not send and
    /// access logs do not contain.
    #[must_use]
    pub fn dashboard_link(&self) -> String {
        let code = self.app.authenticator.new_code(self.app.keeper.clock().now());
        http::link_at(&self.address, &code)
    }

    /// Serves until a signal arrives or the listener fails.
    ///
    /// # Errors
    /// Returns the error of the listener.
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
        Err(ServeError::System(error.unwrap_or_else(|| io::Error::other("the listener stopped"))))
    }

    /// Closes these sessions, waiting a limited time. Never closes all sessions: the others may belong to other
    /// clients.
    pub async fn close_sessions(&self, sessions: &[Uuid]) {
        let closing = sessions.iter().map(|id| self.app.keeper.close(*id));
        if timeout(GRACE, futures_util::future::join_all(closing)).await.is_err() {
            tracing::warn!("some sessions were not closed in time");
        }
    }

    /// Ends all browsers and stops at once.
    pub async fn stop_now(self) {
        self.shut_down(std::future::ready(())).await;
    }

    /// Finishes requests in progress, for a limited time, then leaves or ends every browser. A second signal skips
    /// the waiting.
    async fn shut_down(self, again: impl Future<Output = ()>) {
        tracing::info!("stopping: finishing requests and saving changes");
        service_manager::stopping();
        self.app.readiness.drain();
        self.app.gateway.stop.cancel();
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

/// Returns the address at which local clients reach a server that listens on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let loopback = match address.ip() {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
    };
    if address.ip().is_unspecified() { SocketAddr::new(loopback, address.port()) } else { address }
}

/// Updates the stored expiry times of dashboard keys whenever the wall clock is set.
async fn follow_clock(authenticator: Arc<Authenticator>, clock: Clock, stop: CancellationToken) {
    let mut written = 0;
    while let Some(ahead) = stop.run_until_cancelled(clock.set_since(written)).await {
        let authenticator = Arc::clone(&authenticator);
        match tokio::task::spawn_blocking(move || authenticator.rewrite_visitors()).await {
            Ok(Ok(())) => written = ahead,
            Ok(Err(error)) => tracing::warn!(%error, "failed to store dashboard sessions"),
            Err(error) => tracing::warn!(%error, "failed to store dashboard sessions"),
        }
        if written != ahead && stop.run_until_cancelled(tokio::time::sleep(RETRY)).await.is_none() {
            return;
        }
    }
}

/// Periodically removes the files of sessions that have ended.
async fn sweep_files(gateway: Gateway, keeper: KeeperHandle, operations: Operations, failures: Failures) {
    let mut turns = tokio::time::interval(SWEEP_EVERY);
    while gateway.stop.run_until_cancelled(turns.tick()).await.is_some() {
        let (files, directory, failures) = (gateway.clone(), keeper.directory(), failures.clone());
        let keeper = keeper.clone();
        let lives = move |id: Uuid| {
            directory.sessions.get(&id.as_u128()).is_some_and(|session| session.ended().is_none())
        };
        let sweep = move || {
            files.sweep(&keeper, &lives);
            failures.sweep(lives);
        };
        drop(tokio::task::spawn_blocking(sweep).await);
        operations.sweep().await;
    }
}

/// Returns a key that lives as long as this process.
fn random_key() -> [u8; 64] {
    let mut key = [0; 64];
    rand::fill(&mut key);
    key
}

/// Converts the configuration to the limits of the rules.
fn limits(config: &Config) -> Limits {
    let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let defaults = Limits::default();
    Limits {
        max_sessions: size(config.limits.max_sessions),
        max_live: size(config.limits.max_live),
        asleep_windows: size(config.limits.asleep_windows),
        windows_per_browser: size(config.limits.windows_per_browser),
        at_capacity: match config.limits.at_capacity {
            config::AtCapacity::Hibernate => AtCapacity::Hibernate,
            config::AtCapacity::Terminate => AtCapacity::Terminate,
            config::AtCapacity::Reject => AtCapacity::Reject,
        },
        queue_timeout: config.limits.queue_timeout,
        refresh_check: config.sessions.refresh_check,
        freeze_after: config.sessions.freeze_after,
        hibernate_after: config.sessions.hibernate_after,
        browser_max_age: config.chromium.max_age,
        // With a short `max_age`, browsers cannot wait long until their windows are idle.
        move_after: defaults.move_after.min(config.chromium.max_age),
        ..defaults
    }
}
