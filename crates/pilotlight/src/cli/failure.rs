//! Why a command did not do what it should: a sentence, a hint, an exit code.

use std::fmt;
use std::io;

use super::exit_codes::{CONFIGURATION, FAILED};
use super::output::printable;
use crate::config::ConfigErrors;

/// What a person is told when a command fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One of [`super::exit_codes`].
    pub exit_code: u8,
    /// What went wrong.
    pub sentence: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with this exit code.
    pub fn new(exit_code: u8, sentence: impl Into<String>) -> Self {
        Self { exit_code, sentence: sentence.into(), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What is written to stderr. Parts may come from a foreign page, so no control characters.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: ")?;
        for (index, line) in self.sentence.lines().enumerate() {
            write!(f, "{}{}", if index > 0 { "\n" } else { "" }, printable(line))?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {}", printable(hint)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        let count = errors.0.len();
        let what = if count == 1 { "a mistake".to_owned() } else { format!("{count} mistakes") };
        Self::new(CONFIGURATION, format!("the configuration has {what}:\n{errors}"))
    }
}

/// Why a command stopped before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// Something to tell.
    Failure(Failure),
    /// Whoever read our output has seen enough. Nothing to tell, nothing failed.
    OutputClosed,
}

impl<F: Into<Failure>> From<F> for Stop {
    fn from(failure: F) -> Self {
        Self::Failure(failure.into())
    }
}

impl Stop {
    /// Writing to stdout did not work.
    pub(super) fn writing(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failure(Failure::new(FAILED, format!("the output could not be written: {error}"))),
        }
    }
}
