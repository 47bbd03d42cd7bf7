//! `pilotlight events`: follows the event stream.

use pilotlight_api::Event;
use serde_json::Value;

use super::client::{Client, typed};
use super::output::Output;
use super::stop::Stop;
use crate::exit::{FAILED, Failure, UNREACHABLE};
use crate::table;

/// The largest event that is read.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// Writes events until the server or the reader of the output goes away.
pub(super) async fn follow(client: &Client, path: &str, output: &mut Output<'_>) -> Result<(), Stop> {
    let mut response = client.stream(path).await?;
    let mut stream = EventStream::default();
    while let Some(chunk) = response.chunk().await.map_err(|error| client.unreachable(&error))? {
        for data in stream.push(&chunk)? {
            let value: Value = serde_json::from_str(&data)
                .map_err(|error| Failure::new(FAILED, format!("cannot parse an event: {error}")))?;
            let event: Event = typed(&value)?;
            output.line(&value, || table::event(&event))?;
        }
    }
    Err(Failure::new(UNREACHABLE, "the server closed the event stream")
        .with_hint("run the command again once the server is back")
        .into())
}

/// Splits a stream of server-sent events (WHATWG HTML, 9.2.6) into the data of each. Comments, which keep the
/// connection alive, and other fields are skipped.
#[derive(Default)]
pub(super) struct EventStream {
    line: Vec<u8>,
    data: String,
}

impl EventStream {
    /// Takes the next bytes; gives the data of every event that they complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, Failure> {
        let mut complete = Vec::new();
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() + self.data.len() > MAX_EVENT_BYTES {
                    return Err(Failure::new(FAILED, "an event from the server is too large"));
                }
                continue;
            }
            let line = String::from_utf8_lossy(&self.line).trim_end_matches('\r').to_owned();
            self.line.clear();
            if let Some(data) = line.strip_prefix("data:") {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
            } else if line.is_empty() && !self.data.is_empty() {
                complete.push(std::mem::take(&mut self.data));
            }
        }
        Ok(complete)
    }
}
