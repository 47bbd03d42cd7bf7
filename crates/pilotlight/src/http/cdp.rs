//! The way in for clients of the Chrome DevTools Protocol: what they ask for before they connect, and the
//! WebSocket itself.

use std::ffi::OsString;
use std::fmt::Debug;
use std::io::{ErrorKind, Write};

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use hyper_util::rt::TokioIo;
use pilotlight_api::{ErrorBody, ErrorCode, Isolation};
use pilotlight_gateway::policy::exists;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;
use uuid::Uuid;

use super::problem::{Id, Problem};
use super::streamed::streamed;
use super::websocket::accept;
use super::{App, BODY_TIMEOUT};
use crate::gateway::{FileError, Locality, Peer, SentFile, Terms, Visit, serve};
use crate::sentence::capitalised;

/// The largest file that is taken from a client, in bytes.
const MAX_SENT_BYTES: usize = 1024 * 1024 * 1024;
/// Most chunks of an upload that may wait to be written.
const MAX_PARTS: usize = 4;

/// The response of `/json/version`, with Chromium's field names.
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

/// Returns the browser's version and the URL to connect to. Wakes the session.
#[utoipa::path(get, path = "/sessions/{id}/json/version", tag = "clients", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The same format as Chromium's own", body = VersionAnswer),
    (status = "4XX", description = "The session does not exist", body = ErrorBody),
    (status = "5XX", description = "The window could not be opened", body = ErrorBody)))]
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

/// Lists the session's pages, the main page first. Wakes the session.
#[utoipa::path(get, path = "/sessions/{id}/json/list", tag = "clients", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The same format as Chromium's own", body = Vec<Object>),
    (status = "4XX", description = "The session does not exist", body = ErrorBody),
    (status = "5XX", description = "The window could not be opened", body = ErrorBody)))]
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
    let exists = |page: &pilotlight_chromium::PageInfo| exists("page", &page.url);
    let page = |page: pilotlight_chromium::PageInfo| {
        json!({
            "id": page.target_id, "type": "page", "title": page.title, "url": page.url, "description": "",
            "webSocketDebuggerUrl": socket,
        })
    };
    Ok(Json(using.window.pages().into_iter().filter(exists).map(page).collect()))
}

/// Returns the host of the request.
pub(super) fn host(headers: &HeaderMap) -> &str {
    headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1")
}

/// Returns the URL to connect to: with the request's host, and with the token if the request's URL has it.
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

/// Opens the DevTools WebSocket, which presents the session as a whole browser.
#[utoipa::path(get, path = "/sessions/{id}/devtools/browser", tag = "clients", params(("id" = Uuid, Path)), responses(
    (status = 101, description = "A WebSocket that speaks the Chrome DevTools Protocol"),
    (status = "4XX", description = "409 if another client holds the session exclusively", body = ErrorBody),
    (status = "5XX", description = "The window could not be opened", body = ErrorBody)))]
pub(super) async fn socket(
    State(app): State<App>,
    Id(id): Id,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, Problem> {
    let locality = Locality::Own(peer.is_local(request.headers()));
    let terms = Terms { locality, ..Terms::default() };
    connect_client(&app, id, terms, (), request).await
}

/// Attaches a client to a session's window. `keeps` is dropped when the client disconnects.
pub(super) async fn connect_client(
    app: &App,
    id: Uuid,
    mut terms: Terms,
    keeps: impl Debug + Send + Sync + 'static,
    mut request: Request,
) -> Result<Response, Problem> {
    let (upgrade, response) = accept(&mut request)?;
    terms.has_clipboard = app.has_own_clipboard(id)?;
    terms.idle_after = app.gateway.client_idle_after;
    let visit = Visit::begin(&app.keeper, id, "a client of the DevTools protocol").await?.keeping(keeps);
    let window = visit.window().cloned().ok_or_else(ErrorBody::session_not_found)?;
    let (gateway, files_window) = (app.gateway.clone(), window.clone());
    let files = tokio::task::spawn_blocking(move || gateway.files_of_window(id, &files_window)).await;
    let files = files.map_err(|error| Problem::new(ErrorCode::Internal, error.to_string()))??;
    let connection = window.connect_client().await?;
    let stop = app.gateway.stop.clone();
    tokio::spawn(async move {
        match upgrade.await {
            Ok(stream) => serve(TokioIo::new(stream), visit, connection, files, terms, stop).await,
            Err(error) => tracing::debug!(%error, "client disconnected before the WebSocket was open"),
        }
    });
    Ok(response)
}

impl App {
    /// Whether the browser's clipboard is this session's alone: Chromium has one for each process, and on a display there
    /// is one for all programs.
    fn has_own_clipboard(&self, id: Uuid) -> Result<bool, Problem> {
        let session = self.living(id)?.now();
        let is_dedicated = session.isolation == Isolation::Dedicated;
        Ok(is_dedicated && !self.planner.launcher.shows_windows(&session.profile))
    }
}

impl From<FileError> for Problem {
    fn from(error: FileError) -> Self {
        let code = match &error {
            FileError::Missing | FileError::Foreign => ErrorCode::RouteNotFound,
            FileError::Unfit => ErrorCode::InvalidField,
            FileError::Full | FileError::TooMuch => {
                let body = ErrorBody::new(ErrorCode::PayloadTooLarge, capitalised(&error.to_string()));
                let hint = "Sent files are deleted with their session: use another session, or send less.";
                return Self::from(body.with_hint(hint));
            }
            FileError::System { source, .. } if source.kind() == ErrorKind::StorageFull => {
                ErrorCode::StorageFull
            }
            FileError::System { .. } => ErrorCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}

/// Lists the files that were downloaded in the session.
#[utoipa::path(get, path = "/sessions/{id}/files", tag = "clients", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "Names and sizes of the files", body = Object),
    (status = "4XX", description = "The session does not exist", body = ErrorBody)))]
pub(super) async fn files(State(app): State<App>, Id(id): Id) -> Result<Json<Value>, Problem> {
    app.living(id)?;
    let files = app.gateway.files(id)?;
    let files = tokio::task::spawn_blocking(move || files.list()).await.unwrap_or_default();
    let file = |file: &crate::gateway::Downloaded| json!({ "name": file.name, "size": file.bytes });
    Ok(Json(json!({ "success": true, "files": files.iter().map(file).collect::<Vec<_>>() })))
}

/// Stores a file for a later upload in the session. The client refers to the file by the returned `path`.
#[utoipa::path(put, path = "/sessions/{id}/files/{name}", tag = "clients",
    params(("id" = Uuid, Path), ("name" = String, Path)),
    request_body(content((Vec<u8> = "application/octet-stream"))), responses(
    (status = 201, description = "The file's name and path", body = Object),
    (status = "4XX", description = "The name is missing, or the file is too large", body = ErrorBody),
    (status = "5XX", description = "The file could not be written", body = ErrorBody)))]
pub(super) async fn send_file(
    State(app): State<App>,
    Path((id, name)): Path<(Uuid, String)>,
    body: HttpBody,
) -> Result<(StatusCode, Json<Value>), Problem> {
    app.living(id)?;
    let (files, own) = (app.gateway.files(id)?, OsString::from(&name));
    let ended = |error: tokio::task::JoinError| Problem::new(ErrorCode::Internal, error.to_string());
    let begun = tokio::task::spawn_blocking(move || files.begin(&own)).await;
    let path = receive(begun.map_err(ended)??, body).await?;
    Ok((StatusCode::CREATED, Json(json!({ "success": true, "name": name, "path": path }))))
}

/// Writes a body to a file as it arrives. If it is incomplete, for example because the client disconnected, the file
/// is deleted.
async fn receive(mut file: SentFile, body: HttpBody) -> Result<String, Problem> {
    let (parts, mut coming) = mpsc::channel::<Option<Bytes>>(MAX_PARTS);
    let writing = tokio::task::spawn_blocking(move || {
        while let Some(part) = coming.blocking_recv() {
            let Some(part) = part else { return file.finish(Ok(())).map(Some) };
            if let Err(error) = file.write_all(&part) {
                return file.finish(Err(error)).map(Some);
            }
        }
        Ok(None)
    });
    let sent = send(body, parts).await;
    let written = writing.await.map_err(|error| Problem::new(ErrorCode::Internal, error.to_string()))?;
    sent?;
    written?.ok_or_else(not_sent)
}

/// Passes a body on to its writer, and reports its end.
async fn send(body: HttpBody, parts: mpsc::Sender<Option<Bytes>>) -> Result<(), Problem> {
    let (mut body, mut bytes) = (body.into_data_stream(), 0);
    loop {
        let next = timeout(BODY_TIMEOUT, body.next()).await;
        let part = next.map_err(|_| not_sent())?.transpose().map_err(|_| not_sent())?;
        bytes += part.as_ref().map_or(0, Bytes::len);
        if bytes > MAX_SENT_BYTES {
            let message = format!("The file is larger than {} MiB", MAX_SENT_BYTES >> 20);
            return Err(Problem::new(ErrorCode::PayloadTooLarge, message));
        }
        let is_end = part.is_none();
        // The writer reports write errors.
        if parts.send(part).await.is_err() || is_end {
            return Ok(());
        }
    }
}

fn not_sent() -> Problem {
    Problem::new(ErrorCode::InvalidBody, "The file was not received completely")
}

/// Returns a downloaded file.
#[utoipa::path(get, path = "/sessions/{id}/files/{name}", tag = "clients",
    params(("id" = Uuid, Path), ("name" = String, Path)), responses(
    (status = 200, description = "Its contents", content((Vec<u8> = "application/octet-stream"))),
    (status = "4XX", description = "The file does not exist", body = ErrorBody)))]
pub(super) async fn file(
    State(app): State<App>,
    Path((id, name)): Path<(Uuid, String)>,
) -> Result<impl IntoResponse, Problem> {
    app.living(id)?;
    let files = app.gateway.files(id)?;
    let read = tokio::task::spawn_blocking(move || files.read(&name)).await;
    let mut file = read.map_err(|_| Problem::new(ErrorCode::Internal, "The request was aborted"))??;
    let body = streamed(move |to| std::io::copy(&mut file, to).map(drop));
    let disposition = HeaderValue::from_static("attachment");
    Ok((
        [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
            (header::CONTENT_DISPOSITION, disposition),
        ],
        body,
    ))
}
