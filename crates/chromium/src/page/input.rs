//! Mouse, touch and keyboard, as if a person used them.

use std::time::Duration;

use pilotlight_cdp::Command;
use pilotlight_cdp::protocol::input::{
    DispatchKeyEvent, DispatchMouseEvent, DispatchTouchEvent, InsertText, TouchPoint,
};
use pilotlight_flow::page::{Button, Click};

use super::element::Point;
use super::keys::{Key, key_named};
use crate::error::WindowError;
use crate::state::{Tab, lock};
use crate::window::{COMMAND_TIMEOUT, Window};

/// Longer texts are put in at once instead of key by key.
const TYPED_CHARACTERS_MAX: usize = 1000;

fn button_name(button: Button) -> &'static str {
    match button {
        Button::Primary => "left",
        Button::Auxiliary => "middle",
        Button::Secondary => "right",
        Button::Back => "back",
        Button::Forward => "forward",
    }
}

impl Window {
    async fn send<C: Command>(&self, tab: &Tab, command: C) -> Result<(), WindowError> {
        tab.call(&self.shard.connection, &tab.session, command, COMMAND_TIMEOUT).await.map(drop)
    }

    async fn mouse(
        &self,
        tab: &Tab,
        kind: &'static str,
        at: Point,
        button: &'static str,
        click_count: u8,
    ) -> Result<(), WindowError> {
        let modifiers = *lock(&tab.modifiers);
        let event = DispatchMouseEvent { kind, x: at.x, y: at.y, modifiers, button, click_count };
        self.send(tab, event).await
    }

    pub(super) async fn move_mouse(&self, tab: &Tab, to: Point) -> Result<(), WindowError> {
        self.mouse(tab, "mouseMoved", to, "none", 0).await
    }

    pub(super) async fn click_at(&self, tab: &Tab, at: Point, click: &Click) -> Result<(), WindowError> {
        if click.touch {
            let touch_points = vec![TouchPoint { x: at.x, y: at.y }];
            self.send(tab, DispatchTouchEvent { kind: "touchStart", touch_points }).await?;
            pause(click.hold).await;
            return self.send(tab, DispatchTouchEvent { kind: "touchEnd", touch_points: vec![] }).await;
        }
        self.move_mouse(tab, at).await?;
        let button = button_name(click.button);
        for count in 1..=click.count.max(1) {
            self.mouse(tab, "mousePressed", at, button, count).await?;
            pause(click.hold).await;
            self.mouse(tab, "mouseReleased", at, button, count).await?;
        }
        Ok(())
    }

    /// Types over what is selected. What has no key on a keyboard is put in as an input method would.
    pub(super) async fn type_text(&self, tab: &Tab, text: &str) -> Result<(), WindowError> {
        if text.is_empty() {
            self.press(tab, "Backspace").await?;
        }
        if text.chars().count() > TYPED_CHARACTERS_MAX {
            return self.send(tab, InsertText { text: text.into() }).await;
        }
        for character in text.chars() {
            let name = character.to_string();
            match key_named(&name) {
                Some(_) => self.press(tab, &name).await?,
                None => self.send(tab, InsertText { text: name }).await?,
            }
        }
        Ok(())
    }

    async fn press(&self, tab: &Tab, name: &str) -> Result<(), WindowError> {
        self.key(tab, name, true).await?;
        self.key(tab, name, false).await
    }

    /// Presses or releases a key by Puppeteer's name.
    pub(super) async fn key(&self, tab: &Tab, name: &str, down: bool) -> Result<(), WindowError> {
        let Some(key) = key_named(name) else {
            // The name may be a character of a password.
            let reason = "there is no such key".into();
            return Err(WindowError::Refused { command: "Input.dispatchKeyEvent".into(), reason });
        };
        let modifiers = {
            let mut modifiers = lock(&tab.modifiers);
            *modifiers = if down { *modifiers | key.modifier } else { *modifiers & !key.modifier };
            *modifiers
        };
        self.send(tab, key_event(key, down, modifiers)).await
    }
}

fn key_event(key: Key, down: bool, modifiers: u8) -> DispatchKeyEvent {
    // Alt, Control and Meta make a command of a key instead of text.
    let text = key.text.filter(|_| down && modifiers & !Key::SHIFT == 0);
    DispatchKeyEvent {
        kind: match (down, text.is_some()) {
            (true, true) => "keyDown",
            (true, false) => "rawKeyDown",
            (false, _) => "keyUp",
        },
        modifiers,
        text,
        commands: if down && modifiers == Key::CONTROL && key.code == "KeyA" {
            vec!["selectAll"]
        } else {
            vec![]
        },
        key: key.key,
        code: key.code,
        windows_virtual_key_code: key.key_code,
        location: key.location,
    }
}

async fn pause(span: Duration) {
    if !span.is_zero() {
        tokio::time::sleep(span).await;
    }
}
