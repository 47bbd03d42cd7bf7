//! Why an operation is not begun, or does not go on.

use pilotlight_api::FieldError;
use uuid::Uuid;

use crate::keeper::Refused;

/// Why a client's request is not followed. The operation, where there is one, is as before.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OperationError {
    /// The session's site has no such operation.
    #[error("the session's site has no operation `{0}`")]
    UnknownOperation(String),
    /// An input cannot be taken.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The session cannot be had.
    #[error(transparent)]
    Session(#[from] Refused),
    /// A person has to sign in first.
    #[error("the session needs a person first: {0}")]
    NeedsPerson(String),
    /// Another operation of the session is not over.
    #[error("another operation of the session is not over: {0}")]
    Busy(Uuid),
    /// Another request had this key.
    #[error("another request had this `Idempotency-Key`")]
    KeyReused,
    /// There is no such operation.
    #[error("there is no such operation")]
    NotFound,
    /// It has no such file.
    #[error("the operation has no such file")]
    NoFile,
    /// A phase of it runs.
    #[error("a phase of the operation runs")]
    Running,
    /// It is over.
    #[error("the operation is over: it is {0}")]
    Ended(&'static str),
    /// What must be kept of it cannot be.
    #[error("what the operation has made cannot be kept: {0}")]
    NotKept(String),
}
