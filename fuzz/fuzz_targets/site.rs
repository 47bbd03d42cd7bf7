//! Sites by REST: what is accepted can be written down and accepted again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilotlight::fuzzing::Site;
use pilotlight_api::{SiteDefinition, parse_body};

fuzz_target!(|data: &[u8]| {
    let Ok(definition) = parse_body::<SiteDefinition>(data) else { return };
    let Ok(site) = Site::new(definition) else { return };
    let written = serde_json::to_vec(&site.definition).expect("a site can be written");
    let again = parse_body::<SiteDefinition>(&written).expect("what was written can be read");
    assert_eq!(Site::new(again).expect("what was accepted is accepted again"), site);
});
