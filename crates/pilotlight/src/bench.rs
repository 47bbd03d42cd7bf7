//! `pilotlight bench`: benchmarks on the user's own machine, each against a baseline measured in the same run.
//!
//! It starts a separate portal, server and browser in a temporary folder, and measures through the public interface.
//! No number is reported without its baseline: absolute times differ between machines, ratios less so.

mod baseline;
mod cdp;
mod crowd;
mod devtools;
mod fixture;
mod keep;
mod picture;
mod report;
mod server;
mod switches;
mod wake;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use pilotlight_api::Seconds;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::exit::{self, Failure};
use crate::serve::{run_until_stopped, start_log};
use fixture::with_fixture;
pub use report::{Machine, Report};
pub use switches::{SwitchesArgs, SwitchesReport, measure_switches};

/// How often the spinner turns.
const SPINNER_TICK: Duration = Duration::from_millis(120);

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Benchmarks to run [default: all but `keep`]
    #[arg(value_enum, value_name = "ROW")]
    rows: Vec<Row>,
    /// Number of measurements of each row
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Number of sessions in the benchmarks `crowd` and `keep`
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=2000))]
    sessions: u32,
    /// How long windows stay frozen in the benchmark `crowd` before their memory is measured: Chromium clears a hidden
    /// page's caches within 4 minutes and releases its last frame within 10
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    rest: Seconds,
    /// How long each way is measured in the benchmark `keep`
    #[arg(long, value_name = "DURATION", default_value = "30m")]
    span: Seconds,
    /// How often sessions are refreshed in the benchmark `keep`. The portal signs out after a fifth longer
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    every: Seconds,
    /// How hibernated sessions are refreshed in the benchmark `keep`
    #[arg(long, value_enum, value_name = "WAY", value_delimiter = ',', default_values = ["document", "window"])]
    ways: Vec<keep::Way>,
    /// Write a chart of memory over the number of sessions to this file, as SVG
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

/// A benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Row {
    /// A CDP client through the gateway, against a direct connection to the same browser
    Cdp,
    /// Waking a hibernated session until its page is loaded and signed in, against loading the page in a live window
    Wake,
    /// Memory, processor time, start-up and thaw times of many windows, against a separate chromedriver and Chromium for
    /// each
    Crowd,
    /// Memory of the server with a hundred windows, and of each shim
    Server,
    /// Keeping hibernated sessions signed in, in each way, against a separate chromedriver and Chromium for each that
    /// reloads its page
    Keep,
}

impl Row {
    /// Returns whether it runs where none is named. `keep` takes an hour and a half.
    fn is_usual(self) -> bool {
        self != Self::Keep
    }

    /// Returns the number of progress steps.
    fn steps(self, arguments: &BenchArgs) -> u64 {
        match self {
            Self::Cdp => cdp::steps(arguments.rounds),
            Self::Wake => wake::steps(arguments.rounds),
            Self::Crowd => crowd::steps(arguments.sessions),
            Self::Server => u64::from(server::SESSIONS),
            Self::Keep => keep::steps(arguments.sessions, arguments.ways.len()),
        }
    }
}

/// Runs the benchmarks until they are done or stopped, and cleans up.
///
/// # Errors
/// Returns an error message with a hint.
pub fn bench(config: Config, arguments: &BenchArgs) -> Result<Report, Failure> {
    until_stopped("warn", async |stop| measure(&config, arguments, stop).await)
}

/// Does something to its end, or tells it to stop where a signal says so, and waits for what it cleans up.
fn until_stopped<T>(
    log: &str,
    work: impl AsyncFnOnce(&CancellationToken) -> Result<T, Failure>,
) -> Result<T, Failure> {
    start_log(log);
    run_until_stopped(work)?
}

async fn measure(
    config: &Config,
    arguments: &BenchArgs,
    stop: &CancellationToken,
) -> Result<Report, Failure> {
    let all = Row::value_variants().iter().filter(|row| row.is_usual());
    let rows: BTreeSet<Row> = if arguments.rows.is_empty() {
        all.copied().collect()
    } else {
        arguments.rows.iter().copied().collect()
    };
    let rounds = arguments.rounds;
    let progress = progress(rows.iter().map(|row| row.steps(arguments)).sum());
    let chromium = with_fixture(config.clone(), stop, async |fixture| fixture.chromium().await).await?;
    let (mut lines, mut missing, mut growth) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        match row {
            Row::Cdp => {
                let work = with_fixture(config.clone(), stop, async |fixture| {
                    cdp::measure(fixture, rounds, &progress).await
                });
                lines.extend(work.await?);
            }
            Row::Wake => {
                let wakes = with_fixture(config.clone(), stop, async |fixture| {
                    wake::measure(fixture, rounds, &progress).await
                });
                lines.extend(wakes.await?);
            }
            Row::Server => {
                let alone = with_fixture(config.clone(), stop, async |fixture| {
                    server::measure(fixture, &progress).await
                });
                lines.extend(alone.await?);
            }
            Row::Keep => {
                let span = keep::Span {
                    ways: arguments.ways.clone(),
                    lasts: arguments.span.to_duration(),
                    every: arguments.every.to_duration(),
                };
                lines.extend(keep::measure(config, arguments.sessions, span, stop, &progress).await?);
            }
            Row::Crowd => {
                let rest = arguments.rest.to_duration();
                let crowd = crowd::measure(config, arguments.sessions, rest, stop, &progress).await?;
                lines.extend(crowd.lines);
                missing.extend(crowd.missing);
                growth.extend(crowd.series);
            }
        }
    }
    if let Some((path, picture)) = arguments.picture.as_ref().zip(picture::draw(&growth)) {
        std::fs::write(path, picture).map_err(|error| {
            Failure::new(exit::FAILED, format!("cannot write `{}`: {error}", path.display()))
        })?;
    }
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        optimized: !cfg!(debug_assertions),
        chromium,
        profile: config.chromium.profile.clone(),
        machine: Machine::this(),
        rounds,
        rows: lines,
        missing,
        growth,
    })
}

/// On stderr; invisible where that is no terminal.
fn progress(steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps).with_finish(ProgressFinish::AndClear);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos}/{len} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(SPINNER_TICK);
    bar
}
