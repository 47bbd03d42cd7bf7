//! One session as the rules see it. Only the rules change it; all other code reads it.
//!
//! # Whether it should have a window
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
//! 3. It hibernates: on a client's request, for lack of places or of memory, after a while, or for a drain
//!    (`hibernation`).
//! 4. A client needs it, and it has a place (`capacity`). If its window was still there, it returns to its earlier
//!    state.
//!
//! While it hibernates, it is `RefreshingAsleep` from the time when its refresh is ordered (`asleep`) until the
//! window for that is closed (`session_mut`), or a client gets it (`capacity`).
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
//! 1. `settle` assigns it to a browser: it was admitted or is woken (`capacity`), or has lost its window (`reports`).
//! 2. The browser runs, and `settle` orders the window (`OpenWindow`).
//! 3. The world reports `WindowOpened`.
//! 4. The window could not be opened, or had not been ordered yet when it was to be closed.
//! 5. The session has ended (`expiry`, `capacity`, a client), or its window is not worth saving (`CloseWindow`).
//! 6. The session hibernates (`hibernation`, for a client, `capacity`, `memory` or `drain`), moves to another browser
//!    (`migrate`) or is restarted by a client (`requests`): its state is saved first.
//! 7. A client needs it after all (`hibernation`), or it could not be saved (`saving`).
//! 8. It is saved; then `CloseWindow`.
//! 9. The world reports `WindowClosed`. Every state also leads here if its browser ends (`reports`).
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
//! 1. It was not used for a while, or a client requests it (`freezing`); or memory is short (`memory`).
//! 2. Its state is saved, or nothing has changed since the last save: `freezing` orders it (`Freeze`).
//! 3. The world reports `Frozen`. A window of an earlier server begins here (`resume`).
//! 4. It is used, or could not be saved.
//! 5. The world reports that it could not be frozen.
//! 6. An activity is to begin in it, or a client needs it: `freezing` orders it (`Thaw`).
//! 7. The world reports `Thawed`.
//!
//! A window that is being closed counts as running.
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
//! 3. It is no longer needed: the policy was changed, the login was rejected elsewhere, or the window is being
//!    closed.
//! 4. It failed and is retried, or led to another activity, for example a visit to a sign-in (`reports`).
//! 5. The world reports `ActivityEnded`; or the window is saved for the last time, or is being closed.
//!
//! If a client uses the page, the session is refreshed beside it (`beside`), whatever activity runs or is next.
//!
//! The state that clients see follows from these: [`Session::state`].

use std::time::Duration;

use crate::action::{EndedReason, State};
use crate::activity::Activity;
use crate::contents::{ActivityState, Contents};
use crate::ids::{HoldId, LaunchKey, LoginId, RequestId, SessionId, ShardId, SiteId, Ticket};
use crate::sign_in::SignIn;
use crate::spec::{Access, AsleepWay, Isolation, Policy, Spec, Whose};
use crate::time::Moment;

/// How long new uses of a window wait for earlier ones to end, so that it can be moved. An interactive user may not
/// end for hours.
pub(crate) const MOVE_OUT_PATIENCE: Duration = Duration::from_secs(10);

/// One use of a session by a client. It always expires unless it is extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Its id.
    pub id: HoldId,
    /// Whether other clients may hold the session too.
    pub shared: bool,
    /// Whether Pilotlight sends nothing to the portal while it is held.
    pub quiet: bool,
    /// Since when its client is connected but silent ([`crate::silence`]); `None` if it does not count as silent.
    pub silent_since: Option<Moment>,
    /// When it expires.
    pub expires_at: Moment,
}

/// Where a session's window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Window {
    /// There is none.
    None,
    /// It is assigned to a browser that is still starting.
    Placed(ShardId),
    Opening(ShardId),
    Open(ShardId),
    /// Its state is being saved for the last time; then it is closed.
    Saving(ShardId, CloseReason),
    /// It was ordered to close; until it has, it counts as live.
    Closing(ShardId),
}

/// Why a window is closed although its session continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The session hibernates.
    Hibernate,
    /// A client requested another window.
    Restart,
    /// Its browser is being retired.
    Move,
    /// It slowed down the others in its browser, and gets a browser of its own.
    MoveOut,
}

/// Whether a session should have a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Residence {
    /// Yes: it has one, or gets its first one.
    Settled,
    /// Yes, and its window was lost, is being restarted, moved or woken, and is not ready again yet.
    Recovering,
    /// No, until a client needs it.
    Hibernating {
        /// Whether it was recovering before, which it resumes if its window stays open after all.
        was_recovering: bool,
    },
    /// No, but it has or gets a window for a refresh ([`crate::asleep`]).
    RefreshingAsleep {
        /// When that window was ordered.
        since: Moment,
    },
}

/// A request that waits until nothing else is done in the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) request: RequestId,
    pub(crate) deadline: Moment,
    pub(crate) wish: Wish,
    /// Until when it waits for other uses to end.
    pub(crate) patient_until: Moment,
}

impl Waiting {
    /// Returns one that arrived `now`.
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
    /// A silent client continues.
    Resume {
        hold: HoldId,
    },
}

/// One session: its specification, its policy and its status.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The name that the client chose.
    pub name: Option<String>,
    /// Its policy.
    pub policy: Policy,
    /// When it was admitted.
    pub created_at: Moment,
    /// When a client last used it; refreshes do not count.
    pub last_used: Moment,
    /// When a refresh last succeeded.
    pub last_refresh: Option<Moment>,
    /// When a sign-in last succeeded.
    pub signed_in_at: Option<Moment>,
    /// Its sign-in status, as last seen.
    pub sign_in: SignIn,
    /// A message for people: what to know or to do.
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
    /// Whether its window should have a browser of its own: as requested, until it slows down others.
    pub(crate) isolation: Isolation,
    /// Whether its pages may be frozen.
    pub(crate) freezes: bool,
    /// Single requests that use the window at present.
    pub(crate) uses: usize,
    /// It was ready once and its client was told so: from then on only the rules of expiry end it.
    pub(crate) established: bool,
    pub(crate) residence: Residence,
    pub(crate) window: Window,
    pub(crate) contents: Contents,
    /// The portal rejected its sign-in: it is not retried unless a client asks, so that the account is not locked.
    pub(crate) refused: bool,
    /// Only a person can continue, as last seen.
    pub(crate) is_person_needed: bool,
    /// The sign-in that runs, or ran last.
    pub(crate) typed: Option<LoginId>,
    /// Consecutive sign-ins that were typed, or may have been, without success.
    pub(crate) failed_sign_ins: u32,
    pub(crate) ticket: Ticket,
    /// Its portal could not be reached when it was last needed.
    pub(crate) unreachable: bool,
    /// Consecutive failures.
    pub(crate) failures: u32,
    /// Losses of its page or window in quick succession.
    pub(crate) losses: u32,
    /// When the last of them happened.
    pub(crate) lost_at: Moment,
    /// No activity starts before this.
    pub(crate) not_before: Moment,
    /// When the portal last answered as expected.
    pub(crate) fresh_at: Moment,
    /// How much earlier than necessary the next refresh is made.
    pub(crate) refresh_early: Duration,
    /// Requests that wait until it is ready for the first time.
    pub(crate) create_requests: Vec<RequestId>,
    /// Requests for a refresh or a restart that wait for its outcome.
    pub(crate) refresh_requests: Vec<RequestId>,
    /// Requests that wait for its window.
    pub(crate) wake_requests: Vec<RequestId>,
    /// Requests that wait until it hibernates.
    pub(crate) hibernate_requests: Vec<RequestId>,
    /// Requests that wait until it is frozen.
    pub(crate) freeze_requests: Vec<RequestId>,
    /// It is not frozen automatically before this.
    pub(crate) freeze_not_before: Moment,
    /// It could not be frozen, and that is not retried before this.
    pub(crate) unfreezable_until: Moment,
    /// When it may hibernate again after its state could not be saved.
    pub(crate) hibernate_not_before: Moment,
    /// Requests that wait until its window is closed.
    pub(crate) close_requests: Vec<RequestId>,
    pub(crate) waiting: Vec<Waiting>,
    /// The state that was last announced.
    pub(crate) announced: Option<State>,
    /// The reason for its state.
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
            why: "requested by a client".to_owned(),
        }
    }

    /// Returns its state, as clients see it.
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

    /// Returns the browser of its window, if it has one.
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

    /// Returns whether it should have no window until a client needs it.
    pub(crate) fn is_hibernating(&self) -> bool {
        matches!(self.residence, Residence::Hibernating { .. } | Residence::RefreshingAsleep { .. })
    }

    /// Returns whether it should have a window again that is not ready yet.
    pub(crate) fn is_recovering(&self) -> bool {
        self.residence == Residence::Recovering
    }

    /// Notes that its window was lost: it recovers, or starts again if it was never ready.
    pub(crate) fn recover(&mut self) {
        self.residence = if self.established { Residence::Recovering } else { Residence::Settled };
    }

    /// Notes that it is ready or waits for a person: it is no longer recovering.
    pub(crate) fn has_recovered(&mut self) {
        self.residence = match self.residence {
            Residence::Settled | Residence::Recovering => Residence::Settled,
            Residence::Hibernating { .. } => Residence::Hibernating { was_recovering: false },
            residence @ Residence::RefreshingAsleep { .. } => residence,
        };
    }

    /// Notes that it was to hibernate and keeps its window after all.
    pub(crate) fn stay(&mut self) {
        self.residence = match self.residence {
            Residence::Hibernating { was_recovering: true } => Residence::Recovering,
            Residence::Hibernating { was_recovering: false } => Residence::Settled,
            residence @ (Residence::Settled | Residence::Recovering | Residence::RefreshingAsleep { .. }) => {
                residence
            }
        };
    }

    /// Returns whether a client holds or uses it.
    #[must_use]
    pub fn in_use(&self) -> bool {
        !self.holds.is_empty() || self.uses > 0
    }

    /// Returns when it ends if it is not used until then.
    #[must_use]
    pub fn expires_at(&self) -> Option<Moment> {
        let mortal = !self.policy.keep_alive && !self.policy.never_terminate && self.ended.is_none();
        mortal.then(|| {
            let held_until = self.holds.iter().map(|hold| hold.expires_at).max().unwrap_or_default();
            self.last_used.max(held_until) + self.policy.idle_timeout
        })
    }

    /// Returns when it is refreshed next, unless it is in use then.
    #[must_use]
    pub fn next_refresh(&self) -> Option<Moment> {
        let interval = self.policy.refresh_interval().filter(|_| self.established && self.ended.is_none());
        let is_refreshed = !self.is_hibernating() || self.may_be_refreshed_asleep();
        interval.filter(|_| is_refreshed).map(|interval| self.due_at(interval))
    }

    /// Returns when a refresh is due at this interval.
    pub(crate) fn due_at(&self, interval: Duration) -> Moment {
        self.fresh_at + interval.saturating_sub(self.refresh_early)
    }

    /// Returns whether it occupies a place: an ended or hibernated session does until its window is closed.
    pub(crate) fn occupies(&self) -> bool {
        (self.ended.is_none() && !self.is_hibernating())
            || (self.window != Window::None && !self.has_refresh_window())
    }

    /// Returns whether an activity runs in it, or must run before a client may have it.
    pub(crate) fn busy(&self, now: Moment) -> bool {
        let open = matches!(self.window, Window::Open(_)) && self.contents.freeze_state.runs();
        // A window that is open for a refresh cannot be handed out before it has a place.
        let there = self.established && !self.is_coming_back() && open && !self.is_hibernating();
        // It is moved once its uses have ended, unless that takes too long; a hold is never cut short.
        let waits_to_move_out = self.waits_to_move_out_until().is_some_and(|until| now < until);
        if !there || !self.refresh_requests.is_empty() || waits_to_move_out {
            return true;
        }
        match self.contents.activity {
            ActivityState::Running(_)
            | ActivityState::Next(Activity::Visit | Activity::LoadDocument | Activity::Repair) => true,
            // A client that has it already may share it; all others get it with its page.
            ActivityState::Next(Activity::Reopen) => !self.in_use(),
            ActivityState::Next(Activity::SignIn) => self.not_before <= now && self.may_sign_in(),
            ActivityState::Idle | ActivityState::Next(Activity::Refresh | Activity::Look) => false,
        }
    }

    /// A sign-in never interrupts a use, unless nothing can be done without it. If a person is needed, the client
    /// that uses it may be that person.
    pub(crate) fn may_sign_in(&self) -> bool {
        self.is_coming_back() || !self.established || !self.in_use()
    }

    /// Returns whether it is being restored without a person's help.
    pub(crate) fn is_coming_back(&self) -> bool {
        self.is_recovering() && self.attention.is_none()
    }
}
