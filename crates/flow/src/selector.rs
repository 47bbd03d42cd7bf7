//! Selectors as the Chrome DevTools Recorder writes them.
//!
//! A selector is a string with a prefix for its kind (`aria/`, `text/`, `xpath/`, `pierce/`, `css/`; no
//! prefix is CSS), or an array of such strings that leads through shadow roots. Only its shape is checked
//! here: whether CSS or XPath is well-formed is for the page to say.

use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest part that is accepted, in bytes.
pub const MAX_PART_BYTES: usize = 8 * 1024;
/// The most parts that one selector may have.
pub const MAX_PARTS: usize = 16;

/// One way to an element: parts, each looked up inside the match before it: in its shadow root, or among
/// its descendants where it has none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    /// At least one.
    pub parts: Vec<Part>,
}

/// One part of a selector by its kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Part {
    /// A CSS selector.
    Css(String),
    /// `aria/Name[role="button"]`: accessible name and role.
    Aria {
        /// The accessible name; empty for any.
        name: String,
        /// The ARIA role, where given.
        role: Option<String>,
    },
    /// `text/…`: the smallest elements whose text contains this.
    Text(String),
    /// `xpath/…`.
    XPath(String),
    /// `pierce/…`: CSS, looking into every open shadow root.
    Pierce(String),
}

/// Why something is not a selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Nothing, or a prefix with nothing behind it.
    #[error("the selector `{0}` is empty")]
    Empty(String),
    /// An array without a part.
    #[error("a selector needs at least one part")]
    NoParts,
    /// More parts than [`MAX_PARTS`].
    #[error("a selector may have at most {MAX_PARTS} parts")]
    TooManyParts,
    /// A part longer than [`MAX_PART_BYTES`].
    #[error("a selector may have at most {MAX_PART_BYTES} bytes")]
    TooLong,
    /// `aria/` knows only `name` and `role`.
    #[error("`{0}` is not an attribute of an aria selector: expected `role` or `name`")]
    AriaAttribute(String),
}

impl Selector {
    /// Reads a selector of one part, such as `#user`, `aria/Sign in[role="button"]` or `xpath///button`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Ok(Self { parts: vec![Part::parse(text)?] })
    }

    /// Reads a selector of several parts.
    pub fn chain<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, SelectorError> {
        let mut parts = Vec::new();
        for text in texts {
            if parts.len() == MAX_PARTS {
                return Err(SelectorError::TooManyParts);
            }
            parts.push(Part::parse(text.as_ref())?);
        }
        if parts.is_empty() { Err(SelectorError::NoParts) } else { Ok(Self { parts }) }
    }
}

impl Part {
    /// Reads one part.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MAX_PART_BYTES {
            return Err(SelectorError::TooLong);
        }
        let filled = |rest: &str| {
            if rest.trim().is_empty() {
                Err(SelectorError::Empty(text.to_owned()))
            } else {
                Ok(rest.to_owned())
            }
        };
        if let Some(rest) = text.strip_prefix("aria/") {
            parse_aria(&filled(rest)?)
        } else if let Some(rest) = text.strip_prefix("text/") {
            filled(rest).map(Self::Text)
        } else if let Some(rest) = text.strip_prefix("xpath/") {
            filled(rest).map(Self::XPath)
        } else if let Some(rest) = text.strip_prefix("pierce/") {
            filled(rest).map(Self::Pierce)
        } else {
            filled(text.strip_prefix("css/").unwrap_or(text)).map(Self::Css)
        }
    }

    /// Gives every string of the part to `change` and returns the part with the results. The kind stays,
    /// so that a value that is filled in cannot turn CSS into something else.
    pub fn try_map<E>(&self, mut change: impl FnMut(&str) -> Result<String, E>) -> Result<Self, E> {
        Ok(match self {
            Self::Css(css) => Self::Css(change(css)?),
            Self::Text(words) => Self::Text(change(words)?),
            Self::XPath(path) => Self::XPath(change(path)?),
            Self::Pierce(css) => Self::Pierce(change(css)?),
            Self::Aria { name, role } => {
                Self::Aria { name: change(name)?, role: role.as_deref().map(change).transpose()? }
            }
        })
    }
}

/// Takes `[role="…"]` and `[name="…"]` off the end; what is left is the name. A bracket that is not of
/// this form belongs to the name ("Save \[draft\]").
fn parse_aria(text: &str) -> Result<Part, SelectorError> {
    let (mut rest, mut name, mut role) = (text.trim(), None, None);
    while let Some((before, attribute, value)) = split_attribute(rest) {
        match attribute {
            "role" => role = Some(value.to_owned()),
            "name" => name = Some(value.to_owned()),
            other => return Err(SelectorError::AriaAttribute(other.to_owned())),
        }
        rest = before.trim_end();
    }
    let name = name.unwrap_or_else(|| rest.to_owned());
    if name.is_empty() && role.is_none() {
        return Err(SelectorError::Empty(format!("aria/{text}")));
    }
    Ok(Part::Aria { name, role })
}

/// Splits `before[attribute="value"]`.
fn split_attribute(text: &str) -> Option<(&str, &str, &str)> {
    let inside = text.strip_suffix(']')?.trim_end();
    let quote = inside.chars().next_back().filter(|quote| matches!(quote, '"' | '\''))?;
    let (start, value) = inside[..inside.len() - 1].rsplit_once(quote)?;
    let (before, attribute) = start.trim_end().strip_suffix('=')?.rsplit_once('[')?;
    let attribute = attribute.trim();
    let is_word = !attribute.is_empty() && attribute.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_word.then_some((before, attribute, value))
}

/// As the Recorder writes it; reading it again gives an equal part.
impl fmt::Display for Part {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PREFIXES: [&str; 5] = ["aria/", "text/", "xpath/", "pierce/", "css/"];
        match self {
            Self::Css(css) if PREFIXES.iter().any(|prefix| css.starts_with(prefix)) => {
                write!(out, "css/{css}")
            }
            Self::Css(css) => out.write_str(css),
            Self::Text(words) => write!(out, "text/{words}"),
            Self::XPath(path) => write!(out, "xpath/{path}"),
            Self::Pierce(css) => write!(out, "pierce/{css}"),
            Self::Aria { name, role: None } => write!(out, "aria/{name}"),
            Self::Aria { name, role: Some(role) } => write!(out, "aria/{name}[role=\"{role}\"]"),
        }
    }
}

/// The parts, with ` » ` between them: for people, in error texts.
impl fmt::Display for Selector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.parts.iter().enumerate() {
            let between = if index == 0 { "" } else { " » " };
            write!(out, "{between}{part}")?;
        }
        Ok(())
    }
}

/// A string for one part, an array for more.
impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.parts.as_slice() {
            [part] => serializer.collect_str(part),
            parts => serializer.collect_seq(parts.iter().map(Part::to_string)),
        }
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;
        impl<'de> Visitor<'de> for Shape {
            type Value = Selector;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a selector: a string, or an array of strings through shadow roots")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Selector, E> {
                Selector::parse(text).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Selector, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = items.next_element::<String>()? {
                    if texts.len() == MAX_PARTS {
                        return Err(de::Error::custom(SelectorError::TooManyParts));
                    }
                    texts.push(text);
                }
                Selector::chain(&texts).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(Shape)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn aria(name: &str, role: Option<&str>) -> Part {
        Part::Aria { name: name.to_owned(), role: role.map(str::to_owned) }
    }

    #[test]
    fn every_prefix_gives_its_kind() {
        let kinds = [
            ("#user", Part::Css("#user".into())),
            ("css/a > b", Part::Css("a > b".into())),
            ("aria/Sign in", aria("Sign in", None)),
            ("aria/Sign in[role=\"button\"]", aria("Sign in", Some("button"))),
            ("aria/[role='main']", aria("", Some("main"))),
            ("aria/[name=\"User name\"][role=\"textbox\"]", aria("User name", Some("textbox"))),
            ("aria/Save [draft]", aria("Save [draft]", None)),
            ("text/Sign in", Part::Text("Sign in".into())),
            ("xpath///button[@id='x']", Part::XPath("//button[@id='x']".into())),
            ("pierce/#user", Part::Pierce("#user".into())),
        ];
        for (text, part) in kinds {
            assert_eq!(Part::parse(text), Ok(part), "{text}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused_with_a_reason() {
        assert_eq!(Selector::parse(" "), Err(SelectorError::Empty(" ".into())));
        assert_eq!(Selector::parse("xpath/"), Err(SelectorError::Empty("xpath/".into())));
        assert_eq!(Selector::parse("aria/x[level=\"2\"]"), Err(SelectorError::AriaAttribute("level".into())));
        assert_eq!(Selector::parse(&"a".repeat(MAX_PART_BYTES + 1)), Err(SelectorError::TooLong));
        assert_eq!(Selector::chain(["a"; 0]), Err(SelectorError::NoParts));
        assert_eq!(Selector::chain(["a"; MAX_PARTS + 1]), Err(SelectorError::TooManyParts));
    }

    #[test]
    fn serde_takes_a_string_or_an_array() {
        let one: Selector = serde_json::from_str(r#""aria/Sign in""#).unwrap();
        assert_eq!(one.parts, [aria("Sign in", None)]);
        let chain: Selector = serde_json::from_str(r##"["my-app", "#inner"]"##).unwrap();
        assert_eq!(chain.to_string(), "my-app » #inner");
        assert_eq!(serde_json::to_string(&chain).unwrap(), r##"["my-app","#inner"]"##);
        let error = serde_json::from_str::<Selector>("7").unwrap_err().to_string();
        assert!(error.contains("expected a selector: a string"), "{error}");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,200}") {
            let _ = Selector::parse(&text);
            let _ = Selector::parse(&format!("aria/{text}"));
        }

        #[test]
        fn brackets_and_quotes_never_panic(text in r#"[\[\]"'= a-cé]{0,24}"#) {
            let _ = Selector::parse(&format!("aria/{text}"));
        }

        #[test]
        fn what_is_written_reads_back_equal(
            prefix in prop::sample::select(vec!["", "css/", "text/", "xpath/", "pierce/", "aria/"]),
            rest in "[a-zA-Z#.>/ ]{1,20}",
            role in prop::option::of("[a-z]{1,8}"),
        ) {
            let role = role.filter(|_| prefix == "aria/").map(|r| format!("[role=\"{r}\"]")).unwrap_or_default();
            if let Ok(part) = Part::parse(&format!("{prefix}{rest}{role}")) {
                prop_assert_eq!(Part::parse(&part.to_string()), Ok(part));
            }
        }
    }
}
