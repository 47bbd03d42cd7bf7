//! Complete downloads of a session: sealed, and not accessible to the browser's user.
//!
//! What Chromium writes is unencrypted, in a folder that only its user can access, until it is taken over here: when
//! it is requested, and at the latest at the next sweep. An empty file remains in its place, so that Chromium gives
//! no later download the same name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pilotlight_store::FilesKey;
use pilotlight_store::files::{Opened, plain_bytes};
use rustix::fs::{FlockOperation, OFlags, flock};
use uuid::Uuid;

use super::files::{FileError, MAX_FILE_BYTES, at};
use crate::private_file;

/// The suffix of the name of a download in progress.
const COMING: &str = ".crdownload";
/// The suffix of the name of a file that is being sealed.
const FRESH: &str = ".sealing~";

/// The sealed downloads of one session.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    folder: PathBuf,
    session: Uuid,
    key: FilesKey,
}

/// A download, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

impl Kept {
    pub(super) fn new(folder: PathBuf, session: Uuid, key: FilesKey) -> Self {
        Self { folder, session, key }
    }

    fn sealed_as(&self, name: &str) -> String {
        format!("download {} {name}", self.session)
    }

    /// Takes over complete downloads, one caller at a time: a second one would take what the first has emptied.
    /// Blocks.
    pub(super) fn take_over(&self, downloads: &Path) {
        let Ok(owner) = fs::symlink_metadata(downloads).map(|folder| folder.uid()) else { return };
        let lock = File::open(self.folder.parent().unwrap_or(&self.folder));
        let Ok(lock) = lock else { return };
        if flock(&lock, FlockOperation::LockExclusive).is_err() {
            return;
        }
        for entry in fs::read_dir(downloads).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_whole = !name.ends_with(COMING) && entry.file_type().is_ok_and(|kind| kind.is_file());
            if is_whole && let Err(error) = self.take_one(&entry.path(), &name, owner) {
                tracing::debug!(path = %entry.path().display(), %error, "failed to take over a download");
            }
        }
    }

    fn take_one(&self, path: &Path, name: &str, owner: u32) -> Result<(), FileError> {
        let mut plain = open_ordinary(path, OpenOptions::new().read(true).write(true))?;
        let to = self.folder.join(name);
        let metadata = plain.metadata().map_err(at(path))?;
        if metadata.uid() != owner {
            return Err(FileError::Unfit);
        }
        if metadata.len() == 0 && to.exists() {
            return Ok(());
        }
        private_file::make_folder(&self.folder).map_err(at(&self.folder))?;
        let fresh = self.folder.join(format!("{name}{FRESH}"));
        let written = self.seal(name, &mut plain, &fresh).and_then(|()| fs::rename(&fresh, &to));
        if let Err(error) = written {
            drop(fs::remove_file(&fresh));
            return Err(at(&to)(error));
        }
        plain.set_len(0).map_err(at(path))
    }

    fn seal(&self, name: &str, plain: &mut File, fresh: &Path) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut to = private_file::no_links(options.create(true).truncate(true).write(true)).open(fresh)?;
        // It may grow while it is read.
        let bytes = self.key.seal(&self.sealed_as(name), &mut plain.take(MAX_FILE_BYTES + 1), &mut to)?;
        if bytes > MAX_FILE_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        to.sync_all()
    }

    /// Returns all of them, by name.
    pub(super) fn list(&self) -> Vec<Downloaded> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok().filter(|name| !name.ends_with(FRESH))?;
                let bytes = plain_bytes(entry.metadata().ok()?.len())?;
                Some(Downloaded { name, bytes })
            })
            .collect();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        found
    }

    /// Returns the content of one of them. Its name is a name, and not a path.
    pub(super) fn open(&self, name: &str) -> Result<Opened<File>, FileError> {
        let path = self.folder.join(name);
        let sealed = File::open(&path).map_err(|_| FileError::Missing)?;
        self.key.open(&self.sealed_as(name), sealed).map_err(at(&path))
    }
}

/// Opens an ordinary file of exactly this name: not a link, and not another file's second name.
pub(super) fn open_ordinary(path: &Path, options: &mut OpenOptions) -> Result<File, FileError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = options.custom_flags(flags).open(path).map_err(at(path))?;
    check_ordinary(&file, path)?;
    Ok(file)
}

/// Refuses what is not an ordinary file, has another name, or is too large.
pub(super) fn check_ordinary(file: &File, path: &Path) -> Result<(), FileError> {
    let metadata = file.metadata().map_err(at(path))?;
    if !metadata.is_file() || metadata.nlink() != 1 || metadata.len() > MAX_FILE_BYTES {
        return Err(FileError::Unfit);
    }
    Ok(())
}
