//! What of a session outlives the rules that know it.

use crate::action::EndedReason;
use crate::ids::{LaunchKey, SessionId, ShardId};
use crate::session::{Hold, Session};
use crate::sign_in::SignIn;
use crate::spec::{Isolation, Spec};
use crate::time::Moment;

/// A session as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersistedSession {
    /// Its id.
    pub id: SessionId,
    /// What was asked for, with all that was changed since.
    pub spec: Spec,
    /// When it was let in.
    pub created_at: Moment,
    /// When a client last used it.
    pub last_used: Moment,
    /// When a refresh last worked.
    pub last_refresh: Option<Moment>,
    /// When a sign-in last worked.
    pub signed_in_at: Option<Moment>,
    /// How it stands with its portal, as far as was last seen.
    pub sign_in: SignIn,
    /// What a person should know or do.
    pub attention: Option<String>,
    /// Whether the portal refused its sign-in.
    pub refused: bool,
    /// When its sign-in was typed whose outcome nobody knows yet.
    pub tried_at: Option<Moment>,
    /// Whether it had a window, or was to have one.
    pub live: bool,
    /// When and why it ended.
    pub ended: Option<(Moment, EndedReason)>,
    /// The holds on it.
    pub holds: Vec<Hold>,
}

/// A browser that outlived the rules that had it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdoptedShard {
    /// What it is called from now on.
    pub id: ShardId,
    /// Which new windows it may take.
    pub launch: LaunchKey,
    /// Whether it is one session's own.
    pub isolation: Isolation,
    /// When it was started.
    pub since: Moment,
    /// It is not as browsers are started now, and is to be given up.
    pub outdated: bool,
}

impl Session {
    /// What is to be written down of it: nothing before it stood for the first time, since until then nobody
    /// was promised anything.
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
