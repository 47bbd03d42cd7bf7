//! What the rules are told: requests of clients, reports of the world, and the time.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::activity::{Failure, SignInStatus};
use crate::ids::{HoldId, RequestId, SessionId, ShardId, SiteId, Ticket};
use crate::measured::Memory;
use crate::persisted::{AdoptedShard, PersistedSession};
use crate::spec::{Access, Policy, PolicyPatch, Spec};
use crate::time::Moment;

/// What a request was about to be promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Promise {
    /// A new session.
    Created,
    /// A hold.
    Held(HoldId),
    /// That a hold lasts longer than to this moment, until which it was held before.
    Extended {
        /// Which.
        hold: HoldId,
        /// Until when it was held.
        expires_at: Moment,
    },
    /// Changes of a name or policy.
    Changed {
        /// The changes that are to be undone.
        patch: PolicyPatch,
        /// The name before.
        name: Option<String>,
        /// The policy before.
        policy: Policy,
    },
}

/// How a window was lost while its browser lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowLoss {
    /// Its renderer crashed; the page can be loaded again in the same window.
    Crashed,
    /// Its last page was closed. The window is there, with an empty page and everything else as it was.
    Emptied,
    /// Its last page was closed, and the window went with it.
    Gone,
    /// Its page no longer answers, though nothing says why.
    Hung,
}

/// Everything that can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A client asks for a session; answered once it stands or cannot be had.
    Create {
        /// Whom to answer.
        request: RequestId,
        /// Its id, should it be a new one.
        session: SessionId,
        /// What is asked for.
        spec: Box<Spec>,
    },
    /// A client changes name or policy.
    Patch {
        /// Whom to answer.
        request: RequestId,
        /// Which session.
        session: SessionId,
        /// The changes.
        patch: PolicyPatch,
    },
    /// A client ends a session; answered once its window is gone.
    Close {
        /// Whom to answer.
        request: RequestId,
        /// Which session.
        session: SessionId,
    },
    /// A client says that it still wants the session. Wakes and starts nothing.
    Ping {
        /// Whom to answer.
        request: RequestId,
        /// Which session.
        session: SessionId,
    },
    /// A client marks the session as in use; answered once nothing of ours runs in it.
    Hold {
        /// Whom to answer.
        request: RequestId,
        /// Which session.
        session: SessionId,
        /// The hold's id, should it be given.
        hold: HoldId,
        /// How long it lasts.
        ttl: Duration,
        /// Whether others may hold it too.
        shared: bool,
        /// Whether it is not to be refreshed meanwhile, not even beside its page.
        quiet: bool,
    },
    /// The holder wants it for longer: `ttl` from now.
    ExtendHold {
        /// Whom to answer.
        request: RequestId,
        /// Which session.
        session: SessionId,
        /// Which hold.
        hold: HoldId,
        /// How long from now.
        ttl: Duration,
    },
    /// The holder is still there: the hold does not run out before `ttl` from now. It is no use of the session,
    /// and nobody waits for an answer.
    KeepHold {
        /// Which session.
        session: SessionId,
        /// Which hold.
        hold: HoldId,
        /// How long from now.
        ttl: Duration,
    },
    /// The holder is connected and has sent nothing for a while: until it goes on, its window may freeze.
    PauseHold {
        /// Which session.
        session: SessionId,
        /// Which hold.
        hold: HoldId,
        /// For how long.
        unused_for: Duration,
    },
    /// A holder that had paused goes on; answered once nothing of ours runs in the window, and the window runs.
    ResumeHold {
        /// Whom to answer.
        request: RequestId,
        /// Which session.
        session: SessionId,
        /// Which hold.
        hold: HoldId,
    },
    /// The holder gives it back.
    ReleaseHold {
        /// Whom to answer.
        request: RequestId,
        /// Which session.
        session: SessionId,
        /// Which hold.
        hold: HoldId,
    },
    /// A single request needs the window (navigate, evaluate, screenshot); answered once it may begin.
    BeginUse {
        /// Whom to answer.
        request: RequestId,
        /// Which session.
        session: SessionId,
    },
    /// That request is over.
    EndUse {
        /// Which session.
        session: SessionId,
    },
    /// It is the hour in which these sites are left alone, and no others.
    Quiet {
        /// Which.
        sites: BTreeSet<SiteId>,
    },
    /// A credential was changed: what sessions sign in with from now on. Those whose sign-in the portal had refused
    /// try once more.
    AccessChanged {
        /// Which sessions, and with what.
        sessions: Vec<(SessionId, Access)>,
    },
    /// A client wants a refresh now; answered with its outcome.
    RefreshNow {
        /// Whom to answer.
        request: RequestId,
        /// Which session.
        session: SessionId,
    },
    /// A client wants the window closed and opened afresh; answered when it stands again.
    Restart {
        /// Whom to answer.
        request: RequestId,
        /// Which session.
        session: SessionId,
    },
    /// A client wants the window to stand still; answered once it does.
    Freeze {
        /// Whom to answer.
        request: RequestId,
        /// Which session.
        session: SessionId,
    },
    /// A client wants the window to go and its state to be kept; answered once it is gone.
    Hibernate {
        /// Whom to answer.
        request: RequestId,
        /// Which session.
        session: SessionId,
    },
    /// A client wants the window back; answered once it stands.
    Wake {
        /// Whom to answer.
        request: RequestId,
        /// Which session.
        session: SessionId,
    },
    /// Everything is to hibernate, and nothing new to begin; answered once no window is left.
    Drain {
        /// Whom to answer.
        request: RequestId,
        /// How long holds are waited for.
        timeout: Duration,
    },
    /// What a request was about to be promised could not be written down: the request is refused, and what was done
    /// for it is undone.
    TakeBack {
        /// Which session.
        session: SessionId,
        /// What is undone.
        promise: Promise,
        /// Why.
        failure: Failure,
    },
    /// What an earlier run of the rules left behind. Comes once, before everything else.
    Resume {
        /// All sessions that were kept.
        sessions: Vec<PersistedSession>,
        /// Browsers that still run.
        shards: Vec<AdoptedShard>,
        /// Windows that still stand in them.
        windows: Vec<(SessionId, ShardId)>,
    },
    /// A browser answers.
    ShardStarted {
        /// Which.
        shard: ShardId,
    },
    /// A browser has grown too large: it is given up as soon as its windows can be moved.
    ShardGrown {
        /// Which.
        shard: ShardId,
    },
    /// A browser ended, was ended, or never started.
    ShardEnded {
        /// Which.
        shard: ShardId,
        /// Why, if nobody asked for it.
        failure: Option<Failure>,
    },
    /// A window was opened, or not.
    WindowOpened {
        /// Whose.
        session: SessionId,
        /// Of which action.
        ticket: Ticket,
        /// Whether it worked.
        result: Result<(), Failure>,
    },
    /// A window is gone, as asked.
    WindowClosed {
        /// Whose.
        session: SessionId,
        /// Of which action.
        ticket: Ticket,
    },
    /// A window had its browser do so much that the others in there waited for it.
    HeldOthersUp {
        /// Whose.
        session: SessionId,
        /// In which browser it is.
        shard: ShardId,
    },
    /// A window was lost though nobody asked for it.
    WindowLost {
        /// Whose.
        session: SessionId,
        /// In which browser it was.
        shard: ShardId,
        /// How.
        loss: WindowLoss,
    },
    /// Something in a window changed that is worth writing down.
    WindowChanged {
        /// Whose.
        session: SessionId,
    },
    /// A window's state was written down, or could not be.
    Saved {
        /// Whose.
        session: SessionId,
        /// Of which action.
        ticket: Ticket,
        /// Whether it worked.
        result: Result<(), Failure>,
    },
    /// A window stands still, or could not be made to.
    Frozen {
        /// Whose.
        session: SessionId,
        /// Of which action.
        ticket: Ticket,
        /// Whether it worked.
        result: Result<(), Failure>,
    },
    /// A window was told to run again.
    Thawed {
        /// Whose.
        session: SessionId,
        /// Of which action.
        ticket: Ticket,
    },
    /// A sign-in is about to be typed, and waits until that is written down.
    Typing {
        /// Whose.
        session: SessionId,
        /// Of which action.
        ticket: Ticket,
    },
    /// An activity ended.
    ActivityEnded {
        /// Whose.
        session: SessionId,
        /// Of which action.
        ticket: Ticket,
        /// How.
        outcome: Result<SignInStatus, Failure>,
    },
    /// A refresh in a hidden page ended.
    RefreshedBeside {
        /// Whose.
        session: SessionId,
        /// Of which action.
        ticket: Ticket,
        /// How.
        outcome: Result<SignInStatus, Failure>,
    },
    /// What all browsers take was measured.
    Measured {
        /// What was found.
        memory: Memory,
        /// What windows take each, in bytes, as far as that could be found out.
        windows: Vec<(SessionId, u64)>,
    },
    /// Time has passed.
    Tick,
}
