//! Operations: the list of all operations, and requests to them.
//!
//! Each operation has its own [`task`], which alone changes it, by the rules of `core`. This module finds the task of
//! a request. It decides two things, under one lock: that a repeated request is not executed twice, and that a
//! session has only one operation at a time.

mod error;
mod folder;
mod phase;
mod record;
mod task;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::{Mutex, MutexGuard};
use pilotlight_api::{ContinueOperation, OperationAnswer, RunOperation, Seconds};
use pilotlight_store::files::Opened;
use pilotlight_store::operation::StageRecord;
use pilotlight_store::{DamagedRecord, OperationRecord, StoreError, StoreHandle};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use error::OperationError;

use crate::keeper::{KeeperHandle, Refused};
use crate::sentence::with_sources;
use crate::sites::Sites;
use folder::Folder;
pub use folder::Folders;
use task::{OperationPlan, OperationTask, Order};

/// Maximum size of all screenshots of ended operations, in bytes.
const MAX_PICTURES_BYTES: u64 = 2 << 30;
/// Maximum number of ended operations that are kept per session.
const MAX_REMEMBERED: usize = 50;
/// Delay before a failed update of stored times, after a change of the wall clock, is retried.
const RETRY: Duration = Duration::from_secs(5);
/// Maximum number of queued orders of one operation.
const MAX_ORDERS: usize = 16;

/// A request that must not be executed twice: the client's key, and a digest of the contents.
#[derive(Debug, Clone)]
struct Request {
    key: String,
    digest: String,
}

impl Request {
    fn new(key: String, what: &str, inputs: &BTreeMap<String, String>) -> Self {
        let said = serde_json::json!([what, inputs]).to_string();
        let digest = Sha256::digest(said.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { key, digest }
    }
}

/// The published state of an operation.
#[derive(Debug, Clone)]
enum OperationView {
    /// Its session is being prepared.
    Preparing,
    /// It was not started.
    Refused(OperationError),
    /// It was started; this is its current record.
    Started(Arc<OperationRecord>),
}

impl OperationView {
    fn is_settled(&self) -> bool {
        match self {
            Self::Preparing => false,
            Self::Refused(_) => true,
            Self::Started(record) => record.stage != StageRecord::Running,
        }
    }
}

/// An operation in the list.
#[derive(Debug)]
struct Known {
    session: Uuid,
    /// The requests that were executed, by an earlier server or this one.
    requests: BTreeMap<String, String>,
    plan: Option<Arc<OperationPlan>>,
    view: watch::Receiver<OperationView>,
    orders: mpsc::Sender<Order>,
}

impl Known {
    fn record(&self) -> Option<Arc<OperationRecord>> {
        match &*self.view.borrow() {
            OperationView::Started(record) => Some(Arc::clone(record)),
            OperationView::Preparing | OperationView::Refused(_) => None,
        }
    }

    fn is_over(&self) -> bool {
        match &*self.view.borrow() {
            OperationView::Preparing => false,
            OperationView::Refused(_) => true,
            OperationView::Started(record) => record::is_over(record),
        }
    }
}

/// The state that all operations share.
#[derive(Debug)]
struct OperationsInner {
    keeper: KeeperHandle,
    sites: Arc<Sites>,
    store: StoreHandle,
    folders: Folders,
    /// The address of the server, for URLs.
    address: SocketAddr,
    /// `sessions.operation_timeout`.
    timeout: Duration,
    /// `sessions.keep_pictures`.
    keep_pictures: Option<Duration>,
    stop: CancellationToken,
    known: Mutex<BTreeMap<Uuid, Known>>,
}

impl OperationsInner {
    fn known(&self) -> MutexGuard<'_, BTreeMap<Uuid, Known>> {
        self.known.lock()
    }

    fn forget(&self, operations: &[Uuid]) {
        self.known().retain(|id, _| !operations.contains(id));
    }

    /// Removes screenshots that are too old, and the oldest ones if all together are too large. Blocks.
    fn forget_old_pictures(&self) {
        let mut ended: Vec<_> = {
            let known = self.known();
            let records = known.values().filter_map(Known::record);
            records.filter_map(|record| Some((record::ended_at_ms(&record)?, record))).collect()
        };
        ended.sort_by_key(|(ended_at_ms, _)| *ended_at_ms);
        let pictures_of = |record: &OperationRecord| {
            let names = record.screenshots.iter().map(|screenshot| screenshot.name.clone()).collect();
            (self.folder(record.id), names)
        };
        let kept_since =
            self.keep_pictures.map(|keep| self.keeper.clock().now().0.saturating_sub(millis(keep)));
        let ended = ended.iter().map(|(ended_at_ms, record)| {
            let is_old = kept_since.is_some_and(|since| *ended_at_ms < since);
            let (folder, names) = pictures_of(record);
            (is_old, folder, names)
        });
        folder::forget_pictures(ended.collect(), MAX_PICTURES_BYTES);
    }

    fn folder(&self, operation: Uuid) -> Folder {
        self.folders.of(operation)
    }

    /// Returns an operation as it is currently defined in the session's site.
    fn plan(&self, session: Uuid, name: &str) -> Option<Arc<OperationPlan>> {
        let site = self.sites.get(&self.keeper.published(session)?.now().site?)?;
        let definition = site.definition.operations.get(name)?.clone();
        let flows = site.operations.get(name)?.clone();
        Some(Arc::new(OperationPlan { site, definition, flows }))
    }
}

/// All files of an operation, to be written as a ZIP archive.
#[derive(Debug)]
pub struct Bundle {
    folder: Folder,
    text: Vec<u8>,
    names: Vec<String>,
}

impl Bundle {
    /// Writes the archive. Blocks.
    ///
    /// # Errors
    /// Returns errors of reading and writing.
    pub fn write(&self, to: impl io::Write) -> io::Result<()> {
        self.folder.bundle(&self.text, &self.names, to)
    }
}

/// All operations. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Operations {
    inner: Arc<OperationsInner>,
}

impl Operations {
    /// Creates an empty list.
    #[must_use]
    #[expect(
        clippy::too_many_arguments,
        reason = "each is another part of the server, and it is called once"
    )]
    pub fn new(
        keeper: KeeperHandle,
        sites: Arc<Sites>,
        store: StoreHandle,
        folders: Folders,
        address: SocketAddr,
        timeout: Duration,
        keep_pictures: Option<Duration>,
        stop: CancellationToken,
    ) -> Self {
        let known = Mutex::default();
        let inner =
            OperationsInner { keeper, sites, store, folders, address, timeout, keep_pictures, stop, known };
        Self { inner: Arc::new(inner) }
    }

    /// Restores the operations of an earlier server: waiting ones keep waiting, and a running one is marked as
    /// interrupted. Returns the records that cannot be read.
    ///
    /// # Errors
    /// Returns an error if the store cannot be read.
    pub async fn resume(&self) -> Result<Vec<DamagedRecord>, StoreError> {
        let loaded = self.inner.store.operations().await?;
        join_all(loaded.operations.into_iter().map(|record| self.take_up(record).resume())).await;
        Ok(loaded.damaged)
    }

    fn take_up(&self, record: OperationRecord) -> OperationTask {
        let plan = self.inner.plan(record.session, &record.operation);
        // An operation whose definition has changed is a different one.
        let plan = plan.filter(|plan| plan.needs() == record.needs);
        let (view_sender, view) = watch::channel(OperationView::Started(Arc::new(record.clone())));
        let (orders, waiting) = mpsc::channel(MAX_ORDERS);
        let (session, requests) = (record.session, record.requests.clone());
        let known = Known { session, requests, plan: plan.clone(), view, orders };
        self.inner.known().insert(record.id, known);
        OperationTask::new(Arc::clone(&self.inner), plan, record, view_sender, waiting)
    }

    /// Starts an operation in a session, unless the same request has already started it, and answers when it has
    /// ended or waits for input.
    ///
    /// # Errors
    /// Returns why it was not started.
    pub async fn begin(
        &self,
        session: Uuid,
        wanted: RunOperation,
        key: Option<String>,
    ) -> Result<OperationAnswer, OperationError> {
        let unknown = || OperationError::UnknownOperation(wanted.operation.clone());
        let plan = self.inner.plan(session, &wanted.operation).ok_or_else(unknown)?;
        let inputs = plan.definition.texts(&wanted.inputs)?;
        let request = key.map(|key| Request::new(key, &wanted.operation, &inputs));
        let view = {
            let mut known = self.inner.known();
            let of_session = || known.iter().filter(|(_, known)| known.session == session);
            let repeated = request.as_ref().and_then(|request| {
                of_session().find_map(|(_, known)| Some((known, known.requests.get(&request.key)?, request)))
            });
            match repeated {
                Some((known, digest, request)) if *digest == request.digest => known.view.clone(),
                Some(_) => return Err(OperationError::KeyReused),
                None => {
                    if let Some((id, _)) = of_session().find(|(_, known)| !known.is_over()) {
                        return Err(OperationError::Busy(*id));
                    }
                    let record = self.new_record(session, &wanted.operation, &plan, inputs, request);
                    let (id, requests) = (record.id, record.requests.clone());
                    let (view_sender, view) = watch::channel(OperationView::Preparing);
                    let (orders, waiting) = mpsc::channel(MAX_ORDERS);
                    let view_again = view.clone();
                    let plan = Some(plan);
                    known.insert(id, Known { session, requests, plan: plan.clone(), view, orders });
                    let inner = Arc::clone(&self.inner);
                    // It continues even if the client has disconnected.
                    tokio::spawn(OperationTask::new(inner, plan, record, view_sender, waiting).begin());
                    view_again
                }
            }
        };
        self.forget_surplus(session).await;
        self.settled(view).await
    }

    fn new_record(
        &self,
        session: Uuid,
        operation: &str,
        plan: &OperationPlan,
        inputs: BTreeMap<String, String>,
        request: Option<Request>,
    ) -> OperationRecord {
        let now = self.inner.keeper.clock().now();
        let timeout = plan.definition.timeout.map_or(self.inner.timeout, Seconds::to_duration);
        let timeout_ms = millis(timeout);
        OperationRecord {
            id: Uuid::now_v7(),
            session,
            operation: operation.to_owned(),
            hold: Uuid::nil(),
            created_at_ms: now.0,
            timeout_ms,
            needs: plan.needs(),
            inputs,
            requests: request.map(|request| (request.key, request.digest)).into_iter().collect(),
            stage: StageRecord::Waiting { expires_at_ms: (now + timeout).0 },
            phase: 0,
            outputs: serde_json::Map::new(),
            downloads: BTreeMap::new(),
            screenshots: Vec::new(),
            fault: None,
        }
    }

    /// Continues an operation that waits, and answers when it has ended or waits again.
    ///
    /// # Errors
    /// Returns why it does not continue.
    pub async fn go_on(
        &self,
        operation: Uuid,
        more: ContinueOperation,
        key: Option<String>,
    ) -> Result<OperationAnswer, OperationError> {
        let (view, record, plan) = {
            let known = self.inner.known();
            let known = known.get(&operation).ok_or(OperationError::NotFound)?;
            let record = known.record().ok_or(OperationError::Running)?;
            (known.view.clone(), record, known.plan.clone())
        };
        let unknown = || OperationError::UnknownOperation(record.operation.clone());
        let plan = plan.ok_or_else(unknown)?;
        let inputs = plan.definition.texts(&more.inputs)?;
        let request = key.map(|key| Request::new(key, &operation.to_string(), &inputs));
        let followed =
            request.as_ref().and_then(|request| Some((record.requests.get(&request.key)?, request)));
        match followed {
            Some((digest, request)) if *digest == request.digest => return self.settled(view).await,
            Some(_) => return Err(OperationError::KeyReused),
            None => {}
        }
        self.ask(operation, |reply| Order::Continue { inputs, request, reply }).await?;
        self.settled(view).await
    }

    /// Cancels an operation.
    ///
    /// # Errors
    /// Returns an error if there is nothing to cancel.
    pub async fn cancel(&self, operation: Uuid) -> Result<OperationAnswer, OperationError> {
        self.ask(operation, |reply| Order::Cancel { reply }).await?;
        self.show(operation)
    }

    /// Sends an order to the operation's task.
    async fn ask(
        &self,
        operation: Uuid,
        order: impl FnOnce(oneshot::Sender<Result<(), OperationError>>) -> Order,
    ) -> Result<(), OperationError> {
        let (orders, record) = {
            let known = self.inner.known();
            let known = known.get(&operation).ok_or(OperationError::NotFound)?;
            (known.orders.clone(), known.record())
        };
        let (reply, answer) = oneshot::channel();
        let over = || match record.as_deref().map(|record| &record.stage) {
            Some(StageRecord::Ended { ending, .. }) => OperationError::Ended(record::known_word(ending)),
            _ => OperationError::Session(Refused::Stopping),
        };
        // The task of an ended operation is gone.
        orders.send(order(reply)).await.map_err(|_| over())?;
        answer.await.unwrap_or_else(|_| Err(over()))
    }

    /// Returns the current state of an operation.
    ///
    /// # Errors
    /// Returns an error if it does not exist.
    pub fn show(&self, operation: Uuid) -> Result<OperationAnswer, OperationError> {
        let record = self.record(operation)?;
        Ok(record::answer(&record, self.inner.address))
    }

    /// Returns all operations, or those of one session, newest first.
    #[must_use]
    pub fn list(&self, session: Option<Uuid>) -> Vec<OperationAnswer> {
        let known = self.inner.known();
        let wanted = known.values().rev().filter(|known| session.is_none_or(|id| known.session == id));
        wanted.filter_map(Known::record).map(|record| record::answer(&record, self.inner.address)).collect()
    }

    /// Opens a file of an operation. Also returns whether it is a screenshot.
    ///
    /// # Errors
    /// Returns an error if it does not exist.
    pub async fn file(&self, operation: Uuid, name: String) -> Result<(Opened<File>, bool), OperationError> {
        let record = self.record(operation)?;
        let is_picture = record.screenshots.iter().any(|screenshot| screenshot.name == name);
        if !is_picture && record.downloads.values().all(|download| download.name != name) {
            return Err(OperationError::NoFile);
        }
        let folder = self.inner.folder(operation);
        let opened = spawn_blocking(move || folder.open(&name)).await;
        opened.ok().and_then(Result::ok).map(|file| (file, is_picture)).ok_or(OperationError::NoFile)
    }

    /// Returns all files of an operation as a ZIP archive, which is created while it is written.
    ///
    /// # Errors
    /// Returns an error if it does not exist.
    pub fn bundle(&self, operation: Uuid) -> Result<Bundle, OperationError> {
        let record = self.record(operation)?;
        let answer = record::answer(&record, self.inner.address);
        let pictures = record.screenshots.iter().map(|screenshot| &screenshot.name);
        let folder = self.inner.folder(operation);
        let names = record.downloads.values().map(|download| &download.name).chain(pictures);
        // Screenshots are deleted after some time.
        let names = names.filter(|name| folder.has(name)).cloned().collect();
        let text = serde_json::to_vec_pretty(&answer)
            .map_err(|error| OperationError::NotKept(with_sources(&error)))?;
        Ok(Bundle { folder, text, names })
    }

    fn record(&self, operation: Uuid) -> Result<Arc<OperationRecord>, OperationError> {
        self.inner.known().get(&operation).and_then(Known::record).ok_or(OperationError::NotFound)
    }

    async fn settled(
        &self,
        mut view: watch::Receiver<OperationView>,
    ) -> Result<OperationAnswer, OperationError> {
        match view.wait_for(OperationView::is_settled).await.map(|view| view.clone()) {
            Ok(OperationView::Started(record)) => Ok(record::answer(&record, self.inner.address)),
            Ok(OperationView::Refused(error)) => Err(error),
            Ok(OperationView::Preparing) | Err(_) => Err(Refused::Stopping.into()),
        }
    }

    /// Removes the oldest operations of a session if there are too many.
    async fn forget_surplus(&self, session: Uuid) {
        let over: Vec<Uuid> = {
            let known = self.inner.known();
            let over = known.iter().filter(|(_, known)| known.session == session && known.is_over());
            over.map(|(id, _)| *id).collect()
        };
        if let Some(surplus) = over.len().checked_sub(MAX_REMEMBERED).filter(|surplus| *surplus > 0) {
            self.remove(over[..surplus].to_vec()).await;
        }
    }

    async fn remove(&self, operations: Vec<Uuid>) {
        self.inner.forget(&operations);
        if let Err(error) = self.inner.store.remove_operations(operations.clone()).await {
            tracing::error!(error = with_sources(&error), "failed to remove operations from the store");
        }
        let folders: Vec<Folder> = operations.iter().map(|id| self.inner.folder(*id)).collect();
        drop(spawn_blocking(move || folders.iter().for_each(Folder::remove)).await);
    }

    /// Updates the stored end times of operations whenever the wall clock is set, until the server stops. Operations
    /// that have not ended are updated by their tasks.
    pub async fn follow_clock(self) {
        let (clock, stop) = (self.inner.keeper.clock(), &self.inner.stop);
        let mut written = 0;
        while let Some(ahead) = stop.run_until_cancelled(clock.set_since(written)).await {
            match self.write_ended_anew().await {
                Err(error) if error.is_passing() => {
                    if stop.run_until_cancelled(sleep(RETRY)).await.is_none() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(error = with_sources(&error), "failed to store operations again");
                    written = ahead;
                }
                Ok(()) => written = ahead,
            }
        }
    }

    async fn write_ended_anew(&self) -> Result<(), StoreError> {
        let ended: Vec<_> = {
            let known = self.inner.known();
            known.values().filter_map(Known::record).filter(|record| record::is_over(record)).collect()
        };
        for record in ended {
            let is_known = || self.inner.known().contains_key(&record.id);
            if is_known() {
                self.inner.store.save_operation(record::in_wall_time(&record)).await?;
                // It may have been removed in the meantime.
                if !is_known() {
                    self.inner.store.remove_operations(vec![record.id]).await?;
                }
            }
        }
        Ok(())
    }

    /// Removes the operations of sessions that no longer exist.
    pub async fn sweep(&self) {
        let directory = self.inner.keeper.directory();
        let gone: Vec<Uuid> = {
            let known = self.inner.known();
            let lost = |known: &Known| !directory.sessions.contains_key(&known.session.as_u128());
            known.iter().filter(|(_, known)| lost(known)).map(|(id, _)| *id).collect()
        };
        if !gone.is_empty() {
            self.remove(gone).await;
        }
        let inner = Arc::clone(&self.inner);
        let sweep = move || {
            inner.folders.sweep(|id| inner.known().contains_key(&id));
            inner.forget_old_pictures();
        };
        drop(spawn_blocking(sweep).await);
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
