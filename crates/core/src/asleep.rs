//! Keeping hibernated sessions signed in: each is refreshed on its own interval, in a window that is there for that alone.
//!
//! ```text
//! hibernated ── due ──> window opens ──> Visit ──> Refresh, where the site's way is another ──> saved ──> window closes
//!      ^                     │             │ signed out: SignIn                                               │
//!      └───── failed or lost: tried again with backoff <────────────────────────────────────────────────────┘
//! ```
//! The session counts as hibernated all the while. Its window takes nobody's place, so that it exists on a full machine
//! too; of such windows there are [`Limits::asleep_windows`](crate::Limits::asleep_windows) at most. A client that wants
//! the session gets the window as soon as there is a place for it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::action::NoticeKind;
use crate::activity::{Activity, Failure, FailureKind};
use crate::ids::{SessionId, SiteId};
use crate::index::{Order, Set};
use crate::input::WindowLoss;
use crate::rules::Rules;
use crate::session::{ActivityState, CloseReason, Residence, Session, Window};
use crate::session_mut::SessionMut;
use crate::spec::AsleepRefresh;
use crate::time::Moment;

/// How long such a window may wait for what is to be done in it: for its browser to start, or for its turn to sign in.
const WAIT_MAX: Duration = Duration::from_secs(120);

impl Session {
    /// When it is to be refreshed while it hibernates; `None` where it does not, or is not to be.
    pub(crate) fn asleep_refresh_due(&self, quiet: &BTreeSet<SiteId>) -> Option<Moment> {
        let may_be_refreshed = self.is_hibernating()
            && self.window == Window::None
            && self.ended.is_none()
            && self.established
            && self.asleep != AsleepRefresh::Never
            && !self.in_use()
            && !self.is_wanted()
            // Where a person is needed, no window helps that nobody looks into.
            && self.attention.is_none()
            && !self.site.is_some_and(|site| quiet.contains(&site));
        let interval = self.policy.refresh_interval().filter(|_| may_be_refreshed)?;
        Some(self.due_at(interval).max(self.not_before))
    }

    /// Returns whether it hibernates, and has or gets a window in which it is refreshed.
    #[must_use]
    pub fn has_refresh_window(&self) -> bool {
        matches!(self.residence, Residence::RefreshingAsleep { .. })
    }

    /// When such a window has waited for too long.
    pub(crate) fn refresh_window_until(&self) -> Option<Moment> {
        match self.residence {
            Residence::RefreshingAsleep { since } => Some(since + WAIT_MAX),
            Residence::Settled | Residence::Recovering | Residence::Hibernating { .. } => None,
        }
    }

    /// Whether nothing more is to come of such a window, or not soon. One whose state could not be written down stays
    /// until it can be.
    fn is_refresh_over(&self, quiet: &BTreeSet<SiteId>, draining: bool, now: Moment) -> bool {
        // A client may have changed its mind meanwhile.
        let is_wanted = self.policy.refresh_interval().is_some() && !draining;
        let is_late = !is_wanted || self.refresh_window_until().is_some_and(|until| now >= until);
        match (self.window, self.contents.activity) {
            (Window::Saving(..) | Window::Closing(_), _) | (Window::Open(_), ActivityState::Running(_)) => {
                false
            }
            (Window::Open(_), _) if self.hibernate_not_before > now => false,
            (Window::Open(_), ActivityState::Idle) => true,
            (Window::Open(_), ActivityState::Next(_)) => {
                is_late || self.not_before > now || self.is_left_alone(quiet)
            }
            (Window::None | Window::Placed(_) | Window::Opening(_), _) => is_late,
        }
    }
}

impl Rules {
    /// Ends the windows whose refresh is over, and orders one for each hibernated session that is due, as far as the
    /// limit allows.
    pub(crate) fn settle_asleep_refreshes(&mut self, now: Moment) {
        let draining = self.draining;
        let windows: Vec<SessionId> = self.sessions.fresh().set(Set::RefreshWindows).collect();
        for id in windows {
            let quiet = &self.sessions.context().quiet;
            let is_over =
                self.sessions.get(&id).is_some_and(|session| session.is_refresh_over(quiet, draining, now));
            if is_over && let Some(mut session) = self.session_mut(id) {
                session.end_refresh_window();
            }
        }
        if draining {
            return;
        }
        let index = self.sessions.fresh();
        let free = self.limits.asleep_windows.saturating_sub(index.count(Set::RefreshWindows));
        let due: Vec<SessionId> = index.until(Order::AsleepRefresh, now).take(free).collect();
        for id in due {
            if let Some(mut session) = self.session_mut(id) {
                session.residence = Residence::RefreshingAsleep { since: session.now };
                session.not_before = session.now;
                session.touch();
            }
        }
    }
}

impl SessionMut<'_> {
    /// What the portal has changed is written down where anything can have changed, and the window closes.
    fn end_refresh_window(&mut self) {
        match self.window {
            Window::None => {
                self.residence = Residence::Hibernating { was_recovering: false };
                self.touch();
            }
            Window::Open(shard) if self.contents.restored => {
                self.save_and_close(shard, CloseReason::Hibernate);
            }
            Window::Saving(..) | Window::Closing(_) => {}
            Window::Placed(_) | Window::Opening(_) | Window::Open(_) => self.close_window(),
        }
    }

    /// The page was loaded and is signed in.
    pub(crate) fn asleep_visit_ended(&mut self) {
        match self.asleep {
            AsleepRefresh::VisitAndRefresh => {
                self.contents.activity = ActivityState::Next(Activity::Refresh);
                self.not_before = self.now;
            }
            AsleepRefresh::Visit | AsleepRefresh::Never => {
                self.last_refresh = Some(self.now);
                self.announce(NoticeKind::Refreshed, "it was refreshed while it hibernates");
            }
        }
    }

    /// What was done in the window of a refresh failed. It is tried again later in another one.
    pub(crate) fn asleep_refresh_failed(&mut self, failure: Failure) {
        let random = self.effects.random();
        let mut backoff = self.limits.backoff;
        self.failures += 1;
        self.contents.activity = ActivityState::Idle;
        self.unreachable = failure.kind == FailureKind::Unreachable;
        if failure.kind.is_harmless() {
            backoff.longest = backoff.longest.min(self.limits.longest_outage_wait);
        }
        self.not_before = self.now + backoff.wait(self.failures, random);
        self.announce(NoticeKind::RefreshFailed, &failure.sentence);
        self.answer_refresh_requests(&Err(failure));
    }

    /// The same where its page, or the window itself, was lost. One without pages has its cookies still, which are
    /// written down.
    pub(crate) fn refresh_window_lost(&mut self, loss: WindowLoss) {
        self.asleep_refresh_failed(Failure::browser("its page was lost"));
        if loss != WindowLoss::Emptied {
            self.close_window();
        }
    }

    /// A client gets the session, and with it the window that it may have for a refresh.
    pub(crate) fn wake_residence(&mut self) {
        let had_refresh_window = self.has_refresh_window();
        self.residence = Residence::Recovering;
        if !had_refresh_window {
            return;
        }
        if let Window::Saving(shard, CloseReason::Hibernate) = self.window {
            self.window = Window::Open(shard);
        }
        // What runs in it goes on. A page that stands is looked at, as one is that outlived a server.
        let is_idle = self.contents.activity == ActivityState::Idle;
        if matches!(self.window, Window::Open(_)) && is_idle && self.contents.restored {
            self.contents.activity = ActivityState::Next(Activity::Look);
            self.residence = Residence::Settled;
        }
    }
}
