//! What follows from an input: orders to the world, answers to clients, and notices to whoever listens.

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
    /// It stands and is signed in.
    Ready,
    /// It is signed in, and its window stands still until somebody wants it.
    Frozen,
    /// It has no window; its state is written down, and whoever asks for it gets it back.
    Hibernated,
    /// Its window was lost and is being brought back.
    Recovering,
    /// A person is needed.
    NeedsAttention,
    /// It is over.
    Ended,
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndedReason {
    /// A client closed it.
    ClosedByClient,
    /// It was not kept alive and nobody used it for its idle timeout.
    IdleTimeout,
    /// It was the least recently used one on a full machine.
    Evicted,
    /// Its first sign-in was refused.
    SignInFailed,
    /// Its window could not be brought up the first time.
    StartFailed,
}

/// A good answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The session as it now is.
    Session {
        /// Which.
        session: SessionId,
        /// Whether this request made it.
        is_new: bool,
    },
    /// A hold is given or extended.
    Hold {
        /// Which.
        hold: HoldId,
        /// When it ends by itself.
        expires_at: Moment,
    },
    /// The window may be used until `Input::EndUse`.
    MayUse,
    /// Done.
    Done,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No such session.
    NotFound,
    /// It was there, and ended.
    Ended(EndedReason),
    /// No such hold.
    HoldNotFound,
    /// Somebody holds it.
    InUse,
    /// Another living session has that name.
    NameTaken {
        /// In what it is not the one that is asked for; empty where a name was to be changed.
        differs: Vec<Difference>,
    },
    /// There is no place, and none came free in time.
    AtCapacity {
        /// When asking again makes sense.
        retry_after: Duration,
    },
    /// The session did not come to rest in time.
    NotReady {
        /// When asking again makes sense.
        retry_after: Duration,
    },
    /// Everything is being put to rest, and nothing new begins.
    Draining,
    /// Too many holds, or too many requests waiting.
    TooMany,
    /// It was tried and did not work.
    Failed(Failure),
}

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    /// A session was made.
    Created,
    /// Its state changed.
    StateChanged,
    /// A client changed its policy, name or marks.
    Updated,
    /// A sign-in worked.
    SignedIn,
    /// The portal has signed it out.
    SignedOut,
    /// A sign-in did not work.
    SignInFailed,
    /// A refresh worked.
    Refreshed,
    /// A refresh did not work.
    RefreshFailed,
    /// A hold was given.
    HoldGranted,
    /// A hold was given back.
    HoldReleased,
    /// A hold ran out.
    HoldExpired,
    /// The renderer of its page crashed.
    PageCrashed,
    /// Its page no longer answers.
    PageHung,
    /// The last page of a window was closed; the window stays.
    LastPageClosed,
    /// Its window or its browser was lost.
    WindowLost,
    /// Its page could not be brought back; it is tried again.
    RecoveryFailed,
    /// Its window is to go; its state is written down first.
    Hibernating,
    /// Its window is moved to another browser.
    Moving,
    /// Its state could not be written down.
    SaveFailed,
    /// Its window is coming back.
    Waking,
    /// A session ended to make room.
    Evicted,
    /// A session ended.
    Ended,
}

/// Something to tell whoever listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whose.
    pub session: SessionId,
    /// What.
    pub kind: NoticeKind,
    /// The state after it.
    pub state: State,
    /// Why, as one sentence.
    pub reason: String,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a browser; report `ShardStarted` or `ShardEnded`.
    StartShard {
        /// Its id.
        shard: ShardId,
        /// How.
        launch: LaunchKey,
        /// Whether it is one session's own.
        isolation: Isolation,
    },
    /// End a browser; report `ShardEnded`.
    StopShard {
        /// Which.
        shard: ShardId,
    },
    /// Open a window; report `WindowOpened`.
    OpenWindow {
        /// Whose.
        session: SessionId,
        /// To be reported back.
        ticket: Ticket,
        /// Where.
        shard: ShardId,
    },
    /// Write down the state of an open window; report `Saved`.
    Save {
        /// Whose.
        session: SessionId,
        /// To be reported back.
        ticket: Ticket,
    },
    /// Have the pages of a window stand still; report `Frozen`.
    Freeze {
        /// Whose.
        session: SessionId,
        /// To be reported back.
        ticket: Ticket,
    },
    /// Have them run again; report `Thawed`.
    Thaw {
        /// Whose.
        session: SessionId,
        /// To be reported back.
        ticket: Ticket,
    },
    /// End the pages of an open window by force; report `WindowLost` once they are.
    EndPages {
        /// Whose.
        session: SessionId,
    },
    /// Close a window, whatever runs in it; report `WindowClosed`.
    CloseWindow {
        /// Whose.
        session: SessionId,
        /// To be reported back.
        ticket: Ticket,
    },
    /// Begin an activity; report `ActivityEnded`.
    Begin {
        /// Whose.
        session: SessionId,
        /// To be reported back.
        ticket: Ticket,
        /// Which.
        activity: Activity,
    },
    /// Keep the sign-in alive in a hidden page beside those of the window, and check it there; report `RefreshedBeside`.
    RefreshBeside {
        /// Whose.
        session: SessionId,
        /// To be reported back.
        ticket: Ticket,
    },
    /// Answer a request.
    Answer {
        /// Whom.
        request: RequestId,
        /// What.
        answer: Result<Answer, Refusal>,
    },
    /// The session changed: publish it anew.
    Changed {
        /// Which.
        session: SessionId,
    },
    /// The session signs in with what came with the request for another, from now on.
    Renew {
        /// Which.
        session: SessionId,
        /// The session that was asked for.
        from: SessionId,
    },
    /// The session is forgotten.
    Forget {
        /// Which.
        session: SessionId,
    },
    /// Tell whoever listens.
    Announce(Notice),
}
