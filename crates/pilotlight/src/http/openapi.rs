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
    modifiers(&Token, &Aliases),
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

/// Paths that are other names of documented ones, with those.
const ALIASES: [(&str, &str); 2] =
    [("/sessions/{id}/ping", "/ping_session/{id}"), ("/sessions/{id}/json", "/sessions/{id}/json/list")];

/// Adds the aliases.
struct Aliases;

impl Modify for Aliases {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for (alias, path) in ALIASES {
            let Some(mut item) = document.paths.paths.get(path).cloned() else { continue };
            for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                operation.description = Some(format!("Another name of `{path}`."));
                // Ids of operations are unique.
                operation.operation_id = operation.operation_id.take().map(|id| format!("{id}_alias"));
            }
            document.paths.paths.insert(alias.to_owned(), item);
        }
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
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Routes that are not part of the interface: of the dashboard's own page, and of the document itself.
    const UNDOCUMENTED: [&str; 9] = [
        "/",
        "/docs",
        "/docs/page.js",
        "/openapi.json",
        "/ui",
        "/ui/",
        "/ui/enter",
        "/ui/leave",
        "/ui/ticket",
    ];

    /// Returns the routes in the router's source, each as its method and path. Spellings with a final slash are left out.
    fn routes() -> BTreeSet<String> {
        let source = include_str!("../http.rs");
        let calls = source.split(".route(").skip(1);
        let calls = calls.map(|call| call.split("\n        .").next().unwrap_or(call));
        let mut routes = BTreeSet::new();
        for call in calls {
            let path = call.split('"').nth(1).expect("a path");
            let is_left_out =
                UNDOCUMENTED.contains(&path) || (path.starts_with("/ui/") && path.contains('{'));
            for method in ["get", "post", "put", "patch", "delete"] {
                let has = |before: char| call.contains(&format!("{before}{method}("));
                if !is_left_out && !path.ends_with('/') && (has(' ') || has('.')) {
                    routes.insert(format!("{method} {path}"));
                }
            }
        }
        routes
    }

    #[test]
    fn the_document_has_every_route_and_no_other() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        let documented: BTreeSet<String> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| {
                item.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
            })
            .collect();
        assert!(documented.len() > 50, "{documented:?}");
        assert_eq!(documented, routes());
    }

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
