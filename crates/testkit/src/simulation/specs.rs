//! Sessions as simulations of one portal have them: each of an account of its own.

use std::time::Duration;

use pilotlight_core::{
    Access, AccountId, AsleepRefresh, Isolation, LaunchKey, LoginId, Policy, SiteId, Spec, Whose,
};

/// Returns a session that is kept alive and refreshed every `interval`, up to `jitter` earlier.
pub(super) fn kept_alive(number: u64, interval: Duration, jitter: Duration, asleep: AsleepRefresh) -> Spec {
    Spec {
        name: None,
        identity: Some(number),
        whose: Whose::default(),
        site: Some(SiteId(1)),
        max_sign_ins: None,
        refresh_jitter: jitter,
        asleep,
        access: Access { account: Some(AccountId(number)), login: Some(LoginId(number)), can_sign_in: true },
        launch: LaunchKey(1),
        isolation: Isolation::Shared,
        freezes: true,
        policy: Policy {
            keep_alive: true,
            never_terminate: false,
            idle_timeout: Duration::from_secs(1800),
            default_refresh: Some(interval),
            own_refresh: None,
        },
    }
}
