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
mod activity;
mod asleep;
mod backoff;
mod beside;
mod capacity;
mod contents;
mod drain;
mod effects;
mod expiry;
mod freezing;
mod hibernation;
mod ids;
mod index;
mod input;
mod limits;
mod measured;
mod memory;
mod migrate;
mod operation;
mod overdue;
mod persisted;
mod promises;
mod queue;
mod refresh;
mod reports;
mod requests;
mod resume;
mod rules;
mod saving;
mod session;
mod session_mut;
mod sessions;
mod settle;
mod shard;
mod sign_in;
mod silence;
mod spec;
mod suspicion;
mod time;
mod timers;

pub use action::{Action, Answer, EndedReason, Notice, NoticeKind, Refusal, State};
pub use activity::{Activity, Failure, FailureKind, SignInStatus, Suspicion};
pub use backoff::Backoff;
pub use ids::{AccountId, HoldId, LaunchKey, LoginId, RequestId, SessionId, ShardId, SiteId, Ticket};
pub use input::{Input, Promise, WindowLoss};
pub use limits::{AtCapacity, Limits};
pub use measured::Memory;
pub use operation::{Ending, Operation, OperationAction, OperationInput, OperationRefusal, Stage};
pub use overdue::{DueRefresh, RefreshKind};
pub use persisted::{AdoptedShard, PersistedSession};
pub use rules::Rules;
pub use session::{Hold, Session};
pub use sign_in::{Check, SignIn};
pub use spec::{Access, AsleepRefresh, Difference, Isolation, Policy, PolicyPatch, Spec, Whose};
pub use time::Moment;
