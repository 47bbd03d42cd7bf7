//! What the fuzz targets reach of the private parts: how records are read, and their seal. Built with
//! `--cfg fuzzing` alone.

#![expect(clippy::expect_used, reason = "a broken promise is what a fuzz target looks for")]

use std::io::Read;

use uuid::Uuid;
use zeroize::Zeroizing;

use crate::error::{RecordError, StoreError};
use crate::files::FilesKey;
use crate::format;
use crate::keys::Keyring;
use crate::seal::{self, Kind, Place};

/// A line of a key file: a name, and 32 bytes in hexadecimal.
const KEY: &str = "fuzz:0000000000000000000000000000000000000000000000000000000000000001";

/// Reads the bytes as each kind of record. What can be read and is within the limits can be written, and what was
/// written is read as the same.
pub fn read_records(bytes: &[u8]) {
    let checkpoint = |record: &_| format::encode_checkpoint(Uuid::nil(), record);
    round_trip(bytes, format::decode_checkpoint, checkpoint);
    round_trip(bytes, format::decode_record, format::encode_record);
    round_trip(bytes, format::decode_credential, format::encode_credential);
    round_trip(bytes, format::decode_operation, format::encode_operation);
}

fn round_trip<T>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, RecordError>,
    encode: impl Fn(&T) -> Result<Zeroizing<Vec<u8>>, StoreError>,
) {
    let Ok(record) = decode(bytes) else { return };
    let Ok(written) = encode(&record) else { return };
    let again = decode(&written).expect("what was written can be read");
    assert_eq!(*written, *encode(&again).expect("what was read can be written"));
}

/// Opens the bytes as a sealed record, which nobody without the key can make; and seals them, opens that again, and
/// finds every change of one of its bytes.
pub fn open_seal(bytes: &[u8]) {
    let keyring = Keyring::parse(KEY, "the fuzz target").expect("the key is a key");
    let place = Place { kind: Kind::Checkpoint, id: Uuid::nil() };
    assert!(seal::open(&keyring, place, bytes).is_err());
    let _ = seal::key_name(bytes);
    let _ = seal::rewrap(&keyring, place, bytes);
    let mut sealed = seal::seal(&keyring, place, bytes).expect("it is small");
    assert_eq!(seal::open(&keyring, place, &sealed).as_deref().map(Vec::as_slice), Ok(bytes));
    let changed =
        bytes.iter().fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let changed = changed % sealed.len();
    sealed[changed] ^= 1;
    assert!(seal::open(&keyring, place, &sealed).is_err());
}

/// Opens the bytes as a sealed file, which nobody without the key can make; and seals them, opens that again, and finds
/// it out where it was cut off.
pub fn open_file(bytes: &[u8]) {
    let key = FilesKey::random();
    let read = |sealed: &[u8]| {
        let mut plain = Vec::new();
        key.open("name", sealed).and_then(|mut file| file.read_to_end(&mut plain)).map(|_| plain)
    };
    assert!(read(bytes).is_err());
    let mut sealed = Vec::new();
    key.seal("name", &mut &*bytes, &mut sealed).expect("it is small");
    assert_eq!(read(&sealed).ok().as_deref(), Some(bytes));
    let last = sealed.pop();
    assert!(last.is_some() && read(&sealed).is_err());
}
