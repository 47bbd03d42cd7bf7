//! Keeping a hibernated session signed in with only a document: in a bare window with its cookies, without scripts,
//! pictures or other resources.
//!
//! Only the cookies of that window are stored, in the session's existing checkpoint. The rest of the checkpoint is
//! never replaced, since a [`BareWindow`] does not have it.

use std::time::Duration;

use pilotlight_api::RefreshHow;
use pilotlight_checkpoint::{Checkpoint, Cookie};
use pilotlight_chromium::{BareWindow, Window};
use pilotlight_core::{Failure, FailureKind, SignInStatus};
use tokio::time::{Instant, sleep};
use url::Url;

use super::session_target::{
    ActivityObserver, LOAD_TIMEOUT, PROBE_TIMEOUT, SessionTarget, is_content, of_window, portal_fault,
    response_status,
};

/// How long storing the cookies that the portal changed is retried: without them the next refresh would be signed
/// out.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// The delay before a failed write is retried.
const WRITE_RETRY: Duration = Duration::from_secs(2);
/// Returns whether the page asks for a password.
const ASKS_FOR_PASSWORD: &str = "document.querySelector('input[type=password]') !== null";

impl SessionTarget {
    /// Loads a document of the portal with the cookies of `checkpoint`, and has the cookies stored that this changed.
    ///
    /// The document shows [`SignInStatus::SignedIn`] and, if no condition applies, [`SignInStatus::Unknown`]; any
    /// other result may only mean that scripts are needed.
    pub(super) async fn load_document(
        &self,
        window: &Window,
        checkpoint: Option<&Checkpoint>,
        observer: &impl ActivityObserver,
    ) -> Result<SignInStatus, Failure> {
        // Without cookies, the portal would not recognise the session.
        let Some(checkpoint) = checkpoint else { return Ok(SignInStatus::SignedOut) };
        let bare = window.make_bare(&checkpoint.cookies, LOAD_TIMEOUT).await.map_err(of_window)?;
        let url = self.document_url();
        let loaded = bare.load(url, LOAD_TIMEOUT).await;
        // Whatever the outcome, the portal may no longer accept the old cookies.
        keep_cookies(&bare, &checkpoint.cookies, observer).await?;
        let is_document = loaded.map_err(of_window)?;
        let standing =
            if is_document { self.shown_by(bare.window(), url).await? } else { SignInStatus::SignedOut };
        if !is_content(&standing) {
            tracing::info!(
                window = %window.id(),
                "a document alone does not show that a session is signed in; a window with all of its state is to tell"
            );
        }
        Ok(standing)
    }

    /// Returns the URL of the site's refresh, or else the start page.
    fn document_url(&self) -> &str {
        let url = self.site.as_ref().and_then(|site| site.definition.refresh.url.as_deref());
        url.unwrap_or(&self.start_url)
    }

    /// Returns the status of a document that was requested at `asked`.
    async fn shown_by(&self, page: &Window, asked: &str) -> Result<SignInStatus, Failure> {
        let status = response_status(page).await;
        match status {
            401 | 403 => return Ok(SignInStatus::SignedOut),
            500.. => return Err(portal_fault(status)),
            _ => {}
        }
        let definition = self.site.as_ref().map(|site| &site.definition);
        let is_page = definition.is_none_or(|definition| definition.refresh.how != RefreshHow::Request);
        if is_page {
            let looked = match self.look(page).await {
                Err(failure) if failure.kind == FailureKind::Unexpected => SignInStatus::SignedOut,
                looked => looked?,
            };
            let is_told = definition.is_some_and(|definition| definition.signed_in.is_some());
            if is_told || !is_content(&looked) {
                return Ok(looked);
            }
        }
        // If no condition applies, any page other than the requested one is considered a sign-in page.
        let is_it = (200..300).contains(&status) && is_same_page(asked, &page.summary().url);
        let asks = page.evaluate(ASKS_FOR_PASSWORD, PROBE_TIMEOUT).await.map_err(of_window)?;
        let stays = is_it && asks == serde_json::Value::Bool(false);
        Ok(if stays { SignInStatus::Unknown } else { SignInStatus::SignedOut })
    }
}

/// Has the cookies stored that changed. Returns once they are.
async fn keep_cookies(
    bare: &BareWindow,
    before: &[Cookie],
    observer: &impl ActivityObserver,
) -> Result<(), Failure> {
    let now = bare.cookies().await.map_err(of_window)?;
    if are_equal(before, &now) {
        return Ok(());
    }
    let deadline = Instant::now() + WRITE_TIMEOUT;
    loop {
        match observer.keep_cookies(now.clone()).await {
            Err(Failure { kind: FailureKind::Unrecorded { .. }, .. }) if Instant::now() < deadline => {
                sleep(WRITE_RETRY).await;
            }
            kept => return kept,
        }
    }
}

/// Returns whether both have the same cookies, in any order.
fn are_equal(before: &[Cookie], now: &[Cookie]) -> bool {
    before.len() == now.len() && now.iter().all(|cookie| before.contains(cookie))
}

/// Returns whether two URLs have the same host and path.
pub(super) fn is_same_page(asked: &str, shown: &str) -> bool {
    let page = |url: &str| {
        let url = Url::parse(url).ok()?;
        Some((url.host_str()?.to_owned(), url.path().trim_end_matches('/').to_owned()))
    };
    page(asked).is_some_and(|asked| page(shown) == Some(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_host_or_path_is_another_page() {
        for (shown, is_same) in [
            ("https://portal.test/app", true),
            ("https://portal.test/app/?tab=1#top", true),
            ("https://portal.test/login?next=/app", false),
            ("https://login.portal.test/app", false),
            ("about:blank", false),
        ] {
            assert_eq!(is_same_page("http://portal.test/app", shown), is_same, "{shown}");
        }
        assert!(!is_same_page("nowhere", "nowhere"));
    }

    #[test]
    fn cookies_are_equal_in_any_order() {
        let cookie = |name: &str, value: &str| Cookie {
            name: name.to_owned(),
            value: value.to_owned(),
            domain: "portal.test".to_owned(),
            path: "/".to_owned(),
            expires: None,
            http_only: false,
            secure: false,
            same_site: None,
            priority: None,
            source_scheme: None,
            source_port: None,
            partition_key: None,
        };
        let (a, b) = (cookie("a", "1"), cookie("b", "1"));
        assert!(are_equal(&[a.clone(), b.clone()], &[b.clone(), a.clone()]));
        assert!(!are_equal(&[a.clone(), b.clone()], std::slice::from_ref(&a)));
        assert!(!are_equal(&[a, b.clone()], &[cookie("a", "2"), b]));
    }
}
