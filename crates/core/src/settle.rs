//! Once an input is in: start whatever may start now, in a fixed order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::action::{Action, Answer};
use crate::activity::Activity;
use crate::ids::{AccountId, SessionId, SiteId};
use crate::rules::Rules;
use crate::session::{ActivityState, Session, Window};
use crate::shard::ShardState;
use crate::spec::Isolation;
use crate::time::Moment;

/// What runs right now and has a limit over all sessions.
#[derive(Default)]
struct Running {
    refreshes: usize,
    sign_ins: BTreeMap<SiteId, usize>,
    accounts: BTreeSet<AccountId>,
}

impl Rules {
    pub(crate) fn settle(&mut self, now: Moment) {
        self.answer_close_requests();
        self.settle_hibernation(now);
        self.settle_freezing(now);
        self.admit(now);
        self.reclaim_memory(now);
        self.give_windows(now);
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            self.serve_waiting(id, now);
            self.begin_refresh_requests(id);
        }
        self.begin_activities(now);
        self.begin_saves(now);
        self.settle_shards(now);
        self.forget_surplus();
    }

    fn answer_close_requests(&mut self) {
        let gone = |session: &&mut Session| session.window == Window::None && session.ended.is_some();
        let close_requests: Vec<_> = self
            .sessions
            .values_mut()
            .filter(gone)
            .flat_map(|session| std::mem::take(&mut session.close_requests))
            .collect();
        for request in close_requests {
            self.answer(request, Ok(Answer::Done));
        }
    }

    /// Newcomers first, since somebody waits for them; of those that lost theirs, first those that never
    /// terminate, then the most recently used.
    fn give_windows(&mut self, now: Moment) {
        let without_window = |session: &&Session| {
            matches!(session.window, Window::None | Window::Placed(_))
                && session.ended.is_none()
                && !session.is_hibernating
        };
        let order = |session: &Session| {
            (session.recovering, !session.policy.never_terminate, Reverse(session.last_used), session.id)
        };
        let mut without_window: Vec<_> = self.sessions.values().filter(without_window).map(order).collect();
        without_window.sort_unstable();
        let coming_back = |session: &&Session| {
            session.recovering
                && (matches!(session.window, Window::Opening(_))
                    || matches!(session.activity, ActivityState::Running(_)))
        };
        let mut recoveries = self.sessions.values().filter(coming_back).count();
        for (recovering, _, _, id) in without_window {
            if recovering && recoveries >= self.limits.max_recoveries {
                continue;
            }
            self.place(id, now);
            recoveries += usize::from(self.open(id) && recovering);
        }
    }

    /// Gives a session without a window a place in a browser, starting one where none has room.
    fn place(&mut self, id: SessionId, now: Moment) {
        let Some(session) = self.sessions.get(&id) else { return };
        if session.ended.is_some() || session.window != Window::None || session.not_before > now {
            return;
        }
        let (launch, isolation) = (session.launch, session.isolation);
        let found = match isolation {
            Isolation::Shared => self.shards.with_room(launch, self.limits.windows_per_browser),
            Isolation::Dedicated => None,
        };
        let shard = match found {
            Some(shard) => shard,
            None if self.shards.not_before(launch) > now => return,
            None => {
                let shard = self.shards.add(launch, isolation, now);
                self.act(Action::StartShard { shard, launch, isolation });
                shard
            }
        };
        if let (Some(shard_entry), Some(session)) =
            (self.shards.all.get_mut(&shard), self.sessions.get_mut(&id))
        {
            shard_entry.windows.insert(id);
            session.window = Window::Placed(shard);
        }
        self.touch(id);
    }

    /// Orders the window of a session whose browser runs.
    fn open(&mut self, id: SessionId) -> bool {
        let Some(Window::Placed(shard)) = self.sessions.get(&id).map(|session| session.window) else {
            return false;
        };
        let running =
            self.shards.all.get(&shard).is_some_and(|s| matches!(s.state, ShardState::Running { .. }));
        if !running {
            return false;
        }
        let ticket = self.next_ticket();
        if let Some(session) = self.sessions.get_mut(&id) {
            session.window = Window::Opening(shard);
            session.ticket = ticket;
        }
        self.act(Action::OpenWindow { session: id, ticket, shard });
        true
    }

    /// Begins what sessions want next, the longest-waiting first, as far as the limits allow.
    fn begin_activities(&mut self, now: Moment) {
        let wants = |session: &&Session| {
            matches!(session.activity, ActivityState::Next(_))
                && matches!(session.window, Window::Open(_))
                && session.freeze_state.runs()
                && session.not_before <= now
        };
        let mut ready: Vec<_> =
            self.sessions.values().filter(wants).map(|session| (session.fresh_at, session.id)).collect();
        if ready.is_empty() {
            return;
        }
        ready.sort_unstable();
        let mut running = self.running();
        for (_, id) in ready {
            self.begin(id, &mut running);
        }
    }

    fn running(&self) -> Running {
        let mut running = Running::default();
        for session in self.sessions.values() {
            running.refreshes += usize::from(session.activity == ActivityState::Running(Activity::Refresh));
            if session.sign_in_running || session.tried_at.is_some() {
                running.accounts.extend(session.access.account);
            }
            if let Some(site) = session.site.filter(|_| session.sign_in_running) {
                *running.sign_ins.entry(site).or_default() += 1;
            }
        }
        running
    }

    fn begin(&mut self, id: SessionId, running: &mut Running) {
        let Some(session) = self.sessions.get(&id) else { return };
        let ActivityState::Next(activity) = session.activity else { return };
        let is_asked = !session.refresh_requests.is_empty() || session.is_wanted() || !session.established;
        let is_quiet = !is_asked && session.site.is_some_and(|site| self.quiet.contains(&site));
        let allowed = match activity {
            Activity::Visit | Activity::Repair => true,
            Activity::Look => !session.in_use(),
            // Before it ever stood, or on its way back, a use has nothing without it.
            Activity::Reopen => !session.in_use() || session.is_coming_back() || !session.established,
            Activity::Refresh => {
                !is_quiet && !session.in_use() && running.refreshes < self.limits.max_refreshes
            }
            Activity::SignIn => {
                let on_site = session.site.and_then(|site| running.sign_ins.get(&site).copied());
                !is_quiet
                    && session.may_sign_in()
                    && on_site.unwrap_or(0)
                        < session.max_sign_ins.unwrap_or(self.limits.max_sign_ins_per_site)
                    && !session.access.account.is_some_and(|account| running.accounts.contains(&account))
            }
        };
        if !allowed {
            return;
        }
        let ticket = self.next_ticket();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.activity = ActivityState::Running(activity);
        session.ticket = ticket;
        match activity {
            Activity::Refresh => running.refreshes += 1,
            Activity::SignIn => {
                session.sign_in_running = true;
                session.typed = session.access.login;
                running.accounts.extend(session.access.account);
                if let Some(site) = session.site {
                    *running.sign_ins.entry(site).or_default() += 1;
                }
            }
            Activity::Visit | Activity::Repair | Activity::Reopen | Activity::Look => {}
        }
        self.touch(id);
        self.act(Action::Begin { session: id, ticket, activity });
    }

    fn settle_shards(&mut self, now: Moment) {
        let (linger, settled_after) = (self.limits.shard_linger, self.limits.shard_settled_after);
        let max_age = self.limits.browser_max_age;
        let mut stop = Vec::new();
        let mut settled = BTreeSet::new();
        for (id, shard) in &mut self.shards.all {
            if let ShardState::Running { since } = shard.state
                && now.since(since) >= settled_after
            {
                settled.insert(shard.launch);
            }
            if let ShardState::Running { since } = shard.state
                && now.since(since) >= max_age
            {
                shard.retiring = true;
            }
            let lingers =
                !shard.retiring && shard.isolation == Isolation::Shared && now < shard.empty_since + linger;
            if shard.is_idle() && !lingers {
                shard.state = ShardState::Stopping;
                stop.push(*id);
            }
        }
        for launch in settled {
            self.shards.settled(launch);
        }
        for shard in stop {
            self.act(Action::StopShard { shard });
        }
    }

    /// Forgets the sessions that ended longest ago where there are too many.
    fn forget_surplus(&mut self) {
        let forgettable = |session: &&Session| session.ended.is_some() && session.window == Window::None;
        let mut ended: Vec<_> = self
            .sessions
            .values()
            .filter(forgettable)
            .map(|session| (session.ended.map(|(at, _)| at), session.id))
            .collect();
        let surplus = ended.len().saturating_sub(self.limits.max_remembered);
        if surplus == 0 {
            return;
        }
        ended.sort_unstable();
        for (_, id) in ended.into_iter().take(surplus) {
            self.sessions.remove(&id);
            self.act(Action::Forget { session: id });
        }
    }
}
