//! One session as the rules know it. Only the rules change it; everybody else reads.
//!
//! # Whether it is to have a window
//!
//! ```text
//!                  1               2
//!     Settled ─────────► Recovering ─────► Settled
//!        │                 │    ▲
//!        └────────3────────┤    │ 4
//!                          ▼    │
//!                       Hibernating
//! ```
//!
//! 1. Its window was lost, with its browser or without (`reports`); a client restarts it (`requests`); or it moves to
//!    another browser, and its state is saved (`hibernation`, for `migrate`).
//! 2. It is signed in again, or a person is needed (`reports`, `access`).
//! 3. It hibernates: for a client, for want of places or of memory, after a while, or for a drain (`hibernation`).
//! 4. Somebody wants it, and it has a place (`capacity`). If its window was not gone yet, it stays as it was before.
//!
//! While it hibernates it is `RefreshingAsleep` from the moment in which its refresh is due (`asleep`) until the window of
//! that is gone again (`session_mut`), or a client gets it (`capacity`).
//!
//! # Where its window is
//!
//! ```text
//!             1            2              3
//!     None ──────► Placed ─────► Opening ─────► Open ◄─────┐
//!     ▲  ▲           │            │   │         │  │       │ 7
//!     │  └───────────┴─────4──────┘   │         │  └──► Saving
//!     │                               5         5    6     │
//!     │              9                ▼         ▼          │ 8
//!     └─────────────────────────── Closing ◄───────────────┘
//! ```
//!
//! 1. `settle` gives it a place in a browser: it was let in or is woken (`capacity`), or has lost its window (`reports`).
//! 2. The browser runs, and `settle` orders the window (`OpenWindow`).
//! 3. The world reports `WindowOpened`.
//! 4. The window could not be opened, or was not ordered yet when it was to close.
//! 5. The session has ended (`expiry`, `capacity`, a client), or its window is not worth saving (`CloseWindow`).
//! 6. The session hibernates (`hibernation`, for a client, `capacity`, `memory` or `drain`), moves to another browser
//!    (`migrate`) or is restarted by a client (`requests`): its state is saved first.
//! 7. Somebody wants it after all (`hibernation`), or it could not be saved (`saving`).
//! 8. It is saved; then `CloseWindow`.
//! 9. The world reports `WindowClosed`. From every state it comes here, too, where its browser ends (`reports`).
//!
//! # Whether an open window runs
//!
//! ```text
//!               1                2               3
//!     Running ─────► SavingFirst ───► Freezing ─────► Frozen
//!     ▲  ▲  ▲             │              │               │ 6
//!     │  │  └──────4──────┘              │               ▼
//!     │  └─────────────5─────────────────┘            Thawing
//!     └────────────────────────7─────────────────────────┘
//! ```
//!
//! 1. Nobody used it for a while, or a client asks for it (`freezing`); or memory is short (`memory`).
//! 2. Its state is saved, or was already: `freezing` orders it (`Freeze`).
//! 3. The world reports `Frozen`. A window of an earlier server begins here (`resume`).
//! 4. Somebody uses it, or it could not be saved.
//! 5. The world reports that it could not be frozen.
//! 6. Something is to be done in it, or somebody wants it: `freezing` orders it (`Thaw`).
//! 7. The world reports `Thawed`.
//!
//! A window that closes counts as running.
//!
//! # What is done in an open window
//!
//! ```text
//!              1            2
//!     Idle ───────► Next ───────► Running
//!     ▲ ▲            │  ▲          │   │
//!     │ └─────3──────┘  └────4─────┘   │
//!     └──────────────5─────────────────┘
//! ```
//!
//! 1. A refresh is due, or a person may have signed it in (`refresh`); a client asks for a refresh (`requests`); the window
//!    was opened, lost its page, or is that of an earlier server (`reports`, `resume`); a credential was changed (`access`).
//! 2. Limits and users of the window allow it (`settle`, by `Begin`).
//! 3. It is no longer wanted: the policy was changed, the login was rejected elsewhere, or the window closes.
//! 4. It failed and is tried again, or led to something else, for example a visit to a sign-in (`reports`).
//! 5. The world reports `ActivityEnded`; or the window is saved for the last time, or closes.
//!
//! Where somebody uses the page, the session is refreshed beside it (`beside`), whatever is done or to be done in it.
//!
//! What clients see follows from these: [`Session::state`].

use std::time::Duration;

use crate::action::{EndedReason, State};
use crate::activity::Activity;
use crate::contents::{ActivityState, Contents};
use crate::ids::{HoldId, LaunchKey, LoginId, RequestId, SessionId, ShardId, SiteId, Ticket};
use crate::sign_in::SignIn;
use crate::spec::{Access, AsleepWay, Isolation, Policy, Spec, Whose};
use crate::time::Moment;

/// How long new uses of a window wait for those before them to end, so that it can move out. A person who steers it may
/// not end for hours.
pub(crate) const MOVE_OUT_PATIENCE: Duration = Duration::from_secs(10);

/// The mark that somebody uses a session. It always ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Its id.
    pub id: HoldId,
    /// Whether others may hold the session too.
    pub shared: bool,
    /// Whether its portal hears nothing of the session meanwhile but what the holder does.
    pub quiet: bool,
    /// Since when its client is connected and sends nothing ([`crate::silence`]); `None` where it does not count as silent.
    pub silent_since: Option<Moment>,
    /// When it ends by itself.
    pub expires_at: Moment,
}

/// Where a session's window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Window {
    /// There is none.
    None,
    /// It has a place in a browser that is still starting.
    Placed(ShardId),
    Opening(ShardId),
    Open(ShardId),
    /// Its state is being written down for the last time; then it closes.
    Saving(ShardId, CloseReason),
    /// It was told to close; until it has, it counts as live.
    Closing(ShardId),
}

/// Why a window goes although its session lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The session hibernates.
    Hibernate,
    /// A client wants another window.
    Restart,
    /// Its browser is given up.
    Move,
    /// It held up the others in its browser, and gets one of its own.
    MoveOut,
}

/// Whether a session is to have a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Residence {
    /// It is: it has one, or gets its first one.
    Settled,
    /// It is, and its window was lost, is restarted, moves or is woken, and is not ready again yet.
    Recovering,
    /// It is not, until somebody wants it.
    Hibernating {
        /// Whether it was recovering before, and goes on with that if its window stays after all.
        was_recovering: bool,
    },
    /// It is not, and has or gets one all the same, in which its sign-in is kept alive ([`crate::asleep`]).
    RefreshingAsleep {
        /// When that window was ordered.
        since: Moment,
    },
}

/// A request that waits until the session is at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) request: RequestId,
    pub(crate) deadline: Moment,
    pub(crate) wish: Wish,
    /// Until when it waits for others to go.
    pub(crate) patient_until: Moment,
}

impl Waiting {
    /// One that came `now`.
    pub(crate) fn new(request: RequestId, wish: Wish, deadline: Moment, now: Moment) -> Self {
        Self { request, deadline, wish, patient_until: now + MOVE_OUT_PATIENCE }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Hold {
        hold: HoldId,
        ttl: Duration,
        shared: bool,
        quiet: bool,
    },
    Use,
    /// The client of a hold goes on.
    Resume {
        hold: HoldId,
    },
}

/// One session: what was asked for, how it is treated, and how it stands.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The name that the client chose.
    pub name: Option<String>,
    /// How it is treated.
    pub policy: Policy,
    /// When it was let in.
    pub created_at: Moment,
    /// When a client last used it; refreshes do not count.
    pub last_used: Moment,
    /// When a refresh last worked.
    pub last_refresh: Option<Moment>,
    /// When a sign-in last worked.
    pub signed_in_at: Option<Moment>,
    /// How it stands with its portal, as far as was last seen.
    pub sign_in: SignIn,
    /// What a person should know or do.
    pub attention: Option<String>,
    /// When and why it ended.
    pub ended: Option<(Moment, EndedReason)>,
    /// The holds on it.
    pub holds: Vec<Hold>,

    pub(crate) identity: Option<u64>,
    pub(crate) whose: Whose,
    pub(crate) site: Option<SiteId>,
    pub(crate) max_sign_ins: Option<usize>,
    pub(crate) refresh_jitter: Duration,
    pub(crate) asleep: AsleepWay,
    pub(crate) access: Access,
    pub(crate) launch: LaunchKey,
    /// Whether its window is to have a browser of its own: what was asked for, until it holds up others.
    pub(crate) isolation: Isolation,
    /// Its pages bear standing still.
    pub(crate) freezes: bool,
    /// Single requests that use the window right now.
    pub(crate) uses: usize,
    /// It once stood, and its client was told so: from here on only the rules of ending end it.
    pub(crate) established: bool,
    pub(crate) residence: Residence,
    pub(crate) window: Window,
    pub(crate) contents: Contents,
    /// The portal refused its sign-in: without a client's word it is not tried again, lest the account be locked.
    pub(crate) refused: bool,
    /// Nothing but a person's doing helps, as far as was last seen.
    pub(crate) is_person_needed: bool,
    /// What the sign-in that runs, or ran last, is typing.
    pub(crate) typed: Option<LoginId>,
    /// Sign-ins in a row that were typed, or may have been, and came to nothing.
    pub(crate) failed_sign_ins: u32,
    pub(crate) ticket: Ticket,
    /// Its portal was not there when it was last wanted.
    pub(crate) unreachable: bool,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// Losses of its page or window, one soon after the other.
    pub(crate) losses: u32,
    /// When the last of them was.
    pub(crate) lost_at: Moment,
    /// Nothing of ours starts before this.
    pub(crate) not_before: Moment,
    /// When the portal was last seen to be content.
    pub(crate) fresh_at: Moment,
    /// How much earlier than it must the next refresh comes.
    pub(crate) refresh_early: Duration,
    /// Who waits for it to stand the first time.
    pub(crate) create_requests: Vec<RequestId>,
    /// Who asked for a refresh or a restart and waits for its outcome.
    pub(crate) refresh_requests: Vec<RequestId>,
    /// Who waits for its window to be back.
    pub(crate) wake_requests: Vec<RequestId>,
    /// Who waits for it to hibernate.
    pub(crate) hibernate_requests: Vec<RequestId>,
    /// Who waits for it to freeze.
    pub(crate) freeze_requests: Vec<RequestId>,
    /// It does not freeze by itself before this.
    pub(crate) freeze_not_before: Moment,
    /// It could not be frozen, and is not tried again before this.
    pub(crate) unfreezable_until: Moment,
    /// After its state could not be written down: when it may hibernate again.
    pub(crate) hibernate_not_before: Moment,
    /// Who waits for its window to be gone.
    pub(crate) close_requests: Vec<RequestId>,
    pub(crate) waiting: Vec<Waiting>,
    /// The state that was last announced.
    pub(crate) announced: Option<State>,
    /// Why it is in its state.
    pub(crate) why: String,
}

impl Session {
    pub(crate) fn new(id: SessionId, spec: Spec, create_requests: Vec<RequestId>, now: Moment) -> Self {
        Self {
            id,
            name: spec.name,
            policy: spec.policy,
            created_at: now,
            last_used: now,
            last_refresh: None,
            signed_in_at: None,
            sign_in: SignIn::default(),
            attention: None,
            ended: None,
            holds: Vec::new(),
            identity: spec.identity,
            whose: spec.whose,
            site: spec.site,
            max_sign_ins: spec.max_sign_ins,
            refresh_jitter: spec.refresh_jitter,
            asleep: spec.asleep.into(),
            access: spec.access,
            launch: spec.launch,
            isolation: spec.isolation,
            freezes: spec.freezes,
            uses: 0,
            established: false,
            residence: Residence::Settled,
            window: Window::None,
            contents: Contents::default(),
            refused: false,
            is_person_needed: false,
            typed: None,
            failed_sign_ins: 0,
            ticket: Ticket(0),
            unreachable: false,
            failures: 0,
            losses: 0,
            lost_at: Moment(0),
            not_before: now,
            fresh_at: now,
            refresh_early: Duration::ZERO,
            create_requests,
            refresh_requests: Vec::new(),
            wake_requests: Vec::new(),
            hibernate_requests: Vec::new(),
            freeze_requests: Vec::new(),
            freeze_not_before: now,
            unfreezable_until: now,
            hibernate_not_before: now,
            close_requests: Vec::new(),
            waiting: Vec::new(),
            announced: None,
            why: "a client asked for it".to_owned(),
        }
    }

    /// Its state, as clients see it.
    #[must_use]
    pub fn state(&self) -> State {
        if self.ended.is_some() {
            State::Ended
        } else if self.is_hibernating() && (self.window == Window::None || self.has_refresh_window()) {
            State::Hibernated
        } else if matches!(
            self.contents.activity,
            ActivityState::Next(Activity::SignIn) | ActivityState::Running(Activity::SignIn)
        ) && self.attention.is_none()
        {
            State::SigningIn
        } else if !self.established {
            State::Starting
        } else if self.attention.is_some() {
            State::NeedsAttention
        } else if matches!(
            self.residence,
            Residence::Recovering | Residence::Hibernating { was_recovering: true }
        ) {
            State::Recovering
        } else if self.contents.freeze_state.is_frozen() {
            State::Frozen
        } else {
            State::Ready
        }
    }

    /// Returns when a sign-in was typed whose outcome is not known yet.
    #[must_use]
    pub fn tried_at(&self) -> Option<Moment> {
        self.contents.attempt.typed_at()
    }

    /// The browser that its window is in, while it has one.
    #[must_use]
    pub fn shard(&self) -> Option<ShardId> {
        match self.window {
            Window::None => None,
            Window::Placed(shard)
            | Window::Opening(shard)
            | Window::Open(shard)
            | Window::Saving(shard, _)
            | Window::Closing(shard) => Some(shard),
        }
    }

    /// Returns whether it is to have no window until somebody wants it.
    pub(crate) fn is_hibernating(&self) -> bool {
        matches!(self.residence, Residence::Hibernating { .. } | Residence::RefreshingAsleep { .. })
    }

    /// Returns whether it is to have a window again that is not ready yet.
    pub(crate) fn is_recovering(&self) -> bool {
        self.residence == Residence::Recovering
    }

    /// Its window was lost: it recovers, or begins anew where it was never ready.
    pub(crate) fn recover(&mut self) {
        self.residence = if self.established { Residence::Recovering } else { Residence::Settled };
    }

    /// It is ready, or waits for a person: in any case, it recovers no more.
    pub(crate) fn has_recovered(&mut self) {
        self.residence = match self.residence {
            Residence::Settled | Residence::Recovering => Residence::Settled,
            Residence::Hibernating { .. } => Residence::Hibernating { was_recovering: false },
            residence @ Residence::RefreshingAsleep { .. } => residence,
        };
    }

    /// It was to hibernate, and keeps its window after all.
    pub(crate) fn stay(&mut self) {
        self.residence = match self.residence {
            Residence::Hibernating { was_recovering: true } => Residence::Recovering,
            Residence::Hibernating { was_recovering: false } => Residence::Settled,
            residence @ (Residence::Settled | Residence::Recovering | Residence::RefreshingAsleep { .. }) => {
                residence
            }
        };
    }

    /// Returns whether somebody holds or uses it.
    #[must_use]
    pub fn in_use(&self) -> bool {
        !self.holds.is_empty() || self.uses > 0
    }

    /// Returns when it ends if nobody uses it until then.
    #[must_use]
    pub fn expires_at(&self) -> Option<Moment> {
        let mortal = !self.policy.keep_alive && !self.policy.never_terminate && self.ended.is_none();
        mortal.then(|| {
            let held_until = self.holds.iter().map(|hold| hold.expires_at).max().unwrap_or_default();
            self.last_used.max(held_until) + self.policy.idle_timeout
        })
    }

    /// Returns when it is refreshed next, unless somebody uses it then.
    #[must_use]
    pub fn next_refresh(&self) -> Option<Moment> {
        let interval = self.policy.refresh_interval().filter(|_| self.established && self.ended.is_none());
        let is_refreshed = !self.is_hibernating() || self.may_be_refreshed_asleep();
        interval.filter(|_| is_refreshed).map(|interval| self.due_at(interval))
    }

    /// Returns when a refresh is due where one is every `interval`.
    pub(crate) fn due_at(&self, interval: Duration) -> Moment {
        self.fresh_at + interval.saturating_sub(self.refresh_early)
    }

    /// Returns whether it takes up a place: until its window is gone, an ended or a cold one still does.
    pub(crate) fn occupies(&self) -> bool {
        (self.ended.is_none() && !self.is_hibernating())
            || (self.window != Window::None && !self.has_refresh_window())
    }

    /// Returns whether something of ours runs in it, or must before a client may have it.
    pub(crate) fn busy(&self, now: Moment) -> bool {
        let open = matches!(self.window, Window::Open(_)) && self.contents.freeze_state.runs();
        // A window that is there for a refresh is nobody's before it has a place.
        let there = self.established && !self.is_coming_back() && open && !self.is_hibernating();
        // It moves out once those who use it are through, unless they take too long; who holds it is not driven away.
        let waits_to_move_out = self.waits_to_move_out_until().is_some_and(|until| now < until);
        if !there || !self.refresh_requests.is_empty() || waits_to_move_out {
            return true;
        }
        match self.contents.activity {
            ActivityState::Running(_)
            | ActivityState::Next(Activity::Visit | Activity::LoadDocument | Activity::Repair) => true,
            // Who has it already may share it; everybody else gets it with its page.
            ActivityState::Next(Activity::Reopen) => !self.in_use(),
            ActivityState::Next(Activity::SignIn) => self.not_before <= now && self.may_sign_in(),
            ActivityState::Idle | ActivityState::Next(Activity::Refresh | Activity::Look) => false,
        }
    }

    /// A sign-in never cuts into somebody's use, unless the use has nothing without it. Where a person is needed,
    /// whoever uses it may be that person.
    pub(crate) fn may_sign_in(&self) -> bool {
        self.is_coming_back() || !self.established || !self.in_use()
    }

    /// Returns whether it is being brought back without a person.
    pub(crate) fn is_coming_back(&self) -> bool {
        self.is_recovering() && self.attention.is_none()
    }
}
