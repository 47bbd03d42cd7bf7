//! What is ended by force and at random moments: browsers, shims, the server, everything at once.
//!
//! In the ordinary run these tests are short. `make chaos` sets `PILOTLIGHT_CHAOS_SECONDS`, for which each goes
//! on, and runs the ones that are ignored for their length too. Every choice comes from one seed, which is
//! printed and can be set by `PILOTLIGHT_CHAOS_SEED`.

mod bookings;
mod browsers;
mod everything;
mod many;
pub(crate) mod work;

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

/// How long anything may take after violence: those that fail again and again are started ever later.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// Whether there are minutes for it.
pub(crate) fn is_long() -> bool {
    number("PILOTLIGHT_CHAOS_SECONDS").is_some()
}

/// The rounds of a test: so many as are given or, in a long run, as many as fit into its time.
pub(crate) fn rounds(least: usize) -> impl Iterator<Item = usize> {
    let end = Instant::now() + Duration::from_secs(number("PILOTLIGHT_CHAOS_SECONDS").unwrap_or_default());
    (0..).take_while(move |round| *round < least || Instant::now() < end)
}

/// One seeded source of chance.
pub(crate) struct Chance(SmallRng);

impl Chance {
    pub(crate) fn new() -> Self {
        let seed = number("PILOTLIGHT_CHAOS_SEED").unwrap_or_else(rand::random);
        println!("To choose the same again: PILOTLIGHT_CHAOS_SEED={seed}");
        Self(SmallRng::seed_from_u64(seed))
    }

    pub(crate) fn moment(&mut self, longest: Duration) -> Duration {
        self.0.random_range(Duration::ZERO..=longest)
    }

    /// From 0 up to `most`, both possible.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        self.0.random_range(0..=most)
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.0.random()
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.0.random_range(0..from.len())]
    }
}
