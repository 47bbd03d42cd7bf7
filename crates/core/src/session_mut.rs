//! A session that is being changed, together with what has to be updated with it.

use std::ops::{Deref, DerefMut};

use crate::action::{Action, Answer, EndedReason, NoticeKind, Refusal, State};
use crate::activity::Failure;
use crate::contents::{ActivityState, Contents, FreezeState};
use crate::effects::Effects;
use crate::ids::RequestId;
use crate::limits::Limits;
use crate::session::{Residence, Session, Window};
use crate::shard::Shards;
use crate::time::Moment;

/// A session that was borrowed from the rules for a change. It was looked up once, so that the methods here cannot
/// fail to find it.
#[derive(Debug)]
pub(crate) struct SessionMut<'a> {
    pub(crate) session: &'a mut Session,
    pub(crate) shards: &'a mut Shards,
    pub(crate) effects: &'a mut Effects,
    pub(crate) limits: &'a Limits,
    /// When refreshes are checked next.
    pub(crate) next_check: &'a mut Moment,
    pub(crate) now: Moment,
}

impl Deref for SessionMut<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session
    }
}

impl DerefMut for SessionMut<'_> {
    fn deref_mut(&mut self) -> &mut Session {
        self.session
    }
}

impl SessionMut<'_> {
    /// Has it published at the end of the step.
    pub(crate) fn touch(&mut self) {
        self.effects.touch(self.session.id);
    }

    /// Emits a notice, and keeps its reason as the reason for the session's state.
    pub(crate) fn announce(&mut self, kind: NoticeKind, reason: &str) {
        reason.clone_into(&mut self.session.why);
        self.announce_aside(kind, reason);
    }

    /// Emits a notice that does not concern its state.
    pub(crate) fn announce_aside(&mut self, kind: NoticeKind, reason: &str) {
        self.effects.announce_aside(self.session, kind, reason);
    }

    /// Answers a request with this session, which existed before.
    pub(crate) fn answer_with_it(&mut self, request: RequestId) {
        self.effects.answer(request, Ok(Answer::Session { session: self.session.id, is_new: false }));
    }

    /// Ends it: refuses all that wait for it and closes its window. Its place is free once the window is closed.
    pub(crate) fn end(&mut self, reason: EndedReason, failure: Option<Failure>) {
        if self.ended.is_some() {
            return;
        }
        let session = &mut *self.session;
        session.ended = Some((self.now, reason));
        session.announced = Some(State::Ended);
        session.holds.clear();
        session.uses = 0;
        session.attention = failure.as_ref().map(|failure| failure.sentence.clone());
        let why = match &failure {
            Some(failure) => format!("{}: {}", reason_sentence(reason), failure.sentence),
            None => reason_sentence(reason).to_owned(),
        };
        session.contents.activity = ActivityState::Idle;
        let refusal = failure.map_or(Refusal::Ended(reason), Refusal::Failed);
        let mut told = std::mem::take(&mut session.create_requests);
        told.append(&mut session.refresh_requests);
        told.append(&mut session.wake_requests);
        told.append(&mut session.freeze_requests);
        told.append(&mut session.hibernate_requests);
        told.extend(std::mem::take(&mut session.waiting).into_iter().map(|waiting| waiting.request));
        let kind = if reason == EndedReason::Evicted { NoticeKind::Evicted } else { NoticeKind::Ended };
        for request in told {
            self.effects.answer(request, Err(refusal.clone()));
        }
        self.announce(kind, &why);
        self.close_window();
    }

    /// Orders its window to be closed, whatever its state is.
    pub(crate) fn close_window(&mut self) {
        let ticket = self.effects.next_ticket();
        let session = &mut *self.session;
        session.contents.activity = ActivityState::Idle;
        session.contents.freeze_state = FreezeState::Running;
        match session.window {
            // For a window that is being closed already, the first ticket remains in effect.
            Window::None | Window::Closing(_) => {}
            Window::Placed(_) => self.window_gone(),
            Window::Opening(shard) | Window::Open(shard) | Window::Saving(shard, _) => {
                session.window = Window::Closing(shard);
                session.ticket = ticket;
                self.effects.act(Action::CloseWindow { session: session.id, ticket });
            }
        }
        self.touch();
    }

    /// Notes that its window is gone, for any reason.
    pub(crate) fn window_gone(&mut self) {
        let session = &mut *self.session;
        if let Some(shard) = session.shard() {
            self.shards.leave(shard, session.id, self.now);
        }
        session.window = Window::None;
        session.contents = Contents::default();
        if session.has_refresh_window() {
            session.residence = Residence::Hibernating { was_recovering: false };
        }
        self.touch();
    }

    /// Refuses all requests that wait for it.
    pub(crate) fn refuse_wanted(&mut self, refusal: &Refusal) {
        let mut told = std::mem::take(&mut self.session.wake_requests);
        told.append(&mut self.session.refresh_requests);
        told.extend(std::mem::take(&mut self.session.waiting).into_iter().map(|waiting| waiting.request));
        for request in told {
            self.effects.answer(request, Err(refusal.clone()));
        }
    }

    /// Answers the requests that wait for the outcome of a refresh or for its window.
    pub(crate) fn answer_refresh_requests(&mut self, outcome: &Result<(), Failure>) {
        let mut told = std::mem::take(&mut self.session.refresh_requests);
        // Requests for its window wait for a place.
        if !self.session.has_refresh_window() {
            told.append(&mut self.session.wake_requests);
        }
        for request in told {
            match outcome {
                Ok(()) => self.answer_with_it(request),
                Err(failure) => self.effects.answer(request, Err(Refusal::Failed(failure.clone()))),
            }
        }
    }
}

fn reason_sentence(reason: EndedReason) -> &'static str {
    match reason {
        EndedReason::ClosedByClient => "closed by a client",
        EndedReason::IdleTimeout => "not used for its idle timeout",
        EndedReason::Evicted => "least recently used when a new session needed its place",
        EndedReason::SignInFailed => "its first sign-in failed",
        EndedReason::StartFailed => "its window could not be opened",
    }
}
