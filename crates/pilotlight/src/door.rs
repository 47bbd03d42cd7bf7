//! The dashboard's door: a code that opens it once, and the visitors who are inside.
//!
//! A visitor's browser holds a random cookie, and we a hash of it, in a file, so that a restart of the server
//! sends nobody away. Codes live in memory alone. Neither is ever the token.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pilotlight_core::Moment;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::server::write_private;

/// How long a code opens the door.
const CODE_LIFE: Duration = Duration::from_secs(10 * 60);
/// How long a visitor may stay.
pub(crate) const VISIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Visitors at once; the one who has been inside longest goes for another.
const MAX_VISITORS: usize = 32;
/// How long codes and cookies are, in bytes.
const SECRET_BYTES: usize = 32;

/// What is kept of a secret. Equal hashes are compared: how long that takes tells nothing about the secret.
type Hash = [u8; 32];

/// Lets visitors of the dashboard in and out.
#[derive(Debug)]
pub struct Door {
    file: PathBuf,
    /// Opens it too; `None` where no token is wanted.
    token: Option<Hash>,
    cookie: String,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    code: Option<(Hash, Moment)>,
    /// Until when each may stay.
    visitors: BTreeMap<Hash, Moment>,
}

impl Door {
    /// The door of the server on `port`, with the visitors that `file` names. A file that cannot be read
    /// names nobody.
    #[must_use]
    pub fn new(file: &Path, port: u16, token: Option<&SecretString>) -> Self {
        let visitors = fs::read_to_string(file).unwrap_or_default();
        let visitors = visitors.lines().filter_map(visitor).collect();
        // Browsers keep cookies by host alone: another port is another server.
        let cookie = format!("pilotlight_{port}");
        let token = token.map(|token| hash(token.expose_secret()));
        Self { file: file.to_owned(), token, cookie, inside: Mutex::new(Inside { code: None, visitors }) }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A code that opens the door once. It takes the place of the one before.
    #[must_use]
    pub fn new_code(&self, now: Moment) -> String {
        let code = secret();
        self.inside().code = Some((hash(&code), now + CODE_LIFE));
        code
    }

    /// Whether this is the token, or the code, which then is one no more.
    #[must_use]
    pub fn opens(&self, code: &str, now: Moment) -> bool {
        if self.token == Some(hash(code)) {
            return true;
        }
        let mut inside = self.inside();
        let opens = inside.code.is_some_and(|(wanted, until)| wanted == hash(code) && now < until);
        if opens {
            inside.code = None;
        }
        opens
    }

    /// Lets somebody in, and gives the `Set-Cookie` that they show from now on.
    ///
    /// # Errors
    /// That it cannot be written down who is inside.
    pub fn let_in(&self, now: Moment) -> io::Result<String> {
        let value = secret();
        let mut inside = self.inside();
        inside.visitors.retain(|_, until| now < *until);
        while inside.visitors.len() >= MAX_VISITORS {
            let longest = inside.visitors.iter().min_by_key(|(_, until)| **until).map(|(hash, _)| *hash);
            longest.map(|hash| inside.visitors.remove(&hash));
        }
        inside.visitors.insert(hash(&value), now + VISIT);
        self.write(&inside)?;
        Ok(self.set_cookie(&value, VISIT))
    }

    /// Whether the `Cookie` header is that of a visitor.
    #[must_use]
    pub fn knows(&self, cookies: &str, now: Moment) -> bool {
        let Some(value) = self.value_in(cookies) else { return false };
        self.inside().visitors.get(&hash(value)).is_some_and(|until| now < *until)
    }

    /// Sees a visitor out, and gives the `Set-Cookie` that takes the cookie away.
    ///
    /// # Errors
    /// That it cannot be written down; until the server ends, the visitor is outside all the same.
    pub fn see_out(&self, cookies: &str) -> io::Result<String> {
        let mut inside = self.inside();
        if let Some(value) = self.value_in(cookies) {
            inside.visitors.remove(&hash(value));
            self.write(&inside)?;
        }
        Ok(self.set_cookie("", Duration::ZERO))
    }

    fn value_in<'a>(&self, cookies: &'a str) -> Option<&'a str> {
        let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == self.cookie).map(|(_, value)| value)
    }

    fn set_cookie(&self, value: &str, life: Duration) -> String {
        let (name, seconds) = (&self.cookie, life.as_secs());
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict")
    }

    fn write(&self, inside: &Inside) -> io::Result<()> {
        let mut lines = String::new();
        for (hash, until) in &inside.visitors {
            lines.push_str(&hex(hash));
            // Writing to a string cannot fail.
            let _ = writeln!(lines, " {}", until.0);
        }
        write_private(&self.file, lines.as_bytes())
    }
}

fn secret() -> String {
    hex(&rand::random::<[u8; SECRET_BYTES]>())
}

fn hash(secret: &str) -> Hash {
    Sha256::digest(secret).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One line of the file.
fn visitor(line: &str) -> Option<(Hash, Moment)> {
    let (hash, until) = line.split_once(' ')?;
    let mut bytes = Hash::default();
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hash.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some((bytes, Moment(until.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment(1_000);

    fn pair(set_cookie: &str) -> String {
        set_cookie.split(';').next().unwrap().to_owned()
    }

    #[test]
    fn a_code_opens_once_and_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let token = "a token".into();
        let door = Door::new(&folder.path().join("visitors"), 7070, Some(&token));
        assert!(door.opens("a token", NOW) && door.opens("a token", NOW));
        let code = door.new_code(NOW);
        assert!(!door.opens("", NOW) && !door.opens(&code[1..], NOW));
        assert!(door.opens(&code, NOW));
        assert!(!door.opens(&code, NOW));
        let code = door.new_code(NOW);
        assert!(!door.opens(&code, NOW + CODE_LIFE));
        let (older, newer) = (door.new_code(NOW), door.new_code(NOW));
        assert!(!door.opens(&older, NOW) && door.opens(&newer, NOW));
    }

    #[test]
    fn visitors_stay_over_a_restart_until_they_go_or_their_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("visitors");
        let door = Door::new(&file, 7070, None);
        let set_cookie = door.let_in(NOW).unwrap();
        assert!(set_cookie.contains("HttpOnly") && set_cookie.contains("SameSite=Strict"), "{set_cookie}");
        let cookies = format!("other=1; {}", pair(&set_cookie));
        assert!(door.knows(&cookies, NOW));
        let value = cookies.rsplit('=').next().unwrap();
        assert!(!fs::read_to_string(&file).unwrap().contains(value), "the cookie is in the file");
        let door = Door::new(&file, 7070, None);
        assert!(door.knows(&cookies, NOW));
        assert!(!door.knows(&cookies, NOW + VISIT));
        assert!(!door.knows("pilotlight_7070=", NOW) && !door.knows("pilotlight_7070", NOW));
        assert!(!Door::new(&file, 7071, None).knows(&cookies, NOW), "another server's cookie");
        assert!(door.see_out(&cookies).unwrap().contains("Max-Age=0"));
        assert!(!door.knows(&cookies, NOW) && !Door::new(&file, 7070, None).knows(&cookies, NOW));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let folder = tempfile::tempdir().unwrap();
        let door = Door::new(&folder.path().join("visitors"), 7070, None);
        let first = door.let_in(NOW).unwrap();
        for later in 1..=MAX_VISITORS as u64 {
            door.let_in(Moment(NOW.0 + later)).unwrap();
        }
        assert!(!door.knows(&pair(&first), NOW));
        assert_eq!(door.inside().visitors.len(), MAX_VISITORS);
    }
}
