//! The DevTools protocol for a page of the client (`Target.exposeDevToolsProtocol`), as chromedriver's BiDi needs it.
//! Chromium would give the page the whole browser; here it is connected to the virtual browser, as another client
//! below the one that created it.
//!
//! Its messages arrive by a binding and are sent by calls into the page, both over a session that no other client can
//! name.

use bytes::Bytes;
use pilotlight_cdp::Envelope;
use serde_json::{Value, json};

use crate::state::{Exposed, Exposing, Ids, Out, Pending, Session, VirtualBrowser};
use crate::wire::{Caller, Refusal, needed, raw, text};

/// Pages that may have it at once.
const MAX_EXPOSED: usize = 4;

impl VirtualBrowser {
    /// Begins to expose the protocol to a page.
    pub(crate) fn expose(&mut self, caller: &Caller, params: &Value, ids: Ids<'_>) -> Result<(), Refusal> {
        let page = self.page_named(needed(params, "targetId")?)?;
        let object = text(params, "bindingName")?.unwrap_or("cdp").to_owned();
        if object.is_empty() || !object.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        {
            return Err(Refusal::params("bindingName: not a name"));
        }
        if self.exposed.len() >= MAX_EXPOSED {
            return Err(Refusal::server("Too many pages have the DevTools protocol"));
        }
        let exposing = Exposing { caller: caller.clone(), object };
        self.attach(&None, &page, None, Some(exposing), false, ids).map(drop)
    }

    /// Continues once a session is attached to the page.
    pub(crate) fn begin_to_expose(&mut self, session: &str, target: &str, exposing: Exposing, ids: Ids<'_>) {
        let Exposing { caller, object } = exposing;
        let begun = self.fresh_session(Session::Browser { owner: None }).and_then(|root| {
            let binding = format!("say_{}", root.replace('-', "_"));
            let params = json!({ "name": binding });
            self.send(session, "Runtime.addBinding", raw(&params).as_deref(), Pending::Unasked, ids)?;
            let expression = format!(
                "{{ const say = globalThis.{binding}; delete globalThis.{binding}; \
                 globalThis.{object} = {{ onmessage: null, send: message => say(message) }}; }}"
            );
            let params = json!({ "expression": expression });
            let pending = Pending::Exposed(caller.clone(), root.clone());
            self.send(session, "Runtime.evaluate", raw(&params).as_deref(), pending, ids)?;
            let exposed = Exposed {
                session: session.to_owned(),
                target: target.to_owned(),
                object,
                binding,
                is_ready: false,
            };
            self.exposed.insert(root, exposed);
            Ok(())
        });
        if let Err(refused) = begun {
            self.refuse(&caller, &refused);
        }
    }

    /// Returns whether the client's next message may be handled. Messages for a page to which the protocol is being
    /// exposed must not overtake that.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.exposed.values().all(|exposed| exposed.is_ready)
            && !self.attaching.iter().any(|attaching| attaching.exposes.is_some())
    }

    /// Handles that the protocol was exposed to a page, or could not be.
    pub(crate) fn is_exposed(&mut self, caller: &Caller, root: &str, reply: &Envelope<'_>) {
        match (reply.refusal(), self.exposed.get_mut(root)) {
            (None, Some(exposed)) => {
                exposed.is_ready = true;
                self.answer(caller, json!({}));
            }
            (refused, _) => {
                self.exposed.remove(root);
                let refused =
                    refused.map_or_else(Refusal::no_target, |error| Refusal(error.code, error.message));
                self.refuse(caller, &refused);
            }
        }
    }

    /// Handles a message in the session of a page with the protocol; returns false for any other session.
    pub(crate) fn heard_of_exposed(&mut self, event: &Envelope<'_>, ids: Ids<'_>) -> bool {
        let Some(session) = &event.session else { return false };
        let of = |(_, exposed): &(&String, &Exposed)| *exposed.session == *session.0;
        let Some((root, exposed)) = self.exposed.iter().find(of) else { return false };
        let params = crate::wire::read(event.params).unwrap_or_default();
        let is_said = event.method.as_ref().is_some_and(|method| method.0 == "Runtime.bindingCalled")
            && params.get("name").and_then(Value::as_str) == Some(&exposed.binding);
        if let (true, Some(said)) = (is_said, params.get("payload").and_then(Value::as_str)) {
            let root = root.clone();
            self.hear(said.as_bytes(), Some(&root), ids);
        }
        true
    }

    /// Handles that a session ended. Earlier messages still belong to its former page.
    pub(crate) fn forget(&mut self, session: &str) -> Option<Session> {
        if let Some(root) = self.root_of(session) {
            self.departed.insert(session.to_owned(), root);
        }
        self.sessions.remove(session)
    }

    /// Returns the page to which a session belongs, if it is not the client's own.
    pub(crate) fn root_of(&self, session: &str) -> Option<String> {
        if self.exposed.is_empty() {
            return None;
        }
        let mut session = session.to_owned();
        while !self.exposed.contains_key(&session) {
            if let Some(root) = self.departed.get(&session) {
                return Some(root.clone());
            }
            session = match self.sessions.get(&session)? {
                Session::Real { owner: Some(owner), .. }
                | Session::Tab { owner, .. }
                | Session::Browser { owner } => owner.clone()?,
                Session::Real { owner: None, .. } => self.parents.get(&session)?.clone(),
            };
        }
        Some(session)
    }

    /// Routes messages for the client to the pages that they are for.
    pub(crate) fn turn_to_pages(&mut self, ids: Ids<'_>) {
        if self.exposed.is_empty() {
            return;
        }
        for out in std::mem::take(&mut self.out) {
            match out {
                Out::Client(message) => match self.addressee(&message) {
                    Some(root) => self.say(&root, &message, ids),
                    None => self.out.push_back(Out::Client(message)),
                },
                other => self.out.push_back(other),
            }
        }
        self.departed.clear();
    }

    fn addressee(&self, message: &Bytes) -> Option<String> {
        let session = Envelope::parse(message).ok()?.session?;
        self.root_of(&session.0)
    }

    fn say(&mut self, root: &str, message: &Bytes, ids: Ids<'_>) {
        let (Some(exposed), Ok(envelope)) = (self.exposed.get(root), Envelope::parse(message)) else {
            return;
        };
        let is_its_first = envelope.session.as_ref().is_some_and(|session| session.0 == root);
        let envelope = if is_its_first { Envelope { session: None, ..envelope } } else { envelope };
        let Ok(said) = envelope.to_bytes() else { return };
        let said = json!(String::from_utf8_lossy(&said));
        let (session, object) = (exposed.session.clone(), &exposed.object);
        let params = json!({ "expression": format!("globalThis.{object}.onmessage?.({said})") });
        // A page that has been closed gets no messages.
        let _ = self.send(&session, "Runtime.evaluate", raw(&params).as_deref(), Pending::Unasked, ids);
    }

    /// Returns the sessions through which messages are sent to pages with the protocol.
    pub(crate) fn exposed_sessions(&self, target: &str) -> Vec<String> {
        let of = |exposed: &&Exposed| exposed.target == target;
        self.exposed.values().filter(of).map(|exposed| exposed.session.clone()).collect()
    }

    /// Handles that a session ended, and with it the page that it connected.
    pub(crate) fn no_longer_exposed(&mut self, session: &str, ids: Ids<'_>) {
        let of = |(_, exposed): &(&String, &Exposed)| exposed.session == session;
        let Some(root) = self.exposed.iter().find(of).map(|(root, _)| root.clone()) else { return };
        let below = self.sessions.keys().filter(|id| self.root_of(id).as_deref() == Some(&root));
        let below: Vec<String> = below.cloned().collect();
        below.iter().for_each(|session| self.drop_session(session, ids));
        self.exposed.remove(&root);
    }
}
