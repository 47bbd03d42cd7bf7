//! Targets as the client sees them: those of its own contexts, each page with an emulated tab around it.
//!
//! Chromium's own auto-attachment is never enabled in the browser session, since it would attach to the pages of all
//! windows and pause them (`content/browser/devtools/protocol/target_handler.cc`). What a client enables is stored in
//! its subscription and carried out page by page.

use pilotlight_cdp::Envelope;
use serde_json::{Value, json};

use crate::policy::{exists, may_load};
use crate::state::{Created, Ids, Info, Out, Owner, Pending, Session, Subscription, TAB, VirtualBrowser};
use crate::target_filter::TargetFilter;
use crate::wire::{Caller, METHOD_NOT_FOUND, Refusal, needed, read, result, text};

/// Browser contexts that a client may have at once.
const MAX_CONTEXTS: usize = 32;
/// The parameters that a client may give for a new context. `originsWithUniversalNetworkAccess` is not allowed: pages
/// of such an origin could read whatever the machine can reach.
const OF_CONTEXTS: [&str; 3] = ["disposeOnDetach", "proxyServer", "proxyBypassList"];

impl VirtualBrowser {
    pub(crate) fn browser_target(&self) -> String {
        format!("BROWSER-{}", self.identity.session)
    }

    pub(crate) fn browser_info(&self) -> Value {
        json!({
            "targetId": self.browser_target(), "type": "browser", "title": "", "url": "",
            "attached": true, "canAccessOpener": false,
        })
    }

    pub(crate) fn tab_info(&self, page: &str) -> Option<Value> {
        let mut info = self.infos.get(page)?.info.clone();
        info["targetId"] = json!(format!("{TAB}{page}"));
        info["type"] = json!("tab");
        Some(info)
    }

    /// Returns the page that an id names, which may be that of its tab.
    pub(crate) fn page_named(&self, target: &str) -> Result<String, Refusal> {
        let page = target.strip_prefix(TAB).unwrap_or(target);
        if self.visible.contains(page) { Ok(page.to_owned()) } else { Err(Refusal::no_target()) }
    }

    /// Returns the target that a session is attached to.
    pub(crate) fn target_of(&self, session: Option<&str>) -> Option<String> {
        match self.sessions.get(session?)? {
            Session::Real { target, .. } => Some(target.clone()),
            Session::Tab { page, .. } => Some(format!("{TAB}{page}")),
            Session::Browser { .. } => None,
        }
    }

    pub(crate) fn real_sessions(&self, wanted: impl Fn(&str, &str, &Owner) -> bool) -> Vec<String> {
        let fits = |session: &Session| match session {
            Session::Real { target, kind, owner: Some(owner), .. } => wanted(target, kind, owner),
            _ => false,
        };
        self.sessions.iter().filter(|(_, session)| fits(session)).map(|(id, _)| id.clone()).collect()
    }

    pub(crate) fn target_command(
        &mut self,
        caller: &Caller,
        method: &str,
        mut params: Value,
        ids: Ids<'_>,
    ) -> Result<(), Refusal> {
        match method {
            "Target.getTargets" => {
                let filter = TargetFilter::of(&params).map_err(|error| Refusal::params(error.to_string()))?;
                let infos = self.listed(&filter);
                self.answer(caller, json!({ "targetInfos": infos }));
            }
            "Target.getTargetInfo" => return self.target_info(caller, &params, ids),
            "Target.setDiscoverTargets" => return self.discover(caller, &params),
            "Target.setAutoAttach" => return self.auto_attach(caller, &params, ids),
            "Target.attachToBrowserTarget" => {
                let session = self.attach_browser(&caller.session)?;
                self.answer(caller, json!({ "sessionId": session }));
            }
            "Target.attachToTarget" => return self.attach_to(caller, &params, ids),
            "Target.detachFromTarget" => return self.detach(caller, &params, ids),
            "Target.activateTarget" | "Target.closeTarget" => {
                params["targetId"] = json!(self.page_named(needed(&params, "targetId")?)?);
                return self.forward(caller, method, &params, ids);
            }
            "Target.createTarget" => {
                if !may_load(needed(&params, "url")?) {
                    return Err(Refusal::server("Cannot navigate to invalid URL: not of the web"));
                }
                self.inject_context(&mut params)?;
                let for_tab = params.get("forTab") == Some(&Value::Bool(true));
                let is_hidden = params.get("hidden") == Some(&Value::Bool(true));
                if let Some(params) = params.as_object_mut() {
                    params.remove("hidden");
                    params.remove("forTab");
                }
                if is_hidden {
                    // The window does not show it, and it is closed with its client.
                    let context = json!({ "disposeOnDetach": true });
                    let pending = Pending::Hide(caller.clone(), params);
                    return self.call("Target.createBrowserContext", &context, pending, ids);
                }
                return self.call(method, &params, Pending::CreateTarget(caller.clone(), for_tab), ids);
            }
            "Target.exposeDevToolsProtocol" => return self.expose(caller, &params, ids),
            "Target.getBrowserContexts" => {
                let contexts: Vec<&String> = self.contexts.difference(&self.hidden).collect();
                let default = &self.identity.context;
                let contexts = json!({ "browserContextIds": contexts, "defaultBrowserContextId": default });
                self.answer(caller, contexts);
            }
            "Target.createBrowserContext" => {
                if self.contexts.len() >= MAX_CONTEXTS {
                    return Err(Refusal::server("Too many browser contexts"));
                }
                let given = params.as_object().into_iter().flatten();
                if let Some((name, _)) = given.into_iter().find(|(name, _)| !OF_CONTEXTS.contains(&&***name))
                {
                    return Err(Refusal::params(format!("{name}: not allowed in a context of a client")));
                }
                params["disposeOnDetach"] = json!(true);
                return self.call(method, &params, Pending::CreateContext(caller.clone()), ids);
            }
            "Target.disposeBrowserContext" => {
                let context = needed(&params, "browserContextId")?.to_owned();
                if context == self.identity.context {
                    return Err(Refusal::server("The session's own context cannot be disposed of"));
                }
                if !self.contexts.contains(&context) {
                    return Err(Refusal::no_context());
                }
                return self.call(method, &params, Pending::DisposeContext(caller.clone(), context), ids);
            }
            _ => return Err(Refusal(METHOD_NOT_FOUND, format!("'{method}' wasn't found"))),
        }
        Ok(())
    }

    /// Returns pages first, in order: some clients use the first one that is listed.
    fn listed(&self, filter: &TargetFilter) -> Vec<Value> {
        let place = |id: &&String| {
            let shown = self.shown.iter().position(|page| page == *id);
            let is_page = self.infos.get(*id).is_some_and(|info| info.kind == "page");
            (!is_page, shown.unwrap_or(usize::MAX))
        };
        let mut visible: Vec<&String> = self.visible.iter().collect();
        visible.sort_by_key(place);
        let mut listed = Vec::new();
        let mut tabs = Vec::new();
        for id in visible {
            let Some(info) = self.infos.get(id) else { continue };
            if filter.lets_pass(&info.kind) {
                listed.push(info.info.clone());
            }
            if info.kind == "page" && filter.lets_pass("tab") {
                tabs.extend(self.tab_info(id));
            }
        }
        listed.extend(tabs);
        if filter.lets_pass("browser") {
            listed.push(self.browser_info());
        }
        listed
    }

    fn target_info(&mut self, caller: &Caller, params: &Value, ids: Ids<'_>) -> Result<(), Refusal> {
        let named = text(params, "targetId")?.map(str::to_owned);
        let target = named.or_else(|| self.target_of(caller.session.as_deref()));
        let Some(target) = target.filter(|target| *target != self.browser_target()) else {
            let info = self.browser_info();
            self.answer(caller, json!({ "targetInfo": info }));
            return Ok(());
        };
        let own = self.target_of(caller.session.as_deref()).as_ref() == Some(&target);
        let page = self.page_named(&target);
        if target.starts_with(TAB) {
            let info = self.tab_info(&page?);
            self.answer(caller, json!({ "targetInfo": info }));
            return Ok(());
        }
        // Frames and workers below a page are not listed, but their own sessions may query themselves.
        let target = if own { target } else { page? };
        let params = json!({ "targetId": target });
        self.call("Target.getTargetInfo", &params, Pending::Info(caller.clone()), ids)
    }

    fn discover(&mut self, caller: &Caller, params: &Value) -> Result<(), Refusal> {
        let filter = TargetFilter::of(params).map_err(|error| Refusal::params(error.to_string()))?;
        let on = params.get("discover") == Some(&Value::Bool(true));
        let infos = if on { self.listed(&filter) } else { Vec::new() };
        self.subscriptions.entry(caller.session.clone()).or_default().discover = on.then_some(filter);
        for info in infos {
            self.emit(caller.session.as_deref(), "Target.targetCreated", &json!({ "targetInfo": info }));
        }
        self.answer(caller, json!({}));
        Ok(())
    }

    /// Handles an event of the client's browser session.
    pub(crate) fn browser_event(&mut self, method: &str, params: &Value, ids: Ids<'_>) {
        let target = |params: &Value| params.get("targetId").and_then(Value::as_str).map(str::to_owned);
        match method {
            "Target.targetCreated" | "Target.targetInfoChanged" => self.told_of(&params["targetInfo"], ids),
            "Target.targetDestroyed" => {
                if let Some(target) = target(params) {
                    self.infos.remove(&target);
                    self.vanish(&target);
                }
            }
            "Target.targetCrashed" if target(params).is_some_and(|target| self.visible.contains(&target)) => {
                for owner in self.listeners("page") {
                    self.emit(owner.as_deref(), method, params);
                }
            }
            "Target.attachedToTarget" => self.told_attached(params, ids),
            "Target.detachedFromTarget" => {
                let session = params.get("sessionId").and_then(Value::as_str).unwrap_or_default();
                self.no_longer_exposed(session, ids);
                self.session_gone(session);
            }
            "Browser.downloadWillBegin" | "Browser.downloadProgress" => self.download_event(method, params),
            _ => {}
        }
    }

    fn listeners(&self, kind: &str) -> Vec<Owner> {
        let listens =
            |owner: &Subscription| owner.discover.as_ref().is_some_and(|filter| filter.lets_pass(kind));
        self.subscriptions.iter().filter(|(_, owner)| listens(owner)).map(|(id, _)| id.clone()).collect()
    }

    fn told_of(&mut self, info: &Value, ids: Ids<'_>) {
        let told = |name: &str| info.get(name).and_then(Value::as_str).map(str::to_owned);
        let (Some(id), Some(kind), Some(context)) =
            (told("targetId"), told("type"), told("browserContextId"))
        else {
            return;
        };
        // Chromium's own tabs are not used: they do not say to which page they belong.
        if kind == "tab" || !self.owns_context(&context) {
            return;
        }
        let exists = exists(&kind, &told("url").unwrap_or_default());
        let info = Info { kind, context, exists, info: info.clone() };
        self.infos.insert(id.clone(), info);
        if !exists {
            return self.banish(&id, ids);
        }
        if !self.visible.contains(&id) {
            return self.look_at(&id, ids);
        }
        self.tell_discovered("Target.targetInfoChanged", &id);
    }

    /// Handles a changed target in the session above it; returns false if it no longer exists for the client.
    pub(crate) fn is_still_there(&mut self, info: &Value, ids: Ids<'_>) -> bool {
        let told = |name: &str| info.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_there = exists(&told("type"), &told("url"));
        if !is_there {
            self.banish(&told("targetId"), ids);
        }
        is_there
    }

    /// Handles that a target no longer exists for clients: all sessions with it end with an event for their owners,
    /// and nothing more of it is passed on.
    pub(crate) fn banish(&mut self, id: &str, ids: Ids<'_>) {
        for session in self.sessions_below(id) {
            self.end_below(&session, ids);
        }
        let exposed = self.exposed_sessions(id);
        exposed.iter().for_each(|session| self.no_longer_exposed(session, ids));
        for session in self.real_sessions(|target, _, _| target == id).into_iter().chain(exposed) {
            self.leave_unanswered(&session);
            self.forget_below(&session);
            let params = json!({ "sessionId": session });
            self.ask("Target.detachFromTarget", &params, Pending::Unasked, ids);
        }
        self.vanish(id);
    }

    fn tell_discovered(&mut self, method: &str, id: &str) {
        let Some(Info { kind, info, .. }) = self.infos.get(id) else { return };
        let (kind, info, tab) = (kind.clone(), info.clone(), self.tab_info(id));
        for owner in self.listeners(&kind) {
            self.emit(owner.as_deref(), method, &json!({ "targetInfo": info }));
        }
        if let (true, Some(tab)) = (kind == "page", tab) {
            for owner in self.listeners("tab") {
                self.emit(owner.as_deref(), method, &json!({ "targetInfo": tab }));
            }
        }
    }

    /// Handles a change of the window's pages.
    pub fn pages(&mut self, shown: Vec<String>, ids: Ids<'_>) {
        self.show(shown, ids);
        self.turn_to_pages(ids);
    }

    fn show(&mut self, shown: Vec<String>, ids: Ids<'_>) {
        let gone: Vec<String> = self.shown.iter().filter(|page| !shown.contains(page)).cloned().collect();
        self.shown = shown;
        gone.iter().for_each(|page| self.vanish(page));
        for page in self.shown.clone() {
            self.look_at(&page, ids);
        }
    }

    /// Notes that a new page must not run before the client has seen it. Called before [`Self::pages`].
    pub fn hold(&mut self, page: String, ids: Ids<'_>) {
        self.held.insert(page.clone());
        // It may have been seen already, for example in a context of the client.
        if self.visible.contains(&page) && !self.is_awaited(&page) {
            self.release(&page);
        }
        self.look_at(&page, ids);
        self.turn_to_pages(ids);
    }

    fn release(&mut self, page: &str) {
        if self.held.remove(page) {
            self.out.push_back(Out::Release(page.to_owned()));
        }
    }

    /// Returns whether a session wants to see this page before it runs.
    fn is_awaited(&self, page: &str) -> bool {
        let kind = self.infos.get(page).map_or("page", |info| &info.kind);
        self.subscriptions
            .values()
            .filter_map(|owner| owner.attach.as_ref())
            .any(|attach| attach.waits && (attach.filter.lets_pass(kind) || attach.filter.lets_pass("tab")))
    }

    /// Handles that a target may have become visible for the client.
    fn look_at(&mut self, id: &str, ids: Ids<'_>) {
        let Some(info) = self.infos.get(id) else { return };
        if !info.exists {
            return self.release(id);
        }
        let is_hidden = info.kind == "page"
            && info.context == self.identity.context
            && !self.shown.iter().any(|page| page == id);
        if is_hidden || !self.visible.insert(id.to_owned()) {
            return;
        }
        self.tell_discovered("Target.targetCreated", id);
        for owner in self.subscriptions.keys().cloned().collect::<Vec<_>>() {
            self.attach_for(&owner, id, ids);
        }
        if !self.is_awaited(id) {
            self.release(id);
        }
        self.settle_created(None);
    }

    fn vanish(&mut self, id: &str) {
        self.release(id);
        if !self.visible.remove(id) {
            return self.settle_created(Some(id));
        }
        // The page's own sessions end before those of its tab, which were told of them.
        for session in self.real_sessions(|target, _, _| target == id) {
            self.session_gone(&session);
        }
        let is_tab = |session: &Session| matches!(session, Session::Tab { page, .. } if page == id);
        let tabs: Vec<String> =
            self.sessions.iter().filter(|(_, session)| is_tab(session)).map(|(tab, _)| tab.clone()).collect();
        for tab in tabs {
            let Some(Session::Tab { owner, .. }) = self.forget(&tab) else { continue };
            self.subscriptions.remove(&Some(tab.clone()));
            let gone = json!({ "sessionId": tab, "targetId": format!("{TAB}{id}") });
            self.emit(owner.as_deref(), "Target.detachedFromTarget", &gone);
        }
        for owner in self.subscriptions.keys().cloned().collect::<Vec<_>>() {
            let Some(filter) = self.subscriptions.get(&owner).and_then(|owner| owner.discover.clone()) else {
                continue;
            };
            for (kind, target) in [("page", id.to_owned()), ("tab", format!("{TAB}{id}"))] {
                if filter.lets_pass(kind) {
                    self.emit(owner.as_deref(), "Target.targetDestroyed", &json!({ "targetId": target }));
                }
            }
        }
        self.settle_created(Some(id));
    }

    /// Clients expect the event of a page before the reply to its creation.
    pub(crate) fn target_created(
        &mut self,
        caller: &Caller,
        for_tab: bool,
        reply: &Envelope<'_>,
        ids: Ids<'_>,
    ) {
        let made = read(reply.result).unwrap_or_default();
        let Some(target) = made.get("targetId").and_then(Value::as_str).map(str::to_owned) else {
            let refused =
                reply.refusal().map_or_else(Refusal::no_target, |error| Refusal(error.code, error.message));
            return self.refuse(caller, &refused);
        };
        let id = if for_tab { format!("{TAB}{target}") } else { target.clone() };
        let reply = result(caller, json!({ "targetId": id }));
        let is_there = self.visible.contains(&target);
        self.created.push(Created { target: target.clone(), reply });
        if !is_there {
            let params = json!({ "targetId": target });
            self.ask("Target.getTargetInfo", &params, Pending::Probe(target), ids);
        }
        self.settle_created(None);
    }

    /// Creates the hidden page once its context exists.
    pub(crate) fn create_hidden(
        &mut self,
        caller: &Caller,
        mut params: Value,
        reply: &Envelope<'_>,
        ids: Ids<'_>,
    ) {
        let made = read(reply.result).unwrap_or_default();
        let Some(context) = made.get("browserContextId").and_then(Value::as_str) else {
            let refused =
                reply.refusal().map_or_else(Refusal::no_context, |error| Refusal(error.code, error.message));
            return self.refuse(caller, &refused);
        };
        self.contexts.insert(context.to_owned());
        self.hidden.insert(context.to_owned());
        self.out.push_back(Out::OwnContext(context.to_owned()));
        params["browserContextId"] = json!(context);
        let pending = Pending::CreateTarget(caller.clone(), false);
        if let Err(refused) = self.call("Target.createTarget", &params, pending, ids) {
            self.refuse(caller, &refused);
        }
    }

    /// Sends the replies whose page has been seen and attached to, or is `gone`.
    pub(crate) fn settle_created(&mut self, gone: Option<&str>) {
        let (visible, attaching) = (&self.visible, &self.attaching);
        let is_ready = |created: &Created| {
            let seen =
                visible.contains(&created.target) && !attaching.iter().any(|at| at.target == created.target);
            seen || gone == Some(&*created.target)
        };
        let (ready, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.created).into_iter().partition(is_ready);
        self.created = waiting;
        self.out.extend(ready.into_iter().map(|created| Out::Client(created.reply)));
    }
}
