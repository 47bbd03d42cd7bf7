//! Trying a sign-in outside of all sessions, in a separate browser, with a report of each step.
//!
//! Nothing of it is kept: neither the browser nor what was typed.

use bytes::Bytes;
use pilotlight_checkpoint::Cookie;
use pilotlight_chromium::{Browser, Format, WindowOptions};
use pilotlight_core::{Activity, Failure, FailureKind, Isolation, ShardId, SignInStatus};
use pilotlight_flow::replay::{Event, ReplayError};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::asleep_trial::{AsleepTrial, try_asleep};
use super::browser_launcher::BrowserLauncher;
use super::session_target::{ActivityObserver, SessionTarget};
use super::suspicion::KnownBefore;
use crate::clock::Clock;
use crate::sentence::with_sources;

/// What is told of a trial while it goes on, and when it was.
#[derive(Debug)]
pub enum Told {
    /// The sign-in's flow tells something.
    Flow(Event, Instant),
    /// It could not go on.
    Stuck(String, Instant),
}

/// How it ended.
#[derive(Debug)]
pub struct TrialOutcome {
    /// How the page stands, or what went wrong.
    pub outcome: Result<SignInStatus, Failure>,
    /// What it shows then, as PNG, as far as it can be pictured.
    pub picture: Option<Bytes>,
    /// How the session can be refreshed while it hibernates, if it is signed in.
    pub asleep: Option<Result<AsleepTrial, Failure>>,
}

/// What a trial is for.
#[derive(Debug, Clone, Copy)]
pub struct TrialOptions {
    /// Whether pictures of the page are wanted.
    pub wants_pictures: bool,
    /// How often each way of refreshing a hibernated session is tried after the sign-in.
    pub refreshes: u32,
}

struct ProgressReporter {
    told: UnboundedSender<Told>,
    wants_pictures: bool,
}

impl ActivityObserver for ProgressReporter {
    async fn typing(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn keep_cookies(&self, _cookies: Vec<Cookie>) -> Result<(), Failure> {
        Ok(())
    }

    fn on_failure(&self, error: &ReplayError) {
        drop(self.told.send(Told::Stuck(with_sources(error), Instant::now())));
    }

    fn on_event(&self, event: Event) {
        drop(self.told.send(Told::Flow(event, Instant::now())));
    }

    fn wants_pictures(&self) -> bool {
        self.wants_pictures
    }
}

/// Signs in once, with the browser of a launch profile, unless told to stop. What is told ends when it does.
///
/// # Errors
/// Why there is no window to sign in.
pub async fn try_sign_in(
    launcher: &BrowserLauncher,
    profile: &str,
    target: &SessionTarget,
    told: UnboundedSender<Told>,
    options: TrialOptions,
    stop: &CancellationToken,
) -> Result<TrialOutcome, Failure> {
    let missing = || failure(format!("there is no launch profile `{profile}`"));
    let launch = launcher.launch(profile).ok_or_else(missing)?;
    let now = Clock::start().now();
    let (browser, mut events) = launcher.start(launch, Isolation::Dedicated, ShardId(1), now).await?;
    // Nobody needs to know what it says; the window says enough.
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    let reporter = ProgressReporter { told, wants_pictures: options.wants_pictures };
    let trying = Box::pin(in_window(&browser, target, &reporter, options.refreshes));
    let outcome = stop.run_until_cancelled(trying).await;
    browser.close().await;
    outcome.unwrap_or_else(|| Err(failure("the sign-in was stopped before its end".to_owned())))
}

async fn in_window(
    browser: &Browser,
    target: &SessionTarget,
    reporter: &ProgressReporter,
    refreshes: u32,
) -> Result<TrialOutcome, Failure> {
    let dialogs = target.site.as_ref().map(|site| site.definition.dialogs.clone()).unwrap_or_default();
    let options = WindowOptions { dialogs: dialogs.into(), ..WindowOptions::default() };
    let opened = browser.open_window(options.clone()).await;
    let window = opened.map_err(|error| failure(with_sources(&error)))?;
    let known = KnownBefore::default();
    let mut outcome = target.perform(Activity::Visit, &window, None, &known, reporter).await;
    if let Ok(SignInStatus::SignedOut) = outcome {
        outcome = target.perform(Activity::SignIn, &window, None, &known, reporter).await;
    }
    let picture = match reporter.wants_pictures {
        true => window.screenshot(Format::Png, false).await.ok(),
        false => None,
    };
    let asleep = match outcome {
        Ok(SignInStatus::SignedIn) => {
            Some(try_asleep(browser, &options, target, &window, reporter, refreshes).await)
        }
        _ => None,
    };
    Ok(TrialOutcome { outcome, picture, asleep })
}

fn failure(sentence: String) -> Failure {
    Failure { kind: FailureKind::Browser, sentence }
}
