//! The golden files are what earlier releases wrote; they are never changed, only added to by a new version.
//! A version's own are made, before its release, by
//! `PILOTLIGHT_WRITE_GOLDEN=1 cargo test -p pilotlight-store golden`.

use std::fs;
use std::path::PathBuf;

use pilotlight_checkpoint::Origin;
use serde_json::{Value, json};

use super::*;
use crate::keys::Keyring;
use crate::samples::{ID, checkpoint, credential, operation, record};
use crate::seal::{self, Kind, Place};

/// The key of the sealed golden file.
const GOLDEN_KEY: &str = "golden:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A golden file, which is written anew first where that is asked for.
fn golden(name: &str, current: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("PILOTLIGHT_WRITE_GOLDEN").is_some() {
        fs::write(&path, current()).unwrap();
    }
    fs::read(path).unwrap()
}

fn pretty(bytes: &[u8]) -> Vec<u8> {
    let value: Value = serde_json::from_slice(bytes).unwrap();
    format!("{value:#}\n").into_bytes()
}

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn the_golden_checkpoint_is_read_and_written_as_ever() {
    let now = encode_checkpoint(ID, &checkpoint()).unwrap();
    let golden = golden("checkpoint-v1.json", || pretty(&now));
    assert!(decode_checkpoint(&golden).unwrap() == checkpoint());
    assert_eq!(value(&now), value(&golden));
}

#[test]
fn the_golden_record_is_read_and_written_as_ever() {
    let now = encode_record(&record()).unwrap();
    let golden = golden("record-v1.json", || pretty(&now));
    let read = decode_record(&golden).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), serde_json::to_value(record()).unwrap());
    assert_eq!(value(&now), value(&golden));
}

#[test]
fn a_record_that_does_not_say_whether_it_was_signed_in_is_read() {
    let mut older = value(&encode_record(&record()).unwrap());
    assert!(older["record"].as_object_mut().unwrap().remove("sign_in").is_some());
    assert_eq!(decode_record(older.to_string().as_bytes()).unwrap().sign_in, None);
}

#[test]
fn the_golden_operation_is_read_and_written_as_ever() {
    let now = encode_operation(&operation(5, 1)).unwrap();
    let golden = golden("operation-v1.json", || pretty(&now));
    assert_eq!(decode_operation(&golden).unwrap(), operation(5, 1));
    assert_eq!(value(&now), value(&golden));
}

#[test]
fn the_golden_credential_is_read_and_written_as_ever() {
    let now = encode_credential(&credential()).unwrap();
    let golden = golden("credential-v1.json", || pretty(&now));
    let read = decode_credential(&golden).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), serde_json::to_value(credential()).unwrap());
    assert_eq!(value(&now), value(&golden));
}

#[test]
fn the_golden_sealed_checkpoint_opens_as_ever() {
    let keyring = Keyring::parse(GOLDEN_KEY, "the test").unwrap();
    let place = Place { kind: Kind::Checkpoint, id: ID };
    let golden = golden("checkpoint-v1.sealed", || {
        seal::seal(&keyring, place, &encode_checkpoint(ID, &checkpoint()).unwrap()).unwrap()
    });
    let opened = seal::open(&keyring, place, &golden).unwrap();
    assert!(decode_checkpoint(&opened).unwrap() == checkpoint());
}

#[test]
fn a_later_version_is_told_apart() {
    for later in [r#"{"version":2,"checkpoint":[1]}"#, r#"{"version":2}"#, r#"{"other":{},"version":2}"#] {
        let error = decode_checkpoint(later.as_bytes()).unwrap_err();
        assert_eq!(error, RecordError::Newer { found: 2, known: 1 });
    }
}

#[test]
fn a_content_that_is_not_understood_is_not_repeated() {
    for wrong in [
        "",
        "s3cret",
        r#"{"version":"s3cret","record":{}}"#,
        r#"{"version":0,"record":{}}"#,
        r#"{"version":1}"#,
        r#"{"version":1,"record":{"id":"s3cret"}}"#,
    ] {
        let error = decode_record(wrong.as_bytes()).unwrap_err();
        assert!(matches!(error, RecordError::Malformed { .. }));
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let nested = |levels| (0..levels).fold(json!(0), |value, _| json!([value]));
    let with = |value| {
        let origin = Origin { origin: String::new(), local_storage: Vec::new(), indexed_db: vec![value] };
        Checkpoint { origins: vec![origin], ..Checkpoint::default() }
    };
    let deepest = with(nested(NESTING_MAX));
    let bytes = encode_checkpoint(ID, &deepest).unwrap();
    assert!(decode_checkpoint(&bytes).unwrap() == deepest);
    let error = encode_checkpoint(ID, &with(nested(NESTING_MAX + 1))).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { session: ID, .. }));
}
