//! Moving windows from one browser to another: out of a browser that is old, too large or started in another way, and
//! out of a browser whose other windows they slow down.
//!
//! A window is moved by saving and closing it; its session then gets another one, as after a loss.

use crate::action::NoticeKind;
use crate::ids::{SessionId, ShardId};
use crate::index::Set;
use crate::rules::Rules;
use crate::session::{CloseReason, MOVE_OUT_PATIENCE, Session, Waiting, Window, Wish};
use crate::session_mut::SessionMut;
use crate::spec::Isolation;
use crate::time::Moment;

impl Session {
    /// Returns whether its window is being moved from one browser to another.
    pub(crate) fn is_moving(&self) -> bool {
        match self.window {
            Window::Saving(_, CloseReason::Move | CloseReason::MoveOut) => true,
            _ => self.is_coming_back(),
        }
    }

    /// Returns whether its window is to be moved into a browser of its own. One that is open for a refresh is closed
    /// anyway.
    pub(crate) fn is_to_move_out(&self) -> bool {
        self.contents.moves_out_since.is_some() && !self.has_refresh_window()
    }

    /// Returns until when new uses wait so that it can be moved, if only its uses prevent that.
    pub(crate) fn waits_to_move_out_until(&self) -> Option<Moment> {
        let since = self.contents.moves_out_since.filter(|_| self.holds.is_empty() && self.uses > 0)?;
        Some(since + MOVE_OUT_PATIENCE)
    }

    /// Returns until when a new request waits for the shared holders of the session, so that it can be moved: if
    /// clients come and go one after the other, it would otherwise never be unused.
    pub(crate) fn comes_after_move_out(&self, newcomer: &Waiting) -> Option<Moment> {
        let Wish::Hold { shared: true, .. } = newcomer.wish else { return None };
        let is_held = !self.holds.is_empty() && self.holds.iter().all(|hold| hold.shared);
        (self.is_to_move_out() && is_held).then_some(newcomer.patient_until)
    }
}

impl Rules {
    /// Notes that a window kept its browser so busy that the others in it waited. It is to have a browser of its own.
    pub(crate) fn held_others_up(&mut self, id: SessionId, shard: ShardId) {
        let is_shared = self.shards.get(shard).is_some_and(|shard| shard.isolation == Isolation::Shared);
        let is_in_it = |session: &Session| session.ended.is_none() && session.shard() == Some(shard);
        if let Some(mut session) = self.session_if(id, |session| is_shared && is_in_it(session)) {
            session.isolation = Isolation::Quarantined;
            session.contents.moves_out_since = session.contents.moves_out_since.or(Some(session.now));
        }
    }

    /// Moves windows that slowed down others into browsers of their own, once they are not in use. New requests for
    /// such a window wait for that.
    pub(crate) fn move_out_windows(&mut self, now: Moment) {
        if self.draining {
            return;
        }
        let may_move_out = |session: &Session| {
            let is_idle = !session.is_worked_on() && !session.in_use();
            let window = match session.window {
                Window::Open(_) => true,
                Window::Saving(_, reason) => reason == CloseReason::Move,
                _ => false,
            };
            session.is_to_move_out()
                && window
                && is_idle
                && session.ended.is_none()
                && session.established
                && session.contents.restored
                && session.tried_at().is_none()
                // A person may be working on it without using it at this moment.
                && !session.waits_for_person()
                && session.hibernate_not_before <= now
        };
        let moving_out: Vec<SessionId> = self.sessions.fresh().set(Set::MovingOut).collect();
        for id in moving_out {
            let Some(mut session) = self.session_if(id, may_move_out) else { continue };
            let why = "it slowed down the other sessions of its browser and gets a browser of its own";
            session.move_away(CloseReason::MoveOut, why);
        }
    }

    /// Moves one idle window at a time out of a browser that is being retired.
    pub(crate) fn move_window(&mut self, now: Moment) {
        if self.draining || self.sessions.fresh().count(Set::Moving) > 0 {
            return;
        }
        let retiring = self.shards.retiring();
        let movable = |id: &&SessionId| {
            self.sessions.get(id).is_some_and(|session| {
                matches!(session.window, Window::Open(_))
                    && session.contents.restored
                    && session.can_hibernate(now)
                    && now >= session.last_used + self.limits.move_after
            })
        };
        let Some(id) = retiring.flat_map(|shard| &shard.windows).find(movable).copied() else { return };
        if let Some(mut session) = self.session_mut(id) {
            session.move_away(CloseReason::Move, "its browser is old and its window is moved");
        }
    }

    /// Returns when the next window may be moved out of a browser that is being retired.
    pub(crate) fn next_move(&self, now: Moment) -> Option<Moment> {
        let retiring = self.shards.retiring();
        let sessions = retiring.flat_map(|shard| &shard.windows).filter_map(|id| self.sessions.get(id));
        let living = sessions.filter(|session| session.ended.is_none());
        living.map(|session| session.last_used + self.limits.move_after).filter(|at| *at > now).min()
    }
}

impl SessionMut<'_> {
    fn move_away(&mut self, reason: CloseReason, why: &str) {
        if let Some(shard) = self.shard() {
            self.save_and_close(shard, reason);
            self.announce_aside(NoticeKind::Moving, why);
        }
    }
}
