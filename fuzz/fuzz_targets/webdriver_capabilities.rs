//! Capabilities of a new WebDriver session: whatever is asked for, chromedriver is told nothing beyond a short list,
//! and above all no program, no switch and no path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilotlight::fuzzing::read;

/// What may be passed on, and of Chromium's own options what may.
const PASSED_ON: [&str; 8] = [
    "acceptInsecureCerts",
    "goog:chromeOptions",
    "goog:loggingPrefs",
    "pageLoadStrategy",
    "strictFileInteractability",
    "timeouts",
    "unhandledPromptBehavior",
    "webSocketUrl",
];
const CHROME_PASSED_ON: [&str; 2] = ["mobileEmulation", "perfLoggingPrefs"];

fuzz_target!(|data: &[u8]| {
    let Ok(wanted) = read(data) else { return };
    for (name, value) in &wanted.for_driver {
        assert!(PASSED_ON.contains(&name.as_str()), "{name}");
        if name == "goog:chromeOptions" {
            let options = value.as_object().expect("options are an object");
            assert!(options.keys().all(|option| CHROME_PASSED_ON.contains(&option.as_str())), "{options:?}");
        }
    }
});
