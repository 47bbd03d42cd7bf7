//! Credentials by REST: list, show, define, remove. A secret goes in and never comes out.

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
            CredentialsError::Store(_) => ErrorCode::Internal,
        };
        Self::new(code, crate::sentence::with_sources(&error))
    }
}

/// Lists the credentials: names and user names.
#[utoipa::path(get, path = "/credentials", tag = "credentials", responses(
    (status = 200, description = "Every credential by name, without its secrets", body = CredentialsAnswer)))]
pub(super) async fn list(State(app): State<App>) -> Json<CredentialsAnswer> {
    Json(CredentialsAnswer { success: true, credentials: app.planner.credentials.list() })
}

/// Shows a credential without its secrets.
#[utoipa::path(get, path = "/credentials/{name}", tag = "credentials", params(("name" = String, Path)), responses(
    (status = 200, description = "What may be known of it", body = CredentialAnswer),
    (status = "4XX", description = "There is none of this name", body = ErrorBody)))]
pub(super) async fn show(
    State(app): State<App>,
    CredentialName(name): CredentialName,
) -> Result<Json<CredentialAnswer>, Problem> {
    let credential = app.planner.credentials.get(&name).ok_or(CredentialsError::Unknown)?;
    Ok(Json(CredentialAnswer { success: true, credential }))
}

/// Keeps a credential, sealed. Sessions that name it sign in with it from now on; those that wait because the
/// portal had refused it try once more.
#[utoipa::path(put, path = "/credentials/{name}", tag = "credentials", params(("name" = String, Path)),
    request_body = CredentialDefinition, responses(
    (status = 200, description = "What may be known of it", body = CredentialAnswer),
    (status = "4XX", description = "It cannot be accepted", body = ErrorBody)))]
pub(super) async fn define(
    State(app): State<App>,
    CredentialName(name): CredentialName,
    Body(definition): Body<CredentialDefinition>,
) -> Result<Json<CredentialAnswer>, Problem> {
    validate::name("name", &name)?;
    definition.validate()?;
    // Whoever asked may go: its sessions hear of it all the same.
    let defining = tokio::spawn(async move {
        let credential = app.planner.credentials.define(&name, definition).await?;
        app.keeper.credential_changed(name).await;
        Ok::<_, CredentialsError>(credential)
    });
    let ended = |_| Problem::new(ErrorCode::Internal, "The request was ended");
    let credential = defining.await.map_err(ended)??;
    Ok(Json(CredentialAnswer { success: true, credential }))
}

/// Forgets a credential that no living session names.
#[utoipa::path(delete, path = "/credentials/{name}", tag = "credentials", params(("name" = String, Path)), responses(
    (status = 200, description = "It is forgotten", body = MessageAnswer),
    (status = "4XX", description = "There is none of this name, or a session names it", body = ErrorBody)))]
pub(super) async fn remove(
    State(app): State<App>,
    CredentialName(name): CredentialName,
) -> Result<Json<MessageAnswer>, Problem> {
    let directory = app.keeper.directory();
    let living = directory.sessions.values().filter(|session| session.ended().is_none());
    let users = living.filter(|session| session.credential() == Some(&name)).count();
    if users > 0 {
        let sentence = format!("{users} sessions sign in with this credential");
        return Err(Problem::new(ErrorCode::CredentialInUse, sentence));
    }
    app.planner.credentials.remove(&name).await?;
    Ok(Json(MessageAnswer::new("Credential removed")))
}
