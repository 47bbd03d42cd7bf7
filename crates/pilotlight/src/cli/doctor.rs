//! What the doctor found, for people.

use pilotlight_api::{DoctorAnswer, LeverState};

use super::table::lines;
use crate::sentence::size;

/// The table, and below it what to do.
pub(super) fn told(examination: &DoctorAnswer) -> String {
    let rows = examination.levers.iter().map(|lever| {
        let state = match lever.state {
            LeverState::Present => "present",
            LeverState::Missing => "missing",
            LeverState::Needed => "NEEDED",
        };
        vec![lever.lever.clone(), state.to_owned(), lever.found.clone(), lever.brings.clone()]
    });
    let table = lines(&["LEVER", "STATE", "FOUND", "BRINGS"], rows);
    let (all, left) = (size(examination.memory_bytes), size(examination.available_bytes));
    let reclaiming = &examination.reclaiming;
    let mut told = format!("{table}\n\nMemory: {all}, of which {left} can be had. For now {reclaiming}.\n");
    for lever in &examination.levers {
        if let Some(remedy) = &lever.remedy {
            told += &format!("\n{}:\n    {}\n", lever.lever, remedy.replace('\n', "\n    "));
        }
    }
    told
}
