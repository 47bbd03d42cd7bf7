//! Writes data to stdout, as JSON for scripts or as text for people.

use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::args::Format;
use super::stop::Stop;

/// Interval of the spinner's animation.
const SPINNER_TICK: Duration = Duration::from_millis(120);

/// Writes data to stdout, or to whatever a test gives it.
pub(super) struct Output<'a> {
    writer: &'a mut dyn Write,
    pub(super) format: Format,
}

impl<'a> Output<'a> {
    pub(super) fn new(writer: &'a mut dyn Write, format: Format) -> Self {
        Self { writer, format }
    }

    /// Writes `value` as JSON, or else the text that `for_people` makes. An empty text writes nothing.
    pub(super) fn data<T: Serialize>(
        &mut self,
        value: &T,
        for_people: impl FnOnce() -> String,
    ) -> Result<(), Stop> {
        let text = match self.format {
            Format::Table => for_people(),
            Format::Json => {
                serde_json::to_string_pretty(value).map_err(|error| Stop::writing(&error.into()))?
            }
        };
        self.text(&text)
    }

    /// Writes one value on one line, at once: for streams.
    pub(super) fn line<T: Serialize>(
        &mut self,
        value: &T,
        for_people: impl FnOnce() -> String,
    ) -> Result<(), Stop> {
        let text = match self.format {
            Format::Table => for_people(),
            Format::Json => serde_json::to_string(value).map_err(|error| Stop::writing(&error.into()))?,
        };
        self.text(&text)
    }

    /// Writes a text as it stands, ended by a newline.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Stop> {
        if text.is_empty() {
            return Ok(());
        }
        let newline = if text.ends_with('\n') { "" } else { "\n" };
        write!(self.writer, "{text}{newline}")
            .and_then(|()| self.writer.flush())
            .map_err(|error| Stop::writing(&error))
    }
}

/// Prints a message for people to stderr.
pub(super) fn tell(message: &str) {
    // If stderr is closed, nothing can be reported.
    drop(writeln!(io::stderr(), "{message}"));
}

/// A spinner on stderr for as long as the value lives; invisible where stderr is not a terminal.
pub(super) struct Waiting(ProgressBar);

impl Waiting {
    pub(super) fn for_what(message: &str) -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_message(message.to_owned());
        bar.enable_steady_tick(SPINNER_TICK);
        Self(bar)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
