//! The only place that asks what time it is.

use std::time::Duration;

use jiff::Timestamp;
use pilotlight_core::Moment;
use tokio::time::Instant;

/// Wall-clock time that never goes back: read once, then carried on by the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started_at: Moment,
    started: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the clock")]
        let wall = Timestamp::now().as_millisecond();
        Self { started_at: Moment(u64::try_from(wall).unwrap_or(0)), started: Instant::now() }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.started_at + self.started.elapsed()
    }

    /// When `moment` comes, for a timer.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Instant {
        // A timer may ring a little before its time is up by our count of whole milliseconds.
        self.started + moment.since(self.started_at) + Duration::from_millis(1)
    }
}

/// A moment as clients read it.
#[must_use]
pub fn timestamp(moment: Moment) -> Timestamp {
    i64::try_from(moment.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}
