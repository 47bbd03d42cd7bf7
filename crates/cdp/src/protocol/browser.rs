//! `Browser`, and the few commands of `Emulation` and `Accessibility` that we send.

use serde::Serialize;

use crate::command::{Nothing, commands, notifications, objects};

commands! {
    /// The browser's window that shows a page.
    GetWindowForTarget = "Browser.getWindowForTarget" -> BrowserWindow {
        /// The page.
        target_id: String,
    }

    /// Moves, sizes, minimizes a browser's window.
    SetWindowBounds = "Browser.setWindowBounds" -> Nothing {
        /// Which.
        window_id: i64,
        /// How it shall be.
        bounds: Bounds,
    }

    /// What browser this is. The first sign of life.
    GetVersion = "Browser.getVersion" -> Version {}

    /// What becomes of downloads in a context.
    SetDownloadBehavior = "Browser.setDownloadBehavior" -> Nothing {
        /// `deny`, `allow`, `allowAndName` or `default`.
        behavior: &'static str,
        /// Which context.
        browser_context_id: String,
        /// Where files go that are allowed; Chromium makes the folder.
        #[serde(skip_serializing_if = "Option::is_none")]
        download_path: Option<String>,
    }

    /// Ends a download.
    CancelDownload = "Browser.cancelDownload" -> Nothing {
        /// Which.
        guid: String,
        /// Whose.
        browser_context_id: String,
    }

    /// Gives the page a size of its own.
    SetDeviceMetricsOverride = "Emulation.setDeviceMetricsOverride" -> Nothing {
        /// CSS pixels.
        width: u32,
        /// CSS pixels.
        height: u32,
        /// Device pixels for one CSS pixel.
        device_scale_factor: f64,
        /// Whether the page sees a mobile device.
        mobile: bool,
    }

    /// Whether the page's own scripts run. What we evaluate runs in any case.
    SetScriptExecutionDisabled = "Emulation.setScriptExecutionDisabled" -> Nothing {
        /// Whether they do not.
        value: bool,
    }

    /// Whether the page sees a touch screen.
    SetTouchEmulationEnabled = "Emulation.setTouchEmulationEnabled" -> Nothing {
        /// Whether it does.
        enabled: bool,
    }

    /// Nodes below an object by accessible name and role.
    QueryAxTree = "Accessibility.queryAXTree" -> AxNodes {
        /// Where to start.
        object_id: String,
        /// The exact name; none for any.
        #[serde(skip_serializing_if = "Option::is_none")]
        accessible_name: Option<String>,
        /// The role; none for any.
        #[serde(skip_serializing_if = "Option::is_none")]
        role: Option<String>,
    }
}

/// How a browser's window shall be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bounds {
    /// `normal` or `minimized`.
    pub window_state: &'static str,
}

objects! {
    /// The reply to [`GetWindowForTarget`].
    BrowserWindow {
        /// Which window it is.
        window_id: i64,
    }

    /// The reply to [`GetVersion`].
    Version {
        /// Such as `HeadlessChrome/156.0.8078.79`.
        product: String,
        /// What sites see.
        user_agent: String,
        /// Such as `1.3`.
        protocol_version: String,
        /// Such as `@` and 40 hexadecimal digits.
        revision: String,
        /// V8's.
        js_version: String,
    }

    /// The reply to [`QueryAxTree`].
    AxNodes {
        /// In document order.
        nodes: Vec<AxNode>,
    }

    /// One node of the accessibility tree.
    AxNode {
        /// Whether it is left out of the tree that assistive technology sees.
        ignored: bool,
        /// Its role.
        role: Option<AxValue>,
        /// Its node.
        #[serde(rename = "backendDOMNodeId")]
        backend_node_id: Option<i64>,
    }

    /// A value of the accessibility tree.
    AxValue {
        /// The value.
        value: Option<serde_json::Value>,
    }
}

notifications! {
    /// A page begins a download.
    DownloadWillBegin = "Page.downloadWillBegin" {
        /// Names it, and its file where those are named by it.
        guid: String,
        /// What the server or the page calls the file.
        suggested_filename: String,
    }

    /// A download goes on, or is over.
    DownloadProgress = "Page.downloadProgress" {
        /// Which.
        guid: String,
        /// Bytes that have come so far.
        received_bytes: f64,
        /// `inProgress`, `completed` or `canceled`.
        state: String,
    }
}
