//! Hibernated sessions are kept signed in.

use std::collections::BTreeSet;

use pilotlight_core::{
    Activity, Answer, AsleepRefresh, FailureKind, Input, Limits, RefreshKind, SessionId, SignInStatus,
    SiteId, Spec, State, WindowLoss,
};

use crate::scene::{SECOND, Scene, failure};

const EVERY: std::time::Duration = std::time::Duration::from_secs(60);

/// Sessions 1 to `count` that are refreshed each minute, of which `max_live` have a window.
fn crowd(count: u128, max_live: usize, asleep: AsleepRefresh) -> Scene {
    let mut scene = Scene::new(Limits { max_live, ..Limits::default() });
    for number in 1..=count {
        scene.create(number, |spec| refreshed(spec, asleep)).unwrap().unwrap();
    }
    scene
}

fn refreshed(spec: &mut Spec, asleep: AsleepRefresh) {
    spec.asleep = asleep;
    spec.policy.default_refresh = Some(EVERY);
}

/// What was begun in the window of a session since the last time this was asked.
fn begun(scene: &mut Scene, number: u128) -> Vec<Activity> {
    let begun = std::mem::take(&mut scene.begun);
    begun.into_iter().filter(|(id, _)| *id == SessionId(number)).map(|(_, activity)| activity).collect()
}

#[test]
fn a_hibernated_session_is_refreshed_on_its_interval_and_stays_hibernated() {
    let mut scene = crowd(2, 1, AsleepRefresh::Visit);
    let saves = scene.saves;
    begun(&mut scene, 1);
    for _ in 0..10 {
        scene.wait(EVERY + SECOND);
        assert_eq!(scene.state(1), State::Hibernated);
        assert_eq!(begun(&mut scene, 1), [Activity::Visit], "once each time");
    }
    assert!(scene.saves >= saves + 10, "what the portal changed is written down");
    let session = scene.rules.session(SessionId(1)).unwrap();
    assert!(session.last_refresh.unwrap() + EVERY + SECOND >= scene.now);
    assert_eq!(scene.state(2), State::Ready, "nobody went for it");
}

#[test]
fn where_loading_the_page_is_not_enough_the_sites_way_comes_after_it() {
    let mut scene = crowd(2, 1, AsleepRefresh::VisitAndRefresh);
    begun(&mut scene, 1);
    scene.wait(EVERY + SECOND);
    assert_eq!(begun(&mut scene, 1), [Activity::Visit, Activity::Refresh]);
    assert_eq!(scene.state(1), State::Hibernated);
}

#[test]
fn whoever_is_not_to_be_refreshed_is_left_alone() {
    let mut scene = crowd(2, 1, AsleepRefresh::Never);
    scene.create(3, |spec| {
        refreshed(spec, AsleepRefresh::Visit);
        spec.policy.own_refresh = Some(None);
    });
    scene.create(4, |spec| refreshed(spec, AsleepRefresh::Visit));
    // It hibernates by hand alone.
    scene.create(5, |spec| {
        refreshed(spec, AsleepRefresh::Visit);
        spec.policy.never_terminate = true;
    });
    let request = scene.request();
    scene.step(Input::Hibernate { request, session: SessionId(5) });
    scene.create(6, |spec| refreshed(spec, AsleepRefresh::Never));
    scene.begun.clear();
    scene.wait(10 * EVERY);
    let visited: BTreeSet<u128> = scene.begun.iter().map(|(id, _)| id.0).filter(|id| *id != 6).collect();
    assert_eq!(visited, BTreeSet::from([4]));
}

#[test]
fn as_many_windows_as_the_limit_says_are_enough_for_many_sessions() {
    let mut scene = crowd(200, 2, AsleepRefresh::Visit);
    scene.wait(EVERY + SECOND);
    begun(&mut scene, 0);
    scene.wait(EVERY + SECOND);
    for number in 1..=198 {
        assert_eq!(scene.state(number), State::Hibernated);
    }
    // A world that answers at once is in time for all of them.
    let oldest = (1..=200).filter_map(|number| scene.rules.session(SessionId(number)).unwrap().last_refresh);
    assert!(oldest.min().unwrap() + EVERY + SECOND >= scene.now);
}

#[test]
fn whoever_was_signed_out_is_signed_in_again_once() {
    let mut scene = crowd(2, 1, AsleepRefresh::Visit);
    begun(&mut scene, 1);
    scene.outcome = Box::new(|activity| match activity {
        Activity::Visit => Ok(SignInStatus::SignedOut),
        _ => Ok(SignInStatus::SignedIn),
    });
    scene.wait(EVERY + SECOND);
    assert_eq!(begun(&mut scene, 1), [Activity::Visit, Activity::SignIn]);
    assert_eq!(scene.state(1), State::Hibernated);
}

#[test]
fn a_refused_password_is_typed_once_and_waits_for_a_person() {
    let mut scene = crowd(2, 1, AsleepRefresh::Visit);
    begun(&mut scene, 1);
    scene.outcome = Box::new(|activity| match activity {
        Activity::Visit => Ok(SignInStatus::SignedOut),
        _ => Err(failure(FailureKind::Rejected)),
    });
    scene.wait(20 * EVERY);
    assert_eq!(begun(&mut scene, 1), [Activity::Visit, Activity::SignIn]);
    assert_eq!(scene.state(1), State::Hibernated);
    assert!(scene.rules.session(SessionId(1)).unwrap().attention.is_some());
}

#[test]
fn a_portal_that_is_down_is_tried_again_and_nobody_is_told_to_act() {
    let mut scene = crowd(2, 1, AsleepRefresh::Visit);
    scene.outcome = Box::new(|_| Err(failure(FailureKind::Unreachable)));
    scene.wait(60 * EVERY);
    assert_eq!(scene.state(1), State::Hibernated);
    scene.outcome = Box::new(|_| Ok(SignInStatus::SignedIn));
    begun(&mut scene, 1);
    scene.wait(EVERY + SECOND);
    assert!(!begun(&mut scene, 1).is_empty(), "it is tried at least once a minute");
    let session = scene.rules.session(SessionId(1)).unwrap();
    assert!(session.attention.is_none() && session.last_refresh.unwrap() + EVERY >= scene.now);
}

#[test]
fn quiet_sites_are_left_alone() {
    let mut scene = crowd(2, 1, AsleepRefresh::Visit);
    let site = SiteId(2);
    scene.create(3, |spec| {
        refreshed(spec, AsleepRefresh::Visit);
        spec.site = Some(site);
    });
    scene.create(4, |spec| refreshed(spec, AsleepRefresh::Visit));
    scene.step(Input::Quiet { sites: BTreeSet::from([site]) });
    begun(&mut scene, 3);
    scene.wait(5 * EVERY);
    assert_eq!(begun(&mut scene, 3), []);
    scene.step(Input::Quiet { sites: BTreeSet::new() });
    scene.wait(SECOND);
    assert_eq!(begun(&mut scene, 3), [Activity::Visit]);
}

#[test]
fn a_client_gets_the_window_that_is_being_refreshed_once_there_is_a_place() {
    let mut scene = crowd(2, 1, AsleepRefresh::Visit);
    scene.hold(2, 3600 * SECOND, true).unwrap().unwrap();
    scene.silent = true;
    scene.wait(EVERY + SECOND);
    assert_eq!(scene.state(1), State::Hibernated);
    assert_eq!(scene.hold(1, 60 * SECOND, true), None, "the machine is full");
    let request = scene.request();
    scene.step(Input::Close { request, session: SessionId(2) });
    assert_eq!(scene.state(1), State::Recovering, "its page is still loading");
    scene.begun.clear();
    let (_, ticket) = *scene.unanswered.iter().rfind(|(id, _)| *id == SessionId(1)).unwrap();
    scene.silent = false;
    let outcome = Ok(SignInStatus::SignedIn);
    scene.step(Input::ActivityEnded { session: SessionId(1), ticket, outcome });
    assert_eq!(scene.state(1), State::Ready);
    assert!(matches!(scene.answers.last(), Some((_, Ok(Answer::Hold { .. })))), "{:?}", scene.answers.last());
    assert_eq!(begun(&mut scene, 1), [], "its page was loaded once");
}

#[test]
fn everything_put_to_rest_is_not_refreshed_any_more() {
    let mut scene = crowd(3, 2, AsleepRefresh::Visit);
    let request = scene.request();
    scene.step(Input::Drain { request, timeout: 10 * SECOND });
    assert_eq!(scene.answers.last(), Some(&(request, Ok(Answer::Done))));
    scene.begun.clear();
    scene.wait(10 * EVERY);
    assert_eq!(scene.begun, []);
}

/// Whether the session was refreshed within its interval, and nobody is asked to do anything.
fn is_kept(scene: &Scene, number: u128) -> bool {
    let session = scene.rules.session(SessionId(number)).unwrap();
    let last = session.last_refresh.max(session.signed_in_at);
    session.attention.is_none() && last.is_some_and(|at| at + EVERY + SECOND >= scene.now)
}

#[test]
fn a_sign_in_that_never_reaches_the_portal_is_repeated_until_it_does() {
    for kind in [FailureKind::Unreachable, FailureKind::Untyped] {
        let mut scene = crowd(2, 1, AsleepRefresh::Visit);
        scene.outcome = Box::new(move |activity| match activity {
            Activity::Visit => Ok(SignInStatus::SignedOut),
            _ => Err(failure(kind)),
        });
        scene.wait(60 * EVERY);
        assert_eq!(scene.state(1), State::Hibernated);
        scene.outcome = Box::new(|_| Ok(SignInStatus::SignedIn));
        scene.wait(2 * EVERY);
        assert!(is_kept(&scene, 1), "{kind:?}: {:?}", scene.rules.session(SessionId(1)));
    }
}

#[test]
fn windows_that_cannot_be_opened_for_an_hour_end_no_refreshes() {
    let mut scene = crowd(2, 1, AsleepRefresh::Visit);
    scene.hold(2, 7200 * SECOND, true).unwrap().unwrap();
    scene.opens = false;
    let request = scene.request();
    scene.step(Input::Wake { request, session: SessionId(1) });
    scene.wait(29 * SECOND);
    assert_eq!(scene.answer(request), None, "it waits for a place, and not for a refresh");
    scene.wait(60 * EVERY);
    scene.opens = true;
    scene.wait(6 * EVERY);
    assert!(is_kept(&scene, 1), "{:?}", scene.rules.session(SessionId(1)));
}

#[test]
fn what_failed_before_it_hibernated_does_not_keep_it_from_being_refreshed() {
    let mut scene = Scene::new(Limits { max_live: 1, ..Limits::default() });
    scene.create(1, |spec| refreshed(spec, AsleepRefresh::Visit)).unwrap().unwrap();
    scene.outcome = Box::new(|_| Err(failure(FailureKind::Unreachable)));
    scene.wait(60 * EVERY);
    assert!(scene.rules.session(SessionId(1)).unwrap().attention.is_some());
    let request = scene.request();
    scene.step(Input::Hibernate { request, session: SessionId(1) });
    scene.outcome = Box::new(|_| Ok(SignInStatus::SignedIn));
    scene.wait(6 * EVERY);
    assert_eq!(scene.state(1), State::Hibernated);
    assert!(is_kept(&scene, 1), "{:?}", scene.rules.session(SessionId(1)));
}

#[test]
fn a_page_that_comes_is_no_refresh_where_the_site_has_another_way() {
    let mut scene = crowd(2, 1, AsleepRefresh::VisitAndRefresh);
    begun(&mut scene, 1);
    scene.outcome = Box::new(|activity| match activity {
        Activity::Visit => Ok(SignInStatus::SignedIn),
        _ => Err(failure(FailureKind::Unexpected)),
    });
    scene.wait(EVERY + SECOND);
    let tried = begun(&mut scene, 1).len();
    scene.wait(EVERY / 2);
    assert!(begun(&mut scene, 1).len() > tried, "it is not tried again before its next interval");
    assert!(!is_kept(&scene, 1));
}

#[test]
fn a_client_that_comes_when_a_person_is_needed_gets_no_window_that_is_said_to_be_ready() {
    let mut scene = crowd(2, 1, AsleepRefresh::Visit);
    scene.outcome = Box::new(|_| Ok(SignInStatus::PersonNeeded("a captcha".to_owned())));
    scene.wait(EVERY + SECOND);
    assert_eq!(scene.state(1), State::Hibernated);
    scene.begun.clear();
    scene.wait(10 * EVERY);
    assert_eq!(begun(&mut scene, 1), [], "nobody looks into it");
    let request = scene.request();
    scene.step(Input::Close { request, session: SessionId(2) });
    let request = scene.request();
    scene.step(Input::Wake { request, session: SessionId(1) });
    assert_eq!(scene.state(1), State::NeedsAttention);
}

#[test]
fn a_document_alone_keeps_a_session_and_no_window_without_its_state_is_written_down() {
    let mut scene = crowd(1, 1, AsleepRefresh::Document);
    let request = scene.request();
    scene.step(Input::Hibernate { request, session: SessionId(1) });
    let saves = scene.saves;
    begun(&mut scene, 1);
    for _ in 0..10 {
        scene.wait(EVERY + SECOND);
        assert_eq!(scene.state(1), State::Hibernated);
        assert_eq!(begun(&mut scene, 1), [Activity::LoadDocument], "once each time");
        assert!(is_kept(&scene, 1));
    }
    assert_eq!(scene.saves, saves, "a window that lacks its state was written down");
    let session = scene.rules.session(SessionId(1)).unwrap();
    assert_eq!(session.shard(), None, "its window is still there");
}

#[test]
fn where_a_document_does_not_show_a_sign_in_a_window_with_all_state_is_next() {
    for not in [SignInStatus::SignedOut, SignInStatus::PersonNeeded("a captcha".to_owned())] {
        let mut scene = crowd(2, 1, AsleepRefresh::Document);
        begun(&mut scene, 1);
        let document = not.clone();
        scene.outcome = Box::new(move |activity| match activity {
            Activity::LoadDocument => Ok(document.clone()),
            _ => Ok(SignInStatus::SignedIn),
        });
        let saves = scene.saves;
        scene.wait(EVERY + SECOND);
        let expected = [Activity::LoadDocument, Activity::Visit, Activity::Refresh];
        assert_eq!(begun(&mut scene, 1), expected, "{not:?}");
        assert!(scene.saves > saves, "what the portal changed is written down");
        assert!(is_kept(&scene, 1));
        scene.wait(EVERY + SECOND);
        assert_eq!(begun(&mut scene, 1), expected, "a document is tried first again");
    }
}

#[test]
fn whoever_is_signed_out_by_a_document_is_signed_in_again_in_a_window() {
    let mut scene = crowd(2, 1, AsleepRefresh::Document);
    begun(&mut scene, 1);
    scene.outcome = Box::new(|activity| match activity {
        Activity::LoadDocument | Activity::Visit => Ok(SignInStatus::SignedOut),
        _ => Ok(SignInStatus::SignedIn),
    });
    scene.wait(EVERY + SECOND);
    assert_eq!(begun(&mut scene, 1), [Activity::LoadDocument, Activity::Visit, Activity::SignIn]);
    assert_eq!(scene.state(1), State::Hibernated);
}

#[test]
fn a_window_for_a_document_that_is_lost_is_closed_and_not_repaired() {
    for loss in [WindowLoss::Crashed, WindowLoss::Hung, WindowLoss::Emptied, WindowLoss::Gone] {
        let mut scene = crowd(2, 2, AsleepRefresh::Document);
        let request = scene.request();
        scene.step(Input::Hibernate { request, session: SessionId(1) });
        scene.silent = true;
        scene.wait(EVERY);
        assert_eq!(begun(&mut scene, 1).last(), Some(&Activity::LoadDocument));
        let shard = scene.rules.session(SessionId(1)).and_then(pilotlight_core::Session::shard).unwrap();
        let request = scene.request();
        scene.step(Input::Wake { request, session: SessionId(1) });
        scene.silent = false;
        let saves = scene.saves;
        scene.step(Input::WindowLost { session: SessionId(1), shard, loss });
        assert_eq!(begun(&mut scene, 1), [Activity::Visit], "{loss:?}: it gets a window with its state");
        assert_eq!((scene.state(1), scene.saves), (State::Ready, saves), "{loss:?}");
    }
}

#[test]
fn a_client_that_comes_while_a_document_is_loaded_gets_a_window_with_all_state() {
    for outcome in [
        Ok(SignInStatus::SignedIn),
        Ok(SignInStatus::SignedOut),
        Err(failure(FailureKind::Unreachable)),
        Err(failure(FailureKind::Unrecorded { is_full: true })),
    ] {
        let mut scene = crowd(2, 2, AsleepRefresh::Document);
        let request = scene.request();
        scene.step(Input::Hibernate { request, session: SessionId(1) });
        scene.silent = true;
        scene.wait(EVERY);
        let (_, ticket) = *scene.unanswered.iter().rfind(|(id, _)| *id == SessionId(1)).unwrap();
        let session = |scene: &Scene| scene.rules.session(SessionId(1)).unwrap().is_loading_document(ticket);
        assert!(session(&scene));
        assert_eq!(scene.hold(1, 60 * SECOND, true), None, "it waits for the document");
        assert_eq!(scene.state(1), State::Hibernated);
        scene.begun.clear();
        scene.silent = false;
        let saves = scene.saves;
        scene.step(Input::ActivityEnded { session: SessionId(1), ticket, outcome: outcome.clone() });
        assert_eq!(begun(&mut scene, 1), [Activity::Visit], "{outcome:?}");
        assert_eq!((scene.state(1), scene.saves), (State::Ready, saves), "{outcome:?}");
        assert!(matches!(scene.answers.last(), Some((_, Ok(Answer::Hold { .. })))), "{outcome:?}");
        assert!(!session(&scene), "its cookies are no longer taken");
    }
}

#[test]
fn a_portal_that_is_down_is_asked_again_for_its_document() {
    let mut scene = crowd(2, 1, AsleepRefresh::Document);
    begun(&mut scene, 1);
    scene.outcome = Box::new(|_| Err(failure(FailureKind::Unreachable)));
    scene.wait(10 * EVERY);
    let tried = begun(&mut scene, 1);
    assert!(tried.len() > 5 && tried.iter().all(|activity| *activity == Activity::LoadDocument), "{tried:?}");
    scene.outcome = Box::new(|_| Ok(SignInStatus::SignedIn));
    scene.wait(2 * EVERY);
    assert!(is_kept(&scene, 1));
}

#[test]
fn the_refresh_that_waits_longest_is_known_and_what_failed_is_not_late() {
    let mut scene = Scene::new(Limits { max_live: 1, asleep_windows: 1, ..Limits::default() });
    for number in 1..=4 {
        scene.create(number, |spec| refreshed(spec, AsleepRefresh::Document)).unwrap().unwrap();
    }
    scene.wait(EVERY / 2);
    let due = scene.rules.due_refresh().unwrap();
    assert_eq!((due.at > scene.now, due.interval), (true, EVERY));
    // One window, in which nothing comes to an end.
    scene.silent = true;
    scene.wait(2 * EVERY);
    let late = scene.now.since(scene.rules.due_refresh().unwrap().at);
    assert!(late > EVERY && late < 2 * EVERY, "{late:?}");
    // A portal that is down is asked again later, in time.
    let mut scene = Scene::new(Limits { max_live: 1, ..Limits::default() });
    for number in 1..=4 {
        scene.create(number, |spec| refreshed(spec, AsleepRefresh::Document)).unwrap().unwrap();
    }
    scene.outcome = Box::new(|_| Err(failure(FailureKind::Unreachable)));
    scene.wait(10 * EVERY);
    assert!(scene.rules.due_refresh().unwrap().at >= scene.now);
}

#[test]
fn refreshes_are_told_apart_by_their_way() {
    for (asleep, activity, outcome, kind) in [
        (
            AsleepRefresh::Document,
            Activity::LoadDocument,
            SignInStatus::SignedIn,
            Some(RefreshKind::Document),
        ),
        (AsleepRefresh::Visit, Activity::Visit, SignInStatus::SignedIn, Some(RefreshKind::Page)),
        (AsleepRefresh::VisitAndRefresh, Activity::Visit, SignInStatus::SignedIn, None),
        (AsleepRefresh::VisitAndRefresh, Activity::Visit, SignInStatus::SignedOut, Some(RefreshKind::Page)),
    ] {
        let mut scene = crowd(2, 1, asleep);
        scene.silent = true;
        scene.wait(EVERY + SECOND);
        let (_, ticket) = *scene.unanswered.iter().rfind(|(id, _)| *id == SessionId(1)).unwrap();
        assert_eq!(begun(&mut scene, 1).last(), Some(&activity));
        let session = scene.rules.session(SessionId(1)).unwrap();
        assert_eq!(session.refreshed_by(ticket, Some(&outcome)), kind, "{asleep:?} {outcome:?}");
        assert_eq!(session.refreshed_by(pilotlight_core::Ticket(0), Some(&outcome)), None);
    }
}
