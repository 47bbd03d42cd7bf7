//! What the portal answers: its pages, and `/control/…` for tests in another process.
//!
//! | control | does |
//! |---|---|
//! | `GET /control/statistics` | [`Statistics`] as JSON |
//! | `GET /control/bookings` | every [`Booking`] as JSON, in order |
//! | `GET /control/sent` | every request that came, as [`super::Sent`] in JSON |
//! | `POST /control/log_everybody_out` | ends all sessions |
//! | `POST /control/down` `{"down": true}` | answers everything else with 503, or no longer |
//! | `POST /control/captcha` `{"captcha": true}` | puts a captcha into the log-in page, or takes it out |
//! | `POST /control/second_factor` `{"user", "secret"}` | asks an account for a code after the password; null: no longer |
//! | `POST /control/locked` `{"user", "locked"}` | locks an account, or lets it in again |
//! | `POST /control/redesign` `{"redesign": true}` | gives the log-in page another form, or the old one |
//! | `POST /control/password` `{"user", "password"}` | gives an account a password of its own |

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{AppendHeaders, Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use pilotlight_flow::Totp;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::appointment::{Booking, appointment_routes};
use super::ledger::{Answer, Statistics};
use super::{Shared, pages};
use super::{dialogs, heavy, in_place, obstacles, sending, yard};

/// The largest body that is read, in bytes.
pub(super) const MAX_BODY_BYTES: usize = 16 * 1024;
/// The session cookie. It has no lifetime: it goes with the browser, as a portal's does.
const SESSION_COOKIE: &str = "portal_session";
/// Keeps what was last written at the workbench, for a day.
const WORK_COOKIE: &str = "portal_work";
/// How long [`WORK_COOKIE`] is kept.
const WORK_COOKIE_SECONDS: u32 = 24 * 60 * 60;
/// The longest value of the workbench, in bytes.
const MAX_WORK_BYTES: usize = 256;
/// Names the question for a code.
const QUESTION_COOKIE: &str = "portal_question";
/// Says that a person has solved the captcha.
const PERSON_COOKIE: &str = "portal_person";

/// What the log-in page says after a refusal.
const WRONG: &str = "The user name or the password is wrong.";

type Portal = State<Arc<Shared>>;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let control = Router::new()
        .route("/control/statistics", get(statistics))
        .route("/control/bookings", get(bookings))
        .route("/control/sent", get(sending::sent))
        .route("/control/log_everybody_out", post(log_everybody_out))
        .route("/control/down", post(set_down))
        .route("/control/captcha", post(set_captcha))
        .route("/control/password", post(set_password))
        .route("/control/second_factor", post(set_second_factor))
        .route("/control/locked", post(set_locked))
        .route("/control/redesign", post(set_redesign));
    Router::new()
        .route("/", get(dashboard))
        .route("/appointments", get(appointments))
        .route("/popup", get(popup))
        .route("/workbench", get(workbench))
        .route("/heavy", get(heavy_page))
        .route("/heavy/anew", get(heavy_anew))
        .route("/yard", get(yard_page))
        .merge(heavy::parts())
        .merge(yard::parts())
        .merge(appointment_routes())
        .merge(sending::sending_routes())
        .merge(dialogs::parts())
        .merge(in_place::parts())
        .merge(obstacles::parts())
        .route("/api/workbench", get(read_work).post(write_work))
        .route("/login", get(show_login).post(sign_in))
        .route("/login/code", get(ask_for_code).post(take_code))
        .route("/logout", get(sign_out))
        .route("/captcha", get(show_captcha).post(solve_captcha))
        .route("/api/keep_alive", get(keep_alive).post(keep_alive))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&shared), rotate_cookie))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&shared), unless_down))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&shared), sending::note))
        .merge(control)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(shared)
}

async fn unless_down(State(portal): Portal, request: Request, next: Next) -> Response {
    if portal.is_down.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "The portal is closed for maintenance.").into_response();
    }
    next.run(request).await
}

/// Gives a new cookie with each page, where the portal does that.
async fn rotate_cookie(State(portal): Portal, request: Request, next: Next) -> Response {
    let is_page = portal.rotates_cookie && request.method() == Method::GET && is_document(request.headers());
    let token = cookie(request.headers(), SESSION_COOKIE).filter(|_| is_page).map(str::to_owned);
    let response = next.run(request).await;
    let Some(token) = token else { return response };
    let new_token = new_token();
    if !portal.ledger().rename(&token, new_token.clone()) {
        return response;
    }
    (AppendHeaders([(SET_COOKIE, session_cookie(&new_token))]), response).into_response()
}

/// Whether a browser asks for what is to be a page of its own.
pub(super) fn is_document(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-dest").is_some_and(|destination| destination == "document")
}

/// The page for the one who is signed in; everybody else is sent to the log-in.
pub(super) fn for_user(portal: &Shared, headers: &HeaderMap, page: fn(&str) -> String) -> Response {
    match signed_in(portal, headers) {
        Some(user) => fresh(obstacles::hanging(page(&user), portal)),
        None => Redirect::to("/login").into_response(),
    }
}

pub(super) fn signed_in(portal: &Shared, headers: &HeaderMap) -> Option<String> {
    session(portal, headers).map(|(_, user)| user)
}

/// The session of the one who asks, and who that is.
pub(super) fn session(portal: &Shared, headers: &HeaderMap) -> Option<(String, String)> {
    let token = cookie(headers, SESSION_COOKIE)?;
    let user = portal.ledger().request(token, Instant::now())?;
    Some((token.to_owned(), user))
}

impl Shared {
    /// Who asks; it counts as no request.
    pub(super) fn user_of(&self, headers: &HeaderMap) -> Option<String> {
        self.ledger().user_of(cookie(headers, SESSION_COOKIE)?)
    }
}

pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = pairs.flat_map(|pairs| pairs.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(own, _)| *own == name).map(|(_, value)| value)
}

/// A page that no cache keeps: going back must not show what one was signed in for.
fn fresh(page: String) -> Response {
    ([(CACHE_CONTROL, "no-store")], Html(page)).into_response()
}

async fn dashboard(State(portal): Portal, headers: HeaderMap) -> Response {
    for_user(&portal, &headers, pages::dashboard)
}

async fn appointments(State(portal): Portal, headers: HeaderMap) -> Response {
    for_user(&portal, &headers, pages::appointments)
}

async fn workbench(State(portal): Portal, headers: HeaderMap) -> Response {
    for_user(&portal, &headers, pages::workbench)
}

async fn heavy_page(State(portal): Portal, headers: HeaderMap) -> Response {
    for_user(&portal, &headers, pages::heavy)
}

async fn yard_page(State(portal): Portal, headers: HeaderMap) -> Response {
    for_user(&portal, &headers, pages::yard)
}

async fn heavy_anew(State(portal): Portal, headers: HeaderMap) -> Response {
    for_user(&portal, &headers, pages::heavy_anew)
}

/// What the session and the cookies of the one who asks hold.
async fn read_work(State(portal): Portal, headers: HeaderMap) -> Response {
    let token = cookie(&headers, SESSION_COOKIE).filter(|_| signed_in(&portal, &headers).is_some());
    let Some(token) = token else { return signed_out() };
    let work = portal.ledger().work(token).map(str::to_owned);
    Json(json!({ "session_cookie": work, "persistent_cookie": cookie(&headers, WORK_COOKIE) }))
        .into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    value: String,
}

/// Keeps a value in the session, which gets a new cookie, and in a cookie that outlasts it.
async fn write_work(State(portal): Portal, headers: HeaderMap, Json(body): Json<Written>) -> Response {
    let is_work = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if body.value.len() > MAX_WORK_BYTES || !body.value.bytes().all(is_work) {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    }
    let Some(token) = cookie(&headers, SESSION_COOKIE) else { return signed_out() };
    let kept = format!("{WORK_COOKIE}={}; Path=/; Max-Age={WORK_COOKIE_SECONDS}; SameSite=Lax", body.value);
    let new_token = new_token();
    if signed_in(&portal, &headers).is_none() || !portal.ledger().write(token, new_token.clone(), body.value)
    {
        return signed_out();
    }
    let cookies = AppendHeaders([(SET_COOKIE, session_cookie(&new_token)), (SET_COOKIE, kept)]);
    (StatusCode::NO_CONTENT, cookies).into_response()
}

async fn popup(State(portal): Portal, headers: HeaderMap) -> Response {
    for_user(&portal, &headers, pages::popup)
}

#[derive(Deserialize)]
struct LoginQuery {
    failed: Option<String>,
    locked: Option<String>,
}

async fn show_login(State(portal): Portal, headers: HeaderMap, Query(query): Query<LoginQuery>) -> Response {
    if signed_in(&portal, &headers).is_some() {
        return Redirect::to("/").into_response();
    }
    let has_captcha = wants_captcha(&portal, &headers);
    let error = match (query.locked.is_some(), query.failed.is_some()) {
        (true, _) => "This account is locked. Please call the harbour office.",
        (false, true) => WRONG,
        (false, false) => "",
    };
    let is_redesigned = portal.is_redesigned.load(Ordering::Relaxed);
    let login = pages::login(pages::Login { error, has_captcha, is_redesigned });
    let login = in_place::scripted(dialogs::asking(login, &portal), &portal);
    fresh(obstacles::obstructed(login, &portal, &headers))
}

fn wants_captcha(portal: &Shared, headers: &HeaderMap) -> bool {
    portal.has_captcha.load(Ordering::Relaxed) && cookie(headers, PERSON_COOKIE).is_none()
}

#[derive(Deserialize)]
pub(super) struct Credentials {
    pub(super) username: String,
    pub(super) password: String,
}

async fn sign_in(State(portal): Portal, headers: HeaderMap, Form(form): Form<Credentials>) -> Response {
    if wants_captcha(&portal, &headers) {
        return Redirect::to("/login").into_response();
    }
    let user = form.username.trim();
    let Some(_under_way) = UnderWay::begin(&portal, user) else {
        return Redirect::to("/login?failed=1").into_response();
    };
    tokio::time::sleep(portal.sign_in_delay).await;
    let token = new_token();
    let answer = portal.ledger().sign_in(user, &form.password, token.clone(), Instant::now());
    match answer {
        Answer::SignedIn => {
            let next = Redirect::to(obstacles::next_page(&portal, &headers));
            ([(SET_COOKIE, session_cookie(&token))], next).into_response()
        }
        Answer::WantsCode => {
            let cookie = format!("{QUESTION_COOKIE}={token}; Path=/login; HttpOnly; SameSite=Lax");
            ([(SET_COOKIE, cookie)], Redirect::to("/login/code")).into_response()
        }
        Answer::Refused => {
            let again = pages::Login { error: WRONG, has_captcha: false, is_redesigned: false };
            let page = obstacles::refusal(&portal, || pages::login(again));
            page.unwrap_or_else(|| Redirect::to("/login?failed=1").into_response())
        }
        Answer::Locked => Redirect::to("/login?locked=1").into_response(),
    }
}

async fn ask_for_code(Query(query): Query<LoginQuery>) -> Response {
    fresh(pages::code(if query.failed.is_some() { "The code is wrong." } else { "" }))
}

#[expect(clippy::disallowed_methods, reason = "codes go by the time of day")]
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

async fn take_code(State(portal): Portal, headers: HeaderMap, Form(form): Form<Code>) -> Response {
    let question = cookie(&headers, QUESTION_COOKIE).unwrap_or_default();
    let unix = unix_seconds();
    let token = new_token();
    if !portal.ledger().give_code(question, form.code.trim(), unix, token.clone(), Instant::now()) {
        return Redirect::to("/login/code?failed=1").into_response();
    }
    ([(SET_COOKIE, session_cookie(&token))], Redirect::to("/")).into_response()
}

pub(super) fn new_token() -> String {
    format!("{:032x}", rand::random::<u128>())
}

pub(super) fn session_cookie(token: &str) -> String {
    format!("{SESSION_COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax")
}

/// A sign-in under way; over when it is dropped, also where the browser hung up.
pub(super) struct UnderWay<'a> {
    portal: &'a Shared,
    user: &'a str,
}

impl<'a> UnderWay<'a> {
    pub(super) fn begin(portal: &'a Shared, user: &'a str) -> Option<Self> {
        portal.ledger().begin_sign_in(user).then_some(Self { portal, user })
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.portal.ledger().end_sign_in(self.user);
    }
}

async fn sign_out(State(portal): Portal, headers: HeaderMap) -> Response {
    if let Some(token) = cookie(&headers, SESSION_COOKIE) {
        portal.ledger().sign_out(token);
    }
    let cookie = format!("{SESSION_COOKIE}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0");
    ([(SET_COOKIE, cookie)], Redirect::to("/login")).into_response()
}

async fn show_captcha() -> Response {
    fresh(pages::captcha())
}

async fn solve_captcha() -> Response {
    let cookie = format!("{PERSON_COOKIE}=yes; Path=/; HttpOnly; SameSite=Lax");
    ([(SET_COOKIE, cookie)], Html("<script>parent.location.reload()</script>")).into_response()
}

async fn keep_alive(State(portal): Portal, headers: HeaderMap) -> Response {
    match signed_in(&portal, &headers) {
        Some(user) => Json(json!({ "user": user })).into_response(),
        None => signed_out(),
    }
}

pub(super) fn signed_out() -> Response {
    (StatusCode::UNAUTHORIZED, Json(json!({ "error": "signed out" }))).into_response()
}

async fn statistics(State(portal): Portal) -> Json<Statistics> {
    Json(portal.ledger().statistics(Instant::now()))
}

async fn bookings(State(portal): Portal) -> Json<Vec<Booking>> {
    Json(portal.ledger().bookings().to_vec())
}

async fn log_everybody_out(State(portal): Portal) -> StatusCode {
    portal.ledger().drop_all(Instant::now());
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Down {
    down: bool,
}

async fn set_down(State(portal): Portal, Json(body): Json<Down>) -> StatusCode {
    portal.is_down.store(body.down, Ordering::Relaxed);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Captcha {
    captcha: bool,
}

async fn set_captcha(State(portal): Portal, Json(body): Json<Captcha>) -> StatusCode {
    portal.has_captcha.store(body.captcha, Ordering::Relaxed);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Password {
    user: String,
    password: String,
}

async fn set_password(State(portal): Portal, Json(body): Json<Password>) -> StatusCode {
    done(portal.ledger().set_password(&body.user, body.password))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecondFactor {
    user: String,
    secret: Option<SecretString>,
}

async fn set_second_factor(State(portal): Portal, Json(body): Json<SecondFactor>) -> StatusCode {
    let Ok(totp) = body.secret.as_ref().map(Totp::parse).transpose() else {
        return StatusCode::UNPROCESSABLE_ENTITY;
    };
    done(portal.ledger().set_second_factor(&body.user, totp))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Locked {
    user: String,
    locked: bool,
}

async fn set_locked(State(portal): Portal, Json(body): Json<Locked>) -> StatusCode {
    done(portal.ledger().set_locked(&body.user, body.locked))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Redesign {
    redesign: bool,
}

async fn set_redesign(State(portal): Portal, Json(body): Json<Redesign>) -> StatusCode {
    portal.is_redesigned.store(body.redesign, Ordering::Relaxed);
    StatusCode::NO_CONTENT
}

fn done(is_done: bool) -> StatusCode {
    if is_done { StatusCode::NO_CONTENT } else { StatusCode::UNPROCESSABLE_ENTITY }
}
