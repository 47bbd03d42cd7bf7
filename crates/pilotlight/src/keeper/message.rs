//! The messages to the keeper: orders of clients, and reports of tasks.

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

use super::details::SessionDetails;
use super::using::Using;

/// The options of a hold.
#[derive(Debug)]
pub struct HoldTerms {
    /// The time until it expires, unless it is extended.
    pub ttl: Duration,
    /// Whether other clients may hold the session too.
    pub shared: bool,
    /// Whether the session must not be refreshed meanwhile.
    pub quiet: bool,
    /// The owner, for display.
    pub owner: Option<String>,
    /// Whether its client stays connected for as long as the hold lasts.
    pub is_connection: bool,
}

impl HoldTerms {
    /// Returns a hold for `ttl` that can be shared.
    pub fn shared(ttl: Duration, owner: Option<String>) -> Self {
        Self { ttl, shared: true, quiet: false, owner, is_connection: false }
    }
}

/// An order of a client for one session, or for a new one.
#[derive(Debug)]
pub(super) enum Order {
    Create { spec: Box<Spec>, details: Box<SessionDetails> },
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
    /// Returns whether its result must be stored before the client gets its reply.
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

    /// Returns the order as an input of the rules. The part that they do not need is put into `left`.
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

/// The part of an order that the rules do not need.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) details: Option<Box<SessionDetails>>,
    pub(super) tags: Option<BTreeMap<String, String>>,
    pub(super) owner: Option<String>,
    pub(super) is_connection: bool,
}

/// The reply to an order.
#[derive(Debug)]
pub enum Reply {
    /// The session as it now is, and whether this order created it.
    Session(Box<pilotlight_api::Session>, bool),
    /// A hold, and when it expires.
    Hold(HoldId, Moment),
    /// The lease of a window.
    Using(Using),
    /// It succeeded.
    Done,
}

/// Why an order was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The rules refused it.
    #[error("refused: {0:?}")]
    ByRules(Refusal),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

pub(super) type ReplySender = oneshot::Sender<Result<Reply, Refused>>;

/// Receives the result of a write.
pub(super) type WrittenSender = oneshot::Sender<Result<(), Failure>>;

/// Messages of other tasks to the keeper.
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
    /// The client with this hold is still connected.
    HoldKept {
        session: SessionId,
        hold: HoldId,
        ttl: Duration,
    },
    /// The client with this hold is still connected, and has sent nothing for this time.
    HoldPaused {
        session: SessionId,
        hold: HoldId,
        unused_for: Duration,
    },
    /// The memory of all browsers was measured.
    Measured {
        memory: Memory,
        windows: Vec<(SessionId, u64)>,
    },
    /// Exactly these sites have quiet hours now.
    Quiet {
        sites: BTreeSet<SiteId>,
    },
    /// A credential was created or changed.
    CredentialChanged {
        name: String,
        /// Receives the result once the consequences are stored, or could not be.
        written: WrittenSender,
    },
}

/// Reports of tasks to the keeper.
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
    /// The oldest write that replies wait for was tried: the sessions that were not stored, with the error.
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
    /// A hibernated session has these cookies from now on.
    Cookies {
        session: SessionId,
        ticket: Ticket,
        cookies: Vec<Cookie>,
        /// Receives the result once they are stored, or could not be.
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
