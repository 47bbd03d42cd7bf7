//! What must outlast us: which sessions are to be written down anew, and the answers that wait for it.

use std::time::Duration;

use pilotlight_core::{Session, SessionId};
use pilotlight_store::SessionRecord;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::Keeper;
use super::message::{Message, Reply};
use super::scribe::Writ;
use crate::plan::record;

/// How long what a client is not waiting for, such as when a session was last used, may wait to be written
/// down.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

impl Keeper {
    /// Remembers which of the changed sessions are to be written down anew.
    pub(super) fn note_unwritten(&mut self, changed: &[SessionId]) {
        let mut ended = Vec::new();
        for id in changed {
            let Some(kept) = self.rules.session(*id).and_then(Session::kept) else {
                continue;
            };
            if self.written.get(id) == Some(&kept) {
                continue;
            }
            let is_news = self.written.get(id).is_none_or(|written| written.ended != kept.ended);
            if kept.ended.is_some() && is_news {
                if let Some(details) = self.details.get(id) {
                    ended.push(record(&kept, details));
                }
                self.unwritten.remove(id);
                self.written.insert(*id, kept);
            } else {
                self.unwritten.insert(*id);
            }
        }
        if !ended.is_empty() {
            self.scribe.write(Writ::Ended(ended));
        }
        if !self.unwritten.is_empty() && self.flush_at.is_none() {
            self.flush_at = Some(Instant::now() + FLUSH_AFTER);
        }
    }

    /// Has everything written down that is not yet, and then tells somebody.
    pub(super) fn flush_for(&mut self, waiter: oneshot::Sender<()>) {
        self.waiters.push(waiter);
        self.flush();
    }

    /// Has everything written down that is not yet, and then told who waits for it.
    pub(super) fn flush(&mut self) {
        self.flush_at = None;
        let mut records: Vec<SessionRecord> = Vec::new();
        let mut beginnings = Vec::new();
        for id in std::mem::take(&mut self.unwritten) {
            let kept = self.rules.session(id).and_then(Session::kept);
            if let Some((kept, details)) = kept.zip(self.details.get(&id)) {
                records.push(record(&kept, details));
                let is_new = self.written.insert(id, kept).is_none();
                let beginning = details.begins_with.clone().filter(|_| is_new);
                beginnings.extend(beginning.map(|checkpoint| (Uuid::from_u128(id.0), checkpoint)));
            }
        }
        let replies = std::mem::take(&mut self.replies);
        let waiters = std::mem::take(&mut self.waiters);
        let is_awaited = !replies.is_empty() || !waiters.is_empty();
        if records.is_empty() && !is_awaited {
            return;
        }
        let (then, written) = oneshot::channel();
        self.scribe.write(Writ::Sessions { records, beginnings, then: is_awaited.then_some(then) });
        if !is_awaited {
            return;
        }
        let messages = self.messages.clone();
        tokio::spawn(async move {
            // A scribe that is gone writes nothing more: the server ends.
            let _ = written.await;
            for waiter in waiters {
                let _ = waiter.send(());
            }
            for (sender, reply, session) in replies {
                if let Err(Ok(Reply::Hold(hold, _))) = sender.send(reply) {
                    drop(messages.send(Message::HoldUnwanted { session, hold }).await);
                }
            }
        });
    }
}
