//! The store on disk: one SQLite file, whose records are sealed.
//!
//! How it is written, and why. A checkpoint is written often and may be as old as it likes after a crash; a
//! session must be there. SQLite appends each transaction to a log (the WAL) beside the file and copies it into
//! the file later. Here it never copies by itself: the log is brought over as a whole, and then cut to
//! nothing, by every transaction that touches a session, and when the log is large. So the log never holds
//! frames which are already in the file, and a log that lost its end, at ANY byte, leaves an older but whole
//! state: all sessions, some with an older checkpoint. With SQLite's own ways the file may already have half
//! of what the lost end was needed for.
//!
//! There is one connection, which locks everybody else out. It must never open the file beside SQLite: closing
//! any descriptor of a file gives up all of the process's POSIX locks on it.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, params};
use uuid::Uuid;

use crate::checkpoint::Checkpoint;
use crate::error::{RecordError, StoreError};
use crate::format;
use crate::keys::Keyring;
use crate::operation::OperationRecord;
use crate::record::{CredentialRecord, SessionRecord};
use crate::seal::{self, HEADER_BYTES_MAX, Kind, Place, SealError};
use crate::store::{CheckpointInfo, DamagedRecord, Loaded, LoadedOperations, LoadedSession, Store};

/// What brings a store from one version to the next. Once released, none of them changes.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_start.sql"),
    include_str!("../migrations/0002_credentials.sql"),
    include_str!("../migrations/0003_operations.sql"),
];

/// How long to wait for somebody else's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);

/// How large the log may grow before it is brought into the file, in bytes.
pub const WAL_BYTES_MAX: u64 = 16 << 20;

/// Read and write for the owner, nothing for anybody else.
const OWNER_FILE: u32 = 0o600;

/// What is sealed as the key check, and its name.
const KEY_CHECK: &str = "key_check";
const KEY_CHECK_PLACE: Place = Place { kind: Kind::KeyCheck, id: Uuid::nil() };

/// Sealed records in an SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    connection: Connection,
    keyring: Keyring,
    /// Whether the log may hold frames which are already in the file: the last attempt to bring it over
    /// failed. Nothing is added to such a log.
    log_is_mixed: bool,
}

impl SqliteStore {
    /// Opens the store, or makes it where there is none. Where it fails, the file and its log are as before.
    /// What is sealed under another key than the current one is re-wrapped.
    pub fn open(path: &Path, keyring: Keyring) -> Result<Self, StoreError> {
        prepare_file(path)?;
        let failed = |error| database_error(path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        let version = set_up(path, &connection).map_err(failed)?;
        let known = MIGRATIONS.len();
        let version = usize::try_from(version)
            .ok()
            .filter(|version| *version <= known)
            .ok_or_else(|| StoreError::Newer { path: path.to_owned(), found: version, known })?;
        if version == 0 {
            refuse_a_stranger(path, &connection)?;
        } else {
            check_key(path, &connection, &keyring)?;
        }
        // From here on it is ours to write.
        start_writing(&connection).map_err(failed)?;
        migrate(path, &mut connection, &keyring, version)?;
        let mut store = Self { path: path.to_owned(), connection, keyring, log_is_mixed: true };
        match store.empty_log() {
            // It can be read, and whoever writes hears of it.
            Err(error) if error.is_passing() => {
                tracing::warn!(error = error.sentence(), "cannot empty the log");
            }
            emptied => emptied?,
        }
        if store.keyring.has_older() {
            store.rewrap()?;
        }
        Ok(store)
    }

    /// One transaction, after what an earlier one still owes.
    fn write<T>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>, &Keyring) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.log_is_mixed {
            self.empty_log()?;
        }
        let failed = |error| database_error(&self.path, error);
        let transaction = self.connection.transaction().map_err(failed)?;
        let result = change(&transaction, &self.keyring)?;
        transaction.commit().map_err(failed)?;
        Ok(result)
    }

    /// Removes rows by their ids.
    fn remove(&mut self, statement: &str, ids: &[Uuid]) -> Result<(), StoreError> {
        let path = self.path.clone();
        self.write(|transaction, _| {
            for id in ids {
                transaction
                    .execute(statement, [id.as_bytes()])
                    .map_err(|error| database_error(&path, error))?;
            }
            Ok(())
        })?;
        self.empty_log()
    }

    /// Brings the log into the file and cuts it to nothing.
    fn empty_log(&mut self) -> Result<(), StoreError> {
        self.log_is_mixed = true;
        let busy: bool = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))
            .map_err(|error| database_error(&self.path, error))?;
        if busy {
            return Err(StoreError::Locked { path: self.path.clone() });
        }
        self.log_is_mixed = false;
        Ok(())
    }

    /// Re-wraps under the current key what is sealed under another, as far as it opens: what does not is told
    /// by whoever reads it.
    fn rewrap(&mut self) -> Result<(), StoreError> {
        let path = self.path.clone();
        let failed = |error| database_error(&path, error);
        let count = self.write(|transaction, keyring| {
            let mut count = 0;
            for (table, key, kind) in [
                ("sessions", "id", Kind::Session),
                ("checkpoints", "session", Kind::Checkpoint),
                ("operations", "id", Kind::Operation),
                ("credentials", "id", Kind::Credential),
            ] {
                let (read, write) = (
                    format!("SELECT sealed FROM {table} WHERE {key} = ?1"),
                    format!("UPDATE {table} SET sealed = ?2 WHERE {key} = ?1"),
                );
                for id in under_older_keys(transaction, keyring, table, key).map_err(failed)? {
                    let sealed: Vec<u8> =
                        transaction.query_row(&read, [id], |row| row.get(0)).map_err(failed)?;
                    let place = Place { kind, id: Uuid::from_bytes(id) };
                    if let Ok(sealed) = seal::rewrap(keyring, place, &sealed) {
                        transaction.execute(&write, params![id, sealed]).map_err(failed)?;
                        count += 1;
                    }
                }
            }
            write_key_check(&path, transaction, keyring)?;
            Ok(count)
        })?;
        self.empty_log()?;
        if count > 0 {
            tracing::info!(
                records = count,
                key = self.keyring.current().name(),
                "re-wrapped under the current key"
            );
        }
        Ok(())
    }
}

impl Store for SqliteStore {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        let failed = |error| database_error(&self.path, error);
        let mut loaded = Loaded::default();
        let mut statement = self
            .connection
            .prepare(
                "SELECT id, sessions.sealed, taken_at_ms, length(checkpoints.sealed)
                 FROM sessions LEFT JOIN checkpoints ON session = id",
            )
            .map_err(failed)?;
        let mut rows = statement.query(()).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let (id, sealed, checkpoint) = read_session(row).map_err(failed)?;
            match open_record(&self.keyring, id, &sealed) {
                Ok(record) => loaded.sessions.push(LoadedSession { record, checkpoint }),
                Err(error) => loaded.damaged.push(DamagedRecord { id, error }),
            }
        }
        let mut statement = self.connection.prepare("SELECT id, sealed FROM credentials").map_err(failed)?;
        let mut rows = statement.query(()).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let id = Uuid::from_bytes(row.get(0).map_err(failed)?);
            let sealed: Vec<u8> = row.get(1).map_err(failed)?;
            match open_credential(&self.keyring, id, &sealed) {
                Ok(record) => loaded.credentials.push(record),
                Err(error) => loaded.damaged.push(DamagedRecord { id, error }),
            }
        }
        Ok(loaded)
    }

    fn save_sessions(&mut self, records: &[SessionRecord]) -> Result<(), StoreError> {
        let path = self.path.clone();
        self.write(|transaction, keyring| {
            for record in records {
                let plain = format::encode_record(record)?;
                let sealed = seal_content(keyring, Kind::Session, record.id, &plain)?;
                transaction
                    .execute(
                        "INSERT INTO sessions (id, sealed) VALUES (?1, ?2)
                         ON CONFLICT DO UPDATE SET sealed = excluded.sealed",
                        params![record.id.as_bytes(), sealed],
                    )
                    .map_err(|error| database_error(&path, error))?;
            }
            Ok(())
        })?;
        self.empty_log()
    }

    fn save_checkpoint(&mut self, session: Uuid, checkpoint: &Checkpoint) -> Result<u64, StoreError> {
        let path = self.path.clone();
        let plain = format::encode_checkpoint(session, checkpoint)?;
        let stored_bytes = self.write(|transaction, keyring| {
            let sealed = seal_content(keyring, Kind::Checkpoint, session, &plain)?;
            let taken_at_ms = i64::try_from(checkpoint.taken_at_ms).unwrap_or(i64::MAX);
            let written = transaction
                .execute(
                    "INSERT INTO checkpoints (session, taken_at_ms, sealed)
                     SELECT id, ?2, ?3 FROM sessions WHERE id = ?1
                     ON CONFLICT DO UPDATE SET taken_at_ms = excluded.taken_at_ms, sealed = excluded.sealed",
                    params![session.as_bytes(), taken_at_ms, sealed],
                )
                .map_err(|error| database_error(&path, error))?;
            if written == 0 { Err(StoreError::NoSession(session)) } else { Ok(sealed.len() as u64) }
        })?;
        if log_bytes(&self.path) > WAL_BYTES_MAX {
            self.empty_log()?;
        }
        Ok(stored_bytes)
    }

    fn checkpoint(&mut self, session: Uuid) -> Result<Option<Checkpoint>, StoreError> {
        let sealed: Option<Vec<u8>> = self
            .connection
            .query_row("SELECT sealed FROM checkpoints WHERE session = ?1", [session.as_bytes()], |row| {
                row.get(0)
            })
            .optional()
            .map_err(|error| database_error(&self.path, error))?;
        sealed
            .map(|sealed| open_checkpoint(&self.keyring, session, &sealed))
            .transpose()
            .map_err(|source| StoreError::Record { session, source })
    }

    fn remove_sessions(&mut self, sessions: &[Uuid]) -> Result<(), StoreError> {
        self.remove("DELETE FROM sessions WHERE id = ?1", sessions)
    }

    fn operations(&mut self) -> Result<LoadedOperations, StoreError> {
        let failed = |error| database_error(&self.path, error);
        let mut loaded = LoadedOperations::default();
        let mut statement = self.connection.prepare("SELECT id, sealed FROM operations").map_err(failed)?;
        let mut rows = statement.query(()).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let id = Uuid::from_bytes(row.get(0).map_err(failed)?);
            let sealed: Vec<u8> = row.get(1).map_err(failed)?;
            match open_operation(&self.keyring, id, &sealed) {
                Ok(operation) => loaded.operations.push(operation),
                Err(error) => loaded.damaged.push(DamagedRecord { id, error }),
            }
        }
        Ok(loaded)
    }

    fn save_operation(&mut self, operation: &OperationRecord) -> Result<(), StoreError> {
        let path = self.path.clone();
        let plain = format::encode_operation(operation)?;
        let (id, session) = (operation.id, operation.session);
        self.write(|transaction, keyring| {
            let sealed = seal_content(keyring, Kind::Operation, id, &plain)?;
            let written = transaction
                .execute(
                    "INSERT INTO operations (id, session, sealed)
                     SELECT ?1, id, ?3 FROM sessions WHERE id = ?2
                     ON CONFLICT DO UPDATE SET sealed = excluded.sealed",
                    params![id.as_bytes(), session.as_bytes(), sealed],
                )
                .map_err(|error| database_error(&path, error))?;
            if written == 0 { Err(StoreError::NoSession(session)) } else { Ok(()) }
        })?;
        // An older one would have a phase begin that has begun.
        self.empty_log()
    }

    fn remove_operations(&mut self, operations: &[Uuid]) -> Result<(), StoreError> {
        self.remove("DELETE FROM operations WHERE id = ?1", operations)
    }

    fn save_credential(&mut self, record: &CredentialRecord) -> Result<(), StoreError> {
        let path = self.path.clone();
        let plain = format::encode_credential(record)?;
        self.write(|transaction, keyring| {
            let sealed = seal_content(keyring, Kind::Credential, record.id, &plain)?;
            transaction
                .execute(
                    "INSERT INTO credentials (id, sealed) VALUES (?1, ?2)
                     ON CONFLICT DO UPDATE SET sealed = excluded.sealed",
                    params![record.id.as_bytes(), sealed],
                )
                .map(drop)
                .map_err(|error| database_error(&path, error))
        })?;
        self.empty_log()
    }

    fn remove_credential(&mut self, id: Uuid) -> Result<(), StoreError> {
        let path = self.path.clone();
        self.write(|transaction, _| {
            transaction
                .execute("DELETE FROM credentials WHERE id = ?1", [id.as_bytes()])
                .map(drop)
                .map_err(|error| database_error(&path, error))
        })?;
        self.empty_log()
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.empty_log()
    }
}

/// Makes the file, empty, or sees that it is one that SQLite may be given.
fn prepare_file(path: &Path) -> Result<(), StoreError> {
    let failed = |error| io_error(path, error);
    let damaged = |problem: &str| StoreError::Damaged { path: path.to_owned(), problem: problem.to_owned() };
    match OpenOptions::new().write(true).create_new(true).mode(OWNER_FILE).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made.map(drop).map_err(failed),
    }
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(damaged("it is not a file"));
    }
    if metadata.len() == 0 && log_bytes(path) > 0 {
        return Err(damaged("it is empty, and its log is not"));
    }
    // SQLite gives the log the mode of the file.
    fs::set_permissions(path, Permissions::from_mode(OWNER_FILE)).map_err(failed)
}

/// Locks the file and gives its version. Writes nothing, and has SQLite write nothing at a close.
fn set_up(path: &Path, connection: &Connection) -> rusqlite::Result<i64> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // A close would bring the log of a crash into the file; an empty one it only removes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, log_bytes(path) > 0)?;
    // Before the log is first touched, so that no memory is shared through a file beside it.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn start_writing(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// A database without a version must be an empty one.
fn refuse_a_stranger(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))
        .map_err(|error| database_error(path, error))?;
    if tables == 0 {
        return Ok(());
    }
    Err(StoreError::Damaged {
        path: path.to_owned(),
        problem: "it is the database of something else".to_owned(),
    })
}

/// Whether the keyring is the one that the store was sealed with.
fn check_key(path: &Path, connection: &Connection, keyring: &Keyring) -> Result<(), StoreError> {
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

fn write_key_check(path: &Path, transaction: &Transaction<'_>, keyring: &Keyring) -> Result<(), StoreError> {
    let sealed = seal_content(keyring, Kind::KeyCheck, Uuid::nil(), KEY_CHECK.as_bytes())?;
    transaction
        .execute("INSERT OR REPLACE INTO meta (name, sealed) VALUES (?1, ?2)", params![KEY_CHECK, sealed])
        .map(drop)
        .map_err(|error| database_error(path, error))
}

/// Brings the store to the latest version, in one transaction.
fn migrate(
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
        transaction.execute_batch(migration).map_err(failed)?;
    }
    if version == 0 {
        write_key_check(path, &transaction, keyring)?;
    }
    let latest = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    transaction.pragma_update(None, "user_version", latest).map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// The ids of the records of a table that are sealed under another key than the current one.
fn under_older_keys(
    transaction: &Transaction<'_>,
    keyring: &Keyring,
    table: &str,
    key: &str,
) -> rusqlite::Result<Vec<[u8; 16]>> {
    let mut older = Vec::new();
    let mut statement =
        transaction.prepare(&format!("SELECT {key}, substr(sealed, 1, {HEADER_BYTES_MAX}) FROM {table}"))?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let header: Vec<u8> = row.get(1)?;
        if seal::key_name(&header).is_ok_and(|name| name != keyring.current().name()) {
            older.push(row.get(0)?);
        }
    }
    Ok(older)
}

fn read_session(row: &Row<'_>) -> rusqlite::Result<(Uuid, Vec<u8>, Option<CheckpointInfo>)> {
    let taken_at_ms: Option<i64> = row.get(2)?;
    let stored_bytes: Option<i64> = row.get(3)?;
    let checkpoint = taken_at_ms.zip(stored_bytes).map(|(taken_at_ms, stored_bytes)| CheckpointInfo {
        taken_at_ms: taken_at_ms.try_into().unwrap_or(0),
        stored_bytes: stored_bytes.try_into().unwrap_or(0),
    });
    Ok((Uuid::from_bytes(row.get(0)?), row.get(1)?, checkpoint))
}

fn open_record(keyring: &Keyring, id: Uuid, sealed: &[u8]) -> Result<SessionRecord, RecordError> {
    format::decode_record(&seal::open(keyring, Place { kind: Kind::Session, id }, sealed)?)
}

fn open_credential(keyring: &Keyring, id: Uuid, sealed: &[u8]) -> Result<CredentialRecord, RecordError> {
    format::decode_credential(&seal::open(keyring, Place { kind: Kind::Credential, id }, sealed)?)
}

fn open_checkpoint(keyring: &Keyring, id: Uuid, sealed: &[u8]) -> Result<Checkpoint, RecordError> {
    format::decode_checkpoint(&seal::open(keyring, Place { kind: Kind::Checkpoint, id }, sealed)?)
}

fn open_operation(keyring: &Keyring, id: Uuid, sealed: &[u8]) -> Result<OperationRecord, RecordError> {
    format::decode_operation(&seal::open(keyring, Place { kind: Kind::Operation, id }, sealed)?)
}

fn seal_content(keyring: &Keyring, kind: Kind, id: Uuid, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
    seal::seal(keyring, Place { kind, id }, plain)
        .map_err(|_| StoreError::TooLarge { session: id, problem: "it cannot be sealed" })
}

/// Where SQLite has the log of a file.
fn log_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push("-wal");
    PathBuf::from(name)
}

/// How large the log of a file is. One that is not there is empty.
fn log_bytes(path: &Path) -> u64 {
    fs::metadata(log_path(path)).map_or(0, |log| log.len())
}

fn io_error(path: &Path, error: io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), source: Arc::new(error) }
}

fn database_error(path: &Path, error: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Locked { path },
        Some(ErrorCode::DiskFull) => StoreError::Full { path },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Damaged { path, problem: error.to_string() }
        }
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::SystemIoFailure
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied,
        ) => io_error(&path, io::Error::other(error)),
        // What is in a row is not what was written there.
        None if !matches!(error, rusqlite::Error::QueryReturnedNoRows) => {
            StoreError::Damaged { path, problem: error.to_string() }
        }
        _ => StoreError::Database { path, source: Arc::new(error) },
    }
}

#[cfg(test)]
#[path = "sqlite/tests.rs"]
mod tests;
