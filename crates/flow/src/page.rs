//! What a replay and a condition need of a page.
//!
//! `chromium` implements [`Page`] over the DevTools protocol, the tests implement it with a fake.
//! Everything here looks at the page as it is *now*: waiting, retrying and racing alternatives is the
//! business of `replay`, so that timeouts have one owner. Nothing here may log a value it types.

use std::fs::File;
use std::future::Future;
use std::time::Duration;

use serde_json::Value;

use crate::selector::Selector;

/// The most elements that [`Page::find`] gives.
pub const MAX_MATCHES: usize = 1000;

/// Which document of a window a step speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// `None` is the main page; otherwise the URL of a popup, a tab or a frame with its own target
    /// (the Recorder's `target`).
    pub target: Option<String>,
    /// Child indices from the top document down to the frame (the Recorder's `frame`).
    pub frame: Vec<usize>,
}

/// A size and kind of screen, as the Recorder's `setViewport` has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Viewport {
    /// CSS pixels.
    pub width: u32,
    /// CSS pixels.
    pub height: u32,
    /// Device pixels for one CSS pixel.
    pub device_scale_factor: f64,
    /// Whether the page sees a mobile device.
    pub is_mobile: bool,
    /// Whether the page sees a touch screen.
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

/// A click, given relative to its element.
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
    /// How long the button stays down.
    pub hold: Duration,
    /// Touch instead of the mouse.
    pub touch: bool,
}

impl Click {
    /// One click with the mouse on the middle of an element.
    #[must_use]
    pub fn middle() -> Self {
        Self {
            // No element has this point, and then its middle is taken.
            offset_x: f64::NEG_INFINITY,
            offset_y: f64::NEG_INFINITY,
            button: Button::Primary,
            count: 1,
            hold: Duration::ZERO,
            touch: false,
        }
    }
}

/// A file that a page gave. Nobody else has it: it is gone once this is dropped.
#[derive(Debug)]
pub struct Download {
    /// What the portal calls it: any text, and not a path to write to.
    pub suggested_name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its contents, to be read from their beginning.
    pub file: File,
}

/// Network conditions as the Recorder has them.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkConditions {
    /// Bytes per second; negative for unlimited.
    pub download: f64,
    /// Bytes per second; negative for unlimited.
    pub upload: f64,
    /// Added delay.
    pub latency: Duration,
}

/// Why a page could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The page, its target or frame is not (or no longer) there.
    #[error("the page is gone: {0}")]
    Gone(String),
    /// The URL could not be loaded.
    #[error("{url} could not be loaded: {reason}")]
    Unreachable {
        /// Where to; without user information.
        url: String,
        /// Chromium's word, such as `net::ERR_CONNECTION_REFUSED`.
        reason: String,
    },
    /// A script threw.
    #[error("the script failed: {0}")]
    Script(String),
    /// The page did not answer in time.
    #[error("the page did not answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// Chromium refused the command.
    #[error("the browser refused {command}: {reason}")]
    Refused {
        /// The protocol's method.
        command: String,
        /// Chromium's word.
        reason: String,
    },
}

/// One window as a replay sees it: a main page, and the popups and frames that belong to it.
///
/// Every method looks once and does not wait for elements; each answers within a bounded time of its own.
pub trait Page: Sync {
    /// A handle to one element of one document. It becomes `Gone` when that document goes.
    type Element: Clone + Send + Sync;
    /// What waits for a download. Nothing can be downloaded once it is dropped.
    type Downloads: Send;

    /// Loads `url` in the page of `scope` and returns once its `load` event has fired.
    fn navigate(&self, scope: &Scope, url: &str) -> impl Future<Output = Result<(), PageError>> + Send;

    /// Makes the page of `scope` have this size.
    fn set_viewport(
        &self,
        scope: &Scope,
        viewport: &Viewport,
    ) -> impl Future<Output = Result<(), PageError>> + Send;

    /// Slows the network of the page of `scope`.
    fn set_network(
        &self,
        scope: &Scope,
        conditions: &NetworkConditions,
    ) -> impl Future<Output = Result<(), PageError>> + Send;

    /// All elements that match `selector` now, in document order, up to [`MAX_MATCHES`]; empty where none does.
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

    /// Scrolls the element into view and clicks it with real input events. Where it does not have the point,
    /// its middle is taken.
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

    /// A number that grows whenever the page of `scope` starts to load another document. Read before an
    /// action and after it, it tells whether the action navigated.
    fn navigations(&self, scope: &Scope) -> impl Future<Output = Result<u64, PageError>> + Send;

    /// Returns once the page of `scope` is not loading: its document is `complete`.
    fn settled(&self, scope: &Scope, timeout: Duration)
    -> impl Future<Output = Result<(), PageError>> + Send;

    /// The URL of the page of `scope`.
    fn url(&self, scope: &Scope) -> impl Future<Output = Result<String, PageError>> + Send;

    /// A picture of what the page of `scope` shows, as PNG.
    fn screenshot(&self, scope: &Scope) -> impl Future<Output = Result<Vec<u8>, PageError>> + Send;

    /// Lets the window download, and notes what it does from now on.
    fn watch_downloads(&self) -> impl Future<Output = Result<Self::Downloads, PageError>> + Send;

    /// Waits for a download to begin within `timeout`, and then to its end; `None` where none begins.
    fn downloaded(
        &self,
        downloads: Self::Downloads,
        timeout: Duration,
    ) -> impl Future<Output = Result<Option<Download>, PageError>> + Send;

    /// Closes the page of `scope`.
    fn close(&self, scope: &Scope) -> impl Future<Output = Result<(), PageError>> + Send;
}
