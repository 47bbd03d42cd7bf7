//! A client of the DevTools protocol that says what it is told to say, and believes nothing.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, Config, Limits, MaybeTlsStream, Message, WebSocketStream};

/// The longest that a message may take.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// How many events are kept that nobody has asked for yet.
const MAX_EVENTS: usize = 10_000;

/// A connection to a browser, or to what passes for one.
#[derive(Debug)]
pub struct DevTools {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last_id: i64,
    /// Events that came while something else was waited for.
    pub events: VecDeque<Value>,
}

impl DevTools {
    /// Connects, with this token where there is one.
    ///
    /// # Errors
    /// Why it cannot be, in words; a status other than 101 is among them.
    pub async fn connect(url: &str, token: Option<&str>) -> Result<Self, String> {
        // Browsers read messages of one frame alone.
        let mut builder = ClientBuilder::new().uri(url).map_err(|error| error.to_string())?;
        builder = builder.limits(Limits::unlimited()).config(Config::default().frame_size(usize::MAX));
        if let Some(token) = token {
            let bearer =
                HeaderValue::from_str(&format!("Bearer {token}")).map_err(|error| error.to_string())?;
            builder = builder.add_header(AUTHORIZATION, bearer).map_err(|error| error.to_string())?;
        }
        let connecting = timeout(MESSAGE_TIMEOUT, builder.connect()).await;
        let (socket, _) = connecting.map_err(|_| "no answer")?.map_err(|error| error.to_string())?;
        let MaybeTlsStream::Plain(stream) = socket.get_ref();
        drop(stream.set_nodelay(true));
        Ok(Self { socket, last_id: 0, events: VecDeque::new() })
    }

    /// Sends a command and reads its reply, the result or the error; what else comes is left out.
    ///
    /// # Errors
    /// That the connection is gone, in words.
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

    /// Sends a command and does not wait for what comes of it; gives its number.
    ///
    /// # Panics
    /// Where the connection is gone.
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

    /// The reply to a command: its result, or its error.
    ///
    /// # Panics
    /// Where none comes.
    pub async fn try_call(
        &mut self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> Result<Value, Value> {
        let id = self.tell(session, method, &params).await;
        self.reply(id).await
    }

    /// The reply to the command of this number.
    ///
    /// # Panics
    /// Where none comes.
    pub async fn reply(&mut self, id: i64) -> Result<Value, Value> {
        loop {
            let message = self.message().await.unwrap_or_else(|error| panic!("{error}"));
            if message["id"] == id {
                return outcome(message);
            }
            self.keep(message);
        }
    }

    /// The result of a command.
    ///
    /// # Panics
    /// Where it is refused, or none comes.
    pub async fn call(&mut self, session: Option<&str>, method: &str, params: Value) -> Value {
        let reply = self.try_call(session, method, params).await;
        reply.unwrap_or_else(|error| panic!("{method} was refused: {error}"))
    }

    /// The next event of this name, or one that came before.
    ///
    /// # Panics
    /// Where none comes.
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

    /// Attaches to the first page that is listed, and gives the session.
    ///
    /// # Panics
    /// Where there is none.
    pub async fn first_page(&mut self) -> String {
        let listed = self.call(None, "Target.getTargets", json!({})).await;
        let target = listed["targetInfos"][0]["targetId"].as_str().unwrap_or_default().to_owned();
        let params = json!({ "targetId": target, "flatten": true });
        let attached = self.call(None, "Target.attachToTarget", params).await;
        attached["sessionId"].as_str().unwrap_or_default().to_owned()
    }

    /// The value of an expression in a page.
    ///
    /// # Panics
    /// Where it has none.
    pub async fn evaluate(&mut self, session: &str, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut told = self.call(Some(session), "Runtime.evaluate", params).await;
        assert!(told.get("exceptionDetails").is_none(), "{expression}: {told}");
        told["result"]["value"].take()
    }

    /// Reads until the other side ends the connection, and gives the code and the reason that it says.
    ///
    /// # Panics
    /// Where it goes on.
    pub async fn farewell(mut self) -> Option<(u16, String)> {
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

/// The result that a reply has, or its error.
fn outcome(mut reply: Value) -> Result<Value, Value> {
    match reply.get("error") {
        None => Ok(reply["result"].take()),
        Some(error) => Err(error.clone()),
    }
}
