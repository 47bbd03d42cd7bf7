//! Browsers of commands that need no server: they run in a temporary folder, which goes with them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use pilotlight_chromium::launch::Reach;
use tempfile::TempDir;

use crate::config::Config;
use crate::exit::Failure;
use crate::keeper::{BrowserLauncher, BrowserLauncherOptions};
use crate::serve::failure;
use crate::server::ServeError;

/// How long the browser runs after the command was killed.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(30);
/// The browser may run as another user, who must come through the folder.
const PASSABLE: u32 = 0o711;

/// Starts such browsers.
pub(super) struct TrialBrowsers {
    pub(super) launcher: BrowserLauncher,
    /// The launch profile of the configuration.
    pub(super) profile: String,
    _folder: TempDir,
}

impl TrialBrowsers {
    /// Prepares to start browsers as a server with this configuration would.
    pub(super) async fn prepare(config: Config) -> Result<Self, Failure> {
        let mut folder = tempfile::Builder::new();
        let folder = folder.prefix("pilotlight-try-").permissions(Permissions::from_mode(PASSABLE)).tempdir();
        let folder = folder.map_err(|error| failure(&ServeError::System(error)))?;
        let profile = config.chromium.profile.clone();
        let options = BrowserLauncherOptions {
            chromium: config.chromium,
            profiles: config.profiles,
            run_dir: folder.path().to_owned(),
            orphan_timeout: ORPHAN_TIMEOUT,
            reach: Reach { secret: vec![config.server.state_dir], ..Reach::default() },
        };
        let launcher = BrowserLauncher::open(options).await;
        let launcher = launcher.map_err(|error| failure(&ServeError::Launcher(error)))?;
        Ok(Self { launcher, profile, _folder: folder })
    }
}
