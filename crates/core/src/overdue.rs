//! How late refreshes are, so that it can be reported when a machine has more sessions than it can refresh in time.
//!
//! A refresh that waits after a failure, or for the quiet hours of its site, does not count as late.

use std::time::Duration;

use crate::activity::{Activity, SignInStatus};
use crate::contents::ActivityState;
use crate::ids::Ticket;
use crate::index::Order;
use crate::rules::Rules;
use crate::session::Session;
use crate::spec::AsleepRefresh;
use crate::time::Moment;

/// The refresh that has been due longest, of those that have not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueRefresh {
    /// When it should have begun at the latest. May be in the future.
    pub at: Moment,
    /// The refresh interval of its session.
    pub interval: Duration,
}

/// How a session was refreshed, as far as the rules know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshKind {
    /// By a document in a bare window.
    Document,
    /// By its page, in a window that was opened for it.
    Page,
    /// In the way of its site.
    Site,
}

impl Session {
    /// Returns how it was refreshed if the activity of `ticket` was a refresh that ended with `outcome`, where `None`
    /// is a failure.
    #[must_use]
    pub fn refreshed_by(&self, ticket: Ticket, outcome: Option<&SignInStatus>) -> Option<RefreshKind> {
        let ActivityState::Running(activity) = self.contents.activity else { return None };
        let is_well = matches!(outcome, Some(SignInStatus::SignedIn | SignInStatus::Unknown));
        let is_half = self.asleep.how != AsleepRefresh::Visit && is_well;
        let kind = match activity {
            Activity::LoadDocument => RefreshKind::Document,
            Activity::Refresh => RefreshKind::Site,
            Activity::Visit if self.has_refresh_window() && !is_half => RefreshKind::Page,
            Activity::Visit | Activity::Repair | Activity::Reopen | Activity::SignIn | Activity::Look => {
                return None;
            }
        };
        (self.ticket == ticket).then_some(kind)
    }

    fn due_refresh(&self, not_before: Moment) -> Option<DueRefresh> {
        let interval = self.policy.refresh_interval()?;
        Some(DueRefresh { at: not_before.max(self.fresh_at + interval), interval })
    }
}

impl Rules {
    /// Returns the refresh that has been due longest and has not begun, if any is scheduled.
    pub fn due_refresh(&mut self) -> Option<DueRefresh> {
        let is_refreshed_asleep = self.limits.asleep_windows > 0 && !self.draining;
        let index = self.sessions.fresh();
        let asleep = index.order(Order::AsleepRefresh).next().filter(|_| is_refreshed_asleep);
        let beside = index.order(Order::BesideRefresh).next();
        // Those that wait for others to end, and those that were not checked yet.
        let awake = [Order::ReadyRefresh, Order::Refresh].map(|order| index.order(order).next());
        let first = awake.into_iter().flatten().map(|(_, id)| (Moment(0), id)).chain(asleep).chain(beside);
        let first = first.filter_map(|(not_before, id)| self.sessions.get(&id)?.due_refresh(not_before));
        first.min_by_key(|due| due.at)
    }
}
