//! Request bodies and queries. All are strict: an unknown field is an error that names the field.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::{IntoParams, ToSchema};

use crate::duration::Seconds;
use crate::session::{Isolation, SessionState};
use crate::validate::{
    self, FieldError, MAX_EXPRESSION_BYTES, MAX_PASSWORD_BYTES, MAX_TAG_KEY_CHARS, MAX_TAG_VALUE_BYTES,
    MAX_TAGS, MAX_USERNAME_BYTES, VIEWPORT_SIDE_PIXELS,
};

/// The default duration of a hold.
pub const DEFAULT_HOLD_TTL: Seconds = Seconds::new(60);
/// The longest duration of a hold per request; a hold can be extended any number of times.
pub const MAX_HOLD_TTL: Seconds = Seconds::new(24 * 3600);
/// Longest name of a hold's owner, in bytes.
pub const MAX_OWNER_BYTES: usize = 256;
/// Longest list of hosts that bypass a proxy, in bytes.
pub const MAX_PROXY_BYPASS_BYTES: usize = 4096;

/// The body of `POST /sessions`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSession {
    /// A unique name. If a session with this name exists, it is returned instead of a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The site to sign in to. Give either this or `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// The page to open without signing in. Give either this or `site`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The user name to sign in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password to sign in with. It is used by the site's sign-in flow and never returned.
    #[serde(default, with = "crate::secret", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Password, write_only)]
    pub password: Option<SecretString>,
    /// The name of a stored credential to sign in with, instead of `username` and `password`. It is looked up at every
    /// sign-in, so that changes apply to all sessions that use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Whether the session never expires.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub keep_alive: bool,
    /// Whether only an explicit close ends the session.
    #[serde(default)]
    pub never_terminate: bool,
    /// Time without use after which the session ends, unless `keep_alive`. Default: the server's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Seconds>,
    /// How often the sign-in is refreshed; 0 for never. Default: the site's or the server's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_interval: Option<Seconds>,
    /// The launch profile. Default: the server's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Whether the session shares its browser process.
    #[serde(default)]
    pub isolation: Isolation,
    /// The proxy of the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// The size of the page area. Default: the profile's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub viewport: Option<Viewport>,
    /// Initial cookies, localStorage and IndexedDB, in the format of Playwright's `storageState`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub storage_state: Option<serde_json::Value>,
    /// Tags of the client's choice.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

impl Default for CreateSession {
    fn default() -> Self {
        Self {
            name: None,
            site: None,
            url: None,
            username: None,
            password: None,
            credential: None,
            keep_alive: true,
            never_terminate: false,
            idle_timeout: None,
            refresh_interval: None,
            profile: None,
            isolation: Isolation::Shared,
            proxy: None,
            viewport: None,
            storage_state: None,
            tags: BTreeMap::new(),
        }
    }
}

impl CreateSession {
    /// Validates each field. Does not check that the site and the profile exist.
    pub fn validate(&self) -> Result<(), FieldError> {
        if self.site.is_none() && self.url.is_none() {
            return Err(FieldError::new("site", "or `url` is required"));
        }
        self.validate_fields()
    }

    /// Validates each field, but requires neither `site` nor `url`.
    pub fn validate_fields(&self) -> Result<(), FieldError> {
        match (&self.site, &self.url) {
            (Some(site), None) => validate::name("site", site)?,
            (None, Some(url)) => {
                validate::web_url("url", url)?;
                for (field, given) in
                    [("password", self.password.is_some()), ("credential", self.credential.is_some())]
                {
                    if given {
                        return Err(FieldError::new(field, "can only be used with a `site`"));
                    }
                }
            }
            (Some(_), Some(_)) => {
                return Err(FieldError::new("url", "cannot be combined with `site`: give only one of them"));
            }
            (None, None) => {}
        }
        if self.credential.is_some() && (self.username.is_some() || self.password.is_some()) {
            return Err(FieldError::new("credential", "cannot be combined with `username` and `password`"));
        }
        for (field, name) in
            [("name", &self.name), ("profile", &self.profile), ("credential", &self.credential)]
        {
            name.as_ref().map_or(Ok(()), |name| validate::name(field, name))?;
        }
        if let Some(username) = &self.username {
            validate::text("username", username, MAX_USERNAME_BYTES)?;
        }
        password_fits("password", self.password.as_ref())?;
        idle_timeout_fits(self.idle_timeout)?;
        if let Some(proxy) = &self.proxy {
            proxy.validate()?;
        }
        if let Some(viewport) = self.viewport {
            viewport.validate()?;
        }
        tags_fit(&self.tags)
    }
}

/// The default time that draining waits for holds.
pub const DEFAULT_DRAIN_TIMEOUT: Seconds = Seconds::new(60);

/// The body of `POST /drain`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// How long to wait for sessions that are in use.
    #[serde(default = "default_drain_timeout")]
    #[schema(default = 60)]
    pub timeout: Seconds,
}

fn default_drain_timeout() -> Seconds {
    DEFAULT_DRAIN_TIMEOUT
}

impl Default for DrainRequest {
    fn default() -> Self {
        Self { timeout: DEFAULT_DRAIN_TIMEOUT }
    }
}

/// The body of `PATCH /sessions/{id}`. Missing fields are not changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchSession {
    /// The new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the session never expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<bool>,
    /// Whether only an explicit close ends the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub never_terminate: Option<bool>,
    /// Time without use after which the session ends, unless `keep_alive`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Seconds>,
    /// How often the sign-in is refreshed; 0 for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_interval: Option<Seconds>,
    /// The new tags; they replace all existing ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
}

impl PatchSession {
    /// Checks every field by itself.
    pub fn validate(&self) -> Result<(), FieldError> {
        if let Some(name) = &self.name {
            validate::name("name", name)?;
        }
        idle_timeout_fits(self.idle_timeout)?;
        self.tags.as_ref().map_or(Ok(()), tags_fit)
    }
}

/// A proxy for one session.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// `http://host:port`, `https://host:port` or `socks5://host:port`.
    pub server: String,
    /// The user name for the proxy. Chromium does not support SOCKS proxies with authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password for the proxy.
    #[serde(default, with = "crate::secret", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Password, write_only)]
    pub password: Option<SecretString>,
    /// Comma-separated hosts that are accessed without the proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bypass: Option<String>,
}

impl Proxy {
    fn validate(&self) -> Result<(), FieldError> {
        const SERVER: &str = "proxy.server";
        validate::text(SERVER, &self.server, validate::MAX_URL_BYTES)?;
        let server = Url::parse(&self.server).map_err(|_| {
            FieldError::new(SERVER, "is not a proxy address: write http://host:port or socks5://host:port")
        })?;
        if !matches!(server.scheme(), "http" | "https" | "socks4" | "socks5") || server.host_str().is_none() {
            return Err(FieldError::new(
                SERVER,
                "must start with http://, https://, socks4:// or socks5://, followed by a host",
            ));
        }
        if !server.username().is_empty() || server.password().is_some() {
            return Err(FieldError::new(
                SERVER,
                "must not contain a user name or password: use the separate fields",
            ));
        }
        if let Some(username) = &self.username {
            validate::text("proxy.username", username, MAX_USERNAME_BYTES)?;
        }
        password_fits("proxy.password", self.password.as_ref())?;
        if let Some(bypass) = &self.bypass {
            validate::text("proxy.bypass", bypass, MAX_PROXY_BYPASS_BYTES)?;
        }
        Ok(())
    }
}

/// The size of a page area.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Viewport {
    /// Width in CSS pixels.
    pub width: u32,
    /// Height in CSS pixels.
    pub height: u32,
}

impl Viewport {
    fn validate(self) -> Result<(), FieldError> {
        for (field, side) in [("viewport.width", self.width), ("viewport.height", self.height)] {
            if !VIEWPORT_SIDE_PIXELS.contains(&side) {
                let (least, most) = VIEWPORT_SIDE_PIXELS.into_inner();
                return Err(FieldError::new(field, format!("must be {least} to {most}")));
            }
        }
        Ok(())
    }
}

/// The body of `POST /sessions/{id}/hold`. An empty body means the defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// Time after which the hold expires: 1 s to 24 h.
    #[serde(default = "default_hold_ttl")]
    pub ttl: Seconds,
    /// Description of the holder, for display.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Whether other shared holds are allowed at the same time.
    #[serde(default)]
    pub shared: bool,
    /// Whether the session is not refreshed while it is held. By default, it is refreshed in a hidden page.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quiet: bool,
}

fn default_hold_ttl() -> Seconds {
    DEFAULT_HOLD_TTL
}

impl Default for HoldRequest {
    fn default() -> Self {
        Self { ttl: DEFAULT_HOLD_TTL, owner: None, shared: false, quiet: false }
    }
}

impl HoldRequest {
    /// Checks every field by itself.
    pub fn validate(&self) -> Result<(), FieldError> {
        hold_ttl_fits(self.ttl)?;
        self.owner.as_ref().map_or(Ok(()), |owner| validate::text("owner", owner, MAX_OWNER_BYTES))
    }
}

/// The body of `POST /sessions/{id}/hold/{hold_id}`. An empty body means the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendHold {
    /// Time from now after which the hold expires: 1 s to 24 h.
    #[serde(default = "default_hold_ttl")]
    pub ttl: Seconds,
}

impl Default for ExtendHold {
    fn default() -> Self {
        Self { ttl: DEFAULT_HOLD_TTL }
    }
}

impl ExtendHold {
    /// Checks the field.
    pub fn validate(&self) -> Result<(), FieldError> {
        hold_ttl_fits(self.ttl)
    }
}

/// The body of `POST /sessions/{id}/navigate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NavigateRequest {
    /// The URL to load: `http` or `https`.
    pub url: String,
}

impl NavigateRequest {
    /// Checks the field.
    pub fn validate(&self) -> Result<(), FieldError> {
        validate::web_url("url", &self.url).map(drop)
    }
}

/// The body of `POST /sessions/{id}/evaluate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluateRequest {
    /// A JavaScript expression; a promise is awaited.
    pub expression: String,
}

impl EvaluateRequest {
    /// Checks the field.
    pub fn validate(&self) -> Result<(), FieldError> {
        if self.expression.trim().is_empty() {
            return Err(FieldError::new("expression", "is empty"));
        }
        if self.expression.len() > MAX_EXPRESSION_BYTES {
            return Err(FieldError::new(
                "expression",
                format!("is longer than {MAX_EXPRESSION_BYTES} bytes"),
            ));
        }
        Ok(())
    }
}

/// The format of a screenshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageFormat {
    /// PNG: lossless.
    #[default]
    Png,
    /// JPEG: smaller.
    Jpeg,
}

/// The query of `GET /sessions/{id}/screenshot`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ScreenshotQuery {
    /// `png` (default) or `jpeg`.
    #[serde(default)]
    #[param(inline)]
    pub format: ImageFormat,
    /// Whether to capture the whole page instead of the visible part.
    #[serde(default)]
    pub full_page: bool,
    /// The access token, for clients that cannot set a header.
    #[serde(default, with = "crate::secret", skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub token: Option<SecretString>,
}

/// The query of the event streams.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Start with the stored events after this id; 0 for all of them. The header `Last-Event-ID`, which browsers send
    /// when they reconnect, has the same effect.
    #[serde(default)]
    pub after: Option<u64>,
    /// The access token, for clients that cannot set a header.
    #[serde(default, with = "crate::secret", skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub token: Option<SecretString>,
    /// A ticket of the dashboard, instead of the token.
    #[serde(default, with = "crate::secret", skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub ticket: Option<SecretString>,
}

/// The body of `POST /ui/ticket`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TicketRequest {
    /// The path to be requested, without a query.
    pub path: String,
}

/// The body of `POST /ui/enter`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnterDashboard {
    #[serde(default, with = "crate::secret")]
    code: Option<SecretString>,
}

impl EnterDashboard {
    /// Returns the one-time code or the token.
    #[must_use]
    pub fn code(&self) -> &str {
        self.code.as_ref().map_or("", ExposeSecret::expose_secret)
    }
}

/// The query of `GET /sessions`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SessionsQuery {
    /// Return only sessions in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub state: Option<SessionState>,
    /// Return only sessions of this site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Return only sessions with this tag, as `key:value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The access token, for clients that cannot set a header.
    #[serde(default, with = "crate::secret", skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub token: Option<SecretString>,
}

impl SessionsQuery {
    /// The key and value of `tag`.
    pub fn tag_pair(&self) -> Result<Option<(&str, &str)>, FieldError> {
        self.tag
            .as_deref()
            .map(|tag| tag.split_once(':').ok_or_else(|| FieldError::new("tag", "must be key:value")))
            .transpose()
    }
}

fn password_fits(field: &str, password: Option<&SecretString>) -> Result<(), FieldError> {
    match password {
        Some(password) if password.expose_secret().len() > MAX_PASSWORD_BYTES => {
            Err(FieldError::new(field, format!("is longer than {MAX_PASSWORD_BYTES} bytes")))
        }
        _ => Ok(()),
    }
}

fn idle_timeout_fits(idle_timeout: Option<Seconds>) -> Result<(), FieldError> {
    match idle_timeout {
        Some(timeout) if timeout.is_never() => Err(FieldError::new(
            "idle_timeout",
            "must be at least 1 s: a session that never expires is `\"keep_alive\": true`",
        )),
        _ => Ok(()),
    }
}

fn hold_ttl_fits(ttl: Seconds) -> Result<(), FieldError> {
    if ttl.is_never() || ttl > MAX_HOLD_TTL {
        return Err(FieldError::new("ttl", "must be 1 s to 24 h: a hold always has an end"));
    }
    Ok(())
}

fn tags_fit(tags: &BTreeMap<String, String>) -> Result<(), FieldError> {
    if tags.len() > MAX_TAGS {
        return Err(FieldError::new("tags", format!("has more than {MAX_TAGS} entries")));
    }
    for (key, value) in tags {
        validate::text("tags", value, MAX_TAG_VALUE_BYTES)?;
        // A colon parts key and value in the filter of `GET /sessions`.
        if key.is_empty() || key.chars().count() > MAX_TAG_KEY_CHARS || key.contains(':') {
            return Err(FieldError::new(
                "tags",
                format!(
                    "has a key that is empty, longer than {MAX_TAG_KEY_CHARS} characters or has a colon in it"
                ),
            ));
        }
        validate::text("tags", key, MAX_TAG_KEY_CHARS * 4)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(json: serde_json::Value) -> Result<CreateSession, FieldError> {
        let request: CreateSession = serde_json::from_value(json).unwrap();
        request.validate().map(|()| request)
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let request = create(serde_json::json!({"url": "https://a.test/"})).unwrap();
        assert!(request.keep_alive && !request.never_terminate);
        assert_eq!((request.idle_timeout, request.refresh_interval), (None, None));
        assert_eq!(serde_json::from_str::<HoldRequest>("{}").unwrap(), HoldRequest::default());
        assert_eq!(HoldRequest::default().ttl.get(), 60);
        assert_eq!(
            serde_json::to_value(CreateSession::default()).unwrap(),
            serde_json::json!({"keep_alive": true, "never_terminate": false, "isolation": "shared"})
        );
    }

    #[test]
    fn each_bad_value_names_its_field() {
        for (json, field) in [
            (serde_json::json!({}), "site"),
            (serde_json::json!({"site": "p", "url": "https://a.test/"}), "url"),
            (serde_json::json!({"url": "file:///etc/passwd"}), "url"),
            (serde_json::json!({"url": "https://a.test/", "password": "x"}), "password"),
            (serde_json::json!({"site": "p", "name": "../x"}), "name"),
            (serde_json::json!({"site": "p", "password": "x".repeat(2000)}), "password"),
            (serde_json::json!({"site": "p", "username": "a\nb"}), "username"),
            (serde_json::json!({"site": "p", "idle_timeout": 0}), "idle_timeout"),
            (serde_json::json!({"site": "p", "viewport": {"width": 1, "height": 600}}), "viewport.width"),
            (serde_json::json!({"site": "p", "proxy": {"server": "http://u:hunter2@p:1"}}), "proxy.server"),
            (serde_json::json!({"site": "p", "proxy": {"server": "nonsense"}}), "proxy.server"),
            (serde_json::json!({"site": "p", "tags": {"a:b": "c"}}), "tags"),
        ] {
            let error = create(json.clone()).unwrap_err();
            assert_eq!(error.field, field, "{json}");
            assert!(!error.to_string().contains("hunter2"));
        }
        let endless = HoldRequest { ttl: Seconds::NEVER, ..HoldRequest::default() };
        assert_eq!(endless.validate().unwrap_err().field, "ttl");
    }

    #[test]
    fn a_request_never_shows_its_secrets() {
        let request = create(serde_json::json!({"site": "p", "username": "u", "password": "hunter2",
            "proxy": {"server": "http://proxy.test:3128", "username": "u", "password": "swordfish"}}))
        .unwrap();
        let shown = format!("{request:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("swordfish"), "{shown}");
        let sent = serde_json::to_value(&request).unwrap();
        assert_eq!(sent["password"], "hunter2", "the command line sends them on");
    }

    #[test]
    fn a_tag_filter_is_key_and_value() {
        let query = SessionsQuery { tag: Some("team:a:b".into()), ..SessionsQuery::default() };
        assert_eq!(query.tag_pair(), Ok(Some(("team", "a:b"))));
        let query = SessionsQuery { tag: Some("team".into()), ..SessionsQuery::default() };
        assert_eq!(query.tag_pair().unwrap_err().field, "tag");
    }
}
