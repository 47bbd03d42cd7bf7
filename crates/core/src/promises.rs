//! Undoing changes that could not be stored: the client was not told of them, and no other client may see them.

use crate::action::{EndedReason, NoticeKind};
use crate::activity::Failure;
use crate::ids::SessionId;
use crate::input::{Input, Promise};
use crate::rules::Rules;
use crate::session::Session;

impl Promise {
    /// Returns what a request is about to be promised. `before` is its session before the request.
    #[must_use]
    pub fn of(input: &Input, before: Option<&Session>) -> Option<Self> {
        match input {
            Input::Create { .. } => Some(Self::Created),
            Input::Hold { hold, .. } => Some(Self::Held(*hold)),
            Input::ExtendHold { hold, .. } => {
                let held = before?.holds.iter().find(|held| held.id == *hold)?;
                Some(Self::Extended { hold: *hold, expires_at: held.expires_at })
            }
            Input::Patch { patch, .. } => {
                let (patch, before) = (patch.clone(), before?);
                Some(Self::Changed { patch, name: before.name.clone(), policy: before.policy.clone() })
            }
            _ => None,
        }
    }

    /// Passes to `later`, a later promise of the same session that may still be kept, the part of this one that both
    /// of them change, so that if `later` is undone, too, the session is as it was before both. Returns the part of
    /// this one to undo now.
    #[must_use]
    pub fn hand_on(self, later: &mut Self) -> Option<Self> {
        match (self, later) {
            (Self::Extended { hold, expires_at }, Self::Extended { hold: same, expires_at: later })
                if hold == *same =>
            {
                *later = expires_at;
                None
            }
            (
                Self::Changed { mut patch, name, policy },
                Self::Changed { patch: later, name: later_name, policy: later_policy },
            ) => {
                if later.name.is_some() && patch.name.take().is_some() {
                    later_name.clone_from(&name);
                }
                if later.keep_alive.is_some() && patch.keep_alive.take().is_some() {
                    later_policy.keep_alive = policy.keep_alive;
                }
                if later.never_terminate.is_some() && patch.never_terminate.take().is_some() {
                    later_policy.never_terminate = policy.never_terminate;
                }
                if later.idle_timeout.is_some() && patch.idle_timeout.take().is_some() {
                    later_policy.idle_timeout = policy.idle_timeout;
                }
                if later.refresh_interval.is_some() && patch.refresh_interval.take().is_some() {
                    later_policy.own_refresh = policy.own_refresh;
                }
                Some(Self::Changed { patch, name, policy })
            }
            (this, _) => Some(this),
        }
    }
}

impl Rules {
    /// Undoes what was done for a request whose promise cannot be kept.
    pub(crate) fn take_back(&mut self, id: SessionId, promise: Promise, failure: Failure) {
        match promise {
            // It is ready, but no client knows it: it is removed without a trace.
            Promise::Created => {
                if let Some(mut session) = self.session_mut(id) {
                    session.end(EndedReason::StartFailed, Some(failure));
                }
            }
            Promise::Held(hold) => {
                let Some(mut session) = self.session_mut(id) else { return };
                let before = session.holds.len();
                session.holds.retain(|other| other.id != hold);
                if session.holds.len() < before {
                    session.announce(NoticeKind::HoldReleased, "the hold could not be stored");
                }
            }
            Promise::Extended { hold, expires_at } => {
                let Some(mut session) = self.session_mut(id) else { return };
                if let Some(held) = session.holds.iter_mut().find(|other| other.id == hold) {
                    held.expires_at = expires_at;
                    session.touch();
                }
            }
            Promise::Changed { patch, name, policy } => {
                self.sessions.fresh();
                let is_taken = self.is_name_taken(id, name.as_ref());
                let is_living = |session: &Session| session.ended.is_none();
                let Some(mut session) = self.session_if(id, is_living) else { return };
                if patch.name.is_some() && !is_taken {
                    session.name = name;
                }
                let now_is = &mut session.policy;
                if patch.keep_alive.is_some() {
                    now_is.keep_alive = policy.keep_alive;
                }
                if patch.never_terminate.is_some() {
                    now_is.never_terminate = policy.never_terminate;
                }
                if patch.idle_timeout.is_some() {
                    now_is.idle_timeout = policy.idle_timeout;
                }
                if patch.refresh_interval.is_some() {
                    now_is.own_refresh = policy.own_refresh;
                }
                session.policy_changed();
                session.announce(NoticeKind::Updated, "the change could not be stored");
            }
        }
    }
}
