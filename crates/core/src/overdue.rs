//! How late refreshes are: a machine that has more sessions than it can refresh in time is not to keep that to itself.
//!
//! What waits because it failed, or because its site is to be left alone, is not late.

use std::time::Duration;

use crate::activity::{Activity, SignInStatus};
use crate::contents::ActivityState;
use crate::ids::Ticket;
use crate::index::Order;
use crate::rules::Rules;
use crate::session::Session;
use crate::spec::AsleepRefresh;
use crate::time::Moment;

/// The refresh that is due longest, of those that have not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueRefresh {
    /// When it should have begun, at the latest. May be in the future.
    pub at: Moment,
    /// How often its session is to be refreshed.
    pub interval: Duration,
}

/// In which way a session was refreshed, as far as the rules know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshKind {
    /// By a document in a window with its cookies alone.
    Document,
    /// By its page, in a window that was opened for that.
    Page,
    /// In its site's own way.
    Site,
}

impl Session {
    /// Returns how it was refreshed where the activity of `ticket` was a refresh that ends with `outcome`, `None` being a
    /// failure.
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
    /// Returns the refresh that is due longest and has not begun, if there is one to come.
    pub fn due_refresh(&mut self) -> Option<DueRefresh> {
        let is_refreshed_asleep = self.limits.asleep_windows > 0 && !self.draining;
        let index = self.sessions.fresh();
        let asleep = index.order(Order::AsleepRefresh).next().filter(|_| is_refreshed_asleep);
        let beside = index.order(Order::BesideRefresh).next();
        // Those that wait for others to end, and those that are not even checked.
        let awake = [Order::ReadyRefresh, Order::Refresh].map(|order| index.order(order).next());
        let first = awake.into_iter().flatten().map(|(_, id)| (Moment(0), id)).chain(asleep).chain(beside);
        let first = first.filter_map(|(not_before, id)| self.sessions.get(&id)?.due_refresh(not_before));
        first.min_by_key(|due| due.at)
    }
}
