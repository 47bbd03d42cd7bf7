//! The state machine: what is known, one step, and when the next step is due.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::action::{Action, Answer, EndedReason, Notice, NoticeKind, Refusal, State};
use crate::backoff::Jitter;
use crate::capacity::Queued;
use crate::cooling::Drainer;
use crate::freezing::Motion;
use crate::ids::{RequestId, SessionId, SiteId, Ticket};
use crate::input::{Failure, Input};
use crate::limits::Limits;
use crate::memory::Reckoning;
use crate::saving::Saves;
use crate::session::{Doing, Session, Window};
use crate::shard::Shards;
use crate::time::Moment;

/// All that the rules know. One task owns it.
#[derive(Debug)]
pub struct Rules {
    pub(crate) limits: Limits,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) shards: Shards,
    pub(crate) queue: VecDeque<Queued>,
    /// Everything is to be at rest, for good.
    pub(crate) draining: bool,
    pub(crate) drainers: Vec<Drainer>,
    /// None before the first measurement.
    pub(crate) reckoning: Option<Reckoning>,
    pub(crate) next_look: Moment,
    /// Sites that are left alone at the moment.
    pub(crate) quiet: BTreeSet<SiteId>,
    pub(crate) jitter: Jitter,
    last_ticket: u64,
    out: Vec<Action>,
    dirty: BTreeSet<SessionId>,
}

impl Rules {
    /// Rules without a session. `seed` spreads the retries; equal seeds and inputs give equal actions.
    #[must_use]
    pub fn new(limits: Limits, seed: u64, now: Moment) -> Self {
        Self {
            next_look: now + limits.refresh_check,
            limits,
            sessions: BTreeMap::new(),
            shards: Shards::default(),
            queue: VecDeque::new(),
            draining: false,
            quiet: BTreeSet::new(),
            drainers: Vec::new(),
            reckoning: None,
            jitter: Jitter(seed),
            last_ticket: 0,
            out: Vec::new(),
            dirty: BTreeSet::new(),
        }
    }

    /// Takes one input at `now`, which never goes back, and gives what follows, in order.
    pub fn step(&mut self, now: Moment, input: Input) -> Vec<Action> {
        self.expire(now);
        self.apply(now, input);
        self.settle(now);
        self.publish();
        std::mem::take(&mut self.out)
    }

    /// When something happens by itself; `None` is never.
    #[must_use]
    pub fn next_deadline(&self, now: Moment) -> Option<Moment> {
        let sessions = self.sessions.values().filter_map(|session| self.session_deadline(session, now)).min();
        let queue = self.queue.iter().map(Queued::deadline).min();
        let drain = self.drainers.iter().map(|drainer| drainer.deadline).min();
        let linger = self.shards.next_linger_end(self.limits.shard_linger);
        let look = self.sessions.values().any(|session| session.ended.is_none()).then_some(self.next_look);
        let aging = self.shards.next_aging(self.limits.browser_max_age).filter(|at| *at > now);
        [sessions, queue, drain, linger, aging, look].into_iter().flatten().min()
    }

    /// A session that lives, or ended a short while ago.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// Sessions that have not ended.
    pub fn living(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values().filter(|session| session.ended.is_none())
    }

    /// The numbers that these rules keep to.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn session_deadline(&self, session: &Session, now: Moment) -> Option<Moment> {
        if let Some((ended_at, _)) = session.ended {
            let gone = session.window == Window::None;
            return gone.then(|| ended_at + self.limits.remember_ended);
        }
        let holds = session.holds.iter().map(|hold| hold.expires_at).min();
        let waiting = session.waiting.iter().map(|waiting| waiting.deadline).min();
        let idle = session.expires_at().filter(|_| session.unprotected());
        let homeless = session.window == Window::None && !session.asleep;
        let wants = homeless || matches!(session.doing, Doing::Next(_));
        let retry = (wants && session.not_before > now).then_some(session.not_before);
        let browser = self.shards.not_before(session.launch);
        let browser = (homeless && browser > now).then_some(browser);
        let save = session.save_due().filter(|at| *at > now);
        let cool = [session.cools_at(self.limits.hibernate_after), Some(session.cool_not_before)];
        let cool = cool.into_iter().flatten().filter(|at| *at > now && !session.asleep).min();
        let freeze = session.freezes_at(&self.limits).filter(|at| *at > now);
        let moving = self.move_deadline(session).filter(|at| *at > now);
        [holds, waiting, idle, retry, browser, save, freeze, cool, moving].into_iter().flatten().min()
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.out.push(action);
    }

    pub(crate) fn answer(&mut self, request: RequestId, answer: Result<Answer, Refusal>) {
        self.out.push(Action::Answer { request, answer });
    }

    pub(crate) fn touch(&mut self, id: SessionId) {
        self.dirty.insert(id);
    }

    pub(crate) fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    /// Says what happened to a session, and keeps it as the reason for its state.
    pub(crate) fn announce(&mut self, id: SessionId, kind: NoticeKind, reason: &str) {
        if let Some(session) = self.sessions.get_mut(&id) {
            reason.clone_into(&mut session.why);
        }
        self.announce_aside(id, kind, reason);
    }

    /// Says what happened to a session and has nothing to do with its state.
    pub(crate) fn announce_aside(&mut self, id: SessionId, kind: NoticeKind, reason: &str) {
        self.touch(id);
        if let Some(session) = self.sessions.get(&id) {
            let notice = Notice { session: id, kind, state: session.state(), reason: reason.to_owned() };
            self.act(Action::Announce(notice));
        }
    }

    /// Ends a session: everybody who waits for it is told, its window is closed, its place is free only then.
    pub(crate) fn end(&mut self, id: SessionId, reason: EndedReason, failure: Option<Failure>, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.ended.is_none()) else {
            return;
        };
        session.ended = Some((now, reason));
        session.announced = Some(State::Ended);
        session.holds.clear();
        session.uses = 0;
        session.attention = failure.as_ref().map(|failure| failure.sentence.clone());
        let why = match &failure {
            Some(failure) => format!("{}: {}", reason_sentence(reason), failure.sentence),
            None => reason_sentence(reason).to_owned(),
        };
        session.doing = Doing::Nothing;
        let refusal = failure.map_or(Refusal::Ended(reason), Refusal::Failed);
        let mut told = std::mem::take(&mut session.creators);
        told.append(&mut session.askers);
        told.append(&mut session.wakers);
        told.append(&mut session.freezers);
        told.append(&mut session.coolers);
        told.extend(std::mem::take(&mut session.waiting).into_iter().map(|waiting| waiting.request));
        let kind = if reason == EndedReason::Evicted { NoticeKind::Evicted } else { NoticeKind::Ended };
        for request in told {
            self.answer(request, Err(refusal.clone()));
        }
        self.announce(id, kind, &why);
        self.close_window(id, now);
    }

    /// Tells the world to close a session's window, wherever it is.
    pub(crate) fn close_window(&mut self, id: SessionId, now: Moment) {
        let ticket = self.next_ticket();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.doing = Doing::Nothing;
        session.motion = Motion::Running;
        match session.window {
            // One that is closing already is waited for under the ticket it was told.
            Window::None | Window::Closing(_) => {}
            Window::Placed(_) => self.window_gone(id, now),
            Window::Opening(shard) | Window::Open(shard) | Window::Saving(shard, _) => {
                session.window = Window::Closing(shard);
                session.ticket = ticket;
                self.act(Action::CloseWindow { session: id, ticket });
            }
        }
        self.touch(id);
    }

    /// The window is no more, for whatever reason.
    pub(crate) fn window_gone(&mut self, id: SessionId, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Some(shard) = session.shard() {
            self.shards.leave(shard, id, now);
        }
        session.window = Window::None;
        session.doing = Doing::Nothing;
        session.sign_in_running = false;
        session.tried_at = None;
        session.restored = false;
        session.motion = Motion::Running;
        session.pressed = false;
        session.saves = Saves::default();
        self.touch(id);
    }

    fn publish(&mut self) {
        for id in std::mem::take(&mut self.dirty) {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let state = session.state();
            if session.announced != Some(state) {
                let kind =
                    if session.announced.is_none() { NoticeKind::Created } else { NoticeKind::StateChanged };
                session.announced = Some(state);
                let notice = Notice { session: id, kind, state, reason: session.why.clone() };
                self.out.push(Action::Announce(notice));
            }
            self.out.push(Action::Changed { session: id });
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
