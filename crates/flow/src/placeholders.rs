//! Placeholders: `${username}`, `${password}`, `${totp}` and any other `${input}` in the strings of a flow.
//!
//! A name has letters, digits, `_` and `-`. `$${` means a literal `${` (for example a JavaScript template in a
//! `waitForExpression`); any other `$` is literal. Values are filled in at the moment of use and are kept in
//! [`SecretString`]s: they must never appear in a log, an error or a `Debug` output.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use crate::totp::Totp;

/// The placeholder with a new value for each step that uses it.
pub const TOTP: &str = "totp";

/// Maximum length of a value, in bytes.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// Minimum length of a value that is searched for inside words: shorter ones would match by accident.
pub(crate) const MIN_INSIDE_CHARS: usize = 4;

/// Why a string could not be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceholderError {
    /// There is no value for it.
    #[error("there is no value for `${{{0}}}`")]
    Unknown(String),
    /// A `${` that does not start a valid placeholder.
    #[error("`{0}` is not a placeholder: write `${{name}}`, or `$${{` for a literal `${{`")]
    Malformed(String),
    /// The value is longer than [`MAX_VALUE_BYTES`].
    #[error("the value of `${{{0}}}` has more than {MAX_VALUE_BYTES} bytes")]
    TooLong(String),
}

/// The values by name. All are treated as secret.
#[derive(Default, Clone)]
pub struct Values {
    given: BTreeMap<String, SecretString>,
    totp: Option<Totp>,
}

impl Values {
    /// Creates an empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value of `${name}`.
    pub fn insert(&mut self, name: impl Into<String>, value: SecretString) {
        self.given.insert(name.into(), value);
    }

    /// Sets the source of `${totp}`: a replay requests a code right before the step that types it.
    pub fn set_totp(&mut self, totp: Totp) {
        self.totp = Some(totp);
    }

    /// Like `set`, for use in an expression.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.insert(name, SecretString::from(value.into()));
        self
    }

    /// Returns whether `${name}` has a value.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.given.contains_key(name) || (name == TOTP && self.totp.is_some())
    }

    /// Adds a current code, if `step_uses_it` and there is a TOTP secret.
    pub(crate) async fn at_this_moment(&self, step_uses_it: bool) -> Self {
        let mut values = self.clone();
        if let Some(totp) = self.totp.as_ref().filter(|_| step_uses_it) {
            values.insert(TOTP, totp.next_code().await);
        }
        values
    }

    /// Returns `template` with all placeholders replaced.
    pub fn fill(&self, template: &str) -> Result<SecretString, PlaceholderError> {
        let mut filled = String::with_capacity(template.len());
        for piece in pieces(template) {
            match piece? {
                Piece::Literal(text) => filled.push_str(text),
                Piece::Name(name) => filled.push_str(self.value(name)?.expose_secret()),
            }
        }
        Ok(SecretString::from(filled))
    }

    /// Checks that [`Values::fill`] would succeed.
    pub fn check(&self, template: &str) -> Result<(), PlaceholderError> {
        pieces(template).try_for_each(|piece| match piece? {
            Piece::Literal(_) => Ok(()),
            Piece::Name(TOTP) if self.totp.is_some() => Ok(()),
            Piece::Name(name) => self.value(name).map(|_| ()),
        })
    }

    /// Returns `text` with all values replaced by their placeholders, both plain and JSON-escaped: for messages of a
    /// browser, which may repeat its input. Short values are replaced only where they are a word of their own: "me" is
    /// part of "element".
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let mut forms: Vec<(String, &str)> = Vec::new();
        for (name, value) in &self.given {
            let value = value.expose_secret();
            let json = serde_json::Value::from(value).to_string();
            let escaped = json.get(1..json.len() - 1).unwrap_or(&json);
            forms.extend([(value.to_owned(), name.as_str()), (escaped.to_owned(), name.as_str())]);
        }
        forms.retain(|(form, _)| !form.is_empty());
        // Longest first: a value may be part of another.
        forms.sort_by_key(|(form, _)| std::cmp::Reverse(form.len()));
        let mut redacted = String::with_capacity(text.len());
        let mut rest = text;
        // What was put in is not searched again: a value may be part of a placeholder.
        while let Some(first) = rest.chars().next() {
            let before = text[..text.len() - rest.len()].chars().next_back();
            let is_here = |form: &str| is_occurrence(form, before, rest);
            match forms.iter().find(|(form, _)| is_here(form)) {
                Some((form, name)) => {
                    redacted.push_str(&format!("${{{name}}}"));
                    rest = &rest[form.len()..];
                }
                None => {
                    redacted.push(first);
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        redacted
    }

    fn value(&self, name: &str) -> Result<&SecretString, PlaceholderError> {
        let value = self.given.get(name).ok_or_else(|| PlaceholderError::Unknown(name.to_owned()))?;
        if value.expose_secret().len() > MAX_VALUE_BYTES {
            return Err(PlaceholderError::TooLong(name.to_owned()));
        }
        Ok(value)
    }
}

/// Returns whether `rest`, which follows the character `before`, begins with `value` where that counts as the value.
fn is_occurrence(value: &str, before: Option<char>, rest: &str) -> bool {
    let Some(after) = rest.strip_prefix(value) else { return false };
    let goes_on = |next: Option<char>| next.is_some_and(char::is_alphanumeric);
    value.chars().count() >= MIN_INSIDE_CHARS || !(goes_on(before) || goes_on(after.chars().next()))
}

/// Formats only the names.
impl fmt::Debug for Values {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.given.keys()).finish()
    }
}

/// Returns the names of the placeholders in `template`, in order; an error if one is malformed.
pub fn names(template: &str) -> Result<Vec<&str>, PlaceholderError> {
    let mut names = Vec::new();
    for piece in pieces(template) {
        if let Piece::Name(name) = piece? {
            names.push(name);
        }
    }
    Ok(names)
}

enum Piece<'a> {
    Literal(&'a str),
    Name(&'a str),
}

/// Splits a template; stops after the first error.
fn pieces(template: &str) -> impl Iterator<Item = Result<Piece<'_>, PlaceholderError>> {
    let mut rest = template;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if let Some(after) = rest.strip_prefix("$${") {
            rest = after;
            return Some(Ok(Piece::Literal("${")));
        }
        if let Some(after) = rest.strip_prefix("${") {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            return match after.split_once('}') {
                Some((name, behind)) if !name.is_empty() && name.chars().all(word) => {
                    rest = behind;
                    Some(Ok(Piece::Name(name)))
                }
                _ => {
                    let shown = rest.chars().take(24).collect();
                    rest = "";
                    Some(Err(PlaceholderError::Malformed(shown)))
                }
            };
        }
        // Up to the next `${` or `$${`; a `$` of any other kind belongs to the literal.
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let end = rest[first..].find("${").map_or(rest.len(), |at| first + at);
        let end = if end > first && rest[..end].ends_with('$') && end < rest.len() { end - 1 } else { end };
        let (literal, behind) = rest.split_at(end);
        rest = behind;
        Some(Ok(Piece::Literal(literal)))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(template: &str) -> Result<String, PlaceholderError> {
        let values = Values::new().with("username", "acme").with("password", "p${username}w");
        values.fill(template).map(|text| text.expose_secret().to_owned())
    }

    #[test]
    fn placeholders_are_replaced_and_escapes_kept() {
        let cases = [
            ("${username}", "acme"),
            ("a${username}b${username}", "aacmebacme"),
            ("$${username}", "${username}"),
            ("x$${username}", "x${username}"),
            ("$$${username}", "$${username}"),
            ("5 $ and $$", "5 $ and $$"),
            ("", ""),
            // A value is not read again.
            ("${password}", "p${username}w"),
        ];
        for (template, expected) in cases {
            assert_eq!(filled(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn what_cannot_be_filled_in_is_named() {
        assert_eq!(filled("${user}").unwrap_err().to_string(), "there is no value for `${user}`");
        assert_eq!(
            filled("a ${x.y} b").unwrap_err().to_string(),
            "`${x.y} b` is not a placeholder: write `${name}`, or `$${` for a literal `${`"
        );
        assert!(matches!(filled("${"), Err(PlaceholderError::Malformed(_))));
        let long = Values::new().with("x", "y".repeat(MAX_VALUE_BYTES + 1));
        assert_eq!(long.check("${x}"), Err(PlaceholderError::TooLong("x".into())));
    }

    #[test]
    fn values_are_never_shown() {
        let values = Values::new().with("password", "hunter\"2");
        assert_eq!(format!("{values:?}"), r#"{"password"}"#);
        assert_eq!(
            values.redact(r#"typed hunter"2 as "hunter\"2""#),
            r#"typed ${password} as "${password}""#
        );
    }

    #[test]
    fn a_short_value_does_not_garble_words_and_no_placeholder_is_searched() {
        let values = Values::new().with("username", "me").with("password", "user");
        assert_eq!(values.redact("the element takes no text"), "the element takes no text");
        assert_eq!(values.redact("no field `me` for \"user\""), "no field `${username}` for \"${password}\"");
        assert_eq!(values.redact("me, me-me"), "${username}, ${username}-${username}");
    }

    proptest! {
        #[test]
        fn reading_never_panics(template in r"[${}a-cé\-_ ]{0,40}") {
            let is_well_formed = names(&template).is_ok();
            let is_filled = !matches!(filled(&template), Err(PlaceholderError::Malformed(_) | PlaceholderError::Unknown(_)));
            prop_assert!(is_well_formed || !is_filled);
        }

        #[test]
        fn text_without_a_placeholder_stays(text in "[^$]{0,60}") {
            prop_assert_eq!(filled(&text), Ok(text));
        }

        #[test]
        fn an_escaped_text_stays(text in r"[${}a-c]{0,30}") {
            prop_assume!(!text.contains("$${"));
            prop_assert_eq!(filled(&text.replace("${", "$${")), Ok(text));
        }
    }
}
