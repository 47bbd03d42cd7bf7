//! WebDriver sessions, each with one of our windows, and the chromedriver that executes their commands.
//!
//! Chromedriver is started on first use, and restarted if it crashes. It sees one browser per WebDriver session, at
//! an address in its own network: the session's window as [`crate::gateway`] presents it. So a window never depends
//! on chromedriver, and clients reach chromedriver only through us: with the commands in [`route`]'s table, the
//! capabilities in [`capabilities`], and the messages in [`bidi`]. Session ids are ours: chromedriver's change when
//! it is restarted.
//!
//! An unused WebDriver session expires: a script that was killed must not hold its window forever.

mod bidi;
mod capabilities;
mod confine;
mod connection_channel;
mod driver;
mod error;
mod relay;
mod route;
mod shape;
mod zip;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use parking_lot::Mutex;
use pilotlight_chromium::launch::RunAs;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};
use tokio_websockets::WebSocketStream;
use uuid::Uuid;

#[cfg(fuzzing)]
pub use bidi::passed_on as bidi_passed_on;
pub use bidi::{Ending, client_side, converse};
pub use capabilities::{OPTIONS, Wanted, WantedWindow, read};
pub use driver::{Answer, AskError, DriverError};
pub use error::WebDriverError;
pub(crate) use error::error_body;
pub use relay::{SUBCOMMAND, run};
pub use route::{Command, Misdirected, OfSession, Route, is_webdriver};
pub use zip::unpack;

use crate::gateway::Requests;
use driver::Driver;
use relay::BROWSER_PORT;

/// How long chromedriver keeps running without sessions.
const LINGER: Duration = Duration::from_secs(60);
/// Time limit for chromedriver to detach from the window of an ended session.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of sessions.
const MAX_SESSIONS: usize = 1024;
/// Maximum number of open commands and WebSockets of a session: clients send one command after another, and no
/// session may use up chromedriver's connections.
const MAX_OPEN: usize = 32;

/// All WebDriver sessions.
#[derive(Debug, Clone)]
pub struct WebDriver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    run_dir: PathBuf,
    run_as: Option<RunAs>,
    timeout: Duration,
    sessions: Mutex<HashMap<String, Arc<DriverSession>>>,
    driver: tokio::sync::Mutex<Option<Arc<Driver>>>,
    last_address: AtomicU32,
    /// How often all tickets were revoked.
    revocations: AtomicU32,
    emptied_at: Mutex<Instant>,
}

/// A WebDriver session.
#[derive(Debug)]
pub struct DriverSession {
    /// The id for clients.
    pub id: String,
    /// The Pilotlight session whose window it uses.
    pub window_of: Uuid,
    /// Whether that session is closed with it.
    pub is_passing: bool,
    /// The commands in progress.
    pub requests: Arc<Requests>,
    /// The ticket that is valid only for its own WebSockets.
    pub ticket: String,
    /// Whether the ticket has been revoked.
    is_revoked: AtomicBool,
    /// The address at which chromedriver finds its browser.
    address: Ipv4Addr,
    for_driver: Map<String, Value>,
    link: tokio::sync::Mutex<Option<Link>>,
    used_at: Mutex<Instant>,
    in_use: AtomicUsize,
    places: Arc<Semaphore>,
    /// Chromedriver's connections to its window.
    connections: watch::Sender<usize>,
}

/// Chromedriver's id of a session.
#[derive(Debug, Clone)]
pub(crate) struct Session(String);

/// A session of chromedriver.
#[derive(Debug, Clone)]
pub struct Link {
    driver: Arc<Driver>,
    session: Session,
}

/// Marks the session as in use as long as this exists.
#[derive(Debug)]
pub struct Busy(Arc<DriverSession>);

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.used_at.lock() = Instant::now();
        self.0.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection of chromedriver to the window of a session.
#[derive(Debug)]
pub struct Connected(Arc<DriverSession>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.send_modify(|count| *count -= 1);
    }
}

/// Chromedriver's refusal of a session: status and body.
pub type Refused = (u16, Value);

/// Returns a random secret as hexadecimal digits.
fn secret() -> String {
    let mut bytes = [0_u8; 16];
    rand::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl DriverSession {
    /// Marks the session as used.
    #[must_use]
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.in_use.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Reserves a place among the open commands and WebSockets.
    ///
    /// # Errors
    /// Returns an error if there are too many.
    pub fn place(&self) -> Result<OwnedSemaphorePermit, WebDriverError> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let message = format!(
                "this session already has {MAX_OPEN} open commands and WebSockets: wait until some have ended"
            );
            WebDriverError::Unknown(message)
        })
    }

    /// Counts a connection of chromedriver as long as it lasts.
    #[must_use]
    pub fn connected(self: &Arc<Self>) -> Connected {
        self.connections.send_modify(|count| *count += 1);
        Connected(Arc::clone(self))
    }

    /// Waits until chromedriver has detached from the window, within a time limit.
    async fn left(&self) {
        let mut connections = self.connections.subscribe();
        if timeout(LEAVE_TIMEOUT, connections.wait_for(|count| *count == 0)).await.is_err() {
            tracing::warn!(webdriver_id = %self.id, "failed to detach chromedriver from a window");
        }
    }

    /// Returns whether the client requested a WebSocket.
    #[must_use]
    pub fn speaks_bidi(&self) -> bool {
        self.for_driver.get("webSocketUrl") == Some(&Value::Bool(true))
    }

    fn is_idle(&self, timeout: Duration) -> bool {
        self.in_use.load(Ordering::Relaxed) == 0 && self.used_at.lock().elapsed() > timeout
    }
}

impl Link {
    /// Executes a command. Chromedriver's errors are responses, too.
    ///
    /// # Errors
    /// Returns an error if chromedriver does not respond.
    pub async fn carry_out(&self, command: &Command, body: Bytes) -> Result<Answer, AskError> {
        self.driver.carry_out(&self.session, command, body).await
    }

    /// Opens the session's WebSocket.
    ///
    /// # Errors
    /// Returns an error if chromedriver refuses.
    pub async fn socket(&self) -> Result<WebSocketStream<UnixStream>, AskError> {
        self.driver.socket(&self.session).await
    }

    /// Marks chromedriver as unresponsive, so that another is started.
    pub fn give_up(&self) {
        self.driver.end();
    }
}

impl WebDriver {
    /// Creates an empty list without chromedriver. Its folders are created in `run_dir`, where those of earlier
    /// drivers are removed. A session may be without commands for `timeout`.
    #[must_use]
    pub fn new(run_dir: &Path, run_as: Option<RunAs>, timeout: Duration) -> Self {
        driver::sweep(run_dir);
        // Chromedriver and its relay start in the root folder.
        let run_dir = run_dir.canonicalize().unwrap_or_else(|_| run_dir.to_owned());
        Self(Arc::new(Inner {
            run_dir,
            run_as,
            timeout,
            sessions: Mutex::default(),
            driver: tokio::sync::Mutex::default(),
            last_address: AtomicU32::new(0),
            revocations: AtomicU32::new(0),
            emptied_at: Mutex::new(Instant::now()),
        }))
    }

    /// Creates a session in a window. Returns it and its capabilities. Chromedriver finds the window through
    /// `browsers`. `asked_at` is the value of [`Self::revocations`] when the request was authenticated.
    ///
    /// # Errors
    /// Returns chromedriver's error, or an error if it is not available.
    pub async fn begin(
        &self,
        window_of: Uuid,
        wanted: Wanted,
        is_local: bool,
        asked_at: u32,
        browsers: Router,
    ) -> Result<(Arc<DriverSession>, Value), Refused> {
        let requests = Arc::<Requests>::default();
        let _request = requests.begin(is_local);
        let number = self.0.last_address.fetch_add(1, Ordering::Relaxed);
        let [_, high, middle, low] = number.to_be_bytes();
        let session = Arc::new(DriverSession {
            id: secret(),
            window_of,
            is_passing: wanted.is_passing,
            requests: Arc::clone(&requests),
            ticket: secret(),
            is_revoked: AtomicBool::new(false),
            // All of 127.0.0.0/8 is in chromedriver's network; it uses the first addresses itself.
            address: Ipv4Addr::new(127, 64 | (high & 63), middle, low),
            for_driver: wanted.for_driver,
            link: tokio::sync::Mutex::default(),
            used_at: Mutex::new(Instant::now()),
            in_use: AtomicUsize::new(0),
            places: Arc::new(Semaphore::new(MAX_OPEN)),
            connections: watch::Sender::new(0),
        });
        {
            let mut sessions = self.0.sessions.lock();
            if sessions.len() >= MAX_SESSIONS {
                return Err((500, error_body("session not created", "limit of WebDriver sessions reached")));
            }
            sessions.insert(session.id.clone(), Arc::clone(&session));
            // Tickets are revoked after counting, by walking the list.
            if self.revocations() != asked_at {
                session.is_revoked.store(true, Ordering::Relaxed);
            }
        }
        let mut place = session.link.lock().await;
        match self.connect(&session, browsers).await {
            Ok((link, capabilities)) => {
                *place = Some(link);
                drop(place);
                Ok((session, capabilities))
            }
            Err(refused) => {
                self.forget(&session.id);
                Err(refused)
            }
        }
    }

    /// Returns the chromedriver session of a session; creates a new one if chromedriver was restarted.
    ///
    /// # Errors
    /// Returns chromedriver's error, or an error if it is not available.
    pub async fn link(&self, session: &DriverSession, browsers: Router) -> Result<Link, Refused> {
        let mut place = session.link.lock().await;
        if self.session(&session.id).is_none() {
            // It ended while this waited: its window is gone.
            return Err((404, error_body("invalid session id", "the WebDriver session has ended")));
        }
        if let Some(link) = place.as_ref().filter(|link| link.driver.is_alive()) {
            return Ok(link.clone());
        }
        let (link, _) = self.connect(session, browsers).await?;
        *place = Some(link.clone());
        Ok(link)
    }

    async fn connect(&self, session: &DriverSession, browsers: Router) -> Result<(Link, Value), Refused> {
        let driver = self.driver(browsers).await;
        let driver = driver.map_err(|error| (500, error_body("session not created", &error.to_string())))?;
        let mut capabilities = Value::Object(session.for_driver.clone());
        capabilities["goog:chromeOptions"]["debuggerAddress"] =
            json!(format!("{}:{BROWSER_PORT}", session.address));
        let (session, told) = driver.begin(&capabilities).await?;
        Ok((Link { driver, session }, told))
    }

    async fn driver(&self, browsers: Router) -> Result<Arc<Driver>, DriverError> {
        let mut place = self.0.driver.lock().await;
        if let Some(driver) = place.as_ref().filter(|driver| driver.is_alive()) {
            return Ok(Arc::clone(driver));
        }
        let driver = Arc::new(Driver::start(&self.0.run_dir, self.0.run_as.as_ref(), browsers).await?);
        tracing::info!("chromedriver started");
        *place = Some(Arc::clone(&driver));
        Ok(driver)
    }

    /// Chromedriver has lost the session, though it is running: the next command creates another.
    pub async fn unlink(&self, session: &DriverSession) {
        *session.link.lock().await = None;
    }

    /// Returns how long a session may be without commands before it expires.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.0.timeout
    }

    /// Returns a session by its id.
    #[must_use]
    pub fn session(&self, id: &str) -> Option<Arc<DriverSession>> {
        self.0.sessions.lock().get(id).cloned()
    }

    /// Returns the session whose browser has this address in chromedriver's network.
    #[must_use]
    pub fn at(&self, host: &str) -> Option<Arc<DriverSession>> {
        let address: Ipv4Addr = host.split(':').next()?.parse().ok()?;
        self.0.sessions.lock().values().find(|session| session.address == address).cloned()
    }

    /// Returns whether a ticket is valid for this route: only for the WebSockets of its own session.
    #[must_use]
    pub fn admits(&self, route: &Route, ticket: &str) -> bool {
        let session = route.socket_of().and_then(|id| self.session(id));
        let session = session.filter(|session| !session.is_revoked.load(Ordering::Relaxed));
        session.is_some_and(|session| {
            // Both have the same length, so that the time reveals nothing.
            Sha256::digest(&session.ticket).ct_eq(&Sha256::digest(ticket)).into()
        })
    }

    /// Returns how often all tickets were revoked: a session that was requested before a revocation gets no valid
    /// ticket.
    #[must_use]
    pub fn revocations(&self) -> u32 {
        self.0.revocations.load(Ordering::SeqCst)
    }

    /// Revokes the tickets of all sessions, because the token was replaced.
    pub fn revoke_tickets(&self) {
        self.0.revocations.fetch_add(1, Ordering::SeqCst);
        self.0.sessions.lock().values().for_each(|session| session.is_revoked.store(true, Ordering::Relaxed));
    }

    /// Ends a session, and returns it when its window is free: the caller decides what happens to the window.
    pub async fn end(&self, id: &str) -> Option<Arc<DriverSession>> {
        let session = self.forget(id)?;
        let link = session.link.lock().await.take();
        if let Some(link) = link.filter(|link| link.driver.is_alive()) {
            // If it does not respond, it loses its browser when its connection is closed.
            drop(timeout(LINGER, link.driver.end_session(&link.session)).await);
        }
        session.left().await;
        Some(session)
    }

    fn forget(&self, id: &str) -> Option<Arc<DriverSession>> {
        let mut sessions = self.0.sessions.lock();
        let session = sessions.remove(id);
        if sessions.is_empty() {
            *self.0.emptied_at.lock() = Instant::now();
        }
        session
    }

    /// Returns sessions that have expired or whose window is gone.
    #[must_use]
    pub fn idle(&self, lives: impl Fn(Uuid) -> bool) -> Vec<String> {
        let sessions = self.0.sessions.lock();
        let is_over = |session: &DriverSession| session.is_idle(self.0.timeout) || !lives(session.window_of);
        sessions.values().filter(|session| is_over(session)).map(|session| session.id.clone()).collect()
    }

    /// Stops chromedriver if it has had no sessions for a while.
    pub async fn rest(&self) {
        let is_empty = self.0.sessions.lock().is_empty() && self.0.emptied_at.lock().elapsed() > LINGER;
        if is_empty {
            // A session that is being created already has it, or starts another.
            self.0.driver.lock().await.take();
        }
    }

    /// Stops chromedriver.
    pub async fn stop(&self) {
        self.0.sessions.lock().clear();
        self.0.driver.lock().await.take();
    }
}
