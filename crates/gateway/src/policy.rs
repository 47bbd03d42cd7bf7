//! What becomes of each method. In a browser session only what is listed passes, since most of what it can do
//! reaches other windows (`content/browser/devtools/browser_devtools_agent_host.cc` has its handlers). In the
//! session of a page everything passes that stays within that page.

/// What becomes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to its session as it is.
    Pass,
    /// The virtual browser answers it or rewrites it.
    Virtual,
    /// It reaches beyond the window.
    Refuse,
    /// There is no such method at this kind of session.
    Unknown,
}

/// Domains that are of the whole process, or of other windows, whoever asks.
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

/// Whether a domain stays within one page is not told by its methods' names alone; these few are looked at.
const VIRTUAL_IN_PAGES: [&str; 10] = [
    "DOM.setFileInputFiles",
    "Input.dispatchDragEvent",
    "Page.navigate",
    "Page.setDownloadBehavior",
    "Runtime.runIfWaitingForDebugger",
    "Storage.clearCookies",
    "Storage.getCookies",
    "Storage.setCookies",
    "Network.loadNetworkResource",
    "Page.handleFileChooser",
];

/// What a browser session of a client may ask for at all.
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

/// What of `Memory` is about the page alone; the rest simulates the need of the whole process.
const OF_MEMORY: [&str; 4] =
    ["Memory.getDOMCounters", "Memory.getSamplingProfile", "Memory.startSampling", "Memory.stopSampling"];

/// What becomes of `method`, sent to the session of the browser or to that of a page or worker.
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
        _ => Verdict::Pass,
    }
}

/// Whether a client may have this URL loaded: what the web could lead to. Files and Chromium's own pages show
/// what is of the machine, or of all windows.
#[must_use]
pub fn may_load(url: &str) -> bool {
    match url::Url::parse(url.trim()) {
        Ok(url) => matches!(url.scheme(), "http" | "https" | "about" | "data" | "blob" | "javascript"),
        // Chromium fixes such up or refuses them; with a colon in it, it could become a scheme.
        Err(_) => url.is_empty() || !url.contains(':') && !url.starts_with(['/', '\\', '~']),
    }
}

#[cfg(test)]
mod tests {
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
        // At the browser these would see every window's requests and streams.
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
        ] {
            assert!(!may_load(url), "{url}");
        }
    }
}
