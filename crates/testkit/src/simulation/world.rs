//! Fake browsers and portals: they do what they are told, late, badly or never, and fall over by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pilotlight_core::{
    Access, Action, Activity, Failure, FailureKind, Input, LoginId, Loss, Memory, Moment, SessionId, ShardId,
    Spec, Standing, Ticket,
};

use super::chance::Chance;
use super::clients::{ACCOUNTS, SITES};

/// Nothing that the fake world does takes longer.
const SLOWEST_MS: u64 = 8_000;
/// What a window takes whose page runs.
pub(super) const RUNNING: u64 = 100;
/// What a window takes that stands still.
const FROZEN: u64 = 30;
/// What a browser takes beside its windows.
pub(super) const BROWSER: u64 = 50;
const MEASURED_EVERY: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Portal {
    #[default]
    Up,
    Down,
    Captcha,
}

#[derive(Debug)]
enum Report {
    ShardStarted(ShardId),
    ShardEnded(ShardId, Option<FailureKind>),
    Opened(SessionId, Ticket, ShardId),
    Saved(SessionId, Ticket),
    Closed(SessionId, Ticket, ShardId),
    Frozen(SessionId, Ticket),
    Thawed(SessionId, Ticket),
    Typing(SessionId, Ticket),
    Ended(SessionId, Ticket, Activity),
    Lost(SessionId, ShardId, Loss),
    Grown(ShardId),
    Changed(SessionId),
    Measured,
}

#[derive(Default)]
pub(super) struct World {
    calm: bool,
    specs: BTreeMap<SessionId, Spec>,
    portals: BTreeMap<u64, Portal>,
    /// Browsers that run or are starting.
    pub(super) shards: BTreeSet<ShardId>,
    /// Windows that exist, are being opened or are being closed.
    pub(super) windows: BTreeMap<SessionId, ShardId>,
    pub(super) signed_in: BTreeSet<SessionId>,
    /// The logins that portals take, where they were changed.
    passwords: BTreeMap<u64, LoginId>,
    changes: u64,
    /// What was last typed in each window.
    typed: BTreeMap<SessionId, LoginId>,
    /// Windows in which a sign-in was typed that nobody has told the outcome of.
    tried: BTreeSet<SessionId>,
    /// Windows that show that their sign-in was refused.
    refusals: BTreeSet<SessionId>,
    /// Sign-ins that are typing right now.
    signing_in: BTreeMap<SessionId, Ticket>,
    opening: BTreeMap<SessionId, Ticket>,
    /// The activity that each window was last told to begin.
    begun: BTreeMap<SessionId, Ticket>,
    /// Browsers that answered.
    started: BTreeSet<ShardId>,
    /// Windows that have shown what they are to show.
    pub(super) shown: BTreeSet<SessionId>,
    /// Windows whose state was written down since they were opened.
    pub(super) saved: BTreeSet<SessionId>,
    /// Windows that stand still, or are about to.
    pub(super) still: BTreeSet<SessionId>,
    /// The last order to freeze or to run that each window got.
    moved: BTreeMap<SessionId, Ticket>,
    /// Sessions whose window was lost since they were last seen signed in.
    pub(super) lost: BTreeSet<SessionId>,
    /// What the windows may take; `None` where nobody measures.
    pub(super) budget: Option<u64>,
    reports: BTreeMap<(Moment, u64), Report>,
    reported: u64,
}

impl World {
    pub(super) fn know(&mut self, session: SessionId, spec: &Spec) {
        self.specs.insert(session, spec.clone());
    }

    /// From here on nothing fails any more.
    pub(super) fn calm(&mut self) {
        self.calm = true;
        self.portals.clear();
    }

    /// What all browsers take: a window less where it stands still, and each browser something of its own.
    pub(super) fn used(&self) -> u64 {
        let windows = self.windows.keys().map(|id| if self.still.contains(id) { FROZEN } else { RUNNING });
        windows.sum::<u64>() + BROWSER * u64::try_from(self.shards.len()).unwrap_or(u64::MAX)
    }

    /// From now on memory is measured, if it is at all.
    pub(super) fn begin_measuring(&mut self, now: Moment) {
        if self.budget.is_some() {
            self.reported += 1;
            self.reports.insert((now + MEASURED_EVERY, self.reported), Report::Measured);
        }
    }

    pub(super) fn next_at(&self) -> Option<Moment> {
        self.reports.keys().next().map(|(at, _)| *at)
    }

    fn later(&mut self, chance: &mut Chance, now: Moment, report: Report) {
        self.reported += 1;
        let delay_ms = if chance.percent(90) { chance.below(400) } else { chance.below(SLOWEST_MS) };
        self.reports.insert((now + Duration::from_millis(delay_ms), self.reported), report);
    }

    /// Things that happen to nobody's order: crashes, portals that go down, everybody logged out.
    pub(super) fn misfortune(&mut self, chance: &mut Chance, now: Moment) {
        let shards: Vec<ShardId> = self.shards.iter().copied().collect();
        let windows: Vec<(SessionId, ShardId)> = self.windows.iter().map(|(a, b)| (*a, *b)).collect();
        match chance.below(300) {
            0..=1 => {
                if let Some(shard) = chance.pick(&shards) {
                    self.kill(shard);
                    self.later(chance, now, Report::ShardEnded(shard, Some(FailureKind::Browser)));
                }
            }
            2..=5 => {
                if let Some((session, shard)) = chance.pick(&windows) {
                    let loss = match chance.below(3) {
                        0 => Loss::Crashed,
                        1 => Loss::Hung,
                        _ => Loss::Emptied,
                    };
                    self.signing_in.remove(&session);
                    self.lost.insert(session);
                    self.later(chance, now, Report::Lost(session, shard, loss));
                }
            }
            6..=7 => self.signed_in.clear(),
            8..=13 => {
                let portal = match chance.below(4) {
                    0 => Portal::Down,
                    1 => Portal::Captcha,
                    _ => Portal::Up,
                };
                self.portals.insert(chance.below(SITES), portal);
            }
            61..=62 => {
                self.changes += 1;
                let login = LoginId(2 * ACCOUNTS + self.changes);
                self.passwords.insert(chance.below(ACCOUNTS), login);
            }
            41..=42 => {
                if let Some(shard) = chance.pick(&shards) {
                    self.reported += 1;
                    self.reports.insert((now, self.reported), Report::Grown(shard));
                }
            }
            43..=60 => {
                if let Some((session, _)) = chance.pick(&windows) {
                    self.reported += 1;
                    self.reports.insert((now, self.reported), Report::Changed(session));
                }
            }
            14..=40 => {
                let signed_in: Vec<SessionId> = self.signed_in.iter().copied().collect();
                if let Some(session) = chance.pick(&signed_in) {
                    self.signed_in.remove(&session);
                }
            }
            _ => {}
        }
    }

    /// Somebody corrects what an account signs in with, or gets it wrong.
    pub(super) fn correct(&mut self, chance: &mut Chance) -> Input {
        let account = chance.below(ACCOUNTS);
        let login = if chance.percent(80) { self.password(account) } else { LoginId(account * 2 + 1) };
        let mut sessions = Vec::new();
        for (id, spec) in &mut self.specs {
            if spec.access.account.is_some_and(|known| known.0 == account) {
                spec.access.login = Some(login);
                sessions.push((*id, spec.access));
            }
        }
        Input::AccessChanged { sessions }
    }

    fn password(&self, account: u64) -> LoginId {
        self.passwords.get(&account).copied().unwrap_or(LoginId(account * 2))
    }

    fn is_refused(&self, access: Access) -> bool {
        access.account.is_some_and(|account| access.login != Some(self.password(account.0)))
    }

    /// Whether this is the latest that was begun, and its window was not lost since.
    pub(super) fn is_current(&self, session: SessionId, ticket: Ticket) -> bool {
        self.begun.get(&session) == Some(&ticket)
    }

    /// The sessions whose login is the one that was typed in the window of `session` and refused.
    pub(super) fn share_its_refusal(&self, session: SessionId) -> Vec<SessionId> {
        let Some(login) = self.typed.get(&session) else { return Vec::new() };
        let same = self.specs.iter().filter(|(_, spec)| spec.access.login == Some(*login));
        same.map(|(id, _)| *id).collect()
    }

    fn kill(&mut self, shard: ShardId) {
        self.shards.remove(&shard);
        self.started.remove(&shard);
        let gone: Vec<SessionId> =
            self.windows.iter().filter(|(_, at)| **at == shard).map(|(session, _)| *session).collect();
        for session in gone {
            self.lost.insert(session);
            self.window_gone(session);
        }
    }

    fn window_gone(&mut self, session: SessionId) {
        self.begun.remove(&session);
        self.opening.remove(&session);
        self.windows.remove(&session);
        self.tried.remove(&session);
        self.refusals.remove(&session);
        self.signing_in.remove(&session);
        self.signed_in.remove(&session);
        self.saved.remove(&session);
        self.still.remove(&session);
        self.moved.remove(&session);
        self.shown.remove(&session);
    }

    /// The server dies and a new one takes up what is left: browsers that had answered, with those windows of
    /// `kept` sessions that had shown what they were to show. Whatever was under way is never reported.
    pub(super) fn survive(
        &mut self,
        kept: &BTreeSet<SessionId>,
    ) -> (Vec<ShardId>, Vec<(SessionId, ShardId)>) {
        self.reports.retain(|_, report| matches!(report, Report::Measured));
        // The portals answer all the same.
        for (index, session) in std::mem::take(&mut self.signing_in).into_keys().enumerate() {
            let is_refused = self.specs.get(&session).is_some_and(|spec| self.is_refused(spec.access));
            if is_refused && index % 2 == 0 {
                self.refusals.insert(session);
            }
        }
        self.begun.clear();
        let starting: Vec<ShardId> = self.shards.difference(&self.started).copied().collect();
        for shard in starting {
            self.kill(shard);
        }
        let unclaimed: Vec<SessionId> = self
            .windows
            .keys()
            .filter(|id| !kept.contains(id) || !self.shown.contains(id))
            .copied()
            .collect();
        for session in unclaimed {
            self.lost.insert(session);
            self.window_gone(session);
        }
        (self.shards.iter().copied().collect(), self.windows.iter().map(|(a, b)| (*a, *b)).collect())
    }

    /// Does what the rules order.
    pub(super) fn obey(&mut self, action: &Action, chance: &mut Chance, now: Moment) -> Result<(), String> {
        match *action {
            Action::StartShard { shard, .. } => {
                if !self.calm && chance.percent(4) {
                    let kind =
                        if chance.percent(80) { FailureKind::Browser } else { FailureKind::BrowserMissing };
                    self.later(chance, now, Report::ShardEnded(shard, Some(kind)));
                } else {
                    self.shards.insert(shard);
                    self.later(chance, now, Report::ShardStarted(shard));
                }
            }
            Action::StopShard { shard } => {
                if self.windows.values().any(|at| *at == shard) {
                    return Err(format!("{shard:?} is stopped with windows in it"));
                }
                self.later(chance, now, Report::ShardEnded(shard, None));
            }
            Action::OpenWindow { session, ticket, shard } => {
                if self.windows.contains_key(&session) {
                    return Err(format!("{session:?} gets a second window"));
                }
                if self.shards.contains(&shard) {
                    self.windows.insert(session, shard);
                    self.opening.insert(session, ticket);
                    self.later(chance, now, Report::Opened(session, ticket, shard));
                } else {
                    self.lost.insert(session);
                }
            }
            Action::Freeze { session, ticket } => {
                // A browser that died unnoticed has no windows.
                if self.windows.contains_key(&session) {
                    self.still.insert(session);
                    self.moved.insert(session, ticket);
                }
                self.later(chance, now, Report::Frozen(session, ticket));
            }
            Action::Thaw { session, ticket } => {
                if self.windows.contains_key(&session) {
                    self.moved.insert(session, ticket);
                }
                self.later(chance, now, Report::Thawed(session, ticket));
            }
            Action::Save { session, ticket } => self.later(chance, now, Report::Saved(session, ticket)),
            Action::CloseWindow { session, ticket } => {
                self.opening.remove(&session);
                self.typed.remove(&session);
                if let Some(shard) = self.windows.get(&session).copied() {
                    self.later(chance, now, Report::Closed(session, ticket, shard));
                }
            }
            Action::Begin { session, ticket, activity } => {
                self.signing_in.remove(&session);
                self.begun.insert(session, ticket);
                if activity == Activity::SignIn {
                    self.begin_sign_in(session, ticket)?;
                    self.later(chance, now, Report::Typing(session, ticket));
                }
                self.later(chance, now, Report::Ended(session, ticket, activity));
            }
            _ => {}
        }
        Ok(())
    }

    fn begin_sign_in(&mut self, session: SessionId, ticket: Ticket) -> Result<(), String> {
        let account = self.specs.get(&session).and_then(|spec| spec.access.account);
        let other = self.signing_in.keys().find(|other| {
            account.is_some() && self.specs.get(other).and_then(|spec| spec.access.account) == account
        });
        if let Some(other) = other {
            return Err(format!("{session:?} and {other:?} sign {account:?} in at the same time"));
        }
        // A browser that died unnoticed types nothing any more.
        if self.windows.contains_key(&session) {
            self.signing_in.insert(session, ticket);
            let login = self.specs.get(&session).and_then(|spec| spec.access.login);
            login.map(|login| self.typed.insert(session, login));
        }
        Ok(())
    }

    /// Sign-ins that run on each site right now.
    pub(super) fn sign_ins(&self) -> BTreeMap<u64, usize> {
        let mut sign_ins = BTreeMap::new();
        for session in self.signing_in.keys() {
            if let Some(site) = self.specs.get(session).and_then(|spec| spec.site) {
                *sign_ins.entry(site.0).or_default() += 1;
            }
        }
        sign_ins
    }

    /// What the world reports next; `None` where the one who was to report is dead.
    pub(super) fn next_report(&mut self, chance: &mut Chance) -> Option<Input> {
        let ((at, _), report) = self.reports.pop_first()?;
        match report {
            Report::ShardStarted(shard) => {
                let lives = self.shards.contains(&shard);
                if lives {
                    self.started.insert(shard);
                }
                lives.then_some(Input::ShardStarted { shard })
            }
            Report::ShardEnded(shard, kind) => {
                self.kill(shard);
                let failure = kind.map(|kind| failure(kind, "the browser ended"));
                Some(Input::ShardEnded { shard, failure })
            }
            Report::Opened(session, ticket, shard) => {
                let current = self.opening.get(&session) == Some(&ticket);
                if !current || self.windows.get(&session) != Some(&shard) {
                    return None;
                }
                let fails = !self.calm && chance.percent(3);
                if fails {
                    self.window_gone(session);
                } else {
                    self.opening.remove(&session);
                }
                let result =
                    if fails { Err(failure(FailureKind::Browser, "no window came")) } else { Ok(()) };
                Some(Input::WindowOpened { session, ticket, result })
            }
            Report::Closed(session, ticket, shard) => {
                if self.windows.get(&session) == Some(&shard) {
                    self.window_gone(session);
                }
                self.shards.contains(&shard).then_some(Input::WindowClosed { session, ticket })
            }
            Report::Saved(session, ticket) => {
                let fails = !self.windows.contains_key(&session) || (!self.calm && chance.percent(10));
                if !fails {
                    self.saved.insert(session);
                }
                let result = if fails { Err(failure(FailureKind::Browser, "no state came")) } else { Ok(()) };
                Some(Input::Saved { session, ticket, result })
            }
            Report::Frozen(session, ticket) => {
                let current = self.moved.get(&session) == Some(&ticket);
                let fails = !current || (!self.calm && chance.percent(10));
                if fails && current {
                    self.still.remove(&session);
                }
                let result = if fails { Err(failure(FailureKind::Browser, "it runs on")) } else { Ok(()) };
                Some(Input::Frozen { session, ticket, result })
            }
            Report::Thawed(session, ticket) => {
                if self.moved.get(&session) == Some(&ticket) {
                    self.still.remove(&session);
                }
                Some(Input::Thawed { session, ticket })
            }
            Report::Measured => {
                self.begin_measuring(at);
                let (used_bytes, budget_bytes) = (self.used(), self.budget?);
                let memory =
                    Memory { used_bytes, budget_bytes, running_bytes: RUNNING, frozen_bytes: FROZEN };
                Some(Input::Measured { memory })
            }
            Report::Grown(shard) => Some(Input::ShardGrown { shard }),
            Report::Changed(session) => Some(Input::WindowChanged { session }),
            Report::Typing(session, ticket) => {
                if self.signing_in.get(&session) == Some(&ticket) {
                    self.tried.insert(session);
                }
                Some(Input::Typing { session, ticket })
            }
            Report::Ended(session, ticket, activity) => {
                if self.signing_in.get(&session) == Some(&ticket) {
                    self.signing_in.remove(&session);
                }
                let outcome = self.outcome(session, activity, chance);
                if activity != Activity::Look || outcome.is_ok() {
                    self.tried.remove(&session);
                }
                if self.begun.get(&session) == Some(&ticket) && outcome.is_ok() {
                    self.shown.insert(session);
                }
                if outcome == Ok(Standing::SignedIn) && self.begun.get(&session) == Some(&ticket) {
                    self.lost.remove(&session);
                }
                Some(Input::ActivityEnded { session, ticket, outcome })
            }
            Report::Lost(session, shard, loss) => {
                self.lost.insert(session);
                self.begun.remove(&session);
                Some(Input::WindowLost { session, shard, loss })
            }
        }
    }

    fn outcome(
        &mut self,
        session: SessionId,
        activity: Activity,
        chance: &mut Chance,
    ) -> Result<Standing, Failure> {
        if !self.windows.contains_key(&session) {
            return Err(failure(FailureKind::Browser, "the window is gone"));
        }
        if !self.calm && chance.percent(4) {
            let kind = match chance.below(4) {
                0..=1 => FailureKind::Browser,
                2 => FailureKind::Untyped,
                _ => FailureKind::Unexpected,
            };
            return Err(failure(kind, "something odd happened"));
        }
        let Some(spec) = self.specs.get(&session) else { return Ok(Standing::SignedIn) };
        let Some(site) = spec.site else { return Ok(Standing::SignedIn) };
        let portal = self.portals.get(&site.0).copied().unwrap_or_default();
        if portal == Portal::Down && activity != Activity::Look {
            return Err(failure(FailureKind::Unreachable, "the portal is down"));
        }
        let rejected = || failure(FailureKind::Rejected, "the password is wrong");
        match activity {
            Activity::SignIn if portal == Portal::Up => {
                let typed = Access { login: self.typed.get(&session).copied(), ..spec.access };
                if self.is_refused(typed) {
                    self.refusals.insert(session);
                    return Err(rejected());
                }
                self.refusals.remove(&session);
                self.signed_in.insert(session);
            }
            Activity::Look if self.tried.contains(&session) && self.refusals.contains(&session) => {
                return Err(rejected());
            }
            Activity::SignIn | Activity::Look => {}
            Activity::Visit | Activity::Refresh | Activity::Repair => {
                self.refusals.remove(&session);
            }
        }
        if self.signed_in.contains(&session) {
            Ok(Standing::SignedIn)
        } else if portal == Portal::Captcha {
            Ok(Standing::PersonNeeded("a captcha".to_owned()))
        } else {
            Ok(Standing::SignedOut)
        }
    }

    pub(super) fn expects_attention(&self, session: SessionId) -> bool {
        self.specs.get(&session).is_some_and(|spec| spec.site.is_some()) && !self.signed_in.contains(&session)
    }
}

fn failure(kind: FailureKind, sentence: &str) -> Failure {
    Failure { kind, sentence: sentence.to_owned() }
}
