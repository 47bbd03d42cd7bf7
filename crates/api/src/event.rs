//! Server-sent events: what happened to a session, when and why.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::session::SessionState;

/// What kind of thing happened. It is also the `event:` line of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A session was created.
    Created,
    /// Its state changed.
    StateChanged,
    /// A person is needed; `live_url` is where to look and act.
    NeedsAttention,
    /// No person is needed any more.
    AttentionOver,
    /// Its policy, name or tags were changed by a client.
    Updated,
    /// Its sign-in ran and worked.
    SignedIn,
    /// The portal signed it out; it is signed in again.
    SignedOut,
    /// Its sign-in ran and did not work.
    SignInFailed,
    /// It was refreshed and is signed in.
    Refreshed,
    /// A refresh did not work; it will be tried again.
    RefreshFailed,
    /// Somebody holds it.
    HoldStarted,
    /// A hold was given back or expired.
    HoldEnded,
    /// An operation was begun, or goes on.
    OperationStarted,
    /// An operation waits for an input.
    OperationNeedsInput,
    /// An operation is over.
    OperationEnded,
    /// A tab crashed.
    PageCrashed,
    /// Its page no longer answers; it is loaded again.
    PageHung,
    /// Its window or its browser process was lost; it is being brought back.
    WindowLost,
    /// Bringing it back did not work; it will be tried again.
    RecoveryFailed,
    /// Its state is written down and its window goes; whoever asks for it gets it back.
    Hibernating,
    /// Its window comes back.
    Waking,
    /// Its window is moved to another browser process.
    Moving,
    /// Its state could not be written down; it will be tried again.
    CheckpointFailed,
    /// It was ended to make room.
    Evicted,
    /// It is over.
    Ended,
    /// The reader was too slow and missed events: list the sessions anew.
    Lagged,
}

impl EventKind {
    /// The word in JSON and in the stream.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::StateChanged => "state_changed",
            Self::NeedsAttention => "needs_attention",
            Self::AttentionOver => "attention_over",
            Self::Updated => "updated",
            Self::SignedIn => "signed_in",
            Self::SignedOut => "signed_out",
            Self::SignInFailed => "sign_in_failed",
            Self::Refreshed => "refreshed",
            Self::RefreshFailed => "refresh_failed",
            Self::HoldStarted => "hold_started",
            Self::HoldEnded => "hold_ended",
            Self::OperationStarted => "operation_started",
            Self::OperationNeedsInput => "operation_needs_input",
            Self::OperationEnded => "operation_ended",
            Self::PageCrashed => "page_crashed",
            Self::PageHung => "page_hung",
            Self::WindowLost => "window_lost",
            Self::RecoveryFailed => "recovery_failed",
            Self::Hibernating => "hibernating",
            Self::Waking => "waking",
            Self::Moving => "moving",
            Self::CheckpointFailed => "checkpoint_failed",
            Self::Evicted => "evicted",
            Self::Ended => "ended",
            Self::Lagged => "lagged",
        }
    }
}

/// One event: the `data:` line of the stream. `id` is also its `id:` line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Grows by one with each event of this server process.
    pub id: u64,
    /// When it happened.
    pub time: Timestamp,
    /// To which session; null where it concerns the reader alone.
    pub session_id: Option<Uuid>,
    /// The session's name.
    pub name: Option<String>,
    /// What happened.
    pub kind: EventKind,
    /// The session's state afterwards.
    pub state: Option<SessionState>,
    /// Why, as a stable word such as `capacity` or `hold_expired`.
    pub reason: String,
    /// What and why, for people.
    pub sentence: String,
    /// The session's live window in the dashboard, where a person is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_url: Option<String>,
    /// What was seen of its latest sign-in that failed, where a person is needed and there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_url: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_uses_the_same_words_as_json() {
        use EventKind::*;
        for kind in [
            Created,
            StateChanged,
            NeedsAttention,
            AttentionOver,
            Updated,
            SignedIn,
            SignedOut,
            SignInFailed,
            Refreshed,
            RefreshFailed,
            HoldStarted,
            HoldEnded,
            OperationStarted,
            OperationNeedsInput,
            OperationEnded,
            PageCrashed,
            PageHung,
            WindowLost,
            RecoveryFailed,
            Hibernating,
            Waking,
            Moving,
            CheckpointFailed,
            Evicted,
            Ended,
            Lagged,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
