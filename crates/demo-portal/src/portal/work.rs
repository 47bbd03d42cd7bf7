//! What the workbench holds, for whoever looks at it from outside.

use serde::Deserialize;

/// What `workbench.read()` gives in the portal's page `/workbench`: state of every kind that a page can have.
/// Each is null or empty until `workbench.write(value)` puts a value everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// What the portal knows by the session's cookie. Each writing changes that cookie, which no script sees
    /// and which goes with the browser; whoever comes with the one before is signed out.
    pub session_cookie: Option<String>,
    /// A cookie that outlasts the browser.
    pub persistent_cookie: Option<String>,
    /// `window.counter`, which lives in the memory of the page alone: how often was written or counted.
    pub counter: u64,
    /// `localStorage`.
    pub local_storage: Option<String>,
    /// `sessionStorage`.
    pub session_storage: Option<String>,
    /// A record in IndexedDB.
    pub indexed_db: Option<String>,
    /// An input.
    pub note: String,
    /// A text area.
    pub remarks: String,
    /// A password field.
    pub pin: String,
    /// The chosen option of a list.
    pub terminal: String,
    /// A box that is ticked or not.
    pub urgent: bool,
    /// How far the page is scrolled, in CSS pixels.
    pub scroll_px: u32,
}

impl Work {
    /// What a page holds in which `value` was just written and that has counted so far.
    #[must_use]
    pub fn written(value: &str, counter: u64) -> Self {
        let stored = || Some(value.to_owned());
        Self {
            session_cookie: stored(),
            persistent_cookie: stored(),
            counter,
            local_storage: stored(),
            session_storage: stored(),
            indexed_db: stored(),
            note: value.to_owned(),
            remarks: value.to_owned(),
            pin: value.to_owned(),
            terminal: "West Basin".to_owned(),
            urgent: true,
            scroll_px: 1200,
        }
    }

    /// What of it another window can have: not the page's memory, and nothing that stood in a password field.
    #[must_use]
    pub fn that_is_kept(self) -> Self {
        Self { counter: 0, pin: String::new(), ..self }
    }
}
