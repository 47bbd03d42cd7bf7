//! The Chromium processes that the rules requested: which sessions are assigned to each, and which kinds fail
//! repeatedly.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::backoff::Backoff;
use crate::ids::{LaunchKey, SessionId, ShardId};
use crate::limits::Limits;
use crate::persisted::AdoptedShard;
use crate::spec::Isolation;
use crate::time::Moment;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShardState {
    Starting,
    Running { since: Moment },
    Stopping,
}

#[derive(Debug, Clone)]
pub(crate) struct Shard {
    pub(crate) launch: LaunchKey,
    pub(crate) isolation: Isolation,
    pub(crate) state: ShardState,
    pub(crate) windows: BTreeSet<SessionId>,
    /// It gets no new windows, and its windows are moved away.
    pub(crate) retiring: bool,
    /// When its last window was removed.
    pub(crate) empty_since: Moment,
}

/// Recent starts of browsers of one kind.
#[derive(Debug, Clone, Copy, Default)]
struct Health {
    failures: u32,
    not_before: Moment,
}

/// Browsers by their state, kept up to date as they change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Lists {
    /// Shared ones that have room for another window.
    with_room: BTreeSet<(LaunchKey, ShardId)>,
    /// Running ones without a window.
    idle: BTreeSet<ShardId>,
    retiring: BTreeSet<ShardId>,
    /// Running ones that are not retiring yet, by when they were started.
    aging: BTreeSet<(Moment, ShardId)>,
}

impl Lists {
    fn add(&mut self, id: ShardId, shard: &Shard, windows_per_browser: usize) {
        if shard.has_room(windows_per_browser) {
            self.with_room.insert((shard.launch, id));
        }
        if shard.is_idle() {
            self.idle.insert(id);
        }
        if shard.retiring {
            self.retiring.insert(id);
        } else if let ShardState::Running { since } = shard.state {
            self.aging.insert((since, id));
        }
    }

    fn remove(&mut self, id: ShardId, shard: &Shard) {
        self.with_room.remove(&(shard.launch, id));
        self.idle.remove(&id);
        self.retiring.remove(&id);
        if let ShardState::Running { since } = shard.state {
            self.aging.remove(&(since, id));
        }
    }
}

/// All browsers. They are changed only by [`Self::change`].
#[derive(Debug, Clone)]
pub(crate) struct Shards {
    all: BTreeMap<ShardId, Shard>,
    lists: Lists,
    windows_per_browser: usize,
    health: BTreeMap<LaunchKey, Health>,
    last: u64,
}

impl Shards {
    pub(crate) fn new(windows_per_browser: usize) -> Self {
        Self {
            all: BTreeMap::new(),
            lists: Lists::default(),
            windows_per_browser,
            health: BTreeMap::new(),
            last: 0,
        }
    }

    pub(crate) fn get(&self, id: ShardId) -> Option<&Shard> {
        self.all.get(&id)
    }

    /// Changes a browser, if there is one with this id.
    fn change(&mut self, id: ShardId, change: impl FnOnce(&mut Shard)) {
        if let Some(shard) = self.all.get_mut(&id) {
            self.lists.remove(id, shard);
            change(shard);
            self.lists.add(id, shard, self.windows_per_browser);
        }
    }

    fn insert(&mut self, id: ShardId, shard: Shard) {
        self.lists.add(id, &shard, self.windows_per_browser);
        self.all.insert(id, shard);
    }

    /// Removes a browser that ended, and returns it.
    pub(crate) fn remove(&mut self, id: ShardId) -> Option<Shard> {
        let shard = self.all.remove(&id)?;
        self.lists.remove(id, &shard);
        Some(shard)
    }

    /// Returns a shared browser of this kind that has room for another window.
    pub(crate) fn with_room(&self, launch: LaunchKey) -> Option<ShardId> {
        let of_this_kind = (launch, ShardId(0))..=(launch, ShardId(u64::MAX));
        self.lists.with_room.range(of_this_kind).next().map(|(_, id)| *id)
    }

    /// Adds a new browser that is to be started.
    pub(crate) fn add(&mut self, launch: LaunchKey, isolation: Isolation, now: Moment) -> ShardId {
        self.last += 1;
        let id = ShardId(self.last);
        let shard = Shard {
            launch,
            isolation,
            state: ShardState::Starting,
            windows: BTreeSet::new(),
            retiring: false,
            empty_since: now,
        };
        self.insert(id, shard);
        id
    }

    /// Adds a browser that was started by an earlier server.
    pub(crate) fn adopt(&mut self, kept: AdoptedShard, now: Moment) {
        self.last = self.last.max(kept.id.0);
        let shard = Shard {
            launch: kept.launch,
            isolation: kept.isolation,
            state: ShardState::Running { since: kept.since },
            windows: BTreeSet::new(),
            retiring: kept.outdated,
            empty_since: now,
        };
        self.insert(kept.id, shard);
    }

    /// Notes that a browser that was starting is running.
    pub(crate) fn started(&mut self, id: ShardId, now: Moment) {
        self.change(id, |shard| {
            if shard.state == ShardState::Starting {
                shard.state = ShardState::Running { since: now };
                shard.empty_since = now;
            }
        });
    }

    /// Retires a browser: it ends once its windows have been moved.
    pub(crate) fn retire(&mut self, id: ShardId) {
        self.change(id, |shard| shard.retiring = true);
    }

    /// Returns the browsers that are being retired.
    pub(crate) fn retiring(&self) -> impl Iterator<Item = &Shard> {
        self.lists.retiring.iter().filter_map(|id| self.all.get(id))
    }

    /// Retires the browsers that have become too old, and removes those that are not needed. Returns the latter.
    pub(crate) fn settle(&mut self, limits: &Limits, now: Moment) -> Vec<ShardId> {
        let aged = self.lists.aging.iter();
        let aged = aged.take_while(|(since, _)| now.since(*since) >= limits.browser_max_age);
        let aged: Vec<ShardId> = aged.map(|(_, id)| *id).collect();
        for id in aged {
            self.retire(id);
        }
        // Once a browser of a kind has lived long enough, earlier failures do not count.
        if !self.health.is_empty() {
            for shard in self.all.values() {
                if let ShardState::Running { since } = shard.state
                    && now.since(since) >= limits.shard_settled_after
                {
                    self.health.remove(&shard.launch);
                }
            }
        }
        let lingers = |shard: &Shard| {
            !shard.retiring
                && shard.isolation == Isolation::Shared
                && now < shard.empty_since + limits.shard_linger
        };
        let idle = self.lists.idle.iter().copied();
        let stopped: Vec<ShardId> =
            idle.filter(|id| self.all.get(id).is_some_and(|shard| !lingers(shard))).collect();
        for id in &stopped {
            self.change(*id, |shard| shard.state = ShardState::Stopping);
        }
        stopped
    }

    /// Returns when the next browser reaches its maximum age.
    pub(crate) fn next_aging(&self, max_age: Duration) -> Option<Moment> {
        self.lists.aging.first().map(|(since, _)| *since + max_age)
    }

    /// Returns when the next browser of this kind may be started.
    pub(crate) fn not_before(&self, launch: LaunchKey) -> Moment {
        self.health.get(&launch).copied().unwrap_or_default().not_before
    }

    /// Notes that a browser of this kind failed; returns the number of consecutive failures.
    pub(crate) fn failed(&mut self, launch: LaunchKey, backoff: Backoff, random: u64, now: Moment) -> u32 {
        let health = self.health.entry(launch).or_default();
        health.failures += 1;
        health.not_before = now + backoff.wait(health.failures, random);
        health.failures
    }

    /// Assigns a session to a browser.
    pub(crate) fn enter(&mut self, shard: ShardId, session: SessionId) {
        self.change(shard, |shard| {
            shard.windows.insert(session);
        });
    }

    pub(crate) fn leave(&mut self, shard: ShardId, session: SessionId, now: Moment) {
        self.change(shard, |shard| {
            shard.windows.remove(&session);
            shard.empty_since = now;
        });
    }

    /// Returns when the next empty browser is to be ended.
    pub(crate) fn next_linger_end(&self, linger: Duration) -> Option<Moment> {
        let idle = self.lists.idle.iter().filter_map(|id| self.all.get(id));
        idle.map(|shard| shard.empty_since + linger).min()
    }

    /// Checks the lists against the browsers.
    ///
    /// # Errors
    /// Returns a description of the difference.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut lists = Lists::default();
        self.all.iter().for_each(|(id, shard)| lists.add(*id, shard, self.windows_per_browser));
        (lists == self.lists)
            .then_some(())
            .ok_or_else(|| format!("browsers are listed as {:?}, and are {lists:?}", self.lists))
    }
}

impl Shard {
    fn is_idle(&self) -> bool {
        self.windows.is_empty() && matches!(self.state, ShardState::Running { .. })
    }

    fn has_room(&self, windows_per_browser: usize) -> bool {
        self.isolation == Isolation::Shared
            && self.state != ShardState::Stopping
            && !self.retiring
            && self.windows.len() < windows_per_browser
    }
}
