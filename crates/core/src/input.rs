//! What the rules are told: requests of clients, reports of the world, and the time.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::ids::{AccountId, HoldId, LaunchKey, LoginId, RequestId, SessionId, ShardId, SiteId, Ticket};
use crate::kept::{Kept, KeptShard};
use crate::memory::Memory;

/// Whether a session shares its Chromium with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// A browser context beside others in one process.
    Shared,
    /// A process and a profile of its own.
    Dedicated,
}

/// What a client may choose, and change later, about how a session is treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// It never ends of idleness.
    pub keep_alive: bool,
    /// Nothing but an explicit close ends it, and it is refreshed only where `own_refresh` says so.
    pub never_terminate: bool,
    /// How long one that is not kept alive may be unused.
    pub idle_timeout: Duration,
    /// How often to refresh where the client said nothing (the site's or the configured interval).
    pub default_refresh: Option<Duration>,
    /// What the client said: `Some(None)` is "never".
    pub own_refresh: Option<Option<Duration>>,
}

impl Policy {
    /// How often it is refreshed; `None` is never.
    #[must_use]
    pub fn refresh_interval(&self) -> Option<Duration> {
        match self.own_refresh {
            Some(own) => own,
            None if self.never_terminate || !self.keep_alive => None,
            None => self.default_refresh,
        }
    }
}

/// Changes to a session's name and policy; `None` leaves as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyPatch {
    /// A new name, unique among living sessions.
    pub name: Option<String>,
    /// See [`Policy::keep_alive`].
    pub keep_alive: Option<bool>,
    /// See [`Policy::never_terminate`].
    pub never_terminate: Option<bool>,
    /// See [`Policy::idle_timeout`].
    pub idle_timeout: Option<Duration>,
    /// See [`Policy::own_refresh`].
    pub refresh_interval: Option<Option<Duration>>,
}

/// With what a session is signed in, as far as the rules care.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Access {
    /// Portal and user name, where there are both.
    pub account: Option<AccountId>,
    /// The same with the password.
    pub login: Option<LoginId>,
    /// Whether Pilotlight is able to sign it in: a flow and what the flow needs.
    pub can_sign_in: bool,
}

/// A session to be made, as far as the rules care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// A name that the client chose; equal names are one session.
    pub name: Option<String>,
    /// The same site, user name and password: equal ones are one session.
    pub identity: Option<u64>,
    /// The site, where there is one.
    pub site: Option<SiteId>,
    /// How many of the site's sessions may sign in at once; `None` is as many as of every site.
    pub max_sign_ins: Option<usize>,
    /// Refreshes come up to so much earlier than they must.
    pub refresh_jitter: Duration,
    /// With what it is signed in.
    pub access: Access,
    /// How its browser is started.
    pub launch: LaunchKey,
    /// Whether it shares that browser.
    pub isolation: Isolation,
    /// Whether its pages bear standing still when nobody uses it.
    pub freezes: bool,
    /// How it is treated.
    pub policy: Policy,
}

/// Something that is done with an open window, one at a time, and ends in a [`Standing`] or a [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Activity {
    /// Load the session's page, with everything that was written down of it.
    Visit,
    /// Load the page again after its renderer crashed or hung.
    Repair,
    /// Replay the site's sign-in flow.
    SignIn,
    /// Keep the sign-in alive, in the site's way, and check it.
    Refresh,
    /// Look whether it is signed in, touching nothing.
    Look,
}

/// How a window stands with its portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Signed in, or a plain window, which has nothing to sign in to.
    SignedIn,
    /// Signed out.
    SignedOut,
    /// Only a person can go on; the sentence says why.
    PersonNeeded(String),
}

/// Kinds of failure that the rules treat differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The portal could not be reached or was too slow: worth repeating for ever, ever more slowly.
    Unreachable,
    /// The portal refused the sign-in: repeating it could lock the account.
    Rejected,
    /// The page was not as the flow expects: worth a few tries.
    Unexpected,
    /// The same before anything was typed, so that the portal has heard of nothing: worth repeating for ever, ever
    /// more slowly.
    Untyped,
    /// The browser could not be started or did not do what it was told.
    Browser,
    /// The browser is not installed, too old or refuses to start: trying again does not help a newcomer.
    BrowserMissing,
}

impl FailureKind {
    /// Whether the portal cannot have heard of a sign-in that ended so.
    pub(crate) fn is_harmless(self) -> bool {
        matches!(self, Self::Unreachable | Self::Untyped)
    }
}

/// Something that did not work, with a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How to treat it.
    pub kind: FailureKind,
    /// One sentence, without secrets.
    pub sentence: String,
}

/// How a window was lost while its browser lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Its renderer crashed; the page can be loaded again in the same window.
    Crashed,
    /// Its last page was closed.
    Emptied,
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
    /// What an earlier run of the rules left behind. Comes once, before everything else.
    Resume {
        /// All sessions that were kept.
        sessions: Vec<Kept>,
        /// Browsers that still run.
        shards: Vec<KeptShard>,
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
    /// A window was lost though nobody asked for it.
    WindowLost {
        /// Whose.
        session: SessionId,
        /// In which browser it was.
        shard: ShardId,
        /// How.
        loss: Loss,
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
        outcome: Result<Standing, Failure>,
    },
    /// What all browsers take was measured.
    Measured {
        /// What was found.
        memory: Memory,
    },
    /// Time has passed.
    Tick,
}
