//! A client of the DevTools protocol for tests, without assumptions about the server.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, Config, Limits, MaybeTlsStream, Message, WebSocketStream};

/// Time limit for a message.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of events that are buffered.
const MAX_EVENTS: usize = 10_000;

/// A connection to a browser or to the gateway.
#[derive(Debug)]
pub struct DevTools {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last_id: i64,
    /// Events that arrived while something else was awaited.
    pub events: VecDeque<Value>,
}

impl DevTools {
    /// Connects, with this token if given.
    ///
    /// # Errors
    /// Returns the error as text, also for a status other than 101.
    pub async fn connect(url: &str, token: Option<&str>) -> Result<Self, String> {
        Self::connect_with(url, token, &[]).await
    }

    /// Connects with additional headers.
    ///
    /// # Errors
    /// See [`Self::connect`].
    pub async fn connect_with(
        url: &str,
        token: Option<&str>,
        headers: &[(&'static str, &'static str)],
    ) -> Result<Self, String> {
        // Browsers accept only messages in a single frame.
        Self::connect_as(url, token, headers, usize::MAX).await
    }

    /// Connects as a client that sends its messages in frames of at most this size.
    ///
    /// # Errors
    /// See [`Self::connect`].
    pub async fn connect_in_frames(
        url: &str,
        token: Option<&str>,
        frame_bytes: usize,
    ) -> Result<Self, String> {
        Self::connect_as(url, token, &[], frame_bytes).await
    }

    async fn connect_as(
        url: &str,
        token: Option<&str>,
        headers: &[(&'static str, &'static str)],
        frame_bytes: usize,
    ) -> Result<Self, String> {
        let mut builder = ClientBuilder::new().uri(url).map_err(|error| error.to_string())?;
        builder = builder.limits(Limits::unlimited()).config(Config::default().frame_size(frame_bytes));
        if let Some(token) = token {
            let bearer =
                HeaderValue::from_str(&format!("Bearer {token}")).map_err(|error| error.to_string())?;
            builder = builder.add_header(AUTHORIZATION, bearer).map_err(|error| error.to_string())?;
        }
        for (name, value) in headers {
            let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
            builder = builder.add_header(name, value).map_err(|error| error.to_string())?;
        }
        let connecting = timeout(MESSAGE_TIMEOUT, builder.connect()).await;
        let (socket, _) = connecting.map_err(|_| "no answer")?.map_err(|error| error.to_string())?;
        let MaybeTlsStream::Plain(stream) = socket.get_ref();
        drop(stream.set_nodelay(true));
        Ok(Self { socket, last_id: 0, events: VecDeque::new() })
    }

    /// Sends a command and returns its reply, a result or an error; other messages are dropped.
    ///
    /// # Errors
    /// Returns an error if the connection is lost.
    pub async fn exchange(
        &mut self,
        session: Option<&str>,
        method: &str,
        params: &Value,
    ) -> Result<Result<Value, Value>, String> {
        let id = self.send(session, method, params).await?;
        loop {
            let message = self.message().await?;
            if message["id"] == id {
                return Ok(outcome(message));
            }
        }
    }

    /// Sends a command without waiting for the reply; returns its id.
    ///
    /// # Panics
    /// If the connection is lost.
    pub async fn tell(&mut self, session: Option<&str>, method: &str, params: &Value) -> i64 {
        self.send(session, method, params).await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn send(&mut self, session: Option<&str>, method: &str, params: &Value) -> Result<i64, String> {
        self.last_id += 1;
        let mut command = json!({ "id": self.last_id, "method": method, "params": params });
        if let Some(session) = session {
            command["sessionId"] = json!(session);
        }
        let sent = self.socket.send(Message::text(command.to_string())).await;
        sent.map_err(|error| format!("{method} cannot be sent: {error}"))?;
        Ok(self.last_id)
    }

    /// Sends a message unchanged.
    ///
    /// # Errors
    /// Returns an error if the connection is lost.
    pub async fn send_text(&mut self, text: String) -> Result<(), String> {
        self.socket.send(Message::text(text)).await.map_err(|error| format!("it cannot be sent: {error}"))
    }

    /// Returns the reply to the command with this id.
    ///
    /// # Errors
    /// Returns how the connection ended, if it did.
    pub async fn try_reply(&mut self, id: i64) -> Result<Result<Value, Value>, String> {
        loop {
            let message = self.message().await?;
            if message["id"] == id {
                return Ok(outcome(message));
            }
            self.keep(message);
        }
    }

    /// Sends text unchanged.
    ///
    /// # Panics
    /// If the connection is lost.
    pub async fn say(&mut self, text: &str) {
        let sent = self.send_text(text.to_owned()).await;
        sent.unwrap_or_else(|error| panic!("{text}: {error}"));
    }

    /// Sends a binary message.
    ///
    /// # Panics
    /// If the connection is lost.
    pub async fn say_bytes(&mut self, bytes: &[u8]) {
        let sent = self.socket.send(Message::binary(bytes.to_vec())).await;
        sent.unwrap_or_else(|error| panic!("bytes cannot be sent: {error}"));
    }

    /// Returns the next message.
    ///
    /// # Panics
    /// If there is none.
    pub async fn hear(&mut self) -> Value {
        self.message().await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Sends a command and returns its result or its error.
    ///
    /// # Panics
    /// If there is no reply.
    pub async fn try_call(
        &mut self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> Result<Value, Value> {
        let id = self.tell(session, method, &params).await;
        self.reply(id).await
    }

    /// Returns the reply to the command with this id.
    ///
    /// # Panics
    /// If there is none.
    pub async fn reply(&mut self, id: i64) -> Result<Value, Value> {
        loop {
            let message = self.message().await.unwrap_or_else(|error| panic!("{error}"));
            if message["id"] == id {
                return outcome(message);
            }
            self.keep(message);
        }
    }

    /// Sends a command and returns its result.
    ///
    /// # Panics
    /// If it is refused, or if there is no reply.
    pub async fn call(&mut self, session: Option<&str>, method: &str, params: Value) -> Value {
        let reply = self.try_call(session, method, params).await;
        reply.unwrap_or_else(|error| panic!("{method} was refused: {error}"))
    }

    /// Returns the next event with this name, or an earlier one.
    ///
    /// # Panics
    /// If there is none.
    pub async fn event(&mut self, method: &str) -> Value {
        let is_it = |event: &Value| event["method"] == method;
        if let Some(place) = self.events.iter().position(is_it) {
            return self.events.remove(place).unwrap_or_default();
        }
        loop {
            let message = self.message().await;
            let message = message.unwrap_or_else(|error| panic!("{method} does not come: {error}"));
            if is_it(&message) {
                return message;
            }
            self.keep(message);
        }
    }

    /// Attaches to the first page and returns the CDP session.
    ///
    /// # Panics
    /// If there is no page.
    pub async fn first_page(&mut self) -> String {
        let listed = self.call(None, "Target.getTargets", json!({})).await;
        let target = listed["targetInfos"][0]["targetId"].as_str().unwrap_or_default().to_owned();
        let params = json!({ "targetId": target, "flatten": true });
        let attached = self.call(None, "Target.attachToTarget", params).await;
        attached["sessionId"].as_str().unwrap_or_default().to_owned()
    }

    /// Evaluates an expression in a page.
    ///
    /// # Panics
    /// If it has no value.
    pub async fn evaluate(&mut self, session: &str, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut told = self.call(Some(session), "Runtime.evaluate", params).await;
        assert!(told.get("exceptionDetails").is_none(), "{expression}: {told}");
        told["result"]["value"].take()
    }

    /// Reads until the server closes the connection, and returns the code and the reason.
    ///
    /// # Panics
    /// If it stays open.
    pub async fn close_message(mut self) -> Option<(u16, String)> {
        loop {
            let next = timeout(MESSAGE_TIMEOUT, self.socket.next()).await;
            match next.unwrap_or_else(|_| panic!("the connection does not end")) {
                Some(Ok(message)) => {
                    if let Some((code, reason)) = message.as_close() {
                        return Some((code.into(), reason.to_owned()));
                    }
                }
                Some(Err(_)) | None => return None,
            }
        }
    }

    async fn message(&mut self) -> Result<Value, String> {
        loop {
            let next = timeout(MESSAGE_TIMEOUT, self.socket.next()).await;
            let message = next.map_err(|_| format!("nothing came within {MESSAGE_TIMEOUT:?}"))?;
            let message = message.ok_or("the connection ended")?;
            let message = message.map_err(|error| format!("the connection broke: {error}"))?;
            if let Some(text) = message.as_text() {
                return serde_json::from_str(text).map_err(|error| error.to_string());
            }
        }
    }

    fn keep(&mut self, event: Value) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

/// Returns the result in a reply, or its error.
fn outcome(mut reply: Value) -> Result<Value, Value> {
    match reply.get("error") {
        None => Ok(reply["result"].take()),
        Some(error) => Err(error.clone()),
    }
}
