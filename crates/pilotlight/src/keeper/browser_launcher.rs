//! Starting browsers: which Chromium, as which user, with which switches; and adopting those that an earlier server
//! left.
//!
//! All profiles are resolved when the server starts, so that a mistake is reported then, not when the first session
//! needs it. The browser itself is searched for at each start: it may have been installed or upgraded meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pilotlight_chromium::find::{Binary, Engine, FindError, Search, check_version, find};
use pilotlight_chromium::launch::{Confinement, LaunchError, LaunchPlan, Reach, RunAs, probe};
use pilotlight_chromium::profiles::{CustomProfile, Profile, ProfileError, Resolved, resolve};
use pilotlight_chromium::shim::{OrphanedBrowser, ShimLauncher, ShimOptions};
use pilotlight_chromium::{Browser, BrowserEvent, StartError, Window, WindowOptions};
use pilotlight_core::{AdoptedShard, Failure, FailureKind, Isolation, LaunchKey, Moment, SessionId, ShardId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::config;
use crate::sentence::with_sources;

/// The settings of the launcher.
#[derive(Debug)]
pub struct BrowserLauncherOptions {
    /// `[chromium]`
    pub chromium: config::Chromium,
    /// `[profiles.NAME]`
    pub profiles: BTreeMap<String, config::ProfileDefinition>,
    /// The folder of the browsers' folders.
    pub run_dir: PathBuf,
    /// How long browsers wait for a server that has ended.
    pub orphan_timeout: Duration,
    /// The server's own ports that browsers may reach.
    pub reach: Reach,
}

/// A browser that an earlier server left, with those of its windows that belong to living sessions.
#[derive(Debug)]
pub struct AdoptedBrowser {
    /// What the rules need to know of it.
    pub shard: AdoptedShard,
    /// The browser.
    pub browser: Browser,
    /// Its events from now on.
    pub events: mpsc::Receiver<BrowserEvent>,
    /// Its windows.
    pub windows: Vec<(SessionId, Window)>,
}

/// What a shim stores about the start of its browser.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Label {
    profile: String,
    dedicated: bool,
    /// It belongs to a session that slowed down others. Earlier servers did not store this.
    #[serde(default)]
    quarantined: bool,
    /// When it was started, in milliseconds since 1970.
    started_at_ms: u64,
    /// The digest of switches and settings, by which a changed profile is noticed.
    digest: String,
}

impl Label {
    fn isolation(&self) -> Isolation {
        match (self.dedicated, self.quarantined) {
            (false, _) => Isolation::Shared,
            (true, false) => Isolation::Dedicated,
            (true, true) => Isolation::Quarantined,
        }
    }
}

/// The label by which the next server finds the session of a window.
pub(super) fn label(session: SessionId) -> String {
    Uuid::from_u128(session.0).to_string()
}

/// Why no browser can be started at all.
#[derive(Debug, thiserror::Error)]
pub enum BrowserLauncherError {
    /// A profile cannot be used.
    #[error("the launch profile `{name}` cannot be used")]
    Profile {
        /// Its name.
        name: String,
        /// Its first mistake.
        #[source]
        source: ProfileError,
    },
    /// There is no user or no folder to run browsers.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// No usable Chromium was found.
    #[error(transparent)]
    Find(#[from] FindError),
}

/// Returns the browser for profiles that are based on this one.
///
/// # Errors
/// If there is none, with a hint how to install it.
pub fn find_browser(
    chromium: &config::Chromium,
    base: Profile,
    environment: &HashMap<String, String>,
) -> Result<Binary, FindError> {
    let has_display = environment.get("DISPLAY").is_some_and(|display| !display.is_empty());
    let engines = match chromium.engine {
        config::Engine::Auto => base.engines(has_display),
        config::Engine::HeadlessShell => vec![Engine::HeadlessShell],
        config::Engine::Headless => vec![Engine::Headless],
        config::Engine::Headed => vec![Engine::Headed],
    };
    let search = Search { configured: chromium.binary.as_deref(), environment, root: Path::new("/") };
    find(&search, &engines)
}

/// Starts browsers.
#[derive(Debug)]
pub struct BrowserLauncher {
    chromium: config::Chromium,
    shim_launcher: ShimLauncher,
    /// Launch keys are positions in this list.
    profiles: Vec<(String, CustomProfile)>,
    environment: HashMap<String, String>,
    reach: Reach,
}

impl BrowserLauncher {
    /// Checks that every profile can be used, and that there is a Chromium for the default one.
    ///
    /// # Errors
    /// A description of the problem.
    pub async fn open(options: BrowserLauncherOptions) -> Result<Self, BrowserLauncherError> {
        let BrowserLauncherOptions { chromium, profiles, run_dir, orphan_timeout, mut reach } = options;
        reach.readable.extend(chromium.readable.iter().cloned());
        let built_in = Profile::ALL.map(|profile| (profile.name().to_owned(), Ok(profile.into())));
        let own = profiles.into_iter().map(|(name, definition)| (name, definition.custom()));
        let mut usable = Vec::new();
        for (name, profile) in built_in.into_iter().chain(own) {
            let refused = |source| BrowserLauncherError::Profile { name: name.clone(), source };
            let profile: CustomProfile = profile.map_err(refused)?;
            resolved(&chromium, &profile, Engine::HeadlessShell).map_err(refused)?;
            usable.push((name, profile));
        }
        let shims = ShimOptions { orphan_timeout, ..ShimOptions::new(run_dir) };
        let shim_launcher = ShimLauncher::new(shims, chromium.user.as_deref())?;
        let environment = std::env::vars().collect();
        let launcher = Self { chromium, shim_launcher, profiles: usable, environment, reach };
        if let Some((_, profile)) =
            launcher.profiles.iter().find(|(name, _)| *name == launcher.chromium.profile)
        {
            let binary = launcher.find(profile)?;
            let users = launcher.shim_launcher.users();
            let version = check_version(&binary, users.helper().as_ref()).await?;
            let users = users.describe();
            tracing::info!(binary = %binary.path.display(), version, engine = %binary.engine, users, "browser found");
        }
        if probe() == Confinement::None {
            tracing::warn!("the kernel has no Landlock: browsers can access all files of their user");
        }
        Ok(launcher)
    }

    /// Returns whether browsers of this profile show their windows on a display, or that is not known.
    #[must_use]
    pub fn shows_windows(&self, profile: &str) -> bool {
        let profile = self.profiles.iter().find(|(name, _)| name == profile);
        let binary = profile.and_then(|(_, profile)| self.find(profile).ok());
        binary.is_none_or(|binary| binary.engine == Engine::Headed)
    }

    /// Returns the user that runs all browsers, if it is not the server's own.
    #[must_use]
    pub fn helper(&self) -> Option<RunAs> {
        self.shim_launcher.users().helper()
    }

    /// Returns how browsers of this profile are started; `None` if there is no such profile.
    #[must_use]
    pub fn launch(&self, profile: &str) -> Option<LaunchKey> {
        let place = self.profiles.iter().position(|(name, _)| name == profile)?;
        u64::try_from(place).ok().map(LaunchKey)
    }

    fn find(&self, profile: &CustomProfile) -> Result<Binary, FindError> {
        find_browser(&self.chromium, profile.base, &self.environment)
    }

    /// Starts a browser, and returns it with its events.
    ///
    /// # Errors
    /// The failure; nothing of the browser is left.
    pub async fn start(
        &self,
        launch: LaunchKey,
        isolation: Isolation,
        shard: ShardId,
        now: Moment,
    ) -> Result<(Browser, mpsc::Receiver<BrowserEvent>), Failure> {
        let place = usize::try_from(launch.0).unwrap_or(usize::MAX);
        let Some((name, profile)) = self.profiles.get(place) else {
            return Err(failure(
                FailureKind::BrowserMissing,
                "the launch profile no longer exists".to_owned(),
            ));
        };
        let missing = |error: &dyn Error| failure(FailureKind::BrowserMissing, with_sources(error));
        let binary = self.find(profile).map_err(|error| missing(&error))?;
        let resolved = resolved(&self.chromium, profile, binary.engine).map_err(|error| missing(&error))?;
        let engine = binary.engine;
        let label = Label {
            profile: name.clone(),
            dedicated: isolation != Isolation::Shared,
            quarantined: isolation == Isolation::Quarantined,
            started_at_ms: now.0,
            digest: digest(&resolved, self.chromium.merge_pages),
        };
        let label = serde_json::to_string(&label).unwrap_or_default();
        let plan = LaunchPlan {
            binary,
            arguments: resolved.arguments,
            preferences: resolved.preferences,
            environment: self.environment.clone(),
            merges_pages: self.chromium.merge_pages,
            yields: isolation == Isolation::Quarantined,
            reach: self.reach.clone(),
        };
        let started = Browser::start(&self.shim_launcher.labelled(&label), plan).await;
        let (browser, events) = started.map_err(|error| of_start(&error))?;
        tracing::info!(shard = shard.0, pid = browser.pid(), profile = name, %engine, "browser started");
        Ok((browser, events))
    }
}

impl BrowserLauncher {
    /// Adopts the browsers that an earlier server left. `windows` are those of living sessions, with their options;
    /// all others are closed.
    pub async fn adopt_all(&self, windows: &BTreeMap<SessionId, WindowOptions>) -> Vec<AdoptedBrowser> {
        let found = self.shim_launcher.orphans().await;
        let adopting =
            (1..).zip(found.orphans).map(|(number, orphan)| self.adopt(ShardId(number), orphan, windows));
        futures_util::future::join_all(adopting).await.into_iter().flatten().collect()
    }

    async fn adopt(
        &self,
        shard: ShardId,
        orphan: OrphanedBrowser,
        windows: &BTreeMap<SessionId, WindowOptions>,
    ) -> Option<AdoptedBrowser> {
        let shard = self.kept_shard(orphan.label(), shard);
        let claimed: Vec<(SessionId, (String, WindowOptions))> = orphan
            .windows()
            .into_iter()
            .filter_map(|(context, label)| {
                let session = SessionId(label.parse::<Uuid>().ok()?.as_u128());
                let options = windows.get(&session)?.clone();
                Some((session, (context, WindowOptions { label: Some(label), ..options })))
            })
            .collect();
        let (sessions, claims): (Vec<_>, Vec<_>) = claimed.into_iter().unzip();
        let pid = orphan.browser_pid();
        let (browser, events, adopted) = match Browser::adopt(orphan, claims).await {
            Ok(adopted) => adopted,
            Err(error) => {
                tracing::warn!(pid, error = with_sources(&error), "failed to adopt a browser");
                return None;
            }
        };
        let windows: Vec<_> = sessions
            .into_iter()
            .zip(adopted)
            .filter_map(|(session, window)| match window {
                Ok(window) => Some((session, window)),
                Err(lost) => {
                    tracing::warn!(session_id = label(session), error = %lost, "a window was lost with the earlier server");
                    None
                }
            })
            .collect();
        tracing::info!(shard = shard.id.0, pid, windows = windows.len(), "browser adopted");
        Some(AdoptedBrowser { shard, browser, events, windows })
    }

    /// A browser that was started in another way than it would be now gets no new windows and is retired.
    fn kept_shard(&self, label: &str, id: ShardId) -> AdoptedShard {
        let nobodys = LaunchKey(u64::MAX);
        let unknown = AdoptedShard {
            id,
            launch: nobodys,
            isolation: Isolation::Shared,
            since: Moment(0),
            outdated: true,
        };
        let Ok(label) = serde_json::from_str::<Label>(label) else { return unknown };
        let launch = self.launch(&label.profile).filter(|launch| self.starts_as(*launch, &label.digest));
        AdoptedShard {
            id,
            launch: launch.unwrap_or(nobodys),
            isolation: label.isolation(),
            since: Moment(label.started_at_ms),
            outdated: launch.is_none(),
        }
    }

    /// Returns whether browsers of this launch key are started with the switches and settings of this digest.
    fn starts_as(&self, launch: LaunchKey, digest_then: &str) -> bool {
        let place = usize::try_from(launch.0).unwrap_or(usize::MAX);
        let Some((_, profile)) = self.profiles.get(place) else { return false };
        let Ok(binary) = self.find(profile) else { return false };
        resolved(&self.chromium, profile, binary.engine)
            .is_ok_and(|resolved| digest(&resolved, self.chromium.merge_pages) == digest_then)
    }
}

/// Returns a digest of switches and settings.
fn digest(resolved: &Resolved, merges_pages: bool) -> String {
    let told = format!("{:?}{}{merges_pages}", resolved.arguments, resolved.preferences);
    Sha256::digest(told.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Resolves a profile, or returns its first mistake: the configuration has reported all of them.
fn resolved(
    chromium: &config::Chromium,
    profile: &CustomProfile,
    engine: Engine,
) -> Result<Resolved, ProfileError> {
    resolve(profile, engine, &chromium.extra_args, chromium.allow_unsafe_args)
        .map_err(|mut errors| errors.swap_remove(0))
}

fn of_start(error: &StartError) -> Failure {
    tracing::warn!(error = with_sources(error), "failed to start a browser");
    failure(FailureKind::Browser, with_sources(error))
}

fn failure(kind: FailureKind, sentence: String) -> Failure {
    Failure { kind, sentence }
}
