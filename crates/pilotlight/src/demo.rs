//! `pilotlight demo`: a portal to sign in to, a server, and some windows that stay signed in.
//!
//! It uses only public features: the example site, the REST interface, the ping route. Its state is in a folder below
//! the configured one, separate from the sessions of a server. It writes its address there, so that the command line
//! finds its token.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pilotlight_api::{CreateSession, CreatedAnswer, ErrorBody, PingAnswer, Session, SignIn, SiteDefinition};
use pilotlight_demo_portal::{EXAMPLE_PORT, PASSWORD, Portal, PortalOptions, example_site};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::clock::{Clock, timestamp};
use crate::config::{Config, Site};
use crate::demo_address::DemoAddress;
use crate::exit::{self, Failure};
use crate::sentence::with_sources;
use crate::serve::{run, start_log};
use crate::server::{self, Browsers, ServeError, Signals};
use crate::table;

/// The demo portal signs users out after this time without requests, so that keeping the sessions alive can be
/// observed.
const PORTAL_TIMEOUT: Duration = Duration::from_secs(60);
/// The refresh interval of the demo's windows.
const REFRESH: u64 = 20;
/// How long the demo's browsers run after the demo was killed.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit of a sign-in.
const CREATE_TIMEOUT: Duration = Duration::from_secs(120);
/// The name of the demo's site.
const SITE: &str = "portal";

/// Runs the demo until Ctrl-C.
///
/// # Errors
/// Returns an error message with a hint.
pub fn demo(mut config: Config, windows: u32) -> Result<(), Failure> {
    start_log("warn");
    let mut told = Ok(());
    run(async {
        let mut signals = Signals::take()?;
        let portal = start_portal().await?;
        let site = demo_site(&portal.url()).map_err(|error| ServeError::System(io::Error::other(error)))?;
        // The demo does not use the sites in the server's state.
        config.sites.retain(|name, _| !config.stored_sites.contains(name));
        config.stored_sites.clear();
        config.broken_sites.clear();
        config.sites.insert(SITE.to_owned(), site);
        config.server.orphan_timeout = ORPHAN_TIMEOUT;
        config.server.state_dir = config.server.demo_dir();
        let token_file = config.server.token_file();
        let folder = config.server.state_dir.clone();
        let running = server::start(config, Browsers::End).await?;
        let _address = DemoAddress::write(&folder, running.address).map_err(ServeError::System)?;
        let token = running.state_dir.token()?;
        let guide = Guide {
            client: reqwest::Client::new(),
            server: format!("http://{}", running.address),
            token: token.expose_secret().to_owned(),
            clock: running.app.keeper.clock(),
            made: Arc::default(),
        };
        say(format_args!("The demo portal is {} (any user name, password `{PASSWORD}`).", portal.url()));
        say(format_args!("The server is {}.", guide.server));
        if io::stdout().is_terminal() {
            say(format_args!("Dashboard (one-time link): {}\n", running.dashboard_link()));
        } else {
            say(format_args!(
                "Run `pilotlight dashboard --server {}` to get a link to the dashboard.\n",
                running.address
            ));
        }
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
        // The portal is about to stop, and nothing can sign in any more. Sessions that clients opened are left to
        // them.
        let made = std::mem::take(&mut *guide.made.lock());
        running.close_sessions(&made).await;
        running.stop_now().await;
        Ok(())
    })?;
    told
}

async fn start_portal() -> Result<Portal, ServeError> {
    let options = |port| PortalOptions { port, session_timeout: PORTAL_TIMEOUT, ..PortalOptions::default() };
    // The default port if it is free, so that the example files fit; otherwise any port.
    let started = match Portal::start(options(EXAMPLE_PORT)).await {
        Ok(portal) => Ok(portal),
        Err(_) => Portal::start(options(0)).await,
    };
    started.map_err(|error| ServeError::System(io::Error::other(error)))
}

/// Returns the example site from `examples/`, for a portal at `url`.
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

/// Shows the demo to users, through the REST interface.
#[derive(Clone)]
struct Guide {
    client: reqwest::Client,
    server: String,
    token: String,
    clock: Clock,
    /// The sessions that the demo created.
    made: Arc<Mutex<Vec<Uuid>>>,
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
        say(format_args!("\n{}", table::sessions(&listed, timestamp(self.clock.now()))));
        let Some(first) = sessions.first() else { return Ok(()) };
        let ping = format!("/ping_session/{}", first.session_id);
        let pinged: PingAnswer = self.call(self.client.post(self.at(&ping))).await?;
        say(format_args!("Pinged {}: last used {}.\n", first.session_id, pinged.last_used));
        say(format_args!("Try it from another terminal:"));
        say(format_args!("  TOKEN=$(cat {token_file})"));
        say(format_args!("  curl -X POST -H \"Authorization: Bearer $TOKEN\" {}", self.at(&ping)));
        say(format_args!("  curl -H \"Authorization: Bearer $TOKEN\" {}", self.at("/sessions")));
        say(format_args!("  curl {}", self.at("/health")));
        say(format_args!(
            "\nThe portal signs users out after {} s of inactivity; the windows are refreshed every {REFRESH} s.\n\
             Press Ctrl-C to stop.",
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
        self.made.lock().push(answer.session.session_id);
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
        Err(Failure::new(exit::FAILED, body.error).with_hint(body.hint))
    }
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::new(exit::FAILED, with_sources(error))
}

/// Prints to stdout; errors are ignored, because the reader may have closed it.
fn say(line: std::fmt::Arguments<'_>) {
    drop(writeln!(io::stdout(), "{line}"));
}
