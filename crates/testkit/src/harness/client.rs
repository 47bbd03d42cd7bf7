//! A client of the REST interface that only sends and receives.

use std::time::Duration;

use pilotlight_api::{Session, SessionsAnswer};
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::events::EventStream;

/// Time limit of a request: longer than the server's own longest wait in a test.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// A client with a server's address and token.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    /// Without a final slash.
    base: String,
    token: String,
}

/// A response.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body if it is JSON, otherwise null.
    pub body: Value,
    /// The raw body.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// Returns the response if it has this status.
    ///
    /// # Panics
    /// If it has another status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "the server answered {}", String::from_utf8_lossy(&self.bytes));
        self
    }

    /// Returns the parsed body.
    ///
    /// # Panics
    /// If it cannot be parsed.
    #[track_caller]
    #[must_use]
    pub fn typed<T: DeserializeOwned>(&self) -> T {
        match T::deserialize(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("the answer does not fit: {error}: {}", self.body),
        }
    }

    /// Returns the session in the body.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    #[must_use]
    pub fn session(&self) -> Session {
        self.typed()
    }

    /// Returns status and error code, for comparisons.
    #[must_use]
    pub fn refusal(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or("(no code)"))
    }
}

impl Client {
    pub(super) fn new(base: String, token: String) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap_or_else(|error| panic!("no HTTP client could be made: {error}"));
        Self { http, base, token }
    }

    /// Returns a client with another token; an empty one is not sent.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// Returns a client with new connections.
    #[must_use]
    pub fn with_own_connections(&self) -> Self {
        Self::new(self.base.clone(), self.token.clone())
    }

    /// Returns the token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Starts a request to `path`, which starts with a slash, with the token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.open_request(method, path).timeout(ANSWER_TIMEOUT)
    }

    /// Starts a request whose response may be endless.
    fn open_request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        if self.token.is_empty() { request } else { request.bearer_auth(&self.token) }
    }

    /// Sends a request and returns the response.
    ///
    /// # Panics
    /// If the server does not respond.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap_or_else(|error| panic!("the server does not answer: {error:?}"))
    }

    /// Sends a request and returns the response, if there is one.
    ///
    /// # Errors
    /// Returns an error if the server does not respond, for example while it starts or stops.
    pub async fn try_send(&self, request: RequestBuilder) -> reqwest::Result<Answer> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?.to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Ok(Answer { status, headers, body, bytes })
    }

    /// Sends a `GET` request.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// Sends a `POST` request without a body.
    pub async fn post_nothing(&self, path: &str) -> Answer {
        self.send(self.request(Method::POST, path)).await
    }

    /// Sends a `POST` request.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// Sends a `PUT` request.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    /// Sends a `PATCH` request.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(body)).await
    }

    /// Sends a `DELETE` request.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Creates a session, which must be new.
    ///
    /// # Panics
    /// If the status is not 201.
    pub async fn create(&self, body: &Value) -> Session {
        self.post("/sessions", body).await.expect(201).session()
    }

    /// Returns a session.
    ///
    /// # Panics
    /// If the status is not 200.
    pub async fn session(&self, session: &Session) -> Session {
        self.get(&format!("/sessions/{}", session.session_id)).await.expect(200).session()
    }

    /// Returns all sessions.
    ///
    /// # Panics
    /// If the status is not 200.
    pub async fn sessions(&self) -> Vec<Session> {
        self.get("/sessions").await.expect(200).typed::<SessionsAnswer>().sessions
    }

    /// Evaluates an expression in a session's page.
    ///
    /// # Panics
    /// If the status is not 200.
    pub async fn evaluate(&self, session: &Session, expression: &str) -> Value {
        let path = format!("/sessions/{}/evaluate", session.session_id);
        let answer = self.post(&path, &serde_json::json!({ "expression": expression })).await.expect(200);
        answer.body["result"].clone()
    }

    /// Follows the events of `path`.
    ///
    /// # Panics
    /// If no stream is opened.
    pub async fn events(&self, path: &str) -> EventStream {
        match self.open_request(Method::GET, path).send().await {
            Ok(response) if response.status().is_success() => EventStream::new(response),
            Ok(response) => panic!("no events from {path}: the server answered {}", response.status()),
            Err(error) => panic!("no events from {path}: {error:?}"),
        }
    }
}
