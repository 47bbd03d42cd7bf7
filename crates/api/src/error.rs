//! Errors on the wire: one sentence, one stable code, one hint. [`ErrorCode`] is the documented list.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::validate::FieldError;

/// The stable code of an error. Codes are never renamed and never reused; the HTTP status belongs to the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// 400: the body is not JSON, or is cut off.
    InvalidBody,
    /// 422: a field is unknown, missing, of the wrong type or has a value that cannot be accepted.
    InvalidField,
    /// 422: the named site is not defined.
    UnknownSite,
    /// 422: the named credential is not there.
    UnknownCredential,
    /// 422: the named launch profile is not defined.
    UnknownProfile,
    /// 422: the session's site has no such operation.
    UnknownOperation,
    /// 422: the operation waits for the inputs that stand in `missing`.
    NeedsInput,
    /// 422: another request had the same `Idempotency-Key`.
    IdempotencyKeyReused,
    /// 422: the script in the page threw, or its result cannot be given as JSON.
    ScriptFailed,
    /// 401: the token is missing or wrong.
    Unauthorized,
    /// 401: the portal did not accept the user name and password. Nothing is left behind.
    SignInFailed,
    /// 403: the `Host` header is not one of ours (protection against DNS rebinding).
    ForbiddenHost,
    /// 403: the `Origin` header is foreign (protection against other sites' pages).
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
    /// 404: the operation has no such file, or the session no such picture.
    FileNotFound,
    /// 404: there is no such credential.
    CredentialNotFound,
    /// 405: the route exists, but not with this method.
    MethodNotAllowed,
    /// 408: the request did not arrive in time.
    RequestTimeout,
    /// 409: somebody holds the session.
    SessionInUse,
    /// 409: another session has that name.
    NameTaken,
    /// 409: the site comes from the configuration, or sessions still use it.
    SiteInUse,
    /// 409: a phase of the operation runs.
    OperationRunning,
    /// 409: the operation is over.
    OperationEnded,
    /// 409: sessions still sign in with the credential.
    CredentialInUse,
    /// 409: the session is in a state in which this cannot be done.
    WrongState,
    /// 410: the session has ended; `error` says why.
    SessionEnded,
    /// 413: the body is larger than the server takes.
    PayloadTooLarge,
    /// 415: the body is not declared as `application/json`.
    UnsupportedMediaType,
    /// 500: a fault in Pilotlight.
    Internal,
    /// 500: the server ended in the middle of a phase, of which nobody knows how far it came.
    OperationInterrupted,
    /// 502: the portal or page could not be reached.
    PortalUnreachable,
    /// 502: the page did not load.
    NavigationFailed,
    /// 502: the sign-in flow, or a phase of an operation, could not be carried out on the page as it is.
    FlowFailed,
    /// 503: no room, and nothing may make room; come again.
    AtCapacity,
    /// 503: no usable Chromium was found.
    BrowserMissing,
    /// 503: the browser could not be started.
    StartFailed,
    /// 503: the server is not ready yet.
    NotReady,
    /// 503: the server is shutting down, or puts everything to rest.
    Draining,
    /// 503: too many requests wait for the same thing.
    Busy,
    /// 504: the page or browser did not answer in time.
    Timeout,
}

impl ErrorCode {
    /// All codes, in the order of their status.
    pub const ALL: [Self; 44] = [
        Self::InvalidBody,
        Self::InvalidField,
        Self::UnknownSite,
        Self::UnknownCredential,
        Self::UnknownProfile,
        Self::UnknownOperation,
        Self::NeedsInput,
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
        Self::PortalUnreachable,
        Self::NavigationFailed,
        Self::FlowFailed,
        Self::AtCapacity,
        Self::BrowserMissing,
        Self::StartFailed,
        Self::NotReady,
        Self::Draining,
        Self::Busy,
        Self::Timeout,
    ];

    /// Status, text of the code, and what to do about it where nothing better is known.
    const fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::InvalidBody => (400, "invalid_body", "Send a complete JSON document."),
            Self::InvalidField => {
                (422, "invalid_field", "Correct the field; /openapi.json describes every request.")
            }
            Self::UnknownSite => (
                422,
                "unknown_site",
                "Name a site from the configuration, or define it with PUT /sites/{name}.",
            ),
            Self::UnknownCredential => {
                (422, "unknown_credential", "GET /credentials lists them; PUT /credentials/{name} makes one.")
            }
            Self::UnknownProfile => (422, "unknown_profile", "`pilotlight flags` lists the launch profiles."),
            Self::UnknownOperation => {
                (422, "unknown_operation", "GET /sites/{name} lists the operations of a site.")
            }
            Self::NeedsInput => {
                (422, "needs_input", "Send what is missing with POST /operations/{operation_id}.")
            }
            Self::IdempotencyKeyReused => (
                422,
                "idempotency_key_reused",
                "Give every request a key of its own, and repeat it unchanged.",
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
                "Use the address that the server listens on, or add it to `server.allowed_hosts`.",
            ),
            Self::ForbiddenOrigin => {
                (403, "forbidden_origin", "Add the page's origin to `server.allowed_origins` if it is yours.")
            }
            Self::RouteNotFound => {
                (404, "route_not_found", "/openapi.json lists the routes and their methods.")
            }
            Self::SessionNotFound => (404, "session_not_found", "GET /sessions lists the sessions."),
            Self::HoldNotFound => (404, "hold_not_found", "Take a new hold with POST /sessions/{id}/hold."),
            Self::SiteNotFound => {
                (404, "site_not_found", "Define it with PUT /sites/{name} or in the configuration.")
            }
            Self::OperationNotFound => (
                404,
                "operation_not_found",
                "GET /operations lists the operations of sessions that are known.",
            ),
            Self::FileNotFound => (
                404,
                "file_not_found",
                "GET /operations/{operation_id} and GET /sessions/{id}/failure name what there is.",
            ),
            Self::CredentialNotFound => (
                404,
                "credential_not_found",
                "GET /credentials lists them; PUT /credentials/{name} makes one.",
            ),
            Self::MethodNotAllowed => {
                (405, "method_not_allowed", "/openapi.json lists the routes and their methods.")
            }
            Self::RequestTimeout => (408, "request_timeout", "Send the whole request at once."),
            Self::SessionInUse => {
                (409, "session_in_use", "Try again when the hold is given back or has expired.")
            }
            Self::NameTaken => (409, "name_taken", "Choose another name."),
            Self::SiteInUse => {
                (409, "site_in_use", "Change it in the configuration, or close the sessions that use it.")
            }
            Self::OperationRunning => {
                (409, "operation_running", "Wait until it is done or asks for something.")
            }
            Self::OperationEnded => (409, "operation_ended", "Begin another one."),
            Self::CredentialInUse => (
                409,
                "credential_in_use",
                "Close the sessions that sign in with it, or give it other values.",
            ),
            Self::WrongState => {
                (409, "wrong_state", "Look at the session's state, and try again when it has changed.")
            }
            Self::SessionEnded => (410, "session_ended", "Create a new session."),
            Self::PayloadTooLarge => (413, "payload_too_large", "Send a smaller body."),
            Self::UnsupportedMediaType => {
                (415, "unsupported_media_type", "Send `Content-Type: application/json`.")
            }
            Self::Internal => (500, "internal", "This is a fault in Pilotlight; its log says more."),
            Self::OperationInterrupted => {
                (500, "operation_interrupted", "Look at the portal how far it came before you repeat it.")
            }
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
            Self::StartFailed => (503, "start_failed", "The server's log has what Chromium said."),
            Self::NotReady => (503, "not_ready", "Try again in a moment."),
            Self::Draining => (503, "draining", "Try again once the server has been started anew."),
            Self::Busy => (503, "busy", "Try again in a moment."),
            Self::Timeout => (504, "timeout", "Try again; if it stays, refresh or restart the session."),
        }
    }

    /// The HTTP status that goes with the code.
    pub const fn status(self) -> u16 {
        self.row().0
    }

    /// The code as it stands in the answer.
    pub const fn as_str(self) -> &'static str {
        self.row().1
    }

    /// What to do about it, where nothing better is known.
    pub const fn hint(self) -> &'static str {
        self.row().2
    }
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// Always false.
    pub success: bool,
    /// What went wrong, in one sentence.
    pub error: String,
    /// The stable code.
    pub code: ErrorCode,
    /// What to do about it.
    pub hint: String,
}

impl ErrorBody {
    /// An error with the code's own hint.
    pub fn new(code: ErrorCode, sentence: impl Into<String>) -> Self {
        Self { success: false, error: sentence.into(), code, hint: code.hint().to_owned() }
    }

    /// The same with a better hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The answer to an unknown session id, word for word as the contract has it.
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
