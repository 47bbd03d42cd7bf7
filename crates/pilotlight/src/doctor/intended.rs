//! What a server with a given configuration requires of the machine.

use std::path::PathBuf;

use pilotlight_chromium::launch::BrowserUsers;
use pilotlight_chromium::profiles::Profile;
use pilotlight_linux::Destination;

use crate::config::Config;
use crate::keeper::find_browser;

/// What a server with a given configuration requires of the machine.
#[derive(Debug, Clone)]
pub struct Intended {
    /// The path of the browser, or the error if there is none.
    pub(super) browser: Result<PathBuf, String>,
    /// The users that browsers run as.
    pub(super) users: BrowserUsers,
    /// Where memory of frozen windows is moved; `None` if it stays in memory.
    pub(super) destination: Option<Destination>,
}

impl Intended {
    /// Creates it from a configuration.
    pub(crate) fn by(config: &Config) -> Self {
        let users = BrowserUsers::choose(config.chromium.user.as_deref());
        let browser = match &users {
            Ok(_) => browser(config),
            Err(error) => Err(error.to_string()),
        };
        let destination = config.chromium.page_out;
        Self { browser, users: users.unwrap_or(BrowserUsers::Own), destination }
    }
}

/// Returns the browser that a server with this configuration would start, or an error.
fn browser(config: &Config) -> Result<PathBuf, String> {
    let name = &config.chromium.profile;
    let base = match config.profiles.get(name) {
        Some(own) => own.custom().map_err(|error| error.to_string())?.base,
        None => name.parse::<Profile>().map_err(|error| error.to_string())?,
    };
    let environment = std::env::vars().collect();
    let found = find_browser(&config.chromium, base, &environment).map_err(|error| error.to_string())?;
    Ok(found.path)
}
