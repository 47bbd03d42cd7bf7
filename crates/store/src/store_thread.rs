//! Asynchronous access to the store: a thread owns it and executes orders in sequence.
//!
//! It makes no decisions and does not retry. After a [transient](StoreError::is_passing) error, the caller may retry.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use pilotlight_checkpoint::Checkpoint;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use crate::error::StoreError;
use crate::operation::OperationRecord;
use crate::record::{CredentialRecord, SessionRecord};
use crate::store::{Loaded, LoadedOperations, Store};

/// Maximum number of queued orders. Further ones wait until there is space.
pub const QUEUE_ORDERS_MAX: usize = 64;

/// A handle to the thread that owns the store. The thread ends with [`close`](Self::close), or when the last clone
/// has been dropped and all orders are done.
#[derive(Debug, Clone)]
pub struct StoreHandle {
    orders: mpsc::Sender<Order>,
    health: watch::Receiver<Option<String>>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

enum Order {
    Load(Reply<Loaded>),
    SaveSessions(Vec<SessionRecord>, Reply<()>),
    SaveCheckpoint(Uuid, Box<Checkpoint>, Reply<u64>),
    Checkpoint(Uuid, Reply<Option<Checkpoint>>),
    RemoveSessions(Vec<Uuid>, Reply<()>),
    StripSessions(Vec<Uuid>, Reply<()>),
    Probe(Reply<()>),
    Backup(PathBuf, Reply<()>),
    Operations(Reply<LoadedOperations>),
    SaveOperation(Box<OperationRecord>, Reply<()>),
    RemoveOperations(Vec<Uuid>, Reply<()>),
    SaveCredential(Box<CredentialRecord>, Reply<()>),
    RemoveCredential(Uuid, Reply<()>),
    Close(Reply<()>),
}

impl StoreHandle {
    /// Starts the thread. Fails if the system cannot start another one.
    pub fn start(store: impl Store) -> std::io::Result<Self> {
        let (orders, waiting) = mpsc::channel(QUEUE_ORDERS_MAX);
        let (health_sender, health) = watch::channel(None);
        let store_thread = StoreThread { store, waiting, health: health_sender };
        let thread = thread::Builder::new().name("store".to_owned()).spawn(|| store_thread.run())?;
        Ok(Self { orders, health, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// See [`Store::load`].
    pub async fn load(&self) -> Result<Loaded, StoreError> {
        self.ask(Order::Load).await
    }

    /// See [`Store::save_sessions`]. Records that wait at the same time are written in one transaction; of records
    /// with the same id, the later one is written. All callers get its result.
    pub async fn save_sessions(&self, records: Vec<SessionRecord>) -> Result<(), StoreError> {
        self.ask(|reply| Order::SaveSessions(records, reply)).await
    }

    /// See [`Store::save_checkpoint`].
    pub async fn save_checkpoint(&self, session: Uuid, checkpoint: Checkpoint) -> Result<u64, StoreError> {
        self.ask(|reply| Order::SaveCheckpoint(session, Box::new(checkpoint), reply)).await
    }

    /// See [`Store::checkpoint`].
    pub async fn checkpoint(&self, session: Uuid) -> Result<Option<Checkpoint>, StoreError> {
        self.ask(|reply| Order::Checkpoint(session, reply)).await
    }

    /// See [`Store::remove_sessions`].
    pub async fn remove_sessions(&self, sessions: Vec<Uuid>) -> Result<(), StoreError> {
        self.ask(|reply| Order::RemoveSessions(sessions, reply)).await
    }

    /// See [`Store::strip_sessions`].
    pub async fn strip_sessions(&self, sessions: Vec<Uuid>) -> Result<(), StoreError> {
        self.ask(|reply| Order::StripSessions(sessions, reply)).await
    }

    /// See [`Store::probe`].
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.ask(Order::Probe).await
    }

    /// See [`Store::backup`].
    pub async fn backup(&self, path: PathBuf) -> Result<(), StoreError> {
        self.ask(|reply| Order::Backup(path, reply)).await
    }

    /// See [`Store::operations`].
    pub async fn operations(&self) -> Result<LoadedOperations, StoreError> {
        self.ask(Order::Operations).await
    }

    /// See [`Store::save_operation`].
    pub async fn save_operation(&self, operation: OperationRecord) -> Result<(), StoreError> {
        self.ask(|reply| Order::SaveOperation(Box::new(operation), reply)).await
    }

    /// See [`Store::remove_operations`].
    pub async fn remove_operations(&self, operations: Vec<Uuid>) -> Result<(), StoreError> {
        self.ask(|reply| Order::RemoveOperations(operations, reply)).await
    }

    /// See [`Store::save_credential`].
    pub async fn save_credential(&self, record: CredentialRecord) -> Result<(), StoreError> {
        self.ask(|reply| Order::SaveCredential(Box::new(record), reply)).await
    }

    /// See [`Store::remove_credential`].
    pub async fn remove_credential(&self, id: Uuid) -> Result<(), StoreError> {
        self.ask(|reply| Order::RemoveCredential(id, reply)).await
    }

    /// Returns the error message of the last failed write; none after a successful write.
    pub fn health(&self) -> watch::Receiver<Option<String>> {
        self.health.clone()
    }

    /// Executes all queued orders, shuts down the store and ends its thread. Later orders get [`StoreError::Closed`].
    pub async fn close(&self) -> Result<(), StoreError> {
        let closed = self.ask(Order::Close).await;
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // The reply is its last action, so this is quick; a panic has already been reported.
            let _ = thread.join();
        }
        closed
    }

    async fn ask<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(order(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

/// The state of the thread.
struct StoreThread<S> {
    store: S,
    waiting: mpsc::Receiver<Order>,
    health: watch::Sender<Option<String>>,
}

impl<S: Store> StoreThread<S> {
    fn run(mut self) {
        let mut set_aside = None;
        while let Some(order) = set_aside.take().or_else(|| self.waiting.blocking_recv()) {
            // The caller may have gone; then no reply is needed.
            match order {
                Order::Load(reply) => drop(reply.send(self.store.load())),
                Order::Checkpoint(session, reply) => drop(reply.send(self.store.checkpoint(session))),
                Order::SaveSessions(records, reply) => set_aside = self.save_sessions(records, reply),
                Order::SaveCheckpoint(session, checkpoint, reply) => {
                    let saved = self.store.save_checkpoint(session, &checkpoint);
                    drop(reply.send(self.noted(saved)));
                }
                Order::RemoveSessions(sessions, reply) => {
                    let removed = self.store.remove_sessions(&sessions);
                    drop(reply.send(self.noted(removed)));
                }
                Order::StripSessions(sessions, reply) => {
                    let stripped = self.store.strip_sessions(&sessions);
                    drop(reply.send(self.noted(stripped)));
                }
                Order::Probe(reply) => {
                    let probed = self.store.probe();
                    drop(reply.send(self.noted(probed)));
                }
                // If there is no space for a copy, there may still be enough for everything else.
                Order::Backup(path, reply) => drop(reply.send(self.store.backup(&path))),
                Order::Operations(reply) => drop(reply.send(self.store.operations())),
                Order::SaveOperation(operation, reply) => {
                    let saved = self.store.save_operation(&operation);
                    drop(reply.send(self.noted(saved)));
                }
                Order::RemoveOperations(operations, reply) => {
                    let removed = self.store.remove_operations(&operations);
                    drop(reply.send(self.noted(removed)));
                }
                Order::SaveCredential(record, reply) => {
                    let saved = self.store.save_credential(&record);
                    drop(reply.send(self.noted(saved)));
                }
                Order::RemoveCredential(id, reply) => {
                    let removed = self.store.remove_credential(id);
                    drop(reply.send(self.noted(removed)));
                }
                Order::Close(reply) => return self.close(reply),
            }
        }
        // There is no caller left; the file is consistent either way.
        if let Err(error) = self.store.flush() {
            tracing::warn!(error = error.sentence(), "cannot shut down the store");
        }
    }

    /// Saves the records of this order and of similar ones that follow it in the queue. Returns the first order of
    /// another kind.
    fn save_sessions(&mut self, mut records: Vec<SessionRecord>, reply: Reply<()>) -> Option<Order> {
        let mut replies = vec![reply];
        let mut other = None;
        while replies.len() < QUEUE_ORDERS_MAX && other.is_none() {
            match self.waiting.try_recv() {
                Ok(Order::SaveSessions(more, reply)) => {
                    records.extend(more);
                    replies.push(reply);
                }
                Ok(order) => other = Some(order),
                Err(_) => break,
            }
        }
        let latest: BTreeMap<Uuid, SessionRecord> =
            records.into_iter().map(|record| (record.id, record)).collect();
        let saved = self.store.save_sessions(&latest.into_values().collect::<Vec<_>>());
        let saved = self.noted(saved);
        for reply in replies {
            drop(reply.send(saved.clone()));
        }
        other
    }

    fn close(mut self, reply: Reply<()>) {
        let flushed = self.store.flush();
        let flushed = self.noted(flushed);
        // Callers that still wait are told before the one who closes.
        drop(self.waiting);
        drop(self.store);
        drop(reply.send(flushed));
    }

    /// Updates the store's health from the result of a write. A caller's error does not change it.
    fn noted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        let sentence = match &result {
            Ok(_) => None,
            Err(StoreError::NoSession(_) | StoreError::TooLarge { .. }) => return result,
            Err(error) => Some(error.sentence()),
        };
        self.health.send_if_modified(|health| {
            let changed = *health != sentence;
            *health = sentence;
            changed
        });
        result
    }
}

#[cfg(test)]
#[path = "store_thread/tests.rs"]
mod tests;
