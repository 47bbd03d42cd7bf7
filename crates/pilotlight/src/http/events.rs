//! Server-sent events: what happens, as it happens, each with its reason.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse;
use axum::response::sse::{KeepAlive, Sse};
use futures_util::{Stream, StreamExt};
use pilotlight_api::{ErrorBody, Event, EventKind};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use uuid::Uuid;

use super::App;
use super::problem::{Id, Problem};
use crate::keeper::timestamp;

/// How often a silent stream shows that it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Events of all sessions.
#[utoipa::path(get, path = "/events", tag = "events", responses(
    (status = 200, description = "A stream of events", content_type = "text/event-stream", body = Event)))]
pub(super) async fn all(State(app): State<App>) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    stream(app, None)
}

/// Events of one session.
#[utoipa::path(get, path = "/sessions/{id}/events", tag = "events", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "A stream of events", content_type = "text/event-stream", body = Event),
    (status = "4XX", description = "The session is not there", body = ErrorBody)))]
pub(super) async fn of_session(
    State(app): State<App>,
    Id(id): Id,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Problem> {
    app.living(id)?;
    Ok(stream(app, Some(id)))
}

fn stream(app: App, only: Option<Uuid>) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let events = BroadcastStream::new(app.keeper.events().subscribe());
    let stopping = app.readiness.draining();
    let events = events.filter_map(move |event| {
        let event = match event {
            Ok(event) => Some(event),
            Err(BroadcastStreamRecvError::Lagged(missed)) => Some(lagged(&app, missed)),
        };
        let event =
            event.filter(|event| only.is_none() || event.session_id.is_none() || event.session_id == only);
        std::future::ready(event.and_then(|event| written(&event)).map(Ok))
    });
    // A stream without an end would keep a stopping server from coming to its own.
    let events = events.take_until(async move { stopping.cancelled().await });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn lagged(app: &App, missed: u64) -> Arc<Event> {
    Arc::new(Event {
        id: app.keeper.events().last(),
        time: timestamp(app.keeper.clock().now()),
        session_id: None,
        name: None,
        kind: EventKind::Lagged,
        state: None,
        reason: "slow_reader".to_owned(),
        sentence: format!("{missed} events were missed: list the sessions anew"),
    })
}

fn written(event: &Event) -> Option<sse::Event> {
    sse::Event::default().id(event.id.to_string()).event(event.kind.as_str()).json_data(event).ok()
}
