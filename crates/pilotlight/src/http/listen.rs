//! Takes connections, a limited number at once, and serves them until the server is told to stop.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gateway::Peer;

/// Connections at once; further ones wait in the operating system's queue.
const MAX_CONNECTIONS: usize = 2048;
/// How long the head of a request may take to arrive, on a connection that stays open too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long to wait where the operating system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, then finishes the requests that are being answered.
///
/// # Errors
/// Never at present; the listener's passing failures are waited out.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    let accepting = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let (stream, remote) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(local) = stream.local_addr() else { continue };
            // Replies to small commands must not wait for more.
            drop(stream.set_nodelay(true));
            let routes = TowerToHyperService::new(router.clone());
            let service = service_fn(move |mut request: hyper::Request<Incoming>| {
                request.extensions_mut().insert(Peer { remote, local });
                routes.call(request)
            });
            let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
            let stop = stop.clone();
            connections.spawn(async move {
                let mut connection = pin!(connection);
                // How a client's connection ends is the client's business.
                if stop.run_until_cancelled(connection.as_mut()).await.is_none() {
                    connection.as_mut().graceful_shutdown();
                    drop(connection.await);
                }
                drop(place);
            });
        }
    };
    stop.run_until_cancelled(accepting).await;
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}
