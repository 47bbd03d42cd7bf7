//! Messages of WebDriver BiDi: what goes on to chromedriver begins and ends no session, and is passed on as it is when
//! it is read once more. What is in `params` decides nothing here and goes on as it is spelt, lone surrogates and all.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use pilotlight::fuzzing::bidi_passed_on;
use serde_json::value::RawValue;

const NAMES: [&str; 4] = ["id", "method", "params", "goog:channel"];
const OF_SESSIONS: [&str; 3] = ["session.status", "session.subscribe", "session.unsubscribe"];

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(passed) = bidi_passed_on(text) else { return };
    let message: BTreeMap<String, &RawValue> = serde_json::from_str(&passed).expect("it is an object");
    assert!(message.keys().all(|name| NAMES.contains(&name.as_str())), "{passed}");
    let method: String = serde_json::from_str(message["method"].get()).expect("it has a method");
    assert!(!method.starts_with("session.") || OF_SESSIONS.contains(&method.as_str()), "{passed}");
    assert_ne!(method, "browser.close");
    assert_eq!(bidi_passed_on(&passed).as_ref(), Some(&passed));
});
