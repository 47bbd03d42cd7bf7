//! What is told of the sign-in, and what follows where a page only looks signed out.

use pilotlight_core::{
    Activity, AsleepRefresh, Check, FailureKind, Input, Limits, Moment, NoticeKind, Rules, SessionId, SignIn,
    SignInStatus, State, Suspicion,
};

use crate::scene::{SECOND, Scene, access, failure, few};

const EVERY: std::time::Duration = std::time::Duration::from_secs(300);

fn moved() -> Suspicion {
    Suspicion::Moved { to: "https://portal.test/login".to_owned() }
}

fn set_outcome(scene: &mut Scene, status: SignInStatus) {
    scene.outcome = Box::new(move |_| Ok(status.clone()));
}

/// A session without conditions, whose page comes to this.
fn plain(limits: Limits, status: SignInStatus) -> Scene {
    let mut scene = Scene::new(limits);
    set_outcome(&mut scene, status);
    add_plain(&mut scene, 1);
    scene
}

fn add_plain(scene: &mut Scene, number: u128) {
    let created = scene.create(number, |spec| {
        spec.site = None;
        spec.access = pilotlight_core::Access::default();
        spec.asleep = AsleepRefresh::Visit;
    });
    created.unwrap().unwrap();
}

fn sign_in(scene: &Scene, number: u128) -> SignIn {
    scene.rules.session(SessionId(number)).unwrap().sign_in.clone()
}

fn attention(scene: &Scene, number: u128) -> Option<String> {
    scene.rules.session(SessionId(number)).unwrap().attention.clone()
}

fn is_asked(scene: &Scene) -> Option<bool> {
    match sign_in(scene, 1) {
        SignIn::LooksSignedOut { is_asked, .. } => Some(is_asked),
        _ => None,
    }
}

fn told(scene: &Scene, kind: NoticeKind) -> Vec<&str> {
    let notices = scene.notices.iter().filter(|notice| notice.kind == kind);
    notices.map(|notice| notice.reason.as_str()).collect()
}

#[test]
fn a_site_s_session_says_what_was_seen_last_and_when() {
    let mut scene = Scene::new(Limits::default());
    scene.outcome = Box::new(|activity| match activity {
        Activity::Visit => Ok(SignInStatus::SignedOut),
        _ => Ok(SignInStatus::SignedIn),
    });
    scene.create(1, |_| {}).unwrap().unwrap();
    let created_at = scene.now;
    assert_eq!(sign_in(&scene, 1), SignIn::SignedIn { checked_at: created_at, by: Check::SignIn });
    let mut last = created_at;
    for _ in 0..3 {
        scene.wait(EVERY + SECOND);
        let SignIn::SignedIn { checked_at, by: Check::Refresh } = sign_in(&scene, 1) else {
            panic!("{:?}", sign_in(&scene, 1));
        };
        assert!(checked_at >= last + EVERY, "{checked_at:?} after {last:?}");
        last = checked_at;
    }
    assert!(
        told(&scene, NoticeKind::Refreshed).iter().all(|why| *why == "it was refreshed and is signed in")
    );
    // What could not be looked at is as it was last seen.
    scene.outcome = Box::new(|_| Err(failure(FailureKind::Unreachable)));
    scene.wait(4 * EVERY);
    assert_eq!(sign_in(&scene, 1).checked_at(), Some(last));
}

#[test]
fn without_conditions_nothing_is_claimed() {
    let mut scene = plain(Limits::default(), SignInStatus::Unknown);
    assert_eq!(sign_in(&scene, 1), SignIn::Unknown { checked_at: scene.now });
    scene.wait(EVERY + SECOND);
    assert_eq!(told(&scene, NoticeKind::Refreshed), ["it was refreshed"]);
    assert_eq!((scene.state(1), attention(&scene, 1)), (State::Ready, None));
}

#[test]
fn a_page_that_begins_with_a_password_field_only_says_so_until_it_is_refreshed() {
    let mut scene = plain(Limits::default(), SignInStatus::LooksSignedOut(Suspicion::PasswordField));
    assert_eq!((scene.state(1), attention(&scene, 1)), (State::Ready, None));
    assert_eq!(is_asked(&scene), Some(false));
    scene.wait(EVERY + SECOND);
    assert_eq!(scene.state(1), State::NeedsAttention);
    assert_eq!(attention(&scene, 1).unwrap(), "its page shows a password field: it looks signed out");
    assert_eq!(told(&scene, NoticeKind::SignedOut).len(), 1);
    assert_eq!(told(&scene, NoticeKind::Refreshed).len(), 0);
    // It may be wrong: the refreshes go on.
    let refreshes = scene.times(Activity::Refresh);
    scene.wait(10 * EVERY);
    assert!(scene.times(Activity::Refresh) >= refreshes + 9);
    assert_eq!(told(&scene, NoticeKind::SignedOut).len(), 1, "it is said once");
    set_outcome(&mut scene, SignInStatus::Unknown);
    scene.wait(EVERY + SECOND);
    assert_eq!((scene.state(1), attention(&scene, 1)), (State::Ready, None));
    assert!(matches!(sign_in(&scene, 1), SignIn::Unknown { .. }));
}

#[test]
fn a_page_that_has_moved_is_looked_at_once_somebody_has_used_it() {
    let mut scene = plain(Limits::default(), SignInStatus::Unknown);
    set_outcome(&mut scene, SignInStatus::LooksSignedOut(moved()));
    scene.wait(EVERY + SECOND);
    assert_eq!(scene.state(1), State::NeedsAttention);
    assert_eq!(sign_in(&scene, 1).suspicion(), Some(&moved()));
    scene.wait(EVERY / 2);
    assert_eq!(scene.times(Activity::Look), 0, "nobody was there");
    scene.hold(1, 10 * SECOND, true).unwrap().unwrap();
    set_outcome(&mut scene, SignInStatus::Unknown);
    scene.wait(EVERY / 4);
    assert_eq!((scene.state(1), attention(&scene, 1)), (State::Ready, None));
    assert_eq!(scene.times(Activity::Look), 1);
}

#[test]
fn a_suspicion_costs_no_window_its_rest() {
    let limits = Limits { freeze_after: Some(60 * SECOND), ..Limits::default() };
    let mut scene = Scene::freezing(limits);
    set_outcome(&mut scene, SignInStatus::LooksSignedOut(Suspicion::PasswordField));
    add_plain(&mut scene, 1);
    scene.wait(EVERY + 120 * SECOND);
    assert!(attention(&scene, 1).is_some());
    let freezes = scene.freezes;
    scene.wait(4 * EVERY);
    assert!(scene.freezes >= freezes + 3, "{} after {freezes}", scene.freezes);
    assert_eq!(scene.times(Activity::Look), 0);
}

#[test]
fn a_hibernated_session_keeps_what_was_seen_until_a_refresh_sees_something_else() {
    let mut scene = plain(Limits { max_live: 1, ..Limits::default() }, SignInStatus::Unknown);
    let seen_at = scene.now;
    scene.wait(SECOND);
    add_plain(&mut scene, 2);
    assert_eq!(scene.state(1), State::Hibernated);
    assert_eq!(sign_in(&scene, 1), SignIn::Unknown { checked_at: seen_at });
    set_outcome(&mut scene, SignInStatus::LooksSignedOut(Suspicion::PasswordField));
    scene.wait(EVERY + SECOND);
    assert_eq!((scene.state(1), is_asked(&scene)), (State::Hibernated, Some(true)));
    assert!(attention(&scene, 1).is_some());
    let checked_at = sign_in(&scene, 1).checked_at();
    scene.wait(EVERY + SECOND);
    assert!(sign_in(&scene, 1).checked_at() > checked_at, "it is refreshed all the same");
    // Who wakes it is told, too.
    let request = scene.request();
    scene.step(Input::Close { request, session: SessionId(2) });
    let request = scene.request();
    scene.step(Input::Wake { request, session: SessionId(1) });
    assert_eq!(scene.state(1), State::NeedsAttention);
}

#[test]
fn a_refused_login_is_told_apart_and_forgotten_once_it_is_changed() {
    let mut scene = Scene::new(few(3));
    for number in 1..=2 {
        scene.create(number, |spec| spec.access = access(1)).unwrap().unwrap();
    }
    scene.outcome = Box::new(|activity| match activity {
        Activity::SignIn => Err(failure(FailureKind::Rejected)),
        _ => Ok(SignInStatus::SignedOut),
    });
    scene.wait(EVERY + SECOND);
    for number in [1, 2] {
        assert!(matches!(sign_in(&scene, number), SignIn::Refused { .. }), "{:?}", sign_in(&scene, number));
    }
    scene.silent_sign_ins = true;
    let sessions = vec![(SessionId(1), access(9))];
    scene.step(Input::AccessChanged { sessions });
    assert!(matches!(sign_in(&scene, 1), SignIn::SignedOut { .. }));
    let (session, ticket) = *scene.unanswered.last().unwrap();
    let outcome = Ok(SignInStatus::SignedIn);
    scene.step(Input::ActivityEnded { session, ticket, outcome });
    assert_eq!(sign_in(&scene, 1), SignIn::SignedIn { checked_at: scene.now, by: Check::SignIn });
    assert!(matches!(sign_in(&scene, 2), SignIn::Refused { .. }));
}

#[test]
fn a_need_for_a_person_is_a_status_of_its_own() {
    let mut scene = Scene::new(Limits::default());
    set_outcome(&mut scene, SignInStatus::PersonNeeded("a captcha".to_owned()));
    scene.create(1, |_| {}).unwrap().unwrap();
    assert_eq!(sign_in(&scene, 1), SignIn::PersonNeeded { checked_at: scene.now, by: Check::Conditions });
    assert_eq!(scene.state(1), State::NeedsAttention);
}

#[test]
fn what_was_seen_outlives_the_rules() {
    let mut scene = plain(Limits::default(), SignInStatus::Unknown);
    set_outcome(&mut scene, SignInStatus::LooksSignedOut(moved()));
    scene.wait(EVERY + SECOND);
    let before = sign_in(&scene, 1);
    let kept = scene.rules.session(SessionId(1)).unwrap().persisted().unwrap();
    let now = Moment(scene.now.0 + 5_000);
    let mut rules = Rules::new(Limits::default(), 2, now);
    rules.step(now, Input::Resume { sessions: vec![kept], shards: Vec::new(), windows: Vec::new() });
    assert_eq!(rules.session(SessionId(1)).unwrap().sign_in, before);
}
