//! Folders that are removed with the process that created them. A lock file beside each is held for as long as that
//! process runs, however it ends; a folder whose lock is free can be removed by any process.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The lock of a folder, held open for as long as the folder is in use.
const LOCK_SUFFIX: &str = ".lock";
/// How many names are tried for a new folder.
const NAMES_MAX: u32 = 64;
/// How often a removal is tried, since ending processes still write.
const REMOVAL_ATTEMPTS_MAX: u32 = 5;

static NUMBER: AtomicU64 = AtomicU64::new(1);

/// The ownership of a folder, which need not exist. When it is dropped, the folder is removed.
#[derive(Debug)]
pub(crate) struct LockedFolder {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

impl LockedFolder {
    /// Claims an unused name under `run_directory`, without creating the folder.
    pub(crate) fn claim(run_directory: &Path, prefix: &str) -> io::Result<Self> {
        fs::create_dir_all(run_directory)?;
        for _ in 0..NAMES_MAX {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = run_directory.join(format!("{prefix}{}-{number}", std::process::id()));
            // The folder of an earlier process with the same id must not be removed here.
            if let Some(folder) = Self::lock(path, true)?
                && !folder.path.exists()
            {
                return Ok(folder);
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "every name for a folder is in use"))
    }

    /// Claims exactly this name; `None` if another process has it.
    pub(crate) fn claim_name(run_directory: &Path, name: &str) -> io::Result<Option<Self>> {
        fs::create_dir_all(run_directory)?;
        Self::lock(run_directory.join(name), true)
    }

    /// Returns what ended processes left under `run_directory`.
    pub(crate) fn abandoned(run_directory: &Path, prefix: &str) -> Vec<Self> {
        let entries = fs::read_dir(run_directory).into_iter().flatten().flatten();
        let folders = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let folder = name.strip_suffix(LOCK_SUFFIX)?;
            folder.starts_with(prefix).then(|| run_directory.join(folder))
        });
        folders.filter_map(|path| Self::lock(path, false).ok().flatten()).collect()
    }

    /// Returns whether the process that created the folder at `path` still runs.
    pub(crate) fn is_in_use(path: &Path) -> bool {
        match OpenOptions::new().read(true).open(lock_path(path)) {
            Ok(lock) => lock.try_lock().is_err(),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Returns `None` if another process holds the lock.
    fn lock(path: PathBuf, create: bool) -> io::Result<Option<Self>> {
        let lock_path = lock_path(&path);
        // No other user may open it: opening it is enough to lock it.
        let lock = OpenOptions::new().write(true).create(create).mode(0o600).open(&lock_path)?;
        if lock.try_lock().is_err() {
            return Ok(None);
        }
        // The last owner may have removed it in between; then another file counts.
        let current = fs::metadata(&lock_path).is_ok_and(|metadata| {
            lock.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (metadata.dev(), metadata.ino()))
        });
        Ok(current.then_some(Self { path, lock_path, _lock: lock }))
    }

    /// Returns the path of the folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LockedFolder {
    fn drop(&mut self) {
        for attempt in 1..=REMOVAL_ATTEMPTS_MAX {
            match fs::remove_dir_all(&self.path) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) if attempt == REMOVAL_ATTEMPTS_MAX => {
                    tracing::warn!(directory = %self.path.display(), %error, "failed to remove a browser's directory");
                    return;
                }
                Err(_) => std::thread::yield_now(),
            }
        }
        let _ = fs::remove_file(&self.lock_path);
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(LOCK_SUFFIX);
    lock_path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_abandoned_is_given_away() {
        let run = tempfile::tempdir().unwrap();
        let used = LockedFolder::claim(run.path(), "x-").unwrap();
        fs::create_dir(used.path()).unwrap();
        fs::create_dir(run.path().join("x-0-1")).unwrap();
        fs::write(run.path().join("x-0-1.lock"), "").unwrap();
        fs::write(run.path().join("y-0-1.lock"), "").unwrap();
        fs::create_dir(run.path().join("x-other")).unwrap();
        assert!(LockedFolder::is_in_use(used.path()) && !LockedFolder::is_in_use(&run.path().join("x-0-1")));
        let abandoned = LockedFolder::abandoned(run.path(), "x-");
        assert_eq!(
            abandoned.iter().map(|folder| &folder.path).collect::<Vec<_>>(),
            [&run.path().join("x-0-1")]
        );
        drop(abandoned);
        assert!(used.path().exists() && run.path().join("x-other").exists());
        assert!(!run.path().join("x-0-1").exists() && !run.path().join("x-0-1.lock").exists());
    }

    #[test]
    fn what_a_process_of_the_same_number_left_is_passed_over() {
        let run = tempfile::tempdir().unwrap();
        let number = NUMBER.load(Ordering::Relaxed);
        for next in number..number + 20 {
            fs::create_dir(run.path().join(format!("x-{}-{next}", std::process::id()))).unwrap();
        }
        let folder = LockedFolder::claim(run.path(), "x-").unwrap();
        assert!(!folder.path().exists());
    }
}
