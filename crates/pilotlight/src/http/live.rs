//! The WebSocket of the live view: screenshots and state to the viewer, input from the viewer.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use pilotlight_api::{ErrorBody, ErrorCode, LiveUpdate};
use tokio::time::timeout;
use tokio_websockets::Message;

use super::App;
use super::problem::{Id, Problem};
use super::websocket::{Socket, upgrade};
use crate::live::{News, Viewer};

/// The largest message of a viewer: pasted text.
const MAX_COMMAND_BYTES: usize = 1024 * 1024;
/// A viewer that receives nothing for this long is disconnected.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Opens the live view of a session's window: shows and controls it.
#[utoipa::path(get, path = "/sessions/{id}/live", tag = "window", params(("id" = uuid::Uuid, Path)), responses(
    (status = 101, description = "A WebSocket with screenshots of the page; the viewer's messages control the window"),
    (status = "4XX", description = "The session does not exist, or the request is not a WebSocket handshake", body = ErrorBody),
    (status = 503, description = "The session has too many viewers", body = ErrorBody)))]
pub(super) async fn live(State(app): State<App>, Id(id): Id, request: Request) -> Result<Response, Problem> {
    app.living(id)?;
    let too_many = || Problem::new(ErrorCode::Busy, "This session has too many viewers");
    let viewer = app.live.join(id).ok_or_else(too_many)?;
    let stopping = app.readiness.draining();
    upgrade(request, MAX_COMMAND_BYTES, async move |socket| {
        stopping.run_until_cancelled(serve(socket, viewer)).await;
    })
}

async fn serve(socket: Socket, mut viewer: Viewer) {
    let (sender, receiver) = socket.split();
    let Some(news) = viewer.news() else { return };
    tokio::select! {
        () = show(sender, news) => {}
        () = listen(receiver, &viewer) => {}
    }
}

async fn show(mut sender: SplitSink<Socket, Message>, news: News) {
    let News { mut pictures, mut state, mut told } = news;
    // A new viewer gets the current screenshot and state.
    pictures.mark_changed();
    state.mark_changed();
    loop {
        let sent = tokio::select! {
            changed = state.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = state.borrow_and_update().clone();
                let over = now.over;
                let sent = say(&mut sender, &LiveUpdate::State(now)).await;
                if over {
                    return;
                }
                sent
            }
            changed = pictures.changed() => {
                if changed.is_err() {
                    return;
                }
                let picture = pictures.borrow_and_update().clone();
                match picture {
                    Some(picture) => {
                        say(&mut sender, &picture.told).await
                            && send(&mut sender, Message::binary(picture.jpeg.clone())).await
                    }
                    None => true,
                }
            }
            message = told.recv() => match message {
                Some(message) => say(&mut sender, &message).await,
                None => return,
            },
        };
        if !sent {
            return;
        }
    }
}

async fn say(sender: &mut SplitSink<Socket, Message>, told: &LiveUpdate) -> bool {
    match serde_json::to_string(told) {
        Ok(text) => send(sender, Message::text(text)).await,
        Err(_) => false,
    }
}

async fn send(sender: &mut SplitSink<Socket, Message>, message: Message) -> bool {
    matches!(timeout(SEND_TIMEOUT, sender.send(message)).await, Ok(Ok(())))
}

async fn listen(mut receiver: SplitStream<Socket>, viewer: &Viewer) {
    while let Some(Ok(message)) = receiver.next().await {
        if message.is_close() {
            return;
        }
        let Some(text) = message.as_text() else { continue };
        match serde_json::from_str(text) {
            Ok(command) => {
                if !viewer.command(command).await {
                    return;
                }
            }
            // The error does not contain the message's text.
            Err(_) => viewer.send_error("The message is invalid"),
        }
    }
}
