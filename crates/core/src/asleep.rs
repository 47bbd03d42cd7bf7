//! Keeping hibernated sessions signed in: each is refreshed at its own interval, in a window that is opened for that.
//!
//! ```text
//! hibernated ── due ──> window opens ──> Visit ──> Refresh, where the site's way is another ──> saved ──> window closes
//!      ^                     │             │ signed out: SignIn                                               │
//!      └───── failed or lost: tried again with backoff <────────────────────────────────────────────────────┘
//!
//! hibernated ── due ──> window opens ──> LoadDocument, its cookies written down ──> window closes
//!      ^                                                                                │
//!      └──────────── not signed in by that: due at once, in the way above <─────────────┘
//! ```
//! The second way is that of [`AsleepRefresh::Document`]. Its window has only the session's cookies, so that its
//! state is never saved and no client gets it: a request for the session waits until the window is closed.
//!
//! The session counts as hibernated all the while. Its window takes no place, so that it can be opened on a full
//! machine, too; there are at most [`Limits::asleep_windows`](crate::Limits::asleep_windows) of them. A client that
//! needs the session gets the window as soon as there is a place for it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::action::{NoticeKind, WindowKind};
use crate::activity::{Activity, Failure, FailureKind, SignInStatus};
use crate::backoff::Backoff;
use crate::contents::ActivityState;
use crate::ids::{SessionId, SiteId, Ticket};
use crate::index::{Order, Set};
use crate::input::WindowLoss;
use crate::rules::Rules;
use crate::session::{CloseReason, Residence, Session, Window};
use crate::session_mut::SessionMut;
use crate::spec::AsleepRefresh;
use crate::time::Moment;

/// How long such a window may wait: for its browser to start, or for its turn to sign in.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// The shortest interval between two refreshes of a hibernated session.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

impl Session {
    /// Returns the kind of window that it needs now.
    pub(crate) fn needed_window(&self) -> WindowKind {
        // A client that waits for it takes over the window.
        let is_document =
            self.asleep.how == AsleepRefresh::Document && !self.asleep.needs_state && !self.is_wanted();
        if self.has_refresh_window() && is_document { WindowKind::Bare } else { WindowKind::Full }
    }

    /// Returns whether its window has, or is about to have, only its cookies.
    pub(crate) fn loads_document(&self) -> bool {
        matches!(
            self.contents.activity,
            ActivityState::Next(Activity::LoadDocument) | ActivityState::Running(Activity::LoadDocument)
        )
    }

    /// Returns whether this is the activity that loads a document in its window at present.
    #[must_use]
    pub fn is_loading_document(&self, ticket: Ticket) -> bool {
        let runs = self.contents.activity == ActivityState::Running(Activity::LoadDocument);
        runs && self.ticket == ticket && self.ended.is_none()
    }

    /// Returns when it is to be refreshed while it hibernates; `None` if it does not hibernate, or is not to be
    /// refreshed.
    pub(crate) fn asleep_refresh_due(&self, quiet: &BTreeSet<SiteId>) -> Option<Moment> {
        let is_refreshed = self.is_hibernating()
            && self.window == Window::None
            && self.ended.is_none()
            && self.established
            && self.may_be_refreshed_asleep()
            && !self.in_use()
            && !self.is_in_quiet_hours(quiet);
        let interval = self.policy.refresh_interval().filter(|_| is_refreshed)?;
        Some(self.due_at(interval).max(self.fresh_at + MIN_INTERVAL).max(self.not_before))
    }

    /// Returns whether a refresh is worth a window. If a person is needed, it does not help while no client uses the
    /// page; a rejected login is not typed again automatically.
    pub(crate) fn may_be_refreshed_asleep(&self) -> bool {
        self.asleep.how != AsleepRefresh::Never && !self.is_person_needed && !self.refused
    }

    /// Returns whether loading its page is only the first half of its refresh.
    fn is_half_refreshed_by_visit(&self) -> bool {
        let is_half = matches!(self.asleep.how, AsleepRefresh::VisitAndRefresh | AsleepRefresh::Document);
        self.has_refresh_window() && is_half
    }

    /// Returns whether it hibernates, and has or gets a window in which it is refreshed.
    #[must_use]
    pub fn has_refresh_window(&self) -> bool {
        matches!(self.residence, Residence::RefreshingAsleep { .. })
    }

    /// Returns when such a window has waited for too long.
    pub(crate) fn refresh_window_until(&self) -> Option<Moment> {
        match self.residence {
            Residence::RefreshingAsleep { since } => Some(since + WAIT_MAX),
            Residence::Settled | Residence::Recovering | Residence::Hibernating { .. } => None,
        }
    }

    /// Returns whether nothing more is to be done in such a window, or not soon. One whose state could not be saved
    /// stays open until it can be.
    fn is_refresh_over(&self, quiet: &BTreeSet<SiteId>, draining: bool, now: Moment) -> bool {
        // A client may have cancelled its request meanwhile.
        let is_wanted = self.policy.refresh_interval().is_some() && !draining;
        let is_late = !is_wanted || self.refresh_window_until().is_some_and(|until| now >= until);
        match (self.window, self.contents.activity) {
            (Window::Saving(..) | Window::Closing(_), _) | (Window::Open(_), ActivityState::Running(_)) => {
                false
            }
            (Window::Open(_), _) if self.hibernate_not_before > now => false,
            (Window::Open(_), ActivityState::Idle) => true,
            // The outcome of a sign-in is found out first, or it would be typed again.
            (Window::Open(_), ActivityState::Next(_)) if self.tried_at().is_some() => is_late,
            (Window::Open(_), ActivityState::Next(_)) => {
                is_late || self.not_before > now || self.is_left_alone(quiet)
            }
            (Window::None | Window::Placed(_) | Window::Opening(_), _) => is_late,
        }
    }
}

impl Rules {
    /// Closes the windows whose refresh has ended, and orders one for each hibernated session that is due, as far as
    /// the limit allows.
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
            let Some(mut session) = self.session_mut(id) else { continue };
            let starts_at = session.shards.not_before(session.launch);
            // While its browser does not start, other sessions use the place.
            if starts_at > now {
                session.not_before = starts_at;
                continue;
            }
            session.residence = Residence::RefreshingAsleep { since: session.now };
            session.not_before = session.now;
            session.touch();
        }
    }
}

impl SessionMut<'_> {
    /// Saves the state if the portal can have changed it, and closes the window.
    fn end_refresh_window(&mut self) {
        let is_done = matches!(self.window, Window::Open(_)) && self.contents.activity == ActivityState::Idle;
        if !is_done {
            self.try_again_later(self.limits.backoff);
        }
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

    /// Handles that its page was loaded and is signed in: begins the refresh, if that is separate. Returns whether it
    /// is.
    pub(crate) fn is_refreshed_after_visit(&mut self) -> bool {
        let is_half = self.is_half_refreshed_by_visit();
        if is_half {
            self.contents.activity = ActivityState::Next(Activity::Refresh);
            self.not_before = self.now;
        }
        is_half
    }

    /// Notes that its page was loaded and is signed in, which completes its refresh.
    pub(crate) fn asleep_visit_ended(&mut self) {
        self.last_refresh = Some(self.now);
        self.announce(NoticeKind::Refreshed, "it was refreshed while it hibernates");
    }

    fn needs_all_of_its_state(&mut self) {
        self.asleep.needs_state = true;
        self.not_before = self.fresh_at;
    }

    /// Handles that a document was loaded in a bare window, whose cookies are stored. The window is closed, whatever
    /// the outcome.
    pub(crate) fn document_loaded(&mut self, outcome: Result<SignInStatus, Failure>) {
        match outcome {
            // Without its scripts, a page that looked signed out may not.
            Ok(SignInStatus::Unknown) if self.sign_in.suspicion().is_some() => self.needs_all_of_its_state(),
            Ok(status @ (SignInStatus::SignedIn | SignInStatus::Unknown)) => {
                self.note_sign_in(Activity::LoadDocument, &status);
                self.stands(Activity::LoadDocument, status == SignInStatus::SignedIn);
            }
            // A document may not show that it is signed in, and it cannot be signed in there. It is as overdue as
            // before, and so it is the next one.
            Ok(_) => self.needs_all_of_its_state(),
            Err(failure) => self.asleep_refresh_failed(failure),
        }
        self.close_window();
    }

    fn try_again_later(&mut self, backoff: Backoff) {
        let random = self.effects.random();
        self.failures += 1;
        self.not_before = self.not_before.max(self.now + backoff.wait(self.failures, random));
    }

    /// Handles a failure in the window of a refresh. It is retried later in another window.
    pub(crate) fn asleep_refresh_failed(&mut self, failure: Failure) {
        self.contents.activity = ActivityState::Idle;
        self.unreachable = failure.kind == FailureKind::Unreachable;
        self.try_again_later(self.limits.backoff_after(failure.kind));
        self.announce(NoticeKind::RefreshFailed, &failure.sentence);
        self.answer_refresh_requests(&Err(failure));
    }

    /// Handles the loss of its page or of the window itself. A window without pages still has its cookies, which are
    /// stored.
    pub(crate) fn refresh_window_lost(&mut self, loss: WindowLoss) {
        let has_state = !self.loads_document();
        // The outcome is not known, so it counts as a failure.
        self.failed_sign_ins += u32::from(self.contents.activity == ActivityState::Running(Activity::SignIn));
        self.contents.attempt = self.contents.attempt.stopped();
        self.asleep_refresh_failed(Failure::browser("its page was lost"));
        if loss != WindowLoss::Emptied || !has_state {
            self.close_window();
        }
    }

    /// Gives the session to a client, with the window that it may have for a refresh.
    pub(crate) fn wake_residence(&mut self) {
        let had_refresh_window = self.has_refresh_window();
        self.residence = Residence::Recovering;
        if !had_refresh_window {
            return;
        }
        // It waits for a person, or cannot be signed in: the client gets it like any other session.
        if self.waits_for_person() {
            return match self.window {
                Window::Open(shard) | Window::Saving(shard, _) if self.contents.restored => {
                    self.save_and_close(shard, CloseReason::Restart);
                }
                _ => self.close_window(),
            };
        }
        if let Window::Saving(shard, CloseReason::Hibernate) = self.window {
            self.window = Window::Open(shard);
        }
        // A running activity continues. A page that is ready is checked, like one that was left by an earlier server.
        let is_idle = self.contents.activity == ActivityState::Idle;
        if matches!(self.window, Window::Open(_)) && is_idle {
            if self.contents.restored {
                self.contents.activity = ActivityState::Next(Activity::Look);
                self.residence = Residence::Settled;
            } else {
                self.contents.activity = ActivityState::Next(Activity::Visit);
            }
        }
    }
}
