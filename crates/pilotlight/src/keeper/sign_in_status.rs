//! Conversion of the sign-in status for clients and for the store.

use pilotlight_api::{SessionSignIn, SignInHow as How, SignInStatus as Status};
use pilotlight_core::{Check, Moment, SignIn, Suspicion};
use pilotlight_store::record::SignInRecord;

use crate::clock::timestamp;

/// Returns the status for clients.
pub(super) fn published(sign_in: &SignIn) -> SessionSignIn {
    let (status, how) = words(sign_in);
    SessionSignIn { status, checked_at: sign_in.checked_at().map(timestamp), how }
}

/// Returns the status for the store, if it is known.
pub(super) fn recorded(sign_in: &SignIn) -> Option<SignInRecord> {
    let (status, how) = words(sign_in);
    let moved_to = match sign_in.suspicion() {
        Some(Suspicion::Moved { to }) => Some(to.clone()),
        Some(Suspicion::PasswordField) | None => None,
    };
    Some(SignInRecord {
        status: status.as_str().to_owned(),
        how: how?.as_str().to_owned(),
        checked_at_ms: sign_in.checked_at()?.0,
        moved_to,
        is_asked: matches!(sign_in, SignIn::LooksSignedOut { is_asked: true, .. }),
    })
}

/// Returns the stored status. Words of a newer version are ignored.
pub(crate) fn sign_in_of(record: Option<&SignInRecord>) -> SignIn {
    let read = |record: &SignInRecord| {
        let status = Status::ALL.into_iter().find(|status| status.as_str() == record.status)?;
        let how = How::ALL.into_iter().find(|how| how.as_str() == record.how)?;
        let (checked_at, is_asked) = (Moment(record.checked_at_ms), record.is_asked);
        let suspicion = match how {
            How::PasswordField => Some(Suspicion::PasswordField),
            How::Moved => Some(Suspicion::Moved { to: record.moved_to.clone()? }),
            How::Conditions | How::SignIn | How::Refresh | How::NoConditions => None,
        };
        let by = match how {
            How::SignIn => Check::SignIn,
            How::Refresh => Check::Refresh,
            How::Conditions | How::NoConditions | How::PasswordField | How::Moved => Check::Conditions,
        };
        Some(match (status, suspicion) {
            (Status::SignedOut, Some(because)) => SignIn::LooksSignedOut { checked_at, because, is_asked },
            (Status::SignedOut, None) => SignIn::SignedOut { checked_at, by },
            (Status::SignedIn, _) => SignIn::SignedIn { checked_at, by },
            (Status::Unknown, _) => SignIn::Unknown { checked_at },
            (Status::Refused, _) => SignIn::Refused { checked_at },
            (Status::PersonNeeded, _) => SignIn::PersonNeeded { checked_at, by },
        })
    };
    record.and_then(read).unwrap_or_default()
}

fn words(sign_in: &SignIn) -> (Status, Option<How>) {
    let (status, how) = match sign_in {
        SignIn::Unchecked => return (Status::Unknown, None),
        SignIn::Unknown { .. } => (Status::Unknown, How::NoConditions),
        SignIn::SignedIn { by, .. } => (Status::SignedIn, how_of(*by)),
        SignIn::SignedOut { by, .. } => (Status::SignedOut, how_of(*by)),
        SignIn::LooksSignedOut { because: Suspicion::PasswordField, .. } => {
            (Status::SignedOut, How::PasswordField)
        }
        SignIn::LooksSignedOut { because: Suspicion::Moved { .. }, .. } => (Status::SignedOut, How::Moved),
        SignIn::Refused { .. } => (Status::Refused, How::SignIn),
        SignIn::PersonNeeded { by, .. } => (Status::PersonNeeded, how_of(*by)),
    };
    (status, Some(how))
}

fn how_of(check: Check) -> How {
    match check {
        Check::Conditions => How::Conditions,
        Check::SignIn => How::SignIn,
        Check::Refresh => How::Refresh,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_read_again() {
        let checked_at = Moment(7);
        let moved = Suspicion::Moved { to: "https://portal.example/login".to_owned() };
        let all = [
            SignIn::Unchecked,
            SignIn::Unknown { checked_at },
            SignIn::SignedIn { checked_at, by: Check::Refresh },
            SignIn::SignedOut { checked_at, by: Check::SignIn },
            SignIn::LooksSignedOut { checked_at, because: Suspicion::PasswordField, is_asked: false },
            SignIn::LooksSignedOut { checked_at, because: moved, is_asked: true },
            SignIn::Refused { checked_at },
            SignIn::PersonNeeded { checked_at, by: Check::Conditions },
        ];
        for sign_in in all {
            assert_eq!(sign_in_of(recorded(&sign_in).as_ref()), sign_in);
        }
    }

    #[test]
    fn words_of_a_newer_version_say_nothing() {
        let newer = SignInRecord {
            status: "signed_in".to_owned(),
            how: "telepathy".to_owned(),
            checked_at_ms: 7,
            moved_to: None,
            is_asked: false,
        };
        assert_eq!(sign_in_of(Some(&newer)), SignIn::Unchecked);
    }
}
