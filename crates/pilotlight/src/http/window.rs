//! Routes that work in a window, for clients without CDP or WebDriver: navigate, evaluate, screenshot.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use pilotlight_api::{
    ErrorBody, ErrorCode, EvaluateAnswer, EvaluateRequest, ImageFormat, NavigateRequest, ScreenshotQuery,
    SessionAnswer,
};
use pilotlight_chromium::{Format, LONG_WORK_BYTES, WindowError, work_on};
use serde_json::Value;

use super::App;
use super::problem::{Body, Id, Parameters, Problem};

/// The time limit for loading a page, running a script, or taking a screenshot.
const TIMEOUT: Duration = Duration::from_secs(30);

impl From<WindowError> for Problem {
    fn from(error: WindowError) -> Self {
        let code = match &error {
            WindowError::Unreachable { .. } => ErrorCode::NavigationFailed,
            WindowError::Script(_) => ErrorCode::ScriptFailed,
            WindowError::Timeout(_) => ErrorCode::Timeout,
            WindowError::Url | WindowError::Proxy(_) => ErrorCode::InvalidField,
            WindowError::Closed | WindowError::Crashed | WindowError::Missing(_) => ErrorCode::NotReady,
            WindowError::Full => ErrorCode::Busy,
            WindowError::Refused { .. } | WindowError::Covered(_) => ErrorCode::Internal,
        };
        let body = ErrorBody::new(code, error.to_string());
        match error {
            WindowError::Full => body.with_hint("Disconnect a client, or wait until one disconnects.").into(),
            _ => body.into(),
        }
    }
}

/// Loads a page in the session's window.
#[utoipa::path(post, path = "/sessions/{id}/navigate", tag = "window", params(("id" = uuid::Uuid, Path)),
    request_body = NavigateRequest, responses(
    (status = 200, description = "The page was loaded", body = SessionAnswer),
    (status = "4XX", description = "The session does not exist, or the URL is invalid", body = ErrorBody),
    (status = "5XX", description = "The page did not load", body = ErrorBody)))]
pub(super) async fn navigate(
    State(app): State<App>,
    Id(id): Id,
    Body(request): Body<NavigateRequest>,
) -> Result<Json<SessionAnswer>, Problem> {
    request.validate()?;
    let using = app.keeper.window(id).await?;
    using.window.navigate(&request.url, TIMEOUT).await?;
    let published = app.keeper.published(id).ok_or_else(ErrorBody::session_not_found)?;
    Ok(Json(published.now().into()))
}

/// Evaluates an expression in the session's page.
#[utoipa::path(post, path = "/sessions/{id}/evaluate", tag = "window", params(("id" = uuid::Uuid, Path)),
    request_body = EvaluateRequest, responses(
    (status = 200, description = "The value of the expression; promises are awaited", body = EvaluateAnswer),
    (status = "4XX", description = "422 if the script throws an exception", body = ErrorBody),
    (status = "5XX", description = "The page did not answer", body = ErrorBody)))]
pub(super) async fn evaluate(
    State(app): State<App>,
    Id(id): Id,
    Body(request): Body<EvaluateRequest>,
) -> Result<Response, Problem> {
    request.validate()?;
    let using = app.keeper.window(id).await?;
    let turn = tokio::time::timeout(TIMEOUT, using.window.turn()).await;
    let _turn = turn.map_err(|_| Problem::new(ErrorCode::Busy, "Other expressions are still evaluated"))?;
    let result = using.window.evaluate(&request.expression, TIMEOUT).await?;
    Ok(work_on(written_bytes(&result), || Json(EvaluateAnswer { success: true, result }).into_response()))
}

/// Returns roughly how long a value is as JSON, or at least that it is long.
fn written_bytes(value: &Value) -> usize {
    let mut bytes = 0;
    let mut values = vec![value];
    while let Some(value) = values.pop().filter(|_| bytes < LONG_WORK_BYTES) {
        bytes += match value {
            Value::String(text) => text.len(),
            Value::Array(_) | Value::Object(_) => 2,
            Value::Null | Value::Bool(_) | Value::Number(_) => 4,
        };
        match value {
            Value::Array(items) => values.extend(items),
            Value::Object(items) => {
                bytes += items.keys().map(String::len).sum::<usize>();
                values.extend(items.values());
            }
            _ => {}
        }
    }
    bytes
}

/// Takes a screenshot of the session's page.
#[utoipa::path(get, path = "/sessions/{id}/screenshot", tag = "window",
    params(("id" = uuid::Uuid, Path), ScreenshotQuery), responses(
    (status = 200, description = "The picture", content((Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"))),
    (status = "4XX", description = "The session does not exist", body = ErrorBody),
    (status = "5XX", description = "The screenshot could not be taken", body = ErrorBody)))]
pub(super) async fn screenshot(
    State(app): State<App>,
    Id(id): Id,
    Parameters(query): Parameters<ScreenshotQuery>,
) -> Result<impl IntoResponse, Problem> {
    let using = app.keeper.window(id).await?;
    let (format, content_type) = match query.format {
        ImageFormat::Png => (Format::Png, "image/png"),
        ImageFormat::Jpeg => (Format::Jpeg, "image/jpeg"),
    };
    let picture = tokio::time::timeout(TIMEOUT, using.window.screenshot(format, query.full_page)).await;
    let picture =
        picture.map_err(|_| Problem::new(ErrorCode::Timeout, "The page was not rendered in time"))??;
    Ok(([(header::CONTENT_TYPE, content_type)], picture))
}

/// Returns a screenshot that is at most a minute old. Does not wake the session or count as use.
#[utoipa::path(get, path = "/sessions/{id}/thumbnail", tag = "window", params(("id" = uuid::Uuid, Path)), responses(
    (status = 200, description = "The picture", content((Vec<u8> = "image/jpeg"))),
    (status = 204, description = "The session has no window, so there is no picture"),
    (status = "4XX", description = "The session does not exist", body = ErrorBody)))]
pub(super) async fn thumbnail(State(app): State<App>, Id(id): Id) -> Result<Response, Problem> {
    Ok(match app.living(id)?.picture().await {
        Some(picture) => ([(header::CONTENT_TYPE, "image/jpeg")], picture).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}
