//! The benchmark's client of the DevTools protocol: one command at a time, like a simple client.

use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::AUTHORIZATION;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, Config, Limits, MaybeTlsStream, Message, WebSocketStream};

/// The longest time for a connection or a message.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest message that is accepted: a picture that does not compress has about 10 MB.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A connection to a browser, or to a session as one.
pub(super) struct DevTools {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last_id: i64,
}

impl DevTools {
    /// Connects to a `ws://` address, with this token if there is one.
    ///
    /// # Errors
    /// Why the connection failed, as one sentence.
    pub(super) async fn connect(url: &str, token: Option<&str>) -> Result<Self, String> {
        // Browsers read only messages of one frame.
        let config = Config::default().frame_size(usize::MAX);
        let limits = Limits::default().max_payload_len(Some(MESSAGE_BYTES_MAX));
        let builder = ClientBuilder::new().uri(url).map_err(|error| error.to_string())?;
        let mut builder = builder.limits(limits).config(config);
        if let Some(token) = token {
            let bearer =
                HeaderValue::from_str(&format!("Bearer {token}")).map_err(|error| error.to_string())?;
            builder = builder.add_header(AUTHORIZATION, bearer).map_err(|error| error.to_string())?;
        }
        let connecting = timeout(MESSAGE_TIMEOUT, builder.connect()).await;
        let connecting = connecting.map_err(|_| format!("{url} does not answer"))?;
        let (socket, _) = connecting.map_err(|error| format!("{url} cannot be connected to: {error}"))?;
        let MaybeTlsStream::Plain(stream) = socket.get_ref();
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(Self { socket, last_id: 0 })
    }

    /// Sends a command and returns its result, or its error. Events that arrive before are dropped.
    ///
    /// # Errors
    /// Why there is no reply, as one sentence.
    pub(super) async fn exchange(
        &mut self,
        session: Option<&str>,
        method: &str,
        params: &Value,
    ) -> Result<Result<Value, Value>, String> {
        self.last_id += 1;
        let mut command = json!({ "id": self.last_id, "method": method, "params": params });
        if let Some(session) = session {
            command["sessionId"] = json!(session);
        }
        let sent = self.socket.send(Message::text(command.to_string())).await;
        sent.map_err(|error| format!("{method} cannot be sent: {error}"))?;
        loop {
            let mut message = self.next_message().await.map_err(|error| format!("{method}: {error}"))?;
            if message["id"] == self.last_id {
                return Ok(match message.get("error") {
                    None => Ok(message["result"].take()),
                    Some(error) => Err(error.clone()),
                });
            }
        }
    }

    async fn next_message(&mut self) -> Result<Value, String> {
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
}
