//! WebDriver: its sessions, each with a window of ours, and the chromedriver that carries their commands out.
//!
//! Chromedriver is started when first needed and again where it died. It sees one browser for each WebDriver session,
//! at an address that is only in its own network: the session's window as [`crate::gateway`] shows it. So a window
//! never depends on chromedriver, and whoever speaks to chromedriver speaks through us. Ids of sessions are ours:
//! chromedriver's own are another's after it was started again.
//!
//! A WebDriver session that nobody uses ends by itself: a script that was killed must not hold its window for ever.

mod capabilities;
mod driver;
mod error;
mod relay;
mod zip;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use pilotlight_chromium::launch::RunAs;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

pub use capabilities::{OPTIONS, Wanted, WantedWindow, read};
pub use driver::DriverError;
pub use error::WebDriverError;
pub(crate) use error::error_body;
pub use relay::{SUBCOMMAND, run};
pub use zip::unpack;

use driver::Driver;
use relay::BROWSER_PORT;

/// How long chromedriver stays without sessions.
const LINGER: Duration = Duration::from_secs(60);
/// How long chromedriver may take to leave the window of a session that has ended.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How many sessions there may be at once.
const MAX_SESSIONS: usize = 1024;

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
    emptied_at: Mutex<Instant>,
}

/// A WebDriver session.
#[derive(Debug)]
pub struct DriverSession {
    /// Its id, to clients.
    pub id: String,
    /// Whose window it has.
    pub window_of: Uuid,
    /// Whether the window goes with it.
    pub is_passing: bool,
    /// Whether its client is of our own user.
    pub is_own_user: bool,
    /// Lets sockets of this session in, and nothing else.
    pub ticket: String,
    /// Where chromedriver finds its browser.
    address: Ipv4Addr,
    for_driver: Map<String, Value>,
    link: tokio::sync::Mutex<Option<Link>>,
    used_at: Mutex<Instant>,
    in_use: AtomicUsize,
    /// Chromedriver's connections to its window.
    connections: watch::Sender<usize>,
}

/// A session of chromedriver's.
#[derive(Debug, Clone)]
pub struct Link {
    driver: Arc<Driver>,
    id: String,
}

/// While this is there, the session is in use.
#[derive(Debug)]
pub struct Busy(Arc<DriverSession>);

impl Drop for Busy {
    fn drop(&mut self) {
        *lock(&self.0.used_at) = Instant::now();
        self.0.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Chromedriver's connection to the window of a session.
#[derive(Debug)]
pub struct Connected(Arc<DriverSession>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.send_modify(|count| *count -= 1);
    }
}

/// Chromedriver's refusal of a session: its status, and its answer.
pub type Refused = (u16, Value);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A secret that nobody guesses, as hexadecimal digits.
fn secret() -> String {
    let mut bytes = [0_u8; 16];
    rand::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl DriverSession {
    /// Marks it as used.
    #[must_use]
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.in_use.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Counts a connection of chromedriver's for as long as it lasts.
    #[must_use]
    pub fn connected(self: &Arc<Self>) -> Connected {
        self.connections.send_modify(|count| *count += 1);
        Connected(Arc::clone(self))
    }

    /// Returns once chromedriver is gone from the window, or ought to be.
    async fn left(&self) {
        let mut connections = self.connections.subscribe();
        if timeout(LEAVE_TIMEOUT, connections.wait_for(|count| *count == 0)).await.is_err() {
            tracing::warn!(webdriver_id = %self.id, "chromedriver does not leave a window");
        }
    }

    /// Whether its client wants a WebSocket as well.
    #[must_use]
    pub fn speaks_bidi(&self) -> bool {
        self.for_driver.get("webSocketUrl") == Some(&Value::Bool(true))
    }

    fn is_idle(&self, timeout: Duration) -> bool {
        self.in_use.load(Ordering::Relaxed) == 0 && lock(&self.used_at).elapsed() > timeout
    }
}

impl Link {
    /// Where a command of this session is sent to.
    #[must_use]
    pub fn url(&self, rest: &str) -> String {
        Driver::url(&format!("/session/{}{rest}", self.id))
    }

    /// Sends it.
    #[must_use]
    pub fn client(&self) -> &reqwest::Client {
        &self.driver.client
    }

    /// It cannot be spoken to: another is started.
    pub fn give_up(&self) {
        self.driver.end();
    }
}

impl WebDriver {
    /// No session, and no chromedriver yet. Its folders are made in `run_dir`; what earlier ones left goes. A
    /// session may be without a command for as long as the `timeout`.
    #[must_use]
    pub fn new(run_dir: &Path, run_as: Option<RunAs>, timeout: Duration) -> Self {
        driver::sweep(run_dir);
        // Chromedriver and its relay start at the root.
        let run_dir = run_dir.canonicalize().unwrap_or_else(|_| run_dir.to_owned());
        Self(Arc::new(Inner {
            run_dir,
            run_as,
            timeout,
            sessions: Mutex::default(),
            driver: tokio::sync::Mutex::default(),
            last_address: AtomicU32::new(0),
            emptied_at: Mutex::new(Instant::now()),
        }))
    }

    /// Begins a session in a window: itself, and its capabilities. Chromedriver finds the window by way of
    /// `browsers`.
    ///
    /// # Errors
    /// Chromedriver's own, or that there is none.
    pub async fn begin(
        &self,
        window_of: Uuid,
        wanted: Wanted,
        is_own_user: bool,
        browsers: Router,
    ) -> Result<(Arc<DriverSession>, Value), Refused> {
        let number = self.0.last_address.fetch_add(1, Ordering::Relaxed);
        let [_, high, middle, low] = number.to_be_bytes();
        let session = Arc::new(DriverSession {
            id: secret(),
            window_of,
            is_passing: wanted.is_passing,
            is_own_user,
            ticket: secret(),
            // All of 127.0.0.0/8 is chromedriver's own; the first ones stay its own.
            address: Ipv4Addr::new(127, 64 | (high & 63), middle, low),
            for_driver: wanted.for_driver,
            link: tokio::sync::Mutex::default(),
            used_at: Mutex::new(Instant::now()),
            in_use: AtomicUsize::new(0),
            connections: watch::Sender::new(0),
        });
        {
            let mut sessions = lock(&self.0.sessions);
            if sessions.len() >= MAX_SESSIONS {
                return Err((
                    500,
                    error_body("session not created", "there are too many WebDriver sessions"),
                ));
            }
            sessions.insert(session.id.clone(), Arc::clone(&session));
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

    /// The session of chromedriver's that a session of ours has: a new one where chromedriver was started again.
    ///
    /// # Errors
    /// Chromedriver's own, or that there is none.
    pub async fn link(&self, session: &DriverSession, browsers: Router) -> Result<Link, Refused> {
        let mut place = session.link.lock().await;
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
        let (id, told) = driver.begin(&capabilities).await?;
        Ok((Link { driver, id }, told))
    }

    async fn driver(&self, browsers: Router) -> Result<Arc<Driver>, DriverError> {
        let mut place = self.0.driver.lock().await;
        if let Some(driver) = place.as_ref().filter(|driver| driver.is_alive()) {
            return Ok(Arc::clone(driver));
        }
        let driver = Arc::new(Driver::start(&self.0.run_dir, self.0.run_as.as_ref(), browsers).await?);
        tracing::info!("chromedriver is started");
        *place = Some(Arc::clone(&driver));
        Ok(driver)
    }

    /// Chromedriver no longer has the session, though it runs: the next command begins another.
    pub async fn unlink(&self, session: &DriverSession) {
        *session.link.lock().await = None;
    }

    /// How long a session may be without a command before it ends.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.0.timeout
    }

    /// A session by its id.
    #[must_use]
    pub fn session(&self, id: &str) -> Option<Arc<DriverSession>> {
        lock(&self.0.sessions).get(id).cloned()
    }

    /// The session whose browser has this address in chromedriver's network.
    #[must_use]
    pub fn at(&self, host: &str) -> Option<Arc<DriverSession>> {
        let address: Ipv4Addr = host.split(':').next()?.parse().ok()?;
        lock(&self.0.sessions).values().find(|session| session.address == address).cloned()
    }

    /// Whether a ticket is that of the session whose path is asked for.
    #[must_use]
    pub fn admits(&self, path: &str, ticket: &str) -> bool {
        let path = path.strip_prefix("/wd/hub").unwrap_or(path);
        let id = path.strip_prefix("/session/").and_then(|rest| rest.split('/').next());
        let session = id.and_then(|id| self.session(id));
        session.is_some_and(|session| {
            // Of equal lengths, so that nothing is told by the time it takes.
            Sha256::digest(&session.ticket).ct_eq(&Sha256::digest(ticket)).into()
        })
    }

    /// Ends a session, and gives it back once its window is free: what becomes of that is for others.
    pub async fn end(&self, id: &str) -> Option<Arc<DriverSession>> {
        let session = self.forget(id)?;
        let link = session.link.lock().await.take();
        if let Some(link) = link.filter(|link| link.driver.is_alive()) {
            // Where it does not answer, its browser is taken from it when its connection ends.
            drop(link.client().delete(link.url("")).timeout(LINGER).send().await);
        }
        session.left().await;
        Some(session)
    }

    fn forget(&self, id: &str) -> Option<Arc<DriverSession>> {
        let mut sessions = lock(&self.0.sessions);
        let session = sessions.remove(id);
        if sessions.is_empty() {
            *lock(&self.0.emptied_at) = Instant::now();
        }
        session
    }

    /// Sessions that nobody uses any more, or whose window is no more.
    #[must_use]
    pub fn idle(&self, lives: impl Fn(Uuid) -> bool) -> Vec<String> {
        let sessions = lock(&self.0.sessions);
        let is_over = |session: &DriverSession| session.is_idle(self.0.timeout) || !lives(session.window_of);
        sessions.values().filter(|session| is_over(session)).map(|session| session.id.clone()).collect()
    }

    /// Ends chromedriver where it has had no session for a while.
    pub async fn rest(&self) {
        let is_empty = lock(&self.0.sessions).is_empty() && lock(&self.0.emptied_at).elapsed() > LINGER;
        if is_empty {
            // A session that begins meanwhile has it already, or starts another.
            self.0.driver.lock().await.take();
        }
    }

    /// Ends chromedriver.
    pub async fn stop(&self) {
        lock(&self.0.sessions).clear();
        self.0.driver.lock().await.take();
    }
}
