//! Errors of requests to operations.

use pilotlight_api::FieldError;
use uuid::Uuid;

use crate::keeper::Refused;

/// Why a request is refused. An existing operation is not changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OperationError {
    /// The session's site has no such operation.
    #[error("the session's site has no operation `{0}`")]
    UnknownOperation(String),
    /// An input is invalid.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The session is not available.
    #[error(transparent)]
    Session(#[from] Refused),
    /// A person has to sign in first.
    #[error("the session needs attention first: {0}")]
    NeedsPerson(String),
    /// Another operation of the session has not ended.
    #[error("another operation of the session has not ended: {0}")]
    Busy(Uuid),
    /// A different request used this key.
    #[error("this `Idempotency-Key` was used for a different request")]
    KeyReused,
    /// The operation does not exist.
    #[error("there is no such operation")]
    NotFound,
    /// The file does not exist.
    #[error("the operation has no such file")]
    NoFile,
    /// A phase is running.
    #[error("a phase of the operation is running")]
    Running,
    /// The operation has ended.
    #[error("the operation has ended: {0}")]
    Ended(&'static str),
    /// The operation's files cannot be stored.
    #[error("the operation's files cannot be stored: {0}")]
    NotKept(String),
}
