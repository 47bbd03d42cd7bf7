//! From what a client wants, or what is written down, to what the rules and the workers need; and back.
//!
//! A session that comes out of the store is planned in the same way as a new one, so that it is treated by
//! the configuration of today.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pilotlight_api::{CreateSession, FieldError, Isolation, Seconds, Viewport};
use pilotlight_chromium::{Proxy, WindowOptions};
use pilotlight_core::{
    self as core, Access, AccountId, EndedReason, Hold, HoldId, Kept, LoginId, Moment, Policy, SessionId,
    SiteId, Spec,
};
use pilotlight_flow::placeholders::TOTP;
use pilotlight_store::record::{EndedRecord, HoldRecord, ProxyRecord, SessionRecord};
use pilotlight_store::{Checkpoint, StorageStateError};
use url::Url;
use uuid::Uuid;

use crate::config;
use crate::credentials::{Credentials, Login};
use crate::fingerprint::Fingerprint;
use crate::keeper::{Details, Errand, Farm, ended_reason};
use crate::sites::Sites;

/// Where a window begins whose client wants to begin by itself.
const EMPTY_PAGE: &str = "about:blank";

/// Why a session cannot be had as it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// There is no such site.
    #[error("there is no site `{0}`")]
    UnknownSite(String),
    /// There is no such launch profile.
    #[error("there is no launch profile `{0}`")]
    UnknownProfile(String),
    /// A field cannot be used.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// There is no such credential.
    #[error("there is no credential `{0}`")]
    UnknownCredential(String),
    /// The site's sign-in types something that is not given.
    #[error("field `{0}` is missing: the site's sign-in types it")]
    Missing(&'static str),
    /// The site's sign-in types something that the credential does not have.
    #[error("field `credential` names one without `${{{0}}}`, which the site's sign-in types")]
    Lacks(&'static str),
    /// The state to begin with cannot be used.
    #[error("field `storage_state` cannot be used: {0}")]
    StorageState(#[from] StorageStateError),
}

/// All that a plan is made with.
#[derive(Debug, Clone)]
pub struct Planner {
    /// The sites that sessions can be made of.
    pub sites: Arc<Sites>,
    /// The credentials that sessions can name.
    pub credentials: Arc<Credentials>,
    /// The launch profiles that there are.
    pub farm: Arc<Farm>,
    /// How sessions are treated that do not say otherwise.
    pub defaults: Arc<config::Sessions>,
    /// `chromium.profile`.
    pub profile: Arc<str>,
    /// The key under which accounts are recognised without keeping their passwords.
    pub fingerprint: Arc<Fingerprint>,
}

impl Planner {
    /// What a client wants, planned.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn plan(&self, wanted: CreateSession, now: Moment) -> Result<(Spec, Details), PlanError> {
        let planned = self.planned(wanted, now)?;
        has_what_it_takes(&planned.1.errand)?;
        Ok(planned)
    }

    /// What is wanted, whether or not it can sign in.
    fn planned(&self, wanted: CreateSession, now: Moment) -> Result<(Spec, Details), PlanError> {
        let site = match &wanted.site {
            None => None,
            Some(name) => Some(self.sites.get(name).ok_or_else(|| PlanError::UnknownSite(name.clone()))?),
        };
        let profile = wanted.profile.clone().unwrap_or_else(|| self.profile.to_string());
        let launch = self.farm.launch(&profile).ok_or_else(|| PlanError::UnknownProfile(profile.clone()))?;
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
            Some(state) => Some(Arc::new(Checkpoint::from_storage_state(state, now.0)?)),
        };
        let start_url = match &site {
            Some(site) => site.definition.start_url.clone(),
            None => wanted.url.unwrap_or_else(|| EMPTY_PAGE.to_owned()),
        };
        let login = match wanted.credential {
            None => Login::Own { username: wanted.username, password: wanted.password },
            Some(name) => Login::Named { name, credentials: Arc::clone(&self.credentials) },
        };
        let errand = Errand { site, start_url, login };
        let site = errand.site.as_ref();
        let site_name = wanted.site.as_deref();
        let spec = Spec {
            identity: site_name.and_then(|site| self.identity(site, &errand.login, wanted.name.as_deref())),
            name: wanted.name,
            site: site_name.map(|site| self.site_id(site)),
            max_sign_ins: site
                .and_then(|site| site.definition.max_sign_ins)
                .and_then(|limit| limit.try_into().ok()),
            refresh_jitter: site
                .and_then(|site| site.definition.refresh.jitter)
                .map_or(Duration::ZERO, Seconds::to_duration),
            access: access(&self.fingerprint, &errand),
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
        let details = Details {
            site: wanted.site,
            profile,
            isolation: wanted.isolation,
            tags: wanted.tags,
            window: WindowOptions {
                proxy,
                viewport: wanted.viewport.map(|viewport| (viewport.width, viewport.height)),
                ..WindowOptions::default()
            },
            errand: Arc::new(errand),
            begins_with,
            owners: BTreeMap::new(),
            left_at: None,
            stored_bytes: None,
            stored_at: None,
        };
        Ok((spec, details))
    }

    fn site_id(&self, name: &str) -> SiteId {
        SiteId(self.fingerprint.of(&[name]))
    }

    /// The sites whose quiet hours this time of the day is in.
    pub(crate) fn quiet_sites(&self, hour: u16, minute: u16) -> BTreeSet<SiteId> {
        let quiet = |name: &String| {
            let hours = self.sites.get(name).and_then(|site| site.definition.quiet_hours);
            hours.is_some_and(|hours| hours.contain(hour, minute))
        };
        self.sites.names().into_iter().filter(quiet).map(|name| self.site_id(&name)).collect()
    }

    /// By what an equal request is recognised. Sessions of one credential are told apart by their names.
    fn identity(&self, site: &str, login: &Login, name: Option<&str>) -> Option<u64> {
        match (login, name) {
            (Login::Own { username, password }, _) => {
                username.as_ref().map(|user| self.fingerprint.identity(site, user, password.as_ref()))
            }
            (Login::Named { name, .. }, None) => Some(self.fingerprint.of(&["credential", site, name])),
            (Login::Named { .. }, Some(_)) => None,
        }
    }

    /// A session that was written down, as the configuration of today would have it. What that no longer has
    /// is done without, and said.
    ///
    /// # Errors
    /// Why it cannot be taken up at all.
    pub fn recall(&self, record: SessionRecord, now: Moment) -> Result<(Kept, Details), PlanError> {
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
        if self.farm.launch(&record.profile).is_none() {
            tracing::warn!(session_id = %record.id, profile = record.profile, "a session's launch profile is gone");
            wanted.profile = None;
        }
        let gone = record.site.as_ref().filter(|site| self.sites.get(site).is_none());
        if let Some(site) = gone {
            attention = Some(format!("its site `{site}` is no longer configured"));
            (wanted.site, wanted.url) = (None, Some(record.start_url.clone()));
        }
        let (mut spec, mut details) = self.planned(wanted, now)?;
        // What the site wants to type today may not have been asked for when the session was made.
        if has_what_it_takes(&details.errand).is_err() {
            attention = attention.or(Some("its site now asks for more than is known of it".to_owned()));
        }
        spec.policy.idle_timeout = Duration::from_millis(record.idle_timeout_ms);
        details.site.clone_from(&record.site);
        details.left_at.clone_from(&record.left_at);
        let owner = |hold: &HoldRecord| Some((HoldId(hold.id.as_u128()), hold.owner.clone()?));
        details.owners = record.holds.iter().filter_map(owner).collect();
        let kept = Kept {
            id: SessionId(record.id.as_u128()),
            spec,
            created_at: Moment(record.created_at_ms),
            last_used: Moment(record.last_used_ms),
            last_refresh: record.last_refresh_ms.map(Moment),
            signed_in_at: record.signed_in_at_ms.map(Moment),
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
                    expires_at: Moment(hold.expires_at_ms),
                })
                .collect(),
        };
        Ok((kept, details))
    }
}

/// A session as it is written down.
pub(crate) fn record(kept: &Kept, details: &Details) -> SessionRecord {
    let milliseconds = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let policy = &kept.spec.policy;
    let proxy = details.window.proxy.as_ref();
    SessionRecord {
        id: Uuid::from_u128(kept.id.0),
        name: kept.spec.name.clone(),
        site: details.site.clone(),
        username: details.errand.login.username().filter(|_| details.errand.login.credential().is_none()),
        password: details.errand.login.own_password().cloned(),
        credential: details.errand.login.credential().map(str::to_owned),
        start_url: details.errand.start_url.clone(),
        profile: details.profile.clone(),
        dedicated: details.isolation == Isolation::Dedicated,
        proxy: proxy.map(|proxy| ProxyRecord {
            server: proxy.server.clone(),
            username: proxy.username.clone(),
            password: proxy.password.clone(),
            bypass: proxy.bypass.clone(),
        }),
        viewport: details.window.viewport,
        tags: details.tags.clone(),
        keep_alive: policy.keep_alive,
        never_terminate: policy.never_terminate,
        idle_timeout_ms: milliseconds(policy.idle_timeout),
        refresh_interval_ms: policy.own_refresh.map(|own| own.map_or(0, milliseconds)),
        created_at_ms: kept.created_at.0,
        last_used_ms: kept.last_used.0,
        last_refresh_ms: kept.last_refresh.map(|at| at.0),
        signed_in_at_ms: kept.signed_in_at.map(|at| at.0),
        attention: kept.attention.clone(),
        refused: kept.refused,
        tried_at_ms: kept.tried_at.map(|at| at.0),
        left_at: details.left_at.clone(),
        live: kept.live,
        ended: kept.ended.map(|(at, reason)| EndedRecord {
            at_ms: at.0,
            reason: ended_reason(reason).as_str().to_owned(),
        }),
        holds: kept
            .holds
            .iter()
            .map(|hold| HoldRecord {
                id: Uuid::from_u128(hold.id.0),
                shared: hold.shared,
                owner: details.owners.get(&hold.id).cloned(),
                expires_at_ms: hold.expires_at.0,
            })
            .collect(),
    }
}

fn reason_of(word: &str) -> EndedReason {
    use EndedReason as Reason;
    let all = [
        Reason::ClosedByClient,
        Reason::IdleTimeout,
        Reason::Evicted,
        Reason::SignInFailed,
        Reason::StartFailed,
    ];
    // A word of a newer version says at least that it is over.
    all.into_iter().find(|reason| ended_reason(*reason).as_str() == word).unwrap_or(Reason::ClosedByClient)
}

fn seconds(span_ms: u64) -> Seconds {
    Seconds::new(span_ms / 1000)
}

/// Whether the site's flow can be filled in. A site without a flow is signed in to by a person.
fn has_what_it_takes(errand: &Errand) -> Result<(), PlanError> {
    if let Login::Named { name, credentials } = &errand.login
        && credentials.get(name).is_none()
    {
        return Err(PlanError::UnknownCredential(name.clone()));
    }
    let flow = errand.site.as_ref().and_then(|site| site.sign_in.as_ref());
    match flow.and_then(|flow| errand.login.lacks(flow)) {
        None => Ok(()),
        Some(TOTP) if errand.login.credential().is_none() => Err(PlanError::Missing("credential")),
        Some(field) if errand.login.credential().is_none() => Err(PlanError::Missing(field)),
        Some(placeholder) => Err(PlanError::Lacks(placeholder)),
    }
}

/// With what a session is signed in at the moment. One portal may be several sites: an account is the portal's.
pub(crate) fn access(fingerprint: &Fingerprint, errand: &Errand) -> Access {
    let flow = errand.site.as_ref().and_then(|site| site.sign_in.as_ref());
    let can_sign_in = flow.is_some() && has_what_it_takes(errand).is_ok();
    let portal = Url::parse(&errand.start_url).ok().filter(|_| errand.site.is_some());
    let Some((portal, user)) = portal.zip(errand.login.username()) else {
        return Access { can_sign_in, ..Access::default() };
    };
    let portal = portal.origin().ascii_serialization();
    Access {
        account: Some(AccountId(fingerprint.of(&[&portal, &user]))),
        login: Some(LoginId(fingerprint.identity(&portal, &user, errand.login.password().as_ref()))),
        can_sign_in,
    }
}
