//! A hidden page beside those of a window: it shares their cookies and storage, and is closed when it is dropped.
//! Refreshes use it if the window's own page must not be touched.

use std::future::ready;
use std::sync::Arc;

use pilotlight_checkpoint::Cookie;

use super::{COMMAND_TIMEOUT, Window};
use crate::attach::set_up_page;
use crate::cookies;
use crate::error::WindowError;
use crate::hidden::HiddenPage;
use crate::state::Tab;

/// A hidden page of a window, which is closed when this is dropped.
#[derive(Debug)]
pub struct Beside {
    window: Window,
    tab: Arc<Tab>,
    _page: HiddenPage,
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.window.shard.forget_sessions(&self.tab);
    }
}

impl Beside {
    /// Returns the window with this page as its main one: all methods for a window's main page use it.
    pub fn window(&self) -> &Window {
        &self.window
    }
}

impl Window {
    /// Returns all cookies. Its pages may be frozen.
    ///
    /// # Errors
    /// If the browser does not respond.
    pub async fn cookies(&self) -> Result<Vec<Cookie>, WindowError> {
        let (cookies, _) = cookies::read(&self.shard, &self.state, COMMAND_TIMEOUT).await?;
        // Its context may have another owner already.
        if self.state.is_closing() { Err(WindowError::Closed) } else { Ok(cookies) }
    }

    /// Returns whether its pages are frozen.
    pub fn is_frozen(&self) -> bool {
        self.state.is_still()
    }

    /// Opens an empty page beside its own.
    ///
    /// # Errors
    /// If Chromium refuses or does not respond; then nothing of it is left.
    pub async fn open_beside(&self) -> Result<Beside, WindowError> {
        let page = HiddenPage::open(&self.shard, &self.state).await?;
        let tab = Arc::new(Tab::beside(page.target.clone(), page.session.clone()));
        self.shard.add_session(page.session.clone(), Arc::clone(&self.state), Arc::clone(&tab));
        let window = Self { beside: Some(Arc::clone(&tab)), ..self.clone() };
        let beside = Beside { window, tab, _page: page };
        set_up_page(&self.shard.connection, &self.state, &beside.tab, ready(())).await;
        beside.tab.status.send_modify(|status| status.ready = true);
        Ok(beside)
    }
}
