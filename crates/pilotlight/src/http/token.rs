//! A new token for the old one, and what only the token itself gives.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use pilotlight_api::{ErrorBody, ErrorCode, MessageAnswer};

use super::App;
use super::guard::shown;
use super::problem::Problem;
use crate::authenticator::RotateError;
use crate::sentence::with_sources;

/// Refuses requests with a dashboard key: they could outlast their expiry, or lock out others.
pub(super) fn only_with_token(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    let shown = shown(headers).flatten().unwrap_or_default();
    if app.authenticator.is_token(&shown) {
        return Ok(());
    }
    let body =
        ErrorBody::new(ErrorCode::Unauthorized, "This needs the token itself, in the `Authorization` header");
    Err(body.into())
}

/// Replaces the token. The old token, dashboard sign-ins, tickets, and streams and WebSockets opened with them become
/// invalid at once. The new token is in the state folder and is not returned.
#[utoipa::path(post, path = "/token/rotate", tag = "server", responses(
    (status = 200, description = "The new token is valid; the old one is not", body = MessageAnswer),
    (status = 409, description = "The server does not use a token", body = ErrorBody),
    (status = 500, description = "The new token could not be saved; the old one stays valid", body = ErrorBody)))]
pub(super) async fn rotate(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Json<MessageAnswer>, Problem> {
    only_with_token(&app, &headers)?;
    // The client may disconnect before it is done; it must be completed nevertheless.
    let rotating = tokio::task::spawn_blocking(move || {
        app.authenticator.rotate()?;
        app.webdriver.revoke_tickets();
        app.connections.forget_all();
        Ok::<_, RotateError>(())
    });
    match rotating.await {
        Ok(Ok(())) => {
            tracing::info!("the token was replaced; all clients need the new one");
            Ok(Json(MessageAnswer::new("The token was replaced")))
        }
        Ok(Err(error)) => {
            let message = crate::sentence::capitalised(&with_sources(&error));
            let body = match error {
                RotateError::NoToken => ErrorBody::new(ErrorCode::WrongState, message)
                    .with_hint("Set `server.auth = \"token\"` to use one."),
                RotateError::Unwritten { .. } => ErrorBody::new(ErrorCode::Internal, message).with_hint(
                    "The old token is still valid. Check that the state folder is writable and has free space.",
                ),
            };
            Err(body.into())
        }
        Err(error) => Err(Problem::new(ErrorCode::Internal, error.to_string())),
    }
}
