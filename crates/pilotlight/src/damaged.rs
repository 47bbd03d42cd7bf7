//! Store records that could not be read when the server started. They are left unchanged until a person decides.

use std::sync::Arc;

use pilotlight_store::{DamagedRecord, RecordKind};
use uuid::Uuid;

use crate::sentence::with_sources;

/// The damaged records. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Damaged(Arc<[DamagedRecord]>);

impl Damaged {
    /// Records damaged records and logs them.
    #[must_use]
    pub fn new(records: Vec<DamagedRecord>) -> Self {
        for record in &records {
            let (kind, id, error) = (record.kind.as_str(), record.id, with_sources(&record.error));
            tracing::error!(kind, %id, error, "a store record cannot be read; run `pilotlight store check` for details");
        }
        Self(records.into())
    }

    /// Returns the number of damaged records.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns whether this is a damaged session.
    #[must_use]
    pub fn is_session(&self, id: Uuid) -> bool {
        self.0.iter().any(|record| record.kind == RecordKind::Session && record.id == id)
    }
}
