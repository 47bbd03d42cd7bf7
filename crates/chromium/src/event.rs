//! The events of a browser, and the id of a window.

use std::fmt;
use std::sync::Arc;

use pilotlight_flow::dialog::{DialogAnswer, Why};

/// The id of a window: unique across all browsers, and never reused.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WindowId(Arc<str>);

impl WindowId {
    pub(crate) fn new(context: &str) -> Self {
        Self(context.into())
    }

    /// Returns Chromium's `browserContextId`, which is the id of the window.
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

/// An event of a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrowserEvent {
    /// The process ended or its connection was lost; all of its windows are gone. Always the last event. Not sent
    /// after [`crate::Browser::close`].
    Exited {
        /// The description of its end, for example `signal: 9 (SIGKILL)`.
        status: String,
        /// The end of its standard error.
        stderr: Vec<String>,
    },
    /// The renderer of the window's main page crashed; [`crate::Window::reload`] restores the page. Other pages whose
    /// renderers crash are closed without an event.
    WindowCrashed {
        /// The window.
        window: WindowId,
    },
    /// The window's last page was closed, by itself or by a client. An empty one was opened instead; everything else
    /// of the window is unchanged.
    LastPageClosed {
        /// The window.
        window: WindowId,
    },
    /// The same, and no other page could be opened: the window is lost.
    WindowEmptied {
        /// The window.
        window: WindowId,
    },
    /// The window kept the browser so busy that its other windows had to wait. Sent only for a browser that is shared
    /// (see [`crate::Browser::set_shared`]), and again only after the window was idle.
    WindowHeldOthersUp {
        /// The window.
        window: WindowId,
    },
    /// State that a [`crate::Window::capture`] contains has changed since the last one began. Sent once for each
    /// capture, and never before the first.
    WindowChanged {
        /// The window.
        window: WindowId,
    },
    /// A dialog of one of its pages was answered, by Pilotlight or by the person in the live view.
    DialogAnswered {
        /// The window.
        window: WindowId,
        /// The dialog and its answer.
        dialog: Box<AnsweredDialog>,
    },
}

/// Who answered a dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnsweredBy {
    /// A rule of the window's site; the text that it matches.
    Rule(String),
    /// A step of the running flow.
    Step,
    /// Pilotlight: it asks whether to stay signed in.
    KeepsSession,
    /// Pilotlight: with the harmless answer.
    Harmless,
    /// The person in the live view.
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
    /// The beginning of its message, on one line. It is from the page: it can be anything.
    pub text: String,
    /// Its answer.
    pub answer: DialogAnswer,
    /// Who answered.
    pub by: AnsweredBy,
}
