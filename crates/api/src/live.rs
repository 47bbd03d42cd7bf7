//! The live view's messages over the WebSocket `/sessions/{id}/live`: one JSON object in each text message, and
//! after each [`LiveUpdate::Frame`] one binary message, the picture.

use serde::{Deserialize, Serialize};

/// A command of a viewer.
#[derive(Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum LiveCommand {
    /// The picture with this number is shown: send what came after it.
    Ack {
        /// The screenshot's number.
        number: u64,
    },
    /// The mouse, in CSS pixels of the page's viewport.
    Mouse {
        /// The kind of mouse event.
        kind: LiveMouse,
        /// Distance from the left.
        x: f64,
        /// Distance from the top.
        y: f64,
        /// `MouseEvent.button`; -1 for none.
        #[serde(default = "no_button")]
        button: i8,
        /// `MouseEvent.buttons`.
        #[serde(default)]
        buttons: u8,
        /// The click count of a series of clicks.
        #[serde(default)]
        clicks: u8,
        /// 1 Alt, 2 Control, 4 Meta, 8 Shift.
        #[serde(default)]
        modifiers: u8,
        /// Horizontal scroll distance of the wheel.
        #[serde(default)]
        delta_x: f64,
        /// Vertical scroll distance of the wheel.
        #[serde(default)]
        delta_y: f64,
    },
    /// A key, in the words of `KeyboardEvent`.
    Key {
        /// Whether it goes down.
        down: bool,
        /// `key`.
        key: String,
        /// `code`.
        code: String,
        /// `keyCode`.
        key_code: u16,
        /// The typed text, if any.
        #[serde(default)]
        text: Option<String>,
        /// `location`.
        #[serde(default)]
        location: u8,
        /// 1 Alt, 2 Control, 4 Meta, 8 Shift.
        #[serde(default)]
        modifiers: u8,
    },
    /// Pasted text, or text from an input method.
    Text {
        /// The text.
        text: String,
    },
    /// A touch event.
    Touch {
        /// The kind of touch event.
        kind: LiveTouch,
        /// The current touch points.
        points: Vec<(f64, f64)>,
    },
    /// Copy the selection: the viewer gets its text.
    Copy,
    /// The page is to load this.
    Navigate {
        /// `http` or `https`.
        url: String,
    },
    /// Go back in the page's history.
    Back,
    /// Go forward in the page's history.
    Forward,
    /// The page is to load again.
    Reload,
    /// Bring a tab to the front, for all viewers.
    Tab {
        /// The tab's id.
        id: String,
    },
    /// Open a new tab.
    NewTab,
    /// Close a tab.
    CloseTab {
        /// The tab's id.
        id: String,
    },
    /// Answer a dialog.
    Dialog {
        /// Whether to accept it.
        accept: bool,
        /// The text for a prompt.
        #[serde(default)]
        text: Option<String>,
    },
    /// A choice from the select list that was sent.
    Choose {
        /// The index of the option, from 0.
        index: u32,
    },
}

fn no_button() -> i8 {
    -1
}

/// Typed text must not be logged.
impl std::fmt::Debug for LiveCommand {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("LiveCommand")
    }
}

/// The kind of a mouse event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveMouse {
    /// The mouse moved.
    Moved,
    /// A button goes down.
    Pressed,
    /// A button comes up.
    Released,
    /// The wheel turns.
    Wheel,
}

/// The kind of a touch event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveTouch {
    /// A touch started.
    Start,
    /// Touches moved.
    Move,
    /// A touch ended.
    End,
    /// All touches were cancelled.
    Cancel,
}

/// A message to a viewer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LiveUpdate {
    /// A picture comes in the next message.
    Frame {
        /// Increases with every screenshot.
        number: u64,
        /// The viewport's width in CSS pixels.
        width: f64,
        /// The viewport's height in CSS pixels.
        height: f64,
    },
    /// The state of the live view.
    State(LiveState),
    /// A select element was pressed: this is its list.
    Select {
        /// The index of the selected option; -1 for none.
        chosen: i64,
        /// The options.
        options: Vec<LiveOption>,
    },
    /// The text of the selection.
    Clipboard {
        /// The text.
        text: String,
    },
    /// A command failed.
    Error {
        /// The error message.
        message: String,
    },
}

/// The state of the live view.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LiveState {
    /// The window's tabs.
    pub tabs: Vec<LiveTab>,
    /// The dialog that waits for an answer.
    pub dialog: Option<LiveDialog>,
    /// Number of viewers.
    pub viewers: usize,
    /// The quality of pictures, of 100.
    pub quality: u8,
    /// Why no page is shown, if so.
    pub waiting: Option<String>,
    /// Whether the session is over.
    pub over: bool,
}

/// A tab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LiveTab {
    /// The tab's id.
    pub id: String,
    /// The tab's title.
    pub title: String,
    /// The tab's URL.
    pub url: String,
    /// Whether it is the one that is shown.
    pub shown: bool,
}

/// A dialog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LiveDialog {
    /// `alert`, `confirm`, `prompt` or `beforeunload`.
    pub kind: String,
    /// Its text.
    pub message: String,
    /// The default text of a prompt.
    pub default_prompt: String,
}

/// An option of a select list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LiveOption {
    /// Its label.
    pub label: String,
    /// Whether it cannot be chosen.
    pub disabled: bool,
}
