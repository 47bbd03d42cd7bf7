//! Opens the file: checks whether it is a store and whether the keys match, and migrates it to the latest version.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use uuid::Uuid;

use super::{database_error, io_error, log_bytes, log_path, seal_content};
use crate::error::StoreError;
use crate::keys::Keyring;
use crate::seal::{self, Kind, Place, SealError};

/// The migrations from one version to the next. Released ones must never be changed.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001_start.sql"),
    include_str!("../../migrations/0002_credentials.sql"),
    include_str!("../../migrations/0003_operations.sql"),
];

/// How long to wait for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);

/// Readable and writable for the owner only.
pub(super) const OWNER_FILE: u32 = 0o600;

/// The plaintext of the key check, and its name.
const KEY_CHECK: &str = "key_check";
const KEY_CHECK_PLACE: Place = Place { kind: Kind::KeyCheck, id: Uuid::nil() };

/// A file that was created for a new store. It is removed if creating the store fails: an empty file would be refused
/// from then on, as the remains of a store.
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
    /// Whether a log of another file existed before.
    had_log: bool,
    is_store: bool,
}

impl NewFile {
    /// Keeps the file: it is a store now.
    pub(super) fn keep(mut self) {
        self.is_store = true;
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.is_store {
            return;
        }
        let log = (!self.had_log).then(|| log_path(&self.path));
        for path in [Some(self.path.clone()), log].into_iter().flatten() {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "failed to delete a partially created store");
                }
                _ => {}
            }
        }
    }
}

/// Creates an empty file and returns it, or checks that the existing one may be opened with SQLite.
pub(super) fn prepare_file(path: &Path) -> Result<Option<NewFile>, StoreError> {
    let failed = |error| io_error(path, error);
    let damaged = |problem: &str| StoreError::Damaged { path: path.to_owned(), problem: problem.to_owned() };
    match OpenOptions::new().write(true).create_new(true).mode(OWNER_FILE).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => {
            let had_log = fs::symlink_metadata(log_path(path)).is_ok();
            let new = |_| Some(NewFile { path: path.to_owned(), had_log, is_store: false });
            return made.map(new).map_err(failed);
        }
    }
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(damaged("it is not a file"));
    }
    // A new store is created together with its first tables; an empty file is what is left of a store after a power
    // failure or a failed copy. Using it would end the windows of all sessions that were in it.
    if metadata.len() == 0 {
        return Err(damaged(if log_bytes(path) > 0 {
            "it is empty, but its write-ahead log is not"
        } else {
            "it is empty"
        }));
    }
    // SQLite gives the log the same mode as the file.
    fs::set_permissions(path, Permissions::from_mode(OWNER_FILE)).map_err(failed)?;
    Ok(None)
}

/// Locks the file and returns its version. Writes nothing, and prevents SQLite from writing when it is closed.
pub(super) fn set_up(path: &Path, connection: &Connection) -> rusqlite::Result<i64> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Closing would copy the log of a crash into the file; an empty log is only removed.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, log_bytes(path) > 0)?;
    // Set before the log is first used, so that no memory is shared through a file.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

pub(super) fn start_writing(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// Checks that a database without a version is empty.
pub(super) fn refuse_a_stranger(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))
        .map_err(|error| database_error(path, error))?;
    if tables == 0 {
        return Ok(());
    }
    Err(StoreError::Damaged {
        path: path.to_owned(),
        problem: "it is a database of another program".to_owned(),
    })
}

/// Returns whether the keyring is the one that the store was sealed with.
pub(super) fn check_key(path: &Path, connection: &Connection, keyring: &Keyring) -> Result<(), StoreError> {
    let path = path.to_owned();
    let sealed: Option<Vec<u8>> = connection
        .query_row("SELECT sealed FROM meta WHERE name = ?1", [KEY_CHECK], |row| row.get(0))
        .optional()
        .map_err(|error| database_error(&path, error))?;
    let opened =
        sealed.ok_or(SealError::NotSealed).and_then(|sealed| seal::open(keyring, KEY_CHECK_PLACE, &sealed));
    match opened {
        Ok(_) => Ok(()),
        Err(SealError::MissingKey(key)) => Err(StoreError::MissingKey { path, key }),
        Err(SealError::KeyDoesNotOpen(key)) => Err(StoreError::WrongKey { path, key }),
        Err(error) => Err(StoreError::Damaged { path, problem: format!("its key check fails: {error}") }),
    }
}

pub(super) fn write_key_check(
    path: &Path,
    transaction: &Transaction<'_>,
    keyring: &Keyring,
) -> Result<(), StoreError> {
    let sealed = seal_content(keyring, Kind::KeyCheck, Uuid::nil(), KEY_CHECK.as_bytes())?;
    transaction
        .execute("INSERT OR REPLACE INTO meta (name, sealed) VALUES (?1, ?2)", params![KEY_CHECK, sealed])
        .map(drop)
        .map_err(|error| database_error(path, error))
}

/// Migrates the store to the latest version, in one transaction.
pub(super) fn migrate(
    path: &Path,
    connection: &mut Connection,
    keyring: &Keyring,
    version: usize,
) -> Result<(), StoreError> {
    if version == MIGRATIONS.len() {
        return Ok(());
    }
    let failed = |error| database_error(path, error);
    let transaction = connection.transaction().map_err(failed)?;
    for migration in &MIGRATIONS[version..] {
        transaction.execute_batch(migration).map_err(|error| match error {
            // A table exists unexpectedly, or is missing.
            rusqlite::Error::SqlInputError { .. } => StoreError::Damaged {
                path: path.to_owned(),
                problem: format!("it claims to have version {version}, but its content has another one"),
            },
            error => database_error(path, error),
        })?;
    }
    if version == 0 {
        write_key_check(path, &transaction, keyring)?;
    }
    let latest = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    transaction.pragma_update(None, "user_version", latest).map_err(failed)?;
    transaction.commit().map_err(failed)
}
