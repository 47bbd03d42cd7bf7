//! The dashboard: its files, and the way in and out of it. Everything else it does over the public interface.
//!
//! The files hold nothing of anybody's and are open to all. They are made from `web/` by `make web` and are
//! committed, so that building the server needs nothing but cargo.

use axum::Json;
use axum::extract::Extension;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Redirect, Response};
use pilotlight_api::{
    DashboardKey, DashboardLink, DashboardTicket, EnterDashboard, ErrorBody, ErrorCode, MessageAnswer,
    TicketRequest,
};
use secrecy::ExposeSecret;

use super::App;
use super::guard::shown;
use super::problem::{Body, Problem, no_route};
use super::token::only_with_token;
use crate::authenticator::{CODE_LIFE, TICKET_LIFE};
use crate::authority::Authority;

/// No external and no inline resources, and no framing by other pages.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
                      connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";
/// A page that opens the dashboard gets no reference to its window.
const OPENER_POLICY: (HeaderName, &str) =
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
/// Files are revalidated on each request: another version of the server may have others.
const FRESH: &str = "no-cache";

const INDEX: &str = include_str!("../../../../web/dist/index.html");
/// Name, media type, contents.
const FILES: [(&str, &str, &str); 3] = [
    ("app.js", "text/javascript; charset=utf-8", include_str!("../../../../web/dist/app.js")),
    ("app.css", "text/css; charset=utf-8", include_str!("../../../../web/dist/app.css")),
    ("icon.svg", "image/svg+xml", include_str!("../../../../web/dist/icon.svg")),
];

/// Serves the dashboard's page. The view is selected by its address.
pub(super) async fn page() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, FRESH),
        OPENER_POLICY,
    ];
    (headers, INDEX)
}

pub(super) async fn home() -> Redirect {
    Redirect::temporary("/ui")
}

/// Serves the dashboard's assets.
pub(super) async fn file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|file| file.0 == name) {
        Some((_, media_type, content)) => {
            ([(CONTENT_TYPE, *media_type), (CACHE_CONTROL, FRESH)], *content).into_response()
        }
        None => no_route().await.into_response(),
    }
}

/// The largest body with a code or a token; it is read before authentication.
const MAX_CODE_BODY_BYTES: usize = 4096;

/// Signs in to the dashboard with the code of a link or with the token.
pub(super) async fn enter(
    State(app): State<App>,
    Body(request): Body<EnterDashboard, MAX_CODE_BODY_BYTES>,
) -> Result<Json<DashboardKey>, Problem> {
    let now = app.keeper.clock().now();
    let key = app.authenticator.sign_in(request.code(), now).map_err(|error| not_written(&error))?;
    let wrong = || {
        let body = ErrorBody::new(
            ErrorCode::Unauthorized,
            "The code is wrong, has already been used, or has expired",
        );
        Problem::from(body.with_hint("`pilotlight dashboard` prints a link with a new code."))
    };
    let key = key.ok_or_else(wrong)?;
    Ok(Json(DashboardKey { success: true, key: key.expose_secret().to_owned() }))
}

/// Signs out of the dashboard.
pub(super) async fn leave(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Json<MessageAnswer>, Problem> {
    let key = shown(&headers).flatten().unwrap_or_default();
    app.authenticator.sign_out(&key).map_err(|error| not_written(&error))?;
    Ok(Json(MessageAnswer::new("Goodbye")))
}

/// Creates a one-time ticket for requests for which a page cannot set a header.
pub(super) async fn ticket(
    State(app): State<App>,
    headers: HeaderMap,
    Body(request): Body<TicketRequest>,
) -> Result<Json<DashboardTicket>, Problem> {
    let key = shown(&headers).flatten().unwrap_or_default();
    let ticket = app.authenticator.new_ticket(&request.path, &key, app.keeper.clock().now());
    let gone = || Problem::new(ErrorCode::Unauthorized, "The key of the request is no longer valid");
    let ticket = ticket.ok_or_else(gone)?;
    Ok(Json(DashboardTicket { success: true, ticket, expires_in: TICKET_LIFE.as_secs() }))
}

/// Creates a one-time sign-in link to the dashboard. The code is in the fragment, which browsers do not send and
/// access logs do not contain.
#[utoipa::path(post, path = "/ui/link", tag = "server", responses(
    (status = 200, description = "A one-time link to the dashboard", body = DashboardLink)))]
pub(super) async fn link(
    State(app): State<App>,
    Extension(host): Extension<Authority>,
    headers: HeaderMap,
) -> Result<Json<DashboardLink>, Problem> {
    only_with_token(&app, &headers)?;
    let code = app.authenticator.new_code(app.keeper.clock().now());
    let link = link_at(&host, &code);
    Ok(Json(DashboardLink { success: true, link, expires_in: CODE_LIFE.as_secs() }))
}

/// Returns the link with this code.
pub(crate) fn link_at(host: &impl std::fmt::Display, code: &str) -> String {
    format!("http://{host}/ui#code={code}")
}

fn not_written(error: &std::io::Error) -> Problem {
    Problem::new(ErrorCode::Internal, format!("Failed to store the dashboard session: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_page_stands_inline_or_comes_from_elsewhere() {
        let inline = |text: &str| text.contains("<style") || text.contains(" style=") || text.contains(" on");
        assert!(!inline(INDEX), "{INDEX}");
        for (open, close) in INDEX.match_indices("<script").zip(INDEX.match_indices("</script>")) {
            let script = &INDEX[open.0..close.0];
            assert!(script.contains("src=\"/ui/assets/") && script.ends_with('>'), "{script}");
        }
        assert!(!INDEX.contains("//"), "{INDEX}");
    }
}
