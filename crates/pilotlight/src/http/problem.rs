//! Error responses, and the extractors for bodies, queries and path segments that produce most of them.

use std::any::Any;
use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use pilotlight_api::{EndedReason, ErrorBody, ErrorCode, FieldError, parse_body};
use pilotlight_core::{Difference, FailureKind, Refusal};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use uuid::Uuid;

use super::{App, BODY_TIMEOUT, MAX_BODY_BYTES, MAX_DISCARDED_BYTES};
use crate::descriptors::{self, Shortage};
use crate::keeper::{CannotSignIn, Refused, ended_reason};
use crate::operations::OperationError;
use crate::plan::PlanError;
use crate::sentence::capitalised;
use crate::webdriver::{WebDriverError, error_body};

/// The default value of `Retry-After`.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// An error response.
#[derive(Debug)]
pub(super) struct Problem {
    body: ErrorBody,
    retry_after: Option<Duration>,
}

impl Problem {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        ErrorBody::new(code, message).into()
    }
}

impl Problem {
    /// Converts the error to a WebDriver response.
    pub(super) fn into_webdriver(self) -> Response {
        let body = error_body("unknown error", &self.in_words()).to_string();
        let mut response = self.into_response();
        *response.body_mut() = axum::body::Body::from(body);
        response
    }

    /// Converts the error to a WebDriver error for a session that could not be created.
    pub(super) fn not_created(self) -> WebDriverError {
        match self.body.code {
            ErrorCode::InvalidBody | ErrorCode::InvalidField => {
                WebDriverError::InvalidArgument(self.in_words())
            }
            _ => WebDriverError::SessionNotCreated(self.in_words()),
        }
    }

    pub(super) fn in_words(&self) -> String {
        let ErrorBody { error, code, hint, .. } = &self.body;
        format!("{error} ({}). {hint}", code.as_str())
    }
}

impl From<ErrorBody> for Problem {
    fn from(body: ErrorBody) -> Self {
        Self { body, retry_after: None }
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        ErrorBody::from(error).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.body.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after =
            self.retry_after.or((status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER));
        let wants_token = self.body.code == ErrorCode::Unauthorized;
        let mut response = (status, Json(self.body)).into_response();
        if let Some(wait) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if status == StatusCode::PAYLOAD_TOO_LARGE {
            // The rest of the body is not read, so the connection cannot be used again.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if wants_token {
            // One header for each: Chromium does not find a scheme in a list.
            for challenge in ["Basic realm=\"pilotlight\"", "Bearer"] {
                response.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
        }
        response
    }
}

impl From<PlanError> for Problem {
    fn from(error: PlanError) -> Self {
        let code = match error {
            PlanError::UnknownSite(_) => ErrorCode::UnknownSite,
            PlanError::UnknownProfile(_) => ErrorCode::UnknownProfile,
            PlanError::CannotSignIn(CannotSignIn::UnknownCredential(_)) => ErrorCode::UnknownCredential,
            PlanError::CannotSignIn(CannotSignIn::UsernameNotUsed) => ErrorCode::UsernameNotUsed,
            PlanError::Field(error) => return error.into(),
            PlanError::CannotSignIn(CannotSignIn::Missing(_) | CannotSignIn::Lacks(_))
            | PlanError::StorageState(_) => ErrorCode::InvalidField,
        };
        Self::new(code, capitalised(&error.to_string()))
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let refusal = match refused {
            Refused::ByRules(refusal) => refusal,
            Refused::Stopping => return Self::new(ErrorCode::Draining, "The server is shutting down"),
        };
        match refusal {
            Refusal::NotFound => ErrorBody::session_not_found().into(),
            Refusal::Ended(reason) => ended(ended_reason(reason), None),
            Refusal::HoldNotFound => Self::new(ErrorCode::HoldNotFound, "Hold not found"),
            Refusal::InUse => Self::new(ErrorCode::SessionInUse, "The session is in use"),
            Refusal::NameTaken { differs } => name_taken(&differs),
            Refusal::AtCapacity { retry_after } => {
                let body = ErrorBody::new(
                    ErrorCode::AtCapacity,
                    "All windows are in use, and none became free in time",
                );
                Self { body, retry_after: Some(retry_after) }
            }
            Refusal::NotReady { retry_after } => {
                let body =
                    ErrorBody::new(ErrorCode::NotReady, "Timed out waiting for the session to become idle");
                Self { body, retry_after: Some(retry_after) }
            }
            Refusal::Draining => Self::new(ErrorCode::Draining, "The server is draining"),
            Refusal::TooMany => Self::new(ErrorCode::Busy, "Too many requests wait for this session"),
            Refusal::Failed(failure) => {
                let code = match failure.kind {
                    FailureKind::Rejected => ErrorCode::SignInFailed,
                    FailureKind::Unreachable => ErrorCode::PortalUnreachable,
                    FailureKind::Unexpected | FailureKind::Untyped => ErrorCode::FlowFailed,
                    FailureKind::Browser => ErrorCode::StartFailed,
                    FailureKind::BrowserMissing => ErrorCode::BrowserMissing,
                    FailureKind::Unrecorded { is_full: true } => ErrorCode::StorageFull,
                    FailureKind::Unrecorded { is_full: false } => ErrorCode::StorageFailed,
                };
                // An error caused by missing file descriptors does not say so by itself.
                let shortage = descriptors::shortage().filter(|_| failure.kind == FailureKind::Browser);
                match shortage {
                    Some(shortage) => {
                        let message = format!("{}: {shortage}", failure.sentence);
                        ErrorBody::new(code, message).with_hint(Shortage::HINT).into()
                    }
                    None => Self::new(code, failure.sentence),
                }
            }
        }
    }
}

/// Returns the error for a name that another session has. `differs` says how that session differs.
fn name_taken(differs: &[Difference]) -> Problem {
    if differs.is_empty() {
        return Problem::new(ErrorCode::NameTaken, "Another session has this name");
    }
    let words = differs.iter().map(|difference| match difference {
        Difference::Site => ("site", "site"),
        Difference::Url => ("url", "page"),
        Difference::Username => ("username", "user name"),
        Difference::Credential => ("credential", "credential"),
        Difference::Password => ("password", "password"),
    });
    let (fields, words): (Vec<&str>, Vec<&str>) = words.unzip();
    let message = format!("The session with this name has a different {}", words.join(" and a different "));
    let hint = "Choose another name, or request the session by its name only.";
    let body = ErrorBody::new(ErrorCode::NameTaken, message).with_hint(hint);
    ErrorBody { differs: fields.into_iter().map(str::to_owned).collect(), ..body }.into()
}

/// Returns the error for a session that has ended, with the cause if there is one.
pub(super) fn ended(reason: EndedReason, why: Option<&str>) -> Problem {
    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
    Problem::new(ErrorCode::SessionEnded, format!("The session has ended: {reason}{why}"))
}

pub(super) async fn no_route() -> Problem {
    Problem::new(ErrorCode::RouteNotFound, "Route not found")
}

pub(super) async fn no_method() -> Problem {
    Problem::new(ErrorCode::MethodNotAllowed, "The route does not support this method")
}

/// Answers a request whose handler panicked. Nothing else is affected.
pub(super) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    Problem::new(ErrorCode::Internal, "An internal error occurred while the request was processed")
        .into_response()
}

/// The content security policy of responses whose route sets none: everything is forbidden.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
const REFERRER_POLICY: HeaderName = HeaderName::from_static("referrer-policy");

/// Adds security headers: responses are not cached, sniffed or framed, and our addresses, which may contain the
/// token, are not sent as a referrer.
pub(super) async fn protected(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(POLICY);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// A JSON body, strictly read. A missing one is an empty object, for routes whose fields all have defaults.
#[derive(Debug)]
pub(super) struct Body<T, const MAX_BYTES: usize = MAX_BODY_BYTES>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync, const MAX_BYTES: usize> FromRequest<S> for Body<T, MAX_BYTES> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
        let late = |_| Err(Problem::new(ErrorCode::RequestTimeout, "The body was not received in time"));
        let bytes = timeout(BODY_TIMEOUT, read(request.into_body(), MAX_BYTES)).await.unwrap_or_else(late)?;
        if bytes.is_empty() {
            return Ok(Self(parse_body(b"{}")?));
        }
        // A page of another site can send forms and plain text without a preflight request, but not JSON.
        let json = content_type.as_ref().and_then(|value| value.to_str().ok()).is_some_and(is_json);
        if !json {
            let message = "The body's content type is not JSON";
            return Err(Problem::new(ErrorCode::UnsupportedMediaType, message));
        }
        Ok(Self(parse_body(&bytes)?))
    }
}

/// Reads a body. One that is too large is read on for a while, or a sender that is still sending would see
/// its connection break instead of the answer.
async fn read(body: axum::body::Body, max_bytes: usize) -> Result<Vec<u8>, Problem> {
    let mut chunks = body.into_data_stream();
    let (mut bytes, mut length) = (Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let cut_off = |error: axum::Error| Problem::new(ErrorCode::InvalidBody, error.to_string());
        let chunk = chunk.map_err(cut_off)?;
        length += chunk.len();
        if length > max_bytes + MAX_DISCARDED_BYTES {
            break;
        }
        if length <= max_bytes {
            bytes.extend_from_slice(&chunk);
        }
    }
    if length > max_bytes {
        let message = format!("The body is larger than {max_bytes} bytes");
        return Err(Problem::new(ErrorCode::PayloadTooLarge, message));
    }
    Ok(bytes)
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// A query, strictly read.
#[derive(Debug)]
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(Problem::new(ErrorCode::InvalidField, rejection.body_text())),
        }
    }
}

/// Returns a segment of the path by its name in the route; `None` if it is not valid text.
async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S, name: &str) -> Option<String> {
    let path = Path::<HashMap<String, String>>::from_request_parts(parts, state).await;
    path.ok().and_then(|Path(mut segments)| segments.remove(name))
}

/// The session's id in a path. Text that is not an id is answered as an unknown session.
#[derive(Debug)]
pub(super) struct Id(pub(super) Uuid);

impl FromRequestParts<App> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let id = segment(parts, app, "id").await.and_then(|id| Uuid::try_parse(&id).ok());
        let id = id.ok_or_else(ErrorBody::session_not_found)?;
        // The session exists: a 404 would make its client create another.
        if app.damaged.is_session(id) {
            let message = "The session's record in the store is damaged";
            return Err(Problem::new(ErrorCode::RecordDamaged, message));
        }
        Ok(Self(id))
    }
}

/// The hold's id in a path.
#[derive(Debug)]
pub(super) struct HoldId(pub(super) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for HoldId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = segment(parts, state, "hold_id").await.and_then(|id| Uuid::try_parse(&id).ok());
        id.map(Self).ok_or_else(|| Refused::ByRules(Refusal::HoldNotFound).into())
    }
}

/// The operation's id in a path.
#[derive(Debug)]
pub(super) struct OperationId(pub(super) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for OperationId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = segment(parts, state, "operation_id").await.and_then(|id| Uuid::try_parse(&id).ok());
        id.map(Self).ok_or_else(|| OperationError::NotFound.into())
    }
}

/// The name of an operation's file in a path.
#[derive(Debug)]
pub(super) struct FileName(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for FileName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        segment(parts, state, "name").await.map(Self).ok_or_else(|| OperationError::NoFile.into())
    }
}

/// The site's name in a path.
#[derive(Debug)]
pub(super) struct SiteName(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for SiteName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name = segment(parts, state, "name").await;
        name.map(Self).ok_or_else(|| Problem::new(ErrorCode::SiteNotFound, "there is no such site"))
    }
}

/// The credential's name in a path.
#[derive(Debug)]
pub(super) struct CredentialName(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for CredentialName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name = segment(parts, state, "name").await;
        name.map(Self)
            .ok_or_else(|| Problem::new(ErrorCode::CredentialNotFound, "there is no such credential"))
    }
}
