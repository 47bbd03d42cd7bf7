//! Loading a page again without sending anything again that a form had sent.
//!
//! `Page.reload` repeats the POST that a document came by, and asks nobody
//! (`content/browser/devtools/protocol/page_handler.cc`, `Reload`: `check_for_repost` is false). So it is never
//! used: pages are loaded again by `Page.navigate` to the same address, which is always a GET. That keeps the
//! page's place in its history and the history's state; where the page was scrolled to is put back here.

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

/// How long a page may take to say something of itself before it is loaded again.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(1);
/// How far the page is scrolled.
const SCROLLED: &str = "[scrollX, scrollY]";
/// How many redirects of its own site led to the document.
const REDIRECTS: &str = "performance.getEntriesByType('navigation')[0]?.redirectCount ?? 0";

/// What a page shows, as far as it matters to those who want to load it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// What a GET of its address shows.
    Page,
    /// What may be the answer to a form, or what is not of the web: loading it again would lose it.
    Answer,
    /// Nothing.
    Nothing,
}

impl Window {
    /// Loads the main page again and returns once its `load` event has fired. It is loaded by a GET, whatever it
    /// came by. Also brings a crashed page back.
    ///
    /// # Errors
    /// As [`Self::navigate`]; [`WindowError::Url`] for what windows do not load.
    pub async fn reload(&self, timeout: Duration) -> Result<(), WindowError> {
        let tab = self.main_tab()?;
        reload_tab(&self.shard, &tab, timeout).await?;
        look_at(&self.shard, &self.state, &tab).await;
        Ok(())
    }

    /// What its main page shows. Chromium alone is asked, so that it is known of pages of an earlier server too.
    ///
    /// What is in doubt counts as an answer, such as what came by a form with GET, or what a client loaded again.
    /// A form whose answer was a redirect of the same site counts as a page: nearly all of those lead to a GET.
    ///
    /// # Errors
    /// Where Chromium does not say.
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
    // A crashed page has nothing to tell and no document that a fragment could be a part of.
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

/// With its fragment, the address would be a place in the document that is there, and nothing would be loaded. So
/// it is put back before the first script of the new document runs.
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

/// Chromium's own process answers, also for a page that has crashed.
async fn history(shard: &Shard, tab: &Tab) -> Result<NavigationHistory, WindowError> {
    let asked = shard.connection.call_within(Some(&tab.session), GetNavigationHistory {}, COMMAND_TIMEOUT);
    Ok(asked.await?)
}

/// The entry of what is shown.
fn current(history: &NavigationHistory) -> Option<&HistoryEntry> {
    history.entries.get(usize::try_from(history.current_index).ok()?)
}

/// What led to the document that is shown, and to each place in it. A move within a document, or in one of its
/// frames, is an entry of its own that says nothing of how the document came.
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

/// Nothing where the page does not answer at once.
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
