//! Formats errors, sizes and untrusted text. The only place that walks a chain of error sources.

use std::error::Error;

/// Returns an error and all its sources, as one line.
#[must_use]
pub(crate) fn with_sources(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        sentence.push_str(": ");
        sentence.push_str(&error.to_string());
        source = error.source();
    }
    sentence
}

/// Returns the text with its first letter capitalised.
#[must_use]
pub(crate) fn capitalised(sentence: &str) -> String {
    let mut characters = sentence.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// Formats a size in its largest unit. Zero is shown like an unknown size: a session without a window uses no memory.
#[must_use]
pub(crate) fn size(bytes: Option<u64>) -> String {
    match bytes.unwrap_or(0) {
        0 => "-".to_owned(),
        bytes @ ..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        bytes => format!("{} MB", bytes / 1_000_000),
    }
}

/// Returns the text without control characters: titles and URLs come from untrusted pages, and terminals execute
/// escape sequences.
#[must_use]
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}
