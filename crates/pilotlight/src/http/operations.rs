//! Routes of operations: start, continue, show, cancel; their files.

use std::io;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pilotlight_api::{
    ContinueOperation, ErrorBody, ErrorCode, FieldError, OperationAnswer, OperationsAnswer, OperationsQuery,
    RunOperation,
};
use uuid::Uuid;

use super::App;
use super::problem::{Body, FileName, Id, OperationId, Parameters, Problem};
use super::streamed::streamed;
use crate::operations::OperationError;
use crate::sentence::capitalised;

/// The header by which a client repeats a request without having it followed twice.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The longest such key, in bytes.
const MAX_KEY_BYTES: usize = 255;

impl From<OperationError> for Problem {
    fn from(error: OperationError) -> Self {
        let code = match error {
            OperationError::Field(error) => return error.into(),
            OperationError::Session(refused) => return refused.into(),
            OperationError::UnknownOperation(_) => ErrorCode::UnknownOperation,
            OperationError::NeedsPerson(_) => ErrorCode::WrongState,
            OperationError::Busy(_) => ErrorCode::SessionInUse,
            OperationError::KeyReused => ErrorCode::IdempotencyKeyReused,
            OperationError::NotFound => ErrorCode::OperationNotFound,
            OperationError::NoFile => ErrorCode::FileNotFound,
            OperationError::Running => ErrorCode::OperationRunning,
            OperationError::Ended(_) => ErrorCode::OperationEnded,
            OperationError::NotKept(_) => ErrorCode::Internal,
        };
        Self::new(code, capitalised(&error.to_string()))
    }
}

/// Returns the operation with the HTTP status of its outcome.
fn answered(answer: OperationAnswer) -> Response {
    let status = answer.code.map_or(200, ErrorCode::status);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(answer)).into_response()
}

fn key(headers: &HeaderMap) -> Result<Option<String>, FieldError> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = key.to_str().ok().filter(|key| !key.is_empty() && key.len() <= MAX_KEY_BYTES);
    let problem = || {
        let problem = format!("must have 1 to {MAX_KEY_BYTES} ASCII characters");
        FieldError::new("Idempotency-Key", problem)
    };
    key.map(|key| Some(key.to_owned())).ok_or_else(problem)
}

/// Runs an operation of the session's site. Answers when the operation is done or needs input.
#[utoipa::path(post, path = "/sessions/{id}/operations", tag = "operations", request_body = RunOperation, params(
    ("id" = Uuid, Path),
    ("Idempotency-Key" = Option<String>, Header, description = "A repeated request with the same key gets the answer of the first one")), responses(
    (status = 200, description = "The operation is done", body = OperationAnswer),
    (status = 422, description = "The operation needs the inputs in `missing`, or the request is invalid", body = OperationAnswer),
    (status = "4XX", description = "The session does not exist, or is in use", body = ErrorBody),
    (status = "5XX", description = "A step failed", body = OperationAnswer)))]
pub(super) async fn begin(
    State(app): State<App>,
    Id(id): Id,
    headers: HeaderMap,
    Body(wanted): Body<RunOperation>,
) -> Result<Response, Problem> {
    let key = key(&headers)?;
    app.living(id)?;
    Ok(answered(app.operations.begin(id, wanted, key).await?))
}

/// Continues an operation that waits for input.
#[utoipa::path(post, path = "/operations/{operation_id}", tag = "operations", request_body = ContinueOperation, params(
    ("operation_id" = Uuid, Path),
    ("Idempotency-Key" = Option<String>, Header, description = "As for the request that starts the operation")), responses(
    (status = 200, description = "The operation is done", body = OperationAnswer),
    (status = 422, description = "The operation still needs the inputs in `missing`, or the request is invalid", body = OperationAnswer),
    (status = "4XX", description = "The operation does not exist, is running, or has ended", body = ErrorBody),
    (status = "5XX", description = "A step failed", body = OperationAnswer)))]
pub(super) async fn go_on(
    State(app): State<App>,
    OperationId(id): OperationId,
    headers: HeaderMap,
    Body(more): Body<ContinueOperation>,
) -> Result<Response, Problem> {
    Ok(answered(app.operations.go_on(id, more, key(&headers)?).await?))
}

/// Returns an operation.
#[utoipa::path(get, path = "/operations/{operation_id}", tag = "operations", params(("operation_id" = Uuid, Path)), responses(
    (status = 200, description = "The operation's current state", body = OperationAnswer),
    (status = "4XX", description = "The operation does not exist", body = ErrorBody)))]
pub(super) async fn show(
    State(app): State<App>,
    OperationId(id): OperationId,
) -> Result<Json<OperationAnswer>, Problem> {
    Ok(Json(app.operations.show(id)?))
}

/// Cancels an operation. Its session stays.
#[utoipa::path(delete, path = "/operations/{operation_id}", tag = "operations", params(("operation_id" = Uuid, Path)), responses(
    (status = 200, description = "The operation is cancelled", body = OperationAnswer),
    (status = "4XX", description = "The operation does not exist or has already ended", body = ErrorBody)))]
pub(super) async fn cancel(
    State(app): State<App>,
    OperationId(id): OperationId,
) -> Result<Json<OperationAnswer>, Problem> {
    Ok(Json(app.operations.cancel(id).await?))
}

/// Lists all operations, newest first.
#[utoipa::path(get, path = "/operations", tag = "operations", params(OperationsQuery), responses(
    (status = 200, description = "The operations", body = OperationsAnswer),
    (status = "4XX", description = "A filter is invalid", body = ErrorBody)))]
pub(super) async fn list(
    State(app): State<App>,
    Parameters(query): Parameters<OperationsQuery>,
) -> Json<OperationsAnswer> {
    Json(filtered(&app, None, &query))
}

/// Lists the operations of a session, newest first.
#[utoipa::path(get, path = "/sessions/{id}/operations", tag = "operations", params(("id" = Uuid, Path), OperationsQuery), responses(
    (status = 200, description = "The session's operations", body = OperationsAnswer),
    (status = "4XX", description = "The session does not exist", body = ErrorBody)))]
pub(super) async fn of_session(
    State(app): State<App>,
    Id(id): Id,
    Parameters(query): Parameters<OperationsQuery>,
) -> Result<Json<OperationsAnswer>, Problem> {
    app.living(id)?;
    Ok(Json(filtered(&app, Some(id), &query)))
}

fn filtered(app: &App, session: Option<Uuid>, query: &OperationsQuery) -> OperationsAnswer {
    let mut operations = app.operations.list(session);
    operations.retain(|operation| query.status.is_none_or(|status| operation.status == status));
    OperationsAnswer { success: true, operations }
}

/// Returns a screenshot or a downloaded file of an operation.
#[utoipa::path(get, path = "/operations/{operation_id}/files/{name}", tag = "operations",
    params(("operation_id" = Uuid, Path), ("name" = String, Path)), responses(
    (status = 200, description = "The file's contents", content((Vec<u8> = "image/png"), (Vec<u8> = "application/octet-stream"))),
    (status = "4XX", description = "The operation or file does not exist", body = ErrorBody)))]
pub(super) async fn file(
    State(app): State<App>,
    OperationId(id): OperationId,
    FileName(name): FileName,
) -> Result<Response, Problem> {
    let (mut file, is_picture) = app.operations.file(id, name).await?;
    let body = streamed(move |to| io::copy(&mut file, to).map(drop));
    // A file from a portal must not be displayed in our origin.
    Ok(if is_picture {
        sent(body, "image/png", "inline")
    } else {
        sent(body, "application/octet-stream", "attachment")
    })
}

/// Returns everything about an operation as a ZIP archive: its state, screenshots and downloads.
#[utoipa::path(get, path = "/operations/{operation_id}/bundle.zip", tag = "operations",
    params(("operation_id" = Uuid, Path)), responses(
    (status = 200, description = "The ZIP archive", content((Vec<u8> = "application/zip"))),
    (status = "4XX", description = "The operation or file does not exist", body = ErrorBody)))]
pub(super) async fn bundle(
    State(app): State<App>,
    OperationId(id): OperationId,
) -> Result<Response, Problem> {
    let bundle = app.operations.bundle(id)?;
    let body = streamed(move |to| bundle.write(to));
    Ok(sent(body, "application/zip", "attachment; filename=\"operation.zip\""))
}

fn sent(body: HttpBody, content_type: &'static str, disposition: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, content_type), (header::CONTENT_DISPOSITION, disposition)];
    (headers.map(|(name, value)| (name, HeaderValue::from_static(value))), body).into_response()
}
