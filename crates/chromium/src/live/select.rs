//! Select lists. Chromium without a screen does not draw the list that a select element opens, so the viewer draws
//! it, and the choice is made by a script in an isolated world. Also the selected text of the page.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{INPUT_TIMEOUT, LivePage};
use crate::error::WindowError;
use crate::window::{evaluate, isolated_world};

/// Finds the select element under a point, through frames and shadow trees, and stores it.
const FIND: &str = "((x, y) => {
    let element = document.elementFromPoint(x, y);
    for (let depth = 0; element && depth < 32; depth += 1) {
        let inner = element.shadowRoot;
        if (!inner && element.tagName === 'IFRAME') {
            const box = element.getBoundingClientRect();
            x -= box.left + element.clientLeft;
            y -= box.top + element.clientTop;
            try { inner = element.contentDocument; } catch { inner = null; }
        }
        const deeper = inner && inner.elementFromPoint(x, y);
        if (!deeper || deeper === element) break;
        element = deeper;
    }
    const select = element && element.closest('select');
    if (!select || select.disabled || select.multiple || select.size > 1) return null;
    select.focus();
    globalThis.select = select;
    const option = ({ label, disabled }) => ({ label: label.slice(0, 200), disabled });
    return { chosen: select.selectedIndex, options: [...select.options].slice(0, 1000).map(option) };
})";
/// Makes the choice as a person does: with events for the page.
const CHOOSE: &str = "((index) => {
    const select = globalThis.select;
    if (!select || !select.isConnected || !select.options[index]) return false;
    select.selectedIndex = index;
    for (const kind of ['input', 'change']) select.dispatchEvent(new Event(kind, { bubbles: true }));
    return true;
})";
/// Returns the selected text: in a field (never of a password), or on the page.
const SELECTED: &str = "(() => {
    let field = document.activeElement;
    while (field && field.shadowRoot && field.shadowRoot.activeElement) field = field.shadowRoot.activeElement;
    if (field && field.type !== 'password' && typeof field.selectionStart === 'number')
        return field.value.slice(field.selectionStart, field.selectionEnd).slice(0, 1 << 20);
    return String(getSelection()).slice(0, 1 << 20);
})()";

/// A select element's list.
#[derive(Debug, Clone, Deserialize)]
pub struct SelectList {
    /// The index of the chosen entry; -1 for none.
    pub chosen: i64,
    /// The entries.
    pub options: Vec<SelectOption>,
}

/// An entry of a select list.
#[derive(Debug, Clone, Deserialize)]
pub struct SelectOption {
    /// Its text.
    pub label: String,
    /// Whether it is disabled.
    pub disabled: bool,
}

impl LivePage {
    /// Returns the list of the select element at this point of the viewport, if there is one.
    ///
    /// # Errors
    /// If the page does not respond.
    pub async fn select_at(&self, x: f64, y: f64) -> Result<Option<SelectList>, WindowError> {
        let found = self.script(&format!("{FIND}({}, {})", json!(x), json!(y))).await?;
        Ok(serde_json::from_value(found).ok())
    }

    /// Chooses from the list that was found last.
    ///
    /// # Errors
    /// If the page does not respond.
    pub async fn choose(&self, index: u32) -> Result<(), WindowError> {
        self.script(&format!("{CHOOSE}({index})")).await.map(drop)
    }

    /// Returns the selected text of the page.
    ///
    /// # Errors
    /// If the page does not respond.
    pub async fn selected_text(&self) -> Result<String, WindowError> {
        let text = self.script(SELECTED).await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    async fn script(&self, expression: &str) -> Result<Value, WindowError> {
        let (shard, tab) = (&self.shard, &self.tab);
        let world = isolated_world(shard, tab, &tab.session, &tab.target).await?;
        evaluate(shard, tab, &tab.session, Some(world), expression, INPUT_TIMEOUT).await
    }
}
