//! A client of the REST interface that knows nothing but how to send and to read.

use std::time::Duration;

use pilotlight_api::{Session, SessionsAnswer};
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::events::EventStream;

/// The longest that any answer may take: longer than the server's own longest wait in a test.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// A client with a server's address and a token.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    /// Without a final slash.
    base: String,
    token: String,
}

/// What the server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body where it is JSON, otherwise null.
    pub body: Value,
    /// The body as it came.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// The answer, if it has this status.
    ///
    /// # Panics
    /// Where it has another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "the server answered {}", String::from_utf8_lossy(&self.bytes));
        self
    }

    /// The body as the type that it should have.
    ///
    /// # Panics
    /// Where it does not fit.
    #[track_caller]
    #[must_use]
    pub fn typed<T: DeserializeOwned>(&self) -> T {
        match T::deserialize(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("the answer does not fit: {error}: {}", self.body),
        }
    }

    /// The session that it is about.
    ///
    /// # Panics
    /// Where it is not about one.
    #[track_caller]
    #[must_use]
    pub fn session(&self) -> Session {
        self.typed()
    }

    /// Status and error code, for comparing.
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

    /// The same client with another token; the empty one is none.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// The server's token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A request to `path`, which begins with a slash, with the token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.open_request(method, path).timeout(ANSWER_TIMEOUT)
    }

    /// A request whose answer may go on without end.
    fn open_request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        if self.token.is_empty() { request } else { request.bearer_auth(&self.token) }
    }

    /// Sends a request and reads the answer.
    ///
    /// # Panics
    /// Where the server does not answer.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap_or_else(|error| panic!("the server does not answer: {error:?}"))
    }

    /// Sends a request and reads the answer, if one comes.
    ///
    /// # Errors
    /// Where the server does not answer: it may be on its way down or up.
    pub async fn try_send(&self, request: RequestBuilder) -> reqwest::Result<Answer> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?.to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Ok(Answer { status, headers, body, bytes })
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// `POST` without a body.
    pub async fn post_nothing(&self, path: &str) -> Answer {
        self.send(self.request(Method::POST, path)).await
    }

    /// `POST`.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// `PUT`.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    /// `PATCH`.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(body)).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Creates a session, which must be new.
    ///
    /// # Panics
    /// Where the answer is not 201.
    pub async fn create(&self, body: &Value) -> Session {
        self.post("/sessions", body).await.expect(201).session()
    }

    /// A living session as it is now.
    ///
    /// # Panics
    /// Where the answer is not 200.
    pub async fn session(&self, session: &Session) -> Session {
        self.get(&format!("/sessions/{}", session.session_id)).await.expect(200).session()
    }

    /// All living sessions.
    ///
    /// # Panics
    /// Where the answer is not 200.
    pub async fn sessions(&self) -> Vec<Session> {
        self.get("/sessions").await.expect(200).typed::<SessionsAnswer>().sessions
    }

    /// The value of an expression in a session's page.
    ///
    /// # Panics
    /// Where the answer is not 200.
    pub async fn evaluate(&self, session: &Session, expression: &str) -> Value {
        let path = format!("/sessions/{}/evaluate", session.session_id);
        let answer = self.post(&path, &serde_json::json!({ "expression": expression })).await.expect(200);
        answer.body["result"].clone()
    }

    /// Follows the events of `path`.
    ///
    /// # Panics
    /// Where no stream is opened.
    pub async fn events(&self, path: &str) -> EventStream {
        match self.open_request(Method::GET, path).send().await {
            Ok(response) if response.status().is_success() => EventStream::new(response),
            Ok(response) => panic!("no events from {path}: the server answered {}", response.status()),
            Err(error) => panic!("no events from {path}: {error:?}"),
        }
    }
}
