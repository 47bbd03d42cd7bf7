//! Who may be here: the Host, the Origin and the token of every request are checked, in this order.
//!
//! The Host check defends against DNS rebinding, the Origin check against pages of other sites. Both hold
//! for every route; the token is not asked for by `/health`, `/ready` and the files of the dashboard alone.
//!
//! Instead of the token, pages of ours show a visitor's cookie. Browsers send it along with what pages at other
//! ports of the same host ask for, so it counts only where the browser says that a page of ours asks.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pilotlight_api::ErrorCode;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::{Host, Url};

use super::problem::Problem;
use super::webdriver::is_webdriver;
use crate::door::Door;
use crate::keeper::Clock;
use crate::webdriver::WebDriver;

/// Whether a route answers without a token.
fn is_open(path: &str) -> bool {
    matches!(path, "/" | "/health" | "/ready" | "/ui") || path.starts_with("/ui/")
}

/// What is let in.
#[derive(Debug)]
pub struct Guard {
    /// `None` where no token is wanted.
    token: Option<SecretString>,
    listen: SocketAddr,
    hosts: Vec<String>,
    origins: Vec<String>,
    door: Arc<Door>,
    webdriver: WebDriver,
    clock: Clock,
}

impl Guard {
    /// A guard for a server that listens on `listen`.
    #[must_use]
    pub fn new(
        token: Option<SecretString>,
        listen: SocketAddr,
        hosts: Vec<String>,
        origins: Vec<String>,
        door: Arc<Door>,
        webdriver: WebDriver,
        clock: Clock,
    ) -> Self {
        Self { token, listen, hosts, origins, door, webdriver, clock }
    }

    fn refuses(&self, request: &Request) -> Option<Problem> {
        let headers = request.headers();
        let host = host_of(request);
        if !host.as_deref().is_some_and(|host| self.knows_host(host)) {
            return Some(Problem::new(
                ErrorCode::ForbiddenHost,
                "The request is for a host that is not ours",
            ));
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        if !origins
            .all(|origin| origin.to_str().is_ok_and(|origin| self.knows_origin(origin, host.as_deref())))
        {
            return Some(Problem::new(ErrorCode::ForbiddenOrigin, "The request comes from a foreign page"));
        }
        let path = request.uri().path();
        if is_open(path) || self.accepts_token(request) || self.accepts_visitor(request) {
            return None;
        }
        Some(Problem::new(ErrorCode::Unauthorized, "The token is missing or wrong"))
    }

    /// Our own address, the loopback names where we listen there, and what the configuration adds.
    fn knows_host(&self, host: &str) -> bool {
        if self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host)) {
            return true;
        }
        let Ok(url) = Url::parse(&format!("http://{host}/")) else { return false };
        let name = url.host_str().unwrap_or_default();
        if self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return true;
        }
        if url.port_or_known_default() != Some(self.listen.port()) {
            return false;
        }
        let any = self.listen.ip().is_unspecified();
        match url.host() {
            Some(Host::Domain(name)) => {
                name.eq_ignore_ascii_case("localhost") && (any || self.listen.ip().is_loopback())
            }
            // A rebinding attack needs a name; an address is always the client's own choice.
            Some(Host::Ipv4(address)) => any || self.listen.ip() == address,
            Some(Host::Ipv6(address)) => any || self.listen.ip() == address,
            None => false,
        }
    }

    fn knows_origin(&self, origin: &str, host: Option<&str>) -> bool {
        self.origins.iter().any(|known| known.eq_ignore_ascii_case(origin))
            || host.is_some_and(|host| origin.eq_ignore_ascii_case(&format!("http://{host}")))
    }

    fn accepts_token(&self, request: &Request) -> bool {
        let Some(token) = &self.token else { return true };
        // Equal lengths, so that not even the token's is told by the time it takes.
        let wanted = Sha256::digest(token.expose_secret());
        let is_it = |given: &str| bool::from(Sha256::digest(given).ct_eq(&wanted));
        if let Some(header) = request.headers().get(header::AUTHORIZATION) {
            return header.to_str().is_ok_and(|header| token_in(header).is_some_and(|given| is_it(&given)));
        }
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let mut given = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "token");
        // Sockets of a WebDriver session have a ticket of their own: many clients print where they connect.
        given.any(|(_, value)| is_it(&value) || self.webdriver.admits(path, &value))
    }

    /// Whether a visitor of the dashboard asks, by a page of ours: anything but reading says from where it comes.
    fn accepts_visitor(&self, request: &Request) -> bool {
        let headers = request.headers();
        let from_us =
            headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin" || site == "none");
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let cookies = one(headers, &header::COOKIE);
        from_us
            && (reads || headers.contains_key(header::ORIGIN))
            && cookies.is_some_and(|cookies| self.door.knows(&cookies, self.clock.now()))
    }
}

/// Whether a page asks, and not whoever types addresses: a browser would ask people for a password.
fn is_of_a_page(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-dest").is_some_and(|destination| destination != "document")
}

/// The one `Host` of a request. A second one is an attack on whoever reads the other.
fn host_of(request: &Request) -> Option<String> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str().to_owned());
    }
    one(request.headers(), &header::HOST)
}

fn one(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().map(str::to_owned),
        _ => None,
    }
}

/// `Bearer TOKEN`, or `Basic` with the token as its password.
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

pub(super) async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let Some(problem) = guard.refuses(&request) else { return next.run(request).await };
    let speaks_webdriver = is_webdriver(request.uri().path());
    let mut response = if speaks_webdriver { problem.into_webdriver() } else { problem.into_response() };
    if is_of_a_page(request.headers()) {
        response.headers_mut().remove(header::WWW_AUTHENTICATE);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use axum::body::Body;

    use super::*;

    fn guard() -> Guard {
        guard_with(Path::new("/nonexistent/visitors"))
    }

    fn guard_with(visitors: &Path) -> Guard {
        let listen = "127.0.0.1:7070".parse().unwrap();
        Guard::new(
            Some("secret".into()),
            listen,
            vec!["pilot.example".to_owned()],
            vec!["https://ok.example".to_owned()],
            Arc::new(Door::new(visitors, 7070, None)),
            WebDriver::new(Path::new("/nonexistent"), None, std::time::Duration::MAX),
            Clock::start(),
        )
    }

    fn code(headers: &[(&str, &str)], uri: &str) -> Option<String> {
        refusal(&guard(), Method::GET, headers, uri)
    }

    fn refusal(guard: &Guard, method: Method, headers: &[(&str, &str)], uri: &str) -> Option<String> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let refusal = guard.refuses(&request.body(Body::empty()).unwrap())?;
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
        for good in ["http://127.0.0.1:7070", "https://ok.example"] {
            assert_eq!(code(&[host, ("origin", good)], "/health"), None, "{good}");
        }
        for bad in ["null", "http://evil.example", "http://127.0.0.1:8080", "https://127.0.0.1:7070", ""] {
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
    fn the_cookie_counts_for_pages_of_ours_alone() {
        let folder = tempfile::tempdir().unwrap();
        let guard = guard_with(&folder.path().join("visitors"));
        let set_cookie = guard.door.let_in(guard.clock.now()).unwrap();
        let cookie = ("cookie", set_cookie.split(';').next().unwrap());
        let host = ("host", "127.0.0.1:7070");
        let origin = ("origin", "http://127.0.0.1:7070");
        let site = |site| ("sec-fetch-site", site);
        let refusal = |method, headers: &[_]| refusal(&guard, method, headers, "/sessions");
        assert_eq!(refusal(Method::GET, &[host, cookie]), None);
        assert_eq!(refusal(Method::GET, &[host, cookie, site("same-origin")]), None);
        assert_eq!(refusal(Method::POST, &[host, cookie, origin, site("same-origin")]), None);
        // A page at another port of this host is of the same site, and the cookie comes with what it asks.
        for other in ["same-site", "cross-site"] {
            let refused = refusal(Method::GET, &[host, cookie, site(other)]);
            assert_eq!(refused.as_deref(), Some("Unauthorized"), "{other}");
        }
        for method in [Method::POST, Method::DELETE, Method::PATCH, Method::PUT] {
            let refused = refusal(method.clone(), &[host, cookie]);
            assert_eq!(refused.as_deref(), Some("Unauthorized"), "{method} from nowhere");
            let foreign = [host, cookie, ("origin", "http://127.0.0.1:8099"), site("same-site")];
            assert_eq!(refusal(method, &foreign).as_deref(), Some("ForbiddenOrigin"));
        }
        let wrong = ("cookie", "pilotlight_7070=00");
        assert_eq!(refusal(Method::GET, &[host, wrong]).as_deref(), Some("Unauthorized"));
        assert_eq!(refusal(Method::GET, &[host, cookie, cookie]).as_deref(), Some("Unauthorized"));
    }
}
