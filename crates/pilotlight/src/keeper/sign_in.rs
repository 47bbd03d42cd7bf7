//! Signing in: the site's flow is replayed, and what came of it is told apart by what happened.
//!
//! From the first thing that is typed on, the portal may have heard of the sign-in. What it was sent, what it answered,
//! and what its form shows decide whether it refused, is slow, or was never asked; the clock decides only where nothing
//! else does.

use std::time::Duration;

use pilotlight_chromium::{RequestWatch, Traffic, Window};
use pilotlight_core::{Failure, FailureKind, Moment, SignInStatus};
use pilotlight_flow::condition::Condition;
use pilotlight_flow::page::{Page, PageError, Scope};
use pilotlight_flow::placeholders::TOTP;
use pilotlight_flow::replay::{Event, Progress, ReplayError, ReplayOptions, StepError, replay_part};
use pilotlight_flow::schema::{Flow, Step};
use pilotlight_flow::selector::{Part, Selector};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use super::session_target::{
    ActivityObserver, POLL, PROBE_TIMEOUT, SessionTarget, failure, holds, of_window, portal_fault,
    replay_failure, response_status,
};

/// How long a portal may take to let somebody in that answers, and shows neither yes nor no.
const ANSWERED_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a portal may leave a sign-in without an answer.
const UNANSWERED_TIMEOUT: Duration = Duration::from_secs(60);
/// A form that is still (or again) there after this long, with nothing on its way, means a refusal where something
/// says so: a new document, an answer of refusal, or the form itself.
const REFUSED_AFTER: Duration = Duration::from_secs(2);
/// The same where only the looks of the form say so: a page may show a message, or empty its form, on its way on.
const COMPLAINED_FOR: Duration = Duration::from_secs(5);
/// What the field for the code of a second factor is marked with (HTML, `autocomplete`).
const CODE_FIELD: &str = "input[autocomplete~='one-time-code']";
/// When the present document began to come, in milliseconds since 1970.
const BEGAN_AT_MS: &str = "Math.floor(performance.timeOrigin)";
/// How many of the elements that a selector matches are asked whether they show.
const MATCHES_ASKED: usize = 4;
/// What a field of the form tells, `null` where nobody sees it: whether something is in it, and what the page says of
/// what was typed.
const FIELD_STATE: &str = "function () {
  const isShown = (element) => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.height > 0 && getComputedStyle(element).visibility === 'visible';
  };
  if (!this.isConnected || !isShown(this)) return null;
  const marks = '[role=alert], [aria-live=assertive], [aria-invalid=true]';
  const says = [...this.ownerDocument.querySelectorAll(marks)].slice(0, 20).filter(isShown)
    .map((element) => element.matches('[aria-invalid=true]') ? 'invalid' : element.innerText.trim().slice(0, 200));
  return { isFilled: this.value !== '', says: says.filter(Boolean).join('\\n') };
}";

/// What the form shows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FieldState {
    /// Whether the field that was typed into last, or is there of those that were, has something in it.
    is_filled: bool,
    /// What the page says loudly: alerts, and marks of what is not valid.
    says: String,
}

/// What is known from the moment in which something was last typed.
#[derive(Debug, Default)]
struct Typed {
    /// How often the page had gone on to another document then.
    navigations: u64,
    /// Whether everything was typed that the flow types.
    is_all: bool,
    /// The form once everything was typed.
    form: Option<FieldState>,
}

/// What the portal is found to have done with a sign-in.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing can be said yet.
    Open,
    /// It refused it.
    Refused,
    /// It shows the form, says nothing, and has answered what it was sent.
    Silent,
    /// It has not answered.
    Slow,
    /// It was never asked.
    NotSent,
    /// It shows something else than its form, or than what the site's conditions know.
    Elsewhere,
}

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
            for selector in step.selectors() {
                let found = window.find(&scope, selector).await.unwrap_or_default();
                for element in found.iter().take(MATCHES_ASKED) {
                    let state = Page::call(window, element, FIELD_STATE, &[]).await.unwrap_or_default();
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
        let total = flow.steps.len();
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
        self.outcome(replayed.err().as_ref()).await
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
    async fn outcome(&self, error: Option<&ReplayError>) -> Result<SignInStatus, Failure> {
        let began = Instant::now();
        let (target, window) = (self.target, self.window);
        loop {
            if let Ok(standing @ (SignInStatus::SignedIn | SignInStatus::PersonNeeded(_))) =
                target.look(window).await
            {
                return Ok(standing);
            }
            let status = response_status(window).await;
            if status >= 500 {
                return Err(portal_fault(status));
            }
            // A page that is gone answers nothing any more.
            let is_lost = error.is_some_and(is_of_browser);
            let traffic = self.traffic().filter(|_| !is_lost);
            let form = target.form(window).await;
            let is_all_typed = self.typed.as_ref().is_some_and(|typed| typed.is_all);
            let gives_up_early = error.is_some() && (is_lost || !is_all_typed);
            let verdict = self.verdict(form.as_ref(), traffic, began.elapsed(), gives_up_early);
            let is_judged = verdict != Verdict::Open && self.typed.is_some();
            if (is_judged || (form.is_none() && self.has_answered(error.is_some())))
                && let Some(answer) = target.other_answer(window).await
            {
                return Err(answer);
            }
            match verdict {
                Verdict::Open => sleep(POLL).await,
                Verdict::Refused => return Err(target.refusal(window).await),
                verdict => return Err(self.failure(&verdict, error)),
            }
        }
    }

    /// Whether something came since something was last typed, so that what the page shows is an answer.
    fn has_answered(&self, is_stuck: bool) -> bool {
        let Some(typed) = &self.typed else { return !is_stuck };
        let went_on = self.window.navigation_count() > typed.navigations;
        went_on || self.traffic().is_none_or(|traffic| traffic.any)
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
                FailureKind::Unexpected,
                format!(
                    "the sign-in form at {url} was filled in, but the page has sent nothing to the portal"
                ),
            ),
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

/// Judges a sign-in `waited` after its flow ended, or got stuck. `went_on` says whether another document came since
/// something was last typed; without `traffic` it is not known what was sent. Where a flow got stuck between its fields,
/// the page is not as it was recorded, and it is given up early, unless the portal says no.
fn judge(
    typed: &Typed,
    went_on: bool,
    form: Option<&FieldState>,
    traffic: Option<Traffic>,
    waited: Duration,
    gives_up_early: bool,
) -> Verdict {
    let is_late = waited >= if gives_up_early { REFUSED_AFTER } else { ANSWERED_TIMEOUT };
    let is_refused = traffic.is_some_and(|traffic| traffic.refused.is_some());
    let complains =
        form.zip(typed.form.as_ref()).is_some_and(|(form, before)| before.is_turned_down_by(form));
    // What a new document does is not part of the sign-in any more.
    let is_pending =
        traffic.is_some_and(|traffic| if went_on { traffic.is_loading } else { traffic.pending > 0 });
    if is_pending {
        return match waited >= UNANSWERED_TIMEOUT {
            false => Verdict::Open,
            true if form.is_some() && (is_refused || complains) => Verdict::Refused,
            true => Verdict::Slow,
        };
    }
    if form.is_none() {
        return if is_late { Verdict::Elsewhere } else { Verdict::Open };
    }
    let quiet_for = traffic.map_or(waited, |traffic| traffic.quiet_for.min(waited));
    let was_asked = traffic.is_none_or(|traffic| traffic.any);
    let says_no = if went_on {
        waited >= REFUSED_AFTER
    } else if is_refused {
        quiet_for >= REFUSED_AFTER
    } else {
        was_asked && complains && quiet_for >= COMPLAINED_FOR
    };
    match (says_no, is_late) {
        (true, _) => Verdict::Refused,
        (false, false) => Verdict::Open,
        (false, true) if !was_asked && !complains => Verdict::NotSent,
        (false, true) if typed.is_all => Verdict::Silent,
        (false, true) => Verdict::Elsewhere,
    }
}

impl FieldState {
    /// Whether the form, once filled in so, has been emptied or has begun to complain.
    fn is_turned_down_by(&self, now: &Self) -> bool {
        (self.is_filled && !now.is_filled) || (!now.says.is_empty() && now.says != self.says)
    }
}

fn is_of_browser(error: &ReplayError) -> bool {
    matches!(error.cause, StepError::Page(PageError::Gone(_) | PageError::Refused { .. }))
}

fn is_typing(step: &Step) -> bool {
    step.kind() == "change"
}

/// Whether the page shows a field for the code of a second factor. Many pages have one that nobody sees until it is
/// wanted.
async fn shows_code_field(window: &Window) -> bool {
    let selector = Selector { parts: vec![Part::Css(CODE_FIELD.to_owned())] };
    let found = window.find(&Scope::default(), &selector).await.unwrap_or_default();
    for element in found.iter().take(MATCHES_ASKED) {
        let state = Page::call(window, element, FIELD_STATE, &[]).await;
        if state.is_ok_and(|state| !state.is_null()) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(is_filled: bool, says: &str) -> FieldState {
        FieldState { is_filled, says: says.to_owned() }
    }

    fn typed() -> Typed {
        Typed { navigations: 0, is_all: true, form: Some(form(true, "cookies")) }
    }

    /// A portal that was asked and has answered, a while ago.
    fn answered() -> Traffic {
        let quiet_for = Duration::from_secs(60);
        Traffic { any: true, is_loading: false, pending: 0, refused: None, quiet_for, is_complete: true }
    }

    /// The verdict after these seconds.
    fn after(seconds: u64, shown: Option<&FieldState>, traffic: Traffic) -> Verdict {
        judge(&typed(), false, shown, Some(traffic), Duration::from_secs(seconds), false)
    }

    #[test]
    fn a_refusal_in_place_is_known_by_its_status_or_by_what_the_form_shows() {
        let as_typed = form(true, "cookies");
        let refused = Traffic { refused: Some(401), ..answered() };
        assert_eq!(after(3, Some(&as_typed), refused), Verdict::Refused);
        for complaint in [form(false, "cookies"), form(true, "wrong")] {
            assert_eq!(after(3, Some(&complaint), answered()), Verdict::Open, "it may be on its way on");
            assert_eq!(after(6, Some(&complaint), answered()), Verdict::Refused);
        }
        let quieter = form(true, "");
        assert_eq!(after(6, Some(&quieter), answered()), Verdict::Open, "a message that goes says nothing");
        assert_eq!(after(6, Some(&as_typed), answered()), Verdict::Open);
        assert_eq!(after(16, Some(&as_typed), answered()), Verdict::Silent);
    }

    #[test]
    fn a_form_that_may_just_not_be_hidden_yet_is_no_refusal() {
        let at_once = Traffic { refused: Some(401), quiet_for: Duration::from_millis(100), ..answered() };
        assert_eq!(after(3, Some(&form(false, "")), at_once), Verdict::Open);
        let refused = Traffic { refused: Some(401), ..answered() };
        assert_eq!(after(1, Some(&form(false, "")), refused), Verdict::Open);
        assert_eq!(after(3, None, refused), Verdict::Open);
    }

    #[test]
    fn a_portal_that_has_not_answered_is_slow_and_not_contradicted() {
        let pending = Traffic { pending: 1, refused: Some(401), ..answered() };
        assert_eq!(after(59, Some(&form(false, "wrong")), pending), Verdict::Open);
        assert_eq!(after(61, Some(&form(false, "wrong")), pending), Verdict::Refused);
        let only_slow = Traffic { refused: None, ..pending };
        assert_eq!(after(61, Some(&form(true, "cookies")), only_slow), Verdict::Slow);
    }

    #[test]
    fn what_a_new_document_sends_by_itself_holds_up_no_verdict() {
        let shown = form(false, "");
        let polls = Traffic { pending: 3, quiet_for: Duration::ZERO, ..answered() };
        let verdict = |traffic| judge(&typed(), true, Some(&shown), Some(traffic), REFUSED_AFTER, true);
        assert_eq!(verdict(polls), Verdict::Refused);
        assert_eq!(verdict(Traffic { is_loading: true, ..polls }), Verdict::Open);
    }

    #[test]
    fn what_was_never_sent_is_no_refusal_unless_the_form_itself_complains() {
        let unasked = Traffic { any: false, ..answered() };
        assert_eq!(after(6, Some(&form(true, "cookies")), unasked), Verdict::Open);
        assert_eq!(after(16, Some(&form(true, "cookies")), unasked), Verdict::NotSent);
        assert_eq!(after(6, Some(&form(true, "Too short")), unasked), Verdict::Open);
        assert_eq!(after(16, Some(&form(true, "Too short")), unasked), Verdict::Silent);
    }

    #[test]
    fn a_new_document_with_the_form_is_a_refusal_even_where_nothing_was_seen() {
        let shown = form(false, "");
        let verdict = |waited| judge(&typed(), true, Some(&shown), None, Duration::from_secs(waited), true);
        assert_eq!((verdict(1), verdict(2)), (Verdict::Open, Verdict::Refused));
    }

    #[test]
    fn a_flow_that_is_stuck_between_its_fields_is_given_up_soon() {
        let between = Typed { is_all: false, ..typed() };
        let shown = form(true, "cookies");
        let verdict = |traffic, waited| {
            judge(&between, false, Some(&shown), Some(traffic), Duration::from_secs(waited), true)
        };
        assert_eq!(verdict(answered(), 2), Verdict::Elsewhere);
        let unknown_user = Traffic { refused: Some(422), ..answered() };
        assert_eq!(verdict(unknown_user, 2), Verdict::Refused);
    }
}
