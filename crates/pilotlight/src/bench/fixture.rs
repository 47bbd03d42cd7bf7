//! The fixture of the benchmarks: a demo portal and a server, in this process and in a temporary folder.

use std::fs::Permissions;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use pilotlight_api::{
    CreateSession, CreatedAnswer, ErrorBody, EvaluateAnswer, RefreshAsleep, RefreshDefinition, RefreshHow,
    Seconds, Session,
};
use pilotlight_chromium::launch::{BrowserUsers, RunAs};
use pilotlight_demo_portal::{PASSWORD, Portal, PortalOptions};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::{Auth, Config};
use crate::demo::demo_site;
use crate::exit::{self, Failure};
use crate::sentence::with_sources;
use crate::serve::failure;
use crate::server::{self, Browsers, Running, ServeError};

/// How long browsers run after the benchmark was killed.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause before a measurement, so that effects of the previous one are over.
pub(super) const PAUSE: Duration = Duration::from_millis(400);
/// Time limit of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// The name of the portal's site.
const SITE: &str = "portal";
/// Browsers may run as another user, which must be able to traverse the folder.
const PASSABLE: u32 = 0o711;
/// Script that returns the browser's name and version.
const CHROMIUM: &str = "navigator.userAgentData?.getHighEntropyValues(['fullVersionList']).then(told => \
    told.fullVersionList.filter(({brand}) => /chrom/i.test(brand)).map(({brand, version}) => `${brand} ${version}`)[0]) \
    ?? navigator.userAgent";

/// How a fixture keeps its sessions signed in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keeping {
    /// How often they are refreshed. The portal signs out whoever it has not heard from for a fifth longer.
    pub(super) every: Duration,
    /// How those are that hibernate.
    pub(super) asleep: RefreshAsleep,
    /// The page of the portal that is loaded.
    pub(super) page: &'static str,
}

impl Keeping {
    fn refresh(self, portal: &str) -> RefreshDefinition {
        let is_document = self.asleep == RefreshAsleep::Document;
        RefreshDefinition {
            how: if is_document { RefreshHow::Visit } else { RefreshHow::Reload },
            url: is_document.then(|| format!("{portal}{}", self.page)),
            every: Some(Seconds::new(self.every.as_secs())),
            jitter: Some(Seconds::new(self.every.as_secs() / 5)),
            asleep: self.asleep,
            ..RefreshDefinition::default()
        }
    }
}

/// Runs `work` with a new fixture, which is removed afterwards, also when the benchmark is stopped.
pub(super) async fn with_fixture<T>(
    config: Config,
    stop: &CancellationToken,
    work: impl AsyncFnOnce(&Fixture) -> Result<T, Failure>,
) -> Result<T, Failure> {
    with_fixture_of(config, None, stop, work).await
}

/// The same with a fixture that refreshes its sessions.
pub(super) async fn with_fixture_of<T>(
    config: Config,
    keeping: Option<Keeping>,
    stop: &CancellationToken,
    work: impl AsyncFnOnce(&Fixture) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let fixture = Fixture::start(config, keeping).await.map_err(|error| failure(&error))?;
    let done = stop.run_until_cancelled(work(&fixture)).await;
    fixture.end().await;
    done.unwrap_or_else(|| Err(stopped()))
}

pub(super) fn stopped() -> Failure {
    Failure::new(exit::FAILED, "the benchmark was stopped")
}

/// A portal, and a server that signs in to it.
pub(super) struct Fixture {
    pub(super) portal: Portal,
    server: Running,
    client: reqwest::Client,
    token: SecretString,
    helper: Option<RunAs>,
    folder: TempDir,
}

impl Fixture {
    /// Starts both with the browser and the launch profile of `config`, without freezing, and with no other automatic
    /// refreshes than `keeping` says.
    async fn start(mut config: Config, keeping: Option<Keeping>) -> Result<Self, ServeError> {
        let mut folder = tempfile::Builder::new();
        let folder = folder.prefix("pilotlight-bench-").permissions(Permissions::from_mode(PASSABLE));
        let folder = folder.tempdir().map_err(ServeError::System)?;
        let usual = PortalOptions::default();
        let session_timeout = keeping.map_or(usual.session_timeout, |keeping| keeping.every * 6 / 5);
        let portal = Portal::start(PortalOptions { session_timeout, ..usual }).await;
        let portal = portal.map_err(|error| ServeError::System(io::Error::other(error)))?;
        let site = demo_site(&portal.url());
        let mut site = site.map_err(|error| ServeError::System(io::Error::other(error)))?;
        site.definition.refresh.every = None;
        if let Some(keeping) = keeping {
            site.definition.refresh = keeping.refresh(&portal.url());
        }
        config.sites = [(SITE.to_owned(), site)].into();
        config.stored_sites.clear();
        config.broken_sites.clear();
        config.server.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        config.server.state_dir = folder.path().join("state");
        config.server.auth = Auth::Token;
        config.server.orphan_timeout = ORPHAN_TIMEOUT;
        config.sessions.refresh_interval = None;
        config.sessions.freeze_after = None;
        config.sessions.hibernate_after = None;
        let users = BrowserUsers::choose(config.chromium.user.as_deref());
        let helper = users.ok().and_then(|users| users.helper());
        let server = server::start(config, Browsers::End).await?;
        let token = server.state_dir.token()?;
        let client = reqwest::Client::builder().no_proxy().timeout(REQUEST_TIMEOUT).build();
        let client = client.map_err(|error| ServeError::System(io::Error::other(error)))?;
        Ok(Self { portal, server, client, token, helper, folder })
    }

    /// Returns the address of the server.
    pub(super) fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Returns the server's token.
    pub(super) fn token(&self) -> &SecretString {
        &self.token
    }

    /// Returns the user that runs the baseline's browsers, if it is not the current user.
    pub(super) fn run_as(&self) -> Option<&RunAs> {
        self.helper.as_ref()
    }

    /// Returns the temporary folder.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stops both and ends all browsers.
    async fn end(self) {
        // The portal is stopped last, so that windows do not notice. Sessions need not be closed, because the folder
        // is deleted.
        self.server.stop_now().await;
        self.portal.stop().await;
    }

    /// Creates a session of `user` at the portal.
    pub(super) async fn sign_in(&self, user: &str) -> Result<Uuid, Failure> {
        let wanted = CreateSession {
            site: Some(SITE.to_owned()),
            username: Some(user.to_owned()),
            password: Some(PASSWORD.into()),
            ..CreateSession::default()
        };
        let created: CreatedAnswer = self.ask(Method::POST, "/sessions", &wanted).await?;
        Ok(created.session.session_id)
    }

    /// Opens a window that shows the portal's small sign-in page.
    pub(super) async fn open_window(&self) -> Result<Uuid, Failure> {
        let wanted =
            CreateSession { url: Some(format!("{}login", self.portal.url())), ..CreateSession::default() };
        let created: CreatedAnswer = self.ask(Method::POST, "/sessions", &wanted).await?;
        Ok(created.session.session_id)
    }

    /// Returns the root processes of all browsers.
    pub(super) fn roots(&self) -> Vec<u32> {
        let directory = self.server.app.keeper.directory();
        // A browser is a child of its shim.
        directory.browsers.values().map(|browser| browser.shim_pid.unwrap_or(browser.pid)).collect()
    }

    /// Returns how late the refresh is that has been due longest.
    pub(super) fn latest_refresh(&self) -> Duration {
        let keeper = &self.server.app.keeper;
        let late = keeper.directory().late_refresh(keeper.clock().now());
        late.map_or(Duration::ZERO, |(by, _)| by)
    }

    /// The main process of one of our browsers, if one runs.
    pub(super) fn browser(&self) -> Option<u32> {
        let directory = self.server.app.keeper.directory();
        directory.browsers.values().next().map(|browser| browser.pid)
    }

    /// Sends a request to a session and returns the session.
    pub(super) async fn order(
        &self,
        id: Uuid,
        what: &str,
        body: &impl Serialize,
    ) -> Result<Session, Failure> {
        self.ask(Method::POST, &format!("/sessions/{id}/{what}"), body).await
    }

    /// Returns a session.
    pub(super) async fn session(&self, id: Uuid) -> Result<Session, Failure> {
        self.ask(Method::GET, &format!("/sessions/{id}"), &()).await
    }

    /// Evaluates an expression in a session's page.
    pub(super) async fn evaluate(&self, id: Uuid, expression: &str) -> Result<serde_json::Value, Failure> {
        let path = format!("/sessions/{id}/evaluate");
        let answer: EvaluateAnswer =
            self.ask(Method::POST, &path, &json!({ "expression": expression })).await?;
        Ok(answer.result)
    }

    /// Returns the browser's name and version.
    pub(super) async fn chromium(&self) -> Result<String, Failure> {
        let id = self.sign_in("chromium").await?;
        let told = self.evaluate(id, CHROMIUM).await?;
        Ok(told.as_str().unwrap_or("unknown").to_owned())
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let url = format!("http://{}{path}", self.server.address);
        let request = self.client.request(method, url).bearer_auth(self.token.expose_secret()).json(body);
        let answer = request.send().await.map_err(|error| failed(&error))?;
        if answer.status().is_success() {
            return answer.json().await.map_err(|error| failed(&error));
        }
        let body: ErrorBody = answer.json().await.map_err(|error| failed(&error))?;
        Err(Failure::new(exit::FAILED, body.error).with_hint(body.hint))
    }
}

pub(super) fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::new(exit::FAILED, with_sources(error))
}

/// Returns an error with its cause.
pub(super) fn failed_at(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::new(exit::FAILED, format!("{what}: {}", with_sources(error)))
}
