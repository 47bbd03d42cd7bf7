//! The memory budget: what all windows take by now, and who gets colder where that is too much.
//!
//! Measuring is slow and windows come fast. So between two measurements the rules reckon: with what a window was
//! last found to take, or what windows take on average, running or standing still, and with what was measured beside
//! that.
//!
//! Memory is charged to whoever takes it. A window that takes more than one may has its pages ended, used or not; its
//! session stays and its page is loaded again. Where memory is short, whoever takes far more than a fair share goes
//! first, without standing still before, which would give little back. Then the others get colder, one step at a time,
//! the least recently used first; nobody gets warmer unless somebody needs the page, and between where that begins and
//! where it stops there is room, so that nothing goes to and fro.

use std::time::Duration;

use crate::action::Action;
use crate::contents::{FreezeState, Weight};
use crate::ids::SessionId;
use crate::index::{Order, Set};
use crate::measured::{Memory, MemoryEstimate};
use crate::rules::Rules;
use crate::session::{Session, Window};
use crate::time::Moment;

/// Above this share of the budget, in percent, windows get colder.
const HIGH_PERCENT: u64 = 95;
/// That goes on until no more than this share is taken.
const LOW_PERCENT: u64 = 85;
/// Pages that were to be ended and are still there are ended again after this long.
const END_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Whoever takes this many times a fair share of the budget, and what is usual, goes first. Windows differ: some of them
/// are just large.
const GREEDY_SHARES: i64 = 2;
/// A window that was used this short a while ago is left alone: its client is likely to go on.
const GRACE: Duration = Duration::from_secs(1);
/// A window that has come to a stand is as small as it gets after about this long.
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

    /// What this session's window takes, running or standing still, as far as is known.
    pub(crate) fn weigh_window(&self, session: &Session, is_still: bool) -> i64 {
        let average = self.weigh(is_still);
        match session.contents.weight {
            None => average,
            Some(weight) if weight.is_still == is_still => signed(weight.bytes),
            // It gives back the part that others do.
            Some(weight) if is_still => {
                let running = i128::from(self.running_bytes.max(1));
                let left = i128::from(weight.bytes) * i128::from(self.frozen_bytes) / running;
                i64::try_from(left).unwrap_or(i64::MAX)
            }
            Some(weight) => signed(weight.bytes).max(average),
        }
    }

    /// What a session's window really takes at the moment.
    fn present(&self, session: &Session, now: Moment) -> i64 {
        match session.window {
            Window::None | Window::Placed(_) => 0,
            Window::Opening(_) | Window::Open(_) | Window::Saving(..) | Window::Closing(_) => {
                self.weigh_window(session, session.is_small(now))
            }
        }
    }

    /// What it may take before anything that was ordered has come about.
    pub(crate) fn claimed(&self, session: &Session) -> i64 {
        if session.occupies() {
            self.weigh_window(session, session.contents.freeze_state.is_frozen())
        } else {
            0
        }
    }

    /// What it will take once everything that was ordered has come about.
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
    /// Returns whether its window stands still and is as small as it gets.
    fn is_small(&self, now: Moment) -> bool {
        matches!(self.contents.freeze_state, FreezeState::Frozen { since } if now.since(since) >= SHRINKING)
    }

    /// Returns whether it is left alone for want of memory.
    fn is_fresh(&self, now: Moment) -> bool {
        now < self.last_used + GRACE
    }

    fn may_be_frozen(&self, now: Moment) -> bool {
        self.may_be_frozen_in_time() && self.unfreezable_until <= now && self.can_freeze(now)
    }

    /// The same, now or a while later.
    pub(crate) fn may_be_frozen_in_time(&self) -> bool {
        self.freezes
            && !self.waits_for_person()
            && self.contents.freeze_state == FreezeState::Running
            && self.can_freeze_in_time()
    }

    /// Returns whether its pages are to be ended for what they take. One that is going anyway is waited for.
    pub(crate) fn is_oversized(&self, memory: Memory) -> bool {
        self.ended.is_none()
            && !self.is_hibernating()
            && matches!(self.window, Window::Open(_))
            && self.contents.weight.is_some_and(|weight| weight.bytes > memory.window_bytes)
    }
}

impl Rules {
    /// The world has measured, all together and these `windows`.
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

    /// Has the pages of windows ended that take more than a window may. One whose pages were ended already is waited
    /// for.
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

    /// Returns whether one more window stays within the budget. The only one there is always does.
    pub(crate) fn has_memory(&mut self) -> bool {
        let Some(MemoryEstimate { memory, rest_bytes }) = self.sessions.context().memory else { return true };
        let claimed = self.sessions.fresh().claimed();
        let needed = i128::from(rest_bytes) + claimed + i128::from(memory.weigh(false));
        self.occupied() == 0 || needed <= i128::from(memory.high())
    }

    /// Has windows get colder until those that there are, and those that are waited for, fit into the budget.
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
        // One that was about to go when it was measured may have stayed.
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

    /// Returns who takes the most, of those that take far more than a fair share, and than most others, and may go.
    fn greediest_to_hibernate(&mut self, memory: Memory, now: Moment) -> Option<SessionId> {
        // As if all of them ran: who got colder meanwhile makes nobody look greedier.
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

    /// Returns who stands still already, or cannot. One that is just coming to a stand is waited for.
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
