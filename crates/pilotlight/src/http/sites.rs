//! Sites by REST: list, show, define, remove.

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
            SitesError::Written { .. } | SitesError::NotToml(_) => ErrorCode::Internal,
        };
        Self::new(code, crate::sentence::with_sources(&error))
    }
}

/// Lists the sites.
#[utoipa::path(get, path = "/sites", tag = "sites", responses(
    (status = 200, description = "Every site by name", body = SitesAnswer)))]
pub(super) async fn list(State(app): State<App>) -> Json<SitesAnswer> {
    Json(SitesAnswer { success: true, sites: app.planner.sites.names() })
}

/// Shows a site. Flows have placeholders, never a password.
#[utoipa::path(get, path = "/sites/{name}", tag = "sites", params(("name" = String, Path)), responses(
    (status = 200, description = "The site", body = SiteAnswer),
    (status = "4XX", description = "There is none of this name", body = ErrorBody)))]
pub(super) async fn show(
    State(app): State<App>,
    SiteName(name): SiteName,
) -> Result<Json<SiteAnswer>, Problem> {
    let site = app.planner.sites.get(&name).ok_or(SitesError::Unknown)?;
    Ok(Json(SiteAnswer { success: true, name, site: site.definition.clone() }))
}

/// How a site's sign-ins fared since the server started: how often they held, and how long they last.
#[utoipa::path(get, path = "/sites/{name}/report", tag = "sites", params(("name" = String, Path)), responses(
    (status = 200, description = "What was counted", body = SiteReportAnswer),
    (status = "4XX", description = "There is none of this name", body = ErrorBody)))]
pub(super) async fn report(
    State(app): State<App>,
    SiteName(name): SiteName,
) -> Result<Json<SiteReportAnswer>, Problem> {
    app.planner.sites.get(&name).ok_or(SitesError::Unknown)?;
    Ok(Json(app.reports.of(&name)))
}

/// Defines a site, for sessions that are made from now on. It is kept over a restart.
#[utoipa::path(put, path = "/sites/{name}", tag = "sites", params(("name" = String, Path)),
    request_body = SiteDefinition, responses(
    (status = 200, description = "The site as it is kept", body = SiteAnswer),
    (status = "4XX", description = "It cannot be accepted, or comes from the configuration", body = ErrorBody)))]
pub(super) async fn define(
    State(app): State<App>,
    SiteName(name): SiteName,
    Body(definition): Body<SiteDefinition>,
) -> Result<Json<SiteAnswer>, Problem> {
    validate::name("name", &name)?;
    let site = app.planner.sites.define(&name, definition)?;
    Ok(Json(SiteAnswer { success: true, name, site: site.definition.clone() }))
}

/// Removes a site. Sessions that were made of it keep it.
#[utoipa::path(delete, path = "/sites/{name}", tag = "sites", params(("name" = String, Path)), responses(
    (status = 200, description = "It is removed", body = MessageAnswer),
    (status = "4XX", description = "There is none of this name, or it comes from the configuration", body = ErrorBody)))]
pub(super) async fn remove(
    State(app): State<App>,
    SiteName(name): SiteName,
) -> Result<Json<MessageAnswer>, Problem> {
    app.planner.sites.remove(&name)?;
    Ok(Json(MessageAnswer::new("Site removed")))
}
