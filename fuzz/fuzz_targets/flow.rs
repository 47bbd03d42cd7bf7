//! Recordings that anybody may send: reading, reviewing and filling them in never panics, and a value that was
//! filled in does not come out again in a text that was redacted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilotlight_flow::placeholders::names;
use pilotlight_flow::recorded::{Purpose, passwords, redacted, secrets};
use pilotlight_flow::{Flow, Selector, Totp, Values, review};
use secrecy::{ExposeSecret, SecretString};

const SECRET: &str = "correct horse";

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let values = Values::new().with("username", "driver-1").with("password", SECRET);
    let _ = Selector::parse(text);
    let _ = Totp::parse(&SecretString::from(text));
    if names(text).is_ok()
        && let Ok(filled) = values.fill(text)
    {
        assert!(!values.redact(filled.expose_secret()).contains(SECRET));
    }
    let Ok(flow) = Flow::parse(text) else { return };
    let _ = flow.placeholders();
    let _ = passwords(&flow, Purpose::Unknown);
    let found = secrets(&flow, Purpose::Unknown);
    let shown = redacted(text, &found);
    // Those that could be made of what they are replaced by are not looked for.
    let telling =
        |secret: &&String| secret.len() >= 8 && !secret.contains(['$', '{', '}']) && *secret != "password";
    assert!(found.iter().filter(telling).all(|secret| !shown.contains(secret.as_str())));
    assert_eq!(review::review(&flow).len(), flow.steps.len());
});
