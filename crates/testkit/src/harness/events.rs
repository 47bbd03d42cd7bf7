//! Reads server-sent events as a browser would: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use std::time::Duration;

use pilotlight_api::{Event, EventKind};
use reqwest::Response;
use tokio::time::{Instant, timeout_at};

/// Maximum number of bytes without the end of an event.
const MAX_PENDING_BYTES: usize = 1024 * 1024;

/// A stream of server-sent events.
#[derive(Debug)]
pub struct EventStream {
    response: Response,
    pending: Vec<u8>,
    /// All events so far.
    pub seen: Vec<Event>,
}

impl EventStream {
    pub(super) fn new(response: Response) -> Self {
        Self { response, pending: Vec::new(), seen: Vec::new() }
    }

    /// Returns the next event for which `wanted` is true, reading for up to `within`.
    ///
    /// # Panics
    /// If the time is over or the stream ends; shows all events.
    pub async fn find(&mut self, what: &str, within: Duration, wanted: impl Fn(&Event) -> bool) -> Event {
        let deadline = Instant::now() + within;
        loop {
            let Ok(event) = timeout_at(deadline, self.next()).await else {
                panic!("waited {within:?} in vain for the event of {what}; these came: {:#?}", self.seen)
            };
            if wanted(&event) {
                return event;
            }
        }
    }

    /// Returns the next event of this kind.
    ///
    /// # Panics
    /// See [`EventStream::find`].
    pub async fn kind(&mut self, kind: EventKind, within: Duration) -> Event {
        self.find(kind.as_str(), within, |event| event.kind == kind).await
    }

    async fn next(&mut self) -> Event {
        loop {
            if let Some(end) = self.pending.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.pending.drain(..end + 2).collect();
                if let Some(event) = read_block(&String::from_utf8_lossy(&block)) {
                    self.seen.push(event.clone());
                    return event;
                }
                continue;
            }
            assert!(self.pending.len() < MAX_PENDING_BYTES, "an event has no end");
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.pending.extend_from_slice(&chunk),
                Ok(None) => panic!("the stream of events ended; these came: {:#?}", self.seen),
                Err(error) => panic!("the stream of events broke: {error:?}; these came: {:#?}", self.seen),
            }
        }
    }
}

/// Parses an event; `None` for a comment, which keeps the connection open. Its lines must match its data.
fn read_block(block: &str) -> Option<Event> {
    let field = |name: &str| {
        block.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim_start()))
    };
    let data = field("data")?;
    let event: Event = serde_json::from_str(data)
        .unwrap_or_else(|error| panic!("an event's data does not fit: {error}: {data}"));
    assert_eq!(field("event"), Some(event.kind.as_str()), "{block}");
    assert_eq!(field("id"), Some(event.id.to_string().as_str()), "{block}");
    Some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_passed_over_and_events_are_read() {
        assert!(read_block(": still here\n\n").is_none());
        let block = "event: ended\nid: 7\ndata: {\"id\":7,\"time\":\"2026-11-22T12:00:00Z\",\"session_id\":null,\
                     \"name\":null,\"kind\":\"ended\",\"state\":\"ended\",\"reason\":\"closed\",\"message\":\"S.\"}\n\n";
        assert_eq!(read_block(block).unwrap().kind, EventKind::Ended);
    }
}
