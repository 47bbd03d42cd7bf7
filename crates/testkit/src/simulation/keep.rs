//! A portal that signs out whoever it has not heard of for a while, and many more sessions than windows.

use std::collections::BTreeMap;
use std::time::Duration;

use pilotlight_core::{
    Action, Activity, AsleepRefresh, HoldId, Input, Limits, Moment, NoticeKind, RequestId, Rules, Session,
    SessionId, SignInStatus, State, Ticket,
};

use super::chance::Chance;
use super::specs::kept_alive;

const SESSIONS: u64 = 60;
const WINDOWS: usize = 6;
const SECOND: Duration = Duration::from_secs(1);
/// How often sessions are refreshed.
const EVERY: Duration = Duration::from_secs(300);
/// How long the portal keeps whoever it hears nothing of.
const SIGNS_OUT_AFTER: Duration = Duration::from_secs(360);
/// Nothing takes longer.
const SLOWEST_MS: u64 = 3_000;
/// How often a client comes, and how long it stays, at most.
const COMES_MS: u64 = 60_000;
const STAYS_MS: u64 = 30_000;
/// One of so many stays for much longer than the portal waits, at most so long.
const STAYS_LONG: u64 = 10;
const STAYS_LONG_MS: u64 = 1_800_000;
/// All sessions have been made by then.
const BEGINNING: Duration = Duration::from_secs(900);

/// What was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Inputs taken.
    pub steps: u64,
    /// Refreshes of hibernated sessions.
    pub asleep: u64,
    /// Clients that came to a session while it was being refreshed so.
    pub taken_over: u64,
    /// Documents that did not show that one is signed in.
    pub documents_in_vain: u64,
    /// Refreshes beside the page that a client had.
    pub beside: u64,
    /// Sessions that the portal signed out though it could have been asked in time.
    pub signed_out: u64,
}

/// Keeps sixty sessions for `span` with six windows, and clients that come and go.
///
/// # Errors
/// What did not hold, with the seed.
pub fn run(seed: u64, span: Duration) -> Result<Kept, String> {
    let start = Moment(1_700_000_000_000);
    let limits = Limits { max_live: WINDOWS, queue_timeout: 300 * SECOND, ..Limits::default() };
    let mut scene = Scene {
        rules: Rules::new(limits, seed, start),
        now: start,
        reports: BTreeMap::new(),
        ordered: 0,
        heard_of: BTreeMap::new(),
        kept: Kept::default(),
        chance: Chance::new(seed),
    };
    scene.run(start + span).map_err(|sentence| format!("seed {seed}: {sentence}"))?;
    Ok(scene.kept)
}

/// What is to happen.
enum Next {
    Told(Input),
    /// An activity ends; what comes of it is seen then.
    Ends(SessionId, Ticket, Activity),
    /// The same of a refresh beside a page.
    Refreshed(SessionId, Ticket),
    /// A client comes to any session.
    Comes,
}

struct Scene {
    rules: Rules,
    now: Moment,
    reports: BTreeMap<(Moment, u64), Next>,
    ordered: u64,
    /// When the portal last heard of whom.
    heard_of: BTreeMap<SessionId, Moment>,
    kept: Kept,
    chance: Chance,
}

impl Scene {
    fn run(&mut self, end: Moment) -> Result<(), String> {
        for number in 0..SESSIONS {
            let asleep = match number % 3 {
                0 => AsleepRefresh::Visit,
                1 => AsleepRefresh::VisitAndRefresh,
                _ => AsleepRefresh::Document,
            };
            let spec = kept_alive(number, EVERY, 30 * SECOND, asleep);
            let session = SessionId(u128::from(number) + 1);
            let input = Input::Create { request: RequestId(number), session, spec: Box::new(spec) };
            self.after(600_000, Next::Told(input));
        }
        self.reports.insert((self.now + BEGINNING, 0), Next::Comes);
        while self.now < end {
            let report = self.reports.keys().next().map(|(at, _)| *at);
            let deadline = self.rules.next_deadline(self.now);
            let next = report.into_iter().chain(deadline).min().ok_or("nothing is going to happen")?;
            self.now = next.max(self.now);
            let is_due = report.is_some_and(|at| at <= self.now);
            let input = match is_due.then(|| self.reports.pop_first()).flatten() {
                Some((_, Next::Told(input))) => input,
                Some((_, Next::Ends(session, ticket, activity))) => self.ended(session, ticket, activity),
                Some((_, Next::Refreshed(session, ticket))) => {
                    self.kept.beside += 1;
                    let outcome = Ok(self.seen(session, false));
                    Input::RefreshedBeside { session, ticket, outcome }
                }
                Some((_, Next::Comes)) => self.comes(),
                None => Input::Tick,
            };
            self.step(input);
        }
        let lost = self.rules.living().find(|session| session.attention.is_some());
        lost.map_or(Ok(()), |lost| Err(format!("somebody needs a person: {lost:?}")))
    }

    fn after(&mut self, most_ms: u64, next: Next) {
        self.ordered += 1;
        let delay = Duration::from_millis(1 + self.chance.below(most_ms));
        self.reports.insert((self.now + delay, self.ordered), next);
    }

    fn comes(&mut self) -> Input {
        self.after(COMES_MS, Next::Comes);
        self.ordered += 1;
        let request = RequestId(SESSIONS + self.ordered);
        let session = SessionId(u128::from(self.chance.below(SESSIONS)) + 1);
        if self.rules.session(session).is_some_and(Session::has_refresh_window) {
            self.kept.taken_over += 1;
        }
        let hold = HoldId(u128::from(self.ordered));
        let longest = if self.ordered.is_multiple_of(STAYS_LONG) { STAYS_LONG_MS } else { STAYS_MS };
        let ttl = Duration::from_millis(1 + self.chance.below(longest));
        Input::Hold { request, session, hold, ttl, shared: true, quiet: false }
    }

    fn ended(&mut self, session: SessionId, ticket: Ticket, activity: Activity) -> Input {
        if activity == Activity::SignIn {
            self.heard_of.insert(session, self.now);
        }
        let mut seen = self.seen(session, activity == Activity::Look);
        if activity == Activity::LoadDocument && seen == SignInStatus::SignedIn && self.chance.percent(5) {
            self.kept.documents_in_vain += 1;
            seen = SignInStatus::SignedOut;
        }
        Input::ActivityEnded { session, ticket, outcome: Ok(seen) }
    }

    /// How the portal takes a session. Unless its page is only looked at, it hears of it.
    fn seen(&mut self, session: SessionId, is_look: bool) -> SignInStatus {
        let is_known = |at: &Moment| self.now.since(*at) < SIGNS_OUT_AFTER;
        if !self.heard_of.get(&session).is_some_and(is_known) {
            self.kept.signed_out += u64::from(self.heard_of.contains_key(&session));
            return SignInStatus::SignedOut;
        }
        if !is_look {
            self.heard_of.insert(session, self.now);
        }
        SignInStatus::SignedIn
    }

    fn step(&mut self, input: Input) {
        self.kept.steps += 1;
        for action in self.rules.step(self.now, input) {
            let next = match action {
                Action::StartShard { shard, .. } => Next::Told(Input::ShardStarted { shard }),
                Action::StopShard { shard } => Next::Told(Input::ShardEnded { shard, failure: None }),
                Action::OpenWindow { session, ticket, .. } => {
                    Next::Told(Input::WindowOpened { session, ticket, result: Ok(()) })
                }
                Action::CloseWindow { session, ticket } => {
                    Next::Told(Input::WindowClosed { session, ticket })
                }
                Action::Freeze { session, ticket } => {
                    Next::Told(Input::Frozen { session, ticket, result: Ok(()) })
                }
                Action::Thaw { session, ticket } => Next::Told(Input::Thawed { session, ticket }),
                Action::Save { session, ticket } => {
                    Next::Told(Input::Saved { session, ticket, result: Ok(()) })
                }
                Action::Begin { session, ticket, activity } => Next::Ends(session, ticket, activity),
                Action::RefreshBeside { session, ticket } => Next::Refreshed(session, ticket),
                Action::Announce(notice) => {
                    let is_asleep = notice.state == State::Hibernated && notice.kind == NoticeKind::Refreshed;
                    self.kept.asleep += u64::from(is_asleep);
                    continue;
                }
                _ => continue,
            };
            self.after(SLOWEST_MS, next);
        }
    }
}
