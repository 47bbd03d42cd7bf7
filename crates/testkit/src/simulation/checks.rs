//! What must always hold, checked against a second account of events that the rules know nothing of.

use std::collections::{BTreeMap, BTreeSet};

use pilotlight_core::{
    Action, Activity, Answer, EndedReason, FailureKind, Hold, HoldId, Input, Limits, Moment, NoticeKind,
    Refusal, RequestId, Rules, Session, SessionId, SignInStatus, State,
};

mod holds;
use self::holds::Holds;
use super::disk::Disk;
use super::sign_ins::SignIns;
use super::world::{BROWSER, RUNNING, World};

/// What a request asked for, as far as its answer is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Create,
    Hold(HoldId, bool),
    Use,
    Resume(HoldId),
    Refresh,
    Restart,
    Close,
    Hibernate,
    Drain,
    Other,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    asked: Asked,
    session: SessionId,
    at: Moment,
}

pub(super) struct Checks {
    limits: Limits,
    pub(super) seen: BTreeMap<String, u64>,
    pending: BTreeMap<RequestId, Pending>,
    established: BTreeSet<SessionId>,
    closed: BTreeSet<SessionId>,
    restarted: BTreeSet<SessionId>,
    /// Somebody asked for it to hibernate.
    sent_away: BTreeSet<SessionId>,
    holds: Holds,
    uses: BTreeMap<SessionId, u64>,
    /// What these sign in with was refused, and since then nobody asked for another try.
    refused: BTreeSet<SessionId>,
    sign_ins: SignIns,
}

impl Checks {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            seen: BTreeMap::new(),
            pending: BTreeMap::new(),
            established: BTreeSet::new(),
            closed: BTreeSet::new(),
            restarted: BTreeSet::new(),
            sent_away: BTreeSet::new(),
            holds: Holds::default(),
            uses: BTreeMap::new(),
            refused: BTreeSet::new(),
            sign_ins: SignIns::default(),
        }
    }

    fn see(&mut self, what: &str) {
        *self.seen.entry(what.to_owned()).or_default() += 1;
    }

    pub(super) fn before(&mut self, input: &Input, rules: &Rules, world: &World, now: Moment) {
        self.note_refusals(input, rules, world);
        self.sign_ins.before(input);
        self.holds.expire(now);
        let (request, asked, session) = match input {
            Input::Create { request, session, .. } => (*request, Asked::Create, *session),
            Input::Hold { request, session, hold, shared, .. } => {
                (*request, Asked::Hold(*hold, *shared), *session)
            }
            Input::BeginUse { request, session } => (*request, Asked::Use, *session),
            Input::ResumeHold { request, session, hold } => (*request, Asked::Resume(*hold), *session),
            Input::PauseHold { session, hold, .. } => return self.holds.set_silent(*session, *hold, true),
            Input::RefreshNow { request, session } => (*request, Asked::Refresh, *session),
            Input::Restart { request, session } => (*request, Asked::Restart, *session),
            Input::Close { request, session } => {
                self.closed.insert(*session);
                (*request, Asked::Close, *session)
            }
            Input::Hibernate { request, session } => {
                self.sent_away.insert(*session);
                (*request, Asked::Hibernate, *session)
            }
            Input::Drain { request, .. } => (*request, Asked::Drain, SessionId(0)),
            Input::Wake { request, session } | Input::Freeze { request, session } => {
                (*request, Asked::Other, *session)
            }
            Input::Ping { request, session } | Input::Patch { request, session, .. } => {
                (*request, Asked::Other, *session)
            }
            Input::ExtendHold { request, session, .. } => (*request, Asked::Other, *session),
            Input::ReleaseHold { request, session, hold } => {
                self.holds.released(*session, *hold);
                (*request, Asked::Other, *session)
            }
            Input::EndUse { session } => {
                let uses = self.uses.entry(*session).or_default();
                *uses = uses.saturating_sub(1);
                return;
            }
            _ => return,
        };
        self.pending.insert(request, Pending { asked, session, at: now });
    }

    /// Invariant 3: who may no longer try its sign-in unasked.
    fn note_refusals(&mut self, input: &Input, rules: &Rules, world: &World) {
        let lives = |id: &SessionId| rules.session(*id).is_some_and(|session| session.ended.is_none());
        match input {
            Input::ActivityEnded { session, ticket, outcome: Err(failure) }
                if failure.kind == FailureKind::Rejected
                    && world.is_current(*session, *ticket)
                    && lives(session) =>
            {
                let established = |id: &SessionId| self.established.contains(id);
                self.refused.extend(world.propagate_its_refusal(*session).into_iter().filter(established));
            }
            Input::ActivityEnded { session, outcome: Ok(SignInStatus::SignedIn), .. }
            | Input::RefreshNow { session, .. }
            | Input::Restart { session, .. } => {
                self.refused.remove(session);
            }
            Input::AccessChanged { sessions } => {
                self.see("access changed");
                self.refused.retain(|id| sessions.iter().all(|(session, _)| session != id));
            }
            _ => {}
        }
    }

    fn in_use(&self, session: SessionId) -> bool {
        self.uses.get(&session).is_some_and(|uses| *uses > 0) || self.holds.hold(session)
    }

    /// Whether it is in use by anybody but silent clients.
    fn is_used(&self, session: SessionId) -> bool {
        self.uses.get(&session).is_some_and(|uses| *uses > 0) || self.holds.use_it(session)
    }

    pub(super) fn action(
        &mut self,
        action: &Action,
        rules: &Rules,
        world: &World,
        now: Moment,
    ) -> Result<(), String> {
        match action {
            Action::Answer { request, answer } => self.answered(*request, answer, world, now),
            Action::RefreshBeside { session, .. } => self.refreshes_beside(*session, rules),
            Action::Begin { session, activity, .. } => self.begins(*session, *activity, rules, world),
            Action::Freeze { session, .. } => self.freezes(*session, rules, world),
            Action::Renew { session, from } => {
                self.see("password renewed");
                self.refused.remove(session);
                // Its client waits for the outcome of a refresh, as one who asks for that.
                let asks =
                    |pending: &&mut Pending| pending.session == *from && pending.asked == Asked::Create;
                for pending in self.pending.values_mut().filter(asks) {
                    (pending.session, pending.asked) = (*session, Asked::Refresh);
                }
                Ok(())
            }
            Action::EndPages { .. } => {
                self.see("pages ended");
                Ok(())
            }
            Action::Thaw { .. } => {
                self.see("thawed");
                Ok(())
            }
            Action::Save { session, .. } if world.still.contains(session) => {
                Err(format!("the state of {session:?} is read while it stands still"))
            }
            Action::Save { session, .. } => {
                let worth_it = world.shown.contains(session) || world.lost.contains(session);
                worth_it
                    .then_some(())
                    .ok_or(format!("the state of {session:?} is saved before it was restored"))
            }
            Action::CloseWindow { session, .. } => self.closes(*session, rules, world),
            Action::Announce(notice)
                if notice.kind == NoticeKind::Hibernating && notice.reason.starts_with("memory") =>
            {
                self.was_short(world)?;
                self.spares_the_greedy(notice.session, rules, world)?;
                self.cools(notice.session, rules)
            }
            Action::Announce(notice) if notice.kind == NoticeKind::Moving => {
                self.see(if world.unruly.contains(&notice.session) { "parted" } else { "Moving" });
                let held = self.in_use(notice.session);
                (!held).then_some(()).ok_or(format!("{:?} is held and moved", notice.session))
            }
            Action::Announce(notice) if notice.kind == NoticeKind::Waking => {
                let had_window = world.windows.contains_key(&notice.session);
                self.see(if had_window { "taken over from its refresh" } else { "Waking" });
                // Whoever takes hold of it before it stands has nothing without a sign-in.
                self.restarted.insert(notice.session);
                Ok(())
            }
            Action::Announce(notice) if notice.kind == NoticeKind::Hibernating => {
                self.cools(notice.session, rules)
            }
            Action::Announce(notice) if matches!(notice.kind, NoticeKind::Ended | NoticeKind::Evicted) => {
                self.ends(notice.session, rules)
            }
            Action::Announce(notice) => {
                let is_asleep = notice.state == State::Hibernated && notice.kind == NoticeKind::Refreshed;
                let kind = format!("{:?}", notice.kind);
                self.see(if is_asleep { "refreshed while it hibernates" } else { &kind });
                Ok(())
            }
            Action::OpenWindow { session, .. } => self.opens(*session, rules),
            Action::StartShard { .. } => {
                self.see("shard started");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn answered(
        &mut self,
        request: RequestId,
        answer: &Result<Answer, Refusal>,
        world: &World,
        now: Moment,
    ) -> Result<(), String> {
        let Some(pending) = self.pending.remove(&request) else {
            return Err(format!("{request:?} is answered twice"));
        };
        match (pending.asked, answer) {
            (Asked::Create, Ok(Answer::Session { session, .. })) => {
                self.see("session had");
                // Whoever asks for an account gets no window of another.
                let whose = |id: SessionId| world.spec(id).map(|spec| spec.whose);
                if let Some((asked, had)) = whose(pending.session).zip(whose(*session))
                    && ((asked.site.is_some() && asked.site != had.site)
                        || (asked.username.is_some() && asked.username != had.username))
                {
                    return Err(format!("{request:?} asks for {asked:?} and gets {session:?}, {had:?}"));
                }
                self.established.insert(*session);
            }
            (Asked::Create, Err(Refusal::AtCapacity { .. })) => self.see("turned away"),
            (Asked::Create, Err(Refusal::NameTaken { .. })) => self.see("name of another"),
            (Asked::Use | Asked::Resume(_), Ok(_)) if world.still.contains(&pending.session) => {
                return Err(format!("{:?} is used while it stands still", pending.session));
            }
            (Asked::Use, Ok(Answer::MayUse)) => *self.uses.entry(pending.session).or_default() += 1,
            (Asked::Resume(hold), Ok(Answer::Done)) => {
                self.see("a silent client went on");
                self.holds.set_silent(pending.session, hold, false);
            }
            (Asked::Hold(hold, shared), Ok(Answer::Hold { expires_at, .. })) => {
                self.see("hold granted");
                self.holds.granted(pending.session, hold, shared, *expires_at)?;
            }
            (Asked::Other, Ok(Answer::Hold { hold, expires_at })) => {
                self.holds.extended(*hold, *expires_at);
            }
            (Asked::Refresh | Asked::Restart, Ok(_)) => self.see("refreshed or restarted on request"),
            _ => {}
        }
        let waited = now.since(pending.at);
        if matches!(pending.asked, Asked::Hold(..) | Asked::Use | Asked::Resume(_))
            && waited > self.limits.queue_timeout
        {
            return Err(format!("{:?} waited for {waited:?}", pending.asked));
        }
        Ok(())
    }

    /// Invariants 1 (not refreshed unasked) and 2 (nothing of ours in a held session).
    fn begins(
        &mut self,
        id: SessionId,
        activity: Activity,
        rules: &Rules,
        world: &World,
    ) -> Result<(), String> {
        self.see(&format!("{activity:?} begun"));
        let session = rules.session(id).ok_or("an activity of a forgotten session")?;
        if session.ended.is_some() {
            return Err(format!("{activity:?} begins in {id:?}, which has ended"));
        }
        if world.still.contains(&id) {
            return Err(format!("{activity:?} begins in {id:?}, which stands still"));
        }
        if activity == Activity::SignIn && self.refused.contains(&id) {
            return Err(format!("what was refused is typed again unasked: {session:?}"));
        }
        // A window that somebody uses keeps what it has: an empty page is nothing that the user cannot fill.
        let reopens =
            activity == Activity::Reopen && !world.lost.contains(&id) && self.established.contains(&id);
        let background = matches!(activity, Activity::Refresh | Activity::Look)
            || reopens
            || (activity == Activity::SignIn && !world.lost.contains(&id) && !self.restarted.contains(&id));
        if background && self.in_use(id) {
            return Err(format!("{activity:?} begins in a held session: {session:?}"));
        }
        let asked = |pending: &Pending| {
            pending.session == id && matches!(pending.asked, Asked::Refresh | Asked::Restart)
        };
        let due = session.policy.refresh_interval().is_some() || self.pending.values().any(asked);
        if activity == Activity::Refresh && !due {
            return Err(format!("a refresh that neither policy nor client asked for: {session:?}"));
        }
        Ok(())
    }

    /// Invariants 1 and 2: what is refreshed beside its page is in use, and is to be refreshed.
    fn refreshes_beside(&mut self, id: SessionId, rules: &Rules) -> Result<(), String> {
        self.see("refreshed beside its page");
        let session = rules.session(id).ok_or("a forgotten session is refreshed beside its page")?;
        let is_to_be = session.policy.refresh_interval().is_some() && session.ended.is_none();
        let is_allowed = is_to_be && session.in_use() && !self.holds.quiet(id);
        is_allowed.then_some(()).ok_or(format!("refreshed beside its page, and not to be: {session:?}"))
    }

    /// Invariant 2: a window stands still only where nobody has it and its state was written down.
    fn freezes(&mut self, id: SessionId, rules: &Rules, world: &World) -> Result<(), String> {
        self.see(if self.in_use(id) { "frozen beside its clients" } else { "frozen" });
        let session = rules.session(id).ok_or("a forgotten session is frozen")?;
        if self.is_used(id) {
            return Err(format!("{id:?} is held and frozen: {session:?}"));
        }
        if !world.saved.contains(&id) && !world.lost.contains(&id) {
            return Err(format!("{id:?} is frozen before its state was written down: {session:?}"));
        }
        Ok(())
    }

    fn closes(&mut self, id: SessionId, rules: &Rules, world: &World) -> Result<(), String> {
        let session = rules.session(id).ok_or("a forgotten session's window is closed")?;
        let restart = self.pending.values().any(|p| p.session == id && p.asked == Asked::Restart);
        if restart {
            self.restarted.insert(id);
        }
        let expected = self.closed.contains(&id) || restart || world.lost.contains(&id);
        let stood = world.shown.contains(&id) && session.ended.is_none();
        if stood && !expected && !self.restarted.contains(&id) && !world.saved.contains(&id) {
            return Err(format!("{id:?} loses its window before its state was written down: {session:?}"));
        }
        if stood && !expected && world.emptied.contains(&id) {
            self.see("emptied and closed");
            return Err(format!("{id:?} loses what its window has, with its last page: {session:?}"));
        }
        // One that was promised to nobody, since it could not be written down, is nobody's to hold.
        if !expected && self.in_use(id) && self.established.contains(&id) {
            return Err(format!("the window of {id:?} is closed ({:?}) while it is held", session.ended));
        }
        Ok(())
    }

    /// Memory is said to be short only where what there is, and what is waited for, does not fit: what happened
    /// since the last measurement is reckoned with, but for browsers that came or went.
    fn was_short(&mut self, world: &World) -> Result<(), String> {
        self.see("memory was short");
        let waiting = u64::try_from(self.pending.len() + world.lost.len()).unwrap_or(u64::MAX);
        let most = world.used() + waiting * RUNNING + (4 + world.ended) * BROWSER;
        let low = world.budget.unwrap_or(u64::MAX) / 100 * 85;
        (most > low)
            .then_some(())
            .ok_or(format!("memory is said to be short with {most} of {:?}", world.budget))
    }

    /// Nobody goes for want of memory while a window stays that takes more than it may.
    fn spares_the_greedy(&mut self, id: SessionId, rules: &Rules, world: &World) -> Result<(), String> {
        let stays = |other: &&SessionId| {
            let has_a_window = |session: &Session| {
                session.keeps_window()
                    && matches!(session.state(), State::Ready | State::Frozen | State::NeedsAttention)
            };
            **other != id && !world.lost.contains(other) && rules.session(**other).is_some_and(has_a_window)
        };
        match world.oversized.iter().find(stays) {
            Some(other) => {
                Err(format!("{id:?} goes for want of memory while {other:?} takes more than it may"))
            }
            None => Ok(()),
        }
    }

    /// Invariant 1: who gets a window unasked.
    fn opens(&self, id: SessionId, rules: &Rules) -> Result<(), String> {
        let session = rules.session(id).ok_or("a forgotten session gets a window")?;
        let is_refreshed = session.policy.refresh_interval().is_some();
        if session.has_refresh_window() && !is_refreshed {
            return Err(format!("{id:?} is refreshed while it hibernates, and is not to be: {session:?}"));
        }
        Ok(())
    }

    /// Invariants 1 and 2: whose window may go.
    fn cools(&mut self, id: SessionId, rules: &Rules) -> Result<(), String> {
        self.see("Hibernating");
        let session = rules.session(id).ok_or("a forgotten session cools")?;
        if self.in_use(id) {
            return Err(format!("{id:?} is held and cools: {session:?}"));
        }
        let drained = self.pending.values().any(|pending| pending.asked == Asked::Drain);
        let own_will = self.sent_away.contains(&id) || drained || !session.policy.never_terminate;
        own_will.then_some(()).ok_or(format!("{id:?} is never_terminate and cools unasked"))
    }

    /// The server died: nobody is answered any more, and what was used is used no longer. The holds that there are
    /// are those on the disk: one that was given back, or extended, is as it was where that was not written any more.
    pub(super) fn cut_off(&mut self, disk: &Disk) {
        self.see("server died");
        self.pending.clear();
        self.sign_ins.cut_off();
        self.uses.clear();
        self.holds.clear();
        for kept in disk.persisted() {
            for Hold { id, shared, expires_at, .. } in kept.holds {
                self.holds.survived(kept.id, id, shared, expires_at);
            }
        }
        // A refusal that there was no room for is known to nobody.
        self.refused.retain(|id| disk.is_refused(*id));
    }

    pub(super) fn disk_fills(&mut self) {
        self.see("the disk is full");
    }

    pub(super) fn takes_back(&mut self) {
        self.see("taken back");
    }

    /// Everything was put to rest.
    pub(super) fn all_hibernated(&self, rules: &Rules, world: &World) -> Result<(), String> {
        if let Some((request, pending)) = self.pending.first_key_value() {
            return Err(format!("{request:?} was never answered: {pending:?}"));
        }
        if let Some(session) = rules.living().find(|session| session.state() != State::Hibernated) {
            return Err(format!("{:?} is not at rest: {session:?}", session.id));
        }
        let left = world.windows.len() + world.shards.len();
        (left == 0).then_some(()).ok_or(format!("{left} windows and browsers were left behind"))
    }

    /// Invariants 1, 2 and 3: who may end, and of what.
    fn ends(&mut self, id: SessionId, rules: &Rules) -> Result<(), String> {
        // Where many end at once, some are forgotten at once.
        let Some(session) = rules.session(id) else { return Ok(()) };
        let Some((_, reason)) = session.ended else { return Err(format!("{id:?} ends without a reason")) };
        self.see(&format!("ended: {reason:?}"));
        if reason == EndedReason::ClosedByClient {
            return self.closed.contains(&id).then_some(()).ok_or(format!("nobody closed {id:?}"));
        }
        if self.established.contains(&id) {
            if session.policy.never_terminate {
                return Err(format!("{id:?} is never_terminate and ended: {reason:?}"));
            }
            if self.in_use(id) {
                return Err(format!("{id:?} is held and ended: {reason:?}"));
            }
        }
        match reason {
            EndedReason::IdleTimeout if session.policy.keep_alive => {
                Err(format!("{id:?} is kept alive and idled out"))
            }
            EndedReason::SignInFailed | EndedReason::StartFailed if self.established.contains(&id) => {
                Err(format!("{id:?} stood and ended by a failure: {reason:?}"))
            }
            EndedReason::Evicted => self.was_least_recently_used(session, rules),
            _ => Ok(()),
        }
    }

    fn was_least_recently_used(&self, victim: &Session, rules: &Rules) -> Result<(), String> {
        // A cold one has no place to give, and one that is woken is waited for.
        let older = rules.living().find(|other| {
            other.last_used < victim.last_used
                && other.persisted().is_some_and(|kept| kept.live)
                // Whoever is coming back may do so for somebody whose request named another.
                && !matches!(other.state(), State::Recovering | State::SigningIn)
                && self.established.contains(&other.id)
                && !other.policy.never_terminate
                && !self.in_use(other.id)
                && !self.pending.values().any(|pending| pending.session == other.id)
        });
        older.map_or(Ok(()), |older| Err(format!("{:?} was evicted before {:?}", victim.id, older.id)))
    }

    /// Invariants 3 (limited sign-ins), 4 (live windows), 5 (a truthful list) and 6 (equal requests share).
    pub(super) fn after(&mut self, rules: &Rules, world: &World, now: Moment) -> Result<(), String> {
        world.own_browsers_are_own()?;
        for _ in 0..self.sign_ins.after(rules)? {
            self.see("asked about a page that looks signed out");
        }
        let is_asleep = |id: &&SessionId| rules.session(**id).is_some_and(Session::has_refresh_window);
        let asleep = world.windows.keys().filter(is_asleep).count();
        if asleep > self.limits.asleep_windows {
            return Err(format!("{asleep} windows for refreshes of hibernated sessions"));
        }
        if world.windows.len() - asleep > self.limits.max_live {
            return Err(format!(
                "{} windows with max_live {}",
                world.windows.len() - asleep,
                self.limits.max_live
            ));
        }
        if let Some((site, running)) =
            world.sign_ins().iter().find(|(_, running)| **running > self.limits.max_sign_ins_per_site)
        {
            return Err(format!("{running} sign-ins at once on site {site}"));
        }
        if rules.living().count() > self.limits.max_sessions {
            return Err("more sessions than max_sessions".to_owned());
        }
        let mut names = BTreeSet::new();
        for session in rules.living() {
            if session.name.is_some() && !names.insert(session.name.as_ref()) {
                return Err(format!("two living sessions are named {:?}", session.name));
            }
            if session.state() == State::Hibernated
                && !session.has_refresh_window()
                && world.windows.contains_key(&session.id)
            {
                return Err(format!("{:?} is said to hibernate and has a window: {session:?}", session.id));
            }
            let there = world.windows.contains_key(&session.id) || world.lost.contains(&session.id);
            if session.state() == State::Frozen
                && !world.still.contains(&session.id)
                && world.windows.contains_key(&session.id)
            {
                return Err(format!("{:?} is said to be frozen and runs: {session:?}", session.id));
            }
            if session.state() == State::Ready && !there {
                return Err(format!("{:?} is said to be ready and has no window: {session:?}", session.id));
            }
        }
        let late = |pending: &&Pending| {
            matches!(pending.asked, Asked::Hold(..) | Asked::Use | Asked::Resume(_))
                && now.since(pending.at) > self.limits.queue_timeout
        };
        self.pending
            .values()
            .find(late)
            .map_or(Ok(()), |pending| Err(format!("{pending:?} is still waiting")))
    }

    /// Once nothing fails any more, everybody has an answer and every session stands or wants a person.
    pub(super) fn everything_stands(&self, rules: &Rules, world: &World) -> Result<(), String> {
        if let Some((request, pending)) = self.pending.first_key_value() {
            return Err(format!("{request:?} was never answered: {pending:?}: {rules:#?}"));
        }
        for session in rules.living() {
            let is_idle = !session.in_use() && session.state() != State::NeedsAttention;
            if world.unruly.contains(&session.id) && is_idle && !session.has_refresh_window() {
                return Err(format!("{:?} holds others up and stays with them: {session:?}", session.id));
            }
            if session.state() == State::Hibernated {
                continue;
            }
            if !world.windows.contains_key(&session.id) {
                return Err(format!("{:?} lives and has no window: {session:?}", session.id));
            }
            match session.state() {
                State::Ready | State::Frozen => {}
                State::NeedsAttention
                    if world.expects_attention(session.id) || session.sign_in.suspicion().is_some() => {}
                state => return Err(format!("{:?} is still {state:?}: {session:?}", session.id)),
            }
        }
        if let Some(budget) = world.budget.filter(|budget| world.used() > *budget && world.windows.len() > 1)
        {
            let spare = rules.living().find(|session| {
                world.windows.contains_key(&session.id)
                    && !session.policy.never_terminate
                    && !session.in_use()
                    // It goes anyway.
                    && !session.has_refresh_window()
            });
            if let Some(spare) = spare {
                return Err(format!("{} of {budget} are taken, and {spare:?} is not colder", world.used()));
            }
        }
        if let Some(session) = world.windows.keys().find(|id| !rules.living().any(|s| s.id == **id)) {
            return Err(format!("the window of {session:?} was left behind"));
        }
        let empty = world.shards.iter().find(|shard| !world.windows.values().any(|at| at == *shard));
        empty.map_or(Ok(()), |shard| Err(format!("{shard:?} was left behind without a window")))
    }
}
