//! The one way into the store: what is to be written down is written in the order in which it was decided.
//!
//! It decides nothing and loses nothing: what could not be written is tried again, together with what came
//! since. Whoever waits for a write is told how its first try went: what is not on the disk is promised to nobody,
//! but the store being full or locked must not take the windows along.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pilotlight_checkpoint::{Checkpoint, Cookie};
use pilotlight_core::{Failure, FailureKind, SessionId, Ticket};
use pilotlight_store::{Archive, SessionRecord, StoreError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::message::{Report, WrittenSender};
use crate::sentence::with_sources;

/// Writes that wait. The keeper never waits: it sends few and small ones, and checkpoints are limited by the
/// rules.
const MAX_WRITES: usize = 4096;
/// How long after a failed write it is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Something to be written down.
#[derive(Debug)]
pub(super) enum StoreWrite {
    /// Sessions as they are now, the states that new ones begin with, and new ones of which nothing is written yet
    /// but something could have to be. Where somebody waits for them, it is reported which of all that was handed
    /// over is not written down.
    Sessions {
        records: Vec<SessionRecord>,
        beginnings: Vec<(Uuid, Arc<Checkpoint>)>,
        expected: BTreeSet<Uuid>,
        is_awaited: bool,
    },
    /// Sessions that have ended: nothing but their ends is kept.
    Ended(Vec<SessionRecord>),
    /// Sessions that are forgotten.
    Forgotten(Vec<Uuid>),
    /// The state of a window.
    Checkpoint { session: SessionId, ticket: Ticket, checkpoint: Box<Checkpoint> },
    /// The cookies that a session has now. Everything else that is written down of its window stays as it is.
    Cookies { session: SessionId, cookies: Vec<Cookie>, written: WrittenSender },
}

/// Hands writes to the store writer.
#[derive(Debug)]
pub(super) struct StoreWriter {
    writes: mpsc::Sender<StoreWrite>,
    task: JoinHandle<()>,
}

impl StoreWriter {
    pub(super) fn start(archive: Archive, reports: mpsc::Sender<Report>) -> Self {
        let (writes, queue) = mpsc::channel(MAX_WRITES);
        let task = WriterTask {
            archive,
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
            tracing::error!("the store is far behind; something was not written down: {write:?}");
        }
    }

    /// Writes down what is left, and ends.
    pub(super) async fn finish(self) {
        drop(self.writes);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the store writer failed");
        }
    }
}

struct WriterTask {
    archive: Archive,
    reports: mpsc::Sender<Report>,
    /// What could not be written yet, newest state of each.
    owed: BTreeMap<Uuid, SessionRecord>,
    /// Sessions that have ended, of which nothing but that is kept.
    stripped: BTreeSet<Uuid>,
    /// What could not be removed yet.
    doomed: BTreeSet<Uuid>,
    retry_at: Option<Instant>,
    /// The last try failed, which was said.
    failing: bool,
}

impl WriterTask {
    async fn work(mut self, mut queue: mpsc::Receiver<StoreWrite>) {
        let mut health = self.archive.health();
        loop {
            let retry = self.retry_at;
            tokio::select! {
                write = queue.recv() => match write {
                    Some(write) => self.write(write).await,
                    None => break,
                },
                () = async { sleep_until(retry.unwrap_or_else(Instant::now)).await }, if retry.is_some() => self.try_again().await,
                // Others write too, and do not all come again to see whether it works.
                Ok(()) = health.changed() => {
                    let is_ill = health.borrow_and_update().is_some();
                    self.retry_at = self.retry_at.or_else(|| is_ill.then(|| Instant::now() + RETRY));
                }
            }
        }
        if self.retry_at.is_some() {
            drop(self.settle().await);
        }
        if let Err(error) = self.archive.close().await {
            tracing::error!(error = with_sources(&error), "the store was not closed properly");
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
                let saved = self.archive.save_checkpoint(id, *checkpoint).await;
                let result = saved.map_err(|error| not_written(&error));
                drop(self.reports.send(Report::Saved { session, ticket, result }).await);
            }
            StoreWrite::Cookies { session, cookies, written } => {
                let replaced = self.replace_cookies(Uuid::from_u128(session.0), cookies).await;
                // Whoever waited may have been ended.
                let _ = written.send(replaced.map_err(|error| not_written(&error)));
            }
        }
    }

    /// Nothing comes between reading and writing: only this task writes states.
    async fn replace_cookies(&self, id: Uuid, cookies: Vec<Cookie>) -> Result<(), StoreError> {
        let checkpoint = self.archive.checkpoint(id).await?.ok_or(StoreError::NoSession(id))?;
        self.archive.save_checkpoint(id, checkpoint.with_cookies(cookies)).await.map(drop)
    }

    async fn begin_with(&self, id: Uuid, checkpoint: Arc<Checkpoint>) -> Result<(), StoreError> {
        self.archive.save_checkpoint(id, Arc::unwrap_or_clone(checkpoint)).await.map(drop)
    }

    /// Writes what is owed, or sees whether something could be written.
    async fn try_again(&mut self) {
        let is_owed = !(self.owed.is_empty() && self.stripped.is_empty() && self.doomed.is_empty());
        drop(if is_owed { self.settle().await } else { self.prove().await });
    }

    async fn prove(&mut self) -> Result<(), StoreError> {
        let proved = self.archive.probe().await;
        self.note(&proved);
        proved
    }

    /// Writes and removes all that is owed, and sees to it that what fails is tried again. Returns whether all is
    /// written; what is to be removed may stay for a while.
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
            // Once is enough: the log may be on the disk that is full.
            Err(error) if !self.failing => {
                let error = with_sources(error);
                tracing::error!(error, "what is new could not be written down; it is tried again and again");
            }
            Ok(()) if self.failing => tracing::info!("everything is written down again"),
            _ => {}
        }
        self.failing = self.retry_at.is_some();
    }

    /// What must be known first, for there is room kept free for it.
    async fn write_owed(&mut self) -> Result<(), StoreError> {
        let is_needed = |record: &&SessionRecord| record.is_needed();
        let needed: Vec<_> = self.owed.values().filter(is_needed).cloned().collect();
        if !needed.is_empty() {
            self.archive.save_sessions(needed).await?;
            self.owed.retain(|_, record| !record.is_needed());
        }
        if !self.owed.is_empty() {
            self.archive.save_sessions(self.owed.values().cloned().collect()).await?;
            self.owed.clear();
        }
        Ok(())
    }

    async fn remove_doomed(&mut self) -> Result<(), StoreError> {
        if !self.stripped.is_empty() {
            self.archive.strip_sessions(self.stripped.iter().copied().collect()).await?;
            self.stripped.clear();
        }
        if !self.doomed.is_empty() {
            self.archive.remove_sessions(self.doomed.iter().copied().collect()).await?;
            self.doomed.clear();
        }
        Ok(())
    }
}

/// Why something is promised to nobody.
fn not_written(error: &StoreError) -> Failure {
    Failure {
        kind: FailureKind::Unrecorded { is_full: error.is_full() },
        sentence: format!("it could not be written down: {}", with_sources(error)),
    }
}
