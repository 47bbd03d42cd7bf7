//! One browser process with its windows.
//!
//! What happens to it without a command (a crash, a window whose pages are all closed) is reported as
//! [`BrowserEvent`]s; commands succeed or fail within a bounded time. When a [`Browser`] is dropped, its process and
//! its directory are removed, unless a shim keeps it: then it runs until it is closed or killed explicitly.

mod adopt;
mod main_thread;
mod spare;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pilotlight_cdp::protocol::browser::GetVersion;
use pilotlight_cdp::protocol::target::{CreateBrowserContext, FilterEntry, SetDiscoverTargets};
use pilotlight_cdp::{CdpError, Connection, Scope};
use pilotlight_flow::dialog::DialogRule;
use pilotlight_linux::main_thread_time;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::call::auto_attach;
use crate::driver::drive;
use crate::engine::Engine;
use crate::error::{StartError, WindowError};
pub use crate::event::BrowserEvent;
use crate::event::WindowId;
use crate::find::{check_major, major_of};
use crate::launch::{LaunchPlan, Process, Started};
use crate::launcher::{Launched, Launcher};
pub use crate::limits::{CLOSE_TIMEOUT, OPEN_TIMEOUT};
use crate::page::deny_downloads;
use crate::proxy::Proxy;
use crate::reopen::open_empty_page;
use crate::shim::{ShimError, ShimHandle, main_page_note, window_note};
use crate::state::{Shard, WindowState, lock};
use crate::window::{Window, reuse};

pub use adopt::ADOPT_TIMEOUT;

/// How long the first response of a browser may take. Measured: 0.1 to 0.6 s.
pub const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a browser that closed its pipe may take to end before it is killed and its end is reported.
const NOTICE_GRACE: Duration = Duration::from_millis(500);
/// Events that may wait for the owner of the browser.
pub const BROWSER_EVENTS_QUEUE: usize = 256;
/// Protocol events that may wait for the driver.
const PROTOCOL_EVENTS_QUEUE: usize = 16_384;

/// How long a large message may be in transfer before silence means anything.
const LARGE_MESSAGE_GRACE: Duration = Duration::from_secs(60);
/// The main thread of a busy browser runs for at least this share of the time, also on a busy machine.
const BUSY_SHARE: u32 = 20;

/// The result of a check of a browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It responds.
    Answers,
    /// It does not respond in time, but is busy: it sends, receives or computes something. A page or a client can
    /// keep it that busy.
    Busy,
    /// It makes no progress.
    Silent,
}

/// The options of a new window.
#[derive(Debug, Clone, Default)]
pub struct WindowOptions {
    /// The proxy of all its requests.
    pub proxy: Option<Proxy>,
    /// How its dialogs are answered if no person or client does.
    pub dialogs: Arc<[DialogRule]>,
    /// Width and height of every page in CSS pixels; `None` is the browser's window size.
    pub viewport: Option<(u32, u32)>,
    /// The site for whose documents it is opened, with [`Window::make_bare`]; it is never anything but a bare window. It
    /// may be one that another session of that site had before.
    pub bare_for: Option<String>,
    /// The label by which the next server finds it (see [`crate::shim::OrphanedBrowser::windows`]). Windows without
    /// one do not outlive this server. Up to [`crate::shim::NOTE_VALUE_BYTES_MAX`] bytes.
    pub label: Option<String>,
}

/// A running browser.
#[derive(Debug)]
pub struct Browser {
    shard: Arc<Shard>,
    process: Process,
    product: String,
    closing: Arc<AtomicBool>,
    shim: Option<ShimHandle>,
}

impl Browser {
    /// Starts a browser and returns once it is ready to open windows.
    ///
    /// # Errors
    /// If it does not come up within [`START_TIMEOUT`]; then nothing of it is left.
    pub async fn start(
        launcher: &impl Launcher,
        plan: LaunchPlan,
    ) -> Result<(Self, mpsc::Receiver<BrowserEvent>), StartError> {
        let Launched { started: Started { reader, writer, process }, next_id, shim } =
            launcher.launch(&plan).await?;
        let kill_on_drop = process.kill_on_drop();
        let connection = Connection::with_next_id(reader, writer, next_id);
        let shard = Arc::new(Shard::new(connection, process.folder.clone(), plan.binary.engine));
        let (sender, receiver) = mpsc::channel(BROWSER_EVENTS_QUEUE);
        let product = match come_up(&shard, &plan, &process, sender.clone()).await {
            Ok(product) => product,
            Err(error) => return Err(give_up(error, &shard, &process).await),
        };
        kill_on_drop.disarm();
        Ok((Self::running(shard, process, product, shim, sender), receiver))
    }

    fn running(
        shard: Arc<Shard>,
        process: Process,
        product: String,
        shim: Option<ShimHandle>,
        events: mpsc::Sender<BrowserEvent>,
    ) -> Self {
        let closing = Arc::new(AtomicBool::new(false));
        tokio::spawn(watch_end(Arc::clone(&shard), process.clone(), Arc::clone(&closing), events));
        tokio::spawn(spare::keep(Arc::clone(&shard)));
        tokio::spawn(main_thread::watch(Arc::clone(&shard), process.pid));
        Self { shard, process, product, closing, shim }
    }

    /// Opens an empty window: a context of its own with one page at `about:blank`.
    ///
    /// # Errors
    /// If Chromium refuses or does not respond within [`OPEN_TIMEOUT`]; then nothing of it is left.
    pub async fn open_window(&self, options: WindowOptions) -> Result<Window, WindowError> {
        if let Some(proxy) = &options.proxy {
            proxy.check()?;
        }
        let (answer, opened) = oneshot::channel();
        let opening = open(Arc::clone(&self.shard), self.shim.clone(), options);
        // A task of its own: if the caller is dropped meanwhile, the window must not be left behind.
        tokio::spawn(async move {
            if let Err(Ok(unwanted)) = answer.send(opening.await) {
                unwanted.close_and_log().await;
            }
        });
        opened.await.unwrap_or(Err(WindowError::Closed))
    }

    /// Returns Chromium's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Returns the version, for example `HeadlessChrome/156.0.8078.79`.
    pub fn product(&self) -> &str {
        &self.product
    }

    /// Returns how its windows are drawn.
    pub fn engine(&self) -> Engine {
        self.shard.engine
    }

    /// Returns the number of its windows.
    pub fn window_count(&self) -> usize {
        self.shard.windows().iter().filter(|window| !self.shard.spare.is(window)).count()
    }

    /// Returns the connection, for clients.
    pub fn connection(&self) -> &Connection {
        &self.shard.connection
    }

    /// Sets whether it has windows of several owners, so that one must not slow down the others. Until this is
    /// called, nothing that a window does is counted as that.
    pub fn set_shared(&self, is_shared: bool) {
        self.shard.connection.set_shared(is_shared);
    }

    /// Returns whether it responds within `timeout`: a process can run without responding.
    pub async fn is_answering(&self, timeout: Duration) -> bool {
        self.look_for_life(timeout).await == Life::Answers
    }

    /// Sends it the simplest command, and if it does not respond within `timeout` looks for other signs of activity.
    pub async fn look_for_life(&self, timeout: Duration) -> Life {
        let connection = &self.shard.connection;
        let (asked, worked) = (Instant::now(), main_thread_time(self.pid()));
        match connection.call_within(None, GetVersion {}, timeout).await {
            // Our own calls are too many, which says nothing of the browser. They end by themselves.
            Err(CdpError::TooManyCalls) => {
                tokio::time::sleep(timeout).await;
                Life::Busy
            }
            Err(CdpError::Timeout { .. }) => {
                let work =
                    main_thread_time(self.pid()).zip(worked).map(|(now, then)| now.saturating_sub(then));
                let works = work.is_some_and(|work| work * BUSY_SHARE >= timeout);
                let moves = connection.last_sign_of_life() > asked;
                // The delay may be anywhere between us and its main thread, where nothing can be observed.
                let large_since = connection.large_message_since();
                let is_on_its_way = large_since.is_some_and(|since| since.elapsed() < LARGE_MESSAGE_GRACE);
                if works || moves || is_on_its_way { Life::Busy } else { Life::Silent }
            }
            Err(CdpError::Closed) => Life::Silent,
            Ok(_) | Err(_) => Life::Answers,
        }
    }

    /// Kills its process, as is necessary if it does not respond. Returns immediately; [`BrowserEvent::Exited`]
    /// follows.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Closes it: every window, the process, its directory. Returns once nothing is left, within
    /// [`crate::launch::EXIT_GRACE`] and the time of the removal.
    pub async fn close(&self) {
        self.closing.store(true, Ordering::Release);
        if let Some(shim) = &self.shim {
            shim.close();
        }
        self.shard.connection.close();
        self.process.finish().await;
    }

    /// Disconnects and leaves the browser to its shim, for the next server; no [`BrowserEvent::Exited`] follows.
    /// Returns immediately. A browser without a shim ends with its pipe.
    pub fn leave(&self) {
        self.closing.store(true, Ordering::Release);
        self.shard.connection.close();
        if let Some(shim) = self.shim.as_ref().filter(|_| !self.process.is_killed()) {
            shim.leave();
        }
    }

    /// Returns the shim that keeps it, if it has one.
    pub fn shim(&self) -> Option<&ShimHandle> {
        self.shim.as_ref()
    }

    /// Sets the label of a window that was opened without one: from then on it outlives this server. Has no effect
    /// without a shim.
    ///
    /// # Errors
    /// If the shim refuses or has ended.
    pub async fn label_window(&self, window: &Window, label: &str) -> Result<(), WindowError> {
        match self.shim.clone() {
            Some(shim) => label_window(shim, &self.shard, &window.state, label).await,
            None => Ok(()),
        }
    }

    /// Stores a note for the next server, or removes it: up to [`crate::shim::NOTES_MAX`] notes, of which every
    /// labelled window takes two. Once this returns, the shim has it.
    ///
    /// # Errors
    /// If there is no shim, or it refuses or has ended.
    pub async fn set_note(&self, key: &str, value: Option<&str>) -> Result<(), ShimError> {
        self.shim.as_ref().ok_or(ShimError::Closed)?.set_note(key, value).await
    }

    /// Returns the notes that the next server will find. Empty without a shim.
    pub fn notes(&self) -> BTreeMap<String, String> {
        self.shim.as_ref().map(ShimHandle::notes).unwrap_or_default()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // If the server panics, windows stay open; what was being closed is closed completely.
        if self.shim.is_some() && !self.closing.load(Ordering::Acquire) {
            self.leave();
        } else if self.shim.is_none() {
            self.process.kill();
        }
    }
}

/// Removes a browser that did not come up.
async fn give_up(mut error: StartError, shard: &Shard, process: &Process) -> StartError {
    shard.connection.close();
    process.kill();
    let status = process.gone().await;
    match &mut error {
        StartError::Timeout { stderr, .. } => *stderr = process.stderr.useful_lines(),
        StartError::Refused(WindowError::Closed) => {
            error = StartError::Exited { status, stderr: process.stderr.useful_lines() };
        }
        _ => {}
    }
    error
}

/// Opens an empty window, with its label if it has one.
async fn open(
    shard: Arc<Shard>,
    shim: Option<ShimHandle>,
    options: WindowOptions,
) -> Result<Window, WindowError> {
    // What has to do with a proxy stays apart.
    let site = options.bare_for.clone().filter(|_| options.proxy.is_none());
    let ready = match &site {
        Some(site) => reuse::take(&shard, site, options.viewport).await,
        None => spare::take(&shard.spare, &options),
    };
    let state = match ready {
        Some(ready) => ready,
        None => open_unlabelled(&shard, &options).await?,
    };
    if let Some(site) = site {
        state.set_bare();
        *lock(&state.reusable_for) = Some(site);
    }
    state.answers.set_rules(options.dialogs);
    let window = Window::new(Arc::clone(&shard), Arc::clone(&state));
    if let Some((shim, label)) = shim.zip(options.label)
        && let Err(error) = label_window(shim, &shard, &state, &label).await
    {
        window.close_and_log().await;
        return Err(error);
    }
    Ok(window)
}

/// If this fails, nothing of the window is left.
async fn open_unlabelled(
    shard: &Arc<Shard>,
    options: &WindowOptions,
) -> Result<Arc<WindowState>, WindowError> {
    let proxy = options.proxy.as_ref();
    let create = CreateBrowserContext {
        proxy_server: proxy.map(|proxy| proxy.server.clone()),
        proxy_bypass_list: proxy.and_then(|proxy| proxy.bypass.clone()),
    };
    let context = shard.connection.call_within(None, create, OPEN_TIMEOUT).await?.browser_context_id;
    let credentials = proxy.and_then(Proxy::credentials);
    let state = Arc::new(WindowState::new(WindowId::new(&context), options.viewport, credentials));
    shard.add_window(Arc::clone(&state));
    let opened = tokio::time::timeout(OPEN_TIMEOUT, set_up_window(shard, &state)).await;
    match opened.unwrap_or(Err(WindowError::Timeout(OPEN_TIMEOUT))) {
        Ok(()) => Ok(state),
        Err(error) => {
            Window::new(Arc::clone(shard), state).close_and_log().await;
            Err(error)
        }
    }
}

async fn label_window(
    shim: ShimHandle,
    shard: &Arc<Shard>,
    window: &Arc<WindowState>,
    label: &str,
) -> Result<(), WindowError> {
    note_window(&shim, window, label).await?;
    tokio::spawn(keep_notes(shim, Arc::clone(shard), Arc::clone(window)));
    Ok(())
}

async fn note_window(shim: &ShimHandle, window: &WindowState, label: &str) -> Result<(), WindowError> {
    let noted = shim.set_note(&window_note(window.id.as_str()), Some(label)).await;
    noted.map_err(|error| WindowError::Refused {
        command: "the note of a window".into(),
        reason: error.to_string(),
    })
}

/// Stores which page is the main one, since Chromium lists pages in no order, and removes the notes of a closed
/// window. If the shim has ended, no notes are needed.
async fn keep_notes(shim: ShimHandle, shard: Arc<Shard>, window: Arc<WindowState>) {
    let context = window.id.as_str();
    let main_page = main_page_note(context);
    let mut tabs = window.tabs.subscribe();
    let mut noted = None;
    while shard.window(&window.id).is_some() {
        let main = tabs.borrow_and_update().first().map(|tab| tab.target.clone());
        if let Some(main) = main.filter(|main| noted.as_ref() != Some(main))
            && shim.set_note(&main_page, Some(&main)).await.is_ok()
        {
            noted = Some(main);
        }
        if tabs.changed().await.is_err() {
            break;
        }
    }
    if window.is_closing() {
        let _ = shim.set_note(&main_page, None).await;
        let _ = shim.set_note(&window_note(context), None).await;
    }
}

/// Downloads are denied before there is a page that could start one: nothing would manage the files, and a page could
/// fill the disk.
async fn set_up_window(shard: &Shard, state: &WindowState) -> Result<(), WindowError> {
    shard.connection.call_within(None, deny_downloads(state), OPEN_TIMEOUT).await?;
    open_empty_page(shard, state).await.map(drop)
}

/// Waits for the first response, checks the version, and enables the events of pages.
async fn come_up(
    shard: &Arc<Shard>,
    plan: &LaunchPlan,
    process: &Process,
    events: mpsc::Sender<BrowserEvent>,
) -> Result<String, StartError> {
    let connection = &shard.connection;
    let version = tokio::select! {
        version = connection.call_within(None, GetVersion {}, START_TIMEOUT) => version,
        _ = process.ended() => Err(CdpError::Closed),
    };
    let product = match version {
        Ok(version) => version.product,
        Err(CdpError::Timeout { timeout, .. }) => {
            return Err(StartError::Timeout { timeout, stderr: Vec::new() });
        }
        Err(CdpError::Closed) => return Err(ended_at_start(process).await),
        Err(error) => return Err(StartError::Refused(error.into())),
    };
    if let Some(major) = major_of(product.split_once('/').map_or("", |(_, version)| version)) {
        check_major(&plan.binary.path, major)?;
    }
    follow(shard, events).await?;
    Ok(product)
}

/// Enables the events of all pages, existing and new ones.
async fn follow(shard: &Arc<Shard>, events: mpsc::Sender<BrowserEvent>) -> Result<(), StartError> {
    let connection = &shard.connection;
    let subscription = connection.subscribe(Scope::All, PROTOCOL_EVENTS_QUEUE);
    tokio::spawn(drive(Arc::clone(shard), subscription, events));
    let discover = SetDiscoverTargets { discover: true, filter: FilterEntry::only(&["page", "iframe"]) };
    let refused = |error: CdpError| StartError::Refused(error.into());
    connection.call(None, discover).await.map_err(refused)?;
    connection.call(None, auto_attach("page")).await.map_err(refused)?;
    Ok(())
}

async fn ended_at_start(process: &Process) -> StartError {
    process.kill();
    let status = process.ended().await;
    if process.stderr.says_no_sandbox() {
        return StartError::NoSandbox;
    }
    StartError::Exited { status, stderr: process.stderr.useful_lines() }
}

/// Reports the end, whichever side notices it first; a browser whose connection is lost is ended.
async fn watch_end(
    shard: Arc<Shard>,
    process: Process,
    closing: Arc<AtomicBool>,
    events: mpsc::Sender<BrowserEvent>,
) {
    tokio::select! {
        _ = process.ended() => {}
        () = shard.connection.closed() => {}
    }
    shard.connection.close();
    shard.clear();
    if closing.load(Ordering::Acquire) {
        return;
    }
    if tokio::time::timeout(NOTICE_GRACE, process.ended()).await.is_err() {
        process.kill();
    }
    let exited =
        BrowserEvent::Exited { status: process.ended().await, stderr: process.stderr.useful_lines() };
    let _ = events.send(exited).await;
}
