//! The custom steps that are ours: what a page shows as output, pictures, endless lists, downloads,
//! answers to dialogs.
//!
//! The Recorder passes steps of type `customStep` through as they are. Names and parameters of others are
//! refused when they are read, so that nobody finds out in the middle of a replay.

use std::time::Duration;

use super::read::Fields;
use super::{FlowError, visit_selectors};
use crate::dialog::DialogAnswer;
use crate::selector::Selector;

/// Every name, for the error text.
const NAMES: [&str; 5] = ["extract", "screenshot", "scrollUntil", "download", "answerDialog"];
/// The most scrolls of one step.
pub const MAX_SCROLLS: u64 = 1000;
/// How often a step scrolls that does not say.
const DEFAULT_SCROLLS: u64 = 100;
/// The longest time that a scroll is given to show something new.
pub const MAX_PAUSE: Duration = Duration::from_secs(30);
/// How long it is where the step does not say.
const DEFAULT_PAUSE: Duration = Duration::from_secs(2);
/// The longest name of an output, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// A custom step.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Custom {
    /// `extract`: reads what the page shows.
    Extract(Extract),
    /// `screenshot`: takes a picture of the page.
    Screenshot {
        /// What the picture is called.
        name: String,
    },
    /// `scrollUntil`: goes down an endless list.
    ScrollUntil(ScrollUntil),
    /// `download`: clicks, and keeps the file that comes.
    Download {
        /// What is clicked: alternatives, best first.
        selectors: Vec<Selector>,
        /// What the file is called among the outputs.
        name: String,
    },
    /// `answerDialog`: has an answer ready for the dialog that one of the next steps opens.
    AnswerDialog {
        /// What the text of the dialog contains.
        text_contains: String,
        /// What it is answered.
        answer: DialogAnswer,
        /// What is typed where it is a prompt.
        text: Option<String>,
    },
}

/// What is read from the page.
///
/// An element gives its text, a field its value, a table its rows: objects by the texts of its header, or
/// lists of texts where it has none.
#[derive(Debug, Clone, PartialEq)]
pub struct Extract {
    /// What it is called among the outputs.
    pub name: String,
    /// Alternatives, best first.
    pub selectors: Vec<Selector>,
    /// This attribute instead of what the element shows; `null` where it has none.
    pub attribute: Option<String>,
    /// A list with every match (an empty one where nothing matches in time) instead of the first.
    pub all: bool,
}

/// How far a list is gone down.
#[derive(Debug, Clone, PartialEq)]
pub struct ScrollUntil {
    /// When it is far enough.
    pub until: Until,
    /// Alternatives, best first, of something in the area that scrolls. Without them it is that of the last
    /// match, or else the page, or else the largest area in it.
    pub within: Vec<Selector>,
    /// After how many scrolls the step fails.
    pub limit: u64,
    /// How long a scroll may take to show something new.
    pub pause: Duration,
}

/// When a list was scrolled far enough.
#[derive(Debug, Clone, PartialEq)]
pub enum Until {
    /// One of these matches.
    Match(Vec<Selector>),
    /// The number of matches of the first that matches no longer grows.
    Stable(Vec<Selector>),
}

impl Custom {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Extract(_) => "extract",
            Self::Screenshot { .. } => "screenshot",
            Self::ScrollUntil(_) => "scrollUntil",
            Self::Download { .. } => "download",
            Self::AnswerDialog { .. } => "answerDialog",
        }
    }

    /// What the output is called; `None` where it has none.
    #[must_use]
    pub fn output(&self) -> Option<&str> {
        match self {
            Self::Extract(Extract { name, .. }) | Self::Screenshot { name } | Self::Download { name, .. } => {
                Some(name)
            }
            Self::ScrollUntil(_) | Self::AnswerDialog { .. } => None,
        }
    }

    pub(super) fn selectors(&self) -> &[Selector] {
        match self {
            Self::Extract(Extract { selectors, .. }) | Self::Download { selectors, .. } => selectors,
            Self::ScrollUntil(scroll) => match &scroll.until {
                Until::Match(selectors) | Until::Stable(selectors) => selectors,
            },
            Self::Screenshot { .. } | Self::AnswerDialog { .. } => &[],
        }
    }

    /// Every string beside [`Self::selectors`] in which placeholders are replaced.
    pub(super) fn visit_strings(&self, visit: &mut dyn FnMut(&str)) {
        self.output().into_iter().for_each(&mut *visit);
        match self {
            Self::Extract(extract) => extract.attribute.iter().for_each(|attribute| visit(attribute)),
            Self::ScrollUntil(scroll) => visit_selectors(&scroll.within, visit),
            Self::AnswerDialog { text_contains, text, .. } => {
                visit(text_contains);
                text.iter().for_each(|text| visit(text));
            }
            Self::Screenshot { .. } | Self::Download { .. } => {}
        }
    }
}

/// Reads a step of type `customStep`.
pub(super) fn read(step: &Fields<'_>) -> Result<Custom, FlowError> {
    let fields = step.within("parameters")?;
    Ok(match step.string("name")? {
        "extract" => Custom::Extract(Extract {
            name: output_name(&fields)?,
            selectors: fields.selectors()?,
            attribute: fields.optional_string("attribute")?.map(str::to_owned),
            all: fields.optional_bool("all")?.unwrap_or(false),
        }),
        "screenshot" => Custom::Screenshot { name: output_name(&fields)? },
        "scrollUntil" => Custom::ScrollUntil(scroll_until(&fields)?),
        "download" => Custom::Download { selectors: fields.selectors()?, name: output_name(&fields)? },
        "answerDialog" => answer_dialog(&fields)?,
        unknown => {
            let problem =
                format!("is `{unknown}`, which is not a custom step; expected one of {}", NAMES.join(", "));
            return Err(step.wrong("name", problem));
        }
    })
}

fn scroll_until(fields: &Fields<'_>) -> Result<ScrollUntil, FlowError> {
    let until = match fields.get("stable") {
        // `"stable": true` counts what `selectors` match.
        Some(serde_json::Value::Bool(true)) => Until::Stable(fields.selectors()?),
        Some(serde_json::Value::Bool(false)) | None => Until::Match(fields.selectors()?),
        Some(_) if fields.get("selectors").is_some() => {
            return Err(fields.wrong("stable", "must be true if `selectors` is given".to_owned()));
        }
        Some(_) => Until::Stable(fields.selectors_of("stable")?),
    };
    let has_area = fields.get("within").is_some();
    let longest = u64::try_from(MAX_PAUSE.as_millis()).unwrap_or(u64::MAX);
    Ok(ScrollUntil {
        until,
        within: if has_area { fields.selectors_of("within")? } else { Vec::new() },
        limit: fields.whole("limit", 1..=MAX_SCROLLS)?.unwrap_or(DEFAULT_SCROLLS),
        pause: fields.whole("pause", 1..=longest)?.map_or(DEFAULT_PAUSE, Duration::from_millis),
    })
}

fn answer_dialog(fields: &Fields<'_>) -> Result<Custom, FlowError> {
    let text_contains = fields.string("text_contains")?;
    if text_contains.trim().is_empty() {
        return Err(fields.wrong("text_contains", "must not be empty".to_owned()));
    }
    let answer = match fields.string("answer")? {
        "accept" => DialogAnswer::Accept,
        "dismiss" => DialogAnswer::Dismiss,
        _ => return Err(fields.wrong("answer", "must be `accept` or `dismiss`".to_owned())),
    };
    let text = fields.optional_string("text")?.map(str::to_owned);
    if text.is_some() && answer == DialogAnswer::Dismiss {
        let problem = "is typed into a prompt and requires the answer `accept`";
        return Err(fields.wrong("text", problem.to_owned()));
    }
    Ok(Custom::AnswerDialog { text_contains: text_contains.to_owned(), answer, text })
}

fn output_name(fields: &Fields<'_>) -> Result<String, FlowError> {
    let name = fields.string("name")?;
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(fields.wrong("name", format!("must have 1 to {MAX_NAME_BYTES} bytes")));
    }
    Ok(name.to_owned())
}
