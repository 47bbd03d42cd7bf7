//! Operations under clients that forget inputs, phases that fail, and servers that are killed between any two
//! actions: what was recorded last is all that the next server knows.

use std::collections::BTreeSet;
use std::time::Duration;

use pilotlight_core::{Ending, Moment, Operation, OperationAction, OperationInput, Stage};

use super::chance::Chance;

const TIMEOUT: Duration = Duration::from_secs(300);
/// Inputs until an operation must have ended: each either ends it, or is one of few that do not.
const MAX_STEPS: u32 = 10_000;

/// Drives one operation to its end, and gives how it ended.
///
/// # Errors
/// The first thing that did not hold, with the seed.
pub fn run(seed: u64) -> Result<Ending, String> {
    let mut chance = Chance::new(seed);
    let needs: Vec<BTreeSet<String>> = (0..chance.between(1, 4))
        .map(|phase| (0..chance.below(3)).map(|input| format!("{phase}-{input}")).collect())
        .collect();
    let mut now = Moment(0);
    let mut walk = Walk {
        recorded: Operation::new(needs.clone(), TIMEOUT, now),
        operation: Operation::new(needs.clone(), TIMEOUT, now),
        given: BTreeSet::new(),
        begun: BTreeSet::new(),
        running: None,
        released: 0,
        needs,
    };
    for _ in 0..MAX_STEPS {
        now = now + Duration::from_secs(chance.below(120));
        if let Stage::Ended { ending, .. } = walk.operation.stage() {
            let ending = *ending;
            return walk
                .at_end(ending)
                .map(|()| ending)
                .map_err(|sentence| format!("seed {seed}: {sentence}"));
        }
        walk.step(&mut chance, now).map_err(|sentence| format!("seed {seed}: {sentence}"))?;
    }
    Err(format!("seed {seed}: it never ended"))
}

struct Walk {
    needs: Vec<BTreeSet<String>>,
    operation: Operation,
    recorded: Operation,
    given: BTreeSet<String>,
    begun: BTreeSet<usize>,
    running: Option<usize>,
    released: u32,
}

impl Walk {
    fn step(&mut self, chance: &mut Chance, now: Moment) -> Result<(), String> {
        let input = match chance.below(100) {
            0 => OperationInput::Cancel,
            1 => OperationInput::SessionEnded,
            2..6 => return self.killed(chance, now),
            6..46 if self.running.is_some() => OperationInput::PhaseEnded(!chance.percent(5)),
            6..60 => {
                let all: Vec<&String> = self.needs.iter().flatten().collect();
                let names: BTreeSet<String> =
                    all.into_iter().filter(|_| chance.percent(25)).cloned().collect();
                if self.running.is_none() {
                    self.given.extend(names.clone());
                }
                OperationInput::Continue(names)
            }
            _ => OperationInput::Tick,
        };
        if matches!(input, OperationInput::PhaseEnded(_)) {
            self.running = None;
        }
        match self.operation.step(now, input) {
            Ok(actions) => self.act(&actions, None),
            Err(_) => Ok(()),
        }
    }

    /// The server is killed, now or between two actions of something that a client asks for, and the next one
    /// takes up what was recorded.
    fn killed(&mut self, chance: &mut Chance, now: Moment) -> Result<(), String> {
        if self.running.is_none() && chance.percent(50) {
            let names: BTreeSet<String> = self.needs.iter().flatten().cloned().collect();
            self.given.extend(names.clone());
            let cut = usize::try_from(chance.below(2)).unwrap_or(0);
            if let Ok(actions) = self.operation.step(now, OperationInput::Continue(names)) {
                self.act(&actions, Some(cut))?;
            }
        }
        self.operation = self.recorded.clone();
        self.running = None;
        let actions = self.operation.step(now, OperationInput::Resumed).unwrap_or_default();
        self.act(&actions, None)
    }

    fn act(&mut self, actions: &[OperationAction], cut: Option<usize>) -> Result<(), String> {
        for action in &actions[..cut.unwrap_or(actions.len()).min(actions.len())] {
            match action {
                OperationAction::Record => self.recorded = self.operation.clone(),
                OperationAction::Release => self.released += 1,
                OperationAction::Run(phase) => {
                    if self.operation != self.recorded {
                        return Err(format!("phase {phase} began unrecorded"));
                    }
                    if !self.begun.insert(*phase) {
                        return Err(format!("phase {phase} began twice"));
                    }
                    if *phase > 0 && !self.begun.contains(&(phase - 1)) {
                        return Err(format!("phase {phase} began before the one before it"));
                    }
                    if !self.needs[*phase].is_subset(&self.given) {
                        return Err(format!("phase {phase} began without what it needs"));
                    }
                    self.running = Some(*phase);
                }
            }
        }
        Ok(())
    }

    fn at_end(&self, ending: Ending) -> Result<(), String> {
        if self.released != 1 {
            return Err(format!("it gave its hold back {} times", self.released));
        }
        if ending == Ending::Done && self.begun.len() != self.needs.len() {
            return Err("it is done, and not every phase was run".to_owned());
        }
        Ok(())
    }
}
