//! A window that is kept ready, so that opening one need not wait for a context and a renderer, which takes most of
//! the time of waking to a small page.
//!
//! It costs an empty renderer (15 to 19 MB, measured), so a browser has one only while windows are opened and closed:
//! from the closing of one until none was closed for [`LIFETIME`]. It belongs to no session: it is not counted, has
//! no label, and is given away only once.

use std::sync::Arc;
use std::time::Duration;

use pilotlight_flow::page::{Page, Scope};
use pilotlight_flow::selector::{Part, Selector};
use tokio::time::{sleep, timeout};

use super::{WindowOptions, open_unlabelled};
use crate::state::{Shard, Spare, Viewport, WindowState, lock};
use crate::window::{Window, dispose, reuse};

/// How long after closing a window the next one is expected.
const LIFETIME: Duration = Duration::from_secs(600);
/// The delay between closing a window and opening a spare one: not while the window for which it was closed is
/// opening.
const DELAY: Duration = Duration::from_millis(200);

/// How long warming up may take.
const WARM_UP_TIMEOUT: Duration = Duration::from_secs(5);
/// Makes a new renderer load its fonts and lay something out. The page is empty again afterwards.
const WARM_UP: &str = "(() => {
    const line = document.createElement('div');
    line.innerHTML = '<p style=\"font: 14px sans-serif\">a <b>b</b> <input> <button>c</button></p>';
    document.body.append(line);
    line.getBoundingClientRect();
    line.remove();
})()";

/// Takes the spare window, if it has the requested options.
pub(super) fn take(spare: &Spare, options: &WindowOptions) -> Option<Arc<WindowState>> {
    let fits = |spare: &mut Arc<WindowState>| {
        options.proxy.is_none() && spare.viewport == options.viewport && is_sound(spare)
    };
    lock(&spare.window).take_if(fits)
}

/// Returns whether it is still as it was opened.
fn is_sound(window: &WindowState) -> bool {
    window.main_tab().is_ok_and(|tab| {
        let status = tab.status.borrow();
        status.ready && !status.crashed && !status.gone
    })
}

/// Manages the spare window of a browser for as long as the browser runs.
pub(super) async fn keep(shard: Arc<Shard>) {
    let mut went = shard.spare.went.subscribe();
    let looking_after = async {
        loop {
            match timeout(LIFETIME, went.changed()).await {
                Ok(_) => {
                    sleep(DELAY).await;
                    let viewport = *went.borrow_and_update();
                    renew(&shard, viewport).await;
                }
                Err(_) => {
                    let unused = lock(&shard.spare.window).take();
                    discard(&shard, unused).await;
                }
            }
            reuse::discard_unused(&shard).await;
        }
    };
    tokio::select! {
        () = looking_after => {}
        () = shard.connection.closed() => {}
    }
}

/// Opens one if there is none of this size.
async fn renew(shard: &Arc<Shard>, viewport: Viewport) {
    let unfit = |spare: &mut Arc<WindowState>| spare.viewport != viewport || !is_sound(spare);
    let unfit = lock(&shard.spare.window).take_if(unfit);
    discard(shard, unfit).await;
    if lock(&shard.spare.window).is_some() {
        return;
    }
    let options = WindowOptions { viewport, ..WindowOptions::default() };
    match open_unlabelled(shard, &options).await {
        Ok(window) => {
            warm_up(shard, &window).await;
            *lock(&shard.spare.window) = Some(window);
        }
        Err(error) => tracing::debug!(%error, "failed to open a spare window"),
    }
}

/// Does in the empty page what is done first in every page. Measured: a small page loads in 57 ms instead of 74.
async fn warm_up(shard: &Arc<Shard>, state: &Arc<WindowState>) {
    let window = Window::new(Arc::clone(shard), Arc::clone(state));
    let nothing = Selector { parts: vec![Part::Css("#pilotlight".to_owned())] };
    let document = Scope::default();
    let laid_out = window.evaluate(WARM_UP, WARM_UP_TIMEOUT);
    if let (Err(error), _) = tokio::join!(laid_out, window.find(&document, &nothing)) {
        tracing::debug!(%error, "failed to warm up a spare window");
    }
}

async fn discard(shard: &Shard, window: Option<Arc<WindowState>>) {
    if let Some(window) = window
        && let Err(error) = dispose(shard, &window).await
    {
        tracing::debug!(%error, "failed to close a spare window");
    }
}
