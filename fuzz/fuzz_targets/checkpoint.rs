//! What is inside a seal, after a fault or somebody who has the key changed it, and the seals of records and files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilotlight_store::fuzzing::{open_file, open_seal, read_records};

fuzz_target!(|data: &[u8]| {
    read_records(data);
    open_seal(data);
    open_file(data);
});
