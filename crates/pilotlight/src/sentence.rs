//! Errors and sizes in words: the one place that walks a chain of sources.

use std::error::Error;

/// An error with everything behind it, as one line.
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

/// The sentence with a capital letter at its beginning.
#[must_use]
pub(crate) fn capitalised(sentence: &str) -> String {
    let mut characters = sentence.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// A size in its largest unit. Nothing is as good as unknown: a session without a window takes no memory.
#[must_use]
pub(crate) fn size(bytes: Option<u64>) -> String {
    match bytes.unwrap_or(0) {
        0 => "-".to_owned(),
        bytes @ ..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        bytes => format!("{} MB", bytes / 1_000_000),
    }
}
