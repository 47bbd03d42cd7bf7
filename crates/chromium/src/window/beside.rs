//! A page beside those of a window: it shares their cookies and storage, nobody sees it, and it is gone once it is
//! dropped. What must be loaded to keep a sign-in alive is loaded there where the window's own page must stay.

use std::future::ready;
use std::sync::Arc;

use pilotlight_checkpoint::Cookie;

use super::{COMMAND_TIMEOUT, Window};
use crate::attach::set_up_page;
use crate::cookies;
use crate::error::WindowError;
use crate::hidden::HiddenPage;
use crate::state::Tab;

/// A hidden page of a window. Dropped, it is closed.
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
    /// The URL that it shows.
    pub fn url(&self) -> String {
        self.tab.status.borrow().url.clone()
    }

    /// The window with this page as its main one: everything that works on a window's main page works on it.
    pub fn window(&self) -> &Window {
        &self.window
    }
}

impl Window {
    /// All of its cookies. Its pages need not run for that.
    ///
    /// # Errors
    /// Where the browser does not tell.
    pub async fn cookies(&self) -> Result<Vec<Cookie>, WindowError> {
        Ok(cookies::read(&self.shard, &self.state, COMMAND_TIMEOUT).await?.0)
    }

    /// Whether its pages are frozen.
    pub fn is_frozen(&self) -> bool {
        self.state.is_still()
    }

    /// Opens an empty page beside its own.
    ///
    /// # Errors
    /// Where Chromium refuses or does not answer; then nothing of it is left.
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
