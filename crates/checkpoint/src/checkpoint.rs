//! A checkpoint: everything of a window that another window can be given.
//!
//! Cookies are Chromium's own description of them; origins have the shape of Playwright's `storageState`.
//! All of it may be as secret as a password, so `Debug` shows only how much there is.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The state of a window at one moment.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// When it was taken, in milliseconds since 1970.
    pub taken_at_ms: u64,
    /// All cookies of the window.
    pub cookies: Vec<Cookie>,
    /// What origins have stored.
    pub origins: Vec<Origin>,
    /// The pages, the main one first.
    pub tabs: Vec<Tab>,
}

impl Checkpoint {
    /// Returns the same state with these cookies in place of its own.
    #[must_use]
    pub fn with_cookies(self, cookies: Vec<Cookie>) -> Self {
        Self { cookies, ..self }
    }
}

/// A cookie, in the words of `Storage.getCookies`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The host, with a leading dot where its subdomains get it too.
    pub domain: String,
    /// The path.
    pub path: String,
    /// When it ends, in seconds since 1970; none for a session cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<f64>,
    /// Whether scripts cannot see it.
    #[serde(default)]
    pub http_only: bool,
    /// Whether it goes over https alone.
    #[serde(default)]
    pub secure: bool,
    /// `Strict`, `Lax` or `None`; absent where the site did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_site: Option<String>,
    /// `Low`, `Medium` or `High`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// `Unset`, `NonSecure` or `Secure`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_scheme: Option<String>,
    /// The port that set it; -1 where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<i32>,
    /// The site below which it is kept apart (CHIPS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<PartitionKey>,
}

/// What a partitioned cookie is kept under.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionKey {
    /// The site of the page.
    pub top_level_site: String,
    /// Whether another site is between the page and the frame.
    pub has_cross_site_ancestor: bool,
}

/// What one origin has stored.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// Such as `https://portal.example`.
    pub origin: String,
    /// `localStorage`.
    #[serde(default)]
    pub local_storage: Vec<Entry>,
    /// Databases of IndexedDB, one object each in the shape of Playwright's `storageState`.
    #[serde(default, rename = "indexedDB", skip_serializing_if = "Vec::is_empty")]
    pub indexed_db: Vec<Value>,
}

/// A key and its value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The key.
    pub name: String,
    /// The value.
    pub value: String,
}

/// One page.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tab {
    /// What it shows.
    pub url: String,
    /// Its title.
    pub title: String,
    /// `window.name`.
    #[serde(default)]
    pub name: String,
    /// How far it is scrolled, in CSS pixels, from the left and from the top.
    #[serde(default)]
    pub scroll: (f64, f64),
    /// `sessionStorage` by origin.
    #[serde(default)]
    pub session_storage: Vec<SessionStorage>,
    /// What its form fields hold. Never a password, never a file.
    #[serde(default)]
    pub fields: Vec<Field>,
}

/// `sessionStorage` of one origin in one page.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStorage {
    /// Such as `https://portal.example`.
    pub origin: String,
    /// What is in it.
    pub entries: Vec<Entry>,
}

/// What a form field holds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// A CSS selector that finds it, and nothing else, in its page.
    pub selector: String,
    /// What is in it.
    pub content: FieldContent,
}

/// By kind of field.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldContent {
    /// Text that was typed or chosen.
    Value(String),
    /// A box that is ticked or not.
    Checked(bool),
    /// The options of a list that are chosen, counted from 0.
    Selected(Vec<u32>),
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Checkpoint")
            .field("taken_at_ms", &self.taken_at_ms)
            .field("cookies", &self.cookies.len())
            .field("origins", &self.origins.len())
            .field("tabs", &self.tabs.len())
            .finish()
    }
}

macro_rules! hidden {
    ($($kind:ty),*) => {$(
        impl fmt::Debug for $kind {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(concat!(stringify!($kind), "(..)"))
            }
        }
    )*};
}
hidden!(Cookie, PartitionKey, Origin, Entry, Tab, SessionStorage, Field, FieldContent);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn other_cookies_change_nothing_else() {
        let with = |cookies: Value| -> Checkpoint {
            serde_json::from_value(json!({
                "taken_at_ms": 7,
                "cookies": cookies,
                "origins": [{ "origin": "https://a.test", "localStorage": [{ "name": "k", "value": "v" }],
                    "indexedDB": [{ "name": "db" }] }],
                "tabs": [],
            }))
            .unwrap()
        };
        let before = with(json!([{ "name": "sid", "value": "1", "domain": "a.test", "path": "/" }]));
        let after = with(json!([{ "name": "sid", "value": "2", "domain": "a.test", "path": "/" }]));
        assert_eq!(before.with_cookies(after.cookies.clone()), after);
        assert_ne!(after.origins, Vec::new());
    }
}
