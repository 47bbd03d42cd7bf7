//! Errors of the store, each with a hint.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use uuid::Uuid;

use crate::seal::SealError;

/// Why the store did not execute an order. Nothing was changed, unless a variant says otherwise.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// The key is not in the keyring.
    #[error("the store {path} is sealed under the master key {key:?}, which is not in the keyring")]
    MissingKey {
        /// The store.
        path: PathBuf,
        /// The key's name.
        key: String,
    },
    /// The keyring has a different key with that name.
    #[error("the master key {key:?} is not the one that the store {path} is sealed under")]
    WrongKey {
        /// The store.
        path: PathBuf,
        /// The key's name.
        key: String,
    },
    /// Another process has opened it.
    #[error("the store {path} is in use by another process")]
    Locked {
        /// The store.
        path: PathBuf,
    },
    /// The disk is full.
    #[error("there is no space left for the store {path}")]
    Full {
        /// The store.
        path: PathBuf,
    },
    /// The file is not a store, or is damaged.
    #[error("the store {path} is damaged: {problem}")]
    Damaged {
        /// The store.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// It was written by a later release.
    #[error("the store {path} has version {found}, but this release supports only versions up to {known}")]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The latest version that this release reads.
        known: usize,
    },
    /// The file cannot be read or written.
    #[error("cannot read or write the store {path}")]
    Io {
        /// The store.
        path: PathBuf,
        /// The cause.
        source: Arc<io::Error>,
    },
    /// Any other error of SQLite.
    #[error("the store {path} failed")]
    Database {
        /// The store.
        path: PathBuf,
        /// The cause.
        source: Arc<rusqlite::Error>,
    },
    /// The session of a checkpoint does not exist.
    #[error("the session {0} is not in the store")]
    NoSession(Uuid),
    /// A record is too large, or its IndexedDB databases are nested too deeply, to be read again.
    #[error("the state of session {session} is too large to store: {problem}")]
    TooLarge {
        /// The session.
        session: Uuid,
        /// What is too large.
        problem: &'static str,
    },
    /// A record exists but cannot be read.
    #[error("the stored state of session {session} cannot be read")]
    Record {
        /// The session.
        session: Uuid,
        /// The cause.
        source: RecordError,
    },
    /// The store was closed, or its thread has ended.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Returns whether the same order can succeed later.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Locked { .. } | Self::Full { .. } | Self::Io { .. })
    }

    /// Returns whether the cause is a full disk.
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::MissingKey { .. } => "restore the key with that name in the keyring, after the current one",
            Self::WrongKey { .. } => "restore the keyring that the store was last opened with",
            Self::Locked { .. } => "stop the other server that uses this state folder",
            Self::Full { .. } => "free space on its file system",
            Self::Damaged { .. } => "restore a backup, or move the file away to start with an empty store",
            Self::Newer { .. } => "use the release that wrote it or a later one",
            Self::Io { .. } => "check that the folder exists and is writable for the server's user",
            _ => return None,
        })
    }

    /// Returns the message with those of its sources.
    pub fn sentence(&self) -> String {
        let mut sentence = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            sentence.push_str(": ");
            sentence.push_str(&error.to_string());
            source = error.source();
        }
        sentence
    }
}

/// Why a record cannot be read. Contains nothing of its content.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// It cannot be unsealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// It was written by a later release.
    #[error("its format has version {found}, but this release supports only versions up to {known}")]
    Newer {
        /// Its version.
        found: u32,
        /// The latest version that this release reads.
        known: u32,
    },
    /// Its content cannot be parsed.
    #[error("cannot parse its content (line {line}, column {column})")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
}
