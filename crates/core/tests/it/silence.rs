//! Clients that are connected and send nothing.

use pilotlight_core::{Answer, HoldId, Input, Limits, Refusal, SessionId, State};

use crate::scene::{SECOND, Scene};

const ID: SessionId = SessionId(1);
const HOLD: HoldId = HoldId(70);

/// One session whose client is connected for the next ten hours and has been silent for two minutes.
fn silent(limits: Limits) -> Scene {
    let mut scene = Scene::freezing(limits);
    scene.create(1, |_| {});
    let request = scene.request();
    let ttl = 36_000 * SECOND;
    scene.step(Input::Hold { request, session: ID, hold: HOLD, ttl, shared: true, quiet: false });
    scene.wait(120 * SECOND);
    assert_eq!((scene.state(1), scene.freezes), (State::Ready, 0), "it may send something at any moment");
    scene.step(Input::PauseHold { session: ID, hold: HOLD, unused_for: 120 * SECOND });
    scene
}

fn resume(scene: &mut Scene) -> Option<Result<Answer, Refusal>> {
    let request = scene.request();
    scene.step(Input::ResumeHold { request, session: ID, hold: HOLD });
    scene.answer(request)
}

#[test]
fn its_window_freezes_and_runs_again_before_it_goes_on() {
    let mut scene = silent(Limits::default());
    scene.wait(10 * SECOND);
    assert_eq!(scene.state(1), State::Frozen);
    let silent_since = scene.rules.session(ID).unwrap().holds[0].silent_since;
    assert_eq!(silent_since.map(|at| scene.now.since(at)), Some(130 * SECOND));
    assert_eq!(resume(&mut scene), Some(Ok(Answer::Done)));
    assert_eq!((scene.state(1), scene.thaws), (State::Ready, 1));
    let session = scene.rules.session(ID).unwrap();
    assert!(session.is_used() && session.last_used == scene.now, "{session:?}");
}

#[test]
fn it_is_refreshed_beside_its_page_and_neither_ends_nor_hibernates() {
    let mut scene = silent(Limits { max_live: 1, hibernate_after: Some(600 * SECOND), ..Limits::default() });
    scene.begun.clear();
    scene.wait(7200 * SECOND);
    assert_eq!(scene.create(2, |_| {}), None, "there is no place for another one");
    assert!(scene.refreshed_beside.len() > 20, "{:?}", scene.refreshed_beside);
    assert_eq!((&*scene.begun, scene.thaws), (&[][..], 0), "nothing is done in its page, which stays frozen");
    assert_eq!((scene.state(1), scene.ended(1)), (State::Frozen, None));
}

#[test]
fn another_client_has_it_run_while_it_is_silent() {
    let mut scene = silent(Limits::default());
    scene.wait(10 * SECOND);
    assert!(matches!(scene.hold(1, 600 * SECOND, true), Some(Ok(Answer::Hold { .. }))));
    scene.wait(500 * SECOND);
    assert_eq!(scene.state(1), State::Ready);
    scene.wait(300 * SECOND);
    assert_eq!(scene.state(1), State::Frozen, "the other one has gone");
}

#[test]
fn who_has_no_hold_any_more_cannot_go_on() {
    let mut scene = silent(Limits::default());
    let request = scene.request();
    scene.step(Input::ReleaseHold { request, session: ID, hold: HOLD });
    assert_eq!(resume(&mut scene), Some(Err(Refusal::HoldNotFound)));
}

#[test]
fn a_silent_client_may_finish_its_work_while_everything_is_put_to_rest() {
    let mut scene = silent(Limits::default());
    let request = scene.request();
    scene.step(Input::Drain { request, timeout: 600 * SECOND });
    assert_eq!(resume(&mut scene), Some(Ok(Answer::Done)));
}

#[test]
fn what_a_silent_client_did_is_over_since_it_fell_silent() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| {});
    let request = scene.request();
    let ttl = 36_000 * SECOND;
    scene.step(Input::Hold { request, session: ID, hold: HOLD, ttl, shared: true, quiet: false });
    let request = scene.request();
    scene.step(Input::BeginUse { request, session: ID });
    let used = scene.rules.session(ID).unwrap().last_used;
    scene.wait(120 * SECOND);
    scene.step(Input::PauseHold { session: ID, hold: HOLD, unused_for: 120 * SECOND });
    scene.step(Input::EndUse { session: ID });
    assert_eq!(scene.rules.session(ID).unwrap().last_used, used);
}
