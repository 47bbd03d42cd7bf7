//! The only module that reads clocks.
//!
//! There are two kinds of time. The rules use one that never jumps: it starts with the wall clock's time and then
//! counts elapsed time, including time while the machine is suspended (`CLOCK_BOOTTIME`), because portals count that
//! time, and because clients were told when a hold or a session ends. Times in responses, logs and the store are the
//! wall clock's time of the same moment. When the wall clock is set (by NTP after a start with a wrong clock, or by
//! hand), these times follow, and no deadline changes.

use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use pilotlight_core::Moment;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tokio::time::Instant;

/// A smaller difference to the wall clock is ignored. Otherwise the reported time of a past event would vary by a
/// millisecond.
const STEP_MS: u64 = 1000;

/// The clocks.
trait Source {
    /// The wall clock, in milliseconds since 1970.
    fn wall_ms(&self) -> i64;
    /// Time since the machine started.
    fn up(&self) -> Duration;
}

/// The system's clocks.
#[derive(Debug)]
struct System;

impl Source for System {
    fn wall_ms(&self) -> i64 {
        #[expect(clippy::disallowed_methods, reason = "this is the clock")]
        Timestamp::now().as_millisecond()
    }

    fn up(&self) -> Duration {
        Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
    }
}

/// The rules' time and its offset to the wall clock.
#[derive(Debug)]
struct Timeline<S> {
    source: S,
    began_at: Moment,
    began: Duration,
    /// The offset of the wall clock, in milliseconds.
    ahead: watch::Sender<i64>,
}

impl<S: Source> Timeline<S> {
    fn new(source: S) -> Self {
        let began_at = Moment(u64::try_from(source.wall_ms()).unwrap_or(0));
        let began = source.up();
        Self { source, began_at, began, ahead: watch::Sender::new(0) }
    }

    fn now(&self) -> Moment {
        self.began_at + self.source.up().saturating_sub(self.began)
    }

    /// Returns the offset of the wall clock to the rules' time, in milliseconds.
    fn ahead(&self) -> i64 {
        let now = i64::try_from(self.now().0).unwrap_or(i64::MAX);
        let is = self.source.wall_ms().saturating_sub(now);
        let told = *self.ahead.borrow();
        if is.abs_diff(told) < STEP_MS {
            return told;
        }
        self.ahead.send_replace(is);
        is
    }

    fn wall(&self, moment: Moment) -> Moment {
        Moment(moment.0.saturating_add_signed(self.ahead()))
    }
}

/// The clock of this process.
fn timeline() -> &'static Timeline<System> {
    static TIMELINE: OnceLock<Timeline<System>> = OnceLock::new();
    TIMELINE.get_or_init(|| Timeline::new(System))
}

/// The rules' time; see the module's documentation.
#[derive(Debug, Clone, Copy)]
pub struct Clock(&'static Timeline<System>);

impl Clock {
    /// Returns the clock of this process, which starts on first use.
    #[must_use]
    pub fn start() -> Self {
        Self(timeline())
    }

    /// Returns the current time.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.0.now()
    }

    /// Returns when a timer for `moment` should fire. Timers do not advance while the machine is suspended, so long
    /// waits must check the clock in between.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Instant {
        // A timer may fire slightly early, because we count whole milliseconds.
        Instant::now() + moment.since(self.now()) + Duration::from_millis(1)
    }

    /// Returns the offset of the wall clock, in milliseconds. It changes only when the wall clock is set.
    #[must_use]
    pub fn ahead(&self) -> i64 {
        self.0.ahead()
    }

    /// Waits until the offset of the wall clock is no longer `ahead`, and returns it. For tasks that store wall-clock
    /// times. Times stored by an earlier server were read with an offset of 0.
    pub async fn set_since(&self, ahead: i64) -> i64 {
        let mut told = self.0.ahead.subscribe();
        told.wait_for(|now| *now != ahead).await.map_or(ahead, |now| *now)
    }
}

/// Waits until a moment, or for ever where there is none.
pub(crate) async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Converts a moment to wall-clock time, for storing.
#[must_use]
pub fn wall(moment: Moment) -> Moment {
    timeline().wall(moment)
}

/// Converts a moment to wall-clock time, for clients.
#[must_use]
pub fn timestamp(moment: Moment) -> Timestamp {
    let wall = i64::try_from(wall(moment).0).ok();
    wall.and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const HOUR: u64 = 60 * 60 * 1000;
    const BEGAN_AT: u64 = 1_000 * HOUR;

    /// Clocks that a test sets.
    #[derive(Debug)]
    struct Set {
        wall_ms: Cell<i64>,
        up_ms: Cell<u64>,
    }

    impl Set {
        fn pass(&self, ms: u64) {
            self.wall_ms.set(self.wall_ms.get().saturating_add_unsigned(ms));
            self.up_ms.set(self.up_ms.get() + ms);
        }
    }

    impl Source for Set {
        fn wall_ms(&self) -> i64 {
            self.wall_ms.get()
        }

        fn up(&self) -> Duration {
            Duration::from_millis(self.up_ms.get())
        }
    }

    fn timeline() -> Timeline<Set> {
        let wall_ms = Cell::new(i64::try_from(BEGAN_AT).unwrap());
        Timeline::new(Set { wall_ms, up_ms: Cell::new(5 * HOUR) })
    }

    #[test]
    fn time_passes_for_both_alike() {
        let timeline = timeline();
        timeline.source.pass(HOUR);
        assert_eq!(timeline.now(), Moment(BEGAN_AT + HOUR));
        assert_eq!(timeline.wall(timeline.now()), timeline.now());
    }

    #[test]
    fn what_is_told_follows_a_clock_that_was_set_and_the_rules_do_not() {
        for step in [2 * 3_600_000, -2 * 3_600_000, 86_400_000 * 365] {
            let timeline = timeline();
            let created = timeline.now();
            timeline.source.pass(HOUR);
            let expires = timeline.now() + Duration::from_secs(60);
            timeline.source.wall_ms.set(timeline.source.wall_ms.get() + step);
            assert_eq!(timeline.now(), Moment(BEGAN_AT + HOUR), "nothing is due sooner or later");
            let wall = u64::try_from(timeline.source.wall_ms()).unwrap();
            assert_eq!(timeline.wall(timeline.now()), Moment(wall));
            assert_eq!(timeline.wall(expires), Moment(wall + 60_000));
            assert_eq!(timeline.wall(created), Moment(wall - HOUR), "an hour ago");
            assert_eq!(timeline.ahead(), step);
        }
    }

    #[test]
    fn time_in_which_the_machine_is_suspended_counts() {
        let timeline = timeline();
        let expires = timeline.now() + Duration::from_secs(60);
        timeline.source.pass(8 * HOUR);
        assert!(timeline.now() > expires);
    }

    #[test]
    fn what_happened_once_is_not_told_a_little_differently_each_time() {
        let timeline = timeline();
        let created = timeline.now();
        for drift in [1, 400, 999, -999] {
            timeline.source.wall_ms.set(i64::try_from(BEGAN_AT).unwrap() + drift);
            assert_eq!(timeline.wall(created), created, "{drift}");
        }
    }

    #[test]
    fn a_clock_before_1970_is_no_reason_to_fail() {
        let timeline = timeline();
        timeline.source.wall_ms.set(-5);
        assert_eq!(timeline.wall(Moment(10)), Moment(0));
    }

    #[test]
    fn a_timer_rings_when_its_moment_has_come() {
        let clock = Clock::start();
        assert!(clock.instant(clock.now()) > Instant::now());
        assert!(clock.instant(Moment(0)) <= Instant::now() + Duration::from_secs(1));
    }
}
