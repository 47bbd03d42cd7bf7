//! Restoring a checkpoint in an empty window, with as few extra page loads as possible: what a page needs before its
//! first script runs is set by a script in its new document; only databases, and origins that no single page shows,
//! need hidden pages first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use pilotlight_cdp::protocol::page;
use pilotlight_cdp::protocol::target::CreateTarget;
use pilotlight_cdp::{Connection, SessionId};
use pilotlight_checkpoint::{Checkpoint, Entry, Origin, Tab as KeptTab};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::stub::{STUBS_MAX, Stub};
use crate::call::look_at;
use crate::cookies;
use crate::error::WindowError;
use crate::limits::TABS_MAX;
use crate::state::{Shard, Tab, WindowState, is_of_the_web, lock};
use crate::window::{
    COMMAND_TIMEOUT, Planted, RestoreFields, SETTLE_TIMEOUT, Window, bring_back, call, check_url, evaluate,
    navigate_tab,
};

/// The interval of checking whether the script has run in a new document.
const HAS_RUN_QUESTIONS: usize = 50;
/// How long a script may stay installed in frames while their page loads.
const LOAD_TIMEOUT_MAX: Duration = Duration::from_secs(120);

const WRITE: &str = concat!(
    "async function (origin) {\n",
    include_str!("../window/js/codec.js"),
    include_str!("js/write.js"),
    "return writeOrigin(origin);\n}"
);
const SEED: &str =
    concat!(include_str!("../window/js/codec.js"), include_str!("js/write.js"), include_str!("js/seed.js"),);

/// Returns the remaining time.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

pub(super) async fn restore(
    window: &Window,
    checkpoint: &Checkpoint,
    fields: RestoreFields,
    timeout: Duration,
) -> Result<(), WindowError> {
    let deadline = Deadline { at: Instant::now() + timeout, timeout };
    let restored = put_back(window, checkpoint, fields, deadline).await;
    restored.map_err(|error| match error {
        WindowError::Timeout(_) => WindowError::Timeout(deadline.timeout),
        error => error,
    })
}

async fn put_back(
    window: &Window,
    checkpoint: &Checkpoint,
    fields: RestoreFields,
    deadline: Deadline,
) -> Result<(), WindowError> {
    let (shard, state) = (&window.shard, &window.state);
    state.main_tab()?;
    cookies::write(shard, state, &checkpoint.cookies, deadline.left()).await?;
    for origin in &checkpoint.origins {
        lock(&state.record.origins).keep(origin.clone(), 0);
    }
    let tabs = checkpoint.tabs.get(..TABS_MAX).unwrap_or(&checkpoint.tabs);
    let (planted, written): (Vec<&Origin>, Vec<&Origin>) =
        checkpoint.origins.iter().partition(|origin| can_be_planted(origin, tabs));
    write_origins(shard, state, &written, deadline).await;
    let pages = open_pages(shard, state, tabs.len(), deadline).await;
    let planted_in =
        |tab: &KeptTab| planted.iter().find(|planted| Some(&planted.origin) == origin_of(tab).as_ref());
    let loading = pages.iter().zip(tabs).map(|(page, tab)| {
        let local = planted_in(tab).map_or(&[][..], |origin| &origin.local_storage);
        async move {
            load(shard, state, page, tab, local, deadline).await?;
            settle(shard, page, tab, fields, deadline).await;
            look_at(shard, state, page).await;
            Ok(())
        }
    });
    let mut loaded = join_all(loading).await.into_iter();
    let result = loaded.next().unwrap_or(Ok(()));
    for error in loaded.filter_map(Result::err) {
        tracing::warn!(window = %state.id, %error, "failed to load a page again");
    }
    // If a page was not loaded, the script in it has not run.
    let missing: Vec<&Origin> =
        planted.into_iter().filter(|origin| !lock(&state.record.origins).was_shown(&origin.origin)).collect();
    write_origins(shard, state, &missing, Deadline { at: Instant::now() + COMMAND_TIMEOUT, ..deadline })
        .await;
    if pages.len() > 1
        && let Some(main) = pages.first()
    {
        window.bring_to_front(main).await?;
    }
    result
}

/// The main page is identified by its position, others by their URL: their order may have changed.
pub(super) fn remember(window: &WindowState, checkpoint: &Checkpoint) {
    let mut origins = lock(&window.record.origins);
    // Each is moved in front of the earlier ones.
    checkpoint.origins.iter().rev().for_each(|origin| origins.recall(origin.clone()));
    drop(origins);
    let mut kept: Vec<&KeptTab> = checkpoint.tabs.iter().filter(|tab| is_of_the_web(&tab.url)).collect();
    let main = checkpoint.tabs.first();
    for (place, tab) in window.tabs.borrow().iter().enumerate() {
        let url = tab.status.borrow().url.clone();
        let is_it = |kept: &&KeptTab| match main {
            Some(main) if place == 0 => std::ptr::eq(*kept, main),
            _ => kept.url == url,
        };
        if let Some(found) = kept.iter().position(is_it) {
            lock(&tab.kept).get_or_insert(kept.remove(found).clone());
        }
    }
}

/// Returns whether the one page that shows this origin can restore all that it has stored. Databases cannot be filled
/// before a document's first script runs.
fn can_be_planted(origin: &Origin, tabs: &[KeptTab]) -> bool {
    let showing = tabs.iter().filter(|tab| origin_of(tab).as_ref() == Some(&origin.origin));
    origin.indexed_db.is_empty() && showing.count() == 1
}

fn origin_of(tab: &KeptTab) -> Option<String> {
    Url::parse(&tab.url).ok().map(|url| url.origin().ascii_serialization())
}

/// Restores in hidden pages. Failures are logged: a window without the data is better than none.
async fn write_origins(
    shard: &Arc<Shard>,
    window: &Arc<WindowState>,
    origins: &[&Origin],
    deadline: Deadline,
) {
    let share = origins.len().div_ceil(STUBS_MAX).max(1);
    join_all(origins.chunks(share).map(async |origins| {
        let writing = async {
            let stub = Stub::open(shard, window).await?;
            for origin in origins {
                let content = json!({"localStorage": origin.local_storage, "indexedDB": origin.indexed_db});
                let lost = stub.call(&origin.origin, WRITE, content, deadline.left()).await?;
                if lost != json!(0) {
                    tracing::warn!(window = %window.id, %lost, "failed to restore databases");
                }
            }
            Ok::<_, WindowError>(())
        };
        if let Err(error) = writing.await {
            tracing::warn!(window = %window.id, %error, "failed to restore the storage of an origin");
        }
    }))
    .await;
}

/// Returns the existing pages (one in a new window, more in a retry) and as many more as are needed, in this order.
/// Fewer if one cannot be opened.
async fn open_pages(
    shard: &Arc<Shard>,
    window: &Arc<WindowState>,
    count: usize,
    deadline: Deadline,
) -> Vec<Arc<Tab>> {
    let mut pages = window.tabs.borrow().clone();
    pages.truncate(count);
    while pages.len() < count {
        match open_page(shard, window, deadline).await {
            Ok(page) => pages.push(page),
            Err(error) => {
                tracing::warn!(window = %window.id, %error, "failed to open a page again");
                break;
            }
        }
    }
    pages
}

async fn open_page(
    shard: &Arc<Shard>,
    window: &Arc<WindowState>,
    deadline: Deadline,
) -> Result<Arc<Tab>, WindowError> {
    let create = CreateTarget {
        url: "about:blank".into(),
        browser_context_id: window.id.as_str().into(),
        new_window: false,
    };
    let target = shard.connection.call_within(None, create, deadline.left()).await?.target_id;
    let mut tabs = window.tabs.subscribe();
    let opened = tabs.wait_for(|tabs| tabs.iter().any(|tab| tab.target == target));
    let opened = tokio::time::timeout(deadline.left(), opened).await;
    let opened = opened.map_err(|_| WindowError::Timeout(deadline.timeout))?;
    let page = opened.ok().and_then(|tabs| tabs.iter().find(|tab| tab.target == target).cloned());
    let page = page.ok_or(WindowError::Closed)?;
    page.wait_for(deadline.left(), |status| status.ready).await?;
    Ok(page)
}

async fn load(
    shard: &Arc<Shard>,
    window: &Arc<WindowState>,
    page: &Arc<Tab>,
    tab: &KeptTab,
    local: &[Entry],
    deadline: Deadline,
) -> Result<(), WindowError> {
    if check_url(&tab.url).is_err() {
        tracing::warn!(window = %window.id, "the URL of a page is not allowed; it stays empty");
        return Ok(());
    }
    if is_of_the_web(&tab.url) {
        *lock(&page.kept) = Some(tab.clone());
    }
    let connection = &shard.connection;
    let in_main = plant(connection, page, seed(tab, local, false), deadline).await?;
    let in_frames = seed(tab, &[], true);
    lock(&page.planted).clone_from(&in_frames);
    let in_frames = plant(connection, page, in_frames, deadline).await?;
    let result = if tab.url == "about:blank" {
        name_blank(shard, page, tab).await
    } else {
        let mut navigating = std::pin::pin!(navigate_tab(shard, page, &tab.url, deadline.left()));
        tokio::select! {
            result = &mut navigating => {
                // A document with scripts disabled has run none so far.
                if result.is_ok() && in_main.is_some() {
                    begin_scripts(shard, page, deadline).await;
                }
                result
            }
            () = has_run(shard, page, deadline) => {
                // The next document gets the setting that the page wants.
                drop(in_main);
                navigating.await
            }
        }
    };
    lock(&page.planted).take();
    drop(in_frames);
    result
}

/// Has the installed script run in a document without scripts of its own. Chromium runs such scripts when it creates
/// the document's main world (`third_party/blink/renderer/core/inspector/inspector_page_agent.cc`,
/// `DidCreateMainWorldContext`), which it does only once a script needs it; any evaluation is enough.
async fn begin_scripts(shard: &Shard, page: &Tab, deadline: Deadline) {
    let begun = evaluate(shard, page, &page.session, None, "0", COMMAND_TIMEOUT.min(deadline.left())).await;
    if let Err(error) = begun {
        tracing::debug!(%error, "failed to run a script in a loaded page");
    }
}

async fn plant(
    connection: &Connection,
    page: &Tab,
    source: Option<String>,
    deadline: Deadline,
) -> Result<Option<Planted>, WindowError> {
    let Some(source) = source else { return Ok(None) };
    Ok(Some(Planted::place(connection, &page.session, source, deadline.left()).await?))
}

/// Returns once the installed script has run, if that can be observed. Chromium reports a new document just before it
/// runs such scripts, and does not run them if they are removed in between.
async fn has_run(shard: &Shard, page: &Tab, deadline: Deadline) {
    let there = page.wait_for(deadline.left(), |status| status.has_content).await;
    if there.is_ok() {
        for _ in 0..HAS_RUN_QUESTIONS {
            let function = "function () { return globalThis.pilotlightPlanted === true; }";
            match call(shard, page, function, Value::Null, deadline.left()).await {
                Ok(Value::Bool(false)) => {}
                // Also if its document has been replaced already.
                _ => return,
            }
        }
    }
    std::future::pending::<()>().await;
}

/// Returns the script that fills a new document, if there is anything to fill.
fn seed(tab: &KeptTab, local: &[Entry], inside: bool) -> Option<String> {
    let mut seeds: HashMap<&str, Value> = HashMap::new();
    for session in &tab.session_storage {
        let seed = json!({"origin": session.origin, "session": session.entries});
        seeds.insert(&session.origin, seed);
    }
    let own = origin_of(tab).unwrap_or_default();
    if !local.is_empty() {
        let seed = seeds.entry(&own).or_insert_with(|| json!({"origin": own}));
        seed["local"] = json!(local);
    }
    let name = if inside { "" } else { &tab.name };
    if seeds.is_empty() && name.is_empty() {
        return None;
    }
    let seeds: Vec<Value> = seeds.into_values().collect();
    let content = json!({"name": name, "own": own, "seeds": seeds, "inside": inside}).to_string();
    // As text, since an object literal cannot have `__proto__` as a key.
    Some(format!("(() => {{\n{SEED}seed(JSON.parse({}));\n}})()", json!(content)))
}

/// An empty document exists already.
async fn name_blank(shard: &Shard, page: &Tab, tab: &KeptTab) -> Result<(), WindowError> {
    if !tab.name.is_empty() {
        let function = "function (name) { window.name = name; }";
        call(shard, page, function, json!(tab.name), COMMAND_TIMEOUT).await?;
    }
    Ok(())
}

/// Best effort: the page may have changed. Nothing is restored in an empty page.
async fn settle(shard: &Shard, page: &Tab, tab: &KeptTab, how: RestoreFields, deadline: Deadline) {
    let fields = if how == RestoreFields::No { &[][..] } else { &tab.fields };
    if !is_of_the_web(&tab.url) || (fields.is_empty() && tab.scroll == (0.0, 0.0)) {
        return;
    }
    let wanted = json!({"url": tab.url, "fields": fields, "how": how, "scroll": tab.scroll});
    bring_back(shard, page, wanted, SETTLE_TIMEOUT.min(deadline.left())).await;
}

/// A frame in a process of its own gets the same script as its page's frames, while the page loads.
pub(crate) async fn plant_in_frame(connection: &Connection, tab: &Tab, session: &SessionId) {
    let script = lock(&tab.planted).clone();
    let Some(script) = script else { return };
    // Sent together, before the frame may run.
    let (_, placed) = tokio::join!(
        connection.call_within(Some(session), page::Enable {}, COMMAND_TIMEOUT),
        Planted::place(connection, session, script, COMMAND_TIMEOUT),
    );
    match placed {
        Ok(planted) => {
            _ = tab.wait_for(LOAD_TIMEOUT_MAX, |status| status.has_loaded()).await;
            drop(planted);
        }
        Err(error) => tracing::debug!(%error, "failed to restore a frame"),
    }
}
