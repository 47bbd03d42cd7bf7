//! Describes the allowed values of capabilities as data: a value is checked and written again, so that nothing is
//! passed on that is not described. Pure.

use serde_json::{Map, Value};

/// The largest whole number that all JSON parsers represent exactly.
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// The allowed values.
#[derive(Debug)]
pub(super) enum Shape {
    /// True or false.
    Flag,
    /// A non-negative whole number.
    Number,
    /// A non-negative number.
    Measure,
    /// Text of at most this many bytes.
    Text(usize),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// An object with these fields, all optional.
    Fields(&'static [(&'static str, Shape)]),
    /// A list of at most this many values.
    List(&'static Shape, usize),
    /// One or the other.
    Either(&'static Shape, &'static Shape),
    /// Null is also allowed.
    OrNull(&'static Shape),
}

impl Shape {
    /// Checks a value and writes it again. `place` is its path for error messages.
    ///
    /// # Errors
    /// Returns what was expected.
    pub(super) fn rebuild(&self, value: &Value, place: &str) -> Result<Value, String> {
        let fit = match (self, value) {
            (Self::Flag, Value::Bool(_)) => Some(value.clone()),
            (Self::Number, Value::Number(number)) => {
                number.as_u64().filter(|number| *number <= MAX_NUMBER).map(Value::from)
            }
            (Self::Measure, Value::Number(number)) => {
                number.as_f64().filter(|number| *number >= 0.0).map(|_| value.clone())
            }
            (Self::Text(max), Value::String(text)) if text.len() <= *max => Some(value.clone()),
            (Self::OneOf(words), Value::String(text)) => {
                words.iter().find(|word| *word == text).map(|word| Value::from(*word))
            }
            (Self::Fields(fields), Value::Object(given)) => return rebuild_fields(fields, given, place),
            (Self::List(each, max), Value::Array(given)) if given.len() <= *max => {
                let rebuilt = given.iter().map(|value| each.rebuild(value, place));
                return rebuilt.collect::<Result<Vec<_>, _>>().map(Value::from);
            }
            (Self::Either(one, other), _) => {
                return one.rebuild(value, place).or_else(|_| other.rebuild(value, place));
            }
            (Self::OrNull(_), Value::Null) => Some(Value::Null),
            (Self::OrNull(one), _) => return one.rebuild(value, place),
            _ => None,
        };
        fit.ok_or_else(|| format!("`{place}` must be {}", self.in_words()))
    }

    fn in_words(&self) -> String {
        match self {
            Self::Flag => "true or false".into(),
            Self::Number => "a non-negative whole number".into(),
            Self::Measure => "a non-negative number".into(),
            Self::Text(max) => format!("text of at most {max} bytes"),
            Self::OneOf(words) => format!("one of: {}", words.join(", ")),
            Self::Fields(_) => "an object".into(),
            Self::List(_, max) => format!("a list of at most {max}"),
            Self::Either(one, other) => format!("{}, or {}", one.in_words(), other.in_words()),
            Self::OrNull(one) => format!("{}, or null", one.in_words()),
        }
    }
}

fn rebuild_fields(
    fields: &[(&str, Shape)],
    given: &Map<String, Value>,
    place: &str,
) -> Result<Value, String> {
    let mut rebuilt = Map::new();
    for (name, value) in given {
        let Some((known, shape)) = fields.iter().find(|(known, _)| known == name) else {
            return Err(format!("`{place}` has no `{name}`"));
        };
        // Null means missing, as for capabilities.
        if value.is_null() && !matches!(shape, Shape::OrNull(_)) {
            continue;
        }
        rebuilt.insert((*known).to_owned(), shape.rebuild(value, &format!("{place}.{known}"))?);
    }
    Ok(rebuilt.into())
}
