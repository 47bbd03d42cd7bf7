//! Routes of sites: list, show, define, remove.

use axum::Json;
use axum::extract::State;
use pilotlight_api::{
    ErrorBody, ErrorCode, MessageAnswer, SiteAnswer, SiteDefinition, SiteReportAnswer, SitesAnswer, validate,
};

use super::App;
use super::problem::{Body, Problem, SiteName};
use crate::sites::SitesError;

impl From<SitesError> for Problem {
    fn from(error: SitesError) -> Self {
        let code = match &error {
            SitesError::Site(_) => ErrorCode::InvalidField,
            SitesError::Unknown => ErrorCode::SiteNotFound,
            SitesError::Configured => ErrorCode::SiteInUse,
            SitesError::TooMany => ErrorCode::AtCapacity,
            SitesError::Written { source, .. } if is_full(source) => ErrorCode::StorageFull,
            SitesError::Written { .. } => ErrorCode::StorageFailed,
            SitesError::NotToml(_) => ErrorCode::Internal,
        };
        Self::new(code, crate::sentence::with_sources(&error))
    }
}

/// Returns whether the cause is a full disk.
fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

/// Returns the error for a site that does not exist or cannot be used.
fn unusable(app: &App, name: &str) -> Problem {
    match app.planner.sites.broken().get(name) {
        Some(problem) => {
            let message = format!("the site `{name}` cannot be used as it is stored: {problem}");
            Problem::new(ErrorCode::SiteNotFound, message)
        }
        None => SitesError::Unknown.into(),
    }
}

/// Lists the sites.
#[utoipa::path(get, path = "/sites", tag = "sites", responses(
    (status = 200, description = "All sites by name", body = SitesAnswer)))]
pub(super) async fn list(State(app): State<App>) -> Json<SitesAnswer> {
    let sites = &app.planner.sites;
    Json(SitesAnswer { success: true, sites: sites.names(), broken: sites.broken() })
}

/// Returns a site. Flows contain placeholders, never passwords.
#[utoipa::path(get, path = "/sites/{name}", tag = "sites", params(("name" = String, Path)), responses(
    (status = 200, description = "The site", body = SiteAnswer),
    (status = "4XX", description = "The site does not exist", body = ErrorBody)))]
pub(super) async fn show(
    State(app): State<App>,
    SiteName(name): SiteName,
) -> Result<Json<SiteAnswer>, Problem> {
    let site = app.planner.sites.get(&name).ok_or_else(|| unusable(&app, &name))?;
    Ok(Json(SiteAnswer { success: true, name, site: site.definition.clone() }))
}

/// Returns statistics of a site's sign-ins since the server started: how often refreshes found the session signed in,
/// and how long sign-ins last.
#[utoipa::path(get, path = "/sites/{name}/report", tag = "sites", params(("name" = String, Path)), responses(
    (status = 200, description = "The site's statistics", body = SiteReportAnswer),
    (status = "4XX", description = "The site does not exist", body = ErrorBody)))]
pub(super) async fn report(
    State(app): State<App>,
    SiteName(name): SiteName,
) -> Result<Json<SiteReportAnswer>, Problem> {
    app.planner.sites.get(&name).ok_or_else(|| unusable(&app, &name))?;
    Ok(Json(app.reports.of(&name)))
}

/// Creates or replaces a site, for sessions created from now on. It is stored permanently.
#[utoipa::path(put, path = "/sites/{name}", tag = "sites", params(("name" = String, Path)),
    request_body = SiteDefinition, responses(
    (status = 200, description = "The stored site", body = SiteAnswer),
    (status = "4XX", description = "The site is invalid, or is defined in the configuration", body = ErrorBody)))]
pub(super) async fn define(
    State(app): State<App>,
    SiteName(name): SiteName,
    Body(definition): Body<SiteDefinition>,
) -> Result<Json<SiteAnswer>, Problem> {
    validate::name("name", &name)?;
    let site = app.planner.sites.define(&name, definition)?;
    Ok(Json(SiteAnswer { success: true, name, site: site.definition.clone() }))
}

/// Deletes a site. Existing sessions keep it.
#[utoipa::path(delete, path = "/sites/{name}", tag = "sites", params(("name" = String, Path)), responses(
    (status = 200, description = "The site was deleted", body = MessageAnswer),
    (status = "4XX", description = "The site does not exist, or is defined in the configuration", body = ErrorBody)))]
pub(super) async fn remove(
    State(app): State<App>,
    SiteName(name): SiteName,
) -> Result<Json<MessageAnswer>, Problem> {
    app.planner.sites.remove(&name)?;
    Ok(Json(MessageAnswer::new("Site removed")))
}
