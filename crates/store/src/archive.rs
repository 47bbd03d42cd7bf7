//! The store, for those who must not wait for a disk: one thread owns it, and does what is asked in the order
//! in which it was asked.
//!
//! It decides nothing and repeats nothing. What failed for a [passing](StoreError::is_passing) reason is the
//! caller's to ask for again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use crate::checkpoint::Checkpoint;
use crate::error::StoreError;
use crate::operation::OperationRecord;
use crate::record::{CredentialRecord, SessionRecord};
use crate::store::{Loaded, LoadedOperations, Store};

/// How many orders may wait. Whoever has one more waits until there is room.
pub const QUEUE_ORDERS_MAX: usize = 64;

/// A way to the one thread that owns the store. The thread ends with [`close`](Self::close), or when the last
/// clone is gone and everything is done that was asked.
#[derive(Debug, Clone)]
pub struct Archive {
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
    Operations(Reply<LoadedOperations>),
    SaveOperation(Box<OperationRecord>, Reply<()>),
    RemoveOperations(Vec<Uuid>, Reply<()>),
    SaveCredential(Box<CredentialRecord>, Reply<()>),
    RemoveCredential(Uuid, Reply<()>),
    Close(Reply<()>),
}

impl Archive {
    /// Gives the store a thread. Fails where the system has none left.
    pub fn start(store: impl Store) -> std::io::Result<Self> {
        let (orders, waiting) = mpsc::channel(QUEUE_ORDERS_MAX);
        let (health_sender, health) = watch::channel(None);
        let archivist = Archivist { store, waiting, health: health_sender };
        let thread = thread::Builder::new().name("archive".to_owned()).spawn(|| archivist.run())?;
        Ok(Self { orders, health, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// As [`Store::load`].
    pub async fn load(&self) -> Result<Loaded, StoreError> {
        self.ask(Order::Load).await
    }

    /// As [`Store::save_sessions`]. What waits at the same time is written in one transaction, and of records
    /// with the same id the later one; all who wait get its result.
    pub async fn save_sessions(&self, records: Vec<SessionRecord>) -> Result<(), StoreError> {
        self.ask(|reply| Order::SaveSessions(records, reply)).await
    }

    /// As [`Store::save_checkpoint`].
    pub async fn save_checkpoint(&self, session: Uuid, checkpoint: Checkpoint) -> Result<u64, StoreError> {
        self.ask(|reply| Order::SaveCheckpoint(session, Box::new(checkpoint), reply)).await
    }

    /// As [`Store::checkpoint`].
    pub async fn checkpoint(&self, session: Uuid) -> Result<Option<Checkpoint>, StoreError> {
        self.ask(|reply| Order::Checkpoint(session, reply)).await
    }

    /// As [`Store::remove_sessions`].
    pub async fn remove_sessions(&self, sessions: Vec<Uuid>) -> Result<(), StoreError> {
        self.ask(|reply| Order::RemoveSessions(sessions, reply)).await
    }

    /// As [`Store::operations`].
    pub async fn operations(&self) -> Result<LoadedOperations, StoreError> {
        self.ask(Order::Operations).await
    }

    /// As [`Store::save_operation`].
    pub async fn save_operation(&self, operation: OperationRecord) -> Result<(), StoreError> {
        self.ask(|reply| Order::SaveOperation(Box::new(operation), reply)).await
    }

    /// As [`Store::remove_operations`].
    pub async fn remove_operations(&self, operations: Vec<Uuid>) -> Result<(), StoreError> {
        self.ask(|reply| Order::RemoveOperations(operations, reply)).await
    }

    /// As [`Store::save_credential`].
    pub async fn save_credential(&self, record: CredentialRecord) -> Result<(), StoreError> {
        self.ask(|reply| Order::SaveCredential(Box::new(record), reply)).await
    }

    /// As [`Store::remove_credential`].
    pub async fn remove_credential(&self, id: Uuid) -> Result<(), StoreError> {
        self.ask(|reply| Order::RemoveCredential(id, reply)).await
    }

    /// The sentence of the last failed write; none once a write works again.
    pub fn health(&self) -> watch::Receiver<Option<String>> {
        self.health.clone()
    }

    /// Does everything that was asked before, brings the store to rest and ends its thread. Whoever asks for
    /// something afterwards gets [`StoreError::Closed`].
    pub async fn close(&self) -> Result<(), StoreError> {
        let closed = self.ask(Order::Close).await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It answers last of all, so this does not take long; and it has told of its panic.
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

/// What runs on the thread.
struct Archivist<S> {
    store: S,
    waiting: mpsc::Receiver<Order>,
    health: watch::Sender<Option<String>>,
}

impl<S: Store> Archivist<S> {
    fn run(mut self) {
        let mut set_aside = None;
        while let Some(order) = set_aside.take().or_else(|| self.waiting.blocking_recv()) {
            // Whoever asked may be gone meanwhile, and then no answer is missed.
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
        // Nobody is left to be told; the file is whole either way.
        if let Err(error) = self.store.flush() {
            tracing::warn!(error = error.sentence(), "cannot bring the store to rest");
        }
    }

    /// Saves what is in this order and in those like it that wait right behind it. Gives the first that is
    /// something else.
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
        // Whoever still waits hears that it is closed before the one who closes does.
        drop(self.waiting);
        drop(self.store);
        drop(reply.send(flushed));
    }

    /// Takes the result of a write for the store's health. A caller's mistake says nothing about it.
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
#[path = "archive/tests.rs"]
mod tests;
