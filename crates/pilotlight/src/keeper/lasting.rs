//! Persistence: which sessions have to be stored again, and the replies that wait for it.
//!
//! What a reply promises has been written to disk. If that fails, the reply is the error, and the changes of the
//! request are undone as far as possible.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use pilotlight_core::{Failure, Input, PersistedSession, Promise, Refusal, Session, SessionId};
use pilotlight_store::SessionRecord;
use tokio::time::Instant;
use uuid::Uuid;

use super::Keeper;
use super::message::{Refused, Reply, ReplySender, WrittenSender};
use super::record::record;
use super::store_writer::StoreWrite;
use crate::clock::wall;

/// The maximum delay before storing a change for which no client waits, such as the time of the last use.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

/// The same for the offset of the wall clock, from which the next server's times start.
fn in_wall_time(kept: &PersistedSession) -> PersistedSession {
    let mut written = kept.clone();
    let moments = [&mut written.created_at, &mut written.last_used].into_iter();
    let perhaps = [&mut written.last_refresh, &mut written.signed_in_at, &mut written.tried_at];
    let moments = moments.chain(perhaps.into_iter().flatten());
    let moments = moments.chain(written.sign_in.checked_at_mut());
    let moments = moments.chain(written.ended.as_mut().map(|(at, _)| at));
    for moment in moments.chain(written.holds.iter_mut().map(|hold| &mut hold.expires_at)) {
        *moment = wall(*moment);
    }
    written
}

/// A reply that waits until what it promises is stored.
#[derive(Debug)]
pub(super) struct Promised {
    pub(super) sender: ReplySender,
    pub(super) reply: Reply,
    pub(super) session: SessionId,
    /// What is undone if it cannot be stored.
    pub(super) promise: Option<Promise>,
    /// The tags that the session had before.
    pub(super) tags: Option<BTreeMap<String, String>>,
    /// Both the reply and the data that was passed to the store writer with it contain a change that was undone
    /// since.
    pub(super) is_outdated: bool,
}

/// Another task that waits for a session, or everything, to be stored.
#[derive(Debug)]
pub(super) struct Waiter {
    sender: WrittenSender,
    session: Option<SessionId>,
}

/// All that wait for one write.
#[derive(Debug, Default)]
pub(super) struct Awaiting {
    promised: Vec<Promised>,
    waiters: Vec<Waiter>,
}

impl Keeper {
    /// Notes which of the changed sessions have to be stored again.
    pub(super) fn note_unwritten(&mut self, changed: &[SessionId]) {
        let (mut ended, mut forgotten) = (Vec::new(), Vec::new());
        for id in changed {
            let kept = self.rules.session(*id).and_then(Session::persisted);
            let Some((kept, entry)) = kept.zip(self.entries.get_mut(*id)) else { continue };
            if entry.written.as_ref() == Some(&kept) {
                continue;
            }
            let is_news = entry.written.as_ref().is_none_or(|written| written.ended != kept.ended);
            if kept.ended.is_some() && is_news {
                // A session that was not promised to a client need not be kept: there may be no room for it.
                if entry.is_promised {
                    ended.push(record(&in_wall_time(&kept), &entry.details));
                } else {
                    forgotten.push(Uuid::from_u128(id.0));
                }
                self.unwritten.remove(id);
                entry.written = Some(kept);
            } else {
                self.unwritten.insert(*id);
            }
        }
        if !ended.is_empty() {
            self.store_writer.write(StoreWrite::Ended(ended));
        }
        if !forgotten.is_empty() {
            self.store_writer.write(StoreWrite::Forgotten(forgotten));
        }
        if !self.unwritten.is_empty() && self.flush_at.is_none() {
            self.flush_at = Some(Instant::now() + FLUSH_AFTER);
        }
    }

    /// Removes the states of ended sessions that an earlier server could not remove.
    pub(super) fn strip_ended(&self) {
        let with_state = self.entries.iter().filter(|(_, entry)| entry.details.stored_at.is_some());
        let ended = with_state.filter_map(|(_, entry)| {
            let kept = entry.written.as_ref().filter(|kept| kept.ended.is_some())?;
            Some(record(&in_wall_time(kept), &entry.details))
        });
        let records: Vec<_> = ended.collect();
        if !records.is_empty() {
            self.store_writer.write(StoreWrite::Ended(records));
        }
    }

    /// Sends a reply once everything is stored.
    pub(super) fn promise(&mut self, promised: Promised) {
        self.awaiting.promised.push(promised);
    }

    /// Returns whether a reply waits for data that was not passed to the store writer yet.
    pub(super) fn is_awaited(&self) -> bool {
        !self.awaiting.promised.is_empty() || !self.awaiting.waiters.is_empty()
    }

    /// Has all changes stored, and then reports the result for one session.
    pub(super) fn flush_for(&mut self, sender: WrittenSender, session: Option<SessionId>) {
        self.awaiting.waiters.push(Waiter { sender, session });
        self.flush();
    }

    /// Passes all changes to the store writer, with the replies that wait for them.
    pub(super) fn flush(&mut self) {
        self.flush_at = None;
        let mut records: Vec<SessionRecord> = Vec::new();
        let mut beginnings = Vec::new();
        for id in std::mem::take(&mut self.unwritten) {
            let kept = self.rules.session(id).and_then(Session::persisted);
            if let Some((kept, entry)) = kept.zip(self.entries.get_mut(id)) {
                records.push(record(&in_wall_time(&kept), &entry.details));
                let is_new = entry.written.replace(kept).is_none();
                let beginning = entry.details.begins_with.clone().filter(|_| is_new);
                beginnings.extend(beginning.map(|checkpoint| (Uuid::from_u128(id.0), checkpoint)));
            }
        }
        let is_awaited = self.is_awaited();
        if records.is_empty() && !is_awaited {
            return;
        }
        let awaiting = std::mem::take(&mut self.awaiting);
        // Of a session that is not ready yet nothing is stored, but it must be possible.
        let waited_for = awaiting.waiters.iter().filter_map(|waiter| waiter.session);
        let is_written = |id| self.entries.get(id).is_some_and(|entry| entry.written.is_some());
        let expected = waited_for.filter(|id| !is_written(*id));
        let expected = expected.map(|id| Uuid::from_u128(id.0)).collect();
        self.store_writer.write(StoreWrite::Sessions { records, beginnings, expected, is_awaited });
        if is_awaited {
            self.being_written.push_back(awaiting);
        }
    }

    /// Handles the result of the oldest write that replies wait for.
    pub(super) fn written(&mut self, unwritten: &BTreeSet<Uuid>, failure: Option<&Failure>) {
        let Some(Awaiting { promised, waiters }) = self.being_written.pop_front() else { return };
        let failure_of = |session: SessionId| {
            let is_all = session.0 == 0;
            failure.filter(|_| is_all || unwritten.contains(&Uuid::from_u128(session.0)))
        };
        for Waiter { sender, session } in waiters {
            let failure = session.and_then(failure_of);
            // The receiver may have been dropped.
            let _ = sender.send(failure.map_or(Ok(()), |failure| Err(failure.clone())));
        }
        let mut promised = VecDeque::from(promised);
        while let Some(oldest) = promised.pop_front() {
            match failure_of(oldest.session) {
                Some(failure) if !self.stands_already(&oldest) => {
                    self.take_back(oldest, failure, &mut promised);
                }
                _ if oldest.is_outdated => self.promise_anew(oldest),
                _ => self.keep(oldest),
            }
        }
        if self.is_awaited() {
            self.flush();
        }
    }

    /// Delays a reply until the session is stored without the change that was undone.
    fn promise_anew(&mut self, mut promised: Promised) {
        if let Reply::Session(answer, _) = &mut promised.reply
            && let Some(published) = self.published(promised.session)
        {
            **answer = published.now();
        }
        self.promise(Promised { is_outdated: false, ..promised });
    }

    /// Returns whether this is an equal request for a session that was promised before.
    fn stands_already(&self, promised: &Promised) -> bool {
        matches!(promised.reply, Reply::Session(_, false))
            && promised.promise == Some(Promise::Created)
            && self.entries.get(promised.session).is_some_and(|entry| entry.is_promised)
    }

    fn keep(&mut self, promised: Promised) {
        let Promised { sender, reply, session, promise, .. } = promised;
        // What it promises may have been undone meanwhile, together with an earlier write.
        let ended = self.rules.session(session).and_then(|session| session.ended);
        if let (Some((_, reason)), Some(_)) = (ended, &promise) {
            drop(sender.send(Err(Refused::ByRules(Refusal::Ended(reason)))));
            return;
        }
        if promise == Some(Promise::Created)
            && let Some(entry) = self.entries.get_mut(session)
        {
            entry.is_promised = true;
        }
        // A hold that its client did not receive would only block others.
        if let Err(Ok(Reply::Hold(hold, _))) = sender.send(Ok(reply)) {
            let request = self.next_request();
            self.step(Input::ReleaseHold { request, session, hold });
        }
    }

    /// Undoes the changes of a reply. `promised` are replies that waited for the same write.
    fn take_back(&mut self, oldest: Promised, failure: &Failure, promised: &mut VecDeque<Promised>) {
        let Promised { sender, reply, session, mut promise, mut tags, .. } = oldest;
        // What an equal request has found is undone by the request that created it.
        let is_anothers = promise == Some(Promise::Created) && matches!(reply, Reply::Session(_, false));
        promise = promise.filter(|_| !is_anothers);
        let being_written = self.being_written.iter_mut().chain([&mut self.awaiting]);
        let later = promised.iter_mut().chain(being_written.flat_map(|awaiting| &mut awaiting.promised));
        for later in later.filter(|later| later.session == session) {
            later.is_outdated = true;
            if let Some(theirs) = &mut later.promise {
                promise = promise.and_then(|promise| promise.hand_on(theirs));
            }
            if later.tags.is_some() && tags.is_some() {
                later.tags = tags.take();
            }
        }
        if let Some(details) = self.entries.details_mut(session)
            && let Some(tags) = tags
        {
            details.tags = tags;
            // The refused sessions may be stored once there is room, and the rules do not know their tags.
            self.unwritten.insert(session);
        }
        if let Some(promise) = promise {
            self.step(Input::TakeBack { session, promise, failure: failure.clone() });
        }
        drop(sender.send(Err(Refused::ByRules(Refusal::Failed(failure.clone())))));
    }
}
