//! Reading and writing messages.

use bytes::Bytes;
use pilotlight_cdp::{Envelope, Text};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

/// Calls of one client that may wait for their replies.
pub const MAX_CLIENT_CALLS: usize = 2048;

/// The largest message that a client may send, in bytes. Playwright sends files of up to 50 MiB as one message, in
/// base64 (`packages/playwright-core/src/server/fileUploadUtils.ts`), which is 67 MiB. Such a message keeps
/// Chromium's only main thread busy for two seconds, so the limit is not higher.
pub(crate) const MAX_CLIENT_MESSAGE_BYTES: usize = 72 * 1024 * 1024;

/// The maximum nesting of a message. Chromium reads about 300 levels (`third_party/inspector_protocol/crdtp/json.cc`)
/// and answers a deeper message without the id of the call, so that its caller would wait for ever.
const MAX_DEPTH: usize = 200;

/// The codes of JSON-RPC and Chromium (`third_party/inspector_protocol/crdtp/dispatch.h`).
pub(crate) const PARSE_ERROR: i64 = -32700;
pub(crate) const INVALID_REQUEST: i64 = -32600;
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
pub(crate) const INVALID_PARAMS: i64 = -32602;
pub(crate) const SERVER_ERROR: i64 = -32000;
pub(crate) const SESSION_NOT_FOUND: i64 = -32001;

/// The receiver of a reply: the client's own id, and the session that it named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) id: i64,
    pub(crate) session: Option<String>,
}

/// A refusal without its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) i64, pub(crate) String);

impl Refusal {
    pub(crate) fn server(text: impl Into<String>) -> Self {
        Self(SERVER_ERROR, text.into())
    }

    pub(crate) fn params(text: impl Into<String>) -> Self {
        Self(INVALID_PARAMS, text.into())
    }

    /// Chromium's own wording, which clients know.
    pub(crate) fn no_target() -> Self {
        Self::params("No target with given id found")
    }

    pub(crate) fn no_context() -> Self {
        Self::server("Failed to find browser context")
    }

    pub(crate) fn no_session() -> Self {
        Self(SESSION_NOT_FOUND, "Session with given id not found.".into())
    }
}

/// Why a message is not parsed.
pub(crate) fn check(message: &[u8]) -> Result<(), Refusal> {
    if message.len() > MAX_CLIENT_MESSAGE_BYTES {
        let text = format!("The message is longer than {MAX_CLIENT_MESSAGE_BYTES} bytes");
        return Err(Refusal(INVALID_REQUEST, text));
    }
    if is_deeper_than(MAX_DEPTH, message) {
        let text = format!("The message is nested more than {MAX_DEPTH} levels deep");
        return Err(Refusal(INVALID_REQUEST, text));
    }
    Ok(())
}

/// Returns whether well-formed JSON is nested more deeply.
fn is_deeper_than(limit: usize, json: &[u8]) -> bool {
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_text,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

pub(crate) fn result(caller: &Caller, result: Value) -> Bytes {
    let mut reply = json!({ "id": caller.id, "result": result });
    if let Some(session) = &caller.session {
        reply["sessionId"] = json!(session);
    }
    reply.to_string().into()
}

pub(crate) fn refusal(caller: &Caller, Refusal(code, message): &Refusal) -> Bytes {
    let mut reply = json!({ "id": caller.id, "error": { "code": code, "message": message } });
    if let Some(session) = &caller.session {
        reply["sessionId"] = json!(session);
    }
    reply.to_string().into()
}

pub(crate) fn event(session: Option<&str>, method: &str, params: &Value) -> Bytes {
    let mut event = json!({ "method": method, "params": params });
    if let Some(session) = session {
        event["sessionId"] = json!(session);
    }
    event.to_string().into()
}

/// Returns a reply of the browser with the caller's id and session; its payload is copied unchanged.
pub(crate) fn readdressed(reply: &Envelope<'_>, caller: &Caller) -> Option<Bytes> {
    let reply =
        Envelope { id: Some(caller.id), session: caller.session.as_deref().map(Text::from), ..reply.clone() };
    reply.to_bytes().ok().map(Bytes::from)
}

/// Returns a command with an id and a session of the browser.
pub(crate) fn command(id: i64, session: &str, method: &str, params: Option<&RawValue>) -> Option<Bytes> {
    let command = Envelope {
        id: Some(id),
        method: Some(Text::from(method)),
        session: Some(Text::from(session)),
        params,
        ..Envelope::default()
    };
    command.to_bytes().ok().map(Bytes::from)
}

pub(crate) fn raw(value: &Value) -> Option<Box<RawValue>> {
    to_raw_value(value).ok()
}

/// Parses the parameters of a method.
pub(crate) fn read(params: Option<&RawValue>) -> Result<Value, Refusal> {
    let value = match params {
        None => json!({}),
        Some(params) => {
            serde_json::from_str(params.get()).map_err(|error| Refusal::params(error.to_string()))?
        }
    };
    match value {
        Value::Object(_) => Ok(value),
        Value::Null => Ok(json!({})),
        _ => Err(Refusal::params("params must be an object")),
    }
}

/// Returns a text parameter, if present.
pub(crate) fn text<'a>(params: &'a Value, name: &str) -> Result<Option<&'a str>, Refusal> {
    match params.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::params(format!("{name}: string value expected"))),
    }
}

pub(crate) fn needed<'a>(params: &'a Value, name: &str) -> Result<&'a str, Refusal> {
    text(params, name)?.ok_or_else(|| Refusal::params(format!("{name}: string value expected")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_texts_are_not_levels() {
        for (json, depth) in [
            (r#"{"a":[[1],[2,{"b":3}]]}"#, 4),
            (r#"{"a":"[[[[{\"[[\\","b":[]}"#, 2),
            (r#""[""#, 0),
            (r#"[[],[],[[]]]"#, 3),
        ] {
            assert!(!is_deeper_than(depth, json.as_bytes()), "{json}");
            assert!(depth == 0 || is_deeper_than(depth - 1, json.as_bytes()), "{json}");
        }
    }
}
