//! What was measured, on what: for people and for scripts.

use std::time::Duration;

use serde::Serialize;
use serde::ser::SerializeStruct;

/// All that was measured in one run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Pilotlight's.
    pub version: &'static str,
    /// Whether this is a release build.
    pub optimized: bool,
    /// Name and version of the browser.
    pub chromium: String,
    /// The launch profile.
    pub profile: String,
    /// The machine.
    pub machine: Machine,
    /// How often each thing was measured.
    pub rounds: u32,
    /// The numbers.
    pub rows: Vec<Line>,
    /// What could not be measured here, and for want of what.
    pub missing: Vec<Missing>,
    /// How memory grows with the number of sessions.
    pub growth: Vec<Series>,
}

/// Something that this machine does not offer.
#[derive(Debug, Clone, Serialize)]
pub struct Missing {
    /// What could not be measured.
    pub what: &'static str,
    /// What it takes, in a sentence without its end.
    pub lever: String,
}

/// How memory grows with the number of sessions, of one kind.
#[derive(Debug, Clone, Serialize)]
pub struct Series {
    /// Of what.
    pub what: &'static str,
    /// By the number of sessions.
    pub points: Vec<Point>,
}

/// One point of a series.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Point {
    /// So many sessions …
    pub sessions: u32,
    /// … take so much together, in MB.
    pub megabytes: f64,
}

impl Series {
    /// Without a point.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        Self { what, points: Vec::new() }
    }

    /// Adds a point.
    pub fn push(&mut self, sessions: u32, megabytes: f64) {
        self.points.push(Point { sessions, megabytes });
    }

    /// What each session takes where there are the most, in MB.
    #[must_use]
    pub fn last_each(&self) -> f64 {
        self.points.last().map_or(f64::NAN, |point| point.megabytes / f64::from(point.sessions))
    }
}

/// Where it was measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Machine {
    /// Processors that this process may use.
    pub cores: Option<usize>,
    /// Its memory; `None` where it does not say.
    pub memory_bytes: Option<u64>,
}

impl Machine {
    /// The one that this runs on.
    #[must_use]
    pub fn this() -> Self {
        let cores = std::thread::available_parallelism().ok().map(usize::from);
        Self { cores, memory_bytes: crate::memory::total_bytes() }
    }
}

/// One thing that was measured, and what it is measured against.
#[derive(Debug)]
pub struct Line {
    /// The row that it belongs to.
    pub row: &'static str,
    /// Of which page, or of how many sessions.
    pub case: String,
    /// The thing.
    pub measured: Measured,
    /// Its baseline in the same run; `None` where the thing itself is what counts.
    pub baseline: Option<Measured>,
    /// What the ratio of the two shall be at most, or the thing itself where it has no baseline.
    pub reach: f64,
}

impl Line {
    /// The medians' ratio.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        self.baseline.as_ref().map(|baseline| self.measured.median / baseline.median)
    }

    /// Whether it is as small as it shall be.
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

/// What came of measuring one thing.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// The thing.
    pub what: &'static str,
    /// The unit of all its numbers.
    pub unit: &'static str,
    /// The middle one.
    pub median: f64,
    /// The largest one.
    pub worst: f64,
    /// All, as they came.
    pub samples: Vec<f64>,
}

/// Numbers of one thing.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds a time.
    pub fn push_time(&mut self, time: Duration) {
        self.0.push((time.as_secs_f64() * 10_000.0).round() / 10.0);
    }

    /// One number alone.
    #[must_use]
    pub fn one(number: f64) -> Self {
        Self(vec![(number * 10.0).round() / 10.0])
    }

    /// The smallest number that so many percent are not above; 0 where there is none.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(place).copied().unwrap_or_default()
    }

    /// As numbers of `what`, in `unit`.
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

    /// The table for people.
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

    /// What the numbers are, and how they came about, in words.
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
            told +=
                &format!("Not measured here: {what}. {lever} (`pilotlight doctor` says how to get it).\n");
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
