//! Who waits: for a place, or for everything to be at rest.

use crate::ids::{RequestId, SessionId};
use crate::spec::Spec;
use crate::time::Moment;

/// Somebody who has no place yet.
#[derive(Debug, Clone)]
pub(crate) enum Queued {
    Newcomer(Box<Newcomer>),
    /// A cold session that somebody wants.
    Sleeper {
        id: SessionId,
        deadline: Moment,
    },
}

/// Somebody who asked for a session that is not there yet.
#[derive(Debug, Clone)]
pub(crate) struct Newcomer {
    pub(crate) id: SessionId,
    pub(crate) spec: Spec,
    /// Equal requests share one place.
    pub(crate) requests: Vec<RequestId>,
    pub(crate) deadline: Moment,
}

impl Queued {
    pub(crate) fn deadline(&self) -> Moment {
        match self {
            Self::Newcomer(newcomer) => newcomer.deadline,
            Self::Sleeper { deadline, .. } => *deadline,
        }
    }

    /// Whether it is a newcomer that asked for this name.
    pub(crate) fn is_named(&self, name: Option<&String>) -> bool {
        matches!(self, Self::Newcomer(newcomer) if newcomer.spec.name.as_ref() == name)
    }

    pub(crate) fn newcomer(&self) -> Option<&Newcomer> {
        match self {
            Self::Newcomer(newcomer) => Some(newcomer),
            Self::Sleeper { .. } => None,
        }
    }

    pub(crate) fn newcomer_mut(&mut self) -> Option<&mut Newcomer> {
        match self {
            Self::Newcomer(newcomer) => Some(newcomer),
            Self::Sleeper { .. } => None,
        }
    }
}

/// Somebody who waits for everything to be at rest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DrainWaiter {
    pub(crate) request: RequestId,
    pub(crate) deadline: Moment,
}
