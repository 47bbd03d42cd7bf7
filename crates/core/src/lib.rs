//! The rules of Pilotlight, and nothing else: who gets in, who must go, who is refreshed, signed in again
//! or left alone, and when.
//!
//! [`Rules::step`] takes the time and one [`Input`] and gives the [`Action`]s that follow from it. It is
//! deterministic: the same inputs give the same actions. There is no IO, no clock, no task, no
//! serialisation here, and there must never be: that is what lets a million steps run in a test.
//!
//! The world (browsers, portals, people) answers an action by a later input. Every activity carries a
//! [`Ticket`], so that a late report about something long over is recognised and dropped.

mod access;
mod action;
mod backoff;
mod capacity;
mod cooling;
mod freezing;
mod ids;
mod input;
mod kept;
mod limits;
mod memory;
mod operation;
mod reports;
mod requests;
mod rules;
mod saving;
mod session;
mod settle;
mod shard;
mod time;

pub use action::{Action, Answer, EndedReason, Notice, NoticeKind, Refusal, State};
pub use backoff::Backoff;
pub use ids::{AccountId, HoldId, LaunchKey, LoginId, RequestId, SessionId, ShardId, SiteId, Ticket};
pub use input::{
    Access, Activity, Failure, FailureKind, Input, Isolation, Loss, Policy, PolicyPatch, Spec, Standing,
};
pub use kept::{Kept, KeptShard};
pub use limits::{AtCapacity, Limits};
pub use memory::Memory;
pub use operation::{Ending, Operation, OperationAction, OperationInput, OperationRefusal, Stage};
pub use rules::Rules;
pub use session::{Hold, Session};
pub use time::Moment;
