//! Playwright's `storageState`: cookies and what origins have stored, as other tools save and load it.
//!
//! The shape is that of `BrowserContext.storageState()` as Playwright writes it since 2024, with and without
//! IndexedDB and partitioned cookies (`packages/protocol/src/channels.d.ts` there). It has no pages, and of a cookie neither priority nor where it was set. Unknown fields pass. An error says where
//! something is wrong and never what is there: it may be as secret as a password.

use serde_json::{Map, Value, json};
use thiserror::Error;
use url::Url;

use crate::checkpoint::{Checkpoint, Cookie, Entry, Origin, PartitionKey};

/// What a cookie can have as `sameSite`.
const SAME_SITE: [&str; 3] = ["Strict", "Lax", "None"];

/// What Chromium does with a cookie whose site did not say (and Playwright writes).
const SAME_SITE_DEFAULT: &str = "Lax";

/// What an error calls the whole of it.
const WHOLE: &str = "the storage state";

/// What `expires` is of a session cookie.
const NEVER: f64 = -1.0;

/// Where something is not as Playwright writes it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path} must be {expected}")]
pub struct StorageStateError {
    /// Such as `cookies[3].sameSite`.
    pub path: String,
    /// What must be there.
    pub expected: &'static str,
}

impl Checkpoint {
    /// As Playwright would save it: without the pages.
    pub fn to_storage_state(&self) -> Value {
        json!({
            "cookies": self.cookies.iter().map(cookie_to_value).collect::<Vec<_>>(),
            "origins": self.origins,
        })
    }

    /// From what Playwright saved. It has no pages.
    pub fn from_storage_state(state: &Value, taken_at_ms: u64) -> Result<Self, StorageStateError> {
        let state = Fields::of(state, String::new())?;
        Ok(Self {
            taken_at_ms,
            cookies: state.list("cookies", cookie)?,
            origins: state.list("origins", origin)?,
            tabs: Vec::new(),
        })
    }
}

fn cookie_to_value(cookie: &Cookie) -> Value {
    let mut value = json!({
        "name": cookie.name,
        "value": cookie.value,
        "domain": cookie.domain,
        "path": cookie.path,
        "expires": cookie.expires.map_or(json!(-1), |seconds| json!(seconds)),
        "httpOnly": cookie.http_only,
        "secure": cookie.secure,
        "sameSite": cookie.same_site.as_deref().unwrap_or(SAME_SITE_DEFAULT),
    });
    if let Some(key) = &cookie.partition_key {
        value["partitionKey"] = json!(key.top_level_site);
        value["_crHasCrossSiteAncestor"] = json!(key.has_cross_site_ancestor);
    }
    value
}

fn cookie(fields: &Fields<'_>) -> Result<Cookie, StorageStateError> {
    let expires = fields.optional("expires", "a time in seconds since 1970, or -1", |value| {
        value.as_f64().filter(|seconds| *seconds >= 0.0 || *seconds == NEVER)
    })?;
    let same_site = fields.optional("sameSite", "`Strict`, `Lax` or `None`", |value| {
        value.as_str().filter(|same_site| SAME_SITE.contains(same_site))
    })?;
    let partition_key = fields.optional("partitionKey", "a string", Value::as_str)?;
    let has_cross_site_ancestor = fields.flag("_crHasCrossSiteAncestor")?;
    Ok(Cookie {
        name: fields.text("name")?,
        value: fields.text("value")?,
        domain: fields.text("domain")?,
        path: fields.text("path")?,
        expires: expires.filter(|seconds| *seconds != NEVER),
        http_only: fields.flag("httpOnly")?,
        secure: fields.flag("secure")?,
        same_site: same_site.map(str::to_owned),
        priority: None,
        source_scheme: None,
        source_port: None,
        partition_key: partition_key
            .map(|site| PartitionKey { top_level_site: site.to_owned(), has_cross_site_ancestor }),
    })
}

fn origin(fields: &Fields<'_>) -> Result<Origin, StorageStateError> {
    let origin = fields.text("origin")?;
    let is_origin = Url::parse(&origin).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == origin
    });
    if !is_origin {
        return Err(fields.wrong("origin", "an origin such as https://portal.example"));
    }
    Ok(Origin {
        origin,
        local_storage: fields.list("localStorage", |entry| {
            Ok(Entry { name: entry.text("name")?, value: entry.text("value")? })
        })?,
        indexed_db: fields.list("indexedDB", |database| {
            database.text("name")?;
            Ok(Value::Object(database.fields.clone()))
        })?,
    })
}

/// An object, and where it is.
struct Fields<'a> {
    /// Empty for the whole.
    path: String,
    fields: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn of(value: &'a Value, path: String) -> Result<Self, StorageStateError> {
        match value {
            Value::Object(fields) => Ok(Self { path, fields }),
            _ if path.is_empty() => Err(StorageStateError { path: WHOLE.to_owned(), expected: "an object" }),
            _ => Err(StorageStateError { path, expected: "an object" }),
        }
    }

    /// What is in a field, if it is there and not null.
    fn optional<T>(
        &self,
        name: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, StorageStateError> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.wrong(name, expected)),
        }
    }

    fn text(&self, name: &str) -> Result<String, StorageStateError> {
        let text = self.optional(name, "a string", Value::as_str)?;
        text.map(str::to_owned).ok_or_else(|| self.wrong(name, "a string"))
    }

    fn flag(&self, name: &str) -> Result<bool, StorageStateError> {
        Ok(self.optional(name, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    /// A list of objects; empty where it is absent.
    fn list<T>(
        &self,
        name: &str,
        read: impl Fn(&Fields<'_>) -> Result<T, StorageStateError>,
    ) -> Result<Vec<T>, StorageStateError> {
        let values = self.optional(name, "a list", Value::as_array)?;
        let read = |(index, value)| read(&Fields::of(value, format!("{}[{index}]", self.path_of(name)))?);
        values.into_iter().flatten().enumerate().map(read).collect()
    }

    fn wrong(&self, name: &str, expected: &'static str) -> StorageStateError {
        StorageStateError { path: self.path_of(name), expected }
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// In the shape that Playwright writes.
    fn of_playwright() -> Value {
        json!({
            "cookies": [
                {
                    "name": "sid", "value": "s3cret", "domain": "portal.example", "path": "/",
                    "expires": -1, "httpOnly": true, "secure": true, "sameSite": "Lax"
                },
                {
                    "name": "__Host-part", "value": "", "domain": ".widget.example", "path": "/a",
                    "expires": 1_790_000_000.123_456, "httpOnly": false, "secure": true, "sameSite": "None",
                    "partitionKey": "https://portal.example", "_crHasCrossSiteAncestor": true
                }
            ],
            "origins": [{
                "origin": "https://portal.example",
                "localStorage": [{ "name": "token", "value": "s3cret" }],
                "indexedDB": [{
                    "name": "keyval", "version": 1,
                    "stores": [{
                        "name": "keyval", "autoIncrement": false, "indexes": [],
                        "records": [{ "key": "a", "value": { "b": [1, 2.5, null] } }]
                    }]
                }]
            }]
        })
    }

    #[test]
    fn what_playwright_wrote_comes_back_as_it_was() {
        let checkpoint = Checkpoint::from_storage_state(&of_playwright(), 7).unwrap();
        assert_eq!(checkpoint.taken_at_ms, 7);
        assert_eq!(checkpoint.cookies[0].expires, None);
        assert!(checkpoint.cookies[1].partition_key.as_ref().unwrap().has_cross_site_ancestor);
        let mut expected = of_playwright();
        expected["cookies"][0]["expires"] = json!(-1);
        assert_eq!(checkpoint.to_storage_state(), expected);
    }

    #[test]
    fn what_may_be_absent_may_be_absent() {
        let state = json!({
            "cookies": [{ "name": "a", "value": "b", "domain": "c", "path": "/", "new": [1] }],
            "origins": [{ "origin": "https://c" }],
            "credentials": []
        });
        let checkpoint = Checkpoint::from_storage_state(&state, 0).unwrap();
        assert_eq!((checkpoint.cookies.len(), checkpoint.origins.len()), (1, 1));
        assert_eq!(checkpoint.to_storage_state()["cookies"][0]["sameSite"], "Lax");
        assert_eq!(Checkpoint::from_storage_state(&json!({}), 0).unwrap(), Checkpoint::default());
    }

    #[test]
    fn an_error_says_where_and_not_what() {
        for (pointer, wrong, path, expected) in [
            ("", json!(["s3cret"]), "the storage state", "an object"),
            ("/cookies", json!("s3cret"), "cookies", "a list"),
            ("/cookies/1", json!("s3cret"), "cookies[1]", "an object"),
            ("/cookies/0/value", json!({ "s3cret": 1 }), "cookies[0].value", "a string"),
            ("/cookies/0/path", Value::Null, "cookies[0].path", "a string"),
            ("/cookies/0/expires", json!(-2), "cookies[0].expires", "a time in seconds since 1970, or -1"),
            ("/cookies/0/secure", json!("s3cret"), "cookies[0].secure", "true or false"),
            ("/cookies/1/sameSite", json!("s3cret"), "cookies[1].sameSite", "`Strict`, `Lax` or `None`"),
            ("/cookies/1/partitionKey", json!(1), "cookies[1].partitionKey", "a string"),
            ("/origins/0/origin", json!(1), "origins[0].origin", "a string"),
            (
                "/origins/0/origin",
                json!("https://a/b"),
                "origins[0].origin",
                "an origin such as https://portal.example",
            ),
            ("/origins/0/localStorage/0/name", json!(1), "origins[0].localStorage[0].name", "a string"),
            ("/origins/0/indexedDB/0", json!("s3cret"), "origins[0].indexedDB[0]", "an object"),
        ] {
            let mut state = of_playwright();
            *state.pointer_mut(pointer).unwrap() = wrong;
            let error = Checkpoint::from_storage_state(&state, 0).unwrap_err();
            assert_eq!(error, StorageStateError { path: path.to_owned(), expected });
            assert!(!error.to_string().contains("s3cret"));
        }
    }

    prop_compose! {
        fn any_cookie()(
            (name, value, domain, path) in any::<(String, String, String, String)>(),
            expires in prop::option::of(0.0..1e11),
            (http_only, secure) in any::<(bool, bool)>(),
            same_site in prop::sample::select(SAME_SITE.as_slice()),
            partition_key in any::<Option<(String, bool)>>(),
        ) -> Cookie {
            Cookie {
                name, value, domain, path, expires, http_only, secure,
                same_site: Some(same_site.to_owned()),
                priority: None,
                source_scheme: None,
                source_port: None,
                partition_key: partition_key.map(|(top_level_site, has_cross_site_ancestor)| {
                    PartitionKey { top_level_site, has_cross_site_ancestor }
                }),
            }
        }
    }

    prop_compose! {
        fn any_origin()(
            origin in "https://[a-z]{1,9}(\\.[a-z]{2,5})?(:[1-9][0-9]{3})?",
            entries in prop::collection::vec(any::<(String, String)>(), 0..4),
            databases in prop::collection::vec(any::<(String, u32)>(), 0..4),
        ) -> Origin {
            Origin {
                origin,
                local_storage: entries.into_iter().map(|(name, value)| Entry { name, value }).collect(),
                indexed_db: databases
                    .into_iter()
                    .map(|(name, version)| json!({ "name": name, "version": version, "stores": [] }))
                    .collect(),
            }
        }
    }

    proptest! {
        #[test]
        fn a_checkpoint_without_pages_survives_the_way_out_and_back(
            taken_at_ms: u64,
            cookies in prop::collection::vec(any_cookie(), 0..5),
            origins in prop::collection::vec(any_origin(), 0..5),
        ) {
            let before = Checkpoint { taken_at_ms, cookies, origins, tabs: Vec::new() };
            let text = before.to_storage_state().to_string();
            let after = Checkpoint::from_storage_state(&serde_json::from_str(&text).unwrap(), taken_at_ms);
            prop_assert_eq!(after.unwrap() == before, true);
        }
    }
}
