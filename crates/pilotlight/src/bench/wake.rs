//! The row `wake`: from hibernation to a loaded page that is signed in, against loading that page in a window
//! that is there already. Both end when the page has loaded and was seen to be signed in.

use std::time::Duration;

use indicatif::ProgressBar;
use pilotlight_api::SessionState;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::house::{House, PAUSE};
use super::report::{Line, Samples};
use crate::cli::{Failure, exit_codes};

/// The pages: one on which what is fixed counts most, and one as large as real portals have them. Its script and
/// its pictures are cached in a warm window and gone with a cold one; where they are new each time, neither has
/// them, and what is left is what waking itself takes.
const PAGES: [(&str, &str); 3] =
    [("home page", ""), ("heavy page", "heavy"), ("heavy page, caches empty", "heavy/anew")];
/// What the ratio shall be at most.
const REACH: f64 = 1.3;
/// The user.
const USER: &str = "bench";
/// The condition of the portal's site.
const SIGNED_IN: &str = "document.querySelector('#user') !== null && !location.href.includes('/login')";
/// How often a loaded page is asked whether it is signed in.
const QUESTIONS: usize = 100;

pub(super) fn steps(rounds: u32) -> u64 {
    let pages = u64::try_from(PAGES.len()).unwrap_or(u64::MAX);
    pages.saturating_mul(u64::from(rounds) + 1)
}

pub(super) async fn measure(
    house: &House,
    rounds: u32,
    progress: &ProgressBar,
) -> Result<Vec<Line>, Failure> {
    progress.set_message("signing in");
    let id = house.sign_in(USER).await?;
    let mut lines = Vec::new();
    for (name, path) in PAGES {
        progress.set_message(format!("waking to the {name}, and loading it"));
        let url = format!("{}{path}", house.portal.url());
        let mut wakes = Samples::default();
        let mut loads = Samples::default();
        for round in 0..=rounds {
            let (load, wake) = (load(house, id, &url).await?, wake(house, id, &url).await?);
            // The first of each fills caches, and does not count.
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
    if house.portal.sign_ins(USER) != 1 {
        return Err(Failure::new(exit_codes::FAILED, "a session that was woken had to sign in again"));
    }
    Ok(lines)
}

/// How long the page takes in the window that is there and shows a small page of the same portal: loading it over
/// itself would count the end of the old one.
async fn load(house: &House, id: Uuid, url: &str) -> Result<Duration, Failure> {
    let before = format!("{}appointments", house.portal.url());
    house.order(id, "navigate", &json!({ "url": before })).await?;
    sleep(PAUSE).await;
    let started = Instant::now();
    house.order(id, "navigate", &json!({ "url": url })).await?;
    for _ in 0..QUESTIONS {
        if house.evaluate(id, SIGNED_IN).await? == Value::Bool(true) {
            return Ok(started.elapsed());
        }
    }
    Err(Failure::new(exit_codes::FAILED, format!("{url} does not show that it is signed in")))
}

/// How long a session takes to come back to that page.
async fn wake(house: &House, id: Uuid, url: &str) -> Result<Duration, Failure> {
    house.order(id, "hibernate", &json!({})).await?;
    sleep(PAUSE).await;
    let started = Instant::now();
    let session = house.order(id, "wake", &json!({})).await?;
    let took = started.elapsed();
    if session.state != SessionState::Ready || session.url.as_deref() != Some(url) {
        let sentence = format!("a session came back as {} instead of ready at {url}", session.state);
        return Err(Failure::new(exit_codes::FAILED, sentence));
    }
    Ok(took)
}
