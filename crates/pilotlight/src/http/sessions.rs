//! Routes of sessions: create, list, show, change, ping, hold, refresh, restart, close.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use pilotlight_api::{
    CreateSession, CreatedAnswer, ErrorBody, ErrorCode, ExtendHold, HoldAnswer, HoldRequest, MessageAnswer,
    PatchSession, PingAnswer, Session, SessionAnswer, SessionState, SessionsAnswer, SessionsQuery,
};
use pilotlight_core::Refusal;
use uuid::Uuid;

use super::App;
use super::problem::{Body, HoldId, Id, Parameters, Problem, ended};
use crate::clock::{timestamp, wall};
use crate::keeper::{HoldTerms, Published, Refused};

/// Creates a session, or returns an equal one: with the same name, or with the same site and login (user name and password,
/// or credential).
#[utoipa::path(post, path = "/sessions", tag = "sessions", request_body = CreateSession, responses(
    (status = 201, description = "A new session, signed in or in state `needs_attention`", body = CreatedAnswer),
    (status = 200, description = "The existing session that is equal", body = CreatedAnswer),
    (status = "4XX", description = "The request is invalid, or the portal rejected the sign-in", body = ErrorBody),
    (status = "5XX", description = "The portal or the browser failed, or there is no capacity", body = ErrorBody)))]
pub(super) async fn create(
    State(app): State<App>,
    Body(wanted): Body<CreateSession>,
) -> Result<Response, Problem> {
    // The name of an existing session is enough.
    let is_named =
        |published: &Arc<Published>| published.ended().is_none() && published.now().name == wanted.name;
    let says_nothing_else = wanted.name.is_some() && wanted.site.is_none() && wanted.url.is_none();
    if says_nothing_else && app.keeper.directory().sessions.values().any(is_named) {
        wanted.validate_fields()?;
    } else {
        wanted.validate()?;
    }
    let (spec, details) = app.planner.plan(wanted, app.keeper.clock().now())?;
    // The session is created even if the client has disconnected: an equal request then finds it.
    let keeper = app.keeper.clone();
    let made = tokio::spawn(async move { keeper.create(spec, details).await }).await;
    let (session, is_new) =
        made.map_err(|_| Problem::new(ErrorCode::Internal, "The request was aborted"))??;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(CreatedAnswer::new(session, is_new))).into_response())
}

impl App {
    /// Returns a session that has not ended.
    pub(super) fn living(&self, id: Uuid) -> Result<Arc<Published>, Problem> {
        let published = self.keeper.published(id).ok_or_else(ErrorBody::session_not_found)?;
        match published.ended() {
            None => Ok(published),
            Some(reason) => Err(ended(reason, published.now().attention.as_deref())),
        }
    }
}

/// Lists the sessions that have not ended.
#[utoipa::path(get, path = "/sessions", tag = "sessions", params(SessionsQuery), responses(
    (status = 200, description = "All sessions that match the filters", body = SessionsAnswer),
    (status = "4XX", description = "A filter is invalid", body = ErrorBody)))]
pub(super) async fn list(
    State(app): State<App>,
    Parameters(query): Parameters<SessionsQuery>,
) -> Result<Json<SessionsAnswer>, Problem> {
    let tag = query.tag_pair()?;
    let directory = app.keeper.directory();
    let living: Vec<_> =
        directory.sessions.values().filter(|published| published.ended().is_none()).collect();
    futures_util::future::join_all(living.iter().map(|published| published.measure())).await;
    let wanted = |session: &Session| {
        query.state.is_none_or(|state: SessionState| session.state == state)
            && query.site.as_ref().is_none_or(|site| session.site.as_ref() == Some(site))
            && tag.is_none_or(|(key, value)| session.tags.get(key).is_some_and(|found| found == value))
    };
    let sessions = living.into_iter().map(|published| published.now()).filter(wanted).collect();
    Ok(Json(SessionsAnswer { success: true, sessions }))
}

/// Returns a session.
#[utoipa::path(get, path = "/sessions/{id}", tag = "sessions", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The session", body = SessionAnswer),
    (status = "4XX", description = "404, or 410 with the reason if the session has ended", body = ErrorBody)))]
pub(super) async fn show(State(app): State<App>, Id(id): Id) -> Result<Json<SessionAnswer>, Problem> {
    let published = app.living(id)?;
    published.measure().await;
    Ok(Json(published.now().into()))
}

/// Changes a session's policy, name or tags.
#[utoipa::path(patch, path = "/sessions/{id}", tag = "sessions", params(("id" = Uuid, Path)),
    request_body = PatchSession, responses(
    (status = 200, description = "The changed session", body = SessionAnswer),
    (status = "4XX", description = "The session does not exist, or the change is invalid", body = ErrorBody)))]
pub(super) async fn patch(
    State(app): State<App>,
    Id(id): Id,
    Body(patch): Body<PatchSession>,
) -> Result<Json<SessionAnswer>, Problem> {
    patch.validate()?;
    Ok(Json(app.keeper.patch(id, patch).await?.into()))
}

/// Closes a session.
#[utoipa::path(delete, path = "/sessions/{id}", tag = "sessions", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The session and its window are closed", body = MessageAnswer),
    (status = "4XX", description = "The session does not exist", body = ErrorBody)))]
pub(super) async fn close(State(app): State<App>, Id(id): Id) -> Result<Json<MessageAnswer>, Problem> {
    app.keeper.close(id).await?;
    Ok(Json(MessageAnswer::session_closed()))
}

/// Marks a session as used. A hibernated session is not woken.
#[utoipa::path(post, path = "/ping_session/{id}", tag = "sessions", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The session's `last_used` was updated", body = PingAnswer),
    (status = "4XX", description = "The session does not exist", body = ErrorBody)))]
pub(super) async fn ping(State(app): State<App>, Id(id): Id) -> Result<Json<PingAnswer>, Problem> {
    // For pings, a session that has ended is unknown (404).
    let session = app.keeper.ping(id).await.map_err(|refused| match refused {
        Refused::ByRules(Refusal::Ended(_)) => ErrorBody::session_not_found().into(),
        other => Problem::from(other),
    })?;
    Ok(Json(PingAnswer { success: true, session_id: session.session_id, last_used: session.last_used }))
}

/// Places a hold on a session: Pilotlight does nothing in its pages while it is held.
#[utoipa::path(post, path = "/sessions/{id}/hold", tag = "holds", params(("id" = Uuid, Path)),
    request_body = HoldRequest, responses(
    (status = 201, description = "The session is held", body = HoldAnswer),
    (status = "4XX", description = "409 if another client holds it", body = ErrorBody),
    (status = 503, description = "The session did not become idle in time", body = ErrorBody)))]
pub(super) async fn hold(
    State(app): State<App>,
    Id(id): Id,
    Body(request): Body<HoldRequest>,
) -> Result<(StatusCode, Json<HoldAnswer>), Problem> {
    request.validate()?;
    let HoldRequest { ttl, owner, shared, quiet } = request;
    let terms = HoldTerms { shared, quiet, ..HoldTerms::shared(ttl.to_duration(), owner) };
    let (hold_id, expires_at) = app.keeper.hold(id, terms).await?;
    let answer = HoldAnswer { success: true, hold_id, expires_at: timestamp(expires_at) };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Extends a hold.
#[utoipa::path(post, path = "/sessions/{id}/hold/{hold_id}", tag = "holds",
    params(("id" = Uuid, Path), ("hold_id" = Uuid, Path)), request_body = ExtendHold, responses(
    (status = 200, description = "The hold was extended", body = HoldAnswer),
    (status = "4XX", description = "The session or hold does not exist", body = ErrorBody)))]
pub(super) async fn extend_hold(
    State(app): State<App>,
    Id(id): Id,
    HoldId(hold_id): HoldId,
    Body(request): Body<ExtendHold>,
) -> Result<Json<HoldAnswer>, Problem> {
    request.validate()?;
    let (hold_id, expires_at) = app.keeper.extend_hold(id, hold_id, request.ttl.to_duration()).await?;
    Ok(Json(HoldAnswer { success: true, hold_id, expires_at: timestamp(expires_at) }))
}

/// Releases a hold.
#[utoipa::path(delete, path = "/sessions/{id}/hold/{hold_id}", tag = "holds",
    params(("id" = Uuid, Path), ("hold_id" = Uuid, Path)), responses(
    (status = 200, description = "The hold was released", body = MessageAnswer),
    (status = "4XX", description = "The session or hold does not exist", body = ErrorBody)))]
pub(super) async fn release_hold(
    State(app): State<App>,
    Id(id): Id,
    HoldId(hold_id): HoldId,
) -> Result<Json<MessageAnswer>, Problem> {
    app.keeper.release_hold(id, hold_id).await?;
    Ok(Json(MessageAnswer::new("Hold released")))
}

/// Refreshes a session's sign-in now.
#[utoipa::path(post, path = "/sessions/{id}/refresh", tag = "sessions", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The session is signed in", body = SessionAnswer),
    (status = "4XX", description = "409 if the session is in use", body = ErrorBody),
    (status = "5XX", description = "The refresh failed; the session stays", body = ErrorBody)))]
pub(super) async fn refresh(State(app): State<App>, Id(id): Id) -> Result<Json<SessionAnswer>, Problem> {
    Ok(Json(app.keeper.refresh(id).await?.into()))
}

/// Freezes a session's window until it is next used. A frozen window uses almost no processor
/// time, and its memory can be moved to compressed swap.
#[utoipa::path(post, path = "/sessions/{id}/freeze", tag = "sessions", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The window is frozen, or the session is hibernated already", body = SessionAnswer),
    (status = "4XX", description = "409 if the session is in use", body = ErrorBody),
    (status = "5XX", description = "The window could not be frozen, or its state not be saved; it keeps running",
        body = ErrorBody)))]
pub(super) async fn freeze(State(app): State<App>, Id(id): Id) -> Result<Json<SessionAnswer>, Problem> {
    Ok(Json(app.keeper.freeze(id).await?.into()))
}

/// Saves a session's state and closes its window. The session stays signed in.
#[utoipa::path(post, path = "/sessions/{id}/hibernate", tag = "sessions", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The session is hibernated", body = SessionAnswer),
    (status = "4XX", description = "409 if the session is in use", body = ErrorBody),
    (status = "5XX", description = "The state could not be saved; the window stays open", body = ErrorBody)))]
pub(super) async fn hibernate(State(app): State<App>, Id(id): Id) -> Result<Json<SessionAnswer>, Problem> {
    Ok(Json(app.keeper.hibernate(id).await?.into()))
}

/// Restores the window of a hibernated or frozen session.
#[utoipa::path(post, path = "/sessions/{id}/wake", tag = "sessions", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The window is open", body = SessionAnswer),
    (status = "4XX", description = "The session does not exist", body = ErrorBody),
    (status = "5XX", description = "There is no capacity, or the window is not open yet", body = ErrorBody)))]
pub(super) async fn wake(State(app): State<App>, Id(id): Id) -> Result<Json<SessionAnswer>, Problem> {
    Ok(Json(app.keeper.wake(id).await?.into()))
}

/// Returns cookies, localStorage and IndexedDB in the format of Playwright's `storageState`. For a hibernated
/// session, returns the saved state without waking it.
#[utoipa::path(get, path = "/sessions/{id}/storage_state", tag = "sessions", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The state, in the format of `storage_state` in `POST /sessions`", body = Object),
    (status = "4XX", description = "The session does not exist", body = ErrorBody),
    (status = "5XX", description = "The state could not be read", body = ErrorBody)))]
pub(super) async fn storage_state(
    State(app): State<App>,
    Id(id): Id,
) -> Result<Json<serde_json::Value>, Problem> {
    let checkpoint = if app.living(id)?.state() == SessionState::Hibernated {
        let stored =
            app.store.checkpoint(id).await.map_err(|error| {
                Problem::new(ErrorCode::Internal, format!("Cannot read the state: {error}"))
            })?;
        stored
            .ok_or_else(|| Problem::new(ErrorCode::NotReady, "The session's state has not been saved yet"))?
    } else {
        let using = app.keeper.window(id).await?;
        using.window.rest().await;
        using.window.peek(wall(app.keeper.clock().now()).0).await?
    };
    Ok(Json(checkpoint.to_storage_state()))
}

/// Closes a session's window and opens a new one with the same state.
#[utoipa::path(post, path = "/sessions/{id}/restart", tag = "sessions", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The new window is open", body = SessionAnswer),
    (status = "4XX", description = "409 if the session is in use", body = ErrorBody),
    (status = "5XX", description = "The new window is not open yet; the session stays", body = ErrorBody)))]
pub(super) async fn restart(State(app): State<App>, Id(id): Id) -> Result<Json<SessionAnswer>, Problem> {
    Ok(Json(app.keeper.restart(id).await?.into()))
}
