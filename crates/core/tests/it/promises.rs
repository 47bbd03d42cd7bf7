//! Changes that could not be written down, and others that were made on top of them meanwhile.

use std::time::Duration;

use pilotlight_core::{
    Failure, FailureKind, HoldId, Input, Limits, Moment, Policy, PolicyPatch, Promise, Session, SessionId,
};

use crate::scene::{SECOND, Scene};

const ID: SessionId = SessionId(1);

fn session(scene: &Scene) -> &Session {
    scene.rules.session(ID).unwrap()
}

fn name_and_policy(scene: &Scene) -> (Option<String>, Policy) {
    let session = session(scene);
    (session.name.clone(), session.policy.clone())
}

/// Has a request carried out and returns what it promises.
fn promised(scene: &mut Scene, input: Input) -> Promise {
    let promise = Promise::of(&input, scene.rules.session(ID)).unwrap();
    scene.step(input);
    promise
}

fn patch(scene: &mut Scene, patch: PolicyPatch) -> Promise {
    let request = scene.request();
    promised(scene, Input::Patch { request, session: ID, patch })
}

fn take_back(scene: &mut Scene, promise: Option<Promise>) {
    let kind = FailureKind::Unrecorded { is_full: true };
    let failure = Failure { kind, sentence: "there is no room".to_owned() };
    if let Some(promise) = promise {
        scene.step(Input::TakeBack { session: ID, promise, failure });
    }
}

fn named(name: &str, seconds: u64) -> PolicyPatch {
    let idle_timeout = Some(Duration::from_secs(seconds));
    PolicyPatch { name: Some(name.to_owned()), idle_timeout, ..PolicyPatch::default() }
}

#[test]
fn changes_that_were_made_one_upon_the_other_are_all_undone() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| {});
    let before = name_and_policy(&scene);
    let first = patch(&mut scene, named("one", 100));
    let mut second = patch(&mut scene, PolicyPatch { never_terminate: Some(true), ..named("two", 200) });
    let mut third = patch(&mut scene, PolicyPatch { keep_alive: Some(false), ..named("three", 300) });
    let left = first.hand_on(&mut second).and_then(|left| left.hand_on(&mut third));
    take_back(&mut scene, left);
    assert_eq!(session(&scene).name.as_deref(), Some("three"), "what may be kept yet stands");
    let left = second.hand_on(&mut third);
    take_back(&mut scene, left);
    take_back(&mut scene, Some(third));
    assert_eq!(name_and_policy(&scene), before);
}

#[test]
fn a_change_that_is_kept_outlasts_the_one_before_it_and_takes_nothing_of_it_along() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| {});
    let (name, policy) = name_and_policy(&scene);
    let refresh_interval = Some(Some(30 * SECOND));
    let first = PolicyPatch { refresh_interval, never_terminate: Some(true), ..named("one", 100) };
    let first = patch(&mut scene, first);
    // Not all that it says is news.
    let second = PolicyPatch { never_terminate: Some(true), ..PolicyPatch::default() };
    let mut second = patch(&mut scene, second);
    let left = first.hand_on(&mut second);
    take_back(&mut scene, left);
    assert_eq!(name_and_policy(&scene), (name, Policy { never_terminate: true, ..policy }));
}

#[test]
fn a_hold_that_was_extended_twice_in_vain_ends_when_it_would_have() {
    let mut scene = Scene::new(Limits::default());
    scene.create(1, |_| {});
    let (hold, request) = (HoldId(1), scene.request());
    scene.step(Input::Hold { request, session: ID, hold, ttl: 10 * SECOND, shared: false, quiet: false });
    let ends = |scene: &Scene| -> Moment { session(scene).holds[0].expires_at };
    let before = ends(&scene);
    let extend = |scene: &mut Scene, ttl| {
        let request = scene.request();
        promised(scene, Input::ExtendHold { request, session: ID, hold, ttl })
    };
    let first = extend(&mut scene, 20 * SECOND);
    let mut second = extend(&mut scene, 30 * SECOND);
    let longest = ends(&scene);
    let left = first.hand_on(&mut second);
    take_back(&mut scene, left);
    assert_eq!(ends(&scene), longest);
    take_back(&mut scene, Some(second));
    assert_eq!(ends(&scene), before);
}
