//! Clients that ask for everything at every moment, sensible or not.

use std::time::Duration;

use pilotlight_core::{
    Access, AccountId, Action, Answer, AsleepRefresh, HoldId, Input, Isolation, LaunchKey, LoginId, Moment,
    Policy, PolicyPatch, RequestId, SessionId, SiteId, Spec, Whose,
};

use super::chance::Chance;

/// Whether whoever has this hold wants its session to be left alone.
pub(super) fn is_quiet(hold: HoldId) -> bool {
    hold.0.is_multiple_of(4)
}

/// Sites of the fake world.
const ASLEEP: [AsleepRefresh; 4] =
    [AsleepRefresh::Never, AsleepRefresh::Visit, AsleepRefresh::VisitAndRefresh, AsleepRefresh::Document];
pub(super) const SITES: u64 = 3;
/// Accounts; each can be asked for with its password or with a wrong one.
pub(super) const ACCOUNTS: u64 = 10;
/// The newest sessions are remembered, dead ones too: asking for those is allowed.
const REMEMBERED: usize = 16;

pub(super) struct Clients {
    next_id: u64,
    next_at: Moment,
    sessions: Vec<SessionId>,
    holds: Vec<(SessionId, HoldId)>,
    asked: Vec<(RequestId, SessionId)>,
    uses: Vec<SessionId>,
    /// The newest requests by a name for an account.
    named: Vec<Spec>,
    /// The session that was changed a moment ago.
    changed: Option<SessionId>,
}

impl Clients {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            next_id: 0,
            next_at: now,
            sessions: Vec::new(),
            holds: Vec::new(),
            asked: Vec::new(),
            uses: Vec::new(),
            named: Vec::new(),
            changed: None,
        }
    }

    pub(super) fn next_at(&self) -> Moment {
        self.next_at
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// The next thing that a client wants.
    pub(super) fn request(&mut self, chance: &mut Chance, now: Moment) -> Input {
        // Bursts and lulls: equal requests at the same moment, and whole half-hours without anybody.
        let pause_ms = match chance.below(20) {
            0..=6 => 0,
            7..=17 => chance.below(4_000),
            18 => chance.below(60_000),
            _ => chance.below(2_400_000),
        };
        self.next_at = now + Duration::from_millis(pause_ms);
        let request = RequestId(self.id());
        // Whoever changes a session is not always alone.
        if let Some(session) = self.changed.take().filter(|_| chance.percent(40)) {
            self.changed = Some(session);
            return Input::Patch { request, session, patch: patch(chance) };
        }
        let Some(session) = chance.pick(&self.sessions).filter(|_| !chance.percent(25)) else {
            return self.create(request, chance);
        };
        let ttl = Duration::from_millis(chance.below(120_000));
        match chance.below(28) {
            23..=24 => Input::Freeze { request, session },
            25..=26 => match chance.pick(&self.holds) {
                Some((session, hold)) => Input::PauseHold { session, hold, unused_for: ttl },
                None => Input::Tick,
            },
            27 => match chance.pick(&self.holds) {
                Some((session, hold)) => Input::ResumeHold { request, session, hold },
                None => Input::Tick,
            },
            20..=21 => Input::Hibernate { request, session },
            22 => Input::Wake { request, session },
            0..=2 => Input::Ping { request, session },
            3..=5 => {
                let hold = HoldId(u128::from(self.id()));
                self.asked.push((request, session));
                Input::Hold { request, session, hold, ttl, shared: chance.percent(50), quiet: is_quiet(hold) }
            }
            6..=7 => match chance.pick(&self.holds) {
                Some((session, hold)) => Input::ReleaseHold { request, session, hold },
                None => Input::ReleaseHold { request, session, hold: HoldId(0) },
            },
            8 => match chance.pick(&self.holds) {
                Some((session, hold)) => Input::ExtendHold { request, session, hold, ttl },
                None => Input::ExtendHold { request, session, hold: HoldId(0), ttl },
            },
            9..=11 => {
                self.asked.push((request, session));
                Input::BeginUse { request, session }
            }
            12..=14 => match self.uses.pop() {
                Some(session) => Input::EndUse { session },
                None => Input::Tick,
            },
            15 => Input::RefreshNow { request, session },
            16 => Input::Restart { request, session },
            17 => Input::Close { request, session },
            _ => {
                (self.changed, self.next_at) = (Some(session), now);
                Input::Patch { request, session, patch: patch(chance) }
            }
        }
    }

    fn create(&mut self, request: RequestId, chance: &mut Chance) -> Input {
        let session = SessionId(u128::from(self.id()));
        if let Some(spec) = self.other_password(chance) {
            return Input::Create { request, session, spec: Box::new(spec) };
        }
        let account = chance.below(ACCOUNTS);
        let with_site = chance.percent(85);
        let wrong_password = u64::from(chance.percent(10));
        let spec = Spec {
            name: chance.percent(40).then(|| format!("name {}", chance.below(8))),
            identity: with_site.then_some(account * 2 + wrong_password),
            whose: Whose {
                site: with_site.then_some(account % SITES),
                username: with_site.then_some(account),
                password: (with_site && chance.percent(80)).then_some(account * 2 + wrong_password),
                ..Whose::default()
            },
            site: with_site.then_some(SiteId(account % SITES)),
            max_sign_ins: None,
            refresh_jitter: Duration::from_secs(chance.below(60)),
            asleep: ASLEEP[usize::try_from(session.0 % 4).unwrap_or_default()],
            access: Access {
                account: with_site.then_some(AccountId(account)),
                login: with_site.then_some(LoginId(account * 2 + wrong_password)),
                can_sign_in: with_site && chance.percent(90),
            },
            launch: LaunchKey(chance.below(2)),
            isolation: if chance.percent(15) { Isolation::Dedicated } else { Isolation::Shared },
            freezes: chance.percent(80),
            policy: policy(chance),
        };
        if spec.name.is_some() && spec.whose.password.is_some() {
            self.named.push(spec.clone());
            if self.named.len() > REMEMBERED {
                self.named.remove(0);
            }
        }
        Input::Create { request, session, spec: Box::new(spec) }
    }

    /// Now and then somebody asks again for a session by its name, with the account's other password.
    fn other_password(&mut self, chance: &mut Chance) -> Option<Spec> {
        if self.named.is_empty() || !chance.percent(30) {
            return None;
        }
        let place = usize::try_from(chance.below(self.named.len() as u64)).unwrap_or_default();
        let spec = self.named.get_mut(place)?;
        let other = spec.whose.password? ^ 1;
        (spec.identity, spec.whose.password) = (Some(other), Some(other));
        spec.access.login = Some(LoginId(other));
        Some(spec.clone())
    }

    /// The server died, and every connection to it.
    pub(super) fn cut_off(&mut self) {
        self.asked.clear();
        self.uses.clear();
    }

    /// Ends one of the uses that are still going on.
    pub(super) fn leave(&mut self) -> Option<SessionId> {
        self.uses.pop()
    }

    /// Learns from the rules' actions which sessions, holds and uses there are.
    pub(super) fn hear(&mut self, action: &Action) {
        match action {
            Action::OpenWindow { session, .. } if !self.sessions.contains(session) => {
                self.sessions.push(*session);
                if self.sessions.len() > REMEMBERED {
                    self.sessions.remove(0);
                }
            }
            Action::Answer { request, answer } => self.hear_answer(*request, answer.as_ref().ok()),
            _ => {}
        }
    }

    fn hear_answer(&mut self, request: RequestId, answer: Option<&Answer>) {
        let asked = self.asked.iter().position(|(asked, _)| *asked == request);
        let asked = asked.map(|place| self.asked.swap_remove(place).1);
        match (answer, asked) {
            (Some(Answer::MayUse), Some(session)) => self.uses.push(session),
            (Some(Answer::Hold { hold, .. }), Some(session)) => {
                self.holds.push((session, *hold));
                if self.holds.len() > REMEMBERED {
                    self.holds.remove(0);
                }
            }
            _ => {}
        }
    }
}

fn policy(chance: &mut Chance) -> Policy {
    Policy {
        keep_alive: chance.percent(60),
        never_terminate: chance.percent(20),
        idle_timeout: Duration::from_secs(chance.below(3_600)),
        default_refresh: chance.percent(90).then(|| Duration::from_secs(chance.between(1, 600))),
        own_refresh: own_refresh(chance),
    }
}

fn own_refresh(chance: &mut Chance) -> Option<Option<Duration>> {
    chance.percent(40).then(|| chance.percent(80).then(|| Duration::from_secs(chance.between(1, 600))))
}

fn patch(chance: &mut Chance) -> PolicyPatch {
    PolicyPatch {
        name: chance.percent(20).then(|| format!("name {}", chance.below(8))),
        keep_alive: chance.percent(30).then(|| chance.percent(50)),
        never_terminate: chance.percent(30).then(|| chance.percent(50)),
        idle_timeout: chance.percent(30).then(|| Duration::from_secs(chance.below(3_600))),
        refresh_interval: own_refresh(chance),
    }
}
