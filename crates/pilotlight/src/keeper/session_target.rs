//! What is done with a window for its portal: load the page, check whether it is signed in. Signing in and refreshing
//! have modules of their own (`sign_in`, `page_refresh`, `document`).
//!
//! Each activity ends in a [`SignInStatus`] or a [`Failure`] within a bounded time and decides nothing: what
//! follows is for the rules. Nothing here may put a user name's password or a typed value into a sentence.

use std::sync::Arc;
use std::time::Duration;

use pilotlight_api::{Ready, RestoreFields};
use pilotlight_checkpoint::{Checkpoint, Cookie};
use pilotlight_chromium::{RestoreFields as Fields, Shown, Window, WindowError};
use pilotlight_core::{Activity, Failure, FailureKind, SignInStatus, Suspicion};
use pilotlight_flow::condition::Condition;
use pilotlight_flow::page::{Page, PageError, Scope};
use pilotlight_flow::replay::{Event, ReplayError, StepError};
use pilotlight_flow::selector::Selector;
use tokio::time::{Instant, sleep, timeout};

use super::suspicion::{KnownBefore, SHOWS_PASSWORD_FIELD};
use crate::config::Site;
use crate::credentials::Login;
use crate::sentence::with_sources;

/// The longest that a page may take to load.
pub(super) const LOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that any activity may take; a sign-in of many steps is the slowest.
pub(super) const ACTIVITY_TIMEOUT: Duration = Duration::from_secs(180);
/// How long a loaded page may take to show whether it is signed in.
const STANDING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the scripts of a page that was loaded may take until they go on to a sign-in page. Nobody waits for a refresh,
/// but while a session hibernates, others wait for its window.
const SETTLED_AFTER: Duration = Duration::from_millis(300);
/// How long a page may take to answer the simplest question.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// The page of a window that shows nothing.
pub(super) const EMPTY_PAGE: &str = "about:blank";
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
        self.prepare(window);
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
        outcome.map(|status| known.applied(status, &window.page_url()))
    }

    /// Tells the window how the site's pages load.
    pub(super) fn prepare(&self, window: &Window) {
        let ready = self.site.as_ref().map(|site| site.definition.ready);
        window.set_ready_at_dom(ready == Some(Ready::Dom));
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

    /// Loads what the window shows once more, by a GET, or else the start page: where there is nothing to load, and
    /// where a GET is answered with an error, as by an address that takes forms alone.
    ///
    /// Returns the address that was loaded again, `None` where that was the start page.
    pub(super) async fn load_again(&self, window: &Window) -> Result<Option<String>, Failure> {
        let is_empty = matches!(window.shown().await, Ok(Shown::Nothing));
        let from = window.page_url();
        if !is_empty && window.reload(LOAD_TIMEOUT).await.is_ok() {
            let is_start = window.page_url() == self.start_url;
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
                window.page_url()
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
    pub(super) async fn settled(
        &self,
        window: &Window,
        mut status: SignInStatus,
        from: &str,
        known: &KnownBefore,
        waits: bool,
    ) -> SignInStatus {
        let deadline = Instant::now() + if waits { SETTLED_AFTER } else { Duration::ZERO };
        while status == SignInStatus::Unknown {
            if let Some(to) = known.moved(from, &window.page_url()) {
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
    pub(super) async fn standing(&self, window: &Window) -> Result<SignInStatus, Failure> {
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

/// Returns whether a page with this status gives no reason to think that the session is signed out.
pub(super) fn is_content(status: &SignInStatus) -> bool {
    matches!(status, SignInStatus::SignedIn | SignInStatus::Unknown)
}

pub(super) fn too_slow(kind: FailureKind) -> Failure {
    failure(kind, "the portal took too long to answer".to_owned())
}

/// The page is not as it was recorded, or is no longer to be had.
pub(super) fn replay_failure(what: &str, error: &ReplayError) -> Failure {
    let (kind, why) = match &error.cause {
        StepError::Page(page @ PageError::Covered(_)) => (kind_of(page), "no longer fits the page"),
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

pub(super) fn loaded(result: Result<(), WindowError>) -> Result<(), Failure> {
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
        PageError::Script(_) | PageError::Covered(_) => FailureKind::Unexpected,
        PageError::Gone(_) | PageError::Refused { .. } => FailureKind::Browser,
    }
}

pub(super) fn portal_fault(status: u64) -> Failure {
    failure(FailureKind::Unreachable, format!("the portal answered with HTTP status {status}"))
}

pub(super) fn failure(kind: FailureKind, sentence: String) -> Failure {
    Failure { kind, sentence }
}
