//! A virtual browser between a client that says anything and a browser that has other windows, and what must hold of
//! everything that goes out of it. Random numbers decide who says what: of a seed in the tests, of the input in the
//! fuzz target.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use pilotlight_gateway::{Identity, Out, VirtualBrowser};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde_json::{Value, json};

/// What every name of another window begins with.
const FOREIGN: &str = "FOREIGN";
/// What every address of a page of the browser's own has in it.
const PRIVILEGED: &str = "PRIVILEGED";

const METHODS: [&str; 39] = [
    "Target.getTargets",
    "Target.getTargetInfo",
    "Target.setDiscoverTargets",
    "Target.setAutoAttach",
    "Target.attachToBrowserTarget",
    "Target.attachToTarget",
    "Target.detachFromTarget",
    "Target.activateTarget",
    "Target.closeTarget",
    "Target.createTarget",
    "Target.getBrowserContexts",
    "Target.createBrowserContext",
    "Target.disposeBrowserContext",
    "Target.exposeDevToolsProtocol",
    "Target.autoAttachRelated",
    "Target.sendMessageToTarget",
    "Browser.getVersion",
    "Browser.getWindowForTarget",
    "Browser.getWindowBounds",
    "Browser.setDownloadBehavior",
    "Browser.grantPermissions",
    "Browser.cancelDownload",
    "Browser.crash",
    "Storage.getCookies",
    "Storage.setCookies",
    "Storage.clearCookies",
    "Security.setIgnoreCertificateErrors",
    "Runtime.runIfWaitingForDebugger",
    "DOM.setFileInputFiles",
    "Page.setDownloadBehavior",
    "Tracing.start",
    "Fetch.enable",
    "IO.read",
    "SystemInfo.getInfo",
    "Runtime.evaluate",
    "Page.navigateToHistoryEntry",
    "Input.dispatchKeyEvent",
    "Browser.setPermission",
    "Fetch.continueRequest",
];

/// A client, a page and a browser, and the virtual browser between them.
pub(crate) struct World<R> {
    random: R,
    browser: VirtualBrowser,
    last_id: i64,
    /// Commands that the browser has not answered: number, method, session, target.
    asked: Vec<(i64, String, String, Value)>,
    /// By what pages that have the protocol speak: session, and name.
    bindings: Vec<(String, String)>,
    /// Sessions that the browser gave to this client.
    own: BTreeSet<String>,
    targets: Vec<String>,
    /// Those of them that are at an address of the browser's own, or of such a kind.
    privileged: BTreeSet<String>,
    /// What sessions are attached to.
    attached: BTreeMap<String, String>,
    contexts: Vec<String>,
    last_name: u64,
    /// How many targets that the client knew became the browser's own.
    pub(crate) lost: u64,
    /// What was said to pages.
    pub(crate) said_to_pages: u64,
}

impl<R: Rng> World<R> {
    pub(crate) fn new(random: R) -> Self {
        let identity = Identity {
            session: "B".into(),
            context: "HOME".into(),
            folder: "/folder".into(),
            has_clipboard: false,
        };
        let mut world = Self {
            random,
            browser: VirtualBrowser::new(identity, Vec::new()),
            last_id: 0,
            asked: Vec::new(),
            bindings: Vec::new(),
            own: BTreeSet::from(["B".to_owned()]),
            targets: Vec::new(),
            privileged: BTreeSet::new(),
            attached: BTreeMap::new(),
            lost: 0,
            contexts: vec!["HOME".into()],
            last_name: 0,
            said_to_pages: 0,
        };
        let mut last_id = 0;
        world.browser.start(false, false, &mut || {
            last_id += 1;
            Some(last_id)
        });
        world.last_id = last_id;
        world.drain();
        world
    }

    /// Lets the client or the browser say one thing.
    pub(crate) fn step(&mut self) {
        if self.random.random() { self.client_speaks() } else { self.browser_speaks() }
    }

    fn fresh(&mut self, kind: &str) -> String {
        self.last_name += 1;
        format!("{kind}-{}", self.last_name)
    }

    fn pick(&mut self, names: &[String]) -> String {
        names.choose(&mut self.random).cloned().unwrap_or_default()
    }

    fn target(&mut self) -> String {
        let own = self.targets.clone();
        match self.random.random_range(0..5) {
            0 => format!("{FOREIGN}-page"),
            1 => format!("TAB-{FOREIGN}-page"),
            2 => format!("TAB-{}", self.pick(&own)),
            3 => "BROWSER-B".to_owned(),
            _ => self.pick(&own),
        }
    }

    fn context(&mut self) -> String {
        let own = self.contexts.clone();
        if self.random.random() { self.pick(&own) } else { format!("{FOREIGN}-context") }
    }

    fn session(&mut self) -> Option<String> {
        let own: Vec<String> = self.own.iter().cloned().collect();
        match self.random.random_range(0..6) {
            0 => Some(format!("{FOREIGN}-session")),
            1 => Some(format!("VIRTUAL-{}", self.random.random_range(0..9))),
            2 | 3 => Some(self.pick(&own)),
            _ => None,
        }
    }

    fn feed(&mut self, what: impl FnOnce(&mut VirtualBrowser, &mut dyn FnMut() -> Option<i64>)) {
        let last_id = &mut self.last_id;
        what(&mut self.browser, &mut || {
            *last_id += 1;
            Some(*last_id)
        });
        self.drain();
    }

    fn client_speaks(&mut self) {
        let mut params = json!({});
        let target = self.target();
        let context = self.context();
        let session = self.session().unwrap_or_default();
        let values = [
            ("targetId", json!(target)),
            ("browserContextId", json!(context)),
            ("sessionId", json!(session)),
            ("flatten", json!(self.random.random::<bool>())),
            ("autoAttach", json!(self.random.random::<bool>())),
            ("discover", json!(self.random.random::<bool>())),
            ("waitForDebuggerOnStart", json!(self.random.random::<bool>())),
            ("filter", json!([{}])),
            ("url", json!(if self.random.random() { "about:blank" } else { "chrome://PRIVILEGED/" })),
            ("entryId", json!(self.random.random_range(0..4))),
            ("windowsVirtualKeyCode", json!(86)),
            ("modifiers", json!(self.random.random_range(0..20))),
            ("commands", json!(["paste"])),
            ("permissions", json!(["clipboardReadWrite"])),
            ("permission", json!({ "name": "clipboard-read" })),
            ("setting", json!("granted")),
            ("originsWithUniversalNetworkAccess", json!(["http://a/"])),
            ("hidden", json!(self.random.random::<bool>())),
            ("bindingName", json!("cdp")),
            ("behavior", json!("allowAndName")),
            ("downloadPath", json!("/etc")),
            ("files", json!(["/etc/passwd"])),
            ("windowId", json!(self.random.random_range(0..5))),
        ];
        for (name, value) in values {
            match self.random.random_range(0..8) {
                0..5 => params[name] = value,
                5 => params[name] = json!(null),
                6 => params[name] = json!({ "of": [1] }),
                _ => {}
            }
        }
        let method = METHODS.choose(&mut self.random).copied().unwrap_or("Page.enable");
        let mut message =
            json!({ "id": self.random.random_range(0..1000), "method": method, "params": params });
        if let Some(session) = self.session() {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        if self.random.random_ratio(1, 10) && !bytes.is_empty() {
            let place = self.random.random_range(0..bytes.len());
            match self.random.random_range(0..3) {
                0 => bytes.truncate(place),
                1 => bytes[place] = self.random.random_range(32..127),
                _ => self.random.fill_bytes(&mut bytes[place..]),
            }
        }
        // A page that has the protocol says whatever the client could say.
        let by = self.bindings.choose(&mut self.random).cloned().filter(|_| self.random.random());
        if let Some((session, name)) = by {
            let said =
                json!({ "name": name, "payload": String::from_utf8_lossy(&bytes), "executionContextId": 1 });
            return self.say(json!({ "method": "Runtime.bindingCalled", "params": said }), Some(&session));
        }
        self.feed(|browser, ids| browser.from_client(&bytes, ids));
    }

    fn browser_speaks(&mut self) {
        let event = match self.random.random_range(0..13) {
            0 | 1 => {
                let target = self.fresh("page");
                self.targets.push(target.clone());
                let context = self.contexts.clone();
                let context = self.pick(&context);
                if context == "HOME" {
                    let shown: Vec<String> = self.targets.iter().take(20).cloned().collect();
                    self.feed(|browser, ids| browser.pages(shown, ids));
                }
                let told = self.info(&target, &context);
                json!({ "method": "Target.targetCreated", "params": { "targetInfo": told } })
            }
            2 | 3 => {
                let target = format!("{FOREIGN}-page");
                let foreign = info(&target, &format!("{FOREIGN}-context"));
                let method =
                    if self.random.random() { "Target.targetCreated" } else { "Target.targetInfoChanged" };
                json!({ "method": method, "params": { "targetInfo": foreign } })
            }
            4 => {
                json!({ "method": "Target.targetDestroyed", "params": { "targetId": format!("{FOREIGN}-page") } })
            }
            5 => {
                json!({ "method": "Target.targetCrashed", "params": { "targetId": format!("{FOREIGN}-page") } })
            }
            6 => {
                let targets = self.targets.clone();
                let target = self.pick(&targets);
                self.targets.retain(|known| *known != target);
                json!({ "method": "Target.targetDestroyed", "params": { "targetId": target } })
            }
            7 => {
                let targets = self.targets.clone();
                let page = self.pick(&targets);
                return self.feed(|browser, ids| browser.hold(page, ids));
            }
            8 => {
                // It goes somewhere: to the web or out of it.
                let targets = self.targets.clone();
                let target = self.pick(&targets);
                if target.is_empty() {
                    return;
                }
                let was_of_the_web = !self.privileged.contains(&target);
                let told = self.info(&target, "HOME");
                self.lost += u64::from(was_of_the_web && self.privileged.contains(&target));
                json!({ "method": "Target.targetInfoChanged", "params": { "targetInfo": told } })
            }
            9 => return self.comes_below(),
            10 => return self.says_something(),
            _ => return self.answer(),
        };
        self.say(event, Some("B"));
    }

    /// A target as it is now: one in three is the browser's own, by its kind or by its address.
    fn info(&mut self, target: &str, context: &str) -> Value {
        let mut told = info(target, context);
        let kind = told["type"].clone();
        (told["type"], told["url"]) = match self.random.random_range(0..9) {
            0 => (json!("browser_ui"), json!("chrome://PRIVILEGED-ui/")),
            1 => (kind, json!("chrome-extension://PRIVILEGED/index.html")),
            2 => (json!("other"), json!("about:blank#PRIVILEGED")),
            3 => (json!("iframe"), json!("https://a.example/")),
            4 => (json!("service_worker"), json!("https://a.example/sw.js")),
            _ => (kind, json!("about:blank")),
        };
        if told["url"].as_str().unwrap().contains(PRIVILEGED) {
            self.privileged.insert(target.to_owned());
        } else {
            self.privileged.remove(target);
        }
        told
    }

    /// A frame or worker comes to be below a page, waiting for somebody to let it run.
    fn comes_below(&mut self) {
        let parents: Vec<String> = self.attached.keys().cloned().collect();
        let (parent, target, session) = (self.pick(&parents), self.fresh("frame"), self.fresh("SESSION"));
        if parent.is_empty() {
            return;
        }
        let told = self.info(&target, "HOME");
        self.targets.push(target.clone());
        self.own.insert(session.clone());
        self.attached.insert(session.clone(), target);
        let params = json!({ "sessionId": session, "targetInfo": told, "waitingForDebugger": true });
        self.say(json!({ "method": "Target.attachedToTarget", "params": params }), Some(&parent));
    }

    /// Something happens in a target that somebody is attached to.
    fn says_something(&mut self) {
        let sessions: Vec<String> = self.attached.keys().cloned().collect();
        let session = self.pick(&sessions);
        let Some(target) = self.attached.get(&session) else { return };
        let mark = if self.privileged.contains(target) { PRIVILEGED } else { "web" };
        let params = json!({ "entry": { "text": mark } });
        self.say(json!({ "method": "Log.entryAdded", "params": params }), Some(&session));
    }

    fn say(&mut self, mut event: Value, session: Option<&str>) {
        if let Some(session) = session {
            event["sessionId"] = json!(session);
        }
        let message = Bytes::from(event.to_string());
        self.feed(|browser, ids| browser.from_browser(&message, ids));
    }

    fn answer(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        let place = self.random.random_range(0..self.asked.len());
        let (id, method, session, target) = self.asked.swap_remove(place);
        let result = match method.as_str() {
            "Target.attachToTarget" => {
                let given = self.fresh("SESSION");
                self.own.insert(given.clone());
                let target = target.as_str().unwrap_or_default();
                self.attached.insert(given.clone(), target.to_owned());
                let told = self.info(target, "HOME");
                let params = json!({ "sessionId": given, "targetInfo": told, "waitingForDebugger": false });
                self.say(json!({ "method": "Target.attachedToTarget", "params": params }), Some("B"));
                json!({ "sessionId": given })
            }
            "Target.createBrowserContext" => {
                let context = self.fresh("context");
                self.contexts.push(context.clone());
                json!({ "browserContextId": context })
            }
            "Target.createTarget" => json!({ "targetId": self.fresh("page") }),
            "Browser.getWindowForTarget" => json!({ "windowId": 3 }),
            "Target.getTargetInfo" => {
                let target = target.as_str().unwrap_or_default();
                let told = self.info(target, "HOME");
                json!({ "targetInfo": told })
            }
            "Page.getNavigationHistory" => json!({ "currentIndex": 0, "entries": [
                { "id": 0, "url": "https://a.example/" }, { "id": 1, "url": "chrome://PRIVILEGED/" },
            ] }),
            // What a call in a privileged target gives.
            "Runtime.evaluate"
                if self.attached.get(&session).is_some_and(|of| self.privileged.contains(of)) =>
            {
                json!({ "result": { "value": PRIVILEGED } })
            }
            _ => json!({}),
        };
        let mut reply = json!({ "id": id, "result": result });
        if self.random.random_ratio(1, 6) {
            reply = json!({ "id": id, "error": { "code": -32000, "message": "no" } });
        }
        self.say(reply, Some(&session));
    }

    /// What must always hold of what goes out.
    fn drain(&mut self) {
        while let Some(out) = self.browser.take() {
            match out {
                Out::Client(message) => tells_of_nobody(std::str::from_utf8(&message).unwrap()),
                Out::Browser(message) => {
                    let value: Value = serde_json::from_slice(&message).unwrap();
                    let session = value["sessionId"].as_str().unwrap();
                    assert!(self.own.contains(session), "a session that was never given: {value}");
                    let method = value["method"].as_str().unwrap();
                    let expression = value["params"]["expression"].as_str().unwrap_or_default();
                    if let Some(said) = expression.strip_prefix("globalThis.cdp.onmessage?.(") {
                        let said: String = serde_json::from_str(said.strip_suffix(')').unwrap()).unwrap();
                        tells_of_nobody(&said);
                        self.said_to_pages += 1;
                    }
                    if method == "Runtime.addBinding" {
                        let name = value["params"]["name"].as_str().unwrap();
                        self.bindings.push((session.to_owned(), name.to_owned()));
                    }
                    // What has another name Chromium passes over.
                    let named =
                        |name: &str| value["params"].get(name).map(Value::to_string).unwrap_or_default();
                    let url = value["params"]["url"].as_str().unwrap_or_default();
                    let loads = ["Target.createTarget", "Fetch.continueRequest"].contains(&method);
                    assert!(!loads || !url.contains(PRIVILEGED), "leads out of the web: {value}");
                    if method == "Page.navigateToHistoryEntry" {
                        assert_eq!(value["params"]["entryId"], 0, "{value}");
                    }
                    let is_refused = match method {
                        "Browser.grantPermissions" => named("permissions").contains("clipboard"),
                        "Browser.setPermission" => {
                            value["params"]["permission"]["name"].to_string().contains("clipboard")
                        }
                        "Input.dispatchKeyEvent" => named("commands").contains("paste"),
                        "Target.createBrowserContext" => {
                            value["params"].get("originsWithUniversalNetworkAccess").is_some()
                        }
                        _ => false,
                    };
                    assert!(!is_refused, "{value}");
                    for name in counts(method) {
                        assert!(!named(name).contains(FOREIGN), "names others: {value}");
                    }
                    let refused = [
                        "Browser.crash",
                        "Tracing.start",
                        "SystemInfo.getInfo",
                        "Target.exposeDevToolsProtocol",
                    ];
                    assert!(!refused.contains(&method), "{value}");
                    if session == "B" {
                        assert!(
                            !["Fetch.enable", "IO.read", "Target.setAutoAttach"].contains(&method),
                            "{value}"
                        );
                    }
                    if method.ends_with("setDownloadBehavior")
                        && let Some(path) = value["params"].get("downloadPath")
                    {
                        assert_eq!(path, "/folder", "{value}");
                    }
                    assert_ne!(method, "DOM.setFileInputFiles", "nobody has looked at the files: {value}");
                    let target = value["params"]["targetId"].clone();
                    self.asked.push((value["id"].as_i64().unwrap(), method.into(), session.into(), target));
                }
                Out::Upload { .. }
                | Out::Deliver { .. }
                | Out::Release(_)
                | Out::OwnContext(_)
                | Out::Close => {}
            }
        }
    }
}

/// A message to the client, or to a page of its own.
fn tells_of_nobody(text: &str) {
    let value: Value = serde_json::from_str(text).unwrap();
    // A reply names the session that the client itself named, whoever's it is.
    let said = value.as_object().unwrap().iter().filter(|(name, _)| *name != "sessionId");
    for (name, value) in said {
        assert!(!value.to_string().contains(FOREIGN), "{name} tells of others: {text}");
        assert!(!value.to_string().contains(PRIVILEGED), "{name} tells of the browser's own: {text}");
    }
}

/// What of its parameters Chromium looks at to find what a method is about; whatever else is there it ignores.
fn counts(method: &str) -> &'static [&'static str] {
    match method {
        "Target.setAutoAttach" | "Target.setDiscoverTargets" | "Browser.getVersion" => &[],
        "Target.detachFromTarget" => &["sessionId"],
        "Browser.getWindowForTarget" => &["targetId"],
        // Only windows that the client was told of may be named, by number.
        "Browser.getWindowBounds" | "Browser.setWindowBounds" | "Browser.setContentsSize" => &[],
        _ if method.starts_with("Browser.") || method.starts_with("Storage.") => &["browserContextId"],
        "Target.createTarget" | "Target.disposeBrowserContext" => &["browserContextId"],
        _ if method.starts_with("Target.") && method != "Target.createBrowserContext" => &["targetId"],
        _ => &[],
    }
}

fn info(target: &str, context: &str) -> Value {
    json!({
        "targetId": target, "type": "page", "title": "", "url": "about:blank", "attached": false,
        "canAccessOpener": false, "browserContextId": context,
    })
}
