//! The connection against a scripted peer on an in-memory pipe.

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio_util::codec::FramedWrite;

use super::*;
use crate::framing::PipeCodec;
use crate::protocol::browser::GetVersion;
use crate::protocol::page::Navigate;
use crate::protocol::target::TargetCrashed;
use crate::routing::MESSAGE_TOO_LONG;

/// The browser's side of the pipe.
struct Peer {
    reader: FramedRead<ReadHalf<DuplexStream>, PipeCodec>,
    writer: FramedWrite<WriteHalf<DuplexStream>, PipeCodec>,
}

impl Peer {
    async fn receive(&mut self) -> Value {
        serde_json::from_slice(&self.reader.next().await.unwrap().unwrap()).unwrap()
    }

    /// However long it is.
    async fn send_text(&mut self, text: &str) {
        self.writer.get_mut().write_all(&[text.as_bytes(), b"\0"].concat()).await.unwrap();
    }

    async fn send(&mut self, message: Value) {
        self.writer.send(serde_json::to_vec(&message).unwrap().into()).await.unwrap();
    }
}

fn connect() -> (Connection, Peer) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (reader, writer) = tokio::io::split(ours);
    let (peer_reader, peer_writer) = tokio::io::split(theirs);
    let peer = Peer {
        reader: FramedRead::new(peer_reader, PipeCodec::default()),
        writer: FramedWrite::new(peer_writer, PipeCodec::default()),
    };
    (Connection::new(reader, writer), peer)
}

fn navigate() -> Navigate {
    Navigate { url: "http://a.test/".into() }
}

#[tokio::test]
async fn replies_find_their_calls_in_any_order() {
    let (connection, mut peer) = connect();
    let session = SessionId::from("S1");
    let answering = async {
        let first = peer.receive().await;
        let second = peer.receive().await;
        assert_eq!(first["sessionId"], "S1");
        assert_eq!(first["params"], json!({"url": "http://a.test/"}));
        assert!(second.get("sessionId").is_none());
        let version = json!({"product": "P/1", "userAgent": "U", "protocolVersion": "1.3",
            "revision": "@0", "jsVersion": "15", "new": 1});
        peer.send(json!({"id": second["id"], "result": version})).await;
        peer.send(json!({"id": first["id"], "sessionId": "S1", "result": {"loaderId": "L"}})).await;
    };
    let (navigated, version, ()) = tokio::join!(
        connection.call(Some(&session), navigate()),
        connection.call(None, GetVersion {}),
        answering
    );
    assert_eq!(navigated.unwrap().loader_id.as_deref(), Some("L"));
    assert_eq!(version.unwrap().product, "P/1");
}

#[tokio::test]
async fn a_refusal_names_method_and_reason_but_no_parameters() {
    let (connection, mut peer) = connect();
    let answering = async {
        let call = peer.receive().await;
        peer.send(json!({"id": call["id"], "error": {"code": -32000, "message": "Cannot navigate"}})).await;
    };
    let (refused, ()) = tokio::join!(connection.call(None, navigate()), answering);
    let error = refused.unwrap_err();
    assert_eq!(error.refusal(), Some("Cannot navigate"));
    assert_eq!(error.to_string(), "Page.navigate was refused");
    assert!(!format!("{error:?} {:?}", navigate()).contains("a.test"));
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_in_its_time_and_is_forgotten() {
    let (connection, mut peer) = connect();
    let timeout = Duration::from_secs(2);
    let error = connection.call_within(None, navigate(), timeout).await.unwrap_err();
    assert!(matches!(error, CdpError::Timeout { timeout: waited, .. } if waited == timeout));
    let late = peer.receive().await;
    peer.send(json!({"id": late["id"], "result": {}})).await;
    let answering = async {
        let call = peer.receive().await;
        peer.send(json!({"id": call["id"], "result": {}})).await;
    };
    let (next, ()) = tokio::join!(connection.call(None, navigate()), answering);
    next.unwrap();
}

#[tokio::test]
async fn all_calls_and_subscriptions_end_with_the_pipe() {
    let (connection, peer) = connect();
    let mut events = connection.subscribe(Scope::All, 8);
    let closing = async {
        let mut peer = peer;
        peer.receive().await;
        drop(peer);
    };
    let (call, ()) = tokio::join!(connection.call(None, navigate()), closing);
    assert!(matches!(call, Err(CdpError::Closed)));
    assert!(events.next().await.is_none());
    connection.closed().await;
    assert!(matches!(connection.call(None, navigate()).await, Err(CdpError::Closed)));
    assert!(connection.subscribe(Scope::Root, 8).next().await.is_none());
}

#[tokio::test]
async fn the_pipe_closes_with_the_last_handle() {
    let (connection, mut peer) = connect();
    let other = connection.clone();
    drop(connection);
    assert!(!other.is_closed());
    drop(other);
    assert!(peer.reader.next().await.is_none());
}

#[tokio::test]
async fn events_reach_those_who_asked_for_them() {
    let (connection, mut peer) = connect();
    let mut all = connection.subscribe(Scope::All, 8);
    let mut root = connection.subscribe(Scope::Root, 8);
    let mut session = connection.subscribe(Scope::Session("S1".into()), 8);
    peer.send(json!({"method": "A.b", "sessionId": "S2"})).await;
    peer.send(json!({"method": "A.c", "sessionId": "S1", "params": {"x": [1, 2]}})).await;
    peer.send(json!({"method": "Target.targetCrashed", "params": {"targetId": "T", "status": "killed"}}))
        .await;
    assert_eq!(all.next().await.unwrap().method, "A.b");
    let event = session.next().await.unwrap();
    assert_eq!((event.method.as_str(), event.params.get()), ("A.c", r#"{"x":[1,2]}"#));
    assert_eq!(root.next().await.unwrap().read::<TargetCrashed>().unwrap().status, "killed");
}

#[tokio::test]
async fn a_slow_subscriber_loses_its_subscription_and_nobody_else_waits() {
    let (connection, mut peer) = connect();
    let mut slow = connection.subscribe(Scope::All, 2);
    let mut quick = connection.subscribe(Scope::All, 8);
    for number in 0..4 {
        peer.send(json!({"method": format!("E.{number}")})).await;
    }
    for number in 0..4 {
        assert_eq!(quick.next().await.unwrap().method, format!("E.{number}"));
    }
    assert_eq!(slow.next().await.unwrap().method, "E.0");
    assert_eq!(slow.next().await.unwrap().method, "E.1");
    assert!(slow.next().await.is_none());
}

#[tokio::test]
async fn a_reply_that_is_too_long_is_an_error_and_an_event_names_its_session() {
    let (connection, mut peer) = connect();
    let mut events = connection.subscribe(Scope::Session("S1".into()), 8);
    let (sender, mut receiver) = connection.tap("W", 1_000_000);
    sender.adopt("T".into());
    let id = sender.next_id().unwrap();
    let mut root = connection.subscribe(Scope::Root, 8);
    let long = "x".repeat(MAX_MESSAGE_BYTES);
    let answering = async {
        let call = peer.receive().await;
        peer.send_text(&format!(r#"{{"id":{},"result":{{"x":"{long}"}}}}"#, call["id"])).await;
        peer.send_text(&format!(r#"{{"method":"Page.x","params":{{"x":"{long}"}},"sessionId":"S1"}}"#)).await;
        peer.send_text(&format!(r#"{{"id":{id},"result":{{"x":"{long}"}},"sessionId":"T"}}"#)).await;
        peer.send_text(&format!(r#"{{"method":"Page.x","params":{{"x":"{long}"}},"sessionId":"T"}}"#)).await;
    };
    let (call, ()) = tokio::join!(connection.call(None, navigate()), answering);
    assert!(call.unwrap_err().refusal().unwrap().contains("longer than"));
    assert_eq!(events.next().await.unwrap().method, MESSAGE_TOO_LONG);
    let told: Value = serde_json::from_slice(&receiver.next().await.unwrap()).unwrap();
    assert_eq!((&told["id"], &told["sessionId"]), (&json!(id), &json!("T")));
    assert!(told["error"]["message"].as_str().unwrap().contains("longer than"));
    let told = root.next().await.unwrap();
    assert_eq!((told.method.as_str(), told.params.get()), (MESSAGE_TOO_LONG, r#"{"group":"W"}"#));
}

/// A browser that is silent while it works off what a client sent is asked how far it has come.
#[tokio::test]
async fn large_messages_go_one_at_a_time_and_calls_of_ours_come_between() {
    let (connection, mut peer) = connect();
    let (sender, _receiver) = connection.tap("W", 1_000_000);
    let large = format!(r#"{{"id":1,"method":"x","params":"{}"}}"#, "x".repeat(LARGE_MESSAGE_BYTES));
    let before = connection.last_sign_of_life();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let sending = tokio::spawn(async move {
        for _ in 0..3 {
            sender.send(large.clone().into()).await.unwrap();
        }
        sender
    });
    assert_eq!(peer.receive().await["method"], "x");
    assert!(connection.last_sign_of_life() > before && connection.large_message_since().is_some());
    let probe = peer.receive().await;
    assert_eq!(probe["method"], "Browser.getVersion");
    let calling = tokio::spawn({
        let connection = connection.clone();
        async move { connection.call(None, navigate()).await }
    });
    let call = peer.receive().await;
    assert_eq!(call["method"], "Page.navigate", "the second large one waits");
    peer.send(json!({"id": call["id"], "result": {"frameId": "F"}})).await;
    calling.await.unwrap().unwrap();
    assert!(connection.large_message_since().is_some());
    peer.send(json!({"id": probe["id"], "result": {}})).await;
    assert_eq!(peer.receive().await["method"], "x");
    drop(connection);
    drop(sending);
}

#[tokio::test]
async fn garbage_is_passed_over() {
    let (connection, mut peer) = connect();
    let answering = async {
        let call = peer.receive().await;
        peer.writer.send(Bytes::from_static(b"not json")).await.unwrap();
        peer.send(json!([1, 2])).await;
        peer.send(json!({"id": 999_999, "result": {}})).await;
        peer.send(json!({"id": call["id"], "result": {"frameId": "F"}})).await;
    };
    let (call, ()) = tokio::join!(connection.call(None, navigate()), answering);
    call.unwrap();
}
