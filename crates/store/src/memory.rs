//! A store in memory, for tests.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use pilotlight_checkpoint::Checkpoint;
use uuid::Uuid;

use crate::error::StoreError;
use crate::format;
use crate::operation::OperationRecord;
use crate::record::{CredentialRecord, SessionRecord};
use crate::store::{CheckpointInfo, Loaded, LoadedOperations, LoadedSession, Store};

/// Sessions, checkpoints, operations and credentials in memory, not sealed.
#[derive(Debug, Default)]
pub struct MemoryStore {
    sessions: BTreeMap<Uuid, SessionRecord>,
    checkpoints: BTreeMap<Uuid, (CheckpointInfo, Checkpoint)>,
    operations: BTreeMap<Uuid, OperationRecord>,
    credentials: BTreeMap<Uuid, CredentialRecord>,
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        let session = |record: &SessionRecord| LoadedSession {
            record: record.clone(),
            checkpoint: self.checkpoints.get(&record.id).map(|(info, _)| *info),
        };
        Ok(Loaded {
            sessions: self.sessions.values().map(session).collect(),
            credentials: self.credentials.values().cloned().collect(),
            damaged: Vec::new(),
        })
    }

    fn save_sessions(&mut self, records: &[SessionRecord]) -> Result<(), StoreError> {
        self.sessions.extend(records.iter().map(|record| (record.id, record.clone())));
        Ok(())
    }

    fn save_checkpoint(&mut self, session: Uuid, checkpoint: &Checkpoint) -> Result<u64, StoreError> {
        if !self.sessions.contains_key(&session) {
            return Err(StoreError::NoSession(session));
        }
        let stored_bytes = format::encode_checkpoint(session, checkpoint)?.len() as u64;
        let info = CheckpointInfo { taken_at_ms: checkpoint.taken_at_ms, stored_bytes };
        self.checkpoints.insert(session, (info, checkpoint.clone()));
        Ok(stored_bytes)
    }

    fn checkpoint(&mut self, session: Uuid) -> Result<Option<Checkpoint>, StoreError> {
        Ok(self.checkpoints.get(&session).map(|(_, checkpoint)| checkpoint.clone()))
    }

    fn operations(&mut self) -> Result<LoadedOperations, StoreError> {
        Ok(LoadedOperations { operations: self.operations.values().cloned().collect(), damaged: Vec::new() })
    }

    fn save_operation(&mut self, operation: &OperationRecord) -> Result<(), StoreError> {
        if !self.sessions.contains_key(&operation.session) {
            return Err(StoreError::NoSession(operation.session));
        }
        self.operations.insert(operation.id, operation.clone());
        Ok(())
    }

    fn remove_operations(&mut self, operations: &[Uuid]) -> Result<(), StoreError> {
        self.operations.retain(|id, _| !operations.contains(id));
        Ok(())
    }

    fn remove_sessions(&mut self, sessions: &[Uuid]) -> Result<(), StoreError> {
        for session in sessions {
            self.sessions.remove(session);
            self.checkpoints.remove(session);
            self.operations.retain(|_, operation| operation.session != *session);
        }
        Ok(())
    }

    fn strip_sessions(&mut self, sessions: &[Uuid]) -> Result<(), StoreError> {
        for session in sessions {
            self.checkpoints.remove(session);
            self.operations.retain(|_, operation| operation.session != *session);
        }
        Ok(())
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn save_credential(&mut self, record: &CredentialRecord) -> Result<(), StoreError> {
        self.credentials.insert(record.id, record.clone());
        Ok(())
    }

    fn remove_credential(&mut self, id: Uuid) -> Result<(), StoreError> {
        self.credentials.remove(&id);
        Ok(())
    }

    fn backup(&mut self, path: &Path) -> Result<(), StoreError> {
        let source = Arc::new(io::Error::new(io::ErrorKind::Unsupported, "a store in memory has no copies"));
        Err(StoreError::Io { path: path.to_owned(), source })
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
