//! The task that owns one operation: it asks the rules, and does what they say.
//!
//! What follows from a step is written down before it begins. Nobody else changes the operation; everybody
//! else reads what is shown of it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::mem::take;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pilotlight_api::{ErrorCode, EventKind, OperationDefinition, SessionState};
use pilotlight_core::{
    Operation, OperationAction as Act, OperationInput as In, OperationRefusal, Refusal, Stage,
};
use pilotlight_flow::placeholders::Values;
use pilotlight_flow::schema::{Action, Flow};
use pilotlight_store::OperationRecord;
use pilotlight_store::operation::FaultRecord;
use secrecy::SecretString;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until};

use super::error::OperationError;
use super::phase::{Made, PHASE_TIMEOUT, Phase, fault};
use super::{Desk, Request, Shown, record};
use crate::config::Site;
use crate::keeper::{Refused, Using};
use crate::sentence::with_sources;

/// How much longer than its operation a hold lasts, so that it is given back and does not run out.
const HOLD_SLACK: Duration = Duration::from_secs(60);

/// How long the portal may take to answer that somebody is still there.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a client wants of an operation that is on its way.
#[derive(Debug)]
pub(super) enum Order {
    /// Go on with these inputs too.
    Continue { inputs: BTreeMap<String, String>, request: Option<Request>, reply: Reply },
    /// Give it up.
    Cancel { reply: Reply },
}

type Reply = oneshot::Sender<Result<(), OperationError>>;

/// What is to be done: the operation as its site has it today.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) site: Arc<Site>,
    pub(super) definition: OperationDefinition,
    pub(super) flows: Vec<Flow>,
}

impl Work {
    /// What each phase needs.
    pub(super) fn needs(&self) -> Vec<BTreeSet<String>> {
        self.definition.phases.iter().map(|phase| phase.needs.iter().cloned().collect()).collect()
    }

    /// What the portal is asked for so that it does not sign out whoever waits.
    fn keep_alive_url(&self) -> &str {
        let site = &self.site.definition;
        site.refresh.url.as_ref().unwrap_or(&site.start_url)
    }

    /// Whether it begins by loading a page, so that nothing is lost where the page is loaded before.
    fn loads_its_page(&self) -> bool {
        let first = self
            .flows
            .first()
            .and_then(|flow| flow.steps.iter().find(|step| !matches!(step.action, Action::SetViewport(_))));
        first.is_some_and(|step| matches!(step.action, Action::Navigate { .. }))
    }
}

type PhaseResult = Result<Result<(), FaultRecord>, JoinError>;

/// What an operation's clerk waits for.
enum Happened {
    Input(In),
    PhaseEnded(PhaseResult),
    Order(Order),
    KeepAlive,
}

async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// A phase that runs.
struct Running {
    task: JoinHandle<Result<(), FaultRecord>>,
    made: Arc<Mutex<Made>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The task's own state.
pub(super) struct Clerk {
    desk: Arc<Desk>,
    /// Of one whose site no longer has it, there is none.
    work: Option<Arc<Work>>,
    rules: Operation,
    record: OperationRecord,
    shown: watch::Sender<Shown>,
    orders: mpsc::Receiver<Order>,
    /// The window, while it is worked in.
    using: Option<Using>,
    running: Option<Running>,
}

impl Clerk {
    pub(super) fn new(
        desk: Arc<Desk>,
        work: Option<Arc<Work>>,
        record: OperationRecord,
        shown: watch::Sender<Shown>,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        let rules = record::recall(&record);
        Self { desk, work, rules, record, shown, orders, using: None, running: None }
    }

    /// Begins the operation and stays with it to its end.
    pub(super) async fn begin(mut self) {
        if let Err(error) = self.prepare().await {
            self.desk.forget(&[self.record.id]);
            self.shown.send_replace(Shown::Refused(error));
            return;
        }
        let names = self.record.inputs.keys().cloned().collect();
        // One that has not begun cannot refuse.
        drop(self.step(In::Continue(names)).await);
        self.stay().await;
    }

    /// Takes up an operation that an earlier server has left.
    pub(super) async fn resume(mut self) {
        drop(self.step(In::Resumed).await);
        if self.work.is_none() && matches!(self.rules.stage(), Stage::Waiting { .. }) {
            let sentence = "its site no longer has the operation as it was begun".to_owned();
            self.record.fault = Some(fault(None, ErrorCode::OperationEnded, sentence));
            drop(self.step(In::Cancel).await);
        }
        tokio::spawn(async move {
            if let Stage::Waiting { expires_at, .. } = *self.rules.stage() {
                let left = expires_at.since(self.now());
                self.hold_for(left).await.unwrap_or_else(|error| self.cannot_hold(&error));
            }
            self.stay().await;
        });
    }

    /// Who holds the session while it is on its way.
    fn owner(&self) -> Option<String> {
        Some(format!("operation {}", self.record.operation))
    }

    fn now(&self) -> pilotlight_core::Moment {
        self.desk.keeper.clock().now()
    }

    /// Waits for whatever happens next until it is over.
    async fn stay(mut self) {
        let desk = Arc::clone(&self.desk);
        let ended = desk.keeper.until_ended(self.record.session);
        tokio::pin!(ended);
        let mut heard_at = Instant::now();
        while !matches!(self.rules.stage(), Stage::Ended { .. }) {
            let expires_at = match self.rules.stage() {
                Stage::Waiting { expires_at, .. } => Some(desk.keeper.clock().instant(*expires_at)),
                _ => None,
            };
            let keep_alive_at = self.keep_alive_interval().map(|interval| heard_at + interval);
            let phase_ended = async {
                match &mut self.running {
                    Some(running) => (&mut running.task).await,
                    None => pending().await,
                }
            };
            let happened = tokio::select! {
                biased;
                // Of a phase that runs now, the next server says that it was interrupted.
                () = desk.stop.cancelled() => return,
                () = &mut ended => Happened::Input(In::SessionEnded),
                result = phase_ended => Happened::PhaseEnded(result),
                Some(order) = self.orders.recv() => Happened::Order(order),
                () = reached(expires_at) => Happened::Input(In::Tick),
                () = reached(keep_alive_at) => Happened::KeepAlive,
            };
            heard_at = Instant::now();
            match happened {
                // Where it is over meanwhile, nothing follows.
                Happened::Input(input) => drop(self.step(input).await),
                Happened::PhaseEnded(result) => self.phase_ended(result).await,
                Happened::Order(order) => self.follow(order).await,
                Happened::KeepAlive => self.keep_alive(),
            }
        }
    }

    /// How often the portal hears of a session that waits: as often as it would without the operation, whose hold
    /// keeps it from being refreshed.
    fn keep_alive_interval(&self) -> Option<Duration> {
        matches!(self.rules.stage(), Stage::Waiting { .. }).then_some(())?;
        let session = self.desk.keeper.published(self.record.session)?.now();
        Some(Duration::from_secs(session.refresh_interval)).filter(|interval| !interval.is_zero())
    }

    /// Asks the portal for something from inside the page, which does not notice.
    fn keep_alive(&self) {
        let window = self.desk.keeper.published(self.record.session).and_then(|it| it.window().cloned());
        let Some((window, work)) = window.zip(self.work.clone()) else { return };
        let operation_id = self.record.id;
        tokio::spawn(async move {
            if let Err(error) = window.request(work.keep_alive_url(), KEEP_ALIVE_TIMEOUT).await {
                tracing::debug!(%operation_id, %error, "the portal did not hear of an operation that waits");
            }
        });
    }

    async fn follow(&mut self, order: Order) {
        let (reply, result) = match order {
            Order::Continue { inputs, request, reply } => (reply, self.go_on(inputs, request).await),
            Order::Cancel { reply } => (reply, self.step(In::Cancel).await),
        };
        // Whoever asked may be gone.
        drop(reply.send(result));
    }

    async fn go_on(
        &mut self,
        inputs: BTreeMap<String, String>,
        request: Option<Request>,
    ) -> Result<(), OperationError> {
        if let Some(Request { key, digest }) = &request
            && let Some(known) = self.record.requests.get(key)
        {
            return if known == digest { Ok(()) } else { Err(OperationError::KeyReused) };
        }
        if matches!(self.rules.stage(), Stage::Running { .. }) {
            return Err(OperationError::Running);
        }
        // Before anything is changed: where the window cannot be had, it keeps its place.
        self.hold_for(Duration::from_millis(self.record.timeout_ms)).await?;
        self.using = Some(self.desk.keeper.window(self.record.session).await?);
        let names = inputs.keys().cloned().collect();
        self.record.inputs.extend(inputs);
        self.record.requests.extend(request.map(|request| (request.key, request.digest)));
        self.step(In::Continue(names)).await
    }

    /// Has the session signed in, takes hold of it and borrows its window.
    async fn prepare(&mut self) -> Result<(), OperationError> {
        let (keeper, session) = (&self.desk.keeper, self.record.session);
        let stands = keeper.published(session).map(|published| published.now());
        // Its sign-in is not tried again for this: each operation that is asked for would be a try.
        let needs_person = |state, attention: Option<String>| match state {
            SessionState::NeedsAttention => Err(OperationError::NeedsPerson(attention.unwrap_or_default())),
            _ => Ok(()),
        };
        stands.map_or(Ok(()), |session| needs_person(session.state, session.attention))?;
        if self.work.as_ref().is_some_and(|work| work.loads_its_page()) {
            // The portal may have signed it out since it was last asked, and its page does not show that.
            match keeper.refresh(session).await {
                Ok(session) => needs_person(session.state, session.attention)?,
                Err(Refused::ByRules(Refusal::InUse)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let (hold, _) = keeper.hold(session, PHASE_TIMEOUT + HOLD_SLACK, true, self.owner()).await?;
        self.record.hold = hold;
        match keeper.window(session).await {
            Ok(using) => self.using = Some(using),
            Err(error) => {
                self.release().await;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Tells the rules, and does what follows.
    async fn step(&mut self, input: In) -> Result<(), OperationError> {
        let before = self.rules.stage().clone();
        let actions = self.rules.step(self.now(), input).map_err(|refusal| match refusal {
            OperationRefusal::Running => OperationError::Running,
            OperationRefusal::Ended(ending) => OperationError::Ended(record::word(ending)),
        })?;
        let span = match self.rules.stage() {
            Stage::Running { .. } => Some(PHASE_TIMEOUT),
            Stage::Waiting { .. } => Some(Duration::from_millis(self.record.timeout_ms)),
            Stage::Ended { .. } => None,
        };
        if !matches!(self.rules.stage(), Stage::Running { .. }) {
            self.take_in();
            self.using = None;
        }
        if let Some(span) = span.filter(|_| *self.rules.stage() != before) {
            self.hold_for(span).await.unwrap_or_else(|error| self.cannot_hold(&error));
        }
        let mut is_recorded = true;
        for action in actions {
            match action {
                Act::Record => is_recorded = self.write_down().await,
                // Nobody would know that it has begun.
                Act::Run(_) if !is_recorded => {
                    let sentence = "that the phase begins could not be written down".to_owned();
                    self.record.fault = Some(fault(None, ErrorCode::Internal, sentence));
                    return Box::pin(self.step(In::PhaseEnded(false))).await;
                }
                Act::Run(phase) => self.run(phase),
                Act::Release => self.release().await,
            }
        }
        if *self.rules.stage() != before {
            self.announce();
        }
        self.show();
        Ok(())
    }

    async fn write_down(&mut self) -> bool {
        record::note(&mut self.record, self.rules.stage());
        match self.desk.archive.save_operation(self.record.clone()).await {
            Ok(()) => true,
            Err(error) => {
                let (operation_id, error) = (self.record.id, with_sources(&error));
                tracing::error!(%operation_id, error, "an operation could not be written down");
                false
            }
        }
    }

    fn run(&mut self, index: usize) {
        let made = Arc::<Mutex<Made>>::default();
        let task = match (&self.work, &self.using) {
            (Some(work), Some(using)) => {
                let (values, folder) = (self.values(), self.desk.folder(self.record.id));
                let phase = Phase { index, work: Arc::clone(work), values, folder, made: Arc::clone(&made) };
                tokio::spawn(phase.run(using.window.clone()))
            }
            _ => tokio::spawn(async {
                Err(fault(None, ErrorCode::Internal, "there is nothing to run, or nowhere".to_owned()))
            }),
        };
        self.running = Some(Running { task, made });
    }

    fn values(&self) -> Values {
        let mut values = Values::new();
        let optional = self.work.iter().flat_map(|work| &work.definition.optional);
        let given = optional.chain(&self.record.inputs);
        for (name, value) in given {
            values.insert(name, SecretString::from(value.clone()));
        }
        values
    }

    async fn phase_ended(&mut self, result: PhaseResult) {
        let is_signed_out = self.take_in();
        let result = result.unwrap_or_else(|_| {
            Err(fault(None, ErrorCode::Internal, "a fault in Pilotlight ended the phase".to_owned()))
        });
        let is_through = result.is_ok();
        self.record.fault = result.err();
        drop(self.step(In::PhaseEnded(is_through)).await);
        if is_signed_out {
            // Nobody waits for this: the session is to be what it was before, or to ask for a person.
            let (keeper, session) = (self.desk.keeper.clone(), self.record.session);
            tokio::spawn(async move { drop(keeper.refresh(session).await) });
        }
    }

    /// What the phase that ran has made belongs to the operation. Gives whether it found the session signed out.
    fn take_in(&mut self) -> bool {
        let Some(running) = self.running.take() else { return false };
        let made = take(&mut *running.made.lock().unwrap_or_else(PoisonError::into_inner));
        self.record.outputs.extend(made.outputs);
        self.record.downloads.extend(made.downloads);
        self.record.screenshots.extend(made.screenshots);
        made.is_signed_out
    }

    /// The hold does not run out for so long, and then a little. One that is gone is taken anew.
    async fn hold_for(&mut self, span: Duration) -> Result<(), Refused> {
        let (keeper, session) = (&self.desk.keeper, self.record.session);
        match keeper.extend_hold(session, self.record.hold, span + HOLD_SLACK).await {
            Err(Refused::ByRules(Refusal::HoldNotFound)) => {
                (self.record.hold, _) = keeper.hold(session, span + HOLD_SLACK, true, self.owner()).await?;
                Ok(())
            }
            extended => extended.map(drop),
        }
    }

    fn cannot_hold(&self, error: &Refused) {
        let operation_id = self.record.id;
        tracing::warn!(%operation_id, %error, "an operation goes on without holding its session");
    }

    async fn release(&mut self) {
        self.using = None;
        let released = self.desk.keeper.release_hold(self.record.session, self.record.hold).await;
        if let Err(error) = released {
            // The session may have ended.
            tracing::debug!(operation_id = %self.record.id, %error, "a hold was not given back");
        }
    }

    fn show(&self) {
        self.shown.send_replace(Shown::Stands(Arc::new(self.record.clone())));
    }

    fn announce(&self) {
        let OperationRecord { session, operation, phase, needs, .. } = &self.record;
        let (number, total) = (phase + 1, needs.len());
        let (kind, reason, sentence) = match self.rules.stage() {
            Stage::Running { .. } => {
                let sentence = format!("phase {number} of {total} of `{operation}` begins");
                (EventKind::OperationStarted, "phase_begins", sentence)
            }
            Stage::Waiting { .. } => {
                let missing = self.rules.missing().join("`, `");
                let sentence = format!("`{operation}` waits for `{missing}`");
                (EventKind::OperationNeedsInput, "needs_input", sentence)
            }
            Stage::Ended { ending, .. } => {
                let word = record::word(*ending);
                (
                    EventKind::OperationEnded,
                    word,
                    format!("`{operation}` is over: {}", word.replace('_', " ")),
                )
            }
        };
        self.desk.keeper.announce(*session, kind, reason, sentence);
    }
}
