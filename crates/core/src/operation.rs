//! The phases of an operation: when one may begin, which inputs are missing, and when the operation ends.
//!
//! A phase is begun at most once: it may have booked something. Its start is stored before it begins; if the server
//! crashes during a phase, its progress is unknown, and the operation ends. While it waits for an input it keeps its
//! place and its hold.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::time::Moment;

/// The state of an operation. Phases are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// A phase runs, or is about to.
    Running {
        /// The phase.
        phase: usize,
    },
    /// A phase cannot begin before the client provides more inputs.
    Waiting {
        /// The phase.
        phase: usize,
        /// Until when it waits for them.
        expires_at: Moment,
    },
    /// It has ended.
    Ended {
        /// The outcome.
        ending: Ending,
        /// When it ended.
        at: Moment,
    },
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// All phases have succeeded.
    Done,
    /// A phase failed.
    Failed,
    /// It did not get the inputs that it waited for.
    Expired,
    /// A client cancelled it.
    Cancelled,
    /// Its session ended.
    SessionEnded,
    /// The server ended during a phase.
    Interrupted,
}

/// The inputs of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationInput {
    /// A client provides more inputs, by these names, and continues it.
    Continue(BTreeSet<String>),
    /// The running phase ended; whether it succeeded.
    PhaseEnded(bool),
    /// A client cancels it.
    Cancel,
    /// Its session has ended.
    SessionEnded,
    /// Its state could not be stored, so that the next server would not know it.
    NotRecorded,
    /// A new server has loaded it.
    Resumed,
    /// Time has passed.
    Tick,
}

/// The resulting actions, in order: each is executed before the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationAction {
    /// Store the operation as it is now.
    Record,
    /// Run this phase.
    Run(usize),
    /// Release its hold on the session.
    Release,
}

/// Why an operation cannot be continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationRefusal {
    /// It is running.
    Running,
    /// It has ended.
    Ended(Ending),
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The inputs that each phase needs before it can begin.
    needs: Vec<BTreeSet<String>>,
    given: BTreeSet<String>,
    timeout: Duration,
    stage: Stage,
}

impl Operation {
    /// Returns one that has not begun: `Continue` begins it.
    #[must_use]
    pub fn new(needs: Vec<BTreeSet<String>>, timeout: Duration, now: Moment) -> Self {
        Self {
            needs,
            given: BTreeSet::new(),
            timeout,
            stage: Stage::Waiting { phase: 0, expires_at: now + timeout },
        }
    }

    /// Returns one that was stored.
    #[must_use]
    pub fn recorded(
        needs: Vec<BTreeSet<String>>,
        given: BTreeSet<String>,
        timeout: Duration,
        stage: Stage,
    ) -> Self {
        Self { needs, given, timeout, stage }
    }

    /// Returns its state.
    #[must_use]
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Returns the inputs that it waits for, in order; none if it does not wait.
    #[must_use]
    pub fn missing(&self) -> Vec<&str> {
        match self.stage {
            Stage::Waiting { phase, .. } => self.missing_for(phase).map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// Applies an input, and returns the resulting actions.
    ///
    /// # Errors
    /// If the input does not fit the state, which is then unchanged.
    pub fn step(
        &mut self,
        now: Moment,
        input: OperationInput,
    ) -> Result<Vec<OperationAction>, OperationRefusal> {
        use OperationInput as In;
        if let In::Tick = input {
            let late = matches!(self.stage, Stage::Waiting { expires_at, .. } if now >= expires_at);
            return Ok(if late { self.end(Ending::Expired, now) } else { Vec::new() });
        }
        match (&self.stage, input) {
            (Stage::Waiting { expires_at, .. }, In::Continue(_)) if now >= *expires_at => {
                Ok(self.end(Ending::Expired, now))
            }
            (Stage::Waiting { phase, .. }, In::Continue(names)) => {
                let phase = *phase;
                self.given.extend(names);
                Ok(self.go_on(phase, now))
            }
            (Stage::Running { .. }, In::Continue(_)) => Err(OperationRefusal::Running),
            (Stage::Running { phase }, In::PhaseEnded(true)) => {
                let next = phase + 1;
                Ok(self.go_on(next, now))
            }
            (Stage::Running { .. }, In::PhaseEnded(false))
            | (Stage::Running { .. } | Stage::Waiting { .. }, In::NotRecorded) => {
                Ok(self.end(Ending::Failed, now))
            }
            (Stage::Running { .. }, In::Resumed) => Ok(self.end(Ending::Interrupted, now)),
            (Stage::Running { .. } | Stage::Waiting { .. }, In::Cancel) => {
                Ok(self.end(Ending::Cancelled, now))
            }
            (Stage::Running { .. } | Stage::Waiting { .. }, In::SessionEnded) => {
                Ok(self.end(Ending::SessionEnded, now))
            }
            (Stage::Ended { ending, .. }, In::Continue(_) | In::Cancel) => {
                Err(OperationRefusal::Ended(*ending))
            }
            // The server that stored its end may have stopped before this; a second time does no harm.
            (Stage::Ended { .. }, In::Resumed) => Ok(vec![OperationAction::Release]),
            // A late report about a phase that has ended.
            (_, In::PhaseEnded(_) | In::SessionEnded | In::NotRecorded | In::Resumed | In::Tick) => {
                Ok(Vec::new())
            }
        }
    }

    fn missing_for(&self, phase: usize) -> impl Iterator<Item = &String> {
        self.needs.get(phase).into_iter().flatten().filter(|name| !self.given.contains(*name))
    }

    fn go_on(&mut self, phase: usize, now: Moment) -> Vec<OperationAction> {
        if phase >= self.needs.len() {
            return self.end(Ending::Done, now);
        }
        if self.missing_for(phase).next().is_some() {
            self.stage = Stage::Waiting { phase, expires_at: now + self.timeout };
            return vec![OperationAction::Record];
        }
        self.stage = Stage::Running { phase };
        vec![OperationAction::Record, OperationAction::Run(phase)]
    }

    fn end(&mut self, ending: Ending, now: Moment) -> Vec<OperationAction> {
        self.stage = Stage::Ended { ending, at: now };
        vec![OperationAction::Record, OperationAction::Release]
    }
}
