//! The REST interface: converts HTTP requests to orders for the keeper, and their results to HTTP responses.
//!
//! It makes no decisions about sessions and has only the state that every request needs. Requests without access are
//! rejected in [`guard`], before anything else.

mod cdp;
mod connections;
mod cors;
mod credentials;
mod dashboard;
mod docs;
mod events;
mod failure;
mod guard;
mod listen;
mod live;
mod machine;
mod metrics;
mod openapi;
mod operations;
mod problem;
mod sessions;
mod sites;
mod store;
mod streamed;
mod system;
mod token;
mod webdriver;
mod websocket;
mod window;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use pilotlight_store::StoreHandle;
use tower_http::catch_panic::CatchPanicLayer;

use crate::authenticator::Authenticator;
use crate::damaged::Damaged;
use crate::doctor::intended::Intended;
use crate::failures::Failures;
use crate::gateway::Gateway;
use crate::keeper::KeeperHandle;
use crate::live::Live;
use crate::machine::Machine;
use crate::operations::Operations;
use crate::plan::Planner;
use crate::reports::Reports;
use crate::webdriver::WebDriver;

pub use connections::Connections;
pub(crate) use dashboard::link_at;
pub use guard::Guard;
pub use listen::serve;
pub(crate) use store::sweep_copies;
pub use system::Readiness;
pub use webdriver::look_after;

/// Maximum size of a body; a `storage_state` with databases is the largest one.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// How much more than that is read and discarded, so that the client gets the error response.
const MAX_DISCARDED_BYTES: usize = 16 * 1024 * 1024;
/// Time limit for receiving a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The state that requests share.
#[derive(Debug, Clone)]
pub struct App {
    /// Sends orders and reads sessions.
    pub keeper: KeeperHandle,
    /// Plans new sessions.
    pub planner: Planner,
    /// The stored state of sessions.
    pub store: StoreHandle,
    /// The damaged records.
    pub damaged: Damaged,
    /// The paths of the server's files.
    pub state_dir: PathBuf,
    /// `limits.max_sessions`.
    pub max_sessions: u32,
    /// Statistics of sites.
    pub reports: Reports,
    /// Authenticates requests.
    pub authenticator: Arc<Authenticator>,
    /// The connections.
    pub connections: Connections,
    /// The live views.
    pub live: Live,
    /// Samples of the machine's load.
    pub machine: Machine,
    /// What the doctor checks the machine for.
    pub intended: Intended,
    /// The operations.
    pub operations: Operations,
    /// Reports of failed sign-ins.
    pub failures: Failures,
    /// The DevTools gateway.
    pub gateway: Gateway,
    /// The WebDriver sessions.
    pub webdriver: WebDriver,
    /// Whether the server is ready.
    pub readiness: Readiness,
}

/// Creates the router with all routes and access checks.
pub fn router(app: App, guard: Guard) -> Router {
    let guard = Arc::new(guard);
    Router::new()
        .route("/health", get(system::health))
        .route("/ready", get(system::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(docs::openapi))
        .route("/docs", get(docs::page))
        .route("/docs/page.js", get(docs::script))
        .route("/sessions", get(sessions::list).post(sessions::create))
        .route("/sessions/{id}", get(sessions::show).patch(sessions::patch).delete(sessions::close))
        .route("/sessions/{id}/ping", post(sessions::ping))
        .route("/ping_session/{id}", post(sessions::ping))
        .route("/sessions/{id}/hold", post(sessions::hold))
        .route("/sessions/{id}/hold/{hold_id}", post(sessions::extend_hold).delete(sessions::release_hold))
        .route("/sessions/{id}/refresh", post(sessions::refresh))
        .route("/sessions/{id}/restart", post(sessions::restart))
        .route("/sessions/{id}/freeze", post(sessions::freeze))
        .route("/sessions/{id}/hibernate", post(sessions::hibernate))
        .route("/sessions/{id}/wake", post(sessions::wake))
        .route("/sessions/{id}/storage_state", get(sessions::storage_state))
        .route("/drain", post(system::drain))
        .route("/sessions/{id}/navigate", post(window::navigate))
        .route("/sessions/{id}/evaluate", post(window::evaluate))
        .route("/sessions/{id}/screenshot", get(window::screenshot))
        .route("/sessions/{id}/thumbnail", get(window::thumbnail))
        .route("/sessions/{id}/failure", get(failure::show))
        .route("/sessions/{id}/failure/picture", get(failure::picture))
        .route("/sessions/{id}/live", get(live::live))
        .route("/machine", get(machine::show))
        .route("/doctor", get(machine::doctor))
        .route("/sessions/{id}/json/version", get(cdp::version))
        .route("/sessions/{id}/json/version/", get(cdp::version))
        .route("/sessions/{id}/json", get(cdp::list))
        .route("/sessions/{id}/json/list", get(cdp::list))
        .route("/sessions/{id}/json/list/", get(cdp::list))
        .route("/sessions/{id}/devtools/browser", get(cdp::socket))
        .route("/sessions/{id}/files", get(cdp::files))
        .route("/sessions/{id}/files/{name}", get(cdp::file).put(cdp::send_file))
        .route("/sessions/{id}/events", get(events::of_session))
        .route("/events", get(events::all))
        .route("/sessions/{id}/operations", get(operations::of_session).post(operations::begin))
        .route("/operations", get(operations::list))
        .route(
            "/operations/{operation_id}",
            get(operations::show).post(operations::go_on).delete(operations::cancel),
        )
        .route("/operations/{operation_id}/files/{name}", get(operations::file))
        .route("/operations/{operation_id}/bundle.zip", get(operations::bundle))
        .route("/sites", get(sites::list))
        .route("/sites/{name}", get(sites::show).put(sites::define).delete(sites::remove))
        .route("/sites/{name}/report", get(sites::report))
        .route("/credentials", get(credentials::list))
        .route(
            "/credentials/{name}",
            get(credentials::show).put(credentials::define).delete(credentials::remove),
        )
        .route("/store/backup", get(store::backup))
        .route("/", get(dashboard::home))
        .route("/ui", get(dashboard::page))
        .route("/ui/{*view}", get(dashboard::page))
        .route("/ui/assets/{name}", get(dashboard::file))
        .route("/ui/enter", post(dashboard::enter))
        .route("/ui/leave", post(dashboard::leave))
        .route("/ui/ticket", post(dashboard::ticket))
        .route("/ui/link", post(dashboard::link))
        .route("/token/rotate", post(token::rotate))
        .merge(webdriver::routes())
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .layer(from_fn_with_state(guard, guard::check))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn(problem::protected))
        .with_state(app)
}
