//! The keeper's data of each session, besides what the rules know.

use std::collections::BTreeMap;

use pilotlight_core::{PersistedSession, SessionId};

use super::details::SessionDetails;

/// The data of one session.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) details: SessionDetails,
    /// What was last passed to the store writer, if anything.
    pub(super) written: Option<PersistedSession>,
    /// Whether a client was told of it, so that it must be stored.
    pub(super) is_promised: bool,
}

impl Entry {
    /// Returns an entry that is neither stored nor promised.
    pub(super) fn new(details: SessionDetails) -> Self {
        Self { details, written: None, is_promised: false }
    }
}

/// The entries of all sessions until they are forgotten, and of sessions that are only requested.
#[derive(Debug, Default)]
pub(super) struct Entries(BTreeMap<SessionId, Entry>);

impl Entries {
    pub(super) fn get(&self, id: SessionId) -> Option<&Entry> {
        self.0.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Entry> {
        self.0.get_mut(&id)
    }

    pub(super) fn details(&self, id: SessionId) -> Option<&SessionDetails> {
        self.0.get(&id).map(|entry| &entry.details)
    }

    pub(super) fn details_mut(&mut self, id: SessionId) -> Option<&mut SessionDetails> {
        self.0.get_mut(&id).map(|entry| &mut entry.details)
    }

    pub(super) fn insert(&mut self, id: SessionId, entry: Entry) {
        self.0.insert(id, entry);
    }

    pub(super) fn remove(&mut self, id: SessionId) -> Option<Entry> {
        self.0.remove(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SessionId, &Entry)> {
        self.0.iter().map(|(id, entry)| (*id, entry))
    }
}
