//! Sessions as clients see them.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The state of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// The session waits for capacity, or its window is being opened.
    Starting,
    /// The site's sign-in flow is running.
    SigningIn,
    /// The window is open and, if the session has a site, signed in.
    Ready,
    /// The window is paused in memory.
    Frozen,
    /// The state is saved on disk; there is no window.
    Hibernated,
    /// The window was lost and is being restored.
    Recovering,
    /// The session needs a person to continue; `attention` says why.
    NeedsAttention,
    /// The session has ended; `ended_reason` says why.
    Ended,
}

impl SessionState {
    /// Returns the name used in JSON.
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

/// Whether a session is signed in, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignInStatus {
    /// The session is signed in.
    SignedIn,
    /// The session is signed out, or its page looks like it.
    SignedOut,
    /// The session was not checked yet, or has no conditions that tell.
    #[default]
    Unknown,
    /// The session is signed out, and the portal rejected its sign-in.
    Refused,
    /// A person is needed to continue.
    PersonNeeded,
}

impl SignInStatus {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::SignedIn, Self::SignedOut, Self::Unknown, Self::Refused, Self::PersonNeeded];

    /// Returns the name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignedIn => "signed_in",
            Self::SignedOut => "signed_out",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
            Self::PersonNeeded => "person_needed",
        }
    }
}

impl fmt::Display for SignInStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What showed whether a session is signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignInHow {
    /// The site's conditions, on the page as it was or as it was loaded.
    Conditions,
    /// A sign-in: of this session, or of another one with the same user name and password that the portal rejected.
    SignIn,
    /// A refresh.
    Refresh,
    /// Nothing: neither the session nor its site has conditions.
    NoConditions,
    /// The page of a session without conditions shows a password field.
    PasswordField,
    /// The page of a session without conditions was loaded again and came to another address.
    Moved,
}

impl SignInHow {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Conditions, Self::SignIn, Self::Refresh, Self::NoConditions, Self::PasswordField, Self::Moved];

    /// Returns the name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conditions => "conditions",
            Self::SignIn => "sign_in",
            Self::Refresh => "refresh",
            Self::NoConditions => "no_conditions",
            Self::PasswordField => "password_field",
            Self::Moved => "moved",
        }
    }
}

/// Whether a session is signed in, when that was checked, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionSignIn {
    /// Whether it is signed in. A session without a window has the last known status.
    pub status: SignInStatus,
    /// When that was last checked; null if it never was.
    pub checked_at: Option<Timestamp>,
    /// What showed it; null if it was never checked.
    pub how: Option<SignInHow>,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndedReason {
    /// A client closed it.
    ClosedByClient,
    /// It was not used for its `idle_timeout`, and was not `keep_alive`.
    IdleTimeout,
    /// It was the least recently used session when capacity was needed.
    Evicted,
    /// Its first sign-in failed.
    SignInFailed,
    /// Its window could not be opened when it was created.
    StartFailed,
}

impl EndedReason {
    /// Returns the name used in JSON.
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
    /// A separate browser context in a process shared with other sessions.
    #[default]
    Shared,
    /// A separate browser process and profile.
    Dedicated,
}

/// How memory is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemoryMeasure {
    /// Private memory plus a proportional share of shared memory (PSS): values can be added up.
    Proportional,
    /// Private and shared memory in full, without mapped files. Used if the kernel does not report PSS.
    Private,
}

impl MemoryMeasure {
    /// Returns the name used in JSON.
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
    /// Description of the holder, if given.
    pub owner: Option<String>,
    /// Whether other shared holds are allowed at the same time.
    pub shared: bool,
    /// Whether the session is not refreshed while it is held.
    #[serde(default)]
    pub quiet: bool,
    /// When the hold expires.
    pub expires_at: Timestamp,
}

/// A client that is connected to a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionClient {
    /// What kind of client it is.
    pub name: String,
    /// When it sent its last message, if it counts as silent: its window may be frozen until it sends the next one.
    pub silent_since: Option<Timestamp>,
}

/// A session: a site, an account and a policy, with a window while one is open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// The session's permanent id.
    pub session_id: Uuid,
    /// The name given by the client; unique among sessions that have not ended.
    pub name: Option<String>,
    /// The site that the session is signed in to; null for a session without a site.
    pub site: Option<String>,
    /// The user name that the session is signed in with.
    pub username: Option<String>,
    /// The credential that the session signs in with; null if it has none.
    pub credential: Option<String>,
    /// The session's state.
    pub state: SessionState,
    /// Whether a hold exists.
    pub in_use: bool,
    /// The current holds.
    #[serde(default)]
    pub holds: Vec<SessionHold>,
    /// The clients that are connected at the moment.
    #[serde(default)]
    pub clients: Vec<SessionClient>,
    /// Whether the session never expires.
    pub keep_alive: bool,
    /// Whether only an explicit close ends the session.
    pub never_terminate: bool,
    /// When the session was created.
    pub created_at: Timestamp,
    /// When a client last used the session. A refresh does not count as use.
    pub last_used: Timestamp,
    /// When the session was last refreshed and not found to be signed out.
    pub last_refresh: Option<Timestamp>,
    /// Whether the session is signed in, as far as is known.
    #[serde(default)]
    pub sign_in: SessionSignIn,
    /// When the session last signed in; null if it never did.
    pub signed_in_at: Option<Timestamp>,
    /// When the session is refreshed next; null if it is not refreshed.
    pub next_refresh: Option<Timestamp>,
    /// How often the session is refreshed, in seconds; 0 for never.
    #[serde(default)]
    pub refresh_interval: u64,
    /// Time without use after which the session ends, in seconds. Has no effect with `keep_alive`.
    #[serde(default)]
    pub idle_timeout: u64,
    /// When the latest checkpoint was saved; null if there is none.
    pub checkpoint_at: Option<Timestamp>,
    /// When the session ends unless it is used; null with `keep_alive`.
    pub expires_at: Option<Timestamp>,
    /// The URL of the main page.
    pub url: Option<String>,
    /// The title of the main page.
    pub title: Option<String>,
    /// Number of open tabs, including popups.
    pub tabs: u32,
    /// Whether the session shares its browser process.
    pub isolation: Isolation,
    /// The launch profile.
    pub profile: String,
    /// The browser process of the window; null without a window.
    pub shard: Option<String>,
    /// Memory of the window in bytes, without swapped-out memory; 0 without a window; null if not measured.
    pub memory_bytes: Option<u64>,
    /// Swapped-out memory of the window in bytes, before compression; 0 without a window; null if not measured.
    pub swapped_bytes: Option<u64>,
    /// How memory is measured; null if it is not.
    pub memory_measure: Option<MemoryMeasure>,
    /// Size of the stored state in bytes; null if none is stored.
    pub storage_bytes: Option<u64>,
    /// WebSocket URL for CDP clients; null if not available.
    pub cdp_url: Option<String>,
    /// URL of the window's live view in the dashboard; null if not available.
    pub live_url: Option<String>,
    /// URL of the report of the latest failed sign-in; null if none failed.
    pub failure_url: Option<String>,
    /// Why the session ended; null if it has not ended.
    pub ended_reason: Option<EndedReason>,
    /// What a person needs to know or do, in one sentence; usually null.
    pub attention: Option<String>,
    /// Tags given by the client.
    pub tags: BTreeMap<String, String>,
}

/// A response with one session: `"success": true` and the session's fields.
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
        "username": "acme", "credential": null, "state": "ready", "in_use": false, "holds": [], "clients": [], "keep_alive": true, "never_terminate": false,
        "created_at": "2026-11-22T12:00:00Z", "last_used": "2026-11-22T12:00:00Z", "last_refresh": null,
        "sign_in": { "status": "signed_in", "checked_at": "2026-11-22T12:00:01Z", "how": "conditions" },
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
        for status in SignInStatus::ALL {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        for how in SignInHow::ALL {
            assert_eq!(serde_json::to_value(how).unwrap(), how.as_str());
        }
    }

    #[test]
    fn a_session_of_an_older_server_does_not_say_whether_it_is_signed_in() {
        let mut example: serde_json::Value = serde_json::from_str(EXAMPLE).unwrap();
        assert!(example.as_object_mut().unwrap().remove("sign_in").is_some());
        let session: Session = serde_json::from_value(example).unwrap();
        let expected = SessionSignIn { status: SignInStatus::Unknown, checked_at: None, how: None };
        assert_eq!(session.sign_in, expected);
    }
}
