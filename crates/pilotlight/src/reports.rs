//! Statistics of each site's sign-ins, counted from events and kept in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use pilotlight_api::{Event, EventKind, Session, SessionState, SignInStatus, SiteReportAnswer};
use tokio::sync::broadcast::error::RecvError;

use crate::clock::timestamp;
use crate::keeper::KeeperHandle;

/// Number of latest sign-ins per site whose durations are kept.
const MAX_LASTED: usize = 1000;

/// Counts events. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reports {
    keeper: KeeperHandle,
    since: Timestamp,
    tallies: Arc<Mutex<BTreeMap<String, Tally>>>,
}

#[derive(Debug, Default, Clone)]
struct Tally {
    sign_ins: u64,
    sign_ins_failed: u64,
    refreshes: u64,
    refreshes_failed: u64,
    signed_out: u64,
    lasted_seconds: VecDeque<u64>,
}

impl Reports {
    /// Starts counting; stops with the keeper.
    #[must_use]
    pub fn start(keeper: KeeperHandle) -> Self {
        let reports = Self { since: timestamp(keeper.clock().now()), keeper, tallies: Arc::default() };
        let (counting, mut events) = (reports.clone(), reports.keeper.events().subscribe());
        tokio::spawn(async move {
            loop {
                match events.recv().await {
                    Ok(event) => counting.count(&event),
                    Err(RecvError::Lagged(missed)) => {
                        tracing::warn!(missed, "site reports have missed events");
                    }
                    Err(RecvError::Closed) => return,
                }
            }
        });
        reports
    }

    fn count(&self, event: &Event) {
        let counted = matches!(
            event.kind,
            EventKind::SignedIn
                | EventKind::SignInFailed
                | EventKind::Refreshed
                | EventKind::RefreshFailed
                | EventKind::SignedOut
        );
        let published = event.session_id.filter(|_| counted).and_then(|id| self.keeper.published(id));
        let Some(session) = published.map(|published| published.now()) else { return };
        let Some(site) = session.site else { return };
        let mut tallies = self.tallies();
        let tally = tallies.entry(site).or_default();
        match event.kind {
            EventKind::SignedIn => tally.sign_ins += 1,
            EventKind::SignInFailed => tally.sign_ins_failed += 1,
            EventKind::Refreshed => tally.refreshes += 1,
            EventKind::RefreshFailed => tally.refreshes_failed += 1,
            _ => {
                tally.signed_out += 1;
                if let Some(at) = session.signed_in_at {
                    if tally.lasted_seconds.len() >= MAX_LASTED {
                        tally.lasted_seconds.pop_front();
                    }
                    tally.lasted_seconds.push_back(seconds(at, event.time));
                }
            }
        }
    }

    /// Returns the report of an existing site.
    #[must_use]
    pub fn of(&self, name: &str) -> SiteReportAnswer {
        let tally = self.tallies().get(name).cloned().unwrap_or_default();
        let now = timestamp(self.keeper.clock().now());
        let directory = self.keeper.directory();
        let living = directory.sessions.values().filter(|published| published.ended().is_none());
        let sessions: Vec<Session> = living
            .map(|published| published.now())
            .filter(|session| session.site.as_deref() == Some(name))
            .collect();
        let is_signed_in = |session: &&Session| {
            matches!(session.state, SessionState::Ready | SessionState::Frozen | SessionState::Hibernated)
                && session.sign_in.status == SignInStatus::SignedIn
        };
        let signed_in: Vec<&Session> = sessions.iter().filter(is_signed_in).collect();
        let holding = signed_in.iter().filter_map(|session| session.signed_in_at.map(|at| seconds(at, now)));
        let mut lasted: Vec<u64> = tally.lasted_seconds.into();
        lasted.sort_unstable();
        let looked = tally.refreshes + tally.signed_out;
        SiteReportAnswer {
            success: true,
            name: name.to_owned(),
            since: self.since,
            sessions: sessions.len() as u64,
            signed_in: signed_in.len() as u64,
            sign_ins: tally.sign_ins,
            sign_ins_failed: tally.sign_ins_failed,
            refreshes: tally.refreshes,
            refreshes_failed: tally.refreshes_failed,
            signed_out: tally.signed_out,
            signed_in_percent: (100 * tally.refreshes).checked_div(looked),
            median_duration: lasted.get(lasted.len() / 2).copied(),
            longest_duration: lasted.last().copied(),
            longest_current: holding.max(),
        }
    }

    fn tallies(&self) -> MutexGuard<'_, BTreeMap<String, Tally>> {
        self.tallies.lock()
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_second() - from.as_second()).unwrap_or(0)
}
