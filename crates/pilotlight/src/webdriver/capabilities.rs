//! What a new session is asked to be (<https://www.w3.org/TR/webdriver2/#capabilities>): which window it is, what
//! chromedriver is told, and what is left out because the window is there already and stays as it is. Pure.

use pilotlight_api::{CreateSession, parse_body};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::error::WebDriverError;

/// Our own capability.
pub const OPTIONS: &str = "pilotlight:options";
/// Chromedriver's own.
const CHROME_OPTIONS: &str = "goog:chromeOptions";
/// What chromedriver sees to itself, in any window.
const PASSED_ON: [&str; 7] = [
    "acceptInsecureCerts",
    "pageLoadStrategy",
    "timeouts",
    "unhandledPromptBehavior",
    "strictFileInteractability",
    "webSocketUrl",
    "goog:loggingPrefs",
];
/// The same of Chromium's options.
const CHROME_PASSED_ON: [&str; 2] = ["mobileEmulation", "perfLoggingPrefs"];
/// Names of browsers that our windows answer to.
const BROWSERS: [&str; 3] = ["chrome", "chromium", "chrome-headless-shell"];
/// Switches without which a page would see something else than was asked for.
const REFUSED_SWITCHES: [&str; 7] = [
    "proxy-server",
    "proxy-pac-url",
    "proxy-auto-detect",
    "load-extension",
    "host-resolver-rules",
    "user-agent",
    "remote-debugging-port",
];

/// The window that is asked for.
#[derive(Debug)]
pub enum WantedWindow {
    /// That of a session that is there.
    Of(Uuid),
    /// One that is made or found.
    Like(Box<CreateSession>),
}

/// What a new session is to be.
#[derive(Debug)]
pub struct Wanted {
    /// Its window.
    pub window: WantedWindow,
    /// Whether the window goes with it: nobody said that it is to be kept.
    pub is_passing: bool,
    /// What chromedriver is told, but for where the browser is.
    pub for_driver: Map<String, Value>,
    /// What was asked for and is not done.
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

fn invalid(sentence: impl Into<String>) -> WebDriverError {
    WebDriverError::InvalidArgument(sentence.into())
}

/// Reads the body of `POST /session`.
///
/// # Errors
/// What makes no sense in it, or cannot be had.
pub fn read(body: &[u8]) -> Result<Wanted, WebDriverError> {
    let new: NewSession = serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))?;
    let capabilities =
        new.capabilities.ok_or_else(|| invalid("`capabilities` is missing: only W3C is spoken here"))?;
    let always = capabilities.always_match.unwrap_or_default();
    let first = capabilities.first_match.unwrap_or_else(|| vec![Map::new()]);
    let mut refusal = invalid("`firstMatch` must have at least one entry");
    for one in first {
        let mut merged = always.clone();
        for (name, value) in one {
            if merged.contains_key(&name) {
                return Err(invalid(format!("`{name}` stands in both `alwaysMatch` and `firstMatch`")));
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
    let refused = |sentence: String| WebDriverError::SessionNotCreated(sentence);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_ascii_lowercase();
    if let Some(name) = merged.remove("browserName")
        && !BROWSERS.contains(&&*text(&name))
    {
        return Err(refused(format!("`browserName` is {name}; windows here are Chromium's")));
    }
    if let Some(platform) = merged.remove("platformName")
        && !matches!(&*text(&platform), "any" | "linux")
    {
        return Err(refused(format!("`platformName` is {platform}; windows here are Linux's")));
    }
    if let Some(proxy) = merged.remove("proxy")
        && !matches!(&*text(&proxy["proxyType"]), "" | "direct" | "system")
    {
        return Err(refused(format!("`proxy` is set when a window is made: use `{OPTIONS}`")));
    }
    let mut ignored = Vec::new();
    let options = merged.remove(OPTIONS);
    let is_passing = options.is_none();
    let window = window(options)?;
    let mut for_driver = Map::new();
    let chrome = merged.remove(CHROME_OPTIONS).unwrap_or_else(|| json!({}));
    for_driver.insert(CHROME_OPTIONS.to_owned(), Value::Object(chrome_options(chrome, &mut ignored)?));
    for (name, value) in merged {
        if PASSED_ON.contains(&&*name) {
            for_driver.insert(name, value);
        } else if name.starts_with("se:") {
            // Clients tell themselves something there.
        } else if matches!(&*name, "browserVersion" | "setWindowRect" | "userAgent") {
            ignored.push(name);
        } else if name.contains(':') {
            return Err(refused(format!("`{name}` is not known here")));
        } else {
            return Err(invalid(format!("`{name}` is no capability of the standard")));
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
            return Err(invalid(format!("`{OPTIONS}`: nothing can stand beside `session_id`")));
        }
        let id = id.as_str().and_then(|id| Uuid::try_parse(id).ok());
        return id
            .map(WantedWindow::Of)
            .ok_or_else(|| invalid(format!("`{OPTIONS}`: `session_id` is no id")));
    }
    let wanted: CreateSession = parse_body(options.to_string().as_bytes())
        .map_err(|error| invalid(format!("`{OPTIONS}`: {}", error.error)))?;
    wanted.validate_fields().map_err(|error| invalid(format!("`{OPTIONS}`: {error}")))?;
    Ok(WantedWindow::Like(Box::new(wanted)))
}

/// What of Chromium's options can be had in a window that is there already. What a client would be surprised to
/// miss is refused.
fn chrome_options(options: Value, ignored: &mut Vec<String>) -> Result<Map<String, Value>, WebDriverError> {
    let Value::Object(options) = options else {
        return Err(invalid(format!("`{CHROME_OPTIONS}` must be an object")));
    };
    let mut passed = Map::new();
    for (name, value) in options {
        let is_empty = value.as_array().is_some_and(Vec::is_empty) || value.is_null();
        match &*name {
            _ if CHROME_PASSED_ON.contains(&&*name) => drop(passed.insert(name, value)),
            "args" => {
                let switches = value.as_array().ok_or_else(|| invalid("`args` must be a list"))?;
                for switch in switches {
                    let switch = switch.as_str().ok_or_else(|| invalid("`args` must be texts"))?;
                    let switch = switch.trim_start_matches('-').split('=').next().unwrap_or_default();
                    if REFUSED_SWITCHES.contains(&switch) {
                        return Err(WebDriverError::SessionNotCreated(format!(
                            "`--{switch}` cannot be had in a window of a browser that runs already; launch profiles \
                             and `{OPTIONS}` say how windows are made"
                        )));
                    }
                    ignored.push(format!("--{switch}"));
                }
            }
            "extensions" | "debuggerAddress" if !is_empty => {
                let sentence = format!("`{name}` cannot be had: the window is one that is kept here");
                return Err(WebDriverError::SessionNotCreated(sentence));
            }
            _ if is_empty => {}
            _ => ignored.push(name),
        }
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn always(capabilities: Value) -> Result<Wanted, WebDriverError> {
        read(json!({ "capabilities": { "alwaysMatch": capabilities } }).to_string().as_bytes())
    }

    fn refusal(capabilities: Value) -> (bool, String) {
        match always(capabilities).unwrap_err() {
            WebDriverError::InvalidArgument(sentence) => (false, sentence),
            WebDriverError::SessionNotCreated(sentence) => (true, sentence),
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
            let (not_created, sentence) = refusal(json!({ OPTIONS: options }));
            assert!(!not_created && sentence.contains(word), "{sentence}");
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
