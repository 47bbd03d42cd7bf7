//! What a client of the DevTools protocol reaches beside the pages of its session: pages of the browser itself, the
//! clipboard, files of the machine, and origins that are not its own.

use pilotlight_api::Session;
use pilotlight_testkit::harness::{DevTools, Server, expect_that, wait_for};
use pilotlight_testkit::portal::{Portal, PortalOptions};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{SOON, TestEnv, options, path, test_env, test_env_with};

/// The engines that need no display.
const ENGINES: [&str; 2] = ["headless-shell", "headless"];
/// A document that full Chromium would show in an extension of its own.
const PDF: &str = "JVBERi0xLjEKMSAwIG9iajw8L1R5cGUvQ2F0YWxvZy9QYWdlcyAyIDAgUj4+ZW5kb2JqIDIgMCBvYmo8PC9UeXBlL1BhZ2VzL0tpZHN\
                   bMyAwIFJdL0NvdW50IDE+PmVuZG9iaiAzIDAgb2JqPDwvVHlwZS9QYWdlL1BhcmVudCAyIDAgUi9NZWRpYUJveFswIDAgMTAwIDE\
                   wMF0+PmVuZG9iagp0cmFpbGVyPDwvUm9vdCAxIDAgUi9TaXplIDQ+PgolJUVPRg==";
/// A page with something to copy, a place to paste it, and a button by which the page itself copies.
const COPY_AND_PASTE: &str = "document.body.innerHTML = `<input id=from><textarea id=to style='position:absolute; left:0; top:100px; \
     width:200px; height:60px'></textarea><button id=copy style='position:absolute; left:0; top:200px; width:200px; height:60px' \
     onclick='document.querySelector(\"#from\").select(); window.copied = document.execCommand(\"copy\")'></button>`";

async fn connect(env: &TestEnv, session: &Session) -> DevTools {
    DevTools::connect(session.cdp_url.as_deref().unwrap(), Some(env.client().token())).await.unwrap()
}

/// As a proxy passes a client on that says so.
async fn connect_through_proxy(env: &TestEnv, session: &Session) -> DevTools {
    let forwarded = [("x-forwarded-for", "192.0.2.1")];
    let url = session.cdp_url.as_deref().unwrap();
    DevTools::connect_with(url, Some(env.client().token()), &forwarded).await.unwrap()
}

fn engine(name: &str) -> String {
    format!("[chromium]\nengine = \"{name}\"")
}

/// The page's session, with its own children attached to by themselves.
async fn page_of(client: &mut DevTools) -> String {
    let every =
        json!({ "autoAttach": true, "waitForDebuggerOnStart": false, "flatten": true, "filter": [{}] });
    let page = client.first_page().await;
    client.call(Some(&page), "Target.setAutoAttach", every).await;
    client.call(Some(&page), "Page.enable", json!({})).await;
    page
}

/// Every target that a client was told of: its kind, and its address.
async fn told_targets(client: &mut DevTools) -> Vec<(String, String)> {
    let listed = client.call(None, "Target.getTargets", json!({ "filter": [{}] })).await;
    let events = client.events.iter().map(|event| &event["params"]["targetInfo"]);
    let listed = listed["targetInfos"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    events
        .filter(|info| info.is_object())
        .chain(listed)
        .map(|info| (text(&info["type"]), text(&info["url"])))
        .collect()
}

fn is_of_the_web((kind, url): &(String, String)) -> bool {
    let kinds = ["browser", "tab", "page", "iframe", "worker", "worklet", "shared_worker", "service_worker"];
    let begins = ["http://", "https://", "blob:http://", "blob:https://", "data:"];
    let is_whole = ["", "about:blank", "about:srcdoc", "chrome-error://chromewebdata/"];
    kinds.contains(&&**kind)
        && (is_whole.contains(&&**url) || begins.iter().any(|begin| url.starts_with(begin)))
}

#[tokio::test]
async fn only_pages_of_the_web_and_what_they_open_exist_for_a_client() {
    for name in ENGINES {
        let env = test_env_with(&engine(name), PortalOptions::default()).await;
        let session = env.sign_in("acme").await;
        let mut client = connect(&env, &session).await;
        let every = json!({ "discover": true, "filter": [{}] });
        client.call(None, "Target.setDiscoverTargets", every).await;
        let page = page_of(&mut client).await;
        let allow = json!({ "behavior": "allow", "eventsEnabled": true });
        client.call(None, "Browser.setDownloadBehavior", allow).await;

        // A state that no page shows any more is read by a hidden page of ours.
        let elsewhere = env.portal.url().replace("127.0.0.1", "localhost");
        for url in [format!("{elsewhere}login"), env.portal.url()] {
            client.call(Some(&page), "Page.navigate", json!({ "url": url })).await;
            wait_for("the page", SOON, async || {
                let ready = "location.href + ' ' + document.readyState";
                let at = client.evaluate(&page, ready).await;
                expect_that(at == format!("{url} complete"), at)
            })
            .await;
            client.evaluate(&page, "localStorage.setItem('left', 'behind')").await;
        }
        let state = env.client().get(&path(&session, "/storage_state")).await.expect(200).body;
        assert!(state.to_string().contains("behind"), "{name}: {state}");

        let told = told_targets(&mut client).await;
        let foreign: Vec<_> = told.iter().filter(|target| !is_of_the_web(target)).collect();
        assert!(foreign.is_empty(), "{name}: {foreign:?}");

        // Full Chromium has an extension that shows documents of this kind.
        let pattern = json!({ "patterns": [{ "urlPattern": "*/a.pdf" }] });
        client.call(Some(&page), "Fetch.enable", pattern).await;
        let document = json!({ "url": format!("{}a.pdf", env.portal.url()) });
        client.tell(Some(&page), "Page.navigate", &document).await;
        let paused = client.event("Fetch.requestPaused").await["params"].take();
        let document = json!({
            "requestId": paused["requestId"], "responseCode": 200, "body": PDF,
            "responseHeaders": [{ "name": "Content-Type", "value": "application/pdf" }],
        });
        client.call(Some(&page), "Fetch.fulfillRequest", document).await;
        client.event("Browser.downloadWillBegin").await;
        // And workers are there as ever.
        client.evaluate(&page, "new Worker(URL.createObjectURL(new Blob(['0'])))").await;
        wait_for("the worker", SOON, async || {
            let told = told_targets(&mut client).await;
            expect_that(told.iter().any(|(kind, _)| kind == "worker"), told)
        })
        .await;
        let told = told_targets(&mut client).await;
        let foreign: Vec<_> = told.iter().filter(|target| !is_of_the_web(target)).collect();
        assert!(foreign.is_empty(), "{name}: {foreign:?}");
        let listed = env.client().get(&path(&session, "/json/list")).await.expect(200).body;
        assert_eq!(listed.as_array().unwrap().len(), 1, "{name}: {listed}");
    }
}

#[tokio::test]
async fn no_way_leads_a_page_of_a_client_out_of_the_web() {
    for name in ENGINES {
        let env = test_env_with(&engine(name), PortalOptions::default()).await;
        let session = env.window("w", json!({})).await;
        let mut client = connect(&env, &session).await;
        let page = page_of(&mut client).await;
        for url in
            ["chrome://version", "about:version", "about:gpu", "file:///etc/passwd", "view-source:http://a/"]
        {
            for (method, from) in [("Page.navigate", Some(&*page)), ("Target.createTarget", None)] {
                let reply = client.try_call(from, method, json!({ "url": url })).await;
                assert!(reply.is_err(), "{name}: {method} {url}: {reply:?}");
            }
            // By an answer to the page's own request.
            client
                .call(Some(&page), "Fetch.enable", json!({ "patterns": [{ "urlPattern": "*/away" }] }))
                .await;
            client.evaluate(&page, "location.href = '/away'").await;
            let paused = client.event("Fetch.requestPaused").await["params"]["requestId"].take();
            let elsewhere = json!({ "requestId": paused, "url": url });
            let reply = client.try_call(Some(&page), "Fetch.continueRequest", elsewhere).await;
            assert!(reply.is_err(), "{name}: a request is sent on to {url}");
            let redirect = json!({
                "requestId": paused, "responseCode": 302,
                "responseHeaders": [{ "name": "Location", "value": url }],
            });
            drop(client.try_call(Some(&page), "Fetch.fulfillRequest", redirect).await);
            client.call(Some(&page), "Fetch.disable", json!({})).await;
            client.call(Some(&page), "Page.navigate", json!({ "url": env.portal.url() })).await;
        }
        // Keys that full Chromium has commands for.
        for (key, code, modifiers) in [
            (72, "KeyH", 2),
            (85, "KeyU", 2),
            (84, "KeyT", 2),
            (79, "KeyO", 2),
            (74, "KeyJ", 2),
            (73, "KeyI", 10),
            (123, "F12", 0),
        ] {
            let event = json!({ "type": "rawKeyDown", "windowsVirtualKeyCode": key, "code": code, "modifiers": modifiers });
            drop(client.try_call(Some(&page), "Input.dispatchKeyEvent", event).await);
        }
        let listed = client.call(None, "Target.getTargets", json!({ "filter": [{}] })).await;
        let told = told_targets(&mut client).await;
        assert!(told.iter().all(is_of_the_web), "{name}: {told:?}");
        let pages = listed["targetInfos"].as_array().unwrap().iter().filter(|info| info["type"] == "page");
        assert_eq!(pages.count(), 1, "{name}: {listed}");
    }
}

/// A client with its page, ready for copying and pasting.
struct ClipboardClient {
    client: DevTools,
    page: String,
}

impl ClipboardClient {
    async fn of(env: &TestEnv, session: &Session) -> Self {
        let mut client = connect(env, session).await;
        let page = client.first_page().await;
        client.evaluate(&page, COPY_AND_PASTE).await;
        Self { client, page }
    }

    async fn click(&mut self, y: u32, button: &str) {
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": 50, "y": y, "button": button, "clickCount": 1 });
            self.client.call(Some(&self.page), "Input.dispatchMouseEvent", event).await;
        }
    }

    /// The page itself copies, as it may when it is clicked.
    async fn copies(&mut self, text: &str) {
        let fill = format!("document.querySelector('#from').value = '{text}'");
        self.client.evaluate(&self.page, &fill).await;
        self.click(230, "left").await;
        assert_eq!(self.client.evaluate(&self.page, "window.copied").await, true);
    }

    /// Presses a key in the empty field: what is in it then, and what the client was told.
    async fn pastes(&mut self, event: Value) -> (Result<Value, Value>, String) {
        let empty = "document.querySelector('#to').value = ''; document.querySelector('#to').focus()";
        self.client.evaluate(&self.page, empty).await;
        let reply = self.client.try_call(Some(&self.page), "Input.dispatchKeyEvent", event).await;
        let value = self.client.evaluate(&self.page, "document.querySelector('#to').value").await;
        (reply, value.as_str().unwrap().to_owned())
    }

    async fn reads(&mut self) -> String {
        let read = "navigator.clipboard.readText().catch(error => 'refused ' + error.name)";
        self.client.evaluate(&self.page, read).await.as_str().unwrap().to_owned()
    }
}

/// Key events that Chromium takes for pasting, copying or cutting.
fn clipboard_keys() -> Vec<Value> {
    let key = |code: u32, modifiers: u32| json!({ "type": "rawKeyDown", "windowsVirtualKeyCode": code, "modifiers": modifiers });
    let command = |name: &str| json!({ "type": "keyDown", "key": "a", "commands": ["selectAll", name] });
    let (c, v, x, insert, delete) = (67, 86, 88, 45, 46);
    vec![
        key(v, 2),
        key(v, 10),
        key(v, 2 + 16),
        key(insert, 8),
        key(c, 2),
        key(x, 2),
        key(insert, 2),
        key(delete, 8),
        json!({ "type": "rawKeyDown", "key": "Paste" }),
        json!({ "type": "keyDown", "key": "v", "code": "KeyV", "text": "v", "windowsVirtualKeyCode": v, "modifiers": 2 }),
        command("paste"),
        command("Paste"),
        command("PasteAndMatchStyle"),
        command("pasteGlobalSelection"),
        command("copy"),
        command("cut"),
        json!({ "type": "char", "text": "x", "commands": ["paste"] }),
    ]
}

#[tokio::test]
async fn what_one_session_copies_no_other_session_gets_or_replaces() {
    for name in ENGINES {
        let env = test_env_with(&engine(name), PortalOptions::default()).await;
        let (a, b) = (env.window("a", json!({})).await, env.window("b", json!({})).await);
        assert_eq!(a.shard, b.shard, "they share a browser");
        let (mut a, mut b) = (ClipboardClient::of(&env, &a).await, ClipboardClient::of(&env, &b).await);
        a.copies("the secret of A").await;
        for event in clipboard_keys() {
            let (reply, pasted) = b.pastes(event.clone()).await;
            assert_eq!(pasted, "", "{name}: {event}");
            let refused = reply.unwrap_err()["message"].as_str().unwrap().to_owned();
            assert!(refused.contains("isolation"), "{name}: {event}: {refused}");
        }
        for (method, params) in [
            ("Browser.grantPermissions", json!({ "permissions": ["geolocation", "clipboardReadWrite"] })),
            ("Browser.grantPermissions", json!({ "permissions": ["clipboardSanitizedWrite"] })),
            (
                "Browser.setPermission",
                json!({ "permission": { "name": "clipboard-read" }, "setting": "granted" }),
            ),
            (
                "Browser.setPermission",
                json!({ "permission": { "name": "clipboard-write" }, "setting": "prompt" }),
            ),
        ] {
            let reply = b.client.try_call(None, method, params.clone()).await;
            assert!(reply.is_err(), "{name}: {method} {params}");
        }
        b.client.call(None, "Browser.grantPermissions", json!({ "permissions": ["geolocation"] })).await;
        let denied = json!({ "permission": { "name": "clipboard-read" }, "setting": "denied" });
        b.client.call(None, "Browser.setPermission", denied).await;
        assert!(b.reads().await.starts_with("refused"), "{name}");
        b.client.call(None, "Browser.resetPermissions", json!({})).await;
        assert!(b.reads().await.starts_with("refused"), "{name}");
        // On this system what is selected is pasted by the middle button.
        b.pastes(json!({ "type": "keyUp", "key": "a" })).await.0.unwrap();
        b.click(130, "middle").await;
        let pasted = b.client.evaluate(&b.page, "document.querySelector('#to').value").await;
        assert_eq!(pasted, "", "{name}: the middle button");
        // Other keys are keys as ever.
        let key = json!({ "type": "keyDown", "key": "x", "code": "KeyX", "text": "x", "windowsVirtualKeyCode": 88 });
        let (reply, typed) = b.pastes(key).await;
        assert!(reply.is_ok() && typed == "x", "{name}: {typed}");

        // A dedicated browser has its own clipboard, which others cannot change.
        let own = json!({ "isolation": "dedicated" });
        let mut own = ClipboardClient::of(&env, &env.window("own", own).await).await;
        let (reply, pasted) = own.pastes(clipboard_keys().remove(0)).await;
        assert!(reply.is_ok() && pasted.is_empty(), "{name}: {pasted}");
        own.copies("mine").await;
        b.copies("something of B").await;
        assert_eq!(own.pastes(clipboard_keys().remove(0)).await.1, "mine", "{name}");
        let grant = json!({ "permissions": ["clipboardReadWrite"] });
        own.client.call(None, "Browser.grantPermissions", grant).await;
        assert_eq!(own.reads().await, "mine", "{name}");
        assert_eq!(a.pastes(clipboard_keys().remove(0)).await.1, "", "{name}");
    }
}

/// A page with a file input and a link to a download.
async fn with_files(client: &mut DevTools) -> (String, Value) {
    let page = client.first_page().await;
    let build = "document.body.innerHTML = '<input id=file type=file><a id=down download=got.txt href=\"data:text/plain,got\">d</a>'";
    client.evaluate(&page, build).await;
    let input = json!({ "expression": "document.querySelector('#file')" });
    let input = client.call(Some(&page), "Runtime.evaluate", input).await["result"]["objectId"].take();
    (page, input)
}

async fn uploads(client: &mut DevTools, page: &str, input: &Value, file: &str) -> Result<Value, Value> {
    let params = json!({ "files": [file], "objectId": input });
    client.try_call(Some(page), "DOM.setFileInputFiles", params).await?;
    Ok(client.evaluate(page, "document.querySelector('#file').files[0].text()").await)
}

/// Has the page download its file into `folder`, and waits until that has come to its end.
async fn downloads(client: &mut DevTools, page: &str, folder: &str) {
    let allow = json!({ "behavior": "allow", "downloadPath": folder, "eventsEnabled": true });
    client.call(None, "Browser.setDownloadBehavior", allow).await;
    client.evaluate(page, "document.querySelector('#down').click()").await;
    loop {
        let told = client.event("Browser.downloadProgress").await;
        if told["params"]["state"] == "completed" {
            return;
        }
    }
}

#[tokio::test]
async fn a_client_names_no_file_of_the_machine() {
    let env = test_env().await;
    let session = env.window("w", json!({})).await;
    let mut client = connect(&env, &session).await;
    let (page, input) = with_files(&mut client).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.txt");
    std::fs::write(&file, "mine").unwrap();
    // The client is of the server's own user, as one behind a proxy of that user is.
    for path in [file.to_str().unwrap(), "/etc/hostname", "/proc/self/environ", "/etc/shadow"] {
        let refused = uploads(&mut client, &page, &input, path).await;
        assert!(refused.is_err(), "{path}: {refused:?}");
    }
    let wanted = folder.path().join("downloads");
    std::fs::create_dir(&wanted).unwrap();
    downloads(&mut client, &page, wanted.to_str().unwrap()).await;
    wait_for("the download in the session's folder", SOON, async || {
        let listed = env.client().get(&path(&session, "/files")).await.expect(200).body;
        expect_that(listed["files"][0]["name"] == "got.txt", listed)
    })
    .await;
    // A later command is answered after whatever was done about the download.
    client.evaluate(&page, "1").await;
    assert_eq!(
        std::fs::read_dir(&wanted).unwrap().count(),
        0,
        "the server wrote into a folder of the machine"
    );
}

#[tokio::test]
async fn files_of_shared_folders_and_files_that_were_sent_can_be_named() {
    let shared = tempfile::tempdir().unwrap();
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let config = format!("local_folders = [\"{}\"]", shared.path().display());
    let server = Server::start(options().server_config(&config)).await;
    let env = TestEnv { server, portal };
    let session = env.window("w", json!({})).await;
    let mut client = connect(&env, &session).await;
    let (page, input) = with_files(&mut client).await;
    let mine = shared.path().join("mine.txt");
    std::fs::write(&mine, "mine").unwrap();
    let mine = mine.to_str().unwrap();
    assert_eq!(uploads(&mut client, &page, &input, mine).await.unwrap(), "mine");
    std::os::unix::fs::symlink("/etc/hostname", shared.path().join("link")).unwrap();
    let state = env.server.state_dir().join("token");
    for path in [shared.path().join("link"), "/etc/hostname".into(), "/proc/self/environ".into(), state] {
        let refused = uploads(&mut client, &page, &input, path.to_str().unwrap()).await;
        assert!(refused.is_err(), "{path:?}: {refused:?}");
    }
    downloads(&mut client, &page, shared.path().to_str().unwrap()).await;
    let got = shared.path().join("got.txt");
    wait_for("the download in the shared folder", SOON, async || {
        let content = std::fs::read_to_string(&got).unwrap_or_default();
        expect_that(content == "got", content)
    })
    .await;

    // Forwarded requests do not count as local, whatever the proxy's address.
    let mut passed_on = connect_through_proxy(&env, &session).await;
    let (page, input) = with_files(&mut passed_on).await;
    let refused = uploads(&mut passed_on, &page, &input, mine).await;
    assert!(refused.is_err(), "{refused:?}");
    // From there a file is sent, and then named by the path that is told.
    let send = |name: &str, body: Vec<u8>| {
        env.client().request(Method::PUT, &path(&session, &format!("/files/{name}"))).body(body)
    };
    let sent = env.client().send(send("sent.txt", b"sent".to_vec())).await.expect(201).body;
    let sent = sent["path"].as_str().unwrap();
    assert_eq!(uploads(&mut passed_on, &page, &input, sent).await.unwrap(), "sent");
    for name in ["..", "%2e%2e%2fa", "a%2fb", "%2fetc%2fpasswd"] {
        let answer = env.client().send(send(name, Vec::new())).await;
        assert!((400..500).contains(&answer.status), "{name}: {}", answer.body);
    }
    let other = env.window("other", json!({})).await;
    let mut other = connect(&env, &other).await;
    let (page, input) = with_files(&mut other).await;
    assert!(uploads(&mut other, &page, &input, sent).await.is_err(), "it was sent to another session");
}

#[tokio::test]
async fn each_request_of_webdriver_names_files_by_its_own_right() {
    let shared = tempfile::tempdir().unwrap();
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let config = format!("local_folders = [\"{}\"]", shared.path().display());
    let server = Server::start(options().server_config(&config)).await;
    let env = TestEnv { server, portal };
    let mine = shared.path().join("mine.txt");
    std::fs::write(&mine, "mine").unwrap();
    let post = async |below: &str, body: Value, is_passed_on: bool| {
        let request = env.client().request(Method::POST, below).json(&body);
        let request = if is_passed_on { request.header("x-forwarded-for", "192.0.2.1") } else { request };
        env.client().send(request).await
    };
    for is_begun_from_afar in [false, true] {
        let wanted = json!({ "capabilities": { "alwaysMatch": { "browserName": "chrome" } } });
        let begun = post("/session", wanted, is_begun_from_afar).await.expect(200).body;
        let below = format!("/session/{}", begun["value"]["sessionId"].as_str().unwrap());
        let script = "document.body.innerHTML = '<input id=file type=file>'";
        let script = json!({ "script": script, "args": [] });
        post(&format!("{below}/execute/sync"), script, false).await.expect(200);
        let find = json!({ "using": "css selector", "value": "#file" });
        let found = post(&format!("{below}/element"), find, false).await.expect(200).body;
        let element =
            found["value"].as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        for is_passed_on in [true, false, true, false] {
            let typed = json!({ "text": mine.to_str().unwrap() });
            let typed = post(&format!("{below}/element/{element}/value"), typed, is_passed_on).await;
            assert_eq!(
                typed.status == 200,
                !is_passed_on,
                "begun from afar: {is_begun_from_afar}, typed from afar: {is_passed_on}: {}",
                typed.body
            );
        }
        let remote = env.client().delete(&below).await;
        assert_eq!(remote.status, 200, "{}", remote.body);
    }
}

#[tokio::test]
async fn contexts_of_a_client_have_no_more_of_the_network_than_pages_have() {
    let env = test_env().await;
    let session = env.window("w", json!({})).await;
    let mut client = connect(&env, &session).await;
    for more in [
        json!({ "originsWithUniversalNetworkAccess": ["http://a.example"] }),
        json!({ "somethingNew": true }),
    ] {
        let reply = client.try_call(None, "Target.createBrowserContext", more.clone()).await;
        assert!(reply.is_err(), "{more}: {reply:?}");
    }
    let usual = json!({ "disposeOnDetach": true, "proxyServer": "http://127.0.0.1:9", "proxyBypassList": "<-loopback>" });
    client.call(None, "Target.createBrowserContext", usual).await;
}
