//! Launch profiles: the switches and preferences with which Chromium is started.
//!
//! [`table::FLAGS`] is the only place that knows switches; this module only selects, merges and refuses. A switch
//! that removes a protection, or that is not in the table, is refused unless the user allowed it explicitly; a switch
//! that Pilotlight sets itself (`--user-data-dir`, `--remote-debugging-…`) is always refused.

mod arguments;
pub mod table;

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::engine::Engine;
use arguments::Arguments;
use table::{FLAGS, Flag, Kind};

/// The largest window side, in CSS pixels: what Chromium can still rasterise in software.
pub const WINDOW_SIDE_MAX: u32 = 16_384;

/// The profiles that come with Pilotlight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Chromium's defaults: only what it needs to run unattended.
    Conservative,
    /// No GPU and a smaller window; images are kept, and the window if there is a display.
    Moderate,
    /// All switches of the common lists for lean browsers that are not unsafe, no images, headless.
    Aggressive,
    /// The switches that proved useful in measurements, with images and JIT compiler on. The default.
    Dense,
}

impl Profile {
    /// All of them, leanest last.
    pub const ALL: [Self; 4] = [Self::Conservative, Self::Moderate, Self::Aggressive, Self::Dense];

    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conservative => "conservative",
            Self::Moderate => "moderate",
            Self::Aggressive => "aggressive",
            Self::Dense => "dense",
        }
    }

    /// Returns the engines that can run this profile if none is configured, best first.
    pub fn engines(self, has_display: bool) -> Vec<Engine> {
        match (self, has_display) {
            (Self::Conservative | Self::Moderate, true) => {
                vec![Engine::Headed, Engine::HeadlessShell, Engine::Headless]
            }
            _ => vec![Engine::HeadlessShell, Engine::Headless],
        }
    }

    fn has(self, flag: &Flag) -> bool {
        flag.profiles.contains(&self)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(name: &str) -> Result<Self, ProfileError> {
        let known = Self::ALL.into_iter().find(|profile| profile.name() == name);
        known.ok_or_else(|| ProfileError::UnknownProfile(name.into()))
    }
}

/// A profile of the user: a built-in one with changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomProfile {
    /// The profile that it is based on.
    pub base: Profile,
    /// Additional switches, as on a command line.
    pub add: Vec<String>,
    /// Names of the base's switches, features, flags or preferences to leave out.
    pub remove: Vec<String>,
    /// Whether images are loaded; as in the base if `None`.
    pub images: Option<bool>,
    /// Width and height in CSS pixels; as in the base if `None`.
    pub window_size: Option<(u32, u32)>,
    /// Whether every site gets a process of its own in headless shell, which does not do that by default. Full
    /// Chromium always does. Costs one renderer per site, and protects the sites of one session from one another even
    /// if a renderer is compromised.
    pub site_isolation: Option<bool>,
}

impl CustomProfile {
    /// Returns `base` without changes.
    pub fn unchanged(base: Profile) -> Self {
        Self { base, add: vec![], remove: vec![], images: None, window_size: None, site_isolation: None }
    }
}

impl From<Profile> for CustomProfile {
    fn from(base: Profile) -> Self {
        Self::unchanged(base)
    }
}

/// A profile resolved for one engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The command line without what the launch itself adds (pipe, user data directory, headless).
    pub arguments: Vec<String>,
    /// The content of `Default/Preferences` of the full engines; an empty object for headless shell.
    pub preferences: Value,
    /// Whether images are loaded.
    pub images: bool,
    /// Width and height in CSS pixels, if the profile sets them.
    pub window_size: Option<(u32, u32)>,
    /// Whether every site gets a process of its own.
    pub site_isolation: bool,
}

/// Why a profile cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// No built-in profile has this name.
    #[error("there is no profile `{0}`; built in are `conservative`, `moderate`, `aggressive` and `dense`")]
    UnknownProfile(String),
    /// It removes a protection.
    #[error("`{argument}` is refused: {reason}; it needs `allow_unsafe_args = true`")]
    Unsafe {
        /// The argument.
        argument: String,
        /// Its effect.
        reason: String,
    },
    /// Its effect is not known.
    #[error(
        "`{argument}` is refused: `{name}` is not among what `pilotlight flags` lists, so that it may take a protection \
         away; it needs `allow_unsafe_args = true`"
    )]
    Unknown {
        /// The argument.
        argument: String,
        /// The switch, feature, flag or setting.
        name: String,
    },
    /// A software renderer would run in the process that has all cookies.
    #[error(
        "`in-process-gpu` without `disable-software-rasterizer` is refused: a library that pages can attack would \
         draw inside the browser process, which has no sandbox; it needs `allow_unsafe_args = true`"
    )]
    SoftwareRenderer,
    /// Pilotlight sets it itself.
    #[error("`{argument}` is refused: {reason}")]
    Owned {
        /// The argument.
        argument: String,
        /// What sets it instead.
        reason: String,
    },
    /// It is not a switch.
    #[error("`{0}` is not a switch: write it as `--name` or `--name=value`")]
    Malformed(String),
    /// What is to be removed is not in the base.
    #[error("`{name}` cannot be removed: the profile `{base}` does not have it")]
    NotInProfile {
        /// The name that was to be removed.
        name: String,
        /// The base.
        base: Profile,
    },
    /// A window of no size, or too large.
    #[error("a window of {0}x{1} is not possible: both sides must be 1 to {WINDOW_SIDE_MAX} pixels")]
    WindowSize(u32, u32),
}

/// Resolves a profile for `engine`, with the user's additional `extra_args`.
///
/// # Errors
/// All mistakes at once.
pub fn resolve(
    profile: &CustomProfile,
    engine: Engine,
    extra_args: &[String],
    allow_unsafe_args: bool,
) -> Result<Resolved, Vec<ProfileError>> {
    let mut errors = Vec::new();
    check_removals(profile, &mut errors);
    let images =
        profile.images.unwrap_or_else(|| !FLAGS.iter().any(|f| f.is_images_off() && profile.base.has(f)));
    let window_size = profile.window_size.or_else(|| base_window_size(profile));
    if let Some((width, height)) = window_size
        && !((1..=WINDOW_SIDE_MAX).contains(&width) && (1..=WINDOW_SIDE_MAX).contains(&height))
    {
        errors.push(ProfileError::WindowSize(width, height));
    }

    let mut arguments = Arguments::default();
    let mut preferences = Map::new();
    for flag in selected(profile, images) {
        if flag.kind == Kind::Preference {
            if engine != Engine::HeadlessShell {
                set_preference(&mut preferences, flag);
            }
        } else {
            arguments.set(flag.kind, flag.name, flag.value);
        }
    }
    if let Some((width, height)) = window_size {
        arguments.set(Kind::Switch, "window-size", Some(&format!("{width},{height}")));
    }
    let site_isolation = engine != Engine::HeadlessShell || profile.site_isolation.unwrap_or(false);
    if site_isolation && engine == Engine::HeadlessShell {
        arguments.set(Kind::Switch, "site-per-process", None);
    }
    for argument in profile.add.iter().chain(extra_args) {
        if let Err(error) = arguments.add(argument, allow_unsafe_args) {
            errors.push(error);
        }
    }
    let draws_in_browser = arguments.has_switch("in-process-gpu")
        && !["disable-software-rasterizer", "disable-3d-apis"].iter().any(|name| arguments.has_switch(name));
    if draws_in_browser && !allow_unsafe_args {
        errors.push(ProfileError::SoftwareRenderer);
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Resolved {
        arguments: arguments.into_command_line(),
        preferences: Value::Object(preferences),
        images,
        window_size,
        site_isolation,
    })
}

/// Returns the rows of the table for a profile. Those that disable images depend only on `images`.
fn selected(profile: &CustomProfile, images: bool) -> impl Iterator<Item = &'static Flag> {
    FLAGS.iter().filter(move |flag| {
        let wanted = if flag.is_images_off() { !images } else { profile.base.has(flag) };
        wanted && !profile.remove.iter().any(|name| flag.is_called(name))
    })
}

fn check_removals(profile: &CustomProfile, errors: &mut Vec<ProfileError>) {
    for name in &profile.remove {
        if !FLAGS.iter().any(|flag| profile.base.has(flag) && flag.is_called(name)) {
            errors.push(ProfileError::NotInProfile { name: name.clone(), base: profile.base });
        }
    }
}

fn base_window_size(profile: &CustomProfile) -> Option<(u32, u32)> {
    let flag = selected(profile, true).find(|flag| flag.name == "window-size")?;
    let (width, height) = flag.value?.split_once(',')?;
    Some((width.parse().ok()?, height.parse().ok()?))
}

/// Names of preferences have dots between their levels.
fn set_preference(preferences: &mut Map<String, Value>, flag: &Flag) {
    let value = flag.value.and_then(|value| value.parse::<i64>().ok()).map_or(Value::Bool(true), Value::from);
    let mut level = preferences;
    let mut path = flag.name.split('.').peekable();
    while let Some(key) = path.next() {
        if path.peek().is_none() {
            level.insert(key.into(), value);
            return;
        }
        let next = level.entry(key).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(next) = next else { return };
        level = next;
    }
}

#[cfg(test)]
mod tests;
