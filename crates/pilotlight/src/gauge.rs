//! The gauge: measures what all browsers take, and tells the rules how that stands to the budget.
//!
//! It decides nothing: who gets colder is the rules' affair. It never asks a page for more than which process
//! shows it, and counts shared memory once. Counting so costs the kernel a walk over all pages of a process, so
//! each time a few processes are counted, and of the others only by how much they have changed since.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use pilotlight_api::SessionState;
use pilotlight_core as core;
use pilotlight_levers::{Measure, Memory, Pressure, ProcessMemory, Swap, trees};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::config::MemoryBudget;
use crate::keeper::KeeperHandle;

/// The time between two measurements while memory is short, or could soon be.
const EVERY: Duration = Duration::from_secs(2);
/// While there is plenty, only every so many times is measured: each costs the kernel a walk over all memory.
const RELAXED_TURNS: u32 = 10;
/// Processes that are counted in full each time.
const IN_FULL: usize = 2;
/// What is plenty: less than this share of the budget is taken, in percent.
const RELAXED_PERCENT: u64 = 70;
/// The share of the machine's memory that `memory_budget = "auto"` is, in percent.
const AUTO_PERCENT: u64 = 70;
/// This share of the machine's memory is left free for others whatever the budget, in percent.
const RESERVE_PERCENT: u64 = 5;
/// Where everybody waited for memory for more than this share of the time since the last measurement, …
const STALLED_SHARE: f64 = 0.05;
/// … and less than this share of the machine's memory is left, in percent (pages that come back from swap or
/// disk are waited for too, which says nothing about want), …
const STALLED_AVAILABLE_PERCENT: u64 = 25;
/// … the browsers are to take only this share of what they take.
const STALLED_BUDGET_PERCENT: u64 = 90;
/// What a running window is reckoned with until one was measured, in bytes.
const RUNNING_BYTES: u64 = 120_000_000;
/// What is reckoned to be left of it when it stands still, until one was measured, in percent.
const FROZEN_PERCENT: u64 = 60;

/// What was measured last. Clones share it.
#[derive(Debug, Clone)]
pub struct Gauge {
    reading: watch::Receiver<Option<Reading>>,
}

/// What is taken, in bytes where nothing else is said.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// All browsers: each process once, shared memory by shares where we may look.
    pub browsers: ProcessMemory,
    /// What the swapped part of it takes of the memory all the same, compressed.
    pub compressed_bytes: u64,
    /// The shims.
    pub shims: ProcessMemory,
    /// This server.
    pub server: ProcessMemory,
    /// What the browsers may take at the moment.
    pub budget_bytes: u64,
    /// The renderers of windows that run.
    pub running: Tier,
    /// The renderers of windows that stand still.
    pub frozen: Tier,
}

/// Windows of one temperature.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tier {
    /// How many were measured.
    pub windows: u64,
    /// What they take, compressed swap among it, in bytes.
    pub bytes: u64,
}

impl Tier {
    fn add(&mut self, bytes: u64) {
        self.windows += 1;
        self.bytes += bytes;
    }

    fn average(&self) -> Option<u64> {
        self.bytes.checked_div(self.windows)
    }
}

impl Reading {
    /// What the browsers take, compressed swap among it.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.browsers.bytes.saturating_add(self.compressed_bytes)
    }

    fn for_the_rules(&self) -> core::Memory {
        let running_bytes = self.running.average().unwrap_or(RUNNING_BYTES);
        let frozen_bytes = self.frozen.average().unwrap_or(running_bytes / 100 * FROZEN_PERCENT);
        core::Memory {
            used_bytes: self.used_bytes(),
            budget_bytes: self.budget_bytes,
            running_bytes,
            frozen_bytes: frozen_bytes.min(running_bytes),
        }
    }

    fn is_relaxed(&self) -> bool {
        self.used_bytes() < self.budget_bytes / 100 * RELAXED_PERCENT
    }
}

impl Gauge {
    /// Measures until `stop`.
    #[must_use]
    pub fn watch(budget: MemoryBudget, keeper: KeeperHandle, stop: CancellationToken) -> Self {
        let (sender, reading) = watch::channel(None);
        tokio::spawn(async move {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut turns_left = 0;
            let mut scale = Scale::default();
            let mut browsers = BTreeMap::new();
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                // A browser that came or went is looked at soon.
                let now = keeper.directory().browsers.clone();
                let is_as_before = browsers == now;
                browsers = now;
                if turns_left > 0 && is_as_before {
                    turns_left -= 1;
                    continue;
                }
                let Some(reading) = read(budget, &keeper, &mut scale).await else { continue };
                turns_left = if reading.is_relaxed() { RELAXED_TURNS - 1 } else { 0 };
                keeper.measured(reading.for_the_rules()).await;
                sender.send_replace(Some(reading));
            }
        });
        Self { reading }
    }

    /// The last reading; `None` before the first one.
    #[must_use]
    pub fn reading(&self) -> Option<Reading> {
        *self.reading.borrow()
    }
}

/// A window's renderers.
struct Renderers {
    is_still: bool,
    pids: Vec<u32>,
}

/// What processes were counted to take, the ones at one time, the others at another.
#[derive(Debug, Default)]
struct Scale {
    counted: BTreeMap<u32, Counted>,
    /// The process that was counted last.
    last: u32,
    /// For how long everybody had waited for memory, and when that was read. Averages of the kernel would tell of
    /// what is over and done with already.
    stalled: Option<(Instant, u64)>,
}

/// A process when it was counted.
#[derive(Debug, Clone, Copy)]
struct Counted {
    full: ProcessMemory,
    quick: ProcessMemory,
}

impl Scale {
    /// What each of these processes takes now.
    fn weigh(&mut self, pids: &BTreeSet<u32>) -> BTreeMap<u32, ProcessMemory> {
        self.counted.retain(|pid, _| pids.contains(pid));
        // Round and round.
        let next = pids.range(self.last.saturating_add(1)..).chain(pids).take(IN_FULL.min(pids.len()));
        for &pid in next {
            if let (Some(full), Some(quick)) = (ProcessMemory::of(pid), ProcessMemory::quick(pid)) {
                self.counted.insert(pid, Counted { full, quick });
            }
            self.last = pid;
        }
        let weight = |pid: &u32| {
            let quick = ProcessMemory::quick(*pid)?;
            let weight = self.counted.get(pid).map_or(quick, |counted| counted.now(quick));
            Some((*pid, weight))
        };
        pids.iter().filter_map(weight).collect()
    }

    /// For which share of the time since the last call everybody waited for memory.
    fn stalled_share(&mut self, pressure: Option<Pressure>, now: Instant) -> f64 {
        let Some(pressure) = pressure else { return 0.0 };
        let (at, before) = self.stalled.replace((now, pressure.full.total_us)).unwrap_or((now, u64::MAX));
        let waited = Duration::from_micros(pressure.full.total_us.saturating_sub(before));
        waited.as_secs_f64() / now.duration_since(at).as_secs_f64().max(0.001)
    }
}

impl Counted {
    /// What it takes now, by how it has changed.
    fn now(&self, quick: ProcessMemory) -> ProcessMemory {
        let changed = |full: u64, before: u64, now: u64| full.saturating_add(now).saturating_sub(before);
        ProcessMemory {
            bytes: changed(self.full.bytes, self.quick.bytes, quick.bytes),
            swapped_bytes: changed(self.full.swapped_bytes, self.quick.swapped_bytes, quick.swapped_bytes),
            measure: self.full.measure,
        }
    }
}

async fn read(budget: MemoryBudget, keeper: &KeeperHandle, scale: &mut Scale) -> Option<Reading> {
    let directory = keeper.directory();
    let windows = directory.sessions.values().map(async |published| Renderers {
        pids: published.renderer_pids().await,
        is_still: published.state() == SessionState::Frozen,
    });
    let windows: Vec<Renderers> = join_all(windows).await;
    let browsers: Vec<u32> = directory.browsers.values().map(|browser| browser.pid).collect();
    let shims: Vec<u32> = directory.browsers.values().filter_map(|browser| browser.shim_pid).collect();
    let mut taken = std::mem::take(scale);
    // Walks over page tables, on a thread that may.
    let weighing = tokio::task::spawn_blocking(move || {
        let reading = weigh(budget, &mut taken, &windows, &browsers, &shims);
        (taken, reading)
    });
    let (taken, reading) = weighing.await.ok()?;
    *scale = taken;
    Some(reading)
}

fn weigh(
    budget: MemoryBudget,
    scale: &mut Scale,
    windows: &[Renderers],
    browsers: &[u32],
    shims: &[u32],
) -> Reading {
    let swap = Swap::now();
    let measured = scale.weigh(&trees(browsers).into_iter().flatten().collect());
    let (mut running, mut frozen) = (Tier::default(), Tier::default());
    for Renderers { is_still, pids } in windows.iter().filter(|window| !window.pids.is_empty()) {
        let memory: ProcessMemory = pids.iter().filter_map(|pid| measured.get(pid).copied()).sum();
        let tier = if *is_still { &mut frozen } else { &mut running };
        tier.add(memory.bytes + swap.held_bytes(memory.swapped_bytes));
    }
    let browsers: ProcessMemory = measured.into_values().sum();
    let compressed_bytes = swap.held_bytes(browsers.swapped_bytes);
    let used_bytes = browsers.bytes.saturating_add(compressed_bytes);
    Reading {
        browsers,
        compressed_bytes,
        shims: shims.iter().filter_map(|pid| ProcessMemory::quick(*pid)).sum(),
        server: ProcessMemory::quick(std::process::id()).unwrap_or(NOTHING),
        budget_bytes: budget_bytes(
            budget,
            used_bytes,
            Memory::now(),
            scale.stalled_share(Pressure::now(), Instant::now()),
        ),
        running,
        frozen,
    }
}

const NOTHING: ProcessMemory = ProcessMemory { bytes: 0, swapped_bytes: 0, measure: Measure::Proportional };

/// What the browsers may take now: what was configured, or less where the machine has less to give.
fn budget_bytes(budget: MemoryBudget, used_bytes: u64, memory: Option<Memory>, stalled_share: f64) -> u64 {
    let configured = match (budget, memory) {
        (MemoryBudget::Bytes(bytes), _) => bytes,
        (MemoryBudget::Auto, Some(memory)) => memory.total_bytes / 100 * AUTO_PERCENT,
        (MemoryBudget::Auto, None) => u64::MAX,
    };
    let spared = memory.map(|memory| {
        let reserve = memory.total_bytes / 100 * RESERVE_PERCENT;
        used_bytes.saturating_add(memory.available_bytes).saturating_sub(reserve)
    });
    let is_short = memory
        .is_none_or(|memory| memory.available_bytes < memory.total_bytes / 100 * STALLED_AVAILABLE_PERCENT);
    let unstalled =
        (is_short && stalled_share > STALLED_SHARE).then_some(used_bytes / 100 * STALLED_BUDGET_PERCENT);
    [spared, unstalled].into_iter().flatten().fold(configured, u64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Memory = Memory { total_bytes: 10_000, available_bytes: 5_000, is_limited: false };

    fn pressure(total_us: u64) -> Option<Pressure> {
        let line = |word| format!("{word} avg10=90.00 avg60=0.00 avg300=0.00 total={total_us}\n");
        Some(Pressure::parse(&(line("some") + &line("full"))).unwrap())
    }

    #[test]
    fn only_what_was_waited_for_since_the_last_time_counts() {
        let (mut scale, start) = (Scale::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert_eq!(scale.stalled_share(pressure(9_000_000), start), 0.0, "who knows when that was");
        assert_eq!(scale.stalled_share(pressure(9_500_000), start + second), 0.5);
        assert_eq!(scale.stalled_share(pressure(9_500_000), start + 2 * second), 0.0);
        assert_eq!(scale.stalled_share(None, start + 3 * second), 0.0);
    }

    #[test]
    fn the_budget_is_what_was_configured_or_what_the_machine_can_spare() {
        let auto = |used, memory, stalled| budget_bytes(MemoryBudget::Auto, used, memory, stalled);
        assert_eq!(auto(3_000, Some(MEMORY), 0.0), 7_000);
        assert_eq!(budget_bytes(MemoryBudget::Bytes(4_000), 3_000, Some(MEMORY), 0.0), 4_000);
        let short = Memory { available_bytes: 400, ..MEMORY };
        assert_eq!(auto(3_000, Some(short), 0.0), 2_900, "others take so much that 100 are to be given back");
        let tight = Memory { available_bytes: 2_000, ..MEMORY };
        assert_eq!(auto(3_000, Some(tight), 0.2), 2_700, "everybody waits");
        assert_eq!(auto(3_000, Some(MEMORY), 0.2), 7_000, "everybody waits, but not for want of memory");
        assert_eq!(auto(3_000, None, 0.0), u64::MAX);
    }

    #[test]
    fn what_was_not_counted_lately_is_reckoned_by_its_change() {
        let own = std::process::id();
        let mut scale = Scale::default();
        let first = scale.weigh(&[own].into())[&own];
        assert_eq!(first.measure, Measure::Proportional);
        let counted = scale.counted[&own];
        let more = ProcessMemory { bytes: counted.quick.bytes + 1_000, ..counted.quick };
        assert_eq!(counted.now(more).bytes, counted.full.bytes + 1_000);
        let gone = ProcessMemory { bytes: 0, ..counted.quick };
        assert_eq!(counted.now(gone).bytes, counted.full.bytes.saturating_sub(counted.quick.bytes));
        assert!(scale.weigh(&BTreeSet::new()).is_empty() && scale.counted.is_empty());
    }

    #[test]
    fn all_are_counted_in_turn() {
        let pids: BTreeSet<u32> = (1..=64).filter(|pid| ProcessMemory::of(*pid).is_some()).collect();
        let mut scale = Scale::default();
        for _ in 0..pids.len().div_ceil(IN_FULL) {
            scale.weigh(&pids);
        }
        assert_eq!(scale.counted.keys().copied().collect::<BTreeSet<u32>>(), pids);
    }

    #[test]
    fn windows_are_reckoned_with_as_they_were_measured() {
        let browsers = ProcessMemory { bytes: 500, swapped_bytes: 300, measure: Measure::Proportional };
        let mut reading = Reading {
            browsers,
            compressed_bytes: 100,
            shims: NOTHING,
            server: NOTHING,
            budget_bytes: 1_000,
            running: Tier { windows: 3, bytes: 300 },
            frozen: Tier::default(),
        };
        let memory = reading.for_the_rules();
        assert_eq!((memory.used_bytes, memory.running_bytes, memory.frozen_bytes), (600, 100, 60));
        assert!(reading.is_relaxed());
        reading.frozen = Tier { windows: 2, bytes: 30 };
        assert_eq!(reading.for_the_rules().frozen_bytes, 15);
        reading.running = Tier::default();
        assert_eq!(reading.for_the_rules().running_bytes, RUNNING_BYTES);
    }
}
