//! `pilotlight bench`: measures on the user's own machine, each number against a baseline of the same run.
//!
//! It has a portal, a server and a browser of its own, in a folder that is gone afterwards, and it measures
//! by what every client can do. A number without its baseline is never told: machines differ, ratios less so.

mod alone;
mod cdp;
mod crowd;
mod house;
mod picture;
mod report;
mod rival;
mod switches;
mod wake;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use pilotlight_api::Seconds;
use tokio_util::sync::CancellationToken;

use crate::cli::{Failure, exit_codes};
use crate::config::Config;
use crate::serve::{run, start_log};
use crate::server::Signals;
use house::in_house;
pub use report::{Line, Machine, Missing, Point, Report, Samples, Series};
pub use switches::{SwitchLine, SwitchesArgs, SwitchesReport, measure_switches};

/// How often the spinner turns.
const SPINNER_TICK: Duration = Duration::from_millis(120);

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Which rows [default: all]
    #[arg(value_enum, value_name = "ROW")]
    rows: Vec<Row>,
    /// How often each thing is measured
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How many sessions there are at once in the row `crowd`
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    sessions: u32,
    /// How long windows stand still in the row `crowd` before all of them are weighed: Chromium empties a hidden page's
    /// caches within 4 minutes, and lets go of what it last showed within 10
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    rest: Seconds,
    /// Write the picture of memory over the number of sessions here, as SVG
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

/// A question that the benchmark answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Row {
    /// A client's work through the gateway, against a direct connection to the same browser
    Cdp,
    /// From hibernation to a loaded page that is signed in, against loading that page in a warm window
    Wake,
    /// Memory, processor time, opening and first answers of many windows, live and frozen, against one chromedriver
    /// and one Chromium each
    Crowd,
    /// What the server itself takes with a hundred windows, and each of its shims
    Server,
}

impl Row {
    /// How many steps of progress its measuring takes.
    fn steps(self, arguments: &BenchArgs) -> u64 {
        match self {
            Self::Cdp => cdp::steps(arguments.rounds),
            Self::Wake => wake::steps(arguments.rounds),
            Self::Crowd => crowd::steps(arguments.sessions),
            Self::Server => u64::from(alone::SESSIONS),
        }
    }
}

/// Measures until it is done or told to stop. Nothing of it is left then.
///
/// # Errors
/// What is in the way, as a sentence with a hint.
pub fn bench(config: Config, arguments: &BenchArgs) -> Result<Report, Failure> {
    until_stopped("warn", async |stop| measure(&config, arguments, stop).await)
}

/// Does something to its end, or tells it to stop where a signal says so, and waits for what it cleans up.
fn until_stopped<T>(
    log: &str,
    work: impl AsyncFnOnce(&CancellationToken) -> Result<T, Failure>,
) -> Result<T, Failure> {
    start_log(log);
    let mut told = Err(house::stopped());
    run(async {
        let mut signals = Signals::take()?;
        let stop = CancellationToken::new();
        let mut working = std::pin::pin!(work(&stop));
        tokio::select! {
            done = &mut working => told = done,
            () = signals.next() => {
                stop.cancel();
                told = working.await;
            }
        }
        Ok(())
    })?;
    told
}

async fn measure(
    config: &Config,
    arguments: &BenchArgs,
    stop: &CancellationToken,
) -> Result<Report, Failure> {
    let all = Row::value_variants().iter();
    let rows: BTreeSet<Row> = if arguments.rows.is_empty() {
        all.copied().collect()
    } else {
        arguments.rows.iter().copied().collect()
    };
    let rounds = arguments.rounds;
    let progress = progress(rows.iter().map(|row| row.steps(arguments)).sum());
    let chromium = in_house(config.clone(), stop, async |house| house.chromium().await).await?;
    let (mut lines, mut missing, mut growth) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        match row {
            Row::Cdp => {
                let work = in_house(config.clone(), stop, async |house| {
                    cdp::measure(house, rounds, &progress).await
                });
                lines.extend(work.await?);
            }
            Row::Wake => {
                let wakes = in_house(config.clone(), stop, async |house| {
                    wake::measure(house, rounds, &progress).await
                });
                lines.extend(wakes.await?);
            }
            Row::Server => {
                let alone =
                    in_house(config.clone(), stop, async |house| alone::measure(house, &progress).await);
                lines.extend(alone.await?);
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
            Failure::new(exit_codes::FAILED, format!("`{}` cannot be written: {error}", path.display()))
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
