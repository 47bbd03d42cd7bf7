//! Who is signed in at the portal, and what it counted: plain bookkeeping without a clock of its own.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use pilotlight_flow::Totp;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::appointment::{Booking, Draft, MAX_BOOKINGS};
use super::sending::Sent;

/// The most sessions at once; the one that was idle longest makes room for a new one.
pub const MAX_SESSIONS: usize = 4096;
/// The most accounts that are counted; further ones cannot sign in.
pub const MAX_ACCOUNTS: usize = 4096;
/// The longest user name, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// What happened, for one account or for all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Sign-ins that worked.
    pub sign_ins: u64,
    /// Sign-ins with a wrong password, or of a locked account.
    pub failed_sign_ins: u64,
    /// Codes of a second factor that were wrong, or used before.
    #[serde(default)]
    pub refused_codes: u64,
    /// The most sign-ins that were under way at the same moment.
    pub signing_in_peak: u64,
    /// Requests of somebody signed in.
    pub requests: u64,
    /// Values that were written at the workbench.
    pub writes: u64,
    /// Appointments that were booked.
    #[serde(default)]
    pub bookings: u64,
    /// Sessions that their user ended.
    pub sign_outs: u64,
    /// Sessions that ended because no request came for too long.
    pub expired: u64,
    /// Sessions that the portal ended: everybody was logged out, or there were too many.
    pub dropped: u64,
    /// Sessions that are signed in now.
    pub sessions: u64,
}

/// Everything that the portal counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistics {
    /// Over all accounts.
    pub total: Counts,
    /// By user name.
    pub users: BTreeMap<String, Counts>,
}

#[derive(Debug)]
struct SignedIn {
    user: String,
    /// What was last written at the workbench.
    work: String,
    /// How far the appointment came.
    draft: Draft,
    last_request: Instant,
}

#[derive(Debug, Default)]
struct Account {
    counts: Counts,
    signing_in: u64,
    /// Instead of the password that all have.
    password: Option<String>,
    /// What is asked for after the password.
    second_factor: Option<Totp>,
    /// Nobody may use one again.
    used_codes: Vec<String>,
    failed_in_a_row: u64,
    is_locked: bool,
}

/// How far a name and a password lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// In.
    SignedIn,
    /// To the question for a code.
    WantsCode,
    /// Nowhere.
    Refused,
    /// Nowhere, whatever the password.
    Locked,
}

/// How a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    SignOut,
    Expired,
    Dropped,
}

/// The portal's memory.
#[derive(Debug)]
pub(super) struct Ledger {
    session_timeout: Duration,
    password: String,
    sessions: HashMap<String, SignedIn>,
    accounts: BTreeMap<String, Account>,
    signing_in: u64,
    signing_in_peak: u64,
    bookings: Vec<Booking>,
    /// How many were ever booked.
    booked: usize,
    /// Who has given a password and not yet a code, by the token of the question.
    asked: HashMap<String, String>,
    lock_after: u64,
    /// Every request that came.
    pub(super) sent: Sent,
}

impl Ledger {
    pub(super) fn new(session_timeout: Duration, password: String, lock_after: u64) -> Self {
        Self {
            session_timeout,
            password,
            sessions: HashMap::new(),
            accounts: BTreeMap::new(),
            signing_in: 0,
            signing_in_peak: 0,
            bookings: Vec::new(),
            booked: 0,
            asked: HashMap::new(),
            lock_after,
            sent: Sent::default(),
        }
    }

    /// Notes that a sign-in begins; `false` where the name cannot be one of an account.
    pub(super) fn begin_sign_in(&mut self, user: &str) -> bool {
        let is_name = !user.is_empty() && user.len() <= MAX_NAME_BYTES;
        if !is_name || (self.accounts.len() >= MAX_ACCOUNTS && !self.accounts.contains_key(user)) {
            return false;
        }
        let account = self.accounts.entry(user.to_owned()).or_default();
        account.signing_in += 1;
        account.counts.signing_in_peak = account.counts.signing_in_peak.max(account.signing_in);
        self.signing_in += 1;
        self.signing_in_peak = self.signing_in_peak.max(self.signing_in);
        true
    }

    /// Notes that a sign-in is over, however it ended.
    pub(super) fn end_sign_in(&mut self, user: &str) {
        self.signing_in -= 1;
        if let Some(account) = self.accounts.get_mut(user) {
            account.signing_in -= 1;
        }
    }

    /// Signs in with `token` as the new session's name, or as that of the question for a code.
    pub(super) fn sign_in(&mut self, user: &str, password: &str, token: String, now: Instant) -> Answer {
        self.expire(now);
        let Some(account) = self.accounts.get_mut(user) else { return Answer::Refused };
        if account.is_locked {
            account.counts.failed_sign_ins += 1;
            return Answer::Locked;
        }
        if password != account.password.as_ref().unwrap_or(&self.password) {
            account.counts.failed_sign_ins += 1;
            account.failed_in_a_row += 1;
            account.is_locked = account.failed_in_a_row >= self.lock_after;
            return if account.is_locked { Answer::Locked } else { Answer::Refused };
        }
        if account.second_factor.is_some() {
            if self.asked.len() >= MAX_SESSIONS {
                self.asked.clear();
            }
            self.asked.insert(token, user.to_owned());
            return Answer::WantsCode;
        }
        self.let_in(user, token, now);
        Answer::SignedIn
    }

    /// Signs in whoever was asked for a code by the question `asked`; `false` where it is not the one of now, or was
    /// used.
    pub(super) fn give_code(
        &mut self,
        asked: &str,
        code: &str,
        unix: u64,
        token: String,
        now: Instant,
    ) -> bool {
        let Some(user) = self.asked.get(asked).cloned() else { return false };
        let Some(account) = self.accounts.get_mut(&user) else { return false };
        let Some(totp) = &account.second_factor else { return false };
        let is_used = account.used_codes.iter().any(|used| used == code);
        if is_used || totp.code_at(unix).expose_secret() != code {
            account.counts.refused_codes += 1;
            return false;
        }
        account.used_codes.push(code.to_owned());
        self.asked.remove(asked);
        self.let_in(&user, token, now);
        true
    }

    fn let_in(&mut self, user: &str, token: String, now: Instant) {
        if let Some(account) = self.accounts.get_mut(user) {
            account.counts.sign_ins += 1;
            account.failed_in_a_row = 0;
        }
        if self.sessions.len() >= MAX_SESSIONS {
            let idlest = self.sessions.iter().min_by_key(|(_, session)| session.last_request);
            if let Some(idlest) = idlest.map(|(token, _)| token.clone()) {
                self.end(&idlest, End::Dropped);
            }
        }
        self.sessions.insert(
            token,
            SignedIn {
                user: user.to_owned(),
                work: String::new(),
                draft: Draft::default(),
                last_request: now,
            },
        );
    }

    /// Tells whose session this is, and counts nothing.
    pub(super) fn user_of(&self, token: &str) -> Option<String> {
        self.sessions.get(token).map(|session| session.user.clone())
    }

    /// Notes a request, and tells whose it is.
    pub(super) fn request(&mut self, token: &str, now: Instant) -> Option<String> {
        self.expire(now);
        let session = self.sessions.get_mut(token)?;
        session.last_request = now;
        if let Some(account) = self.accounts.get_mut(&session.user) {
            account.counts.requests += 1;
        }
        Some(session.user.clone())
    }

    /// What was last written at the workbench with this session.
    pub(super) fn work(&self, token: &str) -> Option<&str> {
        self.sessions.get(token).map(|session| session.work.as_str())
    }

    /// Notes what is written at the workbench. From then on `new_token` is the session's name, and the old
    /// one is nobody's. `false` where it is nobody's already.
    pub(super) fn write(&mut self, token: &str, new_token: String, work: String) -> bool {
        let Some(session) = self.sessions.remove(token) else { return false };
        if let Some(account) = self.accounts.get_mut(&session.user) {
            account.counts.writes += 1;
        }
        self.sessions.insert(new_token, SignedIn { work, ..session });
        true
    }

    /// From now on `new_token` is the session's name, and the old one is nobody's. `false` where it is nobody's already.
    pub(super) fn rename(&mut self, token: &str, new_token: String) -> bool {
        let session = self.sessions.remove(token);
        session.is_some_and(|session| self.sessions.insert(new_token, session).is_none())
    }

    /// Looks at how far the appointment of this session came, and changes it; `None` where it is nobody's.
    pub(super) fn update_draft<T>(&mut self, token: &str, change: impl FnOnce(&mut Draft) -> T) -> Option<T> {
        self.sessions.get_mut(token).map(|session| change(&mut session.draft))
    }

    /// Books, and gives the appointment with its number; `None` where there are too many.
    pub(super) fn book(&mut self, booking: Booking) -> Option<Booking> {
        if self.bookings.len() >= MAX_BOOKINGS {
            return None;
        }
        if let Some(account) = self.accounts.get_mut(&booking.user) {
            account.counts.bookings += 1;
        }
        self.booked += 1;
        let booking = Booking { number: format!("HG-{:04}", self.booked), ..booking };
        self.bookings.push(booking.clone());
        Some(booking)
    }

    /// Takes a booking of this user away; `false` where there is none.
    pub(super) fn cancel(&mut self, user: &str, number: &str) -> bool {
        let before = self.bookings.len();
        self.bookings.retain(|booking| booking.user != user || booking.number != number);
        self.bookings.len() < before
    }

    pub(super) fn bookings(&self) -> &[Booking] {
        &self.bookings
    }

    pub(super) fn sign_out(&mut self, token: &str) {
        self.end(token, End::SignOut);
    }

    pub(super) fn drop_all(&mut self, now: Instant) {
        self.expire(now);
        let tokens: Vec<_> = self.sessions.keys().cloned().collect();
        tokens.iter().for_each(|token| self.end(token, End::Dropped));
    }

    /// Changes after how long without a request a session ends. Those that have ended by the old time stay ended.
    pub(super) fn set_session_timeout(&mut self, session_timeout: Duration, now: Instant) {
        self.expire(now);
        self.session_timeout = session_timeout;
    }

    /// Gives an account a password of its own; `false` where the name cannot be one of an account.
    pub(super) fn set_password(&mut self, user: &str, password: String) -> bool {
        self.change(user, |account| account.password = Some(password))
    }

    /// Asks an account for a code after its password, or no longer.
    pub(super) fn set_second_factor(&mut self, user: &str, second_factor: Option<Totp>) -> bool {
        self.change(user, |account| account.second_factor = second_factor)
    }

    /// Locks an account, or lets it in again.
    pub(super) fn set_locked(&mut self, user: &str, is_locked: bool) -> bool {
        self.change(user, |account| (account.is_locked, account.failed_in_a_row) = (is_locked, 0))
    }

    fn change(&mut self, user: &str, change: impl FnOnce(&mut Account)) -> bool {
        let is_name = !user.is_empty() && user.len() <= MAX_NAME_BYTES;
        if !is_name || (self.accounts.len() >= MAX_ACCOUNTS && !self.accounts.contains_key(user)) {
            return false;
        }
        change(self.accounts.entry(user.to_owned()).or_default());
        true
    }

    pub(super) fn statistics(&mut self, now: Instant) -> Statistics {
        self.expire(now);
        let mut users: BTreeMap<_, _> =
            self.accounts.iter().map(|(name, account)| (name.clone(), account.counts)).collect();
        for session in self.sessions.values() {
            users.entry(session.user.clone()).or_default().sessions += 1;
        }
        let mut total = Counts { signing_in_peak: self.signing_in_peak, ..Counts::default() };
        for counts in users.values() {
            total.sign_ins += counts.sign_ins;
            total.failed_sign_ins += counts.failed_sign_ins;
            total.refused_codes += counts.refused_codes;
            total.requests += counts.requests;
            total.writes += counts.writes;
            total.bookings += counts.bookings;
            total.sign_outs += counts.sign_outs;
            total.expired += counts.expired;
            total.dropped += counts.dropped;
            total.sessions += counts.sessions;
        }
        Statistics { total, users }
    }

    /// Ends every session that was idle for too long.
    fn expire(&mut self, now: Instant) {
        let is_over = |session: &SignedIn| now.duration_since(session.last_request) >= self.session_timeout;
        let over: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| is_over(session))
            .map(|(token, _)| token.clone())
            .collect();
        over.iter().for_each(|token| self.end(token, End::Expired));
    }

    fn end(&mut self, token: &str, end: End) {
        let Some(session) = self.sessions.remove(token) else { return };
        let Some(account) = self.accounts.get_mut(&session.user) else { return };
        match end {
            End::SignOut => account.counts.sign_outs += 1,
            End::Expired => account.counts.expired += 1,
            End::Dropped => account.counts.dropped += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(20);

    fn ledger() -> (Ledger, Instant) {
        (Ledger::new(TIMEOUT, "let-me-in".into(), 3), Instant::now())
    }

    fn sign_in(ledger: &mut Ledger, user: &str, password: &str, token: &str, now: Instant) -> bool {
        let known = ledger.begin_sign_in(user);
        let signed_in = known && ledger.sign_in(user, password, token.to_owned(), now) == Answer::SignedIn;
        if known {
            ledger.end_sign_in(user);
        }
        signed_in
    }

    #[test]
    fn a_session_lives_as_long_as_requests_come() {
        let (mut ledger, start) = ledger();
        assert!(sign_in(&mut ledger, "acme", "let-me-in", "t", start));
        let later = start + TIMEOUT - Duration::from_millis(1);
        assert_eq!(ledger.request("t", later).as_deref(), Some("acme"));
        assert_eq!(ledger.request("t", later + TIMEOUT), None);
        let counts = ledger.statistics(later + TIMEOUT).users["acme"];
        assert_eq!((counts.sign_ins, counts.requests, counts.expired, counts.sessions), (1, 1, 1, 0));
    }

    #[test]
    fn passwords_can_be_changed_and_wrong_ones_are_counted() {
        let (mut ledger, now) = ledger();
        assert!(!sign_in(&mut ledger, "acme", "wrong", "t", now));
        assert!(ledger.set_password("acme", "new".into()));
        assert!(!sign_in(&mut ledger, "acme", "let-me-in", "t", now));
        assert!(sign_in(&mut ledger, "acme", "new", "t", now));
        let counts = ledger.statistics(now).total;
        assert_eq!((counts.sign_ins, counts.failed_sign_ins), (1, 2));
    }

    #[test]
    fn an_account_is_locked_after_three_wrong_passwords_in_a_row() {
        let (mut ledger, now) = ledger();
        for _ in 0..3 {
            assert!(!sign_in(&mut ledger, "acme", "wrong", "t", now));
        }
        assert_eq!(ledger.sign_in("acme", "let-me-in", "t".into(), now), Answer::Locked);
        assert!(ledger.set_locked("acme", false));
        assert!(sign_in(&mut ledger, "acme", "let-me-in", "t", now));
    }

    #[test]
    fn a_code_is_asked_for_and_taken_once() {
        let (mut ledger, now) = ledger();
        let totp = Totp::parse(&"GEZDGNBVGY3TQOJQ".into()).unwrap();
        let code = totp.code_at(60).expose_secret().to_owned();
        assert!(ledger.set_second_factor("acme", Some(totp)));
        for (asked, expected) in [("q1", true), ("q2", false)] {
            assert_eq!(ledger.sign_in("acme", "let-me-in", asked.into(), now), Answer::WantsCode);
            assert_eq!(ledger.give_code(asked, &code, 60, asked.into(), now), expected);
        }
        let counts = ledger.statistics(now).users["acme"];
        assert_eq!((counts.sign_ins, counts.refused_codes, counts.sessions), (1, 1, 1));
    }

    #[test]
    fn peaks_are_per_account_and_overall() {
        let (mut ledger, now) = ledger();
        for user in ["a", "a", "b"] {
            assert!(ledger.begin_sign_in(user));
        }
        for user in ["a", "a", "b"] {
            ledger.end_sign_in(user);
        }
        let statistics = ledger.statistics(now);
        assert_eq!(statistics.total.signing_in_peak, 3);
        assert_eq!((statistics.users["a"].signing_in_peak, statistics.users["b"].signing_in_peak), (2, 1));
    }

    #[test]
    fn sessions_and_accounts_are_bounded() {
        let (mut ledger, start) = ledger();
        for index in 0..=MAX_SESSIONS {
            let now = start + Duration::from_micros(u64::try_from(index).unwrap());
            assert!(sign_in(&mut ledger, "acme", "let-me-in", &index.to_string(), now));
        }
        let counts = ledger.statistics(start).total;
        assert_eq!((counts.sessions, counts.dropped), (MAX_SESSIONS as u64, 1));
        assert_eq!(ledger.request("0", start), None);
        for index in 1..MAX_ACCOUNTS {
            assert!(ledger.begin_sign_in(&format!("user-{index}")));
        }
        assert!(!ledger.begin_sign_in("one-too-many"));
        assert!(!ledger.set_password("one-too-many", String::new()));
        assert!(ledger.begin_sign_in("user-1"));
        assert!(!ledger.begin_sign_in(&"x".repeat(MAX_NAME_BYTES + 1)));
    }

    #[test]
    fn everybody_can_be_logged_out() {
        let (mut ledger, now) = ledger();
        assert!(sign_in(&mut ledger, "a", "let-me-in", "1", now));
        assert!(sign_in(&mut ledger, "b", "let-me-in", "2", now));
        ledger.sign_out("1");
        ledger.drop_all(now);
        let counts = ledger.statistics(now).total;
        assert_eq!((counts.sign_outs, counts.dropped, counts.sessions), (1, 1, 0));
    }
}
