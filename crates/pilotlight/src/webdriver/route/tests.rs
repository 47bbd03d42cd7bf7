use proptest::prelude::*;

use super::*;

fn parse(method: &str, target: &str) -> Result<Route, Misdirected> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Route::parse(method, path, query)
}

fn command(method: &str, below: &str) -> Result<Command, Misdirected> {
    match parse(method, &format!("/session/5e55/{below}"))? {
        Route::Session(id, OfSession::Command(command)) if id == "5e55" => Ok(command),
        other => panic!("{below}: {other:?}"),
    }
}

#[test]
fn routes_are_read_at_the_root_and_at_the_hub() {
    let of = |of| Ok(Route::Session("5e55".into(), of));
    for hub in ["", HUB] {
        for (method, path, route) in [
            ("GET", "/status", Ok(Route::Status)),
            ("POST", "/session", Ok(Route::Begin)),
            ("GET", "/session/5e55", of(OfSession::Socket)),
            ("DELETE", "/session/5e55", of(OfSession::End)),
            ("GET", "/session/5e55/se/cdp", of(OfSession::DevTools)),
            ("POST", "/session/5e55/se/file", of(OfSession::Upload)),
            ("POST", "/session/5e55/file", of(OfSession::Upload)),
            ("GET", "/session", Err(Misdirected::UnknownMethod)),
            ("PUT", "/session", Err(Misdirected::UnknownMethod)),
            ("POST", "/session/5e55", Err(Misdirected::UnknownMethod)),
            ("HEAD", "/session/5e55/url", Err(Misdirected::UnknownMethod)),
            ("post", "/session/5e55/url", Err(Misdirected::UnknownMethod)),
            ("GET", "/sessions", Err(Misdirected::UnknownCommand)),
            ("GET", "/shutdown", Err(Misdirected::UnknownCommand)),
        ] {
            assert_eq!(parse(method, &format!("{hub}{path}")), route, "{method} {hub}{path}");
            let with_token = format!("{hub}{path}?token=t");
            assert_eq!(parse(method, &with_token), route, "{with_token}");
        }
    }
}

#[test]
fn parameters_are_decoded_once_and_written_anew() {
    let element = "f.30442B8FBFF6A64C4B8B5DEFF756872B.d.7E77C0ECC195686AF0243FD1CE17ADDC.e.2";
    for (method, below, expected) in [
        ("GET", format!("element/{element}/text"), format!("/element/{element}/text")),
        ("GET", format!("element/{element}/css/--my-color"), format!("/element/{element}/css/--my-color")),
        ("GET", "element/e/attribute/%61ria-label".into(), "/element/e/attribute/aria-label".into()),
        ("GET", "element/e/attribute/xlink:href".into(), "/element/e/attribute/xlink%3Ahref".into()),
        ("GET", "element/e/attribute/%5Bx%5d".into(), "/element/e/attribute/%5Bx%5D".into()),
        ("DELETE", "cookie/a%20b%25".into(), "/cookie/a%20b%25".into()),
        (
            "DELETE",
            "webauthn/authenticator/a-1/credentials/c2Vj_-==".into(),
            "/webauthn/authenticator/a-1/credentials/c2Vj_-%3D%3D".into(),
        ),
        ("DELETE", "window".into(), "/window".into()),
    ] {
        let command = command(method, &below).unwrap();
        assert_eq!((command.method().as_str(), command.path()), (method, expected), "{below}");
    }
    assert!(command("DELETE", "window").unwrap().closes_tab());
    assert!(!command("GET", "window").unwrap().closes_tab());
    assert!(command("POST", "url").unwrap().has_body() && !command("GET", "url").unwrap().has_body());
}

/// All ways to write what would be another path to somebody who reads it otherwise.
#[test]
fn what_is_no_route_is_refused() {
    let up = [
        "..",
        ".",
        "%2e%2e",
        "%2E.",
        ".%2e",
        "%2e",
        "%252e%252e",
        "..%2f",
        "..%252f..",
        "%2e%2e%2f%2e%2e",
        "..%5c",
        "..\\",
        "..;",
        "..;a=b",
        "...",
        "..%00",
        "%00",
        "..%c0%af",
        "\u{ff0e}\u{ff0e}",
        "",
    ];
    for up in up {
        for path in [
            format!("/session/5e55/{up}/{up}/session"),
            format!("/session/5e55/x/{up}/{up}/{up}/sessions"),
            format!("/session/5e55/url/{up}/{up}/{up}/status"),
            format!("/session/5e55/{up}/5e56/url"),
            format!("/session/{up}/url"),
            format!("/session/{up}"),
            format!("/session/5e55/{up}/url"),
            format!("/session/5e55/url/{up}"),
            format!("/session/5e55/element/{up}/text"),
            format!("/session/5e55/element/e/{up}/text"),
            format!("/session/5e55/shadow/{up}/element"),
            format!("/{up}/session/5e55/url"),
            format!("/session{up}/5e55/url"),
        ] {
            for hub in ["", HUB, "/wd/hub/x/..", "/wd/./hub", "/WD/HUB"] {
                // With nothing in the place of `up` it is plain.
                if path == "/session/5e55/url" {
                    continue;
                }
                for method in ["GET", "POST", "DELETE"] {
                    let route = parse(method, &format!("{hub}{path}"));
                    assert!(route.is_err(), "{method} {hub}{path}: {route:?}");
                }
            }
        }
    }
    for name in [
        "", ".", "..", "%2e", "%2e%2E", "a%2fb", "a%2Fb", "a\\b", "a%5cb", "a%00", "a%0a", "a%7f", "%", "%2",
        "%zz", "%+1", "a%252f", "a%2561", "%ff", "%c3%a4", "\u{e4}", "a;b", "a/b",
    ] {
        assert_eq!(
            command("GET", &format!("element/e/attribute/{name}")),
            Err(Misdirected::UnknownCommand),
            "{name}"
        );
        assert_eq!(command("GET", &format!("cookie/{name}")), Err(Misdirected::UnknownCommand), "{name}");
    }
    let long = "a".repeat(MAX_NAME_BYTES + 1);
    assert!(command("GET", &format!("cookie/{long}")).is_err());
    assert!(command("GET", &format!("element/{long}/text")).is_err());
    for query in
        ["", "token", "token=", "x=1", "token=a&token=b", "token=a&x", "token=a;b", "a&token=b", "Token=a"]
    {
        let refused = parse("GET", &format!("/session/5e55/url?{query}"));
        assert_eq!(refused, Err(Misdirected::UnknownCommand), "{query}");
    }
}

#[test]
fn absolute_targets_are_refused() {
    for target in ["http://127.0.0.1:7070/session/5e55/url", "http://a/status", "a:80"] {
        let refused = Route::of(&Method::GET, &target.parse().unwrap());
        assert_eq!(refused, Err(Misdirected::UnknownCommand), "{target}");
    }
    let route = Route::of(&Method::GET, &Uri::from_static("/status"));
    assert_eq!(route, Ok(Route::Status));
}

#[test]
fn a_ticket_is_for_sockets_alone() {
    assert_eq!(parse("GET", "/session/5e55").unwrap().socket_of(), Some("5e55"));
    assert_eq!(parse("GET", "/wd/hub/session/5e55/se/cdp").unwrap().socket_of(), Some("5e55"));
    for (method, path) in [
        ("DELETE", "/session/5e55"),
        ("GET", "/session/5e55/url"),
        ("POST", "/session/5e55/se/file"),
        ("POST", "/session"),
        ("GET", "/status"),
    ] {
        assert_eq!(parse(method, path).unwrap().socket_of(), None, "{method} {path}");
    }
}

#[test]
fn no_two_rows_are_the_same_command() {
    for (at, row) in COMMANDS.iter().enumerate() {
        assert!(!COMMANDS[..at].contains(row), "{row:?}");
        assert!(
            row.1.split('/').all(|segment| is_id(segment) || matches!(segment, "{id}" | "{name}")),
            "{row:?}"
        );
    }
}

fn any_command() -> impl Strategy<Value = Command> {
    (0..COMMANDS.len()).prop_flat_map(|row| {
        let (verb, pattern) = COMMANDS[row];
        let parameter = |segment: &&str| segment.starts_with('{');
        let parameters: Vec<_> = pattern
            .split('/')
            .filter(parameter)
            .map(|segment| {
                if segment == "{id}" { "[A-Za-z0-9_-][A-Za-z0-9._-]{0,40}" } else { "[ -.0-\\[\\]-~]{1,40}" }
            })
            .collect();
        parameters.prop_map(move |parameters| Command { verb, pattern, parameters })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn what_is_written_is_read_as_the_same(command in any_command()) {
        let is_name = |parameter: &String| {
            let mut encoded = String::new();
            encode(parameter, &mut encoded);
            name(&encoded).as_ref() == Some(parameter)
        };
        prop_assume!(command.parameters.iter().all(is_name));
        // Row for row the first that fits is taken; `element/active` fits no pattern with an id.
        let path = format!("/session/5e55{}", command.path());
        let read = Route::parse(command.method().as_str(), &path, None);
        prop_assert_eq!(read, Ok(Route::Session("5e55".into(), OfSession::Command(command))));
    }

    /// Whatever is accepted is written as a path that no reader takes for another: no segment is empty, made of
    /// dots, or has anything in it that means something in a path or a URL.
    #[test]
    fn what_is_passed_on_is_canonical(
        method in "GET|POST|DELETE|PUT",
        path in "/session/5e55(/(element|cookie|attribute|css|url|window|\\.\\.?|[a.%/\\\\;2eEfF5cC0]{0,6}|\\PC{0,4})){0,5}",
    ) {
        if let Ok(Route::Session(id, OfSession::Command(command))) = Route::parse(&method, &path, None) {
            prop_assert_eq!(id, "5e55");
            let written = command.path();
            prop_assert!(written.starts_with('/'));
            for segment in written[1..].split('/') {
                prop_assert!(!segment.is_empty() && segment.bytes().any(|byte| byte != b'.'), "{}", written);
                let lower = segment.to_ascii_lowercase();
                prop_assert!(!lower.contains("%2f") && !lower.contains("%5c") && !lower.contains("%00"));
                prop_assert!(segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)));
            }
            // The library that parses URLs leaves it as it is.
            let url = url::Url::parse(&format!("http://127.0.0.1{written}")).unwrap();
            prop_assert_eq!(url.path(), written);
        }
    }
}
