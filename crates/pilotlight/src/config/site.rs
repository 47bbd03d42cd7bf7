//! A site with its flow read: what the rest of the program works with, wherever the site came from.

use pilotlight_api::{FieldError, SignIn, SiteDefinition};
use pilotlight_flow::schema::{Flow, FlowError};

/// The placeholders that a sign-in flow may use.
pub(super) const SIGN_IN_PLACEHOLDERS: [&str; 2] = ["username", "password"];

/// A checked site.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// As it was written down, with the flow in it instead of a file's name.
    pub definition: SiteDefinition,
    /// Its sign-in, where it has one.
    pub sign_in: Option<Flow>,
}

/// Why a site cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// A field is wrong.
    #[error("{0}")]
    Field(FieldError),
    /// The sign-in is not a flow that can be replayed.
    #[error("`sign_in` is not a flow that can be replayed")]
    Flow(#[source] FlowError),
    /// The sign-in wants a value that nobody has.
    #[error("`sign_in` uses `${{{0}}}`, but a sign-in only knows `${{username}}` and `${{password}}`")]
    Placeholder(String),
}

impl Site {
    /// Checks a site whose sign-in, if any, is the flow itself.
    pub fn new(definition: SiteDefinition) -> Result<Self, SiteError> {
        definition.validate().map_err(SiteError::Field)?;
        let sign_in = match &definition.sign_in {
            None => None,
            Some(SignIn::Flow(flow)) => Some(Flow::from_value(flow).map_err(SiteError::Flow)?),
            Some(SignIn::File(_)) => {
                return Err(SiteError::Field(FieldError::new(
                    "sign_in",
                    "must be the flow itself, not a file's name",
                )));
            }
        };
        let unknown = sign_in
            .iter()
            .flat_map(Flow::placeholders)
            .find(|name| !SIGN_IN_PLACEHOLDERS.contains(&name.as_str()));
        match unknown {
            Some(name) => Err(SiteError::Placeholder(name)),
            None => Ok(Self { definition, sign_in }),
        }
    }
}
