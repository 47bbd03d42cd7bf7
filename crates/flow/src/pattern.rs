//! Regular expressions with limited size.

use regex::{Regex, RegexBuilder};

/// Maximum length of a search text or a regular expression, in bytes.
pub const MAX_TEXT_BYTES: usize = 4096;
/// Maximum size of a compiled regular expression, in bytes.
pub const MAX_REGEX_BYTES: usize = 1024 * 1024;

/// A regular expression that equals another with the same text.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    /// Compiles an expression, with the limit [`MAX_REGEX_BYTES`].
    pub(crate) fn new(expression: &str) -> Result<Self, regex::Error> {
        RegexBuilder::new(expression).size_limit(MAX_REGEX_BYTES).build().map(Self)
    }

    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}
