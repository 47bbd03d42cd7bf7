//! Operations on the wire: how a site defines one, how a client runs it, and what comes of it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::duration::Seconds;
use crate::error::ErrorCode;
use crate::site::SignIn;
use crate::validate::{self, FieldError};

/// The most phases of one operation, and the most inputs.
const MAX_PHASES: usize = 32;
const MAX_INPUTS: usize = 128;
/// The longest value of an input, in bytes.
const MAX_INPUT_BYTES: usize = 16 * 1024;

/// A named piece of work of a site, in phases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OperationDefinition {
    /// What is done, in order.
    pub phases: Vec<PhaseDefinition>,
    /// Inputs that need not be given, with the values that they have then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub optional: BTreeMap<String, String>,
    /// What kind of value inputs have; text where nothing is said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, InputKind>,
    /// Outputs that it must have when it is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// How long it waits for a missing input. `sessions.operation_timeout` where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
}

/// A part of an operation that is done at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PhaseDefinition {
    /// What is replayed: the name of a file, or the flow itself.
    pub flow: SignIn,
    /// The inputs that must be there before it begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
}

/// What kind of value an input has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// Any text that is not empty.
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
    /// Checks it by itself; `field` is where it stands.
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
                format!("has `{name}`, which a phase needs: it can be one or the other"),
            );
        }
        if let Some(name) = self.inputs.keys().find(|name| !known.contains(name.as_str())) {
            return wrong(
                ".inputs",
                format!("has `{name}`, which is no input: name it in a phase's `needs` or in `optional`"),
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

    /// The names of all inputs.
    pub fn input_names(&self) -> BTreeSet<&str> {
        self.needed().chain(self.optional.keys()).map(String::as_str).collect()
    }

    fn needed(&self) -> impl Iterator<Item = &String> {
        self.phases.iter().flat_map(|phase| &phase.needs)
    }

    /// An input as it is typed. The error does not repeat the value, which may be a secret in the wrong place.
    pub fn text(&self, name: &str, value: &Value) -> Result<String, FieldError> {
        let wrong = |problem: &str| Err(FieldError::new(format!("inputs.{name}"), problem));
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(is_true) => is_true.to_string(),
            _ => return wrong("must be a text, a number or a boolean"),
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

    /// All inputs as they are typed, each of which must be one of this operation.
    pub fn texts(&self, inputs: &BTreeMap<String, Value>) -> Result<BTreeMap<String, String>, FieldError> {
        let known = self.input_names();
        let text = |(name, value): (&String, &Value)| {
            if known.contains(name.as_str()) {
                return Ok((name.clone(), self.text(name, value)?));
            }
            let names = known.iter().copied().collect::<Vec<_>>().join("`, `");
            let problem = format!("is no input of this operation, which has `{names}`");
            Err(FieldError::new(format!("inputs.{name}"), problem))
        };
        inputs.iter().map(text).collect()
    }
}

/// The body of `POST /sessions/{id}/operations`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunOperation {
    /// Its name in the site.
    pub operation: String,
    /// Inputs by name: texts, numbers, booleans.
    #[serde(default)]
    pub inputs: BTreeMap<String, Value>,
}

/// The body of `POST /operations/{operation_id}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContinueOperation {
    /// Further inputs by name.
    #[serde(default)]
    pub inputs: BTreeMap<String, Value>,
}

/// Where an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationStatus {
    /// A phase runs.
    Running,
    /// It waits for what stands in `missing`, and holds its session.
    NeedsInput,
    /// It is through.
    Done,
    /// A step failed, or nobody knows how far a phase came (`operation_interrupted`).
    Failed,
    /// Nobody gave what it waited for.
    Expired,
    /// It was given up.
    Cancelled,
}

impl OperationStatus {
    /// The word in JSON.
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

/// An operation, as far as it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OperationAnswer {
    /// Whether it is on its way or done.
    pub success: bool,
    /// Its id.
    pub operation_id: Uuid,
    /// Its session.
    pub session_id: Uuid,
    /// Its name in the site.
    pub operation: String,
    /// Where it is.
    pub status: OperationStatus,
    /// The phase that runs, waits, or was the last one, counted from 1.
    pub phase: usize,
    /// How many phases there are.
    pub phases: usize,
    /// The inputs that it waits for.
    pub missing: Vec<String>,
    /// When it gives up waiting.
    pub expires_at: Option<Timestamp>,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// What the pages showed, by name: texts, lists, tables; and downloads as `{name, size, url}`.
    #[schema(value_type = Object)]
    pub outputs: serde_json::Map<String, Value>,
    /// A picture of every step.
    pub screenshots: Vec<OperationScreenshot>,
    /// The step that failed, counted from 1 in its phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// What went wrong or is missing, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The stable code of the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A picture that was taken in an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperationScreenshot {
    /// Its file's name.
    pub name: String,
    /// After which step: `2.3` is the third step of the second phase.
    pub step: String,
    /// Where it is.
    pub url: String,
}

/// All operations that are known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OperationsAnswer {
    /// Always true.
    pub success: bool,
    /// The newest first.
    pub operations: Vec<OperationAnswer>,
}

/// The query of `GET /operations`.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OperationsQuery {
    /// Only in this state.
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
