//! Taking passwords and user names out of a recording in place: what comes of it has as many steps, and the password
//! in none of its strings. Names of fields are not what anybody typed, and stay.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilotlight::fuzzing::clean_recording;
use pilotlight_flow::Flow;
use serde_json::Value;

const PASSWORD: &str = "correct horse";

fn has_password(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(PASSWORD),
        Value::Array(values) => values.iter().any(has_password),
        Value::Object(fields) => fields.values().any(has_password),
        _ => false,
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(flow) = Flow::parse(text) else { return };
    let Some(cleaned) = clean_recording(text, &flow, PASSWORD) else { return };
    let value: Value = serde_json::from_str(&cleaned).expect("it is JSON still");
    assert!(!has_password(&value), "{cleaned}");
    // What is typed may also be a word of the format, such as that of a button: then nothing is written.
    let Ok(again) = Flow::parse(&cleaned) else { return };
    assert_eq!(again.steps.len(), flow.steps.len());
});
