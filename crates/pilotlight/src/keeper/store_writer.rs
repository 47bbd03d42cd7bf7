//! The only writer of sessions to the store: writes are made in the order of the decisions.
//!
//! It decides nothing and loses nothing: a failed write is retried, together with newer ones. A caller that waits for
//! a write gets the result of its first attempt: a promise is made only for what is on disk, but a store that is full
//! or locked must not stop the windows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pilotlight_checkpoint::{Checkpoint, Cookie};
use pilotlight_core::{Failure, FailureKind, SessionId, Ticket};
use pilotlight_store::{SessionRecord, StoreError, StoreHandle};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::message::{Report, WrittenSender};
use crate::sentence::with_sources;

/// Writes that wait. The keeper never waits: it sends few and small ones, and checkpoints are limited by the rules.
const MAX_WRITES: usize = 4096;
/// The delay before a failed write is retried.
const RETRY: Duration = Duration::from_secs(2);

/// A write to the store.
#[derive(Debug)]
pub(super) enum StoreWrite {
    /// Sessions as they are now, the initial states of new ones, and new ones of which nothing is written yet
    /// although there must be room for it. If a reply waits for them, the sessions that were not stored are reported.
    Sessions {
        records: Vec<SessionRecord>,
        beginnings: Vec<(Uuid, Arc<Checkpoint>)>,
        expected: BTreeSet<Uuid>,
        is_awaited: bool,
    },
    /// Sessions that have ended: only their ends are kept.
    Ended(Vec<SessionRecord>),
    /// Sessions that are removed.
    Forgotten(Vec<Uuid>),
    /// The state of a window.
    Checkpoint { session: SessionId, ticket: Ticket, checkpoint: Box<Checkpoint> },
    /// The current cookies of a session. The rest of its stored state stays as it is.
    Cookies { session: SessionId, cookies: Vec<Cookie>, written: WrittenSender },
}

/// Passes writes to the store writer.
#[derive(Debug)]
pub(super) struct StoreWriter {
    writes: mpsc::Sender<StoreWrite>,
    task: JoinHandle<()>,
}

impl StoreWriter {
    pub(super) fn start(store: StoreHandle, reports: mpsc::Sender<Report>) -> Self {
        let (writes, queue) = mpsc::channel(MAX_WRITES);
        let task = WriterTask {
            store,
            reports,
            owed: BTreeMap::new(),
            stripped: BTreeSet::new(),
            doomed: BTreeSet::new(),
            retry_at: None,
            failing: false,
        };
        Self { writes, task: tokio::spawn(task.work(queue)) }
    }

    pub(super) fn write(&self, write: StoreWrite) {
        if let Err(mpsc::error::TrySendError::Full(write)) = self.writes.try_send(write) {
            tracing::error!("the queue of the store writer is full; a write was dropped: {write:?}");
        }
    }

    /// Writes what is left, and stops.
    pub(super) async fn finish(self) {
        drop(self.writes);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the store writer failed");
        }
    }
}

struct WriterTask {
    store: StoreHandle,
    reports: mpsc::Sender<Report>,
    /// What was not written yet, the newest state of each session.
    owed: BTreeMap<Uuid, SessionRecord>,
    /// Sessions that have ended, of which only that is kept.
    stripped: BTreeSet<Uuid>,
    /// What was not removed yet.
    doomed: BTreeSet<Uuid>,
    retry_at: Option<Instant>,
    /// The last attempt failed, which was logged.
    failing: bool,
}

impl WriterTask {
    async fn work(mut self, mut queue: mpsc::Receiver<StoreWrite>) {
        let mut health = self.store.health();
        loop {
            let retry = self.retry_at;
            tokio::select! {
                write = queue.recv() => match write {
                    Some(write) => self.write(write).await,
                    None => break,
                },
                () = async { sleep_until(retry.unwrap_or_else(Instant::now)).await }, if retry.is_some() => self.try_again().await,
                // Other tasks write, too, and not all of them retry to find out whether it works again.
                Ok(()) = health.changed() => {
                    let is_ill = health.borrow_and_update().is_some();
                    self.retry_at = self.retry_at.or_else(|| is_ill.then(|| Instant::now() + RETRY));
                }
            }
        }
        if self.retry_at.is_some() {
            drop(self.settle().await);
        }
        if let Err(error) = self.store.close().await {
            tracing::error!(error = with_sources(&error), "failed to close the store");
        }
    }

    async fn write(&mut self, write: StoreWrite) {
        match write {
            StoreWrite::Sessions { records, beginnings, expected, is_awaited } => {
                self.owed.extend(records.into_iter().map(|record| (record.id, record)));
                let mut failed = self.settle().await.err();
                let mut unwritten: BTreeSet<Uuid> = self.owed.keys().copied().collect();
                for (id, checkpoint) in beginnings {
                    if let Err(error) = self.begin_with(id, checkpoint).await {
                        unwritten.insert(id);
                        failed.get_or_insert(error);
                    }
                }
                if !expected.is_empty()
                    && let Err(error) = self.prove().await
                {
                    unwritten.extend(expected);
                    failed.get_or_insert(error);
                }
                if is_awaited {
                    let failure = failed.map(|error| not_written(&error));
                    drop(self.reports.send(Report::Written { unwritten, failure }).await);
                }
            }
            StoreWrite::Ended(records) => {
                self.stripped.extend(records.iter().map(|record| record.id));
                self.owed.extend(records.into_iter().map(|record| (record.id, record)));
                drop(self.settle().await);
            }
            StoreWrite::Forgotten(sessions) => {
                self.owed.retain(|id, _| !sessions.contains(id));
                self.stripped.retain(|id| !sessions.contains(id));
                self.doomed.extend(sessions);
                drop(self.settle().await);
            }
            StoreWrite::Checkpoint { session, ticket, checkpoint } => {
                let id = Uuid::from_u128(session.0);
                let saved = self.store.save_checkpoint(id, *checkpoint).await;
                let result = saved.map_err(|error| not_written(&error));
                drop(self.reports.send(Report::Saved { session, ticket, result }).await);
            }
            StoreWrite::Cookies { session, cookies, written } => {
                let replaced = self.replace_cookies(Uuid::from_u128(session.0), cookies).await;
                // The receiver may have been dropped.
                let _ = written.send(replaced.map_err(|error| not_written(&error)));
            }
        }
    }

    /// Reading and writing cannot be interleaved with other writes: only this task writes states.
    async fn replace_cookies(&self, id: Uuid, cookies: Vec<Cookie>) -> Result<(), StoreError> {
        let checkpoint = self.store.checkpoint(id).await?.ok_or(StoreError::NoSession(id))?;
        self.store.save_checkpoint(id, checkpoint.with_cookies(cookies)).await.map(drop)
    }

    async fn begin_with(&self, id: Uuid, checkpoint: Arc<Checkpoint>) -> Result<(), StoreError> {
        self.store.save_checkpoint(id, Arc::unwrap_or_clone(checkpoint)).await.map(drop)
    }

    /// Writes what is pending, or checks whether writes succeed.
    async fn try_again(&mut self) {
        let is_owed = !(self.owed.is_empty() && self.stripped.is_empty() && self.doomed.is_empty());
        drop(if is_owed { self.settle().await } else { self.prove().await });
    }

    async fn prove(&mut self) -> Result<(), StoreError> {
        let proved = self.store.probe().await;
        self.note(&proved);
        proved
    }

    /// Writes and removes all that is pending, and has failures retried. Returns whether everything is written;
    /// removals may stay pending for a while.
    async fn settle(&mut self) -> Result<(), StoreError> {
        let written = self.write_owed().await;
        let settled = match &written {
            Ok(()) => self.remove_doomed().await,
            Err(error) => Err(error.clone()),
        };
        self.note(&settled);
        written
    }

    fn note(&mut self, result: &Result<(), StoreError>) {
        self.retry_at = result.is_err().then(|| Instant::now() + RETRY);
        match result {
            // Logged only once: the log may be on the disk that is full.
            Err(error) if !self.failing => {
                let error = with_sources(error);
                tracing::error!(error, "failed to write to the store; retrying");
            }
            Ok(()) if self.failing => tracing::info!("the store recovered; all pending writes were made"),
            _ => {}
        }
        self.failing = self.retry_at.is_some();
    }

    /// Writes first what must be stored in any case, for which room is reserved.
    async fn write_owed(&mut self) -> Result<(), StoreError> {
        let is_needed = |record: &&SessionRecord| record.is_needed();
        let needed: Vec<_> = self.owed.values().filter(is_needed).cloned().collect();
        if !needed.is_empty() {
            self.store.save_sessions(needed).await?;
            self.owed.retain(|_, record| !record.is_needed());
        }
        if !self.owed.is_empty() {
            self.store.save_sessions(self.owed.values().cloned().collect()).await?;
            self.owed.clear();
        }
        Ok(())
    }

    async fn remove_doomed(&mut self) -> Result<(), StoreError> {
        if !self.stripped.is_empty() {
            self.store.strip_sessions(self.stripped.iter().copied().collect()).await?;
            self.stripped.clear();
        }
        if !self.doomed.is_empty() {
            self.store.remove_sessions(self.doomed.iter().copied().collect()).await?;
            self.doomed.clear();
        }
        Ok(())
    }
}

/// Returns the failure for promises that were not stored.
fn not_written(error: &StoreError) -> Failure {
    Failure {
        kind: FailureKind::Unrecorded { is_full: error.is_full() },
        sentence: format!("it could not be stored: {}", with_sources(error)),
    }
}
