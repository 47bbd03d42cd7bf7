//! When the state of a window is saved: after a sign-in, after a hold, and some time after a change.

use crate::action::{Action, NoticeKind};
use crate::activity::Failure;
use crate::contents::{ActivityState, Saves};
use crate::ids::{SessionId, Ticket};
use crate::index::{Order, Set};
use crate::rules::Rules;
use crate::session::{Session, Window};
use crate::session_mut::SessionMut;
use crate::time::Moment;

impl Session {
    /// Returns when its state is to be saved, if it can be.
    pub(crate) fn save_due(&self) -> Option<Moment> {
        let at_rest = matches!(self.window, Window::Open(_) | Window::Saving(..))
            && !matches!(self.contents.activity, ActivityState::Running(_));
        let possible = at_rest
            && self.established
            && self.contents.restored
            && self.contents.freeze_state.runs()
            && self.ended.is_none()
            && self.contents.saves.running.is_none();
        self.contents.saves.due.filter(|_| possible)
    }
}

impl Rules {
    pub(crate) fn window_changed(&mut self, id: SessionId) {
        if let Some(mut session) = self.session_mut(id) {
            let at = session.now + session.limits.save_delay;
            session.save_by(at);
        }
    }

    /// Saves what is due, in order, as far as the limit allows.
    pub(crate) fn begin_saves(&mut self, now: Moment) {
        let index = self.sessions.fresh();
        let free = self.limits.max_saves.saturating_sub(index.count(Set::Saving));
        let due: Vec<SessionId> = index.until(Order::Save, now).take(free).collect();
        for id in due {
            if let Some(mut session) = self.session_mut(id) {
                session.begin_save();
            }
        }
    }

    /// Returns whether this save is still needed: another may have replaced it, or the session may have ended.
    #[must_use]
    pub fn is_saving(&self, id: SessionId, ticket: Ticket) -> bool {
        self.session(id)
            .is_some_and(|session| session.ended.is_none() && session.contents.saves.running == Some(ticket))
    }

    pub(crate) fn saved(&mut self, id: SessionId, ticket: Ticket, result: Result<(), Failure>) {
        let is_current = |session: &Session| session.contents.saves.running == Some(ticket);
        if let Some(mut session) = self.session_if(id, is_current) {
            session.saved(result);
        }
    }
}

impl SessionMut<'_> {
    /// Makes sure that the state is saved at `at` or earlier.
    pub(crate) fn save_by(&mut self, at: Moment) {
        self.contents.saves.due = Some(self.contents.saves.due.map_or(at, |due| due.min(at)));
    }

    fn begin_save(&mut self) {
        let ticket = self.effects.next_ticket();
        self.contents.saves = Saves { due: None, running: Some(ticket), ..self.contents.saves };
        self.effects.act(Action::Save { session: self.session.id, ticket });
    }

    fn saved(&mut self, result: Result<(), Failure>) {
        self.contents.saves.running = None;
        self.contents.saves.written |= result.is_ok();
        self.touch();
        if let Err(failure) = &result {
            self.save_by(self.now + self.limits.save_retry);
            self.announce_aside(NoticeKind::SaveFailed, &failure.sentence);
            self.stay_awake(failure.clone());
        }
        self.final_save_ended(result);
    }
}
