//! WebDriver's paths: whatever is asked for, the path that chromedriver is sent stays below the session's own, reads as
//! the same command again, and means the same to whoever normalises it.
#![no_main]

use http::{Method, Uri};
use libfuzzer_sys::fuzz_target;
use pilotlight::fuzzing::{OfSession, Route};

fuzz_target!(|data: &[u8]| {
    let Some((method, target)) = data.split_first() else { return };
    let method = [Method::GET, Method::POST, Method::DELETE, Method::PUT][usize::from(method % 4)].clone();
    let Ok(target) = Uri::try_from(target) else { return };
    let Ok(Route::Session(id, of)) = Route::of(&method, &target) else { return };
    assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{id}");
    let OfSession::Command(command) = of else { return };
    let path = format!("/session/{id}{}", command.path());
    for segment in path.split('/').skip(1) {
        let lower = segment.to_ascii_lowercase();
        assert!(!segment.is_empty() && segment != "." && segment != "..", "{path}");
        assert!(!["%2e", "%2f", "%5c", "\\", "%00"].iter().any(|bad| lower == *bad), "{path}");
        assert!(!lower.contains("%2f") && !lower.contains("%5c") && !lower.contains('\\'), "{path}");
    }
    let normalised = url::Url::parse(&format!("http://driver{path}")).expect("it is a path");
    assert_eq!(normalised.path(), path, "a reader that normalises it sees another path");
    assert!(normalised.query().is_none() && normalised.fragment().is_none(), "{path}");
    let again = Uri::try_from(&path).expect("what was written is a target");
    assert_eq!(Route::of(&command.method(), &again), Ok(Route::Session(id, OfSession::Command(command))));
});
