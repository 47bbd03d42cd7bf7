//! What the siege measures: how long each use of the others took, and what the attackers did meanwhile.
//!
//! Three attack at a time, so that a use which overlaps an act need not have waited for that act; with
//! `PILOTLIGHT_SIEGE_ONLY` there is nothing else.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use tokio::time::Instant;

/// How much longer than without the attackers a use may take before it is told of.
const NOTED: Duration = Duration::from_millis(250);
/// How many stalls are listed, the longest first.
const STALLS_LISTED: usize = 12;

/// One use of one of the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use {
    pub(super) began: Instant,
    pub(super) took: Duration,
}

/// Something that an attacker does, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Act {
    pub(super) attacker: &'static str,
    pub(super) name: &'static str,
}

/// Where the attacker's window was when an act began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// In the browser of the others.
    Shared,
    /// In another one.
    Own,
    /// Nowhere: its session had no window.
    None,
}

#[derive(Debug)]
struct Interval {
    act: Act,
    place: Place,
    began: Instant,
    ended: Instant,
}

/// What the attackers have done.
#[derive(Debug, Default)]
pub(super) struct Log(RefCell<Vec<Interval>>);

impl Log {
    pub(super) fn add(&self, act: Act, place: Place, began: Instant) {
        self.0.borrow_mut().push(Interval { act, place, began, ended: Instant::now() });
    }
}

impl Interval {
    fn overlaps(&self, one: &Use) -> bool {
        one.began <= self.ended && self.began <= one.began + one.took
    }

    fn named(&self) -> String {
        format!("{} ({:?})", self.act.name, self.place)
    }
}

/// Returns the value that this part of all uses does not exceed.
pub(super) fn quantile(uses: &[Use], part: f64) -> Duration {
    let mut sorted: Vec<_> = uses.iter().map(|one| one.took).collect();
    sorted.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let place = part * sorted.len().saturating_sub(1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the list")]
    sorted.get(place.round() as usize).copied().unwrap_or_default()
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// Returns a line with the number of uses and how long they took.
pub(super) fn summary(uses: &[Use]) -> String {
    let at = |part| milliseconds(quantile(uses, part));
    format!("{} uses, p50 {}, p95 {}, p99 {}, max {}", uses.len(), at(0.5), at(0.95), at(0.99), at(1.0))
}

/// Returns a table of the acts, each with the uses that overlap it.
pub(super) fn by_act(log: &Log, during: &[Use]) -> String {
    let intervals = log.0.borrow();
    let mut rows: BTreeMap<(Act, Place), Vec<&Interval>> = BTreeMap::new();
    for interval in intervals.iter() {
        rows.entry((interval.act, interval.place)).or_default().push(interval);
    }
    let mut table = format!(
        "{:10} {:30} {:7} {:>6} {:>7} {:>6} {:>11} {:>11}\n",
        "attacker", "act", "browser", "times", "seconds", "uses", "p99", "max"
    );
    for ((act, place), intervals) in rows {
        let overlapping = |one: &&Use| intervals.iter().any(|interval| interval.overlaps(one));
        let uses: Vec<Use> = during.iter().filter(overlapping).copied().collect();
        let seconds: Duration = intervals.iter().map(|interval| interval.ended - interval.began).sum();
        let row = writeln!(
            table,
            "{:10} {:30} {:7} {:>6} {:>7.1} {:>6} {:>11} {:>11}",
            act.attacker,
            act.name,
            format!("{place:?}").to_lowercase(),
            intervals.len(),
            seconds.as_secs_f64(),
            uses.len(),
            milliseconds(quantile(&uses, 0.99)),
            milliseconds(quantile(&uses, 1.0)),
        );
        row.expect("a text takes everything");
    }
    table
}

/// Uses that waited at the same time.
#[derive(Debug)]
struct Stall {
    uses: Vec<Use>,
    began: Instant,
    ended: Instant,
}

impl Stall {
    fn lasted(&self) -> Duration {
        self.ended - self.began
    }
}

/// Returns the longest stalls: moments at which uses took much longer than they do without attackers (`usual`), with
/// what was done meanwhile, and when that began.
pub(super) fn stalls(log: &Log, during: &[Use], usual: Duration, start: Instant) -> String {
    let mut slow: Vec<Use> = during.iter().filter(|one| one.took > usual + NOTED).copied().collect();
    slow.sort_unstable_by_key(|one| one.began);
    let mut stalls: Vec<Stall> = Vec::new();
    for one in slow {
        let ended = one.began + one.took;
        match stalls.last_mut() {
            Some(last) if one.began <= last.ended => {
                last.uses.push(one);
                last.ended = last.ended.max(ended);
            }
            _ => stalls.push(Stall { uses: vec![one], began: one.began, ended }),
        }
    }
    stalls.sort_unstable_by_key(|stall| std::cmp::Reverse(stall.lasted()));
    let mut told = format!("{} stalls of more than {}\n", stalls.len(), milliseconds(usual + NOTED));
    for stall in stalls.iter().take(STALLS_LISTED) {
        let whole = Use { began: stall.began, took: stall.lasted() };
        let since = |moment: Instant| moment.saturating_duration_since(start).as_secs_f64();
        let acts: Vec<String> = log
            .0
            .borrow()
            .iter()
            .filter(|interval| interval.overlaps(&whole))
            .map(|interval| format!("{} since {:.1} s", interval.named(), since(interval.began)))
            .collect();
        let row = writeln!(
            told,
            "at {:6.2} s for {:>9}, {:>3} uses: {}",
            since(stall.began),
            milliseconds(stall.lasted()),
            stall.uses.len(),
            acts.join("; ")
        );
        row.expect("a text takes everything");
    }
    told
}
