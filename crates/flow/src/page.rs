//! The interface to a page for replays and conditions.
//!
//! `chromium` implements [`Page`] with the DevTools protocol, the tests with a fake. Every method uses the page as it
//! is *now*: waiting, retrying and racing alternatives is done by `replay`, so that timeouts have one owner. Typed
//! values must never be logged.

use std::fs::File;
use std::future::Future;
use std::time::Duration;

use serde_json::Value;

use crate::dialog::ExpectedDialog;
use crate::selector::Selector;

/// Maximum number of elements that [`Page::find`] returns.
pub const MAX_MATCHES: usize = 1000;

/// The document of a window that a step refers to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// `None` is the main page; otherwise the URL of a popup, a tab or a frame with its own target
    /// (the Recorder's `target`).
    pub target: Option<String>,
    /// Child indices from the top document down to the frame (the Recorder's `frame`).
    pub frame: Vec<usize>,
}

/// The size and kind of a screen, as in the Recorder's `setViewport`.
#[derive(Debug, Clone, PartialEq)]
pub struct Viewport {
    /// Width in CSS pixels.
    pub width: u32,
    /// Height in CSS pixels.
    pub height: u32,
    /// Device pixels per CSS pixel.
    pub device_scale_factor: f64,
    /// Whether to emulate a mobile device.
    pub is_mobile: bool,
    /// Whether to emulate a touch screen.
    pub has_touch: bool,
}

/// A mouse button by the Recorder's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Button {
    /// Usually the left one.
    #[default]
    Primary,
    /// Usually the middle one.
    Auxiliary,
    /// Usually the right one.
    Secondary,
    /// The browser's "back".
    Back,
    /// The browser's "forward".
    Forward,
}

/// A click, relative to its element.
#[derive(Debug, Clone, PartialEq)]
pub struct Click {
    /// CSS pixels from the left edge of the element.
    pub offset_x: f64,
    /// CSS pixels from the top edge of the element.
    pub offset_y: f64,
    /// The button.
    pub button: Button,
    /// 1 for a click, 2 for a double click.
    pub count: u8,
    /// How long the button is held.
    pub hold: Duration,
    /// Whether to use touch instead of the mouse.
    pub touch: bool,
}

impl Click {
    /// A single mouse click on the middle of an element.
    #[must_use]
    pub fn middle() -> Self {
        Self {
            // No element contains this point, so its middle is used.
            offset_x: f64::NEG_INFINITY,
            offset_y: f64::NEG_INFINITY,
            button: Button::Primary,
            count: 1,
            hold: Duration::ZERO,
            touch: false,
        }
    }
}

/// A downloaded file. It is deleted when this is dropped.
#[derive(Debug)]
pub struct Download {
    /// The name given by the portal: any text, not a path to write to.
    pub suggested_name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its contents, positioned at the beginning.
    pub file: File,
}

/// Network conditions as the Recorder has them.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkConditions {
    /// Download throughput in bytes per second; negative for unlimited.
    pub download: f64,
    /// Upload throughput in bytes per second; negative for unlimited.
    pub upload: f64,
    /// Additional latency.
    pub latency: Duration,
}

/// Why a page could not execute a command.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The page, its target or its frame does not exist (any more).
    #[error("the page is closed: {0}")]
    Gone(String),
    /// The URL could not be loaded.
    #[error("cannot load {url}: {reason}")]
    Unreachable {
        /// The URL, without user information.
        url: String,
        /// Chromium's error, such as `net::ERR_CONNECTION_REFUSED`.
        reason: String,
    },
    /// A script threw an exception.
    #[error("the script failed: {0}")]
    Script(String),
    /// The page did not respond in time.
    #[error("the page did not respond within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// Something else is in front of the element at the point of the click. Nothing was clicked.
    #[error("the element is covered by {0}")]
    Covered(String),
    /// Chromium refused the command.
    #[error("the browser refused {command}: {reason}")]
    Refused {
        /// The protocol's method.
        command: String,
        /// Chromium's error.
        reason: String,
    },
}

/// A window as a replay uses it: a main page, and its popups and frames.
///
/// Every method acts once and does not wait for elements; each has a time limit of its own.
pub trait Page: Sync {
    /// A handle to an element of a document. It becomes `Gone` when the document is unloaded.
    type Element: Clone + Send + Sync;
    /// A pending download. Downloads are forbidden again when it is dropped.
    type Downloads: Send;

    /// Loads `url` in the page of `scope` and returns once its `load` event has fired.
    fn navigate(&self, scope: &Scope, url: &str) -> impl Future<Output = Result<(), PageError>> + Send;

    /// Sets the size of the page of `scope`.
    fn set_viewport(
        &self,
        scope: &Scope,
        viewport: &Viewport,
    ) -> impl Future<Output = Result<(), PageError>> + Send;

    /// Throttles the network of the page of `scope`.
    fn set_network(
        &self,
        scope: &Scope,
        conditions: &NetworkConditions,
    ) -> impl Future<Output = Result<(), PageError>> + Send;

    /// Returns all elements that match `selector` now, in document order, up to [`MAX_MATCHES`].
    fn find(
        &self,
        scope: &Scope,
        selector: &Selector,
    ) -> impl Future<Output = Result<Vec<Self::Element>, PageError>> + Send;

    /// Calls a JavaScript function (its source text) with the element as `this`, awaits a promise, and
    /// gives its result as JSON.
    fn call(
        &self,
        element: &Self::Element,
        function: &str,
        arguments: &[Value],
    ) -> impl Future<Output = Result<Value, PageError>> + Send;

    /// Evaluates an expression in the document of `scope`, awaits a promise, and gives its result as JSON.
    fn evaluate(
        &self,
        scope: &Scope,
        expression: &str,
    ) -> impl Future<Output = Result<Value, PageError>> + Send;

    /// Scrolls the element into view and moves the mouse over its middle.
    fn hover(&self, element: &Self::Element) -> impl Future<Output = Result<(), PageError>> + Send;

    /// Scrolls the element into view and clicks it with real input events. If the element does not contain the point,
    /// its middle is used. If another element would get the click, nothing is clicked ([`PageError::Covered`]).
    fn click(
        &self,
        element: &Self::Element,
        click: &Click,
    ) -> impl Future<Output = Result<(), PageError>> + Send;

    /// Focuses the element and types `text` into it with real input events, replacing what it holds.
    fn fill(&self, element: &Self::Element, text: &str)
    -> impl Future<Output = Result<(), PageError>> + Send;

    /// Presses a key by Puppeteer's name (`Enter`, `a`, `Control`, …) in the page of `scope`.
    fn key_down(&self, scope: &Scope, key: &str) -> impl Future<Output = Result<(), PageError>> + Send;

    /// Releases a key.
    fn key_up(&self, scope: &Scope, key: &str) -> impl Future<Output = Result<(), PageError>> + Send;

    /// Returns a counter that increases whenever the page of `scope` starts to load another document. Compared before
    /// and after an action, it shows whether the action navigated.
    fn navigations(&self, scope: &Scope) -> impl Future<Output = Result<u64, PageError>> + Send;

    /// Returns once the page of `scope` is not loading: its document is `complete`.
    fn settled(&self, scope: &Scope, timeout: Duration)
    -> impl Future<Output = Result<(), PageError>> + Send;

    /// Returns the URL of the page of `scope`.
    fn url(&self, scope: &Scope) -> impl Future<Output = Result<String, PageError>> + Send;

    /// Returns a screenshot of the page of `scope`, as PNG.
    fn screenshot(&self, scope: &Scope) -> impl Future<Output = Result<Vec<u8>, PageError>> + Send;

    /// Allows downloads in the window, and observes them from now on.
    fn watch_downloads(&self) -> impl Future<Output = Result<Self::Downloads, PageError>> + Send;

    /// Waits for a download to start within `timeout`, and then for its end; `None` if none starts.
    fn downloaded(
        &self,
        downloads: Self::Downloads,
        timeout: Duration,
    ) -> impl Future<Output = Result<Option<Download>, PageError>> + Send;

    /// Prepares an answer for the next dialog with this text, on any page of the window. It is used once, and
    /// discarded at the end of the flow.
    fn expect_dialog(&self, dialog: ExpectedDialog) -> Result<(), PageError>;

    /// Closes the page of `scope`.
    fn close(&self, scope: &Scope) -> impl Future<Output = Result<(), PageError>> + Send;
}
