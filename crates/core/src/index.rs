//! An index over all sessions, kept up to date as they change: the next deadlines, the least recently used, and
//! counts. With it, a step need not examine all sessions.
//!
//! Each session has [`Keys`], which depend only on it and on the [`Context`]. When a session changes, its old keys
//! are removed from the index and the new ones are inserted.

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::activity::Activity;
use crate::contents::ActivityState;
use crate::ids::{AccountId, LoginId, SessionId, SiteId};
use crate::limits::Limits;
use crate::measured::MemoryEstimate;
use crate::session::{Session, Window};
use crate::time::Moment;

/// What the keys of a session depend on besides the session itself.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// The time of the step.
    pub(crate) now: Moment,
    /// See [`Limits::hibernate_after`].
    pub(crate) hibernate_after: Option<Duration>,
    /// See [`Limits::freeze_after`].
    pub(crate) freeze_after: Option<Duration>,
    /// See [`Limits::remember_ended`].
    pub(crate) remember_ended: Duration,
    /// Sites that have quiet hours at present.
    pub(crate) quiet: BTreeSet<SiteId>,
    /// `None` before the first measurement.
    pub(crate) memory: Option<MemoryEstimate>,
}

impl Context {
    pub(crate) fn new(limits: &Limits, now: Moment) -> Self {
        Self {
            now,
            hibernate_after: limits.hibernate_after,
            freeze_after: limits.freeze_after,
            remember_ended: limits.remember_ended,
            quiet: BTreeSet::new(),
            memory: None,
        }
    }
}

/// Orders of sessions by a time; of equal ones the lower id comes first. Not every session is in every order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Sessions that change when time passes, by the time of that change.
    Due,
    /// Sessions whose state must be saved and can be, by when that is due.
    Save,
    /// Sessions that ended and have no window, by when they ended.
    Forget,
    /// Idle sessions that have a refresh interval, by when the next refresh is due.
    Refresh,
    /// Hibernated sessions that need a refresh, by when that is due.
    AsleepRefresh,
    /// Sessions in use that need a refresh beside their page, by when that is due.
    BesideRefresh,
    /// Refreshes that may begin as far as their session is concerned, by when the portal last answered as expected.
    ReadyRefresh,
    /// The same for sign-ins.
    ReadySignIn,
    /// Sessions that may expire or be evicted, by their last use.
    Unprotected,
    /// Those of them that do not hibernate.
    UnprotectedLive,
    /// Sessions that may hibernate, now or some time after their last failed save, by their last use.
    MayHibernate,
    /// Sessions that may be frozen for lack of memory, now or later, by their last use.
    MayFreeze,
}

const ORDERS: usize = Order::MayFreeze as usize + 1;

/// Sets of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    /// Have not ended.
    Living,
    /// Have a window, or a place for one.
    WithWindow,
    /// Occupy a place.
    Occupying,
    /// Have a window that is about to be closed.
    Leaving,
    /// Lost their window, which is being restored at present.
    ComingBack,
    /// Are being moved from one browser to another.
    Moving,
    /// Are to be moved into a browser of their own.
    MovingOut,
    /// Wait for a person, or look signed out, and are checked with the refreshes.
    Looks,
    /// Take more memory than a window may.
    Oversized,
    /// Are being saved.
    Saving,
    /// Are being refreshed.
    Refreshing,
    /// Hibernate, and have or are to get a window for a refresh.
    RefreshWindows,
}

const SETS: usize = Set::RefreshWindows as usize + 1;

/// The order in which windows are opened: first new sessions, since clients wait for them, and with them the few
/// hibernated sessions that are refreshed; of the sessions that lost their window, first those that never terminate,
/// then the most recently used.
type WindowOrder = (bool, bool, Reverse<Moment>);

/// The keys under which a session is in the index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    orders: [Option<Moment>; ORDERS],
    sets: [bool; SETS],
    without_window: Option<WindowOrder>,
    /// The memory of its window, or what that would take if it ran.
    weight: Option<i64>,
    /// The memory before any outstanding order is executed, and after all are.
    claimed: i64,
    foreseen: i64,
    interval: Option<Duration>,
    identity: Option<u64>,
    login: Option<LoginId>,
    /// The site whose portal could not be reached.
    unreachable: Option<SiteId>,
    /// The site at which it is being signed in.
    signing_in: Option<SiteId>,
    /// The account with which it is being signed in, or was without a known outcome.
    account: Option<AccountId>,
    name: Option<String>,
}

impl Keys {
    /// Returns all keys of a session except its name.
    fn of(session: &Session, context: &Context) -> Self {
        let is_living = session.ended.is_none();
        let has_window = session.window != Window::None;
        let occupies = session.occupies();
        let memory = context.memory.map(|estimate| estimate.memory);
        let signs_in = session.contents.attempt.is_running();
        let mut keys = Self {
            without_window: session.needs_window().then_some((
                session.is_recovering(),
                !session.policy.never_terminate,
                Reverse(session.last_used),
            )),
            interval: session.policy.refresh_interval().filter(|_| is_living),
            identity: session.identity.filter(|_| is_living),
            login: session.access.login.filter(|_| is_living),
            unreachable: session.site.filter(|_| session.unreachable),
            signing_in: session.site.filter(|_| signs_in),
            account: session.access.account.filter(|_| signs_in || session.tried_at().is_some()),
            ..Self::default()
        };
        if let Some(memory) = memory.filter(|_| occupies) {
            keys.weight = is_living.then(|| memory.weigh_window(session, false));
            keys.claimed = memory.claimed(session);
            keys.foreseen = memory.foreseen(session);
        }
        keys.set_orders(session, context);
        let is_coming_back = session.is_recovering()
            && (matches!(session.window, Window::Opening(_))
                || matches!(session.contents.activity, ActivityState::Running(_)));
        for (set, is_member) in [
            (Set::Living, is_living),
            (Set::WithWindow, has_window),
            (Set::Occupying, occupies),
            (Set::Leaving, session.is_leaving()),
            (Set::ComingBack, is_coming_back),
            (Set::Moving, is_living && session.is_moving()),
            (Set::MovingOut, is_living && session.is_to_move_out()),
            (Set::Looks, session.is_looked_at()),
            (Set::Oversized, memory.is_some_and(|memory| session.is_oversized(memory))),
            (Set::Saving, session.contents.saves.running.is_some()),
            (Set::RefreshWindows, session.has_refresh_window() && (is_living || has_window)),
            (Set::Refreshing, session.is_refreshing()),
        ] {
            keys.sets[set as usize] = is_member;
        }
        keys
    }

    fn set_orders(&mut self, session: &Session, context: &Context) {
        let used = |is_member: bool| is_member.then_some(session.last_used);
        let ended_at = session.ended.map(|(at, _)| at);
        let ready = session.ready(context.now).filter(|activity| match activity {
            Activity::Refresh => session.is_free_for_refresh() && !session.is_left_alone(&context.quiet),
            Activity::SignIn => session.may_sign_in() && !session.is_left_alone(&context.quiet),
            Activity::Visit
            | Activity::LoadDocument
            | Activity::Repair
            | Activity::Reopen
            | Activity::Look => false,
        });
        let begins = |activity: Activity| (ready == Some(activity)).then_some(session.fresh_at);
        let unprotected = session.unprotected();
        for (order, moment) in [
            (Order::Due, session.deadline(context)),
            (Order::Save, session.save_due()),
            (Order::Forget, ended_at.filter(|_| session.window == Window::None)),
            (Order::Refresh, session.refresh_due(&context.quiet)),
            (Order::AsleepRefresh, session.asleep_refresh_due(&context.quiet)),
            (Order::BesideRefresh, session.beside_refresh_due(&context.quiet)),
            (Order::ReadyRefresh, begins(Activity::Refresh)),
            (Order::ReadySignIn, begins(Activity::SignIn)),
            (Order::Unprotected, used(unprotected)),
            (Order::UnprotectedLive, used(unprotected && !session.is_hibernating())),
            (Order::MayHibernate, used(session.may_hibernate_in_time())),
            (Order::MayFreeze, used(session.may_be_frozen_in_time())),
        ] {
            self.orders[order as usize] = moment;
        }
    }

    fn order(&self, order: Order) -> Option<Moment> {
        self.orders[order as usize]
    }
}

/// Sessions by a property that several of them can share.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Groups<K>(BTreeMap<K, BTreeSet<SessionId>>);

impl<K> Default for Groups<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Groups<K> {
    fn of<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&BTreeSet<SessionId>>
    where
        K: Borrow<Q>,
    {
        self.0.get(key)
    }

    fn moved(&mut self, id: SessionId, from: Option<K>, to: Option<K>) {
        if from == to {
            return;
        }
        if let Some(from) = from
            && let Some(members) = self.0.get_mut(&from)
        {
            members.remove(&id);
            if members.is_empty() {
                self.0.remove(&from);
            }
        }
        if let Some(to) = to {
            self.0.entry(to).or_default().insert(id);
        }
    }
}

/// The keys of all sessions, ordered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Index {
    orders: [BTreeSet<(Moment, SessionId)>; ORDERS],
    sets: [BTreeSet<SessionId>; SETS],
    without_window: BTreeSet<(WindowOrder, SessionId)>,
    weights: BTreeSet<(i64, SessionId)>,
    claimed: i128,
    foreseen: i128,
    intervals: BTreeSet<(Duration, SessionId)>,
    identities: Groups<u64>,
    logins: Groups<LoginId>,
    unreachable: Groups<SiteId>,
    signing_in: Groups<SiteId>,
    accounts: Groups<AccountId>,
    names: Groups<String>,
}

impl Index {
    /// Replaces the keys of a session in the index. `keys` are the ones that it had until now.
    ///
    /// Returns whether a sign-in may have become possible by that.
    pub(crate) fn update(&mut self, session: &Session, keys: &mut Keys, context: &Context) -> bool {
        let mut new = Keys::of(session, context);
        let name = session.name.as_ref().filter(|_| session.ended.is_none());
        // Names seldom change and must not be copied each time.
        if keys.name.as_ref() == name {
            new.name = keys.name.take();
        } else {
            new.name = name.cloned();
            self.names.moved(session.id, keys.name.take(), new.name.clone());
        }
        let may_sign_in = new.order(Order::ReadySignIn).is_some()
            && new.order(Order::ReadySignIn) != keys.order(Order::ReadySignIn);
        let was_freed = (keys.signing_in.is_some() && keys.signing_in != new.signing_in)
            || (keys.account.is_some() && keys.account != new.account);
        self.replace(session.id, keys, &new);
        *keys = new;
        may_sign_in || was_freed
    }

    /// Removes a session from the index.
    pub(crate) fn remove(&mut self, id: SessionId, mut keys: Keys) {
        self.names.moved(id, keys.name.take(), None);
        self.replace(id, &keys, &Keys::default());
    }

    fn replace(&mut self, id: SessionId, old: &Keys, new: &Keys) {
        for ((set, old), new) in self.orders.iter_mut().zip(old.orders).zip(new.orders) {
            moved(set, id, old, new);
        }
        for ((set, old), new) in self.sets.iter_mut().zip(old.sets).zip(new.sets) {
            match (old, new) {
                (false, true) => {
                    set.insert(id);
                }
                (true, false) => {
                    set.remove(&id);
                }
                (true, true) | (false, false) => {}
            }
        }
        moved(&mut self.without_window, id, old.without_window, new.without_window);
        moved(&mut self.weights, id, old.weight, new.weight);
        moved(&mut self.intervals, id, old.interval, new.interval);
        self.claimed += i128::from(new.claimed) - i128::from(old.claimed);
        self.foreseen += i128::from(new.foreseen) - i128::from(old.foreseen);
        self.identities.moved(id, old.identity, new.identity);
        self.logins.moved(id, old.login, new.login);
        self.unreachable.moved(id, old.unreachable, new.unreachable);
        self.signing_in.moved(id, old.signing_in, new.signing_in);
        self.accounts.moved(id, old.account, new.account);
    }

    /// Returns the sessions of an order, the earliest first.
    pub(crate) fn order(&self, order: Order) -> impl ExactSizeIterator<Item = (Moment, SessionId)> {
        self.orders[order as usize].iter().copied()
    }

    /// Returns the sessions of an order that are due, the earliest first.
    pub(crate) fn until(&self, order: Order, now: Moment) -> impl Iterator<Item = SessionId> {
        self.order(order).take_while(move |(at, _)| *at <= now).map(|(_, id)| id)
    }

    /// Returns the first time in an order that is after `now`.
    pub(crate) fn next_after(&self, order: Order, now: Moment) -> Option<Moment> {
        let first = (Moment(now.0.saturating_add(1)), SessionId(0));
        self.orders[order as usize].range(first..).next().map(|(at, _)| *at)
    }

    /// Returns the sessions of a set, by id.
    pub(crate) fn set(&self, set: Set) -> impl ExactSizeIterator<Item = SessionId> {
        self.sets[set as usize].iter().copied()
    }

    /// Returns how many sessions are in a set.
    pub(crate) fn count(&self, set: Set) -> usize {
        self.sets[set as usize].len()
    }

    /// Returns the sessions that should have a window for which none has been ordered yet, in their order.
    pub(crate) fn without_window(&self) -> impl Iterator<Item = SessionId> {
        self.without_window.iter().map(|(_, id)| *id)
    }

    /// Returns the memory of the window of each living session, or what it would take if it ran, the smallest first.
    pub(crate) fn weights(&self) -> impl DoubleEndedIterator<Item = (i64, SessionId)> + ExactSizeIterator {
        self.weights.iter().copied()
    }

    /// Returns the memory of all windows before any outstanding order is executed.
    pub(crate) fn claimed(&self) -> i128 {
        self.claimed
    }

    /// Returns the memory of all windows once all outstanding orders are executed.
    pub(crate) fn foreseen(&self) -> i128 {
        self.foreseen
    }

    /// Returns the shortest refresh interval of all living sessions.
    pub(crate) fn shortest_interval(&self) -> Option<Duration> {
        self.intervals.first().map(|(interval, _)| *interval)
    }

    /// Returns the living sessions of a name.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = SessionId> {
        self.names.of(name).into_iter().flatten().copied()
    }

    /// Returns the living sessions of an identity.
    pub(crate) fn identical(&self, identity: u64) -> impl Iterator<Item = SessionId> {
        self.identities.of(&identity).into_iter().flatten().copied()
    }

    /// Returns the living sessions that sign in with the same login.
    pub(crate) fn with_login(&self, login: LoginId) -> impl Iterator<Item = SessionId> {
        self.logins.of(&login).into_iter().flatten().copied()
    }

    /// Returns the sessions of a site whose portal could not be reached.
    pub(crate) fn unreachable(&self, site: SiteId) -> impl Iterator<Item = SessionId> {
        self.unreachable.of(&site).into_iter().flatten().copied()
    }

    /// Returns how many sessions are being signed in at a site.
    pub(crate) fn sign_ins(&self, site: SiteId) -> usize {
        self.signing_in.of(&site).map_or(0, BTreeSet::len)
    }

    /// Returns whether a sign-in with an account runs, or its outcome is not known.
    pub(crate) fn is_account_taken(&self, account: AccountId) -> bool {
        self.accounts.of(&account).is_some()
    }
}

fn moved<K: Ord + Copy>(set: &mut BTreeSet<(K, SessionId)>, id: SessionId, from: Option<K>, to: Option<K>) {
    if from == to {
        return;
    }
    if let Some(from) = from {
        set.remove(&(from, id));
    }
    if let Some(to) = to {
        set.insert((to, id));
    }
}
