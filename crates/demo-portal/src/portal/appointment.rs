//! The appointment in three phases, the endless list of moves, and the gate pass that one downloads.
//!
//! The portal keeps how far somebody came with his sign-in, so that the page can be loaded again at any time.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::routes::{for_user, session, signed_out};
use super::{Shared, pages};

/// The most appointments that are remembered.
pub const MAX_BOOKINGS: usize = 4096;
/// The most moves of the endless list.
const MOVES: usize = 100;
/// How many of them come at once.
const MOVES_PER_ANSWER: usize = 25;
const CONTAINERS: [&str; 5] = ["MSKU4822107", "MSKU4822999", "TCLU7719350", "HLXU2210447", "CMAU5503918"];
const TERMINALS: [&str; 4] = ["Pier T", "Pier T North", "West Basin", "Middle Harbour"];
/// The longest text of a field, in bytes.
const MAX_FIELD_BYTES: usize = 64;

/// An appointment that was booked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Booking {
    /// Such as `HG-0001`.
    pub number: String,
    /// Who booked it.
    pub user: String,
    /// One of the harbour's.
    pub terminal: String,
    /// Its number.
    pub container: String,
    /// Whether the truck brings a chassis.
    pub own_chassis: bool,
    /// Several are separated by a blank.
    pub truck_plate: String,
    /// Such as `12 March 2031`.
    pub date: String,
    /// Such as `07:30`.
    pub time: String,
}

/// How far somebody came.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    container: Option<ContainerPhase>,
    truck: Option<TruckPhase>,
    booked: Option<Booking>,
}

impl Draft {
    /// As its page is told.
    fn shown(&self) -> Value {
        match self {
            Self { booked: Some(booking), .. } => json!({
                "phase": 4,
                "number": booking.number,
                "fields": [
                    ["Terminal", booking.terminal],
                    ["Container", booking.container],
                    ["Own chassis", if booking.own_chassis { "yes" } else { "no" }],
                    ["Truck", booking.truck_plate],
                    ["Time", format!("{}, {}", booking.date, booking.time)],
                ],
            }),
            Self { truck: Some(_), .. } => json!({ "phase": 3 }),
            Self { container: Some(_), .. } => json!({ "phase": 2 }),
            _ => json!({ "phase": 1 }),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContainerPhase {
    terminal: String,
    container: String,
    own_chassis: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TruckPhase {
    truck_plate: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimePhase {
    date: String,
    time: String,
}

type Portal = State<Arc<Shared>>;

pub(super) fn appointment_routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/appointment", get(page))
        .route("/api/appointment", get(read))
        .route("/api/appointment/container", post(choose_container))
        .route("/api/appointment/truck", post(name_truck))
        .route("/api/appointment/time", post(book))
        .route("/api/containers", get(containers))
        .route("/appointments/{number}/pass", get(pass))
        .route("/moves", get(moves_page))
        .route("/api/moves", get(moves))
}

#[derive(Deserialize)]
struct PageQuery {
    new: Option<String>,
}

async fn page(State(portal): Portal, headers: HeaderMap, Query(query): Query<PageQuery>) -> Response {
    if query.new.is_some()
        && let Some((token, _)) = session(&portal, &headers)
    {
        portal.ledger().update_draft(&token, |draft| *draft = Draft::default());
        // Its address is not that of another new one, so that loading it again loses nothing.
        return Redirect::to("/appointment").into_response();
    }
    for_user(&portal, &headers, pages::appointment)
}

async fn moves_page(State(portal): Portal, headers: HeaderMap) -> Response {
    for_user(&portal, &headers, pages::moves)
}

async fn read(State(portal): Portal, headers: HeaderMap) -> Response {
    let Some((token, _)) = session(&portal, &headers) else { return signed_out() };
    let draft = portal.ledger().update_draft(&token, |draft| draft.shown());
    Json(draft).into_response()
}

async fn choose_container(
    State(portal): Portal,
    headers: HeaderMap,
    Json(body): Json<ContainerPhase>,
) -> Response {
    let Some((token, _)) = session(&portal, &headers) else { return signed_out() };
    if !TERMINALS.contains(&&*body.terminal) || !CONTAINERS.contains(&&*body.container) {
        return refused("There is no such container at this terminal.");
    }
    let draft = portal.ledger().update_draft(&token, |draft| {
        *draft = Draft { container: Some(body), ..Draft::default() };
        draft.shown()
    });
    Json(draft).into_response()
}

async fn name_truck(State(portal): Portal, headers: HeaderMap, Json(body): Json<TruckPhase>) -> Response {
    let Some((token, _)) = session(&portal, &headers) else { return signed_out() };
    if body.truck_plate.is_empty() || body.truck_plate.len() > MAX_FIELD_BYTES {
        return refused("A truck needs a plate.");
    }
    let draft = portal.ledger().update_draft(&token, |draft| {
        if draft.container.is_some() {
            draft.truck = Some(body);
        }
        draft.shown()
    });
    Json(draft).into_response()
}

/// Each call books once more: a portal does not guess that somebody meant the same.
async fn book(State(portal): Portal, headers: HeaderMap, Json(body): Json<TimePhase>) -> Response {
    let Some((token, user)) = session(&portal, &headers) else { return signed_out() };
    if [&body.date, &body.time].iter().any(|field| field.is_empty() || field.len() > MAX_FIELD_BYTES) {
        return refused("An appointment needs a day and a time.");
    }
    let mut ledger = portal.ledger();
    let draft = ledger.update_draft(&token, |draft| draft.clone()).unwrap_or_default();
    let (Some(container), Some(truck)) = (draft.container, draft.truck) else {
        return refused("The container and the truck come first.");
    };
    let booking = ledger.book(Booking {
        number: String::new(),
        user,
        terminal: container.terminal,
        container: container.container,
        own_chassis: container.own_chassis,
        truck_plate: truck.truck_plate,
        date: body.date,
        time: body.time,
    });
    let Some(booking) = booking else { return refused("There are no appointments left.") };
    let draft = ledger.update_draft(&token, |draft| {
        draft.booked = Some(booking);
        draft.shown()
    });
    Json(draft).into_response()
}

#[derive(Deserialize)]
struct Like {
    like: String,
}

async fn containers(Query(query): Query<Like>) -> Json<Vec<&'static str>> {
    let like = query.like.trim().to_ascii_uppercase();
    let found = CONTAINERS.into_iter().filter(|number| !like.is_empty() && number.contains(&like));
    Json(found.collect())
}

async fn pass(State(portal): Portal, headers: HeaderMap, Path(number): Path<String>) -> Response {
    let Some((_, user)) = session(&portal, &headers) else { return signed_out() };
    let booking = portal.ledger().bookings().iter().find(|booking| booking.number == number).cloned();
    let Some(booking) = booking.filter(|booking| booking.user == user) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let text = format!("GATE PASS {number}\n{} at {}\n", booking.container, booking.terminal);
    let name = format!("attachment; filename=\"gate-pass-{number}.txt\"");
    ([(CONTENT_TYPE, "text/plain".to_owned()), (CONTENT_DISPOSITION, name)], text).into_response()
}

#[derive(Deserialize)]
struct From {
    from: usize,
}

async fn moves(Query(query): Query<From>) -> Json<Vec<Value>> {
    let numbers = (query.from..MOVES).take(MOVES_PER_ANSWER);
    let a_move = |number: usize| {
        let container = CONTAINERS[number % CONTAINERS.len()];
        json!({ "number": format!("M-{number:03}"), "container": container, "gate": number % 6 + 1 })
    };
    Json(numbers.map(a_move).collect())
}

fn refused(why: &str) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "error": why }))).into_response()
}
