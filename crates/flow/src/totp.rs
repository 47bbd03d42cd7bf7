//! Codes of a second factor that go by time (RFC 6238), for `${totp}`.
//!
//! A portal takes each code once, so one is never given out twice, whoever asks: clones share what was used.
//! Nothing here shows a secret or a code.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use tokio::time::sleep;

/// A code that ends sooner than this could be refused by the time it is sent.
const MIN_LEFT: Duration = Duration::from_secs(2);
/// The longest text of a secret, in bytes.
pub const MAX_SECRET_BYTES: usize = 1024;
/// The longest time that a code holds, in seconds.
pub const MAX_PERIOD_SECONDS: u64 = 300;

/// How codes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Sha1,
    Sha256,
    Sha512,
}

/// A second factor.
#[derive(Clone)]
pub struct Totp {
    secret: Arc<SecretBox<Vec<u8>>>,
    algorithm: Algorithm,
    digits: u32,
    period: u64,
    /// The number of the latest period whose code was given out.
    used: Arc<Mutex<u64>>,
}

/// Why something is no second factor. No text here holds any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TotpError {
    /// Not base32.
    #[error("a TOTP secret must be base32, as portals show it next to the QR code, or an otpauth:// URI")]
    Secret,
    /// `otpauth://` with a wrong part.
    #[error("the otpauth:// URI has an invalid `{0}`")]
    Part(&'static str),
}

impl Totp {
    /// Reads a secret in base32 (blanks and case do not matter) with the usual SHA-1, 6 digits and 30 seconds, or an
    /// `otpauth://totp/…` URI that says all of it.
    pub fn parse(text: &SecretString) -> Result<Self, TotpError> {
        let text = text.expose_secret().trim();
        if text.len() > MAX_SECRET_BYTES {
            return Err(TotpError::Secret);
        }
        let Some(rest) = text.strip_prefix("otpauth://totp/") else {
            return Ok(Self::new(base32(text).ok_or(TotpError::Secret)?, Algorithm::Sha1, 6, 30));
        };
        let query = rest.split_once('?').map_or("", |(_, query)| query);
        let (mut secret, mut algorithm, mut digits, mut period) = (None, Algorithm::Sha1, 6, 30);
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "secret" => secret = base32(&value.replace("%3D", "=")),
                "algorithm" => {
                    algorithm = match value.to_ascii_uppercase().as_str() {
                        "SHA1" => Algorithm::Sha1,
                        "SHA256" => Algorithm::Sha256,
                        "SHA512" => Algorithm::Sha512,
                        _ => return Err(TotpError::Part("algorithm")),
                    }
                }
                "digits" => {
                    let number = value.parse().ok().filter(|digits| (6..=8).contains(digits));
                    digits = number.ok_or(TotpError::Part("digits"))?;
                }
                "period" => {
                    let number =
                        value.parse().ok().filter(|period| (1..=MAX_PERIOD_SECONDS).contains(period));
                    period = number.ok_or(TotpError::Part("period"))?;
                }
                _ => {}
            }
        }
        Ok(Self::new(secret.ok_or(TotpError::Part("secret"))?, algorithm, digits, period))
    }

    fn new(secret: Vec<u8>, algorithm: Algorithm, digits: u32, period: u64) -> Self {
        let secret = Arc::new(SecretBox::new(Box::new(secret)));
        Self { secret, algorithm, digits, period, used: Arc::new(Mutex::new(0)) }
    }

    /// The code of the moment `unix`, in seconds since 1970.
    #[must_use]
    pub fn code_at(&self, unix: u64) -> SecretString {
        let counter = (unix / self.period).to_be_bytes();
        let key = self.secret.expose_secret();
        let hash = match self.algorithm {
            Algorithm::Sha1 => hash::<Hmac<Sha1>>(key, &counter),
            Algorithm::Sha256 => hash::<Hmac<Sha256>>(key, &counter),
            Algorithm::Sha512 => hash::<Hmac<Sha512>>(key, &counter),
        };
        // RFC 4226, 5.3: four bytes from where the last one points to, without their sign.
        let offset = usize::from(hash.last().copied().unwrap_or(0) & 0xf);
        let bytes = hash.iter().skip(offset).take(4);
        let number = bytes.fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) & 0x7fff_ffff;
        let (digits, width) = (10_u32.pow(self.digits), self.digits as usize);
        SecretString::from(format!("{:0width$}", number % digits))
    }

    /// A code that was never given out before and holds long enough to be typed. Waits for the next one where it
    /// must, at most two periods.
    pub async fn next_code(&self) -> SecretString {
        loop {
            let now = time_of_day();
            let counter = now.as_secs() / self.period;
            let left = Duration::from_secs((counter + 1) * self.period).saturating_sub(now);
            let is_fresh = left >= MIN_LEFT.min(Duration::from_secs(self.period) / 2);
            if is_fresh && self.take(counter) {
                return self.code_at(now.as_secs());
            }
            sleep(left).await;
        }
    }

    /// Gives the code of the present period to nobody: somebody may have used it before this was made.
    pub fn skip_present_code(&self) {
        self.take(time_of_day().as_secs() / self.period);
    }

    fn take(&self, counter: u64) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = counter > *used;
        *used = counter.max(*used);
        is_new
    }
}

impl fmt::Debug for Totp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Totp").finish_non_exhaustive()
    }
}

/// Equal where they give the same codes.
impl PartialEq for Totp {
    fn eq(&self, other: &Self) -> bool {
        (self.algorithm, self.digits, self.period) == (other.algorithm, other.digits, other.period)
            && self.secret.expose_secret() == other.secret.expose_secret()
    }
}

#[expect(clippy::disallowed_methods, reason = "a portal compares codes with the time of day")]
fn time_of_day() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn hash<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC takes keys of every length; without one there is no code to guess.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return Vec::new() };
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// `None` where it is not base32 (RFC 4648), or empty.
fn base32(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for letter in text.bytes().filter(|byte| !matches!(byte, b' ' | b'-')) {
        let value = match letter.to_ascii_uppercase() {
            letter @ b'A'..=b'Z' => letter - b'A',
            digit @ b'2'..=b'7' => digit - b'2' + 26,
            b'=' => continue,
            _ => return None,
        };
        bits = bits << 5 | u32::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    (!bytes.is_empty()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<Totp, TotpError> {
        Totp::parse(&SecretString::from(text))
    }

    /// The table of RFC 6238, appendix B: the secrets are its digits as ASCII, repeated to the hash's length.
    #[test]
    fn the_codes_are_those_of_the_standard() {
        let key = |length: usize| b"1234567890".iter().copied().cycle().take(length).collect::<Vec<u8>>();
        let cases = [
            (59, "94287082", "46119246", "90693936"),
            (1_111_111_109, "07081804", "68084774", "25091201"),
            (1_234_567_890, "89005924", "91819424", "93441116"),
            (20_000_000_000, "65353130", "77737706", "47863826"),
        ];
        for (unix, sha1, sha256, sha512) in cases {
            for (algorithm, length, expected) in [
                (Algorithm::Sha1, 20, sha1),
                (Algorithm::Sha256, 32, sha256),
                (Algorithm::Sha512, 64, sha512),
            ] {
                let totp = Totp::new(key(length), algorithm, 8, 30);
                assert_eq!(totp.code_at(unix).expose_secret(), expected, "{algorithm:?} at {unix}");
            }
        }
    }

    #[test]
    fn secrets_are_read_in_both_forms() {
        let plain = parsed("gezd gnbv gy3t qojq GEZDGNBVGY3TQOJQ").unwrap();
        assert_eq!(plain.code_at(59).expose_secret(), "287082");
        let uri =
            parsed("otpauth://totp/A:b?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=A&digits=8&period=30");
        assert_eq!(uri.unwrap().code_at(59).expose_secret(), "94287082");
        for (text, error) in [
            ("", TotpError::Secret),
            ("0189", TotpError::Secret),
            ("otpauth://totp/x", TotpError::Part("secret")),
            ("otpauth://totp/x?secret=GE&digits=9", TotpError::Part("digits")),
            ("otpauth://totp/x?secret=GE&period=0", TotpError::Part("period")),
            ("otpauth://totp/x?secret=GE&algorithm=MD5", TotpError::Part("algorithm")),
        ] {
            assert_eq!(parsed(text), Err(error), "{text}");
        }
    }

    #[test]
    fn nothing_of_it_is_shown() {
        assert_eq!(format!("{:?}", parsed("GEZDGNBV").unwrap()), "Totp { .. }");
    }

    #[tokio::test]
    async fn no_code_is_given_out_twice() {
        let totp = parsed("otpauth://totp/x?secret=GEZDGNBVGY3TQOJQ&period=1").unwrap();
        let same = totp.clone();
        let (first, second) = tokio::join!(totp.next_code(), same.next_code());
        assert_ne!(first.expose_secret(), second.expose_secret());
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in ".{0,80}") {
            let _ = parsed(&text);
            let _ = parsed(&format!("otpauth://totp/x?secret={text}"));
        }
    }
}
