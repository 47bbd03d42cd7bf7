//! Files beside the store, sealed like its records: screenshots, downloads, reports of failed sign-ins.
//!
//! Each file has its own key, which is sealed with a key for all files. That key is in the store, sealed with the
//! master key, so that a new master key changes no files. The file's name is associated data of its key's seal, so
//! that files cannot be exchanged for one another.
//!
//! ```text
//! magic "PLSF" | version 1 | algorithm 1
//! nonce, 24 bytes | the file's key, sealed, 32 + 16 bytes      associated data: the above and the file's name
//! prefix, 19 bytes | chunks, each of at most 65536 + 16 bytes
//! ```
//!
//! The chunks are a STREAM (Hoang, Reyhanitabar, Rogaway and Vizár, 2015): the nonce of each consists of the prefix,
//! its number in 4 bytes, and a flag for the last one. The last chunk is shorter than the others, and may be empty,
//! so that a truncated file is always detected.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretBox};
use zeroize::Zeroizing;

use crate::keys::KEY_BYTES;
use crate::random::random;
use crate::seal::{NONCE_BYTES, TAG_BYTES, decrypt, encrypt};

const HEADER: [u8; 6] = *b"PLSF\x01\x01";
const WRAPPED_BYTES: usize = NONCE_BYTES + KEY_BYTES + TAG_BYTES;
const PREFIX_BYTES: usize = 19;
/// Size of a chunk before it is sealed, in bytes.
pub const CHUNK_BYTES: usize = 64 << 10;

/// The key of all files. Its `Debug` reveals nothing. Cheap to clone.
#[derive(Clone)]
pub struct FilesKey(Arc<SecretBox<[u8; KEY_BYTES]>>);

impl fmt::Debug for FilesKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FilesKey(..)")
    }
}

impl FilesKey {
    /// Creates a random key.
    #[must_use]
    pub fn random() -> Self {
        Self(Arc::new(SecretBox::init_with(random::<KEY_BYTES>)))
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let key = Zeroizing::new(<[u8; KEY_BYTES]>::try_from(bytes).ok()?);
        Some(Self(Arc::new(SecretBox::init_with(|| *key))))
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_BYTES] {
        self.0.expose_secret()
    }

    /// Seals everything from `from` into `to`, as the file with this name. Returns the number of bytes.
    ///
    /// # Errors
    /// Returns errors of reading and writing.
    pub fn seal(&self, name: &str, from: &mut impl Read, to: &mut impl Write) -> io::Result<u64> {
        let key = Zeroizing::new(random::<KEY_BYTES>());
        let too_large = |_| io::Error::new(io::ErrorKind::FileTooLarge, "it is too large to seal");
        to.write_all(&HEADER)?;
        to.write_all(&encrypt(self.expose(), &*key, &associated(name)).map_err(too_large)?)?;
        let stream = Stream { cipher: XChaCha20Poly1305::new(<&Key>::from(&*key)), prefix: random() };
        to.write_all(&stream.prefix)?;
        let mut chunk = Zeroizing::new(vec![0; CHUNK_BYTES]);
        let (mut total, mut number) = (0, 0_u32);
        loop {
            let length = fill(from, &mut chunk)?;
            let nonce = stream.nonce(number, length);
            let sealed = stream.cipher.encrypt(&nonce, Payload { msg: &chunk[..length], aad: &[] });
            to.write_all(&sealed.map_err(|_| too_large(crate::SealError::TooLarge))?)?;
            total += length as u64;
            if length < CHUNK_BYTES {
                return Ok(total);
            }
            number = number.checked_add(1).ok_or(crate::SealError::TooLarge).map_err(too_large)?;
        }
    }

    /// Opens the sealed file with this name.
    ///
    /// # Errors
    /// Returns an error if it is not a sealed file, was modified, or cannot be read.
    pub fn open<R: Read>(&self, name: &str, mut from: R) -> io::Result<Opened<R>> {
        let mut head = [0; HEADER.len() + WRAPPED_BYTES];
        from.read_exact(&mut head).map_err(cut_off)?;
        let (header, wrapped) = head.split_at(HEADER.len());
        if header != HEADER {
            return Err(invalid("it is not a sealed file, or is of a later version"));
        }
        let key = decrypt(self.expose(), wrapped, &associated(name)).ok_or_else(altered)?;
        let key = Zeroizing::new(<[u8; KEY_BYTES]>::try_from(key.as_slice()).map_err(|_| altered())?);
        let mut prefix = [0; PREFIX_BYTES];
        from.read_exact(&mut prefix).map_err(cut_off)?;
        let stream = Stream { cipher: XChaCha20Poly1305::new(<&Key>::from(&*key)), prefix };
        let chunk = Zeroizing::new(Vec::new());
        Ok(Opened { from, stream, chunk, at: 0, number: 0, is_over: false })
    }
}

/// Returns whether these are the first bytes of a sealed file of any version.
#[must_use]
pub fn is_sealed(start: &[u8]) -> bool {
    start.starts_with(&HEADER[..4])
}

/// Returns the size of the contents of a sealed file of this length; `None` if the length is impossible.
#[must_use]
pub fn plain_bytes(sealed_bytes: u64) -> Option<u64> {
    const BEFORE: u64 = (HEADER.len() + WRAPPED_BYTES + PREFIX_BYTES) as u64;
    const CHUNK: u64 = (CHUNK_BYTES + TAG_BYTES) as u64;
    let chunks = sealed_bytes.checked_sub(BEFORE)?;
    let last = (chunks % CHUNK).checked_sub(TAG_BYTES as u64)?;
    Some(chunks / CHUNK * CHUNK_BYTES as u64 + last)
}

fn associated(name: &str) -> Vec<u8> {
    [&HEADER, name.as_bytes()].concat()
}

struct Stream {
    cipher: XChaCha20Poly1305,
    prefix: [u8; PREFIX_BYTES],
}

impl Stream {
    /// Returns the nonce of a chunk, from its number and its length before it is sealed.
    fn nonce(&self, number: u32, length: usize) -> XNonce {
        let mut nonce = [0; NONCE_BYTES];
        let (prefix, rest) = nonce.split_at_mut(PREFIX_BYTES);
        prefix.copy_from_slice(&self.prefix);
        let (counter, is_last) = rest.split_at_mut(4);
        counter.copy_from_slice(&number.to_be_bytes());
        is_last.fill(u8::from(length < CHUNK_BYTES));
        XNonce::from(nonce)
    }
}

/// Reads the contents of a sealed file. Data that was read is authentic; that the file is complete is known at its
/// end.
pub struct Opened<R> {
    from: R,
    stream: Stream,
    chunk: Zeroizing<Vec<u8>>,
    at: usize,
    number: u32,
    is_over: bool,
}

impl<R> fmt::Debug for Opened<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Opened(..)")
    }
}

impl<R: Read> Opened<R> {
    fn next_chunk(&mut self) -> io::Result<()> {
        let mut sealed = vec![0; CHUNK_BYTES + TAG_BYTES];
        let length = fill(&mut self.from, &mut sealed)?;
        let plain_length = length.checked_sub(TAG_BYTES).ok_or_else(|| cut_off(invalid("")))?;
        let nonce = self.stream.nonce(self.number, plain_length);
        let opened = self.stream.cipher.decrypt(&nonce, Payload { msg: &sealed[..length], aad: &[] });
        self.chunk = Zeroizing::new(opened.map_err(|_| altered())?);
        self.at = 0;
        self.is_over = plain_length < CHUNK_BYTES;
        self.number = self.number.checked_add(1).ok_or_else(altered)?;
        Ok(())
    }
}

impl<R: Read> Read for Opened<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            if self.is_over || into.is_empty() {
                return Ok(0);
            }
            self.next_chunk()?;
        }
        let left = &self.chunk[self.at..];
        let length = left.len().min(into.len());
        into[..length].copy_from_slice(&left[..length]);
        self.at += length;
        Ok(length)
    }
}

/// Reads until the buffer is full or the input ends.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match from.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn altered() -> io::Error {
    invalid("it was modified, or was sealed with another key or as another file")
}

fn cut_off(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => invalid("it is truncated"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sealed(key: &FilesKey, name: &str, plain: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        assert_eq!(key.seal(name, &mut &plain[..], &mut sealed).unwrap(), plain.len() as u64);
        sealed
    }

    fn opened(key: &FilesKey, name: &str, sealed: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        key.open(name, sealed)?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn what_was_sealed_opens_at_every_length() {
        let key = FilesKey::random();
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let plain: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let sealed = sealed(&key, "a", &plain);
            assert_eq!(plain_bytes(sealed.len() as u64), Some(length as u64));
            assert!(is_sealed(&sealed) && opened(&key, "a", &sealed).unwrap() == plain, "{length}");
        }
    }

    #[test]
    fn nothing_of_it_can_be_read_and_no_two_are_the_same() {
        let key = FilesKey::random();
        let plain = b"container MSKU4822107".repeat(10);
        let (one, other) = (sealed(&key, "a", &plain), sealed(&key, "a", &plain));
        assert!(one != other && !one.windows(11).any(|window| window == b"MSKU4822107"));
    }

    #[test]
    fn a_file_in_anothers_place_or_under_another_key_does_not_open() {
        let key = FilesKey::random();
        let sealed = sealed(&key, "a", b"inside");
        assert!(opened(&key, "b", &sealed).is_err());
        assert!(opened(&FilesKey::random(), "a", &sealed).is_err());
        assert!(opened(&key, "a", b"\x89PNG\r\n plain, as an earlier version wrote it").is_err());
        assert_eq!(opened(&FilesKey::from_bytes(key.expose()).unwrap(), "a", &sealed).unwrap(), b"inside");
        assert!(FilesKey::from_bytes(b"short").is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn a_flipped_bit_or_a_part_is_an_error(
            chunks in 0..3_usize,
            more in 0..200_usize,
            at: prop::sample::Index,
            bit in 0..8_u32,
        ) {
            let key = FilesKey::random();
            let plain = vec![7; chunks * CHUNK_BYTES + more];
            let mut sealed = sealed(&key, "a", &plain);
            let at = at.index(sealed.len());
            prop_assert!(opened(&key, "a", &sealed[..at]).is_err(), "a part");
            // A whole chunk less, or the chunks in another order, is a part too.
            let body = HEADER.len() + WRAPPED_BYTES + PREFIX_BYTES;
            if chunks > 0 {
                let end = body + CHUNK_BYTES + TAG_BYTES;
                prop_assert!(opened(&key, "a", &sealed[..end]).is_err(), "without its last chunk");
                let less = [&sealed[..body], &sealed[end..]].concat();
                prop_assert!(opened(&key, "a", &less).is_err(), "without its first chunk");
            }
            sealed[at] ^= 1 << bit;
            prop_assert!(opened(&key, "a", &sealed).is_err(), "a flipped bit at {at}");
        }
    }
}
