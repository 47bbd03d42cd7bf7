//! Pages that send: forms, fields that send as soon as they change, and what pages do by themselves. With what
//! [`Sent`] has of them a test can say that nothing was sent that nobody asked for.
//!
//! | page | sends |
//! |---|---|
//! | `GET /sending` | each of its buttons and fields something, once it is used |
//! | `POST /sending/order` | is the order itself, shown as the answer; a `GET` is refused with 405 |
//! | `POST /sending/moved` | goes on to the order by 307, as another POST |
//! | `POST /sending/kept` | goes on to the list by 303, as a GET |
//! | `GET /sending/by_itself?method=…` | submits a form as soon as it is loaded |
//! | `GET /sending/frames` | shows the first in a frame |
//! | `GET /sending/goodbye` | a beacon when it is hidden, stopped or left |

use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::routes::{MAX_BODY_BYTES, is_document, signed_in};
use super::{Shared, pages};

/// The most requests that are remembered; what comes after them is counted as [`Sent::forgotten`].
pub const MAX_REMEMBERED: usize = 100_000;

type Portal = State<Arc<Shared>>;

/// One request that came, other than those of tests themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Received {
    /// Who was signed in; empty for nobody.
    pub user: String,
    /// `GET`, `POST` and so on.
    pub method: String,
    /// With its query.
    pub path: String,
    /// As text. That of a sign-in is left out.
    pub body: String,
}

/// Every request that came, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// The first [`MAX_REMEMBERED`] that are no GET.
    pub others: Vec<Received>,
    /// How many of them came beyond that.
    pub forgotten: u64,
    /// How many GETs there were.
    pub gets: u64,
    /// How many of them were for what became a page of its own, as a browser says.
    #[serde(default)]
    pub documents: u64,
    /// How many bytes the bodies of all answers had together, as far as their length was known.
    #[serde(default)]
    pub bytes: u64,
}

impl Sent {
    pub(super) fn note(&mut self, request: Received, is_document: bool) {
        if matches!(request.method.as_str(), "GET" | "HEAD") {
            self.gets += 1;
            self.documents += u64::from(is_document);
        } else if self.others.len() < MAX_REMEMBERED {
            self.others.push(request);
        } else {
            self.forgotten += 1;
        }
    }

    /// What was sent other than GETs, as `METHOD /path body`, in order.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let line = |one: &Received| format!("{} {} {}", one.method, one.path, one.body).trim_end().to_owned();
        self.others.iter().map(line).collect()
    }

    /// The same of one account.
    #[must_use]
    pub fn lines_of(&self, user: &str) -> Vec<String> {
        let others = self.others.iter().filter(|one| one.user == user).cloned().collect();
        Self { others, ..Self::default() }.lines()
    }
}

/// Notes every request before it is answered.
pub(super) async fn note(State(portal): Portal, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let path = parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let is_secret = parts.uri.path().starts_with("/login");
    let shown = if is_secret { String::new() } else { String::from_utf8_lossy(&body).into_owned() };
    let user = portal.user_of(&parts.headers).unwrap_or_default();
    let received = Received { user, method: parts.method.to_string(), path, body: shown };
    portal.ledger().sent.note(received, is_document(&parts.headers));
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    portal.ledger().sent.bytes += response.body().size_hint().exact().unwrap_or(0);
    response
}

pub(super) fn sending_routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/sending", get(page))
        .route("/sending/order", post(ordered))
        .route("/sending/moved", post(async || Redirect::temporary("/sending/order")))
        .route("/sending/kept", post(async || Redirect::to("/sending/list")))
        .route("/sending/list", get(list))
        .route("/sending/landed", any(landed))
        .route("/sending/act", any(StatusCode::NO_CONTENT))
        .route("/sending/by_itself", get(by_itself))
        .route("/sending/frames", get(frames))
        .route("/sending/goodbye", get(goodbye).post(StatusCode::NO_CONTENT))
}

/// What marks a page as one of somebody who is signed in.
fn mark(portal: &Shared, headers: &HeaderMap) -> String {
    signed_in(portal, headers).map_or_else(String::new, |user| pages::mark(&user))
}

async fn page(State(portal): Portal, headers: HeaderMap) -> Html<String> {
    Html(pages::sending(&mark(&portal, &headers)))
}

async fn goodbye(State(portal): Portal, headers: HeaderMap) -> Html<String> {
    Html(pages::goodbye(&mark(&portal, &headers)))
}

async fn ordered(State(portal): Portal, headers: HeaderMap, body: Bytes) -> Html<String> {
    let item = String::from_utf8_lossy(&body).into_owned();
    Html(pages::answer(&mark(&portal, &headers), "Ordered", &item))
}

async fn list(State(portal): Portal, headers: HeaderMap) -> Html<String> {
    Html(pages::answer(&mark(&portal, &headers), "List", "your orders"))
}

async fn landed(State(portal): Portal, headers: HeaderMap) -> Html<String> {
    Html(pages::answer(&mark(&portal, &headers), "Landed", "by itself"))
}

async fn frames(State(portal): Portal, headers: HeaderMap) -> Html<String> {
    let frame = "<iframe src=\"/sending\" name=\"inner\"></iframe>";
    Html(format!("<!doctype html><title>Frames</title>{}{frame}", mark(&portal, &headers)))
}

#[derive(Deserialize)]
struct ByItself {
    method: String,
}

async fn by_itself(Query(query): Query<ByItself>) -> Html<String> {
    let method = if query.method == "post" { "post" } else { "get" };
    let form = format!("<form method=\"{method}\" action=\"/sending/landed\"></form>");
    Html(format!("<!doctype html><title>By itself</title>{form}<script>document.forms[0].submit()</script>"))
}

pub(super) async fn sent(State(portal): Portal) -> Json<Sent> {
    Json(portal.ledger().sent.clone())
}
