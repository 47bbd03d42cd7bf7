//! Why a command stopped early.

use std::io;

use crate::exit::{FAILED, Failure};

/// Why a command stopped early.
#[derive(Debug)]
pub(super) enum Stop {
    /// An error to report.
    Failure(Failure),
    /// The reader closed our output. This is not an error.
    OutputClosed,
}

impl<F: Into<Failure>> From<F> for Stop {
    fn from(failure: F) -> Self {
        Self::Failure(failure.into())
    }
}

impl Stop {
    /// Returns the error of writing to stdout.
    pub(super) fn writing(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failure(Failure::new(FAILED, format!("cannot write the output: {error}"))),
        }
    }
}
