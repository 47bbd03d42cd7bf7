//! What a site may say of how it is to be treated.

use std::collections::{BTreeMap, BTreeSet};

use pilotlight_core::{Activity, Input, Limits, SessionId, SignInStatus, SiteId};

use crate::scene::{SECOND, Scene};

#[test]
fn refreshes_come_earlier_by_chance_and_never_later() {
    let mut scene = Scene::new(Limits::default());
    for number in 1..=10 {
        scene.create(number, |spec| spec.refresh_jitter = 100 * SECOND);
    }
    let mut refreshed = BTreeMap::new();
    for second in 0..=301 {
        scene.wait(SECOND);
        for (id, activity) in std::mem::take(&mut scene.begun) {
            if activity == Activity::Refresh {
                refreshed.entry(id).or_insert(second);
            }
        }
    }
    let times: BTreeSet<u32> = refreshed.values().copied().collect();
    assert!(refreshed.len() == 10 && times.iter().all(|at| (198..=301).contains(at)), "{refreshed:?}");
    assert!(times.len() > 5, "they come at once: {refreshed:?}");
}

#[test]
fn a_site_may_want_fewer_sign_ins_at_once() {
    let mut scene = Scene::new(Limits::default());
    scene.outcome = Box::new(|_| Ok(SignInStatus::SignedOut));
    scene.silent_sign_ins = true;
    for number in 1..=6 {
        scene.create(number, |spec| {
            spec.site = Some(SiteId(if number % 2 == 0 { 2 } else { 1 }));
            spec.max_sign_ins = (number % 2 == 0).then_some(1);
        });
    }
    let of_the_second = scene.unanswered.iter().filter(|(id, _)| id.0 % 2 == 0).count();
    assert_eq!((scene.unanswered.len(), of_the_second), (4, 1));
}

#[test]
fn a_quiet_site_is_left_alone_until_its_hours_are_over_or_somebody_asks() {
    let mut scene = Scene::new(Limits::default());
    for number in 1..=3 {
        scene.create(number, |spec| spec.site = Some(SiteId(if number == 3 { 2 } else { 1 })));
    }
    scene.step(Input::Quiet { sites: BTreeSet::from([SiteId(1)]) });
    scene.wait(3600 * SECOND);
    let begun = |scene: &Scene, of: u128| {
        scene
            .begun
            .iter()
            .filter(|(id, activity)| *id == SessionId(of) && *activity == Activity::Refresh)
            .count()
    };
    assert_eq!((begun(&scene, 1), begun(&scene, 2)), (0, 0));
    assert!(begun(&scene, 3) > 5);
    let request = scene.request();
    scene.step(Input::RefreshNow { request, session: SessionId(1) });
    assert!(scene.answer(request).is_some_and(|answer| answer.is_ok()));
    assert_eq!((begun(&scene, 1), begun(&scene, 2)), (1, 0));
    scene.step(Input::Quiet { sites: BTreeSet::new() });
    scene.wait(SECOND);
    assert_eq!(begun(&scene, 2), 1);
}
