//! The filter for client commands: an allowlist that decides how each command is handled.
//!
//! In a browser session only listed methods are allowed, since most of what that session can do affects other windows
//! (its handlers are in `content/browser/devtools/browser_devtools_agent_host.cc`). In the session of a page
//! everything is allowed whose effects stay within that page. The parameters of allowed commands are checked by
//! [`crate::browser`] and [`crate::targets`].

use pilotlight_cdp::protocol::input::clipboard_key;
use serde_json::Value;

/// How a command is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is passed to its session unchanged.
    Pass,
    /// The virtual browser answers or rewrites it.
    Virtual,
    /// It is refused: its effects are not limited to the window.
    Refuse,
    /// There is no such method in this kind of session.
    Unknown,
}

/// Domains that affect the whole process or other windows, in any session.
const REFUSED_DOMAINS: [&str; 10] = [
    "Cast",
    "DeviceAccess",
    "Extensions",
    "FedCm",
    "PWA",
    "SystemInfo",
    "Tethering",
    "Tracing",
    "BluetoothEmulation",
    "SmartCardEmulation",
];

/// Domains whose methods affect only one page, its frames and its workers, as of Chromium 156. What a newer Chromium
/// adds is refused until it has been reviewed.
const DOMAINS_IN_PAGES: [&str; 42] = [
    "Accessibility",
    "Animation",
    "Audits",
    "Autofill",
    "BackgroundService",
    "CSS",
    "CacheStorage",
    "Console",
    "DOM",
    "DOMDebugger",
    "DOMSnapshot",
    "DOMStorage",
    "Debugger",
    "DeviceOrientation",
    "Emulation",
    "EventBreakpoints",
    "Fetch",
    "FileSystem",
    "HeadlessExperimental",
    "HeapProfiler",
    "IO",
    "IndexedDB",
    "Input",
    "Inspector",
    "LayerTree",
    "Log",
    "Media",
    "Network",
    "Overlay",
    "Page",
    "Performance",
    "PerformanceTimeline",
    "Preload",
    "Profiler",
    "Runtime",
    "Schema",
    "Security",
    "ServiceWorker",
    "Storage",
    "WebAudio",
    "WebAuthn",
    "WebMCP",
];

/// For these few domains the effect does not depend only on the method's name.
const VIRTUAL_IN_PAGES: [&str; 14] = [
    "DOM.setFileInputFiles",
    "Fetch.continueRequest",
    "Input.dispatchDragEvent",
    "Input.dispatchKeyEvent",
    "Network.continueInterceptedRequest",
    "Page.navigate",
    "Page.navigateToHistoryEntry",
    "Page.setDownloadBehavior",
    "Runtime.runIfWaitingForDebugger",
    "Storage.clearCookies",
    "Storage.getCookies",
    "Storage.setCookies",
    "Network.loadNetworkResource",
    "Page.handleFileChooser",
];

/// The methods that are allowed in a browser session of a client.
const IN_BROWSER: [&str; 33] = [
    "Browser.cancelDownload",
    "Browser.close",
    "Browser.getVersion",
    "Browser.getWindowBounds",
    "Browser.getWindowForTarget",
    "Browser.grantPermissions",
    "Browser.resetPermissions",
    "Browser.setContentsSize",
    "Browser.setDownloadBehavior",
    "Browser.setPermission",
    "Browser.setWindowBounds",
    "Runtime.runIfWaitingForDebugger",
    "Security.setIgnoreCertificateErrors",
    "Storage.clearCookies",
    "Storage.getCookies",
    "Storage.setCookies",
    "Target.activateTarget",
    "Target.attachToBrowserTarget",
    "Target.attachToTarget",
    "Target.closeTarget",
    "Target.createBrowserContext",
    "Target.createTarget",
    "Target.detachFromTarget",
    "Target.disposeBrowserContext",
    "Target.exposeDevToolsProtocol",
    "Target.getBrowserContexts",
    "Target.getTargetInfo",
    "Target.getTargets",
    "Target.setAutoAttach",
    "Target.setDiscoverTargets",
    "Page.setDownloadBehavior",
    "Schema.getDomains",
    "Target.setRemoteLocations",
];

/// The methods of `Memory` that concern only the page; the others simulate memory pressure of the whole process.
const OF_MEMORY: [&str; 4] =
    ["Memory.getDOMCounters", "Memory.getSamplingProfile", "Memory.startSampling", "Memory.stopSampling"];

/// Returns how `method` is handled, sent to the session of the browser or to that of a page or worker.
#[must_use]
pub fn verdict(method: &str, in_browser: bool) -> Verdict {
    let domain = method.split('.').next().unwrap_or_default();
    match domain {
        domain if REFUSED_DOMAINS.contains(&domain) => Verdict::Refuse,
        "Memory" if !in_browser && OF_MEMORY.contains(&method) => Verdict::Pass,
        "Memory" => Verdict::Refuse,
        "Target" if method == "Target.setRemoteLocations" => Verdict::Refuse,
        "Browser" | "Target" if IN_BROWSER.contains(&method) => Verdict::Virtual,
        "Browser" | "Target" => Verdict::Refuse,
        "Fetch" | "IO" if in_browser => Verdict::Refuse,
        _ if in_browser && method == "Schema.getDomains" => Verdict::Pass,
        _ if in_browser && IN_BROWSER.contains(&method) => Verdict::Virtual,
        _ if in_browser => Verdict::Unknown,
        _ if VIRTUAL_IN_PAGES.contains(&method) => Verdict::Virtual,
        domain if DOMAINS_IN_PAGES.contains(&domain) => Verdict::Pass,
        _ => Verdict::Unknown,
    }
}

/// The kinds of targets that exist for a client: pages of the web, and what those can open. The others belong to the
/// browser itself: `browser_ui` (parts of its windows), `other` (pages that no window shows, among them ours),
/// `background_page` and `webview` (only of extensions). `browser` and `tab` are emulated. The names are in
/// `content/public/browser/devtools_agent_host.h`.
const KINDS: [&str; 6] = [
    // What a tab shows.
    "page",
    // A frame of a page with a process of its own.
    "iframe",
    // Of a page: `new Worker`.
    "worker",
    // Of a page, for example to process audio.
    "worklet",
    // Of an origin: `new SharedWorker`.
    "shared_worker",
    // Of an origin: `navigator.serviceWorker.register`.
    "service_worker",
];

/// The address of a page that could not be loaded. It has none of the rights of `chrome:` pages.
const ERROR_PAGE: &str = "chrome-error://chromewebdata/";

/// Returns whether a target of this kind and at this address exists for a client.
#[must_use]
pub fn exists(kind: &str, url: &str) -> bool {
    KINDS.contains(&kind) && is_of_the_web(url)
}

/// Returns whether pages of the web, and what they open, can be at an address. All other addresses have rights that
/// the web does not have: `chrome:`, `chrome-untrusted:`, `devtools:` and `chrome-extension:` pages can access the
/// browser process, `file:` and `view-source:` show files of the machine.
#[must_use]
pub fn is_of_the_web(url: &str) -> bool {
    if url.is_empty() || url == ERROR_PAGE {
        // Nothing has been loaded yet, or loading failed.
        return true;
    }
    let Ok(url) = url::Url::parse(url) else { return false };
    match url.scheme() {
        "http" | "https" | "data" => true,
        "about" => matches!(url.path(), "blank" | "srcdoc"),
        // `null` is the origin of documents without an origin of their own, such as those of `data:`.
        "blob" => url.path().starts_with("null/") || is_of_http(url.path()),
        _ => false,
    }
}

fn is_of_http(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

/// Returns whether a permission of this name gives a page access to the clipboard.
#[must_use]
pub fn is_of_clipboard(permission: &str) -> bool {
    permission.to_ascii_lowercase().starts_with("clipboard")
}

/// Returns whether the key event of `Input.dispatchKeyEvent` copies, cuts or pastes.
#[must_use]
pub fn is_clipboard_key(params: &Value) -> bool {
    let number = |name: &str| params.get(name).and_then(Value::as_f64).map_or(0, whole);
    let text = |name: &str| params.get(name).and_then(Value::as_str).unwrap_or_default();
    let reaches = |command: &Value| {
        let command = command.as_str().unwrap_or_default().to_ascii_lowercase();
        ["paste", "copy", "cut"].iter().any(|word| command.contains(word))
    };
    let commands = params.get("commands").and_then(Value::as_array);
    if commands.is_some_and(|commands| commands.iter().any(reaches)) {
        return true;
    }
    let key = clipboard_key(text("key"), number("windowsVirtualKeyCode"), number("modifiers"));
    text("type") != "keyUp" && key.is_some()
}

/// Chromium accepts `86.0` and `8.6e1` as integers as well.
#[expect(clippy::cast_possible_truncation, reason = "what does not fit is no key")]
fn whole(number: f64) -> i64 {
    number as i64
}

/// Returns whether a client may load this URL: only what the web could lead to. Files and Chromium's own pages show
/// data of the machine, or of all windows.
#[must_use]
pub fn may_load(url: &str) -> bool {
    match url::Url::parse(url.trim()) {
        Ok(parsed) => parsed.scheme() == "javascript" || is_of_the_web(parsed.as_str()),
        // Chromium fixes or refuses such URLs; with a colon, one could become a scheme.
        Err(_) => url.is_empty() || !url.contains(':') && !url.starts_with(['/', '\\', '~']),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_reaches_other_windows_is_refused_everywhere() {
        for method in [
            "Browser.crash",
            "Browser.crashGpuProcess",
            "Browser.executeBrowserCommand",
            "Browser.getHistograms",
            "Browser.getBrowserCommandLine",
            "SystemInfo.getProcessInfo",
            "Tracing.start",
            "Memory.simulatePressureNotification",
            "Target.autoAttachRelated",
            "Target.setRemoteLocations",
            "Target.openDevTools",
            "Tethering.bind",
            "Extensions.loadUnpacked",
        ] {
            assert_eq!(verdict(method, true), Verdict::Refuse, "{method}");
            assert_eq!(verdict(method, false), Verdict::Refuse, "{method}");
        }
        // In the browser session these would report every window's requests and streams.
        assert_eq!(verdict("Fetch.enable", true), Verdict::Refuse);
        assert_eq!(verdict("IO.read", true), Verdict::Refuse);
        assert_eq!(verdict("Page.enable", true), Verdict::Unknown);
    }

    #[test]
    fn what_stays_within_a_page_passes() {
        for method in ["Page.enable", "Runtime.evaluate", "Fetch.enable", "IO.read", "Network.getCookies"] {
            assert_eq!(verdict(method, false), Verdict::Pass, "{method}");
        }
    }

    #[test]
    fn what_is_not_known_passes_nowhere() {
        for method in
            ["DigitalCredentials.enable", "NewDomain.do", "", ".", "Page", "page.enable", "Cast.enable"]
        {
            for in_browser in [true, false] {
                let verdict = verdict(method, in_browser);
                assert!(
                    matches!(verdict, Verdict::Unknown | Verdict::Refuse) || method == "Page",
                    "{method}"
                );
            }
        }
        for method in ["Target.openDevTools", "Target.new", "Browser.executeBrowserCommand", "Browser.new"] {
            assert_eq!(verdict(method, false), Verdict::Refuse, "{method}");
        }
    }

    #[test]
    fn only_what_is_of_the_web_exists() {
        let web = [
            "",
            "http://a/",
            "https://a.example/b?c#d",
            "about:blank",
            "about:blank#blocked",
            "about:srcdoc",
            "data:text/html,x",
            "blob:https://a/1-2",
            "blob:null/1-2",
            "chrome-error://chromewebdata/",
        ];
        for url in web {
            assert!(exists("page", url) && exists("iframe", url) && exists("service_worker", url), "{url}");
            for kind in ["browser_ui", "other", "webview", "background_page", "tab", "browser", "", "Page"] {
                assert!(!exists(kind, url), "{kind} {url}");
            }
        }
        for url in [
            "chrome://version/",
            "chrome-untrusted://print/",
            "chrome-extension://mhjfbmdgcfjbbpaeojofohoefgiehjai/index.html",
            "chrome-error://other/",
            "chrome-error:",
            "devtools://devtools/bundled/inspector.html",
            "view-source:http://a/",
            "file:///etc/passwd",
            "filesystem:http://a/temporary/x",
            "about:version",
            "about:",
            "about:blank/../version",
            "blob:chrome://version/1",
            "blob:file:///x",
            "blob:",
            "isolated-app://x/",
            "javascript:1",
            "no url",
            "/etc/passwd",
        ] {
            assert!(!exists("page", url) && !exists("iframe", url) && !exists("worker", url), "{url}");
        }
    }

    #[test]
    fn keys_that_reach_the_clipboard_are_known() {
        let key = |code: f64, modifiers: f64| json!({ "type": "rawKeyDown", "windowsVirtualKeyCode": code, "modifiers": modifiers });
        for (code, modifiers) in [
            (86.0, 2.0),
            (86.0, 10.0),
            (86.0, 18.0),
            (67.0, 2.0),
            (88.0, 2.0),
            (45.0, 2.0),
            (45.0, 8.0),
            (46.0, 8.0),
        ] {
            assert!(is_clipboard_key(&key(code, modifiers)), "{code} {modifiers}");
        }
        for (code, modifiers) in
            [(86.0, 0.0), (86.0, 4.0), (86.0, 3.0), (65.0, 2.0), (45.0, 0.0), (46.0, 0.0)]
        {
            assert!(!is_clipboard_key(&key(code, modifiers)), "{code} {modifiers}");
        }
        for commands in
            [json!(["paste"]), json!(["selectAll", "PasteAndMatchStyle"]), json!(["CUT"]), json!(["copy"])]
        {
            assert!(is_clipboard_key(&json!({ "type": "keyUp", "commands": commands })), "{commands}");
        }
        assert!(is_clipboard_key(&json!({ "type": "keyDown", "key": "Paste" })));
        assert!(!is_clipboard_key(&json!({ "type": "keyUp", "windowsVirtualKeyCode": 86, "modifiers": 2 })));
        assert!(!is_clipboard_key(&json!({ "type": "keyDown", "key": "v", "commands": ["selectAll"] })));
        assert!(is_of_clipboard("clipboardReadWrite") && is_of_clipboard("clipboard-write"));
        assert!(!is_of_clipboard("geolocation"));
    }

    #[test]
    fn files_and_pages_of_the_browser_are_not_loaded() {
        for url in ["http://a/", "https://a/", "about:blank", "data:text/html,x", "", "example.com"] {
            assert!(may_load(url), "{url}");
        }
        for url in [
            "file:///etc/passwd",
            " file:///etc/passwd",
            "FILE:///etc/passwd",
            "view-source:file:///etc/passwd",
            "chrome://version",
            "devtools://devtools/bundled/inspector.html",
            "filesystem:http://a/temporary/x",
            "/etc/passwd",
            "chrome-extension://abc/x",
            "about:version",
            "about:gpu",
            "blob:chrome://version/1",
        ] {
            assert!(!may_load(url), "{url}");
        }
    }
}
