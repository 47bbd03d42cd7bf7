//! Upgrades requests to WebSockets (RFC 6455, section 4.2).

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use pilotlight_api::ErrorCode;
use tokio_websockets::{Limits, ServerBuilder, WebSocketStream};

use super::problem::Problem;

/// The constant from which the response to a client's key is computed.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A WebSocket to a client.
pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Accepts a WebSocket with messages of up to `max_bytes`, and serves it in a separate task.
pub(super) fn upgrade<S: Future<Output = ()> + Send>(
    mut request: Request,
    max_bytes: usize,
    serve: impl FnOnce(Socket) -> S + Send + 'static,
) -> Result<Response, Problem> {
    let (upgrade, response) = accept(&mut request)?;
    tokio::spawn(async move {
        match upgrade.await {
            Ok(stream) => {
                let limits = Limits::default().max_payload_len(Some(max_bytes));
                serve(ServerBuilder::new().limits(limits).serve(TokioIo::new(stream))).await;
            }
            Err(error) => tracing::debug!(%error, "client disconnected before the WebSocket was open"),
        }
    });
    Ok(response)
}

/// Checks the handshake, and returns the future connection.
pub(super) fn accept(request: &mut Request) -> Result<(OnUpgrade, Response), Problem> {
    let key = accept_key(request.headers())?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    Ok((hyper::upgrade::on(request), response))
}

fn accept_key(headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    let told = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let has = |name: HeaderName, word: &str| {
        told(name).is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    let is_socket = has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade")
        && told(header::SEC_WEBSOCKET_VERSION) == Some("13");
    let Some(key) = told(header::SEC_WEBSOCKET_KEY).filter(|_| is_socket) else {
        return Err(Problem::new(
            ErrorCode::InvalidBody,
            "This route requires a WebSocket handshake, version 13",
        ));
    };
    let digest = sha1_smol::Sha1::from(format!("{key}{GUID}")).digest().bytes();
    HeaderValue::from_str(&BASE64_STANDARD.encode(digest))
        .map_err(|_| Problem::new(ErrorCode::Internal, "Failed to create the `Sec-WebSocket-Accept` header"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_answered_as_in_the_standard() {
        let mut headers = HeaderMap::new();
        assert!(accept_key(&headers).is_err());
        for (name, value) in [
            ("upgrade", "websocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        assert_eq!(accept_key(&headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn keys_are_answered_as_the_standard_has_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        // The example of RFC 6455, section 1.3.
        assert_eq!(accept_key(&headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        headers.remove("upgrade");
        assert!(accept_key(&headers).is_err());
    }
}
