//! All sessions, with an [`Index`] that follows every change.
//!
//! A session that is borrowed for a change is noted: its keys in the index are updated before the index is read next,
//! and this step and the next one examine the session. All other sessions are left alone until their deadline
//! ([`Order::Due`]): the cost of a step depends on what happens in it, not on the number of sessions.
//!
//! The next step examines it as well because a step has a fixed order: a late change can allow what would have been
//! decided earlier in the step.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{SessionId, SiteId};
use crate::index::{Context, Index, Keys, Order, Set};
use crate::limits::Limits;
use crate::measured::MemoryEstimate;
use crate::session::Session;
use crate::time::Moment;

#[derive(Debug, Clone)]
struct Slot {
    session: Session,
    keys: Keys,
    /// It may have changed since its keys were computed.
    is_stale: bool,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    all: BTreeMap<SessionId, Slot>,
    index: Index,
    context: Context,
    stale: Vec<SessionId>,
    /// The sessions that this step examines.
    examined: BTreeSet<SessionId>,
    /// The sessions that were changed in this step.
    changed: BTreeSet<SessionId>,
    /// A sign-in may have become possible since the last check.
    may_sign_in: bool,
}

impl Sessions {
    pub(crate) fn new(limits: &Limits, now: Moment) -> Self {
        Self {
            all: BTreeMap::new(),
            index: Index::default(),
            context: Context::new(limits, now),
            stale: Vec::new(),
            examined: BTreeSet::new(),
            changed: BTreeSet::new(),
            may_sign_in: false,
        }
    }

    pub(crate) fn get(&self, id: &SessionId) -> Option<&Session> {
        self.all.get(id).map(|slot| &slot.session)
    }

    /// Returns a session for a change. Use [`Self::get`] to read: each session that is returned here adds to the cost
    /// of this step and the next.
    pub(crate) fn get_mut(&mut self, id: &SessionId) -> Option<&mut Session> {
        let slot = self.all.get_mut(id)?;
        if !slot.is_stale {
            slot.is_stale = true;
            self.stale.push(*id);
            self.examined.insert(*id);
            self.changed.insert(*id);
        }
        Some(&mut slot.session)
    }

    pub(crate) fn insert(&mut self, session: Session) {
        let id = session.id;
        self.remove(id);
        self.all.insert(id, Slot { session, keys: Keys::default(), is_stale: false });
        self.get_mut(&id);
    }

    pub(crate) fn remove(&mut self, id: SessionId) {
        if let Some(slot) = self.all.remove(&id) {
            self.index.remove(id, slot.keys);
            self.examined.insert(id);
        }
    }

    /// Returns all sessions, ordered by id.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Session> {
        self.all.values().map(|slot| &slot.session)
    }

    /// Returns all ids, in order.
    pub(crate) fn ids(&self) -> Vec<SessionId> {
        self.all.keys().copied().collect()
    }

    /// Begins a step. Returns the sessions whose deadline has passed, by id.
    pub(crate) fn begin_step(&mut self, now: Moment) -> Vec<SessionId> {
        self.context.now = now;
        self.examined = std::mem::take(&mut self.changed);
        let mut due: Vec<SessionId> = self.index.until(Order::Due, now).collect();
        due.sort_unstable();
        self.examined.extend(due.iter().copied());
        self.reindex(&due);
        due
    }

    /// Ends a step: until the next one the index can be read.
    pub(crate) fn end_step(&mut self) {
        self.bring_up_to_date();
    }

    /// Returns the sessions that this step examines, by id.
    pub(crate) fn examined(&self) -> Vec<SessionId> {
        self.examined.iter().copied().collect()
    }

    /// Has this step examine all sessions, or the next one if none is running.
    pub(crate) fn examine_all(&mut self) {
        self.examined.extend(self.all.keys());
        self.changed.extend(self.all.keys());
        self.may_sign_in = true;
    }

    /// Returns the index, brought up to date.
    pub(crate) fn fresh(&mut self) -> &Index {
        self.bring_up_to_date();
        &self.index
    }

    /// Returns the index as it was when last brought up to date: at the end of a step, or just before.
    pub(crate) fn index(&self) -> &Index {
        debug_assert!(
            self.stale.is_empty(),
            "the index is read while sessions have changed: {:?}",
            self.stale
        );
        &self.index
    }

    /// Returns whether sign-ins may have become possible since the last call.
    pub(crate) fn take_may_sign_in(&mut self) -> bool {
        self.bring_up_to_date();
        std::mem::take(&mut self.may_sign_in)
    }

    /// Returns the first session of an order that may be ended or closed.
    pub(crate) fn first(&mut self, order: Order, may_go: impl Fn(&Session) -> bool) -> Option<SessionId> {
        self.bring_up_to_date();
        self.index.order(order).map(|(_, id)| id).find(|id| self.get(id).is_some_and(&may_go))
    }

    /// Returns what the keys of sessions depend on besides the session itself.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn set_quiet(&mut self, sites: BTreeSet<SiteId>) {
        self.context.quiet = sites;
        let ids = self.ids();
        self.reindex(&ids);
        self.may_sign_in = true;
    }

    pub(crate) fn set_memory(&mut self, estimate: MemoryEstimate) {
        self.context.memory = Some(estimate);
        // All others take no memory, whatever a window takes.
        let occupying: Vec<SessionId> = self.fresh().set(Set::Occupying).collect();
        self.reindex(&occupying);
    }

    fn bring_up_to_date(&mut self) {
        let stale = std::mem::take(&mut self.stale);
        self.reindex(&stale);
        // Its memory is reused.
        self.stale = stale;
        self.stale.clear();
    }

    fn reindex(&mut self, ids: &[SessionId]) {
        for id in ids {
            if let Some(slot) = self.all.get_mut(id) {
                slot.is_stale = false;
                self.may_sign_in |= self.index.update(&slot.session, &mut slot.keys, &self.context);
            }
        }
    }

    /// Checks the index against the sessions.
    ///
    /// # Errors
    /// Returns the first session whose keys are wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut index = Index::default();
        for (id, slot) in &self.all {
            let mut keys = Keys::default();
            index.update(&slot.session, &mut keys, &self.context);
            if keys != slot.keys {
                return Err(format!("{id:?} is {keys:?} and was taken to be {:?}", slot.keys));
            }
        }
        (index == self.index).then_some(()).ok_or_else(|| "the index is not that of its sessions".to_owned())
    }
}
