//! A flow as a site or an operation names it.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A flow: the name of its file, relative to the file that names it, or the flow itself.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum SignIn {
    /// A file with a Recorder flow. Only in the configuration: a server opens no file by a client's word.
    File(String),
    /// The Recorder flow itself.
    Flow(Value),
}

impl<'de> Deserialize<'de> for SignIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(file) => Ok(Self::File(file)),
            flow @ Value::Object(_) => Ok(Self::Flow(flow)),
            _ => Err(D::Error::custom("expected a flow or the name of a flow file")),
        }
    }
}
