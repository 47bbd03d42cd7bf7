//! The rows of many windows: what a session takes of memory and processor in each temperature, against one
//! chromedriver and one Chromium each, and how fast what stands still answers.
//!
//! Each temperature has a server and browsers of its own, and grows by a quarter at a time, so that the picture
//! has points. All of it is counted as the design says: shared memory by shares, over every process, and swap
//! by what it takes compressed.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use pilotlight_api::{Session, SessionState};
use pilotlight_levers::reclaim::Means;
use pilotlight_levers::{ProcessMemory, Reclaimer, Swap, merge, processor_time, trees};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::house::{House, PAUSE, in_house};
use super::report::{Line, Missing, Samples, Series};
use super::rival::Rivals;
use crate::cli::{Failure, exit_codes};
use crate::config::{Config, MemoryBudget};

/// The page that every window shows.
const PAGE: &str = "yard";
/// How many points the picture has for each temperature.
const QUARTERS: u32 = 4;
/// Windows that are opened one after the other, once all are there, to measure that.
const NEWCOMERS: u32 = 4;
/// Windows that are opened, frozen or asked at once.
const AT_ONCE: usize = 4;
/// How long windows are left alone before they are looked at the first time.
const REST_LIVE: Duration = Duration::from_secs(10);
/// How long what stands still is, for the picture. It gets smaller for minutes, so in the end it
/// is for as long as the user says.
const REST_FROZEN: Duration = Duration::from_secs(32);
/// Then it is looked until two looks this far apart …
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// … differ by less than this share, …
const STEADY: f64 = 0.01;
/// … or this many looks were taken.
const LOOKS: u32 = 30;
/// How long processor time is counted for.
const WATCHED: Duration = Duration::from_secs(10);
/// How long merging may take to go through all memory three times.
const MERGING_TIMEOUT: Duration = Duration::from_secs(300);
const MERGING_PASSES: u64 = 3;

/// A temperature, and by what it is made.
#[derive(Debug, Clone, Copy)]
struct Tier {
    name: &'static str,
    what: &'static str,
    is_frozen: bool,
    pages_out: bool,
    merges: bool,
    /// What a session shall take at most, of what one of the baseline takes.
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
        what: "the same, equal pages merged",
        is_frozen: true,
        pages_out: true,
        merges: true,
        reach: 0.1,
    },
];

impl Tier {
    /// What this machine lacks for it.
    fn missing(&self) -> Option<String> {
        let reclaimer = Reclaimer::probe();
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

/// What came of it.
pub(super) struct Crowd {
    pub(super) lines: Vec<Line>,
    pub(super) series: Vec<Series>,
    pub(super) missing: Vec<Missing>,
}

pub(super) fn steps(sessions: u32) -> u64 {
    u64::from(sessions) * (1 + TIERS.len() as u64)
}

/// Numbers of sessions that are looked at, the last one all of them.
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
    let rivals = async |house: &House| measure_rivals(config, house, sessions, progress).await;
    let (baseline, rivals_opened, came_to_an_end) = in_house(config.clone(), stop, rivals).await?;
    crowd.missing.extend(came_to_an_end);
    let mut live_work = None;
    for tier in TIERS {
        if let Some(lever) = tier.missing() {
            crowd.missing.push(Missing { what: tier.what, lever });
            progress.inc(u64::from(sessions));
            continue;
        }
        progress.set_message(format!("{case}, {}", tier.what));
        let work = async |house: &House| measure_tier(house, tier, sessions, rest, progress).await;
        let measured = in_house(in_tier(config, tier, sessions), stop, work).await?;
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
                baseline: Some(rivals_opened.clone().of("chromedriver's new session", "ms")),
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
    // What is measured must not be what the governor made of it, nor those that make room for newcomers.
    let windows = sessions + NEWCOMERS;
    config.limits.max_live = config.limits.max_live.max(windows);
    config.limits.max_sessions = config.limits.max_sessions.max(windows);
    config.limits.memory_budget = MemoryBudget::Bytes(u64::MAX);
    config.chromium.page_out = tier.pages_out;
    config.chromium.merge_pages = tier.merges;
    config
}

/// `house` is there for its portal. Where no more come up than some, those are what there is to measure against.
async fn measure_rivals(
    config: &Config,
    house: &House,
    sessions: u32,
    progress: &ProgressBar,
) -> Result<(Series, Samples, Option<Missing>), Failure> {
    let (portal, page) = (house.portal.url(), format!("{}{PAGE}", house.portal.url()));
    let mut rivals = Rivals::start(&config.chromium).await?;
    let (mut series, mut opened) = (Series::new("chromedriver and Chromium"), Samples::default());
    for count in 1..=sessions {
        match rivals.add(&portal, &page).await {
            Ok(took) => opened.push_time(took),
            Err(failure) if count > 1 => {
                series.push(count - 1, steady(&rivals.roots(), REST_LIVE).await);
                let lever = format!("Of the baseline only {} came up: {failure}", count - 1);
                return Ok((series, opened, Some(Missing { what: "the baseline of as many", lever })));
            }
            Err(failure) => return Err(failure),
        }
        progress.inc(1);
        if stations(sessions).contains(&count) {
            series.push(count, steady(&rivals.roots(), REST_LIVE).await);
        }
    }
    Ok((series, opened, None))
}

struct Measured {
    series: Series,
    opened: Samples,
    /// Of one core, by all together.
    work_percent: f64,
    /// How long each that was frozen took to answer.
    answers: Option<Samples>,
}

async fn measure_tier(
    house: &House,
    tier: Tier,
    sessions: u32,
    rest: Duration,
    progress: &ProgressBar,
) -> Result<Measured, Failure> {
    let page = format!("{}{PAGE}", house.portal.url());
    let (mut series, mut opened) = (Series::new(tier.what), Samples::default());
    let mut all: Vec<Uuid> = Vec::new();
    for station in stations(sessions) {
        let comers = u32::try_from(all.len()).unwrap_or(u32::MAX)..station;
        let came: Vec<(Uuid, Duration)> = stream::iter(comers)
            .map(|number| open(house, number, &page, progress))
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let new: Vec<Uuid> = came.iter().map(|(id, _)| *id).collect();
        if tier.merges {
            merged().await;
        }
        if tier.is_frozen {
            stream::iter(&new).map(|id| freeze(house, *id)).buffered(AT_ONCE).try_collect::<()>().await?;
        }
        all.extend(new);
        let rest = match (tier.is_frozen, station == sessions) {
            (false, _) => REST_LIVE,
            (true, false) => REST_FROZEN,
            (true, true) => rest.max(REST_FROZEN),
        };
        series.push(station, steady(&house.roots(), rest).await);
    }
    let work_percent = work_percent(&house.roots()).await;
    // One after the other, as they are measured on the other side.
    for _ in 0..NEWCOMERS {
        let started = Instant::now();
        house.open_window().await?;
        opened.push_time(started.elapsed());
    }
    let answers = if tier.is_frozen { Some(thaw(house, &all).await?) } else { None };
    Ok(Measured { series, opened, work_percent, answers })
}

async fn open(
    house: &House,
    number: u32,
    page: &str,
    progress: &ProgressBar,
) -> Result<(Uuid, Duration), Failure> {
    let started = Instant::now();
    let id = house.sign_in(&format!("driver-{number}")).await?;
    let took = started.elapsed();
    house.order(id, "navigate", &json!({ "url": page })).await?;
    house.evaluate(id, "globalThis.kept = 0; setInterval(() => globalThis.kept += 1, 1000); kept").await?;
    progress.inc(1);
    Ok((id, took))
}

async fn freeze(house: &House, id: Uuid) -> Result<(), Failure> {
    expect_frozen(&house.order(id, "freeze", &json!({})).await?)
}

fn expect_frozen(session: &Session) -> Result<(), Failure> {
    if session.state == SessionState::Frozen {
        return Ok(());
    }
    let message = format!("a window that should be frozen is {}", session.state.as_str());
    Err(Failure::new(exit_codes::FAILED, message))
}

/// Each is asked for a variable of its page once, one after the other.
async fn thaw(house: &House, all: &[Uuid]) -> Result<Samples, Failure> {
    let mut answers = Samples::default();
    for id in all {
        expect_frozen(&house.session(*id).await?)?;
        sleep(PAUSE).await;
        let started = Instant::now();
        let kept = house.evaluate(*id, "globalThis.kept").await?;
        answers.push_time(started.elapsed());
        if kept == Value::Null {
            return Err(Failure::new(exit_codes::FAILED, "a page has forgotten its variables"));
        }
    }
    Ok(answers)
}

/// What all take together, in MB, once that hardly changes any more.
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

/// Of one core, over a while.
async fn work_percent(roots: &[u32]) -> f64 {
    let spent = || -> Duration { trees(roots).concat().into_iter().filter_map(processor_time).sum() };
    let (before, started) = (spent(), Instant::now());
    sleep(WATCHED).await;
    100.0 * spent().saturating_sub(before).as_secs_f64() / started.elapsed().as_secs_f64()
}

/// The kernel has gone through all memory a few times.
async fn merged() {
    let passes = || std::fs::read_to_string("/sys/kernel/mm/ksm/full_scans").ok()?.trim().parse::<u64>().ok();
    let (from, started) = (passes(), Instant::now());
    while started.elapsed() < MERGING_TIMEOUT && passes() < from.map(|from| from + MERGING_PASSES) {
        sleep(LOOK_EVERY).await;
    }
}
