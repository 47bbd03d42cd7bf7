//! The data of a session that is stored.

use crate::action::EndedReason;
use crate::ids::{LaunchKey, SessionId, ShardId};
use crate::session::{Hold, Session};
use crate::sign_in::SignIn;
use crate::spec::{Isolation, Spec};
use crate::time::Moment;

/// A session as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersistedSession {
    /// Its id.
    pub id: SessionId,
    /// What was requested, with all later changes.
    pub spec: Spec,
    /// When it was admitted.
    pub created_at: Moment,
    /// When a client last used it.
    pub last_used: Moment,
    /// When a refresh last succeeded.
    pub last_refresh: Option<Moment>,
    /// When a sign-in last succeeded.
    pub signed_in_at: Option<Moment>,
    /// Its sign-in status, as last seen.
    pub sign_in: SignIn,
    /// A message for people: what to know or to do.
    pub attention: Option<String>,
    /// Whether the portal rejected its sign-in.
    pub refused: bool,
    /// When a sign-in was typed whose outcome is not known yet.
    pub tried_at: Option<Moment>,
    /// Whether it had a window, or should have had one.
    pub live: bool,
    /// When and why it ended.
    pub ended: Option<(Moment, EndedReason)>,
    /// The holds on it.
    pub holds: Vec<Hold>,
}

/// A browser that was started by an earlier server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdoptedShard {
    /// Its id from now on.
    pub id: ShardId,
    /// The kind of windows that it may take.
    pub launch: LaunchKey,
    /// Whether it is for one session only.
    pub isolation: Isolation,
    /// When it was started.
    pub since: Moment,
    /// It was started in another way than browsers are now, and is to be retired.
    pub outdated: bool,
}

impl Session {
    /// Returns the data to store, or `None` before the session was ready for the first time, since until then nothing
    /// was promised to a client.
    #[must_use]
    pub fn persisted(&self) -> Option<PersistedSession> {
        let spec = Spec {
            name: self.name.clone(),
            identity: self.identity,
            whose: self.whose,
            site: self.site,
            max_sign_ins: self.max_sign_ins,
            refresh_jitter: self.refresh_jitter,
            asleep: self.asleep.how,
            access: self.access,
            launch: self.launch,
            isolation: self.isolation,
            freezes: self.freezes,
            policy: self.policy.clone(),
        };
        self.established.then(|| PersistedSession {
            id: self.id,
            spec,
            created_at: self.created_at,
            last_used: self.last_used,
            last_refresh: self.last_refresh,
            signed_in_at: self.signed_in_at,
            sign_in: self.sign_in.clone(),
            attention: self.attention.clone(),
            refused: self.refused,
            tried_at: self.tried_at(),
            live: !self.is_hibernating(),
            ended: self.ended,
            holds: self.holds.clone(),
        })
    }
}
