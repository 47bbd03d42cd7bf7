//! The protocol's binary form: what is JSON comes back as it was, and what a renderer writes, however broken, is taken in
//! the same way however it arrives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilotlight_cdp::EncodeError;
use pilotlight_cdp::fuzzing::{decode, encode};
use serde_json::Value;

/// An envelope around what comes next.
fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("inputs are short");
    [&[0xd8, 24, 0x5a][..], &length.to_be_bytes(), body].concat()
}

/// Numbers lose what floating point does not have.
fn rounded(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let float = number.as_f64().unwrap_or_default();
            *value = format!("{float:.12e}").into();
        }
        Value::Array(items) => items.iter_mut().for_each(rounded),
        Value::Object(fields) => fields.values_mut().for_each(rounded),
        _ => {}
    }
}

fuzz_target!(|data: &[u8]| {
    let read: Result<Value, _> = serde_json::from_slice(data);
    match (encode(data), read) {
        (Ok(binary), read) => {
            let out = decode(binary.chunks(7));
            if let Ok(mut read @ Value::Object(_)) = read {
                let mut out = out.expect("what was written can be read");
                assert_eq!(out.pop(), Some(0));
                let mut again: Value = serde_json::from_slice(&out).expect("what comes back is JSON");
                rounded(&mut read);
                rounded(&mut again);
                assert_eq!(again, read);
            }
        }
        (Err(EncodeError::Malformed { at }), Ok(_)) => panic!("JSON was refused at byte {at}"),
        (Err(_), _) => {}
    }
    let stream = [framed(data), framed(b"\xbf\xff")].concat();
    let whole = decode(std::iter::once(&stream[..]));
    assert_eq!(whole, decode(stream.chunks(1)));
    if !data.is_empty() {
        let whole = whole.expect("the stream is in step");
        assert!(whole.ends_with(b"\0{}\0"), "the next message is not there");
        assert!(whole.len() <= 32 * data.len() + 8, "{} of {}", whole.len(), data.len());
    }
});
