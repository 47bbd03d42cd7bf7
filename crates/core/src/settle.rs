//! After an input: starts whatever may start now, in a fixed order.

use std::collections::BTreeSet;

use crate::action::{Action, Answer, WindowKind};
use crate::activity::Activity;
use crate::contents::{ActivityState, Attempt};
use crate::ids::{SessionId, SiteId};
use crate::index::{Order, Set};
use crate::rules::Rules;
use crate::session::{Session, Window};
use crate::shard::ShardState;
use crate::spec::Isolation;
use crate::time::Moment;

impl Session {
    /// Returns whether it should have a window for which nothing has been ordered yet.
    pub(crate) fn needs_window(&self) -> bool {
        matches!(self.window, Window::None | Window::Placed(_))
            && self.ended.is_none()
            && (!self.is_hibernating() || self.has_refresh_window())
    }

    /// Returns the next activity in its window, if the window allows it.
    pub(crate) fn ready(&self, now: Moment) -> Option<Activity> {
        let is_there = matches!(self.window, Window::Open(_)) && self.contents.freeze_state.runs();
        match self.contents.activity {
            ActivityState::Next(activity) if is_there && self.not_before <= now => Some(activity),
            _ => None,
        }
    }

    /// Returns whether its site has quiet hours, and no request waits for the activity.
    pub(crate) fn is_left_alone(&self, quiet: &BTreeSet<SiteId>) -> bool {
        let is_asked = !self.refresh_requests.is_empty() || self.is_wanted() || !self.established;
        !is_asked && self.is_in_quiet_hours(quiet)
    }

    /// Returns whether its site has quiet hours at present.
    pub(crate) fn is_in_quiet_hours(&self, quiet: &BTreeSet<SiteId>) -> bool {
        self.site.is_some_and(|site| quiet.contains(&site))
    }

    /// Returns whether its clients allow an activity in its page: an activity that was not requested waits for them,
    /// unless they can do nothing without it.
    pub(crate) fn users_allow(&self, activity: Activity) -> bool {
        match activity {
            Activity::Visit | Activity::LoadDocument | Activity::Repair => true,
            Activity::Look | Activity::Refresh => !self.in_use(),
            // Before it was ready for the first time, or while it recovers, a use can do nothing without it.
            Activity::Reopen | Activity::SignIn => self.may_sign_in(),
        }
    }
}

impl Rules {
    pub(crate) fn settle(&mut self, now: Moment) {
        self.answer_close_requests();
        self.settle_hibernation(now);
        self.settle_freezing(now);
        self.admit(now);
        self.reclaim_memory(now);
        self.settle_asleep_refreshes(now);
        self.give_windows(now);
        for id in self.sessions.examined() {
            self.serve_waiting(id, now);
            self.begin_refresh_requests(id);
        }
        self.begin_activities(now);
        self.refresh_beside(now);
        self.begin_saves(now);
        for shard in self.shards.settle(&self.limits, now) {
            self.effects.act(Action::StopShard { shard });
        }
        self.forget_surplus();
    }

    fn answer_close_requests(&mut self) {
        let is_answered = |session: &Session| {
            session.window == Window::None && session.ended.is_some() && !session.close_requests.is_empty()
        };
        for id in self.sessions.examined() {
            let Some(mut session) = self.session_if(id, is_answered) else { continue };
            for request in std::mem::take(&mut session.close_requests) {
                session.effects.answer(request, Ok(Answer::Done));
            }
        }
    }

    /// Opens windows: first for new sessions, since clients wait for them; of those that lost theirs, first for those
    /// that never terminate, then for the most recently used.
    fn give_windows(&mut self, now: Moment) {
        let index = self.sessions.fresh();
        let mut recoveries = index.count(Set::ComingBack);
        let without_window: Vec<SessionId> = index.without_window().collect();
        for id in without_window {
            let recovering = self.sessions.get(&id).is_some_and(|session| session.is_recovering());
            if recovering && recoveries >= self.limits.max_recoveries {
                continue;
            }
            self.place(id, now);
            recoveries += usize::from(self.open(id) && recovering);
        }
    }

    /// Assigns a session without a window to a browser, starting one if none has room.
    fn place(&mut self, id: SessionId, now: Moment) {
        let Some(session) = self.sessions.get(&id) else { return };
        if session.ended.is_some() || session.window != Window::None || session.not_before > now {
            return;
        }
        let (launch, isolation) = (session.launch, session.isolation);
        let found = match isolation {
            Isolation::Shared => self.shards.with_room(launch),
            Isolation::Dedicated | Isolation::Quarantined => None,
        };
        let shard = match found {
            Some(shard) => shard,
            None if self.shards.not_before(launch) > now => return,
            None => {
                let shard = self.shards.add(launch, isolation, now);
                self.effects.act(Action::StartShard { shard, launch, isolation });
                shard
            }
        };
        self.shards.enter(shard, id);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.window = Window::Placed(shard);
        }
        self.effects.touch(id);
    }

    /// Orders the window of a session whose browser is running.
    fn open(&mut self, id: SessionId) -> bool {
        let Some(Window::Placed(shard)) = self.sessions.get(&id).map(|session| session.window) else {
            return false;
        };
        let running = self.shards.get(shard).is_some_and(|s| matches!(s.state, ShardState::Running { .. }));
        if !running {
            return false;
        }
        let ticket = self.effects.next_ticket();
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        session.window = Window::Opening(shard);
        session.ticket = ticket;
        let kind = session.needed_window();
        if kind == WindowKind::Bare {
            // From now on it is for nothing else.
            session.contents.activity = ActivityState::Next(Activity::LoadDocument);
        }
        self.effects.act(Action::OpenWindow { session: id, ticket, shard, kind });
        true
    }

    /// Begins the next activities, the longest-waiting first, as far as the limits allow.
    fn begin_activities(&mut self, now: Moment) {
        let has_limit = |activity: &Activity| matches!(activity, Activity::Refresh | Activity::SignIn);
        let begins_at_once = |id: &SessionId| {
            let session = self.sessions.get(id)?;
            session.ready(now).filter(|activity| !has_limit(activity)).map(|_| (session.fresh_at, *id))
        };
        // Activities without a limit begin as soon as their session changes.
        let mut ready: Vec<_> = self.sessions.examined().iter().filter_map(begins_at_once).collect();
        let sign_ins_may_begin = self.sessions.take_may_sign_in();
        let index = self.sessions.fresh();
        let free = self.limits.max_refreshes.saturating_sub(index.count(Set::Refreshing));
        ready.extend(index.order(Order::ReadyRefresh).take(free));
        if sign_ins_may_begin {
            ready.extend(index.order(Order::ReadySignIn));
        }
        ready.sort_unstable();
        for (_, id) in ready {
            self.begin(id, now);
        }
    }

    fn begin(&mut self, id: SessionId, now: Moment) {
        self.sessions.fresh();
        let Some(session) = self.sessions.get(&id) else { return };
        let Some(activity) = session.ready(now) else { return };
        let index = self.sessions.index();
        let is_quiet = session.is_left_alone(&self.sessions.context().quiet);
        let has_room = match activity {
            Activity::Visit
            | Activity::LoadDocument
            | Activity::Repair
            | Activity::Reopen
            | Activity::Look => true,
            Activity::Refresh => {
                !is_quiet
                    && session.contents.beside.running.is_none()
                    && index.count(Set::Refreshing) < self.limits.max_refreshes
            }
            Activity::SignIn => {
                let on_site = session.site.map_or(0, |site| index.sign_ins(site));
                !is_quiet
                    && on_site < session.max_sign_ins.unwrap_or(self.limits.max_sign_ins_per_site)
                    && !session.access.account.is_some_and(|account| index.is_account_taken(account))
            }
        };
        let allowed = has_room && session.users_allow(activity);
        if !allowed {
            return;
        }
        let ticket = self.effects.next_ticket();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.contents.activity = ActivityState::Running(activity);
        session.ticket = ticket;
        if activity == Activity::SignIn {
            session.contents.attempt = Attempt::Running { typed_at: session.tried_at() };
            session.typed = session.access.login;
        }
        self.effects.touch(id);
        self.effects.act(Action::Begin { session: id, ticket, activity });
    }

    /// Forgets the sessions that ended longest ago if there are too many.
    fn forget_surplus(&mut self) {
        let ended = self.sessions.fresh().order(Order::Forget);
        let surplus = ended.len().saturating_sub(self.limits.max_remembered);
        let forgotten: Vec<SessionId> = ended.take(surplus).map(|(_, id)| id).collect();
        for id in forgotten {
            self.sessions.remove(id);
            self.effects.act(Action::Forget { session: id });
        }
    }
}
