//! Loading a page again without submitting a form again.
//!
//! `Page.reload` repeats the POST of the present document without asking
//! (`content/browser/devtools/protocol/page_handler.cc`, `Reload`: `check_for_repost` is false). So it is never used:
//! pages are loaded again by `Page.navigate` to the same address, which is always a GET. That keeps the page's
//! position in its history and the history's state; the scroll position is restored here.

use std::time::Duration;

use pilotlight_cdp::protocol::page::{GetNavigationHistory, HistoryEntry, NavigationHistory};
use serde_json::json;
use url::Url;

use super::navigation::{check_url, load};
use super::planted::Planted;
use super::settle::scroll_to;
use super::{COMMAND_TIMEOUT, Window, evaluate, isolated_world};
use crate::call::look_at;
use crate::error::WindowError;
use crate::state::{Shard, Tab};

/// How long querying a page before it is loaded again may take.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(1);
/// Returns the scroll position of the page.
const SCROLLED: &str = "[scrollX, scrollY]";
/// Redirects within a site that led to a document.
const REDIRECTS: &str = "performance.getEntriesByType('navigation')[0]?.redirectCount ?? 0";

/// What a page shows, as far as it matters before loading it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The result of a GET of its address.
    Page,
    /// Possibly the answer to a form, or not a page of the web: loading it again would lose it.
    Answer,
    /// Nothing.
    Nothing,
}

impl Window {
    /// Loads the main page again and returns once its `load` event has fired. It is loaded by a GET, however it was
    /// loaded before. Also restores a crashed page.
    ///
    /// # Errors
    /// As [`Self::navigate`]; [`WindowError::Url`] for what windows do not load.
    pub async fn reload(&self, timeout: Duration) -> Result<(), WindowError> {
        let tab = self.main_tab()?;
        reload_tab(&self.shard, &tab, timeout).await?;
        look_at(&self.shard, &self.state, &tab).await;
        Ok(())
    }

    /// Returns what its main page shows. Only Chromium is queried, so that it is also known for pages of an earlier
    /// server.
    ///
    /// Doubtful cases count as an answer, such as the result of a form with GET, or of a reload by a client. A form
    /// whose answer was a redirect within the same site counts as a page: nearly all of those lead to a GET.
    ///
    /// # Errors
    /// If Chromium does not respond.
    pub async fn shown(&self) -> Result<Shown, WindowError> {
        let tab = self.main_tab()?;
        let history = history(&self.shard, &tab).await?;
        let Some(entry) = current(&history) else { return Ok(Shown::Nothing) };
        if entry.url == "about:blank" {
            return Ok(Shown::Nothing);
        }
        if check_url(&entry.url).is_err() {
            return Ok(Shown::Answer);
        }
        let transitions = transitions_of_document(&history);
        if transitions.contains(&"reload") {
            return Ok(Shown::Answer);
        }
        if !transitions.contains(&"form_submit") {
            return Ok(Shown::Page);
        }
        let redirects = self.ask(&tab, REDIRECTS).await.and_then(|count| count.as_u64());
        Ok(if redirects.unwrap_or(0) > 0 { Shown::Page } else { Shown::Answer })
    }

    async fn ask(&self, tab: &Tab, question: &str) -> Option<serde_json::Value> {
        ask(&self.shard, tab, question).await
    }
}

/// Loads a page again.
pub(crate) async fn reload_tab(shard: &Shard, tab: &Tab, timeout: Duration) -> Result<(), WindowError> {
    let history = history(shard, tab).await?;
    let url = check_url(&current(&history).ok_or(WindowError::Url)?.url)?;
    // A crashed page cannot be queried and has no document that a fragment could refer to.
    if tab.status.borrow().crashed {
        return load(shard, tab, &url, timeout).await;
    }
    let scrolled = ask(shard, tab, SCROLLED).await.unwrap_or_default();
    let scrolled = (scrolled[0].as_f64().unwrap_or(0.0), scrolled[1].as_f64().unwrap_or(0.0));
    match url.fragment() {
        None => load(shard, tab, &url, timeout).await?,
        Some(_) => load_with_fragment(shard, tab, &url, timeout).await?,
    }
    if scrolled != (0.0, 0.0) {
        scroll_to(shard, tab, &url, scrolled).await;
    }
    Ok(())
}

/// With its fragment, the address would refer to a position in the present document, and nothing would be loaded. So
/// it is restored before the first script of the new document runs.
async fn load_with_fragment(
    shard: &Shard,
    tab: &Tab,
    url: &Url,
    timeout: Duration,
) -> Result<(), WindowError> {
    let mut address = url.clone();
    address.set_fragment(None);
    let script = format!(
        "if (window === top && location.href === new URL({}).href) history.replaceState(history.state, '', {});",
        json!(address.as_str()),
        json!(url.as_str())
    );
    let planted = Planted::place(&shard.connection, &tab.session, script, COMMAND_TIMEOUT).await?;
    let loaded = load(shard, tab, &address, timeout).await;
    drop(planted);
    loaded
}

/// Chromium's own process replies, also for a crashed page.
async fn history(shard: &Shard, tab: &Tab) -> Result<NavigationHistory, WindowError> {
    let asked = shard.connection.call_within(Some(&tab.session), GetNavigationHistory {}, COMMAND_TIMEOUT);
    Ok(asked.await?)
}

/// Returns the current entry of the history.
fn current(history: &NavigationHistory) -> Option<&HistoryEntry> {
    history.entries.get(usize::try_from(history.current_index).ok()?)
}

/// The documents that led to the present one, and to each position in it. A navigation within a document, or in one
/// of its frames, is a separate entry that does not show how the document was loaded.
fn transitions_of_document(history: &NavigationHistory) -> Vec<&str> {
    let Some(entry) = current(history) else { return Vec::new() };
    let document = without_fragment(&entry.url);
    let is_of_it = |entry: &&HistoryEntry| without_fragment(&entry.url) == document;
    let place = usize::try_from(history.current_index).unwrap_or_default();
    let (before, after) = history.entries.split_at(place.min(history.entries.len()));
    let around = before.iter().rev().take_while(is_of_it).chain(after.iter().take_while(is_of_it));
    around.map(|entry| entry.transition_type.as_str()).collect()
}

fn without_fragment(url: &str) -> &str {
    url.split('#').next().unwrap_or(url)
}

/// Returns nothing if the page does not respond at once.
async fn ask(shard: &Shard, tab: &Tab, question: &str) -> Option<serde_json::Value> {
    let asking = async {
        let world = isolated_world(shard, tab, &tab.session, &tab.target).await?;
        evaluate(shard, tab, &tab.session, Some(world), question, QUESTION_TIMEOUT).await
    };
    tokio::time::timeout(QUESTION_TIMEOUT, asking).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(current_index: i64, entries: &[(&str, &str)]) -> NavigationHistory {
        let entry = |(id, (url, transition)): (i64, &(&str, &str))| HistoryEntry {
            id,
            url: (*url).to_owned(),
            transition_type: (*transition).to_owned(),
        };
        NavigationHistory { current_index, entries: (0..).zip(entries).map(entry).collect() }
    }

    #[test]
    fn a_document_is_known_by_what_led_to_any_place_in_it() {
        let moved = [
            ("about:blank", "typed"),
            ("https://a.test/", "form_submit"),
            ("https://a.test/order", "form_submit"),
            ("https://a.test/order#part", "link"),
            ("https://a.test/order#part", "manual_subframe"),
            ("https://a.test/list", "link"),
        ];
        for (at, wanted) in [
            (0, vec!["typed"]),
            (2, vec!["form_submit", "link", "manual_subframe"]),
            (4, vec!["link", "form_submit", "manual_subframe"]),
            (5, vec!["link"]),
        ] {
            assert_eq!(transitions_of_document(&history(at, &moved)), wanted, "{at}");
        }
        for (at, entries) in [(0, &moved[..0]), (7, &moved[..]), (-1, &moved[..])] {
            assert_eq!(transitions_of_document(&history(at, entries)), Vec::<&str>::new(), "{at}");
        }
    }
}
