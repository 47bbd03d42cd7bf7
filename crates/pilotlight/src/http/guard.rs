//! Access checks: the Host, the Origin and the token of every request are checked, in this order.
//!
//! The Host check prevents DNS rebinding, the Origin check prevents access by pages of other sites. Both apply to
//! every route; all routes except `/health`, `/ready` and the files of the dashboard require the token.
//!
//! Instead of the token, pages of the dashboard send a visitor's key or a ticket: see [`Authenticator`].

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pilotlight_api::{ErrorBody, ErrorCode};
use url::form_urlencoded;

use super::connections::{Connections, Crowded, Seat};
use super::cors;
use super::problem::Problem;
use super::webdriver::Requested;
use crate::authenticator::Authenticator;
use crate::authority::{Authority, HostName, Origin};
use crate::clock::Clock;
use crate::webdriver::{Route, WebDriver, is_webdriver};

/// Returns whether a route needs no token.
fn is_open(method: &Method, path: &str) -> bool {
    match *method {
        Method::GET | Method::HEAD => {
            matches!(path, "/" | "/health" | "/ready" | "/ui") || path.starts_with("/ui/")
        }
        Method::POST => path == "/ui/enter",
        _ => false,
    }
}

/// The rules of access.
#[derive(Debug)]
pub struct Guard {
    /// The address of the listener.
    pub listen: SocketAddr,
    /// `server.allowed_hosts`.
    pub hosts: Vec<Authority>,
    /// `server.allowed_origins`.
    pub origins: Vec<Origin>,
    /// Checks tokens, keys and tickets.
    pub authenticator: Arc<Authenticator>,
    /// Checks the tickets of WebDriver sessions.
    pub webdriver: WebDriver,
    /// The connections.
    pub connections: Connections,
    /// The clock.
    pub clock: Clock,
}

/// A request with an allowed Host and Origin.
#[derive(Debug)]
struct Asked {
    host: Authority,
    /// The page of another origin that sent the request, if any.
    page: Option<Origin>,
}

impl Guard {
    /// Parses and checks the Host and Origin headers.
    fn asked(&self, request: &Request) -> Result<Asked, Problem> {
        let host = host_of(request)
            .filter(|host| self.knows_host(host))
            .ok_or_else(|| Problem::new(ErrorCode::ForbiddenHost, "The request's host is not allowed"))?;
        let foreign = || Problem::new(ErrorCode::ForbiddenOrigin, "The request's origin is not allowed");
        let mut page = None;
        for origin in request.headers().get_all(header::ORIGIN) {
            let origin = origin.to_str().ok().and_then(Origin::parse).ok_or_else(foreign)?;
            if self.origins.contains(&origin) {
                page = Some(origin);
            } else if !self.is_own(&origin, &host) {
                return Err(foreign());
            }
        }
        Ok(Asked { host, page })
    }

    /// Returns whether the request is authenticated.
    fn admits(&self, request: &Request) -> Result<(), Problem> {
        let seat = request.extensions().get::<Seat>();
        let generation = self.connections.generation();
        let is_open = is_open(request.method(), request.uri().path());
        if !self.accepts_token(request) {
            let missing = || Problem::new(ErrorCode::Unauthorized, "The token is missing or wrong");
            return if is_open { Ok(()) } else { Err(missing()) };
        }
        let Some(seat) = seat else { return Ok(()) };
        if let Err(crowded) = seat.recognise(generation) {
            return if is_open { Ok(()) } else { Err(crowded.into()) };
        }
        if request.headers().contains_key(header::UPGRADE) && !seat.may_stream() {
            return Err(Crowded::Streams.into());
        }
        Ok(())
    }

    /// Returns whether this is our own address, a loopback name if we listen there, or a configured host.
    fn knows_host(&self, host: &Authority) -> bool {
        if self.is_configured(host) {
            return true;
        }
        if host.http_port() != self.listen.port() {
            return false;
        }
        let any = self.listen.ip().is_unspecified();
        match &host.host {
            HostName::Name(name) => name == "localhost" && (any || self.listen.ip().is_loopback()),
            // A rebinding attack needs a name; an address is always the client's own choice.
            HostName::V4(address) => any || self.listen.ip() == *address,
            HostName::V6(address) => any || self.listen.ip() == *address,
        }
    }

    fn is_configured(&self, host: &Authority) -> bool {
        self.hosts.iter().any(|known| known == host || (known.port.is_none() && known.host == host.host))
    }

    /// Returns whether the origin is our own. Only a configured host may have a TLS proxy in front of it.
    fn is_own(&self, origin: &Origin, host: &Authority) -> bool {
        (!origin.is_secure || self.is_configured(host))
            && *origin == Origin::of(origin.is_secure, host.clone())
    }

    fn accepts_token(&self, request: &Request) -> bool {
        if self.authenticator.is_open() {
            return true;
        }
        let now = self.clock.now();
        if let Some(given) = shown(request.headers()) {
            return given.is_some_and(|given| self.authenticator.admits(&given, now));
        }
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let mut given = form_urlencoded::parse(query.as_bytes());
        given.any(|(name, value)| match &*name {
            // WebSockets of a WebDriver session have their own ticket, because many clients print the address they
            // connect to.
            "token" => self.authenticator.admits(&value, now) || self.opens_socket(request, &value),
            "ticket" => {
                request.method() == Method::GET && self.authenticator.redeem_ticket(&value, path, now)
            }
            _ => false,
        })
    }

    /// Returns whether this is the ticket of the WebDriver session whose WebSocket is requested.
    fn opens_socket(&self, request: &Request, ticket: &str) -> bool {
        let upgrade = request.headers().get(header::UPGRADE);
        let is_socket = upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
        let Some(Requested(Ok(route))) = request.extensions().get() else { return false };
        is_socket && self.webdriver.admits(route, ticket)
    }
}

impl From<Crowded> for Problem {
    fn from(crowded: Crowded) -> Self {
        let code = match crowded {
            Crowded::Full | Crowded::Streams => ErrorCode::Busy,
            Crowded::Forgotten => ErrorCode::Unauthorized,
        };
        let body = ErrorBody::new(code, crate::sentence::capitalised(&crowded.to_string()));
        match crowded {
            Crowded::Forgotten => body.into(),
            Crowded::Full | Crowded::Streams => {
                body.with_hint("Close unused connections and streams, and try again.").into()
            }
        }
    }
}

/// Returns whether a page sent the request, as opposed to a user who typed an address, whom the browser would prompt
/// for a password.
fn is_of_a_page(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-dest").is_some_and(|destination| destination != "document")
}

/// Returns the only `Host` of a request. A second one is an attack on servers that read the other.
fn host_of(request: &Request) -> Option<Authority> {
    if let Some(authority) = request.uri().authority() {
        return Authority::parse(authority.as_str());
    }
    Authority::parse(&one(request.headers(), &header::HOST)?)
}

fn one(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().map(str::to_owned),
        _ => None,
    }
}

/// Parses the `Authorization` header: `Some(None)` if it exists but contains no token.
pub(super) fn shown(headers: &HeaderMap) -> Option<Option<String>> {
    let header = headers.get(header::AUTHORIZATION)?;
    Some(header.to_str().ok().and_then(token_in))
}

/// Parses `Bearer TOKEN`, or `Basic` with the token as its password.
fn token_in(header: &str) -> Option<String> {
    let (scheme, rest) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(rest.trim()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}

/// Returns whether the response is a stream.
fn is_stream(response: &Response) -> bool {
    let is_events = |kind: &header::HeaderValue| kind.as_bytes().starts_with(b"text/event-stream");
    response.status() == StatusCode::SWITCHING_PROTOCOLS
        || response.headers().get(header::CONTENT_TYPE).is_some_and(is_events)
}

pub(super) async fn check(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let speaks_webdriver = is_webdriver(request.uri().path());
    if speaks_webdriver {
        // Parsed once: access is decided by this value, and the request is answered by the same value.
        let requested = Requested(Route::of(request.method(), request.uri()));
        request.extensions_mut().insert(requested);
    }
    let is_of_a_page = is_of_a_page(request.headers());
    let refusal = |problem: Problem| {
        let mut response = if speaks_webdriver { problem.into_webdriver() } else { problem.into_response() };
        if is_of_a_page {
            response.headers_mut().remove(header::WWW_AUTHENTICATE);
        }
        response
    };
    let Asked { host, page } = match guard.asked(&request) {
        Ok(asked) => asked,
        Err(problem) => return refusal(problem),
    };
    let mut response = if page.is_some() && cors::is_preflight(&request) {
        cors::preflight(&request)
    } else if let Err(problem) = guard.admits(&request) {
        refusal(problem)
    } else {
        // Later code reads what was checked here: an absolute request target takes precedence over the header.
        if let Ok(checked) = header::HeaderValue::from_str(&host.to_string()) {
            request.headers_mut().insert(header::HOST, checked);
        }
        request.extensions_mut().insert(host);
        let seat = request.extensions().get::<Seat>().cloned();
        let response = next.run(request).await;
        match seat.filter(|_| is_stream(&response)).map(|seat| seat.stream()) {
            Some(Err(crowded)) => refusal(crowded.into()),
            _ => response,
        }
    };
    cors::mark(&mut response, page.as_ref());
    response
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use axum::body::Body;

    use super::*;
    use crate::authenticator::AuthenticatorFiles;

    fn guard() -> Guard {
        guard_in(Path::new("/nonexistent"))
    }

    fn guard_in(folder: &Path) -> Guard {
        let files = AuthenticatorFiles { token: folder.join("token"), visitors: folder.join("visitors") };
        Guard {
            listen: "127.0.0.1:7070".parse().unwrap(),
            hosts: vec![Authority::parse("pilot.example").unwrap()],
            origins: vec![Origin::parse("https://ok.example").unwrap()],
            authenticator: Arc::new(Authenticator::new(files, Some(&"secret".into()))),
            webdriver: WebDriver::new(Path::new("/nonexistent"), None, std::time::Duration::MAX),
            connections: Connections::new(64),
            clock: Clock::start(),
        }
    }

    fn code(headers: &[(&str, &str)], uri: &str) -> Option<String> {
        refusal(&guard(), Method::GET, headers, uri)
    }

    fn refusal(guard: &Guard, method: Method, headers: &[(&str, &str)], uri: &str) -> Option<String> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let refusal = guard.asked(&request).and_then(|_| guard.admits(&request)).err()?;
        Some(format!("{refusal:?}").split("code: ").nth(1)?.split(',').next()?.to_owned())
    }

    #[test]
    fn hosts() {
        for good in
            ["127.0.0.1:7070", "localhost:7070", "LOCALHOST:7070", "pilot.example", "pilot.example:99"]
        {
            assert_eq!(code(&[("host", good)], "/health"), None, "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:7070",
            "127.0.0.1",
            "127.0.0.1:80",
            "127.0.0.1.evil.example:7070",
            "",
            "a b",
            "evil@127.0.0.1:7070",
            "127.0.0.1:7070/x",
            "127.0.0.1:7070#evil",
            "127.0.0.1:7070?evil",
            "localhost\t:7070",
            "127.1:7070",
            "localhost:7070:7070",
            "127.0.0.1:07070",
            "pilot.example@evil.example",
            "pilot.example:0",
            "pilot.example.",
        ] {
            assert_eq!(code(&[("host", bad)], "/health").as_deref(), Some("ForbiddenHost"), "{bad}");
        }
        assert_eq!(code(&[], "/health").as_deref(), Some("ForbiddenHost"));
        let two = [("host", "127.0.0.1:7070"), ("host", "127.0.0.1:7070")];
        assert_eq!(code(&two, "/health").as_deref(), Some("ForbiddenHost"));
    }

    #[test]
    fn origins() {
        let host = ("host", "127.0.0.1:7070");
        for good in ["http://127.0.0.1:7070", "HTTP://127.0.0.1:7070", "https://ok.example"] {
            assert_eq!(code(&[host, ("origin", good)], "/health"), None, "{good}");
        }
        for bad in ["null", "http://evil.example", "http://127.0.0.1:8080", "https://127.0.0.1:7070", ""] {
            let refused = code(&[host, ("origin", bad)], "/health");
            assert_eq!(refused.as_deref(), Some("ForbiddenOrigin"), "{bad}");
        }
    }

    #[test]
    fn a_page_behind_tls_is_ours_where_the_host_was_configured() {
        let host = ("host", "pilot.example");
        for good in ["https://pilot.example", "http://pilot.example"] {
            assert_eq!(code(&[host, ("origin", good)], "/health"), None, "{good}");
        }
        for bad in ["https://pilot.example:8443", "https://other.example", "https://pilot.example/"] {
            let refused = code(&[host, ("origin", bad)], "/health");
            assert_eq!(refused.as_deref(), Some("ForbiddenOrigin"), "{bad}");
        }
    }

    #[test]
    fn tokens() {
        let host = ("host", "127.0.0.1:7070");
        let basic = format!("Basic {}", BASE64_STANDARD.encode("pilotlight:secret"));
        for good in ["Bearer secret", "bearer secret", &basic] {
            assert_eq!(code(&[host, ("authorization", good)], "/sessions"), None, "{good}");
        }
        assert_eq!(code(&[host], "/sessions?a=b&token=secret"), None);
        for bad in ["Bearer wrong", "Bearer", "Basic !!!", "secret", "Digest secret"] {
            let refused = code(&[host, ("authorization", bad)], "/sessions?token=secret");
            assert_eq!(refused.as_deref(), Some("Unauthorized"), "{bad}");
        }
        assert_eq!(code(&[host], "/sessions").as_deref(), Some("Unauthorized"));
        assert_eq!(code(&[host], "/sessions?token=wrong").as_deref(), Some("Unauthorized"));
    }

    #[test]
    fn only_its_page_is_open_of_the_dashboard() {
        let host = ("host", "127.0.0.1:7070");
        let refusal = |method, path| refusal(&guard(), method, &[host], path);
        for path in ["/ui", "/ui/", "/ui/machine", "/ui/assets/app.js", "/ui/enter", "/ui/ticket"] {
            assert_eq!(refusal(Method::GET, path), None, "{path}");
        }
        assert_eq!(refusal(Method::POST, "/ui/enter"), None);
        for path in ["/ui/ticket", "/ui/link", "/ui/leave", "/ui/sessions", "/health", "/token/rotate"] {
            assert_eq!(refusal(Method::POST, path).as_deref(), Some("Unauthorized"), "{path}");
        }
    }

    #[test]
    fn what_a_browser_sends_along_by_itself_opens_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let guard = guard_in(folder.path());
        let now = guard.clock.now();
        let key = guard.authenticator.sign_in(&guard.authenticator.new_code(now), now).unwrap().unwrap();
        let key = secrecy::ExposeSecret::expose_secret(&key);
        let (host, bearer) = (("host", "127.0.0.1:7070"), format!("Bearer {key}"));
        let origin = ("origin", "http://127.0.0.1:7070");
        assert_eq!(refusal(&guard, Method::GET, &[host, ("authorization", &bearer)], "/sessions"), None);
        assert_eq!(
            refusal(&guard, Method::POST, &[host, origin, ("authorization", &bearer)], "/sessions"),
            None
        );
        let foreign = [host, ("authorization", &*bearer), ("origin", "http://127.0.0.1:8099")];
        assert_eq!(refusal(&guard, Method::POST, &foreign, "/sessions").as_deref(), Some("ForbiddenOrigin"));
        for name in ["pilotlight_7070", "pilotlight", "authorization"] {
            let cookie = format!("{name}={key}");
            let refused = refusal(&guard, Method::GET, &[host, origin, ("cookie", &cookie)], "/sessions");
            assert_eq!(refused.as_deref(), Some("Unauthorized"), "{name}");
        }
    }

    #[test]
    fn a_ticket_reads_one_path_once() {
        let guard = guard();
        let host = ("host", "127.0.0.1:7070");
        let ticket = |path| guard.authenticator.new_ticket(path, "secret", guard.clock.now()).unwrap();
        let good = format!("/events?after=0&ticket={}", ticket("/events"));
        assert_eq!(refusal(&guard, Method::GET, &[host], &good), None);
        assert_eq!(refusal(&guard, Method::GET, &[host], &good).as_deref(), Some("Unauthorized"));
        let elsewhere = format!("/sessions?ticket={}", ticket("/events"));
        assert_eq!(refusal(&guard, Method::GET, &[host], &elsewhere).as_deref(), Some("Unauthorized"));
        let changing = format!("/drain?ticket={}", ticket("/drain"));
        assert_eq!(refusal(&guard, Method::POST, &[host], &changing).as_deref(), Some("Unauthorized"));
    }
}
