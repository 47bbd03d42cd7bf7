//! Rules in a world where everything works unless the test says otherwise.

use std::time::Duration;

use pilotlight_core::{
    Access, AccountId, Action, Activity, Answer, AsleepRefresh, AtCapacity, EndedReason, Failure,
    FailureKind, HoldId, Input, Isolation, LaunchKey, Limits, LoginId, Moment, Notice, Policy, Refusal,
    RequestId, Rules, SessionId, ShardId, SignInStatus, SiteId, Spec, State, Ticket, Whose, WindowLoss,
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Rules with an obedient world: every order is carried out at once, unless `outcome` says what became of it.
pub(crate) struct Scene {
    pub(crate) rules: Rules,
    pub(crate) now: Moment,
    pub(crate) next: u64,
    /// What activities come to.
    pub(crate) outcome: Box<dyn Fn(Activity) -> Result<SignInStatus, Failure>>,
    pub(crate) begun: Vec<(SessionId, Activity)>,
    /// What refreshes beside a page come to, and who was refreshed so.
    pub(crate) beside: Result<SignInStatus, Failure>,
    pub(crate) refreshed_beside: Vec<SessionId>,
    /// Activities are begun and never end.
    pub(crate) silent: bool,
    /// The same for sign-ins alone, which are noted.
    pub(crate) silent_sign_ins: bool,
    pub(crate) unanswered: Vec<(SessionId, Ticket)>,
    pub(crate) answers: Vec<(RequestId, Result<Answer, Refusal>)>,
    pub(crate) shards: Vec<ShardId>,
    /// What writing a state down comes to, and how often it was done.
    pub(crate) save: Box<dyn Fn() -> Result<(), Failure>>,
    pub(crate) saves: usize,
    pub(crate) freezes: usize,
    pub(crate) thaws: usize,
    pub(crate) renewed: Vec<(SessionId, SessionId)>,
    pub(crate) notices: Vec<Notice>,
    /// Whether windows can be opened.
    pub(crate) opens: bool,
    /// Whose pages were ended.
    pub(crate) ended_pages: Vec<SessionId>,
}

impl Scene {
    /// Where nothing freezes by itself.
    pub(crate) fn new(limits: Limits) -> Self {
        Self::freezing(Limits { freeze_after: None, ..limits })
    }

    pub(crate) fn freezing(limits: Limits) -> Self {
        let now = Moment(1_000_000);
        Self {
            rules: Rules::new(limits, 1, now),
            now,
            next: 0,
            outcome: Box::new(|_| Ok(SignInStatus::SignedIn)),
            begun: Vec::new(),
            beside: Ok(SignInStatus::SignedIn),
            refreshed_beside: Vec::new(),
            silent: false,
            silent_sign_ins: false,
            unanswered: Vec::new(),
            answers: Vec::new(),
            shards: Vec::new(),
            save: Box::new(|| Ok(())),
            saves: 0,
            freezes: 0,
            thaws: 0,
            renewed: Vec::new(),
            notices: Vec::new(),
            opens: true,
            ended_pages: Vec::new(),
        }
    }

    pub(crate) fn step(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let actions = self.rules.step(self.now, input);
            assert_eq!(self.rules.check_index(), Ok(()));
            for action in actions {
                inputs.extend(self.obey(action));
            }
        }
    }

    pub(crate) fn obey(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::StartShard { shard, .. } => {
                self.shards.push(shard);
                Some(Input::ShardStarted { shard })
            }
            Action::StopShard { shard } => Some(Input::ShardEnded { shard, failure: None }),
            Action::OpenWindow { session, ticket, .. } => {
                let result = if self.opens { Ok(()) } else { Err(failure(FailureKind::Browser)) };
                Some(Input::WindowOpened { session, ticket, result })
            }
            Action::Save { session, ticket } => {
                self.saves += 1;
                Some(Input::Saved { session, ticket, result: (self.save)() })
            }
            Action::Freeze { session, ticket } => {
                self.freezes += 1;
                Some(Input::Frozen { session, ticket, result: Ok(()) })
            }
            Action::Thaw { session, ticket } => {
                self.thaws += 1;
                Some(Input::Thawed { session, ticket })
            }
            Action::CloseWindow { session, ticket } => Some(Input::WindowClosed { session, ticket }),
            Action::EndPages { session } => {
                self.ended_pages.push(session);
                let shard = self.rules.session(session).and_then(pilotlight_core::Session::shard)?;
                Some(Input::WindowLost { session, shard, loss: WindowLoss::Crashed })
            }
            Action::Begin { session, ticket, activity } => {
                self.begun.push((session, activity));
                if self.silent_sign_ins && activity == Activity::SignIn {
                    self.unanswered.push((session, ticket));
                    return None;
                }
                if self.silent {
                    self.unanswered.push((session, ticket));
                    return None;
                }
                let outcome = (self.outcome)(activity);
                Some(Input::ActivityEnded { session, ticket, outcome })
            }
            Action::RefreshBeside { session, ticket } => {
                self.refreshed_beside.push(session);
                if self.silent {
                    self.unanswered.push((session, ticket));
                    return None;
                }
                Some(Input::RefreshedBeside { session, ticket, outcome: self.beside.clone() })
            }
            Action::Renew { session, from } => {
                self.renewed.push((session, from));
                None
            }
            Action::Announce(notice) => {
                self.notices.push(notice);
                None
            }
            Action::Answer { request, answer } => {
                self.answers.push((request, answer));
                None
            }
            _ => None,
        }
    }

    /// Lets time pass, waking the rules whenever they ask for it.
    pub(crate) fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.rules.next_deadline(self.now).filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.step(Input::Tick);
        }
        self.now = end;
        self.step(Input::Tick);
    }

    pub(crate) fn request(&mut self) -> RequestId {
        self.next += 1;
        RequestId(self.next)
    }

    pub(crate) fn create(
        &mut self,
        number: u128,
        change: impl FnOnce(&mut Spec),
    ) -> Option<Result<Answer, Refusal>> {
        let request = self.request();
        let mut spec = Spec {
            name: None,
            identity: Some(u64::try_from(number).unwrap()),
            whose: Whose::default(),
            site: Some(SiteId(1)),
            max_sign_ins: None,
            refresh_jitter: Duration::ZERO,
            asleep: AsleepRefresh::Never,
            access: access(u64::try_from(number).unwrap()),
            launch: LaunchKey(1),
            isolation: Isolation::Shared,
            freezes: true,
            policy: Policy {
                keep_alive: true,
                never_terminate: false,
                idle_timeout: 1800 * SECOND,
                default_refresh: Some(300 * SECOND),
                own_refresh: None,
            },
        };
        change(&mut spec);
        self.step(Input::Create { request, session: SessionId(number), spec: Box::new(spec) });
        self.answer(request)
    }

    pub(crate) fn answer(&self, request: RequestId) -> Option<Result<Answer, Refusal>> {
        self.answers.iter().find(|(answered, _)| *answered == request).map(|(_, answer)| answer.clone())
    }

    pub(crate) fn hold(
        &mut self,
        number: u128,
        ttl: Duration,
        shared: bool,
    ) -> Option<Result<Answer, Refusal>> {
        let request = self.request();
        let hold = HoldId(u128::from(request.0));
        self.step(Input::Hold { request, session: SessionId(number), hold, ttl, shared, quiet: false });
        self.answer(request)
    }

    pub(crate) fn state(&self, number: u128) -> State {
        self.rules.session(SessionId(number)).unwrap().state()
    }

    pub(crate) fn ended(&self, number: u128) -> Option<EndedReason> {
        self.rules.session(SessionId(number)).unwrap().ended.map(|(_, reason)| reason)
    }

    pub(crate) fn times(&self, activity: Activity) -> usize {
        self.begun.iter().filter(|(_, begun)| *begun == activity).count()
    }
}

/// An account of its own, and a password of its own.
pub(crate) fn access(number: u64) -> Access {
    Access { account: Some(AccountId(number)), login: Some(LoginId(number)), can_sign_in: true }
}

pub(crate) fn failure(kind: FailureKind) -> Failure {
    Failure { kind, sentence: "it did not work".to_owned() }
}

pub(crate) fn few(max_live: usize) -> Limits {
    Limits { max_live, at_capacity: AtCapacity::Terminate, ..Limits::default() }
}
