//! Playwright's `storageState`, written by anybody: what is accepted is given out and accepted again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilotlight_checkpoint::Checkpoint;

fuzz_target!(|data: &[u8]| {
    let Ok(value) = serde_json::from_slice(data) else { return };
    let Ok(state) = Checkpoint::from_storage_state(&value, 0) else { return };
    let given = state.to_storage_state();
    let again = Checkpoint::from_storage_state(&given, 0).expect("what was given out is accepted");
    assert_eq!(given, again.to_storage_state());
});
