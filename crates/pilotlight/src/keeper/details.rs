//! Data of a session that the rules do not need, and the conversion of sessions for clients.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use pilotlight_api as api;
use pilotlight_checkpoint::Checkpoint;
use pilotlight_chromium::{Window, WindowOptions};
use pilotlight_core as core;
use pilotlight_linux::Measure;
use uuid::Uuid;

use super::events::live_url;
use super::measured_window::MeasuredWindow;
use super::session_target::SessionTarget;
use super::sign_in_status;
use crate::clock::timestamp;

/// A session's site, page, window and tags.
#[derive(Debug, Clone)]
pub struct SessionDetails {
    /// The site's name.
    pub site: Option<String>,
    /// The launch profile's name.
    pub profile: String,
    /// Whether it shares its browser.
    pub isolation: api::Isolation,
    /// Tags that the client set.
    pub tags: BTreeMap<String, String>,
    /// How its window is opened.
    pub window: WindowOptions,
    /// The initial state, if the client provided one.
    pub begins_with: Option<Arc<Checkpoint>>,
    /// The URL in its newest checkpoint.
    pub left_at: Option<String>,
    /// The size of its newest checkpoint in bytes.
    pub stored_bytes: Option<u64>,
    /// When that was stored.
    pub stored_at: Option<core::Moment>,
    /// The owners of its holds, as far as they are named.
    pub owners: BTreeMap<core::HoldId, String>,
    /// The holds of connected clients.
    pub connections: BTreeSet<core::HoldId>,
    /// What activities in its window need. It may contain a password, which is dropped when the session ends.
    pub target: Arc<SessionTarget>,
}

impl SessionDetails {
    /// A session that has ended needs no password, though it is kept for a while.
    pub(super) fn forget_secrets(&mut self) {
        self.window.proxy = None;
        self.begins_with = None;
        self.left_at = None;
        self.stored_bytes = None;
        if self.target.login.own_password().is_some() {
            let login = self.target.login.without_secrets();
            self.target = Arc::new(SessionTarget { login, ..SessionTarget::clone(&self.target) });
        }
    }
}

impl SessionDetails {
    /// Returns how a window of this kind is opened.
    pub(super) fn window_options(&self, kind: core::WindowKind) -> WindowOptions {
        let bare_for = match kind {
            core::WindowKind::Full => None,
            core::WindowKind::Bare => self.site.clone(),
        };
        WindowOptions { bare_for, ..self.window.clone() }
    }
}

/// A session as last published, with its window, from which the values that change without an event are read.
#[derive(Debug, Clone)]
pub struct Published {
    session: api::Session,
    window: Option<MeasuredWindow>,
    /// The last address of its page in an earlier window.
    left_at: Option<String>,
}

impl Published {
    pub(super) fn new(
        session: &core::Session,
        details: &SessionDetails,
        window: Option<MeasuredWindow>,
        address: SocketAddr,
        failure_url: Option<String>,
    ) -> Self {
        let id = Uuid::from_u128(session.id.0);
        let lives = session.ended.is_none();
        let session = api::Session {
            session_id: id,
            name: session.name.clone(),
            site: details.site.clone(),
            username: details.target.login.username(),
            credential: details.target.login.credential().map(str::to_owned),
            state: state(session.state()),
            in_use: session.is_used(),
            holds: session.holds.iter().map(|hold| held(hold, details)).collect(),
            clients: session.holds.iter().filter_map(|hold| connected(hold, details)).collect(),
            keep_alive: session.policy.keep_alive,
            never_terminate: session.policy.never_terminate,
            created_at: timestamp(session.created_at),
            last_used: timestamp(session.last_used),
            last_refresh: session.last_refresh.map(timestamp),
            sign_in: sign_in_status::published(&session.sign_in),
            signed_in_at: session.signed_in_at.map(timestamp),
            next_refresh: session.next_refresh().map(timestamp),
            refresh_interval: session.policy.refresh_interval().unwrap_or_default().as_secs(),
            idle_timeout: session.policy.idle_timeout.as_secs(),
            checkpoint_at: details.stored_at.map(timestamp),
            expires_at: session.expires_at().map(timestamp),
            url: None,
            title: None,
            tabs: 0,
            isolation: details.isolation,
            profile: details.profile.clone(),
            shard: session.shard().filter(|_| !session.has_refresh_window()).map(shard_name),
            memory_bytes: None,
            swapped_bytes: None,
            memory_measure: None,
            storage_bytes: details.stored_bytes,
            cdp_url: lives.then(|| format!("ws://{address}/sessions/{id}/devtools/browser")),
            live_url: lives.then(|| live_url(address, id)),
            failure_url: failure_url.filter(|_| lives),
            ended_reason: session.ended.map(|(_, reason)| ended_reason(reason)),
            attention: session.attention.clone(),
            tags: details.tags.clone(),
        };
        Self { session, window, left_at: details.left_at.clone() }
    }

    /// Returns the session as it is now: its page is read from the window, its memory is as last measured.
    #[must_use]
    pub fn now(&self) -> api::Session {
        let mut session = self.session.clone();
        match &self.window {
            Some(window) => {
                let summary = window.window.summary();
                session.url = Some(summary.url);
                session.title = Some(summary.title);
                session.tabs = u32::try_from(summary.tabs).unwrap_or(u32::MAX);
                let memory = window.memory();
                session.memory_bytes = memory.map(|memory| memory.bytes);
                session.swapped_bytes = memory.map(|memory| memory.swapped_bytes);
                session.memory_measure = memory.map(|memory| memory_measure(memory.measure));
            }
            None => {
                (session.memory_bytes, session.swapped_bytes) = (Some(0), Some(0));
                session.url.clone_from(&self.left_at);
            }
        }
        session
    }

    /// Measures its memory again if the last measurement is too old.
    pub async fn measure(&self) {
        if let Some(window) = &self.window {
            window.measure().await;
        }
    }

    /// Returns the processes of its renderers, if its pages respond soon.
    pub(crate) async fn renderer_pids(&self) -> Vec<u32> {
        match &self.window {
            Some(window) => window.renderer_pids().await,
            None => Vec::new(),
        }
    }

    /// Returns its window, if it has one.
    #[must_use]
    pub fn window(&self) -> Option<&Window> {
        self.window.as_ref().map(|live| &live.window)
    }

    /// Returns a picture of its page, a JPEG that is at most a minute old. It wakes nothing and does not count as a
    /// use.
    pub async fn picture(&self) -> Option<Bytes> {
        let is_still = self.session.state == api::SessionState::Frozen;
        self.window.as_ref()?.picture(is_still).await
    }

    /// Returns whether it has ended.
    #[must_use]
    pub fn ended(&self) -> Option<api::EndedReason> {
        self.session.ended_reason
    }

    /// Returns its last published state.
    #[must_use]
    pub fn state(&self) -> api::SessionState {
        self.session.state
    }

    /// Returns the name of its credential, if it has one.
    #[must_use]
    pub fn credential(&self) -> Option<&str> {
        self.session.credential.as_deref()
    }

    /// Returns whether it never expires.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.session.keep_alive
    }
}

fn held(hold: &core::Hold, details: &SessionDetails) -> api::SessionHold {
    api::SessionHold {
        owner: details.owners.get(&hold.id).cloned(),
        shared: hold.shared,
        quiet: hold.quiet,
        expires_at: timestamp(hold.expires_at),
    }
}

fn connected(hold: &core::Hold, details: &SessionDetails) -> Option<api::SessionClient> {
    details.connections.contains(&hold.id).then(|| api::SessionClient {
        name: details.owners.get(&hold.id).cloned().unwrap_or_default(),
        silent_since: hold.silent_since.map(timestamp),
    })
}

/// Returns the name of a browser process in the interface.
#[must_use]
pub(super) fn shard_name(shard: core::ShardId) -> String {
    format!("s{}", shard.0)
}

/// Returns the contract's name for the method of a memory measurement.
#[must_use]
pub fn memory_measure(measure: Measure) -> api::MemoryMeasure {
    match measure {
        Measure::Proportional => api::MemoryMeasure::Proportional,
        Measure::Private => api::MemoryMeasure::Private,
    }
}

/// Returns the contract's name of a state.
pub(super) fn state(state: core::State) -> api::SessionState {
    match state {
        core::State::Starting => api::SessionState::Starting,
        core::State::SigningIn => api::SessionState::SigningIn,
        core::State::Ready => api::SessionState::Ready,
        core::State::Frozen => api::SessionState::Frozen,
        core::State::Hibernated => api::SessionState::Hibernated,
        core::State::Recovering => api::SessionState::Recovering,
        core::State::NeedsAttention => api::SessionState::NeedsAttention,
        core::State::Ended => api::SessionState::Ended,
    }
}

/// Returns the contract's name of a reason.
#[must_use]
pub fn ended_reason(reason: core::EndedReason) -> api::EndedReason {
    match reason {
        core::EndedReason::ClosedByClient => api::EndedReason::ClosedByClient,
        core::EndedReason::IdleTimeout => api::EndedReason::IdleTimeout,
        core::EndedReason::Evicted => api::EndedReason::Evicted,
        core::EndedReason::SignInFailed => api::EndedReason::SignInFailed,
        core::EndedReason::StartFailed => api::EndedReason::StartFailed,
    }
}

/// Returns the kind of an event, and a stable word for its reason.
#[must_use]
pub(super) fn event_kind(kind: core::NoticeKind) -> (api::EventKind, &'static str) {
    use api::EventKind as To;
    use core::NoticeKind as From;
    match kind {
        From::Created => (To::Created, "created"),
        From::StateChanged => (To::StateChanged, "state_changed"),
        From::Updated => (To::Updated, "updated"),
        From::SignedIn => (To::SignedIn, "signed_in"),
        From::SignedOut => (To::SignedOut, "signed_out"),
        From::SignInFailed => (To::SignInFailed, "sign_in_failed"),
        From::Refreshed => (To::Refreshed, "refreshed"),
        From::RefreshFailed => (To::RefreshFailed, "refresh_failed"),
        From::HoldGranted => (To::HoldStarted, "hold_granted"),
        From::HoldReleased => (To::HoldEnded, "hold_released"),
        From::HoldExpired => (To::HoldEnded, "hold_expired"),
        From::PageCrashed => (To::PageCrashed, "page_crashed"),
        From::PageHung => (To::PageHung, "page_hung"),
        From::LastPageClosed => (To::LastPageClosed, "last_page_closed"),
        From::WindowLost => (To::WindowLost, "window_lost"),
        From::RecoveryFailed => (To::RecoveryFailed, "recovery_failed"),
        From::Hibernating => (To::Hibernating, "hibernating"),
        From::Waking => (To::Waking, "waking"),
        From::Moving => (To::Moving, "moving"),
        From::SaveFailed => (To::CheckpointFailed, "checkpoint_failed"),
        From::Evicted => (To::Evicted, "capacity"),
        From::Ended => (To::Ended, "ended"),
    }
}
