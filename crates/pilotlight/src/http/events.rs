//! Server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse;
use axum::response::sse::{KeepAlive, Sse};
use futures_util::{Stream, StreamExt};
use pilotlight_api::{ErrorBody, Event, EventKind, EventsQuery};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use uuid::Uuid;

use super::App;
use super::problem::{Id, Parameters, Problem};
use crate::clock::timestamp;

/// Interval of keep-alive comments in a stream without events.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Streams the events of all sessions.
#[utoipa::path(get, path = "/events", tag = "events", params(EventsQuery), responses(
    (status = 200, description = "A stream of server-sent events", content_type = "text/event-stream", body = Event)))]
pub(super) async fn all(
    State(app): State<App>,
    Parameters(query): Parameters<EventsQuery>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    stream(app, None, after(&query, &headers))
}

/// Streams the events of a session.
#[utoipa::path(get, path = "/sessions/{id}/events", tag = "events", params(("id" = Uuid, Path), EventsQuery), responses(
    (status = 200, description = "A stream of server-sent events", content_type = "text/event-stream", body = Event),
    (status = "4XX", description = "The session does not exist", body = ErrorBody)))]
pub(super) async fn of_session(
    State(app): State<App>,
    Id(id): Id,
    Parameters(query): Parameters<EventsQuery>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Problem> {
    app.living(id)?;
    Ok(stream(app, Some(id), after(&query, &headers)))
}

/// Returns the id of the last event that the client has received, if it sent one.
fn after(query: &EventsQuery, headers: &HeaderMap) -> Option<u64> {
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    header.or(query.after)
}

fn stream(
    app: App,
    only: Option<Uuid>,
    after: Option<u64>,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let events = app.keeper.events();
    let (missed, events) = events.subscribe_after(after.unwrap_or_else(|| events.last()));
    let missed = futures_util::stream::iter(missed.into_iter().map(Ok));
    let events = missed.chain(BroadcastStream::new(events));
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
        message: format!("{missed} events were missed: list the sessions again"),
        live_url: None,
        failure_url: None,
        dialog: None,
    })
}

fn written(event: &Event) -> Option<sse::Event> {
    sse::Event::default().id(event.id.to_string()).event(event.kind.as_str()).json_data(event).ok()
}
