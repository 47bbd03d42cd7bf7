//! The virtual browser of one client: the entry points for messages.

use bytes::Bytes;
use pilotlight_cdp::Envelope;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::policy::{Verdict, is_clipboard_key, is_of_clipboard, is_of_the_web, may_load, verdict};
use crate::state::{Identity, Ids, Out, Pending, Session, VirtualBrowser};
use crate::wire::{
    self, Caller, INVALID_REQUEST, MAX_CLIENT_CALLS, METHOD_NOT_FOUND, PARSE_ERROR, Refusal, event, needed,
    raw, read, refusal, result, text,
};

/// Why a client may not copy, cut or paste.
fn clipboard_is_shared() -> Refusal {
    Refusal::server(
        "The clipboard is not this session's alone: other sessions of its browser, or of its display, share it. \
         Set values instead, or make the session with \"isolation\": \"dedicated\"",
    )
}

impl VirtualBrowser {
    /// Queries the browser for what must be known before messages of the client are handled, which is known once
    /// [`Self::is_ready`]. If it `takes_downloads`, they are delivered without a command of the client; if it
    /// `keeps_page`, its first command to empty a page is ignored.
    pub fn start(&mut self, takes_downloads: bool, keeps_page: bool, ids: Ids<'_>) {
        self.keeps_page = keeps_page;
        let params = json!({ "discover": true, "filter": [{}] });
        self.ask("Target.setDiscoverTargets", &params, Pending::Unasked, ids);
        if takes_downloads {
            let Identity { context, folder, .. } = &self.identity;
            let params = json!({ "behavior": "allow", "browserContextId": context, "downloadPath": folder });
            self.ask("Browser.setDownloadBehavior", &params, Pending::Unasked, ids);
        }
    }

    /// Returns whether the client gets events of dialogs, so that it has to answer them.
    #[must_use]
    pub fn hears_dialogs(&self) -> bool {
        self.hears_dialogs
    }

    /// Returns whether the pages of the window are known.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.has_open_calls()
    }

    /// Returns whether a reply of the browser is pending that the client may be waiting for.
    #[must_use]
    pub fn has_open_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Returns the next output.
    pub fn take(&mut self) -> Option<Out> {
        self.out.pop_front()
    }

    /// Handles a message of the client. It is always answered or passed on.
    pub fn from_client(&mut self, message: &[u8], ids: Ids<'_>) {
        self.hear(message, None, ids);
        self.turn_to_pages(ids);
    }

    /// Handles a message of the client, or of one of its pages whose root session is `root`.
    pub(crate) fn hear(&mut self, message: &[u8], root: Option<&str>, ids: Ids<'_>) {
        let envelope = match Envelope::parse(message) {
            Ok(envelope) => envelope,
            // A page's own library writes its messages.
            Err(_) if root.is_some() => return,
            Err(error) => {
                let error = json!({"error": {"code": PARSE_ERROR, "message": format!("JSON: {error}")}});
                return self.out.push_back(Out::Client(error.to_string().into()));
            }
        };
        let (Some(id), Some(method)) = (envelope.id, &envelope.method) else {
            let text = "Message must have integer 'id' and string 'method' properties";
            let session = root.map(str::to_owned);
            let caller = Caller { id: envelope.id.unwrap_or_default(), session };
            return self.refuse(&caller, &Refusal(INVALID_REQUEST, text.into()));
        };
        let named = envelope.session.map(|session| session.0.into_owned());
        let is_foreign =
            root.is_some() && named.as_ref().is_some_and(|named| self.root_of(named).as_deref() != root);
        let caller = Caller { id, session: named.filter(|_| !is_foreign).or(root.map(str::to_owned)) };
        if is_foreign {
            return self.refuse(&caller, &Refusal::no_session());
        }
        let checked = wire::check(message);
        if let Err(refused) = checked.and_then(|()| self.command(&caller, &method.0, envelope.params, ids)) {
            self.refuse(&caller, &refused);
        }
    }

    fn command(
        &mut self,
        caller: &Caller,
        method: &str,
        params: Option<&RawValue>,
        ids: Ids<'_>,
    ) -> Result<(), Refusal> {
        let in_browser = match &caller.session {
            None => true,
            Some(session) => match self.sessions.get(session) {
                None => return Err(Refusal::no_session()),
                Some(Session::Real { .. }) => false,
                Some(_) => true,
            },
        };
        self.hears_dialogs |= !in_browser && method == "Page.enable";
        match verdict(method, in_browser) {
            Verdict::Pass => self.pass(caller, method, params, Pending::Pass(caller.clone()), ids),
            Verdict::Unknown => Err(Refusal(METHOD_NOT_FOUND, format!("'{method}' wasn't found"))),
            Verdict::Refuse => {
                let text = format!("'{method}' is not allowed: it affects more than this session");
                Err(Refusal::server(text))
            }
            Verdict::Virtual => self.perform(caller, method, params, ids),
        }
    }

    fn perform(
        &mut self,
        caller: &Caller,
        method: &str,
        given: Option<&RawValue>,
        ids: Ids<'_>,
    ) -> Result<(), Refusal> {
        let mut params = read(given)?;
        match method {
            "Browser.getVersion" => self.forward(caller, method, &params, ids),
            "Browser.close" => {
                self.answer(caller, json!({}));
                self.out.push_back(Out::Close);
                Ok(())
            }
            "Browser.setDownloadBehavior" | "Page.setDownloadBehavior" => {
                self.set_downloads(caller, &mut params, ids)
            }
            "Browser.grantPermissions" | "Browser.setPermission" if !self.may_be_permitted(&params) => {
                Err(clipboard_is_shared())
            }
            "Browser.grantPermissions"
            | "Browser.resetPermissions"
            | "Browser.setPermission"
            | "Browser.cancelDownload" => {
                self.inject_context(&mut params)?;
                self.forward(caller, method, &params, ids)
            }
            "Storage.getCookies" | "Storage.setCookies" | "Storage.clearCookies" => {
                self.inject_context(&mut params)?;
                self.forward(caller, method, &params, ids)
            }
            "Browser.getWindowForTarget" => self.window_of(caller, &mut params, ids),
            "Browser.getWindowBounds" | "Browser.setWindowBounds" | "Browser.setContentsSize" => {
                let known = params.get("windowId").and_then(Value::as_i64);
                if !known.is_some_and(|window| self.windows.contains(&window)) {
                    return Err(Refusal::server("Browser window not found"));
                }
                self.forward(caller, method, &params, ids)
            }
            "Security.setIgnoreCertificateErrors" => {
                self.ignores_certificates = params.get("ignore") == Some(&Value::Bool(true));
                self.answer(caller, json!({}));
                let pages = self.real_sessions(|_, kind, _| kind == "page");
                pages.into_iter().for_each(|session| self.tell_of_certificates(&session, ids));
                Ok(())
            }
            "Runtime.runIfWaitingForDebugger" => self.let_run(caller, method, given, ids),
            "Page.navigate" | "Network.loadNetworkResource" => {
                if !may_load(needed(&params, "url")?) {
                    return Err(Refusal::server("Cannot navigate to invalid URL: not of the web"));
                }
                let is_emptied = method == "Page.navigate" && params["url"] == "about:blank";
                if is_emptied && std::mem::take(&mut self.keeps_page) {
                    // Treated as a navigation within the page, after which nothing is loaded.
                    let frame = self.target_of(caller.session.as_deref());
                    self.answer(caller, json!({ "frameId": frame }));
                    return Ok(());
                }
                self.pass(caller, method, given, Pending::Pass(caller.clone()), ids)
            }
            "Fetch.continueRequest" | "Network.continueInterceptedRequest" => {
                // The request would be sent to this address instead.
                if !text(&params, "url")?.is_none_or(may_load) {
                    return Err(Refusal::server("Cannot continue to invalid URL: not of the web"));
                }
                self.pass(caller, method, given, Pending::Pass(caller.clone()), ids)
            }
            "Page.navigateToHistoryEntry" => {
                let entry = params.get("entryId").cloned().unwrap_or_default();
                let pending = Pending::History(caller.clone(), entry);
                self.pass(caller, "Page.getNavigationHistory", None, pending, ids)
            }
            "Input.dispatchKeyEvent" => {
                if !self.identity.has_clipboard && is_clipboard_key(&params) {
                    return Err(clipboard_is_shared());
                }
                self.pass(caller, method, given, Pending::Pass(caller.clone()), ids)
            }
            "DOM.setFileInputFiles" => self.give_files(caller, params),
            "Input.dispatchDragEvent" => {
                let files = params.pointer("/data/files").and_then(Value::as_array);
                if files.is_some_and(|files| !files.is_empty()) {
                    return Err(Refusal::server("Files cannot be dragged in: set them on the input instead"));
                }
                self.pass(caller, method, given, Pending::Pass(caller.clone()), ids)
            }
            "Page.handleFileChooser" => Err(Refusal(METHOD_NOT_FOUND, format!("'{method}' wasn't found"))),
            _ => self.target_command(caller, method, params, ids),
        }
    }

    /// Returns whether the client may set the permissions of `Browser.grantPermissions` or `Browser.setPermission`.
    fn may_be_permitted(&self, params: &Value) -> bool {
        let granted = params.get("permissions").and_then(Value::as_array).into_iter().flatten();
        let set = params.pointer("/permission/name").filter(|_| params["setting"] != "denied");
        let mut names = granted.chain(set).filter_map(Value::as_str);
        self.identity.has_clipboard || !names.any(is_of_clipboard)
    }

    /// Navigates to an entry of a page's history if that is an address of the web.
    fn travel(&mut self, caller: &Caller, wanted: &Value, reply: &Envelope<'_>, ids: Ids<'_>) {
        let history = read(reply.result).unwrap_or_default();
        let entries = history.get("entries").and_then(Value::as_array).into_iter().flatten();
        let url = entries.filter(|entry| entry["id"] == *wanted).find_map(|entry| entry["url"].as_str());
        let gone = if url.is_some_and(is_of_the_web) {
            let params = json!({ "entryId": wanted });
            self.forward(caller, "Page.navigateToHistoryEntry", &params, ids)
        } else {
            Err(Refusal::server("No entry with passed id"))
        };
        if let Err(refused) = gone {
            self.refuse(caller, &refused);
        }
    }

    /// Handles `Browser.getWindowForTarget`: for the own page if none is named.
    fn window_of(&mut self, caller: &Caller, params: &mut Value, ids: Ids<'_>) -> Result<(), Refusal> {
        let named = text(params, "targetId")?.map(str::to_owned);
        let target = named.or_else(|| self.target_of(caller.session.as_deref()));
        let target = target.ok_or_else(Refusal::no_target)?;
        params["targetId"] = json!(self.page_named(&target)?);
        self.call("Browser.getWindowForTarget", params, Pending::Window(caller.clone()), ids)
    }

    /// Adds the window's context if none is named, and refuses foreign ones.
    pub(crate) fn inject_context(&self, params: &mut Value) -> Result<(), Refusal> {
        match text(params, "browserContextId")? {
            None => params["browserContextId"] = json!(self.identity.context),
            Some(context) if self.owns_context(context) => {}
            Some(_) => return Err(Refusal::no_context()),
        }
        Ok(())
    }

    pub(crate) fn owns_context(&self, context: &str) -> bool {
        context == self.identity.context || self.contexts.contains(context)
    }

    /// Handles the command to run a page: it is executed for a page that is held here, and passed on otherwise.
    fn let_run(
        &mut self,
        caller: &Caller,
        method: &str,
        params: Option<&RawValue>,
        ids: Ids<'_>,
    ) -> Result<(), Refusal> {
        let target = match caller.session.as_ref().and_then(|session| self.sessions.get(session)) {
            Some(Session::Real { target, .. }) => target.clone(),
            // Tabs and browsers are never held.
            _ => {
                self.answer(caller, json!({}));
                return Ok(());
            }
        };
        if self.held.remove(&target) {
            self.answer(caller, json!({}));
            self.out.push_back(Out::Release(target));
            return Ok(());
        }
        self.pass(caller, method, params, Pending::Pass(caller.clone()), ids)
    }

    pub(crate) fn tell_of_certificates(&mut self, session: &str, ids: Ids<'_>) {
        let params = raw(&json!({ "ignore": self.ignores_certificates }));
        let method = "Security.setIgnoreCertificateErrors";
        // A page that has been closed needs no event.
        let _ = self.send(session, method, params.as_deref(), Pending::Unasked, ids);
    }

    /// Passes a command on to the session that it names, or to the browser if that session is virtual.
    fn pass(
        &mut self,
        caller: &Caller,
        method: &str,
        params: Option<&RawValue>,
        pending: Pending,
        ids: Ids<'_>,
    ) -> Result<(), Refusal> {
        let session = match &caller.session {
            Some(session) if matches!(self.sessions.get(session), Some(Session::Real { .. })) => {
                session.clone()
            }
            _ => self.identity.session.clone(),
        };
        self.send(&session, method, params, pending, ids)
    }

    /// Passes on a rewritten command; the browser's own commands are sent to the browser.
    pub(crate) fn forward(
        &mut self,
        caller: &Caller,
        method: &str,
        params: &Value,
        ids: Ids<'_>,
    ) -> Result<(), Refusal> {
        let pending = Pending::Pass(caller.clone());
        if method.starts_with("Browser.") || method.starts_with("Target.") {
            return self.call(method, params, pending, ids);
        }
        self.pass(caller, method, raw(params).as_deref(), pending, ids)
    }

    /// Sends a command to the client's own browser session.
    pub(crate) fn call(
        &mut self,
        method: &str,
        params: &Value,
        pending: Pending,
        ids: Ids<'_>,
    ) -> Result<(), Refusal> {
        let session = self.identity.session.clone();
        self.send(&session, method, raw(params).as_deref(), pending, ids)
    }

    /// Sends a command that the client did not ask for.
    pub(crate) fn ask(&mut self, method: &str, params: &Value, pending: Pending, ids: Ids<'_>) {
        let _ = self.call(method, params, pending, ids);
    }

    pub(crate) fn send(
        &mut self,
        session: &str,
        method: &str,
        params: Option<&RawValue>,
        pending: Pending,
        ids: Ids<'_>,
    ) -> Result<(), Refusal> {
        if self.calls.len() >= MAX_CLIENT_CALLS {
            return Err(Refusal::server("Too many commands wait for their replies"));
        }
        let id = ids().ok_or_else(|| Refusal::server("Too many commands wait for the browser"))?;
        let message = wire::command(id, session, method, params);
        let message = message.ok_or_else(|| Refusal::server("The command cannot be written"))?;
        self.calls.insert(id, pending);
        self.out.push_back(Out::Browser(message));
        Ok(())
    }

    pub(crate) fn answer(&mut self, caller: &Caller, value: Value) {
        self.out.push_back(Out::Client(result(caller, value)));
    }

    pub(crate) fn refuse(&mut self, caller: &Caller, refused: &Refusal) {
        self.out.push_back(Out::Client(refusal(caller, refused)));
    }

    pub(crate) fn emit(&mut self, session: Option<&str>, method: &str, params: &Value) {
        self.out.push_back(Out::Client(event(session, method, params)));
    }

    /// Handles a message of the browser in one of the client's sessions.
    pub fn from_browser(&mut self, message: &Bytes, ids: Ids<'_>) {
        self.told(message, ids);
        self.turn_to_pages(ids);
    }

    fn told(&mut self, message: &Bytes, ids: Ids<'_>) {
        let Ok(envelope) = Envelope::parse(message) else { return };
        if let Some(id) = envelope.id {
            if let Some(pending) = self.calls.remove(&id) {
                self.reply(id, pending, &envelope, ids);
            }
            return;
        }
        let (Some(method), Some(session)) = (&envelope.method, &envelope.session) else { return };
        if *session.0 == *self.identity.session {
            let params = read(envelope.params).unwrap_or_default();
            return self.browser_event(&method.0, &params, ids);
        }
        if self.heard_of_exposed(&envelope, ids) || !self.sessions.contains_key(&*session.0) {
            return;
        }
        let may_pass = match &*method.0 {
            "Target.attachedToTarget" | "Target.detachedFromTarget" => {
                let params = read(envelope.params).unwrap_or_default();
                self.session_below(&session.0, &method.0, &params, ids)
            }
            "Target.targetInfoChanged" => {
                let params = read(envelope.params).unwrap_or_default();
                self.is_still_there(&params["targetInfo"], ids)
            }
            // No other events of targets were enabled.
            method => !method.starts_with("Target."),
        };
        if may_pass {
            self.out.push_back(Out::Client(message.clone()));
        }
    }

    fn reply(&mut self, id: i64, pending: Pending, reply: &Envelope<'_>, ids: Ids<'_>) {
        match pending {
            Pending::Pass(caller) => self.readdress(reply, &caller),
            Pending::Window(caller) => {
                let window = read(reply.result).unwrap_or_default();
                self.windows.extend(window.get("windowId").and_then(Value::as_i64));
                self.readdress(reply, &caller);
            }
            Pending::CreateContext(caller) => {
                let made = read(reply.result).unwrap_or_default();
                if let Ok(Some(context)) = text(&made, "browserContextId") {
                    self.contexts.insert(context.to_owned());
                    self.out.push_back(Out::OwnContext(context.to_owned()));
                }
                self.readdress(reply, &caller);
            }
            Pending::DisposeContext(caller, context) => {
                if reply.error.is_none() {
                    self.contexts.remove(&context);
                }
                self.readdress(reply, &caller);
            }
            Pending::Exposed(caller, root) => self.is_exposed(&caller, &root, reply),
            Pending::Hide(caller, params) => self.create_hidden(&caller, params, reply, ids),
            Pending::CreateTarget(caller, for_tab) => self.target_created(&caller, for_tab, reply, ids),
            Pending::Attach => self.attached(id, reply, ids),
            Pending::Probe(target) => {
                if reply.error.is_some() {
                    self.settle_created(Some(&target));
                }
            }
            Pending::Info(caller) => {
                let told = read(reply.result).unwrap_or_default();
                if reply.error.is_none() && !self.is_still_there(&told["targetInfo"], ids) {
                    return self.refuse(&caller, &Refusal::no_target());
                }
                self.readdress(reply, &caller);
            }
            Pending::History(caller, entry) => self.travel(&caller, &entry, reply, ids),
            Pending::Unasked => {}
        }
    }

    /// Handles that a session ended before its calls were answered: they are refused now, and their late replies are
    /// dropped.
    pub(crate) fn leave_unanswered(&mut self, session: &str) {
        let is_of = |pending: &Pending| match pending {
            Pending::Pass(caller) | Pending::History(caller, _) => caller.session.as_deref() == Some(session),
            _ => false,
        };
        let calls: Vec<i64> =
            self.calls.iter().filter(|(_, pending)| is_of(pending)).map(|(id, _)| *id).collect();
        for call in calls {
            if let Some(Pending::Pass(caller) | Pending::History(caller, _)) = self.calls.remove(&call) {
                self.refuse(&caller, &Refusal::no_session());
            }
        }
    }

    fn readdress(&mut self, reply: &Envelope<'_>, caller: &Caller) {
        self.out.extend(wire::readdressed(reply, caller).map(Out::Client));
    }
}
