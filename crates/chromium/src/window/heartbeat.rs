//! Whether the pages of a window live, and freeing those that hang.
//!
//! Chromium tells of crashed pages but not of hanging ones: those are asked the simplest question.

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

/// A page that does not answer for this long although its script was ended does not come back.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long another document may be on its way before a page that does not answer counts as hung.
const NAVIGATION_MAX: Duration = Duration::from_secs(5 * 60);
/// How often a page is asked before its silence is its own, while its browser is slow to answer as well.
const ASKED_MAX: usize = 4;
/// How long its browser may take to answer meanwhile: another page may have given it much to do.
const BROWSER_TIMEOUT: Duration = Duration::from_secs(30);
/// A browser that takes longer has had something else to do.
const PROMPT: Duration = Duration::from_secs(1);

impl Window {
    /// Asks every page for a sign of life, looks whether cookies changed, and tells again of a change that a
    /// capture failed to see. A page that shows a dialog, or waits for another document, lives. Of pages that
    /// stand still nothing is asked: answering would bring their memory back.
    ///
    /// # Errors
    /// [`WindowError::Timeout`] where a page hangs, which [`Self::revive`] frees; [`WindowError::Crashed`]
    /// where the main page has.
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
        // Of cookies the browser tells, whose silence is not the page's.
        let cookies = match cookies {
            Err(WindowError::Timeout(_)) => Ok(()),
            cookies => cookies,
        };
        answers.into_iter().collect::<Result<(), _>>().and(cookies)
    }

    /// Frees pages that hang: ends the script of each, or where it still does not answer, its renderer. Then
    /// it is a crashed page, of which [`crate::BrowserEvent::WindowCrashed`] tells and which
    /// [`Self::reload`] brings back. Pages that answer are left alone.
    ///
    /// # Errors
    /// [`WindowError::Timeout`] where a renderer does not even end; then the browser has to go.
    pub async fn revive(&self) -> Result<(), WindowError> {
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

/// Whether a page answers, or cannot. It is silent only where it was asked twice and its browser, which was asked in
/// between, answered at once: everything that pages say goes through the browser, and any of them can keep it busy.
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

/// Whether a page answers, or cannot: it shows a dialog, or another document is on its way. Any answer will do; a
/// refusal comes where it is just going on to another document.
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
    tracing::info!("a page hangs; its script is ended");
    // That is obeyed outside of the page's main thread.
    let ended = tab.call(&shard.connection, &tab.session, TerminateExecution {}, END_TIMEOUT).await;
    if ended.is_ok() && answers(shard, tab, ANSWER_TIMEOUT).await.is_ok() {
        return Ok(());
    }
    tracing::warn!("a page still hangs; its renderer is ended");
    renderer::end(shard, window, tab).await
}
