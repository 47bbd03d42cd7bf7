//! Recognises accounts without storing their user names and passwords.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// A keyed digest. The key lives as long as the process, so that values cannot be guessed offline.
pub struct Fingerprint {
    keyed: Hmac<Sha256>,
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fingerprint").finish_non_exhaustive()
    }
}

impl Fingerprint {
    /// Creates a digest with this key.
    #[must_use]
    pub fn new(key: [u8; 64]) -> Self {
        Self { keyed: Hmac::new(&key.into()) }
    }

    /// Returns equal values for equal parts.
    #[must_use]
    pub fn of(&self, parts: &[&str]) -> u64 {
        let mut keyed = self.keyed.clone();
        for part in parts {
            // The length distinguishes ("ab", "c") from ("a", "bc").
            keyed.update(&part.len().to_le_bytes());
            keyed.update(part.as_bytes());
        }
        let digest = keyed.finalize().into_bytes();
        digest.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// Returns equal values for the same site, user name and password.
    #[must_use]
    pub fn identity(&self, site: &str, username: &str, password: Option<&SecretString>) -> u64 {
        match password {
            Some(password) => self.of(&[site, username, password.expose_secret()]),
            None => self.of(&[site, username]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_parts_are_recognised_and_others_kept_apart() {
        let fingerprint = Fingerprint::new([7; 64]);
        assert_eq!(fingerprint.of(&["a", "b"]), fingerprint.of(&["a", "b"]));
        assert_ne!(fingerprint.of(&["ab", "c"]), fingerprint.of(&["a", "bc"]));
        assert_ne!(fingerprint.of(&["a"]), Fingerprint::new([8; 64]).of(&["a"]));
        let with = |password: &str| fingerprint.identity("site", "user", Some(&password.into()));
        assert_eq!(with("one"), with("one"));
        assert_ne!(with("one"), with("two"));
        assert_ne!(with("one"), fingerprint.identity("site", "user", None));
    }
}
