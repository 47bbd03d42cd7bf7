//! The results of an input: orders to the world, answers to clients, and notices.

use std::time::Duration;

use crate::activity::{Activity, Failure};
use crate::ids::{HoldId, LaunchKey, RequestId, SessionId, ShardId, Ticket};
use crate::spec::{Difference, Isolation};
use crate::time::Moment;

/// A session's state, as clients see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Its window is being opened for the first time.
    Starting,
    /// It is being signed in.
    SigningIn,
    /// Its window is open and signed in.
    Ready,
    /// Its window is open, and frozen until it is used.
    Frozen,
    /// It has no window; its state is stored, and is restored when a client needs it.
    Hibernated,
    /// Its window was lost and is being restored.
    Recovering,
    /// A person is needed.
    NeedsAttention,
    /// It is over.
    Ended,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndedReason {
    /// A client closed it.
    ClosedByClient,
    /// It was not kept alive and not used for its idle timeout.
    IdleTimeout,
    /// It was the least recently used one when all places were taken.
    Evicted,
    /// Its first sign-in was rejected.
    SignInFailed,
    /// Its first window could not be opened.
    StartFailed,
}

/// The answer to a request that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The session as it now is.
    Session {
        /// The session.
        session: SessionId,
        /// Whether this request made it.
        is_new: bool,
    },
    /// A hold was given or extended.
    Hold {
        /// The hold.
        hold: HoldId,
        /// When it expires.
        expires_at: Moment,
    },
    /// The window may be used until `Input::EndUse`.
    MayUse,
    /// Nothing more to say.
    Done,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No such session.
    NotFound,
    /// It existed, and ended.
    Ended(EndedReason),
    /// No such hold.
    HoldNotFound,
    /// It is held by another client.
    InUse,
    /// Another living session has that name.
    NameTaken {
        /// How it differs from the one that is requested; empty if only a name was to be changed.
        differs: Vec<Difference>,
    },
    /// All places are taken, and none became free in time.
    AtCapacity {
        /// When a retry makes sense.
        retry_after: Duration,
    },
    /// The session was in use for too long.
    NotReady {
        /// When a retry makes sense.
        retry_after: Duration,
    },
    /// The server is draining, and nothing new begins.
    Draining,
    /// Too many holds, or too many requests waiting.
    TooMany,
    /// It was tried and failed.
    Failed(Failure),
}

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    /// A session was created.
    Created,
    /// Its state changed.
    StateChanged,
    /// A client changed its policy, name or tags.
    Updated,
    /// A sign-in succeeded.
    SignedIn,
    /// The portal has signed it out.
    SignedOut,
    /// A sign-in failed.
    SignInFailed,
    /// A refresh succeeded.
    Refreshed,
    /// A refresh failed.
    RefreshFailed,
    /// A hold was given.
    HoldGranted,
    /// A hold was released.
    HoldReleased,
    /// A hold expired.
    HoldExpired,
    /// The renderer of its page crashed.
    PageCrashed,
    /// Its page does not respond.
    PageHung,
    /// The last page of a window was closed; the window stays open.
    LastPageClosed,
    /// Its window or its browser was lost.
    WindowLost,
    /// Its page could not be restored; that is retried.
    RecoveryFailed,
    /// Its window is about to be closed; its state is saved first.
    Hibernating,
    /// Its window is moved to another browser.
    Moving,
    /// Its state could not be saved.
    SaveFailed,
    /// Its window is being restored.
    Waking,
    /// A session ended to make room.
    Evicted,
    /// A session ended.
    Ended,
}

/// An event of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The session.
    pub session: SessionId,
    /// The kind.
    pub kind: NoticeKind,
    /// The state after it.
    pub state: State,
    /// The reason, as one sentence.
    pub reason: String,
}

/// What a window is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowKind {
    /// All of a session's state.
    Full,
    /// A document, loaded with a session's cookies, and nothing else: no other activity than
    /// [`Activity::LoadDocument`] begins in it.
    Bare,
}

/// An order to the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a browser; report `ShardStarted` or `ShardEnded`.
    StartShard {
        /// Its id.
        shard: ShardId,
        /// How it is started.
        launch: LaunchKey,
        /// Whether it is for one session only.
        isolation: Isolation,
    },
    /// End a browser; report `ShardEnded`.
    StopShard {
        /// The browser.
        shard: ShardId,
    },
    /// Open a window; report `WindowOpened`.
    OpenWindow {
        /// The session.
        session: SessionId,
        /// The ticket that the report repeats.
        ticket: Ticket,
        /// The browser.
        shard: ShardId,
        /// What for.
        kind: WindowKind,
    },
    /// Save the state of an open window; report `Saved`.
    Save {
        /// The session.
        session: SessionId,
        /// The ticket that the report repeats.
        ticket: Ticket,
    },
    /// Freeze the pages of a window; report `Frozen`.
    Freeze {
        /// The session.
        session: SessionId,
        /// The ticket that the report repeats.
        ticket: Ticket,
    },
    /// Thaw them; report `Thawed`.
    Thaw {
        /// The session.
        session: SessionId,
        /// The ticket that the report repeats.
        ticket: Ticket,
    },
    /// End the pages of an open window by force; report `WindowLost` once they have ended.
    EndPages {
        /// The session.
        session: SessionId,
    },
    /// Close a window, whatever is done in it; report `WindowClosed`.
    CloseWindow {
        /// The session.
        session: SessionId,
        /// The ticket that the report repeats.
        ticket: Ticket,
    },
    /// Begin an activity; report `ActivityEnded`.
    Begin {
        /// The session.
        session: SessionId,
        /// The ticket that the report repeats.
        ticket: Ticket,
        /// The activity.
        activity: Activity,
    },
    /// Refresh the session in a hidden page beside those of the window, and check its sign-in status there; report
    /// `RefreshedBeside`.
    RefreshBeside {
        /// The session.
        session: SessionId,
        /// The ticket that the report repeats.
        ticket: Ticket,
    },
    /// Answer a request.
    Answer {
        /// The request.
        request: RequestId,
        /// The answer.
        answer: Result<Answer, Refusal>,
    },
    /// Publish the session, which changed.
    Changed {
        /// The session.
        session: SessionId,
    },
    /// From now on the session signs in with the login of a later request.
    Renew {
        /// The session.
        session: SessionId,
        /// The session that was requested, whose login it takes over.
        from: SessionId,
    },
    /// Forget the session.
    Forget {
        /// The session.
        session: SessionId,
    },
    /// Emit an event.
    Announce(Notice),
}
