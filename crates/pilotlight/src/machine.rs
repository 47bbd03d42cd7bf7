//! Samples of the machine's load over the last hour, kept in memory.

use std::collections::VecDeque;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pilotlight_api::{LoadSample, SessionState};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::clock::timestamp;
use crate::keeper::KeeperHandle;
use crate::memory::available_bytes;
use crate::memory_monitor::{MemoryMonitor, Reading};

/// The interval between samples.
const EVERY: Duration = Duration::from_secs(10);
/// Number of samples that are kept: one hour.
const MAX_SAMPLES: usize = 360;

/// Collects samples. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Maximum number of live windows.
    pub max_live: u32,
    /// Measures the memory of the browsers.
    pub memory_monitor: MemoryMonitor,
    samples: Arc<Mutex<VecDeque<LoadSample>>>,
}

impl Machine {
    /// Takes samples until `stop`.
    #[must_use]
    pub fn watch(
        max_live: u32,
        memory_monitor: MemoryMonitor,
        keeper: KeeperHandle,
        stop: CancellationToken,
    ) -> Self {
        let machine = Self { max_live, memory_monitor, samples: Arc::default() };
        let watching = machine.clone();
        tokio::spawn(async move {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut before = None;
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                let spent = fs::read_to_string("/proc/stat").ok().and_then(|stat| Spent::read(&stat));
                let cpu_percent = before.zip(spent).and_then(|(before, now): (Spent, _)| now.percent(before));
                before = spent;
                let taken = watching.memory_monitor.reading();
                watching.add(sample(&keeper, cpu_percent, taken));
            }
        });
        machine
    }

    fn add(&self, sample: LoadSample) {
        let mut samples = self.samples.lock();
        if samples.len() >= MAX_SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// Returns all samples, oldest first.
    #[must_use]
    pub fn samples(&self) -> Vec<LoadSample> {
        self.samples.lock().iter().cloned().collect()
    }
}

fn sample(keeper: &KeeperHandle, cpu_percent: Option<f64>, taken: Option<Reading>) -> LoadSample {
    let mut sample = LoadSample {
        time: timestamp(keeper.clock().now()),
        cpu_percent,
        available_bytes: available_bytes(),
        windows_bytes: 0,
        used_bytes: taken.map(|taken| taken.used_bytes()),
        budget_bytes: taken.map(|taken| taken.budget_bytes),
        live: 0,
        frozen: 0,
        hibernated: 0,
    };
    for published in keeper.directory().sessions.values() {
        match published.state() {
            SessionState::Ended => continue,
            SessionState::Hibernated => sample.hibernated += 1,
            SessionState::Frozen => sample.frozen += 1,
            _ => sample.live += 1,
        }
        sample.windows_bytes += published.now().memory_bytes.unwrap_or(0);
    }
    sample
}

/// Time that all processors have spent since the machine started, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spent {
    busy: u64,
    all: u64,
}

impl Spent {
    /// Parses the first line of `/proc/stat`: user, nice, system, idle, iowait, …; guest times are included in user
    /// and nice.
    fn read(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|ticks| ticks.parse().ok()).collect();
        let (all, idle) = (ticks.iter().sum::<u64>(), ticks.get(3)? + ticks.get(4)?);
        Some(Self { busy: all - idle, all })
    }

    fn percent(self, before: Self) -> Option<f64> {
        let (busy, all) = (self.busy.checked_sub(before.busy)?, self.all.checked_sub(before.all)?);
        let count = |ticks: u64| u32::try_from(ticks).ok().map(f64::from);
        Some(100.0 * count(busy)? / count(all.max(1))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_busy_the_processors_are() {
        let before = Spent::read("cpu  10 0 10 70 10 0 0 0 5 0\ncpu0 1").unwrap();
        assert_eq!(before, Spent { busy: 20, all: 100 });
        let now = Spent::read("cpu  40 0 30 100 30 0 0 0 5 0").unwrap();
        assert_eq!(now.percent(before), Some(50.0));
        assert_eq!(before.percent(now), None);
        for bad in ["", "cpu ", "cpu  1 2", "intr 5"] {
            assert_eq!(Spent::read(bad), None, "{bad}");
        }
    }
}
