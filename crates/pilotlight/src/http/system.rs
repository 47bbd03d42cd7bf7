//! How the server is: `/health` and `/ready`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::extract::State;
use pilotlight_api::{DrainRequest, ErrorBody, ErrorCode, Health, HealthStatus, MessageAnswer, SessionState};
use tokio_util::sync::CancellationToken;

use super::App;
use super::problem::{Body, Problem};
use crate::keeper::timestamp;
use crate::memory::machine_is_short;

/// Whether the server has come up and is not going down.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    up: Arc<AtomicBool>,
    draining: CancellationToken,
    at_rest: Arc<AtomicBool>,
}

impl Readiness {
    /// The server has come up.
    pub fn set_up(&self) {
        self.up.store(true, Ordering::Relaxed);
    }

    /// The server is going down: streams end.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Everything is put to rest: nothing new is taken, but the server answers.
    pub fn rest(&self) {
        self.at_rest.store(true, Ordering::Relaxed);
    }

    /// Resolves when the server is going down.
    #[must_use]
    pub fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }
}

/// How the server is.
#[utoipa::path(get, path = "/health", tag = "server", security(()), responses(
    (status = 200, description = "It works", body = Health)))]
pub(super) async fn health(State(app): State<App>) -> Json<Health> {
    let directory = app.keeper.directory();
    let living = || directory.sessions.values().filter(|published| published.ended().is_none());
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let active_sessions = count(living().count());
    let attention = living().any(|published| published.state() == SessionState::NeedsAttention);
    let unwritten = app.archive.health().borrow().is_some();
    let status = if attention || unwritten || machine_is_short() {
        HealthStatus::Degraded
    } else {
        HealthStatus::Healthy
    };
    Json(Health {
        status,
        service: "pilotlight".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        active_sessions,
        max_sessions: app.max_sessions,
        session_capacity: format!("{active_sessions}/{}", app.max_sessions),
        persistent_sessions: count(living().filter(|published| published.keep_alive()).count()),
        timestamp: timestamp(app.keeper.clock().now()),
    })
}

/// Whether the server takes requests.
#[utoipa::path(get, path = "/ready", tag = "server", security(()), responses(
    (status = 200, description = "It does", body = MessageAnswer),
    (status = 503, description = "Not yet, or not any more", body = ErrorBody)))]
pub(super) async fn ready(State(app): State<App>) -> Result<Json<MessageAnswer>, Problem> {
    if app.readiness.draining.is_cancelled() {
        return Err(Problem::new(ErrorCode::Draining, "The server is shutting down"));
    }
    if app.readiness.at_rest.load(Ordering::Relaxed) {
        return Err(Problem::new(ErrorCode::Draining, "The server puts everything to rest"));
    }
    if !app.readiness.up.load(Ordering::Relaxed) {
        return Err(Problem::new(ErrorCode::NotReady, "The server is starting"));
    }
    Ok(Json(MessageAnswer::new("ready")))
}

/// Lets every session hibernate; from then on no window is opened until the server is started anew.
#[utoipa::path(post, path = "/drain", tag = "server", request_body = DrainRequest, responses(
    (status = 200, description = "No window is left", body = MessageAnswer),
    (status = 503, description = "Somebody still holds a session", body = ErrorBody)))]
pub(super) async fn drain(
    State(app): State<App>,
    Body(request): Body<DrainRequest>,
) -> Result<Json<MessageAnswer>, Problem> {
    app.readiness.rest();
    app.keeper.drain(request.timeout.to_duration()).await?;
    Ok(Json(MessageAnswer::new("Everything hibernates")))
}
