//! What the keeper has of each session beside what the rules know.

use std::collections::BTreeMap;

use pilotlight_core::{PersistedSession, SessionId};

use super::details::Details;

/// One session's.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) details: Details,
    /// What was last handed to the store writer; `None` where nothing was.
    pub(super) written: Option<PersistedSession>,
    /// Whether somebody was told of it, so that it must be written down.
    pub(super) is_promised: bool,
}

impl Entry {
    /// One that is neither written down nor promised.
    pub(super) fn new(details: Details) -> Self {
        Self { details, written: None, is_promised: false }
    }
}

/// All sessions', until they are forgotten; of one that is only ordered, too.
#[derive(Debug, Default)]
pub(super) struct Entries(BTreeMap<SessionId, Entry>);

impl Entries {
    pub(super) fn get(&self, id: SessionId) -> Option<&Entry> {
        self.0.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Entry> {
        self.0.get_mut(&id)
    }

    pub(super) fn details(&self, id: SessionId) -> Option<&Details> {
        self.0.get(&id).map(|entry| &entry.details)
    }

    pub(super) fn details_mut(&mut self, id: SessionId) -> Option<&mut Details> {
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
