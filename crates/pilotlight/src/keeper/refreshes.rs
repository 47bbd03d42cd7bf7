//! Counts of refreshes, by way and outcome.

use std::collections::BTreeMap;

use pilotlight_api::RefreshHow;
use pilotlight_core::{Failure, RefreshKind, SignInStatus};

use super::session_target::SessionTarget;

/// The name of a refresh in a hidden page, while the session's own page is in use.
pub(super) const BESIDE: &str = "beside";

/// Refreshes since the server started. There are few ways and outcomes, so it stays small.
#[derive(Debug, Clone, Default)]
pub struct RefreshCounts {
    counts: BTreeMap<(&'static str, &'static str), u64>,
}

impl RefreshCounts {
    pub(super) fn count(&mut self, how: &'static str, outcome: &Result<SignInStatus, Failure>) {
        let outcome = match outcome {
            Ok(SignInStatus::SignedIn) => "signed_in",
            Ok(SignInStatus::Unknown) => "unknown",
            Ok(SignInStatus::SignedOut | SignInStatus::LooksSignedOut(_) | SignInStatus::ShowsNothing) => {
                "signed_out"
            }
            Ok(SignInStatus::PersonNeeded(_)) => "person_needed",
            Err(_) => "failed",
        };
        *self.counts.entry((how, outcome)).or_default() += 1;
    }

    /// Returns the counts by way and outcome, without zeros.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        self.counts.iter().map(|((how, outcome), count)| (*how, *outcome, *count))
    }
}

/// Returns the name of a way: `document` and `window` are those of hibernated sessions, all others are a site's own.
pub(super) fn how(kind: RefreshKind, target: &SessionTarget) -> &'static str {
    match kind {
        RefreshKind::Document => "document",
        RefreshKind::Page => "window",
        RefreshKind::Site => match target.site.as_ref().map(|site| site.definition.refresh.how) {
            Some(RefreshHow::Reload) | None => "reload",
            Some(RefreshHow::Visit) => "visit",
            Some(RefreshHow::Request) => "request",
            Some(RefreshHow::Flow) => "flow",
        },
    }
}
