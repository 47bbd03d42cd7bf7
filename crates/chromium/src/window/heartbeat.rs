//! Checking whether the pages of a window respond, and recovering those that do not.
//!
//! Chromium reports crashed pages but not unresponsive ones: those are sent the simplest command.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use pilotlight_cdp::protocol::browser::GetVersion;
use pilotlight_cdp::protocol::runtime::{Evaluate, TerminateExecution};
use tokio::time::Instant;

use super::Window;
use crate::cookies::cookies_changed;
use crate::error::WindowError;
use crate::renderer::{self, END_TIMEOUT};
use crate::state::{Shard, Tab, TabStatus, WindowState};

/// A page that does not respond for this long although its script was ended will not recover.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long another document may take before an unresponsive page counts as hung.
const NAVIGATION_MAX: Duration = Duration::from_secs(5 * 60);
/// How often a page is checked before it counts as unresponsive while its browser responds slowly as well.
const ASKED_MAX: usize = 4;
/// How long its browser may take to respond meanwhile: another page may have kept it busy.
const BROWSER_TIMEOUT: Duration = Duration::from_secs(30);
/// A browser that takes longer was busy with something else.
const PROMPT: Duration = Duration::from_secs(1);

impl Window {
    /// Checks every page, checks whether cookies changed, and reports again a change that a capture failed to
    /// include. A page that shows a dialog, or waits for another document, counts as responsive. Frozen pages are not
    /// checked: a reply would bring their memory back.
    ///
    /// # Errors
    /// [`WindowError::Timeout`] if a page does not respond, which [`Self::recover`] fixes; [`WindowError::Crashed`]
    /// if the main page has crashed.
    pub async fn heartbeat(&self, timeout: Duration) -> Result<(), WindowError> {
        let main = self.main_tab()?;
        if self.state.is_still() {
            return Ok(());
        }
        let tabs = self.state.tabs.borrow().clone();
        let answers = join_all(tabs.iter().map(async |tab| match answers(&self.shard, tab, timeout).await {
            Err(WindowError::Closed | WindowError::Crashed) if !Arc::ptr_eq(tab, &main) => Ok(()),
            answer => answer,
        }));
        let (answers, cookies) = tokio::join!(answers, cookies_changed(&self.shard, &self.state, timeout));
        // The browser returns the cookies; if it does not respond, that is not the page's fault.
        let cookies = match cookies {
            Err(WindowError::Timeout(_)) => Ok(()),
            cookies => cookies,
        };
        answers.into_iter().collect::<Result<(), _>>().and(cookies)
    }

    /// Recovers unresponsive pages: ends the script of each, or if it still does not respond, its renderer. Then it
    /// is a crashed page, which [`crate::BrowserEvent::WindowCrashed`] reports and [`Self::reload`] restores.
    /// Responsive pages are left alone.
    ///
    /// # Errors
    /// [`WindowError::Timeout`] if a renderer does not end either; then the browser has to be replaced.
    pub async fn recover(&self) -> Result<(), WindowError> {
        let tabs = self.state.tabs.borrow().clone();
        for tab in tabs {
            match free(&self.shard, &self.state, &tab).await {
                Ok(()) | Err(WindowError::Closed | WindowError::Crashed) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Returns whether a page responds, or has a reason not to. It counts as unresponsive only if it was checked twice
/// and its browser, which was checked in between, responded at once: all messages of pages pass through the browser,
/// and any page can keep it busy.
async fn answers(shard: &Shard, tab: &Tab, timeout: Duration) -> Result<(), WindowError> {
    let mut is_prompt = false;
    let mut answer = Err(WindowError::Timeout(timeout));
    for _ in 0..ASKED_MAX {
        answer = answers_once(shard, tab, timeout).await;
        if is_prompt || !matches!(answer, Err(WindowError::Timeout(_))) {
            return answer;
        }
        let asked = Instant::now();
        if shard.connection.call_within(None, GetVersion {}, BROWSER_TIMEOUT).await.is_err() {
            return answer;
        }
        is_prompt = asked.elapsed() < PROMPT;
    }
    answer
}

/// Returns whether a page responds, or has a reason not to: it shows a dialog, or another document is being loaded.
/// Any reply is enough; an error is returned if it is just navigating to another document.
async fn answers_once(shard: &Shard, tab: &Tab, timeout: Duration) -> Result<(), WindowError> {
    let question = Evaluate {
        expression: "0".into(),
        context_id: None,
        return_by_value: true,
        await_promise: false,
        user_gesture: false,
    };
    let is_waiting = |status: &TabStatus| {
        let on_its_way = status.navigating_since.is_some_and(|since| since.elapsed() < NAVIGATION_MAX);
        !status.ready || status.dialog.is_some() || on_its_way
    };
    let answer = tokio::select! {
        answer = tab.call(&shard.connection, &tab.session, question, timeout) => answer,
        Ok(()) = tab.wait_for(timeout, is_waiting) => return Ok(()),
    };
    match answer {
        Ok(_) | Err(WindowError::Refused { .. }) => Ok(()),
        Err(WindowError::Closed) if !tab.status.borrow().gone && !shard.connection.is_closed() => Ok(()),
        Err(error) => Err(error),
    }
}

async fn free(shard: &Shard, window: &WindowState, tab: &Tab) -> Result<(), WindowError> {
    match answers(shard, tab, ANSWER_TIMEOUT).await {
        Err(WindowError::Timeout(_)) => {}
        other => return other,
    }
    tracing::info!("a page does not respond; its script is ended");
    // That is executed outside of the page's main thread.
    let ended = tab.call(&shard.connection, &tab.session, TerminateExecution {}, END_TIMEOUT).await;
    if ended.is_ok() && answers(shard, tab, ANSWER_TIMEOUT).await.is_ok() {
        return Ok(());
    }
    tracing::warn!("a page still does not respond; its renderer is ended");
    renderer::end(shard, window, tab).await
}
