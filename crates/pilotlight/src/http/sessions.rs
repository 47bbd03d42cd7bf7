//! Sessions: make, list, show, change, ping, hold, refresh, restart, close.

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
use crate::keeper::{Published, Refused, timestamp};

/// Makes a session, or gives the living one that equals it.
#[utoipa::path(post, path = "/sessions", tag = "sessions", request_body = CreateSession, responses(
    (status = 201, description = "A new session, signed in or in need of a person", body = CreatedAnswer),
    (status = 200, description = "The living session of the same name or account", body = CreatedAnswer),
    (status = "4XX", description = "The request cannot be accepted, or the sign-in was refused", body = ErrorBody),
    (status = "5XX", description = "The portal or the browser failed, or there is no room", body = ErrorBody)))]
pub(super) async fn create(
    State(app): State<App>,
    Body(wanted): Body<CreateSession>,
) -> Result<Response, Problem> {
    wanted.validate()?;
    let (spec, details) = app.planner.plan(wanted, app.keeper.clock().now())?;
    // The session is made even if whoever asked for it has gone: an equal request then finds it.
    let keeper = app.keeper.clone();
    let made = tokio::spawn(async move { keeper.create(spec, details).await }).await;
    let (session, is_new) =
        made.map_err(|_| Problem::new(ErrorCode::Internal, "The request was ended"))??;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(CreatedAnswer::new(session, is_new))).into_response())
}

impl App {
    /// A session that lives, with its memory measured anew where the last time is long ago.
    pub(super) fn living(&self, id: Uuid) -> Result<Arc<Published>, Problem> {
        let published = self.keeper.published(id).ok_or_else(ErrorBody::session_not_found)?;
        match published.ended() {
            None => Ok(published),
            Some(reason) => Err(ended(reason, published.now().attention.as_deref())),
        }
    }
}

/// Lists the sessions that live.
#[utoipa::path(get, path = "/sessions", tag = "sessions", params(SessionsQuery), responses(
    (status = 200, description = "Every living session that the filters let through", body = SessionsAnswer),
    (status = "4XX", description = "A filter cannot be understood", body = ErrorBody)))]
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

/// Shows one session.
#[utoipa::path(get, path = "/sessions/{id}", tag = "sessions", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The session", body = SessionAnswer),
    (status = "4XX", description = "404, or 410 with the reason where it has ended", body = ErrorBody)))]
pub(super) async fn show(State(app): State<App>, Id(id): Id) -> Result<Json<SessionAnswer>, Problem> {
    let published = app.living(id)?;
    published.measure().await;
    Ok(Json(published.now().into()))
}

/// Changes policy, name or tags.
#[utoipa::path(patch, path = "/sessions/{id}", tag = "sessions", params(("id" = Uuid, Path)),
    request_body = PatchSession, responses(
    (status = 200, description = "The session as it now is", body = SessionAnswer),
    (status = "4XX", description = "It is not there, or the change cannot be accepted", body = ErrorBody)))]
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
    (status = 200, description = "It is closed and its window gone", body = MessageAnswer),
    (status = "4XX", description = "It is not there", body = ErrorBody)))]
pub(super) async fn close(State(app): State<App>, Id(id): Id) -> Result<Json<MessageAnswer>, Problem> {
    app.keeper.close(id).await?;
    Ok(Json(MessageAnswer::session_closed()))
}

/// Says that the session is still wanted. It wakes nothing.
#[utoipa::path(post, path = "/ping_session/{id}", tag = "sessions", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "It is noted", body = PingAnswer),
    (status = "4XX", description = "It is not there", body = ErrorBody)))]
pub(super) async fn ping(State(app): State<App>, Id(id): Id) -> Result<Json<PingAnswer>, Problem> {
    // To whoever pings, a session that has ended is as unknown as one that never was.
    let session = app.keeper.ping(id).await.map_err(|refused| match refused {
        Refused::ByRules(Refusal::Ended(_)) => ErrorBody::session_not_found().into(),
        other => Problem::from(other),
    })?;
    Ok(Json(PingAnswer { success: true, session_id: session.session_id, last_used: session.last_used }))
}

/// Takes hold of a session, so that nothing of ours touches it.
#[utoipa::path(post, path = "/sessions/{id}/hold", tag = "holds", params(("id" = Uuid, Path)),
    request_body = HoldRequest, responses(
    (status = 201, description = "It is held", body = HoldAnswer),
    (status = "4XX", description = "409 while another holds it", body = ErrorBody),
    (status = 503, description = "It does not come to rest", body = ErrorBody)))]
pub(super) async fn hold(
    State(app): State<App>,
    Id(id): Id,
    Body(request): Body<HoldRequest>,
) -> Result<(StatusCode, Json<HoldAnswer>), Problem> {
    request.validate()?;
    let HoldRequest { ttl, owner, shared } = request;
    let (hold_id, expires_at) = app.keeper.hold(id, ttl.to_duration(), shared, owner).await?;
    let answer = HoldAnswer { success: true, hold_id, expires_at: timestamp(expires_at) };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Holds for longer.
#[utoipa::path(post, path = "/sessions/{id}/hold/{hold_id}", tag = "holds",
    params(("id" = Uuid, Path), ("hold_id" = Uuid, Path)), request_body = ExtendHold, responses(
    (status = 200, description = "It is held until then", body = HoldAnswer),
    (status = "4XX", description = "There is no such session or hold", body = ErrorBody)))]
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

/// Gives a hold back.
#[utoipa::path(delete, path = "/sessions/{id}/hold/{hold_id}", tag = "holds",
    params(("id" = Uuid, Path), ("hold_id" = Uuid, Path)), responses(
    (status = 200, description = "It is given back", body = MessageAnswer),
    (status = "4XX", description = "There is no such session or hold", body = ErrorBody)))]
pub(super) async fn release_hold(
    State(app): State<App>,
    Id(id): Id,
    HoldId(hold_id): HoldId,
) -> Result<Json<MessageAnswer>, Problem> {
    app.keeper.release_hold(id, hold_id).await?;
    Ok(Json(MessageAnswer::new("Hold released")))
}

/// Refreshes now.
#[utoipa::path(post, path = "/sessions/{id}/refresh", tag = "sessions", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "It is signed in", body = SessionAnswer),
    (status = "4XX", description = "409 while somebody holds it", body = ErrorBody),
    (status = "5XX", description = "It did not work; the session lives on", body = ErrorBody)))]
pub(super) async fn refresh(State(app): State<App>, Id(id): Id) -> Result<Json<SessionAnswer>, Problem> {
    Ok(Json(app.keeper.refresh(id).await?.into()))
}

/// Lets the window stand still: it needs next to nothing, and runs again, as it was, for whoever uses it.
#[utoipa::path(post, path = "/sessions/{id}/freeze", tag = "sessions", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "It stands still, or hibernates already", body = SessionAnswer),
    (status = "4XX", description = "409 while somebody holds it", body = ErrorBody),
    (status = "5XX", description = "It could not be frozen, or its state not written down; its window runs on",
        body = ErrorBody)))]
pub(super) async fn freeze(State(app): State<App>, Id(id): Id) -> Result<Json<SessionAnswer>, Problem> {
    Ok(Json(app.keeper.freeze(id).await?.into()))
}

/// Lets the window go; the session keeps its state and its sign-in.
#[utoipa::path(post, path = "/sessions/{id}/hibernate", tag = "sessions", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "It hibernates", body = SessionAnswer),
    (status = "4XX", description = "409 while somebody holds it", body = ErrorBody),
    (status = "5XX", description = "Its state could not be written down; its window stays", body = ErrorBody)))]
pub(super) async fn hibernate(State(app): State<App>, Id(id): Id) -> Result<Json<SessionAnswer>, Problem> {
    Ok(Json(app.keeper.hibernate(id).await?.into()))
}

/// Brings the window back.
#[utoipa::path(post, path = "/sessions/{id}/wake", tag = "sessions", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "Its window stands", body = SessionAnswer),
    (status = "4XX", description = "It is not there", body = ErrorBody),
    (status = "5XX", description = "There is no room, or it does not stand yet", body = ErrorBody)))]
pub(super) async fn wake(State(app): State<App>, Id(id): Id) -> Result<Json<SessionAnswer>, Problem> {
    Ok(Json(app.keeper.wake(id).await?.into()))
}

/// Cookies, localStorage and IndexedDB, in the shape of Playwright's `storageState`. Of a session that
/// hibernates it is what was written down; it is not woken.
#[utoipa::path(get, path = "/sessions/{id}/storage_state", tag = "sessions", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The state, as `storage_state` of `POST /sessions` takes it", body = Object),
    (status = "4XX", description = "It is not there", body = ErrorBody),
    (status = "5XX", description = "It could not be read", body = ErrorBody)))]
pub(super) async fn storage_state(
    State(app): State<App>,
    Id(id): Id,
) -> Result<Json<serde_json::Value>, Problem> {
    let checkpoint = if app.living(id)?.state() == SessionState::Hibernated {
        let stored = app.archive.checkpoint(id).await.map_err(|error| {
            Problem::new(ErrorCode::Internal, format!("The state cannot be read: {error}"))
        })?;
        stored.ok_or_else(|| Problem::new(ErrorCode::NotReady, "Nothing was written down of it yet"))?
    } else {
        let using = app.keeper.window(id).await?;
        using.window.peek(app.keeper.clock().now().0).await?
    };
    Ok(Json(checkpoint.to_storage_state()))
}

/// Closes the window and opens another with the same state.
#[utoipa::path(post, path = "/sessions/{id}/restart", tag = "sessions", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "It stands again", body = SessionAnswer),
    (status = "4XX", description = "409 while somebody holds it", body = ErrorBody),
    (status = "5XX", description = "It does not stand again yet; the session lives on", body = ErrorBody)))]
pub(super) async fn restart(State(app): State<App>, Id(id): Id) -> Result<Json<SessionAnswer>, Problem> {
    Ok(Json(app.keeper.restart(id).await?.into()))
}
