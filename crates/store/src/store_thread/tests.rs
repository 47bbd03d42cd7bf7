use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc as blocking;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::memory::MemoryStore;
use crate::samples::{checkpoint_at, id, keyring, session};
use crate::sqlite::SqliteStore;

const DEADLINE: Duration = Duration::from_secs(10);

/// A store whose every write first waits for what is to become of it, and tells how many sessions it was given.
struct Gated {
    inner: MemoryStore,
    gate: blocking::Receiver<Option<StoreError>>,
    saved: mpsc::UnboundedSender<usize>,
}

impl Gated {
    fn pass(&self) -> Result<(), StoreError> {
        self.gate.recv().ok().flatten().map_or(Ok(()), Err)
    }
}

impl Store for Gated {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        self.inner.load()
    }

    fn save_sessions(&mut self, records: &[SessionRecord]) -> Result<(), StoreError> {
        self.saved.send(records.len()).unwrap();
        self.pass()?;
        self.inner.save_sessions(records)
    }

    fn save_checkpoint(&mut self, session: Uuid, checkpoint: &Checkpoint) -> Result<u64, StoreError> {
        self.pass()?;
        self.inner.save_checkpoint(session, checkpoint)
    }

    fn checkpoint(&mut self, session: Uuid) -> Result<Option<Checkpoint>, StoreError> {
        self.inner.checkpoint(session)
    }

    fn remove_sessions(&mut self, sessions: &[Uuid]) -> Result<(), StoreError> {
        self.pass()?;
        self.inner.remove_sessions(sessions)
    }

    fn strip_sessions(&mut self, sessions: &[Uuid]) -> Result<(), StoreError> {
        self.pass()?;
        self.inner.strip_sessions(sessions)
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        self.pass()?;
        self.inner.probe()
    }

    fn backup(&mut self, path: &Path) -> Result<(), StoreError> {
        self.inner.backup(path)
    }

    fn operations(&mut self) -> Result<LoadedOperations, StoreError> {
        self.inner.operations()
    }

    fn save_operation(&mut self, operation: &OperationRecord) -> Result<(), StoreError> {
        self.pass()?;
        self.inner.save_operation(operation)
    }

    fn remove_operations(&mut self, operations: &[Uuid]) -> Result<(), StoreError> {
        self.pass()?;
        self.inner.remove_operations(operations)
    }

    fn save_credential(&mut self, record: &CredentialRecord) -> Result<(), StoreError> {
        self.inner.save_credential(record)
    }

    fn remove_credential(&mut self, id: Uuid) -> Result<(), StoreError> {
        self.inner.remove_credential(id)
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

struct Gate {
    archive: StoreHandle,
    gate: blocking::Sender<Option<StoreError>>,
    saved: mpsc::UnboundedReceiver<usize>,
}

fn gated() -> Gate {
    let (gate, waiting) = blocking::channel();
    let (saved_sender, saved) = mpsc::unbounded_channel();
    let store = Gated { inner: MemoryStore::default(), gate: waiting, saved: saved_sender };
    Gate { archive: StoreHandle::start(store).unwrap(), gate, saved }
}

fn full() -> StoreError {
    StoreError::Full { path: PathBuf::from("/store") }
}

#[tokio::test]
async fn what_was_asked_is_there_after_a_close() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let open = || StoreHandle::start(SqliteStore::open(&path, keyring(&["a"])).unwrap()).unwrap();
    let archive = open();
    archive.save_sessions(vec![session(1, "one"), session(2, "two")]).await.unwrap();
    assert!(archive.save_checkpoint(id(1), checkpoint_at(5)).await.unwrap() > 0);
    archive.remove_sessions(vec![id(2)]).await.unwrap();
    let other = archive.clone();
    archive.close().await.unwrap();
    assert!(matches!(other.load().await, Err(StoreError::Closed)));
    assert!(matches!(other.close().await, Err(StoreError::Closed)));
    // The thread is gone, and with it the lock and the log.
    assert!(!folder.path().join("store.sqlite-wal").exists());
    let archive = open();
    let loaded = archive.load().await.unwrap();
    assert_eq!(loaded.sessions.len(), 1);
    assert!(archive.checkpoint(id(1)).await.unwrap() == Some(checkpoint_at(5)));
}

#[tokio::test]
async fn sessions_that_wait_are_saved_together() {
    let Gate { archive, gate, mut saved } = gated();
    let mut tasks = JoinSet::new();
    let mut save = |number, name: &str| {
        let (archive, record) = (archive.clone(), session(number, name));
        tasks.spawn(async move { archive.save_sessions(vec![record]).await });
    };
    save(1, "first");
    assert_eq!(timeout(DEADLINE, saved.recv()).await.unwrap(), Some(1));
    // On this one thread the tasks send in the order in which they were spawned.
    for (number, name) in [(1, "second"), (2, "other"), (1, "third")] {
        save(number, name);
    }
    let later = archive.clone();
    let remove = tokio::spawn(async move { later.remove_sessions(vec![id(2)]).await });
    let later = archive.clone();
    let close = tokio::spawn(async move { (later.load().await, later.close().await) });
    let queued = || archive.orders.max_capacity() - archive.orders.capacity();
    timeout(DEADLINE, async {
        while queued() < 5 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    for _ in 0..3 {
        gate.send(None).unwrap();
    }
    assert_eq!(timeout(DEADLINE, saved.recv()).await.unwrap(), Some(2));
    while let Some(result) = timeout(DEADLINE, tasks.join_next()).await.unwrap() {
        result.unwrap().unwrap();
    }
    remove.await.unwrap().unwrap();
    let (loaded, closed) = timeout(DEADLINE, close).await.unwrap().unwrap();
    closed.unwrap();
    let names: Vec<_> =
        loaded.unwrap().sessions.into_iter().map(|session| session.record.name.unwrap()).collect();
    assert_eq!(names, ["third"]);
    assert_eq!(saved.recv().await, None);
}

#[tokio::test]
async fn its_health_is_that_of_the_last_write() {
    let Gate { archive, gate, saved: _saved } = gated();
    let mut health = archive.health();
    assert_eq!(*health.borrow(), None);
    gate.send(Some(full())).unwrap();
    let failed = archive.save_sessions(vec![session(1, "one")]).await;
    assert!(failed.unwrap_err().is_passing());
    assert_eq!(health.borrow_and_update().as_deref(), Some("there is no space left for the store /store"));
    // What is asked for wrongly says nothing.
    gate.send(None).unwrap();
    assert!(matches!(archive.save_checkpoint(id(1), checkpoint_at(1)).await, Err(StoreError::NoSession(_))));
    archive.load().await.unwrap();
    assert!(health.borrow().is_some());
    let source = Arc::new(io::Error::other("the disk is gone"));
    gate.send(Some(StoreError::Io { path: PathBuf::from("/store"), source })).unwrap();
    archive.remove_sessions(vec![id(1)]).await.unwrap_err();
    let sentence = "cannot read or write the store /store: the disk is gone";
    assert_eq!(health.borrow_and_update().as_deref(), Some(sentence));
    gate.send(None).unwrap();
    archive.save_sessions(vec![session(1, "one")]).await.unwrap();
    assert_eq!(*health.borrow_and_update(), None);
}

#[tokio::test]
async fn an_order_whose_caller_went_is_carried_out() {
    let Gate { archive, gate, mut saved } = gated();
    let caller = tokio::spawn({
        let archive = archive.clone();
        async move { archive.save_sessions(vec![session(1, "one")]).await }
    });
    assert_eq!(timeout(DEADLINE, saved.recv()).await.unwrap(), Some(1));
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    gate.send(None).unwrap();
    assert_eq!(archive.load().await.unwrap().sessions.len(), 1);
    archive.close().await.unwrap();
}
