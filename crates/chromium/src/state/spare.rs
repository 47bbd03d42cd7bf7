//! The spare window of a browser.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::{WindowState, lock};

/// Width and height of pages, as in [`crate::WindowOptions::viewport`].
pub(crate) type Viewport = Option<(u32, u32)>;

/// The spare window of a browser, if it has one.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) window: Mutex<Option<Arc<WindowState>>>,
    /// The viewport of the window that was closed last: the next one is likely to have the same size.
    pub(crate) went: watch::Sender<Viewport>,
}

impl Default for Spare {
    fn default() -> Self {
        Self { window: Mutex::default(), went: watch::Sender::new(None) }
    }
}

impl Spare {
    /// Notes that a window was closed.
    pub(crate) fn window_went(&self, window: &WindowState) {
        self.went.send_replace(window.viewport);
    }

    /// Returns whether this is the spare one.
    pub(crate) fn is(&self, window: &WindowState) -> bool {
        lock(&self.window).as_ref().is_some_and(|spare| spare.id == window.id)
    }
}
