//! Capturing a checkpoint: cookies, then page by page what frames show and have stored, then earlier origins.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use pilotlight_cdp::SessionId;
use pilotlight_cdp::protocol::page::{Frame, FrameTree, GetFrameTree};
use pilotlight_cdp::protocol::runtime::Evaluate;
use pilotlight_cdp::protocol::storage::{DomStorageEnable, GetStorageKey};
use pilotlight_checkpoint::{Checkpoint, Origin, SessionStorage, Tab as KeptTab};

use super::read::{self, DATABASES_BYTES_MAX, Wanted};
use super::stub::{STUBS_MAX, Stub};
use crate::cookies;
use crate::error::WindowError;
use crate::state::{Record, Shard, Tab, WindowState, is_of_the_web, lock, mark_changed};
use crate::window::{COMMAND_TIMEOUT, Window, isolated_world};

/// How long a capture may take. Measured: 0.01 to 0.1 s.
pub const CAPTURE_TIMEOUT: Duration = Duration::from_secs(10);
/// Frames of a page that are read.
const FRAMES_MAX: usize = 64;
/// How often reading a page is restarted if it navigates meanwhile.
const ATTEMPTS: usize = 3;
/// How long the next scroll or input of a page is waited for before it is queried again.
const WATCH_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// A capture in progress: unless it is completed, the changes that it was to contain stay pending.
struct Attempt<'a> {
    record: &'a Record,
    done: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.record.has_failed();
        }
    }
}

/// Whether a reading of the window resets change detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Yes: only later changes count.
    Follow,
    /// No.
    Peek,
}

pub(super) async fn capture(
    window: &Window,
    now_ms: u64,
    purpose: Purpose,
) -> Result<Checkpoint, WindowError> {
    // A checkpoint of a bare window would lack the session's storage, and replace the one that has it.
    if window.state.is_bare() {
        let reason = "it has only the cookies of its session".to_owned();
        return Err(WindowError::Refused { command: "to read the state of the window".to_owned(), reason });
    }
    let capturing = async {
        let record = &window.state.record;
        let _alone = record.capturing.lock().await;
        if purpose == Purpose::Peek {
            return Ok(take(&window.shard, &window.state, now_ms).await?.0);
        }
        record.begin();
        let mut attempt = Attempt { record, done: false };
        let taken = take(&window.shard, &window.state, now_ms).await;
        attempt.done = taken.is_ok();
        let (checkpoint, cookies_digest) = taken?;
        record.look_at_cookies(cookies_digest);
        Ok(checkpoint)
    };
    let within = tokio::time::timeout(CAPTURE_TIMEOUT, capturing).await;
    within.unwrap_or(Err(WindowError::Timeout(CAPTURE_TIMEOUT)))
}

/// Returns the digest of the cookies as well.
async fn take(
    shard: &Arc<Shard>,
    window: &Arc<WindowState>,
    now_ms: u64,
) -> Result<(Checkpoint, u64), WindowError> {
    let tabs = window.tabs.borrow().clone();
    let main = window.main_tab()?;
    let (cookies, ()) =
        tokio::join!(cookies::read(shard, window, CAPTURE_TIMEOUT), watch_storage(shard, &tabs));
    // Origins whose storage was read in this capture.
    let mut read = ReadOrigins { names: HashSet::new(), budget_bytes: DATABASES_BYTES_MAX };
    let mut kept = Vec::new();
    for tab in &tabs {
        match read_tab(shard, window, tab, &mut read).await {
            Ok(tab) => kept.push(tab),
            // Closed meanwhile, or about to be.
            Err(WindowError::Closed | WindowError::Crashed) if !Arc::ptr_eq(tab, &main) => {}
            Err(error) => return Err(error),
        }
    }
    read_left_behind(shard, window, &read).await;
    let mut origins = lock(&window.record.origins).all();
    keep_within_budget(&mut origins);
    let (cookies, cookies_digest) = cookies?;
    Ok((Checkpoint { taken_at_ms: now_ms, cookies, origins, tabs: kept }, cookies_digest))
}

/// What one capture has read of origins.
struct ReadOrigins {
    names: HashSet<String>,
    /// The remaining limit of databases.
    budget_bytes: usize,
}

/// Earlier captures count as well: the origins that were shown longest ago lose their databases first.
fn keep_within_budget(origins: &mut [Origin]) {
    let mut budget_bytes = DATABASES_BYTES_MAX;
    for origin in origins.iter_mut().rev() {
        let databases = std::mem::take(&mut origin.indexed_db);
        for database in databases {
            let bytes = database.to_string().len();
            if bytes <= budget_bytes {
                budget_bytes -= bytes;
                origin.indexed_db.push(database);
            } else {
                tracing::info!(
                    origin = origin.origin,
                    bytes,
                    "a database is left out: all are too large together"
                );
            }
        }
    }
}

/// Before anything is read, so that changes during the capture are reported.
async fn watch_storage(shard: &Shard, tabs: &[Arc<Tab>]) {
    let sessions = tabs.iter().flat_map(|tab| {
        let frames = tab.frames().into_iter().map(|frame| frame.session);
        [tab.session.clone()].into_iter().chain(frames).map(move |session| (tab, session))
    });
    join_all(sessions.map(|(tab, session)| async move {
        let enabled = tab.call(&shard.connection, &session, DomStorageEnable {}, COMMAND_TIMEOUT).await;
        if let Err(error) = enabled {
            tracing::debug!(%error, "failed to enable events of a page's storage");
        }
    }))
    .await;
}

async fn read_tab(
    shard: &Arc<Shard>,
    window: &Arc<WindowState>,
    tab: &Arc<Tab>,
    read: &mut ReadOrigins,
) -> Result<KeptTab, WindowError> {
    let mut attempt = 1;
    loop {
        match read_documents(shard, window, tab, read).await {
            Err(error @ (WindowError::Closed | WindowError::Refused { .. })) if attempt < ATTEMPTS => {
                let status = tab.status.borrow();
                if status.gone || status.crashed || shard.connection.is_closed() {
                    return Err(error);
                }
                attempt += 1;
            }
            result => return result,
        }
    }
}

async fn read_documents(
    shard: &Arc<Shard>,
    window: &Arc<WindowState>,
    tab: &Arc<Tab>,
    read: &mut ReadOrigins,
) -> Result<KeptTab, WindowError> {
    let mut kept = KeptTab::default();
    let mut is_error_page = false;
    for (session, frame) in frames(shard, tab).await? {
        let is_main = frame.id == tab.target;
        is_error_page |= is_main && frame.unreachable_url.is_some();
        match read_document(shard, window, tab, &session, &frame, read, &mut kept).await {
            Ok(()) => {}
            Err(error @ (WindowError::Timeout(_) | WindowError::Crashed)) => return Err(error),
            Err(error) if is_main => return Err(error),
            Err(error) => tracing::debug!(%error, "a frame was removed while it was read"),
        }
    }
    let mut last = lock(&tab.kept);
    if is_error_page {
        return Ok(last.clone().unwrap_or(kept));
    }
    if is_of_the_web(&kept.url) {
        *last = Some(kept.clone());
    }
    Ok(kept)
}

/// Returns the frames of a page, the main one first, with their sessions.
async fn frames(shard: &Shard, tab: &Tab) -> Result<Vec<(SessionId, Frame)>, WindowError> {
    fn flatten(session: &SessionId, tree: FrameTree, frames: &mut Vec<(SessionId, Frame)>) {
        frames.push((session.clone(), tree.frame));
        for child in tree.child_frames {
            flatten(session, child, frames);
        }
    }
    let mut frames = Vec::new();
    let tree = tab.call(&shard.connection, &tab.session, GetFrameTree {}, CAPTURE_TIMEOUT).await?;
    flatten(&tab.session, tree.frame_tree, &mut frames);
    for remote in tab.frames() {
        match tab.call(&shard.connection, &remote.session, GetFrameTree {}, CAPTURE_TIMEOUT).await {
            Ok(tree) => flatten(&remote.session, tree.frame_tree, &mut frames),
            Err(error @ WindowError::Timeout(_)) => return Err(error),
            Err(error) => tracing::debug!(%error, "a frame was removed while it was read"),
        }
    }
    frames.truncate(FRAMES_MAX);
    Ok(frames)
}

async fn read_document(
    shard: &Arc<Shard>,
    window: &Arc<WindowState>,
    tab: &Arc<Tab>,
    session: &SessionId,
    frame: &Frame,
    read: &mut ReadOrigins,
    kept: &mut KeptTab,
) -> Result<(), WindowError> {
    let page = frame.id == tab.target;
    let origin = &frame.security_origin;
    let has_storage = is_of_the_web(origin);
    let storage_key = if page || !has_storage {
        format!("{origin}/")
    } else {
        let ask = GetStorageKey { frame_id: frame.id.clone() };
        tab.call(&shard.connection, session, ask, CAPTURE_TIMEOUT).await?.storage_key
    };
    // A frame of another site has storage separate from that of the same origin in a page of its own.
    let is_its_own = storage_key == format!("{origin}/");
    let stored = has_storage && is_its_own && !read.names.contains(origin);
    let is_known = kept.session_storage.iter().any(|known| known.origin == *origin);
    if !page && !stored && (is_known || !has_storage) {
        return Ok(());
    }
    if stored {
        read::track(shard, session, &storage_key).await;
    }
    let mut answer =
        read::frame(shard, tab, session, &frame.id, Wanted { page, stored, budget_bytes: read.budget_bytes })
            .await?;
    if let Some(shown) = answer.page.take() {
        let of_the_web = is_of_the_web(&shown.url) || shown.url.starts_with("about:");
        // Chromium's error page is shown under the URL that could not be loaded.
        kept.url = if of_the_web { shown.url } else { tab.status.borrow().url.clone() };
        (kept.title, kept.name, kept.scroll, kept.fields) =
            (shown.title, shown.name, shown.scroll, shown.fields);
        if shown.watch {
            wait_for_activity(shard, window, tab);
        }
    }
    if has_storage && answer.origin != *origin {
        return Err(WindowError::Closed);
    }
    if !answer.session.is_empty() && !is_known {
        let entries = std::mem::take(&mut answer.session);
        kept.session_storage.push(SessionStorage { origin: origin.clone(), entries });
    }
    if stored {
        read.budget_bytes = read.budget_bytes.saturating_sub(answer.databases_bytes);
        let origin = read::stored(shard, session, answer, &storage_key).await;
        read.names.insert(origin.origin.clone());
        // It may continue to write, so it has to be read again.
        lock(&window.record.origins).keep(origin, 0);
    }
    Ok(())
}

/// Waits in the page for its next scroll or input. Ends with the document, whose end the driver reports.
fn wait_for_activity(shard: &Arc<Shard>, window: &Arc<WindowState>, tab: &Arc<Tab>) {
    let (shard, window, tab) = (Arc::clone(shard), Arc::clone(window), Arc::clone(tab));
    tokio::spawn(async move {
        let waiting = async || {
            let context = isolated_world(&shard, &tab, &tab.session, &tab.target).await?;
            let wait = Evaluate {
                expression: "globalThis.pilotlightNotes?.told".into(),
                context_id: Some(context),
                return_by_value: true,
                await_promise: true,
                user_gesture: false,
            };
            tab.call(&shard.connection, &tab.session, wait, WATCH_TIMEOUT).await
        };
        while matches!(waiting().await, Err(WindowError::Timeout(_))) {}
        mark_changed(&shard, &window);
    });
}

/// Reads the origins that were shown since they were last read and are no longer. What cannot be read keeps its last
/// state.
async fn read_left_behind(shard: &Arc<Shard>, window: &Arc<WindowState>, read: &ReadOrigins) {
    let mut left = lock(&window.record.origins).unread();
    left.retain(|(origin, _)| !read.names.contains(origin));
    let share = left.len().div_ceil(STUBS_MAX).max(1);
    let budget_bytes = read.budget_bytes / left.chunks(share).len().max(1);
    join_all(left.chunks(share).map(async |origins| {
        let reading = async {
            let stub = Stub::open(shard, window).await?;
            let mut budget_bytes = budget_bytes;
            for (origin, shows) in origins {
                let (stored, bytes) = read::left_behind(shard, &stub, origin, budget_bytes).await?;
                budget_bytes = budget_bytes.saturating_sub(bytes);
                lock(&window.record.origins).keep(stored, *shows);
            }
            Ok::<_, WindowError>(())
        };
        if let Err(error) = reading.await {
            tracing::info!(window = %window.id, %error, "failed to read an earlier origin");
        }
    }))
    .await;
}
