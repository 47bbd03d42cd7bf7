//! What is inside a seal: JSON that names its version and kind, `{"version":1,"record":…}`, with `checkpoint`,
//! `operation` or `credential` for the others.
//!
//! Every version that a release ever wrote can be read by all later ones; the golden files in `tests/golden`
//! are there to show it. Never may anything of the content come into an error.

use pilotlight_checkpoint::Checkpoint;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::error::{RecordError, StoreError};
use crate::operation::OperationRecord;
use crate::record::{CredentialRecord, SessionRecord};
use uuid::Uuid;

/// The version that is written.
const VERSION: u32 = 1;

/// The largest record, in bytes before it is sealed. SQLite itself ends at a thousand million.
pub const RECORD_BYTES_MAX: usize = 256 << 20;

/// How deeply the values of IndexedDB may be nested. The parser ends at 128, and some are around them.
pub const NESTING_MAX: usize = 100;

/// What a kind of record is called in its envelope.
trait Content: Serialize + for<'de> Deserialize<'de> {
    const NAME: &'static str;
}

impl Content for SessionRecord {
    const NAME: &'static str = "record";
}

impl Content for CredentialRecord {
    const NAME: &'static str = "credential";
}

impl Content for Checkpoint {
    const NAME: &'static str = "checkpoint";
}

impl Content for OperationRecord {
    const NAME: &'static str = "operation";
}

pub(crate) fn encode_record(record: &SessionRecord) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    encode(record.id, record)
}

pub(crate) fn decode_record(bytes: &[u8]) -> Result<SessionRecord, RecordError> {
    decode(bytes)
}

pub(crate) fn encode_credential(record: &CredentialRecord) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    encode(record.id, record)
}

pub(crate) fn decode_credential(bytes: &[u8]) -> Result<CredentialRecord, RecordError> {
    decode(bytes)
}

pub(crate) fn encode_checkpoint(
    session: Uuid,
    checkpoint: &Checkpoint,
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let values = checkpoint.origins.iter().flat_map(|origin| &origin.indexed_db);
    if values.into_iter().any(|value| !is_within(value, NESTING_MAX)) {
        return Err(StoreError::TooLarge { session, problem: "its IndexedDB is nested too deeply" });
    }
    encode(session, checkpoint)
}

pub(crate) fn decode_checkpoint(bytes: &[u8]) -> Result<Checkpoint, RecordError> {
    decode(bytes)
}

pub(crate) fn encode_operation(operation: &OperationRecord) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    encode(operation.session, operation)
}

pub(crate) fn decode_operation(bytes: &[u8]) -> Result<OperationRecord, RecordError> {
    decode(bytes)
}

fn encode<T: Content>(session: Uuid, content: &T) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let too_large = |problem| StoreError::TooLarge { session, problem };
    let mut bytes = Zeroizing::new(format!(r#"{{"version":{VERSION},"{}":"#, T::NAME).into_bytes());
    // Nothing that these types can hold is beyond JSON.
    serde_json::to_writer(&mut *bytes, content).map_err(|_| too_large("it cannot be converted to JSON"))?;
    bytes.push(b'}');
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(too_large("it is larger than 256 MiB"));
    }
    Ok(bytes)
}

fn decode<T: Content>(bytes: &[u8]) -> Result<T, RecordError> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        version: u32,
        #[serde(borrow, rename = "record", alias = "checkpoint", alias = "operation", alias = "credential")]
        content: Option<&'a RawValue>,
    }
    let malformed =
        |error: serde_json::Error| RecordError::Malformed { line: error.line(), column: error.column() };
    let Envelope { version, content } = serde_json::from_slice(bytes).map_err(malformed)?;
    match (version, content) {
        (VERSION, Some(content)) => serde_json::from_str(content.get()).map_err(malformed),
        (found, _) if found > VERSION => Err(RecordError::Newer { found, known: VERSION }),
        _ => Err(RecordError::Malformed { line: 1, column: 1 }),
    }
}

/// Whether a value is nested at most so many levels.
fn is_within(value: &Value, levels: usize) -> bool {
    let below = |value| levels > 0 && is_within(value, levels - 1);
    match value {
        Value::Array(values) => values.iter().all(below),
        Value::Object(members) => members.values().all(below),
        _ => true,
    }
}

#[cfg(test)]
#[path = "format/tests.rs"]
mod tests;
