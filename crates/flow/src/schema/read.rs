//! From JSON to [`Flow`]: one reader for fields, with one way of saying what is wrong.

use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    Action, Expected, Flow, FlowError, MAX_FRAME_DEPTH, MAX_SELECTORS, MAX_STEPS, MAX_STRING_BYTES,
    MAX_TIMEOUT_MS, MAX_VIEWPORT_PX, Operator, Place, Pointer, Step, custom,
};
use crate::page::{Button, NetworkConditions, Viewport};
use crate::placeholders;
use crate::selector::Selector;

/// Every step type, for the error text.
const KINDS: [&str; 14] = [
    "setViewport",
    "navigate",
    "click",
    "doubleClick",
    "change",
    "hover",
    "keyDown",
    "keyUp",
    "scroll",
    "waitForElement",
    "waitForExpression",
    "close",
    "emulateNetworkConditions",
    "customStep",
];
/// How much of a wrong value an error text repeats, in characters.
const SHOWN_CHARS: usize = 40;

pub(super) fn flow(value: &Value) -> Result<Flow, FlowError> {
    let fields = Fields::of(value, Place { step: None, kind: None }, "flow")?;
    let steps = fields.array("steps")?.ok_or_else(|| fields.missing("steps", "an array of steps"))?;
    if steps.len() > MAX_STEPS {
        return Err(fields.wrong("steps", format!("has {} steps; the maximum is {MAX_STEPS}", steps.len())));
    }
    Ok(Flow {
        title: fields.string("title")?.to_owned(),
        timeout: fields.timeout()?,
        steps: steps
            .iter()
            .enumerate()
            .map(|(index, value)| step(index + 1, value))
            .collect::<Result<_, _>>()?,
    })
}

fn step(number: usize, value: &Value) -> Result<Step, FlowError> {
    let mut fields = Fields::of(value, Place { step: Some(number), kind: None }, "step")?;
    let kind = fields.string("type")?;
    let Some(kind) = KINDS.into_iter().find(|known| *known == kind) else {
        return Err(fields.wrong(
            "type",
            format!("is `{}`, which is not a step type; expected one of {}", shorten(kind), KINDS.join(", ")),
        ));
    };
    fields.place.kind = Some(kind);
    let step = Step {
        action: action(kind, &fields)?,
        timeout: fields.timeout()?,
        navigates: fields.asserted_navigation()?,
        target: fields.optional_string("target")?.filter(|target| *target != "main").map(str::to_owned),
        frame: fields.frame()?,
        is_optional: fields.optional_bool("optional")?.unwrap_or(false),
    };
    if step.is_optional && step.selectors().is_empty() {
        let problem = "requires a step with `selectors`: whether their element is there decides";
        return Err(fields.wrong("optional", problem.to_owned()));
    }
    let mut wrong = None;
    step.visit_strings(&mut |text| {
        wrong = wrong.take().or_else(|| placeholders::names(text).err());
    });
    match wrong {
        Some(source) => Err(FlowError::Placeholder { place: fields.place, source }),
        None => Ok(step),
    }
}

fn action(kind: &str, fields: &Fields<'_>) -> Result<Action, FlowError> {
    Ok(match kind {
        "setViewport" => Action::SetViewport(fields.viewport()?),
        "navigate" => Action::Navigate { url: fields.string("url")?.to_owned() },
        "click" | "doubleClick" => Action::Click {
            selectors: fields.selectors()?,
            pointer: fields.pointer()?,
            count: if kind == "click" { 1 } else { 2 },
        },
        "change" => {
            Action::Change { selectors: fields.selectors()?, value: fields.string("value")?.to_owned() }
        }
        "hover" => Action::Hover { selectors: fields.selectors()? },
        "keyDown" => Action::KeyDown { key: fields.string("key")?.to_owned() },
        "keyUp" => Action::KeyUp { key: fields.string("key")?.to_owned() },
        "scroll" => Action::Scroll {
            selectors: if fields.get("selectors").is_some() { fields.selectors()? } else { Vec::new() },
            x: fields.optional_number("x")?.unwrap_or(0.0),
            y: fields.optional_number("y")?.unwrap_or(0.0),
        },
        "waitForElement" => {
            Action::WaitForElement { selectors: fields.selectors()?, expected: fields.expected()? }
        }
        "waitForExpression" => {
            Action::WaitForExpression { expression: fields.string("expression")?.to_owned() }
        }
        "emulateNetworkConditions" => Action::EmulateNetworkConditions(NetworkConditions {
            download: fields.number("download")?,
            upload: fields.number("upload")?,
            latency: Duration::from_millis(
                fields
                    .whole("latency", 0..=MAX_TIMEOUT_MS)?
                    .ok_or_else(|| fields.missing("latency", "a number"))?,
            ),
        }),
        "close" => Action::Close,
        _ => Action::Custom(custom::read(fields)?),
    })
}

/// The fields of a flow or a step, with the place for error texts.
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    place: Place,
}

impl<'a> Fields<'a> {
    fn of(value: &'a Value, place: Place, what: &str) -> Result<Self, FlowError> {
        match value.as_object() {
            Some(map) => Ok(Self { map, place }),
            None => Err(FlowError::Field {
                place,
                field: what.to_owned(),
                problem: format!("must be an object, but is {}", describe(value)),
            }),
        }
    }

    /// The field, where it is given; `null` counts as not given.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn wrong(&self, field: &str, problem: String) -> FlowError {
        FlowError::Field { place: self.place.clone(), field: field.to_owned(), problem }
    }

    pub(super) fn missing(&self, field: &str, expected: &str) -> FlowError {
        self.wrong(field, format!("is missing; expected {expected}"))
    }

    pub(super) fn mistyped(&self, field: &str, expected: &str, value: &Value) -> FlowError {
        self.wrong(field, format!("must be {expected}, but is {}", describe(value)))
    }

    /// The fields of the object in the field `name`; none where it is not given.
    pub(super) fn within(&self, name: &str) -> Result<Fields<'a>, FlowError> {
        static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        Ok(Fields { map: self.object(name)?.unwrap_or(&NONE), place: self.place.clone() })
    }

    /// A field read by `read`, or an error that says what is expected.
    pub(super) fn optional<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, FlowError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.mistyped(name, expected, value))
    }

    pub(super) fn optional_string(&self, name: &str) -> Result<Option<&'a str>, FlowError> {
        let text = self.optional(name, "a string", Value::as_str)?;
        match text {
            Some(text) if text.len() > MAX_STRING_BYTES => {
                Err(self.wrong(name, format!("has {} bytes; the maximum is {MAX_STRING_BYTES}", text.len())))
            }
            text => Ok(text),
        }
    }

    pub(super) fn string(&self, name: &str) -> Result<&'a str, FlowError> {
        self.optional_string(name)?.ok_or_else(|| self.missing(name, "a string"))
    }

    fn optional_number(&self, name: &str) -> Result<Option<f64>, FlowError> {
        self.optional(name, "a number", Value::as_f64)
    }

    fn number(&self, name: &str) -> Result<f64, FlowError> {
        self.optional_number(name)?.ok_or_else(|| self.missing(name, "a number"))
    }

    pub(super) fn optional_bool(&self, name: &str) -> Result<Option<bool>, FlowError> {
        self.optional(name, "true or false", Value::as_bool)
    }

    fn bool(&self, name: &str) -> Result<bool, FlowError> {
        self.optional_bool(name)?.ok_or_else(|| self.missing(name, "true or false"))
    }

    fn array(&self, name: &str) -> Result<Option<&'a Vec<Value>>, FlowError> {
        self.optional(name, "an array", Value::as_array)
    }

    fn object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, FlowError> {
        self.optional(name, "an object", Value::as_object)
    }

    /// A number without a fraction within `range`. The Recorder measures in fractions here and there:
    /// they are rounded.
    pub(super) fn whole(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, FlowError> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        self.optional(name, &expected, |value| {
            let whole = value.as_u64().or_else(|| rounded(value.as_f64()?));
            whole.filter(|number| range.contains(number))
        })
    }

    fn timeout(&self) -> Result<Option<Duration>, FlowError> {
        Ok(self.whole("timeout", 1..=MAX_TIMEOUT_MS)?.map(Duration::from_millis))
    }

    fn asserted_navigation(&self) -> Result<bool, FlowError> {
        let events = self.array("assertedEvents")?.map_or(&[][..], Vec::as_slice);
        for event in events {
            match event.get("type").and_then(Value::as_str) {
                Some("navigation") => {}
                _ => return Err(self.mistyped("assertedEvents", "events of type `navigation`", event)),
            }
        }
        Ok(!events.is_empty())
    }

    fn frame(&self) -> Result<Vec<usize>, FlowError> {
        let expected = format!("at most {MAX_FRAME_DEPTH} child indices");
        let path = self.optional("frame", &expected, |value| {
            let items = value.as_array().filter(|items| items.len() <= MAX_FRAME_DEPTH)?;
            items.iter().map(|item| usize::try_from(item.as_u64()?).ok()).collect()
        })?;
        Ok(path.unwrap_or_default())
    }

    pub(super) fn selectors(&self) -> Result<Vec<Selector>, FlowError> {
        self.selectors_of("selectors")
    }

    /// The alternatives in the field `name`: at least one.
    pub(super) fn selectors_of(&self, name: &str) -> Result<Vec<Selector>, FlowError> {
        let items = self.array(name)?.map_or(&[][..], Vec::as_slice);
        if items.is_empty() {
            return Err(self.missing(name, "an array with at least one selector"));
        }
        if items.len() > MAX_SELECTORS {
            let problem = format!("has {} selectors; the maximum is {MAX_SELECTORS}", items.len());
            return Err(self.wrong(name, problem));
        }
        items.iter().enumerate().map(|(index, item)| self.selector(name, index, item)).collect()
    }

    fn selector(&self, name: &str, index: usize, item: &Value) -> Result<Selector, FlowError> {
        let field = format!("{name}[{index}]");
        let texts: Option<Vec<&str>> = match item {
            Value::String(text) => Some(vec![text]),
            Value::Array(parts) => parts.iter().map(Value::as_str).collect(),
            _ => None,
        };
        let texts = texts.ok_or_else(|| self.mistyped(&field, "a string or an array of strings", item))?;
        Selector::chain(texts).map_err(|source| FlowError::Selector {
            place: self.place.clone(),
            field,
            source,
        })
    }

    fn viewport(&self) -> Result<Viewport, FlowError> {
        let side = |name: &str| {
            let pixels = self.whole(name, 1..=u64::from(MAX_VIEWPORT_PX))?;
            let pixels = pixels.and_then(|pixels| u32::try_from(pixels).ok());
            pixels.ok_or_else(|| self.missing(name, "a number of pixels"))
        };
        // The Recorder's schema requires it; what it says is in width and height already.
        self.bool("isLandscape")?;
        Ok(Viewport {
            width: side("width")?,
            height: side("height")?,
            device_scale_factor: self.number("deviceScaleFactor")?,
            is_mobile: self.bool("isMobile")?,
            has_touch: self.bool("hasTouch")?,
        })
    }

    fn pointer(&self) -> Result<Pointer, FlowError> {
        let button = self.optional("button", "primary, auxiliary, secondary, back or forward", |value| {
            Some(match value.as_str()? {
                "primary" => Button::Primary,
                "auxiliary" => Button::Auxiliary,
                "secondary" => Button::Secondary,
                "back" => Button::Back,
                "forward" => Button::Forward,
                _ => return None,
            })
        })?;
        let touch = self.optional("deviceType", "mouse, pen or touch", |value| match value.as_str()? {
            "mouse" | "pen" => Some(false),
            "touch" => Some(true),
            _ => None,
        })?;
        Ok(Pointer {
            offset_x: self.number("offsetX")?,
            offset_y: self.number("offsetY")?,
            button: button.unwrap_or_default(),
            hold: Duration::from_millis(self.whole("duration", 0..=MAX_TIMEOUT_MS)?.unwrap_or(0)),
            touch: touch.unwrap_or(false),
        })
    }

    fn expected(&self) -> Result<Expected, FlowError> {
        let operator = self.optional("operator", "`>=`, `==` or `<=`", |value| match value.as_str()? {
            ">=" => Some(Operator::AtLeast),
            "==" => Some(Operator::Exactly),
            "<=" => Some(Operator::AtMost),
            _ => None,
        })?;
        let mut attributes = Vec::new();
        for (name, value) in self.object("attributes")?.into_iter().flatten() {
            let text =
                value.as_str().ok_or_else(|| self.mistyped("attributes", "an object of strings", value))?;
            attributes.push((name.clone(), text.to_owned()));
        }
        Ok(Expected {
            operator: operator.unwrap_or(Operator::AtLeast),
            count: self
                .optional("count", "a number of elements", |value| usize::try_from(value.as_u64()?).ok())?
                .unwrap_or(1),
            visible: self.optional_bool("visible")?.unwrap_or(true),
            properties: self.object("properties")?.cloned().unwrap_or_default(),
            attributes,
        })
    }
}

/// A fraction rounded; `None` where it is negative or too large to be one of our numbers.
fn rounded(number: f64) -> Option<u64> {
    // Through text: there is no checked conversion from `f64`, and a cast would wrap silently.
    format!("{:.0}", number.round()).parse().ok()
}

/// What a wrong value is. A typed password is not shown: the `value` of a `change` may be any string, so a
/// string there is never wrong.
fn describe(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => shorten(&value.to_string()),
        Value::String(text) => format!("`{}`", shorten(text)),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}
