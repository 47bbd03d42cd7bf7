//! The envelope of a message: its receiver and the call that it answers. The payload remains unparsed, so that a
//! message can be passed on with another `id` or `sessionId`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

/// The id of a flattened protocol session, as Chromium gives it. The root has none.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for SessionId {
    fn from(id: String) -> Self {
        Self(id.into())
    }
}

impl From<&str> for SessionId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.0.as_ref().into()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Text that borrows from the message if possible. (`Option<Cow<str>>` alone never borrows in serde.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

/// Chromium's error object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({code})")]
pub struct RemoteError {
    /// JSON-RPC's code, such as -32000.
    pub code: i64,
    /// Chromium's message.
    pub message: String,
}

/// Any message in either direction: a command has `id` and `method`, a reply `id` and `result` or `error`,
/// an event `method` alone.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Envelope<'a> {
    /// The id of the call. Signed, since foreign clients choose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<i64>,
    /// The method of the call or event.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub method: Option<Text<'a>>,
    /// The session; absent for the root.
    #[serde(default, borrow, rename = "sessionId", skip_serializing_if = "Option::is_none")]
    pub session: Option<Text<'a>>,
    /// The payload of a command or an event.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub params: Option<&'a RawValue>,
    /// The payload of a reply.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub result: Option<&'a RawValue>,
    /// The payload of a refusal.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// Parses the envelope of a message.
    ///
    /// # Errors
    /// If the bytes are not a JSON object of this shape.
    pub fn parse(message: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(message)
    }

    /// Writes the message; payloads are copied as they are.
    ///
    /// # Errors
    /// Never in practice; required by serde's signature.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Returns the refusal of a reply, if it is one. A refusal that cannot be parsed is still a refusal.
    pub fn refusal(&self) -> Option<RemoteError> {
        let error = self.error?;
        Some(
            serde_json::from_str(error.get()).unwrap_or_else(|_| RemoteError {
                code: 0,
                message: "an error that could not be read".into(),
            }),
        )
    }
}

/// Returns the answer to a call that is not passed to the browser, or whose reply cannot be passed on.
pub(crate) fn error_reply(id: i64, session: Option<&str>, code: i64, message: &str) -> String {
    let mut reply = json!({ "id": id, "error": { "code": code, "message": message } });
    if let Some(session) = session {
        reply["sessionId"] = json!(session);
    }
    reply.to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn payload() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn rewriting_the_outside_leaves_the_payload_as_it_was(
            id in any::<i64>(), other in any::<i64>(), method in any::<String>(),
            session in any::<Option<String>>(), params in payload(),
        ) {
            let mut message = json!({"id": id, "method": method, "params": params, "unknown": [1]});
            if let Some(session) = &session {
                message["sessionId"] = json!(session);
            }
            let bytes = serde_json::to_vec(&message).unwrap();
            let mut envelope = Envelope::parse(&bytes).unwrap();
            prop_assert_eq!(envelope.id, Some(id));
            let payload = envelope.params.map(|raw| raw.get().to_owned());
            envelope.id = Some(other);
            envelope.session = Some("S".into());
            let rewritten = envelope.to_bytes().unwrap();
            let again = Envelope::parse(&rewritten).unwrap();
            prop_assert_eq!(again.id, Some(other));
            prop_assert_eq!(&*again.method.unwrap().0, method.as_str());
            prop_assert_eq!(&*again.session.unwrap().0, "S");
            prop_assert_eq!(again.params.map(|raw| raw.get().to_owned()), payload);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Envelope::parse(&bytes);
        }
    }

    #[test]
    fn plain_text_is_borrowed() {
        let envelope = Envelope::parse(br#"{"method":"Page.loadEventFired","sessionId":"AB"}"#).unwrap();
        assert!(matches!(envelope.method, Some(Text(Cow::Borrowed("Page.loadEventFired")))));
        assert!(matches!(envelope.session, Some(Text(Cow::Borrowed("AB")))));
    }

    #[test]
    fn a_refusal_is_read_even_if_odd() {
        let envelope = Envelope::parse(br#"{"id":1,"error":{"code":-32000,"message":"no"}}"#).unwrap();
        assert_eq!(envelope.refusal(), Some(RemoteError { code: -32000, message: "no".into() }));
        assert!(Envelope::parse(br#"{"id":1,"error":"odd"}"#).unwrap().refusal().is_some());
        assert!(Envelope::parse(br#"{"id":1,"result":{}}"#).unwrap().refusal().is_none());
    }
}
