//! Formats the results of `pilotlight doctor` for people.

use pilotlight_api::{CheckState, DoctorAnswer};

use crate::sentence::size;
use crate::table::lines;

/// The table, and below it what to do.
pub(super) fn told(examination: &DoctorAnswer) -> String {
    let rows = examination.checks.iter().map(|check| {
        let state = match check.state {
            CheckState::Present => "present",
            CheckState::Missing => "missing",
            CheckState::Needed => "NEEDED",
        };
        vec![check.name.clone(), state.to_owned(), check.found.clone(), check.benefit.clone()]
    });
    let table = lines(&["CHECK", "STATE", "FOUND", "BENEFIT"], rows);
    let (all, left) = (size(examination.memory_bytes), size(examination.available_bytes));
    let reclaiming = &examination.reclaiming;
    let mut told = format!("{table}\n\nMemory: {all}, of which {left} is available; {reclaiming}.\n");
    for check in &examination.checks {
        if let Some(fix) = &check.fix {
            told += &format!("\n{}:\n    {}\n", check.name, fix.replace('\n', "\n    "));
        }
    }
    told
}
