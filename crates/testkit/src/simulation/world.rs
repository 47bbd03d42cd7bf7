//! Fake browsers and portals: they do what they are told, late, badly or never, and fall over by themselves.

mod reports;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pilotlight_core::{
    Access, Action, Activity, FailureKind, Input, Isolation, LoginId, Moment, NoticeKind, PersistedSession,
    Rules, Session, SessionId, ShardId, Spec, Ticket, WindowKind, WindowLoss,
};

use super::chance::Chance;
use super::clients::{ACCOUNTS, SITES};
use super::disk::Disk;

/// Nothing that the fake world does takes longer.
const SLOWEST_MS: u64 = 8_000;
/// What a window takes whose page runs.
pub(super) const RUNNING: u64 = 100;
/// What a window takes that stands still.
const FROZEN: u64 = 30;
/// What a single window may take.
const WINDOW: u64 = 400;
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
    Refreshed(SessionId, Ticket),
    Lost(SessionId, ShardId, WindowLoss),
    Grown(ShardId),
    HeldOthersUp(SessionId, ShardId),
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
    /// Those that have one window for its own.
    pub(super) own: BTreeSet<ShardId>,
    /// Windows that held up others in their browser and may not stay there.
    pub(super) unruly: BTreeSet<SessionId>,
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
    /// Sign-ins that are not typed, since that could not be written down.
    untyped: BTreeSet<(SessionId, Ticket)>,
    /// Sessions that sign in whatever their window shows: they got the password that they waited for, or what was
    /// begun in it failed, and nobody has looked at it since.
    excused: BTreeSet<SessionId>,
    /// Windows that show that their sign-in was refused.
    refusals: BTreeSet<SessionId>,
    /// Sign-ins that are typing right now.
    signing_in: BTreeMap<SessionId, Ticket>,
    opening: BTreeMap<SessionId, Ticket>,
    /// Whose windows were opened for a document alone.
    opened_bare: BTreeSet<SessionId>,
    /// The activity that each window was last told to begin.
    begun: BTreeMap<SessionId, Ticket>,
    /// Browsers that answered.
    started: BTreeSet<ShardId>,
    /// Windows that have shown what they are to show.
    pub(super) shown: BTreeSet<SessionId>,
    /// Windows that have the cookies of their sessions and nothing else.
    pub(super) bare: BTreeSet<SessionId>,
    /// Windows whose state was written down since they were opened.
    pub(super) saved: BTreeSet<SessionId>,
    /// Windows whose last page was closed, and whose state was not written down since.
    pub(super) emptied: BTreeSet<SessionId>,
    /// Windows that show nothing, since their last page was closed and none was loaded since.
    blank: BTreeSet<SessionId>,
    /// Windows that stand still, or are about to.
    pub(super) still: BTreeSet<SessionId>,
    /// The last order to freeze or to run that each window got.
    moved: BTreeMap<SessionId, Ticket>,
    /// Sessions whose window was lost since they were last seen signed in.
    pub(super) lost: BTreeSet<SessionId>,
    /// Windows whose pages take far more than others, and how much.
    greedy: BTreeMap<SessionId, u64>,
    /// Of those that take more than a window may, the ones that the rules were told of.
    pub(super) oversized: BTreeSet<SessionId>,
    /// Browsers that ended since memory was last measured.
    pub(super) ended: u64,
    /// What the windows may take; `None` where nobody measures.
    pub(super) budget: Option<u64>,
    reports: BTreeMap<(Moment, u64), Report>,
    reported: u64,
}

impl World {
    pub(super) fn know(&mut self, session: SessionId, spec: &Spec) {
        self.specs.insert(session, spec.clone());
    }

    /// What was asked for with a session, and what is had of it since.
    pub(super) fn spec(&self, session: SessionId) -> Option<&Spec> {
        self.specs.get(&session)
    }

    /// From here on nothing fails any more.
    pub(super) fn calm(&mut self) {
        self.calm = true;
        self.portals.clear();
    }

    /// What all browsers take: a window less where it stands still, and each browser something of its own.
    pub(super) fn used(&self) -> u64 {
        self.weights().map(|(_, bytes)| bytes).sum::<u64>()
            + BROWSER * u64::try_from(self.shards.len()).unwrap_or(u64::MAX)
    }

    /// What each window takes.
    fn weights(&self) -> impl Iterator<Item = (SessionId, u64)> {
        self.windows.keys().map(|id| {
            let usual = if self.still.contains(id) { FROZEN } else { RUNNING };
            (*id, self.greedy.get(id).copied().unwrap_or(usual))
        })
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
                    let loss = match chance.below(5) {
                        0 => WindowLoss::Crashed,
                        1 => WindowLoss::Hung,
                        2 => WindowLoss::Gone,
                        _ => WindowLoss::Emptied,
                    };
                    self.signing_in.remove(&session);
                    // Where its last page alone is gone, the window has what it had.
                    if loss != WindowLoss::Emptied {
                        self.lost.insert(session);
                    }
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
            63..=64 => {
                if let Some((session, _)) = chance.pick(&windows) {
                    self.greedy.insert(session, 2 * RUNNING + chance.below(WINDOW));
                }
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
            65..=68 => {
                if let Some((session, shard)) = chance.pick(&windows) {
                    self.reported += 1;
                    self.reports.insert((now, self.reported), Report::HeldOthersUp(session, shard));
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
    pub(super) fn correct(&mut self, chance: &mut Chance, rules: &Rules) -> Input {
        let account = chance.below(ACCOUNTS);
        let login = if chance.percent(80) { self.password(account) } else { LoginId(account * 2 + 1) };
        let mut sessions = Vec::new();
        for (id, spec) in &mut self.specs {
            if spec.access.account.is_some_and(|known| known.0 == account) {
                spec.access.login = Some(login);
                sessions.push((*id, spec.access));
            }
        }
        let waits = |id: &SessionId| {
            let kept = rules.session(*id).and_then(Session::persisted);
            kept.is_some_and(|kept| kept.refused && kept.attention.is_some())
        };
        self.excused.extend(sessions.iter().map(|(id, _)| *id).filter(waits));
        Input::AccessChanged { sessions }
    }

    /// With what a session signs in today.
    pub(super) fn look_up_access(&self, kept: &mut PersistedSession) {
        if let Some(spec) = self.specs.get(&kept.id) {
            kept.spec.access = spec.access;
        }
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
    pub(super) fn propagate_its_refusal(&self, session: SessionId) -> Vec<SessionId> {
        let Some(login) = self.typed.get(&session) else { return Vec::new() };
        let same = self.specs.iter().filter(|(_, spec)| spec.access.login == Some(*login));
        same.map(|(id, _)| *id).collect()
    }

    fn kill(&mut self, shard: ShardId) {
        self.ended += u64::from(self.shards.remove(&shard));
        self.own.remove(&shard);
        self.started.remove(&shard);
        let gone: Vec<SessionId> =
            self.windows.iter().filter(|(_, at)| **at == shard).map(|(session, _)| *session).collect();
        for session in gone {
            self.lost.insert(session);
            self.window_gone(session);
        }
    }

    fn window_gone(&mut self, session: SessionId) {
        self.greedy.remove(&session);
        self.unruly.remove(&session);
        self.oversized.remove(&session);
        self.begun.remove(&session);
        self.opening.remove(&session);
        self.windows.remove(&session);
        self.tried.remove(&session);
        self.refusals.remove(&session);
        self.signing_in.remove(&session);
        self.signed_in.remove(&session);
        self.saved.remove(&session);
        self.emptied.remove(&session);
        self.blank.remove(&session);
        self.excused.remove(&session);
        self.still.remove(&session);
        self.moved.remove(&session);
        self.shown.remove(&session);
        self.bare.remove(&session);
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
        self.excused.clear();
        self.untyped.clear();
        self.unruly.clear();
        self.oversized.clear();
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
            Action::StartShard { shard, isolation, .. } => {
                if isolation != Isolation::Shared {
                    self.own.insert(shard);
                } else {
                    // The next server may give the number of one again that was just starting.
                    self.own.remove(&shard);
                }
                if !self.calm && chance.percent(4) {
                    let kind =
                        if chance.percent(80) { FailureKind::Browser } else { FailureKind::BrowserMissing };
                    self.later(chance, now, Report::ShardEnded(shard, Some(kind)));
                } else {
                    self.shards.insert(shard);
                    self.later(chance, now, Report::ShardStarted(shard));
                }
            }
            Action::Renew { session, from } => {
                let renewed = self.specs.get(&from).map(|spec| (spec.access, spec.identity, spec.whose));
                if let Some((spec, renewed)) = self.specs.get_mut(&session).zip(renewed) {
                    (spec.access, spec.identity, spec.whose) = renewed;
                }
            }
            Action::StopShard { shard } => {
                if self.windows.values().any(|at| *at == shard) {
                    return Err(format!("{shard:?} is stopped with windows in it"));
                }
                self.later(chance, now, Report::ShardEnded(shard, None));
            }
            Action::OpenWindow { session, ticket, shard, kind } => {
                if self.windows.contains_key(&session) {
                    return Err(format!("{session:?} gets a second window"));
                }
                match kind {
                    WindowKind::Full => self.opened_bare.remove(&session),
                    WindowKind::Bare => self.opened_bare.insert(session),
                };
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
            Action::Save { session, .. } if self.bare.contains(&session) => {
                return Err(format!("what {session:?} has stored is overwritten with a window without it"));
            }
            Action::Save { session, ticket } => self.later(chance, now, Report::Saved(session, ticket)),
            Action::EndPages { session } => {
                if !self.oversized.remove(&session) {
                    return Err(format!(
                        "the pages of {session:?} are ended, which take no more than they may"
                    ));
                }
                self.greedy.remove(&session);
                self.signing_in.remove(&session);
                self.lost.insert(session);
                if let Some(shard) = self.windows.get(&session).copied() {
                    self.later(chance, now, Report::Lost(session, shard, WindowLoss::Crashed));
                }
            }
            Action::CloseWindow { session, ticket } => {
                self.opening.remove(&session);
                self.begun.remove(&session);
                self.typed.remove(&session);
                if let Some(shard) = self.windows.get(&session).copied() {
                    self.later(chance, now, Report::Closed(session, ticket, shard));
                }
            }
            // What ran in a page that hangs is given up, unless somebody uses it.
            Action::Announce(ref notice) if notice.kind == NoticeKind::PageHung => {
                self.signing_in.remove(&notice.session);
            }
            Action::Begin { session, ticket, activity } => {
                self.signing_in.remove(&session);
                self.begun.insert(session, ticket);
                if self.bare.contains(&session) {
                    return Err(format!("{activity:?} in the window of {session:?}, which lacks its state"));
                }
                if self.opened_bare.contains(&session) != (activity == Activity::LoadDocument) {
                    return Err(format!("{activity:?} of {session:?} in a window of the wrong kind"));
                }
                if activity == Activity::LoadDocument {
                    self.bare.insert(session);
                } else if activity == Activity::SignIn {
                    self.begin_sign_in(session, ticket)?;
                    self.later(chance, now, Report::Typing(session, ticket));
                } else if activity == Activity::Look {
                    self.excused.remove(&session);
                }
                self.later(chance, now, Report::Ended(session, ticket, activity));
            }
            Action::RefreshBeside { session, ticket } => {
                self.later(chance, now, Report::Refreshed(session, ticket));
            }
            _ => {}
        }
        Ok(())
    }

    fn begin_sign_in(&mut self, session: SessionId, ticket: Ticket) -> Result<(), String> {
        if self.blank.contains(&session) && !self.excused.contains(&session) {
            return Err(format!("{session:?} signs in since its window shows nothing, which says nothing"));
        }
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

    /// A sign-in is typed, or not, where that cannot be written down.
    pub(super) fn types(&mut self, session: SessionId, ticket: Ticket, may_type: bool) {
        if self.signing_in.get(&session) != Some(&ticket) {
            return;
        }
        if may_type {
            self.tried.insert(session);
        } else {
            self.untyped.insert((session, ticket));
        }
    }

    /// Invariant 3: that a sign-in is typed was written down before.
    pub(super) fn typed_is_recorded(&self, disk: &Disk) -> Result<(), String> {
        let is_unknown = |id: &&SessionId| self.signing_in.contains_key(*id) && disk.lacks_try(**id);
        let unknown = self.tried.iter().find(is_unknown);
        unknown.map_or(Ok(()), |id| {
            Err(format!("the sign-in of {id:?} was typed, and the disk does not know it"))
        })
    }

    /// A browser that is one window's own has no other.
    pub(super) fn own_browsers_are_own(&self) -> Result<(), String> {
        let windows_in = |shard: &ShardId| self.windows.values().filter(|at| *at == shard).count();
        let crowded = self.own.iter().find(|shard| windows_in(shard) > 1);
        crowded.map_or(Ok(()), |shard| Err(format!("{shard:?} is one window's own and has several")))
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

    pub(super) fn expects_attention(&self, session: SessionId) -> bool {
        self.specs.get(&session).is_some_and(|spec| spec.site.is_some()) && !self.signed_in.contains(&session)
    }
}
