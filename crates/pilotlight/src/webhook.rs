//! Tells somebody outside when a session needs a person, and when it no longer does.
//!
//! Each message is tried a few times and then given up: what it tells stands in the list of sessions as well. No
//! message holds up another for long, and nothing waits for this but itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pilotlight_api::{Event, EventKind};
use serde_json::{Value, json};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;
use url::Url;

/// How often a message is tried.
const TRIES: u32 = 5;
/// How long one try may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The wait after the first try that failed; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Tells `url` of everything that `events` says, until `stop`.
pub(crate) async fn run(
    url: Url,
    address: SocketAddr,
    mut events: broadcast::Receiver<Arc<Event>>,
    stop: CancellationToken,
) {
    let client = match reqwest::Client::builder().timeout(TIMEOUT).build() {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "the webhook cannot be used"),
    };
    let telling = async {
        loop {
            let event = match events.recv().await {
                Ok(event) => event,
                // What was missed shows with the session's next event.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            };
            if matches!(event.kind, EventKind::NeedsAttention | EventKind::AttentionOver) {
                send(&client, &url, &message(&event, address)).await;
            }
        }
    };
    tokio::select! {
        () = telling => {}
        () = stop.cancelled() => {}
    }
}

fn message(event: &Event, address: SocketAddr) -> Value {
    let session = event.session_id.map(|id| format!("http://{address}/sessions/{id}"));
    json!({
        "event": event.kind,
        "time": event.time,
        "session_id": event.session_id,
        "name": event.name,
        "state": event.state,
        "sentence": event.sentence,
        "session_url": session,
        "screenshot_url": session.as_ref().map(|session| format!("{session}/screenshot")),
        "live_url": event.live_url,
        "failure_url": event.failure_url,
    })
}

async fn send(client: &reqwest::Client, url: &Url, message: &Value) {
    let mut wait = FIRST_WAIT;
    for attempt in 1..=TRIES {
        let sent = client.post(url.clone()).json(message).send().await;
        match sent.and_then(reqwest::Response::error_for_status) {
            Ok(_) => return,
            // The URL may hold a secret of the receiver's.
            Err(error) => {
                tracing::warn!(attempt, error = %error.without_url(), "the webhook did not take a message");
            }
        }
        if attempt < TRIES {
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }
}
