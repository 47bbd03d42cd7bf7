//! A store that is full now and then, and the answers that wait for it: nothing is promised that is not on the disk.
//!
//! It does what the keeper and its store do: what clients wait for is written at once, everything else a while later;
//! what cannot be written is owed; and for ends and refusals there is room kept free, while it lasts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use pilotlight_core::{
    Answer, Failure, FailureKind, HoldId, Input, Moment, PersistedSession, Policy, Promise, Refusal,
    RequestId, Rules, Session, SessionId,
};

use super::chance::Chance;

/// How long the store is full, at most.
const LONGEST_FULL: Duration = Duration::from_secs(300);
/// How many ends and refusals there is room for on a full disk, at most.
const RESERVE: u64 = 4;

/// A request whose answer promises something.
#[derive(Debug, Clone)]
struct Request {
    promise: Option<Promise>,
    is_close: bool,
    is_create: bool,
    is_patch: bool,
}

/// An answer that waits.
#[derive(Debug)]
struct Waiting {
    request: RequestId,
    answer: Answer,
    session: SessionId,
    asked: Request,
}

/// What becomes of an answer that waited.
pub(super) enum Settled {
    /// It is given.
    PersistedSession(RequestId, Answer),
    /// It is refused, and this undone.
    TakenBack(RequestId, Refusal, Option<Input>),
}

#[derive(Debug, Default)]
pub(super) struct Disk {
    kept: BTreeMap<SessionId, PersistedSession>,
    /// What is not written yet.
    dirty: BTreeSet<SessionId>,
    full_until: Moment,
    reserve: u64,
    requests: BTreeMap<RequestId, (SessionId, Request)>,
    waiting: Vec<Waiting>,
    /// Sessions that a client was told of.
    promised: BTreeSet<SessionId>,
    /// Sessions of which a client was told that they are closed.
    closed: BTreeSet<SessionId>,
    /// Holds as clients were told of them.
    holds: BTreeMap<HoldId, (SessionId, Moment)>,
    /// Holds that were given back while answers waited.
    given_back: BTreeSet<HoldId>,
    /// Names and policies as clients were told of them.
    policies: BTreeMap<SessionId, (Option<String>, Policy)>,
}

impl Disk {
    pub(super) fn is_full(&self, now: Moment) -> bool {
        now < self.full_until
    }

    /// The disk fills up, for a while.
    pub(super) fn fill(&mut self, chance: &mut Chance, now: Moment) {
        let longest = u64::try_from(LONGEST_FULL.as_millis()).unwrap_or(u64::MAX);
        self.full_until = now + Duration::from_millis(chance.below(longest));
        self.reserve = chance.below(RESERVE);
    }

    /// There is room, from now on.
    pub(super) fn make_room(&mut self) {
        self.full_until = Moment(0);
    }

    /// Takes note of a request whose answer will promise something.
    pub(super) fn before(&mut self, input: &Input, rules: &Rules) {
        let (request, session) = match input {
            Input::Create { request, session, .. }
            | Input::Patch { request, session, .. }
            | Input::Close { request, session }
            | Input::Hold { request, session, .. }
            | Input::ExtendHold { request, session, .. } => (*request, *session),
            Input::ReleaseHold { hold, .. } => {
                self.holds.remove(hold);
                if self.is_awaited() {
                    self.given_back.insert(*hold);
                }
                return;
            }
            _ => return,
        };
        let asked = Request {
            promise: Promise::of(input, rules.session(session)),
            is_close: matches!(input, Input::Close { .. }),
            is_create: matches!(input, Input::Create { .. }),
            is_patch: matches!(input, Input::Patch { .. }),
        };
        self.requests.insert(request, (session, asked));
    }

    pub(super) fn changed(&mut self, session: SessionId) {
        self.dirty.insert(session);
    }

    /// Whether this answer waits until it is written down.
    pub(super) fn holds_back(&mut self, request: RequestId, answer: &Result<Answer, Refusal>) -> bool {
        let Some((session, asked)) = self.requests.remove(&request) else { return false };
        let Ok(answer) = answer else { return false };
        let session = match answer {
            Answer::Session { session, .. } => *session,
            _ => session,
        };
        self.waiting.push(Waiting { request, answer: *answer, session, asked });
        true
    }

    /// Writes down what is owed, as far as there is room.
    pub(super) fn flush(&mut self, rules: &Rules, now: Moment) {
        for id in std::mem::take(&mut self.dirty) {
            let Some(session) = rules.session(id) else {
                // Forgotten.
                if self.is_full(now) {
                    self.dirty.insert(id);
                } else {
                    self.kept.remove(&id);
                }
                continue;
            };
            let Some(kept) = session.persisted() else { continue };
            if self.kept.get(&id) == Some(&kept) || (kept.ended.is_some() && !self.promised.contains(&id)) {
                if kept.ended.is_some() {
                    self.kept.remove(&id);
                }
                continue;
            }
            let is_needed = kept.ended.is_some() || kept.refused;
            let has_room = !self.is_full(now) || (is_needed && self.reserve > 0);
            if !has_room {
                self.dirty.insert(id);
                continue;
            }
            if self.is_full(now) {
                self.reserve -= 1;
            }
            self.kept.insert(id, kept);
        }
    }

    /// Whether a sign-in may be typed: that it is was written down, or, where the session does not stand yet, could
    /// be.
    pub(super) fn may_type(&mut self, session: SessionId, rules: &Rules, now: Moment) -> bool {
        self.flush(rules, now);
        match rules.session(session).and_then(Session::persisted) {
            Some(_) => !self.dirty.contains(&session),
            None => !self.is_full(now),
        }
    }

    /// Whether answers wait.
    pub(super) fn is_awaited(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What becomes of the answers that wait.
    pub(super) fn settle(&mut self, rules: &Rules, now: Moment) -> Vec<Settled> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        self.flush(rules, now);
        let mut waiting = VecDeque::from(std::mem::take(&mut self.waiting));
        let mut settled = Vec::new();
        while let Some(oldest) = waiting.pop_front() {
            settled.push(self.settle_one(oldest, &mut waiting, rules));
        }
        self.given_back.clear();
        settled
    }

    fn settle_one(&mut self, oldest: Waiting, later: &mut VecDeque<Waiting>, rules: &Rules) -> Settled {
        let Waiting { request, answer, session, asked } = oldest;
        let is_equal = asked.is_create && matches!(answer, Answer::Session { is_new: false, .. });
        if self.dirty.contains(&session) && !(is_equal && self.promised.contains(&session)) {
            let failure = Failure {
                kind: FailureKind::Unrecorded { is_full: true },
                sentence: "there is no room left for the store".to_owned(),
            };
            let mut undone = asked.promise.filter(|_| !is_equal);
            for later in later.iter_mut().filter(|later| later.session == session) {
                if let Some(theirs) = &mut later.asked.promise {
                    undone = undone.and_then(|promise| promise.hand_on(theirs));
                }
            }
            let undone = undone.map(|promise| Input::TakeBack { session, promise, failure: failure.clone() });
            return Settled::TakenBack(request, Refusal::Failed(failure), undone);
        }
        let found = rules.session(session);
        if let (Some(Some((_, reason))), Some(_)) = (found.map(|session| session.ended), &asked.promise) {
            return Settled::TakenBack(request, Refusal::Ended(reason), None);
        }
        if asked.is_create {
            self.promised.insert(session);
        }
        if asked.is_close {
            self.closed.insert(session);
        }
        if let Answer::Hold { hold, expires_at } = answer
            && !self.given_back.contains(&hold)
        {
            self.holds.insert(hold, (session, expires_at));
        }
        // An equal request hears of a session that is on the disk, and nothing of a change that is not.
        let is_told = (asked.is_patch || asked.is_create) && !self.dirty.contains(&session);
        if let Some(found) = found.filter(|_| is_told) {
            self.policies.insert(session, (found.name.clone(), found.policy.clone()));
        }
        Settled::PersistedSession(request, answer)
    }

    /// A change of a name was taken back, but for the name, where somebody else has had that since: what such a
    /// session is called is promised to nobody until it is changed again.
    pub(super) fn names_may_be_gone(&mut self, rules: &Rules) {
        self.policies.retain(|id, (name, _)| {
            let has_another = rules.session(*id).is_some_and(|session| session.name != *name);
            !(has_another && rules.is_name_taken(*id, name.as_ref()))
        });
    }

    /// What another server finds.
    pub(super) fn persisted(&self) -> Vec<PersistedSession> {
        self.kept.values().filter(|kept| kept.ended.is_none()).cloned().collect()
    }

    /// Whether it was refused, as another server reads it.
    pub(super) fn is_refused(&self, session: SessionId) -> bool {
        self.kept.get(&session).is_some_and(|kept| kept.refused)
    }

    /// Whether it is a session of which no try is written down.
    pub(super) fn lacks_try(&self, session: SessionId) -> bool {
        self.kept.get(&session).is_some_and(|kept| kept.ended.is_none() && kept.tried_at.is_none())
    }

    /// What was answered is what is there.
    pub(super) fn is_true_to_its_word(&self, rules: &Rules, now: Moment) -> Result<(), String> {
        for id in &self.closed {
            if let Some(kept) = self.kept.get(id).filter(|kept| kept.ended.is_none()) {
                return Err(format!(
                    "a client was told that {id:?} is closed, and it is on the disk: {kept:?}"
                ));
            }
        }
        for id in &self.promised {
            let lives = rules.session(*id).is_some_and(|session| session.ended.is_none());
            if lives && !self.kept.contains_key(id) {
                return Err(format!("a client was told of {id:?}, which is not on the disk"));
            }
        }
        for (hold, (session, expires_at)) in self.holds.iter().filter(|(_, (_, at))| *at > now) {
            let Some(kept) = self.kept.get(session).filter(|kept| kept.ended.is_none()) else { continue };
            if !kept.holds.iter().any(|held| held.id == *hold && held.expires_at >= *expires_at) {
                return Err(format!(
                    "a client was told of {hold:?} until {expires_at:?}, and the disk has {kept:?}"
                ));
            }
        }
        for (session, (name, policy)) in &self.policies {
            let Some(kept) = self.kept.get(session).filter(|kept| kept.ended.is_none()) else { continue };
            if (&kept.spec.name, &kept.spec.policy) != (name, policy) {
                return Err(format!("a client was told of {name:?} {policy:?}, and the disk has {kept:?}"));
            }
        }
        Ok(())
    }

    /// The server died: nobody hears what still waited, and what was not written is lost.
    pub(super) fn cut_off(&mut self) {
        self.requests.clear();
        self.waiting.clear();
        self.given_back.clear();
        self.dirty.clear();
        let kept = &self.kept;
        self.promised.retain(|id| kept.contains_key(id));
        self.promised.extend(kept.keys());
    }
}
