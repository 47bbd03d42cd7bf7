//! Ending the process of a page.

use std::sync::Arc;
use std::time::Duration;

use pilotlight_cdp::protocol::page::Crash;
use pilotlight_linux::Seen;

use crate::error::WindowError;
use crate::state::{Shard, Tab, WindowState, lock};

/// How long ending a script or a renderer may take.
pub(crate) const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Ends the renderer of a page, whether it responds or not; [`crate::BrowserEvent::WindowCrashed`] follows if it is
/// that of the main page. Returns once the page has crashed.
///
/// # Errors
/// [`WindowError::Timeout`] if it does not crash; otherwise [`WindowError::Crashed`], or [`WindowError::Closed`].
pub(crate) async fn end(shard: &Shard, window: &WindowState, tab: &Tab) -> Result<(), WindowError> {
    let known = lock(&tab.renderer).clone().map(|renderer| renderer.process);
    // A renderer reports its process id itself. Windows do not share renderers; if two report the same id, one of the
    // reports is false.
    if let Some(process) = known
        && !is_named_elsewhere(shard, window, process)
        && process.kill()
    {
        match tab.wait_for(END_TIMEOUT, |_| false).await {
            // It does not belong to that page any more.
            Err(WindowError::Timeout(_)) => {}
            ended => return ended,
        }
    }
    // Its end is the reply. It has to run for that.
    tab.call(&shard.connection, &tab.session, Crash {}, END_TIMEOUT).await?;
    tab.wait_for(END_TIMEOUT, |_| false).await
}

/// Ends the renderers of all pages of a window, in a separate task.
pub(crate) fn end_all(shard: &Arc<Shard>, window: &Arc<WindowState>) {
    let (shard, window) = (Arc::clone(shard), Arc::clone(window));
    tokio::spawn(async move {
        let tabs = window.tabs.borrow().clone();
        for tab in tabs {
            end_and_log(&shard, &window, &tab).await;
        }
    });
}

pub(crate) async fn end_and_log(shard: &Shard, window: &WindowState, tab: &Tab) {
    match end(shard, window, tab).await {
        Ok(()) | Err(WindowError::Crashed | WindowError::Closed) => {}
        Err(error) => tracing::warn!(window = %window.id, %error, "failed to end the renderer of a page"),
    }
}

fn is_named_elsewhere(shard: &Shard, window: &WindowState, process: Seen) -> bool {
    let is_in = |tab: &Arc<Tab>| lock(&tab.renderer).as_ref().is_some_and(|other| other.process == process);
    let others = shard.windows().into_iter().filter(|other| other.id != window.id);
    others.into_iter().any(|other| other.tabs.borrow().iter().any(is_in))
}
