//! Sessions that have no window: who hibernates, who comes back, and what outlasts the rules.

use std::time::Duration;

use pilotlight_core::{
    Activity, AdoptedShard, Answer, AtCapacity, FailureKind, HoldId, Input, Isolation, LaunchKey, Limits,
    PersistedSession, Refusal, Session, SessionId, ShardId, SignInStatus, State, WindowLoss,
};

use crate::scene::{SECOND, Scene, failure};

fn hibernating(max_live: usize) -> Limits {
    Limits { max_live, at_capacity: AtCapacity::Hibernate, ..Limits::default() }
}

/// Sessions 1 to `count`, each used a second after the one before.
fn crowd(limits: Limits, count: u128) -> Scene {
    let mut scene = Scene::new(limits);
    for number in 1..=count {
        scene.create(number, |_| ()).unwrap().unwrap();
        scene.wait(SECOND);
    }
    scene
}

#[test]
fn on_a_full_machine_the_least_recently_used_one_hibernates_and_comes_back_when_it_is_asked_for() {
    let mut scene = crowd(hibernating(3), 3);
    scene.create(4, |_| ()).unwrap().unwrap();
    assert_eq!(scene.state(1), State::Hibernated);
    assert_eq!((2..=4).filter(|number| scene.state(*number) == State::Ready).count(), 3);
    scene.wait(SECOND);
    scene.hold(1, 60 * SECOND, true).unwrap().unwrap();
    assert_eq!((scene.state(1), scene.state(2)), (State::Ready, State::Hibernated));
    assert_eq!(scene.times(Activity::SignIn), 0, "nobody had to sign in");
}

#[test]
fn neither_the_held_nor_the_never_terminated_hibernate_for_a_newcomer() {
    let mut scene = Scene::new(hibernating(2));
    scene.create(1, |spec| spec.policy.never_terminate = true);
    scene.create(2, |_| ());
    scene.hold(2, 3600 * SECOND, true).unwrap().unwrap();
    assert_eq!(scene.create(3, |_| ()), None);
    scene.wait(31 * SECOND);
    assert!(matches!(scene.answers.last(), Some((_, Err(Refusal::AtCapacity { .. })))));
    assert_eq!((scene.state(1), scene.state(2)), (State::Ready, State::Ready));
}

#[test]
fn a_thousand_sessions_live_on_two_windows() {
    let mut scene = crowd(hibernating(2), 1000);
    for number in [1, 500, 999, 2, 1] {
        scene.hold(number, SECOND, true).unwrap().unwrap();
        scene.wait(2 * SECOND);
        assert_eq!(scene.state(number), State::Ready);
    }
    let cold = (1..=1000).filter(|number| scene.state(*number) == State::Hibernated).count();
    assert_eq!(cold, 998);
}

#[test]
fn whoever_is_left_alone_for_long_enough_hibernates() {
    let limits = Limits { hibernate_after: Some(120 * SECOND), ..Limits::default() };
    let mut scene = crowd(limits, 2);
    scene.hold(2, 600 * SECOND, true).unwrap().unwrap();
    scene.wait(121 * SECOND);
    assert_eq!((scene.state(1), scene.state(2)), (State::Hibernated, State::Ready));
    scene.wait(600 * SECOND);
    assert_eq!(scene.state(2), State::Hibernated);
}

#[test]
fn a_window_whose_state_cannot_be_written_down_stays() {
    let mut scene = crowd(hibernating(2), 2);
    scene.save = Box::new(|| Err(failure(FailureKind::Browser)));
    assert_eq!(scene.create(3, |_| ()), None);
    assert_eq!((scene.state(1), scene.state(2)), (State::Ready, State::Ready));
    scene.save = Box::new(|| Ok(()));
    scene.wait(11 * SECOND);
    assert_eq!((scene.state(1), scene.state(3)), (State::Hibernated, State::Ready));
}

#[test]
fn a_client_sends_a_session_to_sleep_and_wakes_it() {
    let mut scene = crowd(Limits::default(), 1);
    for _ in 0..2 {
        let request = scene.request();
        scene.step(Input::Hibernate { request, session: SessionId(1) });
        assert!(matches!(scene.answer(request), Some(Ok(Answer::Session { .. }))));
        assert_eq!(scene.state(1), State::Hibernated);
    }
    let request = scene.request();
    scene.step(Input::Wake { request, session: SessionId(1) });
    assert!(matches!(scene.answer(request), Some(Ok(Answer::Session { is_new: false, .. }))));
    assert_eq!(scene.state(1), State::Ready);
    scene.hold(1, 60 * SECOND, true).unwrap().unwrap();
    let request = scene.request();
    scene.step(Input::Hibernate { request, session: SessionId(1) });
    assert_eq!(scene.answer(request), Some(Err(Refusal::InUse)));
}

#[test]
fn an_equal_request_wakes_a_cold_session() {
    let mut scene = crowd(Limits::default(), 1);
    let request = scene.request();
    scene.step(Input::Hibernate { request, session: SessionId(1) });
    let again = scene.create(2, |spec| spec.identity = Some(1));
    assert_eq!(again, Some(Ok(Answer::Session { session: SessionId(1), is_new: false })));
    assert_eq!(scene.state(1), State::Ready);
}

#[test]
fn a_change_is_written_down_within_ten_seconds_even_while_somebody_holds_the_session() {
    let mut scene = crowd(Limits::default(), 1);
    scene.hold(1, 3600 * SECOND, true).unwrap().unwrap();
    scene.wait(60 * SECOND);
    let before = scene.saves;
    scene.step(Input::WindowChanged { session: SessionId(1) });
    scene.wait(10 * SECOND);
    assert_eq!(scene.saves, before + 1);
    scene.wait(200 * SECOND);
    assert_eq!(scene.saves, before + 1, "nothing changed since");
}

#[test]
fn a_refused_sign_in_is_not_repeated_by_waking() {
    let mut scene = crowd(Limits::default(), 1);
    scene.outcome = Box::new(|activity| match activity {
        Activity::SignIn => Err(failure(FailureKind::Rejected)),
        _ => Ok(SignInStatus::SignedOut),
    });
    scene.wait(301 * SECOND);
    assert_eq!((scene.state(1), scene.times(Activity::SignIn)), (State::NeedsAttention, 1));
    for _ in 0..3 {
        let request = scene.request();
        scene.step(Input::Hibernate { request, session: SessionId(1) });
        let request = scene.request();
        scene.step(Input::Wake { request, session: SessionId(1) });
        assert_eq!(scene.state(1), State::NeedsAttention);
    }
    assert_eq!(scene.times(Activity::SignIn), 1, "it could lock the account");
}

#[test]
fn a_page_that_hangs_is_loaded_again_but_not_while_somebody_uses_it() {
    let mut scene = crowd(Limits::default(), 1);
    let shard = scene.shards[0];
    scene.hold(1, 60 * SECOND, true).unwrap().unwrap();
    scene.step(Input::WindowLost { session: SessionId(1), shard, loss: WindowLoss::Hung });
    assert_eq!(scene.times(Activity::Repair), 0);
    scene.wait(61 * SECOND);
    scene.step(Input::WindowLost { session: SessionId(1), shard, loss: WindowLoss::Hung });
    assert_eq!((scene.times(Activity::Repair), scene.state(1)), (1, State::Ready));
}

#[test]
fn a_page_that_hangs_is_mended_once_however_often_it_is_told_meanwhile() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| ()).unwrap().unwrap();
    scene.silent = true;
    let shard = scene.shards[0];
    for _ in 0..6 {
        scene.step(Input::WindowLost { session: SessionId(1), shard, loss: WindowLoss::Hung });
        scene.wait(SECOND);
    }
    assert_eq!((scene.times(Activity::Repair), scene.state(1)), (1, State::Recovering));
}

#[test]
fn a_browser_that_is_too_old_gives_its_idle_windows_up_one_after_the_other() {
    let limits = Limits { browser_max_age: 3600 * SECOND, ..Limits::default() };
    let mut scene = crowd(limits, 3);
    scene.hold(3, 7000 * SECOND, true).unwrap().unwrap();
    scene.wait(3700 * SECOND);
    let at = |scene: &Scene, number| scene.rules.session(SessionId(number)).unwrap().shard().unwrap();
    assert_eq!(scene.shards.len(), 2);
    assert_eq!(
        (at(&scene, 1), at(&scene, 2), at(&scene, 3)),
        (scene.shards[1], scene.shards[1], scene.shards[0])
    );
    scene.wait(3500 * SECOND);
    assert_ne!(at(&scene, 3), scene.shards[0], "once it was given back, it was moved too");
    assert_eq!(scene.times(Activity::SignIn), 0);
}

#[test]
fn draining_waits_for_holds_and_lets_nothing_begin() {
    let mut scene = crowd(Limits::default(), 2);
    scene.hold(2, 30 * SECOND, true).unwrap().unwrap();
    let drain = scene.request();
    scene.step(Input::Drain { request: drain, timeout: 60 * SECOND });
    assert_eq!((scene.state(1), scene.state(2)), (State::Hibernated, State::Ready));
    assert_eq!(scene.create(3, |_| ()), Some(Err(Refusal::Draining)));
    assert_eq!(scene.hold(1, SECOND, true), Some(Err(Refusal::Draining)));
    scene.wait(31 * SECOND);
    assert_eq!((scene.answer(drain), scene.state(2)), (Some(Ok(Answer::Done)), State::Hibernated));
}

/// What the sessions of a scene are written down as.
fn kept(scene: &Scene) -> Vec<PersistedSession> {
    scene.rules.living().filter_map(Session::persisted).collect()
}

#[test]
fn windows_that_outlast_the_rules_are_kept_with_their_holds() {
    let mut before = crowd(Limits::default(), 2);
    before.hold(2, 600 * SECOND, false).unwrap().unwrap();
    let mut after = Scene::new(Limits::default());
    after.now = before.now;
    let shard = ShardId(7);
    after.step(Input::Resume {
        sessions: kept(&before),
        shards: vec![AdoptedShard {
            id: shard,
            launch: LaunchKey(1),
            isolation: Isolation::Shared,
            since: after.now,
            outdated: false,
        }],
        windows: vec![(SessionId(1), shard), (SessionId(2), shard)],
    });
    assert_eq!((after.state(1), after.state(2)), (State::Ready, State::Ready));
    assert_eq!(after.times(Activity::Visit), 0, "nothing is loaded anew");
    assert_eq!(after.hold(2, SECOND, true), Some(Err(Refusal::InUse)));
    assert_eq!(after.create(3, |_| ()), Some(Ok(Answer::Session { session: SessionId(3), is_new: true })));
    assert!(after.shards.is_empty(), "there was room in the browser that was taken over");
}

#[test]
fn of_sessions_that_lost_their_windows_as_many_come_back_as_there_are_places() {
    let mut before = crowd(Limits::default(), 5);
    let patch = pilotlight_core::PolicyPatch { never_terminate: Some(true), ..Default::default() };
    let request = before.request();
    before.step(Input::Patch { request, session: SessionId(1), patch });
    let mut after = Scene::new(hibernating(2));
    after.now = before.now;
    after.step(Input::Resume { sessions: kept(&before), shards: Vec::new(), windows: Vec::new() });
    let ready: Vec<u128> = (1..=5).filter(|number| after.state(*number) == State::Ready).collect();
    assert_eq!(ready, [1, 5], "the one that never terminates, and the most recently used");
    assert_eq!((2..=4).filter(|number| after.state(*number) == State::Hibernated).count(), 3);
    after.hold(3, SECOND, true).unwrap().unwrap();
    assert_eq!(after.state(3), State::Ready);
}

/// Windows 1 to 3 in one browser, of which the first holds up the others; `before` comes before that.
fn unruly(before: impl Fn(&mut Scene)) -> (Scene, ShardId) {
    let mut scene = crowd(Limits::default(), 3);
    let shared = scene.rules.session(SessionId(1)).unwrap().shard().unwrap();
    assert_eq!(scene.rules.session(SessionId(2)).unwrap().shard(), Some(shared));
    before(&mut scene);
    scene.step(Input::HeldOthersUp { session: SessionId(1), shard: shared });
    (scene, shared)
}

fn shard_of(scene: &Scene, number: u128) -> Option<ShardId> {
    scene.rules.session(SessionId(number)).and_then(Session::shard)
}

#[test]
fn one_that_holds_others_up_gets_a_browser_of_its_own_and_stays_in_it() {
    let (mut scene, shared) = unruly(|_| ());
    let own = shard_of(&scene, 1).unwrap();
    assert_ne!(own, shared);
    assert_eq!((scene.state(1), scene.saves > 0), (State::Ready, true));
    scene.create(4, |_| ()).unwrap().unwrap();
    assert_eq!([2, 3, 4].map(|number| shard_of(&scene, number)), [Some(shared); 3]);
    assert_eq!(scene.times(Activity::SignIn), 0);
    for order in [
        Input::Hibernate { request: scene.request(), session: SessionId(1) },
        Input::Wake { request: scene.request(), session: SessionId(1) },
    ] {
        scene.step(order);
    }
    assert!(![Some(shared), None].contains(&shard_of(&scene, 1)));
    // In a browser of its own it holds nobody up.
    let (own, saves) = (shard_of(&scene, 1).unwrap(), scene.saves);
    scene.step(Input::HeldOthersUp { session: SessionId(1), shard: own });
    assert_eq!((shard_of(&scene, 1), scene.saves), (Some(own), saves));
}

#[test]
fn one_that_holds_others_up_is_not_taken_from_who_holds_it_and_new_uses_wait() {
    let (mut scene, shared) = unruly(|scene| drop(scene.hold(1, 60 * SECOND, true)));
    assert_eq!(shard_of(&scene, 1), Some(shared));
    let request = scene.request();
    scene.step(Input::BeginUse { request, session: SessionId(1) });
    assert_eq!(scene.answer(request), Some(Ok(Answer::MayUse)), "its holder goes on");
    scene.step(Input::EndUse { session: SessionId(1) });
    scene.wait(61 * SECOND);
    assert_ne!(shard_of(&scene, 1), Some(shared));

    let (mut scene, shared) = unruly(|scene| {
        let request = scene.request();
        scene.step(Input::BeginUse { request, session: SessionId(1) });
    });
    let request = scene.request();
    scene.step(Input::BeginUse { request, session: SessionId(1) });
    assert_eq!((scene.answer(request), shard_of(&scene, 1)), (None, Some(shared)), "it waits its turn");
    scene.step(Input::EndUse { session: SessionId(1) });
    assert_ne!(shard_of(&scene, 1), Some(shared));
    assert_eq!(scene.answer(request), Some(Ok(Answer::MayUse)));
}

#[test]
fn clients_that_come_one_after_the_other_do_not_keep_one_that_holds_others_up() {
    let (mut scene, shared) = unruly(|scene| drop(scene.hold(1, 60 * SECOND, true)));
    let newcomer = |scene: &mut Scene, number| {
        let (request, hold) = (scene.request(), HoldId(number));
        let ttl = Duration::from_secs(60);
        scene.step(Input::Hold { request, session: SessionId(1), hold, ttl, shared: true, quiet: false });
        request
    };
    let first = newcomer(&mut scene, 1001);
    assert_eq!(scene.answer(first), None, "it comes after those who are there");
    // They may stay, and then nobody waits for that without end.
    scene.wait(11 * SECOND);
    assert!(matches!(scene.answer(first), Some(Ok(Answer::Hold { .. }))));
    assert_eq!(shard_of(&scene, 1), Some(shared));
    let second = newcomer(&mut scene, 1002);
    assert_eq!((scene.answer(second), shard_of(&scene, 1)), (None, Some(shared)));
    let holds = scene.rules.session(SessionId(1)).unwrap().holds.clone();
    for hold in holds {
        let request = scene.request();
        scene.step(Input::ReleaseHold { request, session: SessionId(1), hold: hold.id });
    }
    assert!(matches!(scene.answer(second), Some(Ok(Answer::Hold { .. }))));
    assert_ne!(shard_of(&scene, 1), Some(shared));
}

#[test]
fn new_uses_of_one_that_is_to_move_out_do_not_wait_for_a_use_without_end() {
    let (mut scene, shared) = unruly(|scene| {
        let request = scene.request();
        scene.step(Input::BeginUse { request, session: SessionId(1) });
    });
    let request = scene.request();
    scene.step(Input::BeginUse { request, session: SessionId(1) });
    scene.wait(9 * SECOND);
    assert_eq!(scene.answer(request), None);
    scene.wait(2 * SECOND);
    assert_eq!((scene.answer(request), shard_of(&scene, 1)), (Some(Ok(Answer::MayUse)), Some(shared)));
    for _ in 0..2 {
        scene.step(Input::EndUse { session: SessionId(1) });
    }
    assert_ne!(shard_of(&scene, 1), Some(shared));
}

#[test]
fn one_that_needs_a_person_does_not_move_out_under_that_person() {
    let (mut scene, shared) = unruly(|scene| {
        scene.outcome = Box::new(|_| Ok(SignInStatus::PersonNeeded("a captcha".to_owned())));
        scene.wait(301 * SECOND);
        assert_eq!(scene.state(1), State::NeedsAttention);
    });
    assert_eq!(shard_of(&scene, 1), Some(shared));
    scene.outcome = Box::new(|_| Ok(SignInStatus::SignedIn));
    scene.wait(61 * SECOND);
    assert_eq!(scene.state(1), State::Ready);
    assert_ne!(shard_of(&scene, 1), Some(shared));
}

#[test]
fn one_that_holds_others_up_keeps_what_cannot_be_written_down() {
    let (mut scene, shared) = unruly(|scene| scene.save = Box::new(|| Err(failure(FailureKind::Browser))));
    assert_eq!((scene.state(1), shard_of(&scene, 1)), (State::Ready, Some(shared)));
    // With its page lost there is nothing left to keep.
    scene.step(Input::HeldOthersUp { session: SessionId(1), shard: shared });
    scene.hold(1, 60 * SECOND, true).unwrap().unwrap();
    scene.step(Input::WindowLost { session: SessionId(1), shard: shared, loss: WindowLoss::Crashed });
    assert_eq!(scene.state(1), State::Ready);
    assert_ne!(shard_of(&scene, 1), Some(shared));
}

#[test]
fn who_hibernates_while_it_recovers_holds_up_no_window_that_is_to_move() {
    let mut scene = crowd(Limits { browser_max_age: 86_400 * SECOND, ..Limits::default() }, 2);
    let shard = scene.rules.session(SessionId(1)).and_then(Session::shard).unwrap();
    scene.outcome = Box::new(|_| Err(failure(FailureKind::Unreachable)));
    scene.step(Input::WindowLost { session: SessionId(1), shard, loss: WindowLoss::Gone });
    assert_eq!(scene.state(1), State::Recovering);
    let request = scene.request();
    scene.step(Input::Hibernate { request, session: SessionId(1) });
    assert_eq!(scene.state(1), State::Hibernated);
    scene.outcome = Box::new(|_| Ok(SignInStatus::SignedIn));
    scene.step(Input::ShardGrown { shard });
    scene.wait(120 * SECOND);
    assert_eq!(scene.state(2), State::Ready);
    assert_ne!(scene.rules.session(SessionId(2)).and_then(Session::shard), Some(shard), "it did not move");
}
