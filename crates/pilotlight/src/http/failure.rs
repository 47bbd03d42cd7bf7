//! What was seen of a session's latest sign-in that failed.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use pilotlight_api::{ErrorBody, ErrorCode, FailureAnswer};
use uuid::Uuid;

use super::App;
use super::problem::{Id, Problem};
use crate::failures::Seen;

/// Returns the session's latest failed sign-in, or failed refresh by a flow. Does not wake the session or count as
/// use.
#[utoipa::path(get, path = "/sessions/{id}/failure", tag = "sessions", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The failed step, its time, and the URL of its screenshot", body = FailureAnswer),
    (status = "4XX", description = "The session does not exist, or no sign-in failed", body = ErrorBody)))]
pub(super) async fn show(State(app): State<App>, Id(id): Id) -> Result<Json<FailureAnswer>, Problem> {
    let (seen, url) = seen(&app, id).await?;
    let picture_url = url.filter(|_| seen.has_picture()).map(|url| format!("{url}/picture"));
    let Seen { step, error, taken_at, .. } = seen;
    Ok(Json(FailureAnswer { success: true, step, error, taken_at, picture_url }))
}

/// Returns the screenshot of the failure.
#[utoipa::path(get, path = "/sessions/{id}/failure/picture", tag = "sessions", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The picture", content((Vec<u8> = "image/jpeg"))),
    (status = "4XX", description = "The session does not exist, or there is no screenshot", body = ErrorBody)))]
pub(super) async fn picture(State(app): State<App>, Id(id): Id) -> Result<impl IntoResponse, Problem> {
    let (seen, _) = seen(&app, id).await?;
    let picture = seen.picture();
    let picture = picture
        .ok_or_else(|| Problem::new(ErrorCode::FileNotFound, "There is no screenshot of the failure"))?;
    Ok(([(header::CONTENT_TYPE, "image/jpeg")], picture))
}

/// Returns the failure and the URL of its screenshot.
async fn seen(app: &App, id: Uuid) -> Result<(Seen, Option<String>), Problem> {
    let url = app.living(id)?.now().failure_url;
    let seen = app.failures.of(id).await;
    let seen =
        seen.ok_or_else(|| Problem::new(ErrorCode::FileNotFound, "No sign-in of the session has failed"))?;
    Ok((seen, url))
}
