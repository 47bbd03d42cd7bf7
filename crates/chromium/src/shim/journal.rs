//! What a shim stores of the messages that pass it: the open protocol sessions, and the used ids of calls. It reads
//! the beginning of each message, and more only if the message concerns a session.

use std::collections::HashSet;

use bytes::Bytes;
use pilotlight_cdp::protocol::target::{AttachedToTarget, DetachedFromTarget};
use pilotlight_cdp::{Envelope, Notification, end_of_message};
use serde_json::json;

/// The beginnings of the messages that are read (`third_party/inspector_protocol/crdtp/dispatch.cc`, `Serializable`).
const LOOKED_INTO: [&[u8]; 2] =
    [br#"{"method":"Target.attachedToTarget","#, br#"{"method":"Target.detachedFromTarget","#];
/// The number of bytes that identify a message; longer than any of these.
const BEGINNING_BYTES: usize = 64;
/// The beginning of the reply to a call.
const ANSWER: &[u8] = br#"{"id":"#;
/// The number of bytes of a message that are read. URLs of pages can be longer; then only the beginning counts.
const KEPT_BYTES_MAX: usize = 16 * 1024;
/// Sessions that are stored. Windows have far fewer pages.
const SESSIONS_MAX: usize = 16_384;

/// The position in the stream from Chromium.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// The beginning of the present message, or all of one that is read.
    kept: Vec<u8>,
    /// The rest of the present message is skipped.
    passing: bool,
    sessions: HashSet<String>,
    answered: Option<i64>,
}

impl Journal {
    /// Handles the next bytes from Chromium.
    pub(super) fn observe(&mut self, mut bytes: &[u8]) {
        while let Some(end) = end_of_message(bytes) {
            self.keep(&bytes[..end]);
            self.message_ended();
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.passing {
            return;
        }
        // The bytes that identify it come first, so that nothing else of most messages is copied.
        let missing = BEGINNING_BYTES.saturating_sub(self.kept.len());
        let (beginning, rest) = bytes.split_at(bytes.len().min(missing));
        self.kept.extend_from_slice(beginning);
        if self.kept.len() < BEGINNING_BYTES {
            return;
        }
        if LOOKED_INTO.iter().any(|prefix| self.kept.starts_with(prefix)) {
            let room = KEPT_BYTES_MAX - self.kept.len();
            self.kept.extend_from_slice(&rest[..rest.len().min(room)]);
        } else {
            self.passing = true;
        }
    }

    fn message_ended(&mut self) {
        if let Some(id) = leading_id(&self.kept) {
            self.answered = Some(id);
        } else if self.kept.starts_with(LOOKED_INTO[0]) {
            if let Some(session) = self.session::<AttachedToTarget>(|event| event.session_id.into())
                && self.sessions.len() < SESSIONS_MAX
            {
                self.sessions.insert(session);
            }
        } else if self.kept.starts_with(LOOKED_INTO[1])
            && let Some(session) = self.session::<DetachedFromTarget>(|event| event.session_id.into())
        {
            self.sessions.remove(&session);
        }
        self.kept.clear();
        self.kept.shrink_to(256);
        self.passing = false;
    }

    /// Returns the session that an event of the root is about. Sessions below others end with those.
    fn session<N: Notification>(&self, id: impl Fn(N) -> String) -> Option<String> {
        if self.kept.len() == KEPT_BYTES_MAX {
            return session_of_beginning(&self.kept);
        }
        let envelope = Envelope::parse(&self.kept).ok()?;
        if envelope.session.is_some() {
            return None;
        }
        serde_json::from_str(envelope.params?.get()).ok().map(id)
    }

    /// Removes and returns the open sessions.
    pub(super) fn take_sessions(&mut self) -> Vec<String> {
        std::mem::take(&mut self.sessions).into_iter().collect()
    }

    /// Returns the id of the call that Chromium answered last.
    pub(super) fn answered(&self) -> Option<i64> {
        self.answered
    }
}

/// In a message that is too long to be read, its session comes first.
fn session_of_beginning(beginning: &[u8]) -> Option<String> {
    let start = br#"{"method":"Target.attachedToTarget","params":{"sessionId":""#;
    let rest = beginning.strip_prefix(start.as_slice())?;
    let end = rest.iter().position(|&byte| byte == b'"')?;
    String::from_utf8(rest[..end].to_vec()).ok()
}

/// Returns the number in `{"id":123,`.
fn leading_id(message: &[u8]) -> Option<i64> {
    let digits = message.strip_prefix(ANSWER)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// The ids of calls that servers used, one after the other.
#[derive(Debug, Default)]
pub(super) struct Ids {
    last: i32,
}

impl Ids {
    /// Records a message to Chromium. Ids may arrive slightly out of order, and start again after the largest.
    pub(super) fn observe(&mut self, message: &Bytes) {
        let leading = leading_id(message);
        let id = leading.or_else(|| Envelope::parse(message).ok()?.id);
        if let Some(id) = id.and_then(|id| i32::try_from(id).ok()).filter(|id| *id > 0)
            && (id > self.last || self.last - id > i32::MAX / 2)
        {
            self.last = id;
        }
    }

    /// Returns the next unused one.
    pub(super) fn next(&self) -> i32 {
        self.last.checked_add(1).unwrap_or(1)
    }

    /// Uses the next one for a call of our own.
    pub(super) fn call(&mut self, method: &str, params: &serde_json::Value) -> (i32, Bytes) {
        self.last = self.next();
        let call = json!({"id": self.last, "method": method, "params": params});
        (self.last, call.to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attached(session: &str, url: &str, parent: Option<&str>) -> Vec<u8> {
        let parent = parent.map(|parent| format!(r#","sessionId":"{parent}""#)).unwrap_or_default();
        format!(
            r#"{{"method":"Target.attachedToTarget","params":{{"sessionId":"{session}","targetInfo":{{"targetId":"T","type":"page","title":"","url":"{url}","attached":true,"browserContextId":"C"}},"waitingForDebugger":false}}{parent}}}"#
        )
        .into_bytes()
    }

    fn detached(session: &str) -> Vec<u8> {
        format!(r#"{{"method":"Target.detachedFromTarget","params":{{"sessionId":"{session}"}}}}"#)
            .into_bytes()
    }

    fn feed(journal: &mut Journal, messages: &[Vec<u8>], chunk: usize) {
        let wire: Vec<u8> = messages.iter().flat_map(|message| [&message[..], &[0]].concat()).collect();
        wire.chunks(chunk).for_each(|chunk| journal.observe(chunk));
    }

    proptest! {
        #[test]
        fn sessions_of_the_root_are_remembered_however_the_stream_is_cut(
            chunk in 1_usize..700, long in prop::bool::ANY,
            noise in prop::collection::vec("[ -~]{0,200}", 4),
        ) {
            let url = if long { "u".repeat(2 * KEPT_BYTES_MAX) } else { "about:blank".into() };
            let mut journal = Journal::default();
            let noise: Vec<Vec<u8>> = noise.into_iter().map(String::into_bytes).collect();
            let messages = [
                noise[0].clone(), attached("A", &url, None), noise[1].clone(), attached("B", "b", None),
                attached("N", "n", Some("A")), noise[2].clone(), detached("B"), detached("unknown"),
                br#"{"id":41,"result":{}}"#.to_vec(), noise[3].clone(),
            ];
            feed(&mut journal, &messages, chunk);
            prop_assert_eq!(journal.answered(), Some(41));
            prop_assert_eq!(journal.take_sessions(), ["A"]);
            prop_assert!(journal.take_sessions().is_empty());
            prop_assert!(journal.kept.is_empty());
        }

        #[test]
        fn anything_may_come_from_a_browser(
            bytes in prop::collection::vec(any::<u8>(), 0..2000), chunk in 1_usize..100,
        ) {
            let mut journal = Journal::default();
            bytes.chunks(chunk).for_each(|chunk| journal.observe(chunk));
            prop_assert!(journal.kept.len() <= KEPT_BYTES_MAX);
        }
    }

    #[test]
    fn ids_follow_the_servers() {
        let mut ids = Ids::default();
        assert_eq!(ids.next(), 1);
        for message in [r#"{"id":5,"method":"a"}"#, r#"{"id":3}"#, r#"{"method":"b","id":7}"#, "odd"] {
            ids.observe(&Bytes::from(message));
        }
        assert_eq!(ids.next(), 8);
        let (id, call) = ids.call("Browser.getVersion", &json!({}));
        assert_eq!((id, &call[..8]), (8, &br#"{"id":8,"#[..]));
        ids.observe(&Bytes::from(format!(r#"{{"id":{}}}"#, i32::MAX)));
        assert_eq!(ids.next(), 1);
        ids.observe(&Bytes::from_static(br#"{"id":2}"#));
        assert_eq!(ids.next(), 3, "they began again");
    }
}
