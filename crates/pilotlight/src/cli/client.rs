//! Talks to the server's REST interface.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use pilotlight_api::{Session, SessionsAnswer};
use reqwest::{Method, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::{Host, Url};
use uuid::Uuid;

use super::args::Common;
use super::exit_codes::{FAILED, TRY_AGAIN, UNREACHABLE, USAGE};
use super::failure::Failure;
use super::resolve::resolve;
use crate::config::{Server, Sources};

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the server may take for what it does at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long it may take for what waits for room and for a portal.
pub(super) const WORK_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// The largest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// The largest token file that is read.
const MAX_TOKEN_BYTES: u64 = 4096;

/// A server's address and the right to use it.
pub(super) struct Client {
    base: Url,
    token: Option<SecretString>,
    http: reqwest::Client,
}

/// The body of a failed request, as far as a person is told of it. Lenient: a newer server may know codes
/// that we do not.
#[derive(Deserialize)]
struct ErrorText {
    error: String,
    #[serde(default)]
    hint: Option<String>,
}

impl Client {
    /// Finds address and token. The configuration is only read for what is not given otherwise.
    pub(super) fn find(common: &Common, sources: &Sources) -> Result<Self, Failure> {
        let token = sources.environment.get("PILOTLIGHT_TOKEN").filter(|token| !token.is_empty());
        let token = token.map(|token| token.to_string_lossy().trim().to_owned().into());
        let base = common.server.as_deref().map(parse_address).transpose()?;
        let (base, token) = match (base, token) {
            (Some(base), Some(token)) => (base, Some(token)),
            // The token of this machine's server is nobody else's business.
            (Some(base), None) if !is_loopback(&base) => (base, None),
            (base, token) => {
                let server = Server::load(sources)?;
                let own = || token_of(&server.token_file());
                (
                    base.map_or_else(|| address_of(server.listen), Ok)?,
                    token.map_or_else(own, |token| Ok(Some(token)))?,
                )
            }
        };
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Failure::new(FAILED, format!("no HTTP client could be made: {error}")))?;
        Ok(Self { base, token, http })
    }

    /// Sends a request and reads its answer.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + ?Sized)>,
        timeout: Duration,
    ) -> Result<Value, Failure> {
        let mut request = self.request(method, path)?.timeout(timeout);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let bytes = self.read(response).await?;
        if !status.is_success() {
            return Err(refusal(status, &bytes));
        }
        serde_json::from_slice(&bytes).map_err(|error| strange(&error))
    }

    /// Has an operation do something. Its answer says how it stands, also where that is no success.
    pub(super) async fn operation(
        &self,
        path: &str,
        body: &impl Serialize,
        key: Option<&str>,
    ) -> Result<Value, Failure> {
        let mut request = self.request(Method::POST, path)?.timeout(WORK_TIMEOUT).json(body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let bytes = self.read(response).await?;
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(answer) if answer.get("operation_id").is_some() => Ok(answer),
            Ok(answer) if status.is_success() => Ok(answer),
            _ => Err(refusal(status, &bytes)),
        }
    }

    /// Writes what is at `path` into a new file.
    pub(super) async fn save(&self, path: &str, file: &Path) -> Result<(), Failure> {
        let unwritable =
            |error: io::Error| Failure::new(FAILED, format!("{} cannot be written: {error}", file.display()));
        let mut response = self.stream(path).await?;
        let mut to = std::fs::File::create_new(file).map_err(unwritable)?;
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            to.write_all(&chunk).map_err(unwritable)?;
        }
        Ok(())
    }

    /// `ask` with GET, for what the server does at once.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None::<&()>, ANSWER_TIMEOUT).await
    }

    /// `ask` without a body, for what the server does at once.
    pub(super) async fn tell(&self, method: Method, path: &str) -> Result<Value, Failure> {
        self.ask(method, path, None::<&()>, ANSWER_TIMEOUT).await
    }

    /// Opens a stream that has no end.
    pub(super) async fn stream(&self, path: &str) -> Result<Response, Failure> {
        let request = self.request(Method::GET, path)?;
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(refusal(status, &self.read(response).await?));
        }
        Ok(response)
    }

    /// The id of the session that somebody means. Only what is not a whole id costs a request.
    pub(super) async fn session_id(&self, text: &str) -> Result<Uuid, Failure> {
        if let Ok(id) = Uuid::try_parse(text) {
            return Ok(id);
        }
        let answer: SessionsAnswer = typed(&self.get("sessions").await?)?;
        resolve(&answer.sessions, text).map(|session: &Session| session.session_id)
    }

    fn request(&self, method: Method, path: &str) -> Result<reqwest::RequestBuilder, Failure> {
        let url = self
            .base
            .join(path)
            .map_err(|error| Failure::new(FAILED, format!("`{path}` is no path: {error}")))?;
        let request = self.http.request(method, url);
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        })
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(Failure::new(FAILED, "the server's answer is too large"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// The failure of a connection.
    pub(super) fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let sentence = if error.is_timeout() {
            format!("the server at {} did not answer in time", self.base)
        } else {
            format!("the server at {} cannot be reached: {}", self.base, innermost(error))
        };
        Failure::new(UNREACHABLE, sentence)
            .with_hint("start it with `pilotlight serve`, or name another with --server")
    }
}

/// Reads an answer into its type.
pub(super) fn typed<T: DeserializeOwned>(answer: &Value) -> Result<T, Failure> {
    T::deserialize(answer).map_err(|error| strange(&error))
}

fn strange(error: &serde_json::Error) -> Failure {
    Failure::new(FAILED, format!("the server's answer was not understood: {error}"))
        .with_hint("is it a Pilotlight server of the same version?")
}

fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    let exit_code = if status == StatusCode::SERVICE_UNAVAILABLE { TRY_AGAIN } else { FAILED };
    match serde_json::from_slice::<ErrorText>(body) {
        Ok(ErrorText { error, hint }) => Failure { exit_code, sentence: error, hint },
        Err(_) => Failure::new(exit_code, format!("the server answered {status}")),
    }
}

fn innermost(error: &reqwest::Error) -> String {
    let error: &dyn std::error::Error = error;
    std::iter::successors(Some(error), |error| error.source())
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// An address as people write it: with or without `http://`.
pub(super) fn parse_address(text: &str) -> Result<Url, Failure> {
    let failure = |why: &str| {
        Failure::new(USAGE, format!("`{text}` is not the address of a server: {why}"))
            .with_hint("write it as 127.0.0.1:7070 or http://host:port")
    };
    if text.starts_with("https://") {
        return Err(failure("this command line speaks no TLS"));
    }
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&with_scheme).map_err(|error| failure(&error.to_string()))?;
    if url.scheme() != "http" || url.path() != "/" || !url.username().is_empty() || url.password().is_some() {
        return Err(failure("only host and port are expected"));
    }
    Ok(url)
}

/// Where to reach a server that listens there: on every address means on this machine's own too.
pub(super) fn address_of(listen: SocketAddr) -> Result<Url, Failure> {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    parse_address(&SocketAddr::new(ip, listen.port()).to_string())
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// The token in the state folder; `None` where there is none, as with a server that wants none.
pub(super) fn token_of(file: &Path) -> Result<Option<SecretString>, Failure> {
    use std::io::Read as _;
    let mut text = String::new();
    let read =
        std::fs::File::open(file).and_then(|file| file.take(MAX_TOKEN_BYTES).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(Some(text.trim().to_owned().into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(Failure::new(FAILED, format!("the token in {} cannot be read: {error}", file.display()))
                .with_hint("run as the server's user, or set PILOTLIGHT_TOKEN"))
        }
    }
}
