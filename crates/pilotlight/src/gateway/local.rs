//! Folders of the machine that the configuration shares with clients (`server.local_folders`): clients can name files
//! in them by path, and have downloads written there. No client can name any other file of the machine.
//!
//! The kernel keeps every path within its folder (`openat2(2)`): no link is followed and no mount is crossed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, fchown, fstat, openat, openat2, statat,
    unlinkat,
};
use rustix::process::geteuid;

use super::files::FileError;
use super::kept::check_ordinary;

/// Flags that forbid links and mounts below a folder.
const WITHIN: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);
/// The permission bit for reading by all users.
const READABLE: u32 = 0o004;

/// The folders. None by default.
#[derive(Debug, Clone, Default)]
pub struct LocalFolders(Arc<[PathBuf]>);

impl LocalFolders {
    /// Returns these folders.
    #[must_use]
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self(folders.into())
    }

    /// Opens an ordinary file below one of them.
    ///
    /// # Errors
    /// If it is not below one, or not an ordinary file that belongs to the folder's owner or is readable by all
    /// users.
    pub(super) fn open(&self, path: &Path) -> Result<File, FileError> {
        let (folder, below) = self.folder_of(path)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat2(&folder, below, flags, Mode::empty(), WITHIN).map_err(at(path))?;
        let (file_is, folder_is) = (status(&file, path)?, status(&folder, path)?);
        // Root could read more than the owner of the folder.
        let is_theirs = file_is.st_uid == folder_is.st_uid || file_is.st_mode & READABLE != 0;
        if geteuid().is_root() && !is_theirs {
            return Err(FileError::Unfit);
        }
        let file = File::from(file);
        check_ordinary(&file, path)?;
        Ok(file)
    }

    /// Creates a file in `folder`, which must be one of them or below one. It belongs to the folder's owner, and is
    /// removed unless it is [kept](NewFile::keep).
    ///
    /// # Errors
    /// If the folder is not shared, or the file exists.
    pub(super) fn create(&self, folder: &Path, name: &OsStr) -> Result<NewFile, FileError> {
        let path = folder.join(name);
        let (root, below) = self.folder_of(folder)?;
        let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat2(&root, below, flags, Mode::empty(), WITHIN).map_err(at(&path))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&folder, name, flags, Mode::from_raw_mode(0o644)).map_err(at(&path))?;
        let file = NewFile { file: file.into(), folder, name: name.to_owned(), is_kept: false };
        if geteuid().is_root() {
            let owner = status(&file.folder, &path)?;
            let (user, group) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
            fchown(&file.file, Some(user), Some(group)).map_err(at(&path))?;
        }
        Ok(file)
    }

    /// Returns the shared folder of a path, opened, and the rest of the path.
    fn folder_of<'a>(&self, path: &'a Path) -> Result<(OwnedFd, &'a Path), FileError> {
        let is_plain = path.is_absolute() && !path.components().any(|part| part == Component::ParentDir);
        let within = |folder: &&PathBuf| is_plain && path.starts_with(folder);
        let folder = self.0.iter().find(within).ok_or(FileError::Foreign)?;
        let below = path.strip_prefix(folder).map_err(|_| FileError::Foreign)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, folder, flags, Mode::empty()).map_err(at(folder))?;
        Ok((folder, below))
    }
}

/// A file that is being written into one of the folders. It is removed unless it is completed.
#[derive(Debug)]
pub(super) struct NewFile {
    file: File,
    folder: OwnedFd,
    name: OsString,
    is_kept: bool,
}

impl NewFile {
    /// Keeps the file, which is complete.
    pub(super) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Write for NewFile {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.file.write(part)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        let place = |of: &Stat| (of.st_dev, of.st_ino);
        let named = statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        // Other users can write to the folder: another file may have the name by now.
        let is_this =
            named.is_ok_and(|named| fstat(&self.file).is_ok_and(|own| place(&own) == place(&named)));
        if is_this && let Err(error) = unlinkat(&self.folder, &self.name, AtFlags::empty()) {
            tracing::warn!(name = ?self.name, %error, "failed to remove an incomplete download from a shared folder");
        }
    }
}

fn at(path: &Path) -> impl FnOnce(rustix::io::Errno) -> FileError + use<'_> {
    move |source| FileError::System { path: path.into(), source: io::Error::from(source) }
}

fn status(file: impl AsFd, path: &Path) -> Result<Stat, FileError> {
    fstat(file).map_err(at(path))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_beside_the_folders_can_be_named() {
        let machine = tempfile::tempdir().unwrap();
        let [shared, beside] = ["shared", "shared-not"].map(|name| machine.path().join(name));
        for folder in [&shared, &beside] {
            fs::create_dir_all(folder.join("below")).unwrap();
            fs::write(folder.join("below/file"), "content").unwrap();
        }
        symlink(beside.join("below/file"), shared.join("link")).unwrap();
        symlink(&beside, shared.join("folder")).unwrap();
        symlink("/proc", shared.join("proc")).unwrap();
        fs::hard_link(beside.join("below/file"), shared.join("second-name")).unwrap();
        let folders = LocalFolders::new(vec![shared.clone()]);
        assert!(folders.open(&shared.join("below/file")).is_ok());
        for below in ["link", "folder/below/file", "proc/self/environ", "second-name", "none", "", "below"] {
            assert!(folders.open(&shared.join(below)).is_err(), "{below}");
        }
        for path in [
            beside.join("below/file"),
            shared.join("../shared-not/below/file"),
            "/etc/hostname".into(),
            "/proc/self/environ".into(),
            "shared/below/file".into(),
        ] {
            assert!(matches!(folders.open(&path), Err(FileError::Foreign)), "{path:?}");
            assert!(LocalFolders::default().open(&path).is_err(), "{path:?}");
        }
        for folder in [shared.clone(), shared.join("below")] {
            drop(folders.create(&folder, "new".as_ref()).unwrap());
            assert!(!folder.join("new").exists(), "half a file is left in {folder:?}");
            folders.create(&folder, "new".as_ref()).unwrap().keep();
            assert!(folder.join("new").exists(), "{folder:?}");
            assert!(folders.create(&folder, "new".as_ref()).is_err(), "nothing is overwritten");
        }
        for folder in
            [beside.clone(), shared.join("folder"), shared.join("../shared-not"), shared.join("none")]
        {
            assert!(folders.create(&folder, "other".as_ref()).is_err(), "{folder:?}");
        }
        assert!(folders.create(&shared, "link".as_ref()).is_err(), "a link is not followed");
        assert!(!beside.join("other").exists());
    }
}
