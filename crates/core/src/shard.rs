//! The Chromium processes that the rules asked for, who has a place in which, and which keep failing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::backoff::Backoff;
use crate::ids::{LaunchKey, SessionId, ShardId};
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
    /// It gets no new windows, and those that it has are moved away.
    pub(crate) retiring: bool,
    /// When its last window left.
    pub(crate) empty_since: Moment,
}

/// How starting browsers of one kind has gone lately.
#[derive(Debug, Clone, Copy, Default)]
struct Health {
    failures: u32,
    not_before: Moment,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Shards {
    pub(crate) all: BTreeMap<ShardId, Shard>,
    health: BTreeMap<LaunchKey, Health>,
    last: u64,
}

impl Shards {
    /// A shared browser of this kind with room for one more window.
    pub(crate) fn with_room(&self, launch: LaunchKey, windows_per_browser: usize) -> Option<ShardId> {
        self.all
            .iter()
            .find(|(_, shard)| {
                shard.launch == launch
                    && shard.isolation == Isolation::Shared
                    && shard.state != ShardState::Stopping
                    && !shard.retiring
                    && shard.windows.len() < windows_per_browser
            })
            .map(|(id, _)| *id)
    }

    /// A new browser, to be started.
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
        self.all.insert(id, shard);
        id
    }

    /// A browser that outlived the rules that had it started.
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
        self.all.insert(kept.id, shard);
    }

    /// Gives a browser up, as soon as its windows are elsewhere.
    pub(crate) fn retire(&mut self, id: ShardId) {
        if let Some(shard) = self.all.get_mut(&id) {
            shard.retiring = true;
        }
    }

    /// When the next browser becomes too old.
    pub(crate) fn next_aging(&self, max_age: Duration) -> Option<Moment> {
        let ages = |shard: &Shard| match shard.state {
            ShardState::Running { since } if !shard.retiring => Some(since + max_age),
            _ => None,
        };
        self.all.values().filter_map(ages).min()
    }

    /// When the next browser of this kind may be started.
    pub(crate) fn not_before(&self, launch: LaunchKey) -> Moment {
        self.health.get(&launch).copied().unwrap_or_default().not_before
    }

    /// Remembers that a browser of this kind failed; gives how often in a row.
    pub(crate) fn failed(&mut self, launch: LaunchKey, backoff: Backoff, random: u64, now: Moment) -> u32 {
        let health = self.health.entry(launch).or_default();
        health.failures += 1;
        health.not_before = now + backoff.wait(health.failures, random);
        health.failures
    }

    /// Remembers that a browser of this kind lived long enough.
    pub(crate) fn settled(&mut self, launch: LaunchKey) {
        self.health.remove(&launch);
    }

    pub(crate) fn leave(&mut self, shard: ShardId, session: SessionId, now: Moment) {
        if let Some(shard) = self.all.get_mut(&shard) {
            shard.windows.remove(&session);
            shard.empty_since = now;
        }
    }

    /// When the next empty browser is to be ended.
    pub(crate) fn next_linger_end(&self, linger: Duration) -> Option<Moment> {
        self.all.values().filter(|shard| shard.is_idle()).map(|shard| shard.empty_since + linger).min()
    }
}

impl Shard {
    pub(crate) fn is_idle(&self) -> bool {
        self.windows.is_empty() && matches!(self.state, ShardState::Running { .. })
    }
}
