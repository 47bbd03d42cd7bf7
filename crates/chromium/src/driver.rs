//! The task that reads a browser's events and keeps [`crate::state`] up to date.
//!
//! It never waits for Chromium itself: commands are sent by separate tasks, because events would queue up behind the
//! reply. New pages are paused until their set-up is complete.

use std::future::ready;
use std::sync::Arc;

use pilotlight_cdp::protocol::fetch::{
    AuthAnswer, AuthRequired, ContinueRequest, ContinueWithAuth, FailRequest, RequestPaused,
};
use pilotlight_cdp::protocol::page::{
    DialogClosed, FrameNavigated, FrameStartedNavigating, FrameStoppedLoading, LifecycleEvent,
    NavigatedWithinDocument,
};
use pilotlight_cdp::protocol::runtime::RunIfWaitingForDebugger;
use pilotlight_cdp::protocol::storage::{
    DomStorageEnable, DomStorageItemAdded, DomStorageItemRemoved, DomStorageItemUpdated,
    DomStorageItemsCleared, IndexedDbContentUpdated,
};
use pilotlight_cdp::protocol::target::{
    AttachedToTarget, DetachedFromTarget, TargetCrashed, TargetInfo, TargetInfoChanged,
};
use pilotlight_cdp::{
    Connection, Event, FLOODS, HOLDS_OTHERS_UP, MESSAGE_TOO_LONG, Notification, SessionId, Subscription,
};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::attach::{let_go, page_attached, set_up_proxy};
use crate::call::{auto_attach, begins_navigation, close_page, look_at, remember, send, set_up};
use crate::capture::plant_in_frame;
use crate::dialogs;
use crate::event::{BrowserEvent, WindowId};
use crate::renderer;
use crate::reopen::reopen_and_tell;
use crate::state::{RemoteFrame, Shard, Tab, WindowState, lock, mark_changed, shown};
use crate::window::may_be_sent;

/// The reason for ending pages whose clients get messages that are too long or too many.
#[derive(serde::Deserialize)]
struct OfClient {
    group: Option<String>,
}

/// Out-of-process frames of a page that are set up; further ones run without being read.
const REMOTE_FRAMES_MAX: usize = 256;

/// Reads events until the connection closes.
pub(crate) async fn drive(
    shard: Arc<Shard>,
    mut subscription: Subscription,
    events: mpsc::Sender<BrowserEvent>,
) {
    shard.tell_to(&events);
    while let Some(event) = subscription.next().await {
        let happened = match &event.session {
            None => root_event(&shard, &event),
            Some(session) => session_event(&shard, session, &event),
        };
        if let Some(happened) = happened {
            // The receiver has been dropped.
            let _ = events.send(happened).await;
        }
    }
    // If our own queue overflowed, the state is no longer accurate: the browser has to be replaced.
    shard.connection.close();
    shard.clear();
}

fn root_event(shard: &Arc<Shard>, event: &Event) -> Option<BrowserEvent> {
    if let Some(attached) = event.read::<AttachedToTarget>() {
        page_attached(shard, attached);
    } else if let Some(detached) = event.read::<DetachedFromTarget>() {
        return page_detached(shard, &detached.session_id);
    } else if let Some(changed) = event.read::<TargetInfoChanged>() {
        target_changed(shard, changed.target_info);
    } else if matches!(event.method.as_str(), MESSAGE_TOO_LONG | HOLDS_OTHERS_UP | FLOODS) {
        let of_client: OfClient = serde_json::from_str(event.params.get()).ok()?;
        let window = shard.window(&WindowId::new(&of_client.group?))?;
        if event.method != HOLDS_OTHERS_UP {
            let reason = event.method.as_str();
            tracing::warn!(window = %window.id, reason, "what its clients are sent is too much; its pages are ended");
            renderer::end_all(shard, &window);
        }
        return held_others_up(&window);
    } else if let Some(crashed) = event.read::<TargetCrashed>() {
        let (window, tab) = shard.by_target(&crashed.target_id)?;
        tracing::info!(window = %window.id, status = crashed.status, "a renderer died");
        return page_crashed(shard, &window, &tab);
    }
    None
}

fn held_others_up(window: &WindowState) -> Option<BrowserEvent> {
    Some(BrowserEvent::WindowHeldOthersUp { window: window.id.clone() })
}

fn session_event(shard: &Arc<Shard>, session: &SessionId, event: &Event) -> Option<BrowserEvent> {
    let (window, tab) = shard.by_session(session)?;
    match event.method.as_str() {
        MESSAGE_TOO_LONG | FLOODS => {
            // Its state is no longer accurate, and it kept its browser busy for that long.
            let reason = event.method.as_str();
            tracing::warn!(window = %window.id, reason, "a page has the browser tell too much and is ended");
            let (shard, ended) = (Arc::clone(shard), Arc::clone(&window));
            tokio::spawn(async move { renderer::end_and_log(&shard, &ended, &tab).await });
            return held_others_up(&window);
        }
        HOLDS_OTHERS_UP => return held_others_up(&window),
        "Target.attachedToTarget" => frame_attached(shard, &window, &tab, session, event.read()?),
        "Target.detachedFromTarget" => {
            let detached: DetachedFromTarget = event.read()?;
            shard.remove_session(&detached.session_id);
            lock(&tab.remote_frames).retain(|frame| {
                let stays = frame.session != detached.session_id;
                if !stays {
                    frame.gone.cancel();
                }
                stays
            });
        }
        "Page.javascriptDialogOpening" => dialogs::opened(shard, &window, &tab, session, event.read()?),
        DialogClosed::METHOD => return dialogs::closed(&window, &tab, &event.read()?),
        DomStorageItemAdded::METHOD
        | DomStorageItemUpdated::METHOD
        | DomStorageItemRemoved::METHOD
        | DomStorageItemsCleared::METHOD
        | IndexedDbContentUpdated::METHOD => mark_changed(shard, &window),
        "Fetch.requestPaused" => {
            let paused: RequestPaused = event.read()?;
            if may_be_sent(&window, &tab, &paused) {
                send(&shard.connection, session, ContinueRequest { request_id: paused.request_id });
            } else {
                let fail = FailRequest { request_id: paused.request_id, error_reason: "BlockedByClient" };
                send(&shard.connection, session, fail);
            }
        }
        "Fetch.authRequired" => answer_proxy(&shard.connection, &window, &tab, session, event.read()?),
        "Inspector.targetReloadedAfterCrash" if *session == tab.session => {
            tab.status.send_modify(|status| status.crashed = false);
        }
        _ if *session == tab.session => {
            loading_event(&tab, event);
            note_change(shard, &window, &tab, event);
            if is_worth_a_look(&tab, event) {
                let shard = Arc::clone(shard);
                tokio::spawn(async move { look_at(&shard, &window, &tab).await });
            }
        }
        _ => {}
    }
    None
}

/// There is no event for titles, so the title is queried when a document has loaded and when it is idle.
fn is_worth_a_look(tab: &Tab, event: &Event) -> bool {
    event.read::<LifecycleEvent>().is_some_and(|lifecycle| {
        lifecycle.frame_id == tab.target && matches!(lifecycle.name.as_str(), "load" | "networkIdle")
    })
}

/// Tracks the page's own loading. Chromium sends `frameStartedLoading` for navigation within a document as well, so
/// it is not used.
fn loading_event(tab: &Tab, event: &Event) {
    if begins_navigation(tab, event) {
        tab.status.send_modify(|status| {
            status.navigations += 1;
            if event.method == FrameStartedNavigating::METHOD {
                status.loading = true;
                status.navigating_since = Some(Instant::now());
            } else {
                status.requested_at = Some(Instant::now());
            }
        });
    } else if let Some(stopped) = event.read::<FrameStoppedLoading>() {
        if stopped.frame_id == tab.target {
            tab.status.send_modify(|status| {
                status.loading = false;
                status.navigating_since = None;
                status.requested_at = None;
            });
        }
    } else if let Some(navigated) = event.read::<FrameNavigated>() {
        if navigated.frame.parent_id.is_none() {
            tab.status.send_modify(|status| {
                status.committed(navigated.frame.loader_id);
                status.navigating_since = None;
                status.has_content |=
                    navigated.frame.url.starts_with("http") || navigated.frame.unreachable_url.is_some();
                status.loading = true;
                status.unreachable = navigated.frame.unreachable_url.is_some();
            });
        }
    } else if let Some(lifecycle) = event.read::<LifecycleEvent>()
        && lifecycle.frame_id == tab.target
    {
        match lifecycle.name.as_str() {
            "load" => tab.status.send_modify(|status| status.loaded_loader = lifecycle.loader_id),
            "DOMContentLoaded" => tab.status.send_modify(|status| status.parsed_loader = lifecycle.loader_id),
            _ => {}
        }
    }
}

/// Tracks navigations that matter to a capture.
fn note_change(shard: &Shard, window: &WindowState, tab: &Tab, event: &Event) {
    if let Some(navigated) = event.read::<FrameNavigated>() {
        // Frames come and go with their pages; those of other sites have separate storage.
        if navigated.frame.parent_id.is_none() {
            shown(shard, window, &navigated.frame.security_origin);
            mark_changed(shard, window);
        }
    } else if event.read::<NavigatedWithinDocument>().is_some_and(|moved| moved.frame_id == tab.target) {
        mark_changed(shard, window);
    }
}

fn page_detached(shard: &Arc<Shard>, session: &SessionId) -> Option<BrowserEvent> {
    let Some((window, tab)) = shard.by_session(session) else {
        shard.windows().iter().for_each(|window| lock(&window.record.hidden).forget(session));
        return None;
    };
    if tab.session != *session {
        return None;
    }
    let is_shown = window.tabs.borrow().iter().any(|known| Arc::ptr_eq(known, &tab));
    if !is_shown {
        // A hidden page.
        shard.forget_sessions(&tab);
        return None;
    }
    window.tabs.send_modify(|tabs| tabs.retain(|known| !Arc::ptr_eq(known, &tab)));
    let front = window.tabs.borrow().last().map(|tab| tab.target.clone());
    *lock(&window.front) = front;
    window.refresh_summary();
    // Last, since it wakes tasks that wait for the page to be closed.
    shard.forget_sessions(&tab);
    mark_changed(shard, &window);
    if window.tabs.borrow().is_empty() && !window.is_closing() {
        tokio::spawn(reopen_and_tell(Arc::clone(shard), window));
    }
    None
}

/// `Inspector.targetCrashed` reports the same a moment earlier and is ignored: with two events, a crash could be
/// attributed to a page that was reloaded in between.
///
/// Only the main page is worth restoring: every other one is closed, and the main page remains the same.
fn page_crashed(shard: &Arc<Shard>, window: &WindowState, tab: &Arc<Tab>) -> Option<BrowserEvent> {
    let news = tab.status.send_if_modified(|status| {
        let news = !status.crashed;
        status.crashed = true;
        status.loading = false;
        status.dialog = None;
        status.navigating_since = None;
        status.requested_at = None;
        news
    });
    *lock(&tab.renderer) = None;
    if !news || window.is_closing() {
        return None;
    }
    let is_main = window.tabs.borrow().first().is_some_and(|main| Arc::ptr_eq(main, tab));
    if !is_main {
        close_page(shard, tab.target.clone());
        return None;
    }
    Some(BrowserEvent::WindowCrashed { window: window.id.clone() })
}

fn target_changed(shard: &Shard, info: TargetInfo) {
    if let Some((window, tab)) = shard.by_target(&info.target_id) {
        return remember(&window, &tab, info);
    }
    if info.kind == "iframe" {
        for window in shard.windows() {
            for tab in window.tabs.borrow().iter() {
                let mut frames = lock(&tab.remote_frames);
                for frame in frames.iter_mut().filter(|frame| frame.frame == info.target_id) {
                    frame.url.clone_from(&info.url);
                }
            }
        }
    }
}

/// Handles a frame of another site in full Chromium, which has a process and a session of its own.
fn frame_attached(
    shard: &Arc<Shard>,
    window: &Arc<WindowState>,
    tab: &Arc<Tab>,
    parent: &SessionId,
    attached: AttachedToTarget,
) {
    let session = attached.session_id;
    let mut frames = lock(&tab.remote_frames);
    if frames.len() >= REMOTE_FRAMES_MAX {
        drop(frames);
        return let_go(shard, session, ready(()));
    }
    let info = attached.target_info;
    frames.push(RemoteFrame {
        session: session.clone(),
        frame: info.target_id,
        parent: parent.clone(),
        url: info.url,
        gone: CancellationToken::new(),
    });
    drop(frames);
    shard.add_session(session.clone(), Arc::clone(window), Arc::clone(tab));
    let (shard, window, tab) = (Arc::clone(shard), Arc::clone(window), Arc::clone(tab));
    tokio::spawn(async move {
        let connection = &shard.connection;
        let watch = async {
            if window.record.is_watched() {
                set_up(connection, &session, DomStorageEnable {}).await;
            }
        };
        tokio::join!(
            set_up(connection, &session, auto_attach("iframe")),
            plant_in_frame(connection, &tab, &session),
            watch,
            set_up_proxy(connection, &window, &session),
            set_up(connection, &session, RunIfWaitingForDebugger {}),
        );
    });
}

/// The password is sent once for each request; a proxy that asks again has rejected it.
fn answer_proxy(
    connection: &Connection,
    window: &WindowState,
    tab: &Tab,
    session: &SessionId,
    asked: AuthRequired,
) {
    let from_proxy = asked.auth_challenge.source.as_deref() == Some("Proxy");
    let auth_challenge_response = match &window.credentials {
        Some(credentials) if from_proxy => {
            let answered_before = lock(&tab.answered).replace(asked.request_id.clone());
            if answered_before.as_ref() == Some(&asked.request_id) {
                tab.status.send_modify(|status| status.proxy_refusals += 1);
                AuthAnswer::CancelAuth
            } else {
                AuthAnswer::ProvideCredentials {
                    username: credentials.username.clone(),
                    password: credentials.password.clone(),
                }
            }
        }
        _ => AuthAnswer::Default,
    };
    send(connection, session, ContinueWithAuth { request_id: asked.request_id, auth_challenge_response });
}
