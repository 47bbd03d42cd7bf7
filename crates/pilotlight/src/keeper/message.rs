//! What the keeper is told: orders of clients, and reports of its workers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pilotlight_checkpoint::{Checkpoint, Cookie};
use pilotlight_chromium::{Browser, BrowserEvent, Window};
use pilotlight_core::{
    Failure, HoldId, Input, Memory, Moment, PolicyPatch, Refusal, RequestId, SessionId, ShardId,
    SignInStatus, SiteId, Spec, Ticket,
};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::details::Details;
use super::using::Using;

/// How a session is to be held.
#[derive(Debug)]
pub struct HoldTerms {
    /// How long, unless it is extended.
    pub ttl: Duration,
    /// Whether others may hold it too.
    pub shared: bool,
    /// Whether it is not to be refreshed meanwhile.
    pub quiet: bool,
    /// Who holds it, for display.
    pub owner: Option<String>,
    /// Whether it is that of a client that is connected as long as the hold lasts.
    pub is_connection: bool,
}

impl HoldTerms {
    /// A hold for `ttl` that others may share.
    pub fn shared(ttl: Duration, owner: Option<String>) -> Self {
        Self { ttl, shared: true, quiet: false, owner, is_connection: false }
    }
}

/// What a client wants of one session, or of a new one.
#[derive(Debug)]
pub(super) enum Order {
    Create { spec: Box<Spec>, details: Box<Details> },
    Patch { patch: PolicyPatch, tags: Option<BTreeMap<String, String>> },
    Close,
    Ping,
    Hold { hold: HoldId, terms: HoldTerms },
    ExtendHold { hold: HoldId, ttl: Duration },
    ReleaseHold { hold: HoldId },
    ResumeHold { hold: HoldId },
    Use,
    Refresh,
    Restart,
    Freeze,
    Hibernate,
    Wake,
    Drain { timeout: Duration },
}

impl Order {
    /// Whether what comes of it must outlast us before its client is told.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Create { .. }
                | Self::Patch { .. }
                | Self::Close
                | Self::Hold { .. }
                | Self::ExtendHold { .. }
                | Self::ReleaseHold { .. }
                | Self::Hibernate
                | Self::Drain { .. }
        )
    }

    /// The order as the rules understand it. What they need not know stays behind, in `left`.
    pub(super) fn into_input(self, request: RequestId, session: SessionId, left: &mut Left) -> Input {
        match self {
            Self::Create { spec, details } => {
                left.details = Some(details);
                Input::Create { request, session, spec }
            }
            Self::Patch { patch, tags } => {
                left.tags = tags;
                Input::Patch { request, session, patch }
            }
            Self::Close => Input::Close { request, session },
            Self::Ping => Input::Ping { request, session },
            Self::Hold { hold, terms } => {
                let HoldTerms { ttl, shared, quiet, owner, is_connection } = terms;
                (left.owner, left.is_connection) = (owner, is_connection);
                Input::Hold { request, session, hold, ttl, shared, quiet }
            }
            Self::ExtendHold { hold, ttl } => Input::ExtendHold { request, session, hold, ttl },
            Self::ReleaseHold { hold } => Input::ReleaseHold { request, session, hold },
            Self::ResumeHold { hold } => Input::ResumeHold { request, session, hold },
            Self::Use => Input::BeginUse { request, session },
            Self::Refresh => Input::RefreshNow { request, session },
            Self::Restart => Input::Restart { request, session },
            Self::Freeze => Input::Freeze { request, session },
            Self::Hibernate => Input::Hibernate { request, session },
            Self::Wake => Input::Wake { request, session },
            Self::Drain { timeout } => Input::Drain { request, timeout },
        }
    }
}

/// The part of an order that the rules have no use for.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) details: Option<Box<Details>>,
    pub(super) tags: Option<BTreeMap<String, String>>,
    pub(super) owner: Option<String>,
    pub(super) is_connection: bool,
}

/// What a client gets.
#[derive(Debug)]
pub enum Reply {
    /// The session as it now is, and whether this order made it.
    Session(Box<pilotlight_api::Session>, bool),
    /// A hold, and when it ends by itself.
    Hold(HoldId, Moment),
    /// The window, on loan.
    Using(Using),
    /// It is done.
    Done,
}

/// Why a client does not get what it wants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The rules say no.
    #[error("refused: {0:?}")]
    ByRules(Refusal),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

pub(super) type ReplySender = oneshot::Sender<Result<Reply, Refused>>;

/// Told how a write went.
pub(super) type WrittenSender = oneshot::Sender<Result<(), Failure>>;

/// What clients send to the keeper.
#[derive(Debug)]
pub(super) enum Message {
    Order {
        session: SessionId,
        order: Order,
        reply: ReplySender,
    },
    UseEnded {
        session: SessionId,
    },
    /// Whoever has this hold is still there.
    HoldKept {
        session: SessionId,
        hold: HoldId,
        ttl: Duration,
    },
    /// Whoever has this hold is there, and has sent nothing for so long.
    HoldPaused {
        session: SessionId,
        hold: HoldId,
        unused_for: Duration,
    },
    /// What all browsers take was measured.
    Measured {
        memory: Memory,
        windows: Vec<(SessionId, u64)>,
    },
    /// These sites are in their quiet hours, and no others.
    Quiet {
        sites: BTreeSet<SiteId>,
    },
    /// A credential has other values, or new ones.
    CredentialChanged {
        name: String,
        /// Told once what follows is written down, or could not be.
        written: WrittenSender,
    },
}

/// What workers send to the keeper.
#[derive(Debug)]
pub(super) enum Report {
    ShardStarted {
        shard: ShardId,
        browser: Browser,
    },
    ShardFailed {
        shard: ShardId,
        failure: Failure,
    },
    ShardStopped {
        shard: ShardId,
    },
    Browser {
        shard: ShardId,
        event: BrowserEvent,
    },
    WindowOpened {
        session: SessionId,
        ticket: Ticket,
        shard: ShardId,
        result: Result<Window, Failure>,
    },
    WindowClosed {
        session: SessionId,
        ticket: Ticket,
    },
    WindowHung {
        session: SessionId,
        shard: ShardId,
    },
    ShardGrown {
        shard: ShardId,
    },
    ShardHung {
        shard: ShardId,
    },
    Captured {
        session: SessionId,
        ticket: Ticket,
        result: Result<Box<Checkpoint>, Failure>,
    },
    Saved {
        session: SessionId,
        ticket: Ticket,
        result: Result<u64, Failure>,
    },
    /// The oldest write that somebody waits for was tried: which sessions are not written down, and why.
    Written {
        unwritten: BTreeSet<Uuid>,
        failure: Option<Failure>,
    },
    Frozen {
        session: SessionId,
        ticket: Ticket,
        result: Result<(), Failure>,
    },
    Thawed {
        session: SessionId,
        ticket: Ticket,
    },
    Typing {
        session: SessionId,
        ticket: Ticket,
        written: WrittenSender,
    },
    /// A session hibernates with these cookies from now on.
    Cookies {
        session: SessionId,
        ticket: Ticket,
        cookies: Vec<Cookie>,
        /// Told once they are written down, or could not be.
        written: WrittenSender,
    },
    RefreshedBeside {
        session: SessionId,
        ticket: Ticket,
        outcome: Result<SignInStatus, Failure>,
    },
    ActivityEnded {
        session: SessionId,
        ticket: Ticket,
        outcome: Result<SignInStatus, Failure>,
    },
}
