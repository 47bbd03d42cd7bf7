//! What can go wrong with the store, each in one sentence, and what to do about it.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use uuid::Uuid;

use crate::seal::SealError;

/// Why the store did not do what was asked. Nothing of it was done, unless a variant says otherwise.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// The keyring lacks the key.
    #[error("the store {path} is sealed under the master key {key:?}, which is not in the keyring")]
    MissingKey {
        /// The store.
        path: PathBuf,
        /// The key's name.
        key: String,
    },
    /// The keyring has another key of that name.
    #[error("the master key {key:?} is not the one that the store {path} is sealed under")]
    WrongKey {
        /// The store.
        path: PathBuf,
        /// The key's name.
        key: String,
    },
    /// Somebody else has it open.
    #[error("the store {path} is in use by somebody else")]
    Locked {
        /// The store.
        path: PathBuf,
    },
    /// No room.
    #[error("there is no room left for the store {path}")]
    Full {
        /// The store.
        path: PathBuf,
    },
    /// It is no store, or no whole one.
    #[error("the store {path} is damaged: {problem}")]
    Damaged {
        /// The store.
        path: PathBuf,
        /// What shows that it is.
        problem: String,
    },
    /// A later release wrote it.
    #[error("the store {path} has version {found}, and this release knows versions up to {known}")]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The latest version that this release reads.
        known: usize,
    },
    /// The file cannot be read or written.
    #[error("the store {path} cannot be read or written")]
    Io {
        /// The store.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// What SQLite refuses for any other reason.
    #[error("the store {path} does not work")]
    Database {
        /// The store.
        path: PathBuf,
        /// Why.
        source: Arc<rusqlite::Error>,
    },
    /// There is no such session to keep a checkpoint of.
    #[error("the session {0} is not in the store")]
    NoSession(Uuid),
    /// A record is too large, or its databases of IndexedDB are nested too deeply, to be read again.
    #[error("what is to be written down of the session {session} is too large: {problem}")]
    TooLarge {
        /// The session.
        session: Uuid,
        /// What is too large.
        problem: &'static str,
    },
    /// A record is there and cannot be read.
    #[error("what is written down of the session {session} cannot be read")]
    Record {
        /// The session.
        session: Uuid,
        /// Why.
        source: RecordError,
    },
    /// The archive was closed, or its thread is gone.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the same can work later, without anybody changing what is asked for.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Locked { .. } | Self::Full { .. } | Self::Io { .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::MissingKey { .. } => {
                "put the key of that name back into the keyring, after the current one"
            }
            Self::WrongKey { .. } => "put back the keyring that the store was last opened with",
            Self::Locked { .. } => "end the other server that uses this state folder",
            Self::Full { .. } => "make room on its file system",
            Self::Damaged { .. } => "put back a backup, or move the file away to begin with an empty store",
            Self::Newer { .. } => "use the release that wrote it, or a later one",
            Self::Io { .. } => "see that the folder is there and that the server's user may write to it",
            _ => return None,
        })
    }

    /// The sentence, with those of its sources.
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

/// Why one record cannot be read. It tells nothing of what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// It does not open.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A later release wrote it.
    #[error("its format has version {found}, and this release knows versions up to {known}")]
    Newer {
        /// Its version.
        found: u32,
        /// The latest version that this release reads.
        known: u32,
    },
    /// It opens, and something else is inside.
    #[error("its content is not understood (line {line}, column {column})")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
}
