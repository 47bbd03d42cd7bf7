//! `Host` and `Origin`: what is read is written as the same, and has nothing beside a host and a port.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilotlight::fuzzing::{Authority, Origin};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(authority) = Authority::parse(text) {
        let written = authority.to_string();
        assert!(
            written.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte)),
            "{written}"
        );
        assert_eq!(Authority::parse(&written), Some(authority));
    }
    if let Some(origin) = Origin::parse(text) {
        assert_eq!(Origin::parse(&origin.to_string()), Some(origin));
    }
});
