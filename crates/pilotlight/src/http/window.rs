//! Work in a window for clients that have HTTP alone: navigate, evaluate, screenshot.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use pilotlight_api::{
    ErrorBody, ErrorCode, EvaluateAnswer, EvaluateRequest, ImageFormat, NavigateRequest, ScreenshotQuery,
    SessionAnswer,
};
use pilotlight_chromium::{Format, WindowError};

use super::App;
use super::problem::{Body, Id, Parameters, Problem};

/// The longest that a page may take to load, a script to run, or a picture to be taken.
const TIMEOUT: Duration = Duration::from_secs(30);

impl From<WindowError> for Problem {
    fn from(error: WindowError) -> Self {
        let code = match &error {
            WindowError::Unreachable { .. } => ErrorCode::NavigationFailed,
            WindowError::Script(_) => ErrorCode::ScriptFailed,
            WindowError::Timeout(_) => ErrorCode::Timeout,
            WindowError::Url | WindowError::Proxy(_) => ErrorCode::InvalidField,
            WindowError::Closed | WindowError::Crashed | WindowError::Missing(_) => ErrorCode::NotReady,
            WindowError::Refused { .. } => ErrorCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}

/// Loads a page in the session's window.
#[utoipa::path(post, path = "/sessions/{id}/navigate", tag = "window", params(("id" = uuid::Uuid, Path)),
    request_body = NavigateRequest, responses(
    (status = 200, description = "The page has loaded", body = SessionAnswer),
    (status = "4XX", description = "The session is not there, or the URL is none", body = ErrorBody),
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
    (status = 200, description = "Its value; a promise was awaited", body = EvaluateAnswer),
    (status = "4XX", description = "422 where the script throws", body = ErrorBody),
    (status = "5XX", description = "The page did not answer", body = ErrorBody)))]
pub(super) async fn evaluate(
    State(app): State<App>,
    Id(id): Id,
    Body(request): Body<EvaluateRequest>,
) -> Result<Json<EvaluateAnswer>, Problem> {
    request.validate()?;
    let using = app.keeper.window(id).await?;
    let result = using.window.evaluate(&request.expression, TIMEOUT).await?;
    Ok(Json(EvaluateAnswer { success: true, result }))
}

/// Takes a picture of the session's page.
#[utoipa::path(get, path = "/sessions/{id}/screenshot", tag = "window",
    params(("id" = uuid::Uuid, Path), ScreenshotQuery), responses(
    (status = 200, description = "The picture", content((Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"))),
    (status = "4XX", description = "The session is not there", body = ErrorBody),
    (status = "5XX", description = "No picture could be taken", body = ErrorBody)))]
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
        picture.map_err(|_| Problem::new(ErrorCode::Timeout, "The page was not painted in time"))??;
    Ok(([(header::CONTENT_TYPE, content_type)], picture))
}

/// What the session's page has shown within the last minute. It wakes nobody, and is no use of the session.
#[utoipa::path(get, path = "/sessions/{id}/thumbnail", tag = "window", params(("id" = uuid::Uuid, Path)), responses(
    (status = 200, description = "The picture", content((Vec<u8> = "image/jpeg"))),
    (status = 204, description = "There is none: without a window nothing is shown"),
    (status = "4XX", description = "The session is not there", body = ErrorBody)))]
pub(super) async fn thumbnail(State(app): State<App>, Id(id): Id) -> Result<Response, Problem> {
    Ok(match app.living(id)?.picture().await {
        Some(picture) => ([(header::CONTENT_TYPE, "image/jpeg")], picture).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}
