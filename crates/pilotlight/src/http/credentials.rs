//! Routes of credentials: list, show, define, remove. Secrets are accepted, but never returned.

use axum::Json;
use axum::extract::State;
use pilotlight_api::{
    CredentialAnswer, CredentialDefinition, CredentialsAnswer, ErrorBody, ErrorCode, MessageAnswer, validate,
};

use super::App;
use super::problem::{Body, CredentialName, Problem};
use crate::credentials::CredentialsError;

impl From<CredentialsError> for Problem {
    fn from(error: CredentialsError) -> Self {
        let code = match &error {
            CredentialsError::Totp(_) => ErrorCode::InvalidField,
            CredentialsError::Unknown => ErrorCode::CredentialNotFound,
            CredentialsError::TooMany => ErrorCode::AtCapacity,
            CredentialsError::Store(error) if error.is_full() => ErrorCode::StorageFull,
            CredentialsError::Store(error) if error.is_passing() => ErrorCode::StorageFailed,
            CredentialsError::Store(_) => ErrorCode::Internal,
        };
        Self::new(code, crate::sentence::with_sources(&error))
    }
}

/// Lists the credentials without their secrets.
#[utoipa::path(get, path = "/credentials", tag = "credentials", responses(
    (status = 200, description = "All credentials by name, without their secrets", body = CredentialsAnswer)))]
pub(super) async fn list(State(app): State<App>) -> Json<CredentialsAnswer> {
    Json(CredentialsAnswer { success: true, credentials: app.planner.credentials.list() })
}

/// Returns a credential without its secrets.
#[utoipa::path(get, path = "/credentials/{name}", tag = "credentials", params(("name" = String, Path)), responses(
    (status = 200, description = "The credential without its secrets", body = CredentialAnswer),
    (status = "4XX", description = "The credential does not exist", body = ErrorBody)))]
pub(super) async fn show(
    State(app): State<App>,
    CredentialName(name): CredentialName,
) -> Result<Json<CredentialAnswer>, Problem> {
    let credential = app.planner.credentials.get(&name).ok_or(CredentialsError::Unknown)?;
    Ok(Json(CredentialAnswer { success: true, credential }))
}

/// Creates or changes a credential; it is stored sealed. Sessions that use it sign in with the new values from now
/// on; sessions that wait because the portal rejected the old ones try once more.
#[utoipa::path(put, path = "/credentials/{name}", tag = "credentials", params(("name" = String, Path)),
    request_body = CredentialDefinition, responses(
    (status = 200, description = "The credential without its secrets", body = CredentialAnswer),
    (status = "4XX", description = "The credential is invalid", body = ErrorBody)))]
pub(super) async fn define(
    State(app): State<App>,
    CredentialName(name): CredentialName,
    Body(definition): Body<CredentialDefinition>,
) -> Result<Json<CredentialAnswer>, Problem> {
    validate::name("name", &name)?;
    definition.validate()?;
    // The client may disconnect; the sessions are notified nevertheless.
    let defining = tokio::spawn(async move {
        let credential = app.planner.credentials.define(&name, definition).await?;
        app.keeper.credential_changed(name).await;
        Ok::<_, CredentialsError>(credential)
    });
    let ended = |_| Problem::new(ErrorCode::Internal, "The request was aborted");
    let credential = defining.await.map_err(ended)??;
    Ok(Json(CredentialAnswer { success: true, credential }))
}

/// Deletes a credential that no session uses.
#[utoipa::path(delete, path = "/credentials/{name}", tag = "credentials", params(("name" = String, Path)), responses(
    (status = 200, description = "The credential was deleted", body = MessageAnswer),
    (status = "4XX", description = "The credential does not exist, or sessions use it", body = ErrorBody)))]
pub(super) async fn remove(
    State(app): State<App>,
    CredentialName(name): CredentialName,
) -> Result<Json<MessageAnswer>, Problem> {
    let directory = app.keeper.directory();
    let living = directory.sessions.values().filter(|session| session.ended().is_none());
    let users = living.filter(|session| session.credential() == Some(&name)).count();
    if users > 0 {
        let message = format!("{users} sessions use this credential");
        return Err(Problem::new(ErrorCode::CredentialInUse, message));
    }
    app.planner.credentials.remove(&name).await?;
    Ok(Json(MessageAnswer::new("Credential removed")))
}
