//! The stored record of a session, without the state of its window.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A session. Times are milliseconds since 1970.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Its id.
    pub id: Uuid,
    /// The name given by the client.
    pub name: Option<String>,
    /// The site's name.
    pub site: Option<String>,
    /// The user name.
    pub username: Option<String>,
    /// The password.
    #[serde(serialize_with = "expose", deserialize_with = "read")]
    pub password: Option<SecretString>,
    /// The name of the credential that it signs in with, instead of a user name and password.
    #[serde(default)]
    pub credential: Option<String>,
    /// The start page.
    pub start_url: String,
    /// The launch profile's name.
    pub profile: String,
    /// Whether it has a separate browser.
    pub dedicated: bool,
    /// The proxy.
    pub proxy: Option<ProxyRecord>,
    /// Width and height of the page area, in CSS pixels.
    pub viewport: Option<(u32, u32)>,
    /// The client's tags.
    pub tags: BTreeMap<String, String>,
    /// Whether it never expires.
    pub keep_alive: bool,
    /// Whether only an explicit close ends it.
    pub never_terminate: bool,
    /// Time without use after which it ends, in milliseconds.
    pub idle_timeout_ms: u64,
    /// The refresh interval that the client requested, in milliseconds; 0 for never, `None` for the configured one.
    pub refresh_interval_ms: Option<u64>,
    /// When it was created.
    pub created_at_ms: u64,
    /// When a client last used it.
    pub last_used_ms: u64,
    /// When it was last refreshed.
    pub last_refresh_ms: Option<u64>,
    /// When it was last signed in.
    pub signed_in_at_ms: Option<u64>,
    /// Whether it was signed in when that was last checked.
    #[serde(default)]
    pub sign_in: Option<SignInRecord>,
    /// What a person needs to know or do.
    pub attention: Option<String>,
    /// Whether the portal rejected its sign-in, so that it is not retried automatically.
    #[serde(default)]
    pub refused: bool,
    /// When a sign-in was typed whose result is not known yet.
    #[serde(default)]
    pub tried_at_ms: Option<u64>,
    /// The page's address when its state was last saved.
    #[serde(default)]
    pub left_at: Option<String>,
    /// Whether it had a window, or was about to get one.
    pub live: bool,
    /// When and why it ended.
    pub ended: Option<EndedRecord>,
    /// Its holds.
    pub holds: Vec<HoldRecord>,
}

impl SessionRecord {
    /// Returns whether losing this record would be harmful: a closed session would come back, or a rejected sign-in
    /// would be repeated.
    #[must_use]
    pub const fn is_needed(&self) -> bool {
        self.ended.is_some() || self.refused
    }
}

/// A credential that sessions sign in with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CredentialRecord {
    /// Its id in the store.
    pub id: Uuid,
    /// The name that sessions use.
    pub name: String,
    /// The user name.
    pub username: String,
    /// The password.
    #[serde(serialize_with = "expose", deserialize_with = "read")]
    pub password: Option<SecretString>,
    /// The TOTP secret of its second factor.
    #[serde(serialize_with = "expose", deserialize_with = "read")]
    pub totp_secret: Option<SecretString>,
}

/// A proxy with its password.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProxyRecord {
    /// Its address.
    pub server: String,
    /// The user name for the proxy.
    pub username: Option<String>,
    /// The password for the proxy.
    #[serde(serialize_with = "expose", deserialize_with = "read")]
    pub password: Option<SecretString>,
    /// Hosts that are accessed without it.
    pub bypass: Option<String>,
}

/// Whether a session was signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignInRecord {
    /// The status, as clients see it.
    pub status: String,
    /// What showed it, as clients see it.
    pub how: String,
    /// When it was checked.
    pub checked_at_ms: u64,
    /// The address, without its query, to which the page of a session without conditions has moved.
    #[serde(default)]
    pub moved_to: Option<String>,
    /// Whether a person was asked to look, because the page of a session without conditions looks signed out.
    #[serde(default)]
    pub is_asked: bool,
}

/// When and why a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedRecord {
    /// When it ended.
    pub at_ms: u64,
    /// The reason, as clients see it.
    pub reason: String,
}

/// A hold on a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRecord {
    /// Its id.
    pub id: Uuid,
    /// Whether other shared holds are allowed at the same time.
    pub shared: bool,
    /// Whether the session is not refreshed while it is held.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quiet: bool,
    /// Description of the holder, if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When it expires.
    pub expires_at_ms: u64,
}

/// Written as plain text, because the record is sealed as a whole.
fn expose<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(ExposeSecret::expose_secret).serialize(serializer)
}

fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(SecretString::from))
}
