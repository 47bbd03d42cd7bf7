//! Looks after what fails in silence: a browser or a page that lives and no longer answers, a browser that
//! grows without end. It only reports; a browser that is silent is beyond telling and is ended here.

use std::sync::Arc;
use std::time::Duration;

use pilotlight_chromium::window::process_memory_bytes;
use pilotlight_chromium::{Browser, Window, WindowError};
use pilotlight_core::{SessionId, ShardId};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::message::Report;

/// How often a page is asked. With the delay of a checkpoint it bounds what a crash can cost: a changed
/// cookie is only noticed here.
const PAGE_INTERVAL: Duration = Duration::from_secs(15);
/// How long a page may take to answer the simplest question; a script may be busy.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a browser is asked.
const BROWSER_INTERVAL: Duration = Duration::from_secs(10);
/// How long a browser may take to answer the simplest question.
pub(super) const BROWSER_TIMEOUT: Duration = Duration::from_secs(5);
/// Questions in a row that a browser may leave unanswered. A machine may be busy.
pub(super) const BROWSER_MISSES: u32 = 2;
/// A browser whose main process takes more memory than this is replaced. Measured: 60 to 200 MB with 16
/// windows.
const BROWSER_MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// Asks a page again and again, until this is aborted or the window is gone.
pub(super) async fn watch_window(
    window: Window,
    session: SessionId,
    shard: ShardId,
    reports: mpsc::Sender<Report>,
) {
    let mut beats = interval(PAGE_INTERVAL);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats.tick().await;
    loop {
        beats.tick().await;
        let report = match window.heartbeat(PAGE_TIMEOUT).await {
            Err(WindowError::Timeout(_)) => Report::WindowHung { session, shard },
            Err(WindowError::Closed) => return,
            // A crash is told by an event of its own.
            Ok(()) | Err(_) => continue,
        };
        if reports.send(report).await.is_err() {
            return;
        }
    }
}

/// Asks a browser again and again, until this is aborted or the browser is gone; ends one that is silent.
pub(super) async fn watch_browser(browser: Arc<Browser>, shard: ShardId, reports: mpsc::Sender<Report>) {
    let mut beats = interval(BROWSER_INTERVAL);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut misses, mut has_grown) = (0, false);
    loop {
        beats.tick().await;
        if browser.connection().is_closed() {
            return;
        }
        misses = if browser.is_answering(BROWSER_TIMEOUT).await { 0 } else { misses + 1 };
        if misses >= BROWSER_MISSES {
            tracing::warn!(pid = browser.pid(), "a browser no longer answers and is ended");
            return browser.kill();
        }
        let grown = process_memory_bytes(browser.pid()).is_some_and(|bytes| bytes > BROWSER_MAX_BYTES);
        if grown && !has_grown {
            has_grown = true;
            drop(reports.send(Report::ShardGrown { shard }).await);
        }
    }
}
