//! `pilotlight store`: maintenance of the store while no server runs: check for damage, remove records, and copy.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pilotlight_store::{Checked, DamagedRecord, Keyring, SqliteStore, Store, StoreError};
use serde_json::json;
use uuid::Uuid;

use crate::config::Server;
use crate::exit::{self, Failure};
use crate::private_file;
use crate::serve::failure;
use crate::server::{ServeError, StateDir, StateDirError, key_sources};

/// The store of a server that is not running, locked until this is dropped.
pub(crate) struct Closed {
    store: SqliteStore,
    _locked: StateDir,
}

/// Why the store cannot be opened.
pub(crate) enum NotClosed {
    /// A server is using it.
    Taken(Failure),
    /// Any other error.
    Failed(Failure),
}

impl From<NotClosed> for Failure {
    fn from(error: NotClosed) -> Self {
        match error {
            NotClosed::Taken(failure) | NotClosed::Failed(failure) => failure,
        }
    }
}

impl Closed {
    /// Opens the store of a server that is not running.
    pub(crate) fn open(server: &Server) -> Result<Self, NotClosed> {
        let store = server.store_file();
        if !store.exists() {
            let message = format!("there is no store at {}", store.display());
            let failure = Failure::new(exit::FAILED, message)
                .with_hint("the server creates a store and its key when it first starts");
            return Err(NotClosed::Failed(failure));
        }
        let locked = StateDir::open(&server.state_dir).map_err(|error| match error {
            StateDirError::Taken { .. } => NotClosed::Taken(
                Failure::new(exit::TRY_AGAIN, error.to_string())
                    .with_hint("stop the server first; its windows stay open for the next start"),
            ),
            error => NotClosed::Failed(failure(&error.into())),
        })?;
        let keyring = Keyring::find(&key_sources(server))
            .map_err(|error| NotClosed::Failed(failure(&ServeError::Key(error))))?;
        let store = SqliteStore::open(&store, keyring).map_err(|error| NotClosed::Failed(of_store(error)))?;
        Ok(Self { store, _locked: locked })
    }

    /// Reads every record.
    pub(crate) fn check(&mut self) -> Result<Checked, Failure> {
        self.store.check().map_err(of_store)
    }

    /// Removes the damaged record with this id; with `export`, saves a copy first.
    pub(crate) fn forget(&mut self, id: Uuid, export: Option<&Path>) -> Result<Vec<DamagedRecord>, Failure> {
        let mut damaged = self.check()?.damaged;
        damaged.retain(|record| record.id == id);
        if damaged.is_empty() {
            let message = format!("there is no damaged record with the id {id}");
            return Err(Failure::new(exit::FAILED, message).with_hint(
                "`pilotlight store check` lists damaged records; to close an intact session, use the server",
            ));
        }
        if let Some(path) = export {
            self.export(&damaged, path)?;
        }
        for record in &damaged {
            self.store.forget(record.kind, record.id).map_err(of_store)?;
        }
        Ok(damaged)
    }

    /// Writes records, sealed as in the store, to a new file.
    fn export(&mut self, records: &[DamagedRecord], path: &Path) -> Result<(), Failure> {
        let mut lines = String::new();
        for record in records {
            let sealed = self.store.sealed(record.kind, record.id).map_err(of_store)?.unwrap_or_default();
            let sealed = BASE64_STANDARD.encode(sealed);
            lines += &json!({"kind": record.kind.as_str(), "id": record.id, "sealed": sealed}).to_string();
            lines.push('\n');
        }
        if path.exists() {
            let message = format!("`{}` already exists and is not overwritten", path.display());
            return Err(Failure::new(exit::USAGE, message));
        }
        private_file::write(path, lines.as_bytes()).map_err(|error| {
            Failure::new(exit::FAILED, format!("cannot write `{}`: {error}", path.display()))
        })
    }

    /// Copies the store to a new file.
    pub(crate) fn backup(&mut self, path: &Path) -> Result<(), Failure> {
        self.store.backup(path).map_err(of_store)
    }
}

fn of_store(error: StoreError) -> Failure {
    failure(&ServeError::Store(error))
}
