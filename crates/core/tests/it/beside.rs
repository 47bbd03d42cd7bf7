//! Sessions that are refreshed beside the page that somebody uses.

use pilotlight_core::{
    Activity, Answer, AsleepRefresh, FailureKind, HoldId, Input, Limits, RequestId, SessionId, SignInStatus,
    Spec, State, Ticket, WindowLoss,
};

use crate::scene::{SECOND, Scene, failure, few};

const ID: SessionId = SessionId(1);

/// One session that is refreshed every 300 seconds and is held for the next hour.
fn held() -> Scene {
    let mut scene = Scene::freezing(Limits::default());
    scene.create(1, |_| {});
    assert!(matches!(scene.hold(1, 3600 * SECOND, true), Some(Ok(Answer::Hold { .. }))));
    scene.begun.clear();
    scene
}

fn begun(scene: &Scene) -> Vec<Activity> {
    scene.begun.iter().map(|(_, activity)| *activity).collect()
}

#[test]
fn what_is_held_is_refreshed_beside_its_page_on_its_interval() {
    let mut scene = held();
    scene.wait(305 * SECOND);
    assert_eq!((begun(&scene), scene.refreshed_beside.len()), (vec![], 1));
    scene.wait(1500 * SECOND);
    assert_eq!((begun(&scene), scene.refreshed_beside.len()), (vec![], 6));
    let session = scene.rules.session(ID).unwrap();
    assert!(session.last_refresh.is_some_and(|at| scene.now.since(at) <= 300 * SECOND), "{session:?}");
    assert_eq!(session.state(), State::Ready);
}

#[test]
fn nobody_waits_for_a_refresh_beside_the_page() {
    let mut scene = held();
    scene.silent = true;
    scene.wait(305 * SECOND);
    assert_eq!(scene.refreshed_beside, [ID]);
    assert!(matches!(scene.hold(1, SECOND, true), Some(Ok(Answer::Hold { .. }))), "another client came");
    let saves = scene.saves;
    scene.step(Input::WindowChanged { session: ID });
    scene.wait(60 * SECOND);
    assert_eq!(scene.saves, saves + 1, "what changes in the page is saved meanwhile");
    assert_eq!(scene.refreshed_beside, [ID], "one at a time");
}

#[test]
fn a_quiet_hold_is_left_alone() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| {});
    let (request, hold) = (scene.request(), HoldId(7));
    let ttl = 3600 * SECOND;
    scene.step(Input::Hold { request, session: ID, hold, ttl, shared: false, quiet: true });
    scene.begun.clear();
    scene.wait(3000 * SECOND);
    assert_eq!((begun(&scene), scene.refreshed_beside.len()), (vec![], 0));
    let request = scene.request();
    scene.step(Input::ReleaseHold { request, session: ID, hold });
    scene.wait(SECOND);
    assert_eq!(begun(&scene), [Activity::Refresh]);
}

#[test]
fn what_seems_signed_out_beside_its_page_is_judged_in_it_once_that_is_free() {
    for outcome in [
        Ok(SignInStatus::SignedOut),
        Ok(SignInStatus::PersonNeeded("a captcha".to_owned())),
        Err(failure(FailureKind::Unexpected)),
        Err(failure(FailureKind::Unreachable)),
    ] {
        let mut scene = held();
        scene.beside = outcome.clone();
        scene.wait(3000 * SECOND);
        assert!(scene.refreshed_beside.len() > 2 && scene.begun.is_empty(), "{:?}", scene.begun);
        let session = scene.rules.session(ID).unwrap();
        assert_eq!((session.state(), &session.attention), (State::Ready, &None), "{outcome:?}: {session:?}");
        // The hold runs out.
        scene.wait(1200 * SECOND);
        assert_eq!(scene.begun.first(), Some(&(ID, Activity::Refresh)), "{outcome:?}");
        assert_eq!(scene.times(Activity::SignIn), 0, "{outcome:?}");
    }
}

#[test]
fn a_page_that_is_lost_is_brought_back_at_once_though_its_session_is_refreshed_beside_it() {
    let mut scene = held();
    scene.silent = true;
    scene.wait(305 * SECOND);
    let shard = scene.rules.session(ID).and_then(pilotlight_core::Session::shard).unwrap();
    scene.silent = false;
    scene.step(Input::WindowLost { session: ID, shard, loss: WindowLoss::Crashed });
    scene.wait(SECOND);
    assert_eq!(begun(&scene), [Activity::Repair]);
    let (_, ticket) = scene.unanswered.pop().unwrap();
    scene.step(Input::RefreshedBeside { session: ID, ticket, outcome: Ok(SignInStatus::SignedOut) });
    assert_eq!((scene.state(1), scene.times(Activity::SignIn)), (State::Ready, 0));
}

#[test]
fn a_look_at_a_page_is_no_refresh_since_its_portal_does_not_hear_of_it() {
    let mut scene = Scene::new(Limits { asleep_windows: 1, ..few(1) });
    let asleep = |spec: &mut Spec| spec.asleep = AsleepRefresh::Visit;
    scene.create(1, asleep);
    scene.step(Input::Hibernate { request: RequestId(90), session: ID });
    // A client comes right after its page was loaded for a refresh, and goes.
    scene.save = Box::new(|| Err(failure(FailureKind::Browser)));
    scene.wait(305 * SECOND);
    let refreshed = scene.rules.session(ID).unwrap().last_refresh;
    scene.hold(1, 100 * SECOND, true);
    scene.begun.clear();
    scene.wait(150 * SECOND);
    assert_eq!(begun(&scene), [Activity::Look]);
    assert_eq!(scene.rules.session(ID).unwrap().last_refresh, refreshed);
    scene.wait(160 * SECOND);
    assert_eq!(
        begun(&scene),
        [Activity::Look, Activity::Refresh],
        "its portal has last heard of it 310 s ago"
    );
}

#[test]
fn a_hibernated_session_is_refreshed_while_somebody_waits_for_its_place() {
    let mut scene = Scene::new(Limits { queue_timeout: 3600 * SECOND, asleep_windows: 1, ..few(1) });
    scene.create(1, |spec| spec.asleep = AsleepRefresh::Visit);
    scene.step(Input::Hibernate { request: RequestId(90), session: ID });
    scene.create(2, |spec| spec.policy.never_terminate = true);
    assert_eq!(scene.hold(1, 10 * SECOND, true), None, "there is no place");
    scene.wait(305 * SECOND);
    assert!(scene.rules.session(ID).unwrap().last_refresh.is_some());
}

/// One session whose refresh beside its page does not end, and its ticket; its client has gone since.
fn left_while_refreshed() -> (Scene, Ticket) {
    let mut scene = Scene::freezing(Limits::default());
    scene.create(1, |_| {});
    let (request, hold) = (scene.request(), HoldId(7));
    let ttl = 3600 * SECOND;
    scene.step(Input::Hold { request, session: ID, hold, ttl, shared: true, quiet: false });
    scene.begun.clear();
    scene.silent = true;
    scene.wait(305 * SECOND);
    let (_, ticket) = scene.unanswered.pop().unwrap();
    scene.step(Input::ReleaseHold { request: RequestId(91), session: ID, hold });
    scene.wait(SECOND);
    (scene, ticket)
}

#[test]
fn whoever_has_been_refreshed_beside_its_page_is_not_refreshed_in_it_too() {
    let (mut scene, ticket) = left_while_refreshed();
    assert_eq!(begun(&scene), [], "that is under way");
    scene.step(Input::RefreshedBeside { session: ID, ticket, outcome: Ok(SignInStatus::SignedIn) });
    scene.wait(100 * SECOND);
    assert_eq!(begun(&scene), []);
    let (mut scene, ticket) = left_while_refreshed();
    scene.step(Input::RefreshedBeside { session: ID, ticket, outcome: Ok(SignInStatus::SignedOut) });
    assert_eq!(begun(&scene), [Activity::Refresh], "its own page is to tell");
}

#[test]
fn a_window_does_not_go_before_it_has_what_its_portal_is_about_to_change() {
    let (mut scene, ticket) = left_while_refreshed();
    let request = scene.request();
    scene.step(Input::Hibernate { request, session: ID });
    scene.wait(60 * SECOND);
    assert_eq!((scene.state(1), scene.answer(request)), (State::Ready, None));
    scene.step(Input::RefreshedBeside { session: ID, ticket, outcome: Ok(SignInStatus::SignedIn) });
    scene.wait(SECOND);
    assert_eq!(scene.state(1), State::Hibernated);
}

#[test]
fn whoever_wants_quiet_waits_for_what_the_portal_hears_already() {
    let (mut scene, ticket) = left_while_refreshed();
    let request = scene.request();
    let (hold, ttl) = (HoldId(8), 3600 * SECOND);
    scene.step(Input::Hold { request, session: ID, hold, ttl, shared: false, quiet: true });
    assert_eq!(scene.answer(request), None);
    scene.step(Input::RefreshedBeside { session: ID, ticket, outcome: Ok(SignInStatus::SignedIn) });
    assert!(matches!(scene.answer(request), Some(Ok(Answer::Hold { .. }))));
}

#[test]
fn a_portal_that_was_down_does_not_end_the_refreshes_of_whoever_came_meanwhile() {
    for can_sign_in in [true, false] {
        let mut scene = Scene::new(Limits::default());
        scene.create(1, |spec| spec.access.can_sign_in = can_sign_in);
        scene.outcome = Box::new(|_| Err(failure(FailureKind::Unreachable)));
        scene.wait(if can_sign_in { 310 * SECOND } else { 3600 * SECOND });
        assert!(matches!(scene.hold(1, 36_000 * SECOND, true), Some(Ok(Answer::Hold { .. }))));
        scene.refreshed_beside.clear();
        scene.wait(3600 * SECOND);
        assert!(scene.refreshed_beside.len() >= 10, "{can_sign_in}: {:?}", scene.refreshed_beside);
    }
}
