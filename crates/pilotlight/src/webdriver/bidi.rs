//! WebDriver BiDi (<https://w3c.github.io/webdriver-bidi/>): the client's messages in its session's WebSocket, and
//! which of them are passed on to chromedriver.
//!
//! Chromedriver's own WebSockets can do more than serve a session: `session.new` in one starts a session with any
//! program. Therefore each message is parsed and serialized again: chromedriver's parser is more lenient than ours
//! (comments, duplicate names), and a message must not have different meanings for the two.

use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_websockets::{CloseCode, Config, Limits, Message, WebSocketStream};

/// Maximum size of a client's message. Chromedriver and Chromium accept 100 MB.
const MAX_CLIENT_BYTES: usize = 100 * 1024 * 1024;
/// Maximum size of chromedriver's messages, which may contain a screenshot.
const MAX_DRIVER_BYTES: usize = 256 * 1024 * 1024;
/// Time limit for sending a message to either side.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Time limit for the last message.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of our own replies that wait for the client.
const MAX_ANSWERS: usize = 16;
/// The largest id of a command (`js-uint`).
const MAX_ID: u64 = (1 << 53) - 1;

/// What to do with a client's message.
#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    /// Pass on this text.
    Pass(String),
    /// Answer it here.
    Answer(String),
    /// Answer it here and end the session.
    End(String),
}

/// Why a conversation has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// One side disconnected or violated the protocol.
    Left,
    /// The client ended its session, and has got the reply.
    SessionEnd,
}

/// A command as it is parsed and serialized. Unknown names are dropped, and duplicates are refused.
/// twice.
#[derive(Deserialize, Serialize)]
struct Command<'a> {
    id: u64,
    method: String,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    params: Option<&'a RawValue>,
    /// An extension that Puppeteer and others use: it is repeated in the reply.
    #[serde(rename = "goog:channel", default, skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
}

fn refusal(id: Option<u64>, error: &str, message: &str) -> Judgement {
    Judgement::Answer(json!({ "type": "error", "id": id, "error": error, "message": message }).to_string())
}

fn judge(text: &str) -> Judgement {
    let command: Command<'_> = match serde_json::from_str(text) {
        Ok(command) => command,
        Err(error) => return refusal(None, "invalid argument", &format!("not a command: {error}")),
    };
    let id = command.id;
    if id > MAX_ID {
        return refusal(None, "invalid argument", "`id` is too large");
    }
    match &*command.method {
        "session.new" => {
            let message =
                "the session of this socket already exists: create another one with `POST /session`";
            return refusal(Some(id), "session not created", message);
        }
        // Chromedriver would detach from the browser and leave our session without one.
        "session.end" | "browser.close" => {
            return Judgement::End(json!({ "type": "success", "id": id, "result": {} }).to_string());
        }
        "session.status" | "session.subscribe" | "session.unsubscribe" => {}
        // Commands about sessions that other versions of chromedriver may have.
        method if method.starts_with("session.") => {
            return refusal(Some(id), "unknown command", &format!("unknown command {method}"));
        }
        _ => {}
    }
    match serde_json::to_string(&command) {
        Ok(text) => Judgement::Pass(text),
        Err(error) => refusal(Some(id), "unknown error", &error.to_string()),
    }
}

/// Returns the part of a client's message that is passed on to chromedriver, if any.
#[cfg(fuzzing)]
#[must_use]
pub fn passed_on(text: &str) -> Option<String> {
    match judge(text) {
        Judgement::Pass(text) => Some(text),
        Judgement::Answer(_) | Judgement::End(_) => None,
    }
}

/// Returns the configuration of the client's WebSocket.
#[must_use]
pub fn client_side() -> (Config, Limits) {
    (whole_frames(), Limits::default().max_payload_len(Some(MAX_CLIENT_BYTES)))
}

/// Returns the configuration of chromedriver's WebSocket.
pub(super) fn driver_side() -> (Config, Limits) {
    (whole_frames(), Limits::default().max_payload_len(Some(MAX_DRIVER_BYTES)))
}

/// One frame per message, because not every implementation joins fragments.
fn whole_frames() -> Config {
    Config::default().frame_size(usize::MAX)
}

/// Passes messages between a client and chromedriver until either disconnects, or the client ends its session.
pub async fn converse<C, D>(client: WebSocketStream<C>, driver: WebSocketStream<D>) -> Ending
where
    C: AsyncRead + AsyncWrite + Unpin,
    D: AsyncRead + AsyncWrite + Unpin,
{
    let (mut to_client, from_client) = client.split();
    let (mut to_driver, from_driver) = driver.split();
    let (answers, answered) = mpsc::channel(MAX_ANSWERS);
    let (last_word, code) = tokio::select! {
        heard = listen(from_client, &mut to_driver, answers) => heard,
        () = tell(from_driver, answered, &mut to_client) => (None, CloseCode::NORMAL_CLOSURE),
    };
    let ending = if last_word.is_some() { Ending::SessionEnd } else { Ending::Left };
    let closing = async {
        if let Some(last_word) = last_word {
            drop(to_client.send(Message::text(last_word)).await);
        }
        drop(to_client.send(Message::close(Some(code), "")).await);
        drop(to_driver.send(Message::close(None, "")).await);
    };
    drop(timeout(CLOSE_TIMEOUT, closing).await);
    ending
}

/// Handles the client's messages until it disconnects or ends its session. Returns the last reply if it ended its
/// session.
/// session.
async fn listen<C, D>(
    mut client: SplitStream<WebSocketStream<C>>,
    driver: &mut SplitSink<WebSocketStream<D>, Message>,
    answers: mpsc::Sender<String>,
) -> (Option<String>, CloseCode)
where
    C: AsyncRead + AsyncWrite + Unpin,
    D: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = client.next().await {
        let Some(text) = message.as_text() else {
            if message.is_binary() {
                return (None, CloseCode::UNSUPPORTED_DATA);
            }
            continue;
        };
        match judge(text) {
            Judgement::Pass(text) => {
                let sent = timeout(WRITE_TIMEOUT, driver.send(Message::text(text))).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return (None, CloseCode::INTERNAL_SERVER_ERROR);
                }
            }
            Judgement::Answer(text) => {
                if answers.send(text).await.is_err() {
                    break;
                }
            }
            Judgement::End(text) => return (Some(text), CloseCode::NORMAL_CLOSURE),
        }
    }
    (None, CloseCode::NORMAL_CLOSURE)
}

/// Sends chromedriver's messages and our own replies to the client.
async fn tell<C, D>(
    mut driver: SplitStream<WebSocketStream<D>>,
    mut answers: mpsc::Receiver<String>,
    client: &mut SplitSink<WebSocketStream<C>, Message>,
) where
    C: AsyncRead + AsyncWrite + Unpin,
    D: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let message = tokio::select! {
            Some(answer) = answers.recv() => Message::text(answer),
            message = driver.next() => match message {
                Some(Ok(message)) if message.is_text() => message,
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return,
            },
        };
        if !matches!(timeout(WRITE_TIMEOUT, client.send(message)).await, Ok(Ok(()))) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn answer(text: &str) -> Value {
        match judge(text) {
            Judgement::Answer(answer) => serde_json::from_str(&answer).unwrap(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn commands_of_the_session_are_passed_on_as_they_were_read() {
        for (said, passed) in [
            (
                r#"{"id":1,"method":"session.status","params":{}}"#,
                r#"{"id":1,"method":"session.status","params":{}}"#,
            ),
            (
                r#" {"params" : {"a":[1.50, "\u0000"]}, "x":1, "m\u0065thod":"script.\u0065valuate","id":2}"#,
                r#"{"id":2,"method":"script.evaluate","params":{"a":[1.50, "\u0000"]}}"#,
            ),
            (
                r#"{"id":3,"method":"browsingContext.getTree","goog:channel":"/x"}"#,
                r#"{"id":3,"method":"browsingContext.getTree","goog:channel":"/x"}"#,
            ),
        ] {
            assert_eq!(judge(said), Judgement::Pass(passed.to_owned()));
        }
    }

    #[test]
    fn no_session_begins_here_and_none_but_its_own_ends() {
        let new = answer(r#"{"id":7,"method":"session.n\u0065w","params":{"capabilities":{}}}"#);
        assert_eq!(
            (&new["id"], &new["type"], &new["error"]),
            (&7.into(), &"error".into(), &"session not created".into())
        );
        for method in ["session.end", "browser.close"] {
            let said = format!(r#"{{"id":8,"method":"{method}","params":{{}}}}"#);
            let Judgement::End(told) = judge(&said) else { panic!("{method}") };
            assert_eq!(
                serde_json::from_str::<Value>(&told).unwrap(),
                json!({ "type": "success", "id": 8, "result": {} })
            );
        }
        assert_eq!(answer(r#"{"id":9,"method":"session.attach","params":{}}"#)["error"], "unknown command");
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_no_command() {
        for bad in [
            "",
            "{",
            "[1]",
            "1",
            "{}",
            r#"{"id":1}"#,
            r#"{"method":"session.new"}"#,
            r#"{"id":1,"method":"session.status","method":"session.new"}"#,
            r#"{"id":1,"id":2,"method":"session.status"}"#,
            r#"{"id":1,"method":"session.status","m\u0065thod":"session.new"}"#,
            r#"{"id":1,"method":["session.new"]}"#,
            r#"{"id":-1,"method":"a.b"}"#,
            r#"{"id":1.5,"method":"a.b"}"#,
            r#"{"id":9007199254740993,"method":"a.b"}"#,
            r#"{"id":1,"method":"session.\ud800new"}"#,
            r#"/* */{"id":1,"method":"a.b"}"#,
            r#"{"id":1,"method":"a.b",}"#,
            r#"{"id":1,"method":"a.b"} {}"#,
            "\u{feff}{\"id\":1,\"method\":\"a.b\"}",
        ] {
            assert_eq!(answer(bad)["error"], "invalid argument", "{bad}");
        }
    }

    proptest! {
        /// Whatever is passed on names one method, and none of those that are of sessions.
        #[test]
        fn nothing_passes_that_is_of_other_sessions(
            method in "(session|browser|script)\\.(new|end|close|status|evaluate|[a-z]{0,4})|\\PC{0,8}",
            params in "\\{\\}|[0-9]{1,3}|\\[[\\]{},a\":]{0,6}",
            more in "(,\"(method|id|x)\":(\"session.new\"|1))?",
        ) {
            let method = serde_json::to_string(&method).unwrap();
            if let Judgement::Pass(text) = judge(&format!(r#"{{"id":1,"method":{method},"params":{params}{more}}}"#)) {
                let passed: Value = serde_json::from_str(&text).unwrap();
                let method = passed["method"].as_str().unwrap();
                prop_assert!(!matches!(method, "session.new" | "session.end" | "browser.close"));
                prop_assert_eq!(text.matches("\"method\":").count(), 1);
                prop_assert!(passed.as_object().unwrap().keys().all(|key| ["id", "method", "params"].contains(&&**key)));
            }
        }
    }
}
