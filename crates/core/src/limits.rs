//! The numbers that the rules keep to. Those a user may choose come from the configuration.

use std::time::Duration;

use crate::activity::FailureKind;
use crate::backoff::Backoff;

/// What happens to a newcomer on a full machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtCapacity {
    /// The least recently used session that nothing protects hibernates, and comes back when it is asked for.
    Hibernate,
    /// The least recently used session that nothing protects ends.
    Terminate,
    /// The newcomer waits up to `queue_timeout` for somebody to leave.
    Reject,
}

/// Everything that the rules count up to or wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Living sessions, windows or not.
    pub max_sessions: usize,
    /// Windows that exist, are being opened or are being closed.
    pub max_live: usize,
    /// Windows beside those, in which hibernated sessions are refreshed.
    pub asleep_windows: usize,
    /// Windows in one shared Chromium process.
    pub windows_per_browser: usize,
    /// What a newcomer meets on a full machine.
    pub at_capacity: AtCapacity,
    /// How long a newcomer waits for a place, and a hold or a use for a session that is busy.
    pub queue_timeout: Duration,
    /// Newcomers waiting at once; more are refused at once.
    pub max_queue: usize,
    /// The refresh task looks at least this often.
    pub refresh_check: Duration,
    /// Refreshes running at once, over all sessions.
    pub max_refreshes: usize,
    /// Sign-ins running at once on one site.
    pub max_sign_ins_per_site: usize,
    /// Refreshes tried before a new sign-in is.
    pub refresh_tries: u32,
    /// Sign-ins (or openings) tried before a person is asked for.
    pub recovery_tries: u32,
    /// Waits between tries, of a session and of starting a browser.
    pub backoff: Backoff,
    /// The longest wait for a portal that is not there: nothing is typed meanwhile, so it costs little to look.
    pub longest_outage_wait: Duration,
    /// Within which all who waited for a portal come to it once it is there again.
    pub return_spread: Duration,
    /// A page that crashes, or a window that is emptied, again within this time is tried ever more slowly.
    pub loss_settled_after: Duration,
    /// A browser that ends sooner than this after its start counts as failing.
    pub shard_settled_after: Duration,
    /// How long a browser without windows is kept for the next one.
    pub shard_linger: Duration,
    /// A session that nobody used for this long freezes; `None` is never.
    pub freeze_after: Option<Duration>,
    /// How long a page is let run after something was done in it, before it freezes again.
    pub freeze_settle: Duration,
    /// A session that nobody used for this long hibernates; `None` is never.
    pub hibernate_after: Option<Duration>,
    /// How long after a change in a window its state is written down.
    pub save_delay: Duration,
    /// States being written down at once.
    pub max_saves: usize,
    /// After a state could not be written down, when it is tried again.
    pub save_retry: Duration,
    /// Windows that were lost and are being brought back at once.
    pub max_recoveries: usize,
    /// A browser older than this is given up as soon as its windows can be moved to another.
    pub browser_max_age: Duration,
    /// A window that is to be moved must have been left alone for this long.
    pub move_after: Duration,
    /// How long an ended session's reason is remembered.
    pub remember_ended: Duration,
    /// Ended sessions remembered at once.
    pub max_remembered: usize,
    /// Holds on one session.
    pub max_holds: usize,
    /// Requests that wait for one session.
    pub max_waiting: usize,
}

impl Limits {
    /// Returns the waits between tries after a failure of this kind.
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
