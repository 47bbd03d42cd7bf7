//! Dialogs of pages (`alert`, `confirm`, `prompt`, `beforeunload`): who answers them, and the default answers.
//!
//! An answer that a flow has ready comes first; then the person in the live view is asked, then the connected
//! clients. Each is waited for only for a limited time, because a page with an open dialog does nothing else.
//! Otherwise [`pilotlight_flow::dialog::decide`] returns the answer. What Pilotlight or a person answered is reported
//! as a [`BrowserEvent::DialogAnswered`] once Chromium reports that the dialog is closed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pilotlight_cdp::SessionId;
use pilotlight_cdp::protocol::page::{DialogClosed, DialogOpening, HandleJavaScriptDialog};
use pilotlight_flow::dialog::{DialogAnswer, DialogRule, ExpectedDialog, decide, shown};
use secrecy::ExposeSecret;
use tokio::time::Instant;

use crate::call::send;
use crate::event::BrowserEvent;
pub use crate::event::{AnsweredBy, AnsweredDialog};
use crate::state::{Dialog, ExpectedDialogs, OpenDialog, Shard, Tab, TabStatus, WindowState, lock};
use crate::window::Window;

/// How long a dialog waits for a person or a client that is connected.
pub const DIALOG_WAIT_MAX: Duration = Duration::from_secs(600);
/// While a flow runs, it may have answers ready. They are removed when this is dropped.
#[derive(Debug)]
pub struct FlowAnswers {
    window: Window,
}

impl Drop for FlowAnswers {
    fn drop(&mut self) {
        self.window.expected_dialogs().clear();
    }
}

impl Window {
    /// The answers that flows in its main page have ready.
    pub(crate) fn expected_dialogs(&self) -> &ExpectedDialogs {
        let own = self.beside.as_ref().and_then(|tab| tab.expected.as_ref());
        own.unwrap_or(&self.state.answers.expected)
    }

    /// Sets how its dialogs are answered if no person or client does; the first rule that matches decides.
    pub fn set_dialog_rules(&self, rules: Arc<[DialogRule]>) {
        self.state.answers.set_rules(rules);
    }

    /// Begins a flow, whose steps may have answers ready. Those of an earlier flow are removed.
    #[must_use]
    pub fn flow_answers(&self) -> FlowAnswers {
        self.expected_dialogs().clear();
        FlowAnswers { window: self.clone() }
    }
}

/// Handles an opened dialog: it is answered immediately, or left to a person or client.
pub(crate) fn opened(
    shard: &Arc<Shard>,
    window: &Arc<WindowState>,
    tab: &Arc<Tab>,
    session: &SessionId,
    opening: DialogOpening,
) {
    let DialogOpening { kind, message, default_prompt } = opening;
    let expected = tab.expected.as_ref().unwrap_or(&window.answers.expected).take(&message);
    let is_seen = tab.expected.is_none();
    let is_steered = is_seen && window.steered.load(Ordering::Acquire) > 0 && *session == tab.session;
    let asks_person = is_steered && expected.is_none();
    let opened_at = Instant::now();
    let open = OpenDialog {
        dialog: Dialog { kind, message, default_prompt },
        session: session.clone(),
        opened_at,
        asks_person,
        by: None,
    };
    tab.status.send_modify(|status| status.dialog = Some(open));
    if let Some(ExpectedDialog { answer, typed, .. }) = expected {
        let typed = typed.map(|typed| typed.expose_secret().to_owned());
        return give(shard, tab, answer, typed, AnsweredBy::Step);
    }
    // A client that enabled the events of its pages sees the dialog, and has to answer it.
    if asks_person || (is_seen && lock(&window.clients).answer_dialogs()) {
        let (shard, window, tab) = (Arc::clone(shard), Arc::clone(window), Arc::clone(tab));
        tokio::spawn(async move {
            let is_over = |status: &TabStatus| {
                status.dialog.as_ref().is_none_or(|dialog| dialog.opened_at != opened_at)
            };
            if tab.wait_for(DIALOG_WAIT_MAX, is_over).await.is_err() {
                answer(&shard, &window, &tab);
            }
        });
        return;
    }
    answer(shard, window, tab);
}

/// Answers the open dialog of a page, if any, with the default answer.
pub(crate) fn answer(shard: &Shard, window: &WindowState, tab: &Tab) {
    let Some(open) = tab.status.borrow().dialog.clone() else { return };
    let rules = Arc::clone(&lock(&window.answers.rules));
    let decided = decide(&rules, &open.dialog.kind, &open.dialog.message);
    give(shard, tab, decided.answer, decided.typed, decided.why.into());
}

/// Leaves the dialogs of a window to the person in the live view, or answers them: the clients have disconnected.
pub(crate) fn clients_left(shard: &Shard, window: &WindowState) {
    let tabs: Vec<_> = window.tabs.borrow().clone();
    let is_steered = window.steered.load(Ordering::Acquire) > 0;
    for tab in tabs {
        let asks = |open: &mut OpenDialog| {
            let may_ask = is_steered && open.session == tab.session;
            open.asks_person |= may_ask;
            may_ask
        };
        let is_left = tab.status.send_if_modified(|status| status.dialog.as_mut().is_some_and(asks));
        if !is_left {
            answer(shard, window, &tab);
        }
    }
}

/// Answers what waited for a person who has left, or leaves it to a client, which has seen it too.
pub(crate) fn person_left(shard: &Shard, window: &WindowState) {
    let is_left_to_client = lock(&window.clients).answer_dialogs();
    for tab in window.tabs.borrow().iter() {
        let asked = |open: &mut OpenDialog| std::mem::take(&mut open.asks_person);
        let waited = tab.status.send_if_modified(|status| status.dialog.as_mut().is_some_and(asked));
        if waited && !is_left_to_client {
            answer(shard, window, tab);
        }
    }
}

/// Sends an answer. Of a prompt that is accepted without a text, what it begins with is taken, as by a person who
/// presses "OK".
fn give(shard: &Shard, tab: &Tab, answer: DialogAnswer, typed: Option<String>, by: AnsweredBy) {
    let Some(open) = note(tab, by) else { return };
    let accept = answer.accepts();
    tracing::debug!(kind = open.dialog.kind, accept, "answering a dialog");
    let is_prompt = open.dialog.kind == "prompt";
    let prompt_text = typed.or(Some(open.dialog.default_prompt)).filter(|_| accept && is_prompt);
    send(&shard.connection, &open.session, HandleJavaScriptDialog { accept, prompt_text });
}

/// Notes who answers the open dialog, and returns it.
pub(crate) fn note(tab: &Tab, by: AnsweredBy) -> Option<OpenDialog> {
    let mut noted = None;
    tab.status.send_if_modified(|status| {
        if let Some(open) = &mut status.dialog {
            open.by = Some(by);
            noted = Some(open.clone());
        }
        false
    });
    noted
}

/// Handles a closed dialog. The answer of a client is the client's own affair, and is not reported.
pub(crate) fn closed(window: &WindowState, tab: &Tab, closed: &DialogClosed) -> Option<BrowserEvent> {
    let mut open = None;
    tab.status.send_modify(|status| open = status.dialog.take());
    let OpenDialog { dialog, by, .. } = open?;
    let by = by?;
    if !window.answers.may_tell() {
        tracing::debug!(window = %window.id, "a window opens too many dialogs to report all of them");
        return None;
    }
    let answered = AnsweredDialog {
        text: shown(&dialog.message),
        kind: shown(&dialog.kind),
        answer: DialogAnswer::of(closed.result),
        by,
    };
    Some(BrowserEvent::DialogAnswered { window: window.id.clone(), dialog: Box::new(answered) })
}
