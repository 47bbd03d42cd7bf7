//! Durations on the wire and in the configuration: whole seconds, or text with units.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{OneOfBuilder, Schema};
use utoipa::openapi::{ObjectBuilder, RefOr, Type};
use utoipa::{PartialSchema, ToSchema};

/// The longest duration that is accepted: a year. It keeps every sum of times far from overflow.
pub const MAX_SECONDS: u64 = 365 * 24 * 3600;

/// The longest text that is looked at.
const MAX_TEXT_BYTES: usize = 64;

/// A duration in whole seconds, read from `300`, `"300"`, `"5m"`, `"1h30m"` or `"never"`, written as a number.
///
/// Zero means "never". Whether "never" is allowed depends on the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct Seconds(u64);

/// Why a text or number is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// The text is not a duration.
    #[error(
        "{0:?} is not a duration: write whole seconds (300) or a text with units (\"90s\", \"5m\", \"1h30m\")"
    )]
    Unreadable(String),
    /// The duration is longer than [`MAX_SECONDS`].
    #[error("a duration can be at most 365 days")]
    TooLong,
}

impl Seconds {
    /// Zero, which means "never".
    pub const NEVER: Self = Self(0);

    /// A duration of that many seconds, cut at [`MAX_SECONDS`].
    pub const fn new(seconds: u64) -> Self {
        Self(if seconds > MAX_SECONDS { MAX_SECONDS } else { seconds })
    }

    /// The number of seconds.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether it is zero, that is "never".
    pub const fn is_never(self) -> bool {
        self.0 == 0
    }

    /// Converts it to the standard library's type. "Never" becomes zero.
    pub const fn to_duration(self) -> Duration {
        Duration::from_secs(self.0)
    }

    /// The duration, or `None` for "never".
    pub fn unless_never(self) -> Option<Duration> {
        (!self.is_never()).then(|| self.to_duration())
    }

    fn checked(seconds: u64) -> Result<Self, DurationError> {
        if seconds > MAX_SECONDS { Err(DurationError::TooLong) } else { Ok(Self(seconds)) }
    }
}

impl FromStr for Seconds {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let text = text.trim();
        let unreadable = || DurationError::Unreadable(text.chars().take(MAX_TEXT_BYTES).collect());
        if text.is_empty() || text.len() > MAX_TEXT_BYTES {
            return Err(unreadable());
        }
        if text == "never" {
            return Ok(Self::NEVER);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Self::checked(text.parse().map_err(|_| DurationError::TooLong)?);
        }
        let mut total: u64 = 0;
        let mut smallest_unit = u64::MAX;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            let letters = after.bytes().take_while(u8::is_ascii_lowercase).count();
            let (unit, after) = after.split_at(letters);
            let unit_seconds = unit_seconds(unit).ok_or_else(unreadable)?;
            // Largest unit first and no duplicates, so that "5m5m" is an error and not ten minutes.
            if number.is_empty() || unit_seconds >= smallest_unit {
                return Err(unreadable());
            }
            let number: u64 = number.parse().map_err(|_| DurationError::TooLong)?;
            total = number
                .checked_mul(unit_seconds)
                .and_then(|part| total.checked_add(part))
                .ok_or(DurationError::TooLong)?;
            smallest_unit = unit_seconds;
            rest = after;
        }
        Self::checked(total)
    }
}

fn unit_seconds(unit: &str) -> Option<u64> {
    match unit {
        "d" => Some(86_400),
        "h" => Some(3600),
        "m" => Some(60),
        "s" => Some(1),
        _ => None,
    }
}

/// Writes what [`Seconds::from_str`] reads: `never`, `90s`, `1h 30m` without the blank.
impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_never() {
            return f.write_str("never");
        }
        let mut rest = self.0;
        for unit in ["d", "h", "m", "s"] {
            let unit_seconds = unit_seconds(unit).unwrap_or(1);
            if rest >= unit_seconds {
                write!(f, "{}{unit}", rest / unit_seconds)?;
                rest %= unit_seconds;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecondsVisitor;
        impl Visitor<'_> for SecondsVisitor {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("whole seconds (300) or a text with units (\"5m\")")
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Seconds, E> {
                Seconds::checked(seconds).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Seconds, E> {
                let seconds = u64::try_from(seconds)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(seconds), &self))?;
                self.visit_u64(seconds)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Seconds, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(SecondsVisitor)
    }
}

impl PartialSchema for Seconds {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
        let text = ObjectBuilder::new().schema_type(Type::String).examples(["90s", "5m", "1h30m", "never"]);
        let either = OneOfBuilder::new().item(number).item(text).description(Some(
            "Whole seconds, or a text with units (d, h, m, s); 0 is \"never\". Answers give the number.",
        ));
        RefOr::T(Schema::OneOf(either.build()))
    }
}

impl ToSchema for Seconds {
    fn name() -> std::borrow::Cow<'static, str> {
        "Seconds".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_and_texts() {
        for (json, seconds) in [
            ("300", 300),
            ("0", 0),
            ("\"300\"", 300),
            ("\"90s\"", 90),
            ("\"5m\"", 300),
            ("\"1h30m\"", 5400),
            ("\"1d1s\"", 86_401),
            ("\"never\"", 0),
            ("\" 5m \"", 300),
        ] {
            assert_eq!(serde_json::from_str::<Seconds>(json).unwrap(), Seconds(seconds), "{json}");
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for json in [
            "1.5",
            "-1",
            "true",
            "null",
            "\"\"",
            "\"5 m\"",
            "\"m\"",
            "\"5x\"",
            "\"5m5m\"",
            "\"1m2h\"",
            "\"-5m\"",
            "\"1.5h\"",
            "\"366d\"",
            "31536001",
            "\"99999999999999999999h\"",
            "\"5M\"",
            "\"fünf\"",
        ] {
            assert!(serde_json::from_str::<Seconds>(json).is_err(), "{json}");
        }
        let message = "soon".parse::<Seconds>().unwrap_err().to_string();
        assert!(message.contains("\"soon\" is not a duration") && message.contains("1h30m"), "{message}");
    }

    #[test]
    fn what_is_written_reads_back() {
        for seconds in [0, 1, 59, 60, 90, 3600, 5400, 86_399, 86_400, MAX_SECONDS] {
            assert_eq!(Seconds(seconds).to_string().parse(), Ok(Seconds(seconds)));
        }
        assert_eq!(Seconds(5400).to_string(), "1h30m");
        assert_eq!(serde_json::to_string(&Seconds(300)).unwrap(), "300");
    }
}
