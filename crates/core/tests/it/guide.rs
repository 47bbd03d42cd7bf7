//! What the guide asks for: who gets in, who must go, who is refreshed and signed in again.

use std::time::Duration;

use pilotlight_core::{
    AccountId, Activity, Answer, AtCapacity, EndedReason, FailureKind, Input, Limits, PolicyPatch, Refusal,
    RequestId, SessionId, SignInStatus, State, WindowLoss,
};

use crate::scene::{SECOND, Scene, failure, few};

#[test]
fn a_kept_session_never_expires_and_another_one_does() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| ());
    scene.create(2, |spec| spec.policy.keep_alive = false);
    scene.wait(1799 * SECOND);
    assert_eq!(scene.ended(2), None);
    scene.wait(2 * SECOND);
    assert_eq!(scene.ended(2), Some(EndedReason::IdleTimeout));
    scene.wait(24 * 3600 * SECOND);
    assert_eq!(scene.state(1), State::Ready);
}

#[test]
fn a_ping_keeps_a_session_from_expiring() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |spec| spec.policy.keep_alive = false);
    for _ in 0..5 {
        scene.wait(1000 * SECOND);
        let request = scene.request();
        scene.step(Input::Ping { request, session: SessionId(1) });
        assert!(scene.answer(request).unwrap().is_ok());
    }
    assert_eq!(scene.state(1), State::Ready);
}

#[test]
fn equal_requests_are_one_session_and_one_sign_in() {
    let mut scene = Scene::new(Limits::default());
    scene.outcome = Box::new(|activity| match activity {
        Activity::Visit => Ok(SignInStatus::SignedOut),
        _ => Ok(SignInStatus::SignedIn),
    });
    let first = scene.create(1, |_| ());
    assert_eq!(first, Some(Ok(Answer::Session { session: SessionId(1), is_new: true })));
    for number in 2..10 {
        let again = scene.create(number, |spec| {
            spec.identity = Some(1);
            spec.access.account = Some(AccountId(1));
        });
        assert_eq!(again, Some(Ok(Answer::Session { session: SessionId(1), is_new: false })));
    }
    assert_eq!(scene.times(Activity::SignIn), 1);
}

#[test]
fn it_is_refreshed_when_its_interval_is_over_but_not_while_held() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| ());
    scene.wait(600 * SECOND);
    let refreshed = scene.times(Activity::Refresh);
    assert!(refreshed >= 1);
    scene.hold(1, 3600 * SECOND, false).unwrap().unwrap();
    scene.wait(3000 * SECOND);
    assert_eq!(scene.times(Activity::Refresh), refreshed);
    scene.wait(1200 * SECOND);
    assert!(scene.times(Activity::Refresh) > refreshed, "the hold ran out");
}

#[test]
fn an_interval_shorter_than_the_check_is_kept_too() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |spec| spec.policy.own_refresh = Some(Some(5 * SECOND)));
    scene.wait(60 * SECOND);
    assert!((10..=12).contains(&scene.times(Activity::Refresh)), "{}", scene.times(Activity::Refresh));
}

#[test]
fn never_means_never() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |spec| spec.policy.own_refresh = Some(None));
    scene.create(2, |spec| spec.policy.never_terminate = true);
    scene.create(3, |spec| spec.policy.keep_alive = false);
    scene.wait(1700 * SECOND);
    assert_eq!(scene.times(Activity::Refresh), 0);
}

#[test]
fn a_failed_refresh_is_tried_again_then_signed_in_again_then_a_person_is_asked() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| ());
    scene.outcome = Box::new(|activity| match activity {
        Activity::SignIn => Err(failure(FailureKind::Rejected)),
        _ => Err(failure(FailureKind::Unreachable)),
    });
    scene.wait(1000 * SECOND);
    assert_eq!(scene.times(Activity::Refresh), 3);
    assert_eq!(scene.times(Activity::SignIn), 1, "a refused password is not tried twice");
    assert_eq!(scene.state(1), State::NeedsAttention);
    scene.outcome = Box::new(|_| Ok(SignInStatus::SignedIn));
    scene.wait(61 * SECOND);
    assert_eq!(scene.state(1), State::Ready, "a person has signed it in");
}

#[test]
fn a_portal_that_is_down_for_a_day_costs_nobody_a_session() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| ());
    scene.outcome = Box::new(|_| Err(failure(FailureKind::Unreachable)));
    scene.wait(24 * 3600 * SECOND);
    assert_eq!(scene.state(1), State::NeedsAttention);
    scene.outcome = Box::new(|_| Ok(SignInStatus::SignedIn));
    scene.wait(300 * SECOND);
    assert_eq!(scene.state(1), State::Ready);
}

#[test]
fn a_full_machine_ends_the_least_recently_used_one_that_nothing_protects() {
    let mut scene = Scene::new(few(5));
    for number in 1..=5 {
        scene.create(number, |_| ());
        scene.wait(SECOND);
    }
    let patch = PolicyPatch { never_terminate: Some(true), ..PolicyPatch::default() };
    let request = scene.request();
    scene.step(Input::Patch { request, session: SessionId(1), patch });
    scene.hold(2, 600 * SECOND, true).unwrap().unwrap();
    let request = scene.request();
    scene.step(Input::Ping { request, session: SessionId(3) });
    scene.create(6, |_| ()).unwrap().unwrap();
    assert_eq!(scene.ended(4), Some(EndedReason::Evicted));
    assert_eq!((1..=6).filter(|number| scene.state(*number) == State::Ready).count(), 5);
}

#[test]
fn with_everybody_protected_the_newcomer_waits_and_is_refused() {
    let mut scene = Scene::new(few(2));
    scene.create(1, |spec| spec.policy.never_terminate = true);
    scene.create(2, |_| ());
    scene.hold(2, 3600 * SECOND, true).unwrap().unwrap();
    assert_eq!(scene.create(3, |_| ()), None);
    let request = RequestId(scene.next);
    scene.wait(29 * SECOND);
    assert_eq!(scene.answer(request), None);
    scene.wait(2 * SECOND);
    assert!(matches!(scene.answer(request), Some(Err(Refusal::AtCapacity { .. }))));
}

#[test]
fn a_place_that_comes_free_goes_to_who_waits() {
    let mut scene = Scene::new(Limits { max_live: 1, at_capacity: AtCapacity::Reject, ..Limits::default() });
    scene.create(1, |_| ());
    assert_eq!(scene.create(2, |_| ()), None, "nobody is evicted where rejecting was chosen");
    let (waiting, request) = (RequestId(scene.next), scene.request());
    scene.step(Input::Close { request, session: SessionId(1) });
    assert_eq!(scene.answer(waiting), Some(Ok(Answer::Session { session: SessionId(2), is_new: true })));
}

#[test]
fn a_refused_first_sign_in_leaves_nothing_behind() {
    let mut scene = Scene::new(Limits::default());
    scene.outcome = Box::new(|activity| match activity {
        Activity::Visit => Ok(SignInStatus::SignedOut),
        _ => Err(failure(FailureKind::Rejected)),
    });
    let answer = scene.create(1, |spec| spec.policy.never_terminate = true);
    assert_eq!(answer, Some(Err(Refusal::Failed(failure(FailureKind::Rejected)))));
    assert_eq!(scene.rules.living().count(), 0);
}

#[test]
fn a_browser_that_died_is_started_again_and_its_sessions_come_back() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| ());
    scene.create(2, |spec| spec.policy.never_terminate = true);
    scene.wait(60 * SECOND);
    let shard = scene.shards[0];
    scene.step(Input::ShardEnded { shard, failure: Some(failure(FailureKind::Browser)) });
    scene.wait(SECOND);
    assert_eq!((scene.state(1), scene.state(2)), (State::Ready, State::Ready));
    assert_eq!(scene.shards.len(), 2);
}

#[test]
fn a_browser_that_keeps_dying_is_told_and_tried_ever_more_slowly() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| ());
    let mut waits = Vec::new();
    for _ in 0..6 {
        let (died_at, shards) = (scene.now, scene.shards.len());
        let shard = *scene.shards.last().unwrap();
        scene.step(Input::ShardEnded { shard, failure: Some(failure(FailureKind::Browser)) });
        let told = scene.state(1);
        while scene.shards.len() == shards {
            scene.wait(SECOND);
        }
        waits.push((scene.now.since(died_at), told));
    }
    assert_eq!(waits[0].1, State::Recovering);
    assert_eq!(waits[5].1, State::NeedsAttention);
    assert!(waits[5].0 > 8 * waits[0].0, "{waits:?}");
    assert_eq!(scene.state(1), State::Ready, "it stands as soon as a browser does");
}

#[test]
fn a_crashed_page_is_loaded_again_in_its_window() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| ());
    let shard = scene.shards[0];
    scene.step(Input::WindowLost { session: SessionId(1), shard, loss: WindowLoss::Crashed });
    assert_eq!(scene.times(Activity::Repair), 1);
    assert_eq!(scene.state(1), State::Ready);
}

#[test]
fn a_page_that_crashes_again_and_again_is_told_and_tried_ever_more_slowly() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| ());
    let mut waits = Vec::new();
    for _ in 0..6 {
        let (crashed_at, repaired) = (scene.now, scene.times(Activity::Repair));
        let shard = scene.shards[0];
        scene.step(Input::WindowLost { session: SessionId(1), shard, loss: WindowLoss::Crashed });
        let told = scene.state(1);
        while scene.times(Activity::Repair) == repaired {
            scene.wait(SECOND);
        }
        waits.push((scene.now.since(crashed_at), told));
    }
    assert_eq!(waits[0].0, Duration::ZERO);
    assert!(waits[5].0 > 4 * waits[1].0, "{waits:?}");
    assert_eq!(waits[5].1, State::NeedsAttention);
}

#[test]
fn a_page_that_crashes_while_it_is_first_loaded_is_given_up() {
    let mut scene = Scene::new(Limits::default());
    scene.silent = true;
    assert_eq!(scene.create(1, |_| ()), None);
    let request = RequestId(scene.next);
    for _ in 0..20 {
        let shard = scene.shards[0];
        scene.step(Input::WindowLost { session: SessionId(1), shard, loss: WindowLoss::Crashed });
        scene.wait(60 * SECOND);
    }
    assert!(matches!(scene.answer(request), Some(Err(Refusal::Failed(_)))));
    assert_eq!(scene.rules.living().count(), 0);
}

#[test]
fn holds_exclude_each_other_unless_both_are_shared() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| ());
    scene.hold(1, 10 * SECOND, true).unwrap().unwrap();
    scene.hold(1, 10 * SECOND, true).unwrap().unwrap();
    assert_eq!(scene.hold(1, 10 * SECOND, false), Some(Err(Refusal::InUse)));
    scene.wait(11 * SECOND);
    scene.hold(1, 10 * SECOND, false).unwrap().unwrap();
    assert_eq!(scene.hold(1, 10 * SECOND, true), Some(Err(Refusal::InUse)));
    let request = scene.request();
    scene.step(Input::RefreshNow { request, session: SessionId(1) });
    assert_eq!(scene.answer(request), Some(Err(Refusal::InUse)));
}

#[test]
fn who_has_ended_is_remembered_for_an_hour() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| ());
    let request = scene.request();
    scene.step(Input::Close { request, session: SessionId(1) });
    scene.wait(3599 * SECOND);
    let request = scene.request();
    scene.step(Input::Ping { request, session: SessionId(1) });
    assert_eq!(scene.answer(request), Some(Err(Refusal::Ended(EndedReason::ClosedByClient))));
    scene.wait(2 * SECOND);
    let request = scene.request();
    scene.step(Input::Ping { request, session: SessionId(1) });
    assert_eq!(scene.answer(request), Some(Err(Refusal::NotFound)));
}

#[test]
fn a_window_whose_last_page_was_closed_is_kept_and_shows_its_page_again() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| ());
    scene.wait(3600 * SECOND);
    let shard = scene.shards[0];
    scene.step(Input::WindowLost { session: SessionId(1), shard, loss: WindowLoss::Emptied });
    assert_eq!((scene.times(Activity::Reopen), scene.times(Activity::Visit)), (1, 1), "nothing is restored");
    assert_eq!(
        (scene.state(1), scene.rules.session(SessionId(1)).unwrap().shard()),
        (State::Ready, Some(shard))
    );
    // Where the window is gone as well, its checkpoint is all there is.
    scene.step(Input::WindowLost { session: SessionId(1), shard, loss: WindowLoss::Gone });
    scene.wait(10 * SECOND);
    assert_eq!((scene.times(Activity::Reopen), scene.times(Activity::Visit)), (1, 2));
}

#[test]
fn a_held_window_whose_last_page_was_closed_is_left_to_its_holder() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| ());
    let shard = scene.shards[0];
    let hold = match scene.hold(1, 60 * SECOND, true) {
        Some(Ok(Answer::Hold { hold, .. })) => hold,
        other => panic!("{other:?}"),
    };
    for _ in 0..3 {
        scene.step(Input::WindowLost { session: SessionId(1), shard, loss: WindowLoss::Emptied });
        scene.wait(5 * SECOND);
    }
    assert_eq!((scene.times(Activity::Reopen), scene.state(1)), (0, State::Ready), "the holder goes on");
    assert!(matches!(scene.hold(1, 5 * SECOND, true), Some(Ok(Answer::Hold { .. }))), "others may share it");
    let request = scene.request();
    scene.step(Input::ReleaseHold { request, session: SessionId(1), hold });
    scene.wait(10 * SECOND);
    assert_eq!((scene.times(Activity::Reopen), scene.times(Activity::Visit)), (1, 1));
    assert_eq!(scene.state(1), State::Ready);
}

#[test]
fn a_page_that_closes_itself_again_and_again_is_shown_ever_later() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| ());
    let shard = scene.shards[0];
    let mut last = 0;
    for round in 0..8 {
        scene.step(Input::WindowLost { session: SessionId(1), shard, loss: WindowLoss::Emptied });
        scene.wait(SECOND / 2);
        last = scene.times(Activity::Reopen);
        assert!(last <= round + 1);
    }
    assert!(last < 8, "it is tried at once each time");
    assert_eq!(scene.ended(1), None);
}
