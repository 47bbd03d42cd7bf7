//! What is known of the guests of a window, and how new pages are announced to them.

use std::collections::HashMap;

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::limits::GUEST_HOLD_MAX;

/// A page that was just made and does not run before this is dropped, or its time is over.
#[derive(Debug)]
pub struct NewPage {
    /// Chromium's id of the page.
    pub target_id: String,
    _hold: DropGuard,
}

/// Where new pages are announced, by number of the guest.
#[derive(Debug, Default)]
pub(crate) struct Guests {
    last: u64,
    present: HashMap<u64, Present>,
}

#[derive(Debug)]
struct Present {
    announcements: mpsc::Sender<NewPage>,
    answers_dialogs: bool,
}

impl Guests {
    pub(crate) fn add(&mut self, sender: mpsc::Sender<NewPage>) -> u64 {
        self.last += 1;
        self.present.insert(self.last, Present { announcements: sender, answers_dialogs: false });
        self.last
    }

    /// Forgets one that is gone; whether it was the last.
    pub(crate) fn remove(&mut self, number: u64) -> bool {
        self.present.remove(&number);
        self.present.is_empty()
    }

    /// Says that this one is told of dialogs.
    pub(crate) fn leave_dialogs_to(&mut self, number: u64) {
        if let Some(present) = self.present.get_mut(&number) {
            present.answers_dialogs = true;
        }
    }

    /// Whether one of them is told of dialogs, and so the one to answer them.
    pub(crate) fn answer_dialogs(&self) -> bool {
        self.present.values().any(|guest| guest.answers_dialogs)
    }

    /// Announces a page to everybody. Awaiting what comes back waits for those who hold it.
    pub(crate) fn announce(&self, target: &str) -> impl Future<Output = ()> + Send + use<> {
        let holds: Vec<_> =
            self.present.values().filter_map(|guest| announce_to(&guest.announcements, target)).collect();
        async move {
            let all = join_all(holds.iter().map(CancellationToken::cancelled));
            if tokio::time::timeout(GUEST_HOLD_MAX, all).await.is_err() {
                tracing::debug!("a new page waited long enough for a client");
            }
        }
    }
}

fn announce_to(guest: &mpsc::Sender<NewPage>, target: &str) -> Option<CancellationToken> {
    let held = CancellationToken::new();
    let page = NewPage { target_id: target.into(), _hold: held.clone().drop_guard() };
    guest.try_send(page).ok().map(|()| held)
}

/// Contexts that guests made for themselves, and who hears of their pages.
pub(crate) type GuestContexts = HashMap<String, mpsc::Sender<NewPage>>;

/// Waits for the guest whose context a new page is in; at once where there is none.
pub(crate) fn announce_in_context(
    contexts: &GuestContexts,
    context: Option<&str>,
    target: &str,
) -> impl Future<Output = ()> + Send + use<> {
    let held = context.and_then(|id| contexts.get(id)).and_then(|guest| announce_to(guest, target));
    async move {
        if let Some(held) = held {
            let _ = tokio::time::timeout(GUEST_HOLD_MAX, held.cancelled()).await;
        }
    }
}
