//! `/health`, `/ready` and `/drain`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use pilotlight_api::{DrainRequest, ErrorBody, ErrorCode, Health, HealthStatus, MessageAnswer, SessionState};
use tokio_util::sync::CancellationToken;

use super::App;
use super::problem::{Body, Problem};
use crate::clock::timestamp;
use crate::memory::machine_is_short;

/// What is less late than this is not worth a word, however short the interval.
const LATE_MIN: Duration = Duration::from_secs(5);

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

    /// The server is draining: it accepts nothing new, but answers requests.
    pub fn rest(&self) {
        self.at_rest.store(true, Ordering::Relaxed);
    }

    /// Returns a token that is cancelled when the server shuts down.
    #[must_use]
    pub fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }
}

/// Returns the server's health.
#[utoipa::path(get, path = "/health", tag = "server", security(()), responses(
    (status = 200, description = "The server is running", body = Health)))]
pub(super) async fn health(State(app): State<App>) -> Json<Health> {
    let directory = app.keeper.directory();
    let living = || directory.sessions.values().filter(|published| published.ended().is_none());
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let active_sessions = count(living().count());
    let late = directory.late_refresh(app.keeper.clock().now()).and_then(late_refreshes);
    let mut reasons =
        reasons(&app, living().filter(|one| one.state() == SessionState::NeedsAttention).count());
    reasons.extend(late);
    let status = if reasons.is_empty() { HealthStatus::Healthy } else { HealthStatus::Degraded };
    Json(Health {
        status,
        reasons,
        service: "pilotlight".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        active_sessions,
        max_sessions: app.max_sessions,
        session_capacity: format!("{active_sessions}/{}", app.max_sessions),
        persistent_sessions: count(living().filter(|published| published.keep_alive()).count()),
        timestamp: timestamp(app.keeper.clock().now()),
    })
}

/// Returns why the server is degraded. The route needs no token, so no names are included.
fn reasons(app: &App, waiting: usize) -> Vec<String> {
    let count = |count: usize, one: &str, more: &str| match count {
        0 => None,
        1 => Some(one.to_owned()),
        count => Some(format!("{count} {more}")),
    };
    let unwritten = app.store.health().borrow().is_some();
    let reasons = [
        count(waiting, "A session needs attention", "sessions need attention"),
        unwritten.then(|| "The store cannot be written; changes are refused".to_owned()),
        count(
            app.damaged.count(),
            "A record of the store cannot be read; `pilotlight store check` names it",
            "records of the store cannot be read; `pilotlight store check` names them",
        ),
        count(
            app.planner.sites.broken().len(),
            "A site defined over REST cannot be used; GET /sites names it",
            "sites defined over REST cannot be used; GET /sites names them",
        ),
        machine_is_short().then(|| "The machine is low on memory".to_owned()),
    ];
    reasons.into_iter().flatten().collect()
}

/// Returns what is said of refreshes that come later than a tenth of their interval.
fn late_refreshes((by, interval): (Duration, Duration)) -> Option<String> {
    let is_late = by > LATE_MIN && by > interval / 10;
    is_late.then(|| {
        format!(
            "Sessions are refreshed too late: one that is to be refreshed every {} s is {} s late",
            interval.as_secs(),
            by.as_secs()
        )
    })
}

/// Returns whether the server accepts requests.
#[utoipa::path(get, path = "/ready", tag = "server", security(()), responses(
    (status = 200, description = "The server is ready", body = MessageAnswer),
    (status = 503, description = "The server is starting, draining or shutting down", body = ErrorBody)))]
pub(super) async fn ready(State(app): State<App>) -> Result<Json<MessageAnswer>, Problem> {
    if app.readiness.draining.is_cancelled() {
        return Err(Problem::new(ErrorCode::Draining, "The server is shutting down"));
    }
    if app.readiness.at_rest.load(Ordering::Relaxed) {
        return Err(Problem::new(ErrorCode::Draining, "The server is draining"));
    }
    if !app.readiness.up.load(Ordering::Relaxed) {
        return Err(Problem::new(ErrorCode::NotReady, "The server is starting"));
    }
    Ok(Json(MessageAnswer::new("ready")))
}

/// Hibernates all sessions. No window is opened after that until the server is restarted.
#[utoipa::path(post, path = "/drain", tag = "server", request_body = DrainRequest, responses(
    (status = 200, description = "All sessions are hibernated", body = MessageAnswer),
    (status = 503, description = "A session is still in use", body = ErrorBody)))]
pub(super) async fn drain(
    State(app): State<App>,
    Body(request): Body<DrainRequest>,
) -> Result<Json<MessageAnswer>, Problem> {
    app.readiness.rest();
    app.keeper.drain(request.timeout.to_duration()).await?;
    Ok(Json(MessageAnswer::new("All sessions are hibernated")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_is_too_late_a_tenth_of_its_interval_after_it_was_due() {
        let seconds = Duration::from_secs;
        assert_eq!(late_refreshes((seconds(30), seconds(300))), None);
        assert_eq!(late_refreshes((seconds(5), seconds(3))), None);
        let said = late_refreshes((seconds(31), seconds(300)));
        assert_eq!(
            said.as_deref(),
            Some("Sessions are refreshed too late: one that is to be refreshed every 300 s is 31 s late")
        );
    }
}
