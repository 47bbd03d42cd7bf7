//! Maintenance of a store: check for damaged records, remove them, and copy everything.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{OptionalExtension, params};
use uuid::Uuid;

use super::opening::OWNER_FILE;
use super::{
    SqliteStore, database_error, io_error, open_checkpoint, open_credential, open_operation, open_record,
};
use crate::error::{RecordError, StoreError};
use crate::keys::Keyring;
use crate::store::{DamagedRecord, RecordKind};

/// The table of each kind of record.
struct Table {
    kind: RecordKind,
    name: &'static str,
    key: &'static str,
}

const TABLES: [Table; 4] = [
    Table { kind: RecordKind::Session, name: "sessions", key: "id" },
    Table { kind: RecordKind::Checkpoint, name: "checkpoints", key: "session" },
    Table { kind: RecordKind::Credential, name: "credentials", key: "id" },
    Table { kind: RecordKind::Operation, name: "operations", key: "id" },
];

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Number of records that can be read.
    pub whole: usize,
    /// The damaged records.
    pub damaged: Vec<DamagedRecord>,
}

impl SqliteStore {
    /// Tries to open every record.
    pub fn check(&mut self) -> Result<Checked, StoreError> {
        let failed = |error| database_error(&self.path, error);
        let mut checked = Checked { whole: 0, damaged: Vec::new() };
        for Table { kind, name, key } in TABLES {
            let mut statement =
                self.connection.prepare(&format!("SELECT {key}, sealed FROM {name}")).map_err(failed)?;
            let mut rows = statement.query(()).map_err(failed)?;
            while let Some(row) = rows.next().map_err(failed)? {
                let id = Uuid::from_bytes(row.get(0).map_err(failed)?);
                let sealed: Vec<u8> = row.get(1).map_err(failed)?;
                match opens(&self.keyring, kind, id, &sealed) {
                    Ok(()) => checked.whole += 1,
                    Err(error) => checked.damaged.push(DamagedRecord { kind, id, error }),
                }
            }
        }
        Ok(checked)
    }

    /// Returns a record, sealed as it is in the store.
    pub fn sealed(&mut self, kind: RecordKind, id: Uuid) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(Table { name, key, .. }) = TABLES.into_iter().find(|table| table.kind == kind) else {
            return Ok(None);
        };
        let read = format!("SELECT sealed FROM {name} WHERE {key} = ?1");
        let sealed = self.connection.query_row(&read, params![id.as_bytes()], |row| row.get(0));
        sealed.optional().map_err(|error| database_error(&self.path, error))
    }

    /// Removes a record; a session is removed together with its checkpoint and operations.
    pub fn forget(&mut self, kind: RecordKind, id: Uuid) -> Result<(), StoreError> {
        let Some(Table { name, key, .. }) = TABLES.into_iter().find(|table| table.kind == kind) else {
            return Ok(());
        };
        self.remove(&[&format!("DELETE FROM {name} WHERE {key} = ?1")], &[id])
    }
}

fn opens(keyring: &Keyring, kind: RecordKind, id: Uuid, sealed: &[u8]) -> Result<(), RecordError> {
    match kind {
        RecordKind::Session => open_record(keyring, id, sealed).map(drop),
        RecordKind::Checkpoint => open_checkpoint(keyring, id, sealed).map(drop),
        RecordKind::Credential => open_credential(keyring, id, sealed).map(drop),
        RecordKind::Operation => open_operation(keyring, id, sealed).map(drop),
    }
}

/// Copies the store to a new file. It is created empty first, which SQLite accepts, so that only the owner can access
/// it from the beginning.
pub(super) fn backup(store: &mut SqliteStore, path: &Path) -> Result<(), StoreError> {
    let failed = |error| io_error(path, error);
    let file = OpenOptions::new().write(true).create_new(true).mode(OWNER_FILE).open(path).map_err(failed)?;
    let copied = store
        .connection
        .execute("VACUUM INTO ?1", [path.to_string_lossy()])
        .map_err(|error| database_error(path, error))
        .and_then(|_| file.sync_all().map_err(failed));
    if copied.is_err() {
        drop(fs::remove_file(path));
    }
    copied
}
