//! When the state of a window is written down: after a sign-in, after a hold, and a while after a change.

use crate::action::{Action, NoticeKind};
use crate::activity::Failure;
use crate::ids::{SessionId, Ticket};
use crate::index::{Order, Set};
use crate::rules::Rules;
use crate::session::{ActivityState, Saves, Session, Window};
use crate::time::Moment;

impl Session {
    /// When its state is to be written down, if that can be done.
    pub(crate) fn save_due(&self) -> Option<Moment> {
        let at_rest = matches!(self.window, Window::Open(_) | Window::Saving(..))
            && !matches!(self.activity, ActivityState::Running(_));
        let possible = at_rest
            && self.established
            && self.restored
            && self.freeze_state.runs()
            && self.ended.is_none()
            && self.saves.running.is_none();
        self.saves.due.filter(|_| possible)
    }
}

impl Rules {
    pub(crate) fn window_changed(&mut self, id: SessionId, now: Moment) {
        self.save_by(id, now + self.limits.save_delay);
    }

    /// Sees to it that the state is written down not later than `at`.
    pub(crate) fn save_by(&mut self, id: SessionId, at: Moment) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.saves.due = Some(session.saves.due.map_or(at, |due| due.min(at)));
        }
    }

    /// Writes down what is due, the longest-waiting first, as far as the limit allows.
    pub(crate) fn begin_saves(&mut self, now: Moment) {
        let index = self.sessions.fresh();
        let free = self.limits.max_saves.saturating_sub(index.count(Set::Saving));
        let due: Vec<SessionId> = index.until(Order::Save, now).take(free).collect();
        for id in due {
            self.begin_save(id);
        }
    }

    fn begin_save(&mut self, id: SessionId) {
        let ticket = self.next_ticket();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.saves = Saves { due: None, running: Some(ticket), ..session.saves };
        self.act(Action::Save { session: id, ticket });
    }

    /// Whether this save is still wanted: another may have taken its place, or the session may have ended.
    #[must_use]
    pub fn is_saving(&self, id: SessionId, ticket: Ticket) -> bool {
        self.session(id)
            .is_some_and(|session| session.ended.is_none() && session.saves.running == Some(ticket))
    }

    pub(crate) fn saved(&mut self, id: SessionId, ticket: Ticket, result: Result<(), Failure>, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.saves.running != Some(ticket) {
            return;
        }
        session.saves.running = None;
        session.saves.written |= result.is_ok();
        self.touch(id);
        if let Err(failure) = &result {
            let retry = now + self.limits.save_retry;
            self.save_by(id, retry);
            self.announce_aside(id, NoticeKind::SaveFailed, &failure.sentence);
            self.stay_awake(id, failure.clone(), now);
        }
        self.final_save_ended(id, result, now);
    }
}
