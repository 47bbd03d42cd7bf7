//! The inputs of the rules: requests of clients, reports of the world, and the time.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::activity::{Failure, SignInStatus};
use crate::ids::{HoldId, RequestId, SessionId, ShardId, SiteId, Ticket};
use crate::measured::Memory;
use crate::persisted::{AdoptedShard, PersistedSession};
use crate::spec::{Access, Policy, PolicyPatch, Spec};
use crate::time::Moment;

/// What a client would have been promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Promise {
    /// A new session.
    Created,
    /// A hold.
    Held(HoldId),
    /// The extension of a hold.
    Extended {
        /// The hold.
        hold: HoldId,
        /// When it would have expired before.
        expires_at: Moment,
    },
    /// Changes of a name or policy.
    Changed {
        /// The changes to undo.
        patch: PolicyPatch,
        /// The earlier name.
        name: Option<String>,
        /// The earlier policy.
        policy: Policy,
    },
}

/// How a window was lost while its browser continues to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowLoss {
    /// Its renderer crashed; the page can be loaded again in the same window.
    Crashed,
    /// Its last page was closed. The window continues with an empty page and everything else unchanged.
    Emptied,
    /// Its last page was closed, and the window went with it.
    Gone,
    /// Its page does not respond, for an unknown reason.
    Hung,
}

/// All inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A client requests a session; answered once it is ready or has failed.
    Create {
        /// The request that is answered.
        request: RequestId,
        /// The id to use if it is a new one.
        session: SessionId,
        /// The requested session.
        spec: Box<Spec>,
    },
    /// A client changes name or policy.
    Patch {
        /// The request that is answered.
        request: RequestId,
        /// The session.
        session: SessionId,
        /// The changes.
        patch: PolicyPatch,
    },
    /// A client closes a session; answered once its window is closed.
    Close {
        /// The request that is answered.
        request: RequestId,
        /// The session.
        session: SessionId,
    },
    /// A client marks the session as used. Wakes and starts nothing.
    Ping {
        /// The request that is answered.
        request: RequestId,
        /// The session.
        session: SessionId,
    },
    /// A client holds the session; answered once no activity runs in it.
    Hold {
        /// The request that is answered.
        request: RequestId,
        /// The session.
        session: SessionId,
        /// The id of the hold, if it is given.
        hold: HoldId,
        /// How long it lasts.
        ttl: Duration,
        /// Whether other clients may hold it too.
        shared: bool,
        /// Whether it must not be refreshed meanwhile, not even beside its page.
        quiet: bool,
    },
    /// The holder extends its hold: `ttl` from now.
    ExtendHold {
        /// The request that is answered.
        request: RequestId,
        /// The session.
        session: SessionId,
        /// The hold.
        hold: HoldId,
        /// How long from now.
        ttl: Duration,
    },
    /// The holder is still connected: the hold does not expire before `ttl` from now. It does not count as a use of
    /// the session, and is not answered.
    KeepHold {
        /// The session.
        session: SessionId,
        /// The hold.
        hold: HoldId,
        /// How long from now.
        ttl: Duration,
    },
    /// The holder is connected and has sent nothing for a while: until it continues, its window may be frozen.
    PauseHold {
        /// The session.
        session: SessionId,
        /// The hold.
        hold: HoldId,
        /// How long the hold lasts.
        unused_for: Duration,
    },
    /// A silent holder continues; answered once no activity runs in the window, and the window is thawed.
    ResumeHold {
        /// The request that is answered.
        request: RequestId,
        /// The session.
        session: SessionId,
        /// The hold.
        hold: HoldId,
    },
    /// The holder releases its hold.
    ReleaseHold {
        /// The request that is answered.
        request: RequestId,
        /// The session.
        session: SessionId,
        /// The hold.
        hold: HoldId,
    },
    /// A single request needs the window (navigate, evaluate, screenshot); answered once it may begin.
    BeginUse {
        /// The request that is answered.
        request: RequestId,
        /// The session.
        session: SessionId,
    },
    /// That request has ended.
    EndUse {
        /// The session.
        session: SessionId,
    },
    /// Exactly these sites have quiet hours now.
    Quiet {
        /// The sites.
        sites: BTreeSet<SiteId>,
    },
    /// A credential was changed. Sessions whose sign-in the portal had rejected try once more.
    AccessChanged {
        /// The sessions that use it, and their new logins.
        sessions: Vec<(SessionId, Access)>,
    },
    /// A client requests a refresh; answered with its outcome.
    RefreshNow {
        /// The request that is answered.
        request: RequestId,
        /// The session.
        session: SessionId,
    },
    /// A client requests a new window; answered when that is ready.
    Restart {
        /// The request that is answered.
        request: RequestId,
        /// The session.
        session: SessionId,
    },
    /// A client freezes the window; answered once it is frozen.
    Freeze {
        /// The request that is answered.
        request: RequestId,
        /// The session.
        session: SessionId,
    },
    /// A client hibernates the session; answered once its window is closed.
    Hibernate {
        /// The request that is answered.
        request: RequestId,
        /// The session.
        session: SessionId,
    },
    /// A client wakes the session; answered once its window is ready.
    Wake {
        /// The request that is answered.
        request: RequestId,
        /// The session.
        session: SessionId,
    },
    /// All sessions are to hibernate, and nothing new begins; answered once no window is left.
    Drain {
        /// The request that is answered.
        request: RequestId,
        /// How long to wait for holds.
        timeout: Duration,
    },
    /// A promise of a request could not be stored: the request is refused, and its changes are undone.
    TakeBack {
        /// The session.
        session: SessionId,
        /// The changes to undo.
        promise: Promise,
        /// The error.
        failure: Failure,
    },
    /// What an earlier server left behind. Comes once, before all other inputs.
    Resume {
        /// All stored sessions.
        sessions: Vec<PersistedSession>,
        /// Browsers that still run.
        shards: Vec<AdoptedShard>,
        /// Windows that are still open in them.
        windows: Vec<(SessionId, ShardId)>,
    },
    /// A browser was started.
    ShardStarted {
        /// The browser.
        shard: ShardId,
    },
    /// A browser uses too much memory: it is retired as soon as its windows can be moved.
    ShardGrown {
        /// The browser.
        shard: ShardId,
    },
    /// A browser ended, was ended, or never started.
    ShardEnded {
        /// The browser.
        shard: ShardId,
        /// The failure, if its end was not ordered.
        failure: Option<Failure>,
    },
    /// A window was opened, or could not be.
    WindowOpened {
        /// The session.
        session: SessionId,
        /// The ticket of the action that ordered it.
        ticket: Ticket,
        /// Whether it worked.
        result: Result<(), Failure>,
    },
    /// A window was closed, as ordered.
    WindowClosed {
        /// The session.
        session: SessionId,
        /// The ticket of the action that ordered it.
        ticket: Ticket,
    },
    /// A window kept its browser so busy that the others in it had to wait.
    HeldOthersUp {
        /// The session.
        session: SessionId,
        /// Its browser.
        shard: ShardId,
    },
    /// A window was lost.
    WindowLost {
        /// The session.
        session: SessionId,
        /// Its browser.
        shard: ShardId,
        /// How it was lost.
        loss: WindowLoss,
    },
    /// State in a window that has to be saved changed.
    WindowChanged {
        /// The session.
        session: SessionId,
    },
    /// A window's state was saved, or could not be.
    Saved {
        /// The session.
        session: SessionId,
        /// The ticket of the action that ordered it.
        ticket: Ticket,
        /// Whether it worked.
        result: Result<(), Failure>,
    },
    /// A window was frozen, or could not be.
    Frozen {
        /// The session.
        session: SessionId,
        /// The ticket of the action that ordered it.
        ticket: Ticket,
        /// Whether it worked.
        result: Result<(), Failure>,
    },
    /// A window was thawed.
    Thawed {
        /// The session.
        session: SessionId,
        /// The ticket of the action that ordered it.
        ticket: Ticket,
    },
    /// A sign-in is about to be typed, and waits until that is stored.
    Typing {
        /// The session.
        session: SessionId,
        /// The ticket of the action that ordered it.
        ticket: Ticket,
    },
    /// An activity ended.
    ActivityEnded {
        /// The session.
        session: SessionId,
        /// The ticket of the action that ordered it.
        ticket: Ticket,
        /// Its outcome.
        outcome: Result<SignInStatus, Failure>,
    },
    /// A refresh in a hidden page ended.
    RefreshedBeside {
        /// The session.
        session: SessionId,
        /// The ticket of the action that ordered it.
        ticket: Ticket,
        /// Its outcome.
        outcome: Result<SignInStatus, Failure>,
    },
    /// The memory of all browsers was measured.
    Measured {
        /// What was found.
        memory: Memory,
        /// The memory of each window in bytes, as far as it could be measured.
        windows: Vec<(SessionId, u64)>,
    },
    /// Time has passed.
    Tick,
}
