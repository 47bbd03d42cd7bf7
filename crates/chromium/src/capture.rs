//! Checkpoints: the state of a window that can be captured, and restored in another window.
//!
//! Capturing changes nothing that a page could notice: scripts run in an isolated world, only read, and are never
//! waited for longer than [`CAPTURE_TIMEOUT`]; origins that no page shows any more are read in hidden pages. Captured
//! data is never logged.

mod read;
mod restore;
mod stub;
mod take;

pub use crate::window::RestoreFields;
pub(crate) use restore::plant_in_frame;
pub use take::CAPTURE_TIMEOUT;

use pilotlight_checkpoint::Checkpoint;
use std::time::Duration;

use self::take::Purpose;
use crate::error::WindowError;
use crate::window::Window;

impl Window {
    /// Captures a checkpoint; `now_ms` is the time in milliseconds since 1970. Pages do not notice. For a tab that
    /// shows Chromium's error page, its earlier content is kept if that is known.
    ///
    /// # Errors
    /// [`WindowError::Timeout`] after [`CAPTURE_TIMEOUT`] if a page does not respond, is frozen with databases, or
    /// waits for another document: Chromium delays replies until that comes. [`WindowError::Crashed`] and
    /// [`WindowError::Closed`] if the main page is.
    pub async fn capture(&self, now_ms: u64) -> Result<Checkpoint, WindowError> {
        take::capture(self, now_ms, Purpose::Follow).await
    }

    /// Captures the same without affecting change detection: changes that were to be reported, or noticed by
    /// [`Self::heartbeat`], still are.
    ///
    /// # Errors
    /// As [`Self::capture`].
    pub async fn peek(&self, now_ms: u64) -> Result<Checkpoint, WindowError> {
        take::capture(self, now_ms, Purpose::Peek).await
    }

    /// Gives an adopted window the part of its last checkpoint that its pages no longer show, so that the next
    /// [`Self::capture`] contains it again: earlier origins, and pages that show Chromium's error page. What was
    /// captured since is kept.
    pub fn remember(&self, checkpoint: &Checkpoint) {
        restore::remember(&self.state, checkpoint);
    }

    /// Returns whether anything that a capture contains has changed since the last [`Self::capture`] began. A window
    /// that was never captured has changed.
    ///
    /// [`crate::BrowserEvent::WindowChanged`] reports it, once for each capture and never before the first; after a
    /// failed capture, the next change or [`Self::heartbeat`] reports it again. There are no events for changes of
    /// cookies: [`Self::heartbeat`] checks them. There are none either for databases that are only created or
    /// deleted, fields that a script fills, and what a service worker writes for an earlier origin.
    pub fn is_changed(&self) -> bool {
        self.state.record.has_changed()
    }

    /// Restores a checkpoint in an empty window with one page at `about:blank`, and returns once its pages have
    /// loaded and are scrolled and filled as they were, as far as possible.
    ///
    /// # Errors
    /// As [`Self::navigate`] for the main page; storage is restored by then. Failures of other pages are logged and
    /// ignored.
    pub async fn restore(
        &self,
        checkpoint: &Checkpoint,
        fields: RestoreFields,
        timeout: Duration,
    ) -> Result<(), WindowError> {
        restore::restore(self, checkpoint, fields, timeout).await
    }
}

/// Exposed to the fuzz targets.
#[cfg(fuzzing)]
pub(crate) mod fuzzing {
    /// Parses the reply of a page about its content.
    pub fn read_page_state(text: &str) {
        drop(super::read::answer_in(&serde_json::Value::from(text)));
    }
}
