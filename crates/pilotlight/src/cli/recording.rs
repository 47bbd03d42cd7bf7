//! Replaces passwords and the recorded user name in a recording, in place: everything else in the file stays the
//! same, byte for byte.
//!
//! A password is also replaced in selectors and addresses that repeat it. The user name is replaced in the field that
//! it was typed into and in selectors that consist only of it; if it was given, it is replaced wherever it occurs as
//! a separate word.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use pilotlight_flow::recorded::{self, Purpose};
use pilotlight_flow::{Flow, placeholders};
use secrecy::{ExposeSecret, SecretString};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The placeholder of a recorded password.
pub(super) const PASSWORD: &str = "${password}";
/// The placeholder of a recorded user name.
pub(super) const USERNAME: &str = "${username}";
/// Shorter texts are replaced only if they are the whole string: otherwise there would be accidental matches.
const MIN_INSIDE_CHARS: usize = 4;

/// What is known about the recorded user.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The user name, if it was given.
    pub(super) username: Option<String>,
    /// The password, if it was given.
    pub(super) password: Option<SecretString>,
    /// Whether the user name is kept: all sessions share the account.
    pub(super) keeps_username: bool,
}

/// A recording after the replacements.
#[derive(Debug)]
pub(super) struct Cleaned {
    /// The whole file.
    pub(super) text: String,
    /// The number of strings with each placeholder, by placeholder and step, counted from 1 (0 is outside of any
    /// step).
    pub(super) places: BTreeMap<(&'static str, usize), usize>,
}

/// Returns a recording without this password and without its user name, if it can be parsed.
#[cfg(fuzzing)]
#[must_use]
pub fn clean_recording(text: &str, flow: &Flow, password: &str) -> Option<String> {
    let known = Known { password: Some(password.into()), ..Known::default() };
    clean(text, flow, &known).ok().map(|cleaned| cleaned.text)
}

/// Replaces what `known` and the flow itself reveal.
pub(super) fn clean(text: &str, flow: &Flow, known: &Known) -> serde_json::Result<Cleaned> {
    let mut secrets = recorded::secrets(flow, Purpose::Unknown);
    let given = known.password.iter().map(|password| password.expose_secret().to_owned());
    secrets.extend(given.filter(|password| !password.is_empty()));
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let found = recorded::username(flow).filter(|_| !known.keeps_username);
    let (recorded_name, name_steps) = found.map_or((None, Vec::new()), |(name, steps)| (Some(name), steps));
    let name = known.username.as_deref().or(recorded_name);
    let steps_of_name = if name == recorded_name { name_steps } else { Vec::new() };

    let document: &RawValue = serde_json::from_str(text)?;
    let mut strings = Vec::new();
    collect(text, document, &mut Vec::new(), &mut strings)?;
    strings.sort_by_key(|string| string.span.start);
    let (mut cleaned, mut places, mut end) = (String::with_capacity(text.len()), BTreeMap::new(), 0);
    for string in strings {
        let is_value = string.path.len() == 3 && string.key() == Some("value");
        let step = string.step();
        let mut fresh = string.value.clone();
        for secret in &secrets {
            fresh = replaced(&fresh, secret, PASSWORD, Reach::Inside);
        }
        if is_value && step.is_some_and(|step| steps_of_name.contains(&step)) {
            fresh = USERNAME.to_owned();
        } else if let Some(name) = name {
            let reach = if known.username.is_some() { Reach::Words } else { Reach::Whole };
            fresh = replaced(&fresh, name, USERNAME, reach);
        }
        if fresh == string.value || string.is_kind() {
            continue;
        }
        for placeholder in [PASSWORD, USERNAME] {
            if fresh.matches(placeholder).count() > string.value.matches(placeholder).count() {
                *places.entry((placeholder, step.unwrap_or_default())).or_default() += 1;
            }
        }
        cleaned.push_str(&text[end..string.span.start]);
        cleaned.push_str(&serde_json::to_string(&fresh)?);
        end = string.span.end;
    }
    cleaned.push_str(&text[end..]);
    Ok(Cleaned { text: cleaned, places })
}

/// How much of a string must match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// All of it, except for the selector's kind and role.
    Whole,
    /// A separate word.
    Words,
    /// Any part; for short texts, as for [`Reach::Whole`].
    Inside,
}

fn replaced(text: &str, literal: &str, placeholder: &str, reach: Reach) -> String {
    let is_short = literal.chars().count() < MIN_INSIDE_CHARS;
    if reach == Reach::Whole || (reach == Reach::Inside && is_short) {
        return replaced_whole(text, literal, placeholder);
    }
    let encoded: String = url::form_urlencoded::byte_serialize(literal.as_bytes()).collect();
    let spellings = [Cow::Borrowed(literal), Cow::Owned(encoded.replace('+', "%20")), Cow::Owned(encoded)];
    let mut fresh = text.to_owned();
    for spelling in spellings {
        fresh = outside_placeholders(&fresh, |part| replaced_in(part, &spelling, placeholder, reach));
    }
    fresh
}

/// Replaces `jane`, `text/jane`, `aria/jane` and `aria/jane[role="textbox"]`.
fn replaced_whole(text: &str, literal: &str, placeholder: &str) -> String {
    let (kind, rest) = ["text/", "aria/"]
        .iter()
        .find_map(|kind| text.strip_prefix(kind).map(|rest| (*kind, rest)))
        .unwrap_or(("", text));
    match rest.strip_prefix(literal) {
        Some(role) if role.is_empty() || (kind == "aria/" && role.starts_with("[role=")) => {
            format!("{kind}{placeholder}{role}")
        }
        _ => text.to_owned(),
    }
}

fn replaced_in(text: &str, literal: &str, placeholder: &str, reach: Reach) -> String {
    let mut fresh = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(literal).filter(|_| !literal.is_empty()) {
        let (before, behind) = (&rest[..at], &rest[at + literal.len()..]);
        let joins = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
        let last = before.chars().last().or_else(|| fresh.chars().last());
        let is_word = !joins(last) && !joins(behind.chars().next());
        fresh.push_str(before);
        fresh.push_str(if reach == Reach::Words && !is_word { literal } else { placeholder });
        rest = behind;
    }
    fresh + rest
}

/// Changes a text except for the placeholders in it. Text that only looks like one, and `$${`, is changed.
fn outside_placeholders(text: &str, change: impl Fn(&str) -> String) -> String {
    let (mut fresh, mut rest, mut looked_at) = (String::with_capacity(text.len()), text, 0);
    while let Some(found) = rest[looked_at..].find("${") {
        let at = looked_at + found;
        let placeholder = if rest[..at].ends_with('$') { None } else { placeholder_at(&rest[at..]) };
        let Some(placeholder) = placeholder else {
            looked_at = at + "${".len();
            continue;
        };
        fresh.push_str(&change(&rest[..at]));
        fresh.push_str(placeholder);
        (rest, looked_at) = (&rest[at + placeholder.len()..], 0);
    }
    fresh + &change(rest)
}

/// The placeholder that a text begins with.
fn placeholder_at(text: &str) -> Option<&str> {
    let placeholder = &text[..=text.find('}')?];
    placeholders::names(placeholder).is_ok_and(|names| names.len() == 1).then_some(placeholder)
}

/// A string of the document.
struct Found {
    /// The names of fields and the indices of elements that lead to it.
    path: Vec<String>,
    value: String,
    /// Including its quotation marks.
    span: Range<usize>,
}

impl Found {
    fn key(&self) -> Option<&str> {
        self.path.last().map(String::as_str)
    }

    /// Returns whether it is the type of a step or of an asserted event, which nobody typed.
    fn is_kind(&self) -> bool {
        self.step().is_some()
            && match self.path.get(2..) {
                Some([field]) => field == "type",
                Some([events, _, field]) => events == "assertedEvents" && field == "type",
                _ => false,
            }
    }

    /// Returns the number of its step, counted from 1.
    fn step(&self) -> Option<usize> {
        let [steps, index, ..] = self.path.as_slice() else { return None };
        index.parse::<usize>().ok().filter(|_| steps == "steps").map(|index| index + 1)
    }
}

/// The fields of an object, in order. Of those with the same name only the last counts, but all are in the file.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}

/// Collects all strings of a part of the document except for field names. The parser limits the nesting depth.
fn collect(
    text: &str,
    part: &RawValue,
    path: &mut Vec<String>,
    found: &mut Vec<Found>,
) -> serde_json::Result<()> {
    let raw = part.get();
    let mut inner: Vec<(String, &RawValue)> = Vec::new();
    match raw.bytes().next() {
        Some(b'"') => {
            // It borrows from the text, so its address gives its position.
            let start = (raw.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
            let (value, span) = (serde_json::from_str(raw)?, start..start + raw.len());
            found.push(Found { path: path.clone(), value, span });
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(raw)?;
            inner.extend(
                elements.into_iter().enumerate().map(|(index, element)| (index.to_string(), element)),
            );
        }
        Some(b'{') => {
            let Fields(fields) = serde_json::from_str(raw)?;
            inner.extend(fields);
        }
        _ => {}
    }
    for (name, value) in inner {
        path.push(name);
        collect(text, value, path, found)?;
        path.pop();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(text: &str, known: &Known) -> Cleaned {
        let cleaned = clean(text, &Flow::parse(text).unwrap(), known).unwrap();
        Flow::parse(&cleaned.text).unwrap();
        cleaned
    }

    const RECORDED: &str = r##"{
    "title": "Sign in",
    "steps": [
        { "type": "navigate", "url": "https://portal.example/login?pwd=hunter2-secret&to=%2F",
          "assertedEvents": [{"type": "navigation", "url": "https://portal.example/login", "title": "t"}] },
        { "type": "change", "value": "jane",   "selectors": [["aria/User"], ["#jane-field"], ["text/jane"]], "target": "main" },
        {"selectors":[["aria/Senha"],["text/hunter2-secret"]],"value":"hunter2-secret","type":"change"},
        { "type": "click", "selectors": [["aria/jane[role=\"button\"]"], ["#go"]], "offsetX": 1.50, "offsetY": 2e0 }
    ]
}
"##;

    #[test]
    fn a_recording_keeps_its_shape() {
        let Cleaned { text, places } = cleaned(RECORDED, &Known::default());
        let expected = RECORDED
            .replace("hunter2-secret", PASSWORD)
            .replace(r#""value": "jane""#, r#""value": "${username}""#)
            .replace("text/jane", "text/${username}")
            .replace("aria/jane", "aria/${username}");
        assert_eq!(text, expected);
        let told: Vec<_> = places.into_iter().collect();
        assert_eq!(told, [((PASSWORD, 1), 1), ((PASSWORD, 3), 2), ((USERNAME, 2), 2), ((USERNAME, 4), 1),]);
        assert_eq!(cleaned(&expected, &Known::default()).text, expected, "there is nothing left to do");
    }

    #[test]
    fn a_name_that_is_given_goes_from_everywhere() {
        let known = Known { username: Some("jane".to_owned()), ..Known::default() };
        let text = cleaned(RECORDED, &known).text;
        assert!(text.contains("#${username}-field") && !text.contains("jane"), "{text}");
        // Not from the middle of words, nor from placeholders.
        let other = r##"{"title": "janet", "steps": [
            {"type": "change", "selectors": [["#janet"], ["#${jane}"]], "value": "jane"},
            {"type": "navigate", "url": "https://a.test/?u=jane%40b.test"}]}"##;
        let known = Known { username: Some("jane@b.test".to_owned()), ..Known::default() };
        assert!(cleaned(other, &known).text.contains("?u=${username}"));
        let known = Known { username: Some("jane".to_owned()), ..Known::default() };
        let text = cleaned(other, &known).text;
        assert!(
            text.contains("#janet") && text.contains("#${jane}") && text.contains("?u=${username}%40"),
            "{text}"
        );
        let kept = Known { keeps_username: true, ..Known::default() };
        assert!(cleaned(RECORDED, &kept).text.contains(r#""value": "jane""#));
    }

    #[test]
    fn a_password_that_is_given_goes_wherever_it_stands() {
        let recording = r##"{"title": "t", "steps": [
            {"type": "change", "selectors": [["#x"], ["text/p\u00e4ss \"w\" 1"]], "value": "p\u00e4ss \"w\" 1"},
            {"type": "navigate", "url": "https://a.test/?q=p%C3%A4ss%20%22w%22%201"},
            {"type": "waitForExpression", "expression": "`p\u00e4ss`"}]}"##;
        assert!(cleaned(recording, &Known::default()).places.is_empty(), "nobody could know");
        let known = Known { password: Some("päss \"w\" 1".into()), ..Known::default() };
        let Cleaned { text, places } = cleaned(recording, &known);
        assert_eq!(text.matches(PASSWORD).count(), 3, "{text}");
        assert!(text.contains(r"`p\u00e4ss`"), "what is not touched stays as it is spelt: {text}");
        assert_eq!(places.values().sum::<usize>(), 3);
        // Nothing hides it: not a field that stands there twice, nor one that is called `type`, nor what only looks
        // like a placeholder.
        let known = Known { password: Some("correct horse".into()), ..Known::default() };
        for hidden in [
            r##""title": "correct horse", "title": "t", "steps": []"##,
            r##""title": "${correct horse}", "steps": []"##,
            r##""title": "${correct horse", "steps": []"##,
            r##""title": "t", "steps": [], "more": {"type": "correct horse"}"##,
            r##""title": "t", "steps": [{"type": "close", "more": {"type": "correct horse"}}]"##,
            r##""title": "t", "steps": [{"type": "waitForExpression", "expression": "`$${correct horse}`"}]"##,
        ] {
            let Cleaned { text, places } = cleaned(&format!("{{{hidden}}}"), &known);
            assert!(!text.contains("correct horse") && places.len() == 1, "{text}");
        }
        // A short one is replaced where nothing else stands.
        let short = r##"{"title": "abc", "steps": [
            {"type": "change", "selectors": [["aria/Password"], ["#abcdef"], ["text/abc"]], "value": "abc"}]}"##;
        let text = cleaned(short, &Known::default()).text;
        assert!(text.contains("#abcdef") && text.contains("text/${password}"), "{text}");
    }
}
