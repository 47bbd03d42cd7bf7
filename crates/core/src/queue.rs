//! Waiting requests: for a place, or for a drain.

use std::collections::{BTreeSet, VecDeque};

use crate::ids::{RequestId, SessionId};
use crate::spec::Spec;
use crate::time::Moment;

/// A session that waits for a place.
#[derive(Debug, Clone)]
pub(crate) enum Queued {
    Newcomer(Box<Newcomer>),
    /// A hibernated session that a client needs.
    Sleeper {
        id: SessionId,
        deadline: Moment,
    },
}

/// A request for a session that does not exist yet.
#[derive(Debug, Clone)]
pub(crate) struct Newcomer {
    pub(crate) id: SessionId,
    pub(crate) spec: Spec,
    /// Equal requests share one place.
    pub(crate) requests: Vec<RequestId>,
    pub(crate) deadline: Moment,
}

/// All that wait for a place, in order. The maximum wait is the same for all, so that deadlines are in order, too.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queue {
    all: VecDeque<Queued>,
    sleepers: BTreeSet<SessionId>,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn newcomer_count(&self) -> usize {
        self.all.len() - self.sleepers.len()
    }

    pub(crate) fn has_sleeper(&self, id: SessionId) -> bool {
        self.sleepers.contains(&id)
    }

    pub(crate) fn newcomers(&self) -> impl Iterator<Item = &Newcomer> {
        self.all.iter().filter_map(Queued::newcomer)
    }

    pub(crate) fn newcomer_mut(&mut self, id: SessionId) -> Option<&mut Newcomer> {
        self.all.iter_mut().filter_map(Queued::newcomer_mut).find(|newcomer| newcomer.id == id)
    }

    pub(crate) fn push(&mut self, queued: Queued) {
        if let Queued::Sleeper { id, .. } = queued {
            self.sleepers.insert(id);
        }
        self.all.push_back(queued);
    }

    /// Removes the first one, or the first hibernated session.
    pub(crate) fn take_next(&mut self, only_sleepers: bool) -> Option<Queued> {
        let may_enter = |queued: &Queued| !only_sleepers || matches!(queued, Queued::Sleeper { .. });
        let position = self.all.iter().position(may_enter)?;
        let queued = self.all.remove(position)?;
        self.left(&queued);
        Some(queued)
    }

    /// Removes those that have waited too long.
    pub(crate) fn take_late(&mut self, now: Moment) -> Vec<Queued> {
        let count = self.all.iter().take_while(|queued| now >= queued.deadline()).count();
        let late: Vec<Queued> = self.all.drain(..count).collect();
        late.iter().for_each(|queued| self.left(queued));
        late
    }

    pub(crate) fn take_all(&mut self) -> VecDeque<Queued> {
        self.sleepers.clear();
        std::mem::take(&mut self.all)
    }

    pub(crate) fn remove_sleepers(&mut self, ids: &BTreeSet<SessionId>) {
        self.all.retain(|queued| !matches!(queued, Queued::Sleeper { id, .. } if ids.contains(id)));
        self.sleepers.retain(|id| !ids.contains(id));
    }

    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.all.front().map(Queued::deadline)
    }

    fn left(&mut self, queued: &Queued) {
        if let Queued::Sleeper { id, .. } = queued {
            self.sleepers.remove(id);
        }
    }
}

impl Queued {
    fn deadline(&self) -> Moment {
        match self {
            Self::Newcomer(newcomer) => newcomer.deadline,
            Self::Sleeper { deadline, .. } => *deadline,
        }
    }

    fn newcomer(&self) -> Option<&Newcomer> {
        match self {
            Self::Newcomer(newcomer) => Some(newcomer),
            Self::Sleeper { .. } => None,
        }
    }

    fn newcomer_mut(&mut self) -> Option<&mut Newcomer> {
        match self {
            Self::Newcomer(newcomer) => Some(newcomer),
            Self::Sleeper { .. } => None,
        }
    }
}

/// A request that waits until all sessions have hibernated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DrainWaiter {
    pub(crate) request: RequestId,
    pub(crate) deadline: Moment,
}
