//! `pilotlight bench`: measures on the user's own machine, each number against a baseline of the same run.
//!
//! It has a portal, a server and a browser of its own, in a folder that is gone afterwards, and it measures
//! by what every client can do. A number without its baseline is never told: machines differ, ratios less so.

mod cdp;
mod house;
mod report;
mod wake;

use std::collections::BTreeSet;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use crate::cli::{Failure, exit_codes};
use crate::config::Config;
use crate::serve::{run, start_log};
use crate::server::Signals;
use house::House;
pub use report::{Line, Machine, Report, Samples};

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
}

/// A question that the benchmark answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Row {
    /// A client's work through the gateway, against a direct connection to the same browser
    Cdp,
    /// From hibernation to a loaded page that is signed in, against loading that page in a warm window
    Wake,
}

impl Row {
    /// How many steps of progress its measuring takes.
    fn steps(self, rounds: u32) -> u64 {
        match self {
            Self::Cdp => cdp::steps(rounds),
            Self::Wake => wake::steps(rounds),
        }
    }

    async fn measure(self, house: &House, rounds: u32, progress: &ProgressBar) -> Result<Vec<Line>, Failure> {
        match self {
            Self::Cdp => cdp::measure(house, rounds, progress).await,
            Self::Wake => wake::measure(house, rounds, progress).await,
        }
    }
}

/// Measures until it is done or told to stop. Nothing of it is left then.
///
/// # Errors
/// What is in the way, as a sentence with a hint.
pub fn bench(config: Config, arguments: &BenchArgs) -> Result<Report, Failure> {
    start_log("warn");
    let mut told = Err(Failure::new(exit_codes::FAILED, "the benchmark was stopped before its end"));
    run(async {
        let mut signals = Signals::take()?;
        let house = House::start(config).await?;
        tokio::select! {
            report = measure(&house, arguments) => told = report,
            () = signals.next() => {}
        }
        house.end().await;
        Ok(())
    })?;
    told
}

async fn measure(house: &House, arguments: &BenchArgs) -> Result<Report, Failure> {
    let all = Row::value_variants().iter();
    let rows: BTreeSet<Row> = if arguments.rows.is_empty() {
        all.copied().collect()
    } else {
        arguments.rows.iter().copied().collect()
    };
    let rounds = arguments.rounds;
    let progress = progress(rows.iter().map(|row| row.steps(rounds)).sum());
    let mut lines = Vec::new();
    for row in rows {
        lines.extend(row.measure(house, rounds, &progress).await?);
    }
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        optimized: !cfg!(debug_assertions),
        chromium: house.chromium().await?,
        profile: house.profile.clone(),
        machine: Machine::this(),
        rounds,
        rows: lines,
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
