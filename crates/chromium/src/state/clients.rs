//! The clients of a window, and the announcement of new pages to them.

use std::collections::HashMap;

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::limits::CLIENT_HOLD_MAX;

/// A new page, which does not run before this is dropped, or its time is over.
#[derive(Debug)]
pub struct NewPage {
    /// Chromium's id of the page.
    pub target_id: String,
    _hold: DropGuard,
}

/// The channels for new pages, by number of the client.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    last: u64,
    present: HashMap<u64, Present>,
}

#[derive(Debug)]
struct Present {
    announcements: mpsc::Sender<NewPage>,
    answers_dialogs: bool,
}

impl Clients {
    pub(crate) fn add(&mut self, sender: mpsc::Sender<NewPage>) -> u64 {
        self.last += 1;
        self.present.insert(self.last, Present { announcements: sender, answers_dialogs: false });
        self.last
    }

    /// Removes a client. Returns whether it was the last.
    pub(crate) fn remove(&mut self, number: u64) -> bool {
        self.present.remove(&number);
        self.present.is_empty()
    }

    /// Notes that this client gets events of dialogs.
    pub(crate) fn leave_dialogs_to(&mut self, number: u64) {
        if let Some(present) = self.present.get_mut(&number) {
            present.answers_dialogs = true;
        }
    }

    /// Returns whether a client gets events of dialogs, and therefore has to answer them.
    pub(crate) fn answer_dialogs(&self) -> bool {
        self.present.values().any(|client| client.answers_dialogs)
    }

    /// Announces a page to all clients. The returned future waits until none of them holds it.
    pub(crate) fn announce(&self, target: &str) -> impl Future<Output = ()> + Send + use<> {
        let holds: Vec<_> =
            self.present.values().filter_map(|client| announce_to(&client.announcements, target)).collect();
        async move {
            let all = join_all(holds.iter().map(CancellationToken::cancelled));
            if tokio::time::timeout(CLIENT_HOLD_MAX, all).await.is_err() {
                tracing::debug!("a new page no longer waits for a client");
            }
        }
    }
}

fn announce_to(client: &mpsc::Sender<NewPage>, target: &str) -> Option<CancellationToken> {
    let held = CancellationToken::new();
    let page = NewPage { target_id: target.into(), _hold: held.clone().drop_guard() };
    client.try_send(page).ok().map(|()| held)
}

/// Contexts that clients created, with the receivers of their pages.
pub(crate) type ClientContexts = HashMap<String, mpsc::Sender<NewPage>>;

/// Waits for the client whose context a new page is in; returns immediately if there is none.
pub(crate) fn announce_in_context(
    contexts: &ClientContexts,
    context: Option<&str>,
    target: &str,
) -> impl Future<Output = ()> + Send + use<> {
    let held = context.and_then(|id| contexts.get(id)).and_then(|client| announce_to(client, target));
    async move {
        if let Some(held) = held {
            let _ = tokio::time::timeout(CLIENT_HOLD_MAX, held.cancelled()).await;
        }
    }
}
