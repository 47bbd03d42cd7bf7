//! What goes wrong in a replay. No text here holds a value that was filled in.

use std::fmt;

use crate::page::PageError;
use crate::placeholders::{PlaceholderError, Values};
use crate::schema::{Action, Expected, Step};

/// The step at which a replay stopped.
#[derive(Debug, thiserror::Error)]
#[error("step {number} ({kind}) failed{}", Tried(.selectors))]
pub struct ReplayError {
    /// Counted from 1.
    pub number: usize,
    /// The Recorder's name of the step's type.
    pub kind: &'static str,
    /// The selectors that were tried, as they were recorded.
    pub selectors: Vec<String>,
    /// Why.
    #[source]
    pub cause: StepError,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// A placeholder cannot be filled in.
    #[error("a string of the step cannot be filled in")]
    Placeholder(#[from] PlaceholderError),
    /// The list ended, or was scrolled as often as the step allows, without what was looked for.
    #[error("nothing matched after {0} scrolls")]
    ScrolledInVain(u64),
    /// The list still grew when it had been scrolled as often as the step allows.
    #[error("the list still grows after {0} scrolls")]
    Endless(u64),
    /// More than can be read.
    #[error("there is too much to read: {0}")]
    TooMuch(&'static str),
    /// The click began no download.
    #[error("no download began in time")]
    NoDownload,
    /// No selector matched in time.
    #[error("no element matched in time")]
    NotFound,
    /// The element was there, but could not be acted on in time.
    #[error("the element {0}")]
    NotReady(&'static str),
    /// A select field has no option of the value that was recorded.
    #[error("the select field has no option of this value")]
    NoSuchOption,
    /// The number of elements did not become what was expected.
    #[error("{found} elements matched in time; expected {expected}")]
    Count {
        /// How many there were in the end.
        found: usize,
        /// What was waited for, in words.
        expected: String,
    },
    /// The expression did not become true.
    #[error("the expression did not become true in time")]
    ExpressionFalse,
    /// The step was recorded with a navigation, and none began.
    #[error("the page did not navigate, as it did in the recording")]
    NoNavigation,
    /// The page could not do it.
    #[error("the page could not do it")]
    Page(#[from] PageError),
}

impl ReplayError {
    pub(super) fn new(number: usize, step: &Step, cause: StepError) -> Self {
        let selectors = step.selectors().iter().map(ToString::to_string).collect();
        Self { number, kind: step.kind(), selectors, cause }
    }
}

impl StepError {
    pub(super) fn count(expected: &Expected, found: usize) -> Self {
        let not = if expected.visible { "" } else { "not " };
        Self::Count { found, expected: format!("{not}{} {}", expected.operator, expected.count) }
    }

    /// The same without any value that was filled in: a browser's words may repeat what it was given.
    pub(super) fn without(self, step: &Step, values: &Values) -> Self {
        let Self::Page(error) = self else { return self };
        Self::Page(match error {
            PageError::Gone(words) => PageError::Gone(values.redact(&words)),
            PageError::Script(words) => PageError::Script(values.redact(&words)),
            PageError::Refused { command, reason } => {
                PageError::Refused { command, reason: values.redact(&reason) }
            }
            PageError::Unreachable { url, reason } => {
                // A value may stand percent-encoded in the URL, so it is shown as recorded; the URL of a
                // form that was sent is shown without its fields.
                let shown = match &step.action {
                    Action::Navigate { url: template } => template.clone(),
                    _ => values.redact(url.split(['?', '#']).next().unwrap_or_default()),
                };
                PageError::Unreachable { url: shown, reason: values.redact(&reason) }
            }
            PageError::Timeout(after) => PageError::Timeout(after),
        })
    }
}

/// The selectors of a step, for its error text.
struct Tried<'a>(&'a [String]);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, selector) in self.0.iter().enumerate() {
            out.write_str(if index == 0 { "; tried " } else { ", " })?;
            write!(out, "`{selector}`")?;
        }
        Ok(())
    }
}
