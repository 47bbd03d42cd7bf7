//! The OpenAPI document, made from the routes and the wire types.

use utoipa::Modify;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use super::{
    cdp, credentials, dashboard, events, failure, live, machine, metrics, operations, sessions, sites, store,
    system, token, window,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Pilotlight",
        description = "Browser windows that stay signed in. Every error is `{success: false, error, code, hint}`.",
        license(name = "MIT OR Apache-2.0")
    ),
    paths(
        system::health, system::ready, metrics::metrics,
        sessions::create, sessions::list, sessions::show, sessions::patch, sessions::close, sessions::ping,
        sessions::hold, sessions::extend_hold, sessions::release_hold, sessions::refresh, sessions::restart,
        sessions::freeze, sessions::hibernate, sessions::wake, sessions::storage_state, system::drain,
        window::navigate, window::evaluate, window::screenshot, window::thumbnail, live::live, failure::show, failure::picture,
        machine::show, machine::doctor,
        cdp::version, cdp::list, cdp::socket, cdp::files, cdp::file, cdp::send_file,
        operations::begin, operations::of_session, operations::list, operations::show, operations::go_on,
        operations::cancel, operations::file, operations::bundle,
        events::all, events::of_session,
        sites::list, sites::show, sites::report, sites::define, sites::remove,
        dashboard::link, token::rotate,
        credentials::list, credentials::show, credentials::define, credentials::remove,
        store::backup,
    ),
    modifiers(&Token),
    security(("token" = [])),
)]
struct Document;

/// Adds the ways to send the token.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The document as it is served and committed, in `openapi.json` at the root of the repository.
///
/// # Errors
/// Never in practice: it is plain data.
pub fn document() -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(&Document::openapi())?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// `PILOTLIGHT_UPDATE=1 cargo test -p pilotlight openapi` writes the committed document anew.
    #[test]
    fn the_committed_openapi_document_is_what_the_code_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi.json");
        let document = document().unwrap();
        if std::env::var_os("PILOTLIGHT_UPDATE").is_some() {
            std::fs::write(&path, &document).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == document,
            "openapi.json is not what the code says: PILOTLIGHT_UPDATE=1 cargo test -p pilotlight openapi"
        );
    }
}
