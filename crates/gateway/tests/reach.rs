//! A target that leaves the web, or comes back to it, while a client is attached to it.

#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use bytes::Bytes;
use pilotlight_gateway::{Identity, Out, VirtualBrowser};
use serde_json::{Value, json};

/// A client and a browser that say what the test has them say.
struct Talk {
    browser: VirtualBrowser,
    last_id: i64,
    /// What the client heard since it was last asked for.
    heard: Vec<Value>,
    /// What the browser was told since it was last asked for.
    told: Vec<Value>,
}

impl Talk {
    /// A client that discovers everything, with a page that it is attached to, and a frame and a worker below that.
    fn begun() -> Self {
        let identity = Identity {
            session: "B".into(),
            context: "HOME".into(),
            folder: "/folder".into(),
            has_clipboard: false,
        };
        let browser = VirtualBrowser::new(identity, vec!["PAGE".into()]);
        let mut talk = Self { browser, last_id: 0, heard: Vec::new(), told: Vec::new() };
        talk.feed(|browser, ids| browser.start(false, false, ids));
        talk.browser_says(
            "B",
            "Target.targetCreated",
            json!({ "targetInfo": info("PAGE", "page", "https://a/") }),
        );
        talk.client_says(None, "Target.setDiscoverTargets", json!({ "discover": true, "filter": [{}] }));
        talk.client_says(None, "Target.attachToTarget", json!({ "targetId": "PAGE", "flatten": true }));
        talk.attached("B", "S1", info("PAGE", "page", "https://a/"));
        talk.attached("S1", "S2", info("FRAME", "iframe", "https://b/"));
        talk.attached("S2", "S3", info("WORKER", "worker", "blob:https://b/1"));
        assert_eq!(talk.sessions_heard("Target.attachedToTarget"), ["S1", "S2", "S3"]);
        talk.told.clear();
        talk
    }

    fn feed(&mut self, what: impl FnOnce(&mut VirtualBrowser, &mut dyn FnMut() -> Option<i64>)) {
        let last_id = &mut self.last_id;
        what(&mut self.browser, &mut || {
            *last_id += 1;
            Some(*last_id)
        });
        while let Some(out) = self.browser.take() {
            match out {
                Out::Client(message) => self.heard.push(serde_json::from_slice(&message).unwrap()),
                Out::Browser(message) => self.told.push(serde_json::from_slice(&message).unwrap()),
                _ => {}
            }
        }
    }

    fn client_says(&mut self, session: Option<&str>, method: &str, params: Value) {
        let mut message = json!({ "id": 7, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let message = message.to_string();
        self.feed(|browser, ids| browser.from_client(message.as_bytes(), ids));
    }

    fn browser_says(&mut self, session: &str, method: &str, params: Value) {
        let message = json!({ "sessionId": session, "method": method, "params": params });
        let message = Bytes::from(message.to_string());
        self.feed(|browser, ids| browser.from_browser(&message, ids));
    }

    fn attached(&mut self, parent: &str, session: &str, info: Value) {
        let params = json!({ "sessionId": session, "targetInfo": info, "waitingForDebugger": true });
        self.browser_says(parent, "Target.attachedToTarget", params);
    }

    fn changes(&mut self, info: &Value) {
        self.browser_says("B", "Target.targetInfoChanged", json!({ "targetInfo": info }));
    }

    /// The sessions that events of this name are about, and nothing of them again.
    fn sessions_heard(&mut self, method: &str) -> Vec<String> {
        let (those, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.heard).into_iter().partition(|event| event["method"] == method);
        self.heard = others;
        those.iter().map(|event| event["params"]["sessionId"].as_str().unwrap().to_owned()).collect()
    }

    /// The sessions that the browser was told to end.
    fn ended(&mut self) -> Vec<String> {
        let told = std::mem::take(&mut self.told);
        let detach = told.iter().filter(|command| command["method"] == "Target.detachFromTarget");
        detach.map(|command| command["params"]["sessionId"].as_str().unwrap().to_owned()).collect()
    }
}

fn info(id: &str, kind: &str, url: &str) -> Value {
    json!({
        "targetId": id, "type": kind, "title": "", "url": url, "attached": true, "canAccessOpener": false,
        "browserContextId": "HOME",
    })
}

#[test]
fn a_page_that_leaves_the_web_is_gone_with_all_below_it() {
    let mut talk = Talk::begun();
    talk.client_says(Some("S1"), "Runtime.evaluate", json!({ "expression": "1" }));
    let call = talk.told.pop().unwrap()["id"].clone();
    talk.heard.clear();
    talk.changes(&info("PAGE", "page", "chrome://settings/"));
    // What waits is refused, and then the sessions end, the lowest first.
    assert_eq!(
        talk.heard.iter().filter(|message| message["error"].is_object()).count(),
        1,
        "{:?}",
        talk.heard
    );
    assert_eq!(talk.sessions_heard("Target.detachedFromTarget"), ["S3", "S2", "S1"]);
    assert!(talk.heard.iter().any(|event| event["method"] == "Target.targetDestroyed"), "{:?}", talk.heard);
    assert_eq!(talk.ended(), ["S1"]);
    assert!(!format!("{:?}", talk.heard).contains("chrome:"));
    // Nothing more of it comes, and it cannot be named.
    talk.heard.clear();
    let late = json!({ "id": call, "sessionId": "S1", "result": { "result": { "value": "secret" } } });
    let late = Bytes::from(late.to_string());
    talk.feed(|browser, ids| browser.from_browser(&late, ids));
    for session in ["S1", "S2", "S3"] {
        talk.browser_says(session, "Log.entryAdded", json!({ "entry": { "text": "secret" } }));
    }
    assert_eq!(talk.heard, Vec::<Value>::new());
    for (session, method) in
        [(Some("S1"), "Runtime.evaluate"), (None, "Target.attachToTarget"), (None, "Target.getTargetInfo")]
    {
        talk.client_says(session, method, json!({ "targetId": "PAGE", "flatten": true }));
        assert!(talk.heard.pop().unwrap()["error"].is_object(), "{method}");
    }
    talk.client_says(None, "Target.getTargets", json!({}));
    assert_eq!(talk.heard.pop().unwrap()["result"]["targetInfos"], json!([]));
    assert!(talk.told.is_empty(), "{:?}", talk.told);

    talk.changes(&info("PAGE", "page", "https://a/again"));
    let told: Vec<_> = talk.heard.iter().map(|event| event["method"].as_str().unwrap()).collect();
    assert_eq!(
        told,
        ["Target.targetCreated", "Target.targetCreated"],
        "the page and its tab are there again"
    );
}

#[test]
fn a_frame_that_leaves_the_web_is_gone_alone() {
    for by_its_page in [true, false] {
        let mut talk = Talk::begun();
        talk.heard.clear();
        let now = info("FRAME", "iframe", "chrome-extension://mhjfbmdgcfjbbpaeojofohoefgiehjai/index.html");
        // Whichever of the two sessions tells of it first.
        if by_its_page {
            talk.browser_says("S1", "Target.targetInfoChanged", json!({ "targetInfo": now }));
        } else {
            talk.changes(&now);
        }
        assert_eq!(talk.sessions_heard("Target.detachedFromTarget"), ["S3", "S2"]);
        assert_eq!(talk.ended(), ["S2"]);
        assert!(!format!("{:?}", talk.heard).contains("chrome-extension"));
        talk.client_says(Some("S1"), "Page.reload", json!({}));
        assert_eq!(talk.told.pop().unwrap()["method"], "Page.reload", "the page is there as before");
    }
}

#[test]
fn what_comes_below_a_page_and_is_not_of_the_web_is_let_run_and_left() {
    for (kind, url) in
        [("iframe", "chrome-untrusted://x/"), ("webview", "https://a/"), ("other", "about:blank")]
    {
        let mut talk = Talk::begun();
        talk.heard.clear();
        talk.attached("S1", "S9", info("OTHER", kind, url));
        assert_eq!(talk.heard, Vec::<Value>::new(), "{kind} {url}");
        let told: Vec<_> = talk.told.iter().map(|command| command["method"].as_str().unwrap()).collect();
        assert_eq!(told, ["Runtime.runIfWaitingForDebugger", "Target.detachFromTarget"], "{kind} {url}");
        talk.client_says(Some("S9"), "Runtime.evaluate", json!({ "expression": "1" }));
        assert!(talk.heard.pop().unwrap()["error"].is_object());
    }
}

#[test]
fn history_leads_to_pages_of_the_web_alone() {
    for (entry, goes) in [(1, true), (2, false), (3, false)] {
        let mut talk = Talk::begun();
        talk.client_says(Some("S1"), "Page.navigateToHistoryEntry", json!({ "entryId": entry }));
        let asked = talk.told.pop().unwrap();
        assert_eq!(
            (&asked["method"], &asked["sessionId"]),
            (&json!("Page.getNavigationHistory"), &json!("S1"))
        );
        let entries = json!([{ "id": 1, "url": "https://a/" }, { "id": 2, "url": "chrome://history/" }]);
        let reply = json!({ "id": asked["id"], "sessionId": "S1", "result": { "currentIndex": 0, "entries": entries } });
        let reply = Bytes::from(reply.to_string());
        talk.heard.clear();
        talk.feed(|browser, ids| browser.from_browser(&reply, ids));
        let gone = talk.told.pop().map(|command| command["method"].clone());
        assert_eq!(gone, goes.then(|| json!("Page.navigateToHistoryEntry")), "{entry}");
        assert_eq!(talk.heard.len(), usize::from(!goes), "{entry}: {:?}", talk.heard);
    }
}
