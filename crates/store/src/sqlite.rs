//! The store on disk: an SQLite file with sealed records.
//!
//! How it is written, and why: checkpoints are written often, and after a crash an older one is acceptable; sessions
//! must not be lost. SQLite appends each transaction to a log (the WAL) next to the file, and copies it into the file
//! later. Here this never happens automatically: every transaction that changes a session copies the whole log into
//! the file and then truncates it, and so does a large log. So the log never contains frames that are already in the
//! file, and a log that was truncated at ANY byte leaves an older but consistent state: all sessions, some with an
//! older checkpoint. With SQLite's default behaviour, the file might already contain half of what the lost end was
//! needed for.
//!
//! There is one connection, which locks out all others. The file must never be opened besides SQLite: closing any
//! descriptor of a file releases all POSIX locks that the process holds on it.

mod files_key;
mod opening;
mod upkeep;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pilotlight_checkpoint::Checkpoint;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, params};
use uuid::Uuid;

use files_key::rewrap_files_key;
use opening::{
    MIGRATIONS, check_key, migrate, prepare_file, refuse_a_stranger, set_up, start_writing, write_key_check,
};

pub use upkeep::Checked;

use crate::error::{RecordError, StoreError};
use crate::format;
use crate::keys::Keyring;
use crate::operation::{OperationRecord, StageRecord};
use crate::record::{CredentialRecord, SessionRecord};
use crate::reserve::Reserve;
use crate::seal::{self, HEADER_BYTES_MAX, Kind, Place};
use crate::store::{
    CheckpointInfo, DamagedRecord, Loaded, LoadedOperations, LoadedSession, RecordKind, Store,
};

/// Size of the log at which it is copied into the file, in bytes.
pub const WAL_BYTES_MAX: u64 = 16 << 20;

/// Size of the test data that is written and removed again, to check whether there is space for another session.
const PROBE: &str = "probe";
const PROBE_BYTES: usize = 64 << 10;

/// Sealed records in an SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    connection: Connection,
    keyring: Keyring,
    /// Whether the log may contain frames that are already in the file, because the last attempt to copy it failed.
    /// Nothing is appended to such a log.
    log_is_mixed: bool,
    reserve: Reserve,
}

/// Whether a write may use the reserved disk space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    Usual,
    Reserve,
}

impl SqliteStore {
    /// Opens the store, or creates it. On failure, the file and its log are unchanged. Records that are sealed with a
    /// key other than the current one are re-wrapped.
    pub fn open(path: &Path, keyring: Keyring) -> Result<Self, StoreError> {
        let new_file = prepare_file(path)?;
        // SQLite has closed the file by the time it is removed.
        let store = Self::open_prepared(path, keyring)?;
        if let Some(new_file) = new_file {
            new_file.keep();
        }
        Ok(store)
    }

    fn open_prepared(path: &Path, keyring: Keyring) -> Result<Self, StoreError> {
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
        // From here on the file may be written.
        start_writing(&connection).map_err(failed)?;
        migrate(path, &mut connection, &keyring, version)?;
        let reserve = Reserve::of(path);
        let mut store = Self { path: path.to_owned(), connection, keyring, log_is_mixed: true, reserve };
        match store.empty_log() {
            // The store can be read; writes report the error.
            Err(error) if error.is_passing() => {
                tracing::warn!(error = error.sentence(), "cannot empty the log");
            }
            emptied => emptied?,
        }
        if store.keyring.has_older() {
            store.rewrap()?;
        }
        store.reserve.keep();
        Ok(store)
    }

    /// Runs a transaction, after completing what an earlier one left.
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

    /// Runs a transaction and copies it into the file at once.
    fn write_through<T>(
        &mut self,
        worth: Worth,
        change: impl Fn(&Transaction<'_>, &Keyring) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let written = match self.write(&change) {
            Err(StoreError::Full { .. }) if worth == Worth::Reserve && self.reserve.give_up() => {
                self.write(&change)
            }
            written => {
                if written.is_ok() {
                    self.reserve.keep();
                }
                written
            }
        }?;
        match self.empty_log() {
            // It is on disk, in the log, and stays there until there is space in the file.
            Err(error) if error.is_full() => {
                tracing::warn!(error = error.sentence(), "cannot empty the log");
            }
            emptied => emptied?,
        }
        Ok(written)
    }

    /// Removes rows by their ids.
    fn remove(&mut self, statements: &[&str], ids: &[Uuid]) -> Result<(), StoreError> {
        let path = self.path.clone();
        self.write_through(Worth::Reserve, |transaction, _| {
            for (id, statement) in ids.iter().flat_map(|id| statements.iter().map(move |one| (id, one))) {
                transaction
                    .execute(statement, [id.as_bytes()])
                    .map_err(|error| database_error(&path, error))?;
            }
            Ok(())
        })
    }

    /// Copies the log into the file and truncates it.
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

    /// Re-wraps records with the current key, if they can be opened; the others are reported when they are read.
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
            rewrap_files_key(&path, transaction, keyring)?;
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
                Err(error) => {
                    loaded.damaged.push(DamagedRecord { kind: RecordKind::Session, id, error });
                }
            }
        }
        let mut statement = self.connection.prepare("SELECT id, sealed FROM credentials").map_err(failed)?;
        let mut rows = statement.query(()).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let id = Uuid::from_bytes(row.get(0).map_err(failed)?);
            let sealed: Vec<u8> = row.get(1).map_err(failed)?;
            match open_credential(&self.keyring, id, &sealed) {
                Ok(record) => loaded.credentials.push(record),
                Err(error) => {
                    loaded.damaged.push(DamagedRecord { kind: RecordKind::Credential, id, error });
                }
            }
        }
        Ok(loaded)
    }

    fn save_sessions(&mut self, records: &[SessionRecord]) -> Result<(), StoreError> {
        let path = self.path.clone();
        let is_needed = records.iter().all(SessionRecord::is_needed);
        let worth = if is_needed { Worth::Reserve } else { Worth::Usual };
        self.write_through(worth, |transaction, keyring| {
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
        })
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
        self.remove(&["DELETE FROM sessions WHERE id = ?1"], sessions)
    }

    fn strip_sessions(&mut self, sessions: &[Uuid]) -> Result<(), StoreError> {
        let statements =
            ["DELETE FROM checkpoints WHERE session = ?1", "DELETE FROM operations WHERE session = ?1"];
        self.remove(&statements, sessions)
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        let path = self.path.clone();
        self.write_through(Worth::Usual, |transaction, _| {
            let failed = |error| database_error(&path, error);
            let write =
                format!("INSERT OR REPLACE INTO meta (name, sealed) VALUES (?1, zeroblob({PROBE_BYTES}))");
            transaction.execute(&write, [PROBE]).map_err(failed)?;
            // Removed data is overwritten (`secure_delete`), so all of it goes through the log.
            transaction.execute("DELETE FROM meta WHERE name = ?1", [PROBE]).map(drop).map_err(failed)
        })
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
                Err(error) => {
                    loaded.damaged.push(DamagedRecord { kind: RecordKind::Operation, id, error });
                }
            }
        }
        Ok(loaded)
    }

    fn save_operation(&mut self, operation: &OperationRecord) -> Result<(), StoreError> {
        let path = self.path.clone();
        let plain = format::encode_operation(operation)?;
        let (id, session) = (operation.id, operation.session);
        // Without this, a completed phase would be reported as interrupted, and might be repeated.
        let has_done_something = match operation.stage {
            StageRecord::Ended { .. } => true,
            StageRecord::Waiting { .. } => operation.phase > 0,
            StageRecord::Running => false,
        };
        let worth = if has_done_something { Worth::Reserve } else { Worth::Usual };
        // An older record would start a phase again.
        self.write_through(worth, |transaction, keyring| {
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
        })
    }

    fn remove_operations(&mut self, operations: &[Uuid]) -> Result<(), StoreError> {
        self.remove(&["DELETE FROM operations WHERE id = ?1"], operations)
    }

    fn save_credential(&mut self, record: &CredentialRecord) -> Result<(), StoreError> {
        let path = self.path.clone();
        let plain = format::encode_credential(record)?;
        self.write_through(Worth::Usual, |transaction, keyring| {
            let sealed = seal_content(keyring, Kind::Credential, record.id, &plain)?;
            transaction
                .execute(
                    "INSERT INTO credentials (id, sealed) VALUES (?1, ?2)
                     ON CONFLICT DO UPDATE SET sealed = excluded.sealed",
                    params![record.id.as_bytes(), sealed],
                )
                .map(drop)
                .map_err(|error| database_error(&path, error))
        })
    }

    fn remove_credential(&mut self, id: Uuid) -> Result<(), StoreError> {
        self.remove(&["DELETE FROM credentials WHERE id = ?1"], &[id])
    }

    fn backup(&mut self, path: &Path) -> Result<(), StoreError> {
        upkeep::backup(self, path)
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.empty_log()
    }
}

/// Returns the ids of records of a table that are sealed with a key other than the current one.
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

/// Returns the path of SQLite's log of a file.
fn log_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push("-wal");
    PathBuf::from(name)
}

/// Returns the size of the log of a file; 0 if it does not exist.
fn log_bytes(path: &Path) -> u64 {
    fs::metadata(log_path(path)).map_or(0, |log| log.len())
}

fn io_error(path: &Path, error: io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), source: Arc::new(error) }
}

fn database_error(path: &Path, error: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    // SQLite's own message contains the whole statement.
    if let rusqlite::Error::SqlInputError { msg, .. } = error {
        return StoreError::Damaged { path, problem: msg };
    }
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
        // The row does not contain what was written.
        None if !matches!(error, rusqlite::Error::QueryReturnedNoRows) => {
            StoreError::Damaged { path, problem: error.to_string() }
        }
        _ => StoreError::Database { path, source: Arc::new(error) },
    }
}

#[cfg(test)]
#[path = "sqlite/tests.rs"]
mod tests;
