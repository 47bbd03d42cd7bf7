//! The archive in which Selenium sends a file: no archive makes it unpack more than it may, or panic.
#![no_main]

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use libfuzzer_sys::fuzz_target;
use pilotlight::fuzzing::unpack;

fuzz_target!(|data: &[u8]| {
    if let Ok((_, contents)) = unpack(&BASE64_STANDARD.encode(data)) {
        assert!(contents.len() <= 256 * 1024 * 1024);
    }
});
