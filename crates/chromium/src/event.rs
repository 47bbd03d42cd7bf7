//! What a browser tells of itself, and the name of a window in it.

use std::fmt;
use std::sync::Arc;

use pilotlight_flow::dialog::{DialogAnswer, Why};

/// Names a window: unique across all browsers, and never used again.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WindowId(Arc<str>);

impl WindowId {
    pub(crate) fn new(context: &str) -> Self {
        Self(context.into())
    }

    /// Chromium's `browserContextId`, which is what names the window.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WindowId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for WindowId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What happened to a browser by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrowserEvent {
    /// The process ended or no longer speaks with us; all of its windows are gone. Always the last event.
    /// Not sent after [`crate::Browser::close`].
    Exited {
        /// How, such as `signal: 9 (SIGKILL)`.
        status: String,
        /// Its last words.
        stderr: Vec<String>,
    },
    /// The renderer of the window's main page died; [`crate::Window::reload`] brings the page back. Other pages
    /// whose renderers die are closed without a word.
    WindowCrashed {
        /// Which.
        window: WindowId,
    },
    /// The window's last page was closed by itself or a client. An empty one was opened instead; everything else
    /// of the window is as it was.
    LastPageClosed {
        /// Which.
        window: WindowId,
    },
    /// The same, and no other page could be opened: the window is lost.
    WindowEmptied {
        /// Which.
        window: WindowId,
    },
    /// The window had the browser do so much that its other windows waited for it. Told only of a browser that is
    /// shared (see [`crate::Browser::set_shared`]), and again only after the window has come to rest.
    WindowHeldOthersUp {
        /// Which.
        window: WindowId,
    },
    /// Something worth another [`crate::Window::capture`] changed since the last one began. Told once for each
    /// capture, and never before the first.
    WindowChanged {
        /// Which.
        window: WindowId,
    },
    /// A dialog of one of its pages was answered, by us or by the person who steers it.
    DialogAnswered {
        /// Which.
        window: WindowId,
        /// What it was answered.
        dialog: Box<AnsweredDialog>,
    },
}

/// Who decided what a dialog was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnsweredBy {
    /// A rule of the window's site; the text that it looks for.
    Rule(String),
    /// A step of the flow that runs.
    Step,
    /// Nobody: it asks whether to stay signed in.
    KeepsSession,
    /// Nobody: it is the answer that does no harm.
    Harmless,
    /// The person who steers the window.
    Person,
}

impl From<Why> for AnsweredBy {
    fn from(why: Why) -> Self {
        match why {
            Why::Rule(text) => Self::Rule(text),
            Why::KeepsSession => Self::KeepsSession,
            Why::Harmless => Self::Harmless,
        }
    }
}

/// A dialog that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredDialog {
    /// `alert`, `confirm`, `prompt` or `beforeunload`.
    pub kind: String,
    /// The beginning of what it said, on one line. It is the page's: it may say anything.
    pub text: String,
    /// What it was answered.
    pub answer: DialogAnswer,
    /// By whom.
    pub by: AnsweredBy,
}
