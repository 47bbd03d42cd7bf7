//! Conversations of a client that says anything with a browser that has other windows, by random numbers: whatever
//! comes, no name of theirs goes to the client, and none of theirs goes to the browser in a command that is looked
//! into. Nor does anything of a target that is the browser's own, by its kind or by its address.
//!
//! A failure prints its seed, which `PILOTLIGHT_FUZZ_SEED` repeats. The fuzz target `gateway` has the same
//! conversation, led by coverage.

#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod world;

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use world::World;

/// Messages in one run.
const STEPS: usize = 400;
/// How long conversations go on.
const TIME: Duration = Duration::from_secs(5);

/// How much was said to pages, and how many targets were lost to the browser's own.
fn run(seed: u64) -> (u64, u64) {
    let mut world = World::new(StdRng::seed_from_u64(seed));
    for _ in 0..STEPS {
        world.step();
    }
    (world.said_to_pages, world.lost)
}

#[test]
fn nothing_of_others_goes_through() {
    if let Ok(seed) = std::env::var("PILOTLIGHT_FUZZ_SEED") {
        run(seed.parse().unwrap());
        return;
    }
    let until = Instant::now() + TIME;
    let (mut runs, mut said_to_pages, mut lost) = (0_u64, 0, 0);
    while Instant::now() < until {
        let seed = rand::random();
        let ended = std::panic::catch_unwind(|| run(seed));
        assert!(ended.is_ok(), "PILOTLIGHT_FUZZ_SEED={seed} repeats this");
        let (said, left) = ended.unwrap_or_default();
        said_to_pages += said;
        lost += left;
        runs += 1;
    }
    println!("{runs} runs of {STEPS} messages; {said_to_pages} went to pages; {lost} targets left the web");
    assert!(lost > 0, "no target left the web");
    assert!(said_to_pages > 0, "no page was ever given the protocol");
}
