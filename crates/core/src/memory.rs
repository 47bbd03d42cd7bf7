//! The memory budget: what all windows take by now, and who gets colder where that is too much.
//!
//! Measuring is slow and windows come fast. So between two measurements the rules reckon: with what a window
//! takes on average, running or standing still, and with what was measured beside that. Whoever gets colder
//! goes one step at a time, the least recently used first; nobody gets warmer unless somebody needs the page,
//! and between where that begins and where it stops there is room, so that nothing goes to and fro.

use std::time::Duration;

use crate::freezing::Motion;
use crate::ids::SessionId;
use crate::rules::Rules;
use crate::session::{Session, Window};
use crate::time::Moment;

/// Above this share of the budget, in percent, windows get colder.
const HIGH_PERCENT: u64 = 95;
/// That goes on until no more than this share is taken.
const LOW_PERCENT: u64 = 85;
/// A window that was used this short a while ago is left alone: its client is likely to go on.
const GRACE: Duration = Duration::from_secs(1);
/// A window that has come to a stand is as small as it gets after about this long.
const SHRINKING: Duration = Duration::from_secs(14);

/// What the world has measured, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What all browsers take together, compressed swap among it.
    pub used_bytes: u64,
    /// What they may take.
    pub budget_bytes: u64,
    /// What a window takes whose page runs, on average.
    pub running_bytes: u64,
    /// What a window takes that stands still, on average.
    pub frozen_bytes: u64,
}

/// The last measurement, and what of it no window explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reckoning {
    memory: Memory,
    rest_bytes: i64,
}

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

    /// What a session's window really takes at the moment.
    fn present(&self, session: &Session, now: Moment) -> i64 {
        match session.window {
            Window::None | Window::Placed(_) => 0,
            Window::Opening(_) | Window::Open(_) | Window::Saving(..) | Window::Closing(_) => {
                let is_small = now.since(session.still_since) >= SHRINKING;
                self.weigh(session.motion == Motion::Frozen && is_small)
            }
        }
    }

    /// What it may take before anything that was ordered has come about.
    fn claimed(&self, session: &Session) -> i64 {
        if session.occupies() { self.weigh(session.motion == Motion::Frozen) } else { 0 }
    }

    /// What it will take once everything that was ordered has come about.
    fn foreseen(&self, session: &Session) -> i64 {
        if session.ended.is_some() || session.asleep {
            return 0;
        }
        self.weigh(matches!(session.motion, Motion::Settling | Motion::Freezing(_) | Motion::Frozen))
    }
}

impl Session {
    /// Whether it is left alone for want of memory.
    fn is_fresh(&self, now: Moment) -> bool {
        now < self.last_used + GRACE
    }

    fn may_be_frozen(&self, now: Moment) -> bool {
        self.freezes
            && self.attention.is_none()
            && self.motion == Motion::Running
            && self.unfreezable_until <= now
            && self.can_freeze(now)
    }
}

impl Rules {
    /// The world has measured.
    pub(crate) fn measured(&mut self, memory: Memory, now: Moment) {
        let explained: i64 = self.sessions.values().map(|session| memory.present(session, now)).sum();
        self.reckoning = Some(Reckoning { memory, rest_bytes: signed(memory.used_bytes) - explained });
    }

    /// Whether one more window stays within the budget. The only one there is always does.
    pub(crate) fn has_memory(&self) -> bool {
        let Some(Reckoning { memory, rest_bytes }) = self.reckoning else { return true };
        let claimed: i64 = self.sessions.values().map(|session| memory.claimed(session)).sum();
        self.occupied() == 0 || rest_bytes + claimed + memory.weigh(false) <= memory.high()
    }

    /// Has windows get colder until those that there are, and those that are waited for, fit into the budget.
    pub(crate) fn relieve(&mut self, now: Moment) {
        let Some(Reckoning { memory, rest_bytes }) = self.reckoning else { return };
        let comers = i64::try_from(self.wanted_places()).unwrap_or(i64::MAX);
        let wanted = comers.saturating_mul(memory.weigh(false));
        let foreseen = |rules: &Self| {
            let windows: i64 = rules.sessions.values().map(|session| memory.foreseen(session)).sum();
            rest_bytes + windows + wanted
        };
        if foreseen(self) <= memory.high() {
            return;
        }
        while foreseen(self) > memory.low() {
            if let Some(id) =
                self.least_recently_used(|session| session.may_be_frozen(now) && !session.is_fresh(now))
            {
                self.press(id, now);
            } else if let Some(id) = self.coldest_to_spare(now) {
                self.cool(id, "memory is short and it was the least recently used", now);
            } else {
                return;
            }
        }
    }

    fn press(&mut self, id: SessionId, now: Moment) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.pressed = true;
        }
        self.settle_down(id, now);
    }

    /// Who stands still already, or cannot. One that is just coming to a stand is waited for.
    fn coldest_to_spare(&self, now: Moment) -> Option<SessionId> {
        let id = self.least_recently_used(|session| {
            !matches!(session.motion, Motion::Thawing(_))
                && !session.is_fresh(now)
                && session.may_be_cooled(now)
        })?;
        let is_ready = |session: &Session| matches!(session.motion, Motion::Running | Motion::Frozen);
        self.sessions.get(&id).is_some_and(is_ready).then_some(id)
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
