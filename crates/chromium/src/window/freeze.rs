//! Freezing the pages of a window, and thawing them with every variable in place.
//!
//! Nothing here reads or writes the state of a page, which must have been captured before.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::{join_all, maybe_done, try_join_all};
use futures_util::poll;
use pilotlight_cdp::protocol::browser::{Bounds, GetWindowForTarget, SetWindowBounds};
use pilotlight_cdp::protocol::network::ClearBrowserCache;
use pilotlight_cdp::protocol::page::{BringToFront, SetWebLifecycleState};
use pilotlight_cdp::protocol::runtime::CollectGarbage;

use super::{COMMAND_TIMEOUT, Window, evaluate, isolated_world};
use crate::error::WindowError;
use crate::state::{Tab, lock};

impl Window {
    /// Drops caches, collects garbage, and freezes every page: its timers and tasks stop, it counts as hidden, and a
    /// second later Chromium frees memory that it can do without
    /// (`content/browser/devtools/protocol/page_handler.cc`, `SetWebLifecycleState`). Heartbeats skip the window
    /// until [`Self::thaw`].
    ///
    /// # Errors
    /// [`WindowError::Crashed`] if a page has crashed, [`WindowError::Closed`] if the window is closed, and if
    /// Chromium refuses or does not respond. Then every page runs as before.
    pub async fn freeze(&self) -> Result<(), WindowError> {
        let connection = &self.shard.connection;
        let main = self.state.main_tab()?;
        main.call(connection, &main.session, ClearBrowserCache {}, COMMAND_TIMEOUT).await?;
        let tabs = self.state.tabs.borrow().clone();
        for tab in &tabs {
            // A thaw waits for these replies, which are dropped here.
            drop(self.window_id(tab).await);
        }
        self.state.set_still(true);
        let freezing = try_join_all(tabs.iter().map(async |tab| {
            tab.call(connection, &tab.session, CollectGarbage {}, COMMAND_TIMEOUT).await?;
            self.set_lifecycle(tab, "frozen").await
        }));
        if let Err(error) = freezing.await {
            if let Err(error) = self.run_all_again().await {
                tracing::debug!(window = %self.id(), %error, "a window that could not be frozen may be partly frozen");
            }
            return Err(error);
        }
        Ok(())
    }

    /// Thaws every page, visible as before: `active` alone would leave them hidden, with timers that fire once a
    /// second. Harmless for pages that run.
    ///
    /// Returns as soon as all later commands for the pages find them thawed. That may be before Chromium has replied,
    /// and avoids waiting until they have been drawn; the returned future ends with the replies.
    ///
    /// # Errors
    /// The returned future has those of [`Self::freeze`]; the other pages run all the same.
    pub async fn thaw(&self) -> impl Future<Output = Result<(), WindowError>> + Send + use<> {
        let window = self.clone();
        let mut thawing = Box::pin(maybe_done(async move { window.run_all_again().await }));
        // Chromium executes commands in order. All are sent at once, unless something must be found out first.
        if poll!(thawing.as_mut()).is_pending() && !self.knows_how(&self.state.tabs.borrow()) {
            thawing.as_mut().await;
        }
        async move {
            thawing.as_mut().await;
            thawing.as_mut().take_output().unwrap_or(Ok(()))
        }
    }

    /// Returns whether these can be thawed without a query.
    fn knows_how(&self, tabs: &[Arc<Tab>]) -> bool {
        self.shard.keeps_hidden.load(Ordering::Relaxed)
            && tabs.iter().all(|tab| tab.window_id.get().is_some())
    }

    async fn run_all_again(&self) -> Result<(), WindowError> {
        let mut tabs = self.state.tabs.borrow().clone();
        let front = lock(&self.state.front).clone();
        // The one that was in front comes last, and so is in front again.
        tabs.sort_by_key(|tab| Some(&tab.target) == front.as_ref());
        self.state.set_still(false);
        if self.knows_how(&tabs) {
            return join_all(tabs.iter().map(|tab| self.run_again(tab))).await.into_iter().collect();
        }
        let mut result = Ok(());
        for tab in &tabs {
            result = self.run_again(tab).await.and(result);
        }
        result
    }

    /// A caller waits for it: what can be sent at once is.
    async fn run_again(&self, tab: &Tab) -> Result<(), WindowError> {
        let is_known = self.shard.keeps_hidden.load(Ordering::Relaxed);
        let show = async || if is_known { self.show_again(tab).await } else { Ok(()) };
        let (active, front, shown) = tokio::join!(
            self.set_lifecycle(tab, "active"),
            tab.call(&self.shard.connection, &tab.session, BringToFront {}, COMMAND_TIMEOUT),
            show(),
        );
        active.and(front.map(drop)).and(shown)?;
        if !is_known && self.is_hidden(tab).await? {
            self.shard.keeps_hidden.store(true, Ordering::Relaxed);
            self.show_again(tab).await?;
        }
        Ok(())
    }

    /// Headless shell considers a page to be in front already. Measured on 156: it becomes visible again once its
    /// window was minimized and restored. All of its pages behave the same.
    async fn show_again(&self, tab: &Tab) -> Result<(), WindowError> {
        let window_id = self.window_id(tab).await?;
        let set = |window_state| {
            let set = SetWindowBounds { window_id, bounds: Bounds { window_state } };
            self.shard.connection.call_within(None, set, COMMAND_TIMEOUT)
        };
        // Executed in the order in which they are sent.
        let (minimized, restored) = tokio::join!(set("minimized"), set("normal"));
        minimized.and(restored).map(drop).map_err(WindowError::from)
    }

    async fn window_id(&self, tab: &Tab) -> Result<i64, WindowError> {
        if let Some(known) = tab.window_id.get() {
            return Ok(*known);
        }
        let question = GetWindowForTarget { target_id: tab.target.clone() };
        let window = self.shard.connection.call_within(None, question, COMMAND_TIMEOUT).await?;
        Ok(*tab.window_id.get_or_init(|| window.window_id))
    }

    async fn is_hidden(&self, tab: &Tab) -> Result<bool, WindowError> {
        let world = isolated_world(&self.shard, tab, &tab.session, &tab.target).await?;
        let question = "document.visibilityState === 'hidden'";
        let answer = evaluate(&self.shard, tab, &tab.session, Some(world), question, COMMAND_TIMEOUT);
        Ok(answer.await? == true)
    }

    async fn set_lifecycle(&self, tab: &Tab, state: &'static str) -> Result<(), WindowError> {
        let set = SetWebLifecycleState { state };
        tab.call(&self.shard.connection, &tab.session, set, COMMAND_TIMEOUT).await?;
        Ok(())
    }
}
