//! What is measured: the demo portal and a server, in this process and in a folder that goes with them.

use std::fs::Permissions;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use pilotlight_api::{CreateSession, CreatedAnswer, ErrorBody, EvaluateAnswer, Session};
use pilotlight_chromium::launch::RunAs;
use pilotlight_testkit::portal::{PASSWORD, Portal, PortalOptions};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::cli::{Failure, exit_codes};
use crate::config::{Auth, Config};
use crate::demo::demo_site;
use crate::sentence::with_sources;
use crate::serve::failure;
use crate::server::{self, Browsers, Running, ServeError};

/// How long browsers outlive a benchmark that was killed.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long nothing is done before a measurement: what the one before set going is not the next one's affair.
pub(super) const PAUSE: Duration = Duration::from_millis(400);
/// The longest that one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// What the portal's site is called.
const SITE: &str = "portal";
/// Browsers may run as another user, who must come through the folder.
const PASSABLE: u32 = 0o711;
/// Which browser it is, in a page's own words.
const CHROMIUM: &str = "navigator.userAgentData?.getHighEntropyValues(['fullVersionList']).then(told => \
    told.fullVersionList.filter(({brand}) => /chrom/i.test(brand)).map(({brand, version}) => `${brand} ${version}`)[0]) \
    ?? navigator.userAgent";

/// Does something in a house of its own, which is gone afterwards, also where it is told to stop.
pub(super) async fn in_house<T>(
    config: Config,
    stop: &CancellationToken,
    work: impl AsyncFnOnce(&House) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let house = House::start(config).await.map_err(|error| failure(&error))?;
    let done = stop.run_until_cancelled(work(&house)).await;
    house.end().await;
    done.unwrap_or_else(|| Err(stopped()))
}

pub(super) fn stopped() -> Failure {
    Failure::new(exit_codes::FAILED, "the benchmark was stopped before its end")
}

/// A portal and a server that signs in to it.
pub(super) struct House {
    pub(super) portal: Portal,
    server: Running,
    client: reqwest::Client,
    token: SecretString,
    folder: TempDir,
}

impl House {
    /// Starts both with the browser and the launch profile of `config`. Nothing of theirs happens by itself.
    async fn start(mut config: Config) -> Result<Self, ServeError> {
        let mut folder = tempfile::Builder::new();
        let folder = folder.prefix("pilotlight-bench-").permissions(Permissions::from_mode(PASSABLE));
        let folder = folder.tempdir().map_err(ServeError::System)?;
        let portal = Portal::start(PortalOptions::default()).await;
        let portal = portal.map_err(|error| ServeError::System(io::Error::other(error)))?;
        let site = demo_site(&portal.url());
        let mut site = site.map_err(|error| ServeError::System(io::Error::other(error)))?;
        site.definition.refresh.every = None;
        config.sites = [(SITE.to_owned(), site)].into();
        config.server.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        config.server.state_dir = folder.path().join("state");
        config.server.auth = Auth::Token;
        config.server.orphan_timeout = ORPHAN_TIMEOUT;
        config.sessions.refresh_interval = None;
        config.sessions.freeze_after = None;
        config.sessions.hibernate_after = None;
        let server = server::start(config, Browsers::End).await?;
        let token = server.state_dir.token()?;
        let client = reqwest::Client::builder().no_proxy().timeout(REQUEST_TIMEOUT).build();
        let client = client.map_err(|error| ServeError::System(io::Error::other(error)))?;
        Ok(Self { portal, server, client, token, folder })
    }

    /// Where the server listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Its token.
    pub(super) fn token(&self) -> &SecretString {
        &self.token
    }

    /// Whom browsers run as, where it is not ourselves.
    pub(super) fn run_as(&self) -> Option<&RunAs> {
        self.server.app.gateway.run_as.as_ref()
    }

    /// What is in it goes with the house.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends both, and every browser.
    async fn end(self) {
        // The portal goes last: windows must not see it go.
        self.server.close_sessions().await;
        self.server.stop_now().await;
        self.portal.stop().await;
    }

    /// A new session of `user` at the portal.
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

    /// A window more, which shows the portal's small log-in page.
    pub(super) async fn open_window(&self) -> Result<Uuid, Failure> {
        let wanted =
            CreateSession { url: Some(format!("{}login", self.portal.url())), ..CreateSession::default() };
        let created: CreatedAnswer = self.ask(Method::POST, "/sessions", &wanted).await?;
        Ok(created.session.session_id)
    }

    /// The processes that everything of our browsers is below.
    pub(super) fn roots(&self) -> Vec<u32> {
        let directory = self.server.app.keeper.directory();
        // A browser is its shim's child.
        directory.browsers.values().map(|browser| browser.shim_pid.unwrap_or(browser.pid)).collect()
    }

    /// Has something done with a session, and gives what it is then.
    pub(super) async fn order(
        &self,
        id: Uuid,
        what: &str,
        body: &impl Serialize,
    ) -> Result<Session, Failure> {
        self.ask(Method::POST, &format!("/sessions/{id}/{what}"), body).await
    }

    /// What a session is now.
    pub(super) async fn session(&self, id: Uuid) -> Result<Session, Failure> {
        self.ask(Method::GET, &format!("/sessions/{id}"), &()).await
    }

    /// What an expression is in a session's page.
    pub(super) async fn evaluate(&self, id: Uuid, expression: &str) -> Result<serde_json::Value, Failure> {
        let path = format!("/sessions/{id}/evaluate");
        let answer: EvaluateAnswer =
            self.ask(Method::POST, &path, &json!({ "expression": expression })).await?;
        Ok(answer.result)
    }

    /// Name and version of the browser.
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
        Err(Failure::new(exit_codes::FAILED, body.error).with_hint(body.hint))
    }
}

pub(super) fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::new(exit_codes::FAILED, with_sources(error))
}

/// That something did not work, and why.
pub(super) fn failed_at(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::new(exit_codes::FAILED, format!("{what}: {}", with_sources(error)))
}
