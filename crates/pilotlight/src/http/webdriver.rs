//! WebDriver over HTTP, at the root and at `/wd/hub`, for Selenium and similar clients; and the browsers that
//! chromedriver connects to, which only chromedriver can reach.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use hyper_util::rt::TokioIo;
use pilotlight_api::CreateSession;
use serde_json::{Value, json};
use tokio_websockets::ServerBuilder;
use uuid::Uuid;

use super::App;
use super::cdp::{VersionAnswer, connect_client, host, pages_of, version_of};
use super::problem::Problem;
use super::websocket::accept;
use crate::gateway::{Locality, Peer, Terms, Visit};
use crate::sentence::with_sources;
use crate::webdriver::{
    AskError, Command, DriverSession, Ending, Link, Misdirected, OPTIONS, OfSession, Refused, Route,
    WantedWindow, WebDriverError, client_side, converse, read, unpack,
};

/// Maximum size of a command's body, which may contain files.
const MAX_COMMAND_BYTES: usize = 100 * 1024 * 1024;
/// Interval of checks for unused sessions.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The request as the guard has parsed it: access was decided by this, so the same value is answered.
#[derive(Debug, Clone)]
pub(super) struct Requested(pub(super) Result<Route, Misdirected>);

/// Handles all WebDriver requests. The router decides only that a request is one.
pub(super) fn routes() -> Router<App> {
    let paths =
        ["/status", "/session", "/session/", "/session/{*rest}", "/wd/hub", "/wd/hub/", "/wd/hub/{*rest}"];
    paths.into_iter().fold(Router::new(), |router, path| router.route(path, any(respond)))
}

/// Answers a request.
async fn respond(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    requested: Option<Extension<Requested>>,
    request: Request,
) -> Response {
    let Some(Extension(Requested(route))) = requested else {
        return WebDriverError::UnknownCommand.into_response();
    };
    let (id, of) = match route {
        Ok(Route::Status) => return status(app).await.into_response(),
        Ok(Route::Begin) => return begin(app, peer, request).await.into_response(),
        Ok(Route::Session(id, of)) => (id, of),
        Err(misdirected) => return WebDriverError::from(misdirected).into_response(),
    };
    let Some(session) = app.webdriver.session(&id) else {
        return WebDriverError::InvalidSessionId.into_response();
    };
    match of {
        OfSession::Socket => {
            socket(app, session, peer, request).await.unwrap_or_else(IntoResponse::into_response)
        }
        OfSession::DevTools => {
            devtools(app, session, peer, request).await.unwrap_or_else(Problem::into_webdriver)
        }
        OfSession::End => end(app, &id).await.into_response(),
        OfSession::Upload => receive(app, session, request).await.into_response(),
        OfSession::Command(command) => carry_out(app, session, command, peer, request).await.into_response(),
    }
}

/// Returns whether sessions can be created.
async fn status(app: App) -> Json<Value> {
    let (ready, message) = match super::system::ready(State(app)).await {
        Ok(_) => (true, "Pilotlight is ready".to_owned()),
        Err(problem) => (false, problem.in_words()),
    };
    let build = json!({ "version": env!("CARGO_PKG_VERSION") });
    Json(
        json!({ "value": { "ready": ready, "message": message, "build": build, "os": { "name": "linux" } } }),
    )
}

/// Creates a session in a window that exists, is woken, or is opened.
async fn begin(app: App, peer: Peer, request: Request) -> Result<Response, WebDriverError> {
    let host = host(request.headers()).to_owned();
    let is_local = peer.is_local(request.headers());
    let asked_at = app.webdriver.revocations();
    let wanted = read(&whole(request.into_body()).await?)?;
    if !wanted.ignored.is_empty() {
        tracing::warn!(ignored = ?wanted.ignored, "ignoring capabilities that an existing window cannot change");
    }
    // Continues even if the client has disconnected; the session then expires without use.
    let beginning = tokio::spawn(async move {
        let is_passing = wanted.is_passing;
        let id = match &wanted.window {
            WantedWindow::Of(id) => app.living(*id).map(|_| *id).map_err(Problem::not_created)?,
            WantedWindow::Like(like) => make(&app, like).await?,
        };
        // Awake and held until chromedriver holds it.
        let visit = Visit::begin(&app.keeper, id, "WebDriver client")
            .await
            .map_err(|refused| Problem::from(refused).not_created());
        let begun = match &visit {
            Ok(_held) => app.webdriver.begin(id, wanted, is_local, asked_at, browsers(app.clone())).await,
            Err(_) => Err((500, Value::Null)),
        };
        match begun {
            Ok((session, capabilities)) => Ok(answer(&session, capabilities, &host)),
            Err(refused) => {
                if is_passing {
                    drop(app.keeper.close(id).await);
                }
                visit?;
                Ok(passed_on(refused))
            }
        }
    });
    beginning.await.unwrap_or_else(|_| Err(WebDriverError::Unknown("the request was aborted".into())))
}

async fn make(app: &App, like: &CreateSession) -> Result<Uuid, WebDriverError> {
    let planned = app.planner.plan(like.clone(), app.keeper.clock().now());
    let (spec, details) = planned.map_err(|error| Problem::from(error).not_created())?;
    let made = app.keeper.create(spec, details).await;
    Ok(made.map_err(|refused| Problem::from(refused).not_created())?.0.session_id)
}

/// Returns the session's capabilities, with our own addresses.
fn answer(session: &DriverSession, mut capabilities: Value, host: &str) -> Response {
    let DriverSession { id, ticket, window_of, .. } = session;
    if let Some(capabilities) = capabilities.as_object_mut() {
        // The address that chromedriver uses is useless for clients.
        capabilities.remove("goog:chromeOptions");
        if capabilities.contains_key("webSocketUrl") {
            capabilities
                .insert("webSocketUrl".into(), json!(format!("ws://{host}/session/{id}?token={ticket}")));
        }
        let cdp = format!("ws://{host}/session/{id}/se/cdp?token={ticket}");
        let version = capabilities.get("browserVersion").cloned().unwrap_or_default();
        capabilities.insert("se:cdp".into(), json!(cdp));
        capabilities.insert("se:cdpVersion".into(), version);
        capabilities.insert(OPTIONS.into(), json!({ "session_id": window_of }));
    }
    tracing::info!(session_id = %window_of, webdriver_id = %id, "WebDriver session started");
    Json(json!({ "value": { "sessionId": id, "capabilities": capabilities } })).into_response()
}

fn passed_on((status, body): Refused) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(body)).into_response()
}

/// Ends the session and leaves its window, unless it was created for this session.
async fn end(app: App, id: &str) -> Result<Json<Value>, WebDriverError> {
    if leave(&app, id).await {
        Ok(Json(json!({ "value": null })))
    } else {
        Err(WebDriverError::InvalidSessionId)
    }
}

/// Returns whether there was a session to end.
async fn leave(app: &App, id: &str) -> bool {
    let Some(session) = app.webdriver.end(id).await else { return false };
    let (window_of, is_passing) = (session.window_of, session.is_passing);
    if is_passing {
        // It may have ended by itself.
        drop(app.keeper.close(window_of).await);
    }
    tracing::info!(session_id = %window_of, webdriver_id = id, is_passing, "WebDriver session ended");
    true
}

/// Ends unused sessions until the server stops.
pub async fn look_after(app: App) {
    let stop = app.gateway.stop.clone();
    let mut turns = tokio::time::interval(LOOK_EVERY.min(app.webdriver.timeout()));
    while stop.run_until_cancelled(turns.tick()).await.is_some() {
        let keeper = &app.keeper;
        let lives = |id| keeper.published(id).is_some_and(|session| session.ended().is_none());
        for id in app.webdriver.idle(lives) {
            leave(&app, &id).await;
        }
        app.webdriver.rest().await;
    }
    app.webdriver.stop().await;
}

async fn whole(body: Body) -> Result<Bytes, WebDriverError> {
    let late = |_| WebDriverError::Timeout("the body was not received in time".into());
    let reading = tokio::time::timeout(super::BODY_TIMEOUT, to_bytes(body, MAX_COMMAND_BYTES));
    let too_large =
        |error: axum::Error| WebDriverError::InvalidArgument(format!("cannot read the body: {error}"));
    reading.await.map_err(late)?.map_err(too_large)
}

/// Returns chromedriver's session. If it cannot be created again, returns the error unchanged.
async fn link(app: &App, session: &DriverSession) -> Result<Link, Response> {
    app.webdriver.link(session, browsers(app.clone())).await.map_err(passed_on)
}

/// Executes a command.
async fn carry_out(
    app: App,
    session: Arc<DriverSession>,
    command: Command,
    peer: Peer,
    request: Request,
) -> Result<Response, WebDriverError> {
    let (busy, place) = (session.busy(), session.place()?);
    let is_local = peer.is_local(request.headers());
    let body = whole(request.into_body()).await?;
    let counted = session.requests.begin(is_local);
    // Chromedriver continues even if the client has disconnected, so the command is still executed on its behalf.
    let answering = tokio::spawn(async move {
        let _asked = (busy, place, counted);
        answer_to(app, session, command, body).await
    });
    answering.await.unwrap_or_else(|_| Err(WebDriverError::Unknown("the command was aborted".into())))
}

/// Returns chromedriver's response to a command.
async fn answer_to(
    app: App,
    session: Arc<DriverSession>,
    command: Command,
    body: Bytes,
) -> Result<Response, WebDriverError> {
    let mut link = match link(&app, &session).await {
        Ok(link) => link,
        Err(refused) => return Ok(refused),
    };
    let mut answered = link.carry_out(&command, body.clone()).await;
    if matches!(answered, Err(AskError::Unreachable(_))) {
        // The connection was refused, so the command was not executed.
        link.give_up();
        link = match self::link(&app, &session).await {
            Ok(link) => link,
            Err(refused) => return Ok(refused),
        };
        answered = link.carry_out(&command, body).await;
    }
    let answer = answered.map_err(|error| {
        let error = with_sources(&error);
        WebDriverError::Unknown(format!(
            "chromedriver was lost during the command; it is restarted for the next command: {error}"
        ))
    })?;
    let (status, told) = (answer.status, answer.body);
    if status == StatusCode::NOT_FOUND && error_of(&told).as_deref() == Some("invalid session id") {
        app.webdriver.unlink(&session).await;
        let message =
            "the window was lost during the command; the next command uses the window in its new state";
        return Err(WebDriverError::Unknown(message.into()));
    }
    // By the standard, a session ends with its last tab.
    if command.closes_tab() && status.is_success() && is_empty_list(&told) {
        leave(&app, &session.id).await;
    }
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    Ok((status, [(header::CONTENT_TYPE, json)], told).into_response())
}

fn error_of(told: &[u8]) -> Option<String> {
    let told: Value = serde_json::from_slice(told).ok()?;
    Some(told["value"]["error"].as_str()?.to_owned())
}

fn is_empty_list(told: &[u8]) -> bool {
    serde_json::from_slice::<Value>(told).is_ok_and(|told| told["value"] == json!([]))
}

/// With an upgrade, opens the session's WebSocket (BiDi); otherwise the command does not exist.
async fn socket(
    app: App,
    session: Arc<DriverSession>,
    peer: Peer,
    mut request: Request,
) -> Result<Response, WebDriverError> {
    if !request.headers().contains_key(header::UPGRADE) {
        return Err(WebDriverError::UnknownMethod);
    }
    if !session.speaks_bidi() {
        let message = "this session has no WebSocket: create it with the capability `webSocketUrl`: true";
        return Err(WebDriverError::InvalidArgument(message.into()));
    }
    let (upgrade, response) = match accept(&mut request) {
        Ok(accepted) => accepted,
        Err(problem) => return Ok(problem.into_webdriver()),
    };
    let (busy, place) = (session.busy(), session.place()?);
    let counted = session.requests.begin(peer.is_local(request.headers()));
    let link = match link(&app, &session).await {
        Ok(link) => link,
        Err(refused) => return Ok(refused),
    };
    let driver = link.socket().await.map_err(|error| WebDriverError::Unknown(with_sources(&error)))?;
    let stop = app.gateway.stop.clone();
    tokio::spawn(async move {
        let Ok(client) = upgrade.await else { return };
        let (config, limits) = client_side();
        let client = ServerBuilder::new().config(config).limits(limits).serve(TokioIo::new(client));
        let ending = stop.run_until_cancelled(converse(client, driver)).await;
        drop((busy, place, counted));
        if ending == Some(Ending::SessionEnd) {
            leave(&app, &session.id).await;
        }
    });
    Ok(response)
}

/// Opens the session's DevTools WebSocket, for clients that need more than WebDriver.
async fn devtools(
    app: App,
    session: Arc<DriverSession>,
    peer: Peer,
    request: Request,
) -> Result<Response, Problem> {
    let is_local = peer.is_local(request.headers());
    let terms = Terms { locality: Locality::Own(is_local), downloads: true, ..Terms::default() };
    connect_client(&app, session.window_of, terms, session.busy(), request).await
}

/// Stores a file that a client will type into a file input, like Selenium's servers.
async fn receive(
    app: App,
    session: Arc<DriverSession>,
    request: Request,
) -> Result<Json<Value>, WebDriverError> {
    let _busy = session.busy();
    let body: Value = serde_json::from_slice(&whole(request.into_body()).await?)
        .map_err(|error| WebDriverError::InvalidArgument(error.to_string()))?;
    let files = app.gateway.files(session.window_of);
    let received = tokio::task::spawn_blocking(move || {
        let (name, contents) = unpack(body["file"].as_str().unwrap_or_default())?;
        files.and_then(|files| files.receive(&name, &contents)).map_err(|error| error.to_string())
    });
    let path = received.await.unwrap_or_else(|error| Err(error.to_string()));
    Ok(Json(json!({ "value": path.map_err(WebDriverError::InvalidArgument)? })))
}

/// Resolves the DevTools address that chromedriver connects to, to the session's window.
fn browsers(app: App) -> Router {
    Router::new()
        .route("/json/version", get(version))
        .route("/json/version/", get(version))
        .route("/json", get(pages))
        .route("/json/list", get(pages))
        .route("/json/list/", get(pages))
        .route("/devtools/browser", get(browser))
        .route("/devtools/browser/{id}", get(browser))
        .with_state(app)
}

fn found(app: &App, headers: &HeaderMap) -> Result<(Arc<DriverSession>, String), Problem> {
    let host = host(headers);
    let session = app.webdriver.at(host).ok_or_else(pilotlight_api::ErrorBody::session_not_found)?;
    Ok((session, format!("ws://{host}/devtools/browser")))
}

async fn version(State(app): State<App>, headers: HeaderMap) -> Result<Json<VersionAnswer>, Problem> {
    let (session, socket) = found(&app, &headers)?;
    version_of(&app, session.window_of, socket).await
}

async fn pages(State(app): State<App>, headers: HeaderMap) -> Result<Json<Vec<Value>>, Problem> {
    let (session, socket) = found(&app, &headers)?;
    pages_of(&app, session.window_of, socket).await
}

async fn browser(State(app): State<App>, headers: HeaderMap, request: Request) -> Result<Response, Problem> {
    let (session, _) = found(&app, &headers)?;
    // With BiDi, chromedriver starts with an empty page.
    let (requests, keeps_page) = (Arc::clone(&session.requests), session.speaks_bidi());
    let locality = Locality::OfRequests(requests);
    let terms = Terms { locality, downloads: true, keeps_page, ..Terms::default() };
    connect_client(&app, session.window_of, terms, session.connected(), request).await
}
