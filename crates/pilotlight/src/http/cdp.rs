//! The way in for clients of the Chrome DevTools Protocol: what they ask for before they connect, and the
//! WebSocket itself.

use std::fmt::Debug;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use pilotlight_api::{ErrorBody, ErrorCode};
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::App;
use super::problem::{Id, Problem};
use super::websocket::accept;
use crate::gateway::{FileError, Peer, Terms, Visit, serve};

/// What `/json/version` says of the browser, by the names that Chromium has for it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct VersionAnswer {
    #[serde(rename = "Browser")]
    browser: String,
    #[serde(rename = "Protocol-Version")]
    protocol_version: String,
    #[serde(rename = "User-Agent")]
    user_agent: String,
    #[serde(rename = "V8-Version")]
    v8_version: String,
    #[serde(rename = "WebKit-Version")]
    webkit_version: String,
    #[serde(rename = "webSocketDebuggerUrl")]
    websocket_debugger_url: String,
}

/// What browser the session has, and where to connect. Wakes the window.
#[utoipa::path(get, path = "/sessions/{id}/json/version", tag = "clients", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "As Chromium's own", body = VersionAnswer),
    (status = "4XX", description = "The session is not there", body = ErrorBody),
    (status = "5XX", description = "It does not stand", body = ErrorBody)))]
pub(super) async fn version(
    State(app): State<App>,
    Id(id): Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<VersionAnswer>, Problem> {
    version_of(&app, id, socket_url(id, &uri, &headers)).await
}

pub(super) async fn version_of(app: &App, id: Uuid, socket: String) -> Result<Json<VersionAnswer>, Problem> {
    let using = app.keeper.window(id).await?;
    let version = using.window.browser_version().await?;
    Ok(Json(VersionAnswer {
        browser: version.product,
        protocol_version: version.protocol_version,
        user_agent: version.user_agent,
        v8_version: version.js_version,
        webkit_version: format!("537.36 ({})", version.revision),
        websocket_debugger_url: socket,
    }))
}

/// The session's pages, the main one first. Wakes the window.
#[utoipa::path(get, path = "/sessions/{id}/json/list", tag = "clients", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "As Chromium's own", body = Vec<Object>),
    (status = "4XX", description = "The session is not there", body = ErrorBody),
    (status = "5XX", description = "It does not stand", body = ErrorBody)))]
pub(super) async fn list(
    State(app): State<App>,
    Id(id): Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<Vec<Value>>, Problem> {
    pages_of(&app, id, socket_url(id, &uri, &headers)).await
}

pub(super) async fn pages_of(app: &App, id: Uuid, socket: String) -> Result<Json<Vec<Value>>, Problem> {
    let using = app.keeper.window(id).await?;
    let page = |page: pilotlight_chromium::PageInfo| {
        json!({
            "id": page.target_id, "type": "page", "title": page.title, "url": page.url, "description": "",
            "webSocketDebuggerUrl": socket,
        })
    };
    Ok(Json(using.window.pages().into_iter().map(page).collect()))
}

/// The host that a client asked.
pub(super) fn host(headers: &HeaderMap) -> &str {
    headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1")
}

/// Where the client connects: the host that it asked, and the token where it gave it in the URL.
fn socket_url(id: Uuid, uri: &Uri, headers: &HeaderMap) -> String {
    let host = host(headers);
    let query = uri.query().unwrap_or_default();
    let mut given = url::form_urlencoded::parse(query.as_bytes());
    let token = given.find(|(name, _)| name == "token").map(|(_, token)| token.into_owned());
    let query = token.map(|token| {
        let pair = url::form_urlencoded::Serializer::new(String::new()).append_pair("token", &token).finish();
        format!("?{pair}")
    });
    format!("ws://{host}/sessions/{id}/devtools/browser{}", query.unwrap_or_default())
}

/// The WebSocket: the session seen as a whole browser.
#[utoipa::path(get, path = "/sessions/{id}/devtools/browser", tag = "clients", params(("id" = Uuid, Path)), responses(
    (status = 101, description = "The Chrome DevTools Protocol from here on"),
    (status = "4XX", description = "409 while somebody holds the session alone", body = ErrorBody),
    (status = "5XX", description = "It does not stand", body = ErrorBody)))]
pub(super) async fn socket(
    State(app): State<App>,
    Id(id): Id,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, Problem> {
    let terms = Terms { is_own_user: peer.is_own_user(), ..Terms::default() };
    let_in(&app, id, terms, (), request).await
}

/// Lets a client in to a session's window. What it `keeps` goes with it.
pub(super) async fn let_in(
    app: &App,
    id: Uuid,
    terms: Terms,
    keeps: impl Debug + Send + Sync + 'static,
    mut request: Request,
) -> Result<Response, Problem> {
    let (upgrade, response) = accept(&mut request)?;
    let files = app.gateway.files(id);
    let visit = Visit::begin(&app.keeper, id, "a client of the DevTools protocol").await?.keeping(keeps);
    let files = files?;
    let guest = visit.using.window.let_in().await?;
    let stop = app.gateway.stop.clone();
    tokio::spawn(async move {
        match upgrade.await {
            Ok(stream) => serve(TokioIo::new(stream), visit, guest, files, terms, stop).await,
            Err(error) => tracing::debug!(%error, "a client left before it was let in"),
        }
    });
    Ok(response)
}

impl From<FileError> for Problem {
    fn from(error: FileError) -> Self {
        let code = match error {
            FileError::Missing | FileError::Foreign => ErrorCode::RouteNotFound,
            FileError::Unfit => ErrorCode::InvalidField,
            FileError::System { .. } => ErrorCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}

/// What clients downloaded in the session.
#[utoipa::path(get, path = "/sessions/{id}/files", tag = "clients", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "Names and sizes", body = Object),
    (status = "4XX", description = "The session is not there", body = ErrorBody)))]
pub(super) async fn files(State(app): State<App>, Id(id): Id) -> Result<Json<Value>, Problem> {
    app.living(id)?;
    let files = app.gateway.files(id)?.list()?;
    let file = |file: &crate::gateway::Downloaded| json!({ "name": file.name, "size": file.bytes });
    Ok(Json(json!({ "success": true, "files": files.iter().map(file).collect::<Vec<_>>() })))
}

/// One of them.
#[utoipa::path(get, path = "/sessions/{id}/files/{name}", tag = "clients",
    params(("id" = Uuid, Path), ("name" = String, Path)), responses(
    (status = 200, description = "Its contents", content((Vec<u8> = "application/octet-stream"))),
    (status = "4XX", description = "It is not there", body = ErrorBody)))]
pub(super) async fn file(
    State(app): State<App>,
    Path((id, name)): Path<(Uuid, String)>,
) -> Result<impl IntoResponse, Problem> {
    app.living(id)?;
    let file = app.gateway.files(id)?.read(&name)?;
    let body = HttpBody::from_stream(ReaderStream::new(tokio::fs::File::from_std(file)));
    let disposition = HeaderValue::from_static("attachment");
    Ok((
        [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
            (header::CONTENT_DISPOSITION, disposition),
        ],
        body,
    ))
}
