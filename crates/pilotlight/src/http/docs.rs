//! The interface's own description: the OpenAPI document, and a page that shows it.

use axum::http::header;
use axum::response::{Html, IntoResponse};
use pilotlight_api::ErrorCode;

use super::openapi;
use super::problem::Problem;

/// The content security policy of the page: it has no external and no inline scripts.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; \
                      form-action 'none'; base-uri 'none'; frame-ancestors 'none'";
const JSON: &str = "application/json";

pub(super) async fn openapi() -> Result<impl IntoResponse, Problem> {
    let document =
        openapi::document().map_err(|error| Problem::new(ErrorCode::Internal, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, JSON)], document))
}

pub(super) async fn page() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(include_str!("docs.html")))
}

pub(super) async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("docs.js"))
}
