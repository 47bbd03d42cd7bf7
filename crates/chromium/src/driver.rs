//! The one task that reads a browser's events and keeps [`crate::state`] true.
//!
//! It never waits for Chromium itself: whatever has to be sent is sent by a task of its own, or events would
//! pile up behind the answer. New pages are held until they have their window's set-up.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pilotlight_cdp::protocol::browser::SetDeviceMetricsOverride;
use pilotlight_cdp::protocol::fetch::{
    self, AuthAnswer, AuthRequired, ContinueRequest, ContinueWithAuth, RequestPattern, RequestPaused,
};
use pilotlight_cdp::protocol::page::{
    self, DialogClosed, DialogOpening, FrameNavigated, FrameRequestedNavigation, FrameStartedNavigating,
    FrameStoppedLoading, HandleJavaScriptDialog, LifecycleEvent, NavigatedWithinDocument,
    SetLifecycleEventsEnabled,
};
use pilotlight_cdp::protocol::runtime::RunIfWaitingForDebugger;
use pilotlight_cdp::protocol::storage::{
    DomStorageEnable, DomStorageItemAdded, DomStorageItemRemoved, DomStorageItemUpdated,
    DomStorageItemsCleared, IndexedDbContentUpdated,
};
use pilotlight_cdp::protocol::target::{
    AttachedToTarget, CloseTarget, DetachFromTarget, DetachedFromTarget, FilterEntry, GetTargetInfo,
    SetAutoAttach, TargetCrashed, TargetInfo, TargetInfoChanged,
};
use pilotlight_cdp::{Command, Connection, Event, Notification, SessionId, Subscription};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::browser::BrowserEvent;
use crate::capture::{Sorted, mark_changed, plant_in_frame, shown};
use crate::guest::announce_in_context;
use crate::state::{Dialog, RemoteFrame, Shard, Tab, WindowId, WindowState, lock};

/// How long the commands of a page's set-up may take.
const SET_UP_TIMEOUT: Duration = Duration::from_secs(10);
/// How many frames in processes of their own a page may have; more are let run without being looked into.
const REMOTE_FRAMES_MAX: usize = 256;

/// How many pages a window may have; more are closed at once.
pub const TABS_MAX: usize = 32;

/// Attaches to new pages or frames before they run.
pub(crate) fn auto_attach(kind: &'static str) -> SetAutoAttach {
    SetAutoAttach {
        auto_attach: true,
        wait_for_debugger_on_start: true,
        flatten: true,
        filter: FilterEntry::only(&[kind]),
    }
}

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
            // Nobody listens any more where the receiver is gone.
            let _ = events.send(happened).await;
        }
    }
    // Where our own queue ran over, what is known is no longer true: the browser has to be given up.
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
    } else if let Some(crashed) = event.read::<TargetCrashed>() {
        let (window, tab) = shard.by_target(&crashed.target_id)?;
        tracing::info!(window = %window.id, status = crashed.status, "a renderer died");
        return page_crashed(shard, &window, &tab);
    }
    None
}

fn session_event(shard: &Arc<Shard>, session: &SessionId, event: &Event) -> Option<BrowserEvent> {
    let (window, tab) = shard.by_session(session)?;
    match event.method.as_str() {
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
        "Page.javascriptDialogOpening" => {
            tab.status.send_modify(|status| status.dialog = true);
            ask_or_answer(shard, &window, &tab, session, event.read()?);
        }
        DialogClosed::METHOD => tab.status.send_modify(|status| {
            status.dialog = false;
            status.question = None;
        }),
        DomStorageItemAdded::METHOD
        | DomStorageItemUpdated::METHOD
        | DomStorageItemRemoved::METHOD
        | DomStorageItemsCleared::METHOD
        | IndexedDbContentUpdated::METHOD => mark_changed(shard, &window),
        "Fetch.requestPaused" => {
            let paused: RequestPaused = event.read()?;
            send(&shard.connection, session, ContinueRequest { request_id: paused.request_id });
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

/// No event tells of a title, so it is asked for when a document has loaded and when it has come to rest.
fn is_worth_a_look(tab: &Tab, event: &Event) -> bool {
    event.read::<LifecycleEvent>().is_some_and(|lifecycle| {
        lifecycle.frame_id == tab.target && matches!(lifecycle.name.as_str(), "load" | "networkIdle")
    })
}

/// Brings URL and title of a page up to date.
pub(crate) async fn look_at(shard: &Shard, window: &WindowState, tab: &Tab) {
    let question = GetTargetInfo { target_id: tab.target.clone() };
    match shard.connection.call_within(None, question, SET_UP_TIMEOUT).await {
        Ok(reply) => remember(window, tab, reply.target_info),
        Err(error) => tracing::debug!(%error, "a page could not be looked at"),
    }
}

fn remember(window: &WindowState, tab: &Tab, info: TargetInfo) {
    tab.status.send_if_modified(|status| {
        let changed = status.url != info.url || status.title != info.title;
        (status.url, status.title) = (info.url, info.title);
        changed
    });
    window.refresh_summary();
}

/// What of the page's own loading is remembered. Chromium sends `frameStartedLoading` for moves within a
/// document as well, so it is not used.
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
        && lifecycle.name == "load"
    {
        tab.status.send_modify(|status| status.loaded_loader = lifecycle.loader_id);
    }
}

/// What of the page's moves matters to a capture.
fn note_change(shard: &Shard, window: &WindowState, tab: &Tab, event: &Event) {
    if let Some(navigated) = event.read::<FrameNavigated>() {
        // Frames come and go with their pages; those of other sites have storage that is theirs alone.
        if navigated.frame.parent_id.is_none() {
            shown(shard, window, &navigated.frame.security_origin);
            mark_changed(shard, window);
        }
    } else if event.read::<NavigatedWithinDocument>().is_some_and(|moved| moved.frame_id == tab.target) {
        mark_changed(shard, window);
    }
}

/// Whether the page's own document is about to be replaced: the page asks for it, or Chromium begins.
pub(crate) fn begins_navigation(tab: &Tab, event: &Event) -> bool {
    if let Some(requested) = event.read::<FrameRequestedNavigation>() {
        return requested.frame_id == tab.target && requested.disposition == "currentTab";
    }
    event.read::<FrameStartedNavigating>().is_some_and(|started| {
        let within = started.navigation_type.to_ascii_lowercase().contains("samedocument");
        started.frame_id == tab.target && !within
    })
}

pub(crate) fn page_attached(shard: &Arc<Shard>, attached: AttachedToTarget) {
    if attached.target_info.kind == "browser" {
        // A guest's own session, which is ended with the guest.
        return;
    }
    let context = attached.target_info.browser_context_id.as_deref();
    let Some(window) = context.and_then(|id| shard.window(&WindowId::new(id))) else {
        // Not of our windows: whoever made it looks after it.
        let target = &attached.target_info.target_id;
        let awaited = announce_in_context(&shard.guest_contexts(), context, target);
        return let_go(shard, attached.session_id, awaited);
    };
    let sorted = lock(&window.record.hidden).sort(attached);
    let attached = match sorted {
        Sorted::Shown(attached) => attached,
        Sorted::Hidden(attached) if attached.waiting_for_debugger => {
            return let_go(shard, attached.session_id, ready(()));
        }
        Sorted::Hidden(_) | Sorted::Waits => return,
    };
    let info = attached.target_info;
    if info.kind != "page" || shard.by_target(&info.target_id).is_some() {
        // A second session on a page of ours, opened for one question.
        return;
    }
    if window.tabs.borrow().len() >= TABS_MAX {
        tracing::warn!(window = %window.id, limit = TABS_MAX, "a window opens too many pages; one is closed");
        return refuse_page(shard, attached.session_id, info.target_id);
    }
    let tab = Arc::new(Tab::new(info.target_id, attached.session_id.clone()));
    tab.status.send_modify(|status| (status.url, status.title) = (info.url, info.title));
    shard.add_session(attached.session_id, Arc::clone(&window), Arc::clone(&tab));
    let guests = lock(&window.guests).announce(&tab.target);
    window.tabs.send_modify(|tabs| tabs.push(Arc::clone(&tab)));
    *lock(&window.front) = Some(tab.target.clone());
    window.refresh_summary();
    mark_changed(shard, &window);
    let shard = Arc::clone(shard);
    tokio::spawn(async move {
        set_up_page(&shard.connection, &window, &tab, guests).await;
        tab.status.send_modify(|status| status.ready = true);
    });
}

/// All commands leave at once and in this order; the last one lets the page run, once `guests` have seen it.
pub(crate) async fn set_up_page(
    connection: &Connection,
    window: &WindowState,
    tab: &Tab,
    guests: impl Future<Output = ()>,
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
            guests.await;
            set_up(connection, session, RunIfWaitingForDebugger {}).await;
        },
    );
}

/// Proxies ask for a password once per browser context, at the first request: the one for a document. So
/// documents alone are held for a moment, and everything else finds the password remembered by Chromium.
async fn set_up_proxy(connection: &Connection, window: &WindowState, session: &SessionId) {
    if window.credentials.is_some() {
        let patterns = vec![RequestPattern { url_pattern: "*", resource_type: Some("Document") }];
        set_up(connection, session, fetch::Enable { patterns, handle_auth_requests: true }).await;
    }
}

pub(crate) async fn set_up<C: Command>(connection: &Connection, session: &SessionId, command: C) {
    if let Err(error) = connection.call_within(Some(session), command, SET_UP_TIMEOUT).await {
        tracing::debug!(%error, "a page's set-up is incomplete; it may be gone already");
    }
}

fn page_detached(shard: &Shard, session: &SessionId) -> Option<BrowserEvent> {
    let Some((window, tab)) = shard.by_session(session) else {
        shard.windows().iter().for_each(|window| lock(&window.record.hidden).forget(session));
        return None;
    };
    if tab.session != *session {
        return None;
    }
    window.tabs.send_modify(|tabs| tabs.retain(|known| !Arc::ptr_eq(known, &tab)));
    let front = window.tabs.borrow().last().map(|tab| tab.target.clone());
    *lock(&window.front) = front;
    window.refresh_summary();
    // Last, since it wakes those who wait for the page to be gone.
    shard.forget_sessions(&tab);
    mark_changed(shard, &window);
    let emptied = window.tabs.borrow().is_empty() && !window.is_closing();
    emptied.then(|| BrowserEvent::WindowEmptied { window: window.id.clone() })
}

/// `Inspector.targetCrashed` tells the same a moment earlier and is left aside: coming twice, a crash could
/// be taken for that of a page that was reloaded in between.
///
/// Only the main page is worth bringing back: every other one is closed, and the main page stays as it is.
fn page_crashed(shard: &Arc<Shard>, window: &WindowState, tab: &Arc<Tab>) -> Option<BrowserEvent> {
    let news = tab.status.send_if_modified(|status| {
        let news = !status.crashed;
        status.crashed = true;
        status.loading = false;
        status.dialog = false;
        status.question = None;
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

/// A frame of another site in full Chromium: a process and a session of its own.
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

pub(crate) fn close_page(shard: &Arc<Shard>, target_id: String) {
    let shard = Arc::clone(shard);
    tokio::spawn(async move { close_target(&shard.connection, target_id).await });
}

/// A page that is held holds the renderer that it shares with the page that opened it, even while it closes.
/// So it is let run and closed in one go.
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

pub(crate) async fn close_target(connection: &Connection, target_id: String) {
    if let Err(error) = connection.call_within(None, CloseTarget { target_id }, SET_UP_TIMEOUT).await {
        tracing::debug!(%error, "a page could not be closed; it may be gone already");
    }
}

fn let_go(shard: &Arc<Shard>, session: SessionId, awaited: impl Future<Output = ()> + Send + 'static) {
    let shard = Arc::clone(shard);
    tokio::spawn(async move {
        awaited.await;
        set_up(&shard.connection, &session, RunIfWaitingForDebugger {}).await;
        let detach = DetachFromTarget { session_id: session };
        if let Err(error) = shard.connection.call_within(None, detach, SET_UP_TIMEOUT).await {
            tracing::debug!(%error, "a foreign page could not be let go");
        }
    });
}

/// So that no window hangs: what only tells something and what keeps from leaving is accepted, what asks is
/// answered with no.
/// While a person steers, the person is asked.
fn ask_or_answer(shard: &Shard, window: &WindowState, tab: &Tab, session: &SessionId, dialog: DialogOpening) {
    if window.steered.load(Ordering::Acquire) > 0 && *session == tab.session {
        let DialogOpening { kind, message, default_prompt } = dialog;
        return tab
            .status
            .send_modify(|status| status.question = Some(Dialog { kind, message, default_prompt }));
    }
    // Where a client is there to see it, it is his to answer.
    if !lock(&window.guests).is_empty() {
        return;
    }
    let accept = default_answer(&dialog.kind);
    tracing::debug!(kind = dialog.kind, accept, "a dialog is answered");
    send(&shard.connection, session, HandleJavaScriptDialog { accept, prompt_text: None });
}

/// How a dialog is answered where nobody is asked.
pub(crate) fn default_answer(kind: &str) -> bool {
    matches!(kind, "alert" | "beforeunload")
}

/// The password is given once for each request; a proxy that asks again has refused it.
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

/// Sends without waiting; the page may be gone by then.
pub(crate) fn send<C: Command + Send + 'static>(connection: &Connection, session: &SessionId, command: C)
where
    C::Reply: Send,
{
    let (connection, session) = (connection.clone(), session.clone());
    tokio::spawn(async move { set_up(&connection, &session, command).await });
}
