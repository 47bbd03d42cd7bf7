//! The live view's WebSocket: pictures and how it stands to the viewer, wishes from the viewer.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use pilotlight_api::{ErrorBody, ErrorCode, LiveTold};
use tokio::time::timeout;
use tokio_websockets::Message;

use super::App;
use super::problem::{Id, Problem};
use super::websocket::{Socket, upgrade};
use crate::live::{News, Viewer};

/// The largest message of a viewer: what somebody pastes.
const MAX_WISH_BYTES: usize = 1024 * 1024;
/// A viewer that takes nothing for this long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Looks into the session's window and steers it.
#[utoipa::path(get, path = "/sessions/{id}/live", tag = "window", params(("id" = uuid::Uuid, Path)), responses(
    (status = 101, description = "A WebSocket with pictures of the page; the viewer's messages steer it"),
    (status = "4XX", description = "The session is not there, or the request is none for a WebSocket", body = ErrorBody),
    (status = 503, description = "Too many look at the session", body = ErrorBody)))]
pub(super) async fn live(State(app): State<App>, Id(id): Id, request: Request) -> Result<Response, Problem> {
    app.living(id)?;
    let too_many = || Problem::new(ErrorCode::Busy, "Too many look at this session");
    let viewer = app.live.join(id).ok_or_else(too_many)?;
    let stopping = app.readiness.draining();
    upgrade(request, MAX_WISH_BYTES, async move |socket| {
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
    // What is there already is news to whoever comes.
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
                let sent = say(&mut sender, &LiveTold::State(now)).await;
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

async fn say(sender: &mut SplitSink<Socket, Message>, told: &LiveTold) -> bool {
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
            Ok(wish) => {
                if !viewer.wish(wish).await {
                    return;
                }
            }
            // What is wrong with it is told without its words.
            Err(_) => viewer.complain("The message cannot be understood"),
        }
    }
}
