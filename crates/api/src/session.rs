//! A session as its clients see it.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// Waits for room, or its window is being opened.
    Starting,
    /// The site's sign-in runs.
    SigningIn,
    /// Its window is open and, with a site, signed in.
    Ready,
    /// Its window is paused in memory.
    Frozen,
    /// Its state lies on disk, it has no window.
    Hibernated,
    /// Its window was lost and is being brought back.
    Recovering,
    /// It cannot go on without a person; `attention` says why.
    NeedsAttention,
    /// It is over; `ended_reason` says why.
    Ended,
}

impl SessionState {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::SigningIn => "signing_in",
            Self::Ready => "ready",
            Self::Frozen => "frozen",
            Self::Hibernated => "hibernated",
            Self::Recovering => "recovering",
            Self::NeedsAttention => "needs_attention",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndedReason {
    /// Somebody closed it.
    ClosedByClient,
    /// Nobody used it for its `idle_timeout`, and it was not `keep_alive`.
    IdleTimeout,
    /// It was the least recently used one when room was needed.
    Evicted,
    /// The portal did not accept its sign-in when it was created.
    SignInFailed,
    /// Its window could not be opened when it was created.
    StartFailed,
}

impl EndedReason {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClosedByClient => "closed_by_client",
            Self::IdleTimeout => "idle_timeout",
            Self::Evicted => "evicted",
            Self::SignInFailed => "sign_in_failed",
            Self::StartFailed => "start_failed",
        }
    }
}

impl fmt::Display for EndedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether a session shares its browser process with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// A browser context of its own in a process that holds other sessions too.
    #[default]
    Shared,
    /// A browser process and profile of its own.
    Dedicated,
}

/// How memory is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemoryMeasure {
    /// Its own pages, and of shared ones its share among all who map them (PSS): sums are true.
    Proportional,
    /// Its own pages and its shared memory in full, without programs and files: the kernel tells no more.
    Private,
}

impl MemoryMeasure {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proportional => "proportional",
            Self::Private => "private",
        }
    }
}

/// A hold on a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionHold {
    /// Who holds it, as far as they say.
    pub owner: Option<String>,
    /// Whether others may hold it too.
    pub shared: bool,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// One signed-in browser window that Pilotlight keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Identifies the session for good.
    pub session_id: Uuid,
    /// The name that its creator gave it; no two living sessions share one.
    pub name: Option<String>,
    /// The site it is signed in to, or null for a plain window.
    pub site: Option<String>,
    /// The user name it is signed in with.
    pub username: Option<String>,
    /// The credential that it signs in with, where it names one.
    pub credential: Option<String>,
    /// What it is doing.
    pub state: SessionState,
    /// Whether somebody holds it.
    pub in_use: bool,
    /// Who holds it.
    #[serde(default)]
    pub holds: Vec<SessionHold>,
    /// Whether it never expires.
    pub keep_alive: bool,
    /// Whether nothing but an explicit close ends it.
    pub never_terminate: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When a client last used it. A refresh is not use.
    pub last_used: Timestamp,
    /// When its sign-in was last found to be alive.
    pub last_refresh: Option<Timestamp>,
    /// When its sign-in last ran and worked; null where it never did.
    pub signed_in_at: Option<Timestamp>,
    /// When it is refreshed next; null where it never is.
    pub next_refresh: Option<Timestamp>,
    /// How often it is refreshed, in seconds; 0 for never.
    #[serde(default)]
    pub refresh_interval: u64,
    /// How long nobody need use it until it ends, in seconds; without meaning where `keep_alive`.
    #[serde(default)]
    pub idle_timeout: u64,
    /// When its newest checkpoint was written; null where there is none.
    pub checkpoint_at: Option<Timestamp>,
    /// When it ends unless it is used before; null where `keep_alive`.
    pub expires_at: Option<Timestamp>,
    /// The URL of its page.
    pub url: Option<String>,
    /// The title of its page.
    pub title: Option<String>,
    /// Open tabs, popups among them.
    pub tabs: u32,
    /// Whether it shares its browser process.
    pub isolation: Isolation,
    /// Its launch profile.
    pub profile: String,
    /// The browser process that has its window; null without a window.
    pub shard: Option<String>,
    /// Memory of its window in bytes, 0 without a window; null where it is not measured. What is swapped out
    /// is not in it.
    pub memory_bytes: Option<u64>,
    /// What of its window's memory is swapped out, in bytes before compression; as `memory_bytes` otherwise.
    pub swapped_bytes: Option<u64>,
    /// How both are counted; null where nothing is.
    pub memory_measure: Option<MemoryMeasure>,
    /// Stored state in bytes; null where none is stored.
    pub storage_bytes: Option<u64>,
    /// Where a CDP client connects; null where the server offers none.
    pub cdp_url: Option<String>,
    /// Where a person can look at the window; null where the server offers none.
    pub live_url: Option<String>,
    /// What was seen of its latest sign-in that failed, with a picture; null where none did.
    pub failure_url: Option<String>,
    /// Why it ended; null while it lives.
    pub ended_reason: Option<EndedReason>,
    /// What a person should know or do, in a sentence; usually null.
    pub attention: Option<String>,
    /// The creator's own marks.
    pub tags: BTreeMap<String, String>,
}

/// An answer about one session: `"success": true` and beside it the session's fields.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SessionAnswer {
    /// Always true.
    pub success: bool,
    /// The session.
    #[serde(flatten)]
    pub session: Session,
}

impl From<Session> for SessionAnswer {
    fn from(session: Session) -> Self {
        Self { success: true, session }
    }
}

/// The answer to `POST /sessions`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedAnswer {
    /// Always true.
    pub success: bool,
    /// False where a living session was equal to what was asked for.
    pub is_new: bool,
    /// The session.
    #[serde(flatten)]
    pub session: Session,
}

impl CreatedAnswer {
    /// The answer about `session`.
    pub fn new(session: Session, is_new: bool) -> Self {
        Self { success: true, is_new, session }
    }
}

/// The answer to `GET /sessions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionsAnswer {
    /// Always true.
    pub success: bool,
    /// The living sessions, oldest first.
    pub sessions: Vec<Session>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The contract's own example, with what this version adds and leaves null.
    const EXAMPLE: &str = r#"{
        "session_id": "0198c1c2-0000-7000-8000-000000000001", "name": "acme-emodal", "site": "portal",
        "username": "acme", "credential": null, "state": "ready", "in_use": false, "holds": [], "keep_alive": true, "never_terminate": false,
        "created_at": "2026-11-22T12:00:00Z", "last_used": "2026-11-22T12:00:00Z", "last_refresh": null,
        "signed_in_at": null, "next_refresh": null, "refresh_interval": 300, "idle_timeout": 1800,
        "checkpoint_at": null,
        "expires_at": null, "url": "https://portal.test/", "title": "Portal", "tabs": 1, "isolation": "shared",
        "profile": "dense", "shard": "s3", "memory_bytes": 61341696, "swapped_bytes": 0, "memory_measure": "proportional",
        "storage_bytes": 18211, "cdp_url": null,
        "live_url": null, "failure_url": null, "ended_reason": null, "attention": null, "tags": {} }"#;

    #[test]
    fn a_session_has_the_fields_of_the_contract_and_no_others() {
        let example: serde_json::Value = serde_json::from_str(EXAMPLE).unwrap();
        let session: Session = serde_json::from_str(EXAMPLE).unwrap();
        assert_eq!(serde_json::to_value(&session).unwrap(), example);
        let mut answer = serde_json::to_value(SessionAnswer::from(session)).unwrap();
        assert_eq!(answer.as_object_mut().unwrap().remove("success"), Some(true.into()));
        assert_eq!(answer, example);
    }

    #[test]
    fn the_words_are_those_of_the_contract() {
        use SessionState::*;
        for state in [Starting, SigningIn, Ready, Frozen, Hibernated, Recovering, NeedsAttention, Ended] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for reason in [
            EndedReason::ClosedByClient,
            EndedReason::IdleTimeout,
            EndedReason::Evicted,
            EndedReason::SignInFailed,
            EndedReason::StartFailed,
        ] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
