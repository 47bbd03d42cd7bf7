//! The queues of messages to the browser, and the order of sending.
//!
//! Our own calls go first. Clients take turns: the groups that they belong to (one for each window), and within a
//! group its clients. Chromium accepts all messages and executes them on one thread, so every message waits behind
//! those that it has accepted already. Therefore only a limited amount of clients' messages is in transfer at a time.
//! Chromium does not report its progress; a probe of ours after each part does, since it is answered in order. A
//! group that has transferred too much (see [`crate::load`]) waits, and the others take its turns.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::load::{Group, Loads, Source};

/// Our own messages that may wait to be written; callers wait beyond that, within their time limit.
pub const OUTBOUND_QUEUE_MESSAGES: usize = 1024;
/// Bytes of a group's clients that may wait to be written; they wait beyond that. If nothing else of the group waits,
/// one message may be larger.
pub const GROUP_QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of all clients that may be in transfer to the browser, or one larger message. Chromium takes about 27 ms for
/// it (measured on 156).
pub const IN_FLIGHT_BYTES: usize = 1024 * 1024;
/// The number of bytes after which the browser is probed.
const PROBED_BYTES: usize = 256 * 1024;
/// The minimum that a message counts: the shortest one has to be parsed, too.
const LEAST_COST_BYTES: usize = 4 * 1024;
/// From this size on a message is large: it keeps Chromium busy for a noticeable time.
pub const LARGE_MESSAGE_BYTES: usize = IN_FLIGHT_BYTES;

/// The number of a tap of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TapId(u64);

impl TapId {
    /// Of no tap.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn of(number: u64) -> Self {
        Self(number)
    }
}

/// The next message to write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Message(Bytes),
    /// A probe, whose reply is passed to [`Outbound::probe_answered`].
    Probe,
}

/// The connection is closed, or the sender was removed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// The queues, shared by all senders and the one writer.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    queues: Mutex<Queues>,
    /// Notified when there may be something to write.
    filled: Notify,
    /// Notified when there may be room.
    room: Notify,
    pub(crate) loads: Loads,
}

#[derive(Debug, Default)]
struct Queues {
    closed: bool,
    own: VecDeque<Bytes>,
    groups: HashMap<Group, Lanes>,
    /// Groups that have something to send, in order.
    turns: VecDeque<Group>,
    flow: Flow,
}

/// The messages of the clients of one group.
#[derive(Debug, Default)]
struct Lanes {
    waiting_bytes: usize,
    of_taps: HashMap<TapId, VecDeque<Bytes>>,
    /// Those that have something to send, in order.
    turns: VecDeque<TapId>,
}

/// The amount of clients' messages that the browser has not executed yet.
#[derive(Debug, Default)]
struct Flow {
    in_flight: usize,
    /// The part of it that was written since the last probe.
    unprobed: usize,
    /// The part of it that the pending probe covers.
    probed: Option<usize>,
    /// Since when it includes a large message.
    large_since: Option<Instant>,
}

impl Outbound {
    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock()
    }

    /// Queues a message of our own.
    pub(crate) async fn push_own(&self, message: Bytes) -> Result<(), Closed> {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let mut queues = self.queues();
                if queues.closed {
                    return Err(Closed);
                }
                if queues.own.len() < OUTBOUND_QUEUE_MESSAGES {
                    queues.own.push_back(message);
                    self.filled.notify_one();
                    return Ok(());
                }
            }
            room.await;
        }
    }

    /// Adds a client.
    pub(crate) fn add(&self, group: &Group, tap: TapId) {
        let mut queues = self.queues();
        if !queues.closed {
            queues.groups.entry(Arc::clone(group)).or_default().of_taps.insert(tap, VecDeque::new());
        }
    }

    /// Drops the waiting messages of a client.
    pub(crate) fn remove(&self, group: &Group, tap: TapId) {
        let mut queues = self.queues();
        let Some(lanes) = queues.groups.get_mut(group) else { return };
        let dropped = lanes.of_taps.remove(&tap).unwrap_or_default();
        lanes.waiting_bytes -= dropped.iter().map(cost).sum::<usize>();
        lanes.turns.retain(|other| *other != tap);
        let (is_idle, is_empty) = (lanes.turns.is_empty(), lanes.of_taps.is_empty());
        if is_idle {
            queues.turns.retain(|other| other != group);
        }
        if is_empty {
            queues.groups.remove(group);
        }
        drop(queues);
        self.room.notify_waiters();
        self.filled.notify_one();
    }

    /// Queues a message of a client, once there is room for it.
    pub(crate) async fn push(&self, group: &Group, tap: TapId, message: Bytes) -> Result<(), Closed> {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let mut queues = self.queues();
                let Queues { groups, turns, .. } = &mut *queues;
                let lanes = groups.get_mut(group).ok_or(Closed)?;
                let queue = lanes.of_taps.get_mut(&tap).ok_or(Closed)?;
                let cost = cost(&message);
                if lanes.waiting_bytes == 0 || lanes.waiting_bytes + cost <= GROUP_QUEUE_BYTES {
                    lanes.waiting_bytes += cost;
                    queue.push_back(message);
                    if queue.len() == 1 {
                        lanes.turns.push_back(tap);
                    }
                    if lanes.turns.len() == 1 && queue.len() == 1 {
                        turns.push_back(Arc::clone(group));
                    }
                    self.filled.notify_one();
                    return Ok(());
                }
            }
            room.await;
        }
    }

    /// Returns what to write next, once there is anything; `None` once the connection is closed.
    pub(crate) async fn next(&self) -> Option<Next> {
        loop {
            let rested = {
                let mut queues = self.queues();
                if queues.closed {
                    return None;
                }
                let now = Instant::now();
                if let Some(next) = queues.pop(&self.loads, now) {
                    drop(queues);
                    self.room.notify_waiters();
                    return Some(next);
                }
                queues.turns.iter().filter_map(|group| rests_until(&self.loads, group, now)).min()
            };
            let rest = async {
                match rested {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // There is one writer, for which a notification that arrives in between is kept.
                () = self.filled.notified() => {}
                () = rest => {}
            }
        }
    }

    /// Notes that the browser has executed all up to the last probe.
    pub(crate) fn probe_answered(&self) {
        let mut queues = self.queues();
        let flow = &mut queues.flow;
        flow.in_flight -= flow.probed.take().unwrap_or_default();
        if flow.in_flight < LARGE_MESSAGE_BYTES {
            flow.large_since = None;
        }
        drop(queues);
        self.filled.notify_one();
    }

    /// Returns since when the browser is executing a large message of a client.
    pub(crate) fn large_since(&self) -> Option<Instant> {
        self.queues().flow.large_since
    }

    pub(crate) fn close(&self) {
        *self.queues() = Queues { closed: true, ..Queues::default() };
        self.filled.notify_one();
        self.room.notify_waiters();
    }
}

impl Queues {
    fn pop(&mut self, loads: &Loads, now: Instant) -> Option<Next> {
        if let Some(message) = self.own.pop_front() {
            return Some(Next::Message(message));
        }
        if self.flow.unprobed >= PROBED_BYTES && self.flow.probed.is_none() {
            return Some(self.flow.probe());
        }
        let place = self.turns.iter().position(|group| rests_until(loads, group, now).is_none())?;
        let group = self.turns.get(place).cloned()?;
        let lanes = self.groups.get_mut(&group)?;
        let tap = *lanes.turns.front()?;
        let queue = lanes.of_taps.get_mut(&tap)?;
        let cost = cost(queue.front()?);
        // No client is skipped: one with a large message would never get its turn.
        if !self.flow.has_room(cost) {
            let may_ask = self.flow.unprobed > 0 && self.flow.probed.is_none();
            return may_ask.then(|| self.flow.probe());
        }
        let message = queue.pop_front()?;
        lanes.waiting_bytes -= cost;
        lanes.turns.pop_front();
        if !queue.is_empty() {
            lanes.turns.push_back(tap);
        }
        self.turns.remove(place);
        if !lanes.turns.is_empty() {
            self.turns.push_back(group);
        }
        self.flow.sent(cost);
        Some(Next::Message(message))
    }
}

impl Flow {
    fn has_room(&self, cost: usize) -> bool {
        self.in_flight == 0 || self.in_flight + cost <= IN_FLIGHT_BYTES
    }

    fn sent(&mut self, cost: usize) {
        self.in_flight += cost;
        self.unprobed += cost;
        if cost >= LARGE_MESSAGE_BYTES {
            self.large_since = Some(Instant::now());
        }
    }

    fn probe(&mut self) -> Next {
        self.probed = Some(std::mem::take(&mut self.unprobed));
        Next::Probe
    }
}

fn rests_until(loads: &Loads, group: &Group, now: Instant) -> Option<Instant> {
    loads.rests_until(&Source::Group(Group::clone(group)), now)
}

fn cost(message: &Bytes) -> usize {
    message.len().max(LEAST_COST_BYTES)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;
    use crate::load::{BURST_BYTES, SUSTAINED_BYTES_PER_SECOND};

    fn tap(number: u64) -> TapId {
        TapId::of(number)
    }

    fn message(first: u8, length: usize) -> Bytes {
        let mut message = vec![b'x'; length];
        message[0] = first;
        message.into()
    }

    fn outbound(taps: &[(&str, u64)]) -> Outbound {
        let outbound = Outbound::default();
        for (group, number) in taps {
            outbound.add(&Group::from(*group), tap(*number));
        }
        outbound
    }

    /// Whether it was taken at once.
    fn push(outbound: &Outbound, group: &str, number: u64, text: Bytes) -> bool {
        outbound.push(&group.into(), tap(number), text).now_or_never().is_some_and(|pushed| pushed.is_ok())
    }

    /// What is written until something is waited for: the first bytes of messages, and `?` for a question.
    fn written(outbound: &Outbound) -> String {
        let mut written = String::new();
        while let Some(Some(next)) = outbound.next().now_or_never() {
            match next {
                Next::Message(message) => written.push(char::from(message[0])),
                Next::Probe => written.push('?'),
            }
        }
        written
    }

    #[test]
    fn windows_take_turns_and_so_do_the_clients_of_each() {
        let outbound = outbound(&[("A", 1), ("A", 2), ("B", 3)]);
        for _ in 0..3 {
            assert!(push(&outbound, "A", 1, message(b'1', 10)));
            assert!(push(&outbound, "A", 2, message(b'2', 10)));
        }
        for _ in 0..3 {
            assert!(push(&outbound, "B", 3, message(b'3', 10)));
        }
        outbound.push_own(message(b'o', 10)).now_or_never().unwrap().unwrap();
        assert_eq!(written(&outbound), "o132313212");
    }

    #[test]
    fn a_large_message_goes_alone_and_our_own_pass_it_by() {
        let outbound = outbound(&[("A", 1), ("B", 2)]);
        assert!(push(&outbound, "A", 1, message(b'L', 50 * IN_FLIGHT_BYTES)));
        assert!(!push(&outbound, "A", 1, message(b'M', 50 * IN_FLIGHT_BYTES)), "one waits at a time");
        assert_eq!(written(&outbound), "L?");
        assert!(outbound.large_since().is_some());
        assert!(push(&outbound, "A", 1, message(b'M', 50 * IN_FLIGHT_BYTES)));
        assert!(push(&outbound, "B", 2, message(b'b', 10)));
        outbound.push_own(message(b'o', 10)).now_or_never().unwrap().unwrap();
        assert_eq!(written(&outbound), "o", "clients wait until the browser is through");
        outbound.probe_answered();
        assert!(outbound.large_since().is_none());
        assert_eq!(written(&outbound), "M?", "it is its turn, and there is nothing in its way");
        outbound.probe_answered();
        assert_eq!(written(&outbound), "b");
    }

    #[test]
    fn a_large_message_gets_its_turn_though_others_never_end() {
        let outbound = outbound(&[("A", 1), ("B", 2)]);
        assert!(push(&outbound, "B", 2, message(b'b', 10)));
        assert_eq!(written(&outbound), "b");
        assert!(push(&outbound, "A", 1, message(b'L', 2 * IN_FLIGHT_BYTES)));
        assert!(push(&outbound, "B", 2, message(b'b', 10)));
        assert_eq!(written(&outbound), "?", "it is asked at once where somebody waits for the answer");
        outbound.probe_answered();
        assert_eq!(written(&outbound), "L?");
        outbound.probe_answered();
        assert_eq!(written(&outbound), "b");
    }

    #[test]
    fn only_so_much_is_on_its_way_however_small_the_pieces_are() {
        let outbound = outbound(&[("A", 1)]);
        let mut taken = 0;
        let mut wrote = String::new();
        while push(&outbound, "A", 1, message(b'a', 1)) {
            taken += 1;
            wrote.push_str(&written(&outbound));
        }
        assert_eq!(taken, (IN_FLIGHT_BYTES + GROUP_QUEUE_BYTES) / LEAST_COST_BYTES);
        assert_eq!(wrote.matches('a').count(), IN_FLIGHT_BYTES / LEAST_COST_BYTES);
        assert_eq!(wrote.matches('?').count(), 1);
        outbound.probe_answered();
        let more = written(&outbound);
        assert_eq!(more.matches('a').count(), PROBED_BYTES / LEAST_COST_BYTES, "as much as is through");
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_that_moved_too_much_waits_and_nobody_with_it() {
        let outbound = outbound(&[("A", 1), ("B", 2)]);
        outbound.loads.set_shared(true);
        outbound.loads.add(Source::Group("A".into()), BURST_BYTES + 2 * SUSTAINED_BYTES_PER_SECOND, false);
        assert!(push(&outbound, "A", 1, message(b'a', 10)));
        assert!(push(&outbound, "B", 2, message(b'b', 10)));
        assert!(push(&outbound, "B", 2, message(b'b', 10)));
        assert_eq!(written(&outbound), "bb");
        let began = Instant::now();
        assert_eq!(outbound.next().await, Some(Next::Message(message(b'a', 10))));
        let waited = began.elapsed();
        assert!(waited >= Duration::from_secs(2) && waited < Duration::from_millis(2010), "{waited:?}");
    }

    #[test]
    fn who_is_removed_leaves_nothing_and_blocks_nobody() {
        let outbound = outbound(&[("A", 1), ("A", 2)]);
        assert!(push(&outbound, "A", 1, message(b'1', GROUP_QUEUE_BYTES)));
        assert!(!push(&outbound, "A", 2, message(b'2', 10)));
        outbound.remove(&"A".into(), tap(1));
        assert!(push(&outbound, "A", 2, message(b'2', 10)));
        assert!(!push(&outbound, "A", 1, message(b'1', 10)));
        assert_eq!(written(&outbound), "2");
        outbound.remove(&"A".into(), tap(2));
        assert!(outbound.queues().groups.is_empty() && outbound.queues().turns.is_empty());
        outbound.close();
        assert_eq!(outbound.next().now_or_never(), Some(None));
        assert_eq!(outbound.push_own(message(b'o', 1)).now_or_never(), Some(Err(Closed)));
    }
}
