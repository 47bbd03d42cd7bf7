//! The watchdog: it notices what fails without an event, namely a browser or a page that is unresponsive, and a browser
//! whose memory grows without end.
//!
//! Pages and growing browsers are reported to the rules. An unresponsive browser is killed here; its end is then reported
//! like that of any browser.

use std::sync::Arc;
use std::time::Duration;

use pilotlight_chromium::{Browser, Life, Window, WindowError};
use pilotlight_core::{SessionId, ShardId};
use pilotlight_linux::ProcessMemory;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};

use super::message::Report;

/// How long a page may take to answer the simplest question, unless it is asked more often: a script may be busy.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a browser may take to answer the simplest question, unless it is asked more often.
pub(super) const BROWSER_TIMEOUT: Duration = Duration::from_secs(5);
/// Questions in a row that a browser may leave unanswered. A machine may be busy.
const BROWSER_MISSES: u32 = 3;
/// How long a browser may answer nothing while it is busy: with a message as long as a client may send, or with the
/// output of a page. Both are finite, and killing the browser would close its other windows.
const BROWSER_BUSY_MAX: Duration = Duration::from_secs(180);
/// How long the connection to a browser that was killed may take to close.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// A browser whose main process takes more memory than this is replaced, …
const BROWSER_MAX_BYTES: u64 = 1024 * 1024 * 1024;
/// … if it does so for this long: a single message can take that much for a moment.
const GROWN_FOR: Duration = Duration::from_secs(60);

/// One of the keeper's browsers, as its watchers know it.
#[derive(Debug, Clone)]
pub(super) struct MonitoredBrowser {
    pub(super) shard: ShardId,
    pub(super) browser: Arc<Browser>,
    pub(super) reports: mpsc::Sender<Report>,
}

impl MonitoredBrowser {
    /// Returns whether the browser has ended. Its end is reported separately, and whatever failed because of it is
    /// not the session's fault.
    pub(super) fn is_gone(&self) -> bool {
        self.browser.connection().is_closed()
    }

    /// Checks a page at intervals, until this is aborted or the window is closed.
    pub(super) async fn watch_window(self, window: Window, session: SessionId, every: Duration) {
        let mut beats = beats(every);
        beats.tick().await;
        loop {
            beats.tick().await;
            match window.heartbeat(every.min(PAGE_TIMEOUT)).await {
                // If the browser is silent too, nothing is known of the page.
                Err(WindowError::Timeout(_)) if self.browser.is_answering(BROWSER_TIMEOUT).await => {
                    let report = Report::WindowHung { session, shard: self.shard };
                    drop(self.reports.send(report).await);
                }
                Err(WindowError::Closed) => return,
                // A crash is reported by its own event.
                Ok(()) | Err(_) => {}
            }
        }
    }

    /// Checks a browser at intervals, until this is aborted or the browser has ended; kills it if it does not
    /// respond.
    pub(super) async fn watch_browser(self, every: Duration) {
        let mut beats = beats(every);
        let (mut has_grown, mut large_since) = (false, None);
        loop {
            beats.tick().await;
            let is_hung = self.is_hung(every.min(BROWSER_TIMEOUT), BROWSER_BUSY_MAX).await;
            if self.browser.connection().is_closed() {
                return;
            }
            if is_hung {
                return self.end().await;
            }
            let memory = ProcessMemory::of(self.browser.pid());
            // What is swapped out comes back when the browser works.
            let is_large = memory.is_some_and(|it| it.bytes + it.swapped_bytes > BROWSER_MAX_BYTES);
            large_since = is_large.then(|| large_since.unwrap_or_else(Instant::now));
            let is_grown = large_since.is_some_and(|since| since.elapsed() >= GROWN_FOR);
            if !has_grown && is_grown {
                has_grown = true;
                drop(self.reports.send(Report::ShardGrown { shard: self.shard }).await);
            }
        }
    }

    /// An unresponsive browser blocks its windows for good; once killed, it is replaced.
    pub(super) async fn kill_if_hung(&self) {
        // A busy one is handled by its own watcher.
        if self.is_hung(BROWSER_TIMEOUT, Duration::ZERO).await && !self.browser.connection().is_closed() {
            self.end().await;
        }
    }

    /// Asks until it answers. Returns an error once it was silent too often, or busy for longer than `busy_max`.
    async fn is_hung(&self, timeout: Duration, busy_max: Duration) -> bool {
        let began = Instant::now();
        let mut misses = 0;
        while misses < BROWSER_MISSES {
            match self.browser.look_for_life(timeout).await {
                Life::Answers => return false,
                Life::Silent => misses += 1,
                Life::Busy if busy_max.is_zero() => return false,
                Life::Busy if began.elapsed() >= busy_max => return true,
                Life::Busy => misses = 0,
            }
        }
        true
    }

    /// Kills it. That it did not end by itself is reported before it ends.
    async fn end(&self) {
        tracing::warn!(
            shard = self.shard.0,
            pid = self.browser.pid(),
            "a browser does not respond and is killed"
        );
        drop(self.reports.send(Report::ShardHung { shard: self.shard }).await);
        self.browser.kill();
        // Failures because of that come after it.
        drop(timeout(KILL_TIMEOUT, self.browser.connection().closed()).await);
    }
}

fn beats(every: Duration) -> Interval {
    let mut beats = interval(every);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}
