//! Invariants 1 to 6 of the rules, over a million steps of seeded misfortune.
//!
//! A failure names its seed; `PILOTLIGHT_SIMULATION_SEED=<seed> cargo test -p pilotlight-testkit simulation`
//! runs that one again. Seeds that once failed are kept in `seeds.txt`.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use pilotlight_testkit::simulation::{Kept, Report, run, run_keep, run_operations, run_outage};

const RUNS: u64 = 100;
const STEPS: u64 = 10_000;
const KEPT: &str = include_str!("seeds.txt");

#[test]
fn seeds_that_once_failed_pass() {
    let lines = KEPT.lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        let seed = line.split_whitespace().next().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| panic!("each line of seeds.txt begins with a seed: {line}"));
        run(seed, STEPS).unwrap_or_else(|sentence| panic!("{sentence} (kept for: {line})"));
    }
}

#[test]
fn invariants_hold_over_a_million_steps() {
    let (first, runs) = match std::env::var("PILOTLIGHT_SIMULATION_SEED") {
        Ok(seed) => (seed.parse().expect("PILOTLIGHT_SIMULATION_SEED is a number"), 1),
        Err(_) => (RandomState::new().hash_one("first seed") >> 16, RUNS),
    };
    println!("seeds {first} to {}", first + runs - 1);
    let mut total = Report::default();
    for seed in first..first + runs {
        let report = run(seed, STEPS).unwrap_or_else(|sentence| {
            panic!("{sentence}\nkeep this seed in crates/testkit/tests/seeds.txt")
        });
        total.add(&report);
    }
    println!("{} steps: {:#?}", total.steps, total.seen);
    if runs == RUNS {
        assert!(total.steps >= 1_000_000);
        for what in EXPECTED {
            assert!(total.seen.contains_key(*what), "the simulation never saw: {what}");
        }
    }
}

#[test]
fn after_an_outage_all_come_back_soon_and_none_signs_in_more_often_than_it_must() {
    let first = RandomState::new().hash_one("first seed") >> 16;
    println!("seeds {first} to {}", first + 99);
    // A minute at most until somebody looks for the portal, then a few rounds of four at once.
    let limit = Duration::from_secs(60 + 45);
    for seed in first..first + 100 {
        for span in [20, 120, 3_600].map(Duration::from_secs) {
            let outage = run_outage(seed, span).unwrap_or_else(|sentence| panic!("{sentence}"));
            assert!(outage.back_after <= limit, "seed {seed}, away for {span:?}: {outage:?}");
            assert_eq!(outage.sign_ins, 2, "seed {seed}, away for {span:?}");
        }
    }
}

#[test]
fn operations_begin_no_phase_twice_and_end() {
    let first = RandomState::new().hash_one("first seed") >> 16;
    println!("seeds {first} to {}", first + 1999);
    let mut endings = std::collections::BTreeSet::new();
    for seed in first..first + 2000 {
        endings.insert(run_operations(seed).unwrap_or_else(|sentence| panic!("{sentence}")));
    }
    assert_eq!(endings.len(), 6, "not every ending was seen: {endings:?}");
}

/// Windows for a tenth of all sessions, and clients that come and go.
#[test]
fn whoever_can_be_refreshed_in_time_is_never_signed_out() {
    let first = RandomState::new().hash_one("first seed") >> 16;
    let mut total = Kept::default();
    let mut seed = first;
    while total.steps < 1_000_000 {
        let kept =
            run_keep(seed, Duration::from_secs(12 * 3600)).unwrap_or_else(|sentence| panic!("{sentence}"));
        assert_eq!(kept.signed_out, 0, "seed {seed}: {kept:?}");
        total.steps += kept.steps;
        total.asleep += kept.asleep;
        total.taken_over += kept.taken_over;
        total.documents_in_vain += kept.documents_in_vain;
        total.beside += kept.beside;
        seed += 1;
    }
    println!("seeds {first} to {}: {total:?}", seed - 1);
    assert!(total.asleep > 0 && total.taken_over > 0 && total.beside > 0, "{total:?}");
    assert!(total.documents_in_vain > 0, "{total:?}");
}

/// A simulation in which these never happen proves nothing.
const EXPECTED: &[&str] = &[
    "session had",
    "turned away",
    "name of another",
    "password renewed",
    "hold granted",
    "HoldExpired",
    "refreshed or restarted on request",
    "SignIn begun",
    "Refresh begun",
    "refreshed beside its page",
    "Repair begun",
    "Look begun",
    "LoadDocument begun",
    "SignInFailed",
    "RefreshFailed",
    "WindowLost",
    "PageHung",
    "LastPageClosed",
    "Reopen begun",
    "Hibernating",
    "refreshed while it hibernates",
    "asked about a page that looks signed out",
    "taken over from its refresh",
    "Moving",
    "parted",
    "Waking",
    "frozen",
    "frozen beside its clients",
    "a silent client went on",
    "memory was short",
    "thawed",
    "pages ended",
    "SaveFailed",
    "server died",
    "the disk is full",
    "taken back",
    "access changed",
    "ended: ClosedByClient",
    "ended: IdleTimeout",
    "ended: Evicted",
    "ended: SignInFailed",
    "ended: StartFailed",
];

#[test]
fn equal_seeds_give_equal_runs() {
    assert_eq!(run(42, 2_000), run(42, 2_000));
}
