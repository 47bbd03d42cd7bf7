//! Keeping sessions signed in while clients use them: the refresh runs in a hidden page beside theirs, which is not
//! touched. It runs whatever activity runs or is next in their page, and no request waits for it. A window that is
//! frozen while its clients are silent ([`crate::silence`]) stays frozen.
//!
//! The only finding that such a page can settle is that the session is signed in. A portal may keep a sign-in in the
//! page itself, which the hidden one does not share: a session that seems signed out is refreshed again, and in its
//! own page as soon as that is not in use.

use std::collections::BTreeSet;

use crate::action::{Action, NoticeKind};
use crate::activity::{Activity, Failure, FailureKind, SignInStatus};
use crate::contents::{ActivityState, Beside};
use crate::ids::{SessionId, SiteId, Ticket};
use crate::index::{Order, Set};
use crate::rules::Rules;
use crate::session::{Residence, Session, Window};
use crate::session_mut::SessionMut;
use crate::time::Moment;

impl Session {
    /// Returns when it is to be refreshed beside its page; `None` if that is not in use, or a holder forbids
    /// refreshes.
    pub(crate) fn beside_refresh_due(&self, quiet: &BTreeSet<SiteId>) -> Option<Moment> {
        let has_page = matches!(self.window, Window::Open(_))
            && self.contents.restored
            && (self.contents.freeze_state.runs() || self.contents.freeze_state.is_frozen())
            && self.residence == Residence::Settled;
        // An activity in its page, or one that is next because it was seen signed out, shows more.
        let is_known = match self.contents.activity {
            ActivityState::Running(_) | ActivityState::Next(Activity::Visit | Activity::Repair) => true,
            ActivityState::Next(Activity::SignIn) => self.sign_in.is_seen_signed_out(),
            ActivityState::Idle | ActivityState::Next(_) => false,
        };
        let is_refreshed = has_page
            && !is_known
            && self.ended.is_none()
            && self.established
            && !self.is_person_needed
            && self.in_use()
            && self.contents.beside.running.is_none()
            && !self.holds.iter().any(|hold| hold.quiet)
            && !self.is_in_quiet_hours(quiet);
        let interval = self.policy.refresh_interval().filter(|_| is_refreshed)?;
        Some(self.due_at(interval).max(self.contents.beside.not_before))
    }

    /// Returns whether it is not in use, and what was begun during a use has ended.
    pub(crate) fn is_free_for_refresh(&self) -> bool {
        !self.in_use() && self.contents.beside.running.is_none()
    }

    /// Returns whether an activity runs in its page or beside it. What the portal changes then is not saved yet.
    pub(crate) fn is_worked_on(&self) -> bool {
        matches!(self.contents.activity, ActivityState::Running(_)) || self.contents.beside.running.is_some()
    }

    /// Returns whether this is the refresh that runs beside its page at present.
    #[must_use]
    pub fn is_refreshing_beside(&self, ticket: Ticket) -> bool {
        self.ended.is_none() && self.contents.beside.running == Some(ticket)
    }

    /// Returns whether the cookies that this activity has found must be stored at once and on their own: nothing else
    /// will store them before its window is thawed or gone.
    #[must_use]
    pub fn keeps_cookies_of(&self, ticket: Ticket) -> bool {
        let is_frozen = self.contents.freeze_state.is_frozen();
        self.is_loading_document(ticket) || (is_frozen && self.is_refreshing_beside(ticket))
    }

    /// Returns whether it counts towards the limit of refreshes.
    pub(crate) fn is_refreshing(&self) -> bool {
        self.contents.activity == ActivityState::Running(Activity::Refresh)
            || self.contents.beside.running.is_some()
    }
}

impl Rules {
    /// Begins refreshes beside pages that are in use, as far as the limit allows.
    pub(crate) fn refresh_beside(&mut self, now: Moment) {
        if self.draining {
            return;
        }
        let index = self.sessions.fresh();
        let free = self.limits.max_refreshes.saturating_sub(index.count(Set::Refreshing));
        let due: Vec<SessionId> = index.until(Order::BesideRefresh, now).take(free).collect();
        for id in due {
            let ticket = self.effects.next_ticket();
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            session.contents.beside.running = Some(ticket);
            self.effects.act(Action::RefreshBeside { session: id, ticket });
        }
    }

    pub(crate) fn refreshed_beside(
        &mut self,
        id: SessionId,
        ticket: Ticket,
        outcome: Result<SignInStatus, Failure>,
    ) {
        if self.session_if(id, |session| session.is_refreshing_beside(ticket)).is_none() {
            return;
        }
        if outcome.is_ok() {
            self.portal_answers(id);
        }
        if let Some(mut session) = self.session_mut(id) {
            match outcome {
                Ok(status @ (SignInStatus::SignedIn | SignInStatus::Unknown)) => {
                    session.beside_refresh_ended(&status);
                }
                outcome => session.beside_refresh_failed(outcome),
            }
        }
    }
}

impl SessionMut<'_> {
    fn beside_refresh_ended(&mut self, status: &SignInStatus) {
        let is_known = *status == SignInStatus::SignedIn;
        // Its own page may nevertheless look signed out.
        if is_known || self.sign_in.suspicion().is_none() {
            self.note_sign_in(Activity::Refresh, status);
        }
        self.contents.beside = Beside::default();
        self.last_refresh = Some(self.now);
        self.is_fresh();
        // It has been refreshed, unless that also depends on its own page.
        let is_awaited = self.attention.is_some() || !self.refresh_requests.is_empty();
        self.contents.activity = match self.contents.activity {
            ActivityState::Next(Activity::Refresh) if !is_awaited => ActivityState::Idle,
            // It was to be signed in because its portal could not be reached.
            ActivityState::Next(Activity::SignIn) if is_known => ActivityState::Next(Activity::Refresh),
            activity => activity,
        };
        self.save_by(self.now + self.limits.save_delay);
        let reason = if is_known {
            "it was refreshed in a hidden page and is signed in"
        } else {
            "it was refreshed in a hidden page"
        };
        self.announce_aside(NoticeKind::Refreshed, reason);
    }

    /// Notes that the hidden page does not show that it is signed in. Its own page decides that once it is not in
    /// use.
    fn beside_refresh_failed(&mut self, outcome: Result<SignInStatus, Failure>) {
        let failure = outcome.map_or_else(
            |failure| failure,
            |_| Failure {
                kind: FailureKind::Unexpected,
                sentence: "a page beside the one in use does not show that it is signed in".to_owned(),
            },
        );
        let failures = self.contents.beside.failures + 1;
        let random = self.effects.random();
        let not_before = self.now + self.limits.backoff_after(failure.kind).wait(failures, random);
        self.contents.beside = Beside { running: None, failures, not_before };
        self.unreachable |= failure.kind == FailureKind::Unreachable;
        let is_refreshed = self.policy.refresh_interval().is_some() && !self.waits_for_person();
        if is_refreshed && !self.in_use() && self.contents.activity == ActivityState::Idle {
            self.contents.activity = ActivityState::Next(Activity::Refresh);
            self.not_before = self.now;
        }
        self.announce_aside(NoticeKind::RefreshFailed, &failure.sentence);
    }
}
