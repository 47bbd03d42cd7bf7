//! What is done with a window for its portal: load the page, see how it stands, sign in, refresh.
//!
//! Each activity ends in a [`SignInStatus`] or a [`Failure`] within a bounded time and decides nothing: what
//! follows is for the rules. Nothing here may put a user name's password or a typed value into a sentence.

use std::sync::Arc;
use std::time::Duration;

use pilotlight_api::{RefreshHow, RestoreFields};
use pilotlight_checkpoint::{Checkpoint, Cookie};
use pilotlight_chromium::{Beside, RestoreFields as Fields, Shown, Window, WindowError};
use pilotlight_core::{Activity, Failure, FailureKind, SignInStatus, Suspicion};
use pilotlight_flow::condition::Condition;
use pilotlight_flow::page::{Page, PageError, Scope};
use pilotlight_flow::replay::{Event, ReplayError, ReplayOptions, StepError, replay};
use pilotlight_flow::selector::Selector;
use tokio::time::{Instant, sleep, timeout};

use super::document::is_same_page;
use super::suspicion::{KnownBefore, SHOWS_PASSWORD_FIELD};
use crate::config::Site;
use crate::credentials::Login;
use crate::sentence::with_sources;

/// The longest that a page may take to load.
pub(super) const LOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that any activity may take; a sign-in of many steps is the slowest.
const ACTIVITY_TIMEOUT: Duration = Duration::from_secs(180);
/// How long a loaded page may take to show whether it is signed in.
const STANDING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the scripts of a page that was loaded may take until they go on to a sign-in page. Nobody waits for a refresh,
/// but while a session hibernates, others wait for its window.
const SETTLED_AFTER: Duration = Duration::from_millis(300);
/// How long a page may take to answer the simplest question.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// The page of a window that shows nothing.
const EMPTY_PAGE: &str = "about:blank";
/// How often a page is looked at while waiting.
pub(super) const POLL: Duration = Duration::from_millis(100);
/// The portal's answer to the navigation that made the present document; 0 where it is not known.
const RESPONSE_STATUS: &str = "performance.getEntriesByType('navigation')[0]?.responseStatus ?? 0";
/// What an element shows; of a field, what is in it.
const WHO_IS_SHOWN: &str =
    "function () { return String(this.value || this.innerText || this.textContent || '').slice(0, 4096) }";

/// Whoever is told how it goes.
pub(super) trait ActivityObserver: Sync {
    /// A sign-in is about to be typed. Returns once that is written down.
    fn typing(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// These are the cookies of a session that hibernates from now on. Returns once that is written down.
    fn keep_cookies(&self, cookies: Vec<Cookie>) -> impl Future<Output = Result<(), Failure>> + Send;

    /// A flow could not go on.
    fn on_failure(&self, error: &ReplayError);

    /// What the sign-in's flow tells of itself.
    fn on_event(&self, _event: Event) {}

    /// Whether it wants to see each step.
    fn wants_pictures(&self) -> bool {
        false
    }
}

/// What must be known of a session to work in its window.
#[derive(Debug, Clone)]
pub struct SessionTarget {
    /// Its site; `None` for a plain window.
    pub site: Option<Arc<Site>>,
    /// The page to open.
    pub start_url: String,
    /// Who signs in, and with what.
    pub login: Login,
}

impl SessionTarget {
    /// Carries out an activity.
    ///
    /// # Errors
    /// What went wrong, by its kind; never later than [`ACTIVITY_TIMEOUT`].
    pub(super) async fn perform(
        &self,
        activity: Activity,
        window: &Window,
        checkpoint: Option<&Checkpoint>,
        known: &KnownBefore,
        observer: &impl ActivityObserver,
    ) -> Result<SignInStatus, Failure> {
        let work = async {
            match activity {
                Activity::Visit => self.visit(window, checkpoint, known).await,
                Activity::LoadDocument => self.load_document(window, checkpoint, observer).await,
                Activity::Repair => {
                    if window.heartbeat(PROBE_TIMEOUT).await.is_err() {
                        window.recover().await.map_err(of_window)?;
                    }
                    self.load_again(window).await?;
                    // It may have stood still when its renderer went, and would be hidden for good.
                    window.thaw().await.await.map_err(of_window)?;
                    self.standing(window).await
                }
                Activity::Reopen => self.reopen(window).await,
                Activity::Look if self.has_lost_its_page(window).await => Ok(SignInStatus::ShowsNothing),
                Activity::Look => match (self.look(window).await?, known.tried_at) {
                    (SignInStatus::SignedOut, Some(at)) => self.came_to(window, at).await,
                    (standing, _) => Ok(standing),
                },
                Activity::Refresh => self.refresh(window, known, observer).await,
                Activity::SignIn => self.sign_in(window, observer).await,
            }
        };
        let outcome = timeout(ACTIVITY_TIMEOUT, work).await.unwrap_or_else(|_| {
            let typed = activity == Activity::SignIn;
            let kind = if typed { FailureKind::Unexpected } else { FailureKind::Unreachable };
            Err(too_slow(kind))
        });
        outcome.map(|status| known.applied(status, &window.summary().url))
    }

    /// Gives an empty window everything that was written down, or else the start page.
    async fn visit(
        &self,
        window: &Window,
        checkpoint: Option<&Checkpoint>,
        known: &KnownBefore,
    ) -> Result<SignInStatus, Failure> {
        let Some(checkpoint) = checkpoint else {
            loaded(window.navigate(&self.start_url, LOAD_TIMEOUT).await)?;
            return self.standing(window).await;
        };
        let fields = match self.site.as_ref().map(|site| site.definition.restore_fields) {
            Some(RestoreFields::Events) => Fields::Events,
            Some(RestoreFields::No) => Fields::No,
            Some(RestoreFields::Silent) | None => Fields::Silent,
        };
        // Where its page is no longer to be had, the start page may still be.
        let restored = window.restore(checkpoint, fields, LOAD_TIMEOUT).await;
        // It is empty where its last page had just been closed.
        let left_at = checkpoint.tabs.first().map(|tab| tab.url.as_str()).filter(|url| *url != EMPTY_PAGE);
        if let Some(left_at) = left_at.filter(|_| restored.is_ok()) {
            // A page from within may not show that it is signed in; the start page does.
            match self.standing(window).await? {
                SignInStatus::SignedOut => {}
                status => return Ok(self.settled(window, status, left_at, known, known.is_asleep).await),
            }
        }
        loaded(window.navigate(&self.start_url, LOAD_TIMEOUT).await)?;
        self.standing(window).await
    }

    async fn refresh(
        &self,
        window: &Window,
        known: &KnownBefore,
        observer: &impl ActivityObserver,
    ) -> Result<SignInStatus, Failure> {
        // A script that hangs would hold up everything; asking ends it where it does not let itself be asked.
        drop(window.evaluate("0", PROBE_TIMEOUT).await);
        let refresh = self.site.as_ref().map(|site| &site.definition.refresh);
        let url = refresh.and_then(|refresh| refresh.url.as_deref());
        match (refresh.map(|refresh| refresh.how), url) {
            (Some(RefreshHow::Visit), Some(url)) => loaded(window.navigate(url, LOAD_TIMEOUT).await)?,
            (Some(RefreshHow::Request), Some(url)) => return self.refresh_by_request(window, url).await,
            (Some(RefreshHow::Flow), _) => return self.refresh_by_flow(window, observer).await,
            _ => return self.refresh_by_loading(window, known).await,
        }
        self.standing(window).await
    }

    /// Loads what the window shows once more. What may be the answer to a form stays as it is: the start page is
    /// loaded beside it, in a page that nobody sees.
    async fn refresh_by_loading(
        &self,
        window: &Window,
        known: &KnownBefore,
    ) -> Result<SignInStatus, Failure> {
        if window.shown().await.map_err(of_window)? != Shown::Answer {
            let from = self.load_again(window).await?;
            let status = self.standing(window).await?;
            return Ok(match from {
                Some(from) => self.settled(window, status, &from, known, true).await,
                None => status,
            });
        }
        let beside = window.open_beside().await.map_err(of_window)?;
        loaded(beside.window().navigate(&self.start_url, LOAD_TIMEOUT).await)?;
        let standing = self.standing(beside.window()).await?;
        drop(beside);
        // What only looks signed out is no reason to give the answer up.
        if !matches!(standing, SignInStatus::SignedOut | SignInStatus::PersonNeeded(_)) {
            return Ok(standing);
        }
        // The answer is of no use any more, and looks as if one were signed in.
        loaded(window.navigate(&self.start_url, LOAD_TIMEOUT).await)?;
        self.standing(window).await
    }

    /// Refreshes in a hidden page of the same window, as somebody uses its own: in the site's way, from the start page.
    ///
    /// # Errors
    /// As of [`Self::perform`].
    pub(super) async fn refresh_beside(
        &self,
        window: &Window,
        observer: &impl ActivityObserver,
    ) -> Result<SignInStatus, Failure> {
        let refreshing = async {
            let status = self.refresh_in_hidden_page(window, observer).await?;
            // Its state is not captured before it runs again, which may be too late.
            if window.is_frozen()
                && let Ok(cookies) = window.cookies().await
                && let Err(failure) = observer.keep_cookies(cookies).await
            {
                tracing::debug!(window = %window.id(), %failure.sentence, "cookies are kept in the browser alone");
            }
            Ok(status)
        };
        let refreshed = timeout(ACTIVITY_TIMEOUT, refreshing).await;
        refreshed.unwrap_or_else(|_| Err(too_slow(FailureKind::Unreachable)))
    }

    async fn refresh_in_hidden_page(
        &self,
        window: &Window,
        observer: &impl ActivityObserver,
    ) -> Result<SignInStatus, Failure> {
        let beside = window.open_beside().await.map_err(of_window)?;
        let page = beside.window();
        let refresh = self.site.as_ref().map(|site| &site.definition.refresh);
        let url = refresh.and_then(|refresh| refresh.url.as_deref());
        match (refresh.map(|refresh| refresh.how), url) {
            (Some(RefreshHow::Visit), Some(url)) => {
                loaded(page.navigate(url, LOAD_TIMEOUT).await)?;
                self.standing(page).await
            }
            (Some(RefreshHow::Request), Some(url)) => ask_in_hidden_page(&beside, url).await,
            (how, _) => {
                loaded(page.navigate(&self.start_url, LOAD_TIMEOUT).await)?;
                match self.standing(page).await? {
                    SignInStatus::SignedIn | SignInStatus::Unknown if how == Some(RefreshHow::Flow) => {
                        self.refresh_by_flow(page, observer).await
                    }
                    status => Ok(status),
                }
            }
        }
    }

    /// Loads what the window shows once more, by a GET, or else the start page: where there is nothing to load, and
    /// where a GET is answered with an error, as by an address that takes forms alone.
    ///
    /// Returns the address that was loaded again, `None` where that was the start page.
    async fn load_again(&self, window: &Window) -> Result<Option<String>, Failure> {
        let is_empty = matches!(window.shown().await, Ok(Shown::Nothing));
        let from = window.summary().url;
        if !is_empty && window.reload(LOAD_TIMEOUT).await.is_ok() {
            let is_start = window.summary().url == self.start_url;
            if is_start || !(400..500).contains(&response_status(window).await) {
                return Ok(Some(from));
            }
        }
        loaded(window.navigate(&self.start_url, LOAD_TIMEOUT).await)?;
        Ok(None)
    }

    /// Shows the start page where the window shows nothing, since its last page was closed. A page that a client
    /// has opened instead stays.
    async fn reopen(&self, window: &Window) -> Result<SignInStatus, Failure> {
        if window.shown().await.map_err(of_window)? == Shown::Nothing {
            loaded(window.navigate(&self.start_url, LOAD_TIMEOUT).await)?;
            return self.standing(window).await;
        }
        match self.look(window).await? {
            // It may be of another site.
            SignInStatus::SignedOut | SignInStatus::LooksSignedOut(_) => Ok(SignInStatus::Unknown),
            standing => Ok(standing),
        }
    }

    /// Whether the window shows nothing although it is to show a page.
    async fn has_lost_its_page(&self, window: &Window) -> bool {
        self.start_url != EMPTY_PAGE && matches!(window.shown().await, Ok(Shown::Nothing))
    }

    async fn refresh_by_request(&self, window: &Window, url: &str) -> Result<SignInStatus, Failure> {
        match window.request(url, LOAD_TIMEOUT).await.map_err(of_window)? {
            401 | 403 => Ok(SignInStatus::SignedOut),
            status @ 500.. => Err(portal_fault(status.into())),
            _ => self.look(window).await,
        }
    }

    async fn refresh_by_flow(
        &self,
        window: &Window,
        observer: &impl ActivityObserver,
    ) -> Result<SignInStatus, Failure> {
        let Some(flow) = self.site.as_ref().and_then(|site| site.refresh.as_ref()) else {
            return self.look(window).await;
        };
        let _answers = window.flow_answers();
        let replayed = replay(window, flow, &self.login.values(), &ReplayOptions::default(), |_| {}).await;
        match replayed {
            Ok(()) => self.standing(window).await,
            // Who is signed out finds nothing of what the flow works on.
            Err(error) => match self.standing(window).await? {
                SignInStatus::SignedIn | SignInStatus::Unknown => {
                    observer.on_failure(&error);
                    Err(replay_failure("the refresh flow", &error))
                }
                standing => Ok(standing),
            },
        }
    }

    /// How the page stands right now.
    pub(super) async fn look(&self, window: &Window) -> Result<SignInStatus, Failure> {
        let Some(site) = &self.site else { return Ok(self.look_without_conditions(window).await) };
        let definition = &site.definition;
        // Asked at once: each takes several questions to the page.
        let (needs_person, is_signed_in) = tokio::join!(
            holds(definition.needs_attention.as_ref(), window),
            holds(definition.signed_in.as_ref(), window)
        );
        if needs_person? {
            return Ok(SignInStatus::PersonNeeded(format!(
                "a person is needed at {}: the portal shows what must not be worked around",
                window.summary().url
            )));
        }
        let stands = definition.signed_in.is_none() || is_signed_in?;
        if !stands {
            return Ok(SignInStatus::SignedOut);
        }
        if let Some(element) = &definition.signed_in_as
            && self.is_somebody_else(window, &element.selector).await
        {
            return Ok(SignInStatus::PersonNeeded(
                "the portal shows that somebody else is signed in than the session is for".to_owned(),
            ));
        }
        if definition.signed_in.is_none() {
            return Ok(self.look_without_conditions(window).await);
        }
        Ok(SignInStatus::SignedIn)
    }

    /// How a page without conditions stands right now. Of one that does not answer nothing is known.
    async fn look_without_conditions(&self, window: &Window) -> SignInStatus {
        match window.evaluate(SHOWS_PASSWORD_FIELD, PROBE_TIMEOUT).await {
            Ok(shows) if shows == true => SignInStatus::LooksSignedOut(Suspicion::PasswordField),
            Ok(_) | Err(_) => SignInStatus::Unknown,
        }
    }

    /// Returns how a page stands that was loaded again at `from` and had this status then. `waits` says whether its scripts
    /// get a moment to move on.
    async fn settled(
        &self,
        window: &Window,
        mut status: SignInStatus,
        from: &str,
        known: &KnownBefore,
        waits: bool,
    ) -> SignInStatus {
        let deadline = Instant::now() + if waits { SETTLED_AFTER } else { Duration::ZERO };
        while status == SignInStatus::Unknown {
            if let Some(to) = known.moved(from, &window.summary().url) {
                return SignInStatus::LooksSignedOut(Suspicion::Moved { to });
            }
            if Instant::now() >= deadline {
                break;
            }
            sleep(POLL).await;
            status = self.look(window).await.unwrap_or(SignInStatus::Unknown);
        }
        status
    }

    /// Whether the page shows another user than the session's. One that shows none, or moves on just now, does not.
    async fn is_somebody_else(&self, window: &Window, element: &Selector) -> bool {
        let Some(username) = self.login.username().map(|username| username.to_lowercase()) else {
            return false;
        };
        let Ok(found) = window.find(&Scope::default(), element).await else { return false };
        let Some(element) = found.first() else { return false };
        let shown = Page::call(window, element, WHO_IS_SHOWN, &[]).await.ok();
        let shown = shown.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_lowercase();
        !shown.trim().is_empty() && !shown.contains(&username)
    }

    /// How the page stands, giving a page that was just loaded time to show it.
    async fn standing(&self, window: &Window) -> Result<SignInStatus, Failure> {
        let deadline = Instant::now() + STANDING_TIMEOUT;
        loop {
            let (status, looked) = tokio::join!(response_status(window), self.look(window));
            if status >= 500 {
                return Err(portal_fault(status));
            }
            let standing = match looked {
                // A page that moves on while it is looked at is looked at again.
                Err(failure) if Instant::now() >= deadline => return Err(failure),
                Err(_) => SignInStatus::SignedOut,
                Ok(standing) => standing,
            };
            let decided = standing != SignInStatus::SignedOut || self.shows_form(window).await;
            if decided || Instant::now() >= deadline {
                return Ok(standing);
            }
            sleep(POLL).await;
        }
    }
}

/// Sends the request of a refresh as a hidden page's own navigation: nothing else of the portal is loaded, and the answer is
/// all that tells.
async fn ask_in_hidden_page(page: &Beside, url: &str) -> Result<SignInStatus, Failure> {
    match page.window().navigate(url, LOAD_TIMEOUT).await {
        // An answer without a body leaves the page as it was.
        Err(error) if error.is_aborted() => return Ok(SignInStatus::SignedIn),
        navigated => loaded(navigated)?,
    }
    match response_status(page.window()).await {
        status @ 500.. => Err(portal_fault(status)),
        200..300 if is_same_page(url, &page.url()) => Ok(SignInStatus::SignedIn),
        _ => Ok(SignInStatus::SignedOut),
    }
}

fn too_slow(kind: FailureKind) -> Failure {
    failure(kind, "the portal took too long to answer".to_owned())
}

/// The page is not as it was recorded, or is no longer to be had.
pub(super) fn replay_failure(what: &str, error: &ReplayError) -> Failure {
    let (kind, why) = match &error.cause {
        StepError::Page(page) => (kind_of(page), "failed"),
        _ => (FailureKind::Unexpected, "no longer fits the page"),
    };
    failure(kind, format!("{what} {why}: {}", with_sources(error)))
}

pub(super) async fn holds(condition: Option<&Condition>, window: &Window) -> Result<bool, Failure> {
    match condition {
        Some(condition) => condition.holds(window).await.map_err(|error| of_page(&error)),
        None => Ok(false),
    }
}

pub(super) async fn response_status(window: &Window) -> u64 {
    let status = window.evaluate(RESPONSE_STATUS, POLL * 20).await.ok();
    status.and_then(|status| status.as_u64()).unwrap_or(0)
}

fn loaded(result: Result<(), WindowError>) -> Result<(), Failure> {
    result.map_err(of_window)
}

pub(super) fn of_window(error: WindowError) -> Failure {
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

pub(super) fn portal_fault(status: u64) -> Failure {
    failure(FailureKind::Unreachable, format!("the portal answered with HTTP status {status}"))
}

pub(super) fn failure(kind: FailureKind, sentence: String) -> Failure {
    Failure { kind, sentence }
}
