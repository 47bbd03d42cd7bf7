//! The hub of a session that has viewers: follows its window and its front page, and distributes screenshots.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pilotlight_api::{LiveCommand, LiveDialog, LiveState, LiveTab, LiveUpdate, SessionState};
use pilotlight_chromium::live::{Cast, Frame, LivePage, Quality};
use pilotlight_chromium::{Window, WindowId};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use super::hands::{Hands, Work};
use super::{Call, Live, Picture, ViewerId};
use crate::sentence::capitalised;

/// Interval of checks for changes without events: windows, tabs, titles, dialogs.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often a session with viewers is marked as used.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Delay after a failed screenshot.
const CAST_PAUSE: Duration = Duration::from_secs(2);
/// JPEG qualities, from the best connection to the worst.
const QUALITIES: [Quality; 4] = [
    Quality { jpeg: 80, side_max: 1600 },
    Quality { jpeg: 60, side_max: 1280 },
    Quality { jpeg: 45, side_max: 1024 },
    Quality { jpeg: 30, side_max: 720 },
];
/// If it takes longer than this until a viewer has received a screenshot, the quality is reduced.
const SLOW: Duration = Duration::from_millis(400);
/// If it takes less than this, the quality is increased.
const FAST: Duration = Duration::from_millis(90);
/// Minimum time between changes of the quality.
const QUALITY_PAUSE: Duration = Duration::from_secs(4);
/// Maximum number of screenshots in transit: Chromium stops after a few without acknowledgement.
const MAX_ON_THE_WAY: usize = 16;

pub(super) struct Hub {
    live: Live,
    session: Uuid,
    called: mpsc::Receiver<Call>,
    pictures: watch::Sender<Option<Arc<Picture>>>,
    state: watch::Sender<LiveState>,
    viewers: HashMap<ViewerId, mpsc::Sender<LiveUpdate>>,
    hands: Hands,
    window: Option<WindowId>,
    page: Option<LivePage>,
    cast: Option<Cast>,
    cast_at: Instant,
    last_number: u64,
    on_the_way: Vec<(u64, Frame, Instant)>,
    quality: usize,
    quality_since: Instant,
    /// How long viewers take to receive screenshots.
    delay: Duration,
}

impl Hub {
    pub(super) fn new(
        live: Live,
        session: Uuid,
        called: mpsc::Receiver<Call>,
        pictures: watch::Sender<Option<Arc<Picture>>>,
        state: watch::Sender<LiveState>,
    ) -> Self {
        let now = Instant::now();
        Self {
            hands: Hands::start(live.keeper.clone(), session),
            live,
            session,
            called,
            pictures,
            state,
            viewers: HashMap::new(),
            window: None,
            page: None,
            cast: None,
            cast_at: now,
            last_number: 0,
            on_the_way: Vec::new(),
            quality: 1,
            quality_since: now,
            delay: Duration::ZERO,
        }
    }

    pub(super) async fn run(mut self) {
        self.wake();
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                call = self.called.recv() => match call {
                    Some(call) => self.call(call).await,
                    None => break,
                },
                frame = next_frame(&mut self.cast) => self.show(frame),
                _ = look.tick() => self.look().await,
                _ = ping.tick() => self.ping(),
            }
            if self.viewers.is_empty() && self.last_number_of_viewers_was_told() {
                self.stop_cast().await;
                if self.live.forget(self.session, &self.called) {
                    break;
                }
            }
        }
    }

    /// Whether there has been a viewer: a hub starts without viewers.
    fn last_number_of_viewers_was_told(&self) -> bool {
        self.state.borrow().viewers > 0
    }

    async fn call(&mut self, call: Call) {
        match call {
            Call::Joined(viewer, tell) => {
                self.viewers.insert(viewer, tell);
                self.look().await;
            }
            Call::Left(viewer) => {
                self.viewers.remove(&viewer);
            }
            Call::Command(_, LiveCommand::Ack { number }) => self.seen(number).await,
            Call::Command(viewer, command) => {
                let (Some(tell), Some(page), Some(window)) =
                    (self.viewers.get(&viewer), self.page.clone(), self.window())
                else {
                    return;
                };
                self.hands.act(Work { page, window, command, tell: tell.clone() });
            }
        }
    }

    /// Wakes the session, so that its viewers see the window.
    fn wake(&self) {
        let (keeper, session) = (self.live.keeper.clone(), self.session);
        tokio::spawn(async move {
            if let Err(refused) = keeper.wake(session).await {
                tracing::debug!(%session, ?refused, "failed to wake a session that has viewers");
            }
        });
    }

    fn ping(&self) {
        let (keeper, session) = (self.live.keeper.clone(), self.session);
        tokio::spawn(async move { drop(keeper.ping(session).await) });
    }

    fn window(&self) -> Option<Window> {
        self.live.keeper.published(self.session)?.window().cloned()
    }

    /// Checks the window and the page, and sends the state to viewers.
    async fn look(&mut self) {
        let published = self.live.keeper.published(self.session);
        let session = published.as_ref().map(|published| published.state());
        let window = published.as_ref().and_then(|published| published.window().cloned());
        let over = session.is_none_or(|state| state == SessionState::Ended);
        let still = matches!(session, Some(SessionState::Frozen | SessionState::Hibernated));
        let id = window.as_ref().map(|window| window.id().clone());
        let page = window.as_ref().filter(|_| !over && !still).and_then(|window| window.live_page(None));
        let target = page.as_ref().map(|page| page.target().to_owned());
        if id != self.window || target.as_deref() != self.page.as_ref().map(LivePage::target) {
            self.stop_cast().await;
            self.cast_at = Instant::now();
        }
        (self.window, self.page) = (id, page);
        self.begin_cast().await;
        let waiting = match session {
            None | Some(SessionState::Ended) => Some("The session has ended".to_owned()),
            Some(state) if self.page.is_none() => {
                Some(format!("{}: no page to show", capitalised(state.as_str()).replace('_', " ")))
            }
            Some(_) => None,
        };
        let shown = self.page.as_ref().map(LivePage::target);
        let tabs = window.map(|window| window.pages()).unwrap_or_default().into_iter();
        let fresh = LiveState {
            tabs: tabs
                .map(|page| LiveTab {
                    shown: shown == Some(page.target_id.as_str()),
                    id: page.target_id,
                    title: page.title,
                    url: page.url,
                })
                .collect(),
            dialog: self.page.as_ref().and_then(LivePage::dialog).map(|dialog| LiveDialog {
                kind: dialog.kind,
                message: dialog.message,
                default_prompt: dialog.default_prompt,
            }),
            viewers: self.viewers.len(),
            quality: QUALITIES[self.quality].jpeg,
            waiting,
            over,
        };
        self.state.send_if_modified(|state| {
            let changed = *state != fresh;
            *state = fresh;
            changed
        });
    }

    async fn begin_cast(&mut self) {
        if self.cast.is_some() || self.viewers.is_empty() || Instant::now() < self.cast_at {
            return;
        }
        let Some(page) = &self.page else { return };
        match page.cast(QUALITIES[self.quality]).await {
            Ok(cast) => self.cast = Some(cast),
            Err(error) => {
                tracing::debug!(session_id = %self.session, %error, "failed to take a screenshot for the live view");
                self.cast_at = Instant::now() + CAST_PAUSE;
            }
        }
    }

    async fn stop_cast(&mut self) {
        self.on_the_way.clear();
        if let Some(cast) = self.cast.take() {
            cast.stop().await;
        }
    }

    fn show(&mut self, frame: Option<Frame>) {
        let Some(frame) = frame else {
            // The next check finds out what happened to the page.
            self.cast = None;
            self.cast_at = Instant::now() + CAST_PAUSE;
            return;
        };
        self.last_number += 1;
        let told = LiveUpdate::Frame { number: self.last_number, width: frame.width, height: frame.height };
        let jpeg = frame.picture.clone();
        if self.on_the_way.len() < MAX_ON_THE_WAY {
            self.on_the_way.push((self.last_number, frame, Instant::now()));
        }
        self.pictures.send_replace(Some(Arc::new(Picture { told, jpeg })));
    }

    /// Acknowledges a screenshot when the fastest viewer has received it, so that Chromium sends the next one.
    async fn seen(&mut self, number: u64) {
        let Some(cast) = &self.cast else { return };
        let mut delay = None;
        self.on_the_way.retain(|(sent, frame, at)| {
            if *sent <= number {
                cast.acknowledge(frame);
                delay = Some(at.elapsed());
            }
            *sent > number
        });
        let Some(delay) = delay else { return };
        self.delay = (self.delay * 3 + delay) / 4;
        let wanted = match self.delay {
            slow if slow > SLOW => (self.quality + 1).min(QUALITIES.len() - 1),
            fast if fast < FAST => self.quality.saturating_sub(1),
            _ => self.quality,
        };
        if wanted != self.quality && self.quality_since.elapsed() > QUALITY_PAUSE {
            (self.quality, self.quality_since) = (wanted, Instant::now());
            self.stop_cast().await;
            self.begin_cast().await;
        }
    }
}

async fn next_frame(cast: &mut Option<Cast>) -> Option<Frame> {
    match cast {
        Some(cast) => cast.next().await,
        None => std::future::pending().await,
    }
}
