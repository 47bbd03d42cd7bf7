//! Refreshes of sessions that have a window, in the site's way and in one of two places: in a hidden page, which shares
//! the cookies and the storage of the window, or in the window's own page.
//!
//! The hidden page is the default, because the variables, the form and the place of the window's own page do not survive
//! being loaded again. The own page is loaded again only if it is of no use as it is (it is empty, shows an error, or
//! shows that it is signed out although the session is not), or if the hidden page does not show that the session is
//! signed in: a portal may keep a sign-in in the page itself, where the hidden page does not have it.

use pilotlight_api::{RefreshHow, RefreshWhere};
use pilotlight_chromium::{Beside, PageAnswer, Shown, Window, WindowError};
use pilotlight_core::{Failure, FailureKind, SignInStatus};
use pilotlight_flow::Flow;
use pilotlight_flow::replay::{ReplayOptions, replay};
use tokio::time::timeout;
use url::Url;

use super::document::is_same_page;
use super::session_target::{
    ACTIVITY_TIMEOUT, ActivityObserver, EMPTY_PAGE, LOAD_TIMEOUT, PROBE_TIMEOUT, SessionTarget, is_content,
    loaded, of_window, portal_fault, replay_failure, response_status, too_slow,
};
use super::suspicion::KnownBefore;

/// How a site's sign-ins are kept alive.
#[derive(Clone, Copy)]
enum Way<'a> {
    /// Loading the page again.
    Reload,
    /// Loading this URL.
    Visit(&'a str),
    /// A request to this URL.
    Request(&'a str),
    /// Replaying this flow.
    Flow(&'a Flow),
}

/// What a window's own page shows before a refresh.
enum OwnPage {
    /// A page that is of no use as it is.
    Useless,
    /// A page that must not be loaded again, and whose URL says nothing: the answer to a form, for example.
    Answer,
    /// A page at this URL that does not look signed out.
    Fine(String),
    /// A page at this URL that does not meet the site's conditions, or looks signed out. It may be old, or always be so.
    SignedOut(String),
}

impl SessionTarget {
    /// Refreshes a session that nobody uses, in the place that its site chooses.
    ///
    /// # Errors
    /// If the portal or the browser does not answer, or the refresh flow does not fit.
    pub(super) async fn refresh(
        &self,
        window: &Window,
        known: &KnownBefore,
        observer: &impl ActivityObserver,
    ) -> Result<SignInStatus, Failure> {
        // A script that hangs would block everything else. Asking it ends it.
        drop(window.evaluate("0", PROBE_TIMEOUT).await);
        if let Way::Request(url) = self.way()
            && let Some(status) = self.ask_from_own_page(window, url).await?
        {
            return Ok(status);
        }
        let own = match self.site.as_ref().map(|site| site.definition.refresh.place) {
            Some(RefreshWhere::Page) => OwnPage::Useless,
            Some(RefreshWhere::Beside) | None => self.own_page(window, known).await,
        };
        if matches!(own, OwnPage::Useless) {
            return self.refresh_own_page(window, self.way(), known, observer).await;
        }
        match self.refresh_beside_own_page(window, &own, known, observer).await? {
            Some(status) => Ok(status),
            None => self.refresh_own_page(window, Way::Reload, known, observer).await,
        }
    }

    /// Refreshes a session that is in use: in a hidden page, whatever the site says.
    ///
    /// # Errors
    /// As [`Self::refresh`], and if it takes longer than [`ACTIVITY_TIMEOUT`].
    pub(super) async fn refresh_beside(
        &self,
        window: &Window,
        observer: &impl ActivityObserver,
    ) -> Result<SignInStatus, Failure> {
        self.prepare(window);
        let refreshing = async {
            let page = window.open_beside().await.map_err(of_window)?;
            let status = match self.way() {
                Way::Request(url) => ask_in_hidden_page(&page, url).await?,
                way => self.refresh_hidden_page(page.window(), way, observer).await?,
            };
            drop(page);
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

    /// Returns how the site's sign-ins are kept alive.
    fn way(&self) -> Way<'_> {
        let Some(site) = &self.site else { return Way::Reload };
        let refresh = &site.definition.refresh;
        match (refresh.how, refresh.url.as_deref(), &site.refresh) {
            (RefreshHow::Visit, Some(url), _) => Way::Visit(url),
            (RefreshHow::Request, Some(url), _) => Way::Request(url),
            (RefreshHow::Flow, _, Some(flow)) => Way::Flow(flow),
            (RefreshHow::Reload | RefreshHow::Visit | RefreshHow::Request | RefreshHow::Flow, _, _) => {
                Way::Reload
            }
        }
    }

    async fn own_page(&self, window: &Window, known: &KnownBefore) -> OwnPage {
        match window.shown().await {
            Ok(Shown::Page) => {}
            Ok(Shown::Answer) => return OwnPage::Answer,
            Ok(Shown::Nothing) | Err(_) => return OwnPage::Useless,
        }
        let url = window.page_url();
        let (http_status, looked) = tokio::join!(response_status(window), self.look(window));
        // Chromium shows its own page, at an address that cannot be loaded, if there was no answer.
        let is_error = http_status >= 400 || !url.starts_with("http");
        match looked.map(|status| known.applied(status, &url)) {
            Ok(SignInStatus::SignedIn | SignInStatus::Unknown) if !is_error => OwnPage::Fine(url),
            // One with a field for a password may be there to change it.
            Ok(SignInStatus::SignedOut | SignInStatus::LooksSignedOut(_)) if !is_error => {
                OwnPage::SignedOut(url)
            }
            _ => OwnPage::Useless,
        }
    }

    /// Refreshes in a hidden page. Returns `None` if the window's own page must be loaded again: it is older than the
    /// sign-in, or the hidden page does not show that the session is signed in.
    async fn refresh_beside_own_page(
        &self,
        window: &Window,
        own: &OwnPage,
        known: &KnownBefore,
        observer: &impl ActivityObserver,
    ) -> Result<Option<SignInStatus>, Failure> {
        let beside = window.open_beside().await.map_err(of_window)?;
        let page = beside.window();
        let way = self.way();
        let status = match (way, own) {
            (Way::Reload | Way::Request(_), OwnPage::Fine(url)) => self.load_beside(page, url, known).await?,
            (Way::Request(_), _) => self.refresh_hidden_page(page, Way::Reload, observer).await?,
            (way, _) => self.refresh_hidden_page(page, way, observer).await?,
        };
        if !is_content(&status) {
            return Ok(None);
        }
        // A page that meets the conditions when it is loaded now, and does not as it is, is older than the sign-in.
        let OwnPage::SignedOut(url) = own else { return Ok(Some(status)) };
        let is_old = self.load_anew(page, url).await.is_ok_and(|status| is_content(&status));
        Ok((!is_old).then_some(status))
    }

    /// Loads `url`, which the window's own page shows, in a hidden page; and the start page where that one cannot be
    /// loaded, or does not show that the session is signed in.
    async fn load_beside(
        &self,
        page: &Window,
        url: &str,
        known: &KnownBefore,
    ) -> Result<SignInStatus, Failure> {
        let is_start = url == self.start_url;
        match page.navigate(url, LOAD_TIMEOUT).await {
            Err(error) if is_start => return Err(of_window(error)),
            Err(_) => return self.load_anew(page, &self.start_url).await,
            Ok(()) => {}
        }
        let standing = self.standing(page).await?;
        let is_found = !(400..500).contains(&response_status(page).await);
        let status = self.settled(page, standing, url, known, true).await;
        match status {
            SignInStatus::PersonNeeded(_) => Ok(status),
            status if is_start || (is_content(&status) && is_found) => Ok(status),
            // Of a start page nothing is known but what its conditions say.
            SignInStatus::LooksSignedOut(_) => {
                let at_start = self.load_anew(page, &self.start_url).await?;
                Ok(if at_start == SignInStatus::SignedIn { at_start } else { status })
            }
            _ => self.load_anew(page, &self.start_url).await,
        }
    }

    /// Loads `url` in a hidden page that may show something already: to another place in the same document, nothing would
    /// be loaded.
    async fn load_anew(&self, page: &Window, url: &str) -> Result<SignInStatus, Failure> {
        if url.contains('#') {
            loaded(page.navigate(EMPTY_PAGE, LOAD_TIMEOUT).await)?;
        }
        self.load(page, url).await
    }

    /// Refreshes in a page that nobody sees and that is empty.
    async fn refresh_hidden_page(
        &self,
        page: &Window,
        way: Way<'_>,
        observer: &impl ActivityObserver,
    ) -> Result<SignInStatus, Failure> {
        match way {
            Way::Visit(url) => self.load(page, url).await,
            Way::Reload | Way::Request(_) => self.load(page, &self.start_url).await,
            Way::Flow(flow) => match self.load(page, &self.start_url).await? {
                status if is_content(&status) => self.refresh_by_flow(page, flow, observer).await,
                status => Ok(status),
            },
        }
    }

    async fn refresh_own_page(
        &self,
        window: &Window,
        way: Way<'_>,
        known: &KnownBefore,
        observer: &impl ActivityObserver,
    ) -> Result<SignInStatus, Failure> {
        match way {
            Way::Visit(url) => self.load(window, url).await,
            Way::Flow(flow) => self.refresh_by_flow(window, flow, observer).await,
            Way::Reload | Way::Request(_) => self.reload_own_page(window, known).await,
        }
    }

    /// Loads what the window shows once more. What may be the answer to a form stays as it is: the start page is
    /// loaded beside it, in a page that nobody sees.
    async fn reload_own_page(&self, window: &Window, known: &KnownBefore) -> Result<SignInStatus, Failure> {
        if window.shown().await.map_err(of_window)? != Shown::Answer {
            let from = self.load_again(window).await?;
            let status = self.standing(window).await?;
            return Ok(match from {
                Some(from) => self.settled(window, status, &from, known, true).await,
                None => status,
            });
        }
        let beside = window.open_beside().await.map_err(of_window)?;
        let standing = self.load(beside.window(), &self.start_url).await?;
        drop(beside);
        // What only looks signed out is no reason to give the answer up.
        if !matches!(standing, SignInStatus::SignedOut | SignInStatus::PersonNeeded(_)) {
            return Ok(standing);
        }
        // The answer is of no use any more, and looks as if one were signed in.
        self.load(window, &self.start_url).await
    }

    async fn load(&self, page: &Window, url: &str) -> Result<SignInStatus, Failure> {
        loaded(page.navigate(url, LOAD_TIMEOUT).await)?;
        self.standing(page).await
    }

    /// Sends the request of a refresh from inside the window's own page. Returns `None` if the answer does not tell: a
    /// page must be loaded then. Portals redirect a request of somebody who is signed out to their sign-in page, which
    /// is answered with a success, or is at an origin whose answers the page may not see.
    async fn ask_from_own_page(&self, window: &Window, url: &str) -> Result<Option<SignInStatus>, Failure> {
        let answer = match window.request(url, LOAD_TIMEOUT).await {
            Ok(answer) => answer,
            Err(WindowError::Unreachable { .. } | WindowError::Url) => return Ok(None),
            Err(error) => return Err(of_window(error)),
        };
        match answer {
            PageAnswer { status: 401 | 403, .. } => Ok(Some(SignInStatus::SignedOut)),
            PageAnswer { status: status @ 500.., .. } => Err(portal_fault(status.into())),
            PageAnswer { status: 200..300, is_redirected: false } => {
                let status = self.look(window).await?;
                Ok(Some(status).filter(is_content))
            }
            PageAnswer { .. } => Ok(None),
        }
    }

    async fn refresh_by_flow(
        &self,
        window: &Window,
        flow: &Flow,
        observer: &impl ActivityObserver,
    ) -> Result<SignInStatus, Failure> {
        let _answers = window.flow_answers();
        let replayed = replay(window, flow, &self.login.values(), &ReplayOptions::default(), |_| {}).await;
        match replayed {
            Ok(()) => self.standing(window).await,
            // Who is signed out finds nothing of what the flow works on.
            Err(error) => match self.standing(window).await? {
                status if is_content(&status) => {
                    observer.on_failure(&error);
                    Err(replay_failure("the refresh flow", &error))
                }
                status => Ok(status),
            },
        }
    }
}

/// Returns whether a request was answered at its own URL. Some portals tell their pages apart by the query alone.
fn is_same_request(asked: &str, at: &str) -> bool {
    let query = |url: &str| Url::parse(url).ok().map(|url| url.query().map(str::to_owned));
    is_same_page(asked, at) && query(asked) == query(at)
}

/// Sends the request of a refresh as a hidden page's own navigation: nothing else of the portal is loaded, and the answer is
/// all that tells.
async fn ask_in_hidden_page(page: &Beside, url: &str) -> Result<SignInStatus, Failure> {
    let page = page.window();
    match page.navigate(url, LOAD_TIMEOUT).await {
        // An answer without a body leaves the page as it was.
        Err(error) if error.is_aborted() => return Ok(SignInStatus::SignedIn),
        navigated => loaded(navigated)?,
    }
    match response_status(page).await {
        status @ 500.. => Err(portal_fault(status)),
        200..300 if is_same_request(url, &page.page_url()) => Ok(SignInStatus::SignedIn),
        _ => Ok(SignInStatus::SignedOut),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_was_redirected_is_another_one() {
        let asked = "https://portal.test/index.php?r=keepalive";
        assert!(is_same_request(asked, asked));
        assert!(!is_same_request(asked, "https://portal.test/index.php?r=login"));
        assert!(!is_same_request(asked, "https://portal.test/login?r=keepalive"));
        assert!(!is_same_request(asked, "https://sso.test/index.php?r=keepalive"));
    }
}
