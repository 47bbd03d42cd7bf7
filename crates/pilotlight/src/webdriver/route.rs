//! WebDriver's table of commands, and the parsing of requests (<https://www.w3.org/TR/webdriver2/#endpoints>). Pure.
//!
//! Access is decided by what is parsed here, once, from the request target as it was sent, and the request to
//! chromedriver is written from the result. So a path cannot be parsed differently later: dot segments, escaped
//! slashes and the like match no route, and what matches no route is refused before anything is sent.

use std::fmt::Write as _;

use axum::http::{Method, Uri};

use super::error::WebDriverError;

/// The path prefix that many clients expect.
const HUB: &str = "/wd/hub";
/// Maximum length of an id. Chromedriver's longest ids, of elements, have about 80 characters.
const MAX_ID_BYTES: usize = 256;
/// Maximum length of the name of an attribute, a property or a cookie: browsers refuse cookies of more than 4,096
/// bytes, name and value together.
const MAX_NAME_BYTES: usize = 4096;

/// The method of a command. Chromedriver supports no others except `PUT`, which it treats as `POST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `DELETE`
    Delete,
}

use Verb::{Delete, Get, Post};

/// The commands of a session that chromedriver executes: `{id}` is a reference created by chromedriver or the
/// browser, `{name}` is a name from a page or a client.
///
/// These are the commands that chromedriver 156 supports in a standard session. Left out are those of the protocol
/// before the standard (it refuses nearly all of them in such a session), casting, its own way to receive files (see
/// [`UPLOADS`]), and the one with which its WebSockets reach a session.
const COMMANDS: &[(Verb, &str)] = &[
    (Get, "timeouts"),
    (Post, "timeouts"),
    (Get, "url"),
    (Post, "url"),
    (Post, "back"),
    (Post, "forward"),
    (Post, "refresh"),
    (Get, "title"),
    (Get, "window"),
    (Post, "window"),
    (Delete, "window"),
    (Get, "window/handles"),
    (Post, "window/new"),
    (Get, "window/rect"),
    (Post, "window/rect"),
    (Post, "window/maximize"),
    (Post, "window/minimize"),
    (Post, "window/fullscreen"),
    (Post, "frame"),
    (Post, "frame/parent"),
    (Get, "element/active"),
    (Post, "element"),
    (Post, "elements"),
    (Post, "element/{id}/element"),
    (Post, "element/{id}/elements"),
    (Get, "element/{id}/shadow"),
    (Post, "shadow/{id}/element"),
    (Post, "shadow/{id}/elements"),
    (Get, "element/{id}/selected"),
    (Get, "element/{id}/displayed"),
    (Get, "element/{id}/attribute/{name}"),
    (Get, "element/{id}/property/{name}"),
    (Get, "element/{id}/css/{name}"),
    (Get, "element/{id}/text"),
    (Get, "element/{id}/name"),
    (Get, "element/{id}/rect"),
    (Get, "element/{id}/enabled"),
    (Get, "element/{id}/computedrole"),
    (Get, "element/{id}/computedlabel"),
    (Get, "element/{id}/screenshot"),
    (Post, "element/{id}/click"),
    (Post, "element/{id}/clear"),
    (Post, "element/{id}/value"),
    (Get, "source"),
    (Post, "execute/sync"),
    (Post, "execute/async"),
    (Get, "cookie"),
    (Post, "cookie"),
    (Delete, "cookie"),
    (Get, "cookie/{name}"),
    (Delete, "cookie/{name}"),
    (Post, "actions"),
    (Delete, "actions"),
    (Get, "alert/text"),
    (Post, "alert/text"),
    (Post, "alert/accept"),
    (Post, "alert/dismiss"),
    (Get, "screenshot"),
    (Get, "screenshot/full"),
    (Post, "print"),
    // Extensions of other standards.
    (Post, "permissions"),
    (Post, "webauthn/authenticator"),
    (Delete, "webauthn/authenticator/{id}"),
    (Post, "webauthn/authenticator/{id}/credential"),
    (Get, "webauthn/authenticator/{id}/credentials"),
    (Delete, "webauthn/authenticator/{id}/credentials"),
    (Delete, "webauthn/authenticator/{id}/credentials/{name}"),
    (Post, "webauthn/authenticator/{id}/credentials/{name}/props"),
    (Post, "webauthn/authenticator/{id}/uv"),
    (Post, "sensor"),
    (Get, "sensor/{id}"),
    (Post, "sensor/{id}"),
    (Delete, "sensor/{id}"),
    (Post, "pressuresource"),
    (Post, "pressuresource/{id}"),
    (Delete, "pressuresource/{id}"),
    (Post, "deviceposture"),
    (Delete, "deviceposture"),
    (Post, "displayfeatures"),
    (Delete, "displayfeatures"),
    (Post, "secure-payment-confirmation/set-mode"),
    (Post, "custom-handlers/set-mode"),
    (Post, "reporting/generate_test_report"),
    (Post, "protected_audience/set_k_anonymity"),
    (Delete, "storage/run_bounce_tracking_mitigations"),
    (Get, "privacy"),
    (Post, "privacy"),
    (Get, "fedcm/accountlist"),
    (Get, "fedcm/gettitle"),
    (Get, "fedcm/getdialogtype"),
    (Post, "fedcm/selectaccount"),
    (Post, "fedcm/clickdialogbutton"),
    (Post, "fedcm/canceldialog"),
    (Post, "fedcm/setdelayenabled"),
    (Post, "fedcm/resetcooldown"),
    // Extensions of Selenium and chromedriver.
    (Post, "log"),
    (Post, "se/log"),
    (Get, "se/log/types"),
    (Post, "time_zone"),
    (Get, "location"),
    (Post, "location"),
    (Get, "network_connection"),
    (Post, "network_connection"),
    (Get, "chromium/heap_snapshot"),
    (Get, "chromium/network_conditions"),
    (Post, "chromium/network_conditions"),
    (Delete, "chromium/network_conditions"),
    (Post, "chromium/send_command"),
    (Post, "chromium/send_command_and_get_result"),
    (Post, "goog/cdp/execute"),
    (Post, "goog/page/freeze"),
    (Post, "goog/page/resume"),
];

/// The paths to which clients send files for file inputs: that of Selenium's servers, and that of the protocol before
/// the standard. They are not passed on to chromedriver.
const UPLOADS: [&str; 2] = ["se/file", "file"];
/// The path of the DevTools WebSocket of a session.
const DEVTOOLS: &str = "se/cdp";

/// A parsed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The server's status.
    Status,
    /// A new session.
    Begin,
    /// A request to the session with this id.
    Session(String, OfSession),
}

/// A request to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfSession {
    /// Its WebSocket (BiDi).
    Socket,
    /// The DevTools WebSocket.
    DevTools,
    /// End the session.
    End,
    /// Upload a file.
    Upload,
    /// A command that chromedriver executes.
    Command(Command),
}

/// A command with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    verb: Verb,
    /// The entry in the table.
    pattern: &'static str,
    /// The decoded parameters, in the pattern's order.
    parameters: Vec<String>,
}

/// Why a request is not in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misdirected {
    /// The command does not exist.
    UnknownCommand,
    /// The command does not support the method.
    UnknownMethod,
}

impl From<Misdirected> for WebDriverError {
    fn from(misdirected: Misdirected) -> Self {
        match misdirected {
            Misdirected::UnknownCommand => Self::UnknownCommand,
            Misdirected::UnknownMethod => Self::UnknownMethod,
        }
    }
}

/// Returns whether a path belongs to WebDriver, so that its client expects WebDriver's errors.
#[must_use]
pub fn is_webdriver(path: &str) -> bool {
    let below =
        |top: &str| path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    path == "/status" || below("/session") || below(HUB)
}

impl Route {
    /// Parses a request.
    ///
    /// # Errors
    /// Returns an error if neither the path nor the method is in the table.
    pub fn of(method: &Method, target: &Uri) -> Result<Self, Misdirected> {
        // An absolute target names a host, which only a proxy has to know.
        if target.scheme().is_some() || target.authority().is_some() {
            return Err(Misdirected::UnknownCommand);
        }
        Self::parse(method.as_str(), target.path(), target.query())
    }

    fn parse(method: &str, path: &str, query: Option<&str>) -> Result<Self, Misdirected> {
        let unknown = Misdirected::UnknownCommand;
        if !query.is_none_or(is_token) {
            return Err(unknown);
        }
        let path = path.strip_prefix(HUB).unwrap_or(path);
        let segments: Vec<&str> = path.strip_prefix('/').ok_or(unknown)?.split('/').collect();
        match &*segments {
            ["status"] => only(method, Get, Self::Status),
            ["session"] => only(method, Post, Self::Begin),
            ["session", id, rest @ ..] if is_id(id) => {
                Ok(Self::Session((*id).to_owned(), OfSession::parse(method, rest)?))
            }
            _ => Err(unknown),
        }
    }

    /// Returns whether this is one of the session's WebSockets, for which the session's ticket is valid.
    #[must_use]
    pub fn socket_of(&self) -> Option<&str> {
        match self {
            Self::Session(id, OfSession::Socket | OfSession::DevTools) => Some(id),
            _ => None,
        }
    }
}

impl OfSession {
    fn parse(method: &str, rest: &[&str]) -> Result<Self, Misdirected> {
        if rest.is_empty() {
            return match method {
                "GET" => Ok(Self::Socket),
                "DELETE" => Ok(Self::End),
                _ => Err(Misdirected::UnknownMethod),
            };
        }
        let whole = rest.join("/");
        if whole == DEVTOOLS {
            return only(method, Get, Self::DevTools);
        }
        if UPLOADS.contains(&&*whole) {
            return only(method, Post, Self::Upload);
        }
        Command::parse(method, rest).map(Self::Command)
    }
}

impl Verb {
    fn of(method: &str) -> Option<Self> {
        match method {
            "GET" => Some(Get),
            "POST" => Some(Post),
            "DELETE" => Some(Delete),
            _ => None,
        }
    }
}

impl Command {
    fn parse(method: &str, rest: &[&str]) -> Result<Self, Misdirected> {
        let verb = Verb::of(method);
        let mut error = Misdirected::UnknownCommand;
        for &(known, pattern) in COMMANDS {
            let Some(parameters) = matching(pattern, rest) else { continue };
            if verb == Some(known) {
                return Ok(Self { verb: known, pattern, parameters });
            }
            error = Misdirected::UnknownMethod;
        }
        Err(error)
    }

    /// Returns the method of the request to chromedriver.
    #[must_use]
    pub fn method(&self) -> Method {
        match self.verb {
            Get => Method::GET,
            Post => Method::POST,
            Delete => Method::DELETE,
        }
    }

    /// Returns whether the client's body is part of the command.
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.verb == Post
    }

    /// Returns whether the command closes a tab: closing the last one ends the session.
    #[must_use]
    pub fn closes_tab(&self) -> bool {
        (self.verb, self.pattern) == (Delete, "window")
    }

    /// Writes the command's path, relative to that of its session.
    #[must_use]
    pub fn path(&self) -> String {
        let mut parameters = self.parameters.iter();
        let mut path = String::new();
        for segment in self.pattern.split('/') {
            path.push('/');
            if !segment.starts_with('{') {
                path.push_str(segment);
            } else if let Some(parameter) = parameters.next() {
                encode(parameter, &mut path);
            }
        }
        path
    }
}

/// Returns `route` if the request has its only method.
fn only<T>(method: &str, verb: Verb, route: T) -> Result<T, Misdirected> {
    if Verb::of(method) == Some(verb) { Ok(route) } else { Err(Misdirected::UnknownMethod) }
}

/// Returns the parameters of a path that matches this pattern.
fn matching(pattern: &str, segments: &[&str]) -> Option<Vec<String>> {
    let mut parameters = Vec::new();
    let mut wanted = pattern.split('/');
    for segment in segments {
        match wanted.next()? {
            "{id}" => parameters.push(is_id(segment).then(|| (*segment).to_owned())?),
            "{name}" => parameters.push(name(segment)?),
            literal if literal == *segment => {}
            _ => return None,
        }
    }
    wanted.next().is_none().then_some(parameters)
}

/// Returns whether a query is a single token, written as clients write it.
fn is_token(query: &str) -> bool {
    query.strip_prefix("token=").is_some_and(|token| !token.is_empty() && !token.contains(['&', ';']))
}

/// Returns whether a segment is a reference without special characters.
#[must_use]
pub(super) fn is_id(segment: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MAX_ID_BYTES).contains(&segment.len())
        && segment.bytes().all(known)
        && segment.bytes().any(|byte| byte != b'.')
}

/// Returns the decoded name of a segment. Only ASCII names are accepted: chromedriver truncates other characters to
/// their last byte (`MatchesCommand` in its `http_handler.cc`), and would look for a different name.
fn name(segment: &str) -> Option<String> {
    let mut name = String::new();
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&digits).ok().filter(|digits| is_hex(digits))?;
                u8::from_str_radix(digits, 16).ok()?
            }
            b';' => return None,
            byte => byte,
        };
        if !(b' '..=b'~').contains(&byte) || matches!(byte, b'/' | b'\\') {
            return None;
        }
        name.push(char::from(byte));
    }
    let is_fit = (1..=MAX_NAME_BYTES).contains(&name.len()) && name != "." && name != "..";
    // A name that is encoded twice is aimed at code that decodes twice.
    let is_encoded = name.match_indices('%').any(|(at, _)| name.get(at + 1..at + 3).is_some_and(is_hex));
    (is_fit && !is_encoded).then_some(name)
}

fn is_hex(digits: &str) -> bool {
    digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Appends a parameter as a single segment, whatever it contains.
fn encode(parameter: &str, path: &mut String) {
    for byte in parameter.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            path.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests;
