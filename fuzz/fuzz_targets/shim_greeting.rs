//! Everything that a server and a shim read of each other, of the run directory and of standard input.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| pilotlight_chromium::fuzzing::read_shim_messages(data));
