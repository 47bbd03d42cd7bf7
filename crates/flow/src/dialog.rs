//! Automatic answers to the dialogs of a page (`alert`, `confirm`, `prompt`, `beforeunload`), for when no client or
//! person answers.
//!
//! A site defines answers by the dialog's text, a flow with a step. Otherwise, the answer is the harmless one: "no"
//! to a question, but "yes" to one that asks whether to stay signed in, because "no" would sign the session out. The
//! texts come from the page: at most [`MAX_SHOWN_CHARS`] of one are repeated.

mod staying;

use std::fmt;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::pattern::{MAX_TEXT_BYTES, Pattern};

/// Maximum number of rules of a site.
pub const MAX_DIALOG_RULES: usize = 64;
/// Maximum length of a dialog's text that is examined, in characters.
const MAX_READ_CHARS: usize = 16 * 1024;
/// Maximum length of a dialog's text that is shown, in characters.
pub const MAX_SHOWN_CHARS: usize = 200;

/// The answer to a dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DialogAnswer {
    /// "OK".
    Accept,
    /// "Cancel".
    Dismiss,
}

impl DialogAnswer {
    /// Returns the answer of a button.
    #[must_use]
    pub fn of(accepts: bool) -> Self {
        if accepts { Self::Accept } else { Self::Dismiss }
    }

    /// Returns whether it is "OK".
    #[must_use]
    pub fn accepts(self) -> bool {
        self == Self::Accept
    }
}

/// A site's rule for dialogs with a certain text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct DialogRule {
    text: Test,
    answer: DialogAnswer,
    typed: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    /// With normalized whitespace.
    Contains(String),
    Matches(Pattern),
}

/// A rule as it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text_contains: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text_matches: Option<String>,
    answer: DialogAnswer,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl TryFrom<Written> for DialogRule {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let given = [&written.text_contains, &written.text_matches, &written.text];
        if given.into_iter().flatten().any(|text| text.len() > MAX_TEXT_BYTES) {
            return Err(format!("a text of a dialog rule has more than {MAX_TEXT_BYTES} bytes"));
        }
        if written.text.is_some() && written.answer == DialogAnswer::Dismiss {
            return Err("`text` is typed into a prompt and requires `answer = \"accept\"`".to_owned());
        }
        let text = match (written.text_contains, written.text_matches) {
            (Some(part), None) => Test::Contains(part_of_text("text_contains", &part)?),
            (None, Some(pattern)) => Test::Matches(
                Pattern::new(&pattern)
                    .map_err(|error| format!("`text_matches` is not a regular expression: {error}"))?,
            ),
            _ => {
                return Err("a dialog rule needs either `text_contains` or `text_matches`".to_owned());
            }
        };
        Ok(Self { text, answer: written.answer, typed: written.text })
    }
}

impl From<DialogRule> for Written {
    fn from(rule: DialogRule) -> Self {
        let (text_contains, text_matches) = match rule.text {
            Test::Contains(part) => (Some(part), None),
            Test::Matches(pattern) => (None, Some(pattern.as_str().to_owned())),
        };
        Self { text_contains, text_matches, answer: rule.answer, text: rule.typed }
    }
}

/// Returns the text with normalized whitespace, as texts are compared. An empty text would be contained in every
/// text.
fn part_of_text(field: &str, part: &str) -> Result<String, String> {
    let part = spaced(part);
    if part.is_empty() { Err(format!("`{field}` must not be empty")) } else { Ok(part) }
}

impl DialogRule {
    /// Returns whether the rule matches a dialog with this text.
    fn fits(&self, spaced_text: &str) -> bool {
        match &self.text {
            Test::Contains(part) => spaced_text.contains(part.as_str()),
            Test::Matches(pattern) => pattern.is_match(spaced_text),
        }
    }
}

/// Returns the text that the rule looks for.
impl fmt::Display for DialogRule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Test::Contains(part) => out.write_str(&shown(part)),
            Test::Matches(pattern) => out.write_str(&shown(pattern.as_str())),
        }
    }
}

/// The answer that a flow has prepared for an expected dialog. Filled-in values may be secret.
#[derive(Clone)]
pub struct ExpectedDialog {
    text: SecretString,
    /// The answer.
    pub answer: DialogAnswer,
    /// The text to type into a prompt.
    pub typed: Option<SecretString>,
}

impl ExpectedDialog {
    /// Creates an answer for a dialog whose text contains `text`; `None` if that is empty.
    #[must_use]
    pub fn new(text: &str, answer: DialogAnswer, typed: Option<SecretString>) -> Option<Self> {
        let text = SecretString::from(part_of_text("text_contains", text).ok()?);
        Some(Self { text, answer, typed })
    }

    /// Returns whether this dialog is expected.
    #[must_use]
    pub fn is(&self, message: &str) -> bool {
        spaced(message).contains(secrecy::ExposeSecret::expose_secret(&self.text))
    }
}

impl fmt::Debug for ExpectedDialog {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ExpectedDialog").field("answer", &self.answer).finish_non_exhaustive()
    }
}

/// An automatic answer and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub answer: DialogAnswer,
    /// The text to type into a prompt.
    pub typed: Option<String>,
    /// The reason.
    pub why: Why,
}

/// The reason for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// A rule of the site; contains the text of the rule.
    Rule(String),
    /// The dialog asks whether to stay signed in.
    KeepsSession,
    /// It is the harmless answer.
    Harmless,
}

/// Decides the answer to a dialog of this kind (`alert`, `confirm`, `prompt` or `beforeunload`) with this text. The
/// first matching rule applies.
///
/// `beforeunload` has no text of its own (Chromium shows a fixed one), so rules do not apply to it; it is accepted,
/// because a page that cannot be left could not be refreshed.
#[must_use]
pub fn decide(rules: &[DialogRule], kind: &str, message: &str) -> Decision {
    let text = spaced(message);
    if kind != "beforeunload"
        && let Some(rule) = rules.iter().find(|rule| rule.fits(&text))
    {
        return Decision { answer: rule.answer, typed: rule.typed.clone(), why: Why::Rule(rule.to_string()) };
    }
    let (answer, why) = match kind {
        "alert" | "beforeunload" => (DialogAnswer::Accept, Why::Harmless),
        "confirm" if staying::asks_to_stay(&text) => (DialogAnswer::Accept, Why::KeepsSession),
        _ => (DialogAnswer::Dismiss, Why::Harmless),
    };
    Decision { answer, typed: None, why }
}

/// Returns the beginning of a text with normalized whitespace, because line breaks have no meaning.
fn spaced(text: &str) -> String {
    let beginning: String = text.chars().take(MAX_READ_CHARS).collect();
    let mut spaced = String::with_capacity(beginning.len());
    for word in beginning.split_whitespace() {
        if !spaced.is_empty() {
            spaced.push(' ');
        }
        spaced.push_str(word);
    }
    spaced
}

/// Returns a page's text for display: on one line, without control and bidirectional formatting characters, and at
/// most [`MAX_SHOWN_CHARS`] long.
#[must_use]
pub fn shown(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
    };
    let visible: String =
        text.chars().take(MAX_READ_CHARS).map(|c| if steers(c) { ' ' } else { c }).collect();
    let line = spaced(&visible);
    match line.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: &str) -> Result<DialogRule, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_rule_that_fits_answers() {
        let rules = [
            rule(r#"{"text_contains": "End that session?", "answer": "accept"}"#).unwrap(),
            rule(r#"{"text_matches": "(?i)your\\s+truck", "answer": "accept", "text": "B-HG 77"}"#).unwrap(),
            rule(r#"{"text_contains": "Stay signed in?", "answer": "dismiss"}"#).unwrap(),
        ];
        let decided = decide(&rules, "confirm", "You are signed in elsewhere.\n  End that\tsession?");
        assert_eq!(decided.answer, DialogAnswer::Accept);
        assert_eq!(decided.why, Why::Rule("End that session?".to_owned()));
        let decided = decide(&rules, "prompt", "Which is YOUR  TRUCK");
        assert_eq!((decided.answer, decided.typed.as_deref()), (DialogAnswer::Accept, Some("B-HG 77")));
        // A site knows better than any list of words.
        assert_eq!(decide(&rules, "confirm", "Stay signed in?").answer, DialogAnswer::Dismiss);
        assert_eq!(decide(&rules, "alert", "Stay signed in?").answer, DialogAnswer::Dismiss);
    }

    #[test]
    fn without_a_rule_the_answer_does_no_harm() {
        let answer = |kind: &str, text: &str| (decide(&[], kind, text).answer, decide(&[], kind, text).why);
        assert_eq!(answer("alert", "Saved."), (DialogAnswer::Accept, Why::Harmless));
        assert_eq!(answer("beforeunload", ""), (DialogAnswer::Accept, Why::Harmless));
        assert_eq!(answer("confirm", "Delete the appointment?"), (DialogAnswer::Dismiss, Why::Harmless));
        assert_eq!(answer("prompt", "Stay signed in? Type yes."), (DialogAnswer::Dismiss, Why::Harmless));
        assert_eq!(answer("confirm", "Stay signed in?"), (DialogAnswer::Accept, Why::KeepsSession));
        // A rule of any text must not keep a page from being left.
        let any = [rule(r#"{"text_matches": ".*", "answer": "dismiss"}"#).unwrap()];
        assert_eq!(decide(&any, "beforeunload", "").answer, DialogAnswer::Accept);
        assert_eq!(decide(&any, "confirm", "Stay signed in?").answer, DialogAnswer::Dismiss);
    }

    #[test]
    fn a_rule_is_written_as_it_was_read_and_mistakes_are_named() {
        for json in [
            r#"{"text_contains":"End it?","answer":"accept"}"#,
            r#"{"text_matches":"^Plate","answer":"accept","text":"B-HG 77"}"#,
        ] {
            assert_eq!(serde_json::to_string(&rule(json).unwrap()).unwrap(), json);
        }
        let long =
            format!(r#"{{"text_contains": "{}", "answer": "accept"}}"#, "x".repeat(MAX_TEXT_BYTES + 1));
        for (json, expected) in [
            (r#"{"answer": "accept"}"#, "needs either `text_contains` or `text_matches`"),
            (r#"{"text_contains": "a", "text_matches": "b", "answer": "accept"}"#, "needs either"),
            (r#"{"text_contains": " ", "answer": "accept"}"#, "`text_contains` must not be empty"),
            (r#"{"text_matches": "(", "answer": "accept"}"#, "`text_matches` is not a regular expression"),
            (
                r#"{"text_contains": "a", "answer": "yes"}"#,
                "unknown variant `yes`, expected `accept` or `dismiss`",
            ),
            (r#"{"text_contains": "a"}"#, "missing field `answer`"),
            (r#"{"text_contains": "a", "answer": "dismiss", "text": "b"}"#, "requires `answer = \"accept\"`"),
            (r#"{"contains": "a", "answer": "accept"}"#, "unknown field `contains`"),
            (&long, "more than 4096 bytes"),
        ] {
            let error = rule(json).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }

    #[test]
    fn what_is_expected_is_recognised_and_not_shown() {
        let dialog =
            ExpectedDialog::new("Delete HG-0001?", DialogAnswer::Accept, Some("hunter2".into())).unwrap();
        assert!(dialog.is("Really?\nDelete   HG-0001?") && !dialog.is("Delete HG-0002?"));
        let told = format!("{dialog:?}");
        assert!(!told.contains("HG-0001") && !told.contains("hunter2"), "{told}");
        assert!(ExpectedDialog::new(" \n", DialogAnswer::Accept, None).is_none());
    }

    #[test]
    fn a_text_of_a_page_is_shown_short_and_on_one_line() {
        assert_eq!(shown("Stay\r\n signed \u{1b}[31min\u{202e}?"), "Stay signed [31min ?");
        let long = shown(&"ä".repeat(1_000_000));
        assert_eq!(long.chars().count(), MAX_SHOWN_CHARS + 1);
        assert!(long.ends_with('…'));
        assert_eq!(shown(&"a".repeat(MAX_SHOWN_CHARS)).len(), MAX_SHOWN_CHARS);
    }
}
