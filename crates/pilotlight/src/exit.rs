//! Exit codes, and the error messages of failed commands.

use std::fmt;

use crate::config::ConfigErrors;
use crate::sentence::printable;

// The meaning of a code never changes.

/// The command succeeded.
pub const DONE: u8 = 0;
/// The command failed; the message on stderr says why.
pub const FAILED: u8 = 1;
/// The command line is invalid (the same code as `clap` uses).
pub const USAGE: u8 = 2;
/// The server could not be reached (`EX_UNAVAILABLE` of `sysexits.h`).
pub const UNREACHABLE: u8 = 69;
/// The server has no capacity or is not ready: try again later (`EX_TEMPFAIL`).
pub const TRY_AGAIN: u8 = 75;
/// The configuration is invalid (`EX_CONFIG`).
pub const CONFIGURATION: u8 = 78;

/// The error of a failed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One of the codes above.
    pub exit_code: u8,
    /// What went wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// Creates an error with this exit code.
    pub fn new(exit_code: u8, message: impl Into<String>) -> Self {
        Self { exit_code, message: message.into(), hint: None }
    }

    /// Adds a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Formats the error for stderr. Parts may come from an untrusted page, so control characters are removed.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: ")?;
        for (index, line) in self.message.lines().enumerate() {
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
        let what = if count == 1 { "an error".to_owned() } else { format!("{count} errors") };
        Self::new(CONFIGURATION, format!("the configuration has {what}:\n{errors}"))
    }
}
