//! The memory of a window's renderers.
//!
//! Chromium does not say which renderer shows a page, but the id of a new style sheet contains the renderer's process
//! id. A second session is opened for the query and closed again, so that nothing stays enabled in the page; the
//! result is kept for as long as the document.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use pilotlight_cdp::SessionId;
use pilotlight_cdp::protocol::dom::{CreateStyleSheet, CssEnable, Enable};
use pilotlight_cdp::protocol::target::{AttachToTarget, DetachFromTarget};
use pilotlight_linux::Seen;

use super::{COMMAND_TIMEOUT, Window};
use crate::error::WindowError;
use crate::state::{Renderer, Shard, Tab, lock};

/// The maximum number of processes that are measured for one window.
const RENDERERS_MAX: usize = 64;

pub(super) async fn renderer_pids(window: &Window) -> Result<Vec<u32>, WindowError> {
    let tabs = window.state.tabs.borrow().clone();
    let mut pids = BTreeSet::new();
    for tab in tabs.iter().filter(|tab| !tab.status.borrow().crashed).take(RENDERERS_MAX) {
        match renderer_of_tab(&window.shard, tab).await {
            Ok(pid) => _ = pids.insert(pid),
            // A page that is closed or crashes meanwhile has no renderer.
            Err(WindowError::Closed | WindowError::Crashed) => {}
            Err(error) => return Err(error),
        }
        for frame in tab.frames().into_iter().take(RENDERERS_MAX) {
            if let Ok(pid) = renderer_of_target(&window.shard, tab, &frame.frame).await {
                pids.insert(pid);
            }
        }
    }
    Ok(pids.into_iter().collect())
}

async fn renderer_of_tab(shard: &Arc<Shard>, tab: &Arc<Tab>) -> Result<u32, WindowError> {
    let loader = tab.status.borrow().loader().to_owned();
    if let Some(known) = lock(&tab.renderer).clone()
        && known.loader == loader
    {
        return Ok(known.process.pid());
    }
    let pid = renderer_of_target(shard, tab, &tab.target).await?;
    let process = Seen::find(pid).ok_or(WindowError::Closed)?;
    *lock(&tab.renderer) = Some(Renderer { loader, process });
    Ok(pid)
}

/// `target` is a page or an out-of-process frame; in both cases it is also the id of its frame. In a task of its own:
/// if the caller is dropped meanwhile, the session must not be left behind.
async fn renderer_of_target(shard: &Arc<Shard>, tab: &Arc<Tab>, target: &str) -> Result<u32, WindowError> {
    let (shard, tab, target) = (Arc::clone(shard), Arc::clone(tab), target.to_owned());
    let asking = tokio::spawn(async move { ask_in_session(&shard, &tab, &target).await });
    asking.await.unwrap_or(Err(WindowError::Closed))
}

async fn ask_in_session(shard: &Shard, tab: &Tab, target: &str) -> Result<u32, WindowError> {
    let attach = AttachToTarget { target_id: target.into(), flatten: true };
    let session = shard.connection.call_within(None, attach, COMMAND_TIMEOUT).await?.session_id;
    let asked = ask(shard, tab, &session, target).await;
    let detach = DetachFromTarget { session_id: session };
    if let Err(error) = shard.connection.call_within(None, detach, COMMAND_TIMEOUT).await {
        tracing::debug!(%error, "failed to close a temporary session");
    }
    asked
}

async fn ask(shard: &Shard, tab: &Tab, session: &SessionId, frame: &str) -> Result<u32, WindowError> {
    let connection = &shard.connection;
    tab.call(connection, session, Enable {}, COMMAND_TIMEOUT).await?;
    tab.call(connection, session, CssEnable {}, COMMAND_TIMEOUT).await?;
    let create = CreateStyleSheet { frame_id: frame.into() };
    let id = tab.call(connection, session, create, COMMAND_TIMEOUT).await?.style_sheet_id;
    pid_in(&id).filter(|&pid| is_renderer(pid)).ok_or_else(|| WindowError::Refused {
        command: "CSS.createStyleSheet".into(),
        reason: "the answer names no renderer".into(),
    })
}

/// `style-sheet-<pid>-<number>`.
fn pid_in(style_sheet_id: &str) -> Option<u32> {
    style_sheet_id.strip_prefix("style-sheet-")?.split('-').next()?.parse().ok()
}

fn is_renderer(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
        line.split(|&byte| byte == 0 || byte == b' ').any(|argument| argument == b"--type=renderer")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_ids_are_read_from_style_sheets() {
        assert_eq!(pid_in("style-sheet-8283-1"), Some(8283));
        assert_eq!(pid_in("style-sheet-1"), Some(1));
        assert_eq!(pid_in("8283"), None);
    }
}
