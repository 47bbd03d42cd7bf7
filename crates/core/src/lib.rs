//! The rules of Pilotlight: which sessions are admitted, hibernated or ended, and when each is refreshed or signed
//! in.
//!
//! [`Rules::step`] takes the time and one [`Input`] and returns the [`Action`]s that follow. It is deterministic:
//! equal inputs give equal actions. There is no I/O, no clock, no task and no serialisation in this crate, and none
//! may be added: this is what makes it possible to run a million steps in a test.
//!
//! The world (browsers, portals, people) responds to an action with a later input. Every activity has a [`Ticket`],
//! so that a late report about an activity that has ended is recognised and ignored.

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

pub use action::{Action, Answer, EndedReason, Notice, NoticeKind, Refusal, State, WindowKind};
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
