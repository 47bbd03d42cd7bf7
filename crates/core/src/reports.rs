//! What the world reports: browsers, windows, and how activities ended.

use std::time::Duration;

use crate::action::{Answer, EndedReason, NoticeKind, Refusal};
use crate::activity::{Activity, Failure, FailureKind, SignInStatus};
use crate::ids::{SessionId, ShardId, Ticket};
use crate::input::WindowLoss;
use crate::rules::Rules;
use crate::session::{ActivityState, CloseReason, Session, Window};
use crate::shard::ShardState;
use crate::time::Moment;

/// Why a window has an empty page.
const LAST_PAGE_CLOSED: &str = "its last page was closed";
/// What is said of a page that was ended for the memory that it took.
const OVERSIZED: &str = "its page took more memory than `limits.window_memory` allows and was ended";
/// Repairs of a page that may fail before its window is given up for another one.
const REPAIRS_MAX: u32 = 2;

impl Rules {
    pub(crate) fn shard_started(&mut self, id: ShardId, now: Moment) {
        self.shards.started(id, now);
    }

    pub(crate) fn shard_ended(&mut self, id: ShardId, failure: Option<Failure>, now: Moment) {
        let Some(shard) = self.shards.remove(id) else { return };
        let unsettled = match shard.state {
            ShardState::Starting => true,
            ShardState::Running { since } => now.since(since) < self.limits.shard_settled_after,
            ShardState::Stopping => false,
        };
        let mut failures = 0;
        if unsettled {
            let random = self.jitter.next();
            failures = self.shards.failed(shard.launch, self.limits.backoff, random, now);
        }
        let failure = failure.unwrap_or_else(|| Failure::browser("the browser ended"));
        for session in shard.windows {
            self.shard_lost(session, &failure, failures, now);
        }
    }

    fn shard_lost(&mut self, id: SessionId, failure: &Failure, failures: u32, now: Moment) {
        let ticket = self.next_ticket();
        let recovery_tries = self.limits.recovery_tries;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let was_closing = matches!(session.window, Window::Closing(_));
        session.failed_sign_ins += u32::from(session.activity == ActivityState::Running(Activity::SignIn));
        session.ticket = ticket;
        self.window_gone(id, now);
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.ended.is_none()) else {
            return;
        };
        if session.is_hibernating {
            return;
        }
        session.recovering = session.established;
        if was_closing {
            return;
        }
        if !session.established {
            return self.count_failure(id, Activity::Visit, failure.clone(), now);
        }
        // A browser that keeps dying is told, and tried again ever more slowly.
        if failures >= recovery_tries || failure.kind == FailureKind::BrowserMissing {
            session.attention = Some(failure.sentence.clone());
            self.answer_refresh_requests(id, &Err(failure.clone()));
        }
        self.announce(id, NoticeKind::WindowLost, &failure.sentence);
    }

    pub(crate) fn window_opened(
        &mut self,
        id: SessionId,
        ticket: Ticket,
        result: Result<(), Failure>,
        now: Moment,
    ) {
        let Some(session) = self.current(id, ticket) else { return };
        let Window::Opening(shard) = session.window else { return };
        match result {
            Ok(()) => {
                session.window = Window::Open(shard);
                session.activity = ActivityState::Next(Activity::Visit);
                self.touch(id);
            }
            Err(failure) => {
                self.window_gone(id, now);
                self.count_failure(id, Activity::Visit, failure, now);
            }
        }
    }

    pub(crate) fn window_closed(&mut self, id: SessionId, ticket: Ticket, now: Moment) {
        if self.current(id, ticket).is_some_and(|session| matches!(session.window, Window::Closing(_))) {
            self.window_gone(id, now);
        }
    }

    pub(crate) fn window_lost(&mut self, id: SessionId, shard: ShardId, loss: WindowLoss, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let there = match session.window {
            Window::Open(at)
            | Window::Saving(at, CloseReason::Hibernate | CloseReason::Move | CloseReason::MoveOut) => {
                at == shard
            }
            _ => false,
        };
        // It does not answer before its repair, which takes its time, is over.
        let mending = matches!(
            session.activity,
            ActivityState::Next(Activity::Repair)
                | ActivityState::Running(Activity::Repair | Activity::Reopen)
        );
        // Whoever uses a page that does not answer may have his reasons.
        if session.ended.is_some() || !there || (loss == WindowLoss::Hung && (session.in_use() || mending)) {
            return;
        }
        if loss == WindowLoss::Emptied {
            // What it has beside its pages may be newer than what was written, however still it was.
            self.save_by(id, now + self.limits.save_delay);
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        // Who uses it goes on in the same window. What to do with the empty page comes after that.
        let stands = session.established && session.restored && !session.recovering;
        let rests = !matches!(session.activity, ActivityState::Running(_));
        if loss == WindowLoss::Emptied && session.in_use() && stands && rests {
            session.activity = ActivityState::Next(Activity::Reopen);
            return self.announce_aside(id, NoticeKind::LastPageClosed, LAST_PAGE_CLOSED);
        }
        session.window = Window::Open(shard);
        session.is_hibernating = false;
        let settled = now.since(session.lost_at) >= self.limits.loss_settled_after;
        session.losses = if settled { 1 } else { session.losses + 1 };
        session.lost_at = now;
        // What runs is cut short by the loss, and one loss after another is no accident: both count.
        let counts =
            !settled || !session.established || matches!(session.activity, ActivityState::Running(_));
        session.failures = session.failures.max(session.losses - 1);
        session.recovering = session.established;
        session.not_before = now;
        session.failed_sign_ins += u32::from(session.activity == ActivityState::Running(Activity::SignIn));
        session.sign_in_running = false;
        let was_oversized = session.oversized_since.take().is_some();
        session.weight = None;
        let (activity, kind, sentence) = match loss {
            WindowLoss::Crashed if was_oversized => (Activity::Repair, NoticeKind::PageCrashed, OVERSIZED),
            WindowLoss::Crashed => (Activity::Repair, NoticeKind::PageCrashed, "its page crashed"),
            WindowLoss::Hung => (Activity::Repair, NoticeKind::PageHung, "its page no longer answers"),
            // A window that shows nothing yet has nothing to keep.
            WindowLoss::Emptied if !session.restored => {
                (Activity::Visit, NoticeKind::LastPageClosed, LAST_PAGE_CLOSED)
            }
            WindowLoss::Emptied => (Activity::Reopen, NoticeKind::LastPageClosed, LAST_PAGE_CLOSED),
            WindowLoss::Gone => {
                (Activity::Visit, NoticeKind::WindowLost, "its window went with its last page")
            }
        };
        session.activity = ActivityState::Next(activity);
        // What it held up the others with is not begun again in the same browser.
        let goes =
            loss == WindowLoss::Gone || (loss != WindowLoss::Emptied && session.moves_out_since.is_some());
        self.announce(id, kind, sentence);
        if goes {
            self.close_window(id, now);
        }
        if counts {
            self.count_failure(id, activity, Failure::browser(sentence), now);
        }
    }

    pub(crate) fn activity_ended(
        &mut self,
        id: SessionId,
        ticket: Ticket,
        outcome: Result<SignInStatus, Failure>,
        now: Moment,
    ) {
        let settled_at = now + self.limits.freeze_settle;
        let Some(session) = self.current(id, ticket) else { return };
        let ActivityState::Running(activity) = session.activity else {
            return self.refused_late(id, outcome, now);
        };
        session.activity = ActivityState::Idle;
        session.sign_in_running = false;
        session.freeze_not_before = settled_at;
        session.restored |= outcome.is_ok();
        // A look that failed has not told what came of a sign-in.
        let is_settled =
            outcome.as_ref().map_or_else(|failure| failure.kind == FailureKind::Rejected, |_| true);
        if is_settled || activity != Activity::Look {
            session.tried_at = None;
        }
        let in_vain = match &outcome {
            Ok(standing) => *standing == SignInStatus::SignedOut,
            Err(failure) => !failure.kind.is_harmless(),
        };
        session.failed_sign_ins += u32::from(in_vain && activity == Activity::SignIn);
        self.touch(id);
        if outcome.is_ok() && activity != Activity::Look {
            self.portal_answers(id, now);
        }
        match outcome {
            Ok(SignInStatus::SignedIn) => self.is_signed_in(id, activity, now),
            Ok(SignInStatus::PersonNeeded(sentence)) => self.needs_person(id, sentence, now),
            Ok(SignInStatus::SignedOut) => self.signed_out(id, activity, now),
            Ok(SignInStatus::ShowsNothing) => self.shows_nothing(id, activity, now),
            Err(failure) => {
                let is_stuck = activity == Activity::Repair && failure.kind == FailureKind::Browser;
                self.count_failure(id, activity, failure, now);
                if is_stuck {
                    self.give_up_repair(id, now);
                }
            }
        }
    }

    /// A renderer that cannot be brought to an end goes with its window, and the session gets another one.
    fn give_up_repair(&mut self, id: SessionId, now: Moment) {
        let is_beyond_repair = |session: &&Session| {
            session.established && session.ended.is_none() && session.failures > REPAIRS_MAX
        };
        if self.sessions.get(&id).filter(is_beyond_repair).is_some() {
            self.close_window(id, now);
        }
    }

    /// The session that a report is about, unless the report is late.
    pub(crate) fn current(&mut self, id: SessionId, ticket: Ticket) -> Option<&mut Session> {
        self.sessions.get(&id).filter(|session| session.ticket == ticket)?;
        self.sessions.get_mut(&id)
    }

    fn is_signed_in(&mut self, id: SessionId, activity: Activity, now: Moment) {
        let random = self.jitter.next();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.failures = 0;
        session.clear_refusal();
        let early_ms = u64::try_from(session.refresh_jitter.as_millis()).unwrap_or(u64::MAX - 1);
        session.refresh_early = Duration::from_millis(random % (early_ms + 1));
        let needed_a_person = session.attention.take().is_some();
        session.recovering = false;
        session.fresh_at = now;
        let (kind, reason) = match activity {
            Activity::SignIn => {
                session.signed_in_at = Some(now);
                (Some(NoticeKind::SignedIn), "it was signed in")
            }
            Activity::Refresh => {
                session.last_refresh = Some(now);
                (Some(NoticeKind::Refreshed), "it was refreshed and is signed in")
            }
            Activity::Visit | Activity::Repair | Activity::Reopen => (None, "its page is there"),
            Activity::Look if needed_a_person => (None, "a person has signed it in"),
            Activity::Look => (None, "it is signed in"),
        };
        reason.clone_into(&mut session.why);
        let delay = if activity == Activity::SignIn { Duration::ZERO } else { self.limits.save_delay };
        self.save_by(id, now + delay);
        self.establish(id, now);
        if let Some(kind) = kind {
            self.announce(id, kind, reason);
        }
        self.answer_refresh_requests(id, &Ok(()));
    }

    fn signed_out(&mut self, id: SessionId, activity: Activity, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.attention.is_some() && activity == Activity::Look {
            return;
        }
        let attempts_exhausted = session.failed_sign_ins >= self.limits.recovery_tries;
        let can_sign_in = session.access.can_sign_in;
        if can_sign_in && session.refused {
            let sentence = "its portal refused the sign-in, which is not repeated unasked".to_owned();
            self.needs_person(id, sentence, now);
        } else if can_sign_in && attempts_exhausted {
            // Its sign-in comes to nothing again and again, though it never fails by itself.
            session.refused = true;
            self.needs_person(id, "its sign-in does not last".to_owned(), now);
        } else if can_sign_in {
            session.activity = ActivityState::Next(Activity::SignIn);
            session.not_before = session.not_before.max(now);
            let why =
                if session.established { "its portal signed it out" } else { "it is not signed in yet" };
            why.clone_into(&mut session.why);
            if session.established && activity != Activity::SignIn {
                self.announce(id, NoticeKind::SignedOut, why);
            }
        } else {
            self.needs_person(id, "it is signed out and can only be signed in by hand".to_owned(), now);
        }
    }

    /// Its last page was closed under a server that is gone. What can tell how it stands is its page.
    fn shows_nothing(&mut self, id: SessionId, activity: Activity, now: Moment) {
        let living = self.sessions.get_mut(&id).filter(|session| session.attention.is_none());
        let Some(session) = living else { return self.signed_out(id, activity, now) };
        session.recovering = session.established;
        session.activity = ActivityState::Next(Activity::Reopen);
        session.not_before = now;
        LAST_PAGE_CLOSED.clone_into(&mut session.why);
    }

    fn needs_person(&mut self, id: SessionId, sentence: String, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.why.clone_from(&sentence);
        session.attention = Some(sentence);
        session.recovering = false;
        self.save_by(id, now + self.limits.save_delay);
        self.establish(id, now);
        self.answer_refresh_requests(id, &Ok(()));
    }

    /// Tells the create_requests that the session stands.
    fn establish(&mut self, id: SessionId, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if !session.established {
            session.established = true;
            session.last_used = now;
        }
        let interval = session.policy.refresh_interval();
        let interval = interval.map(|interval| interval.saturating_sub(session.refresh_early));
        self.check_within(interval, now);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        for (place, request) in std::mem::take(&mut session.create_requests).into_iter().enumerate() {
            self.answer(request, Ok(Answer::Session { session: id, is_new: place == 0 }));
        }
    }

    pub(crate) fn answer_refresh_requests(&mut self, id: SessionId, outcome: &Result<(), Failure>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let mut told = std::mem::take(&mut session.refresh_requests);
        told.append(&mut session.wake_requests);
        for request in told {
            let answer = outcome.clone().map_err(Refusal::Failed);
            self.answer(request, answer.map(|()| Answer::Session { session: id, is_new: false }));
        }
    }

    /// Decides what follows a failure. It never ends a session that once stood.
    fn count_failure(&mut self, id: SessionId, activity: Activity, failure: Failure, now: Moment) {
        let random = self.jitter.next();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        // A look costs nothing and proves nothing: there will be another. Where it is to show what came of a
        // sign-in it is the next thing to come, and where it shows a refusal, it counts as that sign-in.
        if activity == Activity::Look && failure.kind != FailureKind::Rejected {
            if session.tried_at.is_some() {
                session.activity = ActivityState::Next(Activity::Look);
                session.not_before = now + self.limits.backoff.wait(1, random);
            }
            return;
        }
        session.failures += 1;
        session.unreachable = failure.kind == FailureKind::Unreachable;
        let mut backoff = self.limits.backoff;
        if failure.kind.is_harmless() {
            backoff.longest = backoff.longest.min(self.limits.longest_outage_wait);
        }
        // What failed while the portal was not there says nothing of a sign-in once it is.
        let is_typed = activity == Activity::SignIn && !failure.kind.is_harmless();
        let failures = if is_typed { session.failed_sign_ins } else { session.failures };
        session.not_before = now + backoff.wait(failures, random);
        if !session.established {
            return self.count_failed_start(id, activity, failure, now);
        }
        let tries = self.limits.recovery_tries;
        let mut is_refused = false;
        let attention = match activity {
            // Where no policy wants refreshes, whoever asked is told, and asks again.
            Activity::Refresh if session.policy.refresh_interval().is_none() => false,
            Activity::Refresh if session.failures < self.limits.refresh_tries => {
                session.activity = ActivityState::Next(Activity::Refresh);
                false
            }
            // What the portal refused is not typed because it no longer answers: the refreshes go on.
            Activity::Refresh if session.access.can_sign_in && !session.refused => {
                session.activity = ActivityState::Next(Activity::SignIn);
                false
            }
            Activity::Refresh => {
                session.activity = ActivityState::Next(Activity::Refresh);
                session.failures >= self.limits.refresh_tries + tries
            }
            Activity::SignIn | Activity::Look => {
                // What was changed while it was typed has not been refused.
                let is_outdated = session.typed != session.access.login;
                is_refused = failure.kind == FailureKind::Rejected && !is_outdated;
                // What was typed too often counts as refused, also for whoever brings the window back.
                session.refused |= is_refused || session.failed_sign_ins >= tries;
                // Only what never reached the sign-in form is repeated without end.
                if !session.refused {
                    session.activity = ActivityState::Next(Activity::SignIn);
                }
                let is_unfit = failure.kind == FailureKind::Untyped && session.failures >= tries;
                session.refused || is_unfit || session.failures >= self.limits.refresh_tries + tries
            }
            Activity::Visit | Activity::Repair | Activity::Reopen => {
                if matches!(session.window, Window::Open(_)) {
                    session.activity = ActivityState::Next(activity);
                }
                session.failures >= tries
            }
        };
        if attention {
            session.attention = Some(failure.sentence.clone());
            session.recovering = false;
        }
        let kind = match activity {
            Activity::SignIn | Activity::Look => NoticeKind::SignInFailed,
            Activity::Refresh => NoticeKind::RefreshFailed,
            Activity::Visit | Activity::Repair | Activity::Reopen => NoticeKind::RecoveryFailed,
        };
        self.announce(id, kind, &failure.sentence);
        if is_refused {
            self.propagate_refusal(id, &failure, now);
        }
        self.answer_refresh_requests(id, &Err(failure));
    }

    /// A session that never stood is given up, unless the browser alone is to blame and may do better.
    fn count_failed_start(&mut self, id: SessionId, activity: Activity, failure: Failure, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if failure.kind == FailureKind::Browser && session.failures < self.limits.recovery_tries {
            if matches!(session.window, Window::Open(_)) {
                session.activity = ActivityState::Next(activity);
            }
            return self.touch(id);
        }
        let is_of_sign_in = !matches!(failure.kind, FailureKind::Browser | FailureKind::Unrecorded { .. });
        let reason = if activity == Activity::SignIn && is_of_sign_in {
            EndedReason::SignInFailed
        } else {
            EndedReason::StartFailed
        };
        if failure.kind == FailureKind::Rejected {
            self.propagate_refusal(id, &failure, now);
        }
        self.end(id, reason, Some(failure), now);
    }
}
