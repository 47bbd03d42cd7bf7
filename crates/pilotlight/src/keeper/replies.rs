//! Replies to clients: what each request waits for, and when it is answered.

use std::collections::BTreeMap;

use pilotlight_core::{Answer, Promise, Refusal, RequestId, SessionId};

use super::Keeper;
use super::lasting::Promised;
use super::message::{Refused, Reply, ReplySender};
use super::using::Using;

/// A client that waits for a reply.
pub(super) struct Pending {
    pub(super) reply: ReplySender,
    pub(super) session: SessionId,
    pub(super) tags: Option<BTreeMap<String, String>>,
    pub(super) owner: Option<String>,
    pub(super) is_connection: bool,
    pub(super) is_lasting: bool,
    pub(super) promise: Option<Promise>,
}

/// A reply that is sent once the directory shows the change that it reports.
pub(super) struct Unsent {
    sender: ReplySender,
    reply: Result<Reply, Refused>,
    /// The session whose use was granted and cannot begin.
    unused: Option<SessionId>,
}

impl Unsent {
    /// Sends it. Returns the session if its use has ended before it began.
    pub(super) fn send(self) -> Option<SessionId> {
        // The client may have disconnected. A use that is not received ends when it is dropped.
        drop(self.sender.send(self.reply));
        self.unused
    }
}

impl Keeper {
    /// Returns the reply to a request, unless it has to wait until its promise is stored.
    pub(super) fn answer(&mut self, request: RequestId, answer: Result<Answer, Refusal>) -> Option<Unsent> {
        let pending = self.pending.remove(&request)?;
        let mut tags_before = None;
        if let (Some(tags), Ok(_)) = (pending.tags, &answer)
            && let Some(details) = self.entries.details_mut(pending.session)
        {
            tags_before = Some(std::mem::replace(&mut details.tags, tags));
            self.unwritten.insert(pending.session);
        }
        if let Ok(Answer::Hold { hold, .. }) = &answer
            && let Some(details) = self.entries.details_mut(pending.session)
        {
            details.owners.extend(pending.owner.map(|owner| (*hold, owner)));
            details.connections.extend(pending.is_connection.then_some(*hold));
        }
        let reply = answer.clone().map_err(Refused::ByRules).and_then(|answer| match answer {
            Answer::Session { session, is_new } => {
                let published = self.published(session).ok_or(Refused::ByRules(Refusal::NotFound))?;
                Ok(Reply::Session(Box::new(published.now()), is_new))
            }
            Answer::Hold { hold, expires_at } => Ok(Reply::Hold(hold, expires_at)),
            Answer::MayUse => {
                let using = self.executor.window(pending.session).map(|window| Using {
                    window: window.window.clone(),
                    session: pending.session,
                    messages: self.messages.clone(),
                });
                using.map(Reply::Using).ok_or(Refused::ByRules(Refusal::NotFound))
            }
            Answer::Done => Ok(Reply::Done),
        });
        // An order that did not create a session leaves nothing behind.
        if self.rules.session(pending.session).is_none() && !self.pending_for(pending.session) {
            self.entries.remove(pending.session);
        }
        let reply = match reply {
            Ok(reply) if pending.is_lasting => {
                let Pending { reply: sender, promise, .. } = pending;
                // An equal request found an existing session instead of creating one.
                let session = match answer {
                    Ok(Answer::Session { session, .. }) => session,
                    _ => pending.session,
                };
                let promised =
                    Promised { sender, reply, session, promise, tags: tags_before, is_outdated: false };
                self.promise(promised);
                return None;
            }
            reply => reply,
        };
        let is_unused = matches!(answer, Ok(Answer::MayUse)) && reply.is_err();
        Some(Unsent { sender: pending.reply, reply, unused: is_unused.then_some(pending.session) })
    }

    pub(super) fn pending_for(&self, session: SessionId) -> bool {
        self.pending.values().any(|pending| pending.session == session)
    }
}
