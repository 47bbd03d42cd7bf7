//! Server-sent events of sessions.

use jiff::Timestamp;
use pilotlight_flow::dialog::DialogAnswer;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::session::SessionState;

/// The kind of an event. It is also the `event:` line of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A session was created.
    Created,
    /// The session's state changed.
    StateChanged,
    /// The session needs a person; `live_url` is its live view.
    NeedsAttention,
    /// The session no longer needs a person.
    AttentionEnded,
    /// A client changed the session's policy, name or tags.
    Updated,
    /// The session signed in.
    SignedIn,
    /// The portal signed the session out; it will be signed in again.
    SignedOut,
    /// A sign-in failed.
    SignInFailed,
    /// The session was refreshed and is signed in.
    Refreshed,
    /// A refresh failed; it will be retried.
    RefreshFailed,
    /// A hold was placed.
    HoldStarted,
    /// A hold was released or expired.
    HoldEnded,
    /// An operation was started or continued.
    OperationStarted,
    /// An operation waits for input.
    OperationNeedsInput,
    /// An operation ended.
    OperationEnded,
    /// A dialog of the page was answered, by a rule, a flow or a person in the live view.
    DialogAnswered,
    /// A tab crashed.
    PageCrashed,
    /// The page does not respond; it is reloaded.
    PageHung,
    /// The last page was closed. The window stays open with an empty page until it is no longer in use.
    LastPageClosed,
    /// The window or its browser process was lost; the window is being restored.
    WindowLost,
    /// Restoring the window failed; it will be retried.
    RecoveryFailed,
    /// The session's state is saved and its window is closed until it is next used.
    Hibernating,
    /// The window of a hibernated session is being restored.
    Waking,
    /// The window is moved to another browser process.
    Moving,
    /// The session's state could not be saved; it will be retried.
    CheckpointFailed,
    /// The session was ended to free capacity.
    Evicted,
    /// The session ended.
    Ended,
    /// The client was too slow and missed events: list the sessions again.
    Lagged,
}

impl EventKind {
    /// Returns the name used in JSON and in the stream.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::StateChanged => "state_changed",
            Self::NeedsAttention => "needs_attention",
            Self::AttentionEnded => "attention_ended",
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
            Self::DialogAnswered => "dialog_answered",
            Self::PageCrashed => "page_crashed",
            Self::PageHung => "page_hung",
            Self::LastPageClosed => "last_page_closed",
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
    /// Increases by one with each event of this server process.
    pub id: u64,
    /// When it happened.
    pub time: Timestamp,
    /// The session; null for events that concern only this client.
    pub session_id: Option<Uuid>,
    /// The session's name.
    pub name: Option<String>,
    /// The kind of event.
    pub kind: EventKind,
    /// The session's state after the event.
    pub state: Option<SessionState>,
    /// The reason as a stable name, such as `capacity` or `hold_expired`.
    pub reason: String,
    /// A description for people.
    #[serde(alias = "sentence")]
    pub message: String,
    /// URL of the session's live view in the dashboard, if the session needs a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_url: Option<String>,
    /// URL of the report of the latest failed sign-in, if there is one and the session needs a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_url: Option<String>,
    /// The dialog that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialog: Option<AnsweredDialog>,
}

/// A dialog of a page that was answered. The event's `reason` says by what: `site_rule`, `step`, `keeps_session`,
/// `default` or `person`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AnsweredDialog {
    /// `alert`, `confirm`, `prompt` or `beforeunload`.
    pub kind: String,
    /// The beginning of its text, on one line. The text comes from the page and is not trustworthy.
    pub text: String,
    /// The answer.
    #[schema(value_type = DialogButton)]
    pub answer: DialogAnswer,
    /// The text of the site's rule that matched, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// The answer to a dialog: "OK" or "Cancel".
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DialogButton {
    /// "OK".
    Accept,
    /// "Cancel".
    Dismiss,
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
            AttentionEnded,
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
            DialogAnswered,
            PageCrashed,
            PageHung,
            LastPageClosed,
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
