//! The specification of a session, and its policy.

use std::time::Duration;

use crate::ids::{AccountId, LaunchKey, LoginId, SiteId};

/// Whether a session shares its Chromium process with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// It has a browser context in a shared process.
    Shared,
    /// A process and a profile of its own.
    Dedicated,
    /// The same, for a session that slowed down the others in its browser. Its processes get a lower priority.
    Quarantined,
}

/// How a session is refreshed while it hibernates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AsleepRefresh {
    /// It is not.
    #[default]
    Never,
    /// Its page is loaded, which is how it is refreshed.
    Visit,
    /// Its page is loaded, and then it is refreshed in the way of its site.
    VisitAndRefresh,
    /// A document is loaded with its cookies alone. If that does not show that it is signed in, the same as
    /// [`Self::VisitAndRefresh`].
    Document,
}

/// The same, with the experience so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AsleepWay {
    pub(crate) how: AsleepRefresh,
    /// A document alone did not show that it is signed in: refreshes open a window with all of its state until one
    /// succeeds that way.
    pub(crate) needs_state: bool,
}

impl From<AsleepRefresh> for AsleepWay {
    fn from(how: AsleepRefresh) -> Self {
        Self { how, needs_state: false }
    }
}

/// The policy of a session, which clients may set and change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// It never ends because it is idle.
    pub keep_alive: bool,
    /// It ends only when a client closes it, and is refreshed only if `own_refresh` says so.
    pub never_terminate: bool,
    /// How long a session that is not kept alive may be unused.
    pub idle_timeout: Duration,
    /// The refresh interval if the client set none (that of the site or of the configuration).
    pub default_refresh: Option<Duration>,
    /// The refresh interval that the client set: `Some(None)` is "never".
    pub own_refresh: Option<Option<Duration>>,
}

impl Policy {
    /// Returns the refresh interval; `None` is never.
    #[must_use]
    pub fn refresh_interval(&self) -> Option<Duration> {
        match self.own_refresh {
            Some(own) => own,
            None if self.never_terminate || !self.keep_alive => None,
            None => self.default_refresh,
        }
    }
}

/// Changes to a session's name and policy; `None` is no change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyPatch {
    /// A new name, unique among living sessions.
    pub name: Option<String>,
    /// See [`Policy::keep_alive`].
    pub keep_alive: Option<bool>,
    /// See [`Policy::never_terminate`].
    pub never_terminate: Option<bool>,
    /// See [`Policy::idle_timeout`].
    pub idle_timeout: Option<Duration>,
    /// See [`Policy::own_refresh`].
    pub refresh_interval: Option<Option<Duration>>,
}

/// The login of a session, as far as the rules need it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Access {
    /// Portal and user name, if both are known.
    pub account: Option<AccountId>,
    /// The same with the password.
    pub login: Option<LoginId>,
    /// Whether Pilotlight can sign it in: there is a flow and all of its inputs.
    pub can_sign_in: bool,
}

/// The account of a session, as far as its request says: digests that are equal only for equal values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Whose {
    /// The site.
    pub site: Option<u64>,
    /// The start page of a session without a site.
    pub url: Option<u64>,
    /// The user name.
    pub username: Option<u64>,
    /// The name of a credential.
    pub credential: Option<u64>,
    /// The password, if the request contains it.
    pub password: Option<u64>,
}

/// How a request differs from the existing session of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// Another site.
    Site,
    /// Another page.
    Url,
    /// Another user name.
    Username,
    /// Another credential.
    Credential,
    /// Another password.
    Password,
}

impl Whose {
    /// Returns how a request differs. What it leaves open matches everything.
    pub(crate) fn differs_from(&self, session: &Self) -> Vec<Difference> {
        let pairs = [
            (Difference::Site, self.site, session.site),
            (Difference::Url, self.url, session.url),
            (Difference::Username, self.username, session.username),
            (Difference::Credential, self.credential, session.credential),
            (Difference::Password, self.password, session.password),
        ];
        let differs = pairs.into_iter().filter(|(_, asked, has)| asked.is_some() && asked != has);
        differs.map(|(difference, ..)| difference).collect()
    }
}

/// A requested session, as far as the rules need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// A name chosen by the client, unique among living sessions.
    pub name: Option<String>,
    /// Site, user name and password: requests with equal ones get the same session.
    pub identity: Option<u64>,
    /// Its account: a request with the name of an existing session gets it only if this does not differ.
    pub whose: Whose,
    /// The site, if there is one.
    pub site: Option<SiteId>,
    /// How many of the site's sessions may sign in at once; `None` is the limit for all sites.
    pub max_sign_ins: Option<usize>,
    /// Refreshes are made up to this much earlier than necessary.
    pub refresh_jitter: Duration,
    /// How it is refreshed while it hibernates.
    pub asleep: AsleepRefresh,
    /// Its login.
    pub access: Access,
    /// How its browser is started.
    pub launch: LaunchKey,
    /// Whether it shares that browser.
    pub isolation: Isolation,
    /// Whether its pages may be frozen while it is not used.
    pub freezes: bool,
    /// Its policy.
    pub policy: Policy,
}
