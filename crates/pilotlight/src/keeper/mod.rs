//! The keeper: one task that owns the truth about all sessions.
//!
//! Clients send orders, workers send reports; both become inputs of the rules, and the actions that follow
//! are handed to the [`world`], what must last to the [`scribe`]. Everybody else reads what is published. The
//! keeper never waits for IO and never decides: the rules do.

mod clock;
mod details;
mod errand;
mod events;
mod farm;
mod handle;
mod heartbeat;
mod lasting;
mod live;
mod message;
mod rehearsal;
mod scribe;
mod shrink;
mod using;
mod witness;
mod world;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pilotlight_chromium::BrowserEvent;
use pilotlight_core::{
    Action, Answer, Failure, FailureKind, Input, Kept, Limits, Loss, Refusal, RequestId, Rules, SessionId,
    ShardId,
};
use pilotlight_store::Archive;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use clock::{Clock, timestamp};
pub use details::{Details, Published, ended_reason, memory_measure};
pub use errand::Errand;
pub use events::Events;
pub use farm::{Farm, FarmError, FarmOptions, Inherited, find_browser};
pub use handle::{BrowserProcess, Directory, KeeperHandle};
pub use message::{Refused, Reply};
pub use rehearsal::{Rehearsed, Told, rehearse};
pub use using::Using;

use crate::failures::Failures;
use crate::fingerprint::Fingerprint;
use crate::plan::access;
use crate::service_manager::Pulse;
use message::{Left, Message, ReplySender, Report};
use scribe::{Scribe, Writ};
use world::World;

/// Orders of clients that wait for the keeper.
const MAX_MESSAGES: usize = 4096;
/// Reports of workers that wait for the keeper.
const MAX_REPORTS: usize = 4096;
/// With nothing to wait for, the keeper looks around this often.
const IDLE: Duration = Duration::from_secs(3600);

/// The task's own state.
struct Keeper {
    clock: Clock,
    rules: Rules,
    /// Where clients reach us.
    address: SocketAddr,
    fingerprint: Arc<Fingerprint>,
    world: World,
    details: BTreeMap<SessionId, Details>,
    pending: HashMap<RequestId, Pending>,
    last_request: u64,
    directory: watch::Sender<Arc<Directory>>,
    events: Events,
    /// For loans, which come back as messages.
    messages: mpsc::Sender<Message>,
    scribe: Scribe,
    /// What was last handed to the scribe.
    written: BTreeMap<SessionId, Kept>,
    unwritten: BTreeSet<SessionId>,
    flush_at: Option<Instant>,
    /// Replies that wait until what they tell of is written down.
    replies: Vec<(ReplySender, Result<Reply, Refused>, SessionId)>,
    /// Others who wait for the same.
    waiters: Vec<oneshot::Sender<()>>,
}

/// A client that waits for its answer.
struct Pending {
    reply: ReplySender,
    session: SessionId,
    tags: Option<BTreeMap<String, String>>,
    owner: Option<String>,
    is_lasting: bool,
}

/// What the keeper works with.
#[derive(Debug)]
pub struct KeeperOptions {
    /// The numbers that the rules keep to.
    pub limits: Limits,
    /// Spreads retries.
    pub seed: u64,
    /// The time.
    pub clock: Clock,
    /// Where clients reach us.
    pub address: SocketAddr,
    /// Recognises accounts.
    pub fingerprint: Arc<Fingerprint>,
    /// Starts browsers.
    pub farm: Arc<Farm>,
    /// Keeps what must outlast us.
    pub archive: Archive,
    /// Whether browsers stay when the keeper stops, for the next one.
    pub leaves_browsers: bool,
    /// `chromium.heartbeat`.
    pub heartbeat: Duration,
    /// `chromium.page_out`.
    pub pages_out: bool,
    /// What was seen of sign-ins that failed.
    pub failures: Failures,
    /// Signs of life of the keeper's loop, for the service manager.
    pub pulse: Pulse,
}

/// What an earlier server left behind.
#[derive(Debug, Default)]
pub struct Inheritance {
    /// Sessions that were written down.
    pub sessions: BTreeMap<SessionId, (Kept, Details)>,
    /// Browsers that still run, with their windows.
    pub browsers: Vec<Inherited>,
}

/// Starts the keeper. It runs until `stop`, then leaves or ends every browser, and finishes.
pub fn start(
    options: KeeperOptions,
    inheritance: Inheritance,
    stop: CancellationToken,
) -> (KeeperHandle, tokio::task::JoinHandle<()>) {
    let KeeperOptions {
        limits,
        seed,
        clock,
        address,
        fingerprint,
        farm,
        archive,
        leaves_browsers,
        heartbeat,
        pages_out,
        failures,
        pulse,
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
        world: World::new(
            farm,
            archive.clone(),
            report.clone(),
            leaves_browsers,
            heartbeat,
            pages_out,
            failures,
        ),
        details: BTreeMap::new(),
        pending: HashMap::new(),
        last_request: 0,
        directory,
        events: events.clone(),
        messages: messages.clone(),
        scribe: Scribe::start(archive, report),
        written: BTreeMap::new(),
        unwritten: BTreeSet::new(),
        flush_at: None,
        replies: Vec::new(),
        waiters: Vec::new(),
    };
    keeper.inherit(inheritance);
    let task = tokio::spawn(keeper.run(orders, reports, stop, pulse));
    (KeeperHandle::new(messages, watched, events, clock), task)
}

impl Keeper {
    async fn run(
        mut self,
        mut orders: mpsc::Receiver<Message>,
        mut reports: mpsc::Receiver<Report>,
        stop: CancellationToken,
        mut pulse: Pulse,
    ) {
        loop {
            let deadline = self.rules.next_deadline(self.clock.now());
            let wake = deadline.map_or_else(|| Instant::now() + IDLE, |at| self.clock.instant(at));
            let flush = self.flush_at;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = pulse.due() => pulse.beat(),
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
            self.rules.living().filter_map(pilotlight_core::Session::kept).map(|kept| kept.id).collect();
        self.world.shut_down(&kept).await;
        self.scribe.finish().await;
    }

    /// Takes up what an earlier server left, before anybody is listened to.
    fn inherit(&mut self, inheritance: Inheritance) {
        let (mut shards, mut windows) = (Vec::new(), Vec::new());
        for inherited in inheritance.browsers {
            shards.push(inherited.shard);
            windows.extend(inherited.windows.iter().map(|(session, _)| (*session, inherited.shard.id)));
            self.world.inherit(inherited);
        }
        let mut sessions = Vec::new();
        for (id, (kept, details)) in inheritance.sessions {
            self.details.insert(id, details);
            self.written.insert(id, kept.clone());
            sessions.push(kept);
        }
        self.step(Input::Resume { sessions, shards, windows });
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Measured { memory } => self.step(Input::Measured { memory }),
            Message::UseEnded { session } => self.step(Input::EndUse { session }),
            Message::HoldKept { session, hold, ttl } => self.step(Input::KeepHold { session, hold, ttl }),
            Message::HoldUnwanted { session, hold } => {
                let request = self.next_request();
                self.step(Input::ReleaseHold { request, session, hold });
            }
            Message::Quiet { sites } => self.step(Input::Quiet { sites }),
            Message::CredentialChanged { name, written } => {
                let named = |details: &Details| details.errand.login.credential() == Some(name.as_str());
                let sessions = self.details.iter().filter(|(_, details)| named(details));
                let sessions =
                    sessions.map(|(id, details)| (*id, access(&self.fingerprint, &details.errand))).collect();
                self.step(Input::AccessChanged { sessions });
                self.flush_for(written);
            }
            Message::Order { session, order, reply } => {
                let request = self.next_request();
                let mut left = Left::default();
                let is_lasting = order.is_lasting();
                let input = order.into_input(request, session, &mut left);
                if let Some(details) = left.details {
                    self.details.insert(session, *details);
                }
                self.pending.insert(
                    request,
                    Pending { reply, session, tags: left.tags, owner: left.owner, is_lasting },
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
                self.world.shard_started(shard, browser);
                Input::ShardStarted { shard }
            }
            Report::ShardFailed { shard, failure } => Input::ShardEnded { shard, failure: Some(failure) },
            Report::ShardStopped { shard } => Input::ShardEnded { shard, failure: None },
            Report::Browser { shard, event } => match self.browser_event(shard, event) {
                Some(input) => input,
                None => return,
            },
            Report::WindowOpened { session, ticket, shard, result } => {
                if self.world.opened(session, shard, &result).is_some() {
                    return;
                }
                Input::WindowOpened { session, ticket, result: result.map(drop) }
            }
            Report::WindowClosed { session, ticket } => Input::WindowClosed { session, ticket },
            Report::WindowHung { session, shard } => Input::WindowLost { session, shard, loss: Loss::Hung },
            Report::ShardGrown { shard } => Input::ShardGrown { shard },
            Report::ShardHung { shard } => return self.world.shard_hung(shard),
            Report::Captured { session, ticket, result: Ok(checkpoint) } => {
                // Of a session that was closed meanwhile nothing may come back into the store.
                if !self.rules.is_saving(session, ticket) {
                    return;
                }
                if let Some(details) = self.details.get_mut(&session) {
                    details.left_at = checkpoint.tabs.first().map(|tab| tab.url.clone());
                }
                // Only now, so that the session itself is written down before.
                self.flush();
                return self.scribe.write(Writ::Checkpoint { session, ticket, checkpoint });
            }
            Report::Captured { session, ticket, result: Err(failure) } => {
                Input::Saved { session, ticket, result: Err(failure) }
            }
            Report::Saved { session, ticket, result } => {
                if let (Ok(bytes), Some(details)) = (&result, self.details.get_mut(&session)) {
                    details.stored_bytes = Some(*bytes);
                    details.stored_at = Some(self.clock.now());
                    // What it began with is in there.
                    details.begins_with = None;
                }
                Input::Saved { session, ticket, result: result.map(drop) }
            }
            Report::Frozen { session, ticket, result } => {
                self.step(Input::Frozen { session, ticket, result });
                return self.shrink_cold_browser(session);
            }
            Report::Thawed { session, ticket } => Input::Thawed { session, ticket },
            Report::Typing { session, ticket, written } => {
                self.step(Input::Typing { session, ticket });
                // Whoever is no longer the one to type hears nothing, and has been ended.
                if self.rules.session(session).is_some_and(|session| session.tried_at.is_some()) {
                    self.flush_for(written);
                }
                return;
            }
            Report::ActivityEnded { session, ticket, outcome } => {
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

    /// Where nobody's page runs in a browser any more, its own processes do nothing either.
    fn shrink_cold_browser(&mut self, session: SessionId) {
        if let Some(shard) = self.rules.session(session).and_then(pilotlight_core::Session::shard)
            && self.rules.is_cold(shard)
        {
            self.world.shrink_browser(shard);
        }
    }

    fn browser_event(&mut self, shard: ShardId, event: BrowserEvent) -> Option<Input> {
        let (window, loss) = match event {
            BrowserEvent::Exited { status, stderr } => {
                // A browser that was told to end has left the world before it ends.
                let why = self.world.shard_ended(shard)?;
                tracing::warn!(shard = shard.0, %status, ?stderr, why, "a browser is gone");
                let sentence = format!("{why}: {status}");
                let failure = Some(Failure { kind: FailureKind::Browser, sentence });
                return Some(Input::ShardEnded { shard, failure });
            }
            BrowserEvent::WindowChanged { window } => {
                let session = self.world.session_of(&window)?;
                return Some(Input::WindowChanged { session });
            }
            BrowserEvent::WindowCrashed { window } => (window, Loss::Crashed),
            BrowserEvent::WindowEmptied { window } => (window, Loss::Emptied),
        };
        let session = self.world.session_of(&window)?;
        Some(Input::WindowLost { session, shard, loss })
    }

    fn step(&mut self, input: Input) {
        let (mut changed, mut notices) = (Vec::new(), Vec::new());
        for action in self.rules.step(self.clock.now(), input) {
            match action {
                Action::StartShard { shard, launch, isolation } => {
                    self.world.start_shard(shard, launch, isolation, self.clock.now());
                }
                Action::Save { session, ticket } => self.world.save(session, ticket, self.clock.now()),
                Action::StopShard { shard } => self.world.stop_shard(shard),
                Action::OpenWindow { session, ticket, shard } => {
                    if let Some(details) = self.details.get(&session) {
                        self.world.open(session, ticket, shard, details.window.clone());
                    }
                }
                Action::Freeze { session, ticket } => self.world.freeze(session, ticket),
                Action::Thaw { session, ticket } => self.world.thaw(session, ticket),
                Action::CloseWindow { session, ticket } => self.world.close(session, ticket),
                Action::Begin { session, ticket, activity } => {
                    let tried_at = self.rules.session(session).and_then(|session| session.tried_at);
                    if let Some(details) = self.details.get(&session) {
                        self.world.begin(session, ticket, activity, details, tried_at);
                    }
                }
                Action::Answer { request, answer } => self.answer(request, answer),
                Action::Changed { session } => changed.push(session),
                Action::Forget { session } => {
                    self.details.remove(&session);
                    self.unwritten.remove(&session);
                    if self.written.remove(&session).is_some() {
                        self.scribe.write(Writ::Forgotten(vec![Uuid::from_u128(session.0)]));
                    }
                    changed.push(session);
                }
                Action::Announce(notice) => notices.push(notice),
            }
        }
        self.publish(&changed);
        // Whoever hears of something and looks must see it.
        for notice in notices {
            let name = self.rules.session(notice.session).and_then(|session| session.name.clone());
            self.events.announce(&notice, name, timestamp(self.clock.now()));
        }
        self.note_unwritten(&changed);
        if !self.replies.is_empty() {
            self.flush();
        }
    }

    fn answer(&mut self, request: RequestId, answer: Result<Answer, Refusal>) {
        let Some(pending) = self.pending.remove(&request) else { return };
        if let (Some(tags), Ok(_)) = (pending.tags, &answer)
            && let Some(details) = self.details.get_mut(&pending.session)
        {
            details.tags = tags;
            self.unwritten.insert(pending.session);
        }
        if let (Some(owner), Ok(Answer::Hold { hold, .. })) = (pending.owner, &answer)
            && let Some(details) = self.details.get_mut(&pending.session)
        {
            details.owners.insert(*hold, owner);
        }
        let reply = answer.clone().map_err(Refused::ByRules).and_then(|answer| match answer {
            Answer::Session { session, is_new } => {
                let published = self.published(session).ok_or(Refused::ByRules(Refusal::NotFound))?;
                Ok(Reply::Session(Box::new(published.now()), is_new))
            }
            Answer::Hold { hold, expires_at } => Ok(Reply::Hold(hold, expires_at)),
            Answer::MayUse => {
                let using = self.world.window(pending.session).map(|window| Using {
                    window: window.window.clone(),
                    session: pending.session,
                    messages: self.messages.clone(),
                });
                using.map(Reply::Using).ok_or(Refused::ByRules(Refusal::NotFound))
            }
            Answer::Done => Ok(Reply::Done),
        });
        // An order that did not become a session leaves nothing behind.
        if self.rules.session(pending.session).is_none() && !self.pending_for(pending.session) {
            self.details.remove(&pending.session);
        }
        if pending.is_lasting && reply.is_ok() {
            return self.replies.push((pending.reply, reply, pending.session));
        }
        let unused = matches!(answer, Ok(Answer::MayUse)) && reply.is_err();
        // Whoever asked may be gone. A loan that nobody takes ends by being dropped.
        drop(pending.reply.send(reply));
        if unused {
            self.step(Input::EndUse { session: pending.session });
        }
    }

    fn pending_for(&self, session: SessionId) -> bool {
        self.pending.values().any(|pending| pending.session == session)
    }

    fn published(&self, id: SessionId) -> Option<Published> {
        let session = self.rules.session(id)?;
        let failure_url = self.events.failure_url(Uuid::from_u128(id.0));
        let window = self.world.window(id).cloned();
        Some(Published::new(session, self.details.get(&id)?, window, self.address, failure_url))
    }

    fn publish(&mut self, changed: &[SessionId]) {
        let browsers = self.world.browsers();
        if changed.is_empty() && self.directory.borrow().browsers == browsers {
            return;
        }
        for id in changed {
            let Some((session, details)) = self.rules.session(*id).zip(self.details.get_mut(id)) else {
                continue;
            };
            details.owners.retain(|id, _| session.holds.iter().any(|hold| hold.id == *id));
            if session.ended.is_some() {
                details.forget_secrets();
            }
        }
        let updates: Vec<_> = changed.iter().map(|id| (*id, self.published(*id).map(Arc::new))).collect();
        self.directory.send_modify(|directory| {
            let directory = Arc::make_mut(directory);
            directory.generation += 1;
            directory.browsers = browsers;
            for (id, published) in updates {
                match published {
                    Some(published) => directory.sessions.insert(id.0, published),
                    None => directory.sessions.remove(&id.0),
                };
            }
        });
    }
}
