//! The schedule of refreshes: when sessions are checked, and which refreshes are due then.
//!
//! How a session is refreshed is not known here: [`Activity::Refresh`] is begun by [`crate::settle`], as far as the
//! limits allow, and carried out by the world.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::activity::Activity;
use crate::contents::ActivityState;
use crate::ids::{SessionId, SiteId};
use crate::index::{Order, Set};
use crate::rules::Rules;
use crate::session::{Session, Window};
use crate::session_mut::SessionMut;
use crate::time::Moment;

/// The shortest interval between two checks, whatever interval a client sets.
const MIN_CHECK_INTERVAL: Duration = Duration::from_millis(500);

impl Session {
    /// Returns whether its window is ready and idle.
    pub(crate) fn rests(&self) -> bool {
        self.ended.is_none()
            && self.established
            && !self.is_hibernating()
            && self.contents.activity == ActivityState::Idle
            && matches!(self.window, Window::Open(_))
    }

    /// Returns when it is to be refreshed, if it is idle and its site has no quiet hours.
    pub(crate) fn refresh_due(&self, quiet: &BTreeSet<SiteId>) -> Option<Moment> {
        let is_refreshed = self.rests() && !self.waits_for_person() && !self.is_in_quiet_hours(quiet);
        let interval = self.policy.refresh_interval().filter(|_| is_refreshed);
        interval.map(|interval| self.due_at(interval))
    }
}

impl SessionMut<'_> {
    /// Notes that the portal answered it as expected: it is refreshed one interval later, or earlier by a random
    /// amount.
    pub(crate) fn is_fresh(&mut self) {
        let random = self.effects.random();
        let early_ms = u64::try_from(self.refresh_jitter.as_millis()).unwrap_or(u64::MAX - 1);
        self.refresh_early = Duration::from_millis(random % (early_ms + 1));
        self.fresh_at = self.now;
    }

    /// Has refreshes checked in time for it, if it is to be refreshed every `interval`.
    pub(crate) fn check_within(&mut self, interval: Option<Duration>) {
        if let Some(interval) = interval {
            *self.next_check = (*self.next_check).min(self.now + interval.max(MIN_CHECK_INTERVAL));
        }
    }
}

impl Rules {
    /// Schedules a refresh of each session whose last one is older than its interval, and a check of each that waits
    /// for a person. Sets when the next check is due.
    pub(crate) fn schedule_refreshes(&mut self, now: Moment) {
        let due: Vec<SessionId> = self.sessions.fresh().until(Order::Refresh, now).collect();
        for id in due {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.contents.activity = ActivityState::Next(Activity::Refresh);
                session.not_before = now;
            }
        }
        // Checks of the status come after refreshes, which they would otherwise delay without end when both are due.
        let looks: Vec<SessionId> = self.sessions.fresh().set(Set::Looks).collect();
        for id in looks {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.contents.activity = ActivityState::Next(Activity::Look);
            }
        }
        let index = self.sessions.fresh();
        let next = index.order(Order::Refresh).next().map(|(due, _)| due.since(now));
        let shortest = [Some(self.limits.refresh_check), index.shortest_interval(), next];
        let shortest = shortest.into_iter().flatten().min().unwrap_or_default();
        self.next_check = now + shortest.max(MIN_CHECK_INTERVAL);
    }
}
