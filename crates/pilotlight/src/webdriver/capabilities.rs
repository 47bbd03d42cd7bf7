//! Parses the capabilities of a new session (<https://www.w3.org/TR/webdriver2/#capabilities>): which window it uses,
//! what is passed on to chromedriver, and what is ignored because the window already exists. Pure.

use pilotlight_api::{CreateSession, parse_body};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::error::WebDriverError;
use super::shape::Shape;

/// Our own capability.
pub const OPTIONS: &str = "pilotlight:options";
/// Chromedriver's own.
const CHROME_OPTIONS: &str = "goog:chromeOptions";
/// The handling of dialogs that were not answered.
const PROMPT: Shape =
    Shape::OneOf(&["dismiss", "accept", "dismiss and notify", "accept and notify", "ignore"]);
/// Levels of logging.
const LEVEL: Shape = Shape::OneOf(&["ALL", "DEBUG", "INFO", "WARNING", "SEVERE", "OFF"]);
/// Name and version of a browser.
const BRAND: Shape = Shape::Fields(&[("brand", Shape::Text(256)), ("version", Shape::Text(256))]);
/// Capabilities that chromedriver handles itself, for any window. Nothing else is passed on: some capabilities would
/// make it start programs, read files or connect to other browsers.
const PASSED_ON: &[(&str, Shape)] = &[
    ("acceptInsecureCerts", Shape::Flag),
    ("pageLoadStrategy", Shape::OneOf(&["none", "eager", "normal"])),
    (
        "timeouts",
        Shape::Fields(&[
            ("script", Shape::OrNull(&Shape::Number)),
            ("pageLoad", Shape::Number),
            ("implicit", Shape::Number),
        ]),
    ),
    (
        "unhandledPromptBehavior",
        Shape::Either(
            &PROMPT,
            &Shape::Fields(&[
                ("alert", PROMPT),
                ("beforeUnload", PROMPT),
                ("confirm", PROMPT),
                ("default", PROMPT),
                ("file", PROMPT),
                ("prompt", PROMPT),
            ]),
        ),
    ),
    ("strictFileInteractability", Shape::Flag),
    ("webSocketUrl", Shape::Flag),
    (
        "goog:loggingPrefs",
        Shape::Fields(&[
            ("browser", LEVEL),
            ("client", LEVEL),
            ("devtools", LEVEL),
            ("driver", LEVEL),
            ("performance", LEVEL),
            ("profiler", LEVEL),
            ("server", LEVEL),
        ]),
    ),
];
/// The same for Chromium's options.
const CHROME_PASSED_ON: &[(&str, Shape)] = &[
    (
        "mobileEmulation",
        Shape::Fields(&[
            ("deviceName", Shape::Text(256)),
            ("userAgent", Shape::Text(4096)),
            (
                "deviceMetrics",
                Shape::Fields(&[
                    ("width", Shape::Number),
                    ("height", Shape::Number),
                    ("pixelRatio", Shape::Measure),
                    ("touch", Shape::Flag),
                    ("mobile", Shape::Flag),
                ]),
            ),
            (
                "clientHints",
                Shape::Fields(&[
                    ("architecture", Shape::Text(256)),
                    ("bitness", Shape::Text(256)),
                    ("brands", Shape::List(&BRAND, 32)),
                    ("formFactors", Shape::List(&Shape::Text(256), 32)),
                    ("fullVersionList", Shape::List(&BRAND, 32)),
                    ("mobile", Shape::Flag),
                    ("model", Shape::Text(256)),
                    ("platform", Shape::Text(256)),
                    ("platformVersion", Shape::Text(256)),
                    ("wow64", Shape::Flag),
                ]),
            ),
        ]),
    ),
    (
        "perfLoggingPrefs",
        Shape::Fields(&[
            ("bufferUsageReportingInterval", Shape::Number),
            ("enableNetwork", Shape::Flag),
            ("enablePage", Shape::Flag),
            ("traceCategories", Shape::Text(4096)),
        ]),
    ),
];
/// The browser names that match our windows.
const BROWSERS: [&str; 3] = ["chrome", "chromium", "chrome-headless-shell"];
/// Switches without which a page would behave differently than requested.
const REFUSED_SWITCHES: [&str; 7] = [
    "proxy-server",
    "proxy-pac-url",
    "proxy-auto-detect",
    "load-extension",
    "host-resolver-rules",
    "user-agent",
    "remote-debugging-port",
];

/// The requested window.
#[derive(Debug)]
pub enum WantedWindow {
    /// That of an existing session.
    Of(Uuid),
    /// That of a session that is created or found.
    Like(Box<CreateSession>),
}

/// The parsed request for a session.
#[derive(Debug)]
pub struct Wanted {
    /// The window.
    pub window: WantedWindow,
    /// Whether the session is closed with the WebDriver session, because nothing says that it should be kept.
    pub is_passing: bool,
    /// The capabilities for chromedriver, except for the browser's address.
    pub for_driver: Map<String, Value>,
    /// What was requested and is ignored.
    pub ignored: Vec<String>,
}

#[derive(Deserialize)]
struct NewSession {
    capabilities: Option<Capabilities>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Capabilities {
    #[serde(default)]
    always_match: Option<Map<String, Value>>,
    #[serde(default)]
    first_match: Option<Vec<Map<String, Value>>>,
}

/// An entry of a list of capabilities that are passed on.
fn entry(list: &'static [(&str, Shape)], name: &str) -> Option<&'static (&'static str, Shape)> {
    list.iter().find(|(known, _)| *known == name)
}

fn invalid(message: impl Into<String>) -> WebDriverError {
    WebDriverError::InvalidArgument(message.into())
}

/// Parses the body of `POST /session`.
///
/// # Errors
/// Returns an error if it is invalid or cannot be fulfilled.
pub fn read(body: &[u8]) -> Result<Wanted, WebDriverError> {
    let new: NewSession = serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))?;
    let capabilities = new
        .capabilities
        .ok_or_else(|| invalid("`capabilities` is missing: only W3C WebDriver is supported"))?;
    let always = capabilities.always_match.unwrap_or_default();
    let first = capabilities.first_match.unwrap_or_else(|| vec![Map::new()]);
    let mut refusal = invalid("`firstMatch` must have at least one entry");
    for one in first {
        let mut merged = always.clone();
        for (name, value) in one {
            if merged.contains_key(&name) {
                return Err(invalid(format!("`{name}` is in both `alwaysMatch` and `firstMatch`")));
            }
            merged.insert(name, value);
        }
        merged.retain(|_, value| !value.is_null());
        match of(merged) {
            Err(other @ WebDriverError::SessionNotCreated(_)) => refusal = other,
            read => return read,
        }
    }
    Err(refusal)
}

fn of(mut merged: Map<String, Value>) -> Result<Wanted, WebDriverError> {
    let refused = |message: String| WebDriverError::SessionNotCreated(message);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_ascii_lowercase();
    if let Some(name) = merged.remove("browserName")
        && !BROWSERS.contains(&&*text(&name))
    {
        return Err(refused(format!("`browserName` is {name}, but windows are Chromium's")));
    }
    if let Some(platform) = merged.remove("platformName")
        && !matches!(&*text(&platform), "any" | "linux")
    {
        return Err(refused(format!("`platformName` is {platform}, but windows run on Linux")));
    }
    if let Some(proxy) = merged.remove("proxy")
        && !matches!(&*text(&proxy["proxyType"]), "" | "direct" | "system")
    {
        return Err(refused(format!("`proxy` is set when a session is created: use `{OPTIONS}`")));
    }
    let mut ignored = Vec::new();
    let options = merged.remove(OPTIONS);
    let is_passing = options.is_none();
    let window = window(options)?;
    let mut for_driver = Map::new();
    let chrome = merged.remove(CHROME_OPTIONS).unwrap_or_else(|| json!({}));
    for_driver.insert(CHROME_OPTIONS.to_owned(), Value::Object(chrome_options(chrome, &mut ignored)?));
    for (name, value) in merged {
        if let Some((known, shape)) = entry(PASSED_ON, &name) {
            for_driver.insert((*known).to_owned(), shape.rebuild(&value, known).map_err(invalid)?);
        } else if name.starts_with("se:") {
            // Such capabilities are notes of clients to themselves.
        } else if matches!(&*name, "browserVersion" | "setWindowRect" | "userAgent") {
            ignored.push(name);
        } else if name.contains(':') {
            return Err(refused(format!("`{name}` is unknown")));
        } else {
            return Err(invalid(format!("`{name}` is not a standard capability")));
        }
    }
    Ok(Wanted { window, is_passing, for_driver, ignored })
}

fn window(options: Option<Value>) -> Result<WantedWindow, WebDriverError> {
    let Some(options) = options else {
        return Ok(WantedWindow::Like(Box::new(CreateSession {
            keep_alive: false,
            ..CreateSession::default()
        })));
    };
    let fields = options.as_object().ok_or_else(|| invalid(format!("`{OPTIONS}` must be an object")))?;
    if let Some(id) = fields.get("session_id") {
        if fields.len() > 1 {
            return Err(invalid(format!("`{OPTIONS}`: `session_id` cannot be combined with other fields")));
        }
        let id = id.as_str().and_then(|id| Uuid::try_parse(id).ok());
        return id
            .map(WantedWindow::Of)
            .ok_or_else(|| invalid(format!("`{OPTIONS}`: `session_id` is not a session id")));
    }
    let wanted: CreateSession = parse_body(options.to_string().as_bytes())
        .map_err(|error| invalid(format!("`{OPTIONS}`: {}", error.error)))?;
    wanted.validate_fields().map_err(|error| invalid(format!("`{OPTIONS}`: {error}")))?;
    Ok(WantedWindow::Like(Box::new(wanted)))
}

/// Returns the Chromium options that are possible in an existing window. Options whose absence would surprise a
/// client are refused.
fn chrome_options(options: Value, ignored: &mut Vec<String>) -> Result<Map<String, Value>, WebDriverError> {
    let Value::Object(options) = options else {
        return Err(invalid(format!("`{CHROME_OPTIONS}` must be an object")));
    };
    let mut passed = Map::new();
    for (name, value) in options {
        let is_empty = value.as_array().is_some_and(Vec::is_empty) || value.is_null();
        if let Some((known, shape)) = entry(CHROME_PASSED_ON, &name) {
            if !value.is_null() {
                passed.insert((*known).to_owned(), shape.rebuild(&value, known).map_err(invalid)?);
            }
            continue;
        }
        match &*name {
            "args" => {
                let switches = value.as_array().ok_or_else(|| invalid("`args` must be a list"))?;
                for switch in switches {
                    let switch = switch.as_str().ok_or_else(|| invalid("`args` must be strings"))?;
                    let switch = switch.trim_start_matches('-').split('=').next().unwrap_or_default();
                    if REFUSED_SWITCHES.contains(&switch) {
                        return Err(WebDriverError::SessionNotCreated(format!(
                            "`--{switch}` cannot be set for a browser that is already running; use launch profiles \
                             and `{OPTIONS}` instead"
                        )));
                    }
                    ignored.push(format!("--{switch}"));
                }
            }
            "extensions" | "debuggerAddress" if !is_empty => {
                let message = format!("`{name}` cannot be set for an existing window");
                return Err(WebDriverError::SessionNotCreated(message));
            }
            _ if is_empty => {}
            _ => ignored.push(name),
        }
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn always(capabilities: Value) -> Result<Wanted, WebDriverError> {
        read(json!({ "capabilities": { "alwaysMatch": capabilities } }).to_string().as_bytes())
    }

    fn refusal(capabilities: Value) -> (bool, String) {
        match always(capabilities).unwrap_err() {
            WebDriverError::InvalidArgument(message) => (false, message),
            WebDriverError::SessionNotCreated(message) => (true, message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_window_without_options_passes_with_its_session() {
        let wanted = always(json!({ "browserName": "chrome", "pageLoadStrategy": "eager" })).unwrap();
        assert!(wanted.is_passing);
        let WantedWindow::Like(like) = wanted.window else { panic!("it is made") };
        assert!(!like.keep_alive && like.site.is_none() && like.url.is_none());
        let for_driver = json!({ "goog:chromeOptions": {}, "pageLoadStrategy": "eager" });
        assert_eq!(Value::Object(wanted.for_driver), for_driver);
    }

    #[test]
    fn our_options_are_those_of_a_session_or_its_id() {
        let id = "0198c1c2-0000-7000-8000-000000000000";
        let wanted = always(json!({ OPTIONS: { "session_id": id } })).unwrap();
        assert!(matches!(wanted.window, WantedWindow::Of(of) if of.to_string() == id));
        assert!(!wanted.is_passing);
        let wanted =
            always(json!({ OPTIONS: { "site": "portal", "username": "u", "password": "p" } })).unwrap();
        let WantedWindow::Like(like) = wanted.window else { panic!("it is made") };
        assert!(like.keep_alive && like.site.as_deref() == Some("portal"));
        for (options, word) in [
            (json!({ "session_id": id, "name": "x" }), "session_id"),
            (json!({ "session_id": 7 }), "session_id"),
            (json!({ "sight": "portal" }), "sight"),
            (json!({ "name": "" }), "name"),
            (json!("portal"), "object"),
        ] {
            let (not_created, message) = refusal(json!({ OPTIONS: options }));
            assert!(!not_created && message.contains(word), "{message}");
        }
    }

    #[test]
    fn what_a_standing_window_has_already_is_ignored_or_refused() {
        let chrome = json!({ "args": ["--headless=new", "no-sandbox", "--user-data-dir=/tmp/x"], "binary": "/bin/x",
            "extensions": [], "excludeSwitches": ["enable-automation"], "mobileEmulation": { "deviceName": "X" } });
        let wanted =
            always(json!({ CHROME_OPTIONS: chrome, "se:name": "x", "browserVersion": "stable" })).unwrap();
        let expected =
            ["--headless", "--no-sandbox", "--user-data-dir", "binary", "excludeSwitches", "browserVersion"];
        let mut expected: Vec<_> = expected.map(str::to_owned).to_vec();
        let mut ignored = wanted.ignored;
        expected.sort();
        ignored.sort();
        assert_eq!(ignored, expected);
        assert_eq!(wanted.for_driver[CHROME_OPTIONS], json!({ "mobileEmulation": { "deviceName": "X" } }));
        for refused in [
            json!({ CHROME_OPTIONS: { "args": ["--proxy-server=http://a:1"] } }),
            json!({ CHROME_OPTIONS: { "args": ["user-agent=x"] } }),
            json!({ CHROME_OPTIONS: { "extensions": ["AAAA"] } }),
            json!({ CHROME_OPTIONS: { "debuggerAddress": "127.0.0.1:9222" } }),
            json!({ "proxy": { "proxyType": "manual", "httpProxy": "a:1" } }),
            json!({ "browserName": "firefox" }),
            json!({ "platformName": "windows" }),
            json!({ "moz:firefoxOptions": {} }),
        ] {
            assert!(refusal(refused.clone()).0, "{refused}");
        }
        assert!(!refusal(json!({ "strange": 1 })).0);
    }

    #[test]
    fn what_is_passed_on_is_what_the_standard_has_there() {
        let good = json!({
            "acceptInsecureCerts": true, "pageLoadStrategy": "none", "strictFileInteractability": false,
            "timeouts": { "script": null, "pageLoad": 9_007_199_254_740_991_u64, "implicit": 0 },
            "unhandledPromptBehavior": { "default": "ignore", "alert": "accept and notify" },
            "webSocketUrl": true, "goog:loggingPrefs": { "browser": "ALL", "performance": "OFF" },
            CHROME_OPTIONS: {
                "mobileEmulation": { "deviceMetrics": { "width": 360, "pixelRatio": 1.5, "touch": true },
                    "userAgent": "x/1", "clientHints": { "brands": [{ "brand": "b", "version": "1" }] } },
                "perfLoggingPrefs": { "enableNetwork": true, "traceCategories": "a,b" },
            },
        });
        assert_eq!(Value::Object(always(good.clone()).unwrap().for_driver), good);
        for (name, value) in [
            ("acceptInsecureCerts", json!("true")),
            ("pageLoadStrategy", json!("soon")),
            ("pageLoadStrategy", json!(["none"])),
            ("timeouts", json!({ "script": -1 })),
            ("timeouts", json!({ "script": 1.5 })),
            ("timeouts", json!({ "pageLoad": 9_007_199_254_740_992_u64 })),
            ("timeouts", json!({ "binary": 1 })),
            ("unhandledPromptBehavior", json!("accept or ignore")),
            ("unhandledPromptBehavior", json!({ "alert": { "alert": "accept" } })),
            ("webSocketUrl", json!("ws://127.0.0.1/")),
            ("goog:loggingPrefs", json!({ "browser": "/etc/passwd" })),
            ("goog:loggingPrefs", json!({ "/etc/passwd": "ALL" })),
            (CHROME_OPTIONS, json!({ "perfLoggingPrefs": { "path": "/x" } })),
            (CHROME_OPTIONS, json!({ "mobileEmulation": { "deviceMetrics": { "width": "1" } } })),
            (CHROME_OPTIONS, json!({ "mobileEmulation": { "userAgent": "x".repeat(5000) } })),
        ] {
            let (not_created, message) = refusal(json!({ name: value }));
            assert!(!not_created && message.starts_with('`'), "{name}: {message}");
        }
    }

    /// Every name that may be in what chromedriver hears, wherever it stands.
    const HEARD: &str = "acceptInsecureCerts pageLoadStrategy timeouts script pageLoad implicit \
        unhandledPromptBehavior alert beforeUnload confirm default file prompt strictFileInteractability webSocketUrl \
        goog:loggingPrefs browser client devtools driver performance profiler server goog:chromeOptions \
        mobileEmulation deviceName userAgent deviceMetrics width height pixelRatio touch mobile clientHints \
        architecture bitness brands brand version formFactors fullVersionList model platform platformVersion wow64 \
        perfLoggingPrefs bufferUsageReportingInterval enableNetwork enablePage traceCategories";

    fn assert_heard(value: &Value) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| {
                assert!(HEARD.split_ascii_whitespace().any(|known| known == name), "{name}");
                assert_heard(value);
            }),
            Value::Array(values) => values.iter().for_each(assert_heard),
            _ => {}
        }
    }

    /// Names and values that mean something to chromedriver, and some that mean nothing to anybody.
    fn any_value() -> impl Strategy<Value = Value> {
        let name = prop_oneof![
            proptest::sample::select(HEARD.split_ascii_whitespace().collect::<Vec<_>>())
                .prop_map(str::to_owned),
            proptest::sample::select(vec![
                "binary",
                "args",
                "extensions",
                "prefs",
                "localState",
                "debuggerAddress",
                "debuggerPath",
                "detach",
                "excludeSwitches",
                "minidumpPath",
                "windowTypes",
                "androidPackage",
                "w3c",
                "useAutomationExtension",
                "enableExtensionTargets",
                "devToolsEventsToLog",
                "quitGracefully",
                "browserName",
                "proxy",
                "se:name",
                "chromeOptions",
                "ms:edgeOptions",
                "pilotlight:options",
                "platformName",
                "browserVersion",
            ])
            .prop_map(str::to_owned),
            "\\PC{0,6}",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (0_u32..5).prop_map(Value::from),
            proptest::sample::select(vec![
                "/bin/sh",
                "ALL",
                "none",
                "accept",
                "chrome",
                "--no-sandbox",
                "direct"
            ])
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 48, 6, move |inner| {
            let object = proptest::collection::btree_map(name.clone(), inner.clone(), 0..5);
            prop_oneof![
                object.prop_map(|fields| Value::Object(fields.into_iter().collect())),
                proptest::collection::vec(inner, 0..3).prop_map(Value::from),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn chromedriver_hears_of_nothing_else(
            always in any_value(),
            first in proptest::option::of(proptest::collection::vec(any_value(), 0..3)),
            options in any_value(),
            is_bare in any::<bool>(),
        ) {
            let mut always = always;
            if is_bare && let Value::Object(fields) = &mut always {
                // Otherwise few would be let in.
                fields.retain(|name, _| PASSED_ON.iter().any(|(known, _)| known == name));
                fields.insert(CHROME_OPTIONS.into(), options);
            }
            let body = json!({ "capabilities": { "alwaysMatch": always, "firstMatch": first } }).to_string();
            if let Ok(wanted) = read(body.as_bytes()) {
                let heard = wanted.for_driver;
                let tops = heard.keys().all(|name| name == CHROME_OPTIONS || entry(PASSED_ON, name).is_some());
                prop_assert!(tops, "{heard:?}");
                let chrome = heard[CHROME_OPTIONS].as_object().unwrap();
                prop_assert!(chrome.keys().all(|name| entry(CHROME_PASSED_ON, name).is_some()), "{heard:?}");
                assert_heard(&Value::Object(heard));
            }
        }
    }

    #[test]
    fn the_first_that_fits_is_taken() {
        let first = json!({ "capabilities": { "alwaysMatch": { "timeouts": { "script": 1 } },
            "firstMatch": [{ "browserName": "firefox" }, { "browserName": "chrome", "webSocketUrl": true }] } });
        let wanted = read(first.to_string().as_bytes()).unwrap();
        assert_eq!(wanted.for_driver["webSocketUrl"], true);
        assert_eq!(wanted.for_driver["timeouts"]["script"], 1);
        let twice = json!({ "capabilities": { "alwaysMatch": { "timeouts": {} }, "firstMatch": [{ "timeouts": {} }] } });
        for bad in [
            twice.to_string(),
            json!({ "desiredCapabilities": {} }).to_string(),
            "{".to_owned(),
            json!({ "capabilities": { "firstMatch": [] } }).to_string(),
        ] {
            let refused = read(bad.as_bytes());
            assert!(matches!(refused, Err(WebDriverError::InvalidArgument(_))), "{bad}: {refused:?}");
        }
    }
}
