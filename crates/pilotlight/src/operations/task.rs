//! The task that owns an operation: it passes inputs to the rules and executes their actions.
//!
//! The result of a step is stored before its actions are executed. Only this task changes the operation; all others
//! read its published state.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pilotlight_api::{ErrorCode, EventKind, OperationDefinition, SessionState};
use pilotlight_core::{
    Operation, OperationAction as Act, OperationInput as In, OperationRefusal, Refusal, Stage,
};
use pilotlight_flow::placeholders::Values;
use pilotlight_flow::schema::{Action, Flow};
use pilotlight_store::operation::FaultRecord;
use pilotlight_store::{OperationRecord, StoreError};
use secrecy::SecretString;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinError;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::error::OperationError;
use super::phase::{PHASE_TIMEOUT, Phase, PhaseOutput, fault};
use super::{OperationView, OperationsInner, Request, record};
use crate::clock::reached;
use crate::config::Site;
use crate::keeper::{HoldTerms, Refused, Using};
use crate::sentence::with_sources;

/// How much longer a hold lasts than its operation, so that it is released and does not expire.
const HOLD_SLACK: Duration = Duration::from_secs(60);

/// Delay before storing the end of an operation is retried, and number of retries.
const RETRY: Duration = Duration::from_secs(5);
const MAX_RETRIES: usize = 720;

/// An order to a running or waiting operation.
#[derive(Debug)]
pub(super) enum Order {
    /// Continue with these additional inputs.
    Continue { inputs: BTreeMap<String, String>, request: Option<Request>, reply: Reply },
    /// Cancel the operation.
    Cancel { reply: Reply },
}

type Reply = oneshot::Sender<Result<(), OperationError>>;

/// The current definition of an operation in its site.
#[derive(Debug)]
pub(super) struct OperationPlan {
    pub(super) site: Arc<Site>,
    pub(super) definition: OperationDefinition,
    pub(super) flows: Vec<Flow>,
}

impl OperationPlan {
    /// Returns the inputs that each phase needs.
    pub(super) fn needs(&self) -> Vec<BTreeSet<String>> {
        self.definition.phases.iter().map(|phase| phase.needs.iter().cloned().collect()).collect()
    }

    /// Returns whether the operation starts by loading a page, so that loading the page beforehand loses nothing.
    fn loads_its_page(&self) -> bool {
        let first = self
            .flows
            .first()
            .and_then(|flow| flow.steps.iter().find(|step| !matches!(step.action, Action::SetViewport(_))));
        first.is_some_and(|step| matches!(step.action, Action::Navigate { .. }))
    }
}

type PhaseResult = Result<Result<(), FaultRecord>, JoinError>;

/// What the task waits for.
enum Happened {
    Input(In),
    PhaseEnded(PhaseResult),
    Order(Order),
    ClockSet,
}

/// A running phase, which is aborted when this is dropped.
struct Running {
    task: AbortOnDropHandle<Result<(), FaultRecord>>,
    output: Arc<Mutex<PhaseOutput>>,
}

/// The state of the task.
pub(super) struct OperationTask {
    operations: Arc<OperationsInner>,
    /// `None` if the site no longer has the operation.
    plan: Option<Arc<OperationPlan>>,
    rules: Operation,
    record: OperationRecord,
    view: watch::Sender<OperationView>,
    orders: mpsc::Receiver<Order>,
    /// The offset of the wall clock when the record was last stored, in milliseconds.
    written_ahead: i64,
    /// After a failed update of stored times: when it may be retried.
    rewrite_not_before: Instant,
    /// The window, while it is in use.
    using: Option<Using>,
    running: Option<Running>,
}

impl OperationTask {
    pub(super) fn new(
        operations: Arc<OperationsInner>,
        plan: Option<Arc<OperationPlan>>,
        record: OperationRecord,
        view: watch::Sender<OperationView>,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        let rules = record::recall(&record);
        let rewrite_not_before = Instant::now();
        Self {
            operations,
            plan,
            rules,
            record,
            view,
            orders,
            written_ahead: 0,
            rewrite_not_before,
            using: None,
            running: None,
        }
    }

    /// Starts the operation and runs it to its end.
    pub(super) async fn begin(mut self) {
        if let Err(error) = self.prepare().await {
            self.operations.forget(&[self.record.id]);
            self.view.send_replace(OperationView::Refused(error));
            return;
        }
        let names = self.record.inputs.keys().cloned().collect();
        // An operation that has not started cannot refuse this.
        drop(self.step(In::Continue(names)).await);
        self.stay().await;
    }

    /// Resumes an operation of an earlier server.
    pub(super) async fn resume(mut self) {
        drop(self.step(In::Resumed).await);
        if self.plan.is_none() && matches!(self.rules.stage(), Stage::Waiting { .. }) {
            let message = "the operation was changed in or removed from its site".to_owned();
            self.record.fault = Some(fault(None, ErrorCode::OperationEnded, message));
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

    /// Returns the description of the hold.
    fn owner(&self) -> Option<String> {
        Some(format!("operation {}", self.record.operation))
    }

    fn now(&self) -> pilotlight_core::Moment {
        self.operations.keeper.clock().now()
    }

    /// Handles events until the operation has ended.
    async fn stay(mut self) {
        let operations = Arc::clone(&self.operations);
        let ended = operations.keeper.until_ended(self.record.session);
        tokio::pin!(ended);
        while !matches!(self.rules.stage(), Stage::Ended { .. }) {
            let expires_at = match self.rules.stage() {
                Stage::Waiting { expires_at, .. } => Some(operations.keeper.clock().instant(*expires_at)),
                _ => None,
            };
            let (ahead, not_before) = (self.written_ahead, self.rewrite_not_before);
            let clock_set = async {
                sleep_until(not_before).await;
                operations.keeper.clock().set_since(ahead).await
            };
            let phase_ended = async {
                match &mut self.running {
                    Some(running) => (&mut running.task).await,
                    None => pending().await,
                }
            };
            let happened = tokio::select! {
                biased;
                // If a phase is running, the next server marks it as interrupted.
                () = operations.stop.cancelled() => return,
                () = &mut ended => Happened::Input(In::SessionEnded),
                result = phase_ended => Happened::PhaseEnded(result),
                Some(order) = self.orders.recv() => Happened::Order(order),
                () = reached(expires_at) => Happened::Input(In::Tick),
                _ = clock_set, if expires_at.is_some() => Happened::ClockSet,
            };
            match happened {
                // If it has ended in the meantime, nothing follows.
                Happened::Input(input) => drop(self.step(input).await),
                Happened::PhaseEnded(result) => self.phase_ended(result).await,
                Happened::Order(order) => self.follow(order).await,
                // The next server must find the remaining waiting time.
                Happened::ClockSet => {
                    if self.write_down().await.is_err() {
                        self.rewrite_not_before = Instant::now() + RETRY;
                    }
                }
            }
        }
    }

    async fn follow(&mut self, order: Order) {
        let (reply, result) = match order {
            Order::Continue { inputs, request, reply } => (reply, self.go_on(inputs, request).await),
            Order::Cancel { reply } => (reply, self.step(In::Cancel).await),
        };
        // The client may have disconnected.
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
        // Before anything changes: if the window is not available, the operation keeps its place.
        self.hold_for(Duration::from_millis(self.record.timeout_ms)).await?;
        self.using = Some(self.operations.keeper.window(self.record.session).await?);
        let names = inputs.keys().cloned().collect();
        self.record.inputs.extend(inputs);
        self.record.requests.extend(request.map(|request| (request.key, request.digest)));
        self.step(In::Continue(names)).await
    }

    /// Has the session signed in, places a hold on it, and takes a lease on its window.
    async fn prepare(&mut self) -> Result<(), OperationError> {
        let (keeper, session) = (&self.operations.keeper, self.record.session);
        let stands = keeper.published(session).map(|published| published.now());
        // A failed sign-in is not retried here: otherwise every requested operation would be an attempt.
        let needs_person = |state, attention: Option<String>| match state {
            SessionState::NeedsAttention => Err(OperationError::NeedsPerson(attention.unwrap_or_default())),
            _ => Ok(()),
        };
        stands.map_or(Ok(()), |session| needs_person(session.state, session.attention))?;
        if self.plan.as_ref().is_some_and(|plan| plan.loads_its_page()) {
            // The portal may have signed the session out since the last refresh, and the page does not show it.
            match keeper.refresh(session).await {
                Ok(session) => needs_person(session.state, session.attention)?,
                Err(Refused::ByRules(Refusal::InUse)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let (hold, _) =
            keeper.hold(session, HoldTerms::shared(PHASE_TIMEOUT + HOLD_SLACK, self.owner())).await?;
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

    /// Passes an input to the rules and executes their actions.
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
        let mut unrecorded = None;
        for action in actions {
            match action {
                Act::Record => unrecorded = self.write_down().await.err(),
                // After a crash, the start of the phase would be unknown.
                Act::Run(_) if unrecorded.is_some() => {
                    let code = unrecorded.unwrap_or(ErrorCode::Internal);
                    let message = "the start of the phase could not be stored".to_owned();
                    self.record.fault = Some(fault(None, code, message));
                    return Box::pin(self.step(In::NotRecorded)).await;
                }
                Act::Run(phase) => self.run(phase),
                Act::Release => self.release().await,
            }
        }
        if let Some(code) = unrecorded {
            match self.rules.stage() {
                // The client must not wait for something that the next server does not know.
                Stage::Waiting { .. } => {
                    let message = "the operation's waiting state could not be stored".to_owned();
                    self.record.fault = Some(fault(None, code, message));
                    return Box::pin(self.step(In::NotRecorded)).await;
                }
                Stage::Ended { .. } => self.write_down_later(),
                Stage::Running { .. } => {}
            }
        }
        if *self.rules.stage() != before {
            self.announce();
        }
        self.show();
        Ok(())
    }

    async fn write_down(&mut self) -> Result<(), ErrorCode> {
        record::note(&mut self.record, self.rules.stage());
        let ahead = self.operations.keeper.clock().ahead();
        let written = self.operations.store.save_operation(record::in_wall_time(&self.record)).await;
        if written.is_ok() {
            self.written_ahead = ahead;
        }
        written.map_err(|error| {
            let code = match &error {
                StoreError::Full { .. } => ErrorCode::StorageFull,
                error if error.is_passing() => ErrorCode::StorageFailed,
                _ => ErrorCode::Internal,
            };
            let (operation_id, error) = (self.record.id, with_sources(&error));
            tracing::error!(%operation_id, error, "failed to store an operation");
            code
        })
    }

    /// Storing the end is retried many times. What was done at the portal cannot be undone, so the end is reported in
    /// any case.
    fn write_down_later(&self) {
        let (store, record, stop) =
            (self.operations.store.clone(), self.record.clone(), self.operations.stop.clone());
        tokio::spawn(async move {
            for _ in 0..MAX_RETRIES {
                if stop.run_until_cancelled(sleep(RETRY)).await.is_none() {
                    return;
                }
                match store.save_operation(record::in_wall_time(&record)).await {
                    Err(error) if error.is_passing() => {}
                    _ => return,
                }
            }
        });
    }

    fn run(&mut self, index: usize) {
        let output = Arc::<Mutex<PhaseOutput>>::default();
        let task = match (&self.plan, &self.using) {
            (Some(plan), Some(using)) => {
                let (values, folder) = (self.values(), self.operations.folder(self.record.id));
                let phase =
                    Phase { index, plan: Arc::clone(plan), values, folder, output: Arc::clone(&output) };
                tokio::spawn(phase.run(using.window.clone()))
            }
            _ => tokio::spawn(async {
                Err(fault(
                    None,
                    ErrorCode::Internal,
                    "the operation has no definition or no window".to_owned(),
                ))
            }),
        };
        self.running = Some(Running { task: AbortOnDropHandle::new(task), output });
    }

    fn values(&self) -> Values {
        let mut values = Values::new();
        let optional = self.plan.iter().flat_map(|plan| &plan.definition.optional);
        let given = optional.chain(&self.record.inputs);
        for (name, value) in given {
            values.insert(name, SecretString::from(value.clone()));
        }
        values
    }

    async fn phase_ended(&mut self, result: PhaseResult) {
        let is_signed_out = self.take_in();
        let result = result.unwrap_or_else(|_| {
            Err(fault(None, ErrorCode::Internal, "an internal error ended the phase".to_owned()))
        });
        let is_through = result.is_ok();
        self.record.fault = result.err();
        drop(self.step(In::PhaseEnded(is_through)).await);
        if is_signed_out {
            // Done in the background: the session returns to its previous state, or asks for a person.
            let (keeper, session) = (self.operations.keeper.clone(), self.record.session);
            tokio::spawn(async move { drop(keeper.refresh(session).await) });
        }
    }

    /// Adds the output of the ended phase to the operation. Returns whether the phase found the session signed out.
    fn take_in(&mut self) -> bool {
        let Some(running) = self.running.take() else { return false };
        let output = take(&mut *running.output.lock());
        self.record.outputs.extend(output.outputs);
        self.record.downloads.extend(output.downloads);
        self.record.screenshots.extend(output.screenshots);
        output.is_signed_out
    }

    /// Extends the hold to the end of the operation plus some slack. If the hold no longer exists, places a new one.
    async fn hold_for(&mut self, span: Duration) -> Result<(), Refused> {
        let (keeper, session) = (&self.operations.keeper, self.record.session);
        match keeper.extend_hold(session, self.record.hold, span + HOLD_SLACK).await {
            Err(Refused::ByRules(Refusal::HoldNotFound)) => {
                (self.record.hold, _) =
                    keeper.hold(session, HoldTerms::shared(span + HOLD_SLACK, self.owner())).await?;
                Ok(())
            }
            extended => extended.map(drop),
        }
    }

    fn cannot_hold(&self, error: &Refused) {
        let operation_id = self.record.id;
        tracing::warn!(%operation_id, %error, "an operation continues without holding its session");
    }

    async fn release(&mut self) {
        self.using = None;
        let released = self.operations.keeper.release_hold(self.record.session, self.record.hold).await;
        if let Err(error) = released {
            // The session may have ended.
            tracing::debug!(operation_id = %self.record.id, %error, "failed to release a hold");
        }
    }

    fn show(&self) {
        self.view.send_replace(OperationView::Started(Arc::new(self.record.clone())));
    }

    fn announce(&self) {
        let OperationRecord { session, operation, phase, needs, .. } = &self.record;
        let (number, total) = (phase + 1, needs.len());
        let (kind, reason, message) = match self.rules.stage() {
            Stage::Running { .. } => {
                let message = format!("phase {number} of {total} of `{operation}` started");
                (EventKind::OperationStarted, "phase_begins", message)
            }
            Stage::Waiting { .. } => {
                let missing = self.rules.missing().join("`, `");
                let message = format!("`{operation}` waits for `{missing}`");
                (EventKind::OperationNeedsInput, "needs_input", message)
            }
            Stage::Ended { ending, .. } => {
                let word = record::word(*ending);
                (EventKind::OperationEnded, word, format!("`{operation}` ended: {}", word.replace('_', " ")))
            }
        };
        self.operations.keeper.announce(*session, kind, reason, message);
    }
}
