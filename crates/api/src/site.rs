//! The definition of a site, in `PUT /sites/{name}` and in the configuration.

use std::collections::BTreeMap;

use pilotlight_flow::condition::Condition;
use pilotlight_flow::dialog::{DialogAnswer, DialogRule, MAX_DIALOG_RULES};
use pilotlight_flow::selector::Selector;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::duration::Seconds;
use crate::event::DialogButton;
use crate::operation::OperationDefinition;
use crate::quiet::QuietHours;
use crate::sign_in::SignIn;
use crate::validate::{self, FieldError};

/// The largest value of `max_sign_ins`.
const MAX_SIGN_INS: u32 = 100;

/// The definition of a site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteDefinition {
    /// The page that a new window opens: `http` or `https`.
    pub start_url: String,
    /// The sign-in flow. Without it, windows open at `start_url`, and a client or a person signs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<SignIn>,
    /// The condition that shows that the session is signed in. Required with `sign_in`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub signed_in: Option<Condition>,
    /// An element that shows who is signed in. If its text does not contain the session's user name, the session needs
    /// attention. Pages without the element are not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_in_as: Option<SignedInAs>,
    /// The condition that shows that a person is needed, for example for a captcha. Captchas are never worked around.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub needs_attention: Option<Condition>,
    /// The condition that shows that the portal has locked the account. No more sign-ins are tried then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub locked_out: Option<Condition>,
    /// The condition that shows that the portal asks for a second factor. Default: a field that is marked as
    /// `one-time-code`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub second_factor: Option<Condition>,
    /// Whether all sessions share one account, whose user name the sign-in flow types.
    #[serde(default, skip_serializing_if = "is_no")]
    pub shared_account: bool,
    /// Rules that answer dialogs of pages when no client or person does; the first rule that matches applies. Without a
    /// matching rule, questions are answered with no, unless they ask whether to stay signed in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<DialogDefinition>)]
    pub dialogs: Vec<DialogRule>,
    /// How the sign-in is kept alive. Default: reload the page.
    #[serde(default)]
    pub refresh: RefreshDefinition,
    /// Operations by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub operations: BTreeMap<String, OperationDefinition>,
    /// Maximum number of simultaneous sign-ins of its sessions, 1 to 100. Default: 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sign_ins: Option<u32>,
    /// Time of day without automatic refreshes and sign-ins, as `HH:MM-HH:MM` in the server's time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub quiet_hours: Option<QuietHours>,
    /// Whether idle windows may be frozen. Default: true.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub freeze: bool,
    /// How form fields are restored after hibernation or a crash. Default: without events.
    #[serde(default, skip_serializing_if = "RestoreFields::is_silent")]
    pub restore_fields: RestoreFields,
    /// When a page counts as loaded. Default: when everything that it refers to has come.
    #[serde(default, skip_serializing_if = "Ready::is_load")]
    pub ready: Ready,
}

/// When a page counts as loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ready {
    /// When everything that it refers to has come: its `load` event has fired.
    #[default]
    Load,
    /// When the document itself is there: `DOMContentLoaded` has fired. For pages with a request that never ends.
    Dom,
}

impl Ready {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_load(&self) -> bool {
        *self == Self::Load
    }
}

/// How form fields are restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestoreFields {
    /// Without events, as browsers do themselves: the page does not react.
    #[default]
    Silent,
    /// With `input` and `change` events, and clicks on checkboxes and radio buttons, for pages that keep their own copy of field values. A page may react by
    /// sending a request.
    Events,
    /// Fields are not restored.
    No,
}

impl RestoreFields {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_silent(&self) -> bool {
        *self == Self::Silent
    }
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_yes(freeze: &bool) -> bool {
    *freeze
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_no(shared_account: &bool) -> bool {
    !*shared_account
}

impl SiteDefinition {
    /// Validates each field and combinations of fields.
    pub fn validate(&self) -> Result<(), FieldError> {
        validate::web_url("start_url", &self.start_url)?;
        if self.sign_in.is_some() && self.signed_in.is_none() {
            return Err(FieldError::new(
                "signed_in",
                "is required with `sign_in`, to tell whether the sign-in succeeded",
            ));
        }
        if self.max_sign_ins.is_some_and(|limit| !(1..=MAX_SIGN_INS).contains(&limit)) {
            return Err(FieldError::new("max_sign_ins", format!("must be 1 to {MAX_SIGN_INS}")));
        }
        if self.dialogs.len() > MAX_DIALOG_RULES {
            return Err(FieldError::new("dialogs", format!("has more than {MAX_DIALOG_RULES} entries")));
        }
        for (name, operation) in &self.operations {
            validate::name(&format!("operations.{name}"), name)?;
            operation.validate(&format!("operations.{name}"))?;
        }
        self.refresh.validate()
    }
}

/// An element that shows who is signed in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedInAs {
    /// The selector of the element; all selector kinds of conditions are allowed.
    #[schema(value_type = Object)]
    pub selector: Selector,
}

/// A rule that answers dialogs with a given text.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DialogDefinition {
    /// Text that the dialog's text must contain; runs of whitespace count as one space. Give this or `text_matches`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_contains: Option<String>,
    /// A regular expression that the dialog's text must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_matches: Option<String>,
    /// The answer.
    #[schema(value_type = DialogButton)]
    pub answer: DialogAnswer,
    /// The text to type into a prompt; only with `accept`. Default: the prompt's default text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// How a sign-in is kept alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefreshHow {
    /// Load the page again with a GET request. For a page that may be the result of a form, the start page is loaded in a
    /// hidden page instead.
    #[default]
    Reload,
    /// Load `url`.
    Visit,
    /// Send a request to `url` from inside the page, without loading a page.
    Request,
    /// Replay `flow`.
    Flow,
}

/// Where a session that has a window is refreshed. A session that somebody uses is always refreshed beside its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefreshWhere {
    /// In a hidden page of the same session, so that the window's page keeps its variables, its form and its place. If
    /// the hidden page does not show that the session is signed in, or the window's page is empty, old or an error, the
    /// window's page is loaded.
    #[default]
    Beside,
    /// In the window's page.
    Page,
}

/// How the sign-in of a hibernated session is kept alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefreshAsleep {
    /// Open a window with the session's state, load its page, refresh it as `how` says, save the state and close it.
    #[default]
    Window,
    /// Load one document in a window with the session's cookies, without scripts, pictures and frames, and save the
    /// cookies. If the document does not show that the session is signed in, the same as `window` follows.
    Document,
    /// Not at all: the portal signs the session out, and it is signed in again when it wakes.
    Never,
}

/// How and how often a sign-in is kept alive.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshDefinition {
    /// The refresh method.
    #[serde(default)]
    pub how: RefreshHow,
    /// The refresh interval; 0 for never. Default: the server's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Seconds>,
    /// Each refresh is earlier by a random time of up to this much, so that sessions are not refreshed all at once.
    /// Must be less than `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Seconds>,
    /// Where it is refreshed while it has a window.
    #[serde(default, rename = "where")]
    pub place: RefreshWhere,
    /// How it is refreshed while it hibernates.
    #[serde(default)]
    pub asleep: RefreshAsleep,
    /// For `visit` and `request`: the URL, `http` or `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// For `flow`: the flow to replay.
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
                "is required with `how = \"flow\"`, and only allowed there",
            ));
        }
        match (self.how, &self.url) {
            (RefreshHow::Reload | RefreshHow::Flow, None) => Ok(()),
            (RefreshHow::Reload | RefreshHow::Flow, Some(_)) => {
                Err(FieldError::new(URL, "is only allowed with `how = \"visit\"` and `how = \"request\"`"))
            }
            (RefreshHow::Visit | RefreshHow::Request, Some(url)) => validate::web_url(URL, url).map(drop),
            (RefreshHow::Visit | RefreshHow::Request, None) => {
                Err(FieldError::new(URL, "is required with `how = \"visit\"` and `how = \"request\"`"))
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
            "refresh": {
                "how": "visit", "every": 300, "where": "page", "asleep": "never", "url": "http://127.0.0.1:8099/ping"
            },
            "restore_fields": "events",
            "ready": "dom"
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

    #[test]
    fn refreshes_of_hibernated_sessions_are_read_by_their_names() {
        for (name, asleep) in [
            ("window", RefreshAsleep::Window),
            ("document", RefreshAsleep::Document),
            ("never", RefreshAsleep::Never),
        ] {
            let refresh: RefreshDefinition =
                serde_json::from_value(serde_json::json!({ "asleep": name })).unwrap();
            assert_eq!((refresh.asleep, refresh.validate()), (asleep, Ok(())), "{name}");
        }
        assert_eq!(RefreshDefinition::default().asleep, RefreshAsleep::Window);
        assert_eq!(RefreshDefinition::default().place, RefreshWhere::Beside);
    }
}
