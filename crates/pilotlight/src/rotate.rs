//! `pilotlight rotate-key`: a new master key for the store, while no server runs.
//!
//! At every moment the key file opens the store: the new key comes before the old one, then everything is
//! sealed under it, and only then the old one goes. A rotation that was cut off is finished by the next.

use pilotlight_store::{KeyError, Keyring, SqliteStore, Store, StoreError};

use crate::cli::{Failure, exit_codes};
use crate::config::Server;
use crate::serve::failure;
use crate::server::{ServeError, StateDir, StateDirError, key_sources};

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The name of the new key.
    pub key: String,
    /// The names of the keys that open nothing any more.
    pub removed: Vec<String>,
}

/// Seals the store under a new key.
///
/// # Errors
/// What is in the way, as a sentence with a hint; the key file opens the store still.
pub fn rotate_key(server: &Server) -> Result<Rotated, Failure> {
    let sources = key_sources(server);
    if sources.environment.is_some() || sources.credential_path.as_ref().is_some_and(|path| path.exists()) {
        let sentence = "the master key is not in the key file: it comes from the environment or from systemd";
        return Err(Failure::new(exit_codes::CONFIGURATION, sentence).with_hint(
            "put a line with a new key before the old one there, start the server once, which seals \
             everything under it, then take the old line away",
        ));
    }
    let store = server.store_file();
    if !store.exists() {
        let sentence = format!("there is no store at {}", store.display());
        return Err(Failure::new(exit_codes::FAILED, sentence)
            .with_hint("the server makes one, and a key for it, when it first starts"));
    }
    let _locked = StateDir::open(&server.state_dir).map_err(|error| match error {
        StateDirError::Taken { .. } => Failure::new(exit_codes::TRY_AGAIN, error.to_string())
            .with_hint("stop the server first; its windows stay for the next one"),
        error => failure(&error.into()),
    })?;
    let open = || -> Result<SqliteStore, Failure> {
        let keyring = Keyring::find(&sources).map_err(of_key)?;
        SqliteStore::open(&store, keyring).map_err(of_store)
    };
    // Whatever is wrong is told before anything changes.
    let damaged = open()?.load().map_err(of_store)?.damaged;
    if let Some(first) = damaged.first() {
        let sentence = format!(
            "{} of the sessions cannot be read, so no key is taken away; the first: {}",
            damaged.len(),
            first.error
        );
        return Err(Failure::new(exit_codes::FAILED, sentence)
            .with_hint("put back the key that they are sealed under, or a backup of the store"));
    }
    let key = Keyring::add_new_current(&sources.key_file_path).map_err(of_key)?;
    // Opening seals everything under the new key; it returns once that is on the disk.
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
