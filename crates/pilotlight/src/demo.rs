//! `pilotlight demo`: a portal to sign in to, a server, and a few windows that stay signed in.
//!
//! It uses nothing that users do not have: the example site, the REST interface, the ping route.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use pilotlight_api::{CreateSession, CreatedAnswer, ErrorBody, PingAnswer, Session, SignIn, SiteDefinition};
use pilotlight_testkit::portal::{EXAMPLE_PORT, PASSWORD, Portal, PortalOptions, example_site};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::cli::{Failure, exit_codes, sessions_table};
use crate::config::{Config, Site};
use crate::keeper::{Clock, timestamp};
use crate::sentence::with_sources;
use crate::serve::{run, start_log};
use crate::server::{self, Browsers, ServeError, Signals};

/// The demo portal logs out whoever sends nothing for this long, so that one can watch that nobody is.
const PORTAL_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the demo's windows are refreshed.
const REFRESH: u64 = 20;
/// How long the demo's browsers outlive a demo that was killed.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a window may take to be signed in.
const CREATE_TIMEOUT: Duration = Duration::from_secs(120);
/// What the demo's site is called.
const SITE: &str = "portal";

/// Runs the demo until Ctrl-C.
///
/// # Errors
/// What is in the way, as a sentence with a hint.
pub fn demo(mut config: Config, windows: u32) -> Result<(), Failure> {
    start_log("warn");
    let mut told = Ok(());
    run(async {
        let mut signals = Signals::take()?;
        let portal = start_portal().await?;
        let site = demo_site(&portal.url()).map_err(|error| ServeError::System(io::Error::other(error)))?;
        config.sites.insert(SITE.to_owned(), site);
        config.server.orphan_timeout = ORPHAN_TIMEOUT;
        let token_file = config.server.token_file();
        let running = server::start(config, Browsers::End).await?;
        let token = running.state_dir.token()?;
        let guide = Guide {
            client: reqwest::Client::new(),
            server: format!("http://{}", running.address),
            token: token.expose_secret().to_owned(),
            clock: running.app.keeper.clock(),
        };
        say(format_args!("The demo portal is {} (any user name, password `{PASSWORD}`).", portal.url()));
        say(format_args!("The server is {}.", guide.server));
        say(format_args!("Its dashboard opens once with {}\n", running.dashboard_link()));
        let token_file = token_file.display();
        let shown = tokio::select! {
            shown = guide.show(windows, &token_file) => Some(shown),
            () = signals.next() => None,
        };
        match shown {
            Some(Ok(())) => signals.next().await,
            Some(Err(failure)) => told = Err(failure),
            None => {}
        }
        // The portal goes, and nobody can sign in to it any more.
        running.close_sessions().await;
        running.stop_now().await;
        Ok(())
    })?;
    told
}

async fn start_portal() -> Result<Portal, ServeError> {
    let options = |port| PortalOptions { port, session_timeout: PORTAL_TIMEOUT, ..PortalOptions::default() };
    // Its own port where that is free, so that the example files fit; any other where it is not.
    let started = match Portal::start(options(EXAMPLE_PORT)).await {
        Ok(portal) => Ok(portal),
        Err(_) => Portal::start(options(0)).await,
    };
    started.map_err(|error| ServeError::System(io::Error::other(error)))
}

/// The example site, as it lies in `examples/`, for a portal at `url`.
pub(crate) fn demo_site(url: &str) -> Result<Site, Box<dyn std::error::Error + Send + Sync>> {
    let example = example_site(url);
    let mut definition: SiteDefinition = toml::from_str(&example.site_toml)?;
    definition.sign_in = Some(SignIn::Flow(serde_json::from_str(&example.sign_in_json)?));
    for phase in definition.operations.values_mut().flat_map(|operation| &mut operation.phases) {
        let found = example.flows.iter().find(|(path, _)| phase.flow == SignIn::File(path.clone()));
        if let Some((_, flow)) = found {
            phase.flow = SignIn::Flow(serde_json::from_str(flow)?);
        }
    }
    Ok(Site::new(definition)?)
}

/// Shows people around, by the REST interface.
#[derive(Clone)]
struct Guide {
    client: reqwest::Client,
    server: String,
    token: String,
    clock: Clock,
}

impl Guide {
    async fn show(&self, windows: u32, token_file: &dyn Display) -> Result<(), Failure> {
        say(format_args!("Signing in {windows} windows:"));
        let mut creating = JoinSet::new();
        for number in 1..=windows {
            let guide = self.clone();
            creating.spawn(async move { guide.create(number).await });
        }
        let mut sessions = Vec::new();
        while let Some(created) = creating.join_next().await {
            let (session, took) = created.map_err(|error| failed(&error))??;
            say(format_args!(
                "  {} is {} after {:.1} s at {}",
                session.username.as_deref().unwrap_or_default(),
                session.state,
                took.as_secs_f32(),
                session.url.as_deref().unwrap_or_default()
            ));
            sessions.push(session);
        }
        sessions.sort_by(|one, other| one.username.cmp(&other.username));
        let mut listed = Vec::new();
        for session in &sessions {
            let path = format!("/sessions/{}", session.session_id);
            listed.push(self.call(self.client.get(self.at(&path))).await?);
        }
        say(format_args!("\n{}", sessions_table(&listed, timestamp(self.clock.now()))));
        let Some(first) = sessions.first() else { return Ok(()) };
        let ping = format!("/ping_session/{}", first.session_id);
        let pinged: PingAnswer = self.call(self.client.post(self.at(&ping))).await?;
        say(format_args!("A ping of {} answers: last used {}.\n", first.session_id, pinged.last_used));
        say(format_args!("Try it yourself, from another terminal:"));
        say(format_args!("  TOKEN=$(cat {token_file})"));
        say(format_args!("  curl -X POST -H \"Authorization: Bearer $TOKEN\" {}", self.at(&ping)));
        say(format_args!("  curl -H \"Authorization: Bearer $TOKEN\" {}", self.at("/sessions")));
        say(format_args!("  curl {}", self.at("/health")));
        say(format_args!(
            "\nThe portal logs out whoever is silent for {} s; the windows are refreshed every {REFRESH} s.\n\
             Everything keeps running until Ctrl-C.",
            PORTAL_TIMEOUT.as_secs()
        ));
        Ok(())
    }

    async fn create(&self, number: u32) -> Result<(Session, Duration), Failure> {
        let wanted = CreateSession {
            name: Some(format!("demo-{number}")),
            site: Some(SITE.to_owned()),
            username: Some(format!("driver-{number}")),
            password: Some(PASSWORD.into()),
            refresh_interval: Some(pilotlight_api::Seconds::new(REFRESH)),
            ..CreateSession::default()
        };
        let started = Instant::now();
        let request = self.client.post(self.at("/sessions")).json(&wanted).timeout(CREATE_TIMEOUT);
        let answer: CreatedAnswer = self.call(request).await?;
        Ok((answer.session, started.elapsed()))
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.server)
    }

    async fn call<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, Failure> {
        let answer = request.bearer_auth(&self.token).send().await.map_err(|error| failed(&error))?;
        if answer.status().is_success() {
            return answer.json().await.map_err(|error| failed(&error));
        }
        let body: ErrorBody = answer.json().await.map_err(|error| failed(&error))?;
        Err(Failure::new(exit_codes::FAILED, body.error).with_hint(body.hint))
    }
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::new(exit_codes::FAILED, with_sources(error))
}

/// Tells people. Whoever closed our output does not want to know.
fn say(line: std::fmt::Arguments<'_>) {
    drop(writeln!(io::stdout(), "{line}"));
}
