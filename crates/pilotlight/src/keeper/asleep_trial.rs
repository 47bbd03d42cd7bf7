//! How the hibernated sessions of a site can be refreshed: each way is tried with the state of a session that has just
//! signed in.

use std::time::Duration;

use pilotlight_api::RefreshHow;
use pilotlight_checkpoint::Checkpoint;
use pilotlight_chromium::{Browser, Window, WindowOptions};
use pilotlight_core::{Activity, Failure, SignInStatus};
use pilotlight_linux::{processor_time_with_children, trees};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::session_target::{ActivityObserver, SessionTarget, is_content, of_window};
use super::suspicion::KnownBefore;
use crate::clock::Clock;

/// The name of the site in the trial's browser.
const BARE_FOR: &str = "trial";

/// One way of refreshing a hibernated session, tried once or several times.
#[derive(Debug)]
pub struct TriedRefresh {
    /// Whether the session was found signed in each time, or why that is not known.
    pub outcome: Result<bool, Failure>,
    /// How long a refresh took on average, with opening the window.
    pub took: Duration,
    /// The processor time of the browser for a refresh, on average.
    pub processor_time: Duration,
}

/// Both ways, tried.
#[derive(Debug)]
pub struct AsleepTrial {
    /// `asleep = "window"`.
    pub window: TriedRefresh,
    /// `asleep = "document"`.
    pub document: TriedRefresh,
    /// The same document without the session's cookies. Found signed in, it tells nothing.
    pub without_cookies: TriedRefresh,
}

/// What follows from a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recommendation {
    /// `asleep = "document"`.
    Document,
    /// `asleep = "window"`: the document does not show that the session is signed in.
    DocumentDoesNotShow,
    /// `asleep = "window"`: the document looks signed in to everybody.
    DocumentLooksTheSame,
    /// Neither shows that the session is signed in.
    Neither,
}

impl AsleepTrial {
    /// Returns what follows for the site.
    pub fn recommendation(&self) -> Recommendation {
        let shows = |tried: &TriedRefresh| matches!(tried.outcome, Ok(true));
        match (shows(&self.document), &self.without_cookies.outcome, shows(&self.window)) {
            (true, Ok(false), _) => Recommendation::Document,
            (true, _, true) => Recommendation::DocumentLooksTheSame,
            (false, _, true) => Recommendation::DocumentDoesNotShow,
            (_, _, false) => Recommendation::Neither,
        }
    }
}

/// Tries each way `times` times with the state of `signed_in`, each time in a window of its own.
///
/// # Errors
/// If that state cannot be captured, so that nothing can be tried.
pub(super) async fn try_asleep(
    browser: &Browser,
    options: &WindowOptions,
    target: &SessionTarget,
    signed_in: &Window,
    observer: &impl ActivityObserver,
    times: u32,
) -> Result<AsleepTrial, Failure> {
    let mut state = signed_in.capture(Clock::start().now().0).await.map_err(of_window)?;
    let how = target.site.as_ref().map(|site| site.definition.refresh.how);
    let in_window: &[Activity] = match how {
        Some(RefreshHow::Reload) | None => &[Activity::Visit],
        Some(RefreshHow::Visit | RefreshHow::Request | RefreshHow::Flow) => {
            &[Activity::Visit, Activity::Refresh]
        }
    };
    let trial = Trial { browser, options, target, observer, times: times.max(1) };
    let window = trial.refresh(in_window, &mut state).await;
    let document = trial.refresh(&[Activity::LoadDocument], &mut state).await;
    state.cookies.clear();
    let without_cookies = trial.refresh(&[Activity::LoadDocument], &mut state).await;
    Ok(AsleepTrial { window, document, without_cookies })
}

struct Trial<'a, O> {
    browser: &'a Browser,
    options: &'a WindowOptions,
    target: &'a SessionTarget,
    observer: &'a O,
    times: u32,
}

impl<O: ActivityObserver> Trial<'_, O> {
    /// Refreshes with `state` as often as the trial says. The portal may change the state each time.
    async fn refresh(&self, activities: &[Activity], state: &mut Checkpoint) -> TriedRefresh {
        let (began, time_before) = (Instant::now(), self.processor_time().await);
        let (mut outcome, mut tries) = (Ok(true), 0);
        for _ in 0..self.times {
            tries += 1;
            outcome = self.refresh_once(activities, state).await;
            if !matches!(outcome, Ok(true)) {
                break;
            }
        }
        let tries = tries.max(1);
        let took = began.elapsed() / tries;
        let processor_time = self.processor_time().await.saturating_sub(time_before) / tries;
        TriedRefresh { outcome, took, processor_time }
    }

    async fn refresh_once(&self, activities: &[Activity], state: &mut Checkpoint) -> Result<bool, Failure> {
        // As sessions that hibernate have them: used one after the other.
        let bare_for = (activities == [Activity::LoadDocument]).then(|| BARE_FOR.to_owned());
        let options = WindowOptions { bare_for, ..self.options.clone() };
        let window = self.browser.open_window(options).await.map_err(of_window)?;
        let known = KnownBefore { is_asleep: true, ..KnownBefore::default() };
        let mut outcome = Ok(SignInStatus::SignedOut);
        for activity in activities {
            outcome = self.target.perform(*activity, &window, Some(&*state), &known, self.observer).await;
            if !outcome.as_ref().is_ok_and(is_content) {
                break;
            }
        }
        // Those of somebody who is signed out are of no use for the next try.
        let is_signed_in = outcome.as_ref().is_ok_and(is_content);
        if is_signed_in && let Ok(cookies) = window.cookies().await {
            state.cookies = cookies;
        }
        drop(window.close().await);
        outcome.map(|_| is_signed_in)
    }

    /// The processor time of all processes of the browser, with those that have ended.
    async fn processor_time(&self) -> Duration {
        let pid = self.browser.pid();
        let measure =
            move || trees(&[pid]).concat().into_iter().filter_map(processor_time_with_children).sum();
        spawn_blocking(measure).await.unwrap_or_default()
    }
}

impl std::fmt::Display for Recommendation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Document => {
                "asleep = \"document\": the document alone shows whether the session is signed in"
            }
            Self::DocumentDoesNotShow => {
                "asleep = \"window\": the document alone does not show that the session is signed in"
            }
            Self::DocumentLooksTheSame => {
                "asleep = \"window\": the document alone looks signed in without the session's cookies, too"
            }
            Self::Neither => {
                "none: a hibernated session would be signed in again each time; check the site's `signed_in`"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use pilotlight_core::FailureKind;

    use super::*;

    fn tried(outcome: Result<bool, FailureKind>) -> TriedRefresh {
        let failure = |kind| Failure { kind, sentence: "no answer".to_owned() };
        TriedRefresh {
            outcome: outcome.map_err(failure),
            took: Duration::ZERO,
            processor_time: Duration::ZERO,
        }
    }

    #[test]
    fn a_document_is_recommended_only_if_it_tells_who_is_signed_in() {
        use Recommendation::{Document, DocumentDoesNotShow, DocumentLooksTheSame, Neither};
        let down = Err(FailureKind::Unreachable);
        for (window, document, without_cookies, recommended) in [
            (Ok(true), Ok(true), Ok(false), Document),
            (Ok(false), Ok(true), Ok(false), Document),
            (Ok(true), Ok(true), Ok(true), DocumentLooksTheSame),
            (Ok(true), Ok(true), down, DocumentLooksTheSame),
            (Ok(true), Ok(false), Ok(false), DocumentDoesNotShow),
            (Ok(true), down, Ok(false), DocumentDoesNotShow),
            (Ok(false), Ok(true), Ok(true), Neither),
            (down, down, down, Neither),
        ] {
            let trial = AsleepTrial {
                window: tried(window),
                document: tried(document),
                without_cookies: tried(without_cookies),
            };
            assert_eq!(trial.recommendation(), recommended, "{trial:?}");
        }
    }
}
