//! What of a session outlives the rules that know it, and how new rules take it up.

use crate::action::EndedReason;
use crate::freezing::Motion;
use crate::ids::{LaunchKey, SessionId, ShardId};
use crate::input::{Activity, Isolation, Spec};
use crate::rules::Rules;
use crate::session::{Doing, Hold, Session, Window};
use crate::time::Moment;

/// A session as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
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
pub struct KeptShard {
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
    pub fn kept(&self) -> Option<Kept> {
        let spec = Spec {
            name: self.name.clone(),
            identity: self.identity,
            site: self.site,
            max_sign_ins: self.max_sign_ins,
            refresh_jitter: self.refresh_jitter,
            access: self.access,
            launch: self.launch,
            isolation: self.isolation,
            freezes: self.freezes,
            policy: self.policy.clone(),
        };
        self.established.then(|| Kept {
            id: self.id,
            spec,
            created_at: self.created_at,
            last_used: self.last_used,
            last_refresh: self.last_refresh,
            signed_in_at: self.signed_in_at,
            attention: self.attention.clone(),
            refused: self.refused,
            tried_at: self.tried_at,
            live: !self.asleep,
            ended: self.ended,
            holds: self.holds.clone(),
        })
    }

    fn of(kept: Kept, now: Moment) -> Self {
        let mut session = Self::new(kept.id, kept.spec, Vec::new(), now);
        session.created_at = kept.created_at;
        session.last_used = kept.last_used;
        session.last_refresh = kept.last_refresh;
        session.signed_in_at = kept.signed_in_at;
        session.attention = kept.attention;
        session.refused = kept.refused;
        session.tried_at = kept.tried_at;
        session.typed = session.access.login;
        session.ended = kept.ended;
        session.holds = kept.holds;
        session.holds.retain(|hold| hold.expires_at > now);
        session.established = true;
        session.asleep = true;
        session.fresh_at = kept.last_refresh.max(kept.signed_in_at).unwrap_or(kept.created_at).min(now);
        "the server was started anew".clone_into(&mut session.why);
        session
    }
}

impl Rules {
    /// Takes up what an earlier run left. Windows that stand are kept; sessions whose window is lost come
    /// back as far as there are places, those first that never terminate, then the most recently used.
    pub(crate) fn resume(
        &mut self,
        sessions: Vec<Kept>,
        shards: &[KeptShard],
        windows: &[(SessionId, ShardId)],
        now: Moment,
    ) {
        for shard in shards {
            self.shards.adopt(*shard, now);
        }
        let mut lost = Vec::new();
        for kept in sessions {
            let live = kept.live;
            let mut session = Session::of(kept, now);
            // Where no window is left to show what came of a try, another is all that can tell.
            session.tried_at = session.tried_at.filter(|_| windows.iter().any(|(id, _)| *id == session.id));
            let id = session.id;
            if live && session.ended.is_none() {
                lost.push((!session.policy.never_terminate, std::cmp::Reverse(session.last_used), id));
            }
            self.sessions.insert(id, session);
        }
        for (id, shard) in windows {
            self.take_up(*id, *shard, now);
        }
        lost.sort_unstable();
        for (_, _, id) in lost {
            let full = self.occupied() >= self.limits.max_live;
            let Some(session) = self.sessions.get_mut(&id).filter(|session| session.asleep) else { continue };
            if !full {
                session.asleep = false;
                session.recovering = true;
                session.attention = None;
            }
        }
        for session in self.sessions.values_mut() {
            session.announced = Some(session.state());
        }
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            self.touch(id);
            let interval = self.sessions.get(&id).and_then(|session| session.policy.refresh_interval());
            self.look_within(interval, now);
        }
    }

    /// A window that outlived the rules: whether a sign-in was typed in it whose outcome it shows, and how its page stands is looked at before anything else is done, and its
    /// state is written down soon, since nobody told of changes meanwhile.
    fn take_up(&mut self, id: SessionId, shard: ShardId, now: Moment) {
        let Some(entry) = self.shards.all.get_mut(&shard) else { return };
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.ended.is_none()) else {
            return;
        };
        entry.windows.insert(id);
        session.asleep = false;
        session.window = Window::Open(shard);
        session.restored = true;
        session.doing = Doing::Next(Activity::Look);
        // It may stand still: it is told to run before it is looked at.
        session.motion = Motion::Frozen;
        self.save_by(id, now + self.limits.save_delay);
    }
}
