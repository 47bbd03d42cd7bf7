//! Executes the input of viewers, in order. Meanwhile the window is on lease, so that nothing else runs in it and
//! dialogs wait for the viewers; some time after the last input, the lease is returned.

use std::time::Duration;

use pilotlight_api::{LiveCommand, LiveMouse, LiveOption, LiveTouch, LiveUpdate};
use pilotlight_chromium::live::{KeyInput, LivePage, Mouse, MouseInput, Steering};
use pilotlight_chromium::{Window, WindowError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use crate::keeper::{KeeperHandle, Using};
use crate::sentence::capitalised;

/// Maximum number of queued inputs; more are dropped.
const MAX_WORK: usize = 512;
/// Time after the last input until the lease is returned.
const IDLE: Duration = Duration::from_secs(15);
/// How long a dialog waits for a person.
const DIALOG: Duration = Duration::from_secs(60);

/// A command of a viewer.
pub(super) struct Work {
    pub(super) page: LivePage,
    pub(super) window: Window,
    pub(super) command: LiveCommand,
    pub(super) tell: mpsc::Sender<LiveUpdate>,
}

/// A handle to the task that executes input.
pub(super) struct Hands {
    work: mpsc::Sender<Work>,
}

/// The lease on the window, while a person controls it.
struct Loan {
    steering: Steering,
    _using: Using,
    touched: Instant,
}

impl Hands {
    pub(super) fn start(keeper: KeeperHandle, session: Uuid) -> Self {
        let (work, commands) = mpsc::channel(MAX_WORK);
        tokio::spawn(run(keeper, session, commands));
        Self { work }
    }

    pub(super) fn act(&self, work: Work) {
        if self.work.try_send(work).is_err() {
            tracing::debug!("touch event dropped: the queue is full");
        }
    }
}

async fn run(keeper: KeeperHandle, session: Uuid, mut commands: mpsc::Receiver<Work>) {
    let mut loan: Option<Loan> = None;
    let mut page: Option<LivePage> = None;
    let mut swallows_release = false;
    loop {
        let asked = page.as_ref().is_some_and(|page| page.dialog().is_some());
        let idle = if asked { DIALOG } else { IDLE };
        let until = loan.as_ref().map_or_else(Instant::now, |loan| loan.touched + idle);
        let work = tokio::select! {
            work = commands.recv() => match work {
                Some(work) => work,
                None => return,
            },
            () = sleep_until(until), if loan.is_some() => {
                // A dialog may have opened in the meantime, and waits longer.
                let asks = page.as_ref().is_some_and(|page| page.dialog().is_some());
                let is_over = loan.as_ref().is_none_or(|loan| Instant::now() >= loan.touched + DIALOG);
                if !asks || is_over {
                    loan = None;
                }
                continue;
            }
        };
        // Only the last mouse position matters, not the path.
        if matches!(work.command, LiveCommand::Mouse { kind: LiveMouse::Moved, .. }) && !commands.is_empty() {
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
fn say(tell: &mpsc::Sender<LiveUpdate>, message: impl AsRef<str>) {
    drop(tell.try_send(LiveUpdate::Error { message: capitalised(message.as_ref()) }));
}

async fn act(work: Work, swallows_release: &mut bool) -> Result<(), WindowError> {
    let Work { page, window, command, tell } = work;
    match command {
        LiveCommand::Ack { .. } => Ok(()),
        LiveCommand::Mouse { kind, x, y, button, buttons, clicks, modifiers, delta_x, delta_y } => {
            let opens = kind == LiveMouse::Pressed && button == 0 && page.dialog().is_none();
            if opens && let Some(list) = page.select_at(x, y).await? {
                *swallows_release = true;
                let option = |option: pilotlight_chromium::live::SelectOption| LiveOption {
                    label: option.label,
                    disabled: option.disabled,
                };
                let options = list.options.into_iter().map(option).collect();
                drop(tell.try_send(LiveUpdate::Select { chosen: list.chosen, options }));
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
        LiveCommand::Key { down, key, code, key_code, text, location, modifiers } => {
            page.key(KeyInput { down, key, code, key_code, text, location, modifiers }).await
        }
        LiveCommand::Text { text } => page.insert_text(text).await,
        LiveCommand::Touch { kind, points } => {
            let kind = match kind {
                LiveTouch::Start => "touchStart",
                LiveTouch::Move => "touchMove",
                LiveTouch::End => "touchEnd",
                LiveTouch::Cancel => "touchCancel",
            };
            page.touch(kind, &points).await
        }
        LiveCommand::Copy => {
            let text = page.selected_text().await?;
            drop(tell.try_send(LiveUpdate::Clipboard { text }));
            Ok(())
        }
        LiveCommand::Navigate { url } => {
            aside(tell, async move { page.navigate(&url).await });
            Ok(())
        }
        LiveCommand::Reload => {
            aside(tell, async move { page.reload().await });
            Ok(())
        }
        LiveCommand::Back => page.travel(-1).await,
        LiveCommand::Forward => page.travel(1).await,
        LiveCommand::Tab { id } => match window.live_page(Some(&id)) {
            Some(page) => page.bring_to_front().await,
            None => Ok(()),
        },
        LiveCommand::NewTab => window.open_page().await,
        LiveCommand::CloseTab { id } => {
            if let Some(page) = window.live_page(Some(&id)).filter(|page| page.target() == id) {
                page.close();
            }
            Ok(())
        }
        LiveCommand::Dialog { accept, text } => page.answer(accept, text).await,
        LiveCommand::Choose { index } => page.choose(index).await,
    }
}

/// Runs in the background: people interrupt pages that load too slowly.
fn aside(
    tell: mpsc::Sender<LiveUpdate>,
    work: impl Future<Output = Result<(), WindowError>> + Send + 'static,
) {
    tokio::spawn(async move {
        if let Err(error) = work.await {
            say(&tell, error.to_string());
        }
    });
}
