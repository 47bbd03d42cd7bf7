//! How the time of one step grows with the number of sessions.
//!
//! `cargo bench -p pilotlight-core`. All sessions hibernate but for [`WINDOWS`], which are open and signed in: what a
//! machine has that keeps many sessions. In `all_open`, all of them have windows. A row is one round of inputs, each
//! followed by the question when the next step is due, which is how the server steps. The world obeys at once, and time
//! passes by a millisecond a round.

use std::collections::VecDeque;
use std::time::Duration;

use divan::Bencher;
use pilotlight_core::{
    Access, AccountId, Action, AdoptedShard, AsleepRefresh, Input, Isolation, LaunchKey, Limits, LoginId,
    Memory, Moment, PersistedSession, Policy, RequestId, Rules, SessionId, ShardId, SignIn, SignInStatus,
    SiteId, Spec, Whose,
};

/// Sessions that have a window.
const WINDOWS: u64 = 20;
/// Windows in one browser.
const PER_BROWSER: u64 = 16;
/// Sites that sessions are of.
const SITES: u64 = 10;
const SIZES: [u64; 4] = [100, 1_000, 10_000, 100_000];
const START: Moment = Moment(1_700_000_000_000);

fn main() {
    divan::main();
}

/// Rules with sessions, and a world that does what it is told.
struct Scene {
    rules: Rules,
    now: Moment,
    requests: u64,
    inputs: VecDeque<Input>,
}

impl Scene {
    fn new(sessions: u64, windows: u64) -> Self {
        let count = usize::try_from(sessions).unwrap_or(usize::MAX);
        // Windows that are due to freeze or to be saved would add steps of their own to some rounds.
        let limits = Limits { max_sessions: count, max_live: count, freeze_after: None, ..Limits::default() };
        let mut scene =
            Self { rules: Rules::new(limits, 1, START), now: START, requests: 0, inputs: VecDeque::new() };
        let shards = (0..windows.div_ceil(PER_BROWSER)).map(|number| AdoptedShard {
            id: ShardId(number),
            launch: LaunchKey(1),
            isolation: Isolation::Shared,
            since: START,
            outdated: false,
        });
        scene.step(Input::Resume {
            sessions: (0..sessions).map(|number| persisted(number, number < windows)).collect(),
            shards: shards.collect(),
            windows: (0..windows).map(|number| (id(number), ShardId(number / PER_BROWSER))).collect(),
        });
        // All are signed in, and what was changed is saved.
        for _ in 0..60 {
            scene.pass(Duration::from_secs(1));
        }
        scene
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        self.step(Input::Tick);
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    /// Has the rules take an input, and all that follow from it.
    fn step(&mut self, input: Input) {
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front() {
            for action in self.rules.step(self.now, input) {
                self.inputs.extend(obey(action));
            }
            divan::black_box(self.rules.next_deadline(self.now));
        }
    }
}

fn obey(action: Action) -> Option<Input> {
    match action {
        Action::Save { session, ticket } => Some(Input::Saved { session, ticket, result: Ok(()) }),
        Action::Thaw { session, ticket } => Some(Input::Thawed { session, ticket }),
        Action::Begin { session, ticket, .. } => {
            Some(Input::ActivityEnded { session, ticket, outcome: Ok(SignInStatus::SignedIn) })
        }
        _ => None,
    }
}

fn id(number: u64) -> SessionId {
    SessionId(u128::from(number))
}

fn persisted(number: u64, live: bool) -> PersistedSession {
    let spec = Spec {
        name: Some(format!("session {number}")),
        identity: Some(number),
        whose: Whose::default(),
        site: Some(SiteId(number % SITES)),
        max_sign_ins: None,
        refresh_jitter: Duration::from_secs(30),
        asleep: AsleepRefresh::Visit,
        access: Access { account: Some(AccountId(number)), login: Some(LoginId(number)), can_sign_in: true },
        launch: LaunchKey(1),
        isolation: Isolation::Shared,
        freezes: true,
        policy: Policy {
            keep_alive: true,
            never_terminate: false,
            idle_timeout: Duration::from_secs(24 * 3600),
            default_refresh: Some(Duration::from_secs(300)),
            own_refresh: None,
        },
    };
    PersistedSession {
        id: id(number),
        spec,
        created_at: START,
        last_used: START,
        last_refresh: None,
        sign_in: SignIn::default(),
        signed_in_at: Some(START),
        attention: None,
        refused: false,
        tried_at: None,
        live,
        ended: None,
        holds: Vec::new(),
    }
}

/// Measures rounds of inputs, with time passing from one to the next.
fn rounds(bencher: Bencher<'_, '_>, sessions: u64, round: impl FnMut(&mut Scene)) {
    measured(bencher, Scene::new(sessions, WINDOWS), round);
}

fn measured(bencher: Bencher<'_, '_>, mut scene: Scene, mut round: impl FnMut(&mut Scene)) {
    bencher.bench_local(|| {
        scene.now = scene.now + Duration::from_millis(1);
        round(&mut scene);
    });
}

/// Time passes, and nothing is due.
#[divan::bench(args = SIZES)]
fn tick(bencher: Bencher<'_, '_>, sessions: u64) {
    rounds(bencher, sessions, |scene| scene.step(Input::Tick));
}

/// A client says that it still wants a session that hibernates.
#[divan::bench(args = SIZES)]
fn ping(bencher: Bencher<'_, '_>, sessions: u64) {
    rounds(bencher, sessions, |scene| {
        let request = scene.request();
        let session = id(WINDOWS + request.0 % (sessions - WINDOWS));
        scene.step(Input::Ping { request, session });
    });
}

/// A request begins to use a window, and ends: two steps.
#[divan::bench(args = SIZES)]
fn use_a_window(bencher: Bencher<'_, '_>, sessions: u64) {
    rounds(bencher, sessions, |scene| {
        let request = scene.request();
        let session = id(request.0 % WINDOWS);
        scene.step(Input::BeginUse { request, session });
        scene.step(Input::EndUse { session });
    });
}

/// A client asks for a refresh, which begins, and is reported: two steps.
#[divan::bench(args = SIZES)]
fn refresh(bencher: Bencher<'_, '_>, sessions: u64) {
    rounds(bencher, sessions, |scene| {
        let request = scene.request();
        let session = id(request.0 % WINDOWS);
        scene.step(Input::RefreshNow { request, session });
    });
}

/// The memory of all windows is measured; it is well within its budget.
#[divan::bench(args = SIZES)]
fn measure(bencher: Bencher<'_, '_>, sessions: u64) {
    const MIB: u64 = 1 << 20;
    let memory = Memory {
        used_bytes: WINDOWS * 100 * MIB,
        budget_bytes: 16_384 * MIB,
        window_bytes: 2_048 * MIB,
        running_bytes: 100 * MIB,
        frozen_bytes: 20 * MIB,
    };
    let windows: Vec<_> = (0..WINDOWS).map(|number| (id(number), 90 * MIB)).collect();
    rounds(bencher, sessions, |scene| {
        scene.step(Input::Measured { memory, windows: windows.clone() });
    });
}

/// The same where every session has a window.
mod all_open {
    use super::{Bencher, Input, Scene, id, measured};

    const SIZES: [u64; 3] = [100, 1_000, 10_000];

    #[divan::bench(args = SIZES)]
    fn tick(bencher: Bencher<'_, '_>, windows: u64) {
        measured(bencher, Scene::new(windows, windows), |scene| scene.step(Input::Tick));
    }

    #[divan::bench(args = SIZES)]
    fn use_a_window(bencher: Bencher<'_, '_>, windows: u64) {
        measured(bencher, Scene::new(windows, windows), |scene| {
            let request = scene.request();
            let session = id(request.0 % windows);
            scene.step(Input::BeginUse { request, session });
            scene.step(Input::EndUse { session });
        });
    }

    #[divan::bench(args = SIZES)]
    fn refresh(bencher: Bencher<'_, '_>, windows: u64) {
        measured(bencher, Scene::new(windows, windows), |scene| {
            let request = scene.request();
            scene.step(Input::RefreshNow { request, session: id(request.0 % windows) });
        });
    }
}
