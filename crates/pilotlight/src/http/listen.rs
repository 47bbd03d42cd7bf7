//! Accepts connections, a limited number at a time, and serves them until the server is told to stop.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

use super::connections::{Connections, Place};
use crate::descriptors;
use crate::gateway::Peer;

/// Time limit for the head of a further request on an authenticated connection. Unauthenticated connections have a
/// shorter limit: see [`Connections`].
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum size of the head of a request. Browsers also send the cookies of all other services of the same host, up
/// to 180 with 4 KiB each (Chromium, `net/cookies/cookie_monster.h`), which must not lock users out of the dashboard.
const MAX_HEAD_BYTES: usize = 800 * 1024;
/// Interval of checks for connections that take too long.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Delay after the operating system refused another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Minimum interval between log messages about that.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Serves until `stop`, then finishes requests in progress.
///
/// # Errors
/// Currently none: transient errors of the listener are retried.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    connections: Connections,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD_BYTES);
    let tasks = TaskTracker::new();
    let accepting = async {
        let mut said: Option<Instant> = None;
        loop {
            let Some(room) = connections.room().await else { return };
            let (stream, remote) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    connections.make_room();
                    if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
                        said = Some(Instant::now());
                        let shortage = descriptors::shortage().map(|shortage| shortage.to_string());
                        tracing::warn!(%error, shortage, "failed to accept a connection");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Replies to small commands must not be delayed (Nagle's algorithm).
            drop(stream.set_nodelay(true));
            let place = connections.enter(remote.ip(), room);
            let (seat, closed) = (place.seat(), place.closed());
            let routes = TowerToHyperService::new(router.clone());
            let service = service_fn(move |mut request: hyper::Request<Incoming>| {
                let asking = seat.asks();
                request.extensions_mut().insert(Peer { remote });
                request.extensions_mut().insert(seat.clone());
                let answer = routes.call(request);
                async move {
                    let answer: hyper::Response<Body> = answer.await?;
                    Ok::<_, std::convert::Infallible>(if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                        asking.for_good();
                        answer
                    } else {
                        answer.map(|body| asking.until_sent(body))
                    })
                }
            });
            let line = TokioIo::new(Line::new(stream, place));
            let connection = http.serve_connection(line, service).with_upgrades();
            let stop = stop.clone();
            tasks.spawn(async move {
                let mut connection = pin!(connection);
                // How a client closes its connection is not our concern.
                let serving = async {
                    if stop.run_until_cancelled(connection.as_mut()).await.is_none() {
                        connection.as_mut().graceful_shutdown();
                        drop(connection.await);
                    }
                };
                closed.run_until_cancelled(serving).await;
            });
        }
    };
    let looking = async {
        let mut turns = tokio::time::interval(LOOK_EVERY);
        loop {
            turns.tick().await;
            connections.drop_late(Instant::now());
        }
    };
    let working = async {
        tokio::select! { () = accepting => {}, () = looking => {} }
    };
    stop.run_until_cancelled(working).await;
    drop(listener);
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// A connection with its place, which it keeps when it becomes a WebSocket. It fails when the place is lost.
struct Line {
    stream: TcpStream,
    /// One for each direction, so that both tasks are woken.
    closed: [Pin<Box<WaitForCancellationFutureOwned>>; 2],
    _place: Place,
}

impl Line {
    fn new(stream: TcpStream, place: Place) -> Self {
        let closed = [place.closed(), place.closed()].map(|closed| Box::pin(closed.cancelled_owned()));
        Self { stream, closed, _place: place }
    }

    fn is_open(&mut self, direction: usize, context: &mut Context<'_>) -> io::Result<()> {
        match self.closed.get_mut(direction).map(|closed| closed.as_mut().poll(context)) {
            Some(Poll::Ready(())) => Err(io::ErrorKind::ConnectionAborted.into()),
            Some(Poll::Pending) | None => Ok(()),
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.is_open(0, context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_open(1, context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_open(1, context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
