//! The benchmark `crowd`: memory and processor time of many windows in each state, against a separate chromedriver
//! and Chromium for each, and how fast frozen windows respond.
//!
//! Each state has a separate server and browsers, and grows in steps of a quarter, so that the chart has points.
//! Memory is summed over all processes: shared memory proportionally, and swap by its compressed size.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use pilotlight_api::{Session, SessionState};
use pilotlight_linux::reclaim::Means;
use pilotlight_linux::{Destination, ProcessMemory, Reclaimer, Swap, merge, processor_time, trees};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::baseline::Baselines;
use super::fixture::{Fixture, PAUSE, with_fixture};
use super::report::{Line, Missing, Samples, Series};
use crate::config::{Config, MemoryBudget};
use crate::exit::{self, Failure};

/// The page that every window shows.
const PAGE: &str = "yard";
/// Number of points per state in the chart.
const QUARTERS: u32 = 4;
/// Number of windows that are opened one after another at the end, to measure opening.
const NEWCOMERS: u32 = 4;
/// Number of windows that are opened, frozen or queried at the same time.
const AT_ONCE: usize = 4;
/// Rest before live windows are measured for the first time.
const REST_LIVE: Duration = Duration::from_secs(10);
/// Rest of frozen windows for the chart. Their memory decreases for minutes, so the last measurement is made after
/// the time that the user gives.
const REST_FROZEN: Duration = Duration::from_secs(32);
/// Measurements are repeated until two of them, this far apart, …
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// … differ by less than this share, …
const STEADY: f64 = 0.01;
/// … or until there have been this many.
const LOOKS: u32 = 30;
/// Interval over which processor time is counted.
const WATCHED: Duration = Duration::from_secs(10);
/// Time limit for merging to scan all memory three times.
const MERGING_TIMEOUT: Duration = Duration::from_secs(300);
const MERGING_PASSES: u64 = 3;

/// A state of windows, and what is needed for it.
#[derive(Debug, Clone, Copy)]
struct Tier {
    name: &'static str,
    what: &'static str,
    is_frozen: bool,
    pages_out: bool,
    merges: bool,
    /// The target: the maximum memory of a session, relative to the baseline.
    reach: f64,
}

const TIERS: [Tier; 4] = [
    Tier {
        name: "live",
        what: "live and idle",
        is_frozen: false,
        pages_out: false,
        merges: false,
        reach: 1.0 / 3.0,
    },
    Tier {
        name: "frozen",
        what: "frozen, nothing swapped",
        is_frozen: true,
        pages_out: false,
        merges: false,
        reach: 0.25,
    },
    Tier {
        name: "swapped",
        what: "frozen, moved to compressed swap",
        is_frozen: true,
        pages_out: true,
        merges: false,
        reach: 1.0 / 7.0,
    },
    Tier {
        name: "merged",
        what: "the same, with identical pages merged",
        is_frozen: true,
        pages_out: true,
        merges: true,
        reach: 0.1,
    },
];

impl Tier {
    /// Returns what this machine lacks for it.
    fn missing(&self) -> Option<String> {
        let reclaimer = Reclaimer::probe(Destination::Sealed);
        if self.pages_out && reclaimer.means() == Means::None {
            return Some(reclaimer.describe());
        }
        if self.pages_out && !Swap::now().is_compressed() {
            return Some("swap is on a disk and not compressed in memory".to_owned());
        }
        (self.merges && merge::is_running() != Some(true))
            .then(|| "the kernel's page merging is off".to_owned())
    }
}

/// The results.
pub(super) struct Crowd {
    pub(super) lines: Vec<Line>,
    pub(super) series: Vec<Series>,
    pub(super) missing: Vec<Missing>,
}

pub(super) fn steps(sessions: u32) -> u64 {
    u64::from(sessions) * (1 + TIERS.len() as u64)
}

/// Returns the numbers of sessions at which memory is measured; the last one is all of them.
fn stations(sessions: u32) -> BTreeSet<u32> {
    (1..=QUARTERS).map(|quarter| (sessions * quarter).div_ceil(QUARTERS)).filter(|count| *count > 0).collect()
}

pub(super) async fn measure(
    config: &Config,
    sessions: u32,
    rest: Duration,
    stop: &CancellationToken,
    progress: &ProgressBar,
) -> Result<Crowd, Failure> {
    let mut crowd = Crowd { lines: Vec::new(), series: Vec::new(), missing: Vec::new() };
    let case = format!("{sessions} sessions");
    progress.set_message(format!("the baseline: {sessions} times chromedriver and Chromium"));
    let baselines = async |fixture: &Fixture| measure_baseline(config, fixture, sessions, progress).await;
    let (baseline, baselines_opened, came_to_an_end) = with_fixture(config.clone(), stop, baselines).await?;
    crowd.missing.extend(came_to_an_end);
    let mut live_work = None;
    for tier in TIERS {
        if let Some(lever) = tier.missing() {
            crowd.missing.push(Missing { what: tier.what, lever });
            progress.inc(u64::from(sessions));
            continue;
        }
        progress.set_message(format!("{case}, {}", tier.what));
        let work = async |fixture: &Fixture| measure_tier(fixture, tier, sessions, rest, progress).await;
        let measured = with_fixture(in_tier(config, tier, sessions), stop, work).await?;
        crowd.lines.push(Line {
            row: "memory",
            case: format!("{case}, {}", tier.name),
            measured: Samples::one(measured.series.last_each()).of(tier.what, "MB"),
            baseline: Some(
                Samples::one(baseline.last_each()).of("chromedriver and Chromium, one each", "MB"),
            ),
            reach: tier.reach,
        });
        crowd.series.push(measured.series);
        if tier.name == "live" {
            live_work = Some(measured.work_percent);
            crowd.lines.push(Line {
                row: "open",
                case: case.clone(),
                measured: measured.opened.of("a new window that shows a page", "ms"),
                baseline: Some(baselines_opened.clone().of("chromedriver's new session", "ms")),
                reach: 1.0 / 8.0,
            });
        } else if let (Some(live), "frozen") = (live_work, tier.name) {
            crowd.lines.push(Line {
                row: "work",
                case: case.clone(),
                measured: Samples::one(measured.work_percent).of("all frozen", "% of a core"),
                baseline: Some(Samples::one(live).of("all live", "% of a core")),
                reach: 0.1,
            });
        }
        if let Some(answers) = measured.answers {
            let what = "frozen, until the page's first answer";
            let line = |case, measured, reach| Line { row: "thaw", case, measured, baseline: None, reach };
            crowd.lines.push(line(format!("{case}, {}", tier.name), answers.clone().of(what, "ms"), 20.0));
            let slowest = Samples::one(answers.percentile(99)).of(what, "ms");
            crowd.lines.push(line(format!("{case}, {}, p99", tier.name), slowest, 250.0));
        }
    }
    crowd.series.insert(0, baseline);
    Ok(crowd)
}

fn in_tier(config: &Config, tier: Tier, sessions: u32) -> Config {
    let mut config = config.clone();
    // The memory budget and the capacity limits must not affect the measurement.
    let windows = sessions + NEWCOMERS;
    config.limits.max_live = config.limits.max_live.max(windows);
    config.limits.max_sessions = config.limits.max_sessions.max(windows);
    config.limits.memory_budget = MemoryBudget::Bytes(u64::MAX);
    config.chromium.page_out = tier.pages_out.then_some(Destination::Sealed);
    config.chromium.merge_pages = tier.merges;
    config
}

/// Uses only the portal of `fixture`. If not all instances of the baseline start, those that did are measured.
async fn measure_baseline(
    config: &Config,
    fixture: &Fixture,
    sessions: u32,
    progress: &ProgressBar,
) -> Result<(Series, Samples, Option<Missing>), Failure> {
    let (portal, page) = (fixture.portal.url(), format!("{}{PAGE}", fixture.portal.url()));
    let mut baselines = Baselines::start(&config.chromium).await?;
    let (mut series, mut opened) = (Series::new("chromedriver and Chromium"), Samples::default());
    for count in 1..=sessions {
        match baselines.add(&portal, &page).await {
            Ok(took) => opened.push_time(took),
            Err(failure) if count > 1 => {
                series.push(count - 1, steady(&baselines.roots(), REST_LIVE).await);
                let lever = format!("Only {} instances of the baseline started: {failure}", count - 1);
                return Ok((series, opened, Some(Missing { what: "a baseline of the same size", lever })));
            }
            Err(failure) => return Err(failure),
        }
        progress.inc(1);
        if stations(sessions).contains(&count) {
            series.push(count, steady(&baselines.roots(), REST_LIVE).await);
        }
    }
    Ok((series, opened, None))
}

struct Measured {
    series: Series,
    opened: Samples,
    /// Processor time of all together, in percent of one core.
    work_percent: f64,
    /// Response times of the frozen windows.
    answers: Option<Samples>,
}

async fn measure_tier(
    fixture: &Fixture,
    tier: Tier,
    sessions: u32,
    rest: Duration,
    progress: &ProgressBar,
) -> Result<Measured, Failure> {
    let page = format!("{}{PAGE}", fixture.portal.url());
    let (mut series, mut opened) = (Series::new(tier.what), Samples::default());
    let mut all: Vec<Uuid> = Vec::new();
    for station in stations(sessions) {
        let comers = u32::try_from(all.len()).unwrap_or(u32::MAX)..station;
        let came: Vec<(Uuid, Duration)> = stream::iter(comers)
            .map(|number| open(fixture, number, &page, progress))
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let new: Vec<Uuid> = came.iter().map(|(id, _)| *id).collect();
        if tier.merges {
            merged().await;
        }
        if tier.is_frozen {
            stream::iter(&new).map(|id| freeze(fixture, *id)).buffered(AT_ONCE).try_collect::<()>().await?;
        }
        all.extend(new);
        let rest = match (tier.is_frozen, station == sessions) {
            (false, _) => REST_LIVE,
            (true, false) => REST_FROZEN,
            (true, true) => rest.max(REST_FROZEN),
        };
        series.push(station, steady(&fixture.roots(), rest).await);
    }
    let work_percent = work_percent(&fixture.roots()).await;
    // One after another, like the baseline.
    for _ in 0..NEWCOMERS {
        let started = Instant::now();
        fixture.open_window().await?;
        opened.push_time(started.elapsed());
    }
    let answers = if tier.is_frozen { Some(thaw(fixture, &all).await?) } else { None };
    Ok(Measured { series, opened, work_percent, answers })
}

async fn open(
    fixture: &Fixture,
    number: u32,
    page: &str,
    progress: &ProgressBar,
) -> Result<(Uuid, Duration), Failure> {
    let started = Instant::now();
    let id = fixture.sign_in(&format!("driver-{number}")).await?;
    let took = started.elapsed();
    fixture.order(id, "navigate", &json!({ "url": page })).await?;
    fixture.evaluate(id, "globalThis.kept = 0; setInterval(() => globalThis.kept += 1, 1000); kept").await?;
    progress.inc(1);
    Ok((id, took))
}

async fn freeze(fixture: &Fixture, id: Uuid) -> Result<(), Failure> {
    expect_frozen(&fixture.order(id, "freeze", &json!({})).await?)
}

fn expect_frozen(session: &Session) -> Result<(), Failure> {
    if session.state == SessionState::Frozen {
        return Ok(());
    }
    let message = format!("a window that should be frozen is in state {}", session.state.as_str());
    Err(Failure::new(exit::FAILED, message))
}

/// Evaluates a variable of each page once, one after another.
async fn thaw(fixture: &Fixture, all: &[Uuid]) -> Result<Samples, Failure> {
    let mut answers = Samples::default();
    for id in all {
        expect_frozen(&fixture.session(*id).await?)?;
        sleep(PAUSE).await;
        let started = Instant::now();
        let kept = fixture.evaluate(*id, "globalThis.kept").await?;
        answers.push_time(started.elapsed());
        if kept == Value::Null {
            return Err(Failure::new(exit::FAILED, "a page lost its variables"));
        }
    }
    Ok(answers)
}

/// Returns the memory of all processes in MB, once it hardly changes.
pub(super) async fn steady(roots: &[u32], rest: Duration) -> f64 {
    sleep(rest).await;
    let mut before = taken(roots).await;
    for _ in 0..LOOKS {
        sleep(LOOK_EVERY).await;
        let now = taken(roots).await;
        if (now - before).abs() <= before * STEADY {
            return now;
        }
        before = now;
    }
    before
}

async fn taken(roots: &[u32]) -> f64 {
    let roots = roots.to_owned();
    let weigh = move || {
        let memory: ProcessMemory = trees(&roots).concat().into_iter().filter_map(ProcessMemory::of).sum();
        memory.bytes + Swap::now().held_bytes(memory.swapped_bytes)
    };
    let bytes = tokio::task::spawn_blocking(weigh).await.unwrap_or_default();
    bytes as f64 / 1e6
}

/// Returns the processor time over an interval, in percent of one core.
async fn work_percent(roots: &[u32]) -> f64 {
    let spent = || -> Duration { trees(roots).concat().into_iter().filter_map(processor_time).sum() };
    let (before, started) = (spent(), Instant::now());
    sleep(WATCHED).await;
    100.0 * spent().saturating_sub(before).as_secs_f64() / started.elapsed().as_secs_f64()
}

/// Waits until the kernel has scanned all memory several times.
async fn merged() {
    let passes = || std::fs::read_to_string("/sys/kernel/mm/ksm/full_scans").ok()?.trim().parse::<u64>().ok();
    let (from, started) = (passes(), Instant::now());
    while started.elapsed() < MERGING_TIMEOUT && passes() < from.map(|from| from + MERGING_PASSES) {
        sleep(LOOK_EVERY).await;
    }
}
