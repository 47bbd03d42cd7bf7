//! What a portal did with a sign-in, by what was sent, what it answered, and what its form shows.

use std::time::Duration;

use pilotlight_chromium::Traffic;
use serde::Deserialize;

/// How long a portal may take to let somebody in that answers, and shows neither yes nor no.
pub(super) const ANSWERED_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a portal may leave a sign-in without an answer.
pub(super) const UNANSWERED_TIMEOUT: Duration = Duration::from_secs(60);
/// A form that is still (or again) there after this long, with nothing on its way, means a refusal where something
/// says so: a new document, an answer of refusal, or the form itself.
pub(super) const REFUSED_AFTER: Duration = Duration::from_secs(2);
/// The same where only the looks of the form say so: a page may show a message, or empty its form, on its way on.
pub(super) const COMPLAINED_FOR: Duration = Duration::from_secs(5);
/// The status of a page that fails by itself. Some portals refuse a password with it; those that are not there, or have
/// too much to do, answer with others.
pub(super) const SERVER_ERROR: u16 = 500;

/// What the form shows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FieldState {
    /// Whether the field that was typed into last, or is there of those that were, has something in it.
    pub(super) is_filled: bool,
    /// What the page says loudly: alerts, and marks of what is not valid.
    pub(super) says: String,
}

/// What is known from the moment in which something was last typed.
#[derive(Debug, Default)]
pub(super) struct Typed {
    /// How often the page had gone on to another document then.
    pub(super) navigations: u64,
    /// Whether everything was typed that the flow types.
    pub(super) is_all: bool,
    /// The form once everything was typed.
    pub(super) form: Option<FieldState>,
}

/// What the portal is found to have done with a sign-in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing can be said yet.
    Open,
    /// It refused it.
    Refused,
    /// It shows the form, says nothing, and has answered what it was sent.
    Silent,
    /// It has not answered.
    Slow,
    /// It was never asked.
    NotSent,
    /// It answered that it is not able to answer, with this HTTP status.
    Faulty(u16),
    /// It shows something else than its form, or than what the site's conditions know.
    Elsewhere,
}

/// Judges a sign-in `waited` after its flow ended, or got stuck. `went_on` says whether another document came since
/// something was last typed; without `traffic` it is not known what was sent. Where a flow got stuck between its fields,
/// the page is not as it was recorded, and it is given up early, unless the portal says no.
pub(super) fn judge(
    typed: &Typed,
    went_on: bool,
    form: Option<&FieldState>,
    traffic: Option<Traffic>,
    waited: Duration,
    gives_up_early: bool,
) -> Verdict {
    let is_late = waited >= if gives_up_early { REFUSED_AFTER } else { ANSWERED_TIMEOUT };
    let is_refused = traffic.is_some_and(|traffic| traffic.refused.is_some());
    let complains =
        form.zip(typed.form.as_ref()).is_some_and(|(form, before)| before.is_turned_down_by(form));
    // What a new document does is not part of the sign-in any more.
    let is_pending =
        traffic.is_some_and(|traffic| if went_on { traffic.is_loading } else { traffic.pending > 0 });
    if is_pending {
        return match waited >= UNANSWERED_TIMEOUT {
            false => Verdict::Open,
            true if form.is_some() && (is_refused || complains) => Verdict::Refused,
            true => Verdict::Slow,
        };
    }
    let quiet_for = traffic.map_or(waited, |traffic| traffic.quiet_for.min(waited));
    // What a portal that is not there has the page say is no answer to the password.
    let failed = traffic.filter(|_| !went_on && !is_refused).and_then(|traffic| traffic.failed);
    if let Some(status) = failed.filter(|status| *status != SERVER_ERROR)
        && quiet_for >= REFUSED_AFTER
    {
        return Verdict::Faulty(status);
    }
    if form.is_none() {
        return match (is_late, failed) {
            (false, _) => Verdict::Open,
            (true, Some(status)) => Verdict::Faulty(status),
            (true, None) => Verdict::Elsewhere,
        };
    }
    let was_asked = traffic.is_none_or(|traffic| traffic.any);
    // An identity provider at another site may have refused it, and its answers are not looked into.
    let was_asked_elsewhere = traffic.is_some_and(|traffic| traffic.any_elsewhere);
    let says_no = if went_on {
        waited >= REFUSED_AFTER
    } else if is_refused {
        quiet_for >= REFUSED_AFTER
    } else {
        was_asked && complains && quiet_for >= COMPLAINED_FOR
    };
    match (says_no, is_late) {
        (true, _) => Verdict::Refused,
        (false, false) => Verdict::Open,
        (false, true) if !was_asked && !complains && !was_asked_elsewhere => Verdict::NotSent,
        (false, true) => {
            let silent = if typed.is_all { Verdict::Silent } else { Verdict::Elsewhere };
            failed.map_or(silent, Verdict::Faulty)
        }
    }
}

impl FieldState {
    /// Whether the form, once filled in so, has been emptied or has begun to complain.
    fn is_turned_down_by(&self, now: &Self) -> bool {
        (self.is_filled && !now.is_filled) || (!now.says.is_empty() && now.says != self.says)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(is_filled: bool, says: &str) -> FieldState {
        FieldState { is_filled, says: says.to_owned() }
    }

    fn typed() -> Typed {
        Typed { navigations: 0, is_all: true, form: Some(form(true, "cookies")) }
    }

    /// A portal that was asked and has answered, a while ago.
    fn answered() -> Traffic {
        let quiet_for = Duration::from_secs(60);
        let (refused, failed, any_elsewhere) = (None, None, false);
        Traffic {
            any: true,
            any_elsewhere,
            is_loading: false,
            pending: 0,
            refused,
            failed,
            quiet_for,
            is_complete: true,
        }
    }

    /// The verdict after these seconds.
    fn after(seconds: u64, shown: Option<&FieldState>, traffic: Traffic) -> Verdict {
        judge(&typed(), false, shown, Some(traffic), Duration::from_secs(seconds), false)
    }

    #[test]
    fn a_refusal_in_place_is_known_by_its_status_or_by_what_the_form_shows() {
        let as_typed = form(true, "cookies");
        let refused = Traffic { refused: Some(401), ..answered() };
        assert_eq!(after(3, Some(&as_typed), refused), Verdict::Refused);
        for complaint in [form(false, "cookies"), form(true, "wrong")] {
            assert_eq!(after(3, Some(&complaint), answered()), Verdict::Open, "it may be on its way on");
            assert_eq!(after(6, Some(&complaint), answered()), Verdict::Refused);
        }
        let quieter = form(true, "");
        assert_eq!(after(6, Some(&quieter), answered()), Verdict::Open, "a message that goes says nothing");
        assert_eq!(after(6, Some(&as_typed), answered()), Verdict::Open);
        assert_eq!(after(16, Some(&as_typed), answered()), Verdict::Silent);
    }

    #[test]
    fn a_form_that_may_just_not_be_hidden_yet_is_no_refusal() {
        let at_once = Traffic { refused: Some(401), quiet_for: Duration::from_millis(100), ..answered() };
        assert_eq!(after(3, Some(&form(false, "")), at_once), Verdict::Open);
        let refused = Traffic { refused: Some(401), ..answered() };
        assert_eq!(after(1, Some(&form(false, "")), refused), Verdict::Open);
        assert_eq!(after(3, None, refused), Verdict::Open);
    }

    #[test]
    fn a_portal_that_has_not_answered_is_slow_and_not_contradicted() {
        let pending = Traffic { pending: 1, refused: Some(401), ..answered() };
        assert_eq!(after(59, Some(&form(false, "wrong")), pending), Verdict::Open);
        assert_eq!(after(61, Some(&form(false, "wrong")), pending), Verdict::Refused);
        let only_slow = Traffic { refused: None, ..pending };
        assert_eq!(after(61, Some(&form(true, "cookies")), only_slow), Verdict::Slow);
    }

    #[test]
    fn a_portal_that_fails_has_not_refused_unless_the_form_complains_of_what_it_said() {
        let as_typed = form(true, "cookies");
        let failed = |status| Traffic { failed: Some(status), ..answered() };
        assert_eq!(after(3, Some(&form(true, "Try again")), failed(503)), Verdict::Faulty(503));
        assert_eq!(after(6, Some(&form(true, "wrong")), failed(500)), Verdict::Refused);
        assert_eq!(after(6, Some(&as_typed), failed(500)), Verdict::Open);
        assert_eq!(after(16, Some(&as_typed), failed(500)), Verdict::Faulty(500));
        let again = Traffic { pending: 1, ..failed(503) };
        assert_eq!(after(6, Some(&as_typed), again), Verdict::Open, "it is sent again");
        let verdict = judge(&typed(), true, Some(&as_typed), Some(failed(500)), REFUSED_AFTER, true);
        assert_eq!(verdict, Verdict::Refused, "a new document shows the form");
    }

    #[test]
    fn what_a_new_document_sends_by_itself_holds_up_no_verdict() {
        let shown = form(false, "");
        let polls = Traffic { pending: 3, quiet_for: Duration::ZERO, ..answered() };
        let verdict = |traffic| judge(&typed(), true, Some(&shown), Some(traffic), REFUSED_AFTER, true);
        assert_eq!(verdict(polls), Verdict::Refused);
        assert_eq!(verdict(Traffic { is_loading: true, ..polls }), Verdict::Open);
    }

    #[test]
    fn what_was_never_sent_is_no_refusal_unless_the_form_itself_complains() {
        let unasked = Traffic { any: false, ..answered() };
        assert_eq!(after(6, Some(&form(true, "cookies")), unasked), Verdict::Open);
        assert_eq!(after(16, Some(&form(true, "cookies")), unasked), Verdict::NotSent);
        assert_eq!(after(6, Some(&form(true, "Too short")), unasked), Verdict::Open);
        assert_eq!(after(16, Some(&form(true, "Too short")), unasked), Verdict::Silent);
    }

    #[test]
    fn a_new_document_with_the_form_is_a_refusal_even_where_nothing_was_seen() {
        let shown = form(false, "");
        let verdict = |waited| judge(&typed(), true, Some(&shown), None, Duration::from_secs(waited), true);
        assert_eq!((verdict(1), verdict(2)), (Verdict::Open, Verdict::Refused));
    }

    #[test]
    fn a_flow_that_is_stuck_between_its_fields_is_given_up_soon() {
        let between = Typed { is_all: false, ..typed() };
        let shown = form(true, "cookies");
        let verdict = |traffic, waited| {
            judge(&between, false, Some(&shown), Some(traffic), Duration::from_secs(waited), true)
        };
        assert_eq!(verdict(answered(), 2), Verdict::Elsewhere);
        let unknown_user = Traffic { refused: Some(422), ..answered() };
        assert_eq!(verdict(unknown_user, 2), Verdict::Refused);
    }
}
