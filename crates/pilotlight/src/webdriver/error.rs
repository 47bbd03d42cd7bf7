//! WebDriver's errors (<https://www.w3.org/TR/webdriver2/#errors>).

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An error with the standard's code.
#[derive(Debug, thiserror::Error)]
pub enum WebDriverError {
    /// The request is invalid.
    #[error("{0}")]
    InvalidArgument(String),
    /// The session does not exist, or not any more.
    #[error("unknown WebDriver session: it never existed, was deleted, or expired without use")]
    InvalidSessionId,
    /// The command does not exist.
    #[error("unknown command")]
    UnknownCommand,
    /// The command does not support the method.
    #[error("the command does not support this method")]
    UnknownMethod,
    /// The session cannot be created.
    #[error("{0}")]
    SessionNotCreated(String),
    /// A time limit was exceeded.
    #[error("{0}")]
    Timeout(String),
    /// Any other error.
    #[error("{0}")]
    Unknown(String),
}

impl WebDriverError {
    fn row(&self) -> (StatusCode, &'static str) {
        match self {
            Self::InvalidArgument(_) => (StatusCode::BAD_REQUEST, "invalid argument"),
            Self::InvalidSessionId => (StatusCode::NOT_FOUND, "invalid session id"),
            Self::UnknownCommand => (StatusCode::NOT_FOUND, "unknown command"),
            Self::UnknownMethod => (StatusCode::METHOD_NOT_ALLOWED, "unknown method"),
            Self::SessionNotCreated(_) => (StatusCode::INTERNAL_SERVER_ERROR, "session not created"),
            Self::Timeout(_) => (StatusCode::INTERNAL_SERVER_ERROR, "timeout"),
            Self::Unknown(_) => (StatusCode::INTERNAL_SERVER_ERROR, "unknown error"),
        }
    }
}

impl IntoResponse for WebDriverError {
    fn into_response(self) -> Response {
        let (status, error) = self.row();
        (status, Json(error_body(error, &self.to_string()))).into_response()
    }
}

/// Returns the body of an error.
pub(crate) fn error_body(error: &str, message: &str) -> serde_json::Value {
    json!({ "value": { "error": error, "message": message, "stacktrace": "" } })
}
