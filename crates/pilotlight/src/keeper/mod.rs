//! The keeper: one task that owns the truth about all sessions.
//!
//! Clients send orders, workers send reports; both become inputs of the rules, and the actions that follow
//! are handed to the [`world`]. Everybody else reads what is published. The keeper never waits for IO and
//! never decides: the rules do.

mod clock;
mod details;
mod errand;
mod events;
mod farm;
mod handle;
mod live;
mod message;
mod using;
mod world;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use pilotlight_chromium::BrowserEvent;
use pilotlight_core::{
    Action, Answer, Failure, FailureKind, Input, Limits, Loss, Refusal, RequestId, Rules, SessionId, ShardId,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub use clock::{Clock, timestamp};
pub use details::{Details, Published, ended_reason};
pub use errand::Errand;
pub use events::Events;
pub use farm::{Farm, FarmError, FarmOptions};
pub use handle::{Directory, KeeperHandle};
pub use message::{Refused, Reply};
pub use using::Using;

use message::{Kept, Message, ReplySender, Report};
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
    world: World,
    details: BTreeMap<SessionId, Details>,
    pending: HashMap<RequestId, Pending>,
    last_request: u64,
    directory: watch::Sender<Arc<Directory>>,
    events: Events,
    /// For loans, which come back as messages.
    messages: mpsc::Sender<Message>,
}

/// A client that waits for its answer.
struct Pending {
    reply: ReplySender,
    session: SessionId,
    tags: Option<BTreeMap<String, String>>,
}

/// Starts the keeper. It runs until `stop`, then ends every browser and finishes.
pub fn start(
    limits: Limits,
    seed: u64,
    farm: Arc<Farm>,
    stop: CancellationToken,
) -> (KeeperHandle, tokio::task::JoinHandle<()>) {
    let clock = Clock::start();
    let (messages, orders) = mpsc::channel(MAX_MESSAGES);
    let (report, reports) = mpsc::channel(MAX_REPORTS);
    let (directory, watched) = watch::channel(Arc::default());
    let events = Events::new();
    let keeper = Keeper {
        clock,
        rules: Rules::new(limits, seed, clock.now()),
        world: World::new(farm, report),
        details: BTreeMap::new(),
        pending: HashMap::new(),
        last_request: 0,
        directory,
        events: events.clone(),
        messages: messages.clone(),
    };
    let task = tokio::spawn(keeper.run(orders, reports, stop));
    (KeeperHandle::new(messages, watched, events, clock), task)
}

impl Keeper {
    async fn run(
        mut self,
        mut orders: mpsc::Receiver<Message>,
        mut reports: mpsc::Receiver<Report>,
        stop: CancellationToken,
    ) {
        loop {
            let deadline = self.rules.next_deadline(self.clock.now());
            let wake = deadline.map_or_else(|| Instant::now() + IDLE, |at| self.clock.instant(at));
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(report) = reports.recv() => self.report(report),
                message = orders.recv() => match message {
                    Some(message) => self.message(message),
                    None => break,
                },
                () = sleep_until(wake) => self.step(Input::Tick),
            }
        }
        for (_, pending) in self.pending.drain() {
            drop(pending.reply.send(Err(Refused::Stopping)));
        }
        drop(reports);
        self.world.shut_down().await;
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::UseEnded { session } => self.step(Input::EndUse { session }),
            Message::Order { session, order, reply } => {
                let request = self.next_request();
                let mut kept = Kept::default();
                let input = order.into_input(request, session, &mut kept);
                if let Some(details) = kept.details {
                    self.details.insert(session, *details);
                }
                self.pending.insert(request, Pending { reply, session, tags: kept.tags });
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
            Report::ActivityEnded { session, ticket, outcome } => {
                Input::ActivityEnded { session, ticket, outcome }
            }
        };
        self.step(input);
    }

    fn browser_event(&mut self, shard: ShardId, event: BrowserEvent) -> Option<Input> {
        let (window, loss) = match event {
            BrowserEvent::Exited { status, stderr } => {
                // A browser that was told to end has left the world before it ends.
                let unexpected = self.world.shard_ended(shard);
                if !unexpected {
                    return None;
                }
                tracing::warn!(shard = shard.0, %status, ?stderr, "a browser ended by itself");
                let sentence = format!("the browser ended: {status}");
                let failure = Some(Failure { kind: FailureKind::Browser, sentence });
                return Some(Input::ShardEnded { shard, failure });
            }
            BrowserEvent::WindowCrashed { window } => (window, Loss::Crashed),
            BrowserEvent::WindowEmptied { window } => (window, Loss::Emptied),
        };
        let session = self.world.session_of(&window)?;
        Some(Input::WindowLost { session, shard, loss })
    }

    fn step(&mut self, input: Input) {
        let mut changed = Vec::new();
        for action in self.rules.step(self.clock.now(), input) {
            match action {
                Action::StartShard { shard, launch, .. } => self.world.start_shard(shard, launch),
                Action::StopShard { shard } => self.world.stop_shard(shard),
                Action::OpenWindow { session, ticket, shard } => {
                    if let Some(details) = self.details.get(&session) {
                        self.world.open(session, ticket, shard, details.window.clone());
                    }
                }
                Action::CloseWindow { session, ticket } => self.world.close(session, ticket),
                Action::Begin { session, ticket, activity } => {
                    if let Some(details) = self.details.get(&session) {
                        self.world.begin(session, ticket, activity, Arc::clone(&details.errand));
                    }
                }
                Action::Answer { request, answer } => self.answer(request, answer),
                Action::Changed { session } => changed.push(session),
                Action::Forget { session } => {
                    self.details.remove(&session);
                    changed.push(session);
                }
                Action::Announce(notice) => {
                    let name = self.rules.session(notice.session).and_then(|session| session.name.clone());
                    self.events.announce(&notice, name, timestamp(self.clock.now()));
                }
            }
        }
        self.publish(&changed);
    }

    fn answer(&mut self, request: RequestId, answer: Result<Answer, Refusal>) {
        let Some(pending) = self.pending.remove(&request) else { return };
        if let (Some(tags), Ok(_)) = (pending.tags, &answer)
            && let Some(details) = self.details.get_mut(&pending.session)
        {
            details.tags = tags;
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
        let unused = matches!(answer, Ok(Answer::MayUse)) && reply.is_err();
        // Whoever asked may be gone. A loan that nobody takes ends by being dropped, a hold here.
        match pending.reply.send(reply) {
            Err(Ok(Reply::Hold(hold, _))) => {
                let request = self.next_request();
                self.step(Input::ReleaseHold { request, session: pending.session, hold });
            }
            _ if unused => self.step(Input::EndUse { session: pending.session }),
            _ => {}
        }
    }

    fn pending_for(&self, session: SessionId) -> bool {
        self.pending.values().any(|pending| pending.session == session)
    }

    fn published(&self, id: SessionId) -> Option<Published> {
        let session = self.rules.session(id)?;
        Some(Published::new(session, self.details.get(&id)?, self.world.window(id).cloned()))
    }

    fn publish(&mut self, changed: &[SessionId]) {
        if changed.is_empty() {
            return;
        }
        for id in changed {
            let ended = self.rules.session(*id).is_some_and(|session| session.ended.is_some());
            if let Some(details) = self.details.get_mut(id).filter(|_| ended) {
                details.forget_secrets();
            }
        }
        let updates: Vec<_> = changed.iter().map(|id| (*id, self.published(*id).map(Arc::new))).collect();
        self.directory.send_modify(|directory| {
            let directory = Arc::make_mut(directory);
            directory.generation += 1;
            for (id, published) in updates {
                match published {
                    Some(published) => directory.sessions.insert(id.0, published),
                    None => directory.sessions.remove(&id.0),
                };
            }
        });
    }
}
