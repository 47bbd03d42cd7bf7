//! What a loaded configuration is, and its defaults.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use pilotlight_chromium::profiles::{CustomProfile, Profile, ProfileError};

use url::Url;

use super::Site;

/// Everything that can be configured, checked and with defaults filled in.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from, where there was one.
    pub file: Option<PathBuf>,
    /// `[server]`
    pub server: Server,
    /// `[limits]`
    pub limits: Limits,
    /// `[sessions]`
    pub sessions: Sessions,
    /// `[chromium]`
    pub chromium: Chromium,
    /// `[profiles.NAME]`: launch profiles beside the built-in ones.
    pub profiles: BTreeMap<String, ProfileDefinition>,
    /// `[sites.NAME]` and the files in `sites/`.
    pub sites: BTreeMap<String, Site>,
    /// What is allowed, but should be known: each a sentence.
    pub warnings: Vec<String>,
}

/// Who may talk to the server, and where it keeps its things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it keeps what must outlast it. Absolute.
    pub state_dir: PathBuf,
    /// Whether a token is needed.
    pub auth: Auth,
    /// Values of `Host` that are accepted beside the address that it listens on: `host` or `host:port`.
    pub allowed_hosts: Vec<String>,
    /// Values of `Origin` that are accepted beside its own: `https://host[:port]`.
    pub allowed_origins: Vec<String>,
    /// How long browsers wait for a server before they end.
    pub orphan_timeout: Duration,
    /// Who is told when a session needs a person.
    pub webhook: Option<Url>,
}

impl Server {
    /// Where the token lies.
    pub fn token_file(&self) -> PathBuf {
        self.state_dir.join("token")
    }

    /// Where sessions and their states are kept.
    pub fn store_file(&self) -> PathBuf {
        self.state_dir.join("pilotlight.db")
    }

    /// Where the key lies that the store is sealed with, unless it comes from elsewhere.
    pub fn key_file(&self) -> PathBuf {
        self.state_dir.join("master.key")
    }

    /// The folder of sites that lies in the state folder.
    pub fn sites_dir(&self) -> PathBuf {
        self.state_dir.join("sites")
    }
}

/// How clients prove that they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// By the token in the state folder.
    Token,
    /// Not at all; only for a loopback address.
    None,
}

/// How much there may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most sessions, live or cold.
    pub max_sessions: u32,
    /// Most live windows. `auto` is resolved.
    pub max_live: u32,
    /// Most sessions in one browser process.
    pub windows_per_browser: u32,
    /// Memory that all browsers together should stay within.
    pub memory_budget: MemoryBudget,
    /// What happens to a newcomer when every window is taken.
    pub at_capacity: AtCapacity,
    /// How long a newcomer waits for room.
    pub queue_timeout: Duration,
}

/// Memory that all browsers together should stay within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryBudget {
    /// What the machine has to spare.
    Auto,
    /// So many bytes.
    Bytes(u64),
}

/// What happens to a newcomer when every window is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtCapacity {
    /// The least recently used session that nothing protects hibernates; whoever asks for it gets it back.
    Hibernate,
    /// The least recently used session that nothing protects is ended.
    Terminate,
    /// It waits for room, and is refused when none comes.
    Reject,
}

/// How sessions are treated that do not say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sessions {
    /// After how long without use a session ends that is not `keep_alive`.
    pub idle_timeout: Duration,
    /// How often a sign-in is refreshed; `None` for never.
    pub refresh_interval: Option<Duration>,
    /// How often it is looked for sessions that are due.
    pub refresh_check: Duration,
    /// After how long without use a session's window stands still; `None` for never.
    pub freeze_after: Option<Duration>,
    /// After how long without use a session hibernates; `None` for never.
    pub hibernate_after: Option<Duration>,
    /// After how long without a request a waiting operation expires.
    pub operation_timeout: Duration,
    /// After how long without a command a WebDriver session ends, and no longer holds its window.
    pub webdriver_timeout: Duration,
}

/// Which browser, and how it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chromium {
    /// The executable; `None` to look for one.
    pub binary: Option<PathBuf>,
    /// Which kind of browser.
    pub engine: Engine,
    /// The launch profile of sessions that name none.
    pub profile: String,
    /// The user that browsers run as when the server runs as root; `None` to choose one.
    pub user: Option<String>,
    /// After how long a browser is replaced by a fresh one, once its windows are idle.
    pub max_age: Duration,
    /// How often browsers and their pages are asked whether they still answer. With the delay of a checkpoint
    /// it bounds what a crash can cost: a changed cookie is only noticed then.
    pub heartbeat: Duration,
    /// Whether the memory of windows that stand still is moved to swap, where there is any.
    pub page_out: bool,
    /// Whether equal pages of browsers are merged: a side channel between whoever shares the machine.
    pub merge_pages: bool,
    /// Further switches for every browser.
    pub extra_args: Vec<String>,
    /// Whether switches that take protection away are accepted.
    pub allow_unsafe_args: bool,
}

/// Which kind of browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Headless shell where there is one, else full Chromium without a window.
    Auto,
    /// Headless shell.
    HeadlessShell,
    /// Full Chromium without a window.
    Headless,
    /// Full Chromium with a window; needs a display.
    Headed,
}

/// A launch profile as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProfileDefinition {
    /// The built-in profile that it changes.
    pub base: Option<String>,
    /// Switches to add.
    pub add: Vec<String>,
    /// Switches to leave out, by name.
    pub remove: Vec<String>,
    /// Whether pages load images; `None` leaves it to the base.
    pub images: Option<bool>,
    /// Width and height of the window in CSS pixels; `None` leaves it to the base.
    pub window_size: Option<(u32, u32)>,
    /// Whether every site gets a process of its own; `None` leaves it to the browser.
    pub site_isolation: Option<bool>,
}

impl ProfileDefinition {
    /// The profile as browsers are started with it.
    ///
    /// # Errors
    /// That its base is no built-in profile.
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

/// The port of the default address.
const DEFAULT_PORT: u16 = 7070;
/// Share of the machine's memory that `max_live = "auto"` plans with, in percent.
const AUTO_MEMORY_PERCENT: u64 = 60;
/// What `max_live = "auto"` reckons for one live window.
const AUTO_BYTES_PER_WINDOW: u64 = 120_000_000;
/// The least and most that `max_live = "auto"` comes to.
const AUTO_MAX_LIVE: (u64, u64) = (4, 1000);

impl Config {
    /// The configuration of somebody who configured nothing, with this state folder.
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
                webhook: None,
            },
            limits: Limits {
                max_sessions: 1000,
                max_live: auto_max_live(crate::memory::total_bytes()),
                windows_per_browser: 16,
                memory_budget: MemoryBudget::Auto,
                at_capacity: AtCapacity::Hibernate,
                queue_timeout: MINUTE / 2,
            },
            sessions: Sessions {
                idle_timeout: 30 * MINUTE,
                refresh_interval: Some(5 * MINUTE),
                refresh_check: MINUTE,
                freeze_after: Some(Duration::from_secs(120)),
                hibernate_after: None,
                operation_timeout: 60 * MINUTE,
                webdriver_timeout: 5 * MINUTE,
            },
            chromium: Chromium {
                binary: None,
                engine: Engine::Auto,
                profile: "dense".to_owned(),
                user: None,
                max_age: 24 * 60 * MINUTE,
                heartbeat: MINUTE / 4,
                page_out: true,
                merge_pages: false,
                extra_args: Vec::new(),
                allow_unsafe_args: false,
            },
            profiles: BTreeMap::new(),
            sites: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }
}

/// What `max_live = "auto"` means on a machine of so much memory, or where that is unknown.
pub(super) fn auto_max_live(total_memory_bytes: Option<u64>) -> u32 {
    let (least, most) = AUTO_MAX_LIVE;
    let fits =
        total_memory_bytes.map_or(least, |total| total / 100 * AUTO_MEMORY_PERCENT / AUTO_BYTES_PER_WINDOW);
    u32::try_from(fits.clamp(least, most)).unwrap_or(u32::MAX)
}
