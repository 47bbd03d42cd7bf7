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
    pub case: &'static str,
    /// The thing.
    pub measured: Measured,
    /// Its baseline in the same run.
    pub baseline: Measured,
    /// What the ratio of the two shall be at most.
    pub reach: f64,
}

impl Line {
    /// The medians' ratio.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.measured.median / self.baseline.median
    }
}

impl Serialize for Line {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_struct("Line", 6)?;
        line.serialize_field("row", self.row)?;
        line.serialize_field("case", self.case)?;
        line.serialize_field("measured", &self.measured)?;
        line.serialize_field("baseline", &self.baseline)?;
        line.serialize_field("ratio", &self.ratio())?;
        line.serialize_field("reach", &self.reach)?;
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
#[derive(Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds a time.
    pub fn push_time(&mut self, time: Duration) {
        self.0.push((time.as_secs_f64() * 10_000.0).round() / 10.0);
    }

    /// As times of `what`.
    #[must_use]
    pub fn of(self, what: &'static str) -> Measured {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.as_slice() {
            [] => 0.0,
            sorted if sorted.len() % 2 == 1 => sorted[middle],
            sorted => f64::midpoint(sorted[middle - 1], sorted[middle]),
        };
        let worst = sorted.last().copied().unwrap_or_default();
        Measured { what, unit: "ms", median, worst, samples: self.0 }
    }
}

impl Report {
    /// The columns of [`Report::lines`].
    pub const HEADER: [&'static str; 8] =
        ["ROW", "OF", "MEASURED", "WORST", "BASELINE", "WORST", "RATIO", "REACH"];

    /// The table for people.
    pub fn lines(&self) -> impl Iterator<Item = Vec<String>> {
        self.rows.iter().map(|line| {
            let number = |number: f64, unit: &str| format!("{number:.0} {unit}");
            let (measured, baseline) = (&line.measured, &line.baseline);
            vec![
                line.row.to_owned(),
                line.case.to_owned(),
                number(measured.median, measured.unit),
                number(measured.worst, measured.unit),
                number(baseline.median, baseline.unit),
                number(baseline.worst, baseline.unit),
                format!("{:.2}", line.ratio()),
                format!("{:.2}", line.reach),
            ]
        })
    }

    /// What the numbers are, and how they came about, in words.
    #[must_use]
    pub fn circumstances(&self) -> String {
        let mut told = String::new();
        let mut rows: Vec<&str> = Vec::new();
        for line in self.rows.iter() {
            if !rows.contains(&line.row) {
                rows.push(line.row);
                told += &format!("{}: {}, against {}.\n", line.row, line.measured.what, line.baseline.what);
            }
        }
        let build = if self.optimized { "" } else { ", not optimized" };
        let cores = self.machine.cores.map_or_else(|| "?".to_owned(), |cores| cores.to_string());
        let memory = self
            .machine
            .memory_bytes
            .map_or_else(|| "?".to_owned(), |bytes| format!("{:.1}", bytes as f64 / 1e9));
        told + &format!(
            "Medians of {} rounds and their ratio. Pilotlight {}{build}, {}, profile {}, {cores} cores, {memory} GB of memory.",
            self.rounds, self.version, self.chromium, self.profile
        )
    }
}
