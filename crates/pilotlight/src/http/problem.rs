//! Every answer that is not a success, and the reading of bodies, which is where most of them begin.

use std::any::Any;
use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use pilotlight_api::{EndedReason, ErrorBody, ErrorCode, FieldError, parse_body};
use pilotlight_core::{FailureKind, Refusal};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use uuid::Uuid;

use super::{BODY_TIMEOUT, MAX_BODY_BYTES, MAX_DISCARDED_BYTES};
use crate::keeper::{Refused, ended_reason};
use crate::operations::OperationError;
use crate::plan::PlanError;
use crate::sentence::capitalised;
use crate::webdriver::{WebDriverError, error_body};

/// What a client that is told to come back later is told to wait, where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// An answer that is not a success.
#[derive(Debug)]
pub(super) struct Problem {
    body: ErrorBody,
    retry_after: Option<Duration>,
}

impl Problem {
    pub(super) fn new(code: ErrorCode, sentence: impl Into<String>) -> Self {
        ErrorBody::new(code, sentence).into()
    }
}

impl Problem {
    /// The same answer to a client that speaks WebDriver.
    pub(super) fn into_webdriver(self) -> Response {
        let body = error_body("unknown error", &self.in_words()).to_string();
        let mut response = self.into_response();
        *response.body_mut() = axum::body::Body::from(body);
        response
    }

    /// As one of WebDriver's own errors, where no session came of it.
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
            // What is left of the body is not read: nothing else can come over this connection.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if wants_token {
            let challenge = HeaderValue::from_static("Basic realm=\"pilotlight\", Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<PlanError> for Problem {
    fn from(error: PlanError) -> Self {
        let code = match error {
            PlanError::UnknownSite(_) => ErrorCode::UnknownSite,
            PlanError::UnknownProfile(_) => ErrorCode::UnknownProfile,
            PlanError::UnknownCredential(_) => ErrorCode::UnknownCredential,
            PlanError::Field(error) => return error.into(),
            PlanError::Missing(_) | PlanError::Lacks(_) | PlanError::StorageState(_) => {
                ErrorCode::InvalidField
            }
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
            Refusal::InUse => Self::new(ErrorCode::SessionInUse, "Somebody holds the session"),
            Refusal::NameTaken => Self::new(ErrorCode::NameTaken, "Another living session has this name"),
            Refusal::AtCapacity { retry_after } => {
                let body = ErrorBody::new(
                    ErrorCode::AtCapacity,
                    "Every window is taken, and none came free in time",
                );
                Self { body, retry_after: Some(retry_after) }
            }
            Refusal::NotReady { retry_after } => {
                let body = ErrorBody::new(ErrorCode::NotReady, "The session did not come to rest in time");
                Self { body, retry_after: Some(retry_after) }
            }
            Refusal::Draining => Self::new(ErrorCode::Draining, "The server puts everything to rest"),
            Refusal::TooMany => Self::new(ErrorCode::Busy, "Too many requests wait for this session"),
            Refusal::Failed(failure) => {
                let code = match failure.kind {
                    FailureKind::Rejected => ErrorCode::SignInFailed,
                    FailureKind::Unreachable => ErrorCode::PortalUnreachable,
                    FailureKind::Unexpected | FailureKind::Untyped => ErrorCode::FlowFailed,
                    FailureKind::Browser => ErrorCode::StartFailed,
                    FailureKind::BrowserMissing => ErrorCode::BrowserMissing,
                };
                Self::new(code, failure.sentence)
            }
        }
    }
}

/// What is said of a session that has ended, with what went wrong where something did.
pub(super) fn ended(reason: EndedReason, why: Option<&str>) -> Problem {
    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
    Problem::new(ErrorCode::SessionEnded, format!("The session has ended: {reason}{why}"))
}

pub(super) async fn no_route() -> Problem {
    Problem::new(ErrorCode::RouteNotFound, "There is no such route")
}

pub(super) async fn no_method() -> Problem {
    Problem::new(ErrorCode::MethodNotAllowed, "The route exists, but not with this method")
}

/// A fault of ours ends one request and nothing else.
pub(super) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    Problem::new(ErrorCode::Internal, "A fault in Pilotlight ended this request").into_response()
}

/// Nothing that we say of sessions belongs into a cache, and nothing is to be guessed from its bytes.
pub(super) async fn no_store(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A JSON body, strictly read. A missing one is an empty object, for routes whose fields all have defaults.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
        let late = |_| Err(Problem::new(ErrorCode::RequestTimeout, "The body did not arrive in time"));
        let bytes = timeout(BODY_TIMEOUT, read(request.into_body())).await.unwrap_or_else(late)?;
        if bytes.is_empty() {
            return Ok(Self(parse_body(b"{}")?));
        }
        // A page of another site can send forms and plain text without asking first, JSON it cannot.
        let json = content_type.as_ref().and_then(|value| value.to_str().ok()).is_some_and(is_json);
        if !json {
            let sentence = "The body is not declared as JSON";
            return Err(Problem::new(ErrorCode::UnsupportedMediaType, sentence));
        }
        Ok(Self(parse_body(&bytes)?))
    }
}

/// Reads a body. One that is too large is read on for a while, or a sender that is still sending would see
/// its connection break instead of the answer.
async fn read(body: axum::body::Body) -> Result<Vec<u8>, Problem> {
    let mut chunks = body.into_data_stream();
    let (mut bytes, mut length) = (Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let cut_off = |error: axum::Error| Problem::new(ErrorCode::InvalidBody, error.to_string());
        let chunk = chunk.map_err(cut_off)?;
        length += chunk.len();
        if length > MAX_BODY_BYTES + MAX_DISCARDED_BYTES {
            break;
        }
        if length <= MAX_BODY_BYTES {
            bytes.extend_from_slice(&chunk);
        }
    }
    if length > MAX_BODY_BYTES {
        let sentence = format!("The body is larger than {MAX_BODY_BYTES} bytes");
        return Err(Problem::new(ErrorCode::PayloadTooLarge, sentence));
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

/// One segment of the path by its name in the route; `None` where it is not even text.
async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S, name: &str) -> Option<String> {
    let path = Path::<HashMap<String, String>>::from_request_parts(parts, state).await;
    path.ok().and_then(|Path(mut segments)| segments.remove(name))
}

/// The session's id in a path. What is no id names no session.
#[derive(Debug)]
pub(super) struct Id(pub(super) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = segment(parts, state, "id").await.and_then(|id| Uuid::try_parse(&id).ok());
        id.map(Self).ok_or_else(|| ErrorBody::session_not_found().into())
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
