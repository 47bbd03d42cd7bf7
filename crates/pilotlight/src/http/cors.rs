//! CORS (Fetch Standard, section 3.2): the headers for pages of other origins that `server.allowed_origins` lists,
//! and for no others.
//!
//! Such pages send the token themselves. Nothing that a browser sends automatically is accepted, so credentials in
//! the sense of that standard are not allowed, and no response is for every origin.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, VARY,
};
use axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::authority::Origin;

/// The methods of the routes.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// Request headers that need permission.
const HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, idempotency-key, last-event-id");
/// Response headers that pages may read.
const EXPOSED: HeaderValue = HeaderValue::from_static("retry-after, content-disposition");
/// How long a browser may cache the response to a preflight, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
/// The header with which a browser asks before a public page accesses the local network.
const REQUEST_PRIVATE: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// Returns whether this is a preflight request.
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Answers a preflight request. No token is needed, because browsers send none with it.
pub(super) fn preflight<B>(request: &Request<B>) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    if request.headers().contains_key(REQUEST_PRIVATE) {
        headers.insert(ALLOW_PRIVATE, HeaderValue::from_static("true"));
    }
    response
}

/// Allows a page of this origin to read the response; without an origin, allows none.
pub(super) fn mark(response: &mut Response, page: Option<&Origin>) {
    let headers = response.headers_mut();
    // Caches must not return one page's response to another page.
    headers.append(VARY, HeaderValue::from_static("origin"));
    let Some(origin) = page.and_then(|page| HeaderValue::from_str(&page.to_string()).ok()) else { return };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}
