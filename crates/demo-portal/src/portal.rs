//! The demo portal: a small, real web application that stands for a freight portal.
//!
//! The demo and the tests sign in to it. It logs out whoever sends no request for a while, and it counts
//! what the tests must know: sign-ins, requests, sessions. It can be told to misbehave (down, captcha,
//! everybody logged out, another password), in-process by the methods of [`Portal`] and from outside under
//! `/control/…`. It listens on 127.0.0.1 alone: there is nothing to protect here, and no secret in it.

mod appointment;
mod dialogs;
mod example;
mod heavy;
mod in_place;
mod ledger;
mod obstacles;
mod pages;
mod routes;
mod sending;
mod work;
mod yard;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pilotlight_flow::Totp;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use self::appointment::{Booking, MAX_BOOKINGS};
pub use self::example::{EXAMPLE_ADDRESS, EXAMPLE_PORT, ExampleSite, SIGN_IN_PATH, example_site};
pub use self::in_place::InPlace;
use self::ledger::Ledger;
pub use self::ledger::{Counts, MAX_ACCOUNTS, MAX_NAME_BYTES, MAX_SESSIONS, Statistics};
pub use self::obstacles::Obstacles;
pub use self::sending::{MAX_REMEMBERED, Received, Sent};
pub use self::work::Work;

/// The password of every account that was not given another.
pub const PASSWORD: &str = "let-me-in";
/// After how long without a request a user is logged out, unless told otherwise.
pub const DEFAULT_SESSION_TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// How long [`Portal::stop`] lets requests finish.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// How a portal behaves.
#[derive(Debug, Clone)]
pub struct PortalOptions {
    /// On 127.0.0.1; 0 for any free one.
    pub port: u16,
    /// After how long without a request a user is logged out.
    pub session_timeout: Duration,
    /// How long a sign-in takes.
    pub sign_in_delay: Duration,
    /// Whether the log-in page asks for a person.
    pub captcha: bool,
    /// How many wrong passwords in a row lock an account.
    pub lock_after: u64,
    /// Whether each page comes with a new session cookie, after which nobody is known by the one before.
    pub rotates_cookie: bool,
}

impl Default for PortalOptions {
    fn default() -> Self {
        Self {
            port: 0,
            session_timeout: DEFAULT_SESSION_TIMEOUT,
            sign_in_delay: Duration::ZERO,
            captcha: false,
            lock_after: 10,
            rotates_cookie: false,
        }
    }
}

/// Why a portal could not start.
#[derive(Debug, thiserror::Error)]
#[error("the demo portal cannot listen on {address}")]
pub struct PortalError {
    /// Where.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// A running portal. It stops when it is dropped.
#[derive(Debug)]
pub struct Portal {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Stops the server; by being dropped, too.
    stop: oneshot::Sender<()>,
    server: JoinHandle<io::Result<()>>,
}

/// What the routes and [`Portal`] share.
#[derive(Debug)]
struct Shared {
    sign_in_delay: Duration,
    rotates_cookie: bool,
    ledger: Mutex<Ledger>,
    is_down: AtomicBool,
    has_captcha: AtomicBool,
    is_redesigned: AtomicBool,
    asks_to_end_another: AtomicBool,
    in_place: Mutex<Option<InPlace>>,
    obstacles: Mutex<Obstacles>,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Portal {
    /// Starts a portal; it answers once this returns.
    pub async fn start(options: PortalOptions) -> Result<Self, PortalError> {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
        let failed = |source| PortalError { address: wanted, source };
        let listener = TcpListener::bind(wanted).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            sign_in_delay: options.sign_in_delay,
            rotates_cookie: options.rotates_cookie,
            ledger: Mutex::new(Ledger::new(options.session_timeout, PASSWORD.to_owned(), options.lock_after)),
            is_down: AtomicBool::new(false),
            has_captcha: AtomicBool::new(options.captcha),
            is_redesigned: AtomicBool::new(false),
            asks_to_end_another: AtomicBool::new(false),
            in_place: Mutex::default(),
            obstacles: Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let router = routes::router(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            let stopped = async {
                // An error means that the portal was dropped: the same.
                let _ = stopped.await;
            };
            axum::serve(listener, router).with_graceful_shutdown(stopped).await
        });
        Ok(Self { address, shared, stop, server })
    }

    /// Where it is, with a final slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Its site definition and recorded sign-in.
    #[must_use]
    pub fn site(&self) -> ExampleSite {
        example_site(&self.url())
    }

    /// Stops it, letting requests finish for a moment.
    pub async fn stop(self) {
        let Self { stop, mut server, .. } = self;
        drop(stop);
        if tokio::time::timeout(STOP_TIMEOUT, &mut server).await.is_err() {
            server.abort();
        }
    }

    /// Everything that was counted.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.shared.ledger().statistics(Instant::now())
    }

    /// What was counted for one account; zeros for an unknown one.
    #[must_use]
    pub fn counts(&self, user: &str) -> Counts {
        self.statistics().users.get(user).copied().unwrap_or_default()
    }

    /// Every appointment that was booked, in order.
    #[must_use]
    pub fn bookings(&self) -> Vec<Booking> {
        self.shared.ledger().bookings().to_vec()
    }

    /// Every request that came, other than those to `/control`.
    #[must_use]
    pub fn sent(&self) -> Sent {
        self.shared.ledger().sent.clone()
    }

    /// How often `user` signed in.
    #[must_use]
    pub fn sign_ins(&self, user: &str) -> u64 {
        self.counts(user).sign_ins
    }

    /// How often anybody signed in.
    #[must_use]
    pub fn total_sign_ins(&self) -> u64 {
        self.statistics().total.sign_ins
    }

    /// How many requests `user` sent while signed in.
    #[must_use]
    pub fn requests(&self, user: &str) -> u64 {
        self.counts(user).requests
    }

    /// Ends all sessions.
    pub fn log_everybody_out(&self) {
        self.shared.ledger().drop_all(Instant::now());
    }

    /// Changes after how long without a request a user is logged out.
    pub fn set_session_timeout(&self, session_timeout: Duration) {
        self.shared.ledger().set_session_timeout(session_timeout, Instant::now());
    }

    /// Makes it answer 503 to everything, or no longer.
    pub fn set_down(&self, is_down: bool) {
        self.shared.is_down.store(is_down, Ordering::Relaxed);
    }

    /// Makes the log-in page ask for a person, or no longer.
    pub fn set_captcha(&self, has_captcha: bool) {
        self.shared.has_captcha.store(has_captcha, Ordering::Relaxed);
    }

    /// Gives the log-in page another form, or the old one.
    pub fn set_redesigned(&self, is_redesigned: bool) {
        self.shared.is_redesigned.store(is_redesigned, Ordering::Relaxed);
    }

    /// Asks an account for a code after its password, or no longer; `false` as for [`Portal::set_password`].
    #[must_use]
    pub fn set_second_factor(&self, user: &str, second_factor: Option<Totp>) -> bool {
        self.shared.ledger().set_second_factor(user, second_factor)
    }

    /// Locks an account whatever its password, or lets it in again; `false` as for [`Portal::set_password`].
    #[must_use]
    pub fn set_locked(&self, user: &str, is_locked: bool) -> bool {
        self.shared.ledger().set_locked(user, is_locked)
    }

    /// Gives an account a password of its own; `false` where it cannot have one (see [`MAX_ACCOUNTS`] and
    /// [`MAX_NAME_BYTES`]).
    #[must_use]
    pub fn set_password(&self, user: &str, password: impl Into<String>) -> bool {
        self.shared.ledger().set_password(user, password.into())
    }
}

#[cfg(test)]
mod tests;
