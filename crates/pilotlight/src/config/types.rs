//! The types of a loaded configuration, and the defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use pilotlight_chromium::profiles::{CustomProfile, Profile, ProfileError};

use pilotlight_linux::Destination;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::Site;
use crate::authority::{Authority, Origin};

/// A validated configuration with defaults filled in.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from, if any.
    pub file: Option<PathBuf>,
    /// `[server]`
    pub server: Server,
    /// `[limits]`
    pub limits: Limits,
    /// `[sessions]`
    pub sessions: Sessions,
    /// `[chromium]`
    pub chromium: Chromium,
    /// `[profiles.NAME]`: custom launch profiles.
    pub profiles: BTreeMap<String, ProfileDefinition>,
    /// `[sites.NAME]` and the files in `sites/`.
    pub sites: BTreeMap<String, Site>,
    /// The names of those that are in the state folder, defined over REST.
    pub stored_sites: BTreeSet<String>,
    /// The errors of sites in the state folder that cannot be used, by name. They may be caused by a power failure or
    /// a later version, so they do not prevent the server from starting.
    pub broken_sites: BTreeMap<String, String>,
    /// Warnings: one sentence each.
    pub warnings: Vec<String>,
}

/// Access to the server, and its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The folder for persistent state. Absolute.
    pub state_dir: PathBuf,
    /// Whether a token is required.
    pub auth: Auth,
    /// Allowed values of `Host` besides the address it listens on: `host` or `host:port`.
    pub allowed_hosts: Vec<Authority>,
    /// Origins of other pages that may use the API: `https://host[:port]`.
    pub allowed_origins: Vec<Origin>,
    /// How long browsers keep running without a server.
    pub orphan_timeout: Duration,
    /// Folders in which local clients may name files and receive downloads.
    pub local_folders: Vec<PathBuf>,
    /// The webhook that is notified when a session needs a person.
    pub webhook: Option<Url>,
    /// The key that signs messages to the webhook.
    pub webhook_secret: Option<WebhookSecret>,
}

/// The key that signs messages to the webhook.
#[derive(Debug, Clone)]
pub struct WebhookSecret(pub SecretString);

impl PartialEq for WebhookSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for WebhookSecret {}

impl Server {
    /// Returns the path of the token.
    pub fn token_file(&self) -> PathBuf {
        self.state_dir.join("token")
    }

    /// Returns the path of the store.
    pub fn store_file(&self) -> PathBuf {
        self.state_dir.join("pilotlight.db")
    }

    /// Returns the path of the master key, unless it comes from elsewhere.
    pub fn key_file(&self) -> PathBuf {
        self.state_dir.join("master.key")
    }

    /// Returns the folder of the demo, which is a separate server with separate state.
    pub fn demo_dir(&self) -> PathBuf {
        self.state_dir.join("demo")
    }

    /// Returns the folder of sites in the state folder.
    pub fn sites_dir(&self) -> PathBuf {
        self.state_dir.join("sites")
    }
}

/// How clients authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// With the token in the state folder.
    Token,
    /// Not at all; only for loopback addresses.
    None,
}

/// Limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of sessions, with or without a window.
    pub max_sessions: u32,
    /// Maximum number of live windows. `auto` is resolved.
    pub max_live: u32,
    /// Maximum number of windows beside those, in which hibernated sessions are refreshed; 0 for none.
    pub asleep_windows: u32,
    /// Maximum number of sessions in one browser process.
    pub windows_per_browser: u32,
    /// Memory budget of all browsers together.
    pub memory_budget: MemoryBudget,
    /// Memory limit of a single window.
    pub window_memory: MemoryBudget,
    /// What happens to a new session when all windows are in use.
    pub at_capacity: AtCapacity,
    /// How long a new session waits for capacity.
    pub queue_timeout: Duration,
}

/// A memory budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryBudget {
    /// Derived from the machine's memory.
    Auto,
    /// A number of bytes.
    Bytes(u64),
}

/// What happens to a new session when all windows are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtCapacity {
    /// The least recently used unprotected session is hibernated; it is restored when it is next used.
    Hibernate,
    /// The least recently used unprotected session is ended.
    Terminate,
    /// The new session waits for capacity, and is refused after a timeout.
    Reject,
}

/// Defaults for sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sessions {
    /// Time without use after which a session ends that is not `keep_alive`.
    pub idle_timeout: Duration,
    /// The refresh interval; `None` for never.
    pub refresh_interval: Option<Duration>,
    /// How often to check for sessions that are due for a refresh.
    pub refresh_check: Duration,
    /// Time without a message after which a connected client no longer counts as using its session; `None` for never.
    pub client_idle_after: Option<Duration>,
    /// Time without use after which a window is frozen; `None` for never.
    pub freeze_after: Option<Duration>,
    /// Time without use after which a session is hibernated; `None` for never.
    pub hibernate_after: Option<Duration>,
    /// Time without a request after which a waiting operation expires.
    pub operation_timeout: Duration,
    /// How long screenshots of ended operations are kept; `None` for as long as the operation.
    pub keep_pictures: Option<Duration>,
    /// Time without a command after which a WebDriver session ends and releases its window.
    pub webdriver_timeout: Duration,
}

/// The browser and how it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chromium {
    /// The executable; `None` to search for one.
    pub binary: Option<PathBuf>,
    /// The engine.
    pub engine: Engine,
    /// The default launch profile.
    pub profile: String,
    /// The user that browsers run as if the server runs as root; `None` to choose one.
    pub user: Option<String>,
    /// Age at which a browser is replaced when its windows are idle.
    pub max_age: Duration,
    /// How often browsers and pages are checked. Together with the delay of a checkpoint, this limits what a crash
    /// can lose: a changed cookie is only noticed at a check.
    pub heartbeat: Duration,
    /// Where memory of frozen windows is moved; `None` to leave it in memory.
    pub page_out: Option<Destination>,
    /// Whether identical memory pages of browsers are merged: a side channel between tenants of the machine.
    pub merge_pages: bool,
    /// Absolute paths that browsers may read besides the system.
    pub readable: Vec<PathBuf>,
    /// Additional switches for every browser.
    pub extra_args: Vec<String>,
    /// Whether switches that remove protections are accepted.
    pub allow_unsafe_args: bool,
}

/// The engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Headless shell if available, otherwise full Chromium without a window.
    Auto,
    /// Headless shell.
    HeadlessShell,
    /// Full Chromium without a window.
    Headless,
    /// Full Chromium with a window; requires a display.
    Headed,
}

/// The definition of a launch profile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProfileDefinition {
    /// The built-in profile that it is based on.
    pub base: Option<String>,
    /// Switches to add.
    pub add: Vec<String>,
    /// Names of switches to remove.
    pub remove: Vec<String>,
    /// Whether pages load images; `None` to use the base's setting.
    pub images: Option<bool>,
    /// Width and height of the window in CSS pixels; `None` to use the base's setting.
    pub window_size: Option<(u32, u32)>,
    /// Whether every site gets its own process; `None` for the browser's default.
    pub site_isolation: Option<bool>,
}

impl ProfileDefinition {
    /// Returns the resolved profile.
    ///
    /// # Errors
    /// Returns an error if its base is not a built-in profile.
    pub fn custom(&self) -> Result<CustomProfile, ProfileError> {
        let base = self.base.as_deref().map_or(Ok(Profile::Dense), str::parse)?;
        Ok(CustomProfile {
            base,
            add: self.add.clone(),
            remove: self.remove.clone(),
            images: self.images,
            window_size: self.window_size,
            site_isolation: self.site_isolation,
        })
    }
}

/// The default port.
const DEFAULT_PORT: u16 = 7070;
/// Share of the machine's memory that `max_live = "auto"` assumes, in percent.
const AUTO_MEMORY_PERCENT: u64 = 60;
/// Memory per live window that `max_live = "auto"` assumes.
const AUTO_BYTES_PER_WINDOW: u64 = 120_000_000;
/// Minimum and maximum of `max_live = "auto"`.
const AUTO_MAX_LIVE: (u64, u64) = (4, 1000);

impl Config {
    /// Returns the defaults, with this state folder.
    pub(super) fn with_defaults(state_dir: PathBuf) -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Self {
            file: None,
            server: Server {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
                state_dir,
                auth: Auth::Token,
                allowed_hosts: Vec::new(),
                allowed_origins: Vec::new(),
                orphan_timeout: 24 * 60 * MINUTE,
                local_folders: Vec::new(),
                webhook: None,
                webhook_secret: None,
            },
            limits: Limits {
                max_sessions: 1000,
                max_live: auto_max_live(crate::memory::total_bytes()),
                asleep_windows: 2,
                windows_per_browser: 16,
                memory_budget: MemoryBudget::Auto,
                window_memory: MemoryBudget::Auto,
                at_capacity: AtCapacity::Hibernate,
                queue_timeout: MINUTE / 2,
            },
            sessions: Sessions {
                idle_timeout: 30 * MINUTE,
                refresh_interval: Some(5 * MINUTE),
                refresh_check: MINUTE,
                client_idle_after: Some(2 * MINUTE),
                freeze_after: Some(Duration::from_secs(120)),
                hibernate_after: None,
                operation_timeout: 60 * MINUTE,
                keep_pictures: Some(7 * 24 * 60 * MINUTE),
                webdriver_timeout: 30 * MINUTE,
            },
            chromium: Chromium {
                binary: None,
                engine: Engine::Auto,
                profile: "dense".to_owned(),
                user: None,
                max_age: 24 * 60 * MINUTE,
                heartbeat: MINUTE / 4,
                page_out: Some(Destination::Sealed),
                merge_pages: false,
                readable: Vec::new(),
                extra_args: Vec::new(),
                allow_unsafe_args: false,
            },
            profiles: BTreeMap::new(),
            sites: BTreeMap::new(),
            stored_sites: BTreeSet::new(),
            broken_sites: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }
}

/// Returns the value of `max_live = "auto"` for a machine with this much memory, or with unknown memory.
pub(super) fn auto_max_live(total_memory_bytes: Option<u64>) -> u32 {
    let (least, most) = AUTO_MAX_LIVE;
    let fits =
        total_memory_bytes.map_or(least, |total| total / 100 * AUTO_MEMORY_PERCENT / AUTO_BYTES_PER_WINDOW);
    u32::try_from(fits.clamp(least, most)).unwrap_or(u32::MAX)
}
