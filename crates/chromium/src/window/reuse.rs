//! Bare windows that are used again: to open a context with a renderer, load a small document and close it took 166 ms of
//! processor time, and to load it in an emptied one and empty that again 95 ms (measured on a busy machine).
//!
//! A bare window is emptied when it is closed, and becomes the next bare window of the same site in the same browser. It
//! never runs a script and stores nothing, so that cookies, cached documents and the page's history are all that it has
//! of a session; its connections, and what hosts say of themselves (HSTS), are the same for all sessions of the site.
//! A password of HTTP authentication would stay too, but Pilotlight gives a bare window none; only a portal that redirects
//! to an address with a password in it could. The page is left first: nothing that was on its way arrives after that.

use std::sync::Arc;
use std::time::Duration;

use pilotlight_cdp::protocol::network::ClearBrowserCache;
use pilotlight_cdp::protocol::page::ResetNavigationHistory;
use pilotlight_cdp::protocol::storage::ClearCookies;
use tokio::time::{Instant, timeout};

use super::{COMMAND_TIMEOUT, Window, dispose};
use crate::error::WindowError;
use crate::state::{Emptied, Shard, Tab, Viewport, WindowState, lock};

/// How many emptied windows a browser keeps.
const KEPT_MAX: usize = 8;
/// How long an emptied window is kept.
const LIFETIME: Duration = Duration::from_secs(600);
/// How long emptying one may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an emptied page may take to answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const EMPTY_PAGE: &str = "about:blank";

/// Opens a bare window that another session of the site has left, if there is one of this size whose page still answers:
/// it may have crashed since.
pub(crate) async fn take(shard: &Arc<Shard>, site: &str, viewport: Viewport) -> Option<Arc<WindowState>> {
    let fits = |emptied: &Emptied| emptied.site == site && emptied.viewport == viewport;
    let take_one = || {
        let mut kept = lock(&shard.emptied);
        let place = kept.iter().position(fits)?;
        Some(kept.remove(place))
    };
    while let Some(emptied) = take_one() {
        let state = reopen(shard, emptied);
        let window = Window::new(Arc::clone(shard), Arc::clone(&state));
        if window.evaluate("0", PROBE_TIMEOUT).await.is_ok() {
            return Some(state);
        }
        window.close_and_log().await;
    }
    None
}

fn reopen(shard: &Shard, emptied: Emptied) -> Arc<WindowState> {
    let state = WindowState::new(emptied.context, emptied.viewport, None);
    state.set_bare();
    let state = Arc::new(state);
    let tab = Arc::new(Tab::new(emptied.target, emptied.session.clone()));
    tab.status.send_modify(|status| {
        EMPTY_PAGE.clone_into(&mut status.url);
        status.ready = true;
    });
    shard.add_window(Arc::clone(&state));
    shard.add_session(emptied.session, Arc::clone(&state), Arc::clone(&tab));
    *lock(&state.front) = Some(tab.target.clone());
    state.tabs.send_modify(|tabs| tabs.push(tab));
    state.refresh_summary();
    state
}

/// Empties a window that is closed, for the next one of its site. Returns whether it is gone for its owner; if not, it
/// must be disposed of.
pub(super) async fn leave(window: &Window) -> bool {
    let (shard, state) = (&window.shard, &window.state);
    let Some(site) = lock(&state.reusable_for).take() else { return false };
    let Ok([tab]) = <[Arc<Tab>; 1]>::try_from(state.tabs.borrow().clone()) else { return false };
    let emptied = timeout(LEAVE_TIMEOUT, empty(window, &tab)).await;
    if let Err(error) = emptied.unwrap_or(Err(WindowError::Timeout(LEAVE_TIMEOUT))) {
        tracing::debug!(window = %state.id, %error, "a bare window is not used again");
        return false;
    }
    state.set_closing();
    shard.remove_window(&state.id);
    let emptied = Emptied {
        site,
        context: state.id.clone(),
        viewport: state.viewport,
        target: tab.target.clone(),
        session: tab.session.clone(),
        since: Instant::now(),
    };
    let surplus = {
        let mut kept = lock(&shard.emptied);
        kept.push(emptied);
        (kept.len() > KEPT_MAX).then(|| kept.remove(0))
    };
    discard(shard, surplus).await;
    true
}

async fn empty(window: &Window, tab: &Tab) -> Result<(), WindowError> {
    let (connection, state) = (&window.shard.connection, &window.state);
    window.navigate(EMPTY_PAGE, LEAVE_TIMEOUT).await?;
    let cookies = ClearCookies { browser_context_id: state.id.as_str().into() };
    let (cookies, cache, history) = tokio::join!(
        connection.call_within(None, cookies, COMMAND_TIMEOUT),
        tab.call(connection, &tab.session, ClearBrowserCache {}, COMMAND_TIMEOUT),
        tab.call(connection, &tab.session, ResetNavigationHistory {}, COMMAND_TIMEOUT),
    );
    cookies?;
    cache?;
    history?;
    let status = tab.status.borrow();
    if status.crashed || status.gone { Err(WindowError::Closed) } else { Ok(()) }
}

/// Closes those that nobody has needed for a while.
pub(crate) async fn discard_unused(shard: &Shard) {
    let is_unused = |emptied: &mut Emptied| emptied.since.elapsed() >= LIFETIME;
    let unused: Vec<Emptied> = lock(&shard.emptied).extract_if(.., is_unused).collect();
    discard(shard, unused).await;
}

async fn discard(shard: &Shard, emptied: impl IntoIterator<Item = Emptied>) {
    for Emptied { context, viewport, .. } in emptied {
        if let Err(error) = dispose(shard, &WindowState::new(context, viewport, None)).await {
            tracing::debug!(%error, "an emptied window did not close");
        }
    }
}
