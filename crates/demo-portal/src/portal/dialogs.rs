//! Pages that ask with the browser's own dialogs: whether to stay signed in, to delete an appointment, and to end
//! a session elsewhere.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::appointment::Booking;
use super::routes::{for_user, session, signed_out};
use super::{Portal, Shared, pages};

/// What a sign-in form asks before it is sent, where it asks.
const END_ANOTHER: &str = "You are signed in elsewhere. End that session?";

pub(super) fn parts() -> Router<Arc<Shared>> {
    Router::new()
        .route("/expiring", get(expiring))
        .route("/bookings", get(bookings_page))
        .route("/api/bookings", get(bookings))
        .route("/api/bookings/{number}/delete", post(delete))
}

/// Asks once, as its address says: "yes" keeps the portal's session, "no" signs out.
async fn expiring(State(portal): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    for_user(&portal, &headers, pages::expiring)
}

async fn bookings_page(State(portal): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    for_user(&portal, &headers, pages::bookings)
}

async fn bookings(State(portal): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let Some((_, user)) = session(&portal, &headers) else { return signed_out() };
    let own: Vec<Booking> =
        portal.ledger().bookings().iter().filter(|booking| booking.user == user).cloned().collect();
    Json(own).into_response()
}

async fn delete(
    State(portal): State<Arc<Shared>>,
    headers: HeaderMap,
    Path(number): Path<String>,
) -> Response {
    let Some((_, user)) = session(&portal, &headers) else { return signed_out() };
    match portal.ledger().cancel(&user, &number) {
        true => StatusCode::NO_CONTENT.into_response(),
        false => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The log-in page with a question before its form is sent.
pub(super) fn asking(login: String, portal: &Shared) -> String {
    if !portal.asks_to_end_another.load(Ordering::Relaxed) {
        return login;
    }
    login.replace("<form", &format!("<form onsubmit=\"return confirm('{END_ANOTHER}')\""))
}

impl Portal {
    /// Makes the log-in page ask whether a session elsewhere is to be ended, and send nothing after "no".
    pub fn set_asks_to_end_another(&self, asks: bool) {
        self.shared.asks_to_end_another.store(asks, Ordering::Relaxed);
    }

    /// Books an appointment without anybody's doing; `None` where there are too many.
    #[must_use]
    pub fn book(&self, user: &str) -> Option<Booking> {
        self.shared.ledger().book(Booking {
            number: String::new(),
            user: user.to_owned(),
            terminal: "Pier T".to_owned(),
            container: "MSKU4822107".to_owned(),
            own_chassis: false,
            truck_plate: "B-HG 77".to_owned(),
            date: "12 March 2031".to_owned(),
            time: "07:30".to_owned(),
        })
    }
}
