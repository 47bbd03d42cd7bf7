//! What viewers do, one after the other. While they do, the window is on loan, so that nothing of ours runs in
//! it, and dialogs wait for them; a while after the last touch it is given back.

use std::time::Duration;

use pilotlight_api::{LiveMouse, LiveOption, LiveTold, LiveTouch, LiveWish};
use pilotlight_chromium::live::{KeyInput, LivePage, Mouse, MouseInput, Steering};
use pilotlight_chromium::{Window, WindowError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use crate::keeper::{KeeperHandle, Using};
use crate::sentence::capitalised;

/// Touches that wait; further ones are lost, as on a machine that hangs.
const MAX_WORK: usize = 512;
/// After the last touch the window is given back.
const IDLE: Duration = Duration::from_secs(15);
/// A dialog is kept for a person this long.
const DIALOG: Duration = Duration::from_secs(60);

/// One wish of a viewer.
pub(super) struct Work {
    pub(super) page: LivePage,
    pub(super) window: Window,
    pub(super) wish: LiveWish,
    pub(super) tell: mpsc::Sender<LiveTold>,
}

/// The way to the hands.
pub(super) struct Hands {
    work: mpsc::Sender<Work>,
}

/// The window, while somebody steers.
struct Loan {
    steering: Steering,
    _using: Using,
    touched: Instant,
}

impl Hands {
    pub(super) fn start(keeper: KeeperHandle, session: Uuid) -> Self {
        let (work, wishes) = mpsc::channel(MAX_WORK);
        tokio::spawn(run(keeper, session, wishes));
        Self { work }
    }

    pub(super) fn act(&self, work: Work) {
        if self.work.try_send(work).is_err() {
            tracing::debug!("a touch is lost: too many wait");
        }
    }
}

async fn run(keeper: KeeperHandle, session: Uuid, mut wishes: mpsc::Receiver<Work>) {
    let mut loan: Option<Loan> = None;
    let mut page: Option<LivePage> = None;
    let mut swallows_release = false;
    loop {
        let asked = page.as_ref().is_some_and(|page| page.dialog().is_some());
        let idle = if asked { DIALOG } else { IDLE };
        let until = loan.as_ref().map_or_else(Instant::now, |loan| loan.touched + idle);
        let work = tokio::select! {
            work = wishes.recv() => match work {
                Some(work) => work,
                None => return,
            },
            () = sleep_until(until), if loan.is_some() => {
                loan = None;
                continue;
            }
        };
        // Where the mouse is matters, not how it came there.
        if matches!(work.wish, LiveWish::Mouse { kind: LiveMouse::Moved, .. }) && !wishes.is_empty() {
            continue;
        }
        let is_same = loan.as_ref().is_some_and(|loan| loan.steering.is_of(&work.window));
        if !is_same {
            loan = match keeper.window(session).await {
                Ok(using) => {
                    Some(Loan { steering: using.window.steer(), _using: using, touched: Instant::now() })
                }
                Err(refused) => {
                    say(&work.tell, refused.to_string());
                    continue;
                }
            };
        }
        if let Some(loan) = &mut loan {
            loan.touched = Instant::now();
        }
        page = Some(work.page.clone());
        let tell = work.tell.clone();
        match act(work, &mut swallows_release).await {
            Ok(()) => {}
            Err(error) => say(&tell, error.to_string()),
        }
    }
}

/// A viewer that does not keep up misses it.
fn say(tell: &mpsc::Sender<LiveTold>, sentence: impl AsRef<str>) {
    drop(tell.try_send(LiveTold::Error { sentence: capitalised(sentence.as_ref()) }));
}

async fn act(work: Work, swallows_release: &mut bool) -> Result<(), WindowError> {
    let Work { page, window, wish, tell } = work;
    match wish {
        LiveWish::Ack { .. } => Ok(()),
        LiveWish::Mouse { kind, x, y, button, buttons, clicks, modifiers, delta_x, delta_y } => {
            let opens = kind == LiveMouse::Pressed && button == 0 && page.dialog().is_none();
            if opens && let Some(list) = page.select_at(x, y).await? {
                *swallows_release = true;
                let option = |option: pilotlight_chromium::live::SelectOption| LiveOption {
                    label: option.label,
                    disabled: option.disabled,
                };
                let options = list.options.into_iter().map(option).collect();
                drop(tell.try_send(LiveTold::Select { chosen: list.chosen, options }));
                return Ok(());
            }
            if kind == LiveMouse::Released && std::mem::take(swallows_release) {
                return Ok(());
            }
            let mouse = match kind {
                LiveMouse::Moved => Mouse::Moved,
                LiveMouse::Pressed => Mouse::Pressed,
                LiveMouse::Released => Mouse::Released,
                LiveMouse::Wheel => Mouse::Wheel(delta_x, delta_y),
            };
            let button = match button {
                0 => "left",
                1 => "middle",
                2 => "right",
                3 => "back",
                4 => "forward",
                _ => "none",
            };
            page.mouse(MouseInput { mouse, x, y, button, buttons, clicks, modifiers }).await
        }
        LiveWish::Key { down, key, code, key_code, text, location, modifiers } => {
            page.key(KeyInput { down, key, code, key_code, text, location, modifiers }).await
        }
        LiveWish::Text { text } => page.insert_text(text).await,
        LiveWish::Touch { kind, points } => {
            let kind = match kind {
                LiveTouch::Start => "touchStart",
                LiveTouch::Move => "touchMove",
                LiveTouch::End => "touchEnd",
                LiveTouch::Cancel => "touchCancel",
            };
            page.touch(kind, &points).await
        }
        LiveWish::Copy => {
            let text = page.selected_text().await?;
            drop(tell.try_send(LiveTold::Clipboard { text }));
            Ok(())
        }
        LiveWish::Navigate { url } => {
            aside(tell, async move { page.navigate(&url).await });
            Ok(())
        }
        LiveWish::Reload => {
            aside(tell, async move { page.reload().await });
            Ok(())
        }
        LiveWish::Back => page.travel(-1).await,
        LiveWish::Forward => page.travel(1).await,
        LiveWish::Tab { id } => match window.live_page(Some(&id)) {
            Some(page) => page.bring_to_front().await,
            None => Ok(()),
        },
        LiveWish::NewTab => window.open_page().await,
        LiveWish::CloseTab { id } => {
            if let Some(page) = window.live_page(Some(&id)).filter(|page| page.target() == id) {
                page.close();
            }
            Ok(())
        }
        LiveWish::Dialog { accept, text } => page.answer(accept, text).await,
        LiveWish::Choose { index } => page.choose(index).await,
    }
}

/// What takes long is not waited for: people stop what loads too long.
fn aside(tell: mpsc::Sender<LiveTold>, work: impl Future<Output = Result<(), WindowError>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(error) = work.await {
            say(&tell, error.to_string());
        }
    });
}
