//! Clients that are connected and send nothing. They still hold their session: it neither ends nor hibernates, and no
//! activity touches its page. But its window may be frozen, and it is thawed before the client's next message is
//! passed on.

use std::time::Duration;

use crate::action::{Answer, Refusal};
use crate::ids::{HoldId, SessionId};
use crate::rules::Rules;
use crate::session::Session;
use crate::session_mut::SessionMut;

impl Session {
    /// Returns whether it is in use right now, or may be at any moment without notice: all holds count except those
    /// of silent clients.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.uses > 0 || self.holds.iter().any(|hold| hold.silent_since.is_none())
    }
}

impl Rules {
    pub(crate) fn pause_hold(&mut self, id: SessionId, hold: HoldId, unused_for: Duration) {
        let Some(mut session) = self.session_mut(id) else { return };
        let since = session.now - unused_for;
        if let Some(hold) = session.holds.iter_mut().find(|other| other.id == hold) {
            hold.silent_since = Some(since);
        }
        session.touch();
    }
}

impl SessionMut<'_> {
    pub(crate) fn resume_hold(&mut self, hold: HoldId) -> Result<Answer, Refusal> {
        let Some(hold) = self.holds.iter_mut().find(|other| other.id == hold) else {
            return Err(Refusal::HoldNotFound);
        };
        hold.silent_since = None;
        self.last_used = self.now;
        self.touch();
        Ok(Answer::Done)
    }
}
