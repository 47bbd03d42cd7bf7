//! One portal logs everybody out, is away for a while and comes back, slowly at first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pilotlight_core::{
    Action, Activity, AsleepRefresh, Failure, FailureKind, Input, Limits, Moment, RequestId, Rules,
    SessionId, SignInStatus, State,
};

use super::chance::Chance;
use super::specs::kept_alive;

const SESSIONS: u64 = 20;
const SECOND: Duration = Duration::from_secs(1);
/// Nothing takes longer while the portal is well.
const SLOWEST_MS: u64 = 3_000;
/// How long the portal is up before it goes.
const CALM: Duration = Duration::from_secs(900);
/// After its return the portal loses one in so many sign-ins for so long.
const LOSES_PERCENT: u64 = 20;
const WEAK: Duration = Duration::from_secs(10);

/// What came of an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// How long after the portal's return the last session stood.
    pub back_after: Duration,
    /// The most sign-ins of one session that the portal saw, the first among them.
    pub sign_ins: u32,
}

/// Lets the portal of twenty sessions be away for `span`.
///
/// # Errors
/// What did not hold, with the seed.
pub fn run(seed: u64, span: Duration) -> Result<Outage, String> {
    let mut chance = Chance::new(seed);
    let limits = Limits {
        max_live: 30,
        refresh_check: 5 * SECOND,
        freeze_after: Some(120 * SECOND),
        ..Limits::default()
    };
    let start = Moment(1_700_000_000_000);
    let gone_at = start + CALM + Duration::from_millis(chance.below(300_000));
    let mut scene = Scene {
        rules: Rules::new(limits, seed, start),
        now: start,
        gone_at,
        back_at: gone_at + span,
        reports: BTreeMap::new(),
        reported: 0,
        signed_in: BTreeSet::new(),
        signing_in: BTreeSet::new(),
        sign_ins: BTreeMap::new(),
        chance,
    };
    scene.run().map_err(|sentence| format!("seed {seed}: {sentence}"))
}

struct Scene {
    rules: Rules,
    now: Moment,
    gone_at: Moment,
    back_at: Moment,
    reports: BTreeMap<(Moment, u64), Input>,
    reported: u64,
    signed_in: BTreeSet<SessionId>,
    signing_in: BTreeSet<SessionId>,
    sign_ins: BTreeMap<SessionId, u32>,
    chance: Chance,
}

impl Scene {
    fn run(&mut self) -> Result<Outage, String> {
        for number in 0..SESSIONS {
            let spec = kept_alive(number, 15 * SECOND, 3 * SECOND, AsleepRefresh::Visit);
            let session = SessionId(u128::from(number) + 1);
            let input = Input::Create { request: RequestId(number), session, spec: Box::new(spec) };
            self.reported += 1;
            self.reports
                .insert((self.now + Duration::from_millis(self.chance.below(60_000)), self.reported), input);
        }
        let end = self.back_at + Duration::from_secs(3600);
        let mut is_gone = false;
        while self.now < end {
            let report = self.reports.keys().next().map(|(at, _)| *at);
            let deadline = self.rules.next_deadline(self.now);
            let next = report.into_iter().chain(deadline).min().unwrap_or(end).max(self.now);
            if !is_gone && next >= self.gone_at {
                is_gone = true;
                self.signed_in.clear();
            }
            self.now = next;
            let due = report.is_some_and(|at| at <= self.now);
            let input = if due { self.reports.pop_first().map(|(_, input)| input) } else { None };
            self.step(input.unwrap_or(Input::Tick))?;
            let all_stand = self.signed_in.len() as u64 == SESSIONS
                && self.rules.living().all(|session| matches!(session.state(), State::Ready | State::Frozen));
            if self.now >= self.back_at && all_stand {
                let sign_ins = self.sign_ins.values().copied().max().unwrap_or_default();
                return Ok(Outage { back_after: self.now.since(self.back_at), sign_ins });
            }
        }
        let waiting = self.rules.living().find(|session| session.state() != State::Ready);
        Err(format!("some never came back: {waiting:?}"))
    }

    fn step(&mut self, input: Input) -> Result<(), String> {
        let input = match input {
            Input::ActivityEnded { session, ticket, outcome: Ok(SignInStatus::PersonNeeded(activity)) } => {
                self.signing_in.remove(&session);
                Input::ActivityEnded { session, ticket, outcome: self.outcome(session, &activity) }
            }
            input => input,
        };
        for action in self.rules.step(self.now, input) {
            let report = match action {
                Action::StartShard { shard, .. } => Input::ShardStarted { shard },
                Action::StopShard { shard } => Input::ShardEnded { shard, failure: None },
                Action::OpenWindow { session, ticket, .. } => {
                    Input::WindowOpened { session, ticket, result: Ok(()) }
                }
                Action::CloseWindow { session, ticket } => Input::WindowClosed { session, ticket },
                Action::Freeze { session, ticket } => Input::Frozen { session, ticket, result: Ok(()) },
                Action::Thaw { session, ticket } => Input::Thawed { session, ticket },
                Action::Save { session, ticket } => Input::Saved { session, ticket, result: Ok(()) },
                Action::Begin { session, ticket, activity } => {
                    if activity == Activity::SignIn {
                        self.signing_in.insert(session);
                        if self.signing_in.len() > self.rules.limits().max_sign_ins_per_site {
                            return Err(format!("{} sign in at once", self.signing_in.len()));
                        }
                    }
                    // What comes of it is seen when it ends; until then it stands here by its name.
                    let name = format!("{activity:?}");
                    Input::ActivityEnded { session, ticket, outcome: Ok(SignInStatus::PersonNeeded(name)) }
                }
                _ => continue,
            };
            self.reported += 1;
            let delay = Duration::from_millis(1 + self.chance.below(SLOWEST_MS));
            self.reports.insert((self.now + delay, self.reported), report);
        }
        Ok(())
    }

    fn outcome(&mut self, session: SessionId, activity: &str) -> Result<SignInStatus, Failure> {
        let is_sign_in = activity == "SignIn";
        if (self.gone_at..self.back_at).contains(&self.now) && activity != "Look" {
            return Err(failure(FailureKind::Unreachable));
        }
        let is_weak = (self.back_at..self.back_at + WEAK).contains(&self.now);
        if is_sign_in && is_weak && self.chance.percent(LOSES_PERCENT) {
            let is_typed = self.chance.percent(50);
            return Err(failure(if is_typed { FailureKind::Unexpected } else { FailureKind::Untyped }));
        }
        if is_sign_in && self.signed_in.insert(session) {
            *self.sign_ins.entry(session).or_default() += 1;
        }
        Ok(if self.signed_in.contains(&session) { SignInStatus::SignedIn } else { SignInStatus::SignedOut })
    }
}

fn failure(kind: FailureKind) -> Failure {
    Failure { kind, sentence: "it did not work".to_owned() }
}
