//! A session that is being changed, with what changes along with it.

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

/// A session that was borrowed from the rules to be changed. It was looked up once: what is done with it from here on
/// cannot miss it.
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
    /// Has it be published when the step ends.
    pub(crate) fn touch(&mut self) {
        self.effects.touch(self.session.id);
    }

    /// Says what happened to it, and keeps that as the reason for its state.
    pub(crate) fn announce(&mut self, kind: NoticeKind, reason: &str) {
        reason.clone_into(&mut self.session.why);
        self.announce_aside(kind, reason);
    }

    /// Says what happened to it and has nothing to do with its state.
    pub(crate) fn announce_aside(&mut self, kind: NoticeKind, reason: &str) {
        self.effects.announce_aside(self.session, kind, reason);
    }

    /// Answers with this session, which was there before.
    pub(crate) fn answer_with_it(&mut self, request: RequestId) {
        self.effects.answer(request, Ok(Answer::Session { session: self.session.id, is_new: false }));
    }

    /// Ends it: everybody who waits for it is told, its window is closed, its place is free only then.
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

    /// Tells the world to close its window, wherever it is.
    pub(crate) fn close_window(&mut self) {
        let ticket = self.effects.next_ticket();
        let session = &mut *self.session;
        session.contents.activity = ActivityState::Idle;
        session.contents.freeze_state = FreezeState::Running;
        match session.window {
            // One that is closing already is waited for under the ticket it was told.
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

    /// Its window is no more, for whatever reason.
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

    /// Refuses everybody who waits for it.
    pub(crate) fn refuse_wanted(&mut self, refusal: &Refusal) {
        let mut told = std::mem::take(&mut self.session.wake_requests);
        told.append(&mut self.session.refresh_requests);
        told.extend(std::mem::take(&mut self.session.waiting).into_iter().map(|waiting| waiting.request));
        for request in told {
            self.effects.answer(request, Err(refusal.clone()));
        }
    }

    /// Answers those who wait for the outcome of a refresh or for its window.
    pub(crate) fn answer_refresh_requests(&mut self, outcome: &Result<(), Failure>) {
        let mut told = std::mem::take(&mut self.session.refresh_requests);
        // Who wants its window waits for a place.
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
        EndedReason::ClosedByClient => "a client closed it",
        EndedReason::IdleTimeout => "nobody used it for its idle timeout",
        EndedReason::Evicted => "it was the least recently used one when a newcomer needed its place",
        EndedReason::SignInFailed => "its first sign-in failed",
        EndedReason::StartFailed => "its window could not be brought up",
    }
}
