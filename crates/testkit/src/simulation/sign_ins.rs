//! That nothing is told of a sign-in but what was just reported.

use std::collections::BTreeMap;

use pilotlight_core::{Failure, FailureKind, Input, Rules, SessionId, SignIn, SignInStatus};

/// What an activity of a session came to.
type Reported = (SessionId, Result<SignInStatus, Failure>);

/// What was last told of the sign-ins, and what is reported in this step.
#[derive(Debug, Default)]
pub(super) struct SignIns {
    told: BTreeMap<SessionId, SignIn>,
    reported: Option<Reported>,
}

impl SignIns {
    pub(super) fn before(&mut self, input: &Input) {
        self.reported = match input {
            Input::ActivityEnded { session, outcome, .. }
            | Input::RefreshedBeside { session, outcome, .. } => Some((*session, outcome.clone())),
            _ => None,
        };
    }

    /// The next server tells what was written down, which may be older.
    pub(super) fn cut_off(&mut self) {
        self.told.clear();
    }

    /// Compares what is told after a step with what was told before it. Returns how many people were asked about a page
    /// that looks signed out.
    pub(super) fn after(&mut self, rules: &Rules) -> Result<u64, String> {
        let mut asked = 0;
        for session in rules.living() {
            let is_known = self.told.contains_key(&session.id);
            let before = self.told.entry(session.id).or_default();
            if *before == session.sign_in {
                continue;
            }
            if is_known && !explains(self.reported.as_ref(), session.id, before, &session.sign_in) {
                return Err(format!(
                    "{:?} is told to be {:?} after {before:?}, and what was reported is {:?}",
                    session.id, session.sign_in, self.reported
                ));
            }
            let is_asked =
                |sign_in: &SignIn| matches!(sign_in, SignIn::LooksSignedOut { is_asked: true, .. });
            asked += u64::from(is_asked(&session.sign_in) && !is_asked(before));
            if matches!(session.sign_in, SignIn::Refused { .. })
                && session.persisted().is_some_and(|kept| !kept.refused)
            {
                return Err(format!("{:?} is told to be refused and may be tried", session.id));
            }
            before.clone_from(&session.sign_in);
        }
        Ok(asked)
    }
}

/// Returns whether what is `reported` in this step is the reason for what is told `now` of a session instead of `before`.
fn explains(reported: Option<&Reported>, id: SessionId, before: &SignIn, now: &SignIn) -> bool {
    // Somebody asked for another try.
    if matches!((before, now), (SignIn::Refused { .. }, SignIn::SignedOut { .. })) {
        return true;
    }
    let Some((session, outcome)) = reported else { return false };
    match (outcome, now) {
        // It may have been another session with the same login.
        (Err(failure), SignIn::Refused { .. }) => failure.kind == FailureKind::Rejected,
        (Ok(SignInStatus::SignedIn), SignIn::SignedIn { .. })
        | (Ok(SignInStatus::SignedOut), SignIn::SignedOut { .. } | SignIn::Refused { .. })
        | (Ok(SignInStatus::Unknown), SignIn::Unknown { .. })
        | (Ok(SignInStatus::LooksSignedOut(_)), SignIn::LooksSignedOut { .. })
        | (Ok(SignInStatus::PersonNeeded(_)), SignIn::PersonNeeded { .. }) => *session == id,
        _ => false,
    }
}
