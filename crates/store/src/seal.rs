//! Seals records: XChaCha20-Poly1305 with a key for each record, which is itself sealed ("wrapped") with a master
//! key.
//!
//! Changing the master key therefore changes only a few bytes of each record. The kind and the id of a record are
//! associated data of both seals, so that records cannot be exchanged or modified. A seal cannot reveal that a record
//! was replaced with an older version of itself.
//!
//! A key or the content of a record must never appear in an error.
//!
//! ```text
//! magic "PLSR" | version 1 | algorithm 1 | kind | id, 16 bytes   associated data of the record's seal
//! length of the name | the master key's name                     with the above: of the wrapped key's seal
//! nonce, 24 bytes | wrapped key, 32 + 16 bytes
//! nonce, 24 bytes | the record, n + 16 bytes
//! ```
//!
//! The master key's name is not associated data of the record's own seal, because it changes when the key is wrapped
//! again. This is safe: no two records have the same key.

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use thiserror::Error;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::keys::{KEY_BYTES, Keyring, MasterKey};
use crate::random::random;

const MAGIC: &[u8; 4] = b"PLSR";
const VERSION: u8 = 1;
const XCHACHA20_POLY1305: u8 = 1;
pub(crate) const NONCE_BYTES: usize = 24;
pub(crate) const TAG_BYTES: usize = 16;
const WRAPPED_BYTES: usize = NONCE_BYTES + KEY_BYTES + TAG_BYTES;
const PLACE_BYTES: usize = MAGIC.len() + 3 + 16;

/// Number of first bytes of a sealed record that always contain the name of its master key.
pub(crate) const HEADER_BYTES_MAX: usize = PLACE_BYTES + 1 + u8::MAX as usize;

/// The kind and the id of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) id: Uuid,
}

/// The kind of a record. The numbers are stored and must never be reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A constant that shows whether the master key is the right one.
    KeyCheck = 1,
    Session = 2,
    Checkpoint = 3,
    Credential = 4,
    Operation = 5,
    /// The key of the files beside the store.
    FilesKey = 6,
}

/// Why a sealed record cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SealError {
    /// It is truncated, or was never sealed.
    #[error("it is not a complete sealed record")]
    NotSealed,
    /// It was sealed by a later release.
    #[error("it is sealed in version {found}, but this release supports only versions up to {VERSION}")]
    Newer {
        /// The version.
        found: u8,
    },
    /// It was sealed with an algorithm that this release does not support.
    #[error("it is sealed with algorithm {0}, which this release does not support")]
    UnknownAlgorithm(u8),
    /// It seems to be complete, but is a different record.
    #[error("it was sealed as a different record")]
    OtherPlace,
    /// Its master key is not in the keyring.
    #[error("it is sealed with the master key {0:?}, which is not in the keyring")]
    MissingKey(String),
    /// The master key with that name is a different one, or the record was modified.
    #[error("its key cannot be opened with the master key {0:?}")]
    KeyDoesNotOpen(String),
    /// The key can be unwrapped, but the record cannot be opened.
    #[error("it was modified")]
    Altered,
    /// It is larger than the algorithm can seal.
    #[error("it is too large to seal")]
    TooLarge,
}

/// Seals with a new key, which is wrapped with the current master key.
pub(crate) fn seal(keyring: &Keyring, place: Place, plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let key = Zeroizing::new(random::<KEY_BYTES>());
    let mut sealed = Vec::with_capacity(HEADER_BYTES_MAX + 2 * WRAPPED_BYTES + plain.len());
    sealed.extend_from_slice(MAGIC);
    sealed.extend_from_slice(&[VERSION, XCHACHA20_POLY1305, place.kind as u8]);
    sealed.extend_from_slice(place.id.as_bytes());
    let record = encrypt(&key, plain, &sealed)?;
    wrap(keyring.current(), &key, &mut sealed)?;
    sealed.extend_from_slice(&record);
    Ok(sealed)
}

/// Opens a sealed record.
pub(crate) fn open(keyring: &Keyring, place: Place, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let parts = Parts::of(sealed)?;
    let key = parts.unwrap_key(keyring, place)?;
    decrypt(&key, parts.record, parts.place).ok_or(SealError::Altered)
}

/// Re-wraps a record's key with the current master key.
pub(crate) fn rewrap(keyring: &Keyring, place: Place, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let parts = Parts::of(sealed)?;
    let key = parts.unwrap_key(keyring, place)?;
    let mut rewrapped = parts.place.to_vec();
    wrap(keyring.current(), &key, &mut rewrapped)?;
    rewrapped.extend_from_slice(parts.record);
    Ok(rewrapped)
}

/// Returns the name of the master key of a record. Its first [`HEADER_BYTES_MAX`] bytes are sufficient.
pub(crate) fn key_name(sealed: &[u8]) -> Result<&str, SealError> {
    Ok(Header::of(sealed)?.key_name)
}

/// Splits a sealed record into its plain header and the rest.
struct Header<'a> {
    place: &'a [u8],
    place_and_name: &'a [u8],
    key_name: &'a str,
    rest: &'a [u8],
}

impl<'a> Header<'a> {
    fn of(sealed: &'a [u8]) -> Result<Self, SealError> {
        let (place, rest) = sealed.split_at_checked(PLACE_BYTES).ok_or(SealError::NotSealed)?;
        let rest_of_place = place.strip_prefix(MAGIC).ok_or(SealError::NotSealed)?;
        match rest_of_place {
            [VERSION, XCHACHA20_POLY1305, ..] => {}
            [VERSION, algorithm, ..] => return Err(SealError::UnknownAlgorithm(*algorithm)),
            [found, ..] if *found > VERSION => return Err(SealError::Newer { found: *found }),
            _ => return Err(SealError::NotSealed),
        }
        let (length, rest) = rest.split_first().ok_or(SealError::NotSealed)?;
        let (name, rest) = rest.split_at_checked(usize::from(*length)).ok_or(SealError::NotSealed)?;
        let key_name = std::str::from_utf8(name).map_err(|_| SealError::NotSealed)?;
        Ok(Self { place, place_and_name: &sealed[..PLACE_BYTES + 1 + name.len()], key_name, rest })
    }
}

/// The parts of a sealed record.
struct Parts<'a> {
    place: &'a [u8],
    place_and_name: &'a [u8],
    key_name: &'a str,
    wrapped_key: &'a [u8],
    record: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(sealed: &'a [u8]) -> Result<Self, SealError> {
        let Header { place, place_and_name, key_name, rest } = Header::of(sealed)?;
        let (wrapped_key, record) = rest.split_at_checked(WRAPPED_BYTES).ok_or(SealError::NotSealed)?;
        Ok(Self { place, place_and_name, key_name, wrapped_key, record })
    }

    /// Unwraps the record's own key.
    fn unwrap_key(&self, keyring: &Keyring, place: Place) -> Result<Zeroizing<[u8; KEY_BYTES]>, SealError> {
        let (kind, id) = (self.place[MAGIC.len() + 2], &self.place[MAGIC.len() + 3..]);
        if kind != place.kind as u8 || id != place.id.as_bytes() {
            return Err(SealError::OtherPlace);
        }
        let name = || self.key_name.to_owned();
        let master = keyring.get(self.key_name).ok_or_else(|| SealError::MissingKey(name()))?;
        let key = decrypt(master.expose(), self.wrapped_key, self.place_and_name)
            .ok_or_else(|| SealError::KeyDoesNotOpen(name()))?;
        let key = <[u8; KEY_BYTES]>::try_from(key.as_slice()).map_err(|_| SealError::NotSealed)?;
        Ok(Zeroizing::new(key))
    }
}

/// Appends the master key's name and the wrapped key to a header that ends with the id.
fn wrap(master: &MasterKey, key: &[u8; KEY_BYTES], header: &mut Vec<u8>) -> Result<(), SealError> {
    let name = master.name().as_bytes();
    header.push(u8::try_from(name.len()).map_err(|_| SealError::TooLarge)?);
    header.extend_from_slice(name);
    let wrapped = encrypt(master.expose(), key, header)?;
    header.extend_from_slice(&wrapped);
    Ok(())
}

/// Encrypts with a new random nonce, and returns both. Random nonces of 24 bytes do not repeat.
pub(crate) fn encrypt(key: &[u8; KEY_BYTES], plain: &[u8], associated: &[u8]) -> Result<Vec<u8>, SealError> {
    let nonce = random::<NONCE_BYTES>();
    let payload = Payload { msg: plain, aad: associated };
    let encrypted = XChaCha20Poly1305::new(<&Key>::from(key))
        .encrypt(<&XNonce>::from(&nonce), payload)
        .map_err(|_| SealError::TooLarge)?;
    Ok([nonce.as_slice(), &encrypted].concat())
}

pub(crate) fn decrypt(key: &[u8; KEY_BYTES], sealed: &[u8], associated: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, encrypted) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let payload = Payload { msg: encrypted, aad: associated };
    let plain = XChaCha20Poly1305::new(<&Key>::from(key)).decrypt(<&XNonce>::from(nonce), payload).ok()?;
    Some(Zeroizing::new(plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OLD: &str = "old:0101010101010101010101010101010101010101010101010101010101010101\n";
    const NEW: &str = "new:0202020202020202020202020202020202020202020202020202020202020202\n";

    fn keyring(text: &str) -> Keyring {
        Keyring::parse(text, "the test").unwrap()
    }

    fn place(kind: Kind, id: u128) -> Place {
        Place { kind, id: Uuid::from_u128(id) }
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens(plain: Vec<u8>, id: u128) {
            let keyring = keyring(OLD);
            let sealed = seal(&keyring, place(Kind::Session, id), &plain).unwrap();
            prop_assert_eq!(&*open(&keyring, place(Kind::Session, id), &sealed).unwrap(), &plain);
        }

        #[test]
        fn a_flipped_bit_is_an_error(plain: Vec<u8>, at: prop::sample::Index, bit in 0..8u32) {
            let keyring = keyring(OLD);
            let mut sealed = seal(&keyring, place(Kind::Session, 1), &plain).unwrap();
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert!(open(&keyring, place(Kind::Session, 1), &sealed).is_err());
        }

        #[test]
        fn a_part_is_an_error(plain: Vec<u8>, end: prop::sample::Index) {
            let keyring = keyring(OLD);
            let sealed = seal(&keyring, place(Kind::Session, 1), &plain).unwrap();
            let part = &sealed[..end.index(sealed.len())];
            prop_assert!(open(&keyring, place(Kind::Session, 1), part).is_err());
            prop_assert!(rewrap(&keyring, place(Kind::Session, 1), part).is_err() || part.len() >= PLACE_BYTES + 4 + WRAPPED_BYTES);
        }

        #[test]
        fn anything_else_is_an_error(mut bytes: Vec<u8>, marked: bool) {
            if marked {
                bytes.splice(..0, [MAGIC.as_slice(), &[VERSION, XCHACHA20_POLY1305]].concat());
            }
            prop_assert!(open(&keyring(OLD), place(Kind::Session, 1), &bytes).is_err());
        }
    }

    #[test]
    fn a_record_in_anothers_place_does_not_open() {
        let keyring = keyring(OLD);
        let sealed = seal(&keyring, place(Kind::Session, 1), b"{}").unwrap();
        for other in [place(Kind::Session, 2), place(Kind::Checkpoint, 1)] {
            assert_eq!(open(&keyring, other, &sealed).unwrap_err(), SealError::OtherPlace);
            // Nor with a header that says so.
            let mut altered = sealed.clone();
            altered[MAGIC.len() + 2] = other.kind as u8;
            altered[MAGIC.len() + 3..PLACE_BYTES].copy_from_slice(other.id.as_bytes());
            let error = open(&keyring, other, &altered).unwrap_err();
            assert_eq!(error, SealError::KeyDoesNotOpen("old".to_owned()));
        }
    }

    #[test]
    fn a_rewrapped_record_needs_the_new_key_alone() {
        let before = place(Kind::Checkpoint, 7);
        let sealed = seal(&keyring(OLD), before, b"inside").unwrap();
        let both = keyring(&format!("{NEW}{OLD}"));
        let rewrapped = rewrap(&both, before, &sealed).unwrap();
        assert_eq!(key_name(&sealed[..HEADER_BYTES_MAX.min(sealed.len())]).unwrap(), "old");
        assert_eq!(key_name(&rewrapped).unwrap(), "new");
        assert_eq!(&**open(&keyring(NEW), before, &rewrapped).unwrap(), b"inside");
        assert_eq!(
            open(&keyring(OLD), before, &rewrapped).unwrap_err(),
            SealError::MissingKey("new".to_owned())
        );
        // The record's own seal is the same: the last bytes are.
        assert_eq!(sealed[sealed.len() - 46..], rewrapped[rewrapped.len() - 46..]);
    }

    #[test]
    fn another_key_of_the_same_name_does_not_open() {
        let sealed = seal(&keyring(OLD), place(Kind::Session, 1), b"inside").unwrap();
        let other = keyring(&OLD.replace("01", "03"));
        let error = open(&other, place(Kind::Session, 1), &sealed).unwrap_err();
        assert_eq!(error, SealError::KeyDoesNotOpen("old".to_owned()));
    }

    #[test]
    fn what_a_later_release_sealed_is_told_apart() {
        let mut sealed = seal(&keyring(OLD), place(Kind::Session, 1), b"{}").unwrap();
        sealed[MAGIC.len() + 1] = 2;
        assert_eq!(
            open(&keyring(OLD), place(Kind::Session, 1), &sealed).unwrap_err(),
            SealError::UnknownAlgorithm(2)
        );
        sealed[MAGIC.len()] = 2;
        assert_eq!(
            open(&keyring(OLD), place(Kind::Session, 1), &sealed).unwrap_err(),
            SealError::Newer { found: 2 }
        );
    }
}
