//! A site with its flows read: what the rest of the program works with, wherever the site came from.

use std::collections::{BTreeMap, BTreeSet};

use pilotlight_api::{FieldError, OperationDefinition, SignIn, SiteDefinition};
use pilotlight_flow::placeholders::TOTP;
use pilotlight_flow::review;
use pilotlight_flow::schema::{Action, Custom, Flow, FlowError};

/// The placeholders that a sign-in flow may use.
pub(super) const SIGN_IN_PLACEHOLDERS: [&str; 3] = ["username", "password", TOTP];

/// A checked site.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// As it was written down, with the flow in it instead of a file's name.
    pub definition: SiteDefinition,
    /// Its sign-in, where it has one.
    pub sign_in: Option<Flow>,
    /// What is replayed to keep the sign-in alive, where it is refreshed so.
    pub refresh: Option<Flow>,
    /// The flows of each operation's phases.
    pub operations: BTreeMap<String, Vec<Flow>>,
}

/// Why a site cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// A field is wrong.
    #[error("{0}")]
    Field(FieldError),
    /// It is not a flow that can be replayed.
    #[error("`{0}` is not a flow that can be replayed")]
    Flow(&'static str, #[source] FlowError),
    /// A phase of an operation is not a flow that can be replayed.
    #[error("`{0}` is not a flow that can be replayed")]
    Phase(String, #[source] FlowError),
    /// The flow wants a value that nobody has.
    #[error(
        "`{0}` uses `${{{1}}}`, but only `${{username}}`, `${{password}}` and `${{totp}}` are known there"
    )]
    Placeholder(&'static str, String),
    /// The flow has a password in it.
    #[error(
        "`{0}` has a password in its step {1}: write `${{password}}` there, and give the password to the session"
    )]
    Password(&'static str, usize),
}

impl SiteError {
    /// The field that is wrong.
    pub(super) fn field(&self) -> &str {
        match self {
            Self::Field(error) => &error.field,
            Self::Phase(field, _) => field,
            Self::Flow(field, _) | Self::Placeholder(field, _) | Self::Password(field, _) => field,
        }
    }
}

impl Site {
    /// Checks a site whose flows, if any, are the flows themselves.
    pub fn new(definition: SiteDefinition) -> Result<Self, SiteError> {
        definition.validate().map_err(SiteError::Field)?;
        let sign_in = flow("sign_in", definition.sign_in.as_ref())?;
        let refresh = flow("refresh.flow", definition.refresh.flow.as_ref())?;
        Ok(Self { operations: operations(&definition)?, definition, sign_in, refresh })
    }
}

fn flow(field: &'static str, written: Option<&SignIn>) -> Result<Option<Flow>, SiteError> {
    let flow = match written {
        None => return Ok(None),
        Some(SignIn::Flow(flow)) => Flow::from_value(flow).map_err(|error| SiteError::Flow(field, error))?,
        Some(SignIn::File(_)) => {
            let problem = "must be the flow itself, not a file's name";
            return Err(SiteError::Field(FieldError::new(field, problem)));
        }
    };
    if let Some(name) = flow.placeholders().into_iter().find(|name| !SIGN_IN_PLACEHOLDERS.contains(&&**name))
    {
        return Err(SiteError::Placeholder(field, name));
    }
    match review::literal_passwords(&flow).first() {
        Some(step) => Err(SiteError::Password(field, *step)),
        None => Ok(Some(flow)),
    }
}

fn operations(site: &SiteDefinition) -> Result<BTreeMap<String, Vec<Flow>>, SiteError> {
    site.operations.iter().map(|(name, operation)| Ok((name.clone(), phases(name, operation)?))).collect()
}

/// The flows of an operation, which ask for nothing that is not there when they begin, and make what it promises.
fn phases(name: &str, operation: &OperationDefinition) -> Result<Vec<Flow>, SiteError> {
    let mut known: BTreeSet<&str> = operation.optional.keys().map(String::as_str).collect();
    let (mut flows, mut outputs) = (Vec::new(), BTreeSet::new());
    for (index, phase) in operation.phases.iter().enumerate() {
        let field = format!("operations.{name}.phases.{}.flow", index + 1);
        let SignIn::Flow(flow) = &phase.flow else {
            let problem = "must be the flow itself, not a file's name";
            return Err(SiteError::Field(FieldError::new(field, problem)));
        };
        let flow = Flow::from_value(flow).map_err(|error| SiteError::Phase(field.clone(), error))?;
        known.extend(phase.needs.iter().map(String::as_str));
        if let Some(unknown) = flow.placeholders().into_iter().find(|name| !known.contains(name.as_str())) {
            let problem = format!(
                "uses `${{{unknown}}}`, which need not be there yet: add it to the phase's `needs` or to `optional`"
            );
            return Err(SiteError::Field(FieldError::new(field, problem)));
        }
        if let Some(step) = review::literal_passwords(&flow).first() {
            let problem = format!("has a password in its step {step}: write it as an input, `${{name}}`");
            return Err(SiteError::Field(FieldError::new(field, problem)));
        }
        outputs.extend(flow.steps.iter().filter_map(|step| output(&step.action)).map(str::to_owned));
        flows.push(flow);
    }
    match operation.outputs.iter().find(|output| !outputs.contains(*output)) {
        None => Ok(flows),
        Some(output) => Err(SiteError::Field(FieldError::new(
            format!("operations.{name}.outputs"),
            format!("has `{output}`, which no step makes: an `extract` or `download` must have this name"),
        ))),
    }
}

/// What a step's output is called.
fn output(action: &Action) -> Option<&str> {
    match action {
        Action::Custom(Custom::Extract(extract)) => Some(&extract.name),
        Action::Custom(Custom::Download { name, .. }) => Some(name),
        _ => None,
    }
}
