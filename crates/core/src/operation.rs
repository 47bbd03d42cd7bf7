//! An operation's way through its phases: when one may begin, what is still missing, and when it is over.
//!
//! A phase is begun at most once, whatever happens: it may have booked something. That it begins is recorded
//! before it does, so of one that was running when the server ended nobody knows how far it came, and the
//! operation ends there. While it waits for an input it keeps its place and its hold.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::time::Moment;

/// Where an operation is. Phases are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// A phase runs, or is about to.
    Running {
        /// Which.
        phase: usize,
    },
    /// A phase cannot begin before its client has given more.
    Waiting {
        /// Which.
        phase: usize,
        /// How long it waits for that.
        expires_at: Moment,
    },
    /// It is over.
    Ended {
        /// How.
        ending: Ending,
        /// When.
        at: Moment,
    },
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// All phases are through.
    Done,
    /// A phase failed.
    Failed,
    /// Nobody gave what it waited for.
    Expired,
    /// A client gave it up.
    Cancelled,
    /// Its session ended.
    SessionEnded,
    /// The server ended in the middle of a phase.
    Interrupted,
}

/// What happens to an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationInput {
    /// A client gives more inputs, by these names, and wants it to go on.
    Continue(BTreeSet<String>),
    /// The phase that ran is over; whether it went through.
    PhaseEnded(bool),
    /// A client gives it up.
    Cancel,
    /// Its session has ended.
    SessionEnded,
    /// Where it is could not be written down, so that the next server would not know it.
    NotRecorded,
    /// A new server has read it.
    Resumed,
    /// Time has passed.
    Tick,
}

/// What follows, in this order: each is done before the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationAction {
    /// Write the operation down as it now is.
    Record,
    /// Run this phase.
    Run(usize),
    /// Give its hold on the session back.
    Release,
}

/// Why an operation does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationRefusal {
    /// It runs.
    Running,
    /// It is over.
    Ended(Ending),
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// What each phase needs before it can begin.
    needs: Vec<BTreeSet<String>>,
    given: BTreeSet<String>,
    timeout: Duration,
    stage: Stage,
}

impl Operation {
    /// One that has not begun: `Continue` begins it.
    #[must_use]
    pub fn new(needs: Vec<BTreeSet<String>>, timeout: Duration, now: Moment) -> Self {
        Self {
            needs,
            given: BTreeSet::new(),
            timeout,
            stage: Stage::Waiting { phase: 0, expires_at: now + timeout },
        }
    }

    /// One that was recorded.
    #[must_use]
    pub fn recorded(
        needs: Vec<BTreeSet<String>>,
        given: BTreeSet<String>,
        timeout: Duration,
        stage: Stage,
    ) -> Self {
        Self { needs, given, timeout, stage }
    }

    /// Where it is.
    #[must_use]
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// What it waits for, in order; nothing where it does not wait.
    #[must_use]
    pub fn missing(&self) -> Vec<&str> {
        match self.stage {
            Stage::Waiting { phase, .. } => self.missing_for(phase).map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// Takes what happens, and gives what follows.
    ///
    /// # Errors
    /// Why it does not follow; nothing has changed then.
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
            // The server that recorded its end may not have come to this; twice does no harm.
            (Stage::Ended { .. }, In::Resumed) => Ok(vec![OperationAction::Release]),
            // A report about something that is over.
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
