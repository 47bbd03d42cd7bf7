//! A validated site with its parsed flows, independent of how it was defined.

use std::collections::{BTreeMap, BTreeSet};

use pilotlight_api::{FieldError, OperationDefinition, SignIn, SiteDefinition};
use pilotlight_flow::placeholders::TOTP;
use pilotlight_flow::recorded::{self, Purpose};
use pilotlight_flow::schema::{Action, Custom, Flow, FlowError};

/// The placeholders that a sign-in flow may use.
pub(super) const SIGN_IN_PLACEHOLDERS: [&str; 3] = ["username", "password", TOTP];

/// A validated site.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// The definition, with flows instead of file names.
    pub definition: SiteDefinition,
    /// The sign-in flow, if the site has one.
    pub sign_in: Option<Flow>,
    /// The flow that refreshes the sign-in, if the site uses one.
    pub refresh: Option<Flow>,
    /// The flows of each operation's phases.
    pub operations: BTreeMap<String, Vec<Flow>>,
}

/// Why a site cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// A field is invalid.
    #[error("{0}")]
    Field(FieldError),
    /// The sign-in or refresh flow is invalid.
    #[error("`{0}` is not a valid flow")]
    Flow(&'static str, #[source] FlowError),
    /// The flow of an operation's phase is invalid.
    #[error("`{0}` is not a valid flow")]
    Phase(String, #[source] FlowError),
    /// The flow uses an unknown placeholder.
    #[error(
        "`{0}` uses `${{{1}}}`, but only `${{username}}`, `${{password}}` and `${{totp}}` are allowed there"
    )]
    Placeholder(&'static str, String),
    /// The flow contains a password.
    #[error(
        "`{0}` contains a password in step {1}: replace it with `${{password}}` (`pilotlight site check-recording \
         --write` does this), and give the password to the session"
    )]
    Password(&'static str, usize),
}

impl SiteError {
    /// Returns the invalid field.
    pub(super) fn field(&self) -> &str {
        match self {
            Self::Field(error) => &error.field,
            Self::Phase(field, _) => field,
            Self::Flow(field, _) | Self::Placeholder(field, _) | Self::Password(field, _) => field,
        }
    }
}

impl Site {
    /// Validates a site whose flows are given inline.
    pub fn new(definition: SiteDefinition) -> Result<Self, SiteError> {
        definition.validate().map_err(SiteError::Field)?;
        let sign_in = flow("sign_in", definition.sign_in.as_ref())?;
        let refresh = flow("refresh.flow", definition.refresh.flow.as_ref())?;
        let names = sign_in.as_ref().map(Flow::placeholders).unwrap_or_default();
        if definition.shared_account && names.contains("username") {
            let problem = "is for sign-in flows that type a fixed user name, but this one uses `${username}`";
            return Err(SiteError::Field(FieldError::new("shared_account", problem)));
        }
        Ok(Self { operations: operations(&definition)?, definition, sign_in, refresh })
    }

    /// Returns whether the sign-in flow would sign in as a user other than `username`, because it types a fixed user
    /// name.
    #[must_use]
    pub fn misnames(&self, username: &str) -> bool {
        let Some(flow) = &self.sign_in else { return false };
        let types_own = !flow.placeholders().contains("username");
        types_own && recorded::username(flow).is_none_or(|(recorded, _)| recorded != username)
    }

    /// Returns a warning about the site, if there is one.
    pub(super) fn warning(&self, name: &str) -> Option<String> {
        let (_, steps) = self.sign_in.as_ref().and_then(recorded::username)?;
        let step = steps.last().filter(|_| !self.definition.shared_account)?;
        Some(format!(
            "Site `{name}`: its sign-in flow types the recorded user name in step {step} for every session. Replace \
             it with `${{username}}` (`pilotlight site check-recording --write FILE`), or set `shared_account = true`."
        ))
    }
}

fn flow(field: &'static str, written: Option<&SignIn>) -> Result<Option<Flow>, SiteError> {
    let flow = match written {
        None => return Ok(None),
        Some(SignIn::Flow(flow)) => Flow::from_value(flow).map_err(|error| SiteError::Flow(field, error))?,
        Some(SignIn::File(_)) => {
            let problem = "must be the flow itself, not the name of a file";
            return Err(SiteError::Field(FieldError::new(field, problem)));
        }
    };
    if let Some(name) = flow.placeholders().into_iter().find(|name| !SIGN_IN_PLACEHOLDERS.contains(&&**name))
    {
        return Err(SiteError::Placeholder(field, name));
    }
    match recorded::passwords(&flow, Purpose::SignIn).first() {
        Some(step) => Err(SiteError::Password(field, *step)),
        None => Ok(Some(flow)),
    }
}

fn operations(site: &SiteDefinition) -> Result<BTreeMap<String, Vec<Flow>>, SiteError> {
    site.operations.iter().map(|(name, operation)| Ok((name.clone(), phases(name, operation)?))).collect()
}

/// Returns the flows of an operation, after checking that they use only inputs that are available and produce all
/// outputs.
fn phases(name: &str, operation: &OperationDefinition) -> Result<Vec<Flow>, SiteError> {
    let mut known: BTreeSet<&str> = operation.optional.keys().map(String::as_str).collect();
    let (mut flows, mut outputs) = (Vec::new(), BTreeSet::new());
    for (index, phase) in operation.phases.iter().enumerate() {
        let field = format!("operations.{name}.phases.{}.flow", index + 1);
        let SignIn::Flow(flow) = &phase.flow else {
            let problem = "must be the flow itself, not the name of a file";
            return Err(SiteError::Field(FieldError::new(field, problem)));
        };
        let flow = Flow::from_value(flow).map_err(|error| SiteError::Phase(field.clone(), error))?;
        known.extend(phase.needs.iter().map(String::as_str));
        if let Some(unknown) = flow.placeholders().into_iter().find(|name| !known.contains(name.as_str())) {
            let problem = format!(
                "uses `${{{unknown}}}`, which may be missing: add it to the phase's `needs` or to `optional`"
            );
            return Err(SiteError::Field(FieldError::new(field, problem)));
        }
        if let Some(step) = recorded::passwords(&flow, Purpose::Operation).first() {
            let problem =
                format!("contains a password in step {step}: replace it with an input, `${{name}}`");
            return Err(SiteError::Field(FieldError::new(field, problem)));
        }
        outputs.extend(flow.steps.iter().filter_map(|step| output(&step.action)).map(str::to_owned));
        flows.push(flow);
    }
    match operation.outputs.iter().find(|output| !outputs.contains(*output)) {
        None => Ok(flows),
        Some(output) => Err(SiteError::Field(FieldError::new(
            format!("operations.{name}.outputs"),
            format!(
                "has `{output}`, which no step produces: an `extract` or `download` step must have this name"
            ),
        ))),
    }
}

/// Returns the name of a step's output.
fn output(action: &Action) -> Option<&str> {
    match action {
        Action::Custom(Custom::Extract(extract)) => Some(&extract.name),
        Action::Custom(Custom::Download { name, .. }) => Some(name),
        _ => None,
    }
}
