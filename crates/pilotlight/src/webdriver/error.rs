//! Errors as WebDriver has them (<https://www.w3.org/TR/webdriver2/#errors>).

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// What went wrong, by the standard's codes.
#[derive(Debug, thiserror::Error)]
pub enum WebDriverError {
    /// What is asked for makes no sense.
    #[error("{0}")]
    InvalidArgument(String),
    /// There is no such session, or no longer.
    #[error(
        "there is no such WebDriver session: it was never there, was deleted, or was not used for too long"
    )]
    InvalidSessionId,
    /// There is no such command.
    #[error("there is no such command")]
    UnknownCommand,
    /// There is, but not with this method.
    #[error("the command exists, but not with this method")]
    UnknownMethod,
    /// No session can be had, and why.
    #[error("{0}")]
    SessionNotCreated(String),
    /// It took too long.
    #[error("{0}")]
    Timeout(String),
    /// Anything else.
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

/// The body of every error.
pub(crate) fn error_body(error: &str, message: &str) -> serde_json::Value {
    json!({ "value": { "error": error, "message": message, "stacktrace": "" } })
}
