//! Adopting a browser that an earlier server left, with its windows as they are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use pilotlight_cdp::protocol::browser::GetVersion;
use pilotlight_cdp::protocol::inspector;
use pilotlight_cdp::protocol::page::GetFrameTree;
use pilotlight_cdp::protocol::target::{FilterEntry, GetBrowserContexts, GetTargets, TargetInfo};
use pilotlight_cdp::{CdpError, Connection, Scope, SessionId, Subscription};
use tokio::sync::{mpsc, watch};

use super::{
    BROWSER_EVENTS_QUEUE, Browser, BrowserEvent, PROTOCOL_EVENTS_QUEUE, WindowOptions, follow, give_up,
    keep_notes,
};
use crate::attach::set_up_page;
use crate::call::close_target;
use crate::error::{LostWindow, StartError, WindowError};
use crate::event::WindowId;
use crate::launch::Started;
use crate::launcher::Launched;
use crate::proxy::Proxy;
use crate::reopen::reopen;
use crate::shim::{OrphanedBrowser, ShimHandle, is_of_window, main_page_note, window_note};
use crate::state::{Shard, Tab, WindowState, is_stub, lock};
use crate::window::{Window, dispose};

/// How long the first response of an adopted browser may take. Measured: about 0.01 s.
pub const ADOPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the set-up of the pages of an adopted window may take. An unresponsive page is adopted all the same: the
/// heartbeat or its next use notices it.
const PAGES_TIMEOUT: Duration = Duration::from_secs(3);
/// Events of a page that may wait.
const PAGE_EVENTS_QUEUE: usize = 1024;

impl Browser {
    /// Adopts a browser with those of its windows that are named, by context id (see [`OrphanedBrowser::windows`]),
    /// and the options that they were opened with. Returns each, or the reason why it is lost, in the same order. All
    /// other contexts are disposed of.
    ///
    /// Processes, pages and variables are unchanged. What the set-up of a window had enabled in its pages was
    /// disabled since its server ended, and is enabled again when this returns.
    ///
    /// # Errors
    /// If the browser does not respond within [`ADOPT_TIMEOUT`]; then it is ended and nothing of it is left.
    pub async fn adopt(
        orphan: OrphanedBrowser,
        windows: Vec<(String, WindowOptions)>,
    ) -> Result<(Self, mpsc::Receiver<BrowserEvent>, Vec<Result<Window, LostWindow>>), StartError> {
        let engine = orphan.engine();
        let Launched { started: Started { reader, writer, process }, next_id, shim } =
            Launched::by(orphan.take().await?);
        let shard = Arc::new(Shard::new(
            Connection::with_next_id(reader, writer, next_id),
            process.folder.clone(),
            engine,
        ));
        let (sender, receiver) = mpsc::channel(BROWSER_EVENTS_QUEUE);
        let taking_over = async {
            let version =
                shard.connection.call_within(None, GetVersion {}, ADOPT_TIMEOUT).await.map_err(refused)?;
            let adopted = take_over(&shard, shim.as_ref(), windows, sender.clone()).await?;
            Ok((version.product, adopted))
        };
        let late = || StartError::Timeout { timeout: ADOPT_TIMEOUT, stderr: Vec::new() };
        let taken = tokio::time::timeout(ADOPT_TIMEOUT, taking_over).await.unwrap_or_else(|_| Err(late()));
        let (product, states) = match taken {
            Ok(taken) => taken,
            Err(error) => return Err(give_up(error, &shard, &process).await),
        };
        let hand_out =
            |state: Result<Arc<WindowState>, LostWindow>| Ok(Window::new(Arc::clone(&shard), state?));
        let windows = states.into_iter().map(hand_out).collect();
        Ok((Self::running(shard, process, product, shim, sender), receiver, windows))
    }
}

fn refused(error: CdpError) -> StartError {
    match error {
        CdpError::Timeout { .. } => StartError::Timeout { timeout: ADOPT_TIMEOUT, stderr: Vec::new() },
        error => StartError::Refused(error.into()),
    }
}

async fn take_over(
    shard: &Arc<Shard>,
    shim: Option<&ShimHandle>,
    windows: Vec<(String, WindowOptions)>,
    events: mpsc::Sender<BrowserEvent>,
) -> Result<Vec<Result<Arc<WindowState>, LostWindow>>, StartError> {
    let notes = shim.map(ShimHandle::notes).unwrap_or_default();
    let contexts = shard.connection.call(None, GetBrowserContexts {}).await.map_err(refused)?;
    let targets = GetTargets { filter: FilterEntry::only(&["page"]) };
    let targets = shard.connection.call(None, targets).await.map_err(refused)?.target_infos;
    let mut pages: HashMap<String, Vec<String>> = HashMap::new();
    let (stubs, targets): (Vec<_>, Vec<_>) = targets.into_iter().partition(|target| is_stub(&target.url));
    for target in targets {
        pages.entry(target.browser_context_id.unwrap_or_default()).or_default().push(target.target_id);
    }
    let known: HashSet<&String> = contexts.browser_context_ids.iter().collect();
    let mut states = Vec::new();
    let mut labels = HashMap::new();
    for (context, options) in windows {
        let state = if known.contains(&context) {
            let credentials = options.proxy.as_ref().and_then(Proxy::credentials);
            let state = WindowState::new(WindowId::new(&context), options.viewport, credentials);
            state.answers.set_rules(Arc::clone(&options.dialogs));
            Ok(Arc::new(state))
        } else {
            Err(LostWindow::Gone)
        };
        if let Ok(state) = &state {
            shard.add_window(Arc::clone(state));
            labels.extend(options.label.map(|label| (context, label)));
        }
        states.push(state);
    }
    dispose_of_others(shard, contexts.browser_context_ids).await;
    close_stubs(shard, stubs).await;
    let mut all = shard.connection.subscribe(Scope::All, PROTOCOL_EVENTS_QUEUE);
    follow(shard, events.clone()).await?;
    let kept = states.iter().flatten();
    let (crashes, crashed) = watch::channel(HashSet::new());
    let ready = kept.clone().map(|state| {
        let pages = pages.remove(state.id.as_str()).unwrap_or_default();
        let main = notes.get(&main_page_note(state.id.as_str()));
        await_pages(shard, state, pages, main, crashed.clone(), &events)
    });
    let ready: Vec<_> = ready.collect();
    let listen = async {
        while let Some(event) = all.next().await {
            if let Some(session) = event.session.clone().filter(|_| event.method == "Inspector.targetCrashed")
            {
                crashes.send_modify(|crashed| {
                    crashed.insert(session);
                });
            }
        }
    };
    tokio::select! {
        _ = join_all(ready) => {}
        () = listen => return Err(StartError::Refused(WindowError::Closed)),
    }
    let states = join_all(states.into_iter().map(|state| fill(shard, state, &events))).await;
    if let Some(shim) = shim {
        let kept: Vec<Arc<WindowState>> = states.iter().flatten().cloned().collect();
        renew_notes(shim, shard, &notes, kept, &labels).await?;
    }
    Ok(states)
}

/// Opens an empty page in a window whose last page was closed in the absence of a server, and reports that.
async fn fill(
    shard: &Arc<Shard>,
    state: Result<Arc<WindowState>, LostWindow>,
    events: &mpsc::Sender<BrowserEvent>,
) -> Result<Arc<WindowState>, LostWindow> {
    let state = state?;
    if state.main_tab().is_ok() {
        return Ok(state);
    }
    if let Err(error) = reopen(shard, &state).await {
        tracing::warn!(window = %state.id, %error, "failed to open a page in an adopted window without one");
        shard.remove_window(&state.id);
        return Err(LostWindow::Empty);
    }
    let _ = events.try_send(BrowserEvent::LastPageClosed { window: state.id.clone() });
    Ok(state)
}

/// Disposes of all other contexts: other windows, empty ones, and those of clients.
async fn dispose_of_others(shard: &Shard, contexts: Vec<String>) {
    let ids = contexts.iter().map(|context| WindowId::new(context));
    let others = ids.filter(|id| shard.window(id).is_none()).map(|id| WindowState::new(id, None, None));
    let others: Vec<WindowState> = others.collect();
    for (result, other) in
        join_all(others.iter().map(|other| dispose(shard, other))).await.iter().zip(&others)
    {
        if let Err(error) = result {
            tracing::warn!(context = %other.id, %error, "failed to dispose of an unowned browser context");
        }
    }
}

/// Closes hidden pages that the earlier server could not close. They may be attached to once more before they are
/// closed.
async fn close_stubs(shard: &Shard, stubs: Vec<TargetInfo>) {
    join_all(stubs.into_iter().map(async |stub| {
        let window = stub.browser_context_id.and_then(|context| shard.window(&WindowId::new(&context)));
        let Some(window) = window else { return };
        lock(&window.record.hidden).disown(stub.target_id.clone());
        close_target(&shard.connection, stub.target_id).await;
    }))
    .await;
}

/// Waits for the pages of a window to be attached and set up, and puts the main one first.
async fn await_pages(
    shard: &Arc<Shard>,
    window: &Arc<WindowState>,
    pages: Vec<String>,
    main: Option<&String>,
    crashed: watch::Receiver<HashSet<SessionId>>,
    events: &mpsc::Sender<BrowserEvent>,
) {
    let mut tabs = window.tabs.subscribe();
    let ready = async {
        let all = |tabs: &Vec<Arc<Tab>>| pages.iter().all(|page| tabs.iter().any(|tab| tab.target == *page));
        let tabs = tabs.wait_for(all).await.map(|tabs| tabs.clone()).unwrap_or_default();
        join_all(tabs.iter().map(|tab| set_up(shard, window, tab, crashed.clone()))).await;
    };
    if tokio::time::timeout(PAGES_TIMEOUT, ready).await.is_err() {
        tracing::warn!(window = %window.id, "an adopted window has a page that does not respond, or lost one");
    }
    // The sort is stable: the remaining order is preserved.
    window.tabs.send_modify(|tabs| tabs.sort_by_key(|tab| Some(&tab.target) != main));
    window.refresh_summary();
    if window.main_tab().is_ok_and(|tab| tab.status.borrow().crashed) {
        let _ = events.try_send(BrowserEvent::WindowCrashed { window: window.id.clone() });
    }
}

/// Waits for a page's set-up, or for the event that its renderer crashed in the absence of a server, which Chromium
/// sends when the domain is enabled.
async fn set_up(
    shard: &Arc<Shard>,
    window: &Arc<WindowState>,
    tab: &Arc<Tab>,
    mut crashed: watch::Receiver<HashSet<SessionId>>,
) {
    let ask = async {
        let enable = inspector::Enable {};
        let _ = shard.connection.call_within(Some(&tab.session), enable, PAGES_TIMEOUT).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = ask => {}
        // A lost receiver counts as well: there is nothing to wait for.
        _ = tab.wait_for(PAGES_TIMEOUT, |status| status.ready) => {}
        Ok(_) = crashed.wait_for(|crashed| crashed.contains(&tab.session)) => {
            let back = shard.connection.subscribe(Scope::Session(tab.session.clone()), PAGE_EVENTS_QUEUE);
            tab.status.send_modify(|status| status.crashed = true);
            tokio::spawn(set_up_after_crash(Arc::clone(shard), Arc::clone(window), Arc::clone(tab), back));
        }
    }
}

/// Sets a page up after a crash once it is loaded again: what is sent to a crashed page is lost. Its document may be
/// there before the event, so it is queried.
async fn set_up_after_crash(
    shard: Arc<Shard>,
    window: Arc<WindowState>,
    tab: Arc<Tab>,
    mut events: Subscription,
) {
    while let Some(event) = events.next().await {
        if event.method == "Inspector.targetReloadedAfterCrash" {
            break;
        }
    }
    set_up_page(&shard.connection, &window, &tab, std::future::ready(())).await;
    if let Ok(reply) = shard.connection.call(Some(&tab.session), GetFrameTree {}).await {
        let loader = reply.frame_tree.frame.loader_id;
        tab.status.send_if_modified(|status| {
            let news = !status.loaders.contains(&loader);
            if news {
                status.committed(loader);
            }
            news
        });
    }
}

/// Updates the notes to the windows that were kept.
async fn renew_notes(
    shim: &ShimHandle,
    shard: &Arc<Shard>,
    notes: &BTreeMap<String, String>,
    kept: Vec<Arc<WindowState>>,
    labels: &HashMap<String, String>,
) -> Result<(), StartError> {
    let label_of = |window: &WindowState| labels.get(window.id.as_str());
    let noted = |window: &Arc<WindowState>| label_of(window).is_some();
    let mut current = HashSet::new();
    for window in kept.into_iter().filter(noted) {
        let (context, label) = (window.id.as_str(), label_of(&window).map(String::as_str));
        current.extend([window_note(context), main_page_note(context)]);
        if notes.get(&window_note(context)).map(String::as_str) != label {
            shim.set_note(&window_note(context), label).await?;
        }
        tokio::spawn(keep_notes(shim.clone(), Arc::clone(shard), window));
    }
    for key in notes.keys().filter(|key| is_of_window(key) && !current.contains(*key)) {
        shim.set_note(key, None).await?;
    }
    Ok(())
}
