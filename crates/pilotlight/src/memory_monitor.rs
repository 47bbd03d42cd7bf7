//! Measures the memory of all browsers, and reports it to the rules together with the budget.
//!
//! It decides nothing: which windows are frozen or hibernated is decided by the rules. It asks a page only which process
//! renders it, and counts shared memory once. Measuring in full makes the kernel walk all pages of a process, so each
//! time only a few processes are measured in full, and the others by how much they have changed since.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use pilotlight_api::SessionState;
use pilotlight_core as core;
use pilotlight_linux::{Measure, Memory, Pressure, ProcessMemory, Swap, trees};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::config::MemoryBudget;
use crate::keeper::KeeperHandle;

/// The interval between measurements while memory is low, or could soon be.
const EVERY: Duration = Duration::from_secs(2);
/// While memory is plentiful, only every n-th measurement is made: each makes the kernel walk all memory.
const RELAXED_TURNS: u32 = 10;
/// Number of processes that are measured in full each time.
const IN_FULL: usize = 2;
/// Memory is plentiful if less than this share of the budget is used, in percent.
const RELAXED_PERCENT: u64 = 70;
/// The share of the machine's memory that `memory_budget = "auto"` means, in percent.
const AUTO_PERCENT: u64 = 70;
/// This share of the machine's memory is left to other programs whatever the budget, in percent.
const RESERVE_PERCENT: u64 = 5;
/// If all tasks were stalled for more than this share of the time since the last measurement, …
const STALLED_SHARE: f64 = 0.05;
/// … and less than this share of the machine's memory is available, in percent (waiting for pages from swap or disk
/// alone does not mean that memory is low), …
const STALLED_AVAILABLE_PERCENT: u64 = 25;
/// … the browsers' budget is this share of what they use.
const STALLED_BUDGET_PERCENT: u64 = 90;
/// The share of the budget that `window_memory = "auto"` means, in percent, …
const WINDOW_PERCENT: u64 = 25;
/// … and its minimum, because some pages need as much. With a small budget, no page is ended for using what many
/// pages use: the window that uses far more than its share is hibernated instead.
const WINDOW_LEAST_BYTES: u64 = 512 << 20;
/// While memory is plentiful, the next measurement is made early when this share of the budget has been used since
/// the last one, in percent.
const SHRUNK_PERCENT: u64 = 10;
/// Assumed memory of a live window before the first measurement, in bytes.
const RUNNING_BYTES: u64 = 120_000_000;
/// Assumed memory of a frozen window, compared with a live one, before the first measurement, in percent.
const FROZEN_PERCENT: u64 = 60;

/// Measures the memory of browsers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MemoryMonitor {
    reading: watch::Receiver<Option<Reading>>,
}

/// A measurement, in bytes unless stated otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// All browsers: each process once, shared memory proportionally if the kernel allows it.
    pub browsers: ProcessMemory,
    /// The size of their swapped-out memory after compression, in memory.
    pub compressed_bytes: u64,
    /// All shims.
    pub shims: ProcessMemory,
    /// This server.
    pub server: ProcessMemory,
    /// The current budget of all browsers.
    pub budget_bytes: u64,
    /// The renderers of live windows.
    pub running: TierUsage,
    /// The renderers of frozen windows.
    pub frozen: TierUsage,
}

/// The memory of all live or all frozen windows.
#[derive(Debug, Clone, Copy, Default)]
pub struct TierUsage {
    /// Number of measured windows.
    pub windows: u64,
    /// Their memory, including compressed swap, in bytes.
    pub bytes: u64,
}

impl TierUsage {
    fn add(&mut self, bytes: u64) {
        self.windows += 1;
        self.bytes += bytes;
    }

    fn average(&self) -> Option<u64> {
        self.bytes.checked_div(self.windows)
    }
}

impl Reading {
    /// Returns the memory of all browsers, including compressed swap.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.browsers.bytes.saturating_add(self.compressed_bytes)
    }

    fn for_the_rules(&self, window_bytes: u64) -> core::Memory {
        let running_bytes = self.running.average().unwrap_or(RUNNING_BYTES);
        let frozen_bytes = self.frozen.average().unwrap_or(running_bytes / 100 * FROZEN_PERCENT);
        core::Memory {
            used_bytes: self.used_bytes(),
            budget_bytes: self.budget_bytes,
            window_bytes,
            running_bytes,
            frozen_bytes: frozen_bytes.min(running_bytes),
        }
    }

    fn is_relaxed(&self) -> bool {
        self.used_bytes() < self.budget_bytes / 100 * RELAXED_PERCENT
    }
}

impl MemoryMonitor {
    /// Starts measuring until `stop`.
    #[must_use]
    pub fn watch(
        budget: MemoryBudget,
        window_memory: MemoryBudget,
        keeper: KeeperHandle,
        stop: CancellationToken,
    ) -> Self {
        let (sender, reading) = watch::channel(None);
        tokio::spawn(async move {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut turns_left = 0;
            let mut sampler = PssSampler::default();
            let mut browsers = BTreeMap::new();
            let mut available = None;
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                // When a browser started or ended, measure soon.
                let now = keeper.directory().browsers.clone();
                let is_as_before = browsers == now;
                browsers = now;
                let is_taken_fast = has_shrunk(available, Memory::now(), budget);
                if turns_left > 0 && is_as_before && !is_taken_fast {
                    turns_left -= 1;
                    continue;
                }
                let Some((reading, windows)) = read(budget, &keeper, &mut sampler).await else { continue };
                available = Memory::now().map(|memory| memory.available_bytes);
                turns_left = if reading.is_relaxed() { RELAXED_TURNS - 1 } else { 0 };
                let window_bytes = window_bytes(window_memory, budget, Memory::now());
                keeper.measured(reading.for_the_rules(window_bytes), windows).await;
                sender.send_replace(Some(reading));
            }
        });
        Self { reading }
    }

    /// Returns the last measurement; `None` before the first one.
    #[must_use]
    pub fn reading(&self) -> Option<Reading> {
        *self.reading.borrow()
    }
}

/// A window's renderer processes.
struct Renderers {
    session: core::SessionId,
    is_frozen: bool,
    pids: Vec<u32>,
}

/// Measures processes: a few of them in full at each call, and the others by how much they have changed since.
#[derive(Debug, Default)]
struct PssSampler {
    counted: BTreeMap<u32, Counted>,
    /// The process that was last measured in full.
    last: u32,
    /// The total stall time of all tasks, and when it was read. The kernel's averages would include stalls that are
    /// already over.
    stalled: Option<(Instant, u64)>,
}

/// A process at its last full measurement.
#[derive(Debug, Clone, Copy)]
struct Counted {
    full: ProcessMemory,
    quick: ProcessMemory,
}

impl PssSampler {
    /// Returns the current memory of each of these processes.
    fn sample(&mut self, pids: &BTreeSet<u32>) -> BTreeMap<u32, ProcessMemory> {
        self.counted.retain(|pid, _| pids.contains(pid));
        // Round robin.
        let next = pids.range(self.last.saturating_add(1)..).chain(pids).take(IN_FULL.min(pids.len()));
        for &pid in next {
            if let (Some(full), Some(quick)) = (ProcessMemory::of(pid), ProcessMemory::quick(pid)) {
                self.counted.insert(pid, Counted { full, quick });
            }
            self.last = pid;
        }
        let usage = |pid: &u32| {
            let quick = ProcessMemory::quick(*pid)?;
            let usage = self.counted.get(pid).map_or(quick, |counted| counted.now(quick));
            Some((*pid, usage))
        };
        pids.iter().filter_map(usage).collect()
    }

    /// Returns the share of time since the last call in which all tasks were stalled.
    fn stalled_share(&mut self, pressure: Option<Pressure>, now: Instant) -> f64 {
        let Some(pressure) = pressure else { return 0.0 };
        let (at, before) = self.stalled.replace((now, pressure.full.total_us)).unwrap_or((now, u64::MAX));
        let waited = Duration::from_micros(pressure.full.total_us.saturating_sub(before));
        waited.as_secs_f64() / now.duration_since(at).as_secs_f64().max(0.001)
    }
}

impl Counted {
    /// Returns the current memory, from the change since the full measurement.
    fn now(&self, quick: ProcessMemory) -> ProcessMemory {
        let changed = |full: u64, before: u64, now: u64| full.saturating_add(now).saturating_sub(before);
        ProcessMemory {
            bytes: changed(self.full.bytes, self.quick.bytes, quick.bytes),
            swapped_bytes: changed(self.full.swapped_bytes, self.quick.swapped_bytes, quick.swapped_bytes),
            measure: self.full.measure,
        }
    }
}

/// The memory of each window.
type Windows = Vec<(core::SessionId, u64)>;

async fn read(
    budget: MemoryBudget,
    keeper: &KeeperHandle,
    sampler: &mut PssSampler,
) -> Option<(Reading, Windows)> {
    let directory = keeper.directory();
    let windows = directory.sessions.iter().map(async |(id, published)| Renderers {
        session: core::SessionId(*id),
        pids: published.renderer_pids().await,
        is_frozen: published.state() == SessionState::Frozen,
    });
    let windows: Vec<Renderers> = join_all(windows).await;
    let browsers: Vec<u32> = directory.browsers.values().map(|browser| browser.pid).collect();
    let shims: Vec<u32> = directory.browsers.values().filter_map(|browser| browser.shim_pid).collect();
    let mut taken = std::mem::take(sampler);
    // Walks page tables, so it runs in a blocking thread.
    let measuring = tokio::task::spawn_blocking(move || {
        let reading = measure(budget, &mut taken, &windows, &browsers, &shims);
        (taken, reading)
    });
    let (taken, reading) = measuring.await.ok()?;
    *sampler = taken;
    Some(reading)
}

fn measure(
    budget: MemoryBudget,
    sampler: &mut PssSampler,
    windows: &[Renderers],
    browsers: &[u32],
    shims: &[u32],
) -> (Reading, Windows) {
    let swap = Swap::now();
    let measured = sampler.sample(&trees(browsers).into_iter().flatten().collect());
    let (mut running, mut frozen) = (TierUsage::default(), TierUsage::default());
    let mut sizes = Vec::new();
    for Renderers { session, is_frozen, pids } in windows.iter().filter(|window| !window.pids.is_empty()) {
        let memory: ProcessMemory = pids.iter().filter_map(|pid| measured.get(pid).copied()).sum();
        let tier = if *is_frozen { &mut frozen } else { &mut running };
        let bytes = memory.bytes + swap.held_bytes(memory.swapped_bytes);
        tier.add(bytes);
        sizes.push((*session, bytes));
    }
    let browsers: ProcessMemory = measured.into_values().sum();
    let compressed_bytes = swap.held_bytes(browsers.swapped_bytes);
    let used_bytes = browsers.bytes.saturating_add(compressed_bytes);
    let reading = Reading {
        browsers,
        compressed_bytes,
        shims: shims.iter().filter_map(|pid| ProcessMemory::quick(*pid)).sum(),
        server: ProcessMemory::quick(std::process::id()).unwrap_or(NOTHING),
        budget_bytes: budget_bytes(
            budget,
            used_bytes,
            Memory::now(),
            sampler.stalled_share(Pressure::now(), Instant::now()),
        ),
        running,
        frozen,
    };
    (reading, sizes)
}

const NOTHING: ProcessMemory = ProcessMemory { bytes: 0, swapped_bytes: 0, measure: Measure::Proportional };

/// Returns the configured budget of all browsers.
fn configured_bytes(budget: MemoryBudget, memory: Option<Memory>) -> u64 {
    match (budget, memory) {
        (MemoryBudget::Bytes(bytes), _) => bytes,
        (MemoryBudget::Auto, Some(memory)) => memory.total_bytes / 100 * AUTO_PERCENT,
        (MemoryBudget::Auto, None) => u64::MAX,
    }
}

/// Returns the maximum memory of a single window.
fn window_bytes(configured: MemoryBudget, budget: MemoryBudget, memory: Option<Memory>) -> u64 {
    match configured {
        MemoryBudget::Bytes(bytes) => bytes,
        MemoryBudget::Auto => {
            let budget = configured_bytes(budget, memory);
            (budget / 100 * WINDOW_PERCENT).max(WINDOW_LEAST_BYTES)
        }
    }
}

/// Returns whether available memory has decreased enough since the last measurement to measure again.
fn has_shrunk(before: Option<u64>, now: Option<Memory>, budget: MemoryBudget) -> bool {
    let (Some(before), Some(now)) = (before, now) else { return false };
    let budget = configured_bytes(budget, Some(now));
    before.saturating_sub(now.available_bytes) > budget / 100 * SHRUNK_PERCENT
}

/// Returns the current budget: the configured one, or less if the machine has less available.
fn budget_bytes(budget: MemoryBudget, used_bytes: u64, memory: Option<Memory>, stalled_share: f64) -> u64 {
    let configured = configured_bytes(budget, memory);
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
        let (mut sampler, start) = (PssSampler::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert_eq!(sampler.stalled_share(pressure(9_000_000), start), 0.0, "who knows when that was");
        assert_eq!(sampler.stalled_share(pressure(9_500_000), start + second), 0.5);
        assert_eq!(sampler.stalled_share(pressure(9_500_000), start + 2 * second), 0.0);
        assert_eq!(sampler.stalled_share(None, start + 3 * second), 0.0);
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
        let mut sampler = PssSampler::default();
        let first = sampler.sample(&[own].into())[&own];
        assert_eq!(first.measure, Measure::Proportional);
        let counted = sampler.counted[&own];
        let more = ProcessMemory { bytes: counted.quick.bytes + 1_000, ..counted.quick };
        assert_eq!(counted.now(more).bytes, counted.full.bytes + 1_000);
        let gone = ProcessMemory { bytes: 0, ..counted.quick };
        assert_eq!(counted.now(gone).bytes, counted.full.bytes.saturating_sub(counted.quick.bytes));
        assert!(sampler.sample(&BTreeSet::new()).is_empty() && sampler.counted.is_empty());
    }

    #[test]
    fn all_are_counted_in_turn() {
        let pids: BTreeSet<u32> = (1..=64).filter(|pid| ProcessMemory::of(*pid).is_some()).collect();
        let mut sampler = PssSampler::default();
        for _ in 0..pids.len().div_ceil(IN_FULL) {
            sampler.sample(&pids);
        }
        assert_eq!(sampler.counted.keys().copied().collect::<BTreeSet<u32>>(), pids);
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
            running: TierUsage { windows: 3, bytes: 300 },
            frozen: TierUsage::default(),
        };
        let memory = reading.for_the_rules(700);
        assert_eq!((memory.used_bytes, memory.running_bytes, memory.frozen_bytes), (600, 100, 60));
        assert!(reading.is_relaxed());
        reading.frozen = TierUsage { windows: 2, bytes: 30 };
        assert_eq!(reading.for_the_rules(700).frozen_bytes, 15);
        reading.running = TierUsage::default();
        assert_eq!(reading.for_the_rules(700).running_bytes, RUNNING_BYTES);
    }

    #[test]
    fn a_window_may_take_a_share_of_the_budget() {
        let auto = |budget| window_bytes(MemoryBudget::Auto, MemoryBudget::Bytes(budget), None) >> 20;
        assert_eq!((auto(400 << 20), auto(1200 << 20), auto(16 << 30)), (512, 512, 4095));
        let chosen = window_bytes(MemoryBudget::Bytes(7), MemoryBudget::Auto, Some(MEMORY));
        assert_eq!(chosen, 7);
        let less = Memory { available_bytes: 4_000, ..MEMORY };
        assert!(has_shrunk(Some(5_000), Some(less), MemoryBudget::Auto));
        assert!(!has_shrunk(Some(4_500), Some(less), MemoryBudget::Auto));
    }
}
