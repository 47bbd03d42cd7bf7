//! What viewers of a window send: what they type never shows in a `Debug` text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilotlight_api::LiveCommand;

fuzz_target!(|data: &[u8]| {
    if let Ok(command) = serde_json::from_slice::<LiveCommand>(data) {
        let shown = format!("{command:?}");
        if let LiveCommand::Text { text } = &command {
            let without = LiveCommand::Text { text: String::new() };
            assert_eq!(shown, format!("{without:?}"), "{} bytes of text show", text.len());
        }
    }
});
