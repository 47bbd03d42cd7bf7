//! What a recording will do, in words, and what about it will break or must not be.
//!
//! The texts repeat what stands in the recording, but never a value that is typed.

use crate::placeholders;
use crate::schema::{Action, Custom, Flow, Step};
use crate::selector::{Part, Selector};

/// How many parts a path of elements may have that is not brittle yet.
const MAX_PATH: usize = 4;
/// How many digits in a row look made by a machine.
const MANY_DIGITS: usize = 2;

/// What there is to say of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remarks {
    /// Counted from 1.
    pub step: usize,
    /// What it does.
    pub does: String,
    /// Why a small change of the portal may break it; empty for nothing.
    pub brittle: Vec<String>,
    /// Whether it types a password that stands in the recording.
    pub has_password: bool,
}

/// Looks at every step.
#[must_use]
pub fn review(flow: &Flow) -> Vec<Remarks> {
    let passwords = literal_passwords(flow);
    let remarks = |(index, step): (usize, &Step)| Remarks {
        step: index + 1,
        does: does(step),
        brittle: brittle(step),
        has_password: passwords.contains(&(index + 1)),
    };
    flow.steps.iter().enumerate().map(remarks).collect()
}

/// The steps, counted from 1, that type a password which stands in the recording.
#[must_use]
pub fn literal_passwords(flow: &Flow) -> Vec<usize> {
    let is_literal = |step: &Step| match &step.action {
        Action::Change { selectors, value } => {
            let is_filled_in = placeholders::names(value).is_ok_and(|names| !names.is_empty());
            !value.is_empty() && !is_filled_in && selectors.iter().any(means_password)
        }
        _ => false,
    };
    let literal = flow.steps.iter().enumerate().filter(|(_, step)| is_literal(step));
    literal.map(|(index, _)| index + 1).collect()
}

fn means_password(selector: &Selector) -> bool {
    let text = selector.to_string().to_lowercase();
    ["password", "passwort", "passwd", "pwd", "passcode", "contraseña", "mot de passe"]
        .iter()
        .any(|word| text.contains(word))
}

fn does(step: &Step) -> String {
    let what = || best(step.selectors()).map_or_else(|| "the page".to_owned(), |best| format!("`{best}`"));
    let mut does = match &step.action {
        Action::SetViewport(size) => format!("makes the page {} x {} pixels", size.width, size.height),
        Action::Navigate { url } => format!("opens {url}"),
        Action::Click { count: 2, .. } => format!("double-clicks {}", what()),
        Action::Click { .. } => format!("clicks {}", what()),
        Action::Change { value, .. } => match placeholders::names(value) {
            Ok(names) if !names.is_empty() => format!("puts {value} into {}", what()),
            _ => format!("puts a recorded value into {}", what()),
        },
        Action::Hover { .. } => format!("moves the mouse over {}", what()),
        Action::KeyDown { key } => format!("presses {key}"),
        Action::KeyUp { key } => format!("releases {key}"),
        Action::Scroll { .. } => format!("scrolls {}", what()),
        Action::WaitForElement { .. } => format!("waits for {}", what()),
        Action::WaitForExpression { .. } => "waits for an expression to be true".to_owned(),
        Action::EmulateNetworkConditions(_) => "slows the network".to_owned(),
        Action::Close => "closes the page".to_owned(),
        Action::Custom(custom) => match custom {
            Custom::Extract(extract) => format!("reads {} as `{}`", what(), extract.name),
            Custom::Screenshot { name } => format!("takes the picture `{name}`"),
            Custom::ScrollUntil(_) => format!("scrolls for {}", what()),
            Custom::Download { name, .. } => format!("clicks {} and keeps the file as `{name}`", what()),
        },
    };
    if let Some(target) = &step.target {
        does.push_str(&format!(", in {target}"));
    }
    if step.navigates {
        does.push_str(", and waits for the next page");
    }
    does
}

/// The selector that says most to a person.
fn best(selectors: &[Selector]) -> Option<&Selector> {
    selectors.iter().find(|selector| is_by_name(selector)).or_else(|| selectors.first())
}

/// Whether it says what a person sees.
fn is_by_name(selector: &Selector) -> bool {
    selector.parts.iter().any(|part| matches!(part, Part::Aria { .. } | Part::Text(_)))
}

fn brittle(step: &Step) -> Vec<String> {
    let selectors = step.selectors();
    let mut reasons = Vec::new();
    if selectors.len() == 1 && !matches!(step.action, Action::WaitForElement { .. } | Action::Custom(_)) {
        reasons.push("there is one selector alone: record it with more kinds of selectors".to_owned());
    }
    if !selectors.is_empty() && selectors.iter().all(|selector| why_brittle(selector).is_some()) {
        for selector in selectors {
            reasons.extend(why_brittle(selector).map(|why| format!("`{selector}` {why}")));
        }
    }
    if let Action::Navigate { url } = &step.action
        && ["sid=", "session", "token", "nonce", "state="]
            .iter()
            .any(|word| url.to_lowercase().contains(word))
    {
        reasons.push("its URL holds what looks made for one visit".to_owned());
    }
    reasons
}

fn why_brittle(selector: &Selector) -> Option<&'static str> {
    selector.parts.iter().find_map(|part| match part {
        Part::Css(path) | Part::Pierce(path) | Part::XPath(path) => why_brittle_path(path),
        Part::Aria { .. } | Part::Text(_) => None,
    })
}

fn why_brittle_path(path: &str) -> Option<&'static str> {
    let has_placeholder = path.contains("${");
    let steps = path.split([' ', '>', '/']).filter(|step| !step.is_empty()).count();
    let mut runs = path.split(|letter: char| !letter.is_ascii_digit());
    if path.contains("nth-") || path.contains("[1]") || path.contains("[2]") {
        Some("counts elements")
    } else if !has_placeholder && runs.any(|run| run.len() >= MANY_DIGITS) || path.contains("_ng") {
        Some("has a name that looks made anew with every release")
    } else if steps > MAX_PATH {
        Some("is a long way through the page")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reviewed(steps: &str) -> Vec<Remarks> {
        review(&Flow::parse(&format!(r#"{{"title": "t", "steps": [{steps}]}}"#)).unwrap())
    }

    #[test]
    fn a_recording_is_told_in_words() {
        let flow = Flow::parse(include_str!("../samples/sign-in.json")).unwrap();
        let told: Vec<_> = review(&flow).into_iter().map(|remarks| remarks.does).collect();
        assert_eq!(told[0], "makes the page 1290 x 957 pixels");
        assert_eq!(told[1], "opens https://portal.example/login, and waits for the next page");
        assert!(told[3].starts_with("puts ${username} into `"), "{}", told[3]);
        assert_eq!(literal_passwords(&flow), [] as [usize; 0]);
    }

    #[test]
    fn a_password_that_was_recorded_is_found_and_not_told() {
        let steps = r##"{"type": "change", "selectors": [["aria/Password"], ["#p"]], "value": "hunter2"},
            {"type": "change", "selectors": [["#pwd"]], "value": "${password}"},
            {"type": "change", "selectors": [["#city"]], "value": "hunter2"}"##;
        let remarks = reviewed(steps);
        assert_eq!(
            remarks.iter().map(|remark| remark.has_password).collect::<Vec<_>>(),
            [true, false, false]
        );
        assert!(!format!("{remarks:?}").contains("hunter2"));
    }

    #[test]
    fn what_breaks_easily_is_said() {
        let click = |selectors: &str| {
            let step =
                format!(r#"{{"type": "click", "selectors": {selectors}, "offsetX": 1, "offsetY": 1}}"#);
            reviewed(&step).remove(0).brittle.join("; ")
        };
        assert_eq!(click(r##"[["aria/Go"], ["#mat-input-17"]]"##), "");
        assert!(click(r##"[["#go"]]"##).contains("one selector alone"));
        let machine_made = click(r##"[["#mat-input-17"], ["div:nth-of-type(2) > a"]]"##);
        assert!(
            machine_made.contains("made anew") && machine_made.contains("counts elements"),
            "{machine_made}"
        );
        assert!(click(r#"[["a > b > c > d > e"], ["xpath///a/b/c/d/e"]]"#).contains("a long way"));
        let visit = reviewed(r#"{"type": "navigate", "url": "http://a.test/?sid=abc"}"#);
        assert_eq!(visit[0].brittle.len(), 1);
    }
}
