//! The limits of the rules. Those that users can set come from the configuration.

use std::time::Duration;

use crate::activity::FailureKind;
use crate::backoff::Backoff;

/// What happens when a new session is requested and all places are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtCapacity {
    /// The least recently used unprotected session hibernates, and is woken when it is needed.
    Hibernate,
    /// The least recently used unprotected session ends.
    Terminate,
    /// The new session waits up to `queue_timeout` for a place.
    Reject,
}

/// All limits and delays of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Living sessions, with or without windows.
    pub max_sessions: usize,
    /// Windows that exist, are being opened or are being closed.
    pub max_live: usize,
    /// Additional windows, in which hibernated sessions are refreshed.
    pub asleep_windows: usize,
    /// Windows in one shared Chromium process.
    pub windows_per_browser: usize,
    /// What happens when a new session is requested and all places are taken.
    pub at_capacity: AtCapacity,
    /// How long a new session waits for a place, and a hold or a use for a busy session.
    pub queue_timeout: Duration,
    /// New sessions that wait at once; more are refused immediately.
    pub max_queue: usize,
    /// The longest interval between two checks for due refreshes.
    pub refresh_check: Duration,
    /// Refreshes running at once, over all sessions.
    pub max_refreshes: usize,
    /// Sign-ins running at once on one site.
    pub max_sign_ins_per_site: usize,
    /// Refresh attempts before a new sign-in.
    pub refresh_tries: u32,
    /// Sign-in (or opening) attempts before a person is asked for help.
    pub recovery_tries: u32,
    /// Delays between attempts, for sessions and for starting browsers.
    pub backoff: Backoff,
    /// The longest delay while a portal cannot be reached: nothing is typed meanwhile, so that attempts cost little.
    pub longest_outage_wait: Duration,
    /// The period over which all sessions that waited for a portal return to it once it can be reached.
    pub return_spread: Duration,
    /// A page that crashes, or a window that is emptied, again within this time is repaired with growing delays.
    pub loss_settled_after: Duration,
    /// A browser that ends sooner than this after its start counts as failed.
    pub shard_settled_after: Duration,
    /// How long a browser without windows is kept for new ones.
    pub shard_linger: Duration,
    /// How long a session must be unused before it is frozen; `None` is never.
    pub freeze_after: Option<Duration>,
    /// How long a page runs after an activity in it before it is frozen again.
    pub freeze_settle: Duration,
    /// How long a session must be unused before it hibernates; `None` is never.
    pub hibernate_after: Option<Duration>,
    /// The delay between a change in a window and saving its state.
    pub save_delay: Duration,
    /// States being saved at once.
    pub max_saves: usize,
    /// The delay before a failed save is retried.
    pub save_retry: Duration,
    /// Lost windows being restored at once.
    pub max_recoveries: usize,
    /// A browser older than this is retired as soon as its windows can be moved to another.
    pub browser_max_age: Duration,
    /// How long a window must be unused before it is moved.
    pub move_after: Duration,
    /// How long the reason of an ended session is kept.
    pub remember_ended: Duration,
    /// Ended sessions kept at once.
    pub max_remembered: usize,
    /// Holds on one session.
    pub max_holds: usize,
    /// Requests waiting for one session.
    pub max_waiting: usize,
}

impl Limits {
    /// Returns the delays between attempts after a failure of this kind.
    pub(crate) fn backoff_after(&self, kind: FailureKind) -> Backoff {
        let longest = self.backoff.longest;
        let longest = if kind.is_harmless() { longest.min(self.longest_outage_wait) } else { longest };
        Backoff { longest, ..self.backoff }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: 1000,
            max_live: 20,
            asleep_windows: 2,
            windows_per_browser: 16,
            at_capacity: AtCapacity::Hibernate,
            queue_timeout: Duration::from_secs(30),
            max_queue: 1000,
            refresh_check: Duration::from_secs(60),
            max_refreshes: 8,
            max_sign_ins_per_site: 4,
            refresh_tries: 3,
            recovery_tries: 4,
            backoff: Backoff { first: Duration::from_secs(2), longest: Duration::from_secs(300) },
            longest_outage_wait: Duration::from_secs(60),
            return_spread: Duration::from_secs(2),
            loss_settled_after: Duration::from_secs(600),
            shard_settled_after: Duration::from_secs(10),
            shard_linger: Duration::from_secs(10),
            freeze_after: Some(Duration::from_secs(120)),
            freeze_settle: Duration::from_secs(5),
            hibernate_after: None,
            save_delay: Duration::from_secs(10),
            max_saves: 4,
            save_retry: Duration::from_secs(10),
            max_recoveries: 8,
            browser_max_age: Duration::from_secs(24 * 3600),
            move_after: Duration::from_secs(60),
            remember_ended: Duration::from_secs(3600),
            max_remembered: 10_000,
            max_holds: 64,
            max_waiting: 256,
        }
    }
}
