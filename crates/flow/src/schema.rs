//! Flows: what the Chrome DevTools Recorder exports as JSON, read into types.
//!
//! The format is that of `@puppeteer/replay` (`Schema.ts`, version 4): a title and steps, each with a
//! type and its fields. Every field that is used is checked here, with a sentence that names step and
//! field; fields that nobody knows are passed over, because other tools add their own. Strings may hold
//! placeholders (see [`crate::placeholders`]); they are kept as they stand, so a flow never holds a
//! filled-in value. Reading never panics.

mod custom;
mod read;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::page::{Button, NetworkConditions, Viewport};
use crate::placeholders::{self, PlaceholderError};
use crate::selector::{Part, Selector, SelectorError};

pub use self::custom::{Custom, Extract, MAX_PAUSE, MAX_SCROLLS, ScrollUntil, Until};

/// The largest flow that is read, in bytes of JSON.
pub const MAX_FLOW_BYTES: usize = 1024 * 1024;
/// The most steps of a flow.
pub const MAX_STEPS: usize = 1000;
/// The most alternative selectors of a step.
pub const MAX_SELECTORS: usize = 32;
/// The longest string of a step, in bytes.
pub const MAX_STRING_BYTES: usize = 64 * 1024;
/// The deepest frame that a step may name.
pub const MAX_FRAME_DEPTH: usize = 16;
/// The longest timeout of a flow or a step, and the longest time a mouse button may be held, in
/// milliseconds; the Recorder's own limit.
pub const MAX_TIMEOUT_MS: u64 = 30_000;
/// The widest and highest viewport, in CSS pixels.
pub const MAX_VIEWPORT_PX: u32 = 16_384;

/// A recording: what a person did, to be done again.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// The recording's name.
    pub title: String,
    /// How long a step may take that has no timeout of its own.
    pub timeout: Option<Duration>,
    /// In order.
    pub steps: Vec<Step>,
}

/// One step of a flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// How long it may take; overrides the flow's.
    pub timeout: Option<Duration>,
    /// Whether the step was recorded with a navigation among its `assertedEvents`.
    pub navigates: bool,
    /// The Recorder's `target`: `None` is the main page, otherwise a popup's or a frame's URL.
    pub target: Option<String>,
    /// The Recorder's `frame`: child indices from the top document down.
    pub frame: Vec<usize>,
    /// Whether the step is left out if its element is not there. The field is our own; the Recorder passes over it.
    pub is_optional: bool,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// `setViewport`.
    SetViewport(Viewport),
    /// `navigate`.
    Navigate {
        /// Where to.
        url: String,
    },
    /// `click` (`count` 1) and `doubleClick` (`count` 2).
    Click {
        /// Alternatives, best first.
        selectors: Vec<Selector>,
        /// Where and how.
        pointer: Pointer,
        /// How often.
        count: u8,
    },
    /// `change`: gives a field its value.
    Change {
        /// Alternatives, best first.
        selectors: Vec<Selector>,
        /// The value.
        value: String,
    },
    /// `hover`.
    Hover {
        /// Alternatives, best first.
        selectors: Vec<Selector>,
    },
    /// `keyDown`.
    KeyDown {
        /// Puppeteer's name of the key.
        key: String,
    },
    /// `keyUp`.
    KeyUp {
        /// Puppeteer's name of the key.
        key: String,
    },
    /// `scroll`: of an element, or of the document where no selectors are given.
    Scroll {
        /// Alternatives, best first; empty for the document.
        selectors: Vec<Selector>,
        /// CSS pixels from the left.
        x: f64,
        /// CSS pixels from the top.
        y: f64,
    },
    /// `waitForElement`.
    WaitForElement {
        /// Alternatives, best first.
        selectors: Vec<Selector>,
        /// What must be true of them.
        expected: Expected,
    },
    /// `waitForExpression`.
    WaitForExpression {
        /// A JavaScript expression.
        expression: String,
    },
    /// `emulateNetworkConditions`.
    EmulateNetworkConditions(NetworkConditions),
    /// `close`.
    Close,
    /// `customStep`: one of ours.
    Custom(Custom),
}

/// Where and how a click lands.
#[derive(Debug, Clone, PartialEq)]
pub struct Pointer {
    /// CSS pixels from the left edge of the element.
    pub offset_x: f64,
    /// CSS pixels from the top edge of the element.
    pub offset_y: f64,
    /// Which button.
    pub button: Button,
    /// How long it stays down.
    pub hold: Duration,
    /// Touch instead of the mouse.
    pub touch: bool,
}

/// What `waitForElement` waits for.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// How the number of elements compares with `count`.
    pub operator: Operator,
    /// With how many.
    pub count: usize,
    /// `true`: wait until it is so, counting visible elements; `false`: wait until it is no longer so.
    pub visible: bool,
    /// JavaScript properties that an element must have to be counted; objects are compared in depth, by
    /// the keys that are given.
    pub properties: Map<String, Value>,
    /// Attributes that an element must have to be counted, with their values.
    pub attributes: Vec<(String, String)>,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `>=`.
    AtLeast,
    /// `==`.
    Exactly,
    /// `<=`.
    AtMost,
}

/// Why something is not a flow.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// More than [`MAX_FLOW_BYTES`].
    #[error("the flow has {0} bytes; the maximum is {MAX_FLOW_BYTES}")]
    TooLarge(usize),
    /// Not JSON at all.
    #[error("the flow is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// A field is missing or wrong.
    #[error("{place}: `{field}` {problem}")]
    Field {
        /// The flow or a step.
        place: Place,
        /// The field's name.
        field: String,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// A selector is wrong.
    #[error("{place}: `{field}` is not a selector")]
    Selector {
        /// The step.
        place: Place,
        /// Which of the selectors.
        field: String,
        /// Why.
        #[source]
        source: SelectorError,
    },
    /// A string holds a `${` that is no placeholder.
    #[error("{place}: a string has an invalid placeholder")]
    Placeholder {
        /// The step.
        place: Place,
        /// Why.
        #[source]
        source: PlaceholderError,
    },
}

/// Where in a flow something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The step, counted from 1; `None` is the flow itself.
    pub step: Option<usize>,
    /// The step's type, once it is known.
    pub kind: Option<&'static str>,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.step, self.kind) {
            (None, _) => out.write_str("flow"),
            (Some(step), None) => write!(out, "step {step}"),
            (Some(step), Some(kind)) => write!(out, "step {step} ({kind})"),
        }
    }
}

impl Flow {
    /// Reads a recording from its JSON text.
    pub fn parse(text: &str) -> Result<Self, FlowError> {
        if text.len() > MAX_FLOW_BYTES {
            return Err(FlowError::TooLarge(text.len()));
        }
        Self::from_value(&serde_json::from_str(text).map_err(FlowError::NotJson)?)
    }

    /// Reads a recording from JSON that is already a value.
    pub fn from_value(value: &Value) -> Result<Self, FlowError> {
        read::flow(value)
    }

    /// The names of all placeholders in the flow.
    #[must_use]
    pub fn placeholders(&self) -> BTreeSet<String> {
        self.steps.iter().flat_map(Step::placeholders).collect()
    }
}

/// Returns whether this is the address of an empty tab, with which recordings begin that were started in one.
pub(crate) fn is_new_tab(url: &str) -> bool {
    ["chrome://new-tab-page", "chrome://newtab", "edge://newtab", "about:newtab"]
        .iter()
        .any(|page| url.strip_prefix(page).is_some_and(|rest| rest.is_empty() || rest == "/"))
}

impl Step {
    /// Returns whether it types something.
    #[must_use]
    pub fn types(&self) -> bool {
        matches!(self.action, Action::Change { .. } | Action::KeyDown { .. } | Action::KeyUp { .. })
    }

    /// The Recorder's name of the step's type.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.action {
            Action::SetViewport(_) => "setViewport",
            Action::Navigate { .. } => "navigate",
            Action::Click { count: 2, .. } => "doubleClick",
            Action::Click { .. } => "click",
            Action::Change { .. } => "change",
            Action::Hover { .. } => "hover",
            Action::KeyDown { .. } => "keyDown",
            Action::KeyUp { .. } => "keyUp",
            Action::Scroll { .. } => "scroll",
            Action::WaitForElement { .. } => "waitForElement",
            Action::WaitForExpression { .. } => "waitForExpression",
            Action::EmulateNetworkConditions(_) => "emulateNetworkConditions",
            Action::Close => "close",
            Action::Custom(_) => "customStep",
        }
    }

    /// The selectors of the step, as they were recorded; empty where its type has none.
    #[must_use]
    pub fn selectors(&self) -> &[Selector] {
        match &self.action {
            Action::Click { selectors, .. }
            | Action::Change { selectors, .. }
            | Action::Hover { selectors }
            | Action::Scroll { selectors, .. }
            | Action::WaitForElement { selectors, .. } => selectors,
            Action::Custom(custom) => custom.selectors(),
            _ => &[],
        }
    }

    /// The names of the placeholders in the step.
    #[must_use]
    pub fn placeholders(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        self.visit_strings(&mut |text| {
            // A malformed placeholder does not get past reading.
            found.extend(placeholders::names(text).unwrap_or_default().into_iter().map(str::to_owned));
        });
        found
    }

    /// Whether the step has the placeholder `name`.
    pub(crate) fn uses(&self, name: &str) -> bool {
        self.placeholders().contains(name)
    }

    /// Shows every string of the step in which placeholders are replaced.
    pub(crate) fn visit_strings(&self, visit: &mut dyn FnMut(&str)) {
        if let Some(target) = &self.target {
            visit(target);
        }
        visit_selectors(self.selectors(), visit);
        match &self.action {
            Action::Navigate { url: text }
            | Action::Change { value: text, .. }
            | Action::KeyDown { key: text }
            | Action::KeyUp { key: text }
            | Action::WaitForExpression { expression: text } => visit(text),
            Action::WaitForElement { expected, .. } => {
                expected.attributes.iter().for_each(|(_, value)| visit(value));
                expected.properties.values().for_each(|value| visit_value(value, visit));
            }
            Action::Custom(custom) => custom.visit_strings(visit),
            _ => {}
        }
    }
}

fn visit_selectors(selectors: &[Selector], visit: &mut dyn FnMut(&str)) {
    for part in selectors.iter().flat_map(|selector| &selector.parts) {
        match part {
            Part::Css(text) | Part::Text(text) | Part::XPath(text) | Part::Pierce(text) => visit(text),
            Part::Aria { name, role } => {
                visit(name);
                role.iter().for_each(|role| visit(role));
            }
        }
    }
}

fn visit_value(value: &Value, visit: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| visit_value(item, visit)),
        Value::Object(fields) => fields.values().for_each(|field| visit_value(field, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::AtLeast => ">=",
            Self::Exactly => "==",
            Self::AtMost => "<=",
        })
    }
}

#[cfg(test)]
mod tests;
