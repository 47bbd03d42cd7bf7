//! The benchmark `wake`: waking a hibernated session until its page is loaded and signed in, against loading that
//! page in a live window. Both end when the page has loaded and was found to be signed in.

use std::time::Duration;

use indicatif::ProgressBar;
use pilotlight_api::SessionState;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::fixture::{Fixture, PAUSE};
use super::report::{Line, Samples};
use crate::exit::{self, Failure};

/// The pages: one where fixed costs dominate, and one as large as those of real portals. Its script and images are
/// cached in a live window, but not in a woken one; if they are new at each load, neither has them cached, and the
/// remaining difference is the cost of waking.
const PAGES: [(&str, &str); 3] =
    [("home page", ""), ("heavy page", "heavy"), ("heavy page, caches empty", "heavy/anew")];
/// The target ratio.
const REACH: f64 = 1.3;
/// The user.
const USER: &str = "bench";
/// The condition of the portal's site.
const SIGNED_IN: &str = "document.querySelector('#user') !== null && !location.href.includes('/login')";
/// Interval of checks whether a loaded page is signed in.
const QUESTIONS: usize = 100;

pub(super) fn steps(rounds: u32) -> u64 {
    let pages = u64::try_from(PAGES.len()).unwrap_or(u64::MAX);
    pages.saturating_mul(u64::from(rounds) + 1)
}

pub(super) async fn measure(
    fixture: &Fixture,
    rounds: u32,
    progress: &ProgressBar,
) -> Result<Vec<Line>, Failure> {
    progress.set_message("signing in");
    let id = fixture.sign_in(USER).await?;
    let mut lines = Vec::new();
    for (name, path) in PAGES {
        progress.set_message(format!("waking to the {name}, and loading it"));
        let url = format!("{}{path}", fixture.portal.url());
        let mut wakes = Samples::default();
        let mut loads = Samples::default();
        for round in 0..=rounds {
            let (load, wake) = (load(fixture, id, &url).await?, wake(fixture, id, &url).await?);
            // The first sample of each fills caches and is not counted.
            if round > 0 {
                loads.push_time(load);
                wakes.push_time(wake);
            }
            progress.inc(1);
        }
        lines.push(Line {
            row: "wake",
            case: name.to_owned(),
            measured: wakes.of("hibernated, until loaded and signed in", "ms"),
            baseline: Some(loads.of("loaded in a warm window", "ms")),
            reach: REACH,
        });
    }
    if fixture.portal.sign_ins(USER) != 1 {
        return Err(Failure::new(exit::FAILED, "a woken session had to sign in again"));
    }
    Ok(lines)
}

/// Returns how long the page takes in a live window that shows a small page of the same portal: loading it over
/// itself would include unloading the old one.
async fn load(fixture: &Fixture, id: Uuid, url: &str) -> Result<Duration, Failure> {
    let before = format!("{}appointments", fixture.portal.url());
    fixture.order(id, "navigate", &json!({ "url": before })).await?;
    sleep(PAUSE).await;
    let started = Instant::now();
    fixture.order(id, "navigate", &json!({ "url": url })).await?;
    for _ in 0..QUESTIONS {
        if fixture.evaluate(id, SIGNED_IN).await? == Value::Bool(true) {
            return Ok(started.elapsed());
        }
    }
    Err(Failure::new(exit::FAILED, format!("{url} does not show that the session is signed in")))
}

/// Returns how long a session takes to be woken with that page.
async fn wake(fixture: &Fixture, id: Uuid, url: &str) -> Result<Duration, Failure> {
    fixture.order(id, "hibernate", &json!({})).await?;
    sleep(PAUSE).await;
    let started = Instant::now();
    let session = fixture.order(id, "wake", &json!({})).await?;
    let took = started.elapsed();
    if session.state != SessionState::Ready || session.url.as_deref() != Some(url) {
        let message = format!("a woken session was in state {} at {url} instead of ready", session.state);
        return Err(Failure::new(exit::FAILED, message));
    }
    Ok(took)
}
