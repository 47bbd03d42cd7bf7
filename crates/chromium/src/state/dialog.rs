//! The state of the dialogs of a window's pages, and their answers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pilotlight_cdp::SessionId;
use pilotlight_flow::dialog::{DialogRule, ExpectedDialog};
use tokio::time::Instant;

use super::lock;
use crate::event::AnsweredBy;

/// How long an answer of a flow is kept: longer than the step that opens the dialog may take.
const EXPECTED_FOR: Duration = Duration::from_secs(120);
/// Answers that a flow may have ready.
const EXPECTED_MAX: usize = 32;
/// Dialogs of a window that are reported within [`TOLD_SPAN`]; a page may open them in a loop.
const TOLD_MAX: u32 = 30;
const TOLD_SPAN: Duration = Duration::from_secs(60);

/// A dialog of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialog {
    /// `alert`, `confirm`, `prompt` or `beforeunload`.
    pub kind: String,
    /// Its message.
    pub message: String,
    /// The default text of a prompt.
    pub default_prompt: String,
}

/// The open dialog of a page.
#[derive(Debug, Clone)]
pub(crate) struct OpenDialog {
    pub(crate) dialog: Dialog,
    pub(crate) session: SessionId,
    /// Distinguishes it from earlier ones.
    pub(crate) opened_at: Instant,
    pub(crate) asks_person: bool,
    /// Who has answered, until it is closed.
    pub(crate) by: Option<AnsweredBy>,
}

impl OpenDialog {
    /// Returns the dialog for the person in the live view.
    pub(crate) fn question(&self) -> Option<&Dialog> {
        self.asks_person.then_some(&self.dialog)
    }
}

/// The rules and answers for the dialogs of a window.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// The rules of its site.
    pub(crate) rules: Mutex<Arc<[DialogRule]>>,
    pub(crate) expected: ExpectedDialogs,
    told: Mutex<Option<(Instant, u32)>>,
}

impl Answers {
    pub(crate) fn set_rules(&self, rules: Arc<[DialogRule]>) {
        *lock(&self.rules) = rules;
    }

    /// Returns whether one more may be reported.
    pub(crate) fn may_tell(&self) -> bool {
        let mut told = lock(&self.told);
        let now = Instant::now();
        let (since, count) = told.filter(|(since, _)| now < *since + TOLD_SPAN).unwrap_or((now, 0));
        *told = Some((since, count.saturating_add(1)));
        count < TOLD_MAX
    }
}

/// The answers that a flow has ready, with their expiry.
#[derive(Debug, Default)]
pub(crate) struct ExpectedDialogs(Mutex<Vec<(ExpectedDialog, Instant)>>);

impl ExpectedDialogs {
    /// Adds an answer that is given once; returns `false` if there are too many.
    pub(crate) fn expect(&self, dialog: ExpectedDialog) -> bool {
        let mut expected = lock(&self.0);
        let now = Instant::now();
        expected.retain(|(_, until)| *until > now);
        let has_room = expected.len() < EXPECTED_MAX;
        if has_room {
            expected.push((dialog, now + EXPECTED_FOR));
        }
        has_room
    }

    pub(crate) fn take(&self, message: &str) -> Option<ExpectedDialog> {
        let mut expected = lock(&self.0);
        let now = Instant::now();
        expected.retain(|(_, until)| *until > now);
        let place = expected.iter().position(|(dialog, _)| dialog.is(message))?;
        Some(expected.remove(place).0)
    }

    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }
}

#[cfg(test)]
mod tests {
    use pilotlight_flow::dialog::DialogAnswer;

    use super::*;

    fn expecting(text: &str) -> ExpectedDialog {
        ExpectedDialog::new(text, DialogAnswer::Accept, None).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_ready_is_given_once_and_not_kept_for_ever() {
        let answers = ExpectedDialogs::default();
        assert!(answers.expect(expecting("Delete")));
        assert!(answers.take("Stay signed in?").is_none());
        assert!(answers.take("Delete it?").is_some());
        assert!(answers.take("Delete it?").is_none());
        assert!(answers.expect(expecting("Delete")));
        tokio::time::advance(EXPECTED_FOR).await;
        assert!(answers.take("Delete it?").is_none());
        let taken = (0..=EXPECTED_MAX).map(|_| answers.expect(expecting("Delete"))).filter(|taken| *taken);
        assert_eq!(taken.count(), EXPECTED_MAX);
        answers.clear();
        assert!(answers.take("Delete it?").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn dialogs_in_a_loop_are_not_all_told() {
        let answers = Answers::default();
        assert_eq!((0..1000).filter(|_| answers.may_tell()).count(), TOLD_MAX as usize);
        tokio::time::advance(TOLD_SPAN).await;
        assert!(answers.may_tell());
    }
}
