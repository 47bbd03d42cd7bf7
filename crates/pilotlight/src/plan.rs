//! Converts requests and stored records into what the rules and the workers need.
//!
//! A stored session is planned in the same way as a new one, so that it follows the current configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pilotlight_api::{CreateSession, FieldError, Isolation, RefreshAsleep, RefreshHow, Seconds, Viewport};
use pilotlight_checkpoint::{Checkpoint, StorageStateError};
use pilotlight_chromium::{Proxy, WindowOptions};
use pilotlight_core::{
    self as core, AsleepRefresh, Hold, HoldId, Moment, PersistedSession, Policy, SessionId, SiteId, Spec,
    Whose,
};
use pilotlight_store::record::{HoldRecord, SessionRecord};
use secrecy::ExposeSecret;
use url::Url;

use crate::clock::wall;
use crate::config;
use crate::credentials::{Credentials, Login};
use crate::fingerprint::Fingerprint;
use crate::keeper::{BrowserLauncher, CannotSignIn, SessionDetails, SessionTarget, reason_of, sign_in_of};
use crate::sites::Sites;

/// The start page of a window whose client navigates by itself.
const EMPTY_PAGE: &str = "about:blank";

/// Why a session cannot be created as requested.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The site does not exist.
    #[error("there is no site `{0}`")]
    UnknownSite(String),
    /// The launch profile does not exist.
    #[error("there is no launch profile `{0}`")]
    UnknownProfile(String),
    /// A field is invalid.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The session could not sign in.
    #[error(transparent)]
    CannotSignIn(#[from] CannotSignIn),
    /// The initial state is invalid.
    #[error("field `storage_state` cannot be used: {0}")]
    StorageState(#[from] StorageStateError),
}

/// Plans sessions.
#[derive(Debug, Clone)]
pub struct Planner {
    /// The sites.
    pub sites: Arc<Sites>,
    /// The credentials.
    pub credentials: Arc<Credentials>,
    /// The launch profiles.
    pub launcher: Arc<BrowserLauncher>,
    /// The defaults of sessions.
    pub defaults: Arc<config::Sessions>,
    /// `chromium.profile`.
    pub profile: Arc<str>,
    /// The key for recognising accounts without storing their passwords.
    pub fingerprint: Arc<Fingerprint>,
}

impl Planner {
    /// Plans a session that a client requests.
    ///
    /// # Errors
    /// Returns why it cannot be created.
    pub fn plan(&self, wanted: CreateSession, now: Moment) -> Result<(Spec, SessionDetails), PlanError> {
        let planned = self.planned(wanted, now)?;
        planned.1.target.can_sign_in()?;
        Ok(planned)
    }

    /// Plans a session, whether or not it can sign in.
    fn planned(&self, wanted: CreateSession, now: Moment) -> Result<(Spec, SessionDetails), PlanError> {
        let site = match &wanted.site {
            None => None,
            Some(name) => Some(self.sites.get(name).ok_or_else(|| PlanError::UnknownSite(name.clone()))?),
        };
        let profile = wanted.profile.clone().unwrap_or_else(|| self.profile.to_string());
        let launch =
            self.launcher.launch(&profile).ok_or_else(|| PlanError::UnknownProfile(profile.clone()))?;
        let proxy = wanted.proxy.clone().map(|proxy| Proxy {
            server: proxy.server,
            username: proxy.username,
            password: proxy.password,
            bypass: proxy.bypass,
        });
        if let Some(Err(error)) = proxy.as_ref().map(Proxy::check) {
            return Err(FieldError::new("proxy", format!("cannot be used: {error}")).into());
        }
        let begins_with = match &wanted.storage_state {
            None => None,
            Some(state) => Some(Arc::new(Checkpoint::from_storage_state(state, wall(now).0)?)),
        };
        let asked_url = wanted.url.clone().filter(|_| site.is_none());
        let start_url = match &site {
            Some(site) => site.definition.start_url.clone(),
            None => wanted.url.unwrap_or_else(|| EMPTY_PAGE.to_owned()),
        };
        let login = match wanted.credential {
            None => Login::Own { username: wanted.username, password: wanted.password },
            Some(name) => Login::Named { name, credentials: Arc::clone(&self.credentials) },
        };
        let target = SessionTarget { site, start_url, login };
        let site = target.site.as_ref();
        let site_name = wanted.site.as_deref();
        let spec = Spec {
            whose: self.whose(site_name, asked_url.as_deref(), &target.login),
            identity: site_name.and_then(|site| self.identity(site, &target.login, wanted.name.as_deref())),
            name: wanted.name,
            site: site_name.map(|site| self.site_id(site)),
            max_sign_ins: site
                .and_then(|site| site.definition.max_sign_ins)
                .and_then(|limit| limit.try_into().ok()),
            refresh_jitter: site
                .and_then(|site| site.definition.refresh.jitter)
                .map_or(Duration::ZERO, Seconds::to_duration),
            asleep: asleep_refresh(&target),
            access: target.access(&self.fingerprint),
            launch,
            isolation: match wanted.isolation {
                Isolation::Shared => core::Isolation::Shared,
                Isolation::Dedicated => core::Isolation::Dedicated,
            },
            freezes: site.is_none_or(|site| site.definition.freeze),
            policy: Policy {
                keep_alive: wanted.keep_alive,
                never_terminate: wanted.never_terminate,
                idle_timeout: wanted.idle_timeout.map_or(self.defaults.idle_timeout, Seconds::to_duration),
                default_refresh: match site.and_then(|site| site.definition.refresh.every) {
                    Some(every) => every.unless_never(),
                    None => self.defaults.refresh_interval,
                },
                own_refresh: wanted.refresh_interval.map(Seconds::unless_never),
            },
        };
        let dialogs = site.map(|site| site.definition.dialogs.clone()).unwrap_or_default().into();
        let details = SessionDetails {
            site: wanted.site,
            profile,
            isolation: wanted.isolation,
            tags: wanted.tags,
            window: WindowOptions {
                proxy,
                viewport: wanted.viewport.map(|viewport| (viewport.width, viewport.height)),
                dialogs,
                ..WindowOptions::default()
            },
            target: Arc::new(target),
            begins_with,
            owners: BTreeMap::new(),
            connections: BTreeSet::new(),
            left_at: None,
            stored_bytes: None,
            stored_at: None,
        };
        Ok((spec, details))
    }

    fn site_id(&self, name: &str) -> SiteId {
        SiteId(self.fingerprint.of(&[name]))
    }

    /// Returns the sites whose quiet hours include this time of day.
    pub(crate) fn quiet_sites(&self, hour: u16, minute: u16) -> BTreeSet<SiteId> {
        let quiet = |name: &String| {
            let hours = self.sites.get(name).and_then(|site| site.definition.quiet_hours);
            hours.is_some_and(|hours| hours.contain(hour, minute))
        };
        self.sites.names().into_iter().filter(quiet).map(|name| self.site_id(&name)).collect()
    }

    /// Returns what a request says about the owner of the session.
    fn whose(&self, site: Option<&str>, url: Option<&str>, login: &Login) -> Whose {
        let digest = |field: &str, text: &str| self.fingerprint.of(&["whose", field, text]);
        // The same address can be written in several ways.
        let url = url.map(|url| Url::parse(url).map_or_else(|_| url.to_owned(), String::from));
        Whose {
            site: site.map(|site| digest("site", site)),
            url: url.map(|url| digest("url", &url)),
            username: login.username().map(|username| digest("username", &username)),
            credential: login.credential().map(|credential| digest("credential", credential)),
            password: login.own_password().map(|password| digest("password", password.expose_secret())),
        }
    }

    /// Returns what identifies equal requests. Sessions with the same credential are told apart by their names.
    fn identity(&self, site: &str, login: &Login, name: Option<&str>) -> Option<u64> {
        match (login, name) {
            (Login::Own { username, password }, _) => {
                username.as_ref().map(|user| self.fingerprint.identity(site, user, password.as_ref()))
            }
            (Login::Named { name, .. }, None) => Some(self.fingerprint.of(&["credential", site, name])),
            (Login::Named { .. }, Some(_)) => None,
        }
    }

    /// Plans a stored session according to the current configuration. Settings that no longer exist are dropped and
    /// reported.
    ///
    /// # Errors
    /// Returns why the session cannot be restored.
    pub fn recall(
        &self,
        record: SessionRecord,
        now: Moment,
    ) -> Result<(PersistedSession, SessionDetails), PlanError> {
        let mut attention = record.attention.clone();
        let mut wanted = CreateSession {
            name: record.name.clone(),
            site: record.site.clone(),
            url: record.site.is_none().then(|| record.start_url.clone()),
            username: record.username.clone(),
            password: record.password.clone(),
            credential: record.credential.clone(),
            keep_alive: record.keep_alive,
            never_terminate: record.never_terminate,
            idle_timeout: Some(seconds(record.idle_timeout_ms)),
            refresh_interval: record.refresh_interval_ms.map(seconds),
            profile: Some(record.profile.clone()),
            isolation: if record.dedicated { Isolation::Dedicated } else { Isolation::Shared },
            proxy: record.proxy.clone().map(|proxy| pilotlight_api::Proxy {
                server: proxy.server,
                username: proxy.username,
                password: proxy.password,
                bypass: proxy.bypass,
            }),
            viewport: record.viewport.map(|(width, height)| Viewport { width, height }),
            storage_state: None,
            tags: record.tags.clone(),
        };
        if self.launcher.launch(&record.profile).is_none() {
            tracing::warn!(session_id = %record.id, profile = record.profile, "a session's launch profile no longer exists");
            wanted.profile = None;
        }
        let gone = record.site.as_ref().filter(|site| self.sites.get(site).is_none());
        if let Some(site) = gone {
            attention = Some(match self.sites.broken().get(site) {
                Some(problem) => format!("its site `{site}` cannot be used: {problem}"),
                None => format!("its site `{site}` is no longer configured"),
            });
            (wanted.site, wanted.url) = (None, Some(record.start_url.clone()));
        }
        let (mut spec, mut details) = self.planned(wanted, now)?;
        // The site's flow may now type values that were not requested when the session was created.
        let lacking = match details.target.can_sign_in() {
            Ok(()) => None,
            Err(CannotSignIn::UsernameNotUsed) => {
                Some("its site's sign-in flow types a fixed user name, which is not this session's")
            }
            Err(_) => Some("its site's sign-in flow now needs values that the session does not have"),
        };
        attention = attention.or(lacking.map(str::to_owned));
        spec.policy.idle_timeout = Duration::from_millis(record.idle_timeout_ms);
        details.site.clone_from(&record.site);
        details.left_at.clone_from(&record.left_at);
        let owner = |hold: &HoldRecord| Some((HoldId(hold.id.as_u128()), hold.owner.clone()?));
        details.owners = record.holds.iter().filter_map(owner).collect();
        let kept = PersistedSession {
            id: SessionId(record.id.as_u128()),
            spec,
            created_at: Moment(record.created_at_ms),
            last_used: Moment(record.last_used_ms),
            last_refresh: record.last_refresh_ms.map(Moment),
            signed_in_at: record.signed_in_at_ms.map(Moment),
            sign_in: sign_in_of(record.sign_in.as_ref()),
            attention,
            refused: record.refused,
            tried_at: record.tried_at_ms.map(Moment),
            live: record.live,
            ended: record.ended.as_ref().map(|ended| (Moment(ended.at_ms), reason_of(&ended.reason))),
            holds: record
                .holds
                .iter()
                .map(|hold| Hold {
                    id: HoldId(hold.id.as_u128()),
                    shared: hold.shared,
                    quiet: hold.quiet,
                    silent_since: None,
                    expires_at: Moment(hold.expires_at_ms),
                })
                .collect(),
        };
        Ok((kept, details))
    }
}

/// Returns how a session is refreshed while it hibernates.
fn asleep_refresh(target: &SessionTarget) -> AsleepRefresh {
    let Some(site) = &target.site else {
        // An empty page has nothing to keep.
        return if target.start_url == EMPTY_PAGE { AsleepRefresh::Never } else { AsleepRefresh::Visit };
    };
    let refresh = &site.definition.refresh;
    match (refresh.asleep, refresh.how) {
        (RefreshAsleep::Never, _) => AsleepRefresh::Never,
        (RefreshAsleep::Document, _) => AsleepRefresh::Document,
        (RefreshAsleep::Window, RefreshHow::Reload) => AsleepRefresh::Visit,
        (RefreshAsleep::Window, RefreshHow::Visit | RefreshHow::Request | RefreshHow::Flow) => {
            AsleepRefresh::VisitAndRefresh
        }
    }
}

fn seconds(span_ms: u64) -> Seconds {
    Seconds::new(span_ms / 1000)
}
