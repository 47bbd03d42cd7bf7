//! The memory budget: the estimated memory of all windows, and which are frozen, hibernated or ended when it is
//! exceeded.
//!
//! A measurement takes long and windows are opened fast. Between two measurements the rules use estimates: the last
//! measured memory of a window, or the average of running or frozen windows, plus the measured memory that belongs to
//! no window.
//!
//! Memory is attributed to the window that uses it. The pages of a window that exceeds the limit for one window are
//! ended, whether used or not; its session continues and its page is loaded again. When memory is short, a window
//! that takes far more than a fair share is hibernated first, without being frozen before, which would free little.
//! Then the others are frozen and then hibernated, the least recently used first; none is woken or thawed unless its
//! page is needed. The threshold at which this begins is higher than the one at which it stops, so that there is no
//! oscillation.

use std::time::Duration;

use crate::action::Action;
use crate::contents::{FreezeState, Weight};
use crate::ids::SessionId;
use crate::index::{Order, Set};
use crate::measured::{Memory, MemoryEstimate};
use crate::rules::Rules;
use crate::session::{Session, Window};
use crate::time::Moment;

/// Above this share of the budget, in percent, windows are frozen or hibernated.
const HIGH_PERCENT: u64 = 95;
/// This continues until at most this share is used.
const LOW_PERCENT: u64 = 85;
/// The delay before pages that should have been ended are ended again.
const END_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// A window that takes this many times a fair share of the budget, and the usual memory, is hibernated first. Windows
/// differ: some of them are just large.
const GREEDY_SHARES: i64 = 2;
/// A window that was used within this time is left alone: its client probably continues.
const GRACE: Duration = Duration::from_secs(1);
/// The time after which a frozen window has reached its smallest size.
const SHRINKING: Duration = Duration::from_secs(14);

impl Memory {
    fn high(&self) -> i64 {
        signed(self.budget_bytes.saturating_mul(HIGH_PERCENT) / 100)
    }

    fn low(&self) -> i64 {
        signed(self.budget_bytes.saturating_mul(LOW_PERCENT) / 100)
    }

    fn weigh(&self, is_still: bool) -> i64 {
        signed(if is_still { self.frozen_bytes } else { self.running_bytes })
    }

    /// Returns the memory of this session's window, running or frozen, as far as is known.
    pub(crate) fn weigh_window(&self, session: &Session, is_still: bool) -> i64 {
        let average = self.weigh(is_still);
        match session.contents.weight {
            None => average,
            Some(weight) if weight.is_still == is_still => signed(weight.bytes),
            // Frozen, it frees the same part as others do.
            Some(weight) if is_still => {
                let running = i128::from(self.running_bytes.max(1));
                let left = i128::from(weight.bytes) * i128::from(self.frozen_bytes) / running;
                i64::try_from(left).unwrap_or(i64::MAX)
            }
            Some(weight) => signed(weight.bytes).max(average),
        }
    }

    /// Returns the present memory of a session's window.
    fn present(&self, session: &Session, now: Moment) -> i64 {
        match session.window {
            Window::None | Window::Placed(_) => 0,
            Window::Opening(_) | Window::Open(_) | Window::Saving(..) | Window::Closing(_) => {
                self.weigh_window(session, session.is_small(now))
            }
        }
    }

    /// Returns the memory before any outstanding order is executed.
    pub(crate) fn claimed(&self, session: &Session) -> i64 {
        if session.occupies() {
            self.weigh_window(session, session.contents.freeze_state.is_frozen())
        } else {
            0
        }
    }

    /// Returns the memory once all outstanding orders are executed.
    pub(crate) fn foreseen(&self, session: &Session) -> i64 {
        if session.ended.is_some() || session.is_hibernating() {
            return 0;
        }
        let is_still = matches!(
            session.contents.freeze_state,
            FreezeState::SavingFirst { .. } | FreezeState::Freezing { .. } | FreezeState::Frozen { .. }
        );
        self.weigh_window(session, is_still)
    }
}

impl Session {
    /// Returns whether its window is frozen and has reached its smallest size.
    fn is_small(&self, now: Moment) -> bool {
        matches!(self.contents.freeze_state, FreezeState::Frozen { since } if now.since(since) >= SHRINKING)
    }

    /// Returns whether it is left alone when memory is short.
    fn is_fresh(&self, now: Moment) -> bool {
        now < self.last_used + GRACE
    }

    fn may_be_frozen(&self, now: Moment) -> bool {
        self.may_be_frozen_in_time() && self.unfreezable_until <= now && self.can_freeze(now)
    }

    /// Returns the same, now or later.
    pub(crate) fn may_be_frozen_in_time(&self) -> bool {
        self.freezes
            && !self.waits_for_person()
            && self.contents.freeze_state == FreezeState::Running
            && self.can_freeze_in_time()
    }

    /// Returns whether its pages must be ended because of their memory. If its window is about to be closed, that is
    /// enough.
    pub(crate) fn is_oversized(&self, memory: Memory) -> bool {
        self.ended.is_none()
            && !self.is_hibernating()
            && matches!(self.window, Window::Open(_))
            && self.contents.weight.is_some_and(|weight| weight.bytes > memory.window_bytes)
    }
}

impl Rules {
    /// Handles a measurement of all browsers together, and of these `windows`.
    pub(crate) fn measured(&mut self, memory: Memory, windows: &[(SessionId, u64)], now: Moment) {
        for (id, bytes) in windows {
            let Some(session) = self.sessions.get(id).filter(|session| session.shard().is_some()) else {
                continue;
            };
            let weight = Some(Weight { bytes: *bytes, is_still: session.is_small(now) });
            if session.contents.weight != weight
                && let Some(session) = self.sessions.get_mut(id)
            {
                session.contents.weight = weight;
            }
        }
        let occupying: Vec<SessionId> = self.sessions.fresh().set(Set::Occupying).collect();
        let sessions = occupying.iter().filter_map(|id| self.sessions.get(id));
        let explained: i64 = sessions.map(|session| memory.present(session, now)).sum();
        let rest_bytes = signed(memory.used_bytes) - explained;
        self.sessions.set_memory(MemoryEstimate { memory, rest_bytes });
        self.end_oversized(now);
    }

    /// Ends the pages of windows that exceed the limit for one window, unless that was ordered already.
    fn end_oversized(&mut self, now: Moment) {
        let was_ended = |session: &Session| {
            session.contents.oversized_since.is_some_and(|since| now.since(since) < END_AGAIN_AFTER)
        };
        let oversized: Vec<SessionId> = self.sessions.fresh().set(Set::Oversized).collect();
        for id in oversized {
            if self.sessions.get(&id).is_none_or(was_ended) {
                continue;
            }
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            session.contents.oversized_since = Some(now);
            session.contents.weight = None;
            self.effects.act(Action::EndPages { session: id });
        }
    }

    /// Returns whether one more window fits into the budget. A single window always does.
    pub(crate) fn has_memory(&mut self) -> bool {
        let Some(MemoryEstimate { memory, rest_bytes }) = self.sessions.context().memory else { return true };
        let claimed = self.sessions.fresh().claimed();
        let needed = i128::from(rest_bytes) + claimed + i128::from(memory.weigh(false));
        self.occupied() == 0 || needed <= i128::from(memory.high())
    }

    /// Freezes or hibernates windows until the existing ones, and those being opened, fit into the budget.
    pub(crate) fn reclaim_memory(&mut self, now: Moment) {
        let Some(MemoryEstimate { memory, rest_bytes }) = self.sessions.context().memory else { return };
        let comers = i64::try_from(self.wanted_places()).unwrap_or(i64::MAX);
        let wanted = comers.saturating_mul(memory.weigh(false));
        let foreseen = |rules: &mut Self| {
            i128::from(rest_bytes) + rules.sessions.fresh().foreseen() + i128::from(wanted)
        };
        if foreseen(self) <= i128::from(memory.high()) {
            return;
        }
        // A window that was about to be closed when it was measured may have stayed open.
        self.end_oversized(now);
        while foreseen(self) > i128::from(memory.low()) {
            if let Some(id) = self.greediest_to_hibernate(memory, now) {
                if let Some(mut session) = self.session_mut(id) {
                    session.hibernate_window("memory is short and it took far more than the others");
                }
            } else if let Some(id) = self
                .sessions
                .first(Order::MayFreeze, |session| session.may_be_frozen(now) && !session.is_fresh(now))
            {
                if let Some(mut session) = self.session_mut(id) {
                    session.settle_down(true);
                }
            } else if let Some(id) = self.least_used_to_hibernate(now) {
                if let Some(mut session) = self.session_mut(id) {
                    session.hibernate_window("memory is short and it was the least recently used");
                }
            } else {
                return;
            }
        }
    }

    /// Returns the window that takes the most, among those that take far more than a fair share and than most others,
    /// and may hibernate.
    fn greediest_to_hibernate(&mut self, memory: Memory, now: Moment) -> Option<SessionId> {
        // Calculated as if all of them ran: freezing some makes no other look too large.
        self.sessions.fresh();
        let weights = self.sessions.index().weights();
        let count = weights.len();
        let (usual, _) = self.sessions.index().weights().nth(count / 2)?;
        let fair = memory.low() / i64::try_from(count).unwrap_or(i64::MAX);
        let greedy = usual.max(fair).saturating_mul(GREEDY_SHARES);
        let may_go = |session: &Session| {
            let is_ready =
                matches!(session.contents.freeze_state, FreezeState::Running | FreezeState::Frozen { .. });
            session.contents.weight.is_some()
                && is_ready
                && !session.is_fresh(now)
                && session.may_hibernate(now)
        };
        let mut candidates = weights.rev().take_while(|(weight, _)| *weight > greedy).map(|(_, id)| id);
        candidates.find(|id| self.sessions.get(id).is_some_and(may_go))
    }

    /// Returns a window that is frozen already, or cannot be. One that is being frozen is waited for.
    fn least_used_to_hibernate(&mut self, now: Moment) -> Option<SessionId> {
        let id = self.sessions.first(Order::MayHibernate, |session| {
            !matches!(session.contents.freeze_state, FreezeState::Thawing { .. })
                && !session.is_fresh(now)
                && session.may_hibernate(now)
        })?;
        let is_ready = |session: &Session| {
            matches!(session.contents.freeze_state, FreezeState::Running | FreezeState::Frozen { .. })
        };
        self.sessions.get(&id).is_some_and(is_ready).then_some(id)
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
