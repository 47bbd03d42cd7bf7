//! Where browsers come from: which Chromium, as which user, with which switches.
//!
//! All profiles are resolved when the server starts, so that a mistake is told then and not when the first
//! session needs it. The browser itself is looked for each time: it may be installed or upgraded meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::path::{Path, PathBuf};

use pilotlight_chromium::find::{Binary, Engine, FindError, Search, check_version, find};
use pilotlight_chromium::launch::{DirectLauncher, LaunchError, LaunchPlan};
use pilotlight_chromium::profiles::{CustomProfile, Profile, ProfileError, Resolved, resolve};
use pilotlight_chromium::{Browser, BrowserEvent, StartError};
use pilotlight_core::{Failure, FailureKind, LaunchKey, ShardId};
use tokio::sync::mpsc;

use crate::config;
use crate::sentence::with_sources;

/// What browsers are started with.
#[derive(Debug)]
pub struct FarmOptions {
    /// `[chromium]`
    pub chromium: config::Chromium,
    /// `[profiles.NAME]`
    pub profiles: BTreeMap<String, config::ProfileDefinition>,
    /// Where browsers have their folders.
    pub run_dir: PathBuf,
}

/// Why no browser can be started, whatever is asked for.
#[derive(Debug, thiserror::Error)]
pub enum FarmError {
    /// A profile cannot be used.
    #[error("the launch profile `{name}` cannot be used")]
    Profile {
        /// Which.
        name: String,
        /// Why, its first mistake.
        #[source]
        source: ProfileError,
    },
    /// There is nobody or no place to run browsers.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// There is no Chromium to use.
    #[error(transparent)]
    Find(#[from] FindError),
}

/// Starts browsers.
#[derive(Debug)]
pub struct Farm {
    chromium: config::Chromium,
    launcher: DirectLauncher,
    /// A launch key is the place of a profile in here.
    profiles: Vec<(String, CustomProfile)>,
    environment: HashMap<String, String>,
}

impl Farm {
    /// Checks that every profile can be used, and that there is a Chromium for the default one.
    ///
    /// # Errors
    /// What is in the way.
    pub async fn open(options: FarmOptions) -> Result<Self, FarmError> {
        let FarmOptions { chromium, profiles, run_dir } = options;
        let built_in = Profile::ALL.map(|profile| (profile.name().to_owned(), Ok(profile.into())));
        let own = profiles.into_iter().map(|(name, definition)| (name, definition.custom()));
        let mut usable = Vec::new();
        for (name, profile) in built_in.into_iter().chain(own) {
            let refused = |source| FarmError::Profile { name: name.clone(), source };
            let profile: CustomProfile = profile.map_err(refused)?;
            resolved(&chromium, &profile, Engine::HeadlessShell).map_err(refused)?;
            usable.push((name, profile));
        }
        let launcher = DirectLauncher::new(run_dir, chromium.user.as_deref())?;
        let environment = std::env::vars().collect();
        let farm = Self { chromium, launcher, profiles: usable, environment };
        if let Some((_, profile)) = farm.profiles.iter().find(|(name, _)| *name == farm.chromium.profile) {
            let binary = farm.find(profile)?;
            let version = check_version(&binary, farm.launcher.run_as()).await?;
            let user = farm.launcher.run_as().map_or("this user", |user| &user.name);
            tracing::info!(binary = %binary.path.display(), version, engine = %binary.engine, user, "browser found");
        }
        Ok(farm)
    }

    /// How browsers of this profile are started; `None` where there is no such profile.
    #[must_use]
    pub fn launch(&self, profile: &str) -> Option<LaunchKey> {
        let place = self.profiles.iter().position(|(name, _)| name == profile)?;
        u64::try_from(place).ok().map(LaunchKey)
    }

    fn find(&self, profile: &CustomProfile) -> Result<Binary, FindError> {
        let has_display = self.environment.get("DISPLAY").is_some_and(|display| !display.is_empty());
        let engines = match self.chromium.engine {
            config::Engine::Auto => profile.base.engines(has_display),
            config::Engine::HeadlessShell => vec![Engine::HeadlessShell],
            config::Engine::Headless => vec![Engine::Headless],
            config::Engine::Headed => vec![Engine::Headed],
        };
        let search = Search {
            configured: self.chromium.binary.as_deref(),
            environment: &self.environment,
            root: Path::new("/"),
        };
        find(&search, &engines)
    }

    /// Starts a browser, and gives what it says from then on.
    ///
    /// # Errors
    /// Why there is none; nothing is left over.
    pub async fn start(
        &self,
        launch: LaunchKey,
        shard: ShardId,
    ) -> Result<(Browser, mpsc::Receiver<BrowserEvent>), Failure> {
        let place = usize::try_from(launch.0).unwrap_or(usize::MAX);
        let Some((name, profile)) = self.profiles.get(place) else {
            return Err(failure(FailureKind::BrowserMissing, "the launch profile is gone".to_owned()));
        };
        let missing = |error: &dyn Error| failure(FailureKind::BrowserMissing, with_sources(error));
        let binary = self.find(profile).map_err(|error| missing(&error))?;
        let resolved = resolved(&self.chromium, profile, binary.engine).map_err(|error| missing(&error))?;
        let engine = binary.engine;
        let plan = LaunchPlan {
            binary,
            arguments: resolved.arguments,
            preferences: resolved.preferences,
            environment: self.environment.clone(),
        };
        let started = Browser::start(&self.launcher, plan).await;
        let (browser, events) = started.map_err(|error| of_start(&error))?;
        tracing::info!(shard = shard.0, pid = browser.pid(), profile = name, %engine, "browser started");
        Ok((browser, events))
    }
}

/// What a profile comes to, or its first mistake: the configuration told all of them.
fn resolved(
    chromium: &config::Chromium,
    profile: &CustomProfile,
    engine: Engine,
) -> Result<Resolved, ProfileError> {
    resolve(profile, engine, &chromium.extra_args, chromium.allow_unsafe_args)
        .map_err(|mut errors| errors.swap_remove(0))
}

fn of_start(error: &StartError) -> Failure {
    tracing::warn!(error = with_sources(error), "a browser did not start");
    failure(FailureKind::Browser, with_sources(error))
}

fn failure(kind: FailureKind, sentence: String) -> Failure {
    Failure { kind, sentence }
}
