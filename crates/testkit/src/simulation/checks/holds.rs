//! What clients were told of their holds, and have said since.

use std::collections::BTreeMap;

use pilotlight_core::{HoldId, Moment, SessionId};

use super::super::clients::is_quiet;

#[derive(Debug, Clone, Copy)]
struct Held {
    session: SessionId,
    shared: bool,
    /// Its client is connected and sends nothing.
    is_silent: bool,
    expires_at: Moment,
}

/// The holds that were granted.
#[derive(Debug, Default)]
pub(super) struct Holds(BTreeMap<HoldId, Held>);

impl Holds {
    pub(super) fn expire(&mut self, now: Moment) {
        self.0.retain(|_, held| held.expires_at > now);
    }

    /// # Errors
    /// That somebody else has the session, and does not share it.
    pub(super) fn granted(
        &mut self,
        session: SessionId,
        hold: HoldId,
        shared: bool,
        expires_at: Moment,
    ) -> Result<(), String> {
        if self.of(session).any(|(_, held)| !shared || !held.shared) {
            return Err(format!("{session:?} is held exclusively and by somebody else"));
        }
        self.0.insert(hold, Held { session, shared, is_silent: false, expires_at });
        Ok(())
    }

    pub(super) fn extended(&mut self, hold: HoldId, expires_at: Moment) {
        if let Some(held) = self.0.get_mut(&hold) {
            held.expires_at = expires_at;
        }
    }

    pub(super) fn released(&mut self, session: SessionId, hold: HoldId) {
        self.0.retain(|id, held| *id != hold || held.session != session);
    }

    /// Its client has sent nothing for a while, or goes on.
    pub(super) fn set_silent(&mut self, session: SessionId, hold: HoldId, is_silent: bool) {
        if let Some(held) = self.0.get_mut(&hold).filter(|held| held.session == session) {
            held.is_silent = is_silent;
        }
    }

    /// What a server finds that starts again: its clients have yet to come back.
    pub(super) fn survived(&mut self, session: SessionId, hold: HoldId, shared: bool, expires_at: Moment) {
        self.0.insert(hold, Held { session, shared, is_silent: false, expires_at });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether a session is held by anybody.
    pub(super) fn hold(&self, session: SessionId) -> bool {
        self.of(session).next().is_some()
    }

    /// Whether it is held by somebody who is not silent.
    pub(super) fn use_it(&self, session: SessionId) -> bool {
        self.of(session).any(|(_, held)| !held.is_silent)
    }

    /// Whether it is held by somebody who wants it to be left alone.
    pub(super) fn quiet(&self, session: SessionId) -> bool {
        self.of(session).any(|(hold, _)| is_quiet(*hold))
    }

    fn of(&self, session: SessionId) -> impl Iterator<Item = (&HoldId, &Held)> {
        self.0.iter().filter(move |(_, held)| held.session == session)
    }
}
