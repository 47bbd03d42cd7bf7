//! The client of the server's REST interface.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
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
use super::resolve::resolve;
use crate::config::{Server, Sources};
use crate::demo_address::DemoAddress;
use crate::exit::{FAILED, Failure, TRY_AGAIN, UNREACHABLE, USAGE};

/// Time limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of quick requests.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Time limit of requests that wait for capacity or for a portal.
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

/// The parts of an error body that are printed. Lenient: a newer server may have codes that are unknown here.
#[derive(Deserialize)]
struct ErrorText {
    error: String,
    #[serde(default)]
    hint: Option<String>,
}

impl Client {
    /// Determines the address and the token. The configuration is read only for what is not given otherwise.
    pub(super) fn find(common: &Common, sources: &Sources) -> Result<Self, Failure> {
        let token = sources.environment.get("PILOTLIGHT_TOKEN").filter(|token| !token.is_empty());
        let token = token.map(|token| token.to_string_lossy().trim().to_owned().into());
        let base = common.server.as_deref().map(parse_address).transpose()?;
        let (base, token) = match (base, token) {
            (Some(base), Some(token)) => (base, Some(token)),
            // The token of this machine's server must not be sent to another machine.
            (Some(base), None) if !is_loopback(&base) => (base, None),
            (base, token) => {
                let server = Server::load(sources)?;
                let base = base.map_or_else(|| address_of(server.listen), Ok)?;
                let own = token_of(&token_file_at(&base, &server));
                (base, token.map_or(own, |token| Ok(Some(token)))?)
            }
        };
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Failure::new(FAILED, format!("failed to create the HTTP client: {error}")))?;
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

    /// Sends a request to an operation. Returns the operation's state, even if the operation failed.
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

    /// Writes the body of a GET request into a new file.
    pub(super) async fn save(&self, path: &str, file: &Path) -> Result<(), Failure> {
        let unwritable =
            |error: io::Error| Failure::new(FAILED, format!("cannot write {}: {error}", file.display()));
        let mut response = self.stream(path).await?;
        // Fetched files are private: documents of a portal, or the store.
        let mut to = std::fs::OpenOptions::new();
        let mut to = to.write(true).create_new(true).mode(0o600).open(file).map_err(unwritable)?;
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            to.write_all(&chunk).map_err(unwritable)?;
        }
        Ok(())
    }

    /// Sends a quick GET request.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None::<&()>, ANSWER_TIMEOUT).await
    }

    /// Sends a quick request without a body.
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

    /// Returns the id of a session given by id, prefix or name. Only a whole id needs no request.
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
            .map_err(|error| Failure::new(FAILED, format!("`{path}` is not a valid path: {error}")))?;
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
                return Err(Failure::new(FAILED, "the server's response is too large"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Returns the failure of a connection.
    pub(super) fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let message = if error.is_timeout() {
            format!("the server at {} did not answer in time", self.base)
        } else {
            format!("cannot reach the server at {}: {}", self.base, innermost(error))
        };
        Failure::new(UNREACHABLE, message)
            .with_hint("start it with `pilotlight serve`, or give another address with --server")
    }
}

/// Reads an answer into its type.
pub(super) fn typed<T: DeserializeOwned>(answer: &Value) -> Result<T, Failure> {
    T::deserialize(answer).map_err(|error| strange(&error))
}

fn strange(error: &serde_json::Error) -> Failure {
    Failure::new(FAILED, format!("cannot parse the server's response: {error}"))
        .with_hint("check that it is a Pilotlight server of the same version")
}

fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    let exit_code = if status == StatusCode::SERVICE_UNAVAILABLE { TRY_AGAIN } else { FAILED };
    match serde_json::from_slice::<ErrorText>(body) {
        Ok(ErrorText { error, hint }) => Failure { exit_code, message: error, hint },
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

/// Parses an address, with or without `http://`.
pub(super) fn parse_address(text: &str) -> Result<Url, Failure> {
    let failure = |why: &str| {
        Failure::new(USAGE, format!("`{text}` is not a server address: {why}"))
            .with_hint("write it as 127.0.0.1:7070 or http://host:port")
    };
    if text.starts_with("https://") {
        return Err(failure("TLS is not supported by the command line"));
    }
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&with_scheme).map_err(|error| failure(&error.to_string()))?;
    if url.scheme() != "http" || url.path() != "/" || !url.username().is_empty() || url.password().is_some() {
        return Err(failure("only a host and a port are allowed"));
    }
    Ok(url)
}

/// Returns the address for clients of a server that listens on `listen`; an unspecified address includes loopback.
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

/// Returns the path of the token of this machine's server at `base`: the demo's if the demo listens there.
pub(super) fn token_file_at(base: &Url, server: &Server) -> PathBuf {
    let demo_dir = server.demo_dir();
    match DemoAddress::read(&demo_dir) {
        Some(address) if base.port_or_known_default() == Some(address.port()) => {
            Server { state_dir: demo_dir, ..server.clone() }.token_file()
        }
        _ => server.token_file(),
    }
}

/// Returns the token in the state folder; `None` if there is none, for example if the server requires none.
pub(super) fn token_of(file: &Path) -> Result<Option<SecretString>, Failure> {
    use std::io::Read as _;
    let mut text = String::new();
    let read =
        std::fs::File::open(file).and_then(|file| file.take(MAX_TOKEN_BYTES).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(Some(text.trim().to_owned().into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(Failure::new(FAILED, format!("cannot read the token in {}: {error}", file.display()))
                .with_hint("run the command as the server's user, or set PILOTLIGHT_TOKEN"))
        }
    }
}
