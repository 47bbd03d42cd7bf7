//! A session's window and what was last measured of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pilotlight_chromium::Window;
use tokio::time::{Instant, timeout};

/// A measurement is good for this long: reading it costs the kernel a walk over the renderer's memory.
const MAX_AGE: Duration = Duration::from_secs(15);
/// How long a measurement may take; a busy page does not hold up whoever asks.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(2);

/// A window with its last measurement. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct LiveWindow {
    /// The window.
    pub(super) window: Window,
    measured: Arc<Mutex<Measured>>,
}

#[derive(Debug, Default)]
struct Measured {
    at: Option<Instant>,
    bytes: Option<u64>,
}

impl LiveWindow {
    pub(super) fn new(window: Window) -> Self {
        Self { window, measured: Arc::default() }
    }

    /// The memory of its renderers, in bytes, as last measured.
    pub(super) fn memory_bytes(&self) -> Option<u64> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// Measures its memory where the last measurement is too old.
    pub(super) async fn measure(&self) {
        {
            let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
            if measured.at.is_some_and(|at| at.elapsed() < MAX_AGE) {
                return;
            }
            measured.at = Some(Instant::now());
        }
        match timeout(MEASURE_TIMEOUT, self.window.memory_bytes()).await {
            Ok(Ok(bytes)) => self.measured.lock().unwrap_or_else(PoisonError::into_inner).bytes = Some(bytes),
            Ok(Err(error)) => tracing::debug!(window = %self.window.id(), %error, "its memory is not known"),
            Err(_) => tracing::debug!(window = %self.window.id(), "its memory was not told in time"),
        }
    }
}
