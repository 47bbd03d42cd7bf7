//! A window that has the cookies of a session and nothing else of it, in which one document is loaded: no script of a
//! page runs, and nothing but documents of the main page is asked for. That is enough to keep a portal content, at a
//! fraction of what a whole page costs.
//!
//! Only its cookies are useful. So a window that was made bare stays so, and no handle to it returns a checkpoint.

use std::time::Duration;

use pilotlight_cdp::protocol::browser::SetScriptExecutionDisabled;
use pilotlight_cdp::protocol::fetch::{Enable, RequestPattern, RequestPaused};
use pilotlight_checkpoint::Cookie;

use super::{COMMAND_TIMEOUT, Window};
use crate::cookies;
use crate::error::WindowError;
use crate::state::{Tab, WindowState};

/// A bare window.
#[derive(Debug)]
pub struct BareWindow {
    window: Window,
}

impl Window {
    /// Sets these cookies in an empty window, and makes it a bare one permanently.
    ///
    /// # Errors
    /// Where Chromium refuses, or does not answer in time; then nothing was loaded.
    pub async fn make_bare(&self, cookies: &[Cookie], timeout: Duration) -> Result<BareWindow, WindowError> {
        let tab = self.main_tab()?;
        // First of all: from here on it has no checkpoint.
        self.state.set_bare();
        let connection = &self.shard.connection;
        let patterns = vec![RequestPattern { url_pattern: "*", resource_type: None }];
        let asks_for_password = self.state.credentials.is_some();
        let hold = Enable { patterns, handle_auth_requests: asks_for_password };
        let (held, silent, written) = tokio::join!(
            tab.call(connection, &tab.session, hold, COMMAND_TIMEOUT),
            tab.call(connection, &tab.session, SetScriptExecutionDisabled { value: true }, COMMAND_TIMEOUT),
            cookies::write(&self.shard, &self.state, cookies, timeout),
        );
        held?;
        silent?;
        written?;
        Ok(BareWindow { window: self.clone() })
    }
}

impl BareWindow {
    /// Loads a document with a GET, and follows redirects. Returns whether there is one to look at: of a download, and
    /// of an answer without a body, there is none.
    ///
    /// # Errors
    /// As [`Window::navigate`].
    pub async fn load(&self, url: &str, timeout: Duration) -> Result<bool, WindowError> {
        match self.window.navigate(url, timeout).await {
            Err(error) if error.is_aborted() => Ok(false),
            loaded => loaded.map(|()| true),
        }
    }

    /// Returns all of its current cookies.
    ///
    /// # Errors
    /// If the browser does not respond.
    pub async fn cookies(&self) -> Result<Vec<Cookie>, WindowError> {
        self.window.cookies().await
    }

    /// Returns the window, to check the document.
    pub fn window(&self) -> &Window {
        &self.window
    }
}

/// Whether a held request of a page may be sent: in a bare window, only what becomes the page's own document.
pub(crate) fn may_be_sent(window: &WindowState, tab: &Tab, paused: &RequestPaused) -> bool {
    let is_document = paused.resource_type.as_deref() == Some("Document")
        && paused.frame_id.as_deref() == Some(tab.target.as_str());
    !window.is_bare() || is_document
}
