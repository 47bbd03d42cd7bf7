//! The results of benchmarks, for people and for scripts.

use std::time::Duration;

use serde::Serialize;
use serde::ser::SerializeStruct;

/// The results of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Pilotlight's version.
    pub version: &'static str,
    /// Whether this is a release build.
    pub optimized: bool,
    /// The browser's name and version.
    pub chromium: String,
    /// The launch profile.
    pub profile: String,
    /// The machine.
    pub machine: Machine,
    /// Number of measurements of each row.
    pub rounds: u32,
    /// The rows.
    pub rows: Vec<Line>,
    /// What could not be measured on this machine, and why.
    pub missing: Vec<Missing>,
    /// Memory by number of sessions.
    pub growth: Vec<Series>,
}

/// A missing requirement.
#[derive(Debug, Clone, Serialize)]
pub struct Missing {
    /// What could not be measured.
    pub what: &'static str,
    /// What is missing, as a sentence without a period.
    pub lever: String,
}

/// Memory by number of sessions, for one state.
#[derive(Debug, Clone, Serialize)]
pub struct Series {
    /// The state.
    pub what: &'static str,
    /// The points, by number of sessions.
    pub points: Vec<Point>,
}

/// A point of a series.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Point {
    /// The number of sessions.
    pub sessions: u32,
    /// Their total memory, in MB.
    pub megabytes: f64,
}

impl Series {
    /// Creates an empty series.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        Self { what, points: Vec::new() }
    }

    /// Adds a point.
    pub fn push(&mut self, sessions: u32, megabytes: f64) {
        self.points.push(Point { sessions, megabytes });
    }

    /// Returns the memory per session at the largest number of sessions, in MB.
    #[must_use]
    pub fn last_each(&self) -> f64 {
        self.points.last().map_or(f64::NAN, |point| point.megabytes / f64::from(point.sessions))
    }
}

/// The machine.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Machine {
    /// Number of processors that this process may use.
    pub cores: Option<usize>,
    /// Memory in bytes; `None` if unknown.
    pub memory_bytes: Option<u64>,
}

impl Machine {
    /// Returns the current machine.
    #[must_use]
    pub fn this() -> Self {
        let cores = std::thread::available_parallelism().ok().map(usize::from);
        Self { cores, memory_bytes: crate::memory::total_bytes() }
    }
}

/// A row: a measurement and its baseline.
#[derive(Debug)]
pub struct Line {
    /// The benchmark that it belongs to.
    pub row: &'static str,
    /// The page, or the number of sessions.
    pub case: String,
    /// The measurement.
    pub measured: Measured,
    /// The baseline of the same run; `None` if the target is absolute.
    pub baseline: Option<Measured>,
    /// The target: the maximum ratio, or the maximum value if there is no baseline.
    pub reach: f64,
}

impl Line {
    /// Returns the ratio of the medians.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        self.baseline.as_ref().map(|baseline| self.measured.median / baseline.median)
    }

    /// Returns whether the target is reached.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.ratio().unwrap_or(self.measured.median) <= self.reach
    }
}

impl Serialize for Line {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_struct("Line", 7)?;
        line.serialize_field("row", self.row)?;
        line.serialize_field("case", &self.case)?;
        line.serialize_field("measured", &self.measured)?;
        line.serialize_field("baseline", &self.baseline)?;
        line.serialize_field("ratio", &self.ratio())?;
        line.serialize_field("reach", &self.reach)?;
        line.serialize_field("is_reached", &self.is_reached())?;
        line.end()
    }
}

/// A measurement.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// What was measured.
    pub what: &'static str,
    /// The unit of all values.
    pub unit: &'static str,
    /// The median.
    pub median: f64,
    /// The largest value.
    pub worst: f64,
    /// All values, in order.
    pub samples: Vec<f64>,
}

/// The samples of a measurement.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds a duration.
    pub fn push_time(&mut self, time: Duration) {
        self.0.push((time.as_secs_f64() * 10_000.0).round() / 10.0);
    }

    /// Creates samples with a single value.
    #[must_use]
    pub fn one(number: f64) -> Self {
        Self(vec![(number * 10.0).round() / 10.0])
    }

    /// Returns a percentile; 0 if there are no samples.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(place).copied().unwrap_or_default()
    }

    /// Converts the samples to a measurement of `what`, in `unit`.
    #[must_use]
    pub fn of(self, what: &'static str, unit: &'static str) -> Measured {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.as_slice() {
            [] => 0.0,
            sorted if sorted.len() % 2 == 1 => sorted[middle],
            sorted => f64::midpoint(sorted[middle - 1], sorted[middle]),
        };
        let worst = sorted.last().copied().unwrap_or_default();
        Measured { what, unit, median, worst, samples: self.0 }
    }
}

impl Report {
    /// The columns of [`Report::lines`].
    pub const HEADER: [&'static str; 9] =
        ["ROW", "OF", "MEASURED", "WORST", "BASELINE", "WORST", "RATIO", "REACH", "REACHED"];

    /// Returns the rows of the table for people.
    pub fn lines(&self) -> impl Iterator<Item = Vec<String>> {
        self.rows.iter().map(|line| {
            let number = |number: f64, unit: &str| match number {
                number if number < 10.0 => format!("{number:.1} {unit}"),
                number => format!("{number:.0} {unit}"),
            };
            let of = |measured: Option<&Measured>, value: fn(&Measured) -> f64| {
                measured.map_or_else(|| "-".to_owned(), |measured| number(value(measured), measured.unit))
            };
            let (measured, baseline) = (Some(&line.measured), line.baseline.as_ref());
            let reach = match baseline {
                Some(_) => format!("{:.2}", line.reach),
                None => number(line.reach, line.measured.unit),
            };
            vec![
                line.row.to_owned(),
                line.case.clone(),
                of(measured, |measured| measured.median),
                of(measured, |measured| measured.worst),
                of(baseline, |measured| measured.median),
                of(baseline, |measured| measured.worst),
                line.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
                reach,
                if line.is_reached() { "yes" } else { "no" }.to_owned(),
            ]
        })
    }

    /// Describes the measurements and the circumstances.
    #[must_use]
    pub fn circumstances(&self) -> String {
        let mut told = String::new();
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for line in &self.rows {
            if !seen.contains(&(line.row, line.measured.what)) {
                seen.push((line.row, line.measured.what));
                let against = line.baseline.as_ref().map(|baseline| format!(", against {}", baseline.what));
                told += &format!("{}: {}{}.\n", line.row, line.measured.what, against.unwrap_or_default());
            }
        }
        for Missing { what, lever } in &self.missing {
            told += &format!(
                "Not measured on this machine: {what}. {lever} (run `pilotlight doctor` for details).\n"
            );
        }
        let build = if self.optimized { "" } else { ", not optimized" };
        let cores = self.machine.cores.map_or_else(|| "?".to_owned(), |cores| cores.to_string());
        let memory = self
            .machine
            .memory_bytes
            .map_or_else(|| "?".to_owned(), |bytes| format!("{:.1}", bytes as f64 / 1e9));
        told + &format!(
            "Medians (of {} rounds) and their ratio. Pilotlight {}{build}, {}, profile {}, {cores} cores, {memory} GB of memory.",
            self.rounds, self.version, self.chromium, self.profile
        )
    }
}
