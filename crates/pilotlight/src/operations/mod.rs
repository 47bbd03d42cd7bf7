//! Operations: who has begun which, where each is, and what came of it.
//!
//! Each has a task of its own, its [`clerk`], which alone changes it by the rules of `core`. Here is the list of
//! them all, in which whoever asks is led to the right one. Two things are decided here, under one lock: that a
//! repeated request is not a second one, and that a session has one operation at a time.

mod clerk;
mod error;
mod folder;
mod phase;
mod record;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use pilotlight_api::{ContinueOperation, OperationAnswer, RunOperation, Seconds};
use pilotlight_store::operation::StageRecord;
use pilotlight_store::{Archive, OperationRecord, StoreError};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use error::OperationError;

use crate::keeper::{KeeperHandle, Refused};
use crate::sentence::with_sources;
use crate::sites::Sites;
use clerk::{Clerk, Order, Work};
use folder::Folder;

/// How many operations that are over are remembered of one session.
const MAX_REMEMBERED: usize = 50;
/// Orders that wait for one operation.
const MAX_ORDERS: usize = 16;

/// A request that is not to be followed twice: the key that its client gave it, and what it said.
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

/// What is seen of an operation.
#[derive(Debug, Clone)]
enum Shown {
    /// Its session is made ready.
    Preparing,
    /// It was not begun.
    Refused(OperationError),
    /// It was begun, and is written down like this.
    Stands(Arc<OperationRecord>),
}

impl Shown {
    fn is_at_rest(&self) -> bool {
        match self {
            Self::Preparing => false,
            Self::Refused(_) => true,
            Self::Stands(record) => record.stage != StageRecord::Running,
        }
    }
}

/// An operation, for whoever asks for it.
#[derive(Debug)]
struct Known {
    session: Uuid,
    /// The requests that an earlier server has followed, or the one that began it.
    requests: BTreeMap<String, String>,
    work: Option<Arc<Work>>,
    shown: watch::Receiver<Shown>,
    orders: mpsc::Sender<Order>,
}

impl Known {
    fn record(&self) -> Option<Arc<OperationRecord>> {
        match &*self.shown.borrow() {
            Shown::Stands(record) => Some(Arc::clone(record)),
            Shown::Preparing | Shown::Refused(_) => None,
        }
    }

    fn is_over(&self) -> bool {
        match &*self.shown.borrow() {
            Shown::Preparing => false,
            Shown::Refused(_) => true,
            Shown::Stands(record) => record::is_over(record),
        }
    }
}

/// What all operations need.
#[derive(Debug)]
struct Desk {
    keeper: KeeperHandle,
    sites: Arc<Sites>,
    archive: Archive,
    /// Where operations have their folders.
    root: PathBuf,
    /// Where clients reach us.
    address: SocketAddr,
    /// `sessions.operation_timeout`.
    timeout: Duration,
    stop: CancellationToken,
    known: Mutex<BTreeMap<Uuid, Known>>,
}

impl Desk {
    fn known(&self) -> MutexGuard<'_, BTreeMap<Uuid, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, operations: &[Uuid]) {
        self.known().retain(|id, _| !operations.contains(id));
    }

    fn folder(&self, operation: Uuid) -> Folder {
        Folder::of(&self.root, operation)
    }

    /// An operation as the session's site has it.
    fn work(&self, session: Uuid, name: &str) -> Option<Arc<Work>> {
        let site = self.sites.get(&self.keeper.published(session)?.now().site?)?;
        let definition = site.definition.operations.get(name)?.clone();
        let flows = site.operations.get(name)?.clone();
        Some(Arc::new(Work { site, definition, flows }))
    }
}

/// All operations. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Operations {
    desk: Arc<Desk>,
}

impl Operations {
    /// A desk without any operations yet.
    #[must_use]
    pub fn new(
        keeper: KeeperHandle,
        sites: Arc<Sites>,
        archive: Archive,
        root: PathBuf,
        address: SocketAddr,
        timeout: Duration,
        stop: CancellationToken,
    ) -> Self {
        let known = Mutex::default();
        Self { desk: Arc::new(Desk { keeper, sites, archive, root, address, timeout, stop, known }) }
    }

    /// Takes up what an earlier server has left: those that wait go on waiting, and of one that ran it is said
    /// that nobody knows how far it came.
    ///
    /// # Errors
    /// That the store cannot be read.
    pub async fn resume(&self) -> Result<(), StoreError> {
        let loaded = self.desk.archive.operations().await?;
        for damaged in &loaded.damaged {
            tracing::error!(operation_id = %damaged.id, error = with_sources(&damaged.error), "an operation cannot be read");
        }
        join_all(loaded.operations.into_iter().map(|record| self.take_up(record).resume())).await;
        Ok(())
    }

    fn take_up(&self, record: OperationRecord) -> Clerk {
        let work = self.desk.work(record.session, &record.operation);
        // One that is defined otherwise today is another one.
        let work = work.filter(|work| work.needs() == record.needs);
        let (shown_sender, shown) = watch::channel(Shown::Stands(Arc::new(record.clone())));
        let (orders, waiting) = mpsc::channel(MAX_ORDERS);
        let (session, requests) = (record.session, record.requests.clone());
        let known = Known { session, requests, work: work.clone(), shown, orders };
        self.desk.known().insert(record.id, known);
        Clerk::new(Arc::clone(&self.desk), work, record, shown_sender, waiting)
    }

    /// Begins an operation in a session that lives, unless the same request has begun it already, and answers
    /// once it is over or waits.
    ///
    /// # Errors
    /// Why it was not begun.
    pub async fn begin(
        &self,
        session: Uuid,
        wanted: RunOperation,
        key: Option<String>,
    ) -> Result<OperationAnswer, OperationError> {
        let unknown = || OperationError::UnknownOperation(wanted.operation.clone());
        let work = self.desk.work(session, &wanted.operation).ok_or_else(unknown)?;
        let inputs = work.definition.texts(&wanted.inputs)?;
        let request = key.map(|key| Request::new(key, &wanted.operation, &inputs));
        let shown = {
            let mut known = self.desk.known();
            let of_session = || known.iter().filter(|(_, known)| known.session == session);
            let repeated = request.as_ref().and_then(|request| {
                of_session().find_map(|(_, known)| Some((known, known.requests.get(&request.key)?, request)))
            });
            match repeated {
                Some((known, digest, request)) if *digest == request.digest => known.shown.clone(),
                Some(_) => return Err(OperationError::KeyReused),
                None => {
                    if let Some((id, _)) = of_session().find(|(_, known)| !known.is_over()) {
                        return Err(OperationError::Busy(*id));
                    }
                    let record = self.new_record(session, &wanted.operation, &work, inputs, request);
                    let (id, requests) = (record.id, record.requests.clone());
                    let (shown_sender, shown) = watch::channel(Shown::Preparing);
                    let (orders, waiting) = mpsc::channel(MAX_ORDERS);
                    let shown_again = shown.clone();
                    let work = Some(work);
                    known.insert(id, Known { session, requests, work: work.clone(), shown, orders });
                    let desk = Arc::clone(&self.desk);
                    // It goes on even if whoever asked for it has gone.
                    tokio::spawn(Clerk::new(desk, work, record, shown_sender, waiting).begin());
                    shown_again
                }
            }
        };
        self.forget_surplus(session).await;
        self.settled(shown).await
    }

    fn new_record(
        &self,
        session: Uuid,
        operation: &str,
        work: &Work,
        inputs: BTreeMap<String, String>,
        request: Option<Request>,
    ) -> OperationRecord {
        let now = self.desk.keeper.clock().now();
        let timeout = work.definition.timeout.map_or(self.desk.timeout, Seconds::to_duration);
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        OperationRecord {
            id: Uuid::now_v7(),
            session,
            operation: operation.to_owned(),
            hold: Uuid::nil(),
            created_at_ms: now.0,
            timeout_ms,
            needs: work.needs(),
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

    /// Goes on with an operation that waits, and answers once it is over or waits again.
    ///
    /// # Errors
    /// Why it does not go on.
    pub async fn go_on(
        &self,
        operation: Uuid,
        more: ContinueOperation,
        key: Option<String>,
    ) -> Result<OperationAnswer, OperationError> {
        let (shown, record, work) = {
            let known = self.desk.known();
            let known = known.get(&operation).ok_or(OperationError::NotFound)?;
            let record = known.record().ok_or(OperationError::Running)?;
            (known.shown.clone(), record, known.work.clone())
        };
        let unknown = || OperationError::UnknownOperation(record.operation.clone());
        let work = work.ok_or_else(unknown)?;
        let inputs = work.definition.texts(&more.inputs)?;
        let request = key.map(|key| Request::new(key, &operation.to_string(), &inputs));
        let followed =
            request.as_ref().and_then(|request| Some((record.requests.get(&request.key)?, request)));
        match followed {
            Some((digest, request)) if *digest == request.digest => return self.settled(shown).await,
            Some(_) => return Err(OperationError::KeyReused),
            None => {}
        }
        self.ask(operation, |reply| Order::Continue { inputs, request, reply }).await?;
        self.settled(shown).await
    }

    /// Gives an operation up.
    ///
    /// # Errors
    /// That there is nothing to give up.
    pub async fn cancel(&self, operation: Uuid) -> Result<OperationAnswer, OperationError> {
        self.ask(operation, |reply| Order::Cancel { reply }).await?;
        self.show(operation)
    }

    /// Has the operation's own task do something.
    async fn ask(
        &self,
        operation: Uuid,
        order: impl FnOnce(oneshot::Sender<Result<(), OperationError>>) -> Order,
    ) -> Result<(), OperationError> {
        let (orders, record) = {
            let known = self.desk.known();
            let known = known.get(&operation).ok_or(OperationError::NotFound)?;
            (known.orders.clone(), known.record())
        };
        let (reply, answer) = oneshot::channel();
        let over = || match record.as_deref().map(|record| &record.stage) {
            Some(StageRecord::Ended { ending, .. }) => OperationError::Ended(record::known_word(ending)),
            _ => OperationError::Session(Refused::Stopping),
        };
        // The task of one that is over is gone.
        orders.send(order(reply)).await.map_err(|_| over())?;
        answer.await.unwrap_or_else(|_| Err(over()))
    }

    /// An operation as it is now.
    ///
    /// # Errors
    /// That there is none.
    pub fn show(&self, operation: Uuid) -> Result<OperationAnswer, OperationError> {
        let record = self.record(operation)?;
        Ok(record::answer(&record, self.desk.address))
    }

    /// All operations, or those of one session, the newest first.
    #[must_use]
    pub fn list(&self, session: Option<Uuid>) -> Vec<OperationAnswer> {
        let known = self.desk.known();
        let wanted = known.values().rev().filter(|known| session.is_none_or(|id| known.session == id));
        wanted.filter_map(Known::record).map(|record| record::answer(&record, self.desk.address)).collect()
    }

    /// One of its files, and whether it is a picture.
    ///
    /// # Errors
    /// That there is none.
    pub async fn file(&self, operation: Uuid, name: String) -> Result<(File, bool), OperationError> {
        let record = self.record(operation)?;
        let is_picture = record.screenshots.iter().any(|screenshot| screenshot.name == name);
        if !is_picture && record.downloads.values().all(|download| download.name != name) {
            return Err(OperationError::NoFile);
        }
        let folder = self.desk.folder(operation);
        let opened = spawn_blocking(move || folder.open(&name)).await;
        opened.ok().and_then(Result::ok).map(|file| (file, is_picture)).ok_or(OperationError::NoFile)
    }

    /// Everything of it as one ZIP.
    ///
    /// # Errors
    /// That there is none, or that it cannot be made.
    pub async fn bundle(&self, operation: Uuid) -> Result<File, OperationError> {
        let record = self.record(operation)?;
        let answer = record::answer(&record, self.desk.address);
        let pictures = record.screenshots.iter().map(|screenshot| &screenshot.name);
        let names: Vec<String> =
            record.downloads.values().map(|download| &download.name).chain(pictures).cloned().collect();
        let folder = self.desk.folder(operation);
        let not_kept = |error: &dyn std::error::Error| OperationError::NotKept(with_sources(error));
        let text = serde_json::to_vec_pretty(&answer).map_err(|error| not_kept(&error))?;
        match spawn_blocking(move || folder.bundle(&text, &names)).await {
            Ok(bundle) => bundle.map_err(|error| not_kept(&error)),
            Err(error) => Err(not_kept(&error)),
        }
    }

    fn record(&self, operation: Uuid) -> Result<Arc<OperationRecord>, OperationError> {
        self.desk.known().get(&operation).and_then(Known::record).ok_or(OperationError::NotFound)
    }

    async fn settled(&self, mut shown: watch::Receiver<Shown>) -> Result<OperationAnswer, OperationError> {
        match shown.wait_for(Shown::is_at_rest).await.map(|shown| shown.clone()) {
            Ok(Shown::Stands(record)) => Ok(record::answer(&record, self.desk.address)),
            Ok(Shown::Refused(error)) => Err(error),
            Ok(Shown::Preparing) | Err(_) => Err(Refused::Stopping.into()),
        }
    }

    /// Forgets the oldest of a session's operations where there are too many.
    async fn forget_surplus(&self, session: Uuid) {
        let over: Vec<Uuid> = {
            let known = self.desk.known();
            let over = known.iter().filter(|(_, known)| known.session == session && known.is_over());
            over.map(|(id, _)| *id).collect()
        };
        if let Some(surplus) = over.len().checked_sub(MAX_REMEMBERED).filter(|surplus| *surplus > 0) {
            self.remove(over[..surplus].to_vec()).await;
        }
    }

    async fn remove(&self, operations: Vec<Uuid>) {
        self.desk.forget(&operations);
        if let Err(error) = self.desk.archive.remove_operations(operations.clone()).await {
            tracing::error!(error = with_sources(&error), "operations could not be removed from the store");
        }
        let folders: Vec<Folder> = operations.iter().map(|id| self.desk.folder(*id)).collect();
        drop(spawn_blocking(move || folders.iter().for_each(Folder::remove)).await);
    }

    /// Removes what is left of sessions that nobody knows any more.
    pub async fn sweep(&self) {
        let directory = self.desk.keeper.directory();
        let gone: Vec<Uuid> = {
            let known = self.desk.known();
            let lost = |known: &Known| !directory.sessions.contains_key(&known.session.as_u128());
            known.iter().filter(|(_, known)| lost(known)).map(|(id, _)| *id).collect()
        };
        if !gone.is_empty() {
            self.remove(gone).await;
        }
        let desk = Arc::clone(&self.desk);
        drop(spawn_blocking(move || folder::sweep(&desk.root, |id| desk.known().contains_key(&id))).await);
    }
}
