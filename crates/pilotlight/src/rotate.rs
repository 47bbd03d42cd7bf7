//! `pilotlight rotate-key`: replaces the store's master key while no server runs.
//!
//! The key file opens the store at all times: the new key is added before the old one, then everything is sealed with
//! it, and only then is the old one removed. An interrupted rotation is completed by the next one.

use pilotlight_store::{KeyError, Keyring, SqliteStore, StoreError};

use crate::config::Server;
use crate::exit::{self, Failure};
use crate::serve::failure;
use crate::server::{ServeError, StateDir, StateDirError, key_sources};

/// The result of a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The name of the new key.
    pub key: String,
    /// The names of the removed keys.
    pub removed: Vec<String>,
}

/// Seals the store with a new key.
///
/// # Errors
/// Returns an error message with a hint; the key file still opens the store.
pub fn rotate_key(server: &Server) -> Result<Rotated, Failure> {
    let sources = key_sources(server);
    if sources.environment.is_some() || sources.credential_path.as_ref().is_some_and(|path| path.exists()) {
        let message = "the master key comes from the environment or from systemd, not from the key file";
        return Err(Failure::new(exit::CONFIGURATION, message).with_hint(
            "add a line with a new key before the old one there, start the server once so that everything is \
             sealed with the new key, then remove the old line",
        ));
    }
    let store = server.store_file();
    if !store.exists() {
        let message = format!("there is no store at {}", store.display());
        return Err(Failure::new(exit::FAILED, message)
            .with_hint("the server creates a store and its key when it first starts"));
    }
    let _locked = StateDir::open(&server.state_dir).map_err(|error| match error {
        StateDirError::Taken { .. } => Failure::new(exit::TRY_AGAIN, error.to_string())
            .with_hint("stop the server first; its windows stay open for the next start"),
        error => failure(&error.into()),
    })?;
    let open = || -> Result<SqliteStore, Failure> {
        let keyring = Keyring::find(&sources).map_err(of_key)?;
        SqliteStore::open(&store, keyring).map_err(of_store)
    };
    // All problems are reported before anything changes.
    let damaged = open()?.check().map_err(of_store)?.damaged;
    if let Some(first) = damaged.first() {
        let count = match damaged.len() {
            1 => "a record cannot be read".to_owned(),
            count => format!("{count} records cannot be read"),
        };
        let message = format!(
            "{count}, so no key was removed; the first is the {} {}: {}",
            first.kind, first.id, first.error
        );
        return Err(Failure::new(exit::FAILED, message).with_hint(
            "restore the key that they are sealed with, or a backup of the store; or list them with \
             `pilotlight store check` and remove them with `pilotlight store forget`",
        ));
    }
    let key = Keyring::add_new_current(&sources.key_file_path).map_err(of_key)?;
    // Opening the store seals everything with the new key; it returns when that is on disk.
    drop(open()?);
    let removed = Keyring::retain_current(&sources.key_file_path).map_err(of_key)?;
    Ok(Rotated { key, removed })
}

fn of_key(error: KeyError) -> Failure {
    failure(&ServeError::Key(error))
}

fn of_store(error: StoreError) -> Failure {
    failure(&ServeError::Store(error))
}
