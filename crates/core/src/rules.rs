//! The state machine: its data, one step, and when the next step is due.

use crate::action::{Action, Notice, NoticeKind};
use crate::effects::Effects;
use crate::ids::SessionId;
use crate::input::Input;
use crate::limits::Limits;
use crate::queue::{DrainWaiter, Queue};
use crate::session::{Session, Wish};
use crate::session_mut::SessionMut;
use crate::sessions::Sessions;
use crate::shard::Shards;
use crate::time::Moment;

/// The whole state of the rules. One task owns it.
#[derive(Debug, Clone)]
pub struct Rules {
    pub(crate) limits: Limits,
    pub(crate) sessions: Sessions,
    pub(crate) shards: Shards,
    pub(crate) queue: Queue,
    /// All sessions are being drained, and nothing new is started.
    pub(crate) draining: bool,
    pub(crate) drain_waiters: Vec<DrainWaiter>,
    pub(crate) next_check: Moment,
    pub(crate) effects: Effects,
}

impl Rules {
    /// Returns rules without sessions. `seed` is for the jitter of retries; equal seeds and inputs give equal
    /// actions.
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
            effects: Effects::new(seed),
        }
    }

    /// Applies one input at `now`, which must not go backwards, and returns the resulting actions in order.
    pub fn step(&mut self, now: Moment, input: Input) -> Vec<Action> {
        let due = self.sessions.begin_step(now);
        self.run_timers(&due, now);
        self.apply(now, input);
        self.settle(now);
        self.publish();
        self.sessions.end_step();
        self.effects.take_actions()
    }

    /// Returns a copy of these rules that examines every session in the next step, not only those for which something
    /// can have changed. Both must do the same: the simulation compares them.
    #[must_use]
    pub fn examining_all(&self) -> Self {
        let mut rules = self.clone();
        rules.sessions.examine_all();
        rules
    }

    /// Checks that the index and the lists of browsers match the sessions and the browsers.
    ///
    /// # Errors
    /// Returns a description of the first difference.
    pub fn check_index(&self) -> Result<(), String> {
        self.sessions.check()?;
        self.shards.check()
    }

    fn apply(&mut self, now: Moment, input: Input) {
        match input {
            Input::Create { request, session, spec } => self.create(request, session, *spec, now),
            Input::Patch { request, session, patch } => self.patch(request, session, patch),
            Input::Close { request, session } => self.close(request, session),
            Input::Ping { request, session } => self.ping(request, session),
            Input::Hold { request, session, hold, ttl, shared, quiet } => {
                self.wait_for_rest(request, session, Wish::Hold { hold, ttl, shared, quiet });
            }
            Input::BeginUse { request, session } => self.wait_for_rest(request, session, Wish::Use),
            Input::EndUse { session } => self.end_use(session),
            Input::ExtendHold { request, session, hold, ttl } => {
                self.extend_hold(request, session, hold, ttl);
            }
            Input::PauseHold { session, hold, unused_for } => self.pause_hold(session, hold, unused_for),
            Input::ResumeHold { request, session, hold } => {
                self.wait_for_rest(request, session, Wish::Resume { hold });
            }
            Input::KeepHold { session, hold, ttl } => self.keep_hold(session, hold, ttl),
            Input::ReleaseHold { request, session, hold } => self.release_hold(request, session, hold),
            Input::Quiet { sites } => {
                self.sessions.set_quiet(sites);
                self.schedule_refreshes(now);
            }
            Input::AccessChanged { sessions } => self.access_changed(sessions),
            Input::RefreshNow { request, session } => self.refresh_now(request, session),
            Input::Restart { request, session } => self.restart(request, session),
            Input::Freeze { request, session } => self.freeze(request, session),
            Input::Hibernate { request, session } => self.hibernate(request, session),
            Input::Wake { request, session } => self.wake(request, session),
            Input::Drain { request, timeout } => self.drain(request, timeout, now),
            Input::TakeBack { session, promise, failure } => self.take_back(session, promise, failure),
            Input::Resume { sessions, shards, windows } => self.resume(sessions, &shards, &windows, now),
            Input::ShardStarted { shard } => self.shard_started(shard, now),
            Input::ShardGrown { shard } => self.shards.retire(shard),
            Input::ShardEnded { shard, failure } => self.shard_ended(shard, failure, now),
            Input::WindowOpened { session, ticket, result } => {
                self.window_opened(session, ticket, result);
            }
            Input::WindowClosed { session, ticket } => self.window_closed(session, ticket),
            Input::HeldOthersUp { session, shard } => self.held_others_up(session, shard),
            Input::WindowLost { session, shard, loss } => self.window_lost(session, shard, loss),
            Input::WindowChanged { session } => self.window_changed(session),
            Input::Saved { session, ticket, result } => self.saved(session, ticket, result),
            Input::Frozen { session, ticket, result } => self.frozen(session, ticket, result),
            Input::Thawed { session, ticket } => self.thawed(session, ticket),
            Input::Typing { session, ticket } => self.typing(session, ticket),
            Input::ActivityEnded { session, ticket, outcome } => {
                self.activity_ended(session, ticket, outcome);
            }
            Input::RefreshedBeside { session, ticket, outcome } => {
                self.refreshed_beside(session, ticket, outcome);
            }
            Input::Measured { memory, windows } => self.measured(memory, &windows, now),
            Input::Tick => {}
        }
    }

    /// Returns a session that lives, or ended a short while ago.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// Returns the sessions that have not ended.
    pub fn living(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values().filter(|session| session.ended.is_none())
    }

    /// Returns the limits in effect.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Borrows a session for a change, together with what has to be updated with it.
    pub(crate) fn session_mut(&mut self, id: SessionId) -> Option<SessionMut<'_>> {
        let now = self.sessions.context().now;
        Some(SessionMut {
            session: self.sessions.get_mut(&id)?,
            shards: &mut self.shards,
            effects: &mut self.effects,
            limits: &self.limits,
            next_check: &mut self.next_check,
            now,
        })
    }

    /// Borrows a session for a change if a predicate holds for it.
    pub(crate) fn session_if(
        &mut self,
        id: SessionId,
        is_true: impl FnOnce(&Session) -> bool,
    ) -> Option<SessionMut<'_>> {
        self.sessions.get(&id).filter(|session| is_true(session))?;
        self.session_mut(id)
    }

    fn publish(&mut self) {
        for id in self.effects.take_unpublished() {
            let Some(session) = self.sessions.get(&id) else { continue };
            let state = session.state();
            if session.announced != Some(state)
                && let Some(session) = self.sessions.get_mut(&id)
            {
                let kind =
                    if session.announced.is_none() { NoticeKind::Created } else { NoticeKind::StateChanged };
                session.announced = Some(state);
                let notice = Notice { session: id, kind, state, reason: session.why.clone() };
                self.effects.act(Action::Announce(notice));
            }
            self.effects.act(Action::Changed { session: id });
        }
    }
}
