//! Detecting which window keeps the main thread of a shared browser busy.
//!
//! All windows of a browser depend on its main thread, and pages use it in ways that do not appear in the protocol:
//! by titles, by history, by popups. A page can keep it fully busy for seconds. So it is sampled from outside: if it
//! is never idle between two samples, all windows wait, and the window whose renderers ran nearly as much as all
//! renderers together is the cause. These times are added up, like the bytes that windows transfer, until they exceed
//! what the other windows can tolerate.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use pilotlight_linux::process::{MainThread, main_thread};
use pilotlight_linux::processor_time;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::event::{BrowserEvent, WindowId};
use crate::state::{Shard, WindowState, lock};

/// The sampling interval: shorter delays are not noticeable.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// It is idle for less than this share of the interval. Each message wakes it, also if there is little to do.
const REST: u32 = 20;
/// It ran for at least this share. If it merely waits for a processor, the machine has too few.
const RAN: u32 = 4;
/// The interval of sampling the run time of renderers, and the number of samples that are kept: what keeps the main
/// thread busy may have been sent some time before.
const RENDERERS_EVERY: Duration = Duration::from_millis(500);
const RENDERERS_LOOKS: usize = 3;
/// How much of the time of a busy main thread one window may use, …
const BORNE: Duration = Duration::from_secs(1);
/// … and the share of the time by which that is reduced again.
const FORGOTTEN: u32 = 50;
/// The renderers of the responsible window run for at least this share of the time.
const BUSY: u32 = 4;
/// The number of windows that are tracked.
const WINDOWS_KEPT: usize = 256;

/// Monitors the main thread of a browser until the browser has ended.
pub(super) async fn watch(shard: Arc<Shard>, pid: u32) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut renderers, mut strain) = (None, Renderers::default(), Strain::default());
    loop {
        tokio::select! {
            () = shard.connection.closed() => return,
            _ = ticks.tick() => {}
        }
        let windows = shard.windows();
        let is_shared = shard.connection.is_shared() && windows.len() > 1;
        // Frozen windows neither keep it busy nor wait for it.
        if !is_shared || windows.iter().all(|window| window.is_still()) {
            (before, renderers) = (None, Renderers::default());
            continue;
        }
        let Some(now) = main_thread(pid).map(|thread| (Instant::now(), thread)) else { continue };
        renderers.look(&windows, now.0);
        let Some(before) = before.replace(now) else { continue };
        let Some(stalled) = stalled(before, now) else { continue };
        let (span, ran) = renderers.ran(&windows, now.0);
        if let Some(window) = strain.add(stalled, span, &ran, now.0) {
            tracing::warn!(%window, "a page keeps the main thread of its browser busy");
            shard.tell(BrowserEvent::WindowHeldOthersUp { window });
        }
    }
}

/// Returns how long the main thread ran between two samples, if it was never idle.
fn stalled(before: (Instant, MainThread), now: (Instant, MainThread)) -> Option<Duration> {
    let elapsed = now.0 - before.0;
    let ran = now.1.ran.saturating_sub(before.1.ran);
    let waited = now.1.waited.saturating_sub(before.1.waited);
    let is_restless = (ran + waited) * REST >= elapsed * (REST - 1);
    (is_restless && ran * RAN >= elapsed && !elapsed.is_zero()).then_some(ran)
}

/// The total run time of each renderer of a window, by process id.
type Times = HashMap<WindowId, BTreeMap<u32, Duration>>;

/// The run times of the renderers of each window in the last samples.
#[derive(Debug, Default)]
struct Renderers(VecDeque<(Instant, Times)>);

impl Renderers {
    fn look(&mut self, windows: &[Arc<WindowState>], now: Instant) {
        if self.0.back().is_some_and(|(at, _)| now - *at < RENDERERS_EVERY) {
            return;
        }
        if self.0.len() >= RENDERERS_LOOKS {
            self.0.pop_front();
        }
        self.0.push_back((now, times(windows)));
    }

    /// Returns the period of the samples, and how long the renderers of each window ran in it. A renderer that was
    /// not known before, though it may have run for hours, counts from the next sample on.
    fn ran(&self, windows: &[Arc<WindowState>], now: Instant) -> (Duration, Vec<(WindowId, Duration)>) {
        let Some((at, before)) = self.0.front() else { return (Duration::ZERO, Vec::new()) };
        let lately = |window: &WindowId, times: BTreeMap<u32, Duration>| -> Duration {
            let before = |pid: &u32| before.get(window)?.get(pid).copied();
            times.iter().filter_map(|(pid, time)| Some(time.saturating_sub(before(pid)?))).sum()
        };
        let ran = times(windows).into_iter().map(|(window, times)| {
            let lately = lately(&window, times);
            (window, lately)
        });
        (now - *at, ran.collect())
    }
}

fn times(windows: &[Arc<WindowState>]) -> Times {
    let time = |window: &Arc<WindowState>| {
        let tabs = window.tabs.borrow();
        let known = tabs.iter().filter_map(|tab| Some(lock(&tab.renderer).as_ref()?.process.pid()));
        // Popups share the renderer of their opener.
        let pids: BTreeSet<u32> = known.collect();
        let times = pids.into_iter().filter_map(|pid| Some((pid, processor_time(pid)?)));
        (window.id.clone(), times.collect())
    };
    windows.iter().map(time).collect()
}

/// How long each window kept the main thread from all others.
#[derive(Debug, Default)]
struct Strain(HashMap<WindowId, (Duration, Instant)>);

impl Strain {
    /// Adds a period without idle time, and returns the window that exceeds its share. The window is returned again
    /// only after exceeding it once more.
    fn add(
        &mut self,
        stalled: Duration,
        span: Duration,
        ran: &[(WindowId, Duration)],
        now: Instant,
    ) -> Option<WindowId> {
        let total: Duration = ran.iter().map(|(_, time)| *time).sum();
        let (window, most) = ran.iter().max_by_key(|(_, time)| *time)?;
        // If several are busy, none can be identified as the cause, and one that hardly runs is none.
        if *most * 5 < total * 3 || *most * BUSY < span || most.is_zero() {
            return None;
        }
        if self.0.len() >= WINDOWS_KEPT {
            self.0.retain(|_, (time, since)| *time > (now - *since) / FORGOTTEN);
        }
        let (time, since) = self.0.entry(window.clone()).or_insert((Duration::ZERO, now));
        *time = time.saturating_sub((now - *since) / FORGOTTEN) + stalled;
        *since = now;
        let is_too_much = *time > BORNE;
        if is_too_much {
            *time = Duration::ZERO;
        }
        is_too_much.then(|| window.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn thread(ran: u32, waited: u32) -> MainThread {
        MainThread { ran: MS * ran, waited: MS * waited }
    }

    #[test]
    fn it_is_held_up_where_it_runs_without_rest() {
        let then = Instant::now();
        let found = |ran: u32, waited: u32| {
            stalled((then, thread(7, 7)), (then + MS * 100, thread(7 + ran, 7 + waited)))
        };
        assert_eq!(found(100, 0), Some(MS * 100));
        assert_eq!(found(60, 36), Some(MS * 60), "another process had the processor meanwhile");
        assert_eq!(found(90, 0), None, "it rested");
        assert_eq!(found(20, 80), None, "the machine has too few processors");
        assert_eq!(stalled((then, thread(7, 7)), (then, thread(7, 7))), None);
    }

    #[test]
    fn who_keeps_it_busy_is_found_and_others_are_not() {
        let [one, other] = ["A", "B"].map(WindowId::new);
        let mut now = Instant::now();
        let mut add = |strain: &mut Strain, ran: [u32; 2]| {
            now += MS * 100;
            let ran = [(one.clone(), MS * ran[0]), (other.clone(), MS * ran[1])];
            strain.add(MS * 100, MS * 1000, &ran, now)
        };
        let mut strain = Strain::default();
        let found: Vec<_> = (0..30).map(|_| add(&mut strain, [400, 100])).collect();
        let found: Vec<_> =
            found.into_iter().enumerate().filter_map(|(at, found)| Some((at, found?))).collect();
        assert_eq!(found, [(10, one.clone()), (21, one.clone())]);
        let mut strain = Strain::default();
        assert!((0..100).all(|_| add(&mut strain, [250, 190]).is_none()), "both were busy");
        assert!((0..100).all(|_| add(&mut strain, [0, 0]).is_none()), "nobody was");
        assert!((0..100).all(|_| add(&mut strain, [200, 0]).is_none()), "it hardly ran");
    }

    #[test]
    fn what_is_rare_is_borne_for_ever() {
        let window = WindowId::new("A");
        let (mut strain, mut now) = (Strain::default(), Instant::now());
        for _ in 0..1000 {
            now += Duration::from_secs(10);
            assert_eq!(strain.add(MS * 150, MS * 1000, &[(window.clone(), MS * 500)], now), None);
        }
    }
}
