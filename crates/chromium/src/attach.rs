//! New pages: which of them belong to a window, and their set-up before they run.

use std::future::ready;
use std::sync::Arc;

use pilotlight_cdp::protocol::browser::SetDeviceMetricsOverride;
use pilotlight_cdp::protocol::fetch::{self, RequestPattern};
use pilotlight_cdp::protocol::page::{self, SetLifecycleEventsEnabled};
use pilotlight_cdp::protocol::runtime::RunIfWaitingForDebugger;
use pilotlight_cdp::protocol::target::{AttachedToTarget, DetachFromTarget};
use pilotlight_cdp::{Connection, SessionId};

use crate::call::{auto_attach, close_target, set_up};
use crate::event::WindowId;
use crate::limits::{SET_UP_TIMEOUT, TABS_MAX};
use crate::state::{Shard, Sorted, Tab, WindowState, announce_in_context, lock, mark_changed};

pub(crate) fn page_attached(shard: &Arc<Shard>, attached: AttachedToTarget) {
    if attached.target_info.kind == "browser" {
        // A client's own session, which ends with the client.
        return;
    }
    let context = attached.target_info.browser_context_id.as_deref();
    let Some(window) = context.and_then(|id| shard.window(&WindowId::new(id))) else {
        // Not one of our windows: whoever created it sets it up.
        let target = &attached.target_info.target_id;
        let awaited = announce_in_context(&shard.client_contexts(), context, target);
        return let_go(shard, attached.session_id, awaited);
    };
    let sorted = lock(&window.record.hidden).sort(attached);
    let attached = match sorted {
        Sorted::Shown(attached) => attached,
        Sorted::Hidden(attached) if attached.waiting_for_debugger => {
            return let_go(shard, attached.session_id, ready(()));
        }
        Sorted::OfHidden(attached) => {
            return refuse_page(shard, attached.session_id, attached.target_info.target_id);
        }
        Sorted::Hidden(_) | Sorted::Waits => return,
    };
    let info = attached.target_info;
    if info.kind != "page" || shard.by_target(&info.target_id).is_some() {
        // A second session with one of our pages, opened for a single query.
        return;
    }
    if window.tabs.borrow().len() >= TABS_MAX {
        tracing::warn!(window = %window.id, limit = TABS_MAX, "a window opens too many pages; one is closed");
        return refuse_page(shard, attached.session_id, info.target_id);
    }
    let tab = Arc::new(Tab::new(info.target_id, attached.session_id.clone()));
    tab.status.send_modify(|status| (status.url, status.title) = (info.url, info.title));
    shard.add_session(attached.session_id, Arc::clone(&window), Arc::clone(&tab));
    let clients = lock(&window.clients).announce(&tab.target);
    window.tabs.send_modify(|tabs| tabs.push(Arc::clone(&tab)));
    *lock(&window.front) = Some(tab.target.clone());
    window.refresh_summary();
    mark_changed(shard, &window);
    let shard = Arc::clone(shard);
    tokio::spawn(async move {
        set_up_page(&shard.connection, &window, &tab, clients).await;
        tab.status.send_modify(|status| status.ready = true);
    });
}

/// All commands are sent at once and in this order; the last one lets the page run, once `clients` have seen it.
pub(crate) async fn set_up_page(
    connection: &Connection,
    window: &WindowState,
    tab: &Tab,
    clients: impl Future<Output = ()>,
) {
    let session = &tab.session;
    let viewport = async {
        if let Some((width, height)) = window.viewport {
            let size = SetDeviceMetricsOverride { width, height, device_scale_factor: 1.0, mobile: false };
            set_up(connection, session, size).await;
        }
    };
    tokio::join!(
        set_up(connection, session, page::Enable {}),
        set_up(connection, session, SetLifecycleEventsEnabled { enabled: true }),
        set_up(connection, session, auto_attach("iframe")),
        viewport,
        set_up_proxy(connection, window, session),
        async {
            clients.await;
            set_up(connection, session, RunIfWaitingForDebugger {}).await;
        },
    );
}

/// Proxies ask for a password once per browser context, at the first request: the one for a document. So only
/// requests for documents are paused for a moment, and Chromium remembers the password for all others.
pub(crate) async fn set_up_proxy(connection: &Connection, window: &WindowState, session: &SessionId) {
    if window.credentials.is_some() {
        let patterns = vec![RequestPattern { url_pattern: "*", resource_type: Some("Document") }];
        set_up(connection, session, fetch::Enable { patterns, handle_auth_requests: true }).await;
    }
}

/// A paused page blocks the renderer that it shares with its opener, even while it closes. So it is resumed and
/// closed at once.
fn refuse_page(shard: &Arc<Shard>, session: SessionId, target_id: String) {
    let shard = Arc::clone(shard);
    tokio::spawn(async move {
        let connection = &shard.connection;
        tokio::join!(
            set_up(connection, &session, RunIfWaitingForDebugger {}),
            close_target(connection, target_id),
        );
    });
}

pub(crate) fn let_go(
    shard: &Arc<Shard>,
    session: SessionId,
    awaited: impl Future<Output = ()> + Send + 'static,
) {
    let shard = Arc::clone(shard);
    tokio::spawn(async move {
        awaited.await;
        set_up(&shard.connection, &session, RunIfWaitingForDebugger {}).await;
        let detach = DetachFromTarget { session_id: session };
        if let Err(error) = shard.connection.call_within(None, detach, SET_UP_TIMEOUT).await {
            tracing::debug!(%error, "failed to resume a foreign page");
        }
    });
}
