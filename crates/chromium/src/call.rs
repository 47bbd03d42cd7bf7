//! The few commands that several modules send to a browser and its pages.

use std::sync::Arc;

use pilotlight_cdp::protocol::page::{FrameRequestedNavigation, FrameStartedNavigating};
use pilotlight_cdp::protocol::target::{CloseTarget, FilterEntry, GetTargetInfo, SetAutoAttach, TargetInfo};
use pilotlight_cdp::{Command, Connection, Event, SessionId};

use crate::limits::SET_UP_TIMEOUT;
use crate::state::{Shard, Tab, WindowState};

/// Enables attaching to new pages or frames before they run.
pub(crate) fn auto_attach(kind: &'static str) -> SetAutoAttach {
    SetAutoAttach {
        auto_attach: true,
        wait_for_debugger_on_start: true,
        flatten: true,
        filter: FilterEntry::only(&[kind]),
    }
}

pub(crate) async fn set_up<C: Command>(connection: &Connection, session: &SessionId, command: C) {
    if let Err(error) = connection.call_within(Some(session), command, SET_UP_TIMEOUT).await {
        tracing::debug!(%error, "a page's set-up is incomplete; it may have been closed");
    }
}

/// Sends without waiting; the page may be closed by then.
pub(crate) fn send<C: Command + Send + 'static>(connection: &Connection, session: &SessionId, command: C)
where
    C::Reply: Send,
{
    let (connection, session) = (connection.clone(), session.clone());
    tokio::spawn(async move { set_up(&connection, &session, command).await });
}

pub(crate) async fn close_target(connection: &Connection, target_id: String) {
    if let Err(error) = connection.call_within(None, CloseTarget { target_id }, SET_UP_TIMEOUT).await {
        tracing::debug!(%error, "failed to close a page; it may have been closed already");
    }
}

pub(crate) fn close_page(shard: &Arc<Shard>, target_id: String) {
    let shard = Arc::clone(shard);
    tokio::spawn(async move { close_target(&shard.connection, target_id).await });
}

/// Updates the URL and the title of a page.
pub(crate) async fn look_at(shard: &Shard, window: &WindowState, tab: &Tab) {
    let question = GetTargetInfo { target_id: tab.target.clone() };
    match shard.connection.call_within(None, question, SET_UP_TIMEOUT).await {
        Ok(reply) => remember(window, tab, reply.target_info),
        Err(error) => tracing::debug!(%error, "failed to query a page"),
    }
}

pub(crate) fn remember(window: &WindowState, tab: &Tab, info: TargetInfo) {
    tab.status.send_if_modified(|status| {
        let changed = status.url != info.url || status.title != info.title;
        (status.url, status.title) = (info.url, info.title);
        changed
    });
    window.refresh_summary();
}

/// Returns whether the page's own document is about to be replaced, by the page or by Chromium.
pub(crate) fn begins_navigation(tab: &Tab, event: &Event) -> bool {
    if let Some(requested) = event.read::<FrameRequestedNavigation>() {
        return requested.frame_id == tab.target && requested.disposition == "currentTab";
    }
    event.read::<FrameStartedNavigating>().is_some_and(|started| {
        let within = started.navigation_type.to_ascii_lowercase().contains("samedocument");
        started.frame_id == tab.target && !within
    })
}
