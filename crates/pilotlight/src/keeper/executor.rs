//! Executes the actions of the rules, in tasks that report their results to the keeper.
//!
//! It decides nothing. Per session there is at most one window and one running activity; a new action for a session
//! aborts the task of the previous one.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use pilotlight_checkpoint::Checkpoint;
use pilotlight_chromium::{Browser, BrowserEvent, Window, WindowId, WindowOptions};
use pilotlight_core::{
    Activity, Failure, FailureKind, Isolation, LaunchKey, Moment, SessionId, ShardId, SignInStatus, Ticket,
};
use pilotlight_linux::Destination;
use pilotlight_store::StoreHandle;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::browser_launcher::{AdoptedBrowser, BrowserLauncher, label};
use super::details::SessionDetails;
use super::failure_recorder::FailureRecorder;
use super::handle::BrowserProcess;
use super::measured_window::MeasuredWindow;
use super::message::Report;
use super::page_out::PageOutWorker;
use super::suspicion::KnownBefore;
use super::watchdog::MonitoredBrowser;
use crate::failures::Failures;
use crate::sentence::with_sources;

/// How long all browsers together may take to end when the server stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A session's window, or its opening.
#[derive(Debug, Default)]
struct Slot {
    shard: Option<ShardId>,
    window: Option<MeasuredWindow>,
    activity: Option<AbortHandle>,
    /// A refresh in a hidden page.
    beside: Option<AbortOnDropHandle<()>>,
    /// Aborted with the slot.
    heartbeat: Option<AbortOnDropHandle<()>>,
    save: Option<AbortOnDropHandle<()>>,
    /// Freezing or thawing.
    motion: Option<AbortOnDropHandle<()>>,
    /// It was ordered to close before it was open.
    closing: Option<Ticket>,
}

/// Browsers and windows that exist, and the tasks that work on them.
#[derive(Debug)]
pub(super) struct Executor {
    launcher: Arc<BrowserLauncher>,
    store: StoreHandle,
    reports: mpsc::Sender<Report>,
    /// Whether browsers continue to run when the server stops.
    leaves_browsers: bool,
    /// The interval at which browsers and pages are checked.
    heartbeat: Duration,
    failures: Failures,
    browsers: BTreeMap<ShardId, Arc<Browser>>,
    /// Unresponsive browsers that are being killed.
    hung: BTreeSet<ShardId>,
    slots: BTreeMap<SessionId, Slot>,
    page_out: PageOutWorker,
    /// Browsers whose windows are all frozen.
    shrinking: BTreeMap<ShardId, AbortOnDropHandle<()>>,
    sessions: BTreeMap<WindowId, SessionId>,
    /// Browsers that are being started or ended.
    tasks: JoinSet<()>,
}

impl Executor {
    pub(super) fn new(
        launcher: Arc<BrowserLauncher>,
        store: StoreHandle,
        reports: mpsc::Sender<Report>,
        leaves_browsers: bool,
        heartbeat: Duration,
        pages_out: Option<Destination>,
        failures: Failures,
    ) -> Self {
        Self {
            launcher,
            store,
            reports,
            leaves_browsers,
            heartbeat,
            failures,
            browsers: BTreeMap::new(),
            hung: BTreeSet::new(),
            slots: BTreeMap::new(),
            page_out: PageOutWorker::new(pages_out),
            shrinking: BTreeMap::new(),
            sessions: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    pub(super) fn window(&self, session: SessionId) -> Option<&MeasuredWindow> {
        self.slots.get(&session)?.window.as_ref()
    }

    /// Returns the session of a window.
    pub(super) fn session_of(&self, window: &WindowId) -> Option<SessionId> {
        self.sessions.get(window).copied()
    }

    /// Adopts a browser that an earlier server left, with its windows.
    pub(super) fn adopt(&mut self, adopted: AdoptedBrowser) {
        let AdoptedBrowser { shard, browser, events, windows } = adopted;
        browser.set_shared(shard.isolation == Isolation::Shared);
        let shard = shard.id;
        self.shard_started(shard, browser);
        for (session, window) in windows {
            self.slots.insert(session, Slot { shard: Some(shard), ..Slot::default() });
            self.take_in(session, shard, window);
        }
        tokio::spawn(tell(shard, events, self.reports.clone()));
    }

    pub(super) fn start_shard(
        &mut self,
        shard: ShardId,
        launch: LaunchKey,
        isolation: Isolation,
        now: Moment,
    ) {
        let (launcher, reports) = (Arc::clone(&self.launcher), self.reports.clone());
        self.spawn(async move {
            let (browser, events) = match launcher.start(launch, isolation, shard, now).await {
                Ok(started) => started,
                Err(failure) => return drop(reports.send(Report::ShardFailed { shard, failure }).await),
            };
            browser.set_shared(isolation == Isolation::Shared);
            // A keeper that is stopping adopts no browsers.
            if let Err(mpsc::error::SendError(Report::ShardStarted { browser, .. })) =
                reports.send(Report::ShardStarted { shard, browser }).await
            {
                return browser.close().await;
            }
            // Only now, so that the browser is known before its first event.
            tokio::spawn(tell(shard, events, reports));
        });
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(task);
    }

    pub(super) fn shard_started(&mut self, shard: ShardId, browser: Browser) {
        self.browsers.insert(shard, Arc::new(browser));
        if let Some(watched) = self.watched(shard) {
            tokio::spawn(watched.watch_browser(self.heartbeat));
        }
    }

    /// Returns a running browser, for its watchers.
    fn watched(&self, shard: ShardId) -> Option<MonitoredBrowser> {
        let browser = Arc::clone(self.browsers.get(&shard)?);
        Some(MonitoredBrowser { shard, browser, reports: self.reports.clone() })
    }

    /// Returns the browser of a session's window.
    fn watched_of(&self, session: SessionId) -> Option<MonitoredBrowser> {
        self.watched(self.slots.get(&session)?.shard?)
    }

    /// Notes that a browser does not respond and is being killed.
    pub(super) fn shard_hung(&mut self, shard: ShardId) {
        if self.browsers.contains_key(&shard) {
            self.hung.insert(shard);
        }
    }

    /// Removes a browser that has ended, with its windows. Returns the reason if its end was not ordered.
    pub(super) fn shard_ended(&mut self, shard: ShardId) -> Option<&'static str> {
        let gone: Vec<SessionId> =
            self.slots.iter().filter(|(_, slot)| slot.shard == Some(shard)).map(|(id, _)| *id).collect();
        for session in gone {
            self.forget(session);
        }
        let why = if self.hung.remove(&shard) {
            "the browser did not respond and was killed"
        } else {
            "the browser ended by itself"
        };
        self.shrinking.remove(&shard);
        self.browsers.remove(&shard).map(|_| why)
    }

    pub(super) fn stop_shard(&mut self, shard: ShardId) {
        let browser = self.browsers.remove(&shard);
        self.shrinking.remove(&shard);
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
        self.shrinking.remove(&shard);
        let watched = self.watched(shard);
        let reports = self.reports.clone();
        tokio::spawn(async move {
            let result = match watched {
                None => Err(browser_failure("the browser has ended".to_owned())),
                Some(watched) => {
                    let opened = watched.browser.open_window(options).await;
                    if opened.is_err() {
                        watched.kill_if_hung().await;
                        if watched.is_gone() {
                            return;
                        }
                    }
                    opened.map_err(|error| {
                        browser_failure(format!("no window could be opened: {}", with_sources(&error)))
                    })
                }
            };
            drop(reports.send(Report::WindowOpened { session, ticket, shard, result }).await);
        });
    }

    /// Adds a window that was opened. Returns the ticket of a close that was ordered before.
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
        let closing = slot.closing;
        if let Ok(window) = result {
            self.take_in(session, shard, window.clone());
        }
        match closing {
            Some(ticket) => self.close(session, ticket),
            None if result.is_err() => drop(self.slots.remove(&session)),
            None => {}
        }
        closing
    }

    fn take_in(&mut self, session: SessionId, shard: ShardId, window: Window) {
        let watched = self.watched(shard);
        let Some(slot) = self.slots.get_mut(&session) else { return };
        self.sessions.insert(window.id().clone(), session);
        slot.heartbeat = watched.map(|watched| {
            let beats = watched.watch_window(window.clone(), session, self.heartbeat);
            AbortOnDropHandle::new(tokio::spawn(beats))
        });
        slot.window = Some(MeasuredWindow::new(window));
    }

    /// Captures the state of a window. A capture that still runs is aborted.
    pub(super) fn save(&mut self, session: SessionId, ticket: Ticket, now: Moment) {
        let reports = self.reports.clone();
        let watched = self.watched_of(session);
        let Some(slot) = self.slots.get_mut(&session) else { return };
        let Some(MeasuredWindow { window, .. }) = slot.window.clone() else { return };
        let task = tokio::spawn(async move {
            let captured = window.capture(now.0).await;
            if captured.is_err() && watched.is_none_or(|watched| watched.is_gone()) {
                return;
            }
            let result = captured.map(Box::new).map_err(|error| {
                browser_failure(format!("its state could not be read: {}", with_sources(&error)))
            });
            drop(reports.send(Report::Captured { session, ticket, result }).await);
        });
        slot.save = Some(AbortOnDropHandle::new(task));
    }

    /// Freezes a window.
    pub(super) fn freeze(&mut self, session: SessionId, ticket: Ticket) {
        let page_out = self.page_out.clone();
        let watched = self.watched_of(session);
        self.set_in_motion(session, move |window, reports| async move {
            // Read while the page still runs.
            let renderers = window.renderer_pids().await.unwrap_or_default();
            let frozen = window.freeze().await;
            let stands = frozen.is_ok();
            if !stands && watched.is_none_or(|watched| watched.is_gone()) {
                return;
            }
            let result = frozen.map_err(|error| {
                browser_failure(format!("its window could not be frozen: {}", with_sources(&error)))
            });
            drop(reports.send(Report::Frozen { session, ticket, result }).await);
            if stands {
                page_out.page_out(renderers).await;
            }
        });
    }

    /// Pages out the memory of the processes of a browser, unless one of its windows is thawed before.
    pub(super) fn shrink_browser(&mut self, shard: ShardId) {
        let Some(browser) = self.browsers.get(&shard) else { return };
        let (page_out, pid) = (self.page_out.clone(), browser.pid());
        let task = tokio::spawn(async move { page_out.page_out_tree(pid).await });
        self.shrinking.insert(shard, AbortOnDropHandle::new(task));
    }

    /// Returns the processes of all browsers.
    pub(super) fn browsers(&self) -> BTreeMap<ShardId, BrowserProcess> {
        let process = |browser: &Browser| BrowserProcess {
            pid: browser.pid(),
            shim_pid: browser.shim().map(pilotlight_chromium::shim::ShimHandle::pid),
        };
        self.browsers.iter().map(|(shard, browser)| (*shard, process(browser))).collect()
    }

    /// Thaws a window.
    pub(super) fn thaw(&mut self, session: SessionId, ticket: Ticket) {
        if let Some(shard) = self.slots.get(&session).and_then(|slot| slot.shard) {
            self.shrinking.remove(&shard);
        }
        self.set_in_motion(session, move |window, reports| async move {
            let thawing = window.thaw().await;
            drop(reports.send(Report::Thawed { session, ticket }).await);
            if let Err(error) = thawing.await {
                tracing::warn!(window = %window.id(), error = with_sources(&error), "a page may still be frozen");
            }
        });
    }

    fn set_in_motion<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        session: SessionId,
        task: impl FnOnce(Window, mpsc::Sender<Report>) -> F,
    ) {
        let reports = self.reports.clone();
        let Some(slot) = self.slots.get_mut(&session) else { return };
        let Some(MeasuredWindow { window, .. }) = slot.window.clone() else { return };
        slot.motion = Some(AbortOnDropHandle::new(tokio::spawn(task(window, reports))));
    }

    /// Ends the pages of a window by force.
    pub(super) fn end_pages(&self, session: SessionId) {
        if let Some(MeasuredWindow { window, .. }) = self.window(session) {
            tracing::warn!(window = %window.id(), "a window takes too much memory and its pages are ended");
            window.end_pages();
        }
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
        let watched = self.watched_of(session);
        let window = self.forget(session);
        let reports = self.reports.clone();
        tokio::spawn(async move {
            if let Some(window) = window
                && let Err(error) = window.close().await
            {
                tracing::warn!(window = %window.id(), %error, "failed to close a window");
                if let Some(watched) = watched {
                    watched.kill_if_hung().await;
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
        details: &SessionDetails,
        known: KnownBefore,
    ) {
        let (store, reports, failures) = (self.store.clone(), self.reports.clone(), self.failures.clone());
        let (target, begins_with) = (Arc::clone(&details.target), details.begins_with.clone());
        let watched = self.watched_of(session);
        let Some(slot) = self.slots.get_mut(&session) else { return };
        let Some(MeasuredWindow { window, .. }) = slot.window.clone() else { return };
        if let Some(before) = slot.activity.take() {
            before.abort();
        }
        let task = tokio::spawn(async move {
            let observer = FailureRecorder::new(session, ticket, &reports);
            let work = async {
                let checkpoint = match activity {
                    Activity::Visit | Activity::LoadDocument => {
                        newest_checkpoint(&store, session, begins_with).await?
                    }
                    _ => None,
                };
                target.perform(activity, &window, checkpoint.as_ref(), &known, &observer).await
            };
            let outcome = reported(Box::pin(work)).await;
            // What the portal said in an earlier attempt still counts.
            let fails_with_browser = |outcome: &Result<_, Failure>| {
                let of_browser = outcome.as_ref().is_err_and(|failure| failure.kind == FailureKind::Browser);
                of_browser && watched.as_ref().is_none_or(MonitoredBrowser::is_gone)
            };
            if fails_with_browser(&outcome) {
                return;
            }
            if let Err(failure) = &outcome {
                observer.keep(&failures, activity, failure, &window, &target.login).await;
            }
            match (&outcome, &watched) {
                (Err(_), Some(watched)) => watched.kill_if_hung().await,
                (Ok(_), Some(watched)) if activity == Activity::Visit => {
                    keep_for_the_next_server(&watched.browser, &window, session).await;
                }
                _ => {}
            }
            if !fails_with_browser(&outcome) {
                drop(reports.send(Report::ActivityEnded { session, ticket, outcome }).await);
            }
        });
        slot.activity = Some(task.abort_handle());
    }

    /// Refreshes a session in a hidden page of its window.
    pub(super) fn refresh_beside(&mut self, session: SessionId, ticket: Ticket, details: &SessionDetails) {
        let (reports, target) = (self.reports.clone(), Arc::clone(&details.target));
        let slot = self.slots.get_mut(&session);
        let Some((slot, window)) = slot.and_then(|slot| slot.window.clone().map(|live| (slot, live.window)))
        else {
            let outcome = Err(browser_failure("its window was closed".to_owned()));
            return self.report(Report::RefreshedBeside { session, ticket, outcome });
        };
        let task = tokio::spawn(async move {
            let observer = FailureRecorder::new(session, ticket, &reports);
            let outcome = reported(Box::pin(target.refresh_beside(&window, &observer))).await;
            drop(reports.send(Report::RefreshedBeside { session, ticket, outcome }).await);
        });
        slot.beside = Some(AbortOnDropHandle::new(task));
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

    /// Leaves all browsers to the next server, or ends them, including those that are just starting: the caller no
    /// longer reads reports.
    ///
    /// Windows of sessions that are not in `kept` are closed, since nothing would ever use them. So are browsers
    /// without windows.
    pub(super) async fn shut_down(mut self, kept: &BTreeSet<SessionId>) {
        let mut staying = BTreeSet::new();
        let mut unwanted: BTreeMap<ShardId, Vec<Window>> = BTreeMap::new();
        for (session, slot) in std::mem::take(&mut self.slots) {
            let (Some(shard), Some(window)) = (slot.shard, slot.window.as_ref()) else { continue };
            if self.leaves_browsers && kept.contains(&session) {
                staying.insert(shard);
            } else {
                unwanted.entry(shard).or_default().push(window.window.clone());
            }
        }
        for (shard, browser) in self.browsers {
            let unwanted = unwanted.remove(&shard).unwrap_or_default();
            let stays = staying.contains(&shard);
            self.tasks.spawn(async move {
                if !stays {
                    return browser.close().await;
                }
                for closed in join_all(unwanted.iter().map(Window::close)).await {
                    if let Err(error) = closed {
                        tracing::warn!(%error, "failed to close a window of an ended session");
                    }
                }
                browser.leave();
            });
        }
        if timeout(CLOSE_TIMEOUT, self.tasks.join_all()).await.is_err() {
            tracing::warn!("a browser did not end in time");
        }
    }
}

/// Has the result reported even if a bug ends the task.
async fn reported(
    work: impl Future<Output = Result<SignInStatus, Failure>>,
) -> Result<SignInStatus, Failure> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(browser_failure("a bug in Pilotlight ended the activity".to_owned())))
}

/// Forwards the events of a browser.
async fn tell(shard: ShardId, mut events: mpsc::Receiver<BrowserEvent>, reports: mpsc::Sender<Report>) {
    while let Some(event) = events.recv().await {
        if reports.send(Report::Browser { shard, event }).await.is_err() {
            return;
        }
    }
}

/// Returns the last stored state of a session's window, or the one that its client provided. An unreadable state is
/// not treated as none: starting without it would soon overwrite it.
async fn newest_checkpoint(
    store: &StoreHandle,
    session: SessionId,
    begins_with: Option<Arc<Checkpoint>>,
) -> Result<Option<Checkpoint>, Failure> {
    match store.checkpoint(Uuid::from_u128(session.0)).await {
        Ok(newest) => Ok(newest.or_else(|| begins_with.map(Arc::unwrap_or_clone))),
        Err(error) => {
            Err(browser_failure(format!("its state cannot be read from the store: {}", with_sources(&error))))
        }
    }
}

/// Only a window that shows its page is worth keeping: before that, its checkpoint is better.
async fn keep_for_the_next_server(browser: &Browser, window: &Window, session: SessionId) {
    if let Err(error) = browser.label_window(window, &label(session)).await {
        tracing::warn!(window = %window.id(), error = with_sources(&error), "a window will be lost when the server stops");
    }
}

fn browser_failure(sentence: String) -> Failure {
    Failure { kind: FailureKind::Browser, sentence }
}
