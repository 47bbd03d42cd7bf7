//! What a portal refused is typed once; what was not there is waited for; what was corrected heals all.

use pilotlight_core::{
    Activity, Failure, FailureKind, Input, LaunchKey, Limits, Rules, SessionId, Standing, State, Ticket,
};

use crate::scene::{SECOND, Scene, access, failure};

fn refuses_every_sign_in(activity: Activity) -> Result<Standing, Failure> {
    match activity {
        Activity::SignIn => Err(failure(FailureKind::Rejected)),
        _ => Ok(Standing::SignedOut),
    }
}

/// Three sessions that share one login, and one of somebody else.
fn scene() -> Scene {
    let mut scene = Scene::new(Limits::default());
    for number in 1..=4 {
        scene.create(number, |spec| {
            spec.access = access(if number == 4 { 4 } else { 1 });
        });
    }
    scene
}

fn states(scene: &Scene) -> [State; 3] {
    [1, 2, 3].map(|number| scene.state(number))
}

/// The one of the three whose sign-in does not end.
fn typing(scene: &Scene) -> (SessionId, Ticket) {
    *scene.unanswered.iter().find(|(id, _)| id.0 <= 3).unwrap()
}

#[test]
fn a_refusal_holds_for_all_who_have_the_same_login() {
    let mut scene = scene();
    scene.outcome = Box::new(refuses_every_sign_in);
    scene.wait(24 * 3600 * SECOND);
    assert_eq!(scene.times(Activity::SignIn), 2, "one for each login");
    assert_eq!(states(&scene), [State::NeedsAttention; 3]);
}

#[test]
fn a_correction_heals_all_and_one_that_is_wrong_is_tried_once() {
    let mut scene = scene();
    scene.outcome = Box::new(refuses_every_sign_in);
    scene.wait(1000 * SECOND);
    let correct = |login| (1..=3).map(|number| (SessionId(number), access(login))).collect();
    scene.step(Input::AccessChanged { sessions: correct(5) });
    scene.wait(1000 * SECOND);
    assert_eq!(scene.times(Activity::SignIn), 3);
    assert_eq!(states(&scene), [State::NeedsAttention; 3]);
    scene.outcome = Box::new(|_| Ok(Standing::SignedIn));
    scene.step(Input::AccessChanged { sessions: correct(6) });
    scene.wait(SECOND);
    assert_eq!(states(&scene), [State::Ready; 3]);
    assert_eq!(scene.times(Activity::SignIn), 6);
}

#[test]
fn what_was_corrected_while_it_was_typed_was_not_refused() {
    let mut scene = scene();
    scene.outcome = Box::new(|_| Ok(Standing::SignedOut));
    scene.silent_sign_ins = true;
    scene.wait(301 * SECOND);
    let (session, ticket) = typing(&scene);
    scene.silent_sign_ins = false;
    scene.outcome = Box::new(|_| Ok(Standing::SignedIn));
    scene.step(Input::AccessChanged { sessions: vec![(session, access(7))] });
    scene.step(Input::ActivityEnded { session, ticket, outcome: Err(failure(FailureKind::Rejected)) });
    scene.wait(10 * SECOND);
    assert_eq!(states(&scene), [State::Ready; 3]);
}

/// The next server takes up everything, windows and all.
fn next_server(scene: &mut Scene, with_windows: bool) {
    let kept: Vec<_> = scene.rules.living().filter_map(pilotlight_core::Session::kept).collect();
    let windows = scene.rules.living().filter_map(|session| Some((session.id, session.shard()?)));
    let windows: Vec<_> = windows.filter(|_| with_windows).collect();
    let shards = windows.iter().map(|(_, shard)| pilotlight_core::KeptShard {
        id: *shard,
        launch: LaunchKey(1),
        isolation: pilotlight_core::Isolation::Shared,
        since: scene.now,
        outdated: false,
    });
    let shards = shards.take(1).collect();
    scene.begun.clear();
    scene.unanswered.clear();
    scene.rules = Rules::new(Limits { freeze_after: None, ..Limits::default() }, 2, scene.now);
    scene.step(Input::Resume { sessions: kept, shards, windows });
}

#[test]
fn while_nobody_knows_what_came_of_a_try_nobody_tries_again() {
    for shows_refusal in [true, false] {
        let mut scene = scene();
        scene.outcome = Box::new(|_| Ok(Standing::SignedOut));
        scene.silent_sign_ins = true;
        scene.wait(301 * SECOND);
        let (session, ticket) = typing(&scene);
        scene.step(Input::Typing { session, ticket });
        scene.outcome = Box::new(move |activity| match activity {
            Activity::Look if shows_refusal => Err(failure(FailureKind::Rejected)),
            Activity::Look => Err(failure(FailureKind::Browser)),
            _ => Ok(Standing::SignedOut),
        });
        next_server(&mut scene, true);
        scene.wait(100 * SECOND);
        let typed = scene.begun.iter().filter(|(id, activity)| id.0 <= 3 && *activity == Activity::SignIn);
        assert_eq!(typed.count(), 0);
        if shows_refusal {
            assert_eq!(states(&scene), [State::NeedsAttention; 3]);
        }
    }
}

#[test]
fn where_no_window_shows_what_came_of_a_try_another_tells() {
    let mut scene = scene();
    scene.outcome = Box::new(|_| Ok(Standing::SignedOut));
    scene.silent_sign_ins = true;
    scene.wait(301 * SECOND);
    let (session, ticket) = typing(&scene);
    scene.step(Input::Typing { session, ticket });
    scene.silent_sign_ins = false;
    scene.outcome = Box::new(|activity| match activity {
        Activity::Visit => Ok(Standing::SignedOut),
        _ => Ok(Standing::SignedIn),
    });
    next_server(&mut scene, false);
    scene.wait(100 * SECOND);
    assert_eq!(states(&scene), [State::Ready; 3]);
}

#[test]
fn a_sign_in_that_fails_after_an_outage_is_not_held_against_the_outage() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| ());
    scene.outcome = Box::new(|_| Err(failure(FailureKind::Unreachable)));
    scene.wait(3600 * SECOND);
    scene.outcome = Box::new(|activity| match activity {
        Activity::SignIn => Err(failure(FailureKind::Unexpected)),
        _ => Ok(Standing::SignedOut),
    });
    scene.begun.clear();
    // Until the portal is looked for the next time, and then twice in vain.
    while scene.times(Activity::SignIn) < 2 {
        scene.wait(SECOND);
    }
    scene.outcome = Box::new(|_| Ok(Standing::SignedIn));
    scene.wait(10 * SECOND);
    assert_eq!(scene.state(1), State::Ready);
}

#[test]
fn a_portal_that_is_there_again_is_there_for_all_who_waited() {
    let mut scene = Scene::new(Limits { max_live: 30, ..Limits::default() });
    for number in 1..=20 {
        scene.create(number, |_| ());
        scene.wait(7 * SECOND);
    }
    scene.outcome = Box::new(|_| Err(failure(FailureKind::Unreachable)));
    scene.wait(3600 * SECOND);
    scene.outcome = Box::new(|activity| match activity {
        Activity::SignIn => Ok(Standing::SignedIn),
        _ => Ok(Standing::SignedOut),
    });
    let (mut waited, limit) = (0, 62);
    while (1..=20).any(|number| scene.state(number) != State::Ready) {
        scene.wait(SECOND);
        waited += 1;
        assert!(waited <= limit, "some still wait after {limit} s");
    }
}

#[test]
fn a_page_that_has_changed_is_tried_without_end_as_long_as_nothing_is_typed() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| ());
    scene.outcome = Box::new(|activity| match activity {
        Activity::SignIn => Err(failure(FailureKind::Untyped)),
        _ => Ok(Standing::SignedOut),
    });
    scene.wait(24 * 3600 * SECOND);
    assert_eq!(scene.state(1), State::NeedsAttention);
    scene.outcome = Box::new(|_| Ok(Standing::SignedIn));
    scene.wait(61 * SECOND);
    assert_eq!(scene.state(1), State::Ready);
}
