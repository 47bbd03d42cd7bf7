//! What a page says of itself when its state is read: a page may have taken its renderer over, so that it answers
//! anything.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        pilotlight_chromium::fuzzing::read_page_state(text);
    }
});
