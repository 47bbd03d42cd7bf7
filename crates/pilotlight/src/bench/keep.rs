//! The benchmark `keep`: the cost of keeping hibernated sessions signed in at a portal that signs out inactive
//! sessions, with each way of refreshing them, against a separate chromedriver and Chromium for each that reloads its
//! page.

use std::time::Duration;

use clap::ValueEnum;
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use pilotlight_api::RefreshAsleep;
use pilotlight_linux::{ProcessMemory, Swap, processor_time_with_children, trees};
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::baseline::Baselines;
use super::fixture::{Fixture, Keeping, with_fixture_of};
use super::report::{Line, Samples};
use crate::config::{Config, MemoryBudget};
use crate::exit::Failure;

/// The page that every session shows: as large as those of real portals.
const PAGE: &str = "heavy";
/// The maximum number of open windows.
const WINDOWS: u32 = 10;
/// The maximum number of instances of the baseline: its cost per session does not depend on their number.
const BASELINES: u32 = 10;
/// Number of sessions that are signed in at the same time.
const AT_ONCE: usize = 4;
/// Number of sessions that are used one after the other in the end.
const USED: usize = 200;
/// The time within which half of them must answer, in milliseconds.
const USE_REACH: f64 = 5000.0;
/// The interval of samples of processor time and delays.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The interval of samples of memory: sampling it takes processor time itself.
const WEIGH_EVERY: Duration = Duration::from_secs(30);

/// A way of refreshing hibernated sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Way {
    /// With one document
    Document,
    /// In a window
    Window,
}

/// The ways that are measured, the duration and the interval.
#[derive(Debug, Clone)]
pub(super) struct Span {
    /// The ways of refreshing hibernated sessions.
    pub(super) ways: Vec<Way>,
    /// The duration of the measurement.
    pub(super) lasts: Duration,
    /// The refresh interval of sessions.
    pub(super) every: Duration,
}

/// The results.
struct Taken {
    sessions: u32,
    /// Processor seconds.
    work: f64,
    /// Bytes that the portal sent.
    bytes: u64,
    /// The maximum memory, in MB.
    megabytes: f64,
    /// The delay of the latest refresh, in seconds.
    latest: f64,
    /// With those during the uses afterwards.
    sign_ins: u64,
    /// How long the first use of each session took.
    uses: Samples,
    /// The number of sessions that could not be used.
    unusable: u32,
    hours: f64,
}

impl Taken {
    fn per_session_hour(&self, amount: f64) -> f64 {
        amount / f64::from(self.sessions.max(1)) / self.hours
    }
}

pub(super) fn steps(sessions: u32, ways: usize) -> u64 {
    u64::from(sessions) * ways as u64 + u64::from(sessions.min(BASELINES))
}

pub(super) async fn measure(
    config: &Config,
    sessions: u32,
    span: Span,
    stop: &CancellationToken,
    progress: &ProgressBar,
) -> Result<Vec<Line>, Failure> {
    let mut config = config.clone();
    config.limits.max_live = WINDOWS;
    config.limits.max_sessions = config.limits.max_sessions.max(sessions);
    config.limits.memory_budget = MemoryBudget::Bytes(u64::MAX);
    let keeping = |asleep| Keeping { every: span.every, asleep, page: PAGE };
    let baseline = async |fixture: &Fixture| {
        measure_baseline(&config, fixture, sessions.min(BASELINES), &span, progress).await
    };
    let never = keeping(RefreshAsleep::Never);
    let baseline = with_fixture_of(config.clone(), Some(never), stop, baseline).await?;
    let mut lines = Vec::new();
    for way in &span.ways {
        let (name, asleep) = match way {
            Way::Document => ("document", RefreshAsleep::Document),
            Way::Window => ("window", RefreshAsleep::Window),
        };
        let work = async |fixture: &Fixture| measure_way(fixture, sessions, name, &span, progress).await;
        let taken = with_fixture_of(config.clone(), Some(keeping(asleep)), stop, work).await?;
        lines.extend(told(name, &taken, &baseline));
    }
    Ok(lines)
}

fn told(name: &str, taken: &Taken, baseline: &Taken) -> Vec<Line> {
    let line = |case: &str, measured: f64, what, unit, baseline: Option<f64>, reach| Line {
        row: "keep",
        case: format!("{} sessions, {name}, {case}", taken.sessions),
        measured: Samples::one(measured).of(what, unit),
        baseline: baseline
            .map(|baseline| Samples::one(baseline).of("chromedriver and Chromium, one each", unit)),
        reach,
    };
    let work = |taken: &Taken| taken.per_session_hour(taken.work);
    let traffic = |taken: &Taken| taken.per_session_hour(taken.bytes as f64 / 1e6);
    let memory = |taken: &Taken| taken.megabytes / f64::from(taken.sessions.max(1));
    let hour = "hibernated, for one session and one hour";
    vec![
        line("processor", work(taken), hour, "s", Some(work(baseline)), 1.0),
        line("traffic", traffic(taken), hour, "MB", Some(traffic(baseline)), 1.0),
        line("memory", memory(taken), "all together, for each session", "MB", Some(memory(baseline)), 0.25),
        line("memory in all", taken.megabytes, "browsers, shims, server and portal", "MB", None, 800.0),
        line("latest", taken.latest, "how late the latest refresh began", "s", None, 30.0),
        line(
            "sign-ins",
            taken.sign_ins as f64 / f64::from(taken.sessions.max(1)),
            "sign-ins of one session, as the portal counts them",
            "",
            None,
            1.0,
        ),
        Line {
            row: "keep",
            case: format!("{} sessions, {name}, then used", taken.sessions),
            measured: taken.uses.clone().of("until a session answers, one after the other", "ms"),
            baseline: None,
            reach: USE_REACH,
        },
        line("then unusable", f64::from(taken.unusable), "sessions that did not answer", "", None, 0.0),
        line(
            "then used, p99",
            taken.uses.percentile(99),
            "the same, but for the worst",
            "ms",
            None,
            USE_REACH,
        ),
    ]
}

/// The server runs in this process, and so does the portal: both are counted.
async fn measure_way(
    fixture: &Fixture,
    sessions: u32,
    name: &str,
    span: &Span,
    progress: &ProgressBar,
) -> Result<Taken, Failure> {
    progress.set_message(format!("{sessions} hibernated sessions, refreshed by a {name}"));
    let page = format!("{}{PAGE}", fixture.portal.url());
    let begin = |number: u32| {
        let page = &page;
        async move {
            let id = fixture.sign_in(&format!("driver-{number}")).await?;
            fixture.order(id, "navigate", &json!({ "url": page })).await?;
            fixture.order(id, "hibernate", &json!({})).await?;
            progress.inc(1);
            Ok::<Uuid, Failure>(id)
        }
    };
    let begun = stream::iter(0..sessions).map(begin).buffer_unordered(AT_ONCE);
    let ids: Vec<Uuid> = begun.try_collect().await?;
    let own = std::process::id();
    let roots = || [fixture.roots(), vec![own]].concat();
    let mut measuring = Measuring::begin(fixture, &roots()).await;
    let end = Instant::now() + span.lasts;
    while Instant::now() < end {
        sleep_until((Instant::now() + LOOK_EVERY).min(end)).await;
        measuring.look(&roots(), fixture.latest_refresh()).await;
    }
    let mut taken = measuring.end(fixture, &roots(), sessions);
    progress.set_message("sessions are used one after the other");
    for id in ids.into_iter().take(USED) {
        let asked = Instant::now();
        match fixture.evaluate(id, "document.title").await {
            Ok(_) => taken.uses.push_time(asked.elapsed()),
            Err(_) => taken.unusable += 1,
        }
    }
    taken.sign_ins = fixture.portal.total_sign_ins();
    Ok(taken)
}

/// Uses only the portal of `fixture`.
async fn measure_baseline(
    config: &Config,
    fixture: &Fixture,
    sessions: u32,
    span: &Span,
    progress: &ProgressBar,
) -> Result<Taken, Failure> {
    progress.set_message(format!("the baseline: {sessions} times chromedriver and Chromium"));
    let (portal, page) = (fixture.portal.url(), format!("{}{PAGE}", fixture.portal.url()));
    let mut baselines = Baselines::start(&config.chromium).await?;
    for _ in 0..sessions {
        baselines.add(&portal, &page).await?;
        progress.inc(1);
    }
    let roots = baselines.roots();
    let mut measuring = Measuring::begin(fixture, &roots).await;
    let end = Instant::now() + span.lasts;
    // Spread over the interval, each after its own.
    let (mut next, mut number) = (Instant::now(), 0);
    loop {
        next += span.every / sessions.max(1);
        if next >= end {
            break;
        }
        sleep_until(next).await;
        baselines.reload(number).await?;
        number = (number + 1) % sessions.max(1);
        measuring.look(&roots, Duration::ZERO).await;
    }
    sleep_until(end).await;
    Ok(measuring.end(fixture, &roots, sessions))
}

/// A measurement in progress.
struct Measuring {
    began: Instant,
    weighed: Instant,
    /// The processor time at the last sample, and the sum until then.
    seen: Duration,
    work: Duration,
    bytes: u64,
    megabytes: f64,
    latest: Duration,
}

impl Measuring {
    async fn begin(fixture: &Fixture, roots: &[u32]) -> Self {
        let megabytes = memory(roots).await;
        Self {
            began: Instant::now(),
            weighed: Instant::now(),
            seen: work(roots),
            work: Duration::ZERO,
            bytes: fixture.portal.sent().bytes,
            megabytes,
            latest: Duration::ZERO,
        }
    }

    async fn look(&mut self, roots: &[u32], late: Duration) {
        self.add_work(roots);
        self.latest = self.latest.max(late);
        if self.weighed.elapsed() >= WEIGH_EVERY {
            self.weighed = Instant::now();
            self.megabytes = self.megabytes.max(memory(roots).await);
        }
    }

    /// The processor time of a browser is lost when it ends, so that it is added up at each sample.
    fn add_work(&mut self, roots: &[u32]) {
        let now = work(roots);
        self.work += now.saturating_sub(self.seen);
        self.seen = now;
    }

    fn end(mut self, fixture: &Fixture, roots: &[u32], sessions: u32) -> Taken {
        self.add_work(roots);
        Taken {
            sessions,
            work: self.work.as_secs_f64(),
            bytes: fixture.portal.sent().bytes.saturating_sub(self.bytes),
            megabytes: self.megabytes,
            latest: self.latest.as_secs_f64(),
            sign_ins: fixture.portal.total_sign_ins(),
            uses: Samples::default(),
            unusable: 0,
            hours: self.began.elapsed().as_secs_f64() / 3600.0,
        }
    }
}

/// Including processes that have ended: each document has a process of its own.
fn work(roots: &[u32]) -> Duration {
    let mut all: Vec<u32> = trees(roots).concat();
    all.sort_unstable();
    all.dedup();
    all.into_iter().filter_map(processor_time_with_children).sum()
}

async fn memory(roots: &[u32]) -> f64 {
    let roots = roots.to_owned();
    let weigh = move || {
        let mut all = trees(&roots).concat();
        all.sort_unstable();
        all.dedup();
        let memory: ProcessMemory = all.into_iter().filter_map(ProcessMemory::of).sum();
        memory.bytes + Swap::now().held_bytes(memory.swapped_bytes)
    };
    tokio::task::spawn_blocking(weigh).await.unwrap_or_default() as f64 / 1e6
}
