//! The state machine: what is known, one step, and when the next step is due.

use std::collections::BTreeSet;

use crate::action::{Action, Answer, EndedReason, Notice, NoticeKind, Refusal, State};
use crate::activity::Failure;
use crate::backoff::Jitter;
use crate::ids::{RequestId, SessionId, Ticket};
use crate::input::Input;
use crate::limits::Limits;
use crate::queue::{DrainWaiter, Queue};
use crate::session::{ActivityState, FreezeState, Saves, Session, Window, Wish};
use crate::sessions::Sessions;
use crate::shard::Shards;
use crate::time::Moment;

/// All that the rules know. One task owns it.
#[derive(Debug, Clone)]
pub struct Rules {
    pub(crate) limits: Limits,
    pub(crate) sessions: Sessions,
    pub(crate) shards: Shards,
    pub(crate) queue: Queue,
    /// Everything is to be at rest, for good.
    pub(crate) draining: bool,
    pub(crate) drain_waiters: Vec<DrainWaiter>,
    pub(crate) next_check: Moment,
    pub(crate) jitter: Jitter,
    last_ticket: u64,
    out: Vec<Action>,
    /// Sessions that changed for those who read them.
    unpublished: BTreeSet<SessionId>,
}

impl Rules {
    /// Rules without a session. `seed` spreads the retries; equal seeds and inputs give equal actions.
    #[must_use]
    pub fn new(limits: Limits, seed: u64, now: Moment) -> Self {
        Self {
            next_check: now + limits.refresh_check,
            sessions: Sessions::new(&limits, now),
            shards: Shards::new(limits.windows_per_browser),
            limits,
            queue: Queue::default(),
            draining: false,
            drain_waiters: Vec::new(),
            jitter: Jitter(seed),
            last_ticket: 0,
            out: Vec::new(),
            unpublished: BTreeSet::new(),
        }
    }

    /// Takes one input at `now`, which never goes back, and gives what follows, in order.
    pub fn step(&mut self, now: Moment, input: Input) -> Vec<Action> {
        let due = self.sessions.begin_step(now);
        self.run_timers(&due, now);
        self.apply(now, input);
        self.settle(now);
        self.publish();
        self.sessions.end_step();
        std::mem::take(&mut self.out)
    }

    /// Returns these rules as they would be if they looked at every session in the next step, and not only at those
    /// that something can have changed for. Both do the same: the simulation compares them.
    #[must_use]
    pub fn examining_all(&self) -> Self {
        let mut rules = self.clone();
        rules.sessions.examine_all();
        rules
    }

    /// Finds out whether what is known of all sessions together follows from each of them.
    ///
    /// # Errors
    /// What does not.
    pub fn check_index(&self) -> Result<(), String> {
        self.sessions.check()?;
        self.shards.check()
    }

    fn apply(&mut self, now: Moment, input: Input) {
        match input {
            Input::Create { request, session, spec } => self.create(request, session, *spec, now),
            Input::Patch { request, session, patch } => self.patch(request, session, patch, now),
            Input::Close { request, session } => self.close(request, session, now),
            Input::Ping { request, session } => self.ping(request, session, now),
            Input::Hold { request, session, hold, ttl, shared } => {
                self.wait_for_rest(request, session, Wish::Hold { hold, ttl, shared }, now);
            }
            Input::BeginUse { request, session } => self.wait_for_rest(request, session, Wish::Use, now),
            Input::EndUse { session } => self.end_use(session, now),
            Input::ExtendHold { request, session, hold, ttl } => {
                self.extend_hold(request, session, hold, ttl, now);
            }
            Input::KeepHold { session, hold, ttl } => self.keep_hold(session, hold, ttl, now),
            Input::ReleaseHold { request, session, hold } => self.release_hold(request, session, hold, now),
            Input::Quiet { sites } => {
                self.sessions.set_quiet(sites);
                self.schedule_refreshes(now);
            }
            Input::AccessChanged { sessions } => self.access_changed(sessions, now),
            Input::RefreshNow { request, session } => self.refresh_now(request, session, now),
            Input::Restart { request, session } => self.restart(request, session, now),
            Input::Freeze { request, session } => self.freeze(request, session),
            Input::Hibernate { request, session } => self.hibernate(request, session),
            Input::Wake { request, session } => self.wake(request, session, now),
            Input::Drain { request, timeout } => self.drain(request, timeout, now),
            Input::TakeBack { session, promise, failure } => self.take_back(session, promise, failure, now),
            Input::Resume { sessions, shards, windows } => self.resume(sessions, &shards, &windows, now),
            Input::ShardStarted { shard } => self.shard_started(shard, now),
            Input::ShardGrown { shard } => self.shards.retire(shard),
            Input::ShardEnded { shard, failure } => self.shard_ended(shard, failure, now),
            Input::WindowOpened { session, ticket, result } => {
                self.window_opened(session, ticket, result, now);
            }
            Input::WindowClosed { session, ticket } => self.window_closed(session, ticket, now),
            Input::HeldOthersUp { session, shard } => self.held_others_up(session, shard, now),
            Input::WindowLost { session, shard, loss } => self.window_lost(session, shard, loss, now),
            Input::WindowChanged { session } => self.window_changed(session, now),
            Input::Saved { session, ticket, result } => self.saved(session, ticket, result, now),
            Input::Frozen { session, ticket, result } => self.frozen(session, ticket, result, now),
            Input::Thawed { session, ticket } => self.thawed(session, ticket, now),
            Input::Typing { session, ticket } => self.typing(session, ticket, now),
            Input::ActivityEnded { session, ticket, outcome } => {
                self.activity_ended(session, ticket, outcome, now);
            }
            Input::Measured { memory, windows } => self.measured(memory, &windows, now),
            Input::Tick => {}
        }
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

    pub(crate) fn act(&mut self, action: Action) {
        self.out.push(action);
    }

    pub(crate) fn answer(&mut self, request: RequestId, answer: Result<Answer, Refusal>) {
        self.out.push(Action::Answer { request, answer });
    }

    pub(crate) fn touch(&mut self, id: SessionId) {
        self.unpublished.insert(id);
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
        if self.sessions.get(&id).is_none_or(|session| session.ended.is_some()) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.ended = Some((now, reason));
        session.announced = Some(State::Ended);
        session.holds.clear();
        session.uses = 0;
        session.attention = failure.as_ref().map(|failure| failure.sentence.clone());
        let why = match &failure {
            Some(failure) => format!("{}: {}", reason_sentence(reason), failure.sentence),
            None => reason_sentence(reason).to_owned(),
        };
        session.activity = ActivityState::Idle;
        let refusal = failure.map_or(Refusal::Ended(reason), Refusal::Failed);
        let mut told = std::mem::take(&mut session.create_requests);
        told.append(&mut session.refresh_requests);
        told.append(&mut session.wake_requests);
        told.append(&mut session.freeze_requests);
        told.append(&mut session.hibernate_requests);
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
        session.activity = ActivityState::Idle;
        session.freeze_state = FreezeState::Running;
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
        session.moves_out_since = None;
        session.activity = ActivityState::Idle;
        session.sign_in_running = false;
        session.tried_at = None;
        session.restored = false;
        session.freeze_state = FreezeState::Running;
        session.weight = None;
        session.oversized_since = None;
        session.saves = Saves::default();
        self.touch(id);
    }

    fn publish(&mut self) {
        for id in std::mem::take(&mut self.unpublished) {
            let Some(session) = self.sessions.get(&id) else { continue };
            let state = session.state();
            if session.announced != Some(state)
                && let Some(session) = self.sessions.get_mut(&id)
            {
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
