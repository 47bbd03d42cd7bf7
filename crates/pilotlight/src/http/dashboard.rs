//! The dashboard: its files, and the way in and out of it. Everything else it does over the public interface.
//!
//! The files hold nothing of anybody's and are open to all. They are made from `web/` by `make web` and are
//! committed, so that building the server needs nothing but cargo.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Redirect, Response};
use pilotlight_api::{EnterDashboard, ErrorCode, MessageAnswer};

use super::App;
use super::problem::{Body, Problem, no_route};

/// Nothing comes from elsewhere or stands inline, and no other page shows ours in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
                      connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";
/// No address of ours is told to anybody, and nobody embeds or opens what we answer.
const REFERRER_POLICY: (HeaderName, &str) = (HeaderName::from_static("referrer-policy"), "no-referrer");
const OPENER_POLICY: (HeaderName, &str) =
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
/// Files are asked for anew each time: the next server may have others.
const FRESH: &str = "no-cache";

const INDEX: &str = include_str!("../../../../web/dist/index.html");
/// Name, media type, content.
const FILES: [(&str, &str, &str); 3] = [
    ("app.js", "text/javascript; charset=utf-8", include_str!("../../../../web/dist/app.js")),
    ("app.css", "text/css; charset=utf-8", include_str!("../../../../web/dist/app.css")),
    ("icon.svg", "image/svg+xml", include_str!("../../../../web/dist/icon.svg")),
];

/// The page; which view it shows is in its address.
pub(super) async fn page() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, FRESH),
        REFERRER_POLICY,
        OPENER_POLICY,
    ];
    (headers, INDEX)
}

pub(super) async fn home() -> Redirect {
    Redirect::temporary("/ui")
}

/// What the page is made of.
pub(super) async fn file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|file| file.0 == name) {
        Some((_, media_type, content)) => {
            ([(CONTENT_TYPE, *media_type), (CACHE_CONTROL, FRESH)], *content).into_response()
        }
        None => no_route().await.into_response(),
    }
}

/// Lets in whoever shows the code of the start, or the token.
pub(super) async fn enter(
    State(app): State<App>,
    Body(request): Body<EnterDashboard>,
) -> Result<Response, Problem> {
    let now = app.keeper.clock().now();
    if !app.door.opens(request.code(), now) {
        return Err(Problem::new(ErrorCode::Unauthorized, "The code is wrong, used or out of date"));
    }
    let cookie = app.door.let_in(now).map_err(|error| not_written(&error))?;
    Ok(([(SET_COOKIE, cookie)], Json(MessageAnswer::new("Welcome"))).into_response())
}

/// Sees a visitor out.
pub(super) async fn leave(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    let cookies = headers.get(COOKIE).and_then(|cookies| cookies.to_str().ok()).unwrap_or_default();
    let cookie = app.door.see_out(cookies).map_err(|error| not_written(&error))?;
    Ok(([(SET_COOKIE, cookie)], Json(MessageAnswer::new("Goodbye"))).into_response())
}

fn not_written(error: &std::io::Error) -> Problem {
    Problem::new(ErrorCode::Internal, format!("It cannot be written down who is here: {error}"))
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
