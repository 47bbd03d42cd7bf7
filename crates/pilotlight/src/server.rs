//! A whole server: state folder, token, listener, keeper and REST interface, from start to end.

mod state_dir;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pilotlight_core::{AtCapacity, Kept, Limits, Moment, SessionId};
use pilotlight_store::{Archive, KeyError, KeySources, Keyring, LoadedSession, SqliteStore, StoreError};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) use state_dir::write_private;
pub use state_dir::{StateDir, StateDirError};

use crate::config::{self, Auth, Config};
use crate::credentials::Credentials;
use crate::doctor::browser_of;
use crate::door::Door;
use crate::failures::Failures;
use crate::fingerprint::Fingerprint;
use crate::gateway::{self, Gateway};
use crate::gauge::Gauge;
use crate::http::{self, App, Guard, Readiness, router};
use crate::keeper::{self, Clock, Details, Farm, FarmOptions, Inheritance, KeeperHandle, KeeperOptions};
use crate::live::Live;
use crate::machine::Machine;
use crate::operations::Operations;
use crate::plan::Planner;
use crate::quiet;
use crate::reports::Reports;
use crate::sentence::with_sources;
use crate::service_manager::{self, Pulse};
use crate::sites::Sites;
use crate::webdriver::WebDriver;
use crate::webhook;

/// How often files that nobody can ask for any more are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How long requests that are being answered may take once the server is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// The name of the systemd credential with the master key.
const CREDENTIAL: &str = "pilotlight-master-key";

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
    /// What sessions left cannot be read.
    #[error("the store cannot be used")]
    Store(#[from] StoreError),
    /// There is no key for what sessions left.
    #[error("the master key cannot be used")]
    Key(#[from] KeyError),
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

/// What becomes of the browsers when a server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Browsers {
    /// They wait for the next server, with their windows.
    Stay,
    /// They end with it.
    End,
}

/// Starts a server, with everything that an earlier one left.
///
/// # Errors
/// What is in the way; nothing is left running that did not run before.
pub async fn start(config: Config, browsers: Browsers) -> Result<Running, ServeError> {
    let state_dir = StateDir::open(&config.server.state_dir)?;
    let browser = browser_of(&config);
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
        run_dir: state_dir.run_dir()?,
        orphan_timeout: config.server.orphan_timeout,
    };
    let farm = Arc::new(Farm::open(options).await?);
    let archive = open_store(&config)?;
    let limits = limits(&config);
    let max_live = config.limits.max_live;
    let gateway = Gateway {
        folder: state_dir.files_dir()?,
        run_as: farm.run_as().cloned(),
        stop: CancellationToken::new(),
    };
    let operation_timeout = config.sessions.operation_timeout;
    let operations_dir = state_dir.operations_dir()?;
    let webdriver =
        WebDriver::new(&state_dir.run_dir()?, farm.run_as().cloned(), config.sessions.webdriver_timeout);
    let loaded = archive.load().await?;
    let fingerprint = Arc::new(Fingerprint::new(random_key()));
    let planner = Planner {
        sites: Arc::new(Sites::new(config.server.sites_dir(), config.sites)),
        farm: Arc::clone(&farm),
        defaults: Arc::new(config.sessions),
        profile: config.chromium.profile.into(),
        credentials: Arc::new(Credentials::new(archive.clone(), loaded.credentials)),
        fingerprint: Arc::clone(&fingerprint),
    };
    let clock = Clock::start();
    let failures = Failures::open(state_dir.failures_dir()?, clock);
    for damaged in &loaded.damaged {
        let error = with_sources(&damaged.error);
        tracing::error!(id = %damaged.id, error, "a session or a credential cannot be read");
    }
    let inheritance = inheritance(&planner, &archive, loaded.sessions, clock).await;
    let stop = CancellationToken::new();
    let options = KeeperOptions {
        limits,
        seed: rand::random(),
        clock,
        address: reachable(address),
        fingerprint,
        farm,
        archive: archive.clone(),
        leaves_browsers: browsers == Browsers::Stay,
        heartbeat: config.chromium.heartbeat,
        pages_out: config.chromium.page_out,
        failures: failures.clone(),
        pulse: Pulse::wanted(),
    };
    let (keeper, keeper_task) = keeper::start(options, inheritance, stop.clone());
    let readiness = Readiness::default();
    let door = Arc::new(Door::new(&state_dir.visitors_file(), address.port(), token.as_ref()));
    let gauge = Gauge::watch(config.limits.memory_budget, keeper.clone(), stop.clone());
    let machine = Machine::watch(max_live, gauge, keeper.clone(), stop.clone());
    let operations = Operations::new(
        keeper.clone(),
        Arc::clone(&planner.sites),
        archive.clone(),
        operations_dir,
        reachable(address),
        operation_timeout,
        stop.clone(),
    );
    operations.resume().await?;
    let live = Live::new(keeper.clone());
    let reports = Reports::start(keeper.clone());
    let app = App {
        keeper,
        reports,
        planner,
        archive,
        max_sessions: config.limits.max_sessions,
        door: Arc::clone(&door),
        live,
        machine,
        browser,
        operations: operations.clone(),
        failures: failures.clone(),
        gateway: gateway.clone(),
        webdriver: webdriver.clone(),
        readiness: readiness.clone(),
    };
    tokio::spawn(quiet::run(app.planner.clone(), app.keeper.clone(), stop.clone()));
    tokio::spawn(sweep_files(gateway, app.keeper.clone(), operations, failures));
    tokio::spawn(http::look_after(app.clone()));
    if let Some(url) = config.server.webhook {
        let events = app.keeper.events().subscribe();
        tokio::spawn(webhook::run(url, address, events, stop.clone()));
    }
    let (hosts, origins) = (config.server.allowed_hosts, config.server.allowed_origins);
    let guard = Guard::new(token, address, hosts, origins, door, webdriver, clock);
    let service = router(app.clone(), guard);
    let draining = readiness.draining();
    let served = tokio::spawn(http::serve(listener, service, draining));
    readiness.set_up();
    service_manager::ready(address);
    Ok(Running { address, state_dir, app, stop, served, keeper: keeper_task })
}

/// Where the master key may be: in the environment, with systemd, or in the state folder.
pub(crate) fn key_sources(server: &config::Server) -> KeySources {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    KeySources {
        environment: variable("PILOTLIGHT_MASTER_KEY").map(Into::into),
        credential_path: variable("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join(CREDENTIAL)),
        key_file_path: server.key_file(),
        store_path: server.store_file(),
    }
}

/// Opens what sessions left.
pub(crate) fn open_store(config: &Config) -> Result<Archive, ServeError> {
    let sources = key_sources(&config.server);
    let keyring = Keyring::find(&sources)?;
    Archive::start(SqliteStore::open(&sources.store_path, keyring)?).map_err(ServeError::System)
}

/// All that an earlier server left: what it wrote down, and browsers that still run.
async fn inheritance(
    planner: &Planner,
    archive: &Archive,
    loaded: Vec<LoadedSession>,
    clock: Clock,
) -> Inheritance {
    let mut sessions = BTreeMap::new();
    for LoadedSession { record, checkpoint } in loaded {
        let id = record.id;
        match planner.recall(record, clock.now()) {
            Ok((kept, details)) => {
                let stored_at = checkpoint.as_ref().map(|checkpoint| Moment(checkpoint.taken_at_ms));
                let stored_bytes = checkpoint.map(|checkpoint| checkpoint.stored_bytes);
                sessions.insert(kept.id, (kept, Details { stored_bytes, stored_at, ..details }));
            }
            Err(error) => tracing::error!(session_id = %id, %error, "a session cannot be taken up"),
        }
    }
    let live = |(id, (kept, details)): (&SessionId, &(Kept, Details))| {
        kept.ended.is_none().then(|| (*id, details.window.clone()))
    };
    let browsers = planner.farm.inherit(&sessions.iter().filter_map(live).collect()).await;
    // What a window no longer shows is known from its checkpoint alone, and belongs into the next one.
    for (session, window) in browsers.iter().flat_map(|browser| &browser.windows) {
        match archive.checkpoint(Uuid::from_u128(session.0)).await {
            Ok(checkpoint) => checkpoint.iter().for_each(|checkpoint| window.remember(checkpoint)),
            Err(error) => {
                let error = with_sources(&error);
                tracing::error!(window = %window.id(), error, "what a window has shown before is not known");
            }
        }
    }
    Inheritance { sessions, browsers }
}

impl Running {
    /// A link to the dashboard that signs in whoever opens it first. The code is in the fragment: it is sent
    /// to nobody unasked, and no log of addresses has it.
    #[must_use]
    pub fn dashboard_link(&self) -> String {
        let code = self.app.door.new_code(self.app.keeper.clock().now());
        format!("http://{}/ui#code={code}", self.address)
    }

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

    /// Closes every session, as far as they close soon.
    pub async fn close_sessions(&self) {
        let directory = self.app.keeper.directory();
        let living = directory.sessions.iter().filter(|(_, published)| published.ended().is_none());
        let closing = living.map(|(id, _)| self.app.keeper.close(Uuid::from_u128(*id)));
        if timeout(GRACE, futures_util::future::join_all(closing)).await.is_err() {
            tracing::warn!("some sessions were not closed in time");
        }
    }

    /// Ends now.
    pub async fn stop_now(self) {
        self.shut_down(std::future::ready(())).await;
    }

    /// Finishes the requests that are being answered, for a while, then leaves or ends every browser. A second
    /// signal means now.
    async fn shut_down(self, again: impl Future<Output = ()>) {
        tracing::info!("stopping: requests are finished, and what is new is written down");
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

/// Where a client of this machine reaches a server that listens on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let loopback = match address.ip() {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
    };
    if address.ip().is_unspecified() { SocketAddr::new(loopback, address.port()) } else { address }
}

/// Removes the files of sessions that are no more, now and then.
async fn sweep_files(gateway: Gateway, keeper: KeeperHandle, operations: Operations, failures: Failures) {
    let mut turns = tokio::time::interval(SWEEP_EVERY);
    while gateway.stop.run_until_cancelled(turns.tick()).await.is_some() {
        let (folder, directory, failures) = (gateway.folder.clone(), keeper.directory(), failures.clone());
        let lives = move |id: Uuid| {
            directory.sessions.get(&id.as_u128()).is_some_and(|session| session.ended().is_none())
        };
        let sweep = move || {
            gateway::sweep(&folder, &lives);
            failures.sweep(lives);
        };
        drop(tokio::task::spawn_blocking(sweep).await);
        operations.sweep().await;
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
    let defaults = Limits::default();
    Limits {
        max_sessions: size(config.limits.max_sessions),
        max_live: size(config.limits.max_live),
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
        // Whoever has browsers replaced often cannot wait for long until their windows are idle.
        move_after: defaults.move_after.min(config.chromium.max_age),
        ..defaults
    }
}
