//! The lease of a window for one request.

use pilotlight_chromium::Window;
use pilotlight_core::SessionId;
use tokio::sync::mpsc;

use super::message::Message;

/// A window that may be used until this is dropped: meanwhile no activity runs in it.
#[derive(Debug)]
pub struct Using {
    /// The window.
    pub window: Window,
    pub(super) session: SessionId,
    pub(super) messages: mpsc::Sender<Message>,
}

impl Drop for Using {
    fn drop(&mut self) {
        let ended = Message::UseEnded { session: self.session };
        // A full queue is waited for in a task: a use that never ended would protect the session for ever.
        if let Err(mpsc::error::TrySendError::Full(ended)) = self.messages.try_send(ended) {
            let messages = self.messages.clone();
            tokio::spawn(async move { drop(messages.send(ended).await) });
        }
    }
}
