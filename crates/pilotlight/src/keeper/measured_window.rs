//! A session's window, with its last measurement and picture.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use pilotlight_chromium::Window;
use pilotlight_linux::ProcessMemory;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// How long a measurement is used: reading it costs the kernel a walk over the renderer's memory.
const MAX_AGE: Duration = Duration::from_secs(15);
/// How long a measurement may take; a busy page must not block the callers.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a caller waits for a new measurement before it gets the last one: a page may be slow.
const MEASURE_WAIT: Duration = Duration::from_millis(200);
/// How long a picture is used.
const PICTURE_MAX_AGE: Duration = Duration::from_secs(45);
/// Pictures that are taken at once, of all windows.
static PICTURES: Semaphore = Semaphore::const_new(2);

/// A window with its last measurement and picture. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct MeasuredWindow {
    /// The window.
    pub(super) window: Window,
    measured: Arc<Mutex<Measured>>,
    /// Locked while a picture is taken, so that concurrent callers get the same one.
    seen: Arc<tokio::sync::Mutex<Option<(Instant, Bytes)>>>,
}

#[derive(Debug, Default)]
struct Measured {
    at: Option<Instant>,
    memory: Option<ProcessMemory>,
}

impl MeasuredWindow {
    pub(super) fn new(window: Window) -> Self {
        Self { window, measured: Arc::default(), seen: Arc::default() }
    }

    /// Returns the memory of its renderers as last measured.
    pub(super) fn memory(&self) -> Option<ProcessMemory> {
        self.measured.lock().memory
    }

    /// Returns a picture of its page, a JPEG that is not older than [`PICTURE_MAX_AGE`] unless the page does not
    /// draw; for a frozen window (`is_still`), the last picture.
    pub(super) async fn picture(&self, is_still: bool) -> Option<Bytes> {
        let mut seen = self.seen.lock().await;
        let is_good = seen.as_ref().is_some_and(|(at, _)| at.elapsed() < PICTURE_MAX_AGE);
        if !is_good && !is_still {
            let place = PICTURES.acquire().await;
            match self.window.glance().await {
                Ok(picture) => *seen = Some((Instant::now(), picture)),
                Err(error) => tracing::debug!(window = %self.window.id(), %error, "no picture of the page"),
            }
            drop(place);
        }
        seen.as_ref().map(|(_, picture)| picture.clone())
    }

    /// Returns the processes of its renderers; none if its pages do not respond soon.
    pub(super) async fn renderer_pids(&self) -> Vec<u32> {
        match timeout(MEASURE_TIMEOUT, self.window.renderer_pids()).await {
            Ok(Ok(pids)) => pids,
            Ok(Err(error)) => {
                tracing::debug!(window = %self.window.id(), %error, "the renderers are not known");
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }

    /// Measures its memory if the last measurement is too old. A page that does not respond blocks no caller: the
    /// measurement continues in the background.
    pub(super) async fn measure(&self) {
        {
            let mut measured = self.measured.lock();
            if measured.at.is_some_and(|at| at.elapsed() < MAX_AGE) {
                return;
            }
            measured.at = Some(Instant::now());
        }
        let live = self.clone();
        let measuring = tokio::spawn(async move {
            match timeout(MEASURE_TIMEOUT, live.window.memory()).await {
                Ok(Ok(memory)) => {
                    live.measured.lock().memory = Some(memory);
                }
                Ok(Err(error)) => {
                    tracing::debug!(window = %live.window.id(), %error, "failed to measure the memory");
                }
                Err(_) => tracing::debug!(window = %live.window.id(), "measuring the memory timed out"),
            }
        });
        drop(timeout(MEASURE_WAIT, measuring).await);
    }
}
