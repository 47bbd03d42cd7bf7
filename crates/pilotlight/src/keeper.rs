//! The keeper: the one task that owns the state of all sessions.
//!
//! Orders of clients and reports of tasks become inputs of the rules. The actions that the rules return are
//! executed by the [`executor`], and what must outlive the server is passed to the [`store_writer`]. All other code
//! reads what is published. The keeper never waits for I/O, and never decides anything: the rules do.
//! ARCHITECTURE.md has a picture of its event loop ("The keeper").

mod access;
mod asleep_trial;
mod browser_launcher;
mod details;
mod document;
mod entry;
mod events;
mod executor;
mod failure_recorder;
mod handle;
mod lasting;
mod measured_window;
mod message;
mod page_out;
mod page_refresh;
mod record;
mod refreshes;
mod replies;
mod session_target;
mod sign_in;
mod sign_in_status;
mod sign_in_trial;
mod store_writer;
mod suspicion;
mod using;
mod watchdog;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pilotlight_chromium::{AnsweredDialog, BrowserEvent, WindowId};
use pilotlight_core::{
    Action, Failure, FailureKind, Input, Limits, PersistedSession, Promise, RequestId, Rules, SessionId,
    ShardId, SignInStatus, Ticket, WindowLoss,
};
use pilotlight_linux::Destination;
use pilotlight_store::StoreHandle;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use access::CannotSignIn;
pub use asleep_trial::{AsleepTrial, Recommendation, TriedRefresh};
pub use browser_launcher::{
    AdoptedBrowser, BrowserLauncher, BrowserLauncherError, BrowserLauncherOptions, find_browser,
};
pub use details::{Published, SessionDetails, ended_reason, memory_measure};
pub use events::Events;
pub use handle::{Directory, KeeperHandle};
pub use message::{HoldTerms, Refused};
pub(crate) use record::reason_of;
pub use refreshes::RefreshCounts;
pub use session_target::SessionTarget;
pub(crate) use sign_in_status::sign_in_of;
pub use sign_in_trial::{Told, TrialOptions, TrialOutcome, try_sign_in};
pub use using::Using;

use crate::clock::{Clock, timestamp, wall};
use crate::failures::Failures;
use crate::fingerprint::Fingerprint;
use crate::service_manager::ServiceWatchdog;
use entry::{Entries, Entry};
use executor::Executor;
use lasting::Awaiting;
use message::{Left, Message, Report};
use refreshes::{BESIDE, how};
use replies::{Pending, Unsent};
use store_writer::{StoreWrite, StoreWriter};
use suspicion::KnownBefore;

/// Orders of clients that wait in the keeper's queue.
const MAX_MESSAGES: usize = 4096;
/// Reports of tasks that wait in the keeper's queue.
const MAX_REPORTS: usize = 4096;
/// The longest interval between two steps of the rules.
const IDLE: Duration = Duration::from_secs(10);

/// The task's own state.
struct Keeper {
    clock: Clock,
    rules: Rules,
    /// The server's address, as clients see it.
    address: SocketAddr,
    fingerprint: Arc<Fingerprint>,
    executor: Executor,
    entries: Entries,
    pending: HashMap<RequestId, Pending>,
    last_request: u64,
    /// The offset of the wall clock when everything was published, in milliseconds.
    ahead: i64,
    directory: watch::Sender<Arc<Directory>>,
    events: Events,
    refreshes: RefreshCounts,
    /// For leases of windows, whose end is a message.
    messages: mpsc::Sender<Message>,
    store_writer: StoreWriter,
    /// The sessions that have to be stored again.
    unwritten: BTreeSet<SessionId>,
    flush_at: Option<Instant>,
    /// Replies that wait for data that was not passed to the store writer yet.
    awaiting: Awaiting,
    /// Replies that wait for the store writer, in the order in which it got the data.
    being_written: VecDeque<Awaiting>,
}

/// What the keeper needs.
#[derive(Debug)]
pub struct KeeperOptions {
    /// The limits of the rules.
    pub limits: Limits,
    /// The seed of the jitter of retries.
    pub seed: u64,
    /// The clock.
    pub clock: Clock,
    /// The server's address, as clients see it.
    pub address: SocketAddr,
    /// Recognises accounts.
    pub fingerprint: Arc<Fingerprint>,
    /// Starts browsers.
    pub launcher: Arc<BrowserLauncher>,
    /// The store.
    pub store: StoreHandle,
    /// Whether browsers continue to run when the keeper stops, for the next server.
    pub leaves_browsers: bool,
    /// `chromium.heartbeat`.
    pub heartbeat: Duration,
    /// `chromium.page_out`.
    pub pages_out: Option<Destination>,
    /// Reports of failed sign-ins.
    pub failures: Failures,
    /// Signs of life of the keeper's loop, for the service manager.
    pub watchdog: ServiceWatchdog,
}

/// What an earlier server left behind.
#[derive(Debug, Default)]
pub struct RecoveredState {
    /// The stored sessions.
    pub sessions: BTreeMap<SessionId, (PersistedSession, SessionDetails)>,
    /// Browsers that still run, with their windows.
    pub browsers: Vec<AdoptedBrowser>,
}

/// Starts the keeper. It runs until `stop`; then it leaves or ends all browsers, and finishes.
pub fn start(
    options: KeeperOptions,
    recovered: RecoveredState,
    stop: CancellationToken,
) -> (KeeperHandle, tokio::task::JoinHandle<()>) {
    let KeeperOptions {
        limits,
        seed,
        clock,
        address,
        fingerprint,
        launcher,
        store,
        leaves_browsers,
        heartbeat,
        pages_out,
        failures,
        watchdog,
    } = options;
    let (messages, orders) = mpsc::channel(MAX_MESSAGES);
    let (report, reports) = mpsc::channel(MAX_REPORTS);
    let (directory, watched) = watch::channel(Arc::default());
    let events = Events::new(address, failures.clone());
    let mut keeper = Keeper {
        clock,
        address,
        fingerprint,
        rules: Rules::new(limits, seed, clock.now()),
        executor: Executor::new(
            launcher,
            store.clone(),
            report.clone(),
            leaves_browsers,
            heartbeat,
            pages_out,
            failures,
        ),
        entries: Entries::default(),
        pending: HashMap::new(),
        last_request: 0,
        // Changes of the clock before this are noticed in the first step: the records were read before.
        ahead: 0,
        directory,
        events: events.clone(),
        refreshes: RefreshCounts::default(),
        messages: messages.clone(),
        store_writer: StoreWriter::start(store, report),
        unwritten: BTreeSet::new(),
        flush_at: None,
        awaiting: Awaiting::default(),
        being_written: VecDeque::new(),
    };
    keeper.resume(recovered);
    let task = tokio::spawn(keeper.run(orders, reports, stop, watchdog));
    (KeeperHandle::new(messages, watched, events, clock), task)
}

impl Keeper {
    async fn run(
        mut self,
        mut orders: mpsc::Receiver<Message>,
        mut reports: mpsc::Receiver<Report>,
        stop: CancellationToken,
        mut watchdog: ServiceWatchdog,
    ) {
        loop {
            self.follow_clock();
            let deadline = self.rules.next_deadline(self.clock.now());
            let idle = Instant::now() + IDLE;
            let wake = deadline.map_or(idle, |at| self.clock.instant(at).min(idle));
            let flush = self.flush_at;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = watchdog.due() => watchdog.ping(),
                Some(report) = reports.recv() => self.report(report),
                message = orders.recv() => match message {
                    Some(message) => self.message(message),
                    None => break,
                },
                () = async { sleep_until(flush.unwrap_or(wake)).await }, if flush.is_some() => self.flush(),
                () = sleep_until(wake) => self.step(Input::Tick),
            }
        }
        for (_, pending) in self.pending.drain() {
            drop(pending.reply.send(Err(Refused::Stopping)));
        }
        self.flush();
        drop(reports);
        let kept =
            self.rules.living().filter_map(pilotlight_core::Session::persisted).map(|kept| kept.id).collect();
        self.executor.shut_down(&kept).await;
        self.store_writer.finish().await;
    }

    /// Restores what an earlier server left, before any order is accepted.
    fn resume(&mut self, recovered: RecoveredState) {
        let (mut shards, mut windows) = (Vec::new(), Vec::new());
        for adopted in recovered.browsers {
            shards.push(adopted.shard);
            windows.extend(adopted.windows.iter().map(|(session, _)| (*session, adopted.shard.id)));
            self.executor.adopt(adopted);
        }
        let mut sessions = Vec::new();
        for (id, (kept, details)) in recovered.sessions {
            self.entries.insert(id, Entry { details, written: Some(kept.clone()), is_promised: true });
            sessions.push(kept);
        }
        self.step(Input::Resume { sessions, shards, windows });
        // An earlier server may have announced it or not; only sessions that were announced are announced as ended.
        let time = timestamp(self.clock.now());
        for session in self.rules.living().filter(|session| session.attention.is_some()) {
            self.events.still_needs(session, time);
        }
        self.strip_ended();
    }

    /// Publishes and stores everything again if the wall clock was set, since all times depend on it.
    fn follow_clock(&mut self) {
        let ahead = self.clock.ahead();
        if ahead == self.ahead {
            return;
        }
        let by_ms = ahead.saturating_sub(self.ahead);
        tracing::info!(by_ms, "the system clock was set; published times are adjusted");
        self.ahead = ahead;
        let all: Vec<SessionId> = self.entries.iter().map(|(id, _)| id).collect();
        self.publish(&all);
        let written = self.entries.iter().filter(|(_, entry)| entry.written.is_some());
        self.unwritten.extend(written.map(|(id, _)| id).filter(|id| self.rules.session(*id).is_some()));
        self.flush();
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Measured { memory, windows } => self.step(Input::Measured { memory, windows }),
            Message::UseEnded { session } => self.step(Input::EndUse { session }),
            Message::HoldKept { session, hold, ttl } => self.step(Input::KeepHold { session, hold, ttl }),
            Message::HoldPaused { session, hold, unused_for } => {
                self.step(Input::PauseHold { session, hold, unused_for });
            }
            Message::Quiet { sites } => self.step(Input::Quiet { sites }),
            Message::CredentialChanged { name, written } => {
                let named =
                    |details: &SessionDetails| details.target.login.credential() == Some(name.as_str());
                let sessions = self.entries.iter().filter(|(_, entry)| named(&entry.details));
                let sessions = sessions
                    .map(|(id, entry)| (id, entry.details.target.access(&self.fingerprint)))
                    .collect();
                self.step(Input::AccessChanged { sessions });
                self.flush_for(written, None);
            }
            Message::Order { session, order, reply } => {
                let request = self.next_request();
                let mut left = Left::default();
                let is_lasting = order.is_lasting();
                let input = order.into_input(request, session, &mut left);
                let promise = Promise::of(&input, self.rules.session(session));
                if let Some(details) = left.details {
                    self.entries.insert(session, Entry::new(*details));
                }
                let Left { tags, owner, is_connection, .. } = left;
                self.pending.insert(
                    request,
                    Pending { reply, session, tags, owner, is_connection, is_lasting, promise },
                );
                self.step(input);
            }
        }
    }

    fn next_request(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(self.last_request)
    }

    fn report(&mut self, report: Report) {
        let input = match report {
            Report::ShardStarted { shard, browser } => {
                self.executor.shard_started(shard, browser);
                Input::ShardStarted { shard }
            }
            Report::ShardFailed { shard, failure } => Input::ShardEnded { shard, failure: Some(failure) },
            Report::ShardStopped { shard } => Input::ShardEnded { shard, failure: None },
            Report::Browser { shard, event } => match self.browser_event(shard, event) {
                Some(input) => input,
                None => return,
            },
            Report::WindowOpened { session, ticket, shard, result } => {
                if self.executor.opened(session, shard, &result).is_some() {
                    return;
                }
                Input::WindowOpened { session, ticket, result: result.map(drop) }
            }
            Report::WindowClosed { session, ticket } => Input::WindowClosed { session, ticket },
            Report::WindowHung { session, shard } => {
                Input::WindowLost { session, shard, loss: WindowLoss::Hung }
            }
            Report::ShardGrown { shard } => Input::ShardGrown { shard },
            Report::ShardHung { shard } => return self.executor.shard_hung(shard),
            Report::Captured { session, ticket, result: Ok(checkpoint) } => {
                // Nothing of a session that was closed meanwhile may be written to the store again.
                if !self.rules.is_saving(session, ticket) {
                    return;
                }
                if let Some(details) = self.entries.details_mut(session) {
                    details.left_at = checkpoint.tabs.first().map(|tab| tab.url.clone());
                }
                // Only now, so that the session itself is stored before.
                self.flush();
                return self.store_writer.write(StoreWrite::Checkpoint { session, ticket, checkpoint });
            }
            Report::Captured { session, ticket, result: Err(failure) } => {
                Input::Saved { session, ticket, result: Err(failure) }
            }
            Report::Saved { session, ticket, result } => {
                if let (Ok(bytes), Some(details)) = (&result, self.entries.details_mut(session)) {
                    details.stored_bytes = Some(*bytes);
                    details.stored_at = Some(self.clock.now());
                    // The checkpoint contains the initial state.
                    details.begins_with = None;
                }
                Input::Saved { session, ticket, result: result.map(drop) }
            }
            Report::Written { unwritten, failure } => return self.written(&unwritten, failure.as_ref()),
            Report::Frozen { session, ticket, result } => {
                self.step(Input::Frozen { session, ticket, result });
                return self.page_out_frozen_browser(session);
            }
            Report::Thawed { session, ticket } => Input::Thawed { session, ticket },
            Report::Typing { session, ticket, written } => {
                self.step(Input::Typing { session, ticket });
                // A sign-in that is no longer the current one gets no answer, and has been aborted.
                if self.rules.session(session).is_some_and(|session| session.tried_at().is_some()) {
                    self.flush_for(written, Some(session));
                }
                return;
            }
            Report::Cookies { session, ticket, cookies, written } => {
                // Nothing of a session that was closed meanwhile may be written to the store again.
                if self.rules.session(session).is_some_and(|session| session.keeps_cookies_of(ticket)) {
                    self.store_writer.write(StoreWrite::Cookies { session, cookies, written });
                }
                return;
            }
            Report::RefreshedBeside { session, ticket, outcome } => {
                if self.rules.session(session).is_some_and(|session| session.is_refreshing_beside(ticket)) {
                    self.refreshes.count(BESIDE, &outcome);
                }
                Input::RefreshedBeside { session, ticket, outcome }
            }
            Report::ActivityEnded { session, ticket, outcome } => {
                self.count_refresh(session, ticket, &outcome);
                let is_refusal = matches!(&outcome, Err(failure) if failure.kind == FailureKind::Rejected);
                self.step(Input::ActivityEnded { session, ticket, outcome });
                if is_refusal {
                    self.flush();
                }
                return;
            }
        };
        self.step(input);
    }

    /// Counts the outcome of an activity, if that was a refresh.
    fn count_refresh(&mut self, session: SessionId, ticket: Ticket, outcome: &Result<SignInStatus, Failure>) {
        let refreshed = self.rules.session(session).zip(self.entries.details(session));
        if let Some((session, details)) = refreshed
            && let Some(kind) = session.refreshed_by(ticket, outcome.as_ref().ok())
        {
            self.refreshes.count(how(kind, &details.target), outcome);
        }
    }

    /// If no page runs in a browser any more, the memory of its own processes is moved as well.
    fn page_out_frozen_browser(&mut self, session: SessionId) {
        if let Some(shard) = self.rules.session(session).and_then(pilotlight_core::Session::shard)
            && self.rules.all_windows_frozen(shard)
        {
            self.executor.shrink_browser(shard);
        }
    }

    fn browser_event(&mut self, shard: ShardId, event: BrowserEvent) -> Option<Input> {
        let (window, loss) = match event {
            BrowserEvent::Exited { status, stderr } => {
                // A browser that was ordered to end has been removed from the executor before.
                let why = self.executor.shard_ended(shard)?;
                tracing::warn!(shard = shard.0, %status, ?stderr, why, "browser ended");
                let sentence = format!("{why}: {status}");
                let failure = Some(Failure { kind: FailureKind::Browser, sentence });
                return Some(Input::ShardEnded { shard, failure });
            }
            BrowserEvent::WindowChanged { window } => {
                let session = self.executor.session_of(&window)?;
                return Some(Input::WindowChanged { session });
            }
            BrowserEvent::WindowHeldOthersUp { window } => {
                let session = self.executor.session_of(&window)?;
                return Some(Input::HeldOthersUp { session, shard });
            }
            BrowserEvent::DialogAnswered { window, dialog } => {
                self.dialog_answered(&window, *dialog);
                return None;
            }
            BrowserEvent::WindowCrashed { window } => (window, WindowLoss::Crashed),
            BrowserEvent::LastPageClosed { window } => (window, WindowLoss::Emptied),
            BrowserEvent::WindowEmptied { window } => (window, WindowLoss::Gone),
        };
        let session = self.executor.session_of(&window)?;
        Some(Input::WindowLost { session, shard, loss })
    }

    /// Has a session sign in with the login of a later request. It is stored with the session's next change.
    fn renew(&mut self, session: SessionId, from: SessionId) {
        let Some(login) = self.entries.details(from).map(|details| details.target.login.clone()) else {
            return;
        };
        if let Some(details) = self.entries.details_mut(session) {
            details.target = Arc::new(SessionTarget { login, ..SessionTarget::clone(&details.target) });
            self.unwritten.insert(session);
        }
    }

    /// Publishes how a dialog of a session's page was answered. Its text may repeat what was typed there.
    fn dialog_answered(&self, window: &WindowId, dialog: AnsweredDialog) {
        let Some(session) = self.executor.session_of(window) else { return };
        let Some((rules, details)) = self.rules.session(session).zip(self.entries.details(session)) else {
            return;
        };
        let time = timestamp(self.clock.now());
        let text = details.target.login.values().redact(&dialog.text);
        self.events.tell(events::of_dialog(rules, AnsweredDialog { text, ..dialog }, time));
    }

    /// Passes an input to the rules, and at once those that follow from it.
    fn step(&mut self, input: Input) {
        let mut next = VecDeque::from([input]);
        while let Some(input) = next.pop_front() {
            next.extend(self.step_once(input));
        }
    }

    /// Passes an input to the rules and executes their actions. Returns the inputs that follow.
    fn step_once(&mut self, input: Input) -> impl Iterator<Item = Input> + use<> {
        let (mut changed, mut notices, mut replies) = (Vec::new(), Vec::new(), Vec::new());
        for action in self.rules.step(self.clock.now(), input) {
            match action {
                Action::StartShard { shard, launch, isolation } => {
                    self.executor.start_shard(shard, launch, isolation, wall(self.clock.now()));
                }
                Action::Save { session, ticket } => {
                    self.executor.save(session, ticket, wall(self.clock.now()));
                }
                Action::StopShard { shard } => self.executor.stop_shard(shard),
                Action::OpenWindow { session, ticket, shard, kind } => {
                    if let Some(details) = self.entries.details(session) {
                        self.executor.open(session, ticket, shard, details.window_options(kind));
                    }
                }
                Action::Freeze { session, ticket } => self.executor.freeze(session, ticket),
                Action::Thaw { session, ticket } => self.executor.thaw(session, ticket),
                Action::EndPages { session } => self.executor.end_pages(session),
                Action::CloseWindow { session, ticket } => self.executor.close(session, ticket),
                Action::Begin { session, ticket, activity } => {
                    let known = self.rules.session(session).map(KnownBefore::of).unwrap_or_default();
                    if let Some(details) = self.entries.details(session) {
                        self.executor.begin(session, ticket, activity, details, known);
                    }
                }
                Action::RefreshBeside { session, ticket } => {
                    if let Some(details) = self.entries.details(session) {
                        self.executor.refresh_beside(session, ticket, details);
                    }
                }
                Action::Answer { request, answer } => replies.extend(self.answer(request, answer)),
                Action::Renew { session, from } => self.renew(session, from),
                Action::Changed { session } => changed.push(session),
                Action::Forget { session } => {
                    self.unwritten.remove(&session);
                    if self.entries.remove(session).is_some_and(|entry| entry.written.is_some()) {
                        self.store_writer.write(StoreWrite::Forgotten(vec![Uuid::from_u128(session.0)]));
                    }
                    changed.push(session);
                }
                Action::Announce(notice) => notices.push(notice),
            }
        }
        self.publish(&changed);
        // A client that gets a reply or an event and reads the directory afterwards must see the change.
        let unused: Vec<SessionId> = replies.into_iter().filter_map(Unsent::send).collect();
        for notice in notices {
            let name = self.rules.session(notice.session).and_then(|session| session.name.clone());
            self.events.announce(&notice, name, timestamp(self.clock.now()));
        }
        self.note_unwritten(&changed);
        if self.is_awaited() {
            self.flush();
        }
        unused.into_iter().map(|session| Input::EndUse { session })
    }

    fn published(&self, id: SessionId) -> Option<Published> {
        let session = self.rules.session(id)?;
        let failure_url = self.events.failure_url(Uuid::from_u128(id.0));
        // A window that is open for a refresh cannot be used by clients.
        let window = self.executor.window(id).filter(|_| !session.has_refresh_window()).cloned();
        Some(Published::new(session, self.entries.details(id)?, window, self.address, failure_url))
    }

    fn publish(&mut self, changed: &[SessionId]) {
        let browsers = self.executor.browsers();
        if changed.is_empty() && self.directory.borrow().browsers == browsers {
            return;
        }
        for id in changed {
            let known = self.rules.session(*id).zip(self.entries.details_mut(*id));
            let Some((session, details)) = known else { continue };
            details.owners.retain(|id, _| session.holds.iter().any(|hold| hold.id == *id));
            details.connections.retain(|id| session.holds.iter().any(|hold| hold.id == *id));
            if session.ended.is_some() {
                details.forget_secrets();
            }
        }
        let updates: Vec<_> = changed.iter().map(|id| (*id, self.published(*id).map(Arc::new))).collect();
        let (due_refresh, refreshes) = (self.rules.due_refresh(), self.refreshes.clone());
        self.directory.send_modify(|directory| {
            let directory = Arc::make_mut(directory);
            directory.generation += 1;
            directory.browsers = browsers;
            (directory.due_refresh, directory.refreshes) = (due_refresh, refreshes);
            for (id, published) in updates {
                match published {
                    Some(published) => directory.sessions.insert(id.0, published),
                    None => directory.sessions.remove(&id.0),
                };
            }
        });
    }
}
