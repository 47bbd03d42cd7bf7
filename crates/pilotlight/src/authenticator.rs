//! Authentication: the access token, and sign-ins to the dashboard with one-time codes.
//!
//! A browser that signs in to the dashboard gets its own key, which the page stores for its origin (`localStorage`)
//! and sends in the `Authorization` header. It is not a cookie: browsers send cookies to every port of a host, where
//! any other service could read, overwrite or evict them. For requests for which a page cannot set a header (event
//! streams, WebSockets, downloads), it requests a ticket, which is valid once, briefly, and for one path.
//!
//! Keys are stored as hashes in a file, so that a restart of the server signs nobody out. Codes and tickets are kept
//! only in memory. Every visitor signed in under the token that was valid at the time, and is signed out when it is
//! replaced.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use pilotlight_core::Moment;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::clock::wall;
use crate::private_file;

/// Validity of a one-time code.
pub(crate) const CODE_LIFE: Duration = Duration::from_secs(10 * 60);
/// Validity of a dashboard key.
pub(crate) const KEY_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Validity of a ticket.
pub(crate) const TICKET_LIFE: Duration = Duration::from_secs(30);
/// Maximum number of visitors; a new one replaces the one whose key expires first.
const MAX_VISITORS: usize = 32;
/// Maximum number of tickets; a new one replaces the oldest.
const MAX_TICKETS: usize = 256;
/// Length of tokens, codes, keys and tickets, in bytes.
pub(crate) const SECRET_BYTES: usize = 32;

/// The hash of a secret. Only hashes are compared, so the time that it takes reveals nothing about the secret.
type Hash = [u8; 32];

/// The files that store the authenticator's state.
#[derive(Debug, Clone)]
pub struct AuthenticatorFiles {
    /// The token.
    pub token: PathBuf,
    /// The hashes of the visitors' keys.
    pub visitors: PathBuf,
}

/// Authenticates clients, and signs visitors of the dashboard in and out.
#[derive(Debug)]
pub struct Authenticator {
    files: AuthenticatorFiles,
    state: Mutex<State>,
    /// Held while the token is replaced, so that two replacements do not overlap.
    rotating: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// The hash of the token; `None` if the server does not use one.
    token: Option<Hash>,
    code: Option<(Hash, Moment)>,
    /// The expiry time of each visitor's key.
    visitors: BTreeMap<Hash, Moment>,
    tickets: VecDeque<Ticket>,
}

/// A permission for a single request.
#[derive(Debug)]
struct Ticket {
    ticket: Hash,
    path: String,
    /// The visitor who requested it; `None` if the token was used.
    visitor: Option<Hash>,
    until: Moment,
}

/// Why the token could not be replaced.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The server does not use a token.
    #[error("the server does not use a token, so there is none to replace")]
    NoToken,
    /// The new token could not be written.
    #[error("cannot write the new token to {}", path.display())]
    Unwritten {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Authenticator {
    /// Creates an authenticator with the visitors in the file who signed in under this token. If the file cannot be
    /// read, there are no visitors.
    #[must_use]
    pub fn new(files: AuthenticatorFiles, token: Option<&SecretString>) -> Self {
        let token = token.map(|token| hash(token.expose_secret()));
        let lines = fs::read_to_string(&files.visitors).unwrap_or_default();
        let of_today =
            lines.lines().filter_map(visitor).filter(|(_, came_in)| *came_in == token.unwrap_or_default());
        let visitors = of_today.map(|(visitor, _)| visitor).collect();
        let state = State { token, visitors, ..State::default() };
        Self { files, state: Mutex::new(state), rotating: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Returns whether this is the token or the key of a visitor. Always true if the server does not use a token.
    #[must_use]
    pub fn admits(&self, secret: &str, now: Moment) -> bool {
        let state = self.state();
        state.is_token(secret) || state.visitors.get(&hash(secret)).is_some_and(|until| now < *until)
    }

    /// Returns whether this is the token itself, for requests that visitors of the dashboard may not make.
    #[must_use]
    pub fn is_token(&self, secret: &str) -> bool {
        self.state().is_token(secret)
    }

    /// Returns whether the server does not use a token.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state().token.is_none()
    }

    /// Creates a one-time code. It replaces the previous one.
    #[must_use]
    pub fn new_code(&self, now: Moment) -> String {
        let code = secret();
        self.state().code = Some((hash(&code), now + CODE_LIFE));
        code
    }

    /// Signs a visitor in with the token or the code, and returns the new key. A code cannot be used again.
    ///
    /// # Errors
    /// Returns an error if the key cannot be stored.
    pub fn sign_in(&self, code: &str, now: Moment) -> io::Result<Option<SecretString>> {
        let mut state = self.state();
        let is_token = state.token.is_some() && state.is_token(code);
        if !is_token {
            if !state.code.is_some_and(|(wanted, until)| wanted == hash(code) && now < until) {
                return Ok(None);
            }
            state.code = None;
        }
        let key = secret();
        state.visitors.retain(|_, until| now < *until);
        while state.visitors.len() >= MAX_VISITORS {
            let longest = state.visitors.iter().min_by_key(|(_, until)| **until).map(|(hash, _)| *hash);
            longest.map(|hash| state.visitors.remove(&hash));
        }
        state.visitors.insert(hash(&key), now + KEY_LIFE);
        self.write(&state)?;
        Ok(Some(key.into()))
    }

    /// Signs out the visitor with this key.
    ///
    /// # Errors
    /// Returns an error if this cannot be stored; until the server stops, the visitor is signed out nevertheless.
    pub fn sign_out(&self, key: &str) -> io::Result<()> {
        let mut state = self.state();
        let key = hash(key);
        state.tickets.retain(|ticket| ticket.visitor != Some(key));
        if state.visitors.remove(&key).is_some() { self.write(&state) } else { Ok(()) }
    }

    /// Creates a ticket for one request to `path`. Returns `None` if `shown` is neither the token nor a visitor's key
    /// any more. The ticket becomes invalid when that visitor signs out.
    #[must_use]
    pub fn new_ticket(&self, path: &str, shown: &str, now: Moment) -> Option<String> {
        let ticket = secret();
        let mut state = self.state();
        let visitor = Some(hash(shown)).filter(|key| state.visitors.contains_key(key));
        if visitor.is_none() && !state.is_token(shown) {
            return None;
        }
        state.tickets.retain(|ticket| now < ticket.until);
        if state.tickets.len() >= MAX_TICKETS {
            state.tickets.pop_front();
        }
        let until = now + TICKET_LIFE;
        state.tickets.push_back(Ticket { ticket: hash(&ticket), path: path.to_owned(), visitor, until });
        Some(ticket)
    }

    /// Returns whether this ticket is valid for a request to `path`. The ticket cannot be used again.
    #[must_use]
    pub fn redeem_ticket(&self, ticket: &str, path: &str, now: Moment) -> bool {
        let ticket = hash(ticket);
        let mut state = self.state();
        let place = state.tickets.iter().position(|known| known.ticket == ticket);
        let Some(known) = place.and_then(|place| state.tickets.remove(place)) else { return false };
        let is_signed_in = known
            .visitor
            .is_none_or(|visitor| state.visitors.get(&visitor).is_some_and(|until| now < *until));
        known.path == path && now < known.until && is_signed_in
    }

    /// Replaces the token. The old one becomes invalid, and everyone who signed in under it is signed out. Blocks.
    ///
    /// # Errors
    /// Returns an error if there is no token, or if the new one cannot be written; the old one stays valid.
    pub fn rotate(&self) -> Result<(), RotateError> {
        let _alone = self.rotating.lock();
        if self.is_open() {
            return Err(RotateError::NoToken);
        }
        let token = secret();
        private_file::write(&self.files.token, format!("{token}\n").as_bytes())
            .map_err(|source| RotateError::Unwritten { path: self.files.token.clone(), source })?;
        let mut state = self.state();
        *state = State { token: Some(hash(&token)), ..State::default() };
        if let Err(error) = self.write(&state) {
            // The file still names the old token, so its visitors are not accepted.
            tracing::warn!(%error, "failed to write the file of dashboard sessions");
        }
        Ok(())
    }

    /// Updates the stored expiry times, after the wall clock was set. Blocks.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn rewrite_visitors(&self) -> io::Result<()> {
        let state = self.state();
        if state.visitors.is_empty() { Ok(()) } else { self.write(&state) }
    }

    fn write(&self, state: &State) -> io::Result<()> {
        let mut lines = String::new();
        for (key, until) in &state.visitors {
            let token = hex(&state.token.unwrap_or_default());
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{} {} {token}", hex(key), wall(*until).0);
        }
        private_file::write(&self.files.visitors, lines.as_bytes())
    }
}

impl State {
    fn is_token(&self, given: &str) -> bool {
        // Both have the same length, so that not even the token's length is revealed by the time that it takes.
        self.token.is_none_or(|token| hash(given).ct_eq(&token).into())
    }
}

/// Returns a new random secret.
pub(crate) fn secret() -> String {
    hex(&rand::random::<[u8; SECRET_BYTES]>())
}

fn hash(secret: &str) -> Hash {
    Sha256::digest(secret).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Hash> {
    let mut bytes = Hash::default();
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Parses a line of the file: the hash of the key, its expiry, and the hash of the token that was valid.
fn visitor(line: &str) -> Option<((Hash, Moment), Hash)> {
    let mut words = line.split(' ');
    let (key, until, token) = (words.next()?, words.next()?, words.next()?);
    Some(((unhex(key)?, Moment(until.parse().ok()?)), unhex(token)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment(1_000);

    fn files(folder: &tempfile::TempDir) -> AuthenticatorFiles {
        AuthenticatorFiles { token: folder.path().join("token"), visitors: folder.path().join("visitors") }
    }

    fn authenticator(folder: &tempfile::TempDir, token: &str) -> Authenticator {
        Authenticator::new(files(folder), Some(&token.into()))
    }

    fn signed_in(authenticator: &Authenticator, now: Moment) -> String {
        let code = authenticator.new_code(now);
        authenticator.sign_in(&code, now).unwrap().expect("the code is accepted").expose_secret().to_owned()
    }

    #[test]
    fn a_code_opens_once_and_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let authenticator = authenticator(&folder, "a token");
        let accepts = |code: &str, now| authenticator.sign_in(code, now).unwrap().is_some();
        assert!(accepts("a token", NOW) && accepts("a token", NOW));
        let code = authenticator.new_code(NOW);
        assert!(!accepts("", NOW) && !accepts(&code[1..], NOW));
        assert!(accepts(&code, NOW));
        assert!(!accepts(&code, NOW));
        let code = authenticator.new_code(NOW);
        assert!(!accepts(&code, NOW + CODE_LIFE));
        let (older, newer) = (authenticator.new_code(NOW), authenticator.new_code(NOW));
        assert!(!accepts(&older, NOW) && accepts(&newer, NOW));
    }

    #[test]
    fn visitors_stay_over_a_restart_until_they_go_or_their_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let first = authenticator(&folder, "a token");
        let key = signed_in(&first, NOW);
        assert!(first.admits(&key, NOW) && first.admits("a token", NOW) && !first.admits("", NOW));
        assert!(first.is_token("a token") && !first.is_token(&key));
        assert!(
            !fs::read_to_string(files(&folder).visitors).unwrap().contains(&key),
            "the key is in the file"
        );
        let again = authenticator(&folder, "a token");
        assert!(again.admits(&key, NOW) && !again.admits(&key, NOW + KEY_LIFE));
        again.sign_out(&key).unwrap();
        assert!(!again.admits(&key, NOW) && !authenticator(&folder, "a token").admits(&key, NOW));
    }

    #[test]
    fn under_another_token_no_visitor_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let key = signed_in(&authenticator(&folder, "a token"), NOW);
        assert!(!authenticator(&folder, "another token").admits(&key, NOW));
        assert!(authenticator(&folder, "a token").admits(&key, NOW));
    }

    #[test]
    fn a_ticket_is_good_once_soon_and_for_one_path() {
        let folder = tempfile::tempdir().unwrap();
        let authenticator = authenticator(&folder, "a token");
        let key = signed_in(&authenticator, NOW);
        let ticket = || authenticator.new_ticket("/events", &key, NOW).unwrap();
        let good = ticket();
        assert!(
            authenticator.redeem_ticket(&good, "/events", NOW)
                && !authenticator.redeem_ticket(&good, "/events", NOW)
        );
        let elsewhere = ticket();
        assert!(
            !authenticator.redeem_ticket(&elsewhere, "/sessions", NOW)
                && !authenticator.redeem_ticket(&elsewhere, "/events", NOW)
        );
        assert!(!authenticator.redeem_ticket(&ticket(), "/events", NOW + TICKET_LIFE));
        assert!(
            !authenticator.redeem_ticket("", "/events", NOW)
                && !authenticator.redeem_ticket(&key, "/events", NOW)
        );
        let left = ticket();
        authenticator.sign_out(&key).unwrap();
        assert!(!authenticator.redeem_ticket(&left, "/events", NOW), "it goes with its visitor");
        assert_eq!(authenticator.new_ticket("/events", &key, NOW), None, "who has left gets no other");
        let ticket = || authenticator.new_ticket("/events", "a token", NOW).unwrap();
        assert!(authenticator.redeem_ticket(&ticket(), "/events", NOW));
        let first = ticket();
        (0..MAX_TICKETS).for_each(|_| drop(ticket()));
        assert!(!authenticator.redeem_ticket(&first, "/events", NOW), "there is room for so many");
    }

    #[test]
    fn a_new_token_ends_all_that_came_in_under_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let authenticator = authenticator(&folder, "a token");
        let key = signed_in(&authenticator, NOW);
        let (code, ticket) =
            (authenticator.new_code(NOW), authenticator.new_ticket("/events", "a token", NOW).unwrap());
        authenticator.rotate().unwrap();
        assert_eq!(
            authenticator.new_ticket("/events", "a token", NOW),
            None,
            "a request may have begun before"
        );
        assert!(!authenticator.admits("a token", NOW) && !authenticator.admits(&key, NOW));
        assert!(
            !authenticator.redeem_ticket(&ticket, "/events", NOW)
                && authenticator.sign_in(&code, NOW).unwrap().is_none()
        );
        let token = fs::read_to_string(files(&folder).token).unwrap();
        assert!(authenticator.admits(token.trim(), NOW) && token.trim().len() == 2 * SECRET_BYTES);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(files(&folder).token).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_token_that_cannot_be_written_down_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let files = AuthenticatorFiles { token: folder.path().join("no/such/folder"), ..files(&folder) };
        let authenticator = Authenticator::new(files, Some(&"a token".into()));
        assert!(matches!(authenticator.rotate(), Err(RotateError::Unwritten { .. })));
        assert!(authenticator.admits("a token", NOW));
        let open = Authenticator::new(
            AuthenticatorFiles { token: "/nonexistent".into(), visitors: "/nonexistent".into() },
            None,
        );
        assert!(matches!(open.rotate(), Err(RotateError::NoToken)) && open.admits("", NOW));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let folder = tempfile::tempdir().unwrap();
        let authenticator = authenticator(&folder, "a token");
        let first = signed_in(&authenticator, NOW);
        for later in 1..=MAX_VISITORS as u64 {
            signed_in(&authenticator, Moment(NOW.0 + later));
        }
        assert!(!authenticator.admits(&first, NOW));
        assert_eq!(authenticator.state().visitors.len(), MAX_VISITORS);
    }
}
