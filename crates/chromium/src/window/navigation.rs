//! Loading a page, and noticing when it has loaded.

use std::time::Duration;

use pilotlight_cdp::Connection;
use pilotlight_cdp::protocol::page::{Navigate, StopLoading};
use url::Url;

use super::COMMAND_TIMEOUT;
use crate::error::{ABORTED, WindowError};
use crate::state::{Shard, Tab, TabStatus};

/// How long Chromium's error page may take.
const ERROR_PAGE_TIMEOUT: Duration = Duration::from_secs(2);
/// The reason if the proxy requested the password again.
const PROXY_REFUSED: &str = "the proxy refused the user name and password";

/// Refuses what windows do not load: local files, scripts, Chromium's own pages.
pub(crate) fn check_url(url: &str) -> Result<Url, WindowError> {
    let parsed = Url::parse(url).map_err(|_| WindowError::Url)?;
    match parsed.scheme() {
        "http" | "https" => Ok(parsed),
        "about" if parsed.as_str() == "about:blank" => Ok(parsed),
        _ => Err(WindowError::Url),
    }
}

/// Removes user name and password, for errors and logs.
pub(crate) fn without_user_information(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for URLs that cannot have any.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

/// Loads `url` in a page.
pub(crate) async fn navigate_tab(
    shard: &Shard,
    tab: &Tab,
    url: &str,
    timeout: Duration,
) -> Result<(), WindowError> {
    load(shard, tab, &check_url(url)?, timeout).await
}

/// Loads a URL that was checked.
pub(super) async fn load(shard: &Shard, tab: &Tab, url: &Url, timeout: Duration) -> Result<(), WindowError> {
    let at_dom = shard.by_session(&tab.session).is_some_and(|(window, _)| window.is_ready_at_dom());
    let loading = navigate(&shard.connection, tab, url, at_dom, timeout);
    within(&shard.connection, tab, timeout, loading).await
}

async fn navigate(
    connection: &Connection,
    tab: &Tab,
    url: &Url,
    at_dom: bool,
    timeout: Duration,
) -> Result<(), WindowError> {
    clear_crash(tab);
    let refusals = tab.status.borrow().proxy_refusals;
    let navigated = tab.call(connection, &tab.session, Navigate { url: url.to_string() }, timeout).await?;
    let unreachable =
        |reason: &str| WindowError::Unreachable { url: without_user_information(url), reason: reason.into() };
    if tab.status.borrow().proxy_refusals != refusals {
        return Err(unreachable(PROXY_REFUSED));
    }
    // Without a loader only the fragment changed.
    let loaded = async |loader: Option<String>, timeout| match loader {
        Some(loader) => {
            let is_there = |status: &TabStatus| {
                status.has_loaded() || (at_dom && status.has_parsed() && status.navigating_since.is_none())
            };
            tab.wait_for(timeout, |status| status.loaders.contains(&loader) && is_there(status)).await
        }
        None => Ok(()),
    };
    let Some(reason) = navigated.error_text.filter(|reason| !reason.is_empty()) else {
        return loaded(navigated.loader_id, timeout).await;
    };
    // Until Chromium's error page is loaded, the page cannot be used. Downloads and empty answers have none.
    if reason != ABORTED
        && let Err(error) = loaded(navigated.loader_id, ERROR_PAGE_TIMEOUT).await
    {
        tracing::debug!(%error, "the error page was not loaded");
    }
    Err(unreachable(&reason))
}

/// Clears a crash before a new load; if the page crashes again, an event reports it.
fn clear_crash(tab: &Tab) {
    tab.status.send_if_modified(|status| std::mem::take(&mut status.crashed));
}

async fn within(
    connection: &Connection,
    tab: &Tab,
    timeout: Duration,
    loading: impl Future<Output = Result<(), WindowError>>,
) -> Result<(), WindowError> {
    let result = tokio::time::timeout(timeout, loading).await.unwrap_or(Err(WindowError::Timeout(timeout)));
    if matches!(result, Err(WindowError::Timeout(_))) {
        let stopped = connection.call_within(Some(&tab.session), StopLoading {}, COMMAND_TIMEOUT).await;
        if let Err(error) = stopped {
            tracing::debug!(%error, "failed to stop loading a slow page");
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_web_is_loaded() {
        for url in ["http://a.test/", "https://u:p@a.test/x?y#z", "about:blank"] {
            assert!(check_url(url).is_ok(), "{url}");
        }
        for url in [
            "file:///etc/passwd",
            "javascript:1",
            "chrome://crash",
            "data:text/html,x",
            "about:srcdoc",
            "a.test",
            "",
        ] {
            assert_eq!(check_url(url), Err(WindowError::Url), "{url}");
        }
    }

    #[test]
    fn user_information_is_left_out() {
        let url = Url::parse("https://user:geheim@a.test/x").unwrap();
        assert_eq!(without_user_information(&url), "https://a.test/x");
    }
}
