//! Sessions without a window: who hibernates, who is woken, whose window is moved to another browser.
//!
//! A window goes only after its state was written down, except where a client restarts it. Whoever wants the
//! session meanwhile keeps the window.

use std::time::Duration;

use crate::action::{Answer, NoticeKind, Refusal};
use crate::capacity::{Queued, RETRY_AFTER};
use crate::ids::{RequestId, SessionId, ShardId};
use crate::input::Failure;
use crate::rules::Rules;
use crate::saving::Saves;
use crate::session::{Doing, Farewell, Session, Window};
use crate::time::Moment;

/// Somebody who waits for everything to be at rest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drainer {
    pub(crate) request: RequestId,
    pub(crate) deadline: Moment,
}

impl Session {
    /// Whether its window could go now without anybody missing it.
    pub(crate) fn can_cool(&self, now: Moment) -> bool {
        let at_rest = matches!(self.window, Window::None | Window::Placed(_) | Window::Open(_))
            && !matches!(self.doing, Doing::Running(_));
        self.ended.is_none()
            && self.established
            && !self.asleep
            && at_rest
            && !self.in_use()
            && !self.is_wanted()
            && self.cool_not_before <= now
    }

    /// Why a client's order for it is not taken on, with `waiting` others waiting for the same.
    pub(crate) fn refusal(&self, waiting: usize, max_waiting: usize) -> Option<Refusal> {
        if self.in_use() || !self.waiting.is_empty() {
            Some(Refusal::InUse)
        } else if !self.established {
            Some(Refusal::NotReady { retry_after: RETRY_AFTER })
        } else {
            (waiting >= max_waiting).then_some(Refusal::TooMany)
        }
    }

    /// Whether a newcomer, or the passing of time, may make its window go.
    pub(crate) fn may_be_cooled(&self, now: Moment) -> bool {
        !self.policy.never_terminate && self.coolers.is_empty() && self.can_cool(now)
    }

    /// Whether somebody waits for it.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.waiting.is_empty() || !self.askers.is_empty() || !self.wakers.is_empty()
    }

    /// When it hibernates if nobody uses it until then.
    pub(crate) fn cools_at(&self, hibernate_after: Option<Duration>) -> Option<Moment> {
        hibernate_after.map(|after| (self.last_used + after).max(self.cool_not_before))
    }

    /// Its window is about to go, and it will have none.
    pub(crate) fn is_leaving(&self) -> bool {
        (self.asleep || self.ended.is_some()) && self.window != Window::None
    }
}

impl Rules {
    pub(crate) fn hibernate(&mut self, request: RequestId, id: SessionId) {
        let max_waiting = self.limits.max_waiting;
        let Some(session) = self.living_mut(request, id) else { return };
        if let Some(refusal) = session.refusal(session.coolers.len(), max_waiting) {
            return self.answer(request, Err(refusal));
        }
        session.cool_not_before = Moment(0);
        session.coolers.push(request);
    }

    pub(crate) fn wake(&mut self, request: RequestId, id: SessionId, now: Moment) {
        let max_waiting = self.limits.max_waiting;
        let draining = self.draining;
        let Some(session) = self.living_mut(request, id) else { return };
        if draining {
            return self.answer(request, Err(Refusal::Draining));
        }
        if session.wakers.len() >= max_waiting {
            return self.answer(request, Err(Refusal::TooMany));
        }
        session.last_used = now;
        session.wakers.push(request);
        self.touch(id);
    }

    pub(crate) fn drain(&mut self, request: RequestId, timeout: Duration, now: Moment) {
        self.draining = true;
        self.drainers.push(Drainer { request, deadline: now + timeout });
        for queued in std::mem::take(&mut self.queue) {
            if let Queued::Newcomer(newcomer) = queued {
                for request in newcomer.requests {
                    self.answer(request, Err(Refusal::Draining));
                }
            }
        }
    }

    /// Sends windows away that are to go, and takes back those that somebody wants after all.
    pub(crate) fn settle_cooling(&mut self, now: Moment) {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            let Some(session) = self.sessions.get(&id) else { continue };
            if session.ended.is_some() {
                continue;
            }
            let asked = !session.coolers.is_empty() || self.draining;
            let idle = session.cools_at(self.limits.hibernate_after).is_some_and(|at| at <= now);
            if session.is_wanted() && !self.draining {
                self.keep_window(id);
            } else if asked && session.can_cool(now) {
                let why = if self.draining { "everything is put to rest" } else { "a client asked for it" };
                self.cool(id, why, now);
            } else if idle && session.may_be_cooled(now) {
                self.cool(id, "nobody used it for a while", now);
            }
            self.refuse_while_draining(id);
            self.answer_coolers(id);
        }
        self.move_window(now);
        self.answer_drainers(now);
    }

    /// A window that was about to go stays where it is.
    fn keep_window(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Window::Saving(shard, Farewell::Hibernate | Farewell::Move) = session.window {
            session.window = Window::Open(shard);
            session.asleep = false;
            self.touch(id);
        }
        if self.sessions.get(&id).is_some_and(|session| !session.asleep) {
            self.tell_coolers(id, &Refusal::InUse);
        }
    }

    /// Lets a session go cold: its state is written down, then its window is closed.
    pub(crate) fn cool(&mut self, id: SessionId, why: &str, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.asleep = true;
        match session.window {
            // Nothing happened in it since its state was written down.
            Window::Open(_) if session.is_frozen_as_written() => self.close_window(id, now),
            Window::Open(shard) if session.restored => self.farewell(id, shard, Farewell::Hibernate),
            _ => self.close_window(id, now),
        }
        self.announce(id, NoticeKind::Cooling, why);
    }

    /// Has the state of a window written down for the last time before it is closed. A save that is running
    /// already is superseded: its report will be late.
    pub(crate) fn farewell(&mut self, id: SessionId, shard: ShardId, farewell: Farewell) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.window = Window::Saving(shard, farewell);
        session.doing = Doing::Nothing;
        session.saves = Saves { due: Some(Moment(0)), running: None, ..session.saves };
    }

    /// The state of a window that is to go is written down, or cannot be.
    pub(crate) fn bid_farewell(&mut self, id: SessionId, saved: Result<(), Failure>, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Window::Saving(shard, farewell) = session.window else { return };
        match (saved, farewell) {
            (Ok(()), _) | (Err(_), Farewell::Restart) => {
                session.recovering = farewell != Farewell::Hibernate;
                self.close_window(id, now);
            }
            (Err(failure), Farewell::Hibernate | Farewell::Move) => {
                session.window = Window::Open(shard);
                session.asleep = false;
                session.cool_not_before = now + self.limits.save_retry;
                self.tell_coolers(id, &Refusal::Failed(failure));
            }
        }
    }

    fn tell_coolers(&mut self, id: SessionId, refusal: &Refusal) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        for request in std::mem::take(&mut session.coolers) {
            self.answer(request, Err(refusal.clone()));
        }
    }

    fn answer_coolers(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.asleep && session.window == Window::None {
            for request in std::mem::take(&mut session.coolers) {
                self.answer(request, Ok(Answer::Session { session: id, is_new: false }));
            }
        }
    }

    /// Whoever wants a cold session while everything is put to rest does not get it.
    fn refuse_while_draining(&mut self, id: SessionId) {
        let draining = self.draining;
        if self.sessions.get(&id).is_some_and(|session| draining && session.asleep) {
            self.refuse_wanted(id, &Refusal::Draining);
        }
    }

    /// Refuses everybody who waits for a session.
    pub(crate) fn refuse_wanted(&mut self, id: SessionId, refusal: &Refusal) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let mut told = std::mem::take(&mut session.wakers);
        told.append(&mut session.askers);
        told.extend(std::mem::take(&mut session.waiting).into_iter().map(|waiting| waiting.request));
        for request in told {
            self.answer(request, Err(refusal.clone()));
        }
    }

    /// Moves one idle window at a time out of a browser that is to be given up.
    fn move_window(&mut self, now: Moment) {
        let moving = |session: &Session| match session.window {
            Window::Saving(_, Farewell::Move) => true,
            _ => session.recovering && session.attention.is_none(),
        };
        if self.draining || self.living().any(moving) {
            return;
        }
        let retiring = self.shards.all.values().filter(|shard| shard.retiring);
        let movable = |id: &&SessionId| {
            self.sessions.get(id).is_some_and(|session| {
                matches!(session.window, Window::Open(_))
                    && session.restored
                    && session.can_cool(now)
                    && now >= session.last_used + self.limits.move_after
            })
        };
        let Some(id) = retiring.flat_map(|shard| &shard.windows).find(movable).copied() else { return };
        if let Some(shard) = self.sessions.get(&id).and_then(Session::shard) {
            self.farewell(id, shard, Farewell::Move);
            self.announce_aside(id, NoticeKind::Moving, "its browser is old and its window is moved");
        }
    }

    /// When a window may be moved out of a browser that is to be given up.
    pub(crate) fn move_deadline(&self, session: &Session) -> Option<Moment> {
        let shard = self.shards.all.get(&session.shard()?)?;
        shard.retiring.then(|| session.last_used + self.limits.move_after)
    }

    fn answer_drainers(&mut self, now: Moment) {
        if self.drainers.is_empty() {
            return;
        }
        let at_rest = self.sessions.values().all(|session| session.window == Window::None);
        for drainer in std::mem::take(&mut self.drainers) {
            if at_rest {
                self.answer(drainer.request, Ok(Answer::Done));
            } else if now >= drainer.deadline {
                self.answer(drainer.request, Err(Refusal::NotReady { retry_after: RETRY_AFTER }));
            } else {
                self.drainers.push(drainer);
            }
        }
    }
}
