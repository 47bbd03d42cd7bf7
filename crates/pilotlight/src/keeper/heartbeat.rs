//! Looks after what fails in silence: a browser or a page that lives and no longer answers, a browser that
//! grows without end. It only reports; a browser that is silent is beyond telling and is ended here.

use std::sync::Arc;
use std::time::Duration;

use pilotlight_chromium::{Browser, Window, WindowError};
use pilotlight_core::{SessionId, ShardId};
use pilotlight_levers::ProcessMemory;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::message::Report;

/// How long a page may take to answer the simplest question, unless it is asked more often: a script may be
/// busy.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a browser may take to answer the simplest question, unless it is asked more often.
pub(super) const BROWSER_TIMEOUT: Duration = Duration::from_secs(5);
/// Questions in a row that a browser may leave unanswered. A machine may be busy.
const BROWSER_MISSES: u32 = 3;
/// A browser whose main process takes more memory than this is replaced.
const BROWSER_MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// One of the keeper's browsers, as its watchers know it.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    pub(super) shard: ShardId,
    pub(super) browser: Arc<Browser>,
    pub(super) reports: mpsc::Sender<Report>,
}

impl Watched {
    /// Asks a page again and again, until this is aborted or the window is gone.
    pub(super) async fn watch_window(self, window: Window, session: SessionId, every: Duration) {
        let mut beats = beats(every);
        beats.tick().await;
        loop {
            beats.tick().await;
            match window.heartbeat(every.min(PAGE_TIMEOUT)).await {
                // Of a browser that is silent too nothing is known of the page.
                Err(WindowError::Timeout(_)) if self.browser.is_answering(BROWSER_TIMEOUT).await => {
                    let report = Report::WindowHung { session, shard: self.shard };
                    drop(self.reports.send(report).await);
                }
                Err(WindowError::Closed) => return,
                // A crash is told by an event of its own.
                Ok(()) | Err(_) => {}
            }
        }
    }

    /// Asks a browser again and again, until this is aborted or the browser is gone; ends one that is silent.
    pub(super) async fn watch_browser(self, every: Duration) {
        let mut beats = beats(every);
        let mut has_grown = false;
        loop {
            beats.tick().await;
            let mut misses = 0;
            while misses < BROWSER_MISSES && !self.browser.is_answering(every.min(BROWSER_TIMEOUT)).await {
                misses += 1;
            }
            if self.browser.connection().is_closed() {
                return;
            }
            if misses == BROWSER_MISSES {
                return self.end().await;
            }
            let memory = ProcessMemory::of(self.browser.pid());
            // What is swapped out comes back when the browser works.
            let is_grown = memory.is_some_and(|it| it.bytes + it.swapped_bytes > BROWSER_MAX_BYTES);
            if !has_grown && is_grown {
                has_grown = true;
                drop(self.reports.send(Report::ShardGrown { shard: self.shard }).await);
            }
        }
    }

    /// A browser that is alive and silent takes its windows with it for good; dead, it is replaced.
    pub(super) async fn end_if_hung(&self) {
        for _ in 0..BROWSER_MISSES {
            let answers = self.browser.is_answering(BROWSER_TIMEOUT).await;
            if answers || self.browser.connection().is_closed() {
                return;
            }
        }
        self.end().await;
    }

    /// Ends it by force. That it did not end by itself is said before it does.
    async fn end(&self) {
        tracing::warn!(
            shard = self.shard.0,
            pid = self.browser.pid(),
            "a browser no longer answers and is ended"
        );
        drop(self.reports.send(Report::ShardHung { shard: self.shard }).await);
        self.browser.kill();
    }
}

fn beats(every: Duration) -> Interval {
    let mut beats = interval(every);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}
