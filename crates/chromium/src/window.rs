//! One window: a browser context with its pages, and the commands for it.
//!
//! Every method ends within its time limit. Nothing here waits for a page that is closed or has crashed, and no URL
//! in an error contains a user name or password.

mod bare;
mod beside;
mod freeze;
mod heartbeat;
mod memory;
mod navigation;
mod planted;
mod reload;
mod requests;
pub(crate) mod reuse;
mod script;
mod settle;

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use pilotlight_cdp::protocol::browser::{GetVersion, Version};
use pilotlight_cdp::protocol::page::{BringToFront, CaptureScreenshot, Clip, GetLayoutMetrics};
use pilotlight_cdp::protocol::target::DisposeBrowserContext;
use pilotlight_cdp::{CdpError, work_on};
use pilotlight_linux::ProcessMemory;
use serde_json::Value;
use tokio::sync::{SemaphorePermit, watch};

use crate::call::look_at;
use crate::error::WindowError;
use crate::event::WindowId;
use crate::limits::CLOSE_TIMEOUT;
pub(crate) use crate::limits::COMMAND_TIMEOUT;
use crate::renderer;
use crate::state::{Shard, Tab, WindowState, WindowSummary, lock};

pub use bare::BareWindow;
pub(crate) use bare::may_be_sent;
pub use beside::Beside;
pub(crate) use navigation::{check_url, navigate_tab};
pub(crate) use planted::Planted;
pub use reload::Shown;
pub(crate) use reload::reload_tab;
pub use requests::{RequestWatch, Traffic};
pub use script::PageAnswer;
pub(crate) use script::{WORLD, evaluate, evaluated_value, isolated_world, message_of, run};
pub use settle::RestoreFields;
pub(crate) use settle::{SETTLE_TIMEOUT, bring_back, call};

/// How long a picture may take.
pub const SCREENSHOT_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest side of a picture of a full page, in CSS pixels: Chromium draws no more (Skia's texture limit).
pub const SCREENSHOT_SIDE_MAX: f64 = 16_384.0;
/// The quality of JPEG pictures, up to 100.
const JPEG_QUALITY: u8 = 80;
/// The quality of small pictures.
const GLANCE_QUALITY: u8 = 30;
/// How long a small picture may take.
const GLANCE_TIMEOUT: Duration = Duration::from_secs(5);
/// How a picture is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lossless.
    Png,
    /// Smaller.
    Jpeg,
}

/// A page of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageInfo {
    /// Chromium's id of the page.
    pub target_id: String,
    /// Its URL.
    pub url: String,
    /// Its title.
    pub title: String,
    /// Whether its renderer crashed.
    pub crashed: bool,
}

/// A handle to a window; clones share it. Dropping it does not close the window.
#[derive(Debug, Clone)]
pub struct Window {
    pub(crate) shard: Arc<Shard>,
    pub(crate) state: Arc<WindowState>,
    /// The page that is used as the main one here.
    pub(crate) beside: Option<Arc<Tab>>,
}

impl Window {
    pub(crate) fn new(shard: Arc<Shard>, state: Arc<WindowState>) -> Self {
        Self { shard, state, beside: None }
    }

    pub(crate) fn main_tab(&self) -> Result<Arc<Tab>, WindowError> {
        match &self.beside {
            Some(beside) => Ok(Arc::clone(beside)),
            None => self.state.main_tab(),
        }
    }

    /// Its id.
    pub fn id(&self) -> &WindowId {
        &self.state.id
    }

    /// Returns the URL, the title and the number of tabs. The title is that of the last load or navigation: Chromium
    /// has no event for later changes by a script.
    pub fn summary(&self) -> WindowSummary {
        self.state.summary.borrow().clone()
    }

    /// Returns the URL of the page that this handle works on.
    pub fn page_url(&self) -> String {
        match &self.beside {
            Some(page) => page.status.borrow().url.clone(),
            None => self.summary().url,
        }
    }

    /// Returns the summary as a channel of changes.
    pub fn watch_summary(&self) -> watch::Receiver<WindowSummary> {
        self.state.summary.subscribe()
    }

    /// Returns how often its main page has navigated to another document.
    pub fn navigation_count(&self) -> u64 {
        self.main_tab().map_or(0, |tab| tab.status.borrow().navigations)
    }

    /// Returns its pages, oldest first.
    pub fn pages(&self) -> Vec<PageInfo> {
        let tabs = self.state.tabs.borrow();
        let info = |tab: &Arc<Tab>| {
            let status = tab.status.borrow();
            PageInfo {
                target_id: tab.target.clone(),
                url: status.url.clone(),
                title: status.title.clone(),
                crashed: status.crashed,
            }
        };
        tabs.iter().map(info).collect()
    }

    /// Loads `url` in the main page and returns once its `load` event has fired. Also restores a crashed page.
    ///
    /// # Errors
    /// [`WindowError::Url`] for anything but http, https and about:blank; [`WindowError::Unreachable`] if there is no
    /// answer, or the proxy rejects the password; a time-out stops the loading.
    pub async fn navigate(&self, url: &str, timeout: Duration) -> Result<(), WindowError> {
        let tab = self.main_tab()?;
        navigate_tab(&self.shard, &tab, url, timeout).await?;
        look_at(&self.shard, &self.state, &tab).await;
        Ok(())
    }

    /// Says when its documents count as loaded: once they are parsed to their end, or (`false`, at first) once everything
    /// that they refer to has come. A single request that never ends keeps the latter from happening.
    pub fn set_ready_at_dom(&self, is_ready: bool) {
        self.state.set_ready_at_dom(is_ready);
    }

    /// Waits while what was had of its pages is more than its browser's other windows can bear: 20 s at most. Comes
    /// before whatever a client may have in any size.
    pub async fn rest(&self) {
        self.shard.connection.rest(self.id().as_str()).await;
    }

    /// Waits until a client may read a value of unlimited size, and returns a guard to be kept until the value is
    /// there. If the browser has other windows, two are read at once, after a [`Self::rest`].
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if !self.shard.connection.is_shared() {
            return None;
        }
        let turn = self.state.values.acquire().await.ok();
        self.rest().await;
        turn
    }

    /// Evaluates an expression in the main page, awaits a promise, and returns the result as JSON. What JSON cannot
    /// express is `null`; a `BigInt` is a string of its digits.
    ///
    /// # Errors
    /// [`WindowError::Script`] if it throws. A script that does not end is ended after `timeout`.
    pub async fn evaluate(&self, expression: &str, timeout: Duration) -> Result<Value, WindowError> {
        let tab = self.main_tab()?;
        evaluate(&self.shard, &tab, &tab.session, None, expression, timeout).await
    }

    /// Fetches `url` (relative ones allowed) from inside the main page with its cookies, and follows redirects. The body
    /// of the answer is not read.
    ///
    /// # Errors
    /// [`WindowError::Unreachable`] if there is no answer that the page may see: of another origin, for example, unless
    /// that origin allows it.
    pub async fn request(&self, url: &str, timeout: Duration) -> Result<PageAnswer, WindowError> {
        script::request(&self.shard, &*self.main_tab()?, url, timeout).await
    }

    /// Returns a picture of the main page: the visible part, or the full page up to [`SCREENSHOT_SIDE_MAX`]. One at a
    /// time is taken of a window, after a [`Self::rest`].
    ///
    /// # Errors
    /// If the page does not draw within [`SCREENSHOT_TIMEOUT`].
    pub async fn screenshot(&self, format: Format, full_page: bool) -> Result<Bytes, WindowError> {
        let _one_at_a_time = self.state.pictures.acquire().await.map_err(|_| WindowError::Closed)?;
        self.rest().await;
        let tab = self.main_tab()?;
        self.screenshot_of(&tab, format, full_page).await
    }

    pub(crate) async fn screenshot_of(
        &self,
        tab: &Tab,
        format: Format,
        full_page: bool,
    ) -> Result<Bytes, WindowError> {
        self.bring_to_front(tab).await?;
        let connection = &self.shard.connection;
        let clip = if full_page {
            let metrics = tab.call(connection, &tab.session, GetLayoutMetrics {}, COMMAND_TIMEOUT).await?;
            let size = metrics.css_content_size;
            let side = |length: f64| length.clamp(1.0, SCREENSHOT_SIDE_MAX);
            Some(Clip { x: 0.0, y: 0.0, width: side(size.width), height: side(size.height), scale: 1.0 })
        } else {
            None
        };
        let (format, quality) = match format {
            Format::Png => ("png", None),
            Format::Jpeg => ("jpeg", Some(JPEG_QUALITY)),
        };
        let capture = CaptureScreenshot { format, quality, clip, capture_beyond_viewport: full_page };
        picture(&self.shard, tab, capture, SCREENSHOT_TIMEOUT).await
    }

    /// Returns what the main page shows at the moment, as a small JPEG. The page stays where it is, even behind
    /// others.
    ///
    /// # Errors
    /// If the page does not draw soon.
    pub async fn glance(&self) -> Result<Bytes, WindowError> {
        let tab = self.main_tab()?;
        let capture = CaptureScreenshot {
            format: "jpeg",
            quality: Some(GLANCE_QUALITY),
            clip: None,
            capture_beyond_viewport: false,
        };
        picture(&self.shard, &tab, capture, GLANCE_TIMEOUT).await
    }

    /// Returns the version of its browser.
    ///
    /// # Errors
    /// If the browser does not respond.
    pub async fn browser_version(&self) -> Result<Version, WindowError> {
        Ok(self.shard.connection.call_within(None, GetVersion {}, COMMAND_TIMEOUT).await?)
    }

    /// Returns the user and the group that own the browser's folder. Blocks for a moment. `None` for a browser of an
    /// earlier version, whose folder is not known.
    pub fn browser_user(&self) -> Option<(u32, u32)> {
        let folder = self.shard.folder.as_ref()?.symlink_metadata().ok()?;
        Some((folder.uid(), folder.gid()))
    }

    /// Returns the process ids of the renderers of all of its pages.
    ///
    /// # Errors
    /// If a page does not respond.
    pub async fn renderer_pids(&self) -> Result<Vec<u32>, WindowError> {
        memory::renderer_pids(self).await
    }

    /// Returns the memory of its renderers. Memory of the browser process is not included.
    ///
    /// # Errors
    /// If a page does not report its renderer.
    pub async fn memory(&self) -> Result<ProcessMemory, WindowError> {
        let pids = self.renderer_pids().await?;
        Ok(pids.into_iter().filter_map(ProcessMemory::of).sum())
    }

    /// Ends the renderers of all of its pages, whether they respond or not. Returns immediately;
    /// [`crate::BrowserEvent::WindowCrashed`] follows.
    pub fn end_pages(&self) {
        renderer::end_all(&self.shard, &self.state);
    }

    /// Closes it with all of its pages, cookies and storage. Closing twice, or after its browser, is not an error.
    ///
    /// # Errors
    /// If Chromium does not respond within [`crate::browser::CLOSE_TIMEOUT`].
    pub async fn close(&self) -> Result<(), WindowError> {
        // Its context may have another owner already.
        let open = self.shard.window(&self.state.id);
        if !open.is_some_and(|window| Arc::ptr_eq(&window, &self.state)) {
            return Ok(());
        }
        if reuse::leave(self).await {
            return Ok(());
        }
        let disposed = dispose(&self.shard, &self.state).await;
        self.shard.spare.window_went(&self.state);
        disposed
    }

    pub(crate) async fn close_and_log(&self) {
        if let Err(error) = self.close().await {
            tracing::warn!(window = %self.id(), %error, "failed to close a window");
        }
    }

    /// Pages behind others neither draw nor accept input in full Chromium.
    pub(crate) async fn bring_to_front(&self, tab: &Tab) -> Result<(), WindowError> {
        let in_front = lock(&self.state.front).as_ref() == Some(&tab.target);
        if !in_front {
            tab.call(&self.shard.connection, &tab.session, BringToFront {}, COMMAND_TIMEOUT).await?;
            *lock(&self.state.front) = Some(tab.target.clone());
        }
        Ok(())
    }
}

async fn picture(
    shard: &Shard,
    tab: &Tab,
    capture: CaptureScreenshot,
    timeout: Duration,
) -> Result<Bytes, WindowError> {
    let picture = tab.call(&shard.connection, &tab.session, capture, timeout).await?;
    let refused = |error: base64::DecodeError| WindowError::Refused {
        command: "Page.captureScreenshot".into(),
        reason: error.to_string(),
    };
    let decoded = work_on(picture.data.len(), || BASE64_STANDARD.decode(picture.data));
    Ok(decoded.map_err(refused)?.into())
}

/// Disposes of a window's context. Succeeds if the browser has ended.
pub(crate) async fn dispose(shard: &Shard, window: &WindowState) -> Result<(), WindowError> {
    window.set_closing();
    let dispose = DisposeBrowserContext { browser_context_id: window.id.as_str().into() };
    let disposed = shard.connection.call_within(None, dispose, CLOSE_TIMEOUT).await;
    shard.remove_window(&window.id);
    match disposed {
        Ok(_) | Err(CdpError::Closed | CdpError::Remote { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
