//! Pages of a window that clients do not see and that are not in the list of its pages. They share its cookies and
//! storage, and end with the server that created them: Chromium closes them when the session ends that requested them
//! (`Target.createTarget`, `hidden`).

use std::sync::Arc;

use pilotlight_cdp::SessionId;
use pilotlight_cdp::protocol::target::{
    AttachToBrowserTarget, AttachToTarget, CloseTarget, CreateHiddenTarget, DetachFromTarget,
};

use crate::attach::page_attached;
use crate::error::WindowError;
use crate::limits::COMMAND_TIMEOUT;
use crate::state::{BLANK, Shard, WindowState, lock};

/// A hidden page, which is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct HiddenPage {
    pub(crate) shard: Arc<Shard>,
    window: Arc<WindowState>,
    /// The browser session that created it, with which it ends.
    maker: SessionId,
    pub(crate) target: String,
    pub(crate) session: SessionId,
}

impl Drop for HiddenPage {
    fn drop(&mut self) {
        let target = std::mem::take(&mut self.target);
        close(&self.shard, &self.window, self.maker.clone(), Some(target));
    }
}

impl HiddenPage {
    /// Opens an empty one. In a task of its own: if the caller is dropped meanwhile, the page must not be left
    /// behind.
    pub(crate) async fn open(shard: &Arc<Shard>, window: &Arc<WindowState>) -> Result<Self, WindowError> {
        let opening = tokio::spawn(open(Arc::clone(shard), Arc::clone(window)));
        opening.await.unwrap_or(Err(WindowError::Closed))
    }
}

async fn open(shard: Arc<Shard>, window: Arc<WindowState>) -> Result<HiddenPage, WindowError> {
    let connection = &shard.connection;
    let maker = connection.call_within(None, AttachToBrowserTarget {}, COMMAND_TIMEOUT).await?.session_id;
    lock(&window.record.hidden).pending += 1;
    let create = CreateHiddenTarget {
        url: BLANK.into(),
        browser_context_id: window.id.as_str().into(),
        background: true,
        hidden: true,
    };
    let created = connection.call_within(Some(&maker), create, COMMAND_TIMEOUT).await;
    let target = created.as_ref().ok().map(|created| created.target_id.clone());
    settle(&shard, &window, target.as_deref());
    let attached = match &target {
        Some(target) => {
            let attach = AttachToTarget { target_id: target.clone(), flatten: true };
            connection.call_within(None, attach, COMMAND_TIMEOUT).await
        }
        None => Err(pilotlight_cdp::CdpError::Closed),
    };
    match (created, attached) {
        (Ok(created), Ok(attached)) => {
            let (target, session) = (created.target_id, attached.session_id);
            Ok(HiddenPage { shard, window, maker, target, session })
        }
        (Err(error), _) | (_, Err(error)) => {
            close(&shard, &window, maker, target);
            Err(error.into())
        }
    }
}

/// Handles that the hidden page is known now: those that waited get their kind.
fn settle(shard: &Arc<Shard>, window: &WindowState, target: Option<&str>) {
    let mut hidden = lock(&window.record.hidden);
    hidden.pending -= 1;
    hidden.targets.extend(target.map(str::to_owned));
    let waiting = std::mem::take(&mut hidden.waiting);
    drop(hidden);
    for attached in waiting {
        page_attached(shard, attached);
    }
}

fn close(shard: &Arc<Shard>, window: &Arc<WindowState>, maker: SessionId, target: Option<String>) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let (shard, window) = (Arc::clone(shard), Arc::clone(window));
    runtime.spawn(async move {
        if let Some(target) = target {
            let close = CloseTarget { target_id: target.clone() };
            if let Err(error) = shard.connection.call_within(None, close, COMMAND_TIMEOUT).await {
                tracing::debug!(%error, "failed to close a hidden page; it may have been closed already");
            }
            lock(&window.record.hidden).targets.remove(&target);
        }
        let detach = DetachFromTarget { session_id: maker };
        if let Err(error) = shard.connection.call_within(None, detach, COMMAND_TIMEOUT).await {
            tracing::debug!(%error, "failed to end the session of a hidden page");
        }
    });
}
