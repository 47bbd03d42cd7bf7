//! Errors on the wire: a message, a stable code and a hint. [`ErrorCode`] is the documented list of codes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::validate::FieldError;

/// The stable code of an error. Codes are never renamed and never reused; the HTTP status belongs to the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// 400: the body is not valid JSON or is incomplete.
    InvalidBody,
    /// 422: a field is unknown, missing, of the wrong type or has an invalid value.
    InvalidField,
    /// 422: the named site is not defined.
    UnknownSite,
    /// 422: the named credential does not exist.
    UnknownCredential,
    /// 422: the named launch profile is not defined.
    UnknownProfile,
    /// 422: the session's site has no such operation.
    UnknownOperation,
    /// 422: the operation waits for the inputs listed in `missing`.
    NeedsInput,
    /// 422: the site's sign-in flow types a fixed user name, so it cannot sign in as another user.
    UsernameNotUsed,
    /// 422: a different request was sent with the same `Idempotency-Key`.
    IdempotencyKeyReused,
    /// 422: the script threw an exception, or its result cannot be converted to JSON.
    ScriptFailed,
    /// 401: the token is missing or wrong.
    Unauthorized,
    /// 401: the portal rejected the user name and password. No session is created.
    SignInFailed,
    /// 403: the `Host` header is not an allowed host (protection against DNS rebinding).
    ForbiddenHost,
    /// 403: the `Origin` header is not allowed (protection against pages of other sites).
    ForbiddenOrigin,
    /// 404: there is no such route.
    RouteNotFound,
    /// 404: there is no such session.
    SessionNotFound,
    /// 404: there is no such hold, or it has ended.
    HoldNotFound,
    /// 404: there is no such site.
    SiteNotFound,
    /// 404: there is no such operation.
    OperationNotFound,
    /// 404: the operation has no such file, or the session no such screenshot.
    FileNotFound,
    /// 404: there is no such credential.
    CredentialNotFound,
    /// 405: the route exists, but not with this method.
    MethodNotAllowed,
    /// 408: the request did not arrive in time.
    RequestTimeout,
    /// 409: the session is in use.
    SessionInUse,
    /// 409: another session has this name.
    NameTaken,
    /// 409: the site is defined in the configuration, or sessions still use it.
    SiteInUse,
    /// 409: a phase of the operation is running.
    OperationRunning,
    /// 409: the operation has ended.
    OperationEnded,
    /// 409: sessions still use the credential.
    CredentialInUse,
    /// 409: the request is not possible in the session's state.
    WrongState,
    /// 410: the session has ended; `error` says why.
    SessionEnded,
    /// 413: the body is larger than the limit.
    PayloadTooLarge,
    /// 415: the body's content type is not `application/json`.
    UnsupportedMediaType,
    /// 500: an internal error of Pilotlight.
    Internal,
    /// 500: the server stopped while a phase was running; how far it got is unknown.
    OperationInterrupted,
    /// 500: its record in the store is damaged.
    RecordDamaged,
    /// 502: the portal or page could not be reached.
    PortalUnreachable,
    /// 502: the page did not load.
    NavigationFailed,
    /// 502: a step of the sign-in flow, or of an operation's phase, failed on the page.
    FlowFailed,
    /// 503: there is no capacity, and none can be freed; try again later.
    AtCapacity,
    /// 503: no usable Chromium was found.
    BrowserMissing,
    /// 503: the browser could not be started.
    StartFailed,
    /// 503: the server is not ready yet.
    NotReady,
    /// 503: the server is shutting down or draining.
    Draining,
    /// 503: too many requests wait for the same resource.
    Busy,
    /// 503: the change could not be written to the store, so it was not made.
    StorageFailed,
    /// 504: the page or browser did not answer in time.
    Timeout,
    /// 507: the disk is full: the change could not be written to the store, so it was not made.
    StorageFull,
}

impl ErrorCode {
    /// All codes, ordered by status.
    pub const ALL: [Self; 48] = [
        Self::InvalidBody,
        Self::InvalidField,
        Self::UnknownSite,
        Self::UnknownCredential,
        Self::UnknownProfile,
        Self::UnknownOperation,
        Self::NeedsInput,
        Self::UsernameNotUsed,
        Self::IdempotencyKeyReused,
        Self::ScriptFailed,
        Self::Unauthorized,
        Self::SignInFailed,
        Self::ForbiddenHost,
        Self::ForbiddenOrigin,
        Self::RouteNotFound,
        Self::SessionNotFound,
        Self::HoldNotFound,
        Self::SiteNotFound,
        Self::OperationNotFound,
        Self::FileNotFound,
        Self::CredentialNotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::SessionInUse,
        Self::NameTaken,
        Self::SiteInUse,
        Self::OperationRunning,
        Self::OperationEnded,
        Self::CredentialInUse,
        Self::WrongState,
        Self::SessionEnded,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::Internal,
        Self::OperationInterrupted,
        Self::RecordDamaged,
        Self::PortalUnreachable,
        Self::NavigationFailed,
        Self::FlowFailed,
        Self::AtCapacity,
        Self::BrowserMissing,
        Self::StartFailed,
        Self::NotReady,
        Self::Draining,
        Self::Busy,
        Self::StorageFailed,
        Self::Timeout,
        Self::StorageFull,
    ];

    /// Returns the status, the code's text, and the default hint.
    const fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::InvalidBody => (400, "invalid_body", "Send a complete JSON document."),
            Self::InvalidField => {
                (422, "invalid_field", "Correct the field; /openapi.json describes every request.")
            }
            Self::UnknownSite => (
                422,
                "unknown_site",
                "Use a site from the configuration, or define it with PUT /sites/{name}.",
            ),
            Self::UnknownCredential => (
                422,
                "unknown_credential",
                "GET /credentials lists the credentials; PUT /credentials/{name} creates one.",
            ),
            Self::UnknownProfile => (422, "unknown_profile", "`pilotlight flags` lists the launch profiles."),
            Self::UnknownOperation => {
                (422, "unknown_operation", "GET /sites/{name} lists the operations of a site.")
            }
            Self::NeedsInput => {
                (422, "needs_input", "Send the missing inputs with POST /operations/{operation_id}.")
            }
            Self::UsernameNotUsed => (
                422,
                "username_not_used",
                "Put `${username}` into the recording with `pilotlight site check-recording --write FILE`, or omit \
                 the user name if all sessions share one account.",
            ),
            Self::IdempotencyKeyReused => (
                422,
                "idempotency_key_reused",
                "Use a new key for each request; a repeated request must be identical.",
            ),
            Self::ScriptFailed => {
                (422, "script_failed", "Correct the expression; its result must be a JSON value.")
            }
            Self::Unauthorized => (
                401,
                "unauthorized",
                "Send `Authorization: Bearer TOKEN`; `pilotlight token` prints the token.",
            ),
            Self::SignInFailed => {
                (401, "sign_in_failed", "Check the user name and password on the portal itself.")
            }
            Self::ForbiddenHost => (
                403,
                "forbidden_host",
                "Use the server's own address, or add the host to `server.allowed_hosts`.",
            ),
            Self::ForbiddenOrigin => (
                403,
                "forbidden_origin",
                "If you trust the page, add its origin to `server.allowed_origins`.",
            ),
            Self::RouteNotFound => {
                (404, "route_not_found", "/openapi.json lists the routes and their methods.")
            }
            Self::SessionNotFound => (404, "session_not_found", "GET /sessions lists the sessions."),
            Self::HoldNotFound => (404, "hold_not_found", "Take a new hold with POST /sessions/{id}/hold."),
            Self::SiteNotFound => {
                (404, "site_not_found", "Define it with PUT /sites/{name} or in the configuration.")
            }
            Self::OperationNotFound => (404, "operation_not_found", "GET /operations lists the operations."),
            Self::FileNotFound => (
                404,
                "file_not_found",
                "GET /operations/{operation_id} and GET /sessions/{id}/failure list the available files.",
            ),
            Self::CredentialNotFound => (
                404,
                "credential_not_found",
                "GET /credentials lists the credentials; PUT /credentials/{name} creates one.",
            ),
            Self::MethodNotAllowed => {
                (405, "method_not_allowed", "/openapi.json lists the routes and their methods.")
            }
            Self::RequestTimeout => {
                (408, "request_timeout", "Send the complete request without long pauses.")
            }
            Self::SessionInUse => {
                (409, "session_in_use", "Try again when the hold has been released or has expired.")
            }
            Self::NameTaken => (409, "name_taken", "Choose another name."),
            Self::SiteInUse => {
                (409, "site_in_use", "Change it in the configuration, or close the sessions that use it.")
            }
            Self::OperationRunning => (409, "operation_running", "Wait until the phase has ended."),
            Self::OperationEnded => (409, "operation_ended", "Start a new operation."),
            Self::CredentialInUse => {
                (409, "credential_in_use", "Close the sessions that use it, or change its values.")
            }
            Self::WrongState => {
                (409, "wrong_state", "Check the session's state, and try again when it has changed.")
            }
            Self::SessionEnded => (410, "session_ended", "Create a new session."),
            Self::PayloadTooLarge => (413, "payload_too_large", "Send a smaller body."),
            Self::UnsupportedMediaType => {
                (415, "unsupported_media_type", "Send `Content-Type: application/json`.")
            }
            Self::Internal => {
                (500, "internal", "This is a bug in Pilotlight; see the server's log for details.")
            }
            Self::OperationInterrupted => {
                (500, "operation_interrupted", "Check on the portal how far it got before you repeat it.")
            }
            Self::RecordDamaged => (
                500,
                "record_damaged",
                "`pilotlight store check` shows what is wrong; restore a backup, or remove the record with \
                 `pilotlight store forget`.",
            ),
            Self::PortalUnreachable => {
                (502, "portal_unreachable", "Check that the portal can be reached from this machine.")
            }
            Self::NavigationFailed => {
                (502, "navigation_failed", "Check the URL, and that it can be reached from this machine.")
            }
            Self::FlowFailed => {
                (502, "flow_failed", "Record the sign-in again: the portal's page may have changed.")
            }
            Self::AtCapacity => {
                (503, "at_capacity", "Close a session, raise `limits.max_live`, or try again later.")
            }
            Self::BrowserMissing => (
                503,
                "browser_missing",
                "Install chromium-headless-shell or chromium, or set `chromium.binary`.",
            ),
            Self::StartFailed => (503, "start_failed", "See the server's log for Chromium's error output."),
            Self::NotReady => (503, "not_ready", "Try again in a moment."),
            Self::Draining => (503, "draining", "Try again after the server has restarted."),
            Self::Busy => (503, "busy", "Try again in a moment."),
            Self::StorageFailed => (
                503,
                "storage_failed",
                "Check that the server can write to its state folder; see its log for the cause.",
            ),
            Self::Timeout => {
                (504, "timeout", "Try again; if the problem persists, refresh or restart the session.")
            }
            Self::StorageFull => {
                (507, "storage_full", "Free space on the file system of the server's state folder.")
            }
        }
    }

    /// Returns the HTTP status of the code.
    pub const fn status(self) -> u16 {
        self.row().0
    }

    /// Returns the code as it is written in JSON.
    pub const fn as_str(self) -> &'static str {
        self.row().1
    }

    /// Returns the default hint.
    pub const fn hint(self) -> &'static str {
        self.row().2
    }
}

/// The body of every error response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// Always false.
    pub success: bool,
    /// The error message: one sentence.
    pub error: String,
    /// The stable code.
    pub code: ErrorCode,
    /// What to do about the error.
    pub hint: String,
    /// With `name_taken`: the fields in which the existing session differs from the request: `site`, `url`,
    /// `username`, `credential`, `password`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<String>,
}

impl ErrorBody {
    /// Creates an error with the code's default hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let (error, hint) = (message.into(), code.hint().to_owned());
        Self { success: false, error, code, hint, differs: Vec::new() }
    }

    /// Replaces the hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Returns the error for an unknown session id. Clients rely on its exact wording.
    pub fn session_not_found() -> Self {
        Self::new(ErrorCode::SessionNotFound, "Session not found")
    }
}

impl From<FieldError> for ErrorBody {
    fn from(error: FieldError) -> Self {
        Self::new(ErrorCode::InvalidField, format!("Field {error}."))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_list_of_codes_is_whole_and_consistent() {
        let mut seen = BTreeSet::new();
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert!(seen.insert(code.as_str()), "{} stands twice in ALL", code.as_str());
            assert!((400..600).contains(&code.status()));
            assert!(code.hint().ends_with('.'), "{}", code.as_str());
        }
        let schema = serde_json::to_value(<ErrorCode as utoipa::PartialSchema>::schema()).unwrap();
        let described = schema["enum"].as_array().or_else(|| schema["oneOf"].as_array()).unwrap().len();
        assert_eq!(described, ErrorCode::ALL.len(), "ALL misses a code");
    }

    #[test]
    fn an_unknown_session_reads_as_the_contract_says() {
        let body = serde_json::to_value(ErrorBody::session_not_found()).unwrap();
        assert_eq!(body["success"], false);
        assert_eq!(body["error"], "Session not found");
        assert_eq!(body["code"], "session_not_found");
    }
}
