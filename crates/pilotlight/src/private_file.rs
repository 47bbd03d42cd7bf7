//! Files that only the server's user can read, and that are complete after any crash.
//!
//! A file is written next to the old one, synced to disk, and renamed to the old one's name; then its folder is
//! synced, too. A rename alone may reach the disk before the contents (ext4(5), `auto_da_alloc`, lists the cases),
//! and a power failure would then leave an empty file.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Readable and writable for the owner only.
pub(crate) const OWNER_FILE: u32 = 0o600;
/// Only the owner can list or traverse it.
pub(crate) const OWNER_FOLDER: u32 = 0o700;

/// Opens a file as private, and does not follow links.
pub(crate) fn no_links(options: &mut OpenOptions) -> &mut OpenOptions {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    options.mode(OWNER_FILE).custom_flags(flags)
}

/// Writes a file atomically: on return it is complete on disk; on failure the previous version is unchanged.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let written = write_and_rename(&fresh, path, content);
    if written.is_err() {
        // A partial file is useless, and on a full disk it takes up space.
        drop(fs::remove_file(&fresh));
    }
    written
}

fn write_and_rename(fresh: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = no_links(OpenOptions::new().create(true).truncate(true).write(true)).open(fresh)?;
    // A file of an earlier version may have other permissions.
    file.set_permissions(Permissions::from_mode(OWNER_FILE))?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(fresh, path)?;
    sync_folder(path)
}

/// Syncs the directory entries of the folder of `path` to disk.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Creates a private folder, or removes other users' permissions from an existing one.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(OWNER_FOLDER).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(OWNER_FOLDER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_is_the_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        fs::write(&path, "old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, OWNER_FILE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was left beside it");
    }

    #[test]
    fn where_it_cannot_be_written_the_old_one_stays_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir_all(path.join("below")).unwrap();
        assert!(write(&path, b"new").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_others_could_look_into_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sites");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        make_folder(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, OWNER_FOLDER);
    }
}
