//! Windows that stand still: which, when, and who has them run again.

use std::time::Duration;

use pilotlight_core::{Activity, FailureKind, Input, Limits, Refusal, SessionId, SignInStatus, State};

use crate::scene::{SECOND, Scene, failure};

const MINUTE: Duration = Duration::from_secs(60);

/// One session that stands.
fn one() -> Scene {
    let mut scene = Scene::freezing(Limits::default());
    scene.create(1, |_| ()).unwrap().unwrap();
    scene
}

#[test]
fn what_nobody_uses_freezes_once_its_state_is_written_down() {
    let mut scene = one();
    scene.wait(119 * SECOND);
    assert_eq!((scene.state(1), scene.freezes), (State::Ready, 0));
    let saves = scene.saves;
    scene.step(Input::WindowChanged { session: SessionId(1) });
    scene.wait(2 * SECOND);
    assert_eq!((scene.state(1), scene.freezes, scene.saves), (State::Frozen, 1, saves + 1));
}

#[test]
fn whoever_holds_or_uses_it_gets_it_running_and_a_ping_changes_nothing() {
    let mut scene = one();
    scene.wait(3 * MINUTE);
    let request = scene.request();
    scene.step(Input::Ping { request, session: SessionId(1) });
    assert_eq!((scene.state(1), scene.thaws), (State::Frozen, 0));
    scene.hold(1, 10 * MINUTE, true).unwrap().unwrap();
    assert_eq!((scene.state(1), scene.thaws), (State::Ready, 1));
    scene.wait(9 * MINUTE);
    assert_eq!((scene.state(1), scene.freezes), (State::Ready, 1), "a held one never freezes");
    scene.wait(4 * MINUTE);
    assert_eq!((scene.state(1), scene.freezes), (State::Frozen, 2));
}

#[test]
fn one_whose_refresh_is_due_runs_is_refreshed_and_freezes_again() {
    let mut scene = Scene::freezing(Limits { refresh_check: SECOND, ..Limits::default() });
    scene.create(1, |spec| spec.policy.default_refresh = Some(MINUTE)).unwrap().unwrap();
    scene.wait(10 * MINUTE + 30 * SECOND);
    assert_eq!(scene.state(1), State::Frozen);
    assert!(scene.times(Activity::Refresh) >= 9, "{} refreshes", scene.times(Activity::Refresh));
    assert!(scene.freezes >= 8 && scene.freezes == scene.thaws + 1);
}

#[test]
fn by_hand_it_freezes_at_once_unless_somebody_has_it() {
    let mut scene = one();
    let request = scene.request();
    scene.step(Input::Freeze { request, session: SessionId(1) });
    scene.answer(request).unwrap().unwrap();
    assert_eq!(scene.state(1), State::Frozen);
    scene.hold(1, MINUTE, true).unwrap().unwrap();
    let request = scene.request();
    scene.step(Input::Freeze { request, session: SessionId(1) });
    assert_eq!(scene.answer(request), Some(Err(Refusal::InUse)));
    assert_eq!(scene.state(1), State::Ready);
}

#[test]
fn it_hibernates_as_it_stands() {
    let mut scene = one();
    scene.wait(3 * MINUTE);
    let saves = scene.saves;
    let request = scene.request();
    scene.step(Input::Hibernate { request, session: SessionId(1) });
    scene.answer(request).unwrap().unwrap();
    assert_eq!((scene.state(1), scene.thaws, scene.saves), (State::Hibernated, 0, saves));
    let request = scene.request();
    scene.step(Input::Freeze { request, session: SessionId(1) });
    scene.answer(request).unwrap().unwrap();
    assert_eq!(scene.state(1), State::Hibernated, "which is colder still");
}

#[test]
fn what_cannot_be_written_down_or_needs_a_person_runs_on() {
    let mut scene = one();
    scene.save = Box::new(|| Err(failure(FailureKind::Browser)));
    scene.step(Input::WindowChanged { session: SessionId(1) });
    let request = scene.request();
    scene.step(Input::Freeze { request, session: SessionId(1) });
    assert!(matches!(scene.answer(request), Some(Err(Refusal::Failed(_)))));
    scene.wait(3 * MINUTE);
    assert_eq!((scene.state(1), scene.freezes), (State::Ready, 0));
    scene.save = Box::new(|| Ok(()));
    scene.wait(MINUTE);
    assert_eq!(scene.state(1), State::Frozen);

    scene.outcome = Box::new(|_| Ok(SignInStatus::PersonNeeded("a captcha".to_owned())));
    scene.wait(20 * MINUTE);
    assert_eq!(scene.state(1), State::NeedsAttention);

    let mut scene = Scene::freezing(Limits::default());
    scene.create(1, |spec| spec.freezes = false).unwrap().unwrap();
    scene.wait(60 * MINUTE);
    assert_eq!((scene.state(1), scene.freezes), (State::Ready, 0), "its site does not bear it");
}
