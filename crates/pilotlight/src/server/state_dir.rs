//! The state folder: used by one server at a time; contains its token.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use secrecy::SecretString;

use crate::authenticator::{AuthenticatorFiles, SECRET_BYTES, secret};
use crate::private_file::{self, OWNER_FILE, OWNER_FOLDER, no_links};

/// Other users may traverse the folder, because browsers run as other users and have their folders in it, but not
/// list it.
const PASSABLE: u32 = 0o711;

/// Permission bits that let other users write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// A file or folder in it cannot be created, read or written.
    #[error("cannot use {}", path.display())]
    Unusable {
        /// The path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another server uses the folder.
    #[error("another server is using {}", path.display())]
    Taken {
        /// The folder.
        path: PathBuf,
    },
    /// Another user could change its contents.
    #[error("{} belongs to another user or is writable by other users", path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
    },
    /// The token's file does not contain a token.
    #[error("{} does not contain a token: delete it to get a new one", path.display())]
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
    /// Creates the folder if it does not exist, and locks it.
    ///
    /// # Errors
    /// Returns an error if it cannot be written, or if another server uses it.
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

    /// Returns the token. Creates one if there is none, or if its file is empty, as it can be after a power failure.
    ///
    /// # Errors
    /// Returns an error if it cannot be read or written, or is too short.
    pub fn token(&self) -> Result<SecretString, StateDirError> {
        let path = self.path.join("token");
        let unusable = |source| StateDirError::Unusable { path: path.clone(), source };
        let opened = no_links(OpenOptions::new().read(true)).open(&path);
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.make_token(&path),
            Err(error) => return Err(unusable(error)),
        };
        file.set_permissions(Permissions::from_mode(OWNER_FILE)).map_err(unusable)?;
        let mut token = String::new();
        file.read_to_string(&mut token).map_err(unusable)?;
        // A file whose contents never reached the disk may also consist of zeros.
        let token = token.trim_matches(|character: char| character.is_whitespace() || character == '\0');
        if token.is_empty() {
            tracing::warn!(file = %path.display(), "the token file is empty; creating a new token");
            return self.make_token(&path);
        }
        if token.len() < SECRET_BYTES {
            return Err(StateDirError::NoToken { path });
        }
        Ok(token.to_owned().into())
    }

    fn make_token(&self, path: &Path) -> Result<SecretString, StateDirError> {
        let token = secret();
        private_file::write(path, format!("{token}\n").as_bytes())
            .map_err(|source| StateDirError::Unusable { path: path.to_owned(), source })?;
        Ok(token.into())
    }

    /// Replaces the token. No other server uses the old one: this one holds the lock.
    ///
    /// # Errors
    /// Returns an error if it cannot be written; the old token is kept.
    pub fn rotate_token(&self) -> Result<(), StateDirError> {
        let path = self.path.join("token");
        self.make_token(&path).map(drop)
    }

    /// Returns the paths of the token and of the dashboard's keys.
    #[must_use]
    pub fn authenticator_files(&self) -> AuthenticatorFiles {
        AuthenticatorFiles { token: self.path.join("token"), visitors: self.path.join("visitors") }
    }

    /// Returns the folder of browsers and shims. Files of an earlier server are still in it.
    ///
    /// # Errors
    /// Returns an error if it cannot be created.
    pub fn run_dir(&self) -> Result<PathBuf, StateDirError> {
        let path = self.path.join("run");
        make_folder(&path, PASSABLE)?;
        Ok(path)
    }

    /// Returns the folder of files that clients download and upload, as an absolute path.
    ///
    /// # Errors
    /// Returns an error if it cannot be created.
    pub fn files_dir(&self) -> Result<PathBuf, StateDirError> {
        let path = self.path.join("files");
        make_folder(&path, PASSABLE)?;
        path.canonicalize().map_err(|source| StateDirError::Unusable { path, source })
    }

    /// Returns the folder of reports of failed sign-ins.
    ///
    /// # Errors
    /// Returns an error if it cannot be created.
    pub fn failures_dir(&self) -> Result<PathBuf, StateDirError> {
        let path = self.path.join("failures");
        make_folder(&path, OWNER_FOLDER)?;
        Ok(path)
    }

    /// Returns the folder of screenshots and downloads of operations.
    ///
    /// # Errors
    /// Returns an error if it cannot be created.
    pub fn operations_dir(&self) -> Result<PathBuf, StateDirError> {
        let path = self.path.join("operations");
        make_folder(&path, OWNER_FOLDER)?;
        // An earlier version let other users traverse it.
        private_file::make_folder(&path)
            .map_err(|source| StateDirError::Unusable { path: path.clone(), source })?;
        Ok(path)
    }
}

/// Creates a folder. An existing one must be writable only for us: anyone else could place a token, or a link instead
/// of a file, in it.
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
        assert_eq!(token.expose_secret().len(), 2 * SECRET_BYTES);
        assert_eq!(state_dir.token().unwrap().expose_secret(), token.expose_secret());
        assert_eq!(fs::metadata(path.join("token")).unwrap().permissions().mode() & 0o777, OWNER_FILE);
    }

    #[test]
    fn an_empty_token_is_made_anew_and_a_short_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = StateDir::open(folder.path()).unwrap();
        for empty in ["", "\n", "\0\0\0\0"] {
            fs::write(folder.path().join("token"), empty.repeat(SECRET_BYTES)).unwrap();
            let token = state_dir.token().unwrap();
            assert_eq!(token.expose_secret().len(), 2 * SECRET_BYTES, "{empty:?}");
            assert_eq!(state_dir.token().unwrap().expose_secret(), token.expose_secret());
        }
        fs::write(folder.path().join("token"), "short").unwrap();
        assert!(matches!(state_dir.token(), Err(StateDirError::NoToken { .. })));
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
