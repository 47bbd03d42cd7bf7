//! The rules, driven through millions of steps by a world that fails in every way.
//!
//! [`run`] makes fake browsers, portals and clients from one seed, feeds the rules with what they do, and
//! checks after every step what must always hold. A violation names the seed; the same seed fails in the
//! same way again. Nothing here waits: the clock is a number.

mod chance;
mod checks;
mod clients;
mod disk;
mod keep;
mod operations;
mod outage;
mod sign_ins;
mod specs;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pilotlight_core::{
    Action, AdoptedShard, AtCapacity, Backoff, Input, Isolation, LaunchKey, Limits, Moment, PersistedSession,
    RequestId, Rules, SessionId, ShardId,
};

use chance::Chance;
use checks::Checks;
use clients::Clients;
use disk::{Disk, Settled};
use world::World;

pub use keep::{Kept, run as run_keep};
pub use operations::run as run_operations;
pub use outage::{Outage, run as run_outage};

/// How long a run goes on once nothing fails any more, until everything must stand.
const CALM: Duration = Duration::from_secs(2 * 3600);
/// Far in the future, for a world in which nothing is going to happen.
const IDLE: Duration = Duration::from_secs(3600);
/// Inputs after which, at some moment, everything must have stood.
const PATIENCE: u32 = 200;
/// Inputs at one moment; more of them mean a busy loop.
const STANDSTILL: u32 = 1_000;

/// What a run saw, so that a test can tell that it saw enough.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Inputs taken.
    pub steps: u64,
    /// How often each kind of thing happened.
    pub seen: BTreeMap<String, u64>,
}

impl Report {
    /// Adds what another run saw.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        for (what, times) in &other.seen {
            *self.seen.entry(what.clone()).or_default() += times;
        }
    }
}

/// Drives the rules through `steps` inputs, then lets the world calm down and expects everything to stand.
///
/// # Errors
/// The first thing that did not hold, with the seed and the step.
pub fn run(seed: u64, steps: u64) -> Result<Report, String> {
    let mut chance = Chance::new(seed);
    let limits = random_limits(&mut chance);
    let now = Moment(1_700_000_000_000);
    let mut world = World::default();
    world.budget = chance.percent(50).then(|| chance.between(200, 1_000));
    world.begin_measuring(now);
    let mut simulation = Simulation {
        now,
        rules: Rules::new(limits.clone(), seed, now),
        world,
        clients: Clients::new(now),
        checks: Checks::new(limits),
        disk: Disk::default(),
        chance,
        steps: 0,
        standstill: 0,
    };
    simulation
        .run(steps)
        .map_err(|sentence| format!("seed {seed}, step {}: {sentence}", simulation.steps))?;
    Ok(Report { steps: simulation.steps, seen: simulation.checks.seen })
}

fn random_limits(chance: &mut Chance) -> Limits {
    let max_live = chance.between(1, 12);
    Limits {
        max_sessions: if chance.percent(80) { 1000 } else { max_live.min(4) },
        max_live,
        asleep_windows: max_live % 3,
        windows_per_browser: chance.between(1, 5),
        at_capacity: match chance.below(4) {
            0 => AtCapacity::Terminate,
            1 => AtCapacity::Reject,
            _ => AtCapacity::Hibernate,
        },
        queue_timeout: Duration::from_secs(chance.below(40)),
        max_queue: chance.between(1, 20),
        refresh_check: Duration::from_millis(chance.between(500, 60_000)),
        max_refreshes: chance.between(1, 8),
        max_sign_ins_per_site: chance.between(1, 4),
        refresh_tries: 3,
        recovery_tries: 4,
        backoff: Backoff { first: Duration::from_secs(2), longest: Duration::from_secs(300) },
        longest_outage_wait: Duration::from_secs(60),
        return_spread: Duration::from_secs(2),
        loss_settled_after: Duration::from_secs(600),
        shard_settled_after: Duration::from_secs(10),
        shard_linger: Duration::from_secs(chance.below(20)),
        freeze_after: chance.percent(70).then(|| Duration::from_secs(chance.below(600))),
        freeze_settle: Duration::from_secs(chance.below(10)),
        hibernate_after: chance.percent(30).then(|| Duration::from_secs(chance.below(1_200))),
        save_delay: Duration::from_secs(chance.below(20)),
        max_saves: chance.between(1, 4),
        save_retry: Duration::from_secs(10),
        max_recoveries: chance.between(1, 8),
        browser_max_age: Duration::from_secs(chance.between(60, 86_400)),
        move_after: Duration::from_secs(chance.below(120)),
        remember_ended: Duration::from_secs(600),
        max_remembered: chance.between(1, 30),
        max_holds: chance.between(1, 5),
        max_waiting: chance.between(1, 10),
    }
}

struct Simulation {
    now: Moment,
    rules: Rules,
    world: World,
    clients: Clients,
    checks: Checks,
    disk: Disk,
    chance: Chance,
    steps: u64,
    standstill: u32,
}

impl Simulation {
    fn run(&mut self, steps: u64) -> Result<(), String> {
        while self.steps < steps {
            self.advance(true)?;
        }
        self.world.calm();
        self.disk.make_room();
        self.rest()?;
        // Old browsers are replaced for ever: a window may just be moving.
        for _ in 0..PATIENCE {
            if self.checks.everything_stands(&self.rules, &self.world).is_ok() {
                break;
            }
            self.advance(false)?;
        }
        self.checks.everything_stands(&self.rules, &self.world)?;
        self.step(Input::Drain { request: RequestId(u64::MAX), timeout: CALM })?;
        self.rest()?;
        self.checks.all_hibernated(&self.rules, &self.world)
    }

    /// Nobody wants anything any more, and time passes.
    fn rest(&mut self) -> Result<(), String> {
        let end = self.now + CALM;
        while self.now < end {
            while let Some(session) = self.clients.leave() {
                self.step(Input::EndUse { session })?;
            }
            self.advance(false)?;
        }
        Ok(())
    }

    /// The server dies at this very moment, and another one takes up what was kept.
    fn server_dies(&mut self) -> Result<(), String> {
        self.disk.is_true_to_its_word(&self.rules, self.now)?;
        self.world.typed_is_recorded(&self.disk)?;
        let mut kept: Vec<PersistedSession> = self.disk.persisted();
        // With what a session signs in is looked up anew: credentials have records of their own.
        kept.iter_mut().for_each(|kept| self.world.look_up_access(kept));
        let ids: BTreeSet<SessionId> = kept.iter().map(|kept| kept.id).collect();
        let (shards, windows) = self.world.survive(&ids);
        let launches: BTreeMap<ShardId, LaunchKey> = windows
            .iter()
            .filter_map(|(id, shard)| {
                let kept = kept.iter().find(|kept| kept.id == *id)?;
                Some((*shard, kept.spec.launch))
            })
            .collect();
        let shards = shards.into_iter().map(|shard| {
            let launch = launches.get(&shard).copied().unwrap_or(LaunchKey(0));
            let is_own = self.world.own.contains(&shard);
            let isolation = if is_own { Isolation::Dedicated } else { Isolation::Shared };
            AdoptedShard { id: shard, launch, isolation, since: self.now, outdated: false }
        });
        let shards = shards.collect();
        self.disk.cut_off();
        self.checks.cut_off(&self.disk);
        self.clients.cut_off();
        self.rules = Rules::new(self.rules.limits().clone(), self.steps, self.now);
        self.step(Input::Resume { sessions: kept, shards, windows })
    }

    /// Goes to the next moment at which something happens, and feeds it to the rules.
    fn advance(&mut self, clients: bool) -> Result<(), String> {
        let deadline = self.rules.next_deadline(self.now);
        let report = self.world.next_at();
        let request = clients.then(|| self.clients.next_at());
        let next = [deadline, report, request].into_iter().flatten().min().unwrap_or(self.now + IDLE);
        // It never takes so long that time passes.
        if next > self.now && self.disk.is_awaited() {
            return self.settle();
        }
        if next > self.now && self.chance.below(20) == 0 {
            self.disk.is_true_to_its_word(&self.rules, self.now)?;
        }
        self.standstill = if next > self.now { 0 } else { self.standstill + 1 };
        if self.standstill > STANDSTILL {
            return Err(format!(
                "the rules ask to be woken at {next:?} again and again, and it is {:?}: {:#?}",
                self.now, self.rules
            ));
        }
        self.now = next.max(self.now);
        if clients && self.chance.below(3_000) == 0 {
            return self.server_dies();
        }
        if clients && self.chance.below(400) == 0 {
            self.disk.fill(&mut self.chance, self.now);
            self.checks.disk_fills();
        }
        // What nobody waits for is written a while later.
        if !self.disk.is_awaited() && self.chance.percent(20) {
            self.disk.flush(&self.rules, self.now);
        }
        if clients && self.chance.below(500) == 0 {
            let input = self.world.correct(&mut self.chance, &self.rules);
            return self.step(input);
        }
        let input = if report == Some(next) {
            self.world.next_report(&mut self.chance)
        } else if request == Some(next) {
            self.world.misfortune(&mut self.chance, self.now);
            Some(self.clients.request(&mut self.chance, self.now))
        } else {
            Some(Input::Tick)
        };
        input.map_or(Ok(()), |input| self.step(input))
    }

    fn step(&mut self, input: Input) -> Result<(), String> {
        self.steps += 1;
        if let Input::Create { session, spec, .. } = &input {
            self.world.know(*session, spec);
        }
        let typing = match &input {
            Input::Typing { session, ticket } => Some((*session, *ticket)),
            _ => None,
        };
        self.disk.before(&input, &self.rules);
        self.checks.before(&input, &self.rules, &self.world, self.now);
        for action in self.step_rules(input)? {
            match &action {
                Action::Changed { session } | Action::Forget { session } => self.disk.changed(*session),
                Action::Answer { request, answer } if self.disk.holds_back(*request, answer) => continue,
                _ => {}
            }
            self.does(&action)?;
        }
        self.checks.after(&self.rules, &self.world, self.now)?;
        if let Some((session, ticket)) = typing {
            let may_type = self.disk.may_type(session, &self.rules, self.now);
            self.world.types(session, ticket, may_type);
        }
        // The disk takes its time now and then, so that more than one answer waits for it.
        let is_due = typing.is_some() || self.chance.percent(70);
        if self.disk.is_awaited() && is_due { self.settle() } else { Ok(()) }
    }

    /// Steps the rules, and checks that they pass over no session that they should have looked at.
    fn step_rules(&mut self, input: Input) -> Result<Vec<Action>, String> {
        let mut thorough = self.rules.examining_all();
        let expected = thorough.step(self.now, input.clone());
        let actions = self.rules.step(self.now, input);
        if actions != expected {
            return Err(format!("{actions:#?} follows, and if all sessions are looked at, {expected:#?}"));
        }
        let (next, expected) = (self.rules.next_deadline(self.now), thorough.next_deadline(self.now));
        if next != expected {
            return Err(format!(
                "the next step is at {next:?}, and if all sessions are looked at, {expected:?}"
            ));
        }
        self.rules.check_index()?;
        Ok(actions)
    }

    /// Gives the answers that waited for the disk.
    fn settle(&mut self) -> Result<(), String> {
        for settled in self.disk.settle(&self.rules, self.now) {
            match settled {
                Settled::PersistedSession(request, answer) => {
                    self.does(&Action::Answer { request, answer: Ok(answer) })?;
                }
                Settled::TakenBack(request, refusal, undone) => {
                    self.checks.takes_back();
                    self.does(&Action::Answer { request, answer: Err(refusal) })?;
                    if let Some(undone) = undone {
                        self.step(undone)?;
                        self.disk.names_may_be_gone(&self.rules);
                    }
                }
            }
        }
        Ok(())
    }

    fn does(&mut self, action: &Action) -> Result<(), String> {
        self.checks.action(action, &self.rules, &self.world, self.now)?;
        self.clients.hear(action);
        self.world.obey(action, &mut self.chance, self.now)
    }
}
