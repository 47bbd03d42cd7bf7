//! WebDriver over HTTP: at the root and at `/wd/hub`, for Selenium and its like; and the browsers that chromedriver
//! finds behind it, which only it can reach.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use hyper_util::rt::TokioIo;
use pilotlight_api::CreateSession;
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use uuid::Uuid;

use super::App;
use super::cdp::{VersionAnswer, host, let_in, pages_of, version_of};
use super::problem::Problem;
use super::websocket::accept;
use crate::gateway::{Peer, Terms, Visit};
use crate::sentence::with_sources;
use crate::webdriver::{DriverSession, Link, OPTIONS, Refused, WantedWindow, WebDriverError, read, unpack};

/// The largest body of a command: files are sent in them.
const MAX_COMMAND_BYTES: usize = 100 * 1024 * 1024;
/// Where many clients expect it beside the root.
const HUB: &str = "/wd/hub";
/// How often sessions that nobody uses are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Whether a path is a client's of WebDriver, who expects its errors.
pub(super) fn is_webdriver(path: &str) -> bool {
    let path = path.strip_prefix(HUB).unwrap_or(path);
    path == "/status" || path == "/session" || path.starts_with("/session/")
}

/// The routes, at the root and at the hub.
pub(super) fn routes() -> Router<App> {
    let commands = || {
        Router::new()
            .route("/status", get(status).fallback(unknown_method))
            .route("/session", post(begin).fallback(unknown_method))
            .route("/session/{id}", get(of_session).delete(end).fallback(command))
            .route("/session/{id}/se/cdp", get(cdp))
            .route("/session/{id}/se/file", post(receive))
            .route("/session/{id}/{*command}", any(command))
    };
    commands().nest(HUB, commands().fallback(unknown_command))
}

async fn unknown_method() -> WebDriverError {
    WebDriverError::UnknownMethod
}

async fn unknown_command() -> WebDriverError {
    WebDriverError::UnknownCommand
}

/// Whether sessions can begin.
async fn status(State(app): State<App>) -> Json<Value> {
    let (ready, message) = match super::system::ready(State(app)).await {
        Ok(_) => (true, "Pilotlight is ready".to_owned()),
        Err(problem) => (false, problem.in_words()),
    };
    let build = json!({ "version": env!("CARGO_PKG_VERSION") });
    Json(
        json!({ "value": { "ready": ready, "message": message, "build": build, "os": { "name": "linux" } } }),
    )
}

/// Begins a session in a window that is there, is woken, or is made.
async fn begin(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, WebDriverError> {
    let wanted = read(&whole(body).await?)?;
    if !wanted.ignored.is_empty() {
        tracing::warn!(ignored = ?wanted.ignored, "a window that is kept has its own of what a client asked for");
    }
    let host = host(&headers).to_owned();
    // It begins even if whoever asked for it has gone, and ends as one that nobody uses.
    let beginning = tokio::spawn(async move {
        let is_passing = wanted.is_passing;
        let id = match &wanted.window {
            WantedWindow::Of(id) => app.living(*id).map(|_| *id).map_err(Problem::not_created)?,
            WantedWindow::Like(like) => make(&app, like).await?,
        };
        // Awake and held until chromedriver holds it.
        let visit = Visit::begin(&app.keeper, id, "a client of WebDriver")
            .await
            .map_err(|refused| Problem::from(refused).not_created());
        let begun = match &visit {
            Ok(_) => app.webdriver.begin(id, wanted, peer.is_own_user(), browsers(app.clone())).await,
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
    beginning.await.unwrap_or_else(|_| Err(WebDriverError::Unknown("the request was ended".into())))
}

async fn make(app: &App, like: &CreateSession) -> Result<Uuid, WebDriverError> {
    let planned = app.planner.plan(like.clone(), app.keeper.clock().now());
    let (spec, details) = planned.map_err(|error| Problem::from(error).not_created())?;
    let made = app.keeper.create(spec, details).await;
    Ok(made.map_err(|refused| Problem::from(refused).not_created())?.0.session_id)
}

/// What the session is, with the ways to it that are ours.
fn answer(session: &DriverSession, mut capabilities: Value, host: &str) -> Response {
    let DriverSession { id, ticket, window_of, .. } = session;
    if let Some(capabilities) = capabilities.as_object_mut() {
        // Where chromedriver finds its browser helps nobody else.
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
    tracing::info!(session_id = %window_of, webdriver_id = %id, "a WebDriver session begins");
    Json(json!({ "value": { "sessionId": id, "capabilities": capabilities } })).into_response()
}

fn passed_on((status, body): Refused) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(body)).into_response()
}

/// Leaves the window as it stands, unless it was made for this session alone.
async fn end(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Value>, WebDriverError> {
    if leave(&app, &id).await {
        Ok(Json(json!({ "value": null })))
    } else {
        Err(WebDriverError::InvalidSessionId)
    }
}

/// Whether there was one to leave.
async fn leave(app: &App, id: &str) -> bool {
    let Some(session) = app.webdriver.end(id).await else { return false };
    let (window_of, is_passing) = (session.window_of, session.is_passing);
    if is_passing {
        // It may have ended by itself.
        drop(app.keeper.close(window_of).await);
    }
    tracing::info!(session_id = %window_of, webdriver_id = id, is_passing, "a WebDriver session ends");
    true
}

/// Ends sessions that nobody uses, until the server stops.
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
    let late = |_| WebDriverError::Timeout("the body did not arrive in time".into());
    let reading = tokio::time::timeout(super::BODY_TIMEOUT, to_bytes(body, MAX_COMMAND_BYTES));
    let too_large =
        |error: axum::Error| WebDriverError::InvalidArgument(format!("the body cannot be read: {error}"));
    reading.await.map_err(late)?.map_err(too_large)
}

fn session(app: &App, id: &str) -> Result<Arc<DriverSession>, WebDriverError> {
    app.webdriver.session(id).ok_or(WebDriverError::InvalidSessionId)
}

/// Chromedriver's session; where it had to be begun again, what refused that is told as it is.
async fn link(app: &App, session: &DriverSession) -> Result<Link, Response> {
    app.webdriver.link(session, browsers(app.clone())).await.map_err(passed_on)
}

/// Carries a command out.
async fn command(
    State(app): State<App>,
    Path(path): Path<HashMap<String, String>>,
    request: Request,
) -> Result<Response, WebDriverError> {
    let id = path.get("id").cloned().unwrap_or_default();
    let session = session(&app, &id)?;
    let _busy = session.busy();
    let method = request.method().clone();
    // As it was written: names in it are chromedriver's to read.
    let full = request.uri().path().to_owned();
    let rest = full.find(&id).and_then(|at| full.get(at + id.len()..)).unwrap_or_default();
    let body = whole(request.into_body()).await?;
    let mut link = match link(&app, &session).await {
        Ok(link) => link,
        Err(refused) => return Ok(refused),
    };
    let mut answered = send(&link, &method, rest, body.clone()).await;
    if answered.as_ref().is_err_and(reqwest::Error::is_connect) {
        // Nobody listened, so nothing was done.
        link.give_up();
        link = match self::link(&app, &session).await {
            Ok(link) => link,
            Err(refused) => return Ok(refused),
        };
        answered = send(&link, &method, rest, body).await;
    }
    let lost = |error: reqwest::Error| {
        let error = with_sources(&error);
        WebDriverError::Unknown(format!(
            "chromedriver was lost in the middle of the command; the next one finds it again: {error}"
        ))
    };
    let answer = answered.map_err(lost)?;
    let status = answer.status();
    let told = answer.bytes().await.map_err(lost)?;
    if status == StatusCode::NOT_FOUND && error_of(&told).as_deref() == Some("invalid session id") {
        app.webdriver.unlink(&session).await;
        let sentence =
            "the window was lost while chromedriver had it; the next command finds it as it stands then";
        return Err(WebDriverError::Unknown(sentence.into()));
    }
    // With its last tab a session is over, by the standard.
    if method == Method::DELETE && rest == "/window" && status.is_success() && is_empty_list(&told) {
        leave(&app, &id).await;
    }
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    Ok((status, [(header::CONTENT_TYPE, json)], told).into_response())
}

async fn send(
    link: &Link,
    method: &Method,
    rest: &str,
    body: Bytes,
) -> Result<reqwest::Response, reqwest::Error> {
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    let request = link.client().request(method.clone(), link.url(rest)).header(header::CONTENT_TYPE, json);
    request.body(body).send().await
}

fn error_of(told: &[u8]) -> Option<String> {
    let told: Value = serde_json::from_slice(told).ok()?;
    Some(told["value"]["error"].as_str()?.to_owned())
}

fn is_empty_list(told: &[u8]) -> bool {
    serde_json::from_slice::<Value>(told).is_ok_and(|told| told["value"] == json!([]))
}

/// With an upgrade it is the session's WebSocket (BiDi), which is chromedriver's; otherwise there is no such command.
async fn of_session(State(app): State<App>, Path(id): Path<String>, mut request: Request) -> Response {
    if !request.headers().contains_key(header::UPGRADE) {
        return WebDriverError::UnknownMethod.into_response();
    }
    let session = match session(&app, &id) {
        Ok(session) => session,
        Err(error) => return error.into_response(),
    };
    let link = match link(&app, &session).await {
        Ok(link) => link,
        Err(refused) => return refused,
    };
    let mut asking = link.client().get(link.url(""));
    for (name, value) in request.headers() {
        if name == header::CONNECTION
            || name == header::UPGRADE
            || name.as_str().starts_with("sec-websocket-")
        {
            asking = asking.header(name, value);
        }
    }
    let answer = match asking.send().await {
        Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => answer,
        Ok(answer) => return passed_on((answer.status().as_u16(), answer.json().await.unwrap_or_default())),
        Err(error) => return WebDriverError::Unknown(with_sources(&error)).into_response(),
    };
    let (upgrade, response) = match accept(&mut request) {
        Ok(accepted) => accepted,
        Err(problem) => return problem.into_webdriver(),
    };
    let stop = app.gateway.stop.clone();
    tokio::spawn(async move {
        let _busy = session.busy();
        if let (Ok(client), Ok(mut driver)) = (upgrade.await, answer.upgrade().await) {
            // The same key was answered on both sides: from here on what is said is said as it is.
            drop(stop.run_until_cancelled(copy_bidirectional(&mut TokioIo::new(client), &mut driver)).await);
        }
    });
    response
}

/// The DevTools protocol beside it, for clients that want more than WebDriver.
async fn cdp(
    State(app): State<App>,
    Path(id): Path<String>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, Response> {
    let session = session(&app, &id).map_err(IntoResponse::into_response)?;
    let terms = Terms { is_own_user: peer.is_own_user(), downloads: true, keeps_page: false };
    let let_in = let_in(&app, session.window_of, terms, session.busy(), request).await;
    let_in.map_err(Problem::into_webdriver)
}

/// Takes a file that a client is going to type into a file input, as Selenium's servers do.
async fn receive(
    State(app): State<App>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>, WebDriverError> {
    let session = session(&app, &id)?;
    let _busy = session.busy();
    let body: Value = serde_json::from_slice(&whole(body).await?)
        .map_err(|error| WebDriverError::InvalidArgument(error.to_string()))?;
    let files = app.gateway.files(session.window_of);
    let received = tokio::task::spawn_blocking(move || {
        let (name, contents) = unpack(body["file"].as_str().unwrap_or_default())?;
        files.and_then(|files| files.receive(&name, &contents)).map_err(|error| error.to_string())
    });
    let path = received.await.unwrap_or_else(|error| Err(error.to_string()));
    Ok(Json(json!({ "value": path.map_err(WebDriverError::InvalidArgument)? })))
}

/// What chromedriver finds: each session's window, at the address of that session.
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
    // For BiDi, chromedriver begins with an empty page.
    let (is_own_user, keeps_page) = (session.is_own_user, session.speaks_bidi());
    let terms = Terms { is_own_user, downloads: true, keeps_page };
    let_in(&app, session.window_of, terms, session.connected(), request).await
}
