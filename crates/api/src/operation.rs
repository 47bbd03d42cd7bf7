//! Operations on the wire: definitions, requests and results.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::duration::Seconds;
use crate::error::ErrorCode;
use crate::sign_in::SignIn;
use crate::validate::{self, FieldError};

/// The most phases of one operation, and the most inputs.
const MAX_PHASES: usize = 32;
const MAX_INPUTS: usize = 128;
/// The longest value of an input, in bytes.
const MAX_INPUT_BYTES: usize = 16 * 1024;

/// An operation of a site: a sequence of phases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OperationDefinition {
    /// The phases, in order.
    pub phases: Vec<PhaseDefinition>,
    /// Optional inputs with their default values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub optional: BTreeMap<String, String>,
    /// Types of inputs. Default: text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, InputKind>,
    /// Outputs that the operation must have when it is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// How long it waits for missing input. Default: `sessions.operation_timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
}

/// A part of an operation that runs without interruption.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PhaseDefinition {
    /// The flow to replay: the name of a file, or the flow itself.
    pub flow: SignIn,
    /// The inputs that are required before the phase starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
}

/// The type of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// Non-empty text.
    #[default]
    Text,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
}

impl OperationDefinition {
    /// Validates the definition; `field` is its path for error messages.
    pub fn validate(&self, field: &str) -> Result<(), FieldError> {
        let wrong = |below: &str, problem: String| Err(FieldError::new(format!("{field}{below}"), problem));
        if self.phases.is_empty() || self.phases.len() > MAX_PHASES {
            return wrong(".phases", format!("must have 1 to {MAX_PHASES} phases"));
        }
        let known = self.input_names();
        if known.len() > MAX_INPUTS {
            return wrong("", format!("has more than {MAX_INPUTS} inputs"));
        }
        for name in &known {
            validate::name(&format!("{field}.phases"), name)?;
        }
        if let Some(name) = self.optional.keys().find(|name| self.needed().any(|needed| needed == *name)) {
            return wrong(
                ".optional",
                format!("has `{name}`, which a phase needs: an input is either needed or optional"),
            );
        }
        if let Some(name) = self.inputs.keys().find(|name| !known.contains(name.as_str())) {
            return wrong(
                ".inputs",
                format!("has `{name}`, which is not an input: add it to a phase's `needs` or to `optional`"),
            );
        }
        for (name, value) in &self.optional {
            if let Err(error) = self.text(name, &Value::from(value.as_str())) {
                return wrong(&format!(".optional.{name}"), error.problem);
            }
        }
        if self.timeout.is_some_and(Seconds::is_never) {
            return wrong(".timeout", "must be longer than 0".to_owned());
        }
        Ok(())
    }

    /// Returns the names of all inputs.
    pub fn input_names(&self) -> BTreeSet<&str> {
        self.needed().chain(self.optional.keys()).map(String::as_str).collect()
    }

    fn needed(&self) -> impl Iterator<Item = &String> {
        self.phases.iter().flat_map(|phase| &phase.needs)
    }

    /// Returns an input as text to type. The error does not contain the value, which may be a secret.
    pub fn text(&self, name: &str, value: &Value) -> Result<String, FieldError> {
        let wrong = |problem: &str| Err(FieldError::new(format!("inputs.{name}"), problem));
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(is_true) => is_true.to_string(),
            _ => return wrong("must be text, a number or a boolean"),
        };
        if text.len() > MAX_INPUT_BYTES {
            return wrong("is too long");
        }
        match self.inputs.get(name).copied().unwrap_or_default() {
            // What may be left out may be empty too.
            InputKind::Text if text.is_empty() && !self.optional.contains_key(name) => {
                wrong("must not be empty")
            }
            InputKind::Integer if text.parse::<i64>().is_err() => wrong("must be a whole number"),
            InputKind::Number if !text.parse::<f64>().is_ok_and(f64::is_finite) => wrong("must be a number"),
            InputKind::Boolean if !matches!(text.as_str(), "true" | "false") => {
                wrong("must be true or false")
            }
            _ => Ok(text),
        }
    }

    /// Returns all inputs as text to type. Each must be an input of this operation.
    pub fn texts(&self, inputs: &BTreeMap<String, Value>) -> Result<BTreeMap<String, String>, FieldError> {
        let known = self.input_names();
        let text = |(name, value): (&String, &Value)| {
            if known.contains(name.as_str()) {
                return Ok((name.clone(), self.text(name, value)?));
            }
            let names = known.iter().copied().collect::<Vec<_>>().join("`, `");
            let problem = format!("is not an input of this operation; its inputs are `{names}`");
            Err(FieldError::new(format!("inputs.{name}"), problem))
        };
        inputs.iter().map(text).collect()
    }
}

/// The body of `POST /sessions/{id}/operations`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunOperation {
    /// The operation's name in the site.
    pub operation: String,
    /// Inputs by name: text, numbers or booleans.
    #[serde(default)]
    pub inputs: BTreeMap<String, Value>,
}

/// The body of `POST /operations/{operation_id}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContinueOperation {
    /// Additional inputs by name.
    #[serde(default)]
    pub inputs: BTreeMap<String, Value>,
}

/// The status of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationStatus {
    /// A phase is running.
    Running,
    /// The operation waits for the inputs in `missing` and holds its session.
    NeedsInput,
    /// The operation is done.
    Done,
    /// A step failed, or a phase was interrupted (`operation_interrupted`).
    Failed,
    /// The missing inputs were not sent in time.
    Expired,
    /// The operation was cancelled.
    Cancelled,
}

impl OperationStatus {
    /// Returns the name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::NeedsInput => "needs_input",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The state of an operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OperationAnswer {
    /// Whether the operation is running, waiting or done.
    pub success: bool,
    /// The operation's id.
    pub operation_id: Uuid,
    /// The session's id.
    pub session_id: Uuid,
    /// The operation's name in the site.
    pub operation: String,
    /// The operation's status.
    pub status: OperationStatus,
    /// The current or last phase, counted from 1.
    pub phase: usize,
    /// Number of phases.
    pub phases: usize,
    /// The inputs that the operation waits for.
    pub missing: Vec<String>,
    /// When the operation expires unless it gets input.
    pub expires_at: Option<Timestamp>,
    /// When the operation was started.
    pub created_at: Timestamp,
    /// When the operation ended.
    pub ended_at: Option<Timestamp>,
    /// Outputs by name: text, lists and tables from pages, and downloads as `{name, size, url}`.
    #[schema(value_type = Object)]
    pub outputs: serde_json::Map<String, Value>,
    /// A screenshot of each step.
    pub screenshots: Vec<OperationScreenshot>,
    /// The failed step, counted from 1 within its phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// The error, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The stable code of the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// What to do about the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A screenshot of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperationScreenshot {
    /// The file's name.
    pub name: String,
    /// The step before the screenshot: `2.3` is the third step of the second phase.
    pub step: String,
    /// The screenshot's URL.
    pub url: String,
}

/// A list of operations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OperationsAnswer {
    /// Always true.
    pub success: bool,
    /// The operations, newest first.
    pub operations: Vec<OperationAnswer>,
}

/// The query of `GET /operations`.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OperationsQuery {
    /// Return only operations with this status.
    pub status: Option<OperationStatus>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(json: Value) -> OperationDefinition {
        serde_json::from_value(json).unwrap()
    }

    fn appointment() -> Value {
        serde_json::json!({
            "phases": [{"flow": "1.json", "needs": ["container"]}, {"flow": "2.json", "needs": ["weight"]}],
            "optional": {"own_chassis": "false"},
            "inputs": {"own_chassis": "boolean", "weight": "integer"},
        })
    }

    #[test]
    fn it_reads_and_writes_the_same() {
        let operation = definition(appointment());
        assert_eq!(operation.validate("operations.a"), Ok(()));
        assert_eq!(serde_json::to_value(operation).unwrap(), appointment());
    }

    #[test]
    fn what_does_not_fit_together_is_told() {
        for (key, value, field) in [
            ("phases", serde_json::json!([]), "a.phases"),
            ("optional", serde_json::json!({"container": "x"}), "a.optional"),
            ("optional", serde_json::json!({"own_chassis": "perhaps"}), "a.optional.own_chassis"),
            ("inputs", serde_json::json!({"wieght": "integer"}), "a.inputs"),
            ("timeout", serde_json::json!(0), "a.timeout"),
        ] {
            let mut json = appointment();
            json[key] = value;
            assert_eq!(definition(json).validate("a").unwrap_err().field, field);
        }
    }

    #[test]
    fn inputs_are_checked_by_their_kind_and_not_repeated() {
        let operation = definition(appointment());
        let texts = |json: Value| operation.texts(&serde_json::from_value(json).unwrap());
        let good = texts(serde_json::json!({"container": "C1", "weight": 12, "own_chassis": true})).unwrap();
        assert_eq!((&*good["weight"], &*good["own_chassis"]), ("12", "true"));
        for (json, field) in [
            (serde_json::json!({"container": ""}), "inputs.container"),
            (serde_json::json!({"weight": "heavy-secret"}), "inputs.weight"),
            (serde_json::json!({"own_chassis": 1}), "inputs.own_chassis"),
            (serde_json::json!({"container": ["a"]}), "inputs.container"),
            (serde_json::json!({"plate": "x"}), "inputs.plate"),
        ] {
            let error = texts(json).unwrap_err();
            assert_eq!(error.field, field);
            assert!(!error.problem.contains("secret"));
        }
    }
}
