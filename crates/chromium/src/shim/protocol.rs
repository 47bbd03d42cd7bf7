//! The messages between server and shim. Their versions can differ: a shim runs as long as its browser, with any
//! number of servers.
//!
//! Unknown fields are ignored on both sides. Whatever changes the meaning of a message, or is required and new, needs
//! a new [`PROTOCOL`].

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use pilotlight_cdp::PipeCodec;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::Binary;
use crate::launch::{BrowserUsers, LaunchPlan, Reach};

/// The version of our shims.
pub const PROTOCOL: u32 = 1;
/// The versions that our server supports. Shims of others are ended when they are found.
pub const PROTOCOLS: RangeInclusive<u32> = 1..=1;

/// The largest message of a control connection, in bytes: the report of an end with the whole of stderr, escaped.
pub(super) const CONTROL_MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// The largest launch description, in bytes.
pub(super) const DESCRIPTION_BYTES_MAX: u64 = 1024 * 1024;

/// Notes that a shim stores.
pub const NOTES_MAX: usize = 512;
/// The maximum length of the key of a note, in bytes.
pub const NOTE_KEY_BYTES_MAX: usize = 128;
/// The maximum length of the value of a note, in bytes.
pub const NOTE_VALUE_BYTES_MAX: usize = 512;

/// The name of the socket in the shim's folder.
pub(super) const SOCKET: &str = "shim.sock";
/// The name of the file with [`Card`].
pub(super) const CARD: &str = "shim.json";

/// The environment variable of a shim that runs with a lower priority than all others, with its browser. It is not in
/// the description since that is read too late for it.
pub(super) const YIELDS: &str = "PILOTLIGHT_SHIM_YIELDS";

/// The codec of control connections.
pub(super) fn control_codec() -> PipeCodec {
    PipeCodec::new(CONTROL_MESSAGE_BYTES_MAX)
}

/// The launch description of a shim, on its standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Description {
    pub(super) run_directory: PathBuf,
    pub(super) label: String,
    pub(super) orphan_timeout_ms: u64,
    pub(super) users: BrowserUsers,
    pub(super) program: PathBuf,
    pub(super) engine: String,
    pub(super) arguments: Vec<String>,
    pub(super) preferences: Value,
    pub(super) environment: HashMap<String, String>,
    pub(super) merges_pages: bool,
    pub(super) reach: Reach,
}

impl Description {
    /// What is to be launched.
    pub(super) fn plan(&self) -> Result<LaunchPlan, String> {
        let binary = Binary {
            path: self.program.clone(),
            engine: self.engine.parse()?,
            source: "the launch description",
        };
        Ok(LaunchPlan {
            binary,
            arguments: self.arguments.clone(),
            preferences: self.preferences.clone(),
            environment: self.environment.clone(),
            merges_pages: self.merges_pages,
            // The shim applied that when it started, and its browser inherits it.
            yields: false,
            reach: self.reach.clone(),
        })
    }
}

/// The one line that a shim writes to its standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// It listens in this folder.
    Ready(PathBuf),
    /// There is no browser, and no shim.
    Failed(String),
}

/// `shim.json`: the identity of the process behind the socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Card {
    pub(super) protocol: u32,
    pub(super) shim_pid: u32,
    pub(super) browser_pid: u32,
    pub(super) label: String,
}

/// The purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    /// Messages of the DevTools protocol both ways, after the hello.
    Relay,
    /// Orders and events.
    Control,
}

/// The server's first message on every connection.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Greeting {
    pub(super) protocol: u32,
    pub(super) role: Role,
    /// The name of the server, by which its control and relay connections belong together.
    pub(super) server: String,
}

/// The shim's answer to a greeting.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) protocol: u32,
    pub(super) shim_pid: u32,
    pub(super) browser_pid: u32,
    pub(super) engine: String,
    pub(super) label: String,
    pub(super) notes: BTreeMap<String, String>,
    /// The first id of a call that no earlier server has used.
    pub(super) next_id: i32,
    pub(super) orphan_timeout_ms: u64,
    /// The folder of the browser's files. Earlier shims do not report it; their windows cannot download.
    #[serde(default)]
    pub(super) browser_folder: Option<PathBuf>,
}

/// A request of a server on its control connection.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// Identifies the answer.
    pub(super) id: u64,
    pub(super) order: Order,
}

/// See [`Request`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// Stores a value, or removes it.
    SetNote { key: String, value: Option<String> },
    /// How long the browser may be without a server.
    SetOrphanTimeout { timeout_ms: u64 },
    /// Ends browser and shim, gently first.
    Close,
    /// The same by force.
    Kill,
}

/// A message of a shim on a control connection; only the first two answer a greeting.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ShimEvent {
    /// The greeting is accepted.
    Hello(Hello),
    /// The greeting, or the request of this id, is refused.
    Refused { id: u64, reason: String },
    /// The request of this id was executed.
    Done { id: u64 },
    /// The browser has ended. The shim follows once nothing of it is left.
    Exited { status: String, stderr: String },
    /// Another server has taken over the browser.
    Replaced,
}

/// The id in the refusal of a greeting.
pub(super) const GREETING: u64 = 0;

/// Stores a note in the map, within the limits.
pub(super) fn take_note(
    notes: &mut BTreeMap<String, String>,
    key: String,
    value: Option<String>,
) -> Result<(), String> {
    let Some(value) = value else {
        notes.remove(&key);
        return Ok(());
    };
    if key.len() > NOTE_KEY_BYTES_MAX || value.len() > NOTE_VALUE_BYTES_MAX {
        return Err(format!(
            "a note has up to {NOTE_KEY_BYTES_MAX} bytes of key and {NOTE_VALUE_BYTES_MAX} bytes of value"
        ));
    }
    if notes.len() >= NOTES_MAX && !notes.contains_key(&key) {
        return Err(format!("there are {NOTES_MAX} notes already"));
    }
    notes.insert(key, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_bounded() {
        let mut notes = BTreeMap::new();
        for number in 0..NOTES_MAX {
            take_note(&mut notes, number.to_string(), Some("x".into())).unwrap();
        }
        take_note(&mut notes, "one more".into(), Some("x".into())).unwrap_err();
        take_note(&mut notes, "0".into(), Some("y".into())).unwrap();
        assert_eq!(notes["0"], "y");
        take_note(&mut notes, "1".into(), None).unwrap();
        take_note(&mut notes, "one more".into(), Some("x".repeat(NOTE_VALUE_BYTES_MAX + 1))).unwrap_err();
        take_note(&mut notes, "one more".into(), Some("x".into())).unwrap();
        take_note(&mut notes, "k".repeat(NOTE_KEY_BYTES_MAX + 1), None).unwrap();
    }

    #[test]
    fn the_wire_is_what_it_was() {
        let json = |value: &Request| serde_json::to_string(value).unwrap();
        assert_eq!(json(&Request { id: 4, order: Order::Kill }), r#"{"id":4,"order":"kill"}"#);
        let note = Order::SetNote { key: "a".into(), value: None };
        assert_eq!(
            json(&Request { id: 5, order: note }),
            r#"{"id":5,"order":{"set_note":{"key":"a","value":null}}}"#
        );
        let newer = r#"{"exited":{"status":"exit status: 0","stderr":"","since":1}}"#;
        assert!(matches!(serde_json::from_str(newer), Ok(ShimEvent::Exited { .. })));
        let greeting = Greeting { protocol: 1, role: Role::Relay, server: "7-1".into() };
        assert_eq!(
            serde_json::to_string(&greeting).unwrap(),
            r#"{"protocol":1,"role":"relay","server":"7-1"}"#
        );
    }
}
