//! Reports of the world: browsers, windows, and outcomes of activities.

use std::time::Duration;

use crate::action::{Answer, EndedReason, NoticeKind};
use crate::activity::{Activity, Failure, FailureKind, SignInStatus};
use crate::contents::ActivityState;
use crate::ids::{SessionId, ShardId, Ticket};
use crate::input::WindowLoss;
use crate::rules::Rules;
use crate::session::{CloseReason, Session, Window};
use crate::session_mut::SessionMut;
use crate::shard::ShardState;
use crate::time::Moment;

/// Why a window has an empty page.
const LAST_PAGE_CLOSED: &str = "its last page was closed";
/// The message for a page that was ended because of its memory.
const OVERSIZED: &str = "its page took more memory than `limits.window_memory` allows and was ended";
/// How often the repair of a page may fail before its window is replaced.
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
            let random = self.effects.random();
            failures = self.shards.failed(shard.launch, self.limits.backoff, random, now);
        }
        let failure = failure.unwrap_or_else(|| Failure::browser("the browser ended"));
        for session in shard.windows {
            self.shard_lost(session, &failure, failures);
        }
    }

    fn shard_lost(&mut self, id: SessionId, failure: &Failure, failures: u32) {
        let ticket = self.effects.next_ticket();
        let Some(mut session) = self.session_mut(id) else { return };
        let was_closing = matches!(session.window, Window::Closing(_));
        session.failed_sign_ins +=
            u32::from(session.contents.activity == ActivityState::Running(Activity::SignIn));
        session.ticket = ticket;
        session.window_gone();
        if session.ended.is_some() {
            return;
        }
        if session.is_hibernating() {
            let random = session.effects.random();
            session.not_before = session.now + session.limits.backoff.wait(failures.max(1), random);
            return;
        }
        session.recover();
        if was_closing {
            return;
        }
        if !session.established {
            return self.count_failure(id, Activity::Visit, failure.clone());
        }
        // Repeated failures of a browser are reported, and starts are retried with growing delays.
        if failures >= session.limits.recovery_tries || failure.kind == FailureKind::BrowserMissing {
            session.attention = Some(failure.sentence.clone());
            session.answer_refresh_requests(&Err(failure.clone()));
        }
        session.announce(NoticeKind::WindowLost, &failure.sentence);
    }

    pub(crate) fn window_opened(&mut self, id: SessionId, ticket: Ticket, result: Result<(), Failure>) {
        let Some(mut session) = self.current(id, ticket) else { return };
        let Window::Opening(shard) = session.window else { return };
        match result {
            Ok(()) => {
                session.window = Window::Open(shard);
                if !session.loads_document() {
                    session.contents.activity = ActivityState::Next(Activity::Visit);
                }
                session.touch();
            }
            Err(failure) if session.has_refresh_window() => {
                session.asleep_refresh_failed(failure);
                session.window_gone();
            }
            Err(failure) => {
                session.window_gone();
                self.count_failure(id, Activity::Visit, failure);
            }
        }
    }

    pub(crate) fn window_closed(&mut self, id: SessionId, ticket: Ticket) {
        if let Some(mut session) = self.current(id, ticket)
            && matches!(session.window, Window::Closing(_))
        {
            session.window_gone();
        }
    }

    pub(crate) fn window_lost(&mut self, id: SessionId, shard: ShardId, loss: WindowLoss) {
        let Some(mut session) = self.session_if(id, |session| session.has_lost(shard, loss)) else { return };
        if session.has_refresh_window() {
            return session.refresh_window_lost(loss);
        }
        if let Some((activity, sentence)) = session.window_lost(shard, loss) {
            self.count_failure(id, activity, Failure::browser(sentence));
        }
    }

    pub(crate) fn activity_ended(
        &mut self,
        id: SessionId,
        ticket: Ticket,
        outcome: Result<SignInStatus, Failure>,
    ) {
        let Some(mut session) = self.current(id, ticket) else { return };
        let ActivityState::Running(activity) = session.contents.activity else {
            return self.refused_late(id, outcome);
        };
        session.activity_over(activity, &outcome);
        if outcome.is_ok() && activity != Activity::Look {
            self.portal_answers(id);
        }
        let Some(mut session) = self.session_mut(id) else { return };
        if activity == Activity::LoadDocument {
            return session.document_loaded(outcome);
        }
        let before = outcome.as_ref().ok().map(|status| session.note_sign_in(activity, status));
        match outcome {
            Ok(SignInStatus::SignedIn) => session.stands(activity, true),
            Ok(SignInStatus::Unknown) => session.stands(activity, false),
            Ok(SignInStatus::LooksSignedOut(suspicion)) => {
                session.looks_signed_out(activity, &suspicion, &before.unwrap_or_default());
            }
            Ok(SignInStatus::PersonNeeded(sentence)) => session.needs_person(sentence),
            Ok(SignInStatus::SignedOut) => session.signed_out(activity),
            Ok(SignInStatus::ShowsNothing) => session.shows_nothing(activity),
            Err(failure) => {
                let is_stuck = activity == Activity::Repair && failure.kind == FailureKind::Browser;
                self.count_failure(id, activity, failure);
                if is_stuck && let Some(mut session) = self.session_if(id, Session::is_beyond_repair) {
                    // If a renderer cannot be ended, its window is closed, and the session gets another one.
                    session.close_window();
                }
            }
        }
    }

    /// Returns the session of a report, unless the report is late.
    fn current(&mut self, id: SessionId, ticket: Ticket) -> Option<SessionMut<'_>> {
        self.session_if(id, |session| session.ticket == ticket)
    }

    /// Handles a failure, for the session and for those with the same login.
    fn count_failure(&mut self, id: SessionId, activity: Activity, failure: Failure) {
        let Some(mut session) = self.session_mut(id) else { return };
        let is_of_sign_in = matches!(activity, Activity::SignIn | Activity::Look);
        // If nothing reached the portal, the sign-in is repeated without asking a person.
        if session.has_refresh_window() && (!is_of_sign_in || failure.kind.is_harmless()) {
            return session.asleep_refresh_failed(failure);
        }
        let Some(counted) = session.count_failure(activity, &failure) else { return };
        if counted.is_rejected {
            self.propagate_refusal(id, &failure);
        }
        let Some(mut session) = self.session_mut(id) else { return };
        match counted.ends {
            Some(reason) => session.end(reason, Some(failure)),
            None => session.answer_refresh_requests(&Err(failure)),
        }
    }
}

/// Consequences of a failure beyond the session's own state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted {
    /// The portal rejected the login, which concerns all sessions that share it.
    is_rejected: bool,
    /// The session ends.
    ends: Option<EndedReason>,
}

impl Session {
    /// Returns whether a report of a loss concerns the window as it is now.
    fn has_lost(&self, shard: ShardId, loss: WindowLoss) -> bool {
        let there = match self.window {
            Window::Open(at)
            | Window::Saving(at, CloseReason::Hibernate | CloseReason::Move | CloseReason::MoveOut) => {
                at == shard
            }
            _ => false,
        };
        // A page does not respond before its repair is complete.
        let mending = matches!(
            self.contents.activity,
            ActivityState::Next(Activity::Repair)
                | ActivityState::Running(Activity::Repair | Activity::Reopen)
        );
        // A client that uses an unresponsive page may have its reasons.
        let is_excused = loss == WindowLoss::Hung && (self.in_use() || mending);
        self.ended.is_none() && there && !is_excused
    }

    fn is_beyond_repair(&self) -> bool {
        self.established && self.ended.is_none() && self.failures > REPAIRS_MAX
    }
}

impl SessionMut<'_> {
    /// Returns the loss if it counts as a failure, with a message.
    fn window_lost(&mut self, shard: ShardId, loss: WindowLoss) -> Option<(Activity, &'static str)> {
        if loss == WindowLoss::Emptied {
            // The window's state besides its pages may be newer than the stored one, even if it was frozen.
            self.save_by(self.now + self.limits.save_delay);
        }
        // Clients that use it continue in the same window. The empty page is handled after that.
        let stands = self.established && self.contents.restored && !self.is_recovering();
        let rests = !matches!(self.contents.activity, ActivityState::Running(_));
        if loss == WindowLoss::Emptied && self.in_use() && stands && rests {
            self.contents.activity = ActivityState::Next(Activity::Reopen);
            self.announce_aside(NoticeKind::LastPageClosed, LAST_PAGE_CLOSED);
            return None;
        }
        self.window = Window::Open(shard);
        let settled = self.now.since(self.lost_at) >= self.limits.loss_settled_after;
        self.losses = if settled { 1 } else { self.losses + 1 };
        self.lost_at = self.now;
        // The loss interrupts the running activity, and repeated losses are not accidental: both count.
        let counts =
            !settled || !self.established || matches!(self.contents.activity, ActivityState::Running(_));
        self.failures = self.failures.max(self.losses - 1);
        self.recover();
        self.not_before = self.now;
        self.failed_sign_ins += u32::from(self.contents.activity == ActivityState::Running(Activity::SignIn));
        self.contents.attempt = self.contents.attempt.stopped();
        let was_oversized = self.contents.oversized_since.take().is_some();
        self.contents.weight = None;
        let (activity, kind, sentence) = match loss {
            WindowLoss::Crashed if was_oversized => (Activity::Repair, NoticeKind::PageCrashed, OVERSIZED),
            WindowLoss::Crashed => (Activity::Repair, NoticeKind::PageCrashed, "its page crashed"),
            WindowLoss::Hung => (Activity::Repair, NoticeKind::PageHung, "its page does not respond"),
            // A window that shows nothing yet has nothing to preserve.
            WindowLoss::Emptied if !self.contents.restored => {
                (Activity::Visit, NoticeKind::LastPageClosed, LAST_PAGE_CLOSED)
            }
            WindowLoss::Emptied => (Activity::Reopen, NoticeKind::LastPageClosed, LAST_PAGE_CLOSED),
            WindowLoss::Gone => {
                (Activity::Visit, NoticeKind::WindowLost, "its window was closed with its last page")
            }
        };
        self.contents.activity = ActivityState::Next(activity);
        // The activity that slowed down the others does not begin again in the same browser.
        let goes = loss == WindowLoss::Gone
            || (loss != WindowLoss::Emptied && self.contents.moves_out_since.is_some());
        self.announce(kind, sentence);
        if goes {
            self.close_window();
        }
        counts.then_some((activity, sentence))
    }

    /// Notes that an activity ended, with any outcome.
    fn activity_over(&mut self, activity: Activity, outcome: &Result<SignInStatus, Failure>) {
        self.contents.activity = ActivityState::Idle;
        self.contents.attempt = self.contents.attempt.stopped();
        self.freeze_not_before = self.now + self.limits.freeze_settle;
        self.contents.restored |= outcome.is_ok() && activity != Activity::LoadDocument;
        // A failed check does not show the outcome of a sign-in.
        let is_settled =
            outcome.as_ref().map_or_else(|failure| failure.kind == FailureKind::Rejected, |_| true);
        if is_settled || activity != Activity::Look {
            self.contents.attempt = self.contents.attempt.settled();
        }
        let in_vain = match outcome {
            Ok(standing) => *standing == SignInStatus::SignedOut,
            Err(failure) => !failure.kind.is_harmless(),
        };
        self.failed_sign_ins += u32::from(in_vain && activity == Activity::SignIn);
        self.touch();
    }

    /// Notes that its page is loaded, and is signed in if the status `is_known`.
    pub(crate) fn stands(&mut self, activity: Activity, is_known: bool) {
        if activity == Activity::Visit && self.is_refreshed_after_visit() {
            return;
        }
        // A page that a client has opened instead may be of another site, and shows nothing.
        if activity == Activity::Reopen && !is_known && self.site.is_some() {
            return self.goes_on();
        }
        // A check sends nothing to the portal; a person who was needed has used it.
        let is_heard_of = activity != Activity::Look || self.is_person_needed;
        let needed_a_person = self.attention.take().is_some();
        self.has_no_trouble();
        if is_heard_of {
            self.is_fresh();
        }
        let (kind, reason) = match activity {
            Activity::SignIn => {
                self.signed_in_at = Some(self.now);
                (Some(NoticeKind::SignedIn), "it was signed in")
            }
            Activity::Refresh => {
                self.last_refresh = Some(self.now);
                let reason = if is_known { "it was refreshed and is signed in" } else { "it was refreshed" };
                (Some(NoticeKind::Refreshed), reason)
            }
            Activity::Look if needed_a_person && is_known => (None, "a person has signed it in"),
            Activity::Look if needed_a_person => (None, "its page no longer looks signed out"),
            Activity::Look if is_known => (None, "it is signed in"),
            Activity::Look | Activity::Visit | Activity::Repair | Activity::Reopen => {
                (None, "its page is loaded")
            }
            Activity::LoadDocument => {
                self.last_refresh = Some(self.now);
                let reason = if is_known {
                    "it was refreshed while it hibernates, and is signed in"
                } else {
                    "it was refreshed while it hibernates"
                };
                (Some(NoticeKind::Refreshed), reason)
            }
        };
        reason.clone_into(&mut self.why);
        let delay = if activity == Activity::SignIn { Duration::ZERO } else { self.limits.save_delay };
        self.save_by(self.now + delay);
        self.establish();
        if let Some(kind) = kind {
            self.announce(kind, reason);
        } else if activity == Activity::Visit && self.has_refresh_window() {
            self.asleep_visit_ended();
        }
        self.answer_refresh_requests(&Ok(()));
    }

    /// Notes that it has a page, with no other change.
    fn goes_on(&mut self) {
        self.has_recovered();
        self.has_come_to_rest();
    }

    /// Notes that its activity ended, so that it is worth saving and can be used.
    pub(crate) fn has_come_to_rest(&mut self) {
        self.save_by(self.now + self.limits.save_delay);
        self.establish();
        self.answer_refresh_requests(&Ok(()));
    }

    /// Clears all failures and delays.
    pub(crate) fn has_no_trouble(&mut self) {
        self.failures = 0;
        self.clear_refusal();
        self.is_person_needed = false;
        self.asleep.needs_state = false;
        self.has_recovered();
    }

    fn signed_out(&mut self, activity: Activity) {
        if self.attention.is_some() && activity == Activity::Look {
            return;
        }
        let attempts_exhausted = self.failed_sign_ins >= self.limits.recovery_tries;
        if !self.access.can_sign_in {
            self.needs_person("it is signed out and can only be signed in by hand".to_owned());
        } else if self.refused {
            self.note_refusal();
            let sentence = "the portal refused the sign-in, which is not repeated automatically".to_owned();
            self.needs_person(sentence);
        } else if attempts_exhausted {
            // Its sign-ins succeed, but it is signed out again each time.
            self.refused = true;
            self.needs_person("its sign-in does not last".to_owned());
        } else {
            self.contents.activity = ActivityState::Next(Activity::SignIn);
            self.not_before = self.not_before.max(self.now);
            let why = if self.established { "its portal signed it out" } else { "it is not signed in yet" };
            why.clone_into(&mut self.why);
            if self.established && activity != Activity::SignIn {
                self.announce(NoticeKind::SignedOut, why);
            }
        }
    }

    /// Its last page was closed under an earlier server. Only a page can show its status.
    fn shows_nothing(&mut self, activity: Activity) {
        if self.is_person_needed || self.refused {
            return self.signed_out(activity);
        }
        self.recover();
        self.contents.activity = ActivityState::Next(Activity::Reopen);
        self.not_before = self.now;
        LAST_PAGE_CLOSED.clone_into(&mut self.why);
    }

    fn needs_person(&mut self, sentence: String) {
        self.why.clone_from(&sentence);
        if self.has_refresh_window() {
            // Its state remains hibernated all the while.
            self.announce_aside(NoticeKind::SignInFailed, &sentence);
        }
        self.attention = Some(sentence);
        self.is_person_needed = true;
        self.has_recovered();
        self.has_come_to_rest();
    }

    /// Answers those that requested it now that it is ready.
    fn establish(&mut self) {
        if !self.established {
            self.established = true;
            self.last_used = self.now;
        }
        let interval = self.policy.refresh_interval();
        self.check_within(interval.map(|interval| interval.saturating_sub(self.refresh_early)));
        let session = self.session.id;
        for (place, request) in std::mem::take(&mut self.create_requests).into_iter().enumerate() {
            self.effects.answer(request, Ok(Answer::Session { session, is_new: place == 0 }));
        }
    }

    /// Handles a failure. A session that was ready once is never ended by it.
    ///
    /// Returns further consequences, unless the failure is not to be reported.
    fn count_failure(&mut self, activity: Activity, failure: &Failure) -> Option<Counted> {
        let random = self.effects.random();
        // A failed check costs nothing and proves nothing: there will be another. If it is to show the outcome of a
        // sign-in, it is repeated first, and a rejection that it shows counts as that of the sign-in.
        if activity == Activity::Look && failure.kind != FailureKind::Rejected {
            if self.tried_at().is_some() {
                self.contents.activity = ActivityState::Next(Activity::Look);
                self.not_before = self.now + self.limits.backoff.wait(1, random);
            }
            return None;
        }
        self.failures += 1;
        self.unreachable = failure.kind == FailureKind::Unreachable;
        let backoff = self.limits.backoff_after(failure.kind);
        // Failures while the portal could not be reached say nothing about a sign-in once it can be.
        let is_typed = activity == Activity::SignIn && !failure.kind.is_harmless();
        let failures = if is_typed { self.failed_sign_ins } else { self.failures };
        self.not_before = self.now + backoff.wait(failures, random);
        if !self.established {
            return self.count_failed_start(activity, failure);
        }
        let tries = self.limits.recovery_tries;
        let mut is_refused = false;
        let attention = match activity {
            // If no policy requires refreshes, the client is told, and can ask again.
            Activity::Refresh if self.policy.refresh_interval().is_none() => false,
            Activity::Refresh if self.failures < self.limits.refresh_tries => {
                self.contents.activity = ActivityState::Next(Activity::Refresh);
                false
            }
            // A rejected login is not typed because the portal does not respond: the refreshes continue.
            Activity::Refresh if self.access.can_sign_in && !self.refused => {
                self.contents.activity = ActivityState::Next(Activity::SignIn);
                false
            }
            Activity::Refresh => {
                self.contents.activity = ActivityState::Next(Activity::Refresh);
                self.failures >= self.limits.refresh_tries + tries
            }
            Activity::SignIn | Activity::Look => {
                // A login that was changed while the old one was typed has not been rejected.
                let is_outdated = self.typed != self.access.login;
                is_refused = failure.kind == FailureKind::Rejected && !is_outdated;
                // A login that was typed too often counts as rejected, also when the window is restored.
                self.refused |= is_refused || self.failed_sign_ins >= tries;
                if is_refused {
                    self.note_refusal();
                }
                // Only a sign-in that never reached the form is repeated without limit.
                if !self.refused {
                    self.contents.activity = ActivityState::Next(Activity::SignIn);
                }
                let is_unfit = failure.kind == FailureKind::Untyped && self.failures >= tries;
                self.refused || is_unfit || self.failures >= self.limits.refresh_tries + tries
            }
            Activity::Visit | Activity::LoadDocument | Activity::Repair | Activity::Reopen => {
                if matches!(self.window, Window::Open(_)) {
                    self.contents.activity = ActivityState::Next(activity);
                }
                self.failures >= tries
            }
        };
        if attention {
            self.attention = Some(failure.sentence.clone());
            self.has_recovered();
        }
        let kind = match activity {
            Activity::SignIn | Activity::Look => NoticeKind::SignInFailed,
            Activity::Refresh => NoticeKind::RefreshFailed,
            Activity::Visit | Activity::LoadDocument | Activity::Repair | Activity::Reopen => {
                NoticeKind::RecoveryFailed
            }
        };
        self.announce(kind, &failure.sentence);
        Some(Counted { is_rejected: is_refused, ends: None })
    }

    /// Ends a session that was never ready, unless only the browser failed and may recover.
    fn count_failed_start(&mut self, activity: Activity, failure: &Failure) -> Option<Counted> {
        if failure.kind == FailureKind::Browser && self.failures < self.limits.recovery_tries {
            if matches!(self.window, Window::Open(_)) {
                self.contents.activity = ActivityState::Next(activity);
            }
            self.touch();
            return None;
        }
        let is_of_sign_in = !matches!(failure.kind, FailureKind::Browser | FailureKind::Unrecorded { .. });
        let reason = if activity == Activity::SignIn && is_of_sign_in {
            EndedReason::SignInFailed
        } else {
            EndedReason::StartFailed
        };
        Some(Counted { is_rejected: failure.kind == FailureKind::Rejected, ends: Some(reason) })
    }
}
