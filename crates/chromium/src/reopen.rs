//! Opening an empty page in a window: its first, and another one after its last was closed.

use std::sync::Arc;

use pilotlight_cdp::protocol::target::CreateTarget;

use crate::call::close_target;
use crate::engine::Engine;
use crate::error::WindowError;
use crate::event::BrowserEvent;
use crate::limits::OPEN_TIMEOUT;
use crate::state::{Shard, WindowState};

/// Opens an empty page and returns its id.
pub(crate) async fn open_empty_page(shard: &Shard, state: &WindowState) -> Result<String, WindowError> {
    let create = CreateTarget {
        url: "about:blank".into(),
        browser_context_id: state.id.as_str().into(),
        new_window: shard.engine != Engine::HeadlessShell,
    };
    let target = shard.connection.call_within(None, create, OPEN_TIMEOUT).await?.target_id;
    let mut tabs = state.tabs.subscribe();
    let tabs = tabs.wait_for(|tabs| tabs.iter().any(|tab| tab.target == target)).await;
    let tab = tabs.ok().and_then(|tabs| tabs.iter().find(|tab| tab.target == target).cloned());
    let tab = tab.ok_or(WindowError::Closed)?;
    tab.wait_for(OPEN_TIMEOUT, |status| status.ready).await?;
    Ok(target)
}

/// Opens an empty page in a window after its last one was closed: the context continues to exist without a page (only
/// `Target.disposeBrowserContext` ends it), with its cookies and its storage.
///
/// # Errors
/// If the context is gone as well.
pub(crate) async fn reopen(shard: &Shard, state: &WindowState) -> Result<(), WindowError> {
    let opening = tokio::time::timeout(OPEN_TIMEOUT, open_empty_page(shard, state)).await;
    let opened = opening.unwrap_or(Err(WindowError::Timeout(OPEN_TIMEOUT)));
    // A client may have been faster, and closed our page as well.
    match (state.main_tab(), opened) {
        (Ok(main), Ok(target)) if main.target != target => {
            close_target(&shard.connection, target).await;
            Ok(())
        }
        (Ok(_), _) => Ok(()),
        (Err(_), opened) => opened.and(Err(WindowError::Closed)),
    }
}

/// Does the same in the background, and reports the result.
pub(crate) async fn reopen_and_tell(shard: Arc<Shard>, state: Arc<WindowState>) {
    let window = state.id.clone();
    match reopen(&shard, &state).await {
        Ok(()) => shard.tell_surely(BrowserEvent::LastPageClosed { window }).await,
        Err(error) if state.is_closing() => {
            tracing::debug!(%error, "no page was opened in a window that is being closed");
        }
        Err(error) => {
            tracing::warn!(%window, %error, "failed to open a page in a window whose last one was closed");
            shard.tell_surely(BrowserEvent::WindowEmptied { window }).await;
        }
    }
}
