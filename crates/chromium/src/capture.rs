//! Checkpoints: everything of a window that another window can be given, taken out and put back.
//!
//! Taking one changes nothing that a page could notice: scripts run in a world of our own, only read, and are
//! never waited for longer than [`CAPTURE_TIMEOUT`]; origins that no page shows any more are read in hidden
//! pages. What was read is never logged.

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
    /// Takes a checkpoint; `now_ms` is the time in milliseconds since 1970. Pages notice nothing. Of a tab
    /// that shows Chromium's error page it has what was there before, where that is known.
    ///
    /// # Errors
    /// [`WindowError::Timeout`] after [`CAPTURE_TIMEOUT`] where a page hangs, is frozen with databases, or
    /// waits for another document: Chromium holds back what it is asked until that comes.
    /// [`WindowError::Crashed`] and [`WindowError::Closed`] where the main page is.
    pub async fn capture(&self, now_ms: u64) -> Result<Checkpoint, WindowError> {
        take::capture(self, now_ms, Purpose::Follow).await
    }

    /// Reads the same beside the captures of whoever follows the changes: what was to be told, or noticed by
    /// [`Self::heartbeat`], still is.
    ///
    /// # Errors
    /// As [`Self::capture`].
    pub async fn peek(&self, now_ms: u64) -> Result<Checkpoint, WindowError> {
        take::capture(self, now_ms, Purpose::Peek).await
    }

    /// Gives an adopted window what its last checkpoint knew and its pages no longer show, so that the next
    /// [`Self::capture`] has it again: origins left behind, and pages that show Chromium's error page. What
    /// was read since stays.
    pub fn remember(&self, checkpoint: &Checkpoint) {
        restore::remember(&self.state, checkpoint);
    }

    /// Whether anything changed since the last [`Self::capture`] began that another one would see. A window
    /// that was never captured has changed.
    ///
    /// [`crate::BrowserEvent::WindowChanged`] tells of it, once for each capture and never before the first;
    /// after a capture that failed, the next change or [`Self::heartbeat`] tells again. Cookies change without
    /// a word: [`Self::heartbeat`] looks at them. So do databases that are only made
    /// or deleted, fields that a script fills, and what a service worker writes for an origin left behind.
    pub fn is_changed(&self) -> bool {
        self.state.record.has_changed()
    }

    /// Gives an empty window, with one page at `about:blank`, what a checkpoint holds, and returns once its
    /// pages have loaded and are scrolled and filled as they were, as far as they still can be.
    ///
    /// # Errors
    /// As [`Self::navigate`] for the main page; what was stored is in place by then. Of other pages, what
    /// cannot be loaded is logged and left.
    pub async fn restore(
        &self,
        checkpoint: &Checkpoint,
        fields: RestoreFields,
        timeout: Duration,
    ) -> Result<(), WindowError> {
        restore::restore(self, checkpoint, fields, timeout).await
    }
}

/// What the fuzz targets reach.
#[cfg(fuzzing)]
pub(crate) mod fuzzing {
    /// Reads what a page says that it holds.
    pub fn read_page_state(text: &str) {
        drop(super::read::answer_in(&serde_json::Value::from(text)));
    }
}
