//! How much each window transfers through a browser that it shares with others.
//!
//! Chromium reads, writes and forwards every message on one thread, on which all windows of the browser depend. So
//! the transfers of each window are counted, as in a leaky bucket: [`BURST_BYTES`] at once, and
//! [`SUSTAINED_BYTES_PER_SECOND`] permanently. Beyond that its clients' messages wait, and the owner of the browser
//! is told that the window slows down the others. Events that a page causes by itself cannot be delayed: if they
//! continue, the window is reported as flooding.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::envelope::SessionId;

/// How much a window of a shared browser may transfer at once: about as much as the longest message.
pub const BURST_BYTES: usize = 64 * MIB;
/// How much a window of a shared browser may transfer each second permanently.
pub const SUSTAINED_BYTES_PER_SECOND: usize = 4 * MIB;
/// The excess is counted up to here, so that no message of a client waits for more than 20 s.
const EXCESS_MAX_BYTES: usize = 20 * SUSTAINED_BYTES_PER_SECOND;
/// What a message counts besides its bytes: the shortest one has to be forwarded, too.
const MESSAGE_COST_BYTES: usize = 4 * 1024;
/// Within this time all that the clients of a window may still have had in transfer has passed. A window that has
/// transferred too much for longer does so by itself.
const FLOOD_AFTER: Duration = Duration::from_secs(40);
/// This much within [`FLOOD_WITHIN`] is a flood even if clients requested it: so many calls can be in transfer that
/// their replies, which cannot be delayed either, would arrive for hours.
const FLOOD_BYTES: usize = 512 * MIB;
/// See [`FLOOD_BYTES`].
const FLOOD_WITHIN: Duration = Duration::from_secs(10);
/// Sources that are kept before idle ones are dropped.
const SOURCES_KEPT: usize = 1024;

const MIB: usize = 1024 * 1024;

/// The clients that share turns and limits: those of one window.
pub(crate) type Group = Arc<str>;

/// The source of a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// The clients of a group, in both directions.
    Group(Group),
    /// Our own sessions of a group.
    Own(Group),
    /// One of our own sessions that belongs to no group.
    Session(SessionId),
}

/// The finding about a source that transfers too much. Each is reported once, until the excess has been worked off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Excess {
    /// It slows down the others of its browser.
    HoldsUp,
    /// It does so without end.
    Floods,
}

/// The transfers of all sources of a connection.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    /// Whether the browser has several windows.
    is_shared: AtomicBool,
    of: Mutex<HashMap<Source, Load>>,
}

#[derive(Debug)]
struct Load {
    bytes: usize,
    at: Instant,
    over: Option<Over>,
}

/// Since when a source transfers too much.
#[derive(Debug)]
struct Over {
    since: Instant,
    floods: bool,
    /// What was transferred since a time, up to [`FLOOD_WITHIN`] ago.
    lately: (Instant, usize),
}

impl Over {
    /// Counts a transfer, and returns whether it is a flood by now.
    fn add(&mut self, bytes: usize, now: Instant, is_unasked: bool) -> bool {
        if now.saturating_duration_since(self.lately.0) > FLOOD_WITHIN {
            self.lately = (now, 0);
        }
        self.lately.1 = self.lately.1.saturating_add(bytes);
        let is_endless = is_unasked && now.saturating_duration_since(self.since) >= FLOOD_AFTER;
        is_endless || self.lately.1 > FLOOD_BYTES
    }
}

impl Loads {
    fn of(&self) -> MutexGuard<'_, HashMap<Source, Load>> {
        self.of.lock()
    }

    /// Sets whether the browser is shared. If it is not, nothing is counted.
    pub(crate) fn set_shared(&self, is_shared: bool) {
        self.is_shared.store(is_shared, Ordering::Release);
        if !is_shared {
            self.of().clear();
        }
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared.load(Ordering::Acquire)
    }

    /// Counts a message, and returns the finding. What was requested, unlike events, is a flood only if it is very
    /// much at once.
    pub(crate) fn add(&self, source: Source, bytes: usize, is_unasked: bool) -> Option<Excess> {
        if !self.is_shared() {
            return None;
        }
        let now = Instant::now();
        let mut of = self.of();
        if of.len() >= SOURCES_KEPT {
            of.retain(|_, load| load.drained(now) > 0);
        }
        let load = of.entry(source).or_insert_with(|| Load { bytes: 0, at: now, over: None });
        load.add(bytes.saturating_add(MESSAGE_COST_BYTES), now, is_unasked)
    }

    /// Returns until when a source has to wait, as of `now`, if it has to.
    pub(crate) fn rests_until(&self, source: &Source, now: Instant) -> Option<Instant> {
        if !self.is_shared() {
            return None;
        }
        let excess = self.of().get(source)?.drained(now).checked_sub(BURST_BYTES)?;
        Some(now + time_of(excess)).filter(|_| excess > 0)
    }
}

impl Load {
    /// Returns the remaining excess.
    fn drained(&self, now: Instant) -> usize {
        let micros = now.saturating_duration_since(self.at).as_micros();
        let through = micros.saturating_mul(SUSTAINED_BYTES_PER_SECOND as u128) / 1_000_000;
        self.bytes.saturating_sub(usize::try_from(through).unwrap_or(usize::MAX))
    }

    fn add(&mut self, bytes: usize, now: Instant, is_unasked: bool) -> Option<Excess> {
        let left = self.drained(now);
        if left <= BURST_BYTES {
            self.over = None;
        }
        self.bytes = left.saturating_add(bytes).min(BURST_BYTES + EXCESS_MAX_BYTES);
        self.at = now;
        if self.bytes <= BURST_BYTES {
            return None;
        }
        let Some(over) = &mut self.over else {
            self.over = Some(Over { since: now, floods: false, lately: (now, bytes) });
            return Some(Excess::HoldsUp);
        };
        let floods = over.add(bytes, now, is_unasked) && !over.floods;
        over.floods |= floods;
        floods.then_some(Excess::Floods)
    }
}

/// Returns how long it takes until this number of bytes is worked off.
pub(crate) fn time_of(bytes: usize) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    Duration::from_secs_f64(bytes as f64 / SUSTAINED_BYTES_PER_SECOND as f64)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn loads() -> Loads {
        let loads = Loads::default();
        loads.set_shared(true);
        loads
    }

    fn group() -> Source {
        Source::Group("A".into())
    }

    #[tokio::test(start_paused = true)]
    async fn much_at_once_is_borne_and_more_has_to_wait() {
        let loads = loads();
        assert_eq!(loads.add(group(), BURST_BYTES - MESSAGE_COST_BYTES, true), None);
        assert_eq!(loads.rests_until(&group(), Instant::now()), None);
        assert_eq!(loads.add(group(), 8 * MIB - MESSAGE_COST_BYTES, true), Some(Excess::HoldsUp));
        assert_eq!(
            loads.rests_until(&group(), Instant::now()),
            Some(Instant::now() + Duration::from_secs(2))
        );
        assert_eq!(loads.rests_until(&Source::Group("B".into()), Instant::now()), None, "others do not wait");
        advance(Duration::from_secs(2)).await;
        assert_eq!(loads.rests_until(&group(), Instant::now()), None);
        for _ in 0..7 {
            assert!(loads.add(group(), 64 * MIB, true) <= Some(Excess::HoldsUp));
        }
        let wait = loads.rests_until(&group(), Instant::now()).unwrap() - Instant::now();
        assert!(wait <= Duration::from_secs(20), "{wait:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_for_ever_is_borne_at_its_pace() {
        let loads = loads();
        for _ in 0..1000 {
            assert_eq!(loads.add(group(), SUSTAINED_BYTES_PER_SECOND - MESSAGE_COST_BYTES, true), None);
            advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_cannot_be_made_to_wait_floods_and_is_found_once() {
        let loads = loads();
        let mut found = Vec::new();
        for second in 0..120 {
            // Many small ones, as a page makes the browser send.
            for _ in 0..4000 {
                found.extend(loads.add(group(), 100, true).map(|excess| (second, excess)));
            }
            advance(Duration::from_secs(1)).await;
        }
        // At first a second's pause still is enough.
        let Some([(first, Excess::HoldsUp), (second, Excess::Floods)]) = found.last_chunk() else {
            panic!("{found:?}");
        };
        assert_eq!(second - first, FLOOD_AFTER.as_secs());
        assert_eq!(found.iter().filter(|(_, excess)| *excess == Excess::Floods).count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_wait_as_they_are_told_do_not_flood() {
        let loads = loads();
        let mut found = Vec::new();
        for _ in 0..100 {
            found.extend((0..8).filter_map(|_| loads.add(group(), 50 * MIB, true)));
            if let Some(until) = loads.rests_until(&group(), Instant::now()) {
                advance(until - Instant::now()).await;
            }
        }
        assert_eq!(found, [Excess::HoldsUp; 100]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_for_is_no_flood() {
        let loads = loads();
        let mut found = Vec::new();
        for _ in 0..120 {
            found.extend(loads.add(group(), 8 * MIB, false));
            advance(Duration::from_secs(1)).await;
        }
        assert!(!found.is_empty() && !found.contains(&Excess::Floods), "{found:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn more_replies_at_once_than_anybody_can_wait_with_are_a_flood() {
        let loads = loads();
        let mut found = Vec::new();
        for second in 0..6 {
            found.extend(loads.add(group(), 100 * MIB, false).map(|excess| (second, excess)));
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(found, [(0, Excess::HoldsUp), (5, Excess::Floods)]);
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_browser_of_its_own_a_window_moves_what_it_likes() {
        let loads = Loads::default();
        assert_eq!(loads.add(group(), 100 * BURST_BYTES, true), None);
        assert_eq!(loads.rests_until(&group(), Instant::now()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_idle_is_forgotten() {
        let loads = loads();
        for number in 0..10 * SOURCES_KEPT {
            loads.add(Source::Session(format!("S{number}").as_str().into()), 1, true);
            advance(Duration::from_millis(1)).await;
        }
        assert!(loads.of().len() <= SOURCES_KEPT);
    }
}
