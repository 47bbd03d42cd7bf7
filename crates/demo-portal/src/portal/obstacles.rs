//! What is in the way of a sign-in, as portals have it: something that covers the form, a question afterwards, a captcha
//! that nobody sees, fields that take nothing until they are entered, refusals with an error status.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;

use super::routes::{cookie, for_user};
use super::{Portal, Shared, pages};

/// Says that the banner was clicked away.
const CONSENT_COOKIE: &str = "portal_consent";
/// Says that the question whether to stay signed in was answered.
const STAY_COOKIE: &str = "portal_stay";
/// Like that of a captcha that appears only to some visitors.
const INVISIBLE_CAPTCHA: &str = "<div style=\"visibility: hidden; position: absolute; top: -10000px\">\
     <iframe src=\"/captcha\" title=\"captcha\"></iframe></div>";

const HANGING: &str = "<img src=\"/hanging.png\" alt=\"\">";

/// What is in the way of a sign-in; nothing by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Obstacles {
    /// How long a spinner covers the log-in page.
    pub spinner: Option<Duration>,
    /// How long after the log-in page a banner covers it, until it is clicked away. That is remembered.
    pub banner_after: Option<Duration>,
    /// Whether those who have signed in are asked whether to stay so. The answer is remembered.
    pub asks_to_stay: bool,
    /// Whether the log-in page has a captcha that nobody sees.
    pub has_invisible_captcha: bool,
    /// Whether the fields are read-only until they have the focus.
    pub is_read_only: bool,
    /// Whether the portal opens in a tab of its own.
    pub opens_tab: bool,
    /// Whether the log-in page and the dashboard have a picture that never comes.
    pub hangs: bool,
    /// The HTTP status of the page with which a password is refused; a redirect by default.
    pub refusal_status: Option<u16>,
}

pub(super) fn parts() -> Router<Arc<Shared>> {
    Router::new().route("/stay", get(ask_to_stay).post(stay)).route("/hanging.png", get(hang))
}

async fn hang() -> Response {
    std::future::pending().await
}

async fn ask_to_stay(State(portal): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    for_user(&portal, &headers, |_| pages::stay())
}

async fn stay() -> Response {
    ([(SET_COOKIE, format!("{STAY_COOKIE}=1; Path=/; Max-Age=86400"))], Redirect::to("/")).into_response()
}

/// Where those go who have signed in.
pub(super) fn next_page(portal: &Shared, headers: &HeaderMap) -> &'static str {
    let asks = portal.obstacles().asks_to_stay && cookie(headers, STAY_COOKIE).is_none();
    if asks { "/stay" } else { "/" }
}

/// The answer to a wrong password, where it is a page of its own.
pub(super) fn refusal(portal: &Shared, page: impl FnOnce() -> String) -> Option<Response> {
    let status = StatusCode::from_u16(portal.obstacles().refusal_status?).ok()?;
    Some((status, Html(page())).into_response())
}

/// The log-in page with what is in its way.
pub(super) fn obstructed(login: String, portal: &Shared, headers: &HeaderMap) -> String {
    let obstacles = portal.obstacles();
    let login = if obstacles.is_read_only {
        login.replace("<input ", "<input readonly onfocus=\"this.removeAttribute('readonly')\" ")
    } else {
        login
    };
    let login = if obstacles.opens_tab { login.replace("<form ", "<form target=\"_blank\" ") } else { login };
    let spinner = obstacles.spinner.map(pages::spinner);
    let has_consent = cookie(headers, CONSENT_COOKIE).is_some();
    let banner = obstacles.banner_after.filter(|_| !has_consent);
    let banner = banner.map(|after| pages::banner(after, CONSENT_COOKIE));
    let captcha = obstacles.has_invisible_captcha.then(|| INVISIBLE_CAPTCHA.to_owned());
    let more: String = [spinner, banner, captcha].into_iter().flatten().collect();
    hanging(login.replace("</main>", &format!("</main>{more}")), portal)
}

/// The page with a picture that never comes, where the portal has one.
pub(super) fn hanging(page: String, portal: &Shared) -> String {
    if portal.obstacles().hangs { page.replace("</main>", &format!("</main>{HANGING}")) } else { page }
}

impl Shared {
    fn obstacles(&self) -> Obstacles {
        *self.obstacles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Portal {
    /// Puts these in the way of sign-ins, in place of those before.
    pub fn set_obstacles(&self, obstacles: Obstacles) {
        *self.shared.obstacles.lock().unwrap_or_else(PoisonError::into_inner) = obstacles;
    }
}
