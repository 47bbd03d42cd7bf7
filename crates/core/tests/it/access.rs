//! What a portal refused is typed once; what was not there is waited for; what was corrected heals all.

use pilotlight_core::{
    Activity, Answer, AtCapacity, Difference, Failure, FailureKind, Input, LaunchKey, Limits, Refusal, Rules,
    SessionId, SignInStatus, Spec, State, Ticket, Whose, WindowLoss,
};

use crate::scene::{SECOND, Scene, access, failure};

fn refuses_every_sign_in(activity: Activity) -> Result<SignInStatus, Failure> {
    match activity {
        Activity::SignIn => Err(failure(FailureKind::Rejected)),
        _ => Ok(SignInStatus::SignedOut),
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

/// Three sessions that were signed out, and the one of them whose sign-in does not end.
fn typing() -> (Scene, SessionId, Ticket) {
    let mut scene = scene();
    scene.outcome = Box::new(|_| Ok(SignInStatus::SignedOut));
    scene.silent_sign_ins = true;
    scene.wait(301 * SECOND);
    let (session, ticket) = *scene.unanswered.iter().find(|(id, _)| id.0 <= 3).unwrap();
    (scene, session, ticket)
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
fn what_was_refused_is_not_typed_when_the_portal_no_longer_answers() {
    let mut scene = scene();
    scene.outcome = Box::new(|activity| match activity {
        Activity::SignIn => Err(failure(FailureKind::Rejected)),
        Activity::Refresh => Err(failure(FailureKind::Unreachable)),
        _ => Ok(SignInStatus::SignedOut),
    });
    // Another one finds out for all that the password is no longer right, and goes.
    scene.create(5, |spec| spec.access = access(1));
    assert_eq!(scene.times(Activity::SignIn), 1);
    scene.wait(24 * 3600 * SECOND);
    let typed = |(id, activity): &&(SessionId, Activity)| id.0 != 4 && *activity == Activity::SignIn;
    assert_eq!(scene.begun.iter().filter(typed).count(), 1);
}

#[test]
fn a_refusal_holds_even_where_its_outcome_is_no_longer_waited_for() {
    let (mut scene, session, ticket) = typing();
    scene.step(Input::Typing { session, ticket });
    let shard = scene.rules.session(session).and_then(pilotlight_core::Session::shard).unwrap();
    scene.step(Input::WindowLost { session, shard, loss: WindowLoss::Hung });
    scene.silent_sign_ins = false;
    scene.outcome = Box::new(refuses_every_sign_in);
    scene.step(Input::ActivityEnded { session, ticket, outcome: Err(failure(FailureKind::Rejected)) });
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
    scene.outcome = Box::new(|_| Ok(SignInStatus::SignedIn));
    scene.step(Input::AccessChanged { sessions: correct(6) });
    scene.wait(SECOND);
    assert_eq!(states(&scene), [State::Ready; 3]);
    assert_eq!(scene.times(Activity::SignIn), 6);
}

#[test]
fn what_was_corrected_while_it_was_typed_was_not_refused() {
    let (mut scene, session, ticket) = typing();
    scene.silent_sign_ins = false;
    scene.outcome = Box::new(|_| Ok(SignInStatus::SignedIn));
    scene.step(Input::AccessChanged { sessions: vec![(session, access(7))] });
    scene.step(Input::ActivityEnded { session, ticket, outcome: Err(failure(FailureKind::Rejected)) });
    scene.wait(10 * SECOND);
    assert_eq!(states(&scene), [State::Ready; 3]);
}

/// The next server takes up everything, windows and all.
fn next_server(scene: &mut Scene, with_windows: bool) {
    let kept: Vec<_> = scene.rules.living().filter_map(pilotlight_core::Session::persisted).collect();
    let windows = scene.rules.living().filter_map(|session| Some((session.id, session.shard()?)));
    let windows: Vec<_> = windows.filter(|_| with_windows).collect();
    let shards = windows.iter().map(|(_, shard)| pilotlight_core::AdoptedShard {
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
        let (mut scene, session, ticket) = typing();
        scene.step(Input::Typing { session, ticket });
        scene.outcome = Box::new(move |activity| match activity {
            Activity::Look if shows_refusal => Err(failure(FailureKind::Rejected)),
            Activity::Look => Err(failure(FailureKind::Browser)),
            _ => Ok(SignInStatus::SignedOut),
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
    let (mut scene, session, ticket) = typing();
    scene.step(Input::Typing { session, ticket });
    scene.silent_sign_ins = false;
    scene.outcome = Box::new(|activity| match activity {
        Activity::Visit => Ok(SignInStatus::SignedOut),
        _ => Ok(SignInStatus::SignedIn),
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
        _ => Ok(SignInStatus::SignedOut),
    });
    scene.begun.clear();
    // Until the portal is looked for the next time, and then twice in vain.
    while scene.times(Activity::SignIn) < 2 {
        scene.wait(SECOND);
    }
    scene.outcome = Box::new(|_| Ok(SignInStatus::SignedIn));
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
        Activity::SignIn => Ok(SignInStatus::SignedIn),
        _ => Ok(SignInStatus::SignedOut),
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
        _ => Ok(SignInStatus::SignedOut),
    });
    scene.wait(24 * 3600 * SECOND);
    assert_eq!(scene.state(1), State::NeedsAttention);
    scene.outcome = Box::new(|_| Ok(SignInStatus::SignedIn));
    scene.wait(61 * SECOND);
    assert_eq!(scene.state(1), State::Ready);
}

/// A request by the name `main`.
fn named(whose: Whose) -> impl FnOnce(&mut Spec) {
    move |spec| {
        spec.name = Some("main".to_owned());
        spec.identity = None;
        spec.whose = whose;
    }
}

const JANE: Whose =
    Whose { site: Some(1), url: None, username: Some(1), credential: None, password: Some(1) };

#[test]
fn a_name_alone_does_not_make_a_session_equal() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, named(JANE)).unwrap().unwrap();
    let nothing = Whose::default();
    for whose in [nothing, Whose { username: Some(1), ..nothing }, Whose { password: None, ..JANE }, JANE] {
        let had = scene.create(2, named(whose));
        assert_eq!(had, Some(Ok(Answer::Session { session: SessionId(1), is_new: false })), "{whose:?}");
    }
    use Difference::{Credential, Password, Site, Url, Username};
    for (whose, differs) in [
        (Whose { site: Some(2), username: Some(2), ..JANE }, vec![Site, Username]),
        (Whose { username: Some(2), ..nothing }, vec![Username]),
        (Whose { url: Some(1), ..nothing }, vec![Url]),
        (Whose { credential: Some(1), ..nothing }, vec![Credential]),
        (Whose { password: Some(2), ..JANE }, vec![Password]),
    ] {
        assert_eq!(scene.create(2, named(whose)), Some(Err(Refusal::NameTaken { differs })), "{whose:?}");
    }
    assert_eq!((scene.state(1), scene.times(Activity::Visit)), (State::Ready, 1));
}

#[test]
fn nor_does_it_where_both_wait_for_a_place() {
    let limits = Limits { max_live: 1, at_capacity: AtCapacity::Reject, ..Limits::default() };
    let mut scene = Scene::new(limits);
    scene.create(1, |_| {}).unwrap().unwrap();
    assert_eq!(scene.create(2, named(JANE)), None);
    assert_eq!(scene.create(3, named(JANE)), None);
    let other = scene.create(4, named(Whose { username: Some(2), ..JANE }));
    assert_eq!(other, Some(Err(Refusal::NameTaken { differs: vec![Difference::Username] })));
}

#[test]
fn a_password_that_was_refused_is_replaced_by_another_and_tried_once() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, named(JANE)).unwrap().unwrap();
    scene.outcome = Box::new(refuses_every_sign_in);
    scene.wait(1000 * SECOND);
    assert_eq!((scene.state(1), scene.times(Activity::SignIn)), (State::NeedsAttention, 1));
    let again = |password: u64, login: u64| {
        move |spec: &mut Spec| {
            named(Whose { password: Some(password), ..JANE })(spec);
            spec.access = access(login);
        }
    };
    // The same one is not tried again.
    let same = scene.create(2, again(1, 1));
    assert_eq!(same, Some(Ok(Answer::Session { session: SessionId(1), is_new: false })));
    assert_eq!(scene.times(Activity::SignIn), 1);
    let wrong = scene.create(3, again(2, 2));
    assert!(matches!(wrong, Some(Err(Refusal::Failed(_)))), "{wrong:?}");
    scene.wait(1000 * SECOND);
    assert_eq!((scene.state(1), scene.times(Activity::SignIn)), (State::NeedsAttention, 2));
    scene.outcome = Box::new(|_| Ok(SignInStatus::SignedIn));
    let right = scene.create(4, again(3, 3));
    assert_eq!(right, Some(Ok(Answer::Session { session: SessionId(1), is_new: false })));
    assert_eq!(scene.state(1), State::Ready);
    assert_eq!(scene.renewed, [(SessionId(1), SessionId(3)), (SessionId(1), SessionId(4))]);
    // Of one that is content, another password is not believed unseen.
    let unseen = scene.create(5, again(4, 4));
    assert_eq!(unseen, Some(Err(Refusal::NameTaken { differs: vec![Difference::Password] })));
}
