//! The key of the files beside the store, which is stored in the store.

use std::path::Path;

use rusqlite::{OptionalExtension, Transaction, params};
use uuid::Uuid;

use super::{SqliteStore, Worth, database_error, seal_content};
use crate::error::StoreError;
use crate::files::FilesKey;
use crate::keys::Keyring;
use crate::seal::{self, Kind, Place};

const NAME: &str = "files_key";
const PLACE: Place = Place { kind: Kind::FilesKey, id: Uuid::nil() };

impl SqliteStore {
    /// Returns the key of the files beside the store, and creates it if there is none. If it cannot be read, only the
    /// files that are sealed with it are lost.
    pub fn files_key(&mut self) -> Result<FilesKey, StoreError> {
        let path = self.path.clone();
        let sealed = read(&path, &self.connection)?;
        if let Some(sealed) = sealed {
            let opened = seal::open(&self.keyring, PLACE, &sealed);
            match opened.map(|key| FilesKey::from_bytes(&key)) {
                Ok(Some(key)) => return Ok(key),
                Ok(None) => {
                    tracing::error!("the files' key is invalid; sealed files cannot be read");
                }
                Err(error) => {
                    tracing::error!(%error, "the files' key cannot be opened; sealed files cannot be read");
                }
            }
        }
        let key = FilesKey::random();
        self.write_through(Worth::Usual, |transaction, keyring| {
            let sealed = seal_content(keyring, Kind::FilesKey, Uuid::nil(), key.expose())?;
            write(&path, transaction, &sealed)
        })?;
        Ok(key)
    }
}

/// Re-wraps it with the current master key, if it can be opened.
pub(super) fn rewrap_files_key(
    path: &Path,
    transaction: &Transaction<'_>,
    keyring: &Keyring,
) -> Result<(), StoreError> {
    match read(path, transaction)?.map(|sealed| seal::rewrap(keyring, PLACE, &sealed)) {
        Some(Ok(sealed)) => write(path, transaction, &sealed),
        Some(Err(_)) | None => Ok(()),
    }
}

fn read(path: &Path, connection: &rusqlite::Connection) -> Result<Option<Vec<u8>>, StoreError> {
    connection
        .query_row("SELECT sealed FROM meta WHERE name = ?1", [NAME], |row| row.get(0))
        .optional()
        .map_err(|error| database_error(path, error))
}

fn write(path: &Path, transaction: &Transaction<'_>, sealed: &[u8]) -> Result<(), StoreError> {
    transaction
        .execute("INSERT OR REPLACE INTO meta (name, sealed) VALUES (?1, ?2)", params![NAME, sealed])
        .map(drop)
        .map_err(|error| database_error(path, error))
}
