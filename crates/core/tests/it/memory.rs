//! The memory budget: who gets colder, how far, and who never does.

use pilotlight_core::{
    Activity, FailureKind, Input, Limits, Memory, Refusal, SessionId, SignInStatus, State, WindowLoss,
};

use crate::scene::{SECOND, Scene, failure};

const RUNNING: u64 = 100;
const FROZEN: u64 = 25;
/// What browsers take beside their windows.
const BROWSERS: u64 = 50;

/// Sessions 1 to `count`, each used a second after the one before, all of them running.
fn crowd(count: u128) -> Scene {
    let mut scene = Scene::new(Limits { max_live: 100, ..Limits::default() });
    for number in 1..=count {
        scene.create(number, |_| ()).unwrap().unwrap();
        scene.wait(SECOND);
    }
    scene
}

/// What there is by now is measured.
fn measure(scene: &mut Scene, budget_bytes: u64) {
    let weight = |state: State| match state {
        State::Hibernated | State::Ended => 0,
        State::Frozen => FROZEN,
        _ => RUNNING,
    };
    let used_bytes = BROWSERS + scene.rules.living().map(|session| weight(session.state())).sum::<u64>();
    measure_windows(scene, used_bytes, budget_bytes, &[]);
}

/// The same where it is known what these windows take; one alone may take half of the budget.
fn measure_windows(scene: &mut Scene, used_bytes: u64, budget_bytes: u64, windows: &[(u128, u64)]) {
    let memory = Memory {
        used_bytes,
        budget_bytes,
        window_bytes: budget_bytes / 2,
        running_bytes: RUNNING,
        frozen_bytes: FROZEN,
    };
    let windows = windows.iter().map(|(number, bytes)| (SessionId(*number), *bytes)).collect();
    scene.step(Input::Measured { memory, windows });
}

fn states(scene: &Scene, numbers: std::ops::RangeInclusive<u128>) -> Vec<State> {
    numbers.map(|number| scene.state(number)).collect()
}

fn count(scene: &Scene, state: State) -> usize {
    scene.rules.living().filter(|session| session.state() == state).count()
}

#[test]
fn within_the_budget_nobody_gets_colder() {
    let mut scene = crowd(9);
    measure(&mut scene, 1_000);
    assert_eq!(count(&scene, State::Ready), 9, "950 of 1000 are taken");
}

#[test]
fn as_many_freeze_as_it_takes_the_least_recently_used_first() {
    let mut scene = crowd(10);
    measure(&mut scene, 1_000);
    // 1050 are taken; each that freezes gives 75, and 850 is low enough.
    assert_eq!(states(&scene, 1..=4), [State::Frozen, State::Frozen, State::Frozen, State::Ready]);
    assert_eq!(count(&scene, State::Ready), 7);
    let why = &scene.rules.session(SessionId(1)).unwrap();
    assert_eq!(why.state(), State::Frozen);
    for _ in 0..100 {
        scene.wait(2 * SECOND);
        measure(&mut scene, 1_000);
    }
    assert_eq!((scene.freezes, scene.thaws), (3, 0), "nothing goes to and fro");
}

#[test]
fn where_freezing_is_not_enough_the_frozen_hibernate() {
    let mut scene = crowd(10);
    measure(&mut scene, 250);
    assert_eq!(count(&scene, State::Ready), 0);
    // 50 and 6 times 25 are 200, and 212 is low enough.
    assert_eq!((count(&scene, State::Frozen), count(&scene, State::Hibernated)), (6, 4));
    assert_eq!((scene.state(4), scene.state(5)), (State::Hibernated, State::Frozen));
}

#[test]
fn the_held_and_the_just_used_stay_and_the_never_terminated_at_most_freeze() {
    let mut scene = crowd(1);
    scene.create(2, |spec| spec.policy.never_terminate = true).unwrap().unwrap();
    scene.create(3, |spec| spec.freezes = false).unwrap().unwrap();
    scene.hold(1, 600 * SECOND, true).unwrap().unwrap();
    scene.wait(2 * SECOND);
    scene.create(4, |_| ()).unwrap().unwrap();
    measure(&mut scene, 100);
    let expected = [State::Ready, State::Frozen, State::Hibernated, State::Ready];
    assert_eq!(states(&scene, 1..=4), expected);
    scene.wait(2 * SECOND);
    measure(&mut scene, 100);
    assert_eq!((scene.state(1), scene.state(4)), (State::Ready, State::Hibernated));
    assert_eq!((scene.freezes, scene.state(2)), (2, State::Frozen));
}

#[test]
fn a_newcomer_is_made_room_for_before_it_comes() {
    let mut scene = crowd(8);
    scene.wait(2 * SECOND);
    measure(&mut scene, 900);
    assert_eq!(count(&scene, State::Ready), 8, "850 of 900 are taken");
    scene.create(9, |_| ()).unwrap().unwrap();
    assert_eq!(count(&scene, State::Frozen), 3, "950 were foreseen, 765 is low enough");
    // Measured or not, the next ones are reckoned with.
    for number in 10..=60 {
        scene.wait(2 * SECOND);
        scene.create(number, |_| ()).unwrap().unwrap();
        let taken = BROWSERS
            + RUNNING * u64::try_from(count(&scene, State::Ready)).unwrap()
            + FROZEN * u64::try_from(count(&scene, State::Frozen)).unwrap();
        assert!(taken <= 900, "{taken} with {number} sessions");
    }
    assert!(count(&scene, State::Hibernated) > 20);
}

#[test]
fn whom_nobody_can_make_room_for_waits_and_is_refused_and_the_first_one_always_fits() {
    let mut scene = crowd(1);
    scene.hold(1, 600 * SECOND, true).unwrap().unwrap();
    measure(&mut scene, 100);
    assert_eq!(scene.create(2, |_| ()), None);
    scene.wait(31 * SECOND);
    assert!(matches!(scene.answers.last(), Some((_, Err(Refusal::AtCapacity { .. })))));

    let mut scene = crowd(0);
    measure(&mut scene, 1);
    scene.create(1, |_| ()).unwrap().unwrap();
}

#[test]
fn whoever_is_wanted_comes_back_at_the_cost_of_others() {
    let mut scene = crowd(20);
    scene.wait(2 * SECOND);
    measure(&mut scene, 400);
    let cold = count(&scene, State::Hibernated);
    assert!(cold > 5, "{cold}");
    for number in 1..=20 {
        scene.hold(number, SECOND, true).unwrap().unwrap();
        assert_eq!(scene.state(number), State::Ready);
        scene.wait(3 * SECOND);
        measure(&mut scene, 400);
    }
    assert_eq!(scene.rules.living().count(), 20);
}

#[test]
fn a_window_that_takes_more_than_one_may_has_its_pages_ended_even_while_it_is_held_and_nobody_else_goes() {
    let mut scene = crowd(4);
    scene.hold(4, 600 * SECOND, true).unwrap().unwrap();
    scene.wait(2 * SECOND);
    let all = [(1, RUNNING), (2, RUNNING), (3, RUNNING), (4, 700)];
    measure_windows(&mut scene, BROWSERS + 1_000, 1_000, &all);
    assert_eq!(scene.ended_pages, [SessionId(4)]);
    assert_eq!(states(&scene, 1..=4), [State::Ready; 4], "it was loaded again");
    assert_eq!((scene.freezes, scene.times(Activity::Repair)), (0, 1));
    assert!(scene.rules.session(SessionId(4)).unwrap().in_use(), "its client still has it");
    measure(&mut scene, 1_000);
    assert_eq!((scene.ended_pages.len(), scene.freezes), (1, 0));
}

#[test]
fn where_memory_is_short_whoever_takes_far_more_than_a_fair_share_goes_first() {
    let mut scene = crowd(5);
    scene.wait(2 * SECOND);
    // 170 are a fair share of 850. The one that was used last takes more than two of them.
    let all = [(1, RUNNING), (2, RUNNING), (3, RUNNING), (4, RUNNING), (5, 480)];
    measure_windows(&mut scene, BROWSERS + 880 + 100, 1_000, &all);
    let expected = [State::Ready, State::Ready, State::Ready, State::Ready, State::Hibernated];
    assert_eq!((states(&scene, 1..=5), scene.freezes), (expected.to_vec(), 0));
    // Where nobody takes that much, the least recently used goes first, large or not.
    let mut scene = crowd(5);
    scene.wait(2 * SECOND);
    let all = [(1, RUNNING), (2, RUNNING), (3, RUNNING), (4, RUNNING), (5, 300)];
    measure_windows(&mut scene, BROWSERS + 700 + 230, 1_000, &all);
    assert_eq!(states(&scene, 1..=2), [State::Frozen, State::Frozen]);
    assert_eq!((scene.freezes, scene.state(5)), (2, State::Ready));
}

#[test]
fn where_all_are_large_nobody_is_greedy() {
    let mut scene = crowd(5);
    scene.wait(2 * SECOND);
    let all: Vec<_> = (1..=5).map(|number| (number, 400)).collect();
    measure_windows(&mut scene, BROWSERS + 2_000, 1_000, &all);
    let expected = [State::Frozen, State::Frozen, State::Frozen, State::Frozen, State::Ready];
    assert_eq!(states(&scene, 1..=5), expected, "the least recently used first");
}

#[test]
fn a_window_whose_page_cannot_be_mended_is_given_up_for_another_one() {
    let mut scene = crowd(1);
    scene.outcome = Box::new(|activity| match activity {
        Activity::Repair => Err(failure(FailureKind::Browser)),
        _ => Ok(SignInStatus::SignedIn),
    });
    let shard = scene.shards[0];
    scene.step(Input::WindowLost { session: SessionId(1), shard, loss: WindowLoss::Hung });
    scene.wait(60 * SECOND);
    assert_eq!(scene.state(1), State::Ready);
    assert_eq!((scene.times(Activity::Repair), scene.times(Activity::Visit)), (3, 2));
}
