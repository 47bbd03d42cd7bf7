//! Putting a value into a field, whatever kind it is. The value is in no log and no error.

use std::time::Duration;

use pilotlight_flow::page::Click;
use serde_json::{Value, json};

use super::Element;
use super::input::{press, type_text, with_consequences};
use super::pointer;
use crate::error::WindowError;
use crate::window::Window;

/// How often a field is looked at that is read-only until it is clicked, and the time between two looks.
const READ_ONLY_LOOKS: usize = 20;
const READ_ONLY_INTERVAL: Duration = Duration::from_millis(50);
/// Sets what a person would not type (choices, check boxes, dates, colours), events included, and answers
/// `done`; makes everything else ready for typing over what it holds, and answers `type`. Many forms keep browsers from
/// filling them in by fields that are read-only until they have the focus: one that stays so answers `read-only`. Setters of the
/// prototype are used because frameworks put their own on elements.
const PREPARE: &str = r#"function (value) {
    const tell = () => {
        for (const name of ['input', 'change']) this.dispatchEvent(new Event(name, {bubbles: true}));
    };
    const set = (prototype) => Object.getOwnPropertyDescriptor(prototype, 'value').set.call(this, value);
    if (this instanceof HTMLElement && !this.isContentEditable) {
        if (this.matches(':disabled')) throw new Error('the field takes no input');
        if (this.readOnly) this.focus();
        if (this.readOnly) return 'read-only';
    }
    if (this instanceof HTMLSelectElement) {
        const options = [...this.options];
        const option = options.find((option) => option.value === value)
            ?? options.find((option) => option.label.trim() === value.trim());
        if (!option) throw new Error('the field has no such option');
        this.focus();
        if (this.multiple) options.forEach((other) => { other.selected = other === option; });
        this.value = option.value;
        if (!option.selected) option.selected = true;
        tell();
        return 'done';
    }
    if (this instanceof HTMLInputElement) {
        if (['checkbox', 'radio'].includes(this.type)) {
            const yes = ['true', 'on', 'yes', '1', 'checked'].includes(value.toLowerCase()) || value === this.value;
            if (this.checked !== yes) this.click();
            return 'done';
        }
        if (['file', 'button', 'submit', 'reset', 'image', 'hidden'].includes(this.type)) {
            throw new Error('the field takes no text');
        }
        if (['color', 'date', 'datetime-local', 'month', 'range', 'time', 'week'].includes(this.type)) {
            this.focus();
            set(HTMLInputElement.prototype);
            if (value !== '' && this.value === '') throw new Error('the field does not take this value');
            tell();
            return 'done';
        }
    }
    const typed = this instanceof HTMLInputElement || this instanceof HTMLTextAreaElement;
    if (!typed && !this.isContentEditable) throw new Error('the element takes no text');
    this.focus();
    if (typed) this.select(); else getSelection().selectAllChildren(this);
    return 'type';
}"#;

/// Puts `text` in place of what the field holds.
pub(super) async fn fill(window: &Window, element: &Element, text: &str) -> Result<(), WindowError> {
    let tab = &element.tab;
    window.bring_to_front(tab).await?;
    let filling = async {
        let answer = prepare(window, element, text).await?;
        if answer != "type" {
            return Ok(());
        }
        if text.is_empty() { press(window, tab, "Delete").await } else { type_text(window, tab, text).await }
    };
    with_consequences(window, tab, filling).await
}

async fn prepare(window: &Window, element: &Element, text: &str) -> Result<Value, WindowError> {
    let prepared = async || element.call(&window.shard, PREPARE, &[json!(text)]).await;
    let mut answer = prepared().await?;
    if answer == "read-only" {
        // Some wait for the mouse.
        if let Err(error) = pointer::click(window, element, &Click::middle()).await {
            tracing::debug!(%error, "a read-only field could not be clicked");
        }
        for _ in 0..READ_ONLY_LOOKS {
            answer = prepared().await?;
            if answer != "read-only" {
                return Ok(answer);
            }
            tokio::time::sleep(READ_ONLY_INTERVAL).await;
        }
        return Err(WindowError::Script("the field takes no input: it is read-only".to_owned()));
    }
    Ok(answer)
}
