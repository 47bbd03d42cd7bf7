//! Reports of the latest failed sign-in of each session: the step, the error, and a screenshot of the page.
//!
//! There is one sealed file per session. The next failure replaces it, and it is deleted with its session.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use pilotlight_api::FailedStep;
use pilotlight_store::FilesKey;
use pilotlight_store::files::is_sealed;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::{Clock, timestamp};
use crate::private_file;

/// A report of a failed sign-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The failed step; `None` if all steps succeeded but the session was not signed in.
    pub step: Option<FailedStep>,
    /// The error, for people.
    pub error: String,
    /// The time of the failure.
    pub taken_at: Timestamp,
    /// A JPEG in base64, if one could be taken.
    picture: Option<String>,
}

impl Seen {
    /// Returns whether there is a screenshot.
    #[must_use]
    pub fn has_picture(&self) -> bool {
        self.picture.is_some()
    }

    /// Returns the screenshot as JPEG.
    #[must_use]
    pub fn picture(&self) -> Option<Vec<u8>> {
        BASE64_STANDARD.decode(self.picture.as_ref()?).ok()
    }
}

/// Stores the latest failed sign-in of each session. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Failures {
    folder: PathBuf,
    clock: Clock,
    key: FilesKey,
    known: Arc<Mutex<BTreeSet<Uuid>>>,
}

impl Failures {
    /// Opens the reports in their folder.
    #[must_use]
    pub fn open(folder: PathBuf, clock: Clock, key: FilesKey) -> Self {
        seal_plain_files(&folder, &key);
        let known = fs::read_dir(&folder).into_iter().flatten().flatten();
        let known = known.filter_map(|entry| session_of(&entry.path())).collect();
        Self { folder, clock, key, known: Arc::new(Mutex::new(known)) }
    }

    /// Returns whether a session has a report. Does not block.
    #[must_use]
    pub fn has(&self, session: Uuid) -> bool {
        self.known().contains(&session)
    }

    /// Stores a report.
    pub async fn keep(
        &self,
        session: Uuid,
        step: Option<FailedStep>,
        error: String,
        picture: Option<impl AsRef<[u8]>>,
    ) {
        let picture = picture.map(|picture| BASE64_STANDARD.encode(picture));
        let seen = Seen { step, error, taken_at: timestamp(self.clock.now()), picture };
        let (path, key) = (self.path(session), self.key.clone());
        let write = move || {
            let mut sealed = Vec::new();
            key.seal(&sealed_as(session), &mut serde_json::to_vec(&seen)?.as_slice(), &mut sealed)?;
            private_file::write(&path, &sealed)
        };
        match tokio::task::spawn_blocking(write).await.map_err(io::Error::other).and_then(|written| written) {
            Ok(()) => drop(self.known().insert(session)),
            Err(error) => {
                tracing::warn!(session_id = %session, %error, "failed to store the report of a failed sign-in");
            }
        }
    }

    /// Returns the latest report of a session.
    pub async fn of(&self, session: Uuid) -> Option<Seen> {
        let (path, key) = (self.path(session), self.key.clone());
        let read = move || {
            let mut text = Vec::new();
            let mut opened = key.open(&sealed_as(session), fs::File::open(path).ok()?).ok()?;
            opened.read_to_end(&mut text).ok()?;
            serde_json::from_slice(&text).ok()
        };
        tokio::task::spawn_blocking(read).await.ok()?
    }

    /// Removes the reports of ended sessions. Blocks.
    pub fn sweep(&self, lives: impl Fn(Uuid) -> bool) {
        for path in fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let Some(session) = session_of(&path).filter(|session| !lives(*session)) else { continue };
            self.known().remove(&session);
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "failed to delete a screenshot of an ended session");
            }
        }
    }

    fn path(&self, session: Uuid) -> PathBuf {
        self.folder.join(format!("{session}.json"))
    }

    fn known(&self) -> MutexGuard<'_, BTreeSet<Uuid>> {
        self.known.lock()
    }
}

/// Returns the name that a session's file is sealed under.
fn sealed_as(session: Uuid) -> String {
    format!("failure {session}")
}

/// Seals files that an earlier version stored unencrypted.
fn seal_plain_files(folder: &Path, key: &FilesKey) {
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let Some((session, text)) = session_of(&path).zip(fs::read(&path).ok()) else { continue };
        if is_sealed(&text) {
            continue;
        }
        let mut sealed = Vec::new();
        let written = key.seal(&sealed_as(session), &mut text.as_slice(), &mut sealed);
        if let Err(error) = written.and_then(|_| private_file::write(&path, &sealed)) {
            tracing::warn!(path = %path.display(), %error, "failed to seal a screenshot that is stored unencrypted");
        }
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
        let (clock, session, key) = (Clock::start(), Uuid::from_u128(1), FilesKey::random());
        let failures = Failures::open(folder.path().to_owned(), clock, key.clone());
        failures.keep(session, None, "first".to_owned(), Some(b"picture")).await;
        let seen = failures.of(session).await.unwrap();
        assert_eq!((seen.error.as_str(), seen.picture()), ("first", Some(b"picture".to_vec())));
        failures.keep(session, None, "second".to_owned(), None::<Vec<u8>>).await;
        let again = Failures::open(folder.path().to_owned(), clock, key);
        assert!(again.has(session) && !again.of(session).await.unwrap().has_picture());
        let mode = fs::metadata(again.path(session)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(is_sealed(&fs::read(again.path(session)).unwrap()));
        again.sweep(|living| living == session);
        assert!(again.has(session));
        again.sweep(|_| false);
        assert!(!again.has(session) && again.of(session).await.is_none());
    }

    #[tokio::test]
    async fn what_an_earlier_version_left_in_the_clear_is_sealed() {
        let folder = tempfile::tempdir().unwrap();
        let session = Uuid::from_u128(1);
        let path = folder.path().join(format!("{session}.json"));
        let seen =
            Seen { step: None, error: "old".to_owned(), taken_at: Timestamp::UNIX_EPOCH, picture: None };
        fs::write(&path, serde_json::to_vec(&seen).unwrap()).unwrap();
        let failures = Failures::open(folder.path().to_owned(), Clock::start(), FilesKey::random());
        assert!(is_sealed(&fs::read(&path).unwrap()));
        assert_eq!(failures.of(session).await, Some(seen));
    }
}
