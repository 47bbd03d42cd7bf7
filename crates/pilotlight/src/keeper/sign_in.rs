//! Signing in: the site's flow is replayed, and what came of it is told apart by what happened.
//!
//! From the first thing that is typed on, the portal may have heard of the sign-in. What it was sent, what it answered,
//! and what its form shows decide whether it refused, is slow, or was never asked; the clock decides only where nothing
//! else does.

mod verdict;

use std::sync::LazyLock;
use std::time::Duration;

use pilotlight_chromium::{RequestWatch, Traffic, Window};
use pilotlight_core::{Failure, FailureKind, Moment, SignInStatus};
use pilotlight_flow::condition::{Condition, IS_SHOWN};
use pilotlight_flow::page::{Page, PageError, Scope};
use pilotlight_flow::placeholders::TOTP;
use pilotlight_flow::replay::{
    Event, Progress, ReplayError, ReplayOptions, StepError, replay_if_present, replay_part,
};
use pilotlight_flow::schema::{Flow, Step};
use pilotlight_flow::selector::{Part, Selector};
use tokio::time::{Instant, sleep, timeout};

use self::verdict::{
    ANSWERED_TIMEOUT, FieldState, REFUSED_AFTER, SERVER_ERROR, Typed, UNANSWERED_TIMEOUT, Verdict, judge,
};
use super::session_target::{
    ActivityObserver, POLL, PROBE_TIMEOUT, SessionTarget, failure, holds, of_window, portal_fault,
    replay_failure, response_status,
};
use crate::sentence::with_sources;

/// What the field for the code of a second factor is marked with (HTML, `autocomplete`).
const CODE_FIELD: &str = "input[autocomplete~='one-time-code']";
/// When the present document began to come, in milliseconds since 1970.
const BEGAN_AT_MS: &str = "Math.floor(performance.timeOrigin)";
/// How many of the elements that a selector matches are asked whether they show.
const MATCHES_ASKED: usize = 4;
/// What a field of the form tells, `null` where nobody sees it: whether something is in it, and what the page says of
/// what was typed.
static FIELD_STATE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "function () {{
  const isShown = {IS_SHOWN};
  if (!this.isConnected || !isShown(this)) return null;
  const marks = '[role=alert], [aria-live=assertive], [aria-invalid=true]';
  const says = [...this.ownerDocument.querySelectorAll(marks)].slice(0, 20).filter(isShown)
    .map((element) => element.matches('[aria-invalid=true]') ? 'invalid' : element.innerText.trim().slice(0, 200));
  return {{ isFilled: this.value !== '', says: says.filter(Boolean).join('\\n') }};
}}"
    )
});

/// One sign-in under way.
struct Attempt<'a> {
    target: &'a SessionTarget,
    window: &'a Window,
    requests: Option<RequestWatch>,
    /// Whether all steps are done in the main page, which is the one that is watched.
    is_in_main_page: bool,
    typed: Option<Typed>,
}

impl SessionTarget {
    pub(super) async fn sign_in(
        &self,
        window: &Window,
        observer: &impl ActivityObserver,
    ) -> Result<SignInStatus, Failure> {
        // It may have signed itself in, and a portal sends those who are away from its sign-in page.
        if let Ok(standing @ (SignInStatus::SignedIn | SignInStatus::PersonNeeded(_))) =
            self.look(window).await
        {
            return Ok(standing);
        }
        let Some(flow) = self.site.as_ref().and_then(|site| site.sign_in.as_ref()) else {
            return Ok(SignInStatus::SignedOut);
        };
        let is_in_main_page = flow.steps.iter().all(|step| step.target.is_none());
        let mut attempt = Attempt { target: self, window, requests: None, is_in_main_page, typed: None };
        let outcome = attempt.run(flow, observer).await;
        let was_typed = attempt.typed.is_some();
        outcome.map_err(|failure| match failure.kind {
            // Repeating it without end, as what never reached the portal is repeated, could lock the account.
            FailureKind::Unreachable if was_typed => Failure { kind: FailureKind::Unexpected, ..failure },
            FailureKind::Unexpected if !was_typed => Failure { kind: FailureKind::Untyped, ..failure },
            _ => failure,
        })
    }

    /// Whether the page shows a field that the sign-in flow types into.
    pub(super) async fn shows_form(&self, window: &Window) -> bool {
        self.form(window).await.is_some()
    }

    /// The field of the sign-in flow that the page shows; of several, the last. A page that hangs shows none.
    async fn form(&self, window: &Window) -> Option<FieldState> {
        timeout(PROBE_TIMEOUT, self.form_now(window)).await.ok().flatten()
    }

    async fn form_now(&self, window: &Window) -> Option<FieldState> {
        let flow = self.site.as_ref()?.sign_in.as_ref()?;
        // A flow that types into no field is known by what it works on first.
        let first = flow.steps.iter().find(|step| !step.selectors().is_empty());
        let first = first.filter(|_| !flow.steps.iter().any(is_typing));
        for step in flow.steps.iter().rev().filter(|step| is_typing(step)).chain(first) {
            let scope = Scope { target: step.target.clone(), frame: step.frame.clone() };
            // Names take longest.
            let (by_name, others): (Vec<_>, Vec<_>) = step
                .selectors()
                .iter()
                .partition(|selector| selector.parts.iter().any(|part| matches!(part, Part::Aria { .. })));
            for selector in others.into_iter().chain(by_name) {
                let found = window.find(&scope, selector).await.unwrap_or_default();
                for element in found.iter().take(MATCHES_ASKED) {
                    let state = Page::call(window, element, &FIELD_STATE, &[]).await.unwrap_or_default();
                    if let Ok(Some(state)) = serde_json::from_value(state) {
                        return Some(state);
                    }
                }
            }
        }
        None
    }

    /// What came of a sign-in that an earlier server typed: a form that is newer is the portal's answer to it.
    pub(super) async fn came_to(&self, window: &Window, tried_at: Moment) -> Result<SignInStatus, Failure> {
        let began_at = window.evaluate(BEGAN_AT_MS, PROBE_TIMEOUT).await.map_err(of_window)?;
        if began_at.as_u64().is_some_and(|began_at| began_at > tried_at.0) {
            if self.shows_form(window).await {
                return Err(self.refusal(window).await);
            }
            if let Some(answer) = self.other_answer(window).await {
                return Err(answer);
            }
        }
        Ok(SignInStatus::SignedOut)
    }

    /// What a form that is shown again says.
    async fn refusal(&self, window: &Window) -> Failure {
        match self.other_answer(window).await {
            Some(answer) => answer,
            None => failure(
                FailureKind::Rejected,
                "the portal refused the sign-in and shows its form again: the user name or the password is wrong"
                    .to_owned(),
            ),
        }
    }

    /// An answer of the portal that is neither yes nor its form again. None of them is worth repeating, and each
    /// could lock the account.
    async fn other_answer(&self, window: &Window) -> Option<Failure> {
        let definition = &self.site.as_ref()?.definition;
        let url = window.summary().url;
        let says = async |condition: Option<&Condition>| holds(condition, window).await.unwrap_or(false);
        if says(definition.locked_out.as_ref()).await {
            return Some(failure(
                FailureKind::Rejected,
                format!("the portal has locked the account, says {url}"),
            ));
        }
        let wants_code = match &definition.second_factor {
            None => shows_code_field(window).await,
            condition => says(condition.as_ref()).await,
        };
        let sentence = match (self.login.values().contains(TOTP), wants_code) {
            (_, false) => return None,
            (false, true) => format!("the portal asks for a second factor at {url}, and there is none"),
            (true, true) => {
                format!("the portal asks for a second factor again at {url}: it refused the code")
            }
        };
        Some(failure(FailureKind::Rejected, sentence))
    }
}

impl Attempt<'_> {
    /// Replays the flow, and finds out what came of it.
    async fn run(&mut self, flow: &Flow, observer: &impl ActivityObserver) -> Result<SignInStatus, Failure> {
        // What may be asked at the end is looked for while it is found out what the portal did.
        let total = required_steps(flow);
        let first = flow.steps.iter().position(is_typing).unwrap_or(total);
        let last = flow.steps.iter().rposition(is_typing).unwrap_or(total);
        let values = self.target.login.values();
        let options = ReplayOptions { pictures: observer.wants_pictures(), ..ReplayOptions::default() };
        let window = self.window;
        let _answers = window.flow_answers();
        let on_event = |event| observer.on_event(event);
        let mut replayed = replay_part(window, flow, 0..first, &values, &options, on_event).await;
        if replayed.is_ok() && first < total {
            // No form comes on a page that only says that the portal is not there.
            let status = response_status(window).await;
            if status >= 500 {
                return Err(portal_fault(status));
            }
            observer.typing().await?;
            self.requests = window.watch_requests().await.ok();
            let before = self.window.navigation_count();
            replayed = replay_part(window, flow, first..first + 1, &values, &options, on_event).await;
            if replayed.is_ok() {
                self.typed = Some(Typed { navigations: before, ..Typed::default() });
                replayed = self.type_rest(flow, first + 1..last + 1, observer, &options).await;
            }
            if replayed.is_ok() {
                let form = self.target.form(window).await;
                if let Some(typed) = &mut self.typed {
                    (typed.is_all, typed.form) = (true, form);
                }
                replayed = replay_part(window, flow, last + 1..total, &values, &options, on_event).await;
            }
        }
        if let Err(error) = &replayed {
            observer.on_failure(error);
        }
        self.outcome(flow, replayed.err().as_ref(), observer).await
    }

    async fn type_rest(
        &mut self,
        flow: &Flow,
        steps: std::ops::Range<usize>,
        observer: &impl ActivityObserver,
        options: &ReplayOptions,
    ) -> Result<(), ReplayError> {
        let (window, values) = (self.window, self.target.login.values());
        let mut marked = None;
        let observe = |event| {
            if let Event::Begins(Progress { kind: "change", .. }) = event {
                marked = Some(window.navigation_count());
            }
            observer.on_event(event);
        };
        let replayed = replay_part(window, flow, steps, &values, options, observe).await;
        if let (Some(marked), Some(typed)) = (marked, &mut self.typed) {
            typed.navigations = marked;
        }
        replayed
    }

    /// Waits until it is known what the portal did. `error` is what kept the flow from its end: a recording may expect
    /// what a refusal does not bring.
    async fn outcome(
        &self,
        flow: &Flow,
        error: Option<&ReplayError>,
        observer: &impl ActivityObserver,
    ) -> Result<SignInStatus, Failure> {
        let mut began = Instant::now();
        let mut asked: Vec<_> = (required_steps(flow)..flow.steps.len()).collect();
        let (target, window) = (self.target, self.window);
        loop {
            if let Ok(standing @ (SignInStatus::SignedIn | SignInStatus::PersonNeeded(_))) =
                target.look(window).await
            {
                return Ok(standing);
            }
            let status = response_status(window).await;
            let form = target.form(window).await;
            // Some portals refuse with an error of their own, and show their form again.
            let may_refuse = status == u64::from(SERVER_ERROR)
                && self.typed.is_some()
                && (form.is_some() || began.elapsed() < REFUSED_AFTER);
            if status >= 500 && !may_refuse {
                return Err(portal_fault(status));
            }
            // A page that is gone answers nothing any more.
            let is_lost = error.is_some_and(is_of_browser);
            let traffic = self.traffic().filter(|_| !is_lost);
            let is_all_typed = self.typed.as_ref().is_some_and(|typed| typed.is_all);
            // Where the click on the button was not done and nothing was sent, nobody will answer. What else is covered
            // may be covered by an answer.
            let is_unsent = self.has_surely_sent_nothing(error);
            let gives_up_early = error.is_some() && (is_lost || !is_all_typed || is_unsent);
            let verdict = self.verdict(form.as_ref(), traffic, began.elapsed(), gives_up_early);
            // Nothing says that the portal was asked.
            let verdict = match verdict {
                Verdict::Silent if is_unsent => Verdict::Elsewhere,
                verdict => verdict,
            };
            let is_judged = verdict != Verdict::Open && self.typed.is_some();
            if (is_judged || (form.is_none() && self.has_answered(error.is_some())))
                && let Some(answer) = target.other_answer(window).await
            {
                return Err(answer);
            }
            // While the form is there, what looks like the button of a question may be that of the form.
            if error.is_none()
                && verdict == Verdict::Open
                && form.is_none()
                && self.has_answered(false)
                && let Some(step) = self.answer_question(flow, &asked, observer).await?
            {
                asked.retain(|other| *other != step);
                began = Instant::now();
                continue;
            }
            match verdict {
                Verdict::Open => sleep(POLL).await,
                Verdict::Refused => return Err(target.refusal(window).await),
                verdict => return Err(self.failure(&verdict, error)),
            }
        }
    }

    /// Executes the first of these optional steps whose element is there, and returns it.
    async fn answer_question(
        &self,
        flow: &Flow,
        steps: &[usize],
        observer: &impl ActivityObserver,
    ) -> Result<Option<usize>, Failure> {
        let values = self.target.login.values();
        let options = ReplayOptions { pictures: observer.wants_pictures(), ..ReplayOptions::default() };
        for step in steps {
            let on_event = |event| observer.on_event(event);
            match replay_if_present(self.window, flow, *step, &values, &options, on_event).await {
                Ok(true) => return Ok(Some(*step)),
                Ok(false) => {}
                Err(error) => {
                    observer.on_failure(&error);
                    return Err(replay_failure("the sign-in flow", &error));
                }
            }
        }
        Ok(None)
    }

    /// Whether something came since something was last typed, so that what the page shows is an answer.
    fn has_answered(&self, is_stuck: bool) -> bool {
        let Some(typed) = &self.typed else { return !is_stuck };
        let went_on = self.window.navigation_count() > typed.navigations;
        went_on || self.traffic().is_none_or(|traffic| traffic.any)
    }

    /// Whether the portal cannot have heard of the sign-in: its button was not clicked, and nothing was sent anywhere.
    fn has_surely_sent_nothing(&self, error: Option<&ReplayError>) -> bool {
        let has_sent = |traffic: Traffic| traffic.any || traffic.any_elsewhere;
        error.is_some_and(is_covered) && self.traffic().is_some_and(|traffic| !has_sent(traffic))
    }

    /// What was sent and answered; `None` where that is not known.
    fn traffic(&self) -> Option<Traffic> {
        let traffic = self.requests.as_ref()?.traffic();
        (traffic.is_complete && self.is_in_main_page).then_some(traffic)
    }

    fn verdict(
        &self,
        form: Option<&FieldState>,
        traffic: Option<Traffic>,
        waited: Duration,
        gives_up_early: bool,
    ) -> Verdict {
        let Some(typed) = &self.typed else {
            return match (gives_up_early, waited >= ANSWERED_TIMEOUT) {
                (true, _) => Verdict::Elsewhere,
                (false, false) => Verdict::Open,
                (false, true) if form.is_some() => Verdict::Silent,
                (false, true) => Verdict::Elsewhere,
            };
        };
        let went_on = self.window.navigation_count() > typed.navigations;
        judge(typed, went_on, form, traffic, waited, gives_up_early)
    }

    fn failure(&self, verdict: &Verdict, error: Option<&ReplayError>) -> Failure {
        let seconds = |limit: Duration| limit.as_secs();
        let url = self.window.summary().url;
        match verdict {
            Verdict::Silent => failure(
                FailureKind::Rejected,
                format!(
                    "{} s after the sign-in the portal still shows its form: the user name or the password is wrong, or the portal is slow",
                    seconds(ANSWERED_TIMEOUT)
                ),
            ),
            Verdict::Slow => failure(
                FailureKind::Unexpected,
                format!(
                    "the portal is slow: {} s after the sign-in was sent there is no answer",
                    seconds(UNANSWERED_TIMEOUT)
                ),
            ),
            Verdict::NotSent => failure(
                if self.has_surely_sent_nothing(error) {
                    FailureKind::Untyped
                } else {
                    FailureKind::Unexpected
                },
                format!(
                    "the sign-in form at {url} was filled in, but the page has sent nothing to the portal{}",
                    error.map(|error| format!(": {}", with_sources(error))).unwrap_or_default()
                ),
            ),
            Verdict::Faulty(status) => portal_fault((*status).into()),
            Verdict::Elsewhere | Verdict::Open | Verdict::Refused => match error {
                Some(error) => replay_failure("the sign-in flow", error),
                None => failure(
                    FailureKind::Unexpected,
                    format!("the sign-in flow went through, but {url} does not look signed in"),
                ),
            },
        }
    }
}

fn is_of_browser(error: &ReplayError) -> bool {
    matches!(error.cause, StepError::Page(PageError::Gone(_) | PageError::Refused { .. }))
}

/// Returns how many steps there are without the optional ones at the end, which type nothing.
fn required_steps(flow: &Flow) -> usize {
    flow.steps.iter().rposition(|step| !step.is_optional || is_typing(step)).map_or(0, |last| last + 1)
}

fn is_covered(error: &ReplayError) -> bool {
    matches!(error.cause, StepError::Page(PageError::Covered(_)))
}

fn is_typing(step: &Step) -> bool {
    step.kind() == "change"
}

/// Whether the page shows a field for the code of a second factor. Many pages have one that nobody sees until it is
/// wanted.
async fn shows_code_field(window: &Window) -> bool {
    let selector = Selector { parts: vec![Part::Pierce(CODE_FIELD.to_owned())] };
    let found = window.find(&Scope::default(), &selector).await.unwrap_or_default();
    for element in found.iter().take(MATCHES_ASKED) {
        let state = Page::call(window, element, &FIELD_STATE, &[]).await;
        if state.is_ok_and(|state| !state.is_null()) {
            return true;
        }
    }
    false
}
