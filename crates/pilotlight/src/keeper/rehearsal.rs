//! A sign-in outside every session, in a browser of its own: what the keeper does, and each step of it told.
//!
//! Nothing of it stays: neither the browser nor what was typed.

use bytes::Bytes;
use pilotlight_chromium::{Browser, Format, WindowOptions};
use pilotlight_core::{Activity, Failure, FailureKind, Isolation, ShardId, Standing};
use pilotlight_flow::replay::{Event, ReplayError};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::errand::{Errand, Witness};
use super::farm::Farm;
use crate::sentence::with_sources;

/// What is told of a rehearsal while it goes on, and when it was.
#[derive(Debug)]
pub enum Told {
    /// The sign-in's flow tells something.
    Flow(Event, Instant),
    /// It could not go on.
    Stuck(String, Instant),
}

/// How it ended.
#[derive(Debug)]
pub struct Rehearsed {
    /// How the page stands, or what went wrong.
    pub outcome: Result<Standing, Failure>,
    /// What it shows then, as PNG, as far as it can be pictured.
    pub picture: Option<Bytes>,
}

struct Teller {
    told: UnboundedSender<Told>,
    wants_pictures: bool,
}

impl Witness for Teller {
    async fn typing(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn stuck(&self, error: &ReplayError) {
        drop(self.told.send(Told::Stuck(with_sources(error), Instant::now())));
    }

    fn hears(&self, event: Event) {
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
pub async fn rehearse(
    farm: &Farm,
    profile: &str,
    errand: &Errand,
    told: UnboundedSender<Told>,
    wants_pictures: bool,
    stop: &CancellationToken,
) -> Result<Rehearsed, Failure> {
    let missing = || failure(format!("there is no launch profile `{profile}`"));
    let launch = farm.launch(profile).ok_or_else(missing)?;
    let now = Clock::start().now();
    let (browser, mut events) = farm.start(launch, Isolation::Dedicated, ShardId(1), now).await?;
    // Nobody needs to know what it says; the window says enough.
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    let teller = Teller { told, wants_pictures };
    let trying = Box::pin(in_window(&browser, errand, &teller));
    let rehearsed = stop.run_until_cancelled(trying).await;
    browser.close().await;
    rehearsed.unwrap_or_else(|| Err(failure("the sign-in was stopped before its end".to_owned())))
}

async fn in_window(browser: &Browser, errand: &Errand, teller: &Teller) -> Result<Rehearsed, Failure> {
    let opened = browser.open_window(WindowOptions::default()).await;
    let window = opened.map_err(|error| failure(with_sources(&error)))?;
    let mut outcome = errand.perform(Activity::Visit, &window, None, None, teller).await;
    if let Ok(Standing::SignedOut) = outcome {
        outcome = errand.perform(Activity::SignIn, &window, None, None, teller).await;
    }
    let picture = match teller.wants_pictures {
        true => window.screenshot(Format::Png, false).await.ok(),
        false => None,
    };
    Ok(Rehearsed { outcome, picture })
}

fn failure(sentence: String) -> Failure {
    Failure { kind: FailureKind::Browser, sentence }
}
