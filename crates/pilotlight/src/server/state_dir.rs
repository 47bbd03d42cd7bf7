//! The state folder: one server's own, with its token in it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use secrecy::SecretString;

/// Bytes of chance in a token.
const TOKEN_BYTES: usize = 32;
/// Only the owner reads.
const OWNER_FILE: u32 = 0o600;
/// Only the owner looks or passes through.
const OWNER_FOLDER: u32 = 0o700;
/// Others may pass through, for browsers run as another user and have their folders inside, but not look.
const PASSABLE: u32 = 0o711;

/// Permissions by which others than the owner may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Something in it cannot be made, read or written.
    #[error("{} cannot be used", path.display())]
    Unusable {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another server has it.
    #[error("another server uses {}", path.display())]
    Taken {
        /// The folder.
        path: PathBuf,
    },
    /// Somebody else could change what is in it.
    #[error("{} belongs to another user, or others may write to it", path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
    },
    /// The token's file has no token in it.
    #[error("{} holds no token: remove it, and a new one is made", path.display())]
    NoToken {
        /// The file.
        path: PathBuf,
    },
}

/// The state folder, locked until this is dropped.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Makes the folder where it is not there, and locks it.
    ///
    /// # Errors
    /// That it cannot be written, or that another server has it.
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        make_folder(path, PASSABLE)?;
        let lock_path = path.join("lock");
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).mode(OWNER_FILE).open(&lock_path);
        let lock = lock.map_err(|source| StateDirError::Unusable { path: lock_path, source })?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| StateDirError::Taken { path: path.to_owned() })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The token, made where there is none yet.
    ///
    /// # Errors
    /// That it cannot be read or written.
    pub fn token(&self) -> Result<SecretString, StateDirError> {
        let path = self.path.join("token");
        let unusable = |source| StateDirError::Unusable { path: path.clone(), source };
        let opened = no_links(OpenOptions::new().read(true)).open(&path);
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let token = new_token();
                let mut file = no_links(OpenOptions::new().create_new(true).write(true))
                    .open(&path)
                    .map_err(unusable)?;
                file.write_all(format!("{token}\n").as_bytes()).map_err(unusable)?;
                return Ok(token.into());
            }
            Err(error) => return Err(unusable(error)),
        };
        file.set_permissions(Permissions::from_mode(OWNER_FILE)).map_err(unusable)?;
        let mut token = String::new();
        file.read_to_string(&mut token).map_err(unusable)?;
        if token.trim().len() < TOKEN_BYTES {
            return Err(StateDirError::NoToken { path });
        }
        Ok(token.trim().to_owned().into())
    }

    /// Where the dashboard's door keeps who is inside.
    #[must_use]
    pub fn visitors_file(&self) -> PathBuf {
        self.path.join("visitors")
    }

    /// Where browsers and those who keep them have their folders. What an earlier server left is there still.
    ///
    /// # Errors
    /// That it cannot be made.
    pub fn run_dir(&self) -> Result<PathBuf, StateDirError> {
        let path = self.path.join("run");
        make_folder(&path, PASSABLE)?;
        Ok(path)
    }

    /// Where sessions have the files that clients download and upload, as a path from the root.
    ///
    /// # Errors
    /// That it cannot be made.
    pub fn files_dir(&self) -> Result<PathBuf, StateDirError> {
        let path = self.path.join("files");
        make_folder(&path, PASSABLE)?;
        path.canonicalize().map_err(|source| StateDirError::Unusable { path, source })
    }

    /// Where it is kept what was seen of sign-ins that failed.
    ///
    /// # Errors
    /// That it cannot be made.
    pub fn failures_dir(&self) -> Result<PathBuf, StateDirError> {
        let path = self.path.join("failures");
        make_folder(&path, OWNER_FOLDER)?;
        Ok(path)
    }

    /// Where operations keep their screenshots and downloads.
    ///
    /// # Errors
    /// That it cannot be made.
    pub fn operations_dir(&self) -> Result<PathBuf, StateDirError> {
        let path = self.path.join("operations");
        make_folder(&path, PASSABLE)?;
        Ok(path)
    }
}

/// Makes a folder. One that is there already must be ours alone to change: whoever else could put a token, or
/// a link in place of a file, into it.
fn make_folder(path: &Path, mode: u32) -> Result<(), StateDirError> {
    let unusable = |source| StateDirError::Unusable { path: path.to_owned(), source };
    if !path.is_dir() {
        DirBuilder::new().recursive(true).mode(mode).create(path).map_err(unusable)?;
    }
    let folder = fs::metadata(path).map_err(unusable)?;
    let ours = folder.uid() == rustix::process::geteuid().as_raw();
    if !ours || folder.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(StateDirError::NotOurs { path: path.to_owned() });
    }
    Ok(())
}

/// A file of the owner's alone, and no link to somebody else's.
fn no_links(options: &mut OpenOptions) -> &mut OpenOptions {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    options.mode(OWNER_FILE).custom_flags(flags)
}

/// Writes a file of the owner's alone: all of it, or what was there before stays.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = no_links(OpenOptions::new().create(true).truncate(true).write(true)).open(&fresh)?;
    file.write_all(content)?;
    fs::rename(fresh, path)
}

fn new_token() -> String {
    let bytes: [u8; TOKEN_BYTES] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn the_token_is_made_once_and_is_the_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let state_dir = StateDir::open(&path).unwrap();
        let token = state_dir.token().unwrap();
        assert_eq!(token.expose_secret().len(), 2 * TOKEN_BYTES);
        assert_eq!(state_dir.token().unwrap().expose_secret(), token.expose_secret());
        assert_eq!(fs::metadata(path.join("token")).unwrap().permissions().mode() & 0o777, OWNER_FILE);
    }

    #[test]
    fn a_second_server_is_kept_out() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateDir::open(folder.path()).unwrap();
        assert!(matches!(StateDir::open(folder.path()), Err(StateDirError::Taken { .. })));
        drop(first);
        StateDir::open(folder.path()).unwrap();
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(StateDir::open(folder.path()), Err(StateDirError::NotOurs { .. })));
    }

    #[test]
    fn a_link_in_place_of_the_token_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, "x".repeat(64)).unwrap();
        let state_dir = StateDir::open(&folder.path().join("state")).unwrap();
        std::os::unix::fs::symlink(&elsewhere, folder.path().join("state/token")).unwrap();
        assert!(matches!(state_dir.token(), Err(StateDirError::Unusable { .. })));
    }

    #[test]
    fn a_file_in_the_way_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        let error = StateDir::open(&path.join("state")).unwrap_err();
        assert!(matches!(error, StateDirError::Unusable { .. }), "{error:?}");
    }
}
