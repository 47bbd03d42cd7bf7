//! A site as it is written down: in `PUT /sites/{name}` and in the configuration.

use std::collections::BTreeMap;

use pilotlight_flow::condition::Condition;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::duration::Seconds;
use crate::operation::OperationDefinition;
use crate::quiet::QuietHours;
use crate::validate::{self, FieldError};

/// The most sign-ins at once that a site may allow.
const MAX_SIGN_INS: u32 = 100;

/// What Pilotlight is told of a portal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteDefinition {
    /// The page that a new window opens: `http` or `https`.
    pub start_url: String,
    /// How to sign in. Without it, windows open at `start_url` and somebody else signs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<SignIn>,
    /// How to tell that one is signed in. Needed for a sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub signed_in: Option<Condition>,
    /// How to tell that a person is needed, say for a captcha. It is never worked around.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub needs_attention: Option<Condition>,
    /// How to tell that the portal has locked the account: nothing is typed for it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub locked_out: Option<Condition>,
    /// How to tell that the portal asks for a second factor. A field that is marked as one (`one-time-code`) where
    /// missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub second_factor: Option<Condition>,
    /// How the sign-in is kept alive. Reloading the page where missing.
    #[serde(default)]
    pub refresh: RefreshDefinition,
    /// What can be done in its sessions, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub operations: BTreeMap<String, OperationDefinition>,
    /// How many of its sessions may sign in at the same time, 1 to 100. The server's own limit of 4 where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sign_ins: Option<u32>,
    /// When nothing is refreshed or signed in unasked, `HH:MM-HH:MM` by the clock of the server's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub quiet_hours: Option<QuietHours>,
    /// Whether its pages bear standing still while nobody uses them. Yes where missing.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub freeze: bool,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_yes(freeze: &bool) -> bool {
    *freeze
}

impl SiteDefinition {
    /// Checks every field by itself and what belongs together.
    pub fn validate(&self) -> Result<(), FieldError> {
        validate::web_url("start_url", &self.start_url)?;
        if self.sign_in.is_some() && self.signed_in.is_none() {
            return Err(FieldError::new(
                "signed_in",
                "is needed beside `sign_in`, to tell whether it worked",
            ));
        }
        if self.max_sign_ins.is_some_and(|limit| !(1..=MAX_SIGN_INS).contains(&limit)) {
            return Err(FieldError::new("max_sign_ins", format!("must be 1 to {MAX_SIGN_INS}")));
        }
        for (name, operation) in &self.operations {
            validate::name(&format!("operations.{name}"), name)?;
            operation.validate(&format!("operations.{name}"))?;
        }
        self.refresh.validate()
    }
}

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
            _ => Err(D::Error::custom("expected the name of a flow's file, or a flow")),
        }
    }
}

/// How a sign-in is kept alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefreshHow {
    /// Reload the page.
    #[default]
    Reload,
    /// Go to `url`.
    Visit,
    /// Send a request to `url` from inside the page; the page stays as it is.
    Request,
    /// Replay `flow`.
    Flow,
}

/// How and how often a site's sign-in is kept alive.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshDefinition {
    /// What is done.
    #[serde(default)]
    pub how: RefreshHow,
    /// How often; 0 for never. The server's setting where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Seconds>,
    /// Each refresh comes up to so much earlier, by chance, so that sessions do not come all at once. Less than
    /// `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Seconds>,
    /// For `visit` and `request`: where to, `http` or `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// For `flow`: what is replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<SignIn>,
}

impl RefreshDefinition {
    /// Checks that `url` and `flow` stand where they are needed, and only there.
    pub fn validate(&self) -> Result<(), FieldError> {
        const URL: &str = "refresh.url";
        let limit = self.every.filter(|every| !every.is_never());
        if let Some((jitter, every)) = self.jitter.zip(limit)
            && jitter >= every
        {
            return Err(FieldError::new("refresh.jitter", "must be shorter than `every`"));
        }
        if (self.how == RefreshHow::Flow) != self.flow.is_some() {
            return Err(FieldError::new(
                "refresh.flow",
                "belongs to `how = \"flow\"`, and must be given there",
            ));
        }
        match (self.how, &self.url) {
            (RefreshHow::Reload | RefreshHow::Flow, None) => Ok(()),
            (RefreshHow::Reload | RefreshHow::Flow, Some(_)) => {
                Err(FieldError::new(URL, "is for `how = \"visit\"` and `how = \"request\"` alone"))
            }
            (RefreshHow::Visit | RefreshHow::Request, Some(url)) => validate::web_url(URL, url).map(drop),
            (RefreshHow::Visit | RefreshHow::Request, None) => {
                Err(FieldError::new(URL, "must be given for `how = \"visit\"` and `how = \"request\"`"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_reads_and_writes_the_same() {
        let json = serde_json::json!({
            "start_url": "http://127.0.0.1:8099/",
            "sign_in": {"title": "sign in", "steps": []},
            "signed_in": {"any": [{"selector": "#user"}]},
            "refresh": {"how": "visit", "every": 300, "url": "http://127.0.0.1:8099/ping"}
        });
        let site: SiteDefinition = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(site.validate(), Ok(()));
        assert_eq!(serde_json::to_value(site).unwrap(), json);
    }

    #[test]
    fn what_belongs_together_is_checked() {
        for (json, field) in [
            (serde_json::json!({"start_url": "ftp://a.test/"}), "start_url"),
            (serde_json::json!({"start_url": "http://a.test/", "sign_in": "a.json"}), "signed_in"),
            (serde_json::json!({"start_url": "http://a.test/", "refresh": {"how": "visit"}}), "refresh.url"),
            (
                serde_json::json!({"start_url": "http://a.test/", "refresh": {"url": "http://a.test/"}}),
                "refresh.url",
            ),
            (serde_json::json!({"start_url": "http://a.test/", "refresh": {"how": "flow"}}), "refresh.flow"),
            (
                serde_json::json!({"start_url": "http://a.test/", "refresh": {"flow": "a.json"}}),
                "refresh.flow",
            ),
        ] {
            let site: SiteDefinition = serde_json::from_value(json.clone()).unwrap();
            assert_eq!(site.validate().unwrap_err().field, field, "{json}");
        }
        assert!(serde_json::from_str::<SignIn>("5").is_err());
    }
}
