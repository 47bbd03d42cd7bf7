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

/// A finger.
#[derive(Debug, Clone, Serialize)]
pub struct TouchPoint {
    /// CSS pixels from the left of the viewport.
    pub x: f64,
    /// CSS pixels from the top of the viewport.
    pub y: f64,
}
