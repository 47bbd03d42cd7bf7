//! `Input`: mouse, touch and keyboard, as if a person used them.

use serde::Serialize;

use crate::command::{Nothing, commands};

commands! {
    /// A mouse event.
    DispatchMouseEvent = "Input.dispatchMouseEvent" -> Nothing {
        /// `mousePressed`, `mouseReleased`, `mouseMoved` or `mouseWheel`.
        #[serde(rename = "type")]
        kind: &'static str,
        /// CSS pixels from the left of the viewport.
        x: f64,
        /// CSS pixels from the top of the viewport.
        y: f64,
        /// Modifier keys: 1 Alt, 2 Control, 4 Meta, 8 Shift.
        modifiers: u8,
        /// `none`, `left`, `middle`, `right`, `back` or `forward`.
        button: &'static str,
        /// Which click of a series this is.
        click_count: u8,
        /// Buttons that are down: 1 left, 2 right, 4 middle.
        #[serde(skip_serializing_if = "Option::is_none")]
        buttons: Option<u8>,
        /// For `mouseWheel`, in CSS pixels.
        #[serde(skip_serializing_if = "Option::is_none")]
        delta_x: Option<f64>,
        /// For `mouseWheel`, in CSS pixels.
        #[serde(skip_serializing_if = "Option::is_none")]
        delta_y: Option<f64>,
    }

    /// A touch event.
    DispatchTouchEvent = "Input.dispatchTouchEvent" -> Nothing {
        /// `touchStart`, `touchMove`, `touchEnd` or `touchCancel`.
        #[serde(rename = "type")]
        kind: &'static str,
        /// Where fingers are now.
        touch_points: Vec<TouchPoint>,
    }

    /// A key event.
    DispatchKeyEvent = "Input.dispatchKeyEvent" -> Nothing {
        /// `keyDown`, `rawKeyDown` or `keyUp`.
        #[serde(rename = "type")]
        kind: &'static str,
        /// Modifier keys: 1 Alt, 2 Control, 4 Meta, 8 Shift.
        modifiers: u8,
        /// What it types, if anything.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// `KeyboardEvent.key`.
        key: String,
        /// `KeyboardEvent.code`.
        code: String,
        /// `KeyboardEvent.keyCode`.
        windows_virtual_key_code: u16,
        /// 1 left, 2 right, 3 the numeric pad.
        location: u8,
        /// Editing commands that the key stands for, such as `selectAll`.
        commands: Vec<&'static str>,
    }

    /// Text as from an input method: no key events.
    InsertText = "Input.insertText" -> Nothing {
        /// What.
        text: String,
    }
}

/// What Chromium does with the clipboard at a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClipboardKey {
    /// The selection goes into it.
    Copy,
    /// The selection goes into it, and from where it was.
    Cut,
    /// What is in it takes the selection's place.
    Paste,
}

/// Returns what Chromium does with the clipboard when a key goes down, by its name (`KeyboardEvent.key`), its code
/// (`KeyboardEvent.keyCode`) and the modifiers: `third_party/blink/renderer/core/editing/editing_behavior.cc`. The
/// clipboard is one for all windows of a browser.
#[must_use]
pub fn clipboard_key(key: &str, code: i64, modifiers: i64) -> Option<ClipboardKey> {
    const CONTROL: i64 = 2;
    const SHIFT: i64 = 8;
    const CONTROL_AND_SHIFT: i64 = CONTROL | SHIFT;
    /// Alt, Control, Meta and Shift: no other bit counts.
    const COUNT: i64 = 15;
    const INSERT: i64 = 45;
    const DELETE: i64 = 46;
    const C: i64 = 67;
    const V: i64 = 86;
    const X: i64 = 88;
    match (code, modifiers & COUNT) {
        (C | INSERT, CONTROL) => Some(ClipboardKey::Copy),
        (V, CONTROL | CONTROL_AND_SHIFT) | (INSERT, SHIFT) => Some(ClipboardKey::Paste),
        (X, CONTROL) | (DELETE, SHIFT) => Some(ClipboardKey::Cut),
        // Keys that some keyboards have for it.
        _ => match key {
            "Copy" => Some(ClipboardKey::Copy),
            "Cut" => Some(ClipboardKey::Cut),
            "Paste" => Some(ClipboardKey::Paste),
            _ => None,
        },
    }
}

/// A finger.
#[derive(Debug, Clone, Serialize)]
pub struct TouchPoint {
    /// CSS pixels from the left of the viewport.
    pub x: f64,
    /// CSS pixels from the top of the viewport.
    pub y: f64,
}
