//! Observes a running sign-in, and records what its page shows if it fails.
//!
//! A picture that shows the password is never kept: the text of the page is searched for it first.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use pilotlight_api::FailedStep;
use pilotlight_checkpoint::Cookie;
use pilotlight_chromium::{Format, Window};
use pilotlight_core::{Activity, Failure, FailureKind, SessionId, Ticket};
use pilotlight_flow::replay::ReplayError;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::message::Report;
use super::session_target::ActivityObserver;
use crate::credentials::Login;
use crate::failures::Failures;

/// How long a page may take to return its text.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);
/// Returns all text of a page. Password fields are left out.
const SHOWN: &str = "[document.body?.innerText ?? '', ...Array.from(\
    document.querySelectorAll('input:not([type=password]), textarea'), field => field.value)].join('\\n')";

/// The recorder of one activity.
pub(super) struct FailureRecorder<'a> {
    session: SessionId,
    ticket: Ticket,
    reports: &'a mpsc::Sender<Report>,
    stuck_at: Mutex<Option<FailedStep>>,
}

impl<'a> FailureRecorder<'a> {
    pub(super) fn new(session: SessionId, ticket: Ticket, reports: &'a mpsc::Sender<Report>) -> Self {
        Self { session, ticket, reports, stuck_at: Mutex::default() }
    }

    /// Reports something that has to be stored, and waits until it is.
    async fn written(
        &self,
        report: Report,
        waits: oneshot::Receiver<Result<(), Failure>>,
    ) -> Result<(), Failure> {
        drop(self.reports.send(report).await);
        let stopping = |_| {
            let sentence = "the server is stopping".to_owned();
            Err(Failure { kind: FailureKind::Browser, sentence })
        };
        waits.await.unwrap_or_else(stopping)
    }

    /// Records what the page shows after a failed sign-in, or a failed flow with that option.
    pub(super) async fn keep(
        self,
        failures: &Failures,
        activity: Activity,
        failure: &Failure,
        window: &Window,
        login: &Login,
    ) {
        use FailureKind::{Rejected, Unexpected, Untyped};
        let is_at_sign_in = matches!(activity, Activity::SignIn | Activity::Refresh | Activity::Look);
        // If the portal cannot be reached, the page shows nothing useful, and every session would record it again and
        // again.
        if is_at_sign_in && matches!(failure.kind, Rejected | Unexpected | Untyped) {
            let step = self.stuck_at.into_inner();
            let session = Uuid::from_u128(self.session.0);
            failures.keep(session, step, failure.sentence.clone(), picture(window, login).await).await;
        }
    }
}

impl ActivityObserver for FailureRecorder<'_> {
    async fn typing(&self) -> Result<(), Failure> {
        let (written, waits) = oneshot::channel();
        self.written(Report::Typing { session: self.session, ticket: self.ticket, written }, waits).await
    }

    async fn keep_cookies(&self, cookies: Vec<Cookie>) -> Result<(), Failure> {
        let (written, waits) = oneshot::channel();
        let report = Report::Cookies { session: self.session, ticket: self.ticket, cookies, written };
        self.written(report, waits).await
    }

    fn on_failure(&self, error: &ReplayError) {
        let step = FailedStep {
            number: u32::try_from(error.number).unwrap_or(u32::MAX),
            kind: error.kind.to_owned(),
            selectors: error.selectors.clone(),
        };
        *self.stuck_at.lock() = Some(step);
    }
}

async fn picture(window: &Window, login: &Login) -> Option<Bytes> {
    let shown = window.evaluate(SHOWN, LOOK_TIMEOUT).await.ok()?;
    let password = login.password().filter(|password| !password.expose_secret().is_empty());
    let shows =
        |password: SecretString| shown.as_str().is_none_or(|text| text.contains(password.expose_secret()));
    if password.is_some_and(shows) {
        return None;
    }
    window.screenshot(Format::Jpeg, false).await.ok()
}
