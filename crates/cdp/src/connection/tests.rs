//! The connection against a scripted peer on an in-memory pipe.

use serde_json::{Value, json};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};

use super::*;
use crate::protocol::browser::GetVersion;
use crate::protocol::page::Navigate;
use crate::protocol::target::TargetCrashed;

/// The browser's side of the pipe.
struct Peer {
    reader: FramedRead<ReadHalf<DuplexStream>, PipeCodec>,
    writer: FramedWrite<WriteHalf<DuplexStream>, PipeCodec>,
}

impl Peer {
    async fn receive(&mut self) -> Value {
        serde_json::from_slice(&self.reader.next().await.unwrap().unwrap()).unwrap()
    }

    async fn send(&mut self, message: Value) {
        self.writer.send(serde_json::to_vec(&message).unwrap().into()).await.unwrap();
    }
}

fn connect() -> (Connection, Peer) {
    let (ours, theirs) = tokio::io::duplex(4096);
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
