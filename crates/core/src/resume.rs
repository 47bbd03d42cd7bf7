//! How a new server continues with what an earlier one left.

use std::collections::BTreeSet;

use crate::activity::Activity;
use crate::contents::{ActivityState, Attempt, FreezeState};
use crate::ids::{SessionId, ShardId};
use crate::index::Set;
use crate::persisted::{AdoptedShard, PersistedSession};
use crate::rules::Rules;
use crate::session::{CloseReason, Hold, Residence, Session, Window};
use crate::time::Moment;

impl Session {
    fn of(kept: PersistedSession, now: Moment) -> Self {
        let mut session = Self::new(kept.id, kept.spec, Vec::new(), now);
        session.created_at = kept.created_at;
        session.last_used = kept.last_used;
        session.last_refresh = kept.last_refresh;
        session.signed_in_at = kept.signed_in_at;
        session.attention = kept.attention;
        session.refused = kept.refused;
        session.sign_in = kept.sign_in;
        if !session.refused {
            session.sign_in.forget_refusal();
        }
        session.contents.attempt =
            kept.tried_at.map_or(Attempt::None, |typed_at| Attempt::Unknown { typed_at });
        session.typed = session.access.login;
        session.ended = kept.ended;
        // Clients were disconnected with the earlier server, and silent ones do not reconnect.
        let holds = kept.holds.into_iter().filter(|hold| hold.expires_at > now);
        session.holds = holds.map(|hold| Hold { silent_since: None, ..hold }).collect();
        session.established = true;
        session.residence = Residence::Hibernating { was_recovering: false };
        session.fresh_at = kept.last_refresh.max(kept.signed_in_at).unwrap_or(kept.created_at).min(now);
        "the server was restarted".clone_into(&mut session.why);
        session
    }
}

impl Rules {
    /// Takes over what an earlier server left. Open windows are kept; sessions whose window is lost are restored as
    /// far as there are places: first those that never terminate, then the most recently used.
    pub(crate) fn resume(
        &mut self,
        sessions: Vec<PersistedSession>,
        shards: &[AdoptedShard],
        windows: &[(SessionId, ShardId)],
        now: Moment,
    ) {
        for shard in shards {
            self.shards.adopt(*shard, now);
        }
        let (mut lost, mut asleep) = (Vec::new(), BTreeSet::new());
        for kept in sessions {
            let live = kept.live;
            let mut session = Session::of(kept, now);
            // If no window is left to show the outcome of an attempt, only another attempt can.
            if windows.iter().all(|(id, _)| *id != session.id) {
                session.contents.attempt = Attempt::None;
            }
            let id = session.id;
            if live && session.ended.is_none() {
                lost.push((!session.policy.never_terminate, std::cmp::Reverse(session.last_used), id));
            } else if session.ended.is_none() {
                asleep.insert(id);
            }
            self.sessions.insert(session);
        }
        for (id, shard) in windows {
            self.take_up(*id, *shard, now);
        }
        // Their places are counted first.
        let has_none = |id: &SessionId| self.sessions.get(id).is_some_and(Session::is_hibernating);
        let wanted = lost.iter().filter(|(_, _, id)| has_none(id)).count();
        for (id, shard) in windows.iter().filter(|(id, _)| asleep.contains(id)) {
            self.send_away_again(*id, *shard, wanted);
        }
        lost.sort_unstable();
        for (_, _, id) in lost {
            let full = self.occupied() >= self.limits.max_live;
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            if session.is_hibernating() && !full {
                session.residence = Residence::Recovering;
                session.attention = None;
            }
        }
        for id in self.sessions.ids() {
            let Some(mut session) = self.session_mut(id) else { continue };
            session.touch();
            session.announced = Some(session.state());
            let interval = session.policy.refresh_interval();
            session.check_within(interval);
        }
    }

    /// Handles a window that was to be closed, or was open for a refresh, when the earlier server ended. Its state
    /// may be newer than the stored one.
    ///
    /// The outcome of a sign-in that was typed in it is checked first.
    fn send_away_again(&mut self, id: SessionId, shard: ShardId, wanted: usize) {
        let refreshing = self.sessions.fresh().count(Set::RefreshWindows);
        let has_no_place =
            self.occupied() + wanted > self.limits.max_live && refreshing < self.limits.asleep_windows;
        let may_go = |session: &Session| session.contents.restored && !session.in_use();
        let Some(mut session) = self.session_if(id, may_go) else { return };
        let was_tried = session.tried_at().is_some();
        if has_no_place {
            session.residence = Residence::RefreshingAsleep { since: session.now };
        } else if !was_tried {
            session.residence = Residence::Hibernating { was_recovering: false };
        }
        if !was_tried {
            session.contents.activity = ActivityState::Idle;
            session.save_and_close(shard, CloseReason::Hibernate);
        }
    }

    /// Handles a window that was kept. Before all else, the outcome of a sign-in that was typed in it and its status
    /// are checked; its state is saved soon, since changes were not noticed meanwhile.
    fn take_up(&mut self, id: SessionId, shard: ShardId, now: Moment) {
        if self.shards.get(shard).is_none() {
            return;
        }
        let is_living = |session: &Session| session.ended.is_none();
        let Some(mut session) = self.session_if(id, is_living) else { return };
        session.shards.enter(shard, id);
        session.residence = Residence::Settled;
        session.window = Window::Open(shard);
        session.contents.restored = true;
        session.contents.activity = ActivityState::Next(Activity::Look);
        // It may be frozen: it is thawed before the check.
        session.contents.freeze_state = FreezeState::Frozen { since: now };
        session.save_by(now + session.limits.save_delay);
    }
}
