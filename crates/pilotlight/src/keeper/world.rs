//! The hands of the keeper: it carries out what the rules order, in tasks that report back.
//!
//! It decides nothing. Per session there is at most one window and one running activity; a new order for a
//! session ends the task before it.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use pilotlight_chromium::{Browser, Window, WindowId, WindowOptions};
use pilotlight_core::{Activity, Failure, FailureKind, LaunchKey, SessionId, ShardId, Ticket};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::errand::Errand;
use super::farm::Farm;
use super::live::LiveWindow;
use super::message::Report;
use crate::sentence::with_sources;

/// How long all browsers together may take to end with the server.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a browser that left something undone may take to answer the simplest question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A session's window, or the opening of it.
#[derive(Debug, Default)]
struct Slot {
    shard: Option<ShardId>,
    window: Option<LiveWindow>,
    activity: Option<AbortHandle>,
    /// It was told to close before it was open.
    closing: Option<Ticket>,
}

/// Browsers and windows that exist, and the tasks that work on them.
#[derive(Debug)]
pub(super) struct World {
    farm: Arc<Farm>,
    reports: mpsc::Sender<Report>,
    browsers: BTreeMap<ShardId, Arc<Browser>>,
    slots: BTreeMap<SessionId, Slot>,
    sessions: BTreeMap<WindowId, SessionId>,
    /// Browsers that are being started or ended.
    tasks: JoinSet<()>,
}

impl World {
    pub(super) fn new(farm: Arc<Farm>, reports: mpsc::Sender<Report>) -> Self {
        Self {
            farm,
            reports,
            browsers: BTreeMap::new(),
            slots: BTreeMap::new(),
            sessions: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    pub(super) fn window(&self, session: SessionId) -> Option<&LiveWindow> {
        self.slots.get(&session)?.window.as_ref()
    }

    /// The session of a window that reports something.
    pub(super) fn session_of(&self, window: &WindowId) -> Option<SessionId> {
        self.sessions.get(window).copied()
    }

    pub(super) fn start_shard(&mut self, shard: ShardId, launch: LaunchKey) {
        let (farm, reports) = (Arc::clone(&self.farm), self.reports.clone());
        self.spawn(async move {
            let (browser, mut events) = match farm.start(launch, shard).await {
                Ok(started) => started,
                Err(failure) => return drop(reports.send(Report::ShardFailed { shard, failure }).await),
            };
            // A keeper that is stopping takes no browser in any more.
            if let Err(mpsc::error::SendError(Report::ShardStarted { browser, .. })) =
                reports.send(Report::ShardStarted { shard, browser }).await
            {
                return browser.close().await;
            }
            // Only now, so that the browser is known when it says its first word.
            tokio::spawn(async move {
                while let Some(event) = events.recv().await {
                    if reports.send(Report::Browser { shard, event }).await.is_err() {
                        return;
                    }
                }
            });
        });
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(task);
    }

    pub(super) fn shard_started(&mut self, shard: ShardId, browser: Browser) {
        self.browsers.insert(shard, Arc::new(browser));
    }

    /// A browser is gone: its windows are too.
    pub(super) fn shard_ended(&mut self, shard: ShardId) -> bool {
        let gone: Vec<SessionId> =
            self.slots.iter().filter(|(_, slot)| slot.shard == Some(shard)).map(|(id, _)| *id).collect();
        for session in gone {
            self.forget(session);
        }
        self.browsers.remove(&shard).is_some()
    }

    pub(super) fn stop_shard(&mut self, shard: ShardId) {
        let browser = self.browsers.remove(&shard);
        let reports = self.reports.clone();
        self.spawn(async move {
            if let Some(browser) = browser {
                browser.close().await;
            }
            drop(reports.send(Report::ShardStopped { shard }).await);
        });
    }

    pub(super) fn open(
        &mut self,
        session: SessionId,
        ticket: Ticket,
        shard: ShardId,
        options: WindowOptions,
    ) {
        self.slots.insert(session, Slot { shard: Some(shard), ..Slot::default() });
        let browser = self.browsers.get(&shard).cloned();
        let reports = self.reports.clone();
        tokio::spawn(async move {
            let result = match browser {
                None => Err(browser_failure("the browser is gone".to_owned())),
                Some(browser) => {
                    let opened = browser.open_window(options).await;
                    if opened.is_err() {
                        end_if_hung(&browser).await;
                    }
                    opened.map_err(|error| {
                        browser_failure(format!("no window could be opened: {}", with_sources(&error)))
                    })
                }
            };
            drop(reports.send(Report::WindowOpened { session, ticket, shard, result }).await);
        });
    }

    /// Takes in a window that was opened. `Some` is the ticket of the close that came before it was.
    pub(super) fn opened(
        &mut self,
        session: SessionId,
        shard: ShardId,
        result: &Result<Window, Failure>,
    ) -> Option<Ticket> {
        let Some(slot) = self.slots.get_mut(&session).filter(|slot| slot.shard == Some(shard)) else {
            if let Ok(window) = result {
                let window = window.clone();
                tokio::spawn(async move { window.close().await });
            }
            return None;
        };
        if let Ok(window) = result {
            slot.window = Some(LiveWindow::new(window.clone()));
            self.sessions.insert(window.id().clone(), session);
        }
        let closing = slot.closing;
        match closing {
            Some(ticket) => self.close(session, ticket),
            None if result.is_err() => drop(self.slots.remove(&session)),
            None => {}
        }
        closing
    }

    pub(super) fn close(&mut self, session: SessionId, ticket: Ticket) {
        let Some(slot) = self.slots.get_mut(&session) else {
            return self.report(Report::WindowClosed { session, ticket });
        };
        if let Some(activity) = slot.activity.take() {
            activity.abort();
        }
        if slot.window.is_none() && slot.closing.is_none() {
            slot.closing = Some(ticket);
            return;
        }
        let browser = slot.shard.and_then(|shard| self.browsers.get(&shard).cloned());
        let window = self.forget(session);
        let reports = self.reports.clone();
        tokio::spawn(async move {
            if let Some(window) = window
                && let Err(error) = window.close().await
            {
                tracing::warn!(window = %window.id(), %error, "a window did not close");
                if let Some(browser) = browser {
                    end_if_hung(&browser).await;
                }
            }
            drop(reports.send(Report::WindowClosed { session, ticket }).await);
        });
    }

    pub(super) fn begin(
        &mut self,
        session: SessionId,
        ticket: Ticket,
        activity: Activity,
        errand: Arc<Errand>,
    ) {
        let reports = self.reports.clone();
        let Some(slot) = self.slots.get_mut(&session) else { return };
        let Some(LiveWindow { window, .. }) = slot.window.clone() else { return };
        if let Some(before) = slot.activity.take() {
            before.abort();
        }
        let browser = slot.shard.and_then(|shard| self.browsers.get(&shard).cloned());
        let task = tokio::spawn(async move {
            let work = AssertUnwindSafe(errand.perform(activity, &window)).catch_unwind();
            let outcome = work.await.unwrap_or_else(|_| {
                // A fault of ours ends this activity; whoever waits for it is told.
                Err(browser_failure("a fault in Pilotlight ended what was done in the window".to_owned()))
            });
            if let (Err(_), Some(browser)) = (&outcome, &browser) {
                end_if_hung(browser).await;
            }
            drop(reports.send(Report::ActivityEnded { session, ticket, outcome }).await);
        });
        slot.activity = Some(task.abort_handle());
    }

    fn forget(&mut self, session: SessionId) -> Option<Window> {
        let slot = self.slots.remove(&session)?;
        if let Some(activity) = slot.activity {
            activity.abort();
        }
        let window = slot.window?.window;
        self.sessions.remove(window.id());
        Some(window)
    }

    fn report(&self, report: Report) {
        let reports = self.reports.clone();
        tokio::spawn(async move { drop(reports.send(report).await) });
    }

    /// Ends every browser, those too that are just starting: whoever calls this takes no report any more.
    /// Afterwards none is left.
    pub(super) async fn shut_down(mut self) {
        for browser in self.browsers.into_values() {
            self.tasks.spawn(async move { browser.close().await });
        }
        if timeout(CLOSE_TIMEOUT, self.tasks.join_all()).await.is_err() {
            tracing::warn!("a browser did not end in time");
        }
    }
}

/// A browser that is alive and silent takes its windows with it for good; dead, it is replaced.
async fn end_if_hung(browser: &Browser) {
    if !browser.is_answering(ANSWER_TIMEOUT).await {
        tracing::warn!(pid = browser.pid(), "a browser no longer answers and is ended");
        browser.kill();
    }
}

fn browser_failure(sentence: String) -> Failure {
    Failure { kind: FailureKind::Browser, sentence }
}
