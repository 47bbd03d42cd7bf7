//! Operations: begin, go on, read, give up; their files.

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pilotlight_api::{
    ContinueOperation, ErrorBody, ErrorCode, FieldError, OperationAnswer, OperationsAnswer, OperationsQuery,
    RunOperation,
};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::App;
use super::problem::{Body, FileName, Id, OperationId, Parameters, Problem};
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

/// The operation with the status that belongs to how it stands.
fn answered(answer: OperationAnswer) -> Response {
    let status = answer.code.map_or(200, ErrorCode::status);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(answer)).into_response()
}

fn key(headers: &HeaderMap) -> Result<Option<String>, FieldError> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = key.to_str().ok().filter(|key| !key.is_empty() && key.len() <= MAX_KEY_BYTES);
    let problem = || {
        let problem = format!("must have 1 to {MAX_KEY_BYTES} characters of ASCII");
        FieldError::new("Idempotency-Key", problem)
    };
    key.map(|key| Some(key.to_owned())).ok_or_else(problem)
}

/// Runs an operation of the session's site, and answers once it is done or needs an input.
#[utoipa::path(post, path = "/sessions/{id}/operations", tag = "operations", request_body = RunOperation, params(
    ("id" = Uuid, Path),
    ("Idempotency-Key" = Option<String>, Header, description = "A request with the key of an earlier one gets that one's answer")), responses(
    (status = 200, description = "It is done", body = OperationAnswer),
    (status = 422, description = "It needs the inputs in `missing`, or the request cannot be accepted", body = OperationAnswer),
    (status = "4XX", description = "The session is not there, or is held by somebody else", body = ErrorBody),
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

/// Goes on with an operation that waits.
#[utoipa::path(post, path = "/operations/{operation_id}", tag = "operations", request_body = ContinueOperation, params(
    ("operation_id" = Uuid, Path),
    ("Idempotency-Key" = Option<String>, Header, description = "As with the request that begins it")), responses(
    (status = 200, description = "It is done", body = OperationAnswer),
    (status = 422, description = "It still needs the inputs in `missing`, or the request cannot be accepted", body = OperationAnswer),
    (status = "4XX", description = "It is not there, runs, or is over", body = ErrorBody),
    (status = "5XX", description = "A step failed", body = OperationAnswer)))]
pub(super) async fn go_on(
    State(app): State<App>,
    OperationId(id): OperationId,
    headers: HeaderMap,
    Body(more): Body<ContinueOperation>,
) -> Result<Response, Problem> {
    Ok(answered(app.operations.go_on(id, more, key(&headers)?).await?))
}

/// Shows an operation.
#[utoipa::path(get, path = "/operations/{operation_id}", tag = "operations", params(("operation_id" = Uuid, Path)), responses(
    (status = 200, description = "As far as it came", body = OperationAnswer),
    (status = "4XX", description = "It is not there", body = ErrorBody)))]
pub(super) async fn show(
    State(app): State<App>,
    OperationId(id): OperationId,
) -> Result<Json<OperationAnswer>, Problem> {
    Ok(Json(app.operations.show(id)?))
}

/// Gives an operation up. Its session stays.
#[utoipa::path(delete, path = "/operations/{operation_id}", tag = "operations", params(("operation_id" = Uuid, Path)), responses(
    (status = 200, description = "It is given up", body = OperationAnswer),
    (status = "4XX", description = "It is not there, or over already", body = ErrorBody)))]
pub(super) async fn cancel(
    State(app): State<App>,
    OperationId(id): OperationId,
) -> Result<Json<OperationAnswer>, Problem> {
    Ok(Json(app.operations.cancel(id).await?))
}

/// Lists all operations that are known, the newest first.
#[utoipa::path(get, path = "/operations", tag = "operations", params(OperationsQuery), responses(
    (status = 200, description = "The operations", body = OperationsAnswer),
    (status = "4XX", description = "A filter cannot be understood", body = ErrorBody)))]
pub(super) async fn list(
    State(app): State<App>,
    Parameters(query): Parameters<OperationsQuery>,
) -> Json<OperationsAnswer> {
    Json(filtered(&app, None, &query))
}

/// Lists the operations of a session, the newest first.
#[utoipa::path(get, path = "/sessions/{id}/operations", tag = "operations", params(("id" = Uuid, Path), OperationsQuery), responses(
    (status = 200, description = "Its operations", body = OperationsAnswer),
    (status = "4XX", description = "The session is not there", body = ErrorBody)))]
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

/// A screenshot or a download of an operation.
#[utoipa::path(get, path = "/operations/{operation_id}/files/{name}", tag = "operations",
    params(("operation_id" = Uuid, Path), ("name" = String, Path)), responses(
    (status = 200, description = "Its contents", content((Vec<u8> = "image/png"), (Vec<u8> = "application/octet-stream"))),
    (status = "4XX", description = "It is not there", body = ErrorBody)))]
pub(super) async fn file(
    State(app): State<App>,
    OperationId(id): OperationId,
    FileName(name): FileName,
) -> Result<Response, Problem> {
    let (file, is_picture) = app.operations.file(id, name).await?;
    // What a portal gave is nothing that a browser should show as ours.
    Ok(if is_picture {
        sent(file, "image/png", "inline")
    } else {
        sent(file, "application/octet-stream", "attachment")
    })
}

/// Everything of an operation as one ZIP: what is told of it, its screenshots and its downloads.
#[utoipa::path(get, path = "/operations/{operation_id}/bundle.zip", tag = "operations",
    params(("operation_id" = Uuid, Path)), responses(
    (status = 200, description = "The ZIP", content((Vec<u8> = "application/zip"))),
    (status = "4XX", description = "It is not there", body = ErrorBody)))]
pub(super) async fn bundle(
    State(app): State<App>,
    OperationId(id): OperationId,
) -> Result<Response, Problem> {
    Ok(sent(app.operations.bundle(id).await?, "application/zip", "attachment; filename=\"operation.zip\""))
}

fn sent(file: std::fs::File, content_type: &'static str, disposition: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, content_type), (header::CONTENT_DISPOSITION, disposition)];
    let body = HttpBody::from_stream(ReaderStream::new(tokio::fs::File::from_std(file)));
    (headers.map(|(name, value)| (name, HeaderValue::from_static(value))), body).into_response()
}
