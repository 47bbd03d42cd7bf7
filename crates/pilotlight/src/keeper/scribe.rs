//! The one way into the store: what is to be written down is written in the order in which it was decided.
//!
//! It decides nothing and loses nothing: what could not be written is tried again, together with what came
//! since. Whoever waits for a write is told after the first try, however it went: the store being full or
//! locked must not take the windows along.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pilotlight_core::{Failure, FailureKind, SessionId, Ticket};
use pilotlight_store::{Archive, Checkpoint, SessionRecord, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::message::Report;
use crate::sentence::with_sources;

/// Writs that wait. The keeper never waits: it sends few and small ones, and checkpoints are limited by the
/// rules.
const MAX_WRITS: usize = 4096;
/// How long after a failed write it is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Something to be written down.
#[derive(Debug)]
pub(super) enum Writ {
    /// Sessions as they are now, and the states that new ones begin with. `then` is told once it was tried.
    Sessions {
        records: Vec<SessionRecord>,
        beginnings: Vec<(Uuid, Arc<Checkpoint>)>,
        then: Option<oneshot::Sender<()>>,
    },
    /// Sessions that have ended: nothing but their ends is kept.
    Ended(Vec<SessionRecord>),
    /// Sessions that are forgotten.
    Forgotten(Vec<Uuid>),
    /// The state of a window.
    Checkpoint { session: SessionId, ticket: Ticket, checkpoint: Box<Checkpoint> },
}

/// Hands writs to the scribe.
#[derive(Debug)]
pub(super) struct Scribe {
    writs: mpsc::Sender<Writ>,
    task: JoinHandle<()>,
}

impl Scribe {
    pub(super) fn start(archive: Archive, reports: mpsc::Sender<Report>) -> Self {
        let (writs, queue) = mpsc::channel(MAX_WRITS);
        let desk = Desk {
            archive,
            reports,
            owed: BTreeMap::new(),
            doomed: BTreeSet::new(),
            retry_at: None,
            failing: false,
        };
        Self { writs, task: tokio::spawn(desk.work(queue)) }
    }

    pub(super) fn write(&self, writ: Writ) {
        if let Err(mpsc::error::TrySendError::Full(writ)) = self.writs.try_send(writ) {
            tracing::error!("the store is far behind; something was not written down: {writ:?}");
        }
    }

    /// Writes down what is left, and ends.
    pub(super) async fn finish(self) {
        drop(self.writs);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the scribe ended badly");
        }
    }
}

struct Desk {
    archive: Archive,
    reports: mpsc::Sender<Report>,
    /// What could not be written yet, newest state of each.
    owed: BTreeMap<Uuid, SessionRecord>,
    /// What could not be removed yet. It goes before anything is written.
    doomed: BTreeSet<Uuid>,
    retry_at: Option<Instant>,
    /// The last try failed, which was said.
    failing: bool,
}

impl Desk {
    async fn work(mut self, mut queue: mpsc::Receiver<Writ>) {
        loop {
            let retry = self.retry_at;
            tokio::select! {
                writ = queue.recv() => match writ {
                    Some(writ) => self.write(writ).await,
                    None => break,
                },
                () = async { sleep_until(retry.unwrap_or_else(Instant::now)).await }, if retry.is_some() => self.settle().await,
            }
        }
        if self.retry_at.is_some() {
            self.settle().await;
        }
        if let Err(error) = self.archive.close().await {
            tracing::error!(error = with_sources(&error), "the store was not closed properly");
        }
    }

    async fn write(&mut self, writ: Writ) {
        match writ {
            Writ::Sessions { records, beginnings, then } => {
                self.owed.extend(records.into_iter().map(|record| (record.id, record)));
                self.settle().await;
                for (id, checkpoint) in beginnings {
                    self.begin_with(id, checkpoint).await;
                }
                if let Some(then) = then {
                    // Whoever waited may be gone.
                    let _ = then.send(());
                }
            }
            Writ::Ended(records) => {
                self.doomed.extend(records.iter().map(|record| record.id));
                self.owed.extend(records.into_iter().map(|record| (record.id, record)));
                self.settle().await;
            }
            Writ::Forgotten(sessions) => {
                self.owed.retain(|id, _| !sessions.contains(id));
                self.doomed.extend(sessions);
                self.settle().await;
            }
            Writ::Checkpoint { session, ticket, checkpoint } => {
                let id = Uuid::from_u128(session.0);
                let saved = self.archive.save_checkpoint(id, *checkpoint).await;
                let result = saved.map_err(|error| Failure {
                    kind: FailureKind::Browser,
                    sentence: format!("its state could not be written down: {}", with_sources(&error)),
                });
                drop(self.reports.send(Report::Saved { session, ticket, result }).await);
            }
        }
    }

    async fn begin_with(&self, id: Uuid, checkpoint: Arc<Checkpoint>) {
        if let Err(error) = self.archive.save_checkpoint(id, Arc::unwrap_or_clone(checkpoint)).await {
            let error = with_sources(&error);
            tracing::error!(session_id = %id, error, "the state that a session begins with was not written down");
        }
    }

    /// Removes and writes all that is owed, and sees to it that what fails is tried again.
    async fn settle(&mut self) {
        let result = self.try_to_settle().await;
        self.retry_at = result.is_err().then(|| Instant::now() + RETRY);
        match result {
            // Once is enough: the log may be on the disk that is full.
            Err(error) if !self.failing => {
                let error = with_sources(&error);
                tracing::error!(error, "sessions could not be written down; it is tried again and again");
            }
            Ok(()) if self.failing => tracing::info!("everything is written down again"),
            _ => {}
        }
        self.failing = self.retry_at.is_some();
    }

    async fn try_to_settle(&mut self) -> Result<(), StoreError> {
        if !self.doomed.is_empty() {
            self.archive.remove_sessions(self.doomed.iter().copied().collect()).await?;
            self.doomed.clear();
        }
        if !self.owed.is_empty() {
            self.archive.save_sessions(self.owed.values().cloned().collect()).await?;
            self.owed.clear();
        }
        Ok(())
    }
}
