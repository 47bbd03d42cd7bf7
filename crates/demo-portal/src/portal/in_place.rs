//! Sign-in forms that stay where they are: a script sends them, and shows what the answer is.
//!
//! `POST /login/in-place` takes what `POST /login` does, and answers in JSON whether it let the user in.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Form, Json, Router};
use serde_json::json;
use tokio::time::Instant;

use super::ledger::Answer;
use super::routes::{Credentials, UnderWay, new_token, session_cookie};
use super::{Portal, Shared, pages};

/// How a form that stays in its page behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InPlace {
    /// The HTTP status of a refusal: 401, or 200 by portals that say it in the body alone.
    pub refusal_status: u16,
    /// How long after a refusal the page says so; `None` for never.
    pub message_after: Option<Duration>,
    /// Whether a refusal empties the field for the password.
    pub empties: bool,
    /// Whether something lies over the form, so that clicks do not reach it.
    pub is_covered: bool,
}

impl Default for InPlace {
    /// Refuses with 401 and says so at once.
    fn default() -> Self {
        Self { refusal_status: 401, message_after: Some(Duration::ZERO), empties: false, is_covered: false }
    }
}

pub(super) fn parts() -> Router<Arc<Shared>> {
    Router::new().route("/login/in-place", post(sign_in))
}

async fn sign_in(State(portal): State<Arc<Shared>>, Form(form): Form<Credentials>) -> Response {
    let refused = |status| (status, Json(json!({ "signed_in": false }))).into_response();
    let Some(style) = portal.in_place() else { return refused(StatusCode::NOT_FOUND) };
    let status = StatusCode::from_u16(style.refusal_status).unwrap_or(StatusCode::UNAUTHORIZED);
    let user = form.username.trim();
    let Some(_under_way) = UnderWay::begin(&portal, user) else { return refused(status) };
    tokio::time::sleep(portal.sign_in_delay).await;
    let token = new_token();
    match portal.ledger().sign_in(user, &form.password, token.clone(), Instant::now()) {
        Answer::SignedIn => {
            ([(SET_COOKIE, session_cookie(&token))], Json(json!({ "signed_in": true }))).into_response()
        }
        Answer::WantsCode | Answer::Refused | Answer::Locked => refused(status),
    }
}

/// The log-in page with the script that sends its form, where the portal has such a form.
pub(super) fn scripted(login: String, portal: &Shared) -> String {
    match portal.in_place() {
        Some(style) => login.replace("</form>", &format!("</form>{}", pages::in_place(style))),
        None => login,
    }
}

impl Shared {
    fn in_place(&self) -> Option<InPlace> {
        *self.in_place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Portal {
    /// Gives the log-in page a form that is sent by a script and stays in its page, or an ordinary one.
    pub fn set_in_place(&self, style: Option<InPlace>) {
        *self.shared.in_place.lock().unwrap_or_else(PoisonError::into_inner) = style;
    }
}
