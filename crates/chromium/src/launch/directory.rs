//! The directory of one browser: its user data, home and temporary files. It belongs only to the browser's user and
//! is removed with the browser; what a killed predecessor left is removed at the next start.
//!
//! Once a folder belongs to the browser's user, nothing below it may be created or handed over by us: that user could
//! put a link in its place, and root would follow it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::folder::LockedFolder;
use super::remains::end_browsers;
use super::users::sweep_users;
use super::{LaunchError, RunAs};

/// The prefix of the names of browsers' directories.
const PREFIX: &str = "browser-";
/// The name of Chromium's user data directory in it.
const DATA: &str = "d";
/// The name of the folder of temporary files in it.
pub(crate) const TEMPORARY: &str = "t";

/// A browser's directory. Removed on drop.
#[derive(Debug)]
pub(super) struct BrowserDirectory {
    folder: LockedFolder,
}

impl BrowserDirectory {
    /// Creates a new one under `run_directory`, for `user` alone, with the preferences that full Chromium reads at
    /// its start.
    pub(super) fn create(
        run_directory: &Path,
        preferences: &Value,
        user: Option<&RunAs>,
    ) -> Result<Self, LaunchError> {
        let failed = |source| LaunchError::Directory { path: run_directory.into(), source };
        let directory = Self { folder: LockedFolder::claim(run_directory, PREFIX).map_err(failed)? };
        let made = directory.fill(preferences).map_err(failed)?;
        if let Some(user) = user {
            hand_over(&made, user).map_err(failed)?;
            check_entry(run_directory, user)?;
        }
        Ok(directory)
    }

    /// Creates everything while it belongs to us, and returns what was created, each after its folder. Short names:
    /// Chromium creates UNIX sockets below, whose paths are limited to 108 bytes.
    fn fill(&self, preferences: &Value) -> io::Result<Vec<PathBuf>> {
        let mut made = vec![self.folder.path().to_owned(), self.data(), self.home(), self.temporary()];
        let has_preferences = preferences.as_object().is_some_and(|entries| !entries.is_empty());
        if has_preferences {
            made.push(self.data().join("Default"));
        }
        for folder in &made {
            DirBuilder::new().mode(0o700).create(folder)?;
        }
        if has_preferences {
            let file = self.data().join("Default").join("Preferences");
            fs::write(&file, preferences.to_string())?;
            made.push(file);
        }
        Ok(made)
    }

    /// Returns the whole directory.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns Chromium's user data directory.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join(DATA)
    }

    /// Returns the home of everything that Chromium starts.
    pub(super) fn home(&self) -> PathBuf {
        self.folder.path().join("h")
    }

    /// Returns the folder of temporary files.
    pub(super) fn temporary(&self) -> PathBuf {
        self.folder.path().join(TEMPORARY)
    }
}

/// Removes the directories of browsers whose owner has ended. Browsers that still use them get `grace` to end. Blocks
/// meanwhile.
pub(crate) fn sweep_browsers(run_directory: &Path, grace: Duration) {
    let abandoned = LockedFolder::abandoned(run_directory, PREFIX);
    let data: Vec<PathBuf> = abandoned.iter().map(|folder| folder.path().join(DATA)).collect();
    end_browsers(&data, grace);
    sweep_users(run_directory);
}

/// Hands over from the inside outwards, so that whatever is still to be handed over is in a folder of ours that no
/// other user can enter. Links are never followed.
fn hand_over(made: &[PathBuf], user: &RunAs) -> io::Result<()> {
    made.iter().rev().try_for_each(|path| lchown(path, Some(user.uid), Some(user.gid)))
}

/// Every folder in the path must be accessible to the user.
fn check_entry(run_directory: &Path, user: &RunAs) -> Result<(), LaunchError> {
    let failed = |source| LaunchError::Directory { path: run_directory.into(), source };
    let full = run_directory.canonicalize().map_err(failed)?;
    for folder in full.ancestors() {
        let metadata = folder.metadata().map_err(failed)?;
        let bit = match (metadata.uid() == user.uid, metadata.gid() == user.gid) {
            (true, _) => 0o100,
            (false, true) => 0o010,
            (false, false) => 0o001,
        };
        if metadata.mode() & bit == 0 {
            return Err(LaunchError::NoEntry { user: user.name.clone(), path: folder.into() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_private_and_goes_with_its_owner() {
        let run = tempfile::tempdir().unwrap();
        let preferences = json!({"a": {"b": 2}});
        let directory = BrowserDirectory::create(run.path(), &preferences, None).unwrap();
        assert_eq!(directory.data().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(
            fs::read_to_string(directory.data().join("Default/Preferences")).unwrap(),
            r#"{"a":{"b":2}}"#
        );
        drop(directory);
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 0);
    }

    /// Somebody else where we may give things away, otherwise ourselves.
    fn other_user() -> RunAs {
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let (uid, gid) = if own.0 == 0 { (65534, 65534) } else { own };
        RunAs { uid, gid, name: "other".into() }
    }

    fn owner(path: &Path) -> (u32, u32) {
        let metadata = path.symlink_metadata().unwrap();
        (metadata.uid(), metadata.gid())
    }

    #[test]
    fn everything_is_made_before_anything_is_handed_over() {
        let run = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(run.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let user = other_user();
        let made = BrowserDirectory { folder: LockedFolder::claim(run.path(), PREFIX).unwrap() };
        let order = made.fill(&json!({"a": 1})).unwrap();
        assert_eq!(order[0], made.folder.path());
        for (index, path) in order.iter().enumerate().skip(1) {
            assert!(order[..index].iter().any(|earlier| path.parent() == Some(earlier)), "{path:?}");
        }
        assert!(order.iter().all(|path| owner(path).0 == rustix::process::geteuid().as_raw()));
        drop(made);

        let directory = BrowserDirectory::create(run.path(), &json!({"a": 1}), Some(&user)).unwrap();
        let preferences = directory.data().join("Default/Preferences");
        for path in [
            directory.folder.path(),
            &directory.data(),
            &directory.home(),
            &directory.temporary(),
            &preferences,
        ] {
            assert_eq!(owner(path), (user.uid, user.gid), "{path:?}");
        }
    }

    #[test]
    fn the_outermost_folder_is_handed_over_last_and_links_are_not_followed() {
        let run = tempfile::tempdir().unwrap();
        let (top, link, target) =
            (run.path().join("top"), run.path().join("top/link"), run.path().join("ours"));
        fs::create_dir(&top).unwrap();
        fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let (own, user) = (owner(&target), other_user());
        hand_over(&[top.clone(), top.join("missing"), link.clone()], &user).unwrap_err();
        assert_eq!((owner(&link), owner(&target), owner(&top)), ((user.uid, user.gid), own, own));
        hand_over(&[top.clone(), link], &user).unwrap();
        assert_eq!((owner(&target), owner(&top)), (own, (user.uid, user.gid)));
    }

    #[test]
    fn a_way_that_the_user_cannot_go_is_named() {
        let run = tempfile::tempdir().unwrap();
        fs::set_permissions(run.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let user = RunAs { uid: 4711, gid: 4711, name: "stranger".into() };
        let error = check_entry(&run.path().canonicalize().unwrap(), &user).unwrap_err();
        assert!(error.to_string().contains("the user `stranger`"), "{error}");
    }
}
