//! The directory of one browser: its user data, home and temporary files. It belongs to the browser's user
//! alone and goes with the browser; what a killed predecessor left is swept away at the next start.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::{LaunchError, RunAs};

/// What our directories' names begin with.
const PREFIX: &str = "browser-";
/// Held open and locked beside the directory for as long as it is in use.
const LOCK_SUFFIX: &str = ".lock";
/// How often a removal is tried, since dying processes still write.
const REMOVAL_ATTEMPTS_MAX: u32 = 5;

static NUMBER: AtomicU64 = AtomicU64::new(1);

/// A browser's directory. Removed on drop.
#[derive(Debug)]
pub(super) struct BrowserDirectory {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

impl BrowserDirectory {
    /// A fresh one under `run_directory`, for `user` alone.
    pub(super) fn create(run_directory: &Path, user: Option<&RunAs>) -> Result<Self, LaunchError> {
        let failed = |source| LaunchError::Directory { path: run_directory.into(), source };
        fs::create_dir_all(run_directory).map_err(failed)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = run_directory.join(format!("{PREFIX}{}-{number}", std::process::id()));
        let directory = Self::claim(path).map_err(failed)?;
        directory.fill(user).map_err(failed)?;
        if let Some(user) = user {
            check_entry(run_directory, user)?;
        }
        Ok(directory)
    }

    fn claim(path: PathBuf) -> io::Result<Self> {
        let mut lock_path = path.clone().into_os_string();
        lock_path.push(LOCK_SUFFIX);
        let lock_path = PathBuf::from(lock_path);
        let lock = File::create(&lock_path)?;
        lock.try_lock().map_err(io::Error::from)?;
        if path.exists() {
            // A process of the same number left it; the lock says that nobody uses it.
            fs::remove_dir_all(&path)?;
        }
        Ok(Self { path, lock_path, _lock: lock })
    }

    /// Short names: Chromium puts UNIX sockets below, whose paths end at 108 bytes.
    fn fill(&self, user: Option<&RunAs>) -> io::Result<()> {
        for folder in [&self.path, &self.data(), &self.home(), &self.temporary()] {
            DirBuilder::new().mode(0o700).create(folder)?;
            if let Some(user) = user {
                chown(folder, Some(user.uid), Some(user.gid))?;
            }
        }
        Ok(())
    }

    /// Chromium's user data directory.
    pub(super) fn data(&self) -> PathBuf {
        self.path.join("d")
    }

    /// The home of everything that Chromium starts.
    pub(super) fn home(&self) -> PathBuf {
        self.path.join("h")
    }

    /// Temporary files.
    pub(super) fn temporary(&self) -> PathBuf {
        self.path.join("t")
    }

    /// Writes the preferences that full Chromium reads at its start.
    pub(super) fn write_preferences(&self, preferences: &Value, user: Option<&RunAs>) -> io::Result<()> {
        if preferences.as_object().is_none_or(serde_json::Map::is_empty) {
            return Ok(());
        }
        let folder = self.data().join("Default");
        DirBuilder::new().mode(0o700).create(&folder)?;
        let file = folder.join("Preferences");
        fs::write(&file, preferences.to_string())?;
        if let Some(user) = user {
            chown(&folder, Some(user.uid), Some(user.gid))?;
            chown(&file, Some(user.uid), Some(user.gid))?;
        }
        Ok(())
    }

    /// Removes what browsers of a killed process left under `run_directory`. Locked ones are in use.
    pub(super) fn sweep(run_directory: &Path) {
        for entry in fs::read_dir(run_directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(directory) = name.strip_suffix(LOCK_SUFFIX).filter(|name| name.starts_with(PREFIX))
            else {
                continue;
            };
            let abandoned = File::open(entry.path()).is_ok_and(|lock| lock.try_lock().is_ok());
            if abandoned {
                remove(&run_directory.join(directory), &entry.path());
            }
        }
    }
}

impl Drop for BrowserDirectory {
    fn drop(&mut self) {
        remove(&self.path, &self.lock_path);
    }
}

fn remove(directory: &Path, lock: &Path) {
    for attempt in 1..=REMOVAL_ATTEMPTS_MAX {
        match fs::remove_dir_all(directory) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) if attempt == REMOVAL_ATTEMPTS_MAX => {
                tracing::warn!(directory = %directory.display(), %error, "a browser's directory could not be removed");
                return;
            }
            Err(_) => std::thread::yield_now(),
        }
    }
    let _ = fs::remove_file(lock);
}

/// Every folder on the way must let the user pass.
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
        let directory = BrowserDirectory::create(run.path(), None).unwrap();
        assert_eq!(directory.data().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        directory.write_preferences(&json!({"a": {"b": 2}}), None).unwrap();
        assert_eq!(
            fs::read_to_string(directory.data().join("Default/Preferences")).unwrap(),
            r#"{"a":{"b":2}}"#
        );
        drop(directory);
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_what_is_abandoned_is_swept() {
        let run = tempfile::tempdir().unwrap();
        let used = BrowserDirectory::create(run.path(), None).unwrap();
        fs::create_dir(run.path().join("browser-0-1")).unwrap();
        fs::write(run.path().join("browser-0-1.lock"), "").unwrap();
        fs::create_dir(run.path().join("other")).unwrap();
        BrowserDirectory::sweep(run.path());
        assert!(used.data().exists() && run.path().join("other").exists());
        assert!(!run.path().join("browser-0-1").exists() && !run.path().join("browser-0-1.lock").exists());
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
