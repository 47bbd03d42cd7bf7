//! What is done with a window for its portal: load the page, see how it stands, sign in, refresh.
//!
//! Each errand ends in a [`Standing`] or a [`Failure`] within a bounded time and decides nothing: what
//! follows is for the rules. Nothing here may put a user name's password or a typed value into a sentence.

use std::sync::Arc;
use std::time::Duration;

use pilotlight_api::RefreshHow;
use pilotlight_chromium::{Window, WindowError};
use pilotlight_core::{Activity, Failure, FailureKind, Moment, Standing};
use pilotlight_flow::condition::Condition;
use pilotlight_flow::page::{Page, PageError, Scope};
use pilotlight_flow::placeholders::TOTP;
use pilotlight_flow::replay::{Event, Progress, ReplayError, ReplayOptions, StepError, replay, replay_part};
use pilotlight_flow::selector::{Part, Selector};
use pilotlight_store::Checkpoint;
use tokio::time::{Instant, sleep, timeout};

use crate::config::Site;
use crate::credentials::Login;
use crate::sentence::with_sources;

/// The longest that a page may take to load.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that any activity may take; a sign-in of many steps is the slowest.
const ACTIVITY_TIMEOUT: Duration = Duration::from_secs(180);
/// How long a loaded page may take to show whether it is signed in.
const STANDING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a portal may take to let somebody in once the flow is through.
const SIGN_IN_TIMEOUT: Duration = Duration::from_secs(15);
/// A sign-in form that is still (or again) there after this long means a refusal.
const REFUSED_AFTER: Duration = Duration::from_secs(2);
/// How long a page may take to answer the simplest question.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a page is looked at while waiting.
const POLL: Duration = Duration::from_millis(100);
/// What the field for the code of a second factor is marked with (HTML, `autocomplete`).
const CODE_FIELD: &str = "input[autocomplete~='one-time-code']";
/// The portal's answer to the navigation that made the present document; 0 where it is not known.
const RESPONSE_STATUS: &str = "performance.getEntriesByType('navigation')[0]?.responseStatus ?? 0";
/// When the present document began to come, in milliseconds since 1970.
const BEGAN_AT_MS: &str = "Math.floor(performance.timeOrigin)";

/// Whoever is told how it goes.
pub(super) trait Witness: Sync {
    /// A sign-in is about to be typed. Returns once that is written down.
    fn typing(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// A flow could not go on.
    fn stuck(&self, error: &ReplayError);

    /// What the sign-in's flow tells of itself.
    fn hears(&self, _event: Event) {}

    /// Whether it wants to see each step.
    fn wants_pictures(&self) -> bool {
        false
    }
}

/// What must be known of a session to work in its window.
#[derive(Debug, Clone)]
pub struct Errand {
    /// Its site; `None` for a plain window.
    pub site: Option<Arc<Site>>,
    /// The page to open.
    pub start_url: String,
    /// Who signs in, and with what.
    pub login: Login,
}

impl Errand {
    /// Carries out an activity.
    ///
    /// # Errors
    /// What went wrong, by its kind; never later than [`ACTIVITY_TIMEOUT`].
    pub(super) async fn perform(
        &self,
        activity: Activity,
        window: &Window,
        checkpoint: Option<&Checkpoint>,
        tried_at: Option<Moment>,
        witness: &impl Witness,
    ) -> Result<Standing, Failure> {
        let work = async {
            match activity {
                Activity::Visit => self.visit(window, checkpoint).await,
                Activity::Repair => {
                    if window.heartbeat(PROBE_TIMEOUT).await.is_err() {
                        window.revive().await.map_err(of_window)?;
                    }
                    if window.reload(LOAD_TIMEOUT).await.is_err() {
                        loaded(window.navigate(&self.start_url, LOAD_TIMEOUT).await)?;
                    }
                    // It may have stood still when its renderer went, and would be hidden for good.
                    window.thaw().await.await.map_err(of_window)?;
                    self.standing(window).await
                }
                Activity::Look => match (self.look(window).await?, tried_at) {
                    (Standing::SignedOut, Some(at)) => self.came_to(window, at).await,
                    (standing, _) => Ok(standing),
                },
                Activity::Refresh => self.refresh(window, witness).await,
                Activity::SignIn => self.sign_in(window, witness).await,
            }
        };
        timeout(ACTIVITY_TIMEOUT, work).await.unwrap_or_else(|_| {
            let typed = activity == Activity::SignIn;
            let kind = if typed { FailureKind::Unexpected } else { FailureKind::Unreachable };
            Err(failure(kind, "the portal took too long to answer".to_owned()))
        })
    }

    /// Gives an empty window everything that was written down, or else the start page.
    async fn visit(&self, window: &Window, checkpoint: Option<&Checkpoint>) -> Result<Standing, Failure> {
        let Some(checkpoint) = checkpoint else {
            loaded(window.navigate(&self.start_url, LOAD_TIMEOUT).await)?;
            return self.standing(window).await;
        };
        // Where its page is no longer to be had, the start page may still be.
        let restored = window.restore(checkpoint, LOAD_TIMEOUT).await;
        if restored.is_ok() && !checkpoint.tabs.is_empty() {
            // A page from within may not show that it is signed in; the start page does.
            match self.standing(window).await {
                Ok(Standing::SignedOut) => {}
                standing => return standing,
            }
        }
        loaded(window.navigate(&self.start_url, LOAD_TIMEOUT).await)?;
        self.standing(window).await
    }

    async fn refresh(&self, window: &Window, witness: &impl Witness) -> Result<Standing, Failure> {
        // A script that hangs would hold up everything; asking ends it where it does not let itself be asked.
        drop(window.evaluate("0", PROBE_TIMEOUT).await);
        let refresh = self.site.as_ref().map(|site| &site.definition.refresh);
        let url = refresh.and_then(|refresh| refresh.url.as_deref());
        match (refresh.map(|refresh| refresh.how), url) {
            (Some(RefreshHow::Visit), Some(url)) => loaded(window.navigate(url, LOAD_TIMEOUT).await)?,
            (Some(RefreshHow::Request), Some(url)) => {
                return match window.request(url, LOAD_TIMEOUT).await.map_err(of_window)? {
                    401 | 403 => Ok(Standing::SignedOut),
                    status @ 500.. => Err(portal_fault(status.into())),
                    _ => self.look(window).await,
                };
            }
            (Some(RefreshHow::Flow), _) => return self.refresh_by_flow(window, witness).await,
            _ => loaded(window.reload(LOAD_TIMEOUT).await)?,
        }
        self.standing(window).await
    }

    async fn refresh_by_flow(&self, window: &Window, witness: &impl Witness) -> Result<Standing, Failure> {
        let Some(flow) = self.site.as_ref().and_then(|site| site.refresh.as_ref()) else {
            return self.look(window).await;
        };
        let replayed = replay(window, flow, &self.login.values(), &ReplayOptions::default(), |_| {}).await;
        match replayed {
            Ok(()) => self.standing(window).await,
            // Who is signed out finds nothing of what the flow works on.
            Err(error) => match self.standing(window).await? {
                Standing::SignedIn => {
                    witness.stuck(&error);
                    Err(replay_failure("the refresh flow", &error))
                }
                standing => Ok(standing),
            },
        }
    }

    /// How the page stands right now.
    async fn look(&self, window: &Window) -> Result<Standing, Failure> {
        let Some(site) = &self.site else { return Ok(Standing::SignedIn) };
        let definition = &site.definition;
        // Asked at once: each takes several questions to the page.
        let (needs_person, is_signed_in) = tokio::join!(
            holds(definition.needs_attention.as_ref(), window),
            holds(definition.signed_in.as_ref(), window)
        );
        if needs_person? {
            return Ok(Standing::PersonNeeded(format!(
                "a person is needed at {}: the portal shows what must not be worked around",
                window.summary().url
            )));
        }
        let stands = definition.signed_in.is_none() || is_signed_in?;
        Ok(if stands { Standing::SignedIn } else { Standing::SignedOut })
    }

    /// How the page stands, giving a page that was just loaded time to show it.
    async fn standing(&self, window: &Window) -> Result<Standing, Failure> {
        let deadline = Instant::now() + STANDING_TIMEOUT;
        loop {
            let (status, looked) = tokio::join!(response_status(window), self.look(window));
            if status >= 500 {
                return Err(portal_fault(status));
            }
            let standing = match looked {
                // A page that moves on while it is looked at is looked at again.
                Err(failure) if Instant::now() >= deadline => return Err(failure),
                Err(_) => Standing::SignedOut,
                Ok(standing) => standing,
            };
            let decided = standing != Standing::SignedOut || self.shows_form(window).await;
            if decided || Instant::now() >= deadline {
                return Ok(standing);
            }
            sleep(POLL).await;
        }
    }

    /// Whether the page shows the first element that the sign-in flow works on.
    async fn shows_form(&self, window: &Window) -> bool {
        let flow = self.site.as_ref().and_then(|site| site.sign_in.as_ref());
        let Some(step) = flow.and_then(|flow| flow.steps.iter().find(|step| !step.selectors().is_empty()))
        else {
            return false;
        };
        for selector in step.selectors() {
            if window.find(&Scope::default(), selector).await.is_ok_and(|found| !found.is_empty()) {
                return true;
            }
        }
        false
    }

    /// What came of a sign-in that an earlier server typed: a form that is newer is the portal's answer to it.
    async fn came_to(&self, window: &Window, tried_at: Moment) -> Result<Standing, Failure> {
        let began_at = window.evaluate(BEGAN_AT_MS, PROBE_TIMEOUT).await.map_err(of_window)?;
        if began_at.as_u64().is_some_and(|began_at| began_at > tried_at.0) {
            if self.shows_form(window).await {
                return Err(self.refusal(window).await);
            }
            if let Some(answer) = self.other_answer(window).await {
                return Err(answer);
            }
        }
        Ok(Standing::SignedOut)
    }

    async fn sign_in(&self, window: &Window, witness: &impl Witness) -> Result<Standing, Failure> {
        // It may have signed itself in, and a portal sends those who are away from its sign-in page.
        if let Ok(standing @ (Standing::SignedIn | Standing::PersonNeeded(_))) = self.look(window).await {
            return Ok(standing);
        }
        let Some(flow) = self.site.as_ref().and_then(|site| site.sign_in.as_ref()) else {
            return Ok(Standing::SignedOut);
        };
        // From the first thing that is typed on, the portal may have heard of the sign-in.
        let mut typed_at = None;
        let total = flow.steps.len();
        let typed = flow.steps.iter().position(|step| step.kind() == "change").unwrap_or(total);
        let values = self.login.values();
        let options = ReplayOptions { pictures: witness.wants_pictures(), ..ReplayOptions::default() };
        let hears = |event| witness.hears(event);
        let mut replayed = replay_part(window, flow, 0..typed, &values, &options, hears).await;
        if replayed.is_ok() && typed < total {
            // No form comes on a page that only says that the portal is not there.
            let status = response_status(window).await;
            if status >= 500 {
                return Err(portal_fault(status));
            }
            witness.typing().await?;
            let before = window.navigation_count();
            replayed = replay_part(window, flow, typed..typed + 1, &values, &options, hears).await;
            if replayed.is_ok() {
                typed_at = Some(before);
                let observe = |event| {
                    if let Event::Begins(Progress { kind: "change", .. }) = event {
                        typed_at = Some(window.navigation_count());
                    }
                    witness.hears(event);
                };
                replayed = replay_part(window, flow, typed + 1..total, &values, &options, observe).await;
            }
        }
        let standing = match replayed {
            Ok(()) => self.let_in(window, typed_at).await,
            Err(error) => {
                witness.stuck(&error);
                self.replay_failed(window, &error, typed_at).await
            }
        };
        standing.map_err(|failure| match failure.kind {
            // Repeating it without end, as what never reached the portal is repeated, could lock the account.
            FailureKind::Unreachable if typed_at.is_some() => {
                Failure { kind: FailureKind::Unexpected, ..failure }
            }
            FailureKind::Unexpected if typed_at.is_none() => {
                Failure { kind: FailureKind::Untyped, ..failure }
            }
            _ => failure,
        })
    }

    /// Waits for the portal to let somebody in whose flow is through.
    async fn let_in(&self, window: &Window, typed_at: Option<u64>) -> Result<Standing, Failure> {
        let deadline = Instant::now() + SIGN_IN_TIMEOUT;
        let mut form_since = None;
        loop {
            if let Ok(standing @ (Standing::SignedIn | Standing::PersonNeeded(_))) = self.look(window).await {
                return Ok(standing);
            }
            let status = response_status(window).await;
            if status >= 500 {
                return Err(portal_fault(status));
            }
            let now = Instant::now();
            form_since = if self.shows_form(window).await { form_since.or(Some(now)) } else { None };
            // A new document with the form is an answer. In the same document it may just not be hidden yet.
            let answered = typed_at.is_some_and(|typed_at| window.navigation_count() > typed_at);
            if answered && form_since.is_some_and(|since| now >= since + REFUSED_AFTER) {
                return Err(self.refusal(window).await);
            }
            if now >= deadline && form_since.is_some() {
                return Err(self.refusal(window).await);
            }
            if let Some(answer) = self.other_answer(window).await {
                return Err(answer);
            }
            if now >= deadline {
                let sentence = format!(
                    "the sign-in flow went through, but {} does not look signed in",
                    window.summary().url
                );
                return Err(failure(FailureKind::Unexpected, sentence));
            }
            sleep(POLL).await;
        }
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
            None => shows(window, CODE_FIELD).await,
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

    /// `typed_at` is the count of navigations when something was last typed. A form that is there again after it is
    /// an answer, whatever the recording expected next.
    async fn replay_failed(
        &self,
        window: &Window,
        error: &ReplayError,
        typed_at: Option<u64>,
    ) -> Result<Standing, Failure> {
        if let Ok(standing @ (Standing::SignedIn | Standing::PersonNeeded(_))) = self.look(window).await {
            return Ok(standing);
        }
        let status = response_status(window).await;
        if status >= 500 {
            return Err(portal_fault(status));
        }
        if typed_at.is_some_and(|typed_at| window.navigation_count() > typed_at) {
            if self.shows_form(window).await {
                return Err(self.refusal(window).await);
            }
            if let Some(answer) = self.other_answer(window).await {
                return Err(answer);
            }
        }
        Err(replay_failure("the sign-in flow", error))
    }
}

/// The page is not as it was recorded, or is no longer to be had.
fn replay_failure(what: &str, error: &ReplayError) -> Failure {
    let (kind, why) = match &error.cause {
        StepError::Page(page) => (kind_of(page), "failed"),
        _ => (FailureKind::Unexpected, "no longer fits the page"),
    };
    failure(kind, format!("{what} {why}: {}", with_sources(error)))
}

async fn shows(window: &Window, css: &str) -> bool {
    let selector = Selector { parts: vec![Part::Css(css.to_owned())] };
    window.find(&Scope::default(), &selector).await.is_ok_and(|found| !found.is_empty())
}

async fn holds(condition: Option<&Condition>, window: &Window) -> Result<bool, Failure> {
    match condition {
        Some(condition) => condition.holds(window).await.map_err(|error| of_page(&error)),
        None => Ok(false),
    }
}

async fn response_status(window: &Window) -> u64 {
    let status = window.evaluate(RESPONSE_STATUS, POLL * 20).await.ok();
    status.and_then(|status| status.as_u64()).unwrap_or(0)
}

fn loaded(result: Result<(), WindowError>) -> Result<(), Failure> {
    result.map_err(of_window)
}

fn of_window(error: WindowError) -> Failure {
    of_page(&error.into())
}

fn of_page(error: &PageError) -> Failure {
    failure(kind_of(error), error.to_string())
}

fn kind_of(error: &PageError) -> FailureKind {
    match error {
        PageError::Unreachable { .. } | PageError::Timeout(_) => FailureKind::Unreachable,
        PageError::Script(_) => FailureKind::Unexpected,
        PageError::Gone(_) | PageError::Refused { .. } => FailureKind::Browser,
    }
}

fn portal_fault(status: u64) -> Failure {
    failure(FailureKind::Unreachable, format!("the portal answered with HTTP status {status}"))
}

fn failure(kind: FailureKind, sentence: String) -> Failure {
    Failure { kind, sentence }
}
