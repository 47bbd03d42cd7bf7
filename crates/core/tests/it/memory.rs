//! The memory budget: who gets colder, how far, and who never does.

use pilotlight_core::{Input, Limits, Memory, Refusal, SessionId, State};

use crate::scene::{SECOND, Scene};

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
    let memory = Memory { used_bytes, budget_bytes, running_bytes: RUNNING, frozen_bytes: FROZEN };
    scene.step(Input::Measured { memory });
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
