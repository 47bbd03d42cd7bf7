//! Attaching to targets, automatically or by command, and detaching.
//!
//! Chromium attaches to one target at a time, and only when told to; the auto-attachment that a client session
//! enabled is implemented here.

use std::collections::HashSet;

use bytes::Bytes;
use pilotlight_cdp::Envelope;
use serde_json::{Value, json};

use crate::policy::exists;
use crate::state::{Attach, Attaching, Exposing, Ids, Out, Owner, Pending, Session, TAB, VirtualBrowser};
use crate::target_filter::TargetFilter;
use crate::wire::{Caller, Refusal, needed, result, text};

/// The kinds of targets that auto-attachment on the browser includes.
const ATTACHED_AT_BROWSER: [&str; 3] = ["page", "service_worker", "shared_worker"];
/// How many sessions a client may have at once.
const MAX_SESSIONS: usize = 4096;

impl VirtualBrowser {
    /// Existing targets are attached before the reply, as Chromium does it.
    pub(crate) fn auto_attach(
        &mut self,
        caller: &Caller,
        params: &Value,
        ids: Ids<'_>,
    ) -> Result<(), Refusal> {
        let session = caller.session.as_ref();
        if let Some(Session::Real { .. }) = session.and_then(|session| self.sessions.get(session)) {
            // Below a page there are only its own frames and workers.
            let params = crate::wire::raw(params);
            let pending = Pending::Pass(caller.clone());
            let session = session.cloned().unwrap_or_default();
            return self.send(&session, "Target.setAutoAttach", params.as_deref(), pending, ids);
        }
        let on = params.get("autoAttach") == Some(&Value::Bool(true));
        if on && params.get("flatten") != Some(&Value::Bool(true)) {
            return Err(Refusal::server("Only flatten protocol is supported with browser level auto-attach"));
        }
        let filter = TargetFilter::of(params).map_err(|error| Refusal::params(error.to_string()))?;
        let waits = params.get("waitForDebuggerOnStart") == Some(&Value::Bool(true));
        let owner = caller.session.clone();
        self.subscriptions.entry(owner.clone()).or_default().attach = on.then_some(Attach { waits, filter });
        if !on {
            self.detach_all(&owner, ids);
            self.answer(caller, json!({}));
            return Ok(());
        }
        let mut calls = HashSet::new();
        for target in self.visible.clone() {
            calls.extend(self.attach_for(&owner, &target, ids));
        }
        self.reply_after(result(caller, json!({})), calls);
        Ok(())
    }

    fn detach_all(&mut self, owner: &Owner, ids: Ids<'_>) {
        let of_owner = |session: &Session| match session {
            Session::Real { owner: Some(of), auto: true, .. } | Session::Tab { owner: of, .. } => of == owner,
            _ => false,
        };
        let sessions: Vec<String> =
            self.sessions.iter().filter(|(_, session)| of_owner(session)).map(|(id, _)| id.clone()).collect();
        for session in sessions {
            self.drop_session(&session, ids);
        }
    }

    /// Attaches a session to a target if it enabled auto-attachment for this kind and is not attached yet. Tabs need
    /// no command.
    pub(crate) fn attach_for(&mut self, owner: &Owner, target: &str, ids: Ids<'_>) -> Option<i64> {
        let wanted = self.subscriptions.get(owner)?.attach.as_ref()?;
        let kind = self.infos.get(target)?.kind.clone();
        let tab = match owner.as_ref().and_then(|session| self.sessions.get(session)) {
            Some(Session::Tab { page, .. }) => Some(page.clone()),
            _ => None,
        };
        let (waits, is_wanted) = (wanted.waits, wanted.filter.lets_pass(&kind));
        let wants_tab = tab.is_none() && kind == "page" && wanted.filter.lets_pass("tab");
        let is_below = tab.as_deref().is_none_or(|page| page == target);
        if wants_tab && !self.has_tab(owner, target) {
            // A full table limits only this client.
            let _ = self.attach_tab(owner, target, waits);
        }
        let has_one = !self.real_sessions(|of, _, at| of == target && at == owner).is_empty()
            || self.attaching.iter().any(|at| at.target == target && at.owner == *owner);
        if !is_wanted || !is_below || has_one || !ATTACHED_AT_BROWSER.contains(&&*kind) {
            return None;
        }
        self.attach(owner, target, None, None, waits, ids).ok()
    }

    fn has_tab(&self, owner: &Owner, target: &str) -> bool {
        let is_it = |session: &Session| matches!(session, Session::Tab { page, owner: of } if page == target && of == owner);
        self.sessions.values().any(is_it)
    }

    pub(crate) fn fresh_session(&mut self, session: Session) -> Result<String, Refusal> {
        if self.sessions.len() >= MAX_SESSIONS {
            return Err(Refusal::server("Too many sessions"));
        }
        self.last_session += 1;
        let id = format!("VIRTUAL-{}", self.last_session);
        self.sessions.insert(id.clone(), session);
        Ok(id)
    }

    fn attach_tab(&mut self, owner: &Owner, page: &str, waits: bool) -> Result<String, Refusal> {
        let info = self.tab_info(page).ok_or_else(Refusal::no_target)?;
        let session = self.fresh_session(Session::Tab { page: page.into(), owner: owner.clone() })?;
        self.tell_attached(owner, &session, info, waits && self.held.contains(page));
        Ok(session)
    }

    pub(crate) fn attach_browser(&mut self, owner: &Owner) -> Result<String, Refusal> {
        let session = self.fresh_session(Session::Browser { owner: owner.clone() })?;
        let info = self.browser_info();
        self.tell_attached(owner, &session, info, false);
        Ok(session)
    }

    fn tell_attached(&mut self, owner: &Owner, session: &str, mut info: Value, waiting: bool) {
        info["attached"] = json!(true);
        let params = json!({ "sessionId": session, "targetInfo": info, "waitingForDebugger": waiting });
        self.emit(owner.as_deref(), "Target.attachedToTarget", &params);
    }

    pub(crate) fn attach(
        &mut self,
        owner: &Owner,
        target: &str,
        answer: Option<Caller>,
        exposes: Option<Exposing>,
        waits: bool,
        ids: Ids<'_>,
    ) -> Result<i64, Refusal> {
        if self.sessions.len() + self.attaching.len() >= MAX_SESSIONS {
            return Err(Refusal::server("Too many sessions"));
        }
        let mut call = 0;
        let mut noted = || ids().inspect(|id| call = *id);
        let params = json!({ "targetId": target, "flatten": true });
        self.call("Target.attachToTarget", &params, Pending::Attach, &mut noted)?;
        let (owner, target, auto) = (owner.clone(), target.to_owned(), answer.is_none());
        self.attaching.push(Attaching { call, owner, target, auto, waits, session: None, answer, exposes });
        Ok(call)
    }

    pub(crate) fn attach_to(&mut self, caller: &Caller, params: &Value, ids: Ids<'_>) -> Result<(), Refusal> {
        if params.get("flatten") != Some(&Value::Bool(true)) {
            return Err(Refusal::server("Only flat sessions are supported: pass flatten"));
        }
        let target = needed(params, "targetId")?;
        let session = if target == self.browser_target() {
            self.attach_browser(&caller.session)?
        } else {
            let page = self.page_named(target)?;
            if !target.starts_with(TAB) {
                return self.attach(&caller.session, &page, Some(caller.clone()), None, false, ids).map(drop);
            }
            self.attach_tab(&caller.session, &page, false)?
        };
        self.answer(caller, json!({ "sessionId": session }));
        Ok(())
    }

    pub(crate) fn detach(&mut self, caller: &Caller, params: &Value, ids: Ids<'_>) -> Result<(), Refusal> {
        let named = text(params, "sessionId")?.map(str::to_owned);
        let session = named.or_else(|| caller.session.clone()).ok_or_else(Refusal::no_session)?;
        match self.sessions.get(&session) {
            None => return Err(Refusal::no_session()),
            // A session that was attached automatically below a page ends with the page.
            Some(Session::Real { owner: None, .. }) => {
                let is_its = self.parents.get(&session) == caller.session.as_ref();
                let parent = caller.session.clone().filter(|_| is_its).ok_or_else(Refusal::no_session)?;
                let params = crate::wire::raw(&json!({ "sessionId": session }));
                let pending = Pending::Pass(caller.clone());
                return self.send(&parent, "Target.detachFromTarget", params.as_deref(), pending, ids);
            }
            Some(_) => self.drop_session(&session, ids),
        }
        self.answer(caller, json!({}));
        Ok(())
    }

    pub(crate) fn drop_session(&mut self, session: &str, ids: Ids<'_>) {
        if matches!(self.sessions.get(session), Some(Session::Real { .. })) {
            // Chromium reports when it has ended.
            let params = json!({ "sessionId": session });
            return self.ask("Target.detachFromTarget", &params, Pending::Unasked, ids);
        }
        let Some(Session::Tab { owner, .. } | Session::Browser { owner }) = self.forget(session) else {
            return;
        };
        let own = Some(session.to_owned());
        self.detach_all(&own, ids);
        self.subscriptions.remove(&own);
        let target = json!({ "sessionId": session });
        self.emit(owner.as_deref(), "Target.detachedFromTarget", &target);
    }

    /// Handles that a session below one of the client's was attached or ended. Returns whether the client is told.
    pub(crate) fn session_below(&mut self, parent: &str, method: &str, params: &Value, ids: Ids<'_>) -> bool {
        let Some(session) = params.get("sessionId").and_then(Value::as_str) else { return false };
        if method == "Target.detachedFromTarget" {
            self.subscriptions.remove(&Some(session.to_owned()));
            let was_there = self.forget(session).is_some();
            self.parents.remove(session);
            return was_there;
        }
        let info = &params["targetInfo"];
        let context = info.get("browserContextId").and_then(Value::as_str);
        let told = |name: &str| info.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_foreign = context.is_some_and(|context| !self.owns_context(context));
        let exists = exists(&told("type"), &told("url"));
        if is_foreign || !exists || self.sessions.len() >= MAX_SESSIONS {
            // It may wait for a command to run.
            let _ = self.send(session, "Runtime.runIfWaitingForDebugger", None, Pending::Unasked, ids);
            self.detach_below(parent, session, ids);
            if !exists {
                self.banish(&told("targetId"), ids);
            }
            return false;
        }
        let real = Session::Real { target: told("targetId"), owner: None, auto: true, kind: told("type") };
        self.sessions.insert(session.to_owned(), real);
        self.parents.insert(session.to_owned(), parent.to_owned());
        true
    }

    /// Has Chromium detach a session that was attached below another.
    fn detach_below(&mut self, parent: &str, session: &str, ids: Ids<'_>) {
        let params = crate::wire::raw(&json!({ "sessionId": session }));
        // If the upper session has ended, this one has as well.
        let _ = self.send(parent, "Target.detachFromTarget", params.as_deref(), Pending::Unasked, ids);
    }

    /// Returns the sessions with a target that were attached below others.
    pub(crate) fn sessions_below(&self, id: &str) -> Vec<String> {
        let is_it =
            |session: &Session| matches!(session, Session::Real { target, owner: None, .. } if target == id);
        self.sessions.iter().filter(|(_, session)| is_it(session)).map(|(id, _)| id.clone()).collect()
    }

    /// Detaches a session that was attached below another, and all below it.
    pub(crate) fn end_below(&mut self, session: &str, ids: Ids<'_>) {
        let Some(parent) = self.parents.get(session).cloned() else { return };
        self.detach_below(&parent, session, ids);
        self.forget_one_below(session, &parent);
    }

    /// Removes all sessions below one that ends, and sends events about them to their owners.
    pub(crate) fn forget_below(&mut self, parent: &str) {
        let below = self.parents.iter().filter(|(_, above)| *above == parent);
        let below: Vec<String> = below.map(|(session, _)| session.clone()).collect();
        below.iter().for_each(|session| self.forget_one_below(session, parent));
    }

    fn forget_one_below(&mut self, session: &str, parent: &str) {
        self.forget_below(session);
        self.leave_unanswered(session);
        self.subscriptions.remove(&Some(session.to_owned()));
        if let Some(Session::Real { target, .. }) = self.forget(session) {
            let gone = json!({ "sessionId": session, "targetId": target });
            self.emit(Some(parent), "Target.detachedFromTarget", &gone);
        }
        self.parents.remove(session);
    }

    pub(crate) fn session_gone(&mut self, session: &str) {
        self.subscriptions.remove(&Some(session.to_owned()));
        let gone = self.forget(session);
        self.parents.remove(session);
        if let Some(Session::Real { target, owner: Some(owner), .. }) = gone {
            let gone = json!({ "sessionId": session, "targetId": target });
            self.emit(owner.as_deref(), "Target.detachedFromTarget", &gone);
        }
    }

    pub(crate) fn told_attached(&mut self, params: &Value, ids: Ids<'_>) {
        let (Some(session), Some(target)) = (
            params.get("sessionId").and_then(Value::as_str).map(str::to_owned),
            params.pointer("/targetInfo/targetId").and_then(Value::as_str).map(str::to_owned),
        ) else {
            return;
        };
        let info = params["targetInfo"].clone();
        let told = |name: &str| info.get(name).and_then(Value::as_str).unwrap_or_default();
        let kind = told("type").to_owned();
        let exists = exists(&kind, told("url"));
        if !exists || !self.visible.contains(&target) {
            // The target has changed meanwhile, or no longer exists for the client. The command is answered with an
            // error.
            let params = json!({ "sessionId": session });
            self.ask("Target.detachFromTarget", &params, Pending::Unasked, ids);
            if !exists {
                self.banish(&target, ids);
            }
            return;
        }
        let expected = |at: &&mut Attaching| at.target == target && at.session.is_none();
        let Some(attaching) = self.attaching.iter_mut().find(expected) else { return };
        attaching.session = Some(session.clone());
        if attaching.exposes.is_some() {
            return;
        }
        let (owner, auto, waits) = (attaching.owner.clone(), attaching.auto, attaching.waits);
        let is_page = kind == "page";
        let real = Session::Real { target: target.clone(), owner: Some(owner.clone()), auto, kind };
        self.sessions.insert(session.clone(), real);
        if is_page && self.ignores_certificates {
            self.tell_of_certificates(&session, ids);
        }
        self.tell_attached(&owner, &session, info, waits && self.held.contains(&target));
    }

    pub(crate) fn attached(&mut self, call: i64, reply: &Envelope<'_>, ids: Ids<'_>) {
        let Some(place) = self.attaching.iter().position(|at| at.call == call) else { return };
        let mut attaching = self.attaching.remove(place);
        match (attaching.exposes.take(), &attaching.session) {
            (Some(exposing), Some(session)) => {
                return self.begin_to_expose(session, &attaching.target, exposing, ids);
            }
            (Some(exposing), None) => return self.refuse(exposing.caller(), &Refusal::no_target()),
            (None, _) => {}
        }
        if let Some(caller) = &attaching.answer {
            match (&attaching.session, reply.refusal()) {
                (Some(session), None) => self.answer(caller, json!({ "sessionId": session })),
                (_, refused) => {
                    let refused =
                        refused.map_or_else(Refusal::no_target, |error| Refusal(error.code, error.message));
                    self.refuse(caller, &refused);
                }
            }
        }
        for (_, calls) in &mut self.waiting {
            calls.remove(&call);
        }
        let (ready, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(_, calls)| calls.is_empty());
        self.waiting = waiting;
        let ready: Vec<(Bytes, HashSet<i64>)> = ready;
        self.out.extend(ready.into_iter().map(|(reply, _)| Out::Client(reply)));
        self.settle_created(None);
    }

    fn reply_after(&mut self, reply: Bytes, calls: HashSet<i64>) {
        if calls.is_empty() {
            self.out.push_back(Out::Client(reply));
        } else {
            self.waiting.push((reply, calls));
        }
    }
}
