//! The live view's messages over the WebSocket `/sessions/{id}/live`: one JSON object in each text message, and
//! after each [`LiveTold::Frame`] one binary message, the picture.

use serde::{Deserialize, Serialize};

/// What a viewer wants.
#[derive(Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum LiveWish {
    /// The picture with this number is shown: send what came after it.
    Ack {
        /// Which.
        number: u64,
    },
    /// The mouse, in CSS pixels of the page's viewport.
    Mouse {
        /// What it does.
        kind: LiveMouse,
        /// From the left.
        x: f64,
        /// From the top.
        y: f64,
        /// `MouseEvent.button`; -1 for none.
        #[serde(default = "no_button")]
        button: i8,
        /// `MouseEvent.buttons`.
        #[serde(default)]
        buttons: u8,
        /// Which click of a series this is.
        #[serde(default)]
        clicks: u8,
        /// 1 Alt, 2 Control, 4 Meta, 8 Shift.
        #[serde(default)]
        modifiers: u8,
        /// How far the wheel turns to the right.
        #[serde(default)]
        delta_x: f64,
        /// How far the wheel turns down.
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
        /// What it types, if anything.
        #[serde(default)]
        text: Option<String>,
        /// `location`.
        #[serde(default)]
        location: u8,
        /// 1 Alt, 2 Control, 4 Meta, 8 Shift.
        #[serde(default)]
        modifiers: u8,
    },
    /// Text that was pasted, or came from an input method.
    Text {
        /// It.
        text: String,
    },
    /// Fingers.
    Touch {
        /// What they do.
        kind: LiveTouch,
        /// Where those are that are down now.
        points: Vec<(f64, f64)>,
    },
    /// What is selected is to be sent.
    Copy,
    /// The page is to load this.
    Navigate {
        /// `http` or `https`.
        url: String,
    },
    /// Back in the page's history.
    Back,
    /// Forward in it.
    Forward,
    /// The page is to load again.
    Reload,
    /// This tab is to be in front, for all viewers.
    Tab {
        /// Its id.
        id: String,
    },
    /// Another tab.
    NewTab,
    /// This tab is to be closed.
    CloseTab {
        /// Its id.
        id: String,
    },
    /// An answer to the dialog.
    Dialog {
        /// OK or cancel.
        accept: bool,
        /// What was asked for.
        #[serde(default)]
        text: Option<String>,
    },
    /// A choice from the select list that was sent.
    Choose {
        /// Which entry, from 0.
        index: u32,
    },
}

fn no_button() -> i8 {
    -1
}

/// What is typed is nobody's business.
impl std::fmt::Debug for LiveWish {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("LiveWish")
    }
}

/// What the mouse does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveMouse {
    /// It moves.
    Moved,
    /// A button goes down.
    Pressed,
    /// A button comes up.
    Released,
    /// The wheel turns.
    Wheel,
}

/// What fingers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveTouch {
    /// One comes down.
    Start,
    /// They move.
    Move,
    /// One is lifted.
    End,
    /// They are taken away.
    Cancel,
}

/// What a viewer is told.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LiveTold {
    /// A picture comes in the next message.
    Frame {
        /// Grows with every picture.
        number: u64,
        /// The viewport's width in CSS pixels.
        width: f64,
        /// The viewport's height in CSS pixels.
        height: f64,
    },
    /// How it stands.
    State(LiveState),
    /// A select element was pressed: this is its list.
    Select {
        /// Which entry is chosen; -1 for none.
        chosen: i64,
        /// What there is.
        options: Vec<LiveOption>,
    },
    /// What is selected on the page.
    Clipboard {
        /// It.
        text: String,
    },
    /// Something was not done.
    Error {
        /// Why.
        sentence: String,
    },
}

/// How the live view stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LiveState {
    /// The window's tabs.
    pub tabs: Vec<LiveTab>,
    /// The dialog that waits for an answer.
    pub dialog: Option<LiveDialog>,
    /// How many look.
    pub viewers: usize,
    /// The quality of pictures, of 100.
    pub quality: u8,
    /// Why nothing is shown, where that is so.
    pub waiting: Option<String>,
    /// Whether the session is over.
    pub over: bool,
}

/// A tab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LiveTab {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its URL.
    pub url: String,
    /// Whether it is the one that is shown.
    pub shown: bool,
}

/// A dialog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LiveDialog {
    /// `alert`, `confirm`, `prompt` or `beforeunload`.
    pub kind: String,
    /// What it says.
    pub message: String,
    /// What a prompt begins with.
    pub default_prompt: String,
}

/// An entry of a select list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LiveOption {
    /// What it says.
    pub label: String,
    /// Whether it cannot be chosen.
    pub disabled: bool,
}
