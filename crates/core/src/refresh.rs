//! The schedule of refreshes: when sessions are checked, and which refreshes are due then.
//!
//! What a refresh does in the window is not known here: [`Activity::Refresh`] is begun by [`crate::settle`], as far as the
//! limits allow, and carried out by the world.

use std::time::Duration;

use crate::activity::Activity;
use crate::rules::Rules;
use crate::session::{ActivityState, Window};
use crate::time::Moment;

/// However short an interval a client asks for, sessions are not checked more often than this.
const MIN_CHECK_INTERVAL: Duration = Duration::from_millis(500);

impl Rules {
    /// A session that is to be refreshed every `interval` makes the next check come in time.
    pub(crate) fn check_within(&mut self, interval: Option<Duration>, now: Moment) {
        if let Some(interval) = interval {
            self.next_check = self.next_check.min(now + interval.max(MIN_CHECK_INTERVAL));
        }
    }

    /// Schedules a refresh of each session whose last one is older than its interval, and a look at each that waits for a
    /// person. Sets when the next check is due.
    pub(crate) fn schedule_refreshes(&mut self, now: Moment) {
        let mut shortest = self.limits.refresh_check;
        for session in self.sessions.values_mut().filter(|session| session.ended.is_none()) {
            let interval = session.policy.refresh_interval();
            shortest = interval.map_or(shortest, |interval| interval.min(shortest));
            let at_rest =
                session.activity == ActivityState::Idle && matches!(session.window, Window::Open(_));
            if !at_rest || !session.established {
                continue;
            }
            if session.attention.is_some() {
                session.activity = ActivityState::Next(Activity::Look);
            } else if session.site.is_some_and(|site| self.quiet.contains(&site)) {
                continue;
            } else if let Some(due) = interval.map(|interval| session.due_at(interval)) {
                if now < due {
                    shortest = shortest.min(due.since(now));
                    continue;
                }
                session.activity = ActivityState::Next(Activity::Refresh);
                session.not_before = now;
            }
        }
        self.next_check = now + shortest.max(MIN_CHECK_INTERVAL);
    }
}
