//! Errors of a replay. None of them contains filled-in values.

use std::fmt;

use crate::page::PageError;
use crate::placeholders::{PlaceholderError, Values};
use crate::recorded::{redacted, shown_selector};
use crate::schema::{Action, Expected, Step};

/// The step that failed.
#[derive(Debug, thiserror::Error)]
#[error("step {number} ({kind}) failed{}", Tried(.selectors))]
pub struct ReplayError {
    /// Counted from 1.
    pub number: usize,
    /// The Recorder's name of the step's type.
    pub kind: &'static str,
    /// The selectors that were tried, as they were recorded.
    pub selectors: Vec<String>,
    /// The cause.
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
    /// The list ended, or the maximum number of scrolls was reached, without a match.
    #[error("nothing matched after {0} scrolls")]
    ScrolledInVain(u64),
    /// The list was still growing after the maximum number of scrolls.
    #[error("the list still grows after {0} scrolls")]
    Endless(u64),
    /// The output is too large.
    #[error("the result is too large: {0}")]
    TooMuch(&'static str),
    /// The click started no download.
    #[error("no download started in time")]
    NoDownload,
    /// The text of the dialog is empty after filling in.
    #[error("the text of the dialog to answer is empty")]
    NoDialogText,
    /// No selector matched in time.
    #[error("no element matched in time")]
    NotFound,
    /// The element existed, but could not be acted on in time.
    #[error("the element {0}")]
    NotReady(&'static str),
    /// A select field does not have the recorded option.
    #[error("the select field has no option of this value")]
    NoSuchOption,
    /// The number of elements is not the expected one.
    #[error("{found} elements matched in time; expected {expected}")]
    Count {
        /// The final number.
        found: usize,
        /// The expected number, in words.
        expected: String,
    },
    /// The expression did not become true.
    #[error("the expression did not become true in time")]
    ExpressionFalse,
    /// A navigation was recorded, but none started.
    #[error("the page did not navigate, as it did in the recording")]
    NoNavigation,
    /// The browser reported an error.
    #[error("browser error")]
    Page(#[from] PageError),
}

impl ReplayError {
    /// Creates an error. `secrets` are passwords in the flow itself.
    pub(super) fn new(number: usize, step: &Step, cause: StepError, secrets: &[String]) -> Self {
        let selectors = step.selectors().iter().map(|selector| shown_selector(selector, secrets)).collect();
        Self { number, kind: step.kind(), selectors, cause }
    }
}

impl StepError {
    pub(super) fn count(expected: &Expected, found: usize) -> Self {
        let not = if expected.visible { "" } else { "not " };
        Self::Count { found, expected: format!("{not}{} {}", expected.operator, expected.count) }
    }

    /// Removes all filled-in values: messages of a browser may repeat its input.
    pub(super) fn without(self, step: &Step, values: &Values, secrets: &[String]) -> Self {
        let Self::Page(error) = self else { return self };
        let clean = |words: &str| redacted(&values.redact(words), secrets);
        Self::Page(match error {
            PageError::Gone(words) => PageError::Gone(clean(&words)),
            PageError::Script(words) => PageError::Script(clean(&words)),
            PageError::Covered(by) => PageError::Covered(clean(&by)),
            PageError::Refused { command, reason } => PageError::Refused { command, reason: clean(&reason) },
            PageError::Unreachable { url, reason } => {
                // A value may be percent-encoded in the URL, so the recorded URL is shown; the URL of a submitted
                // form is shown without its fields.
                let shown = match &step.action {
                    Action::Navigate { url: template } => redacted(template, secrets),
                    _ => clean(url.split(['?', '#']).next().unwrap_or_default()),
                };
                PageError::Unreachable { url: shown, reason: clean(&reason) }
            }
            PageError::Timeout(after) => PageError::Timeout(after),
        })
    }
}

/// Formats the selectors of a step for its error message.
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
