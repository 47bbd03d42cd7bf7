//! Describes what a recording does, and what in it is fragile or forbidden.
//!
//! The texts repeat parts of the recording, but never typed values.

use crate::placeholders;
use crate::recorded::{self, Purpose, redacted, shown_selector};
use crate::schema::{Action, Custom, Flow, Step, is_new_tab};
use crate::selector::{Part, Selector};

/// Maximum number of parts of an element path that is not fragile.
const MAX_PATH: usize = 4;
/// Number of consecutive digits that look generated.
const MANY_DIGITS: usize = 2;
/// Words in the selectors of what is clicked away, or answered, only now and then, in lower case.
const PASSING_WORDS: [&str; 34] = [
    "cookie",
    "consent",
    "gdpr",
    "onetrust",
    "accept all",
    "reject all",
    "allow all",
    "stay signed in",
    "keep me signed in",
    "kmsi",
    "not now",
    "no thanks",
    "maybe later",
    "remind me",
    "ask me later",
    "skip for now",
    "dismiss",
    "got it",
    "password expires",
    "change password later",
    "akzeptieren",
    "zustimmen",
    "alle ablehnen",
    "angemeldet bleiben",
    "jetzt nicht",
    "später",
    "tout accepter",
    "tout refuser",
    "plus tard",
    "aceptar todo",
    "ahora no",
    "accetta tutt",
    "aceitar todos",
    "同意する",
];
/// The names of buttons that answer a question after the sign-in was sent.
const ANSWERS: [&str; 10] = ["yes", "no", "ja", "nein", "oui", "non", "sí", "sì", "sim", "nee"];

/// The remarks about a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remarks {
    /// The step's number, counted from 1.
    pub step: usize,
    /// What it does.
    pub does: String,
    /// Why a small change of the portal may break it; empty if nothing is fragile.
    pub brittle: Vec<String>,
    /// Whether it contains a password.
    pub has_password: bool,
    /// Whether it types the recorded user name.
    pub has_username: bool,
    /// Whether it clicks something that is probably not always there, and is not optional.
    pub may_be_absent: bool,
}

/// Reviews every step.
#[must_use]
pub fn review(flow: &Flow) -> Vec<Remarks> {
    let passwords = recorded::passwords(flow, Purpose::Unknown);
    let secrets = recorded::secrets(flow, Purpose::Unknown);
    let usernames = recorded::username(flow).map(|(_, steps)| steps).unwrap_or_default();
    let remarks = |(index, step): (usize, &Step)| Remarks {
        step: index + 1,
        does: does(step, &secrets),
        brittle: brittle(step, &secrets),
        has_password: passwords.contains(&(index + 1)),
        has_username: usernames.contains(&(index + 1)),
        may_be_absent: may_be_absent(flow, index),
    };
    flow.steps.iter().enumerate().map(remarks).collect()
}

fn does(step: &Step, secrets: &[String]) -> String {
    let what = || {
        let best = best(step.selectors()).map(|best| shown_selector(best, secrets));
        best.map_or_else(|| "the page".to_owned(), |best| format!("`{best}`"))
    };
    let mut does = match &step.action {
        Action::SetViewport(size) => format!("sets the page size to {} x {} pixels", size.width, size.height),
        Action::Navigate { url } if is_new_tab(url) => "opens a new tab, which is left out".to_owned(),
        Action::Navigate { url } => format!("opens {}", redacted(url, secrets)),
        Action::Click { count: 2, .. } => format!("double-clicks {}", what()),
        Action::Click { .. } => format!("clicks {}", what()),
        Action::Change { value, .. } => match placeholders::names(value) {
            Ok(names) if !names.is_empty() => format!("types {value} into {}", what()),
            _ => format!("types a recorded value into {}", what()),
        },
        Action::Hover { .. } => format!("moves the mouse over {}", what()),
        Action::KeyDown { key } => format!("presses {key}"),
        Action::KeyUp { key } => format!("releases {key}"),
        Action::Scroll { .. } => format!("scrolls {}", what()),
        Action::WaitForElement { .. } => format!("waits for {}", what()),
        Action::WaitForExpression { .. } => "waits until an expression is true".to_owned(),
        Action::EmulateNetworkConditions(_) => "throttles the network".to_owned(),
        Action::Close => "closes the page".to_owned(),
        Action::Custom(custom) => match custom {
            Custom::Extract(extract) => format!("reads {} as `{}`", what(), extract.name),
            Custom::Screenshot { name } => format!("takes the screenshot `{name}`"),
            Custom::ScrollUntil(_) => format!("scrolls for {}", what()),
            Custom::Download { name, .. } => format!("clicks {} and saves the download as `{name}`", what()),
            Custom::AnswerDialog { answer, .. } => {
                let does = if answer.accepts() { "accepts" } else { "dismisses" };
                format!("{does} the next dialog if its text matches")
            }
        },
    };
    if let Some(target) = &step.target {
        does.push_str(&format!(", in {}", redacted(target, secrets)));
    }
    if step.navigates {
        does.push_str(", and waits for the next page");
    }
    if step.is_optional {
        does.push_str(", if it is there");
    }
    does
}

fn may_be_absent(flow: &Flow, index: usize) -> bool {
    let step = &flow.steps[index];
    if step.is_optional || !matches!(step.action, Action::Click { .. }) {
        return false;
    }
    let is_sent = !flow.steps[index..].iter().any(|step| matches!(step.action, Action::Change { .. }))
        && flow.steps[..index].iter().any(|step| matches!(step.action, Action::Change { .. }));
    step.selectors().iter().flat_map(|selector| &selector.parts).any(|part| match part {
        Part::Css(text) | Part::Pierce(text) | Part::XPath(text) => is_passing(text),
        Part::Text(name) | Part::Aria { name, .. } => {
            let name = name.trim().to_lowercase();
            is_passing(&name) || (is_sent && ANSWERS.contains(&name.as_str()))
        }
    })
}

fn is_passing(text: &str) -> bool {
    let text = text.to_lowercase();
    PASSING_WORDS.iter().any(|word| text.contains(word))
}

/// Returns the most readable selector.
fn best(selectors: &[Selector]) -> Option<&Selector> {
    selectors.iter().find(|selector| is_by_name(selector)).or_else(|| selectors.first())
}

/// Returns whether it refers to something visible.
fn is_by_name(selector: &Selector) -> bool {
    selector.parts.iter().any(|part| matches!(part, Part::Aria { .. } | Part::Text(_)))
}

fn brittle(step: &Step, secrets: &[String]) -> Vec<String> {
    let selectors = step.selectors();
    let mut reasons = Vec::new();
    if selectors.len() == 1 && !matches!(step.action, Action::WaitForElement { .. } | Action::Custom(_)) {
        reasons.push("it has only one selector: record it with more selector kinds".to_owned());
    }
    if !selectors.is_empty() && selectors.iter().all(|selector| why_brittle(selector).is_some()) {
        for selector in selectors {
            reasons.extend(
                why_brittle(selector).map(|why| format!("`{}` {why}", shown_selector(selector, secrets))),
            );
        }
    }
    if let Action::Navigate { url } = &step.action
        && !is_new_tab(url)
        && !["http:", "https:", "about:blank", "${"].iter().any(|start| url.starts_with(start))
    {
        reasons.push("its URL is not of the web, and cannot be opened".to_owned());
    }
    if let Action::Navigate { url } = &step.action
        && ["sid=", "session", "token", "nonce", "state="]
            .iter()
            .any(|word| url.to_lowercase().contains(word))
    {
        reasons.push("its URL seems to contain a one-time value".to_owned());
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
        Some("contains a name that seems to be generated for each release")
    } else if steps > MAX_PATH {
        Some("is a long path through the page")
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
        assert_eq!(told[0], "sets the page size to 1290 x 957 pixels");
        assert_eq!(told[1], "opens https://portal.example/login, and waits for the next page");
        assert!(told[3].starts_with("types ${username} into `"), "{}", told[3]);
        assert_eq!(recorded::passwords(&flow, Purpose::SignIn), [] as [usize; 0]);
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
        let steps = r##"{"type": "navigate", "url": "http://a.test/?pwd=hunter2"},
            {"type": "change", "selectors": [["#user-1234"]], "value": "jane"},
            {"type": "change", "selectors": [["text/hunter2"], ["#p:nth-child(2)"]], "value": "${password}"}"##;
        let remarks = reviewed(steps);
        let has: Vec<_> = remarks.iter().map(|remark| (remark.has_password, remark.has_username)).collect();
        assert_eq!(has, [(true, false), (false, true), (true, false)]);
        assert!(!format!("{remarks:?}").contains("hunter2"), "{remarks:?}");
    }

    #[test]
    fn what_may_not_always_be_there_is_said() {
        let change = r##"{"type": "change", "selectors": [["#pwd"]], "value": "${password}"}"##;
        let click = |selectors: &str, more: &str| {
            format!(r#"{{"type": "click", "selectors": {selectors}, "offsetX": 1, "offsetY": 1{more}}}"#)
        };
        let steps = [
            click(r##"[["aria/Accept all cookies"], ["#cookie-ok"]]"##, ""),
            click(r##"[["aria/Yes"], ["#accept"]]"##, ""),
            change.to_owned(),
            click(r##"[["aria/Sign in"], ["#go"]]"##, ""),
            click(r##"[["aria/Yes"], ["#idSIButton9"]]"##, ""),
            click(r##"[["#CybotCookiebotDialogBodyButton"]]"##, r#", "optional": true"#),
        ];
        let remarks = reviewed(&steps.join(", "));
        let may: Vec<_> = remarks.iter().map(|remark| remark.may_be_absent).collect();
        assert_eq!(may, [true, false, false, false, true, false]);
        assert!(remarks[5].does.ends_with(", if it is there"), "{}", remarks[5].does);
    }

    #[test]
    fn what_breaks_easily_is_said() {
        let click = |selectors: &str| {
            let step =
                format!(r#"{{"type": "click", "selectors": {selectors}, "offsetX": 1, "offsetY": 1}}"#);
            reviewed(&step).remove(0).brittle.join("; ")
        };
        assert_eq!(click(r##"[["aria/Go"], ["#mat-input-17"]]"##), "");
        assert!(click(r##"[["#go"]]"##).contains("only one selector"));
        let machine_made = click(r##"[["#mat-input-17"], ["div:nth-of-type(2) > a"]]"##);
        assert!(
            machine_made.contains("generated for each release") && machine_made.contains("counts elements"),
            "{machine_made}"
        );
        assert!(click(r#"[["a > b > c > d > e"], ["xpath///a/b/c/d/e"]]"#).contains("a long path"));
        let visits = |url: &str| reviewed(&format!(r#"{{"type": "navigate", "url": "{url}"}}"#)).remove(0);
        assert_eq!(visits("http://a.test/?sid=abc").brittle.len(), 1);
        assert!(visits("chrome://settings/").brittle[0].contains("cannot be opened"));
        let new_tab = visits("chrome://new-tab-page/");
        assert_eq!((new_tab.brittle.len(), new_tab.does.as_str()), (0, "opens a new tab, which is left out"));
    }
}
