//! What a session is asked to be, and how it is to be treated.

use std::time::Duration;

use crate::ids::{AccountId, LaunchKey, LoginId, SiteId};

/// Whether a session shares its Chromium with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// A browser context beside others in one process.
    Shared,
    /// A process and a profile of its own.
    Dedicated,
    /// The same, for a session that held up the others of its browser. Its processes yield to all others.
    Quarantined,
}

/// How a session is refreshed while it hibernates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AsleepRefresh {
    /// It is not.
    #[default]
    Never,
    /// Its page is loaded, which is how its portal is refreshed.
    Visit,
    /// Its page is loaded, and then its portal is refreshed in another way.
    VisitAndRefresh,
    /// A document is loaded with its cookies alone. Where that does not show that it is signed in, the same as
    /// [`Self::VisitAndRefresh`].
    Document,
}

/// The same, with what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AsleepWay {
    pub(crate) how: AsleepRefresh,
    /// A document alone did not show that it is signed in: it takes a window with all of its state, until that has.
    pub(crate) needs_state: bool,
}

impl From<AsleepRefresh> for AsleepWay {
    fn from(how: AsleepRefresh) -> Self {
        Self { how, needs_state: false }
    }
}

/// What a client may choose, and change later, about how a session is treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// It never ends of idleness.
    pub keep_alive: bool,
    /// Nothing but an explicit close ends it, and it is refreshed only where `own_refresh` says so.
    pub never_terminate: bool,
    /// How long one that is not kept alive may be unused.
    pub idle_timeout: Duration,
    /// How often to refresh where the client said nothing (the site's or the configured interval).
    pub default_refresh: Option<Duration>,
    /// What the client said: `Some(None)` is "never".
    pub own_refresh: Option<Option<Duration>>,
}

impl Policy {
    /// Returns how often it is refreshed; `None` is never.
    #[must_use]
    pub fn refresh_interval(&self) -> Option<Duration> {
        match self.own_refresh {
            Some(own) => own,
            None if self.never_terminate || !self.keep_alive => None,
            None => self.default_refresh,
        }
    }
}

/// Changes to a session's name and policy; `None` leaves as it is.
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

/// With what a session is signed in, as far as the rules care.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Access {
    /// Portal and user name, where there are both.
    pub account: Option<AccountId>,
    /// The same with the password.
    pub login: Option<LoginId>,
    /// Whether Pilotlight is able to sign it in: a flow and what the flow needs.
    pub can_sign_in: bool,
}

/// Whose window a session is, as far as a request says so: digests that equal words alone share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Whose {
    /// The site.
    pub site: Option<u64>,
    /// The page of a session without a site.
    pub url: Option<u64>,
    /// The user name.
    pub username: Option<u64>,
    /// The name of a credential.
    pub credential: Option<u64>,
    /// The password, where it came with the request.
    pub password: Option<u64>,
}

/// What a request says otherwise than it is with the session of the same name.
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
    /// What is asked for here and is not so there. What a request leaves open fits everything.
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

/// A session to be made, as far as the rules care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// A name that the client chose; equal names are one session.
    pub name: Option<String>,
    /// The same site, user name and password: equal ones are one session.
    pub identity: Option<u64>,
    /// Whose it is: sessions of one name are one only where this does not say otherwise.
    pub whose: Whose,
    /// The site, where there is one.
    pub site: Option<SiteId>,
    /// How many of the site's sessions may sign in at once; `None` is as many as of every site.
    pub max_sign_ins: Option<usize>,
    /// Refreshes come up to so much earlier than they must.
    pub refresh_jitter: Duration,
    /// How it is refreshed while it hibernates.
    pub asleep: AsleepRefresh,
    /// With what it is signed in.
    pub access: Access,
    /// How its browser is started.
    pub launch: LaunchKey,
    /// Whether it shares that browser.
    pub isolation: Isolation,
    /// Whether its pages bear standing still when nobody uses it.
    pub freezes: bool,
    /// How it is treated.
    pub policy: Policy,
}
