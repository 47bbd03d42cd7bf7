//! Notifies a webhook when a session starts to need a person, and when it no longer does.
//!
//! Each message is tried a few times and then dropped: the list of sessions contains the same information. No message
//! delays another for long, and nothing waits for this task. When the server starts, it sends a message for every
//! session that needs a person, whatever an earlier server has sent.
//!
//! With `server.webhook_secret`, messages are signed according to Standard Webhooks
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>): HMAC-SHA256 over
//! id, time and body, so that a receiver can verify the sender and the time, and detect repeated messages.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use pilotlight_api::{Event, EventKind};
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use crate::clock::{Clock, wall};
use crate::config::WebhookSecret;

/// Number of delivery attempts.
const TRIES: u32 = 5;
/// Time limit of one attempt.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The prefix of a signature's version, and the prefix of secrets whose bytes are given in base64.
const SIGNATURE: &str = "v1";
const IN_BASE64: &str = "whsec_";
/// The delay after the first failed attempt; it doubles with each attempt.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Sends the events to `url` until `stop`.
pub(crate) async fn run(
    url: Url,
    secret: Option<WebhookSecret>,
    clock: Clock,
    address: SocketAddr,
    (missed, mut events): (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>),
    stop: CancellationToken,
) {
    // A redirect leads to an address that was not configured.
    let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(Policy::none()).build();
    let client = match client {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "failed to set up the webhook"),
    };
    let hook = Hook { client, url, secret, clock };
    let telling = async {
        for event in missed.iter().filter(|event| is_told(event)) {
            hook.send(&message(event, address)).await;
        }
        loop {
            let event = match events.recv().await {
                Ok(event) => event,
                // Missed events are covered by the session's next event.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            };
            if is_told(&event) {
                hook.send(&message(&event, address)).await;
            }
        }
    };
    tokio::select! {
        () = telling => {}
        () = stop.cancelled() => {}
    }
}

fn is_told(event: &Event) -> bool {
    matches!(event.kind, EventKind::NeedsAttention | EventKind::AttentionEnded)
}

fn message(event: &Event, address: SocketAddr) -> Value {
    let session = event.session_id.map(|id| format!("http://{address}/sessions/{id}"));
    json!({
        "event": event.kind,
        "time": event.time,
        "session_id": event.session_id,
        "name": event.name,
        "state": event.state,
        "message": event.message,
        "session_url": session,
        "screenshot_url": session.as_ref().map(|session| format!("{session}/screenshot")),
        "live_url": event.live_url,
        "failure_url": event.failure_url,
    })
}

/// The destination of messages.
struct Hook {
    client: reqwest::Client,
    url: Url,
    secret: Option<WebhookSecret>,
    clock: Clock,
}

impl Hook {
    async fn send(&self, message: &Value) {
        let body = message.to_string();
        // The same for every attempt, so that a receiver can recognise repetitions.
        let id = format!("msg_{}", Uuid::now_v7().simple());
        let mut wait = FIRST_WAIT;
        for attempt in 1..=TRIES {
            match self.try_to_send(&id, &body).await {
                Ok(status) if status.is_success() => return,
                Ok(status) => {
                    tracing::warn!(
                        attempt,
                        status = status.as_u16(),
                        "failed to deliver a message to the webhook"
                    );
                }
                // The URL may contain a secret of the receiver.
                Err(error) => {
                    tracing::warn!(attempt, error = %error.without_url(), "failed to deliver a message to the webhook");
                }
            }
            if attempt < TRIES {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
        }
    }

    async fn try_to_send(&self, id: &str, body: &str) -> reqwest::Result<StatusCode> {
        let seconds = (wall(self.clock.now()).0 / 1000).to_string();
        let mut request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        request = request.header("webhook-id", id).header("webhook-timestamp", &seconds);
        if let Some(secret) = &self.secret {
            let signature = sign(secret, &[id, &seconds, body]);
            request = request.header("webhook-signature", format!("{SIGNATURE},{signature}"));
        }
        Ok(request.body(body.to_owned()).send().await?.status())
    }
}

/// Returns the signature of a message's id, time and body.
fn sign(WebhookSecret(secret): &WebhookSecret, parts: &[&str; 3]) -> String {
    let secret = secret.expose_secret();
    let in_base64 = secret.strip_prefix(IN_BASE64).and_then(|key| BASE64_STANDARD.decode(key).ok());
    let key = in_base64.unwrap_or_else(|| secret.as_bytes().to_vec());
    // HMAC accepts keys of any length.
    let Ok(mut keyed) = Hmac::<Sha256>::new_from_slice(&key) else { return String::new() };
    keyed.update(parts.join(".").as_bytes());
    BASE64_STANDARD.encode(keyed.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_signed_as_their_receivers_check() {
        // The example of the specification's own libraries.
        let secret = WebhookSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into());
        let message = ["msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", "{\"test\": 2432232314}"];
        assert_eq!(sign(&secret, &message), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_ne!(
            sign(&WebhookSecret("another secret of any form".into()), &message),
            sign(&secret, &message)
        );
        assert!(!format!("{secret:?}").contains("MfKQ9"));
    }
}
