//! What was seen of each session's latest sign-in that failed: the step, why, and a picture of the page.
//!
//! One file a session, for the owner's eyes alone; the next one takes its place, and it goes with its session.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs, io};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use pilotlight_api::FailedStep;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::keeper::{Clock, timestamp};
use crate::server::write_private;

/// What was seen of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Where the recording could not go on; `None` where it went through, and the portal let nobody in.
    pub step: Option<FailedStep>,
    /// Why, for people.
    pub error: String,
    /// When.
    pub taken_at: Timestamp,
    /// A JPEG in base64, where one could be taken.
    picture: Option<String>,
}

impl Seen {
    /// Whether there is a picture.
    #[must_use]
    pub fn has_picture(&self) -> bool {
        self.picture.is_some()
    }

    /// What the page showed, as JPEG.
    #[must_use]
    pub fn picture(&self) -> Option<Vec<u8>> {
        BASE64_STANDARD.decode(self.picture.as_ref()?).ok()
    }
}

/// All of them. Clones share them.
#[derive(Debug, Clone)]
pub struct Failures {
    folder: PathBuf,
    clock: Clock,
    known: Arc<Mutex<BTreeSet<Uuid>>>,
}

impl Failures {
    /// Those in a folder of theirs.
    #[must_use]
    pub fn open(folder: PathBuf, clock: Clock) -> Self {
        let known = fs::read_dir(&folder).into_iter().flatten().flatten();
        let known = known.filter_map(|entry| session_of(&entry.path())).collect();
        Self { folder, clock, known: Arc::new(Mutex::new(known)) }
    }

    /// Whether a session has one. It waits for nothing.
    #[must_use]
    pub fn has(&self, session: Uuid) -> bool {
        self.known().contains(&session)
    }

    /// Keeps what was seen just now.
    pub async fn keep(
        &self,
        session: Uuid,
        step: Option<FailedStep>,
        error: String,
        picture: Option<impl AsRef<[u8]>>,
    ) {
        let picture = picture.map(|picture| BASE64_STANDARD.encode(picture));
        let seen = Seen { step, error, taken_at: timestamp(self.clock.now()), picture };
        let path = self.path(session);
        let write = move || write_private(&path, &serde_json::to_vec(&seen)?);
        match tokio::task::spawn_blocking(write).await.map_err(io::Error::other).and_then(|written| written) {
            Ok(()) => drop(self.known().insert(session)),
            Err(error) => {
                tracing::warn!(session_id = %session, %error, "what was seen of a failed sign-in is lost");
            }
        }
    }

    /// What was seen of a session's latest one.
    pub async fn of(&self, session: Uuid) -> Option<Seen> {
        let path = self.path(session);
        let read = move || serde_json::from_slice(&fs::read(path).ok()?).ok();
        tokio::task::spawn_blocking(read).await.ok()?
    }

    /// Removes those of sessions that are no more. Blocks.
    pub fn sweep(&self, lives: impl Fn(Uuid) -> bool) {
        for path in fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let Some(session) = session_of(&path).filter(|session| !lives(*session)) else { continue };
            self.known().remove(&session);
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "a picture of a session that is no more stays");
            }
        }
    }

    fn path(&self, session: Uuid) -> PathBuf {
        self.folder.join(format!("{session}.json"))
    }

    fn known(&self) -> MutexGuard<'_, BTreeSet<Uuid>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn session_of(path: &Path) -> Option<Uuid> {
    Uuid::try_parse(path.file_stem()?.to_str()?).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn the_latest_is_kept_for_the_owner_until_its_session_is_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let (clock, session) = (Clock::start(), Uuid::from_u128(1));
        let failures = Failures::open(folder.path().to_owned(), clock);
        failures.keep(session, None, "first".to_owned(), Some(b"picture")).await;
        let seen = failures.of(session).await.unwrap();
        assert_eq!((seen.error.as_str(), seen.picture()), ("first", Some(b"picture".to_vec())));
        failures.keep(session, None, "second".to_owned(), None::<Vec<u8>>).await;
        let again = Failures::open(folder.path().to_owned(), clock);
        assert!(again.has(session) && !again.of(session).await.unwrap().has_picture());
        let mode = fs::metadata(again.path(session)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        again.sweep(|living| living == session);
        assert!(again.has(session));
        again.sweep(|_| false);
        assert!(!again.has(session) && again.of(session).await.is_none());
    }
}
