//! What is kept of a session itself, apart from the state of its window.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A session as it is written down. Times are milliseconds since 1970.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Its id.
    pub id: Uuid,
    /// The name that its client chose.
    pub name: Option<String>,
    /// The site's name.
    pub site: Option<String>,
    /// Who signs in.
    pub username: Option<String>,
    /// With which password.
    #[serde(serialize_with = "expose", deserialize_with = "read")]
    pub password: Option<SecretString>,
    /// The name of the credential that it signs in with, instead of a user name and password of its own.
    #[serde(default)]
    pub credential: Option<String>,
    /// The page that it begins with.
    pub start_url: String,
    /// The launch profile's name.
    pub profile: String,
    /// Whether it has a browser of its own.
    pub dedicated: bool,
    /// Its proxy.
    pub proxy: Option<ProxyRecord>,
    /// Width and height of its pages, in CSS pixels.
    pub viewport: Option<(u32, u32)>,
    /// Its creator's marks.
    pub tags: BTreeMap<String, String>,
    /// Whether it never ends of idleness.
    pub keep_alive: bool,
    /// Whether nothing but a close ends it.
    pub never_terminate: bool,
    /// How long it may be unused, in milliseconds.
    pub idle_timeout_ms: u64,
    /// How often its client wants it refreshed, in milliseconds; 0 is never, none is as configured.
    pub refresh_interval_ms: Option<u64>,
    /// When it was made.
    pub created_at_ms: u64,
    /// When a client last used it.
    pub last_used_ms: u64,
    /// When it was last refreshed.
    pub last_refresh_ms: Option<u64>,
    /// When it was last signed in.
    pub signed_in_at_ms: Option<u64>,
    /// What a person should know or do.
    pub attention: Option<String>,
    /// Whether the portal refused its sign-in, so that it is not repeated unasked.
    #[serde(default)]
    pub refused: bool,
    /// When its sign-in was typed whose outcome nobody knows yet.
    #[serde(default)]
    pub tried_at_ms: Option<u64>,
    /// Where its page was when its state was last written down.
    #[serde(default)]
    pub left_at: Option<String>,
    /// Whether it had a window, or was to have one.
    pub live: bool,
    /// When and why it ended.
    pub ended: Option<EndedRecord>,
    /// Who holds it.
    pub holds: Vec<HoldRecord>,
}

/// With what sessions sign in that name it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CredentialRecord {
    /// Its id in the store.
    pub id: Uuid,
    /// The name that sessions give.
    pub name: String,
    /// Who signs in.
    pub username: String,
    /// With which password.
    #[serde(serialize_with = "expose", deserialize_with = "read")]
    pub password: Option<SecretString>,
    /// What the codes of its second factor are made of.
    #[serde(serialize_with = "expose", deserialize_with = "read")]
    pub totp_secret: Option<SecretString>,
}

/// A proxy, with its password.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProxyRecord {
    /// Its address.
    pub server: String,
    /// The user at the proxy.
    pub username: Option<String>,
    /// The password at the proxy.
    #[serde(serialize_with = "expose", deserialize_with = "read")]
    pub password: Option<SecretString>,
    /// Hosts that are reached without it.
    pub bypass: Option<String>,
}

/// When and why a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedRecord {
    /// When.
    pub at_ms: u64,
    /// Why, in the word that clients get.
    pub reason: String,
}

/// A hold on a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRecord {
    /// Its id.
    pub id: Uuid,
    /// Whether others may hold the session too.
    pub shared: bool,
    /// Who holds it, as far as they say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When it ends by itself.
    pub expires_at_ms: u64,
}

/// In the clear: what is written is sealed as a whole.
fn expose<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(ExposeSecret::expose_secret).serialize(serializer)
}

fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(SecretString::from))
}
