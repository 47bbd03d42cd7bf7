//! Conversion of sessions to and from their stored form.

use std::time::Duration;

use pilotlight_api::Isolation;
use pilotlight_core::{EndedReason, PersistedSession};
use pilotlight_store::record::{EndedRecord, HoldRecord, ProxyRecord, SessionRecord};
use uuid::Uuid;

use super::details::{SessionDetails, ended_reason};
use super::sign_in_status::recorded;

/// Returns the stored form of a session.
pub(super) fn record(kept: &PersistedSession, details: &SessionDetails) -> SessionRecord {
    let milliseconds = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let policy = &kept.spec.policy;
    let proxy = details.window.proxy.as_ref();
    SessionRecord {
        id: Uuid::from_u128(kept.id.0),
        name: kept.spec.name.clone(),
        site: details.site.clone(),
        username: details.target.login.username().filter(|_| details.target.login.credential().is_none()),
        password: details.target.login.own_password().cloned(),
        credential: details.target.login.credential().map(str::to_owned),
        start_url: details.target.start_url.clone(),
        profile: details.profile.clone(),
        dedicated: details.isolation == Isolation::Dedicated,
        proxy: proxy.map(|proxy| ProxyRecord {
            server: proxy.server.clone(),
            username: proxy.username.clone(),
            password: proxy.password.clone(),
            bypass: proxy.bypass.clone(),
        }),
        viewport: details.window.viewport,
        tags: details.tags.clone(),
        keep_alive: policy.keep_alive,
        never_terminate: policy.never_terminate,
        idle_timeout_ms: milliseconds(policy.idle_timeout),
        refresh_interval_ms: policy.own_refresh.map(|own| own.map_or(0, milliseconds)),
        created_at_ms: kept.created_at.0,
        last_used_ms: kept.last_used.0,
        last_refresh_ms: kept.last_refresh.map(|at| at.0),
        signed_in_at_ms: kept.signed_in_at.map(|at| at.0),
        sign_in: recorded(&kept.sign_in),
        attention: kept.attention.clone(),
        refused: kept.refused,
        tried_at_ms: kept.tried_at.map(|at| at.0),
        left_at: details.left_at.clone(),
        live: kept.live,
        ended: kept.ended.map(|(at, reason)| EndedRecord {
            at_ms: at.0,
            reason: ended_reason(reason).as_str().to_owned(),
        }),
        holds: kept
            .holds
            .iter()
            .map(|hold| HoldRecord {
                id: Uuid::from_u128(hold.id.0),
                shared: hold.shared,
                quiet: hold.quiet,
                owner: details.owners.get(&hold.id).cloned(),
                expires_at_ms: hold.expires_at.0,
            })
            .collect(),
    }
}

/// Returns the reason that is stored as this word.
pub(crate) fn reason_of(word: &str) -> EndedReason {
    use EndedReason as Reason;
    let all = [
        Reason::ClosedByClient,
        Reason::IdleTimeout,
        Reason::Evicted,
        Reason::SignInFailed,
        Reason::StartFailed,
    ];
    // A word of a newer version shows at least that the session has ended.
    all.into_iter().find(|reason| ended_reason(*reason).as_str() == word).unwrap_or(Reason::ClosedByClient)
}
